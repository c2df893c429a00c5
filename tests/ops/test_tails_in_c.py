"""Compiled ops over the whole range of their dtype, against mpmath: with the bounds that NumPy's keep.

All functions of `test_tails`, value and derivatives, stand in one C file: in lanes, a sample in each, and as
plain loops.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import test_tails
from test_tails import CASES, DTYPES, LIMIT, judge, points

import tensorgrad as tg
from tensorgrad.core.engine import walk
from tensorgrad.core.operators import OPS
from tensorgrad.graph.export.c_elementwise import ELEMENTWISE
from tensorgrad.graph.native import toolchain, variant

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)

Given = dict[str, list[np.ndarray]]
# Its target is made of float64, which a program of float32 does not compute.
NAMES = [name for name in CASES if name != "binary_cross_entropy"]


def compute_in_c(given: Given, laned: bool) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """For each function its arguments, and value and derivatives by compiled code."""
    dtype = given["exp"][0].dtype
    rows = max(len(args[0]) for args in given.values())
    given = {name: [np.resize(x, rows) for x in args] for name, args in given.items()}
    data = [*(x for args in given.values() for x in args), np.ones(rows, dtype)]
    leaves = [tg.Tensor(x) for x in data]
    one = tg.Parameter(np.ones((), dtype))  # what is multiplied with it requires grad

    def compute(*samples: Any) -> list[Any]:
        *left, weights = samples if laned else leaves
        out = []
        for name, args in given.items():
            made = [left.pop(0) * one for _ in args]
            y = CASES[name].ours(*made)
            start = made[-1].serial + 1
            pairs = [(tg.sum(y * weights), tg.Tensor(np.ones((), dtype)))] if y.requires_grad else []
            ends = frozenset(x.serial for x in made)
            found = {x.serial: g for x, g in walk(pairs, create_graph=True, since=start, ends=ends)}
            out += [y, *(found.get(x.serial, np.zeros_like(x)) for x in made)]
        return out

    arrays = data if laned else [np.zeros((), dtype)]
    code = variant.Variant(compute, arrays, [f"x{i}" for i in range(len(arrays))], False)
    assert (code.program.samples is not None) == laned
    outputs, _ = code.run(arrays, 1)
    return {name: (args, [outputs.pop(0) for _ in range(1 + len(args))]) for name, args in given.items()}


@pytest.fixture
def arrange(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], None]:
    """Choose how to compile; the zeros beside logits come with the samples, not as an array of their own."""

    def choose(dtype: Any, optimize: str) -> None:
        monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize=optimize))
        monkeypatch.setattr(test_tails, "logits", lambda x: x[:, None] * np.array([1, 0], dtype))
        monkeypatch.setattr(test_tails, "three", lambda x, y: np.stack([x, y, 0 * x], axis=1))

    return choose


def check(dtype: Any, n: int, laned: bool) -> None:
    with np.errstate(all="ignore"):
        computed = compute_in_c({name: points(CASES[name], dtype, n) for name in NAMES}, laned)
    for name, (args, found) in computed.items():
        for what, (off, at) in judge(name, CASES[name], args, found).items():
            assert off <= LIMIT, f"{what} of {name} at {at}: off by {off:.3g} units in the last place"


@pytest.mark.parametrize("laned", [True, False], ids=["lanes", "loops"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_derivative_keep_their_accuracy(
    dtype: Any, laned: bool, arrange: Callable[[Any, str], None]
) -> None:
    arrange(dtype, "-O1")
    check(dtype, 24, laned)


@pytest.mark.slow
@pytest.mark.parametrize("laned", [True, False], ids=["lanes", "loops"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_derivative_keep_their_accuracy_everywhere(
    dtype: Any, laned: bool, arrange: Callable[[Any, str], None]
) -> None:
    arrange(dtype, "-O3")
    check(dtype, 120, laned)


#: Which of two equal zeros they give, of either sign, is not told.
TIES = ("elu", "fmax", "fmin")


def pair_ends(dtype: Any) -> list[np.ndarray]:
    """All pairs of numbers where something happens."""
    info = np.finfo(dtype)
    ends = [np.inf, info.max, info.smallest_normal, info.smallest_subnormal, 0.0]
    numbers = np.array([*ends, 800, 100, 3, 2.5, 2, 1.5, 1, 0.5, 1e-3], dtype)
    numbers = np.concatenate([numbers, -numbers, np.array([np.nan], dtype)])
    return [np.repeat(numbers, len(numbers)), np.tile(numbers, len(numbers))]


@pytest.mark.parametrize("laned", [True, False], ids=["lanes", "loops"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_of_infinities_nan_and_ends_are_as_in_numpy(
    dtype: Any, laned: bool, arrange: Callable[[Any, str], None]
) -> None:
    arrange(dtype, "-O1")
    names = [name for name in NAMES if name != "binary_cross_entropy, target"]  # which refuses such targets
    given = {name: pair_ends(dtype)[: len(CASES[name].slopes)] for name in names}
    with np.errstate(all="ignore"):
        for name, (args, found) in compute_in_c(given, laned).items():
            leaves = [tg.Tensor(x, requires_grad=True) for x in args]
            out = CASES[name].ours(*leaves)
            out.backward(np.ones(out.shape, dtype))
            expected = [out.data, *(np.zeros_like(x.data) if x.grad is None else x.grad for x in leaves)]
            for what, a, b in zip(("value", "slope 0", "slope 1"), found, expected, strict=False):
                info = np.finfo(dtype)
                np.testing.assert_allclose(
                    a, b, 16 * info.eps, 16 * info.smallest_subnormal, err_msg=f"{what} of {name}"
                )


@pytest.mark.parametrize("laned", [True, False], ids=["lanes", "loops"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_nan_zeros_and_ends_are_as_in_numpy(
    dtype: Any, laned: bool, arrange: Callable[[Any, str], None]
) -> None:
    """Of every elementwise op that has a rule, on all pairs of numbers where something happens."""
    arrange(dtype, "-O1")
    info, pairs = np.finfo(dtype), pair_ends(dtype)
    names = sorted({*ELEMENTWISE} - {"astype", "gate", "ldexp", "normalize", "where"})
    ops = {name: OPS[name] if name in OPS else getattr(np, name) for name in names}
    counts = {name: f.nin if isinstance(f, np.ufunc) else len(f.arrays) for name, f in ops.items()}
    leaves = [tg.Tensor(x) for x in pairs]

    def compute(*samples: Any) -> list[Any]:
        x = samples if laned else leaves
        return [*(f(*x[: counts[name]]) for name, f in ops.items()), tg.exp(samples[0])]

    arrays = pairs if laned else [np.zeros((), dtype)]
    with np.errstate(all="ignore"):
        code = variant.Variant(compute, arrays, ["x", "y"][: len(arrays)], False)
        expected = {name: np.asarray(f(*pairs[: counts[name]])) for name, f in ops.items()}
    assert (code.program.samples is not None) == laned
    outputs, _ = code.run(arrays, 1)
    for name, found in zip(names, outputs, strict=False):
        exact = expected[name]
        if exact.dtype.kind == "f":
            np.testing.assert_allclose(found, exact, 8 * info.eps, info.smallest_subnormal, err_msg=name)
            zero = (exact == 0) & (found == 0) & (name not in TIES)
            assert np.array_equal(np.signbit(found[zero]), np.signbit(exact[zero])), name
        else:
            assert np.array_equal(found, exact), name
