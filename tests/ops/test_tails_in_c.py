"""Compiled ops over the whole range of their dtype, against mpmath: with the bounds that NumPy's keep.

All functions of `test_tails`, value and derivatives, stand in one C file: in lanes, a sample in each, and as
plain loops.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def arranged(dtype: Any, optimize: str) -> Iterator[None]:
    """Choose how to compile; the zeros beside logits come with the samples, not as an array of their own."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(variant, "build", lambda source: toolchain.build(source, optimize=optimize))
        patch.setattr(test_tails, "logits", lambda x: x[:, None] * np.array([1, 0], dtype))
        patch.setattr(test_tails, "three", lambda x, y: np.stack([x, y, 0 * x], axis=1))
        yield


def check(computed: dict[str, tuple[list[np.ndarray], list[np.ndarray]]]) -> None:
    for name, (args, found) in computed.items():
        for what, (off, at) in judge(name, CASES[name], args, found).items():
            assert off <= LIMIT, f"{what} of {name} at {at}: off by {off:.3g} units in the last place"


#: Which of two equal zeros they give, of either sign, is not told.
TIES = ("elu", "fmax", "fmin")
#: It refuses such targets.
REFUSED = ("binary_cross_entropy, target",)


def pair_ends(dtype: Any) -> list[np.ndarray]:
    """All pairs of numbers where something happens."""
    info = np.finfo(dtype)
    ends = [np.inf, info.max, info.smallest_normal, info.smallest_subnormal, 0.0]
    numbers = np.array([*ends, 800, 100, 3, 2.5, 2, 1.5, 1, 0.5, 1e-3], dtype)
    numbers = np.concatenate([numbers, -numbers, np.array([np.nan], dtype)])
    return [np.repeat(numbers, len(numbers)), np.tile(numbers, len(numbers))]


#: Either way of every dtype.
WAYS = [(dtype, laned) for dtype in DTYPES for laned in (True, False)]
NAMES_OF_WAYS = [f"{np.dtype(dtype)}-{'lanes' if laned else 'loops'}" for dtype, laned in WAYS]
each_way = pytest.mark.parametrize(("dtype", "laned"), WAYS, ids=NAMES_OF_WAYS)


@pytest.fixture(scope="module", params=WAYS, ids=NAMES_OF_WAYS)
def computed(request: pytest.FixtureRequest) -> Iterator[tuple[Any, ...]]:
    """Of each function, computed by one program: what it gives on points everywhere, and on pairs of ends."""
    dtype, laned = request.param
    with arranged(dtype, "-O1"):
        spread = {name: points(CASES[name], dtype, 24) for name in NAMES}
        ends = {name: pair_ends(dtype)[: len(spread[name])] for name in NAMES if name not in REFUSED}
        given = {
            name: [np.concatenate(x) for x in zip(spread[name], ends.get(name, spread[name]), strict=True)]
            for name in NAMES
        }
        both = compute_in_c(given, laned)

        def part(name: str, start: int, stop: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
            args, found = both[name]
            return [x[start:stop] for x in args], [x[start:stop] for x in found]

        sizes = {name: len(spread[name][0]) for name in NAMES}
        yield (
            dtype,
            {name: part(name, 0, n) for name, n in sizes.items()},
            {name: part(name, n, n + len(ends[name][0])) for name, n in sizes.items() if name in ends},
        )


def test_value_and_derivative_keep_their_accuracy(computed: tuple[Any, ...]) -> None:
    check(computed[1])


@pytest.mark.slow
@each_way
def test_value_and_derivative_keep_their_accuracy_everywhere(dtype: Any, laned: bool) -> None:
    with arranged(dtype, "-O3"):
        check(compute_in_c({name: points(CASES[name], dtype, 120) for name in NAMES}, laned))


def test_derivatives_of_infinities_nan_and_ends_are_as_in_numpy(computed: tuple[Any, ...]) -> None:
    dtype, _, ends = computed
    info = np.finfo(dtype)
    for name, (args, found) in ends.items():
        leaves = [tg.Tensor(x, requires_grad=True) for x in args]
        out = CASES[name].ours(*leaves)
        out.backward(np.ones(out.shape, dtype))
        expected = [out.data, *(np.zeros_like(x.data) if x.grad is None else x.grad for x in leaves)]
        for what, a, b in zip(("value", "slope 0", "slope 1"), found, expected, strict=False):
            np.testing.assert_allclose(
                a, b, 16 * info.eps, 16 * info.smallest_subnormal, err_msg=f"{what} of {name}"
            )


@each_way
def test_infinities_nan_zeros_and_ends_are_as_in_numpy(dtype: Any, laned: bool) -> None:
    """Of every elementwise op that has a rule, on all pairs of numbers where something happens."""
    info, pairs = np.finfo(dtype), pair_ends(dtype)
    names = sorted({*ELEMENTWISE} - {"astype", "gate", "ldexp", "normalize", "where"})
    ops = {name: OPS[name] if name in OPS else getattr(np, name) for name in names}
    counts = {name: f.nin if isinstance(f, np.ufunc) else len(f.arrays) for name, f in ops.items()}
    leaves = [tg.Tensor(x) for x in pairs]

    def compute(*samples: Any) -> list[Any]:
        x = samples if laned else leaves
        return [*(f(*x[: counts[name]]) for name, f in ops.items()), tg.exp(samples[0])]

    arrays = pairs if laned else [np.zeros((), dtype)]
    with arranged(dtype, "-O1"):
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
