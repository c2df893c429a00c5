"""Elementwise functions against PyTorch, over random shapes and broadcasts."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from random_cases import many

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")


# Agreement with PyTorch over random shapes and broadcasts

UNARY = {
    "positive": (torch.positive, -2, 2), "square": (torch.square, -2, 2),
    "reciprocal": (torch.reciprocal, 0.5, 2),
    "abs": (torch.abs, -2, 2), "fabs": (torch.abs, -2, 2), "sign": (torch.sign, -2, 2),
    "floor": (torch.floor, -3, 3),
    "ceil": (torch.ceil, -3, 3), "trunc": (torch.trunc, -3, 3), "fix": (torch.trunc, -3, 3),
    "rint": (torch.round, -3, 3), "round": (torch.round, -3, 3), "nan_to_num": (torch.nan_to_num, -2, 2),
    "exp": (torch.exp, -3, 2), "exp2": (torch.exp2, -3, 2), "expm1": (torch.expm1, -3, 2),
    "log": (torch.log, 0.5, 3),
    "log2": (torch.log2, 0.5, 3), "log10": (torch.log10, 0.5, 3), "log1p": (torch.log1p, -0.5, 3),
    "sqrt": (torch.sqrt, 0.5, 3), "cbrt": (lambda x: x ** (1 / 3), 0.5, 3), "negative": (torch.neg, -2, 2),
    "sin": (torch.sin, -5, 5), "cos": (torch.cos, -5, 5), "tan": (torch.tan, -1.3, 1.3),
    "arcsin": (torch.asin, -0.9, 0.9), "arccos": (torch.acos, -0.9, 0.9), "arctan": (torch.atan, -5, 5),
    "sinh": (torch.sinh, -2, 2), "cosh": (torch.cosh, -2, 2), "tanh": (torch.tanh, -3, 3),
    "arcsinh": (torch.asinh, -5, 5), "arccosh": (torch.acosh, 1.2, 5), "arctanh": (torch.atanh, -0.9, 0.9),
    "deg2rad": (torch.deg2rad, -180, 180), "radians": (torch.deg2rad, -180, 180),
    "rad2deg": (torch.rad2deg, -3, 3), "degrees": (torch.rad2deg, -3, 3), "sinc": (torch.sinc, 0.5, 3),
}  # fmt: skip

BINARY = {
    "add": (torch.add, -2, 2), "subtract": (torch.sub, -2, 2), "multiply": (torch.mul, -2, 2),
    "divide": (torch.div, 0.5, 2), "power": (torch.pow, 0.5, 2), "float_power": (torch.float_power, 0.5, 2),
    "maximum": (torch.maximum, -2, 2), "minimum": (torch.minimum, -2, 2), "fmax": (torch.fmax, -2, 2),
    "fmin": (torch.fmin, -2, 2), "hypot": (torch.hypot, 0.5, 2), "arctan2": (torch.atan2, 0.5, 2),
    "copysign": (torch.copysign, -2, 2), "fmod": (torch.fmod, 0.5, 3), "remainder": (torch.remainder, 0.5, 3),
    "logaddexp": (torch.logaddexp, -3, 3), "logaddexp2": (torch.logaddexp2, -3, 3),
    "clip": (lambda x, lower: torch.clamp(x, min=lower), -2, 2),
}  # fmt: skip

unary_shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3).map(lambda shape: (shape,))
binary_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3).map(
    lambda drawn: drawn.input_shapes
)


def agrees(name):
    """A check of one function at random points of its table's range."""
    theirs, low, high = (UNARY | BINARY)[name]

    def check(rng, shapes):
        args = [rng.uniform(low, high, shape) for shape in shapes]
        ours = (lambda x, lower: np.clip(x, lower, None)) if name == "clip" else getattr(np, name)
        assert_agrees_with_torch(ours, theirs, *args)

    return check


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_agree_with_torch(name):
    assert many(agrees(name), unary_shapes, 10)


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions_agree_with_torch(name):
    assert many(agrees(name), binary_shapes, 20)


@pytest.mark.slow
def test_many_elementwise_cases_agree_with_torch(capsys):
    counts = [many(agrees(name), unary_shapes, 100) for name in UNARY]
    counts += [many(agrees(name), binary_shapes, 200) for name in BINARY]
    with capsys.disabled():
        print(f"\n{len(counts)} elementwise functions, {sum(counts)} cases agree to 1e-9")
    assert sum(counts) > 4000
