"""Samples of the elementwise ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tensorgrad.audit.sample import Draw, Sample, apart, binary, mask, nonzero, normal, of, positive, unary


def inside(*shape: int) -> Draw:
    """Between -0.9 and 0.9, where arcsin and its like are smooth."""
    return lambda rng: np.asarray(rng.uniform(-0.9, 0.9, shape))


def above_one(*shape: int) -> Draw:
    """Between 1.5 and 3."""
    return lambda rng: np.asarray(rng.uniform(1.5, 3, shape))


def off_steps(*shape: int) -> Draw:
    """Between -5 and 5, no closer than 0.1 to a whole or half number."""
    return lambda rng: np.asarray((rng.integers(-10, 10, shape) + rng.uniform(0.2, 0.8, shape)) / 2)


def whole(*shape: int) -> Draw:
    """Integers from -3 to 3."""
    return lambda rng: rng.integers(-3, 4, shape)


_UNARY: dict[str, Callable[..., Draw]] = {
    **dict.fromkeys(
        ("identity", "negative", "positive", "square", "exp", "exp2", "expm1", "sigmoid"), normal
    ),
    **dict.fromkeys(("sin", "cos", "tanh", "sinh", "cosh", "arctan", "arcsinh", "sinc"), normal),
    **dict.fromkeys(("softplus", "silu", "erf", "erfc"), normal),
    **dict.fromkeys(("deg2rad", "rad2deg", "radians", "degrees"), normal),
    **dict.fromkeys(("log", "log2", "log10", "log1p", "sqrt"), positive),
    **dict.fromkeys(("tan", "arcsin", "arccos", "arctanh"), inside),
    **dict.fromkeys(("relu", "absolute", "fabs", "sign", "reciprocal", "cbrt"), nonzero),
    **dict.fromkeys(("floor", "ceil", "trunc", "rint"), off_steps),
    "arccosh": above_one,
}

_BINARY: dict[str, tuple[Callable[..., Draw], Callable[..., Draw]]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "logaddexp", "logaddexp2"), (normal, normal)),
    **dict.fromkeys(("hypot", "arctan2", "copysign"), (nonzero, nonzero)),
    "divide": (normal, nonzero),
    "heaviside": (nonzero, normal),
}

_EXTREMA = (
    Sample("same shape", apart((2, 3), (2, 3))),
    Sample("0d", apart((), ())),
    Sample("both broadcast", apart((3, 1), (4,))),
    Sample("scalar on the right", of(nonzero(3), 0.25)),
)

# Quotients from 0.05 to 0.95 beyond a whole number, of either sign.
_REMAINDERS = tuple(
    Sample(label, of(np.array(x), np.array(y) if isinstance(y, list) else y))
    for label, x, y in (
        ("same shape", [3.7, -3.7, 0.3, 8.1], [1.5, 1.5, -0.7, -2.0]),
        ("both broadcast", [[5.3], [-2.0]], [1.1, -0.6, 3.0]),
        ("0d", 7.0, 2.4),
        ("scalar on the right", [1.25, -0.5, 9.9], 0.7),
    )
)


SAMPLES: dict[str, tuple[Sample, ...]] = {
    **{name: unary(draw) for name, draw in _UNARY.items()},
    **{name: binary(x, y) for name, (x, y) in _BINARY.items()},
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _EXTREMA),
    **dict.fromkeys(("remainder", "fmod", "floor_divide"), _REMAINDERS),
    "leaky_relu": (*unary(nonzero), Sample("steep", of(nonzero(4)), {"slope": 0.5})),
    "elu": (*unary(nonzero), Sample("deep", of(nonzero(4)), {"alpha": 2.0})),
    "gelu": (*unary(normal), Sample("approximate", of(normal(4)), {"approximate": "tanh"})),
    "astype": (Sample("to float64", of(normal(2, 3)), {"dtype": "float64"}, dtype="float64"),),
    "power": (
        *binary(positive, normal),
        Sample("integer exponent, negative base", of(nonzero(4), 3)),
        Sample("square", of(normal(2, 3), 2)),
        Sample("reciprocal", of(nonzero(3), -1)),
        Sample("exponent 0", of(nonzero(3), 0)),
    ),
    "where": (
        Sample("same shape", of(mask(2, 3), normal(2, 3), normal(2, 3))),
        Sample("all broadcast", of(mask(2, 1, 1), normal(3, 1), normal(4))),
        Sample("condition of lower rank", of(mask(3), normal(2, 3), normal(2, 1))),
        Sample("scalar", of(mask(3), normal(3), 0.5)),
    ),
    "round": (
        Sample("to whole numbers", of(off_steps(2, 3))),
        Sample("to hundreds", of(np.array([130.0, -270.0])), {"decimals": -2}),
        Sample("to tenths", of(np.array([0.12, 0.47, -1.38])), {"decimals": 1}),
    ),
    "ldexp": (
        Sample("same shape", of(normal(3), whole(3))),
        Sample("both broadcast", of(normal(2, 1), whole(3))),
        Sample("scalar on the right", of(normal(3), 2)),
    ),
    "gate": (Sample("2d", of(normal(2, 3), mask(2, 3))), Sample("0d", of(normal(), np.array(True)))),
    "nan_to_num": (
        Sample("finite", of(normal(2, 3))),
        Sample("0d", of(normal()), {"nan": 3.0, "posinf": 1.0, "neginf": 2.0}),
    ),
}
