"""Ops, activations and losses over the whole range of their dtype, against mpmath.

Points are spread by magnitude, from the smallest subnormal number to overflow, of either sign. Value and
derivative are within 8 units in the last place, but for the ``EXCEPTIONS``: each says by which factor more,
and why. ``python tests/ops/test_tails.py`` prints the worst of each op.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import tensorgrad as tg

LIMIT = 8.0
DTYPES = (np.float32, np.float64)
F = Callable[..., Any]


def spread(dtype: Any, n: int, seed: int = 0) -> np.ndarray:
    """Numbers of either sign: half all over the range, a quarter near 1, a quarter up to overflow of exp."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(seed)
    low, high = np.log2(float(info.smallest_subnormal)), np.log2(float(info.max))
    wide = np.exp2(np.linspace(low, high - 1e-6, n // 4))
    near = np.exp2(rng.uniform(-12, 4, n // 8))
    tail = rng.uniform(4, 1.1 * float(np.log(info.max)), n // 8)
    positive = np.concatenate([wide, near, tail]).astype(dtype)
    return np.concatenate([positive, -positive])


# What mpmath calls otherwise, or would work at for minutes


def erfc(x: Any) -> Any:
    return mp.mpf(0 if x > 0 else 2) if abs(x) > 1000 else mp.erfc(x)  # exp(-10^6) is below any subnormal


def normal(x: Any) -> Any:
    return erfc(-x / mp.sqrt(2)) / 2


def density(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def sigmoid(x: Any) -> Any:
    return mp.mpf(int(x > 0)) if abs(x) > 10000 else 1 / (1 + mp.exp(-x))


def bell(x: Any) -> Any:
    """The derivative of the sigmoid."""
    return sigmoid(x) * sigmoid(-x)


def softplus(x: Any) -> Any:
    return max(x, mp.mpf(0)) if abs(x) > 10000 else mp.log1p(mp.exp(-abs(x))) + max(x, mp.mpf(0))


def argument(x: Any) -> Any:
    """Of the approximation of gelu, doubled."""
    return 2 * mp.sqrt(2 / mp.pi) * x * (1 + mp.mpf(0.044715) * x * x)


def gelu_tanh_terms(x: Any) -> tuple[Any, Any]:
    inner = 2 * mp.sqrt(2 / mp.pi) * (1 + 3 * mp.mpf(0.044715) * x * x)
    return sigmoid(argument(x)), x * bell(argument(x)) * inner


def sinc_terms(x: Any) -> tuple[Any, Any]:
    return mp.cospi(x) / x, -mp.sincpi(x) / x


def total(terms: F) -> F:
    return lambda *args: mp.fsum(terms(*args))


def whole(x: Any, y: Any) -> Any:
    return mp.floor(x / y)


everywhere: F = lambda *args: True
positive: F = lambda x: x > 0
inside: F = lambda x: abs(x) < 1


@dataclass(frozen=True)
class Case:
    """A function of elements: ours, its value and derivatives in mpmath, and where these are real."""

    ours: F
    value: F
    slopes: tuple[F, ...]
    real: F = everywhere


def unary(ours: F, value: F, slope: F, real: F = everywhere) -> Case:
    return Case(ours, value, (slope,), real)


UNARY: dict[str, Case] = {
    "identity": unary(tg.identity, lambda x: x, lambda x: mp.mpf(1)),
    "positive": unary(tg.positive, lambda x: x, lambda x: mp.mpf(1)),
    "negative": unary(tg.negative, lambda x: -x, lambda x: mp.mpf(-1)),
    "absolute": unary(tg.absolute, abs, mp.sign),
    "fabs": unary(tg.fabs, abs, mp.sign),
    "square": unary(tg.square, lambda x: x * x, lambda x: 2 * x),
    "reciprocal": unary(tg.reciprocal, lambda x: 1 / x, lambda x: -1 / (x * x)),
    "exp": unary(tg.exp, mp.exp, mp.exp),
    "exp2": unary(tg.exp2, lambda x: mp.power(2, x), lambda x: mp.power(2, x) * mp.log(2)),
    "expm1": unary(tg.expm1, mp.expm1, mp.exp),
    "log": unary(tg.log, mp.log, lambda x: 1 / x, positive),
    "log2": unary(tg.log2, lambda x: mp.log(x, 2), lambda x: 1 / (x * mp.log(2)), positive),
    "log10": unary(tg.log10, mp.log10, lambda x: 1 / (x * mp.log(10)), positive),
    "log1p": unary(tg.log1p, mp.log1p, lambda x: 1 / (1 + x), lambda x: x > -1),
    "sqrt": unary(tg.sqrt, mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), positive),
    "cbrt": unary(
        tg.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2)
    ),
    "sin": unary(tg.sin, mp.sin, mp.cos),
    "cos": unary(tg.cos, mp.cos, lambda x: -mp.sin(x)),
    "tan": unary(tg.tan, mp.tan, lambda x: mp.sec(x) ** 2),
    "arcsin": unary(tg.arcsin, mp.asin, lambda x: 1 / mp.sqrt((1 - x) * (1 + x)), inside),
    "arccos": unary(tg.arccos, mp.acos, lambda x: -1 / mp.sqrt((1 - x) * (1 + x)), inside),
    "arctan": unary(tg.arctan, mp.atan, lambda x: 1 / (1 + x * x)),
    "sinh": unary(tg.sinh, mp.sinh, mp.cosh),
    "cosh": unary(tg.cosh, mp.cosh, mp.sinh),
    "tanh": unary(tg.tanh, mp.tanh, lambda x: mp.sech(x) ** 2),
    "arcsinh": unary(tg.arcsinh, mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x)),
    "arccosh": unary(tg.arccosh, mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1)), lambda x: x > 1),
    "arctanh": unary(tg.arctanh, mp.atanh, lambda x: 1 / ((1 - x) * (1 + x)), inside),
    "deg2rad": unary(tg.deg2rad, lambda x: x * mp.pi / 180, lambda x: mp.pi / 180),
    "rad2deg": unary(tg.rad2deg, lambda x: x * 180 / mp.pi, lambda x: 180 / mp.pi),
    "sinc": unary(tg.sinc, mp.sincpi, total(sinc_terms)),
    "sigmoid": unary(tg.sigmoid, sigmoid, bell),
    "softplus": unary(tg.softplus, softplus, sigmoid),
    "silu": unary(tg.silu, lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * bell(x)),
    "relu": unary(tg.relu, lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0)),
    "leaky_relu": unary(
        tg.leaky_relu, lambda x: x if x > 0 else mp.mpf(0.01) * x, lambda x: mp.mpf(1 if x > 0 else 0.01)
    ),
    "leaky_relu, steep": unary(
        lambda x: tg.leaky_relu(x, slope=3.0),
        lambda x: x if x > 0 else 3 * x,
        lambda x: mp.mpf(1 if x > 0 else 3),
    ),
    "elu": unary(
        tg.elu, lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x)
    ),
    "elu, deep": unary(
        lambda x: tg.elu(x, alpha=2.5),
        lambda x: x if x > 0 else 2.5 * mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else 2.5 * mp.exp(x),
    ),
    "erf": unary(
        tg.erf,
        lambda x: mp.sign(x) if abs(x) > 1000 else mp.erf(x),
        lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
    ),
    "erfc": unary(tg.erfc, erfc, lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x)),
    "gelu": unary(tg.gelu, lambda x: x * normal(x), lambda x: normal(x) + x * density(x)),
    "gelu, tanh": unary(
        lambda x: tg.gelu(x, approximate="tanh"), lambda x: x * sigmoid(argument(x)), total(gelu_tanh_terms)
    ),
    # A row of two logits, x and 0: shares and losses of the first
    "softmax": unary(lambda x: tg.softmax(logits(x))[:, 0], sigmoid, bell),
    "log_softmax": unary(
        lambda x: tg.log_softmax(logits(x))[:, 0], lambda x: -softplus(-x), lambda x: sigmoid(-x)
    ),
    "logsumexp": unary(lambda x: tg.logsumexp(logits(x), axis=1), softplus, sigmoid),
    "cross_entropy": unary(
        lambda x: tg.cross_entropy(logits(x), np.zeros(len(x), int), reduction="none"),
        lambda x: softplus(-x),
        lambda x: -sigmoid(-x),
    ),
    "cross_entropy, weighted": unary(
        lambda x: tg.cross_entropy(
            logits(x), np.ones(len(x), int), class_weights=np.array([1, 3]), reduction="none"
        ),
        lambda x: 3 * softplus(x),
        lambda x: 3 * sigmoid(x),
    ),
    "cross_entropy, one-hot": unary(
        lambda x: tg.cross_entropy(logits(x), np.tile([1, 0], (len(x), 1)), reduction="none"),
        lambda x: softplus(-x),
        lambda x: -sigmoid(-x),
    ),
    "binary_cross_entropy, yes": unary(
        lambda x: tg.binary_cross_entropy(x, np.ones(len(x), int), reduction="none"),
        lambda x: softplus(-x),
        lambda x: -sigmoid(-x),
    ),
    "binary_cross_entropy, no": unary(
        lambda x: tg.binary_cross_entropy(x, np.zeros(len(x), bool), reduction="none"), softplus, sigmoid
    ),
    "binary_cross_entropy, weighted": unary(
        lambda x: tg.binary_cross_entropy(x, np.ones(len(x), int), positive_weight=2.5, reduction="none"),
        lambda x: 2.5 * softplus(-x),
        lambda x: -2.5 * sigmoid(-x),
    ),
    "binary_cross_entropy, target": unary(
        lambda t: tg.binary_cross_entropy(np.full(len(t), -3, t.dtype), t, reduction="none"),
        lambda t: t * softplus(mp.mpf(3)) + (1 - t) * softplus(mp.mpf(-3)),
        lambda t: mp.mpf(3),
        lambda t: 0 <= t <= 1,
    ),
}  # fmt: skip


def logits(x: Any) -> Any:
    return np.stack([x, np.zeros(len(x), x.dtype)], axis=1)


def huber(d: Any) -> Any:
    return d * d / 2 if abs(d) <= 0.5 else mp.mpf(0.5) * (abs(d) - mp.mpf(0.25))


def rounded(x: Any, y: Any) -> Any:
    return mp.sign(x / y) * mp.floor(abs(x / y))


first: F = lambda x, y: mp.mpf(1)
second: F = lambda x, y: mp.mpf(1)
nothing: F = lambda x, y: mp.mpf(0)
differ: F = lambda x, y: x != y

BINARY: dict[str, Case] = {
    "add": Case(tg.add, lambda x, y: x + y, (first, second)),
    "subtract": Case(tg.subtract, lambda x, y: x - y, (first, lambda x, y: mp.mpf(-1))),
    "multiply": Case(tg.multiply, lambda x, y: x * y, (lambda x, y: y, lambda x, y: x)),
    "divide": Case(tg.divide, lambda x, y: x / y, (lambda x, y: 1 / y, lambda x, y: -x / (y * y))),
    "power": Case(
        tg.power,
        mp.power,
        (lambda x, y: y * mp.power(x, y - 1), lambda x, y: mp.power(x, y) * mp.log(x)),
        lambda x, y: x > 0,
    ),
    "logaddexp": Case(
        tg.logaddexp,
        lambda x, y: max(x, y) + mp.log1p(mp.exp(-abs(x - y))),
        (lambda x, y: sigmoid(x - y), lambda x, y: sigmoid(y - x)),
    ),
    "logaddexp2": Case(
        tg.logaddexp2,
        lambda x, y: max(x, y) + mp.log1p(mp.power(2, -abs(x - y))) / mp.log(2),
        (lambda x, y: 1 / (1 + mp.power(2, y - x)), lambda x, y: 1 / (1 + mp.power(2, x - y))),
    ),
    "hypot": Case(tg.hypot, mp.hypot, (lambda x, y: x / mp.hypot(x, y), lambda x, y: y / mp.hypot(x, y))),
    "arctan2": Case(
        tg.arctan2, mp.atan2, (lambda y, x: x / (x * x + y * y), lambda y, x: -y / (x * x + y * y))
    ),
    "remainder": Case(tg.remainder, lambda x, y: x - y * whole(x, y), (first, lambda x, y: -whole(x, y))),
    "fmod": Case(tg.fmod, lambda x, y: x - y * rounded(x, y), (first, lambda x, y: -rounded(x, y))),
    "floor_divide": Case(tg.floor_divide, whole, (nothing, nothing)),
    "maximum": Case(tg.maximum, max, (lambda x, y: mp.mpf(x > y), lambda x, y: mp.mpf(x < y)), differ),
    "minimum": Case(tg.minimum, min, (lambda x, y: mp.mpf(x < y), lambda x, y: mp.mpf(x > y)), differ),
    "fmax": Case(tg.fmax, max, (lambda x, y: mp.mpf(x > y), lambda x, y: mp.mpf(x < y)), differ),
    "fmin": Case(tg.fmin, min, (lambda x, y: mp.mpf(x < y), lambda x, y: mp.mpf(x > y)), differ),
    "copysign": Case(
        tg.copysign,
        lambda x, y: abs(x) * mp.sign(y),
        (lambda x, y: mp.sign(x) * mp.sign(y), nothing),
    ),
    "heaviside": Case(tg.heaviside, lambda x, y: mp.mpf(x > 0), (nothing, nothing)),
    "mse": Case(
        lambda x, y: tg.mse(x, y, reduction="none"),
        lambda x, y: (x - y) ** 2,
        (lambda x, y: 2 * (x - y), lambda x, y: 2 * (y - x)),
    ),
    "mae": Case(
        lambda x, y: tg.mae(x, y, reduction="none"),
        lambda x, y: abs(x - y),
        (lambda x, y: mp.sign(x - y), lambda x, y: mp.sign(y - x)),
    ),
    "huber": Case(
        lambda x, y: tg.huber(x, y, delta=0.5, reduction="none"),
        lambda x, y: huber(x - y),
        (
            lambda x, y: min(max(x - y, mp.mpf(-0.5)), mp.mpf(0.5)),
            lambda x, y: min(max(y - x, mp.mpf(-0.5)), mp.mpf(0.5)),
        ),
    ),
    "softmax of three": Case(
        lambda x, y: tg.softmax(three(x, y))[:, 0],
        lambda x, y: sigmoid(x - softplus(y)),
        (
            lambda x, y: bell(x - softplus(y)),
            lambda x, y: -sigmoid(x - softplus(y)) * sigmoid(y - softplus(x)),
        ),
    ),
    "cross_entropy of three": Case(
        lambda x, y: tg.cross_entropy(three(x, y), np.zeros(len(x), int), reduction="none"),
        lambda x, y: softplus(softplus(y) - x),
        (lambda x, y: -sigmoid(softplus(y) - x), lambda x, y: sigmoid(y - softplus(x))),
    ),
    "binary_cross_entropy": Case(
        lambda x, y: tg.binary_cross_entropy(
            x, np.where(y > 0, 0.875, 0.125).astype(x.dtype), reduction="none"
        ),
        lambda x, y: (0.875 if y > 0 else 0.125) * softplus(-x) + (0.125 if y > 0 else 0.875) * softplus(x),
        (lambda x, y: sigmoid(x) - (0.875 if y > 0 else 0.125), nothing),
    ),
}


def three(x: Any, y: Any) -> Any:
    return np.stack([x, y, np.zeros(len(x), x.dtype)], axis=1)


# Where 8 units cannot be kept, by which factor more there are, and why


def root(terms: F) -> F:
    """Near a root the terms cancel: their size counts."""

    def factor(tiny: Any, *args: Any) -> Any:
        found = terms(*args)
        size, left = mp.fsum(map(abs, found)), abs(mp.fsum(found))
        return size / left if left else mp.inf

    return factor


def subnormal(share: F, weight: F) -> F:
    """What is multiplied with a subnormal number has no more digits than that."""
    return lambda tiny, *args: abs(weight(*args)) if abs(share(*args)) < tiny else mp.mpf(1)


def both(*factors: F) -> F:
    return lambda tiny, *args: mp.fprod(factor(tiny, *args) for factor in factors)


def apart(tiny: Any, *logits: Any) -> Any:
    """The difference of two numbers is rounded before its exponential: half a unit for each unit of it."""
    return 1 + max(logits) - min(logits)


EXCEPTIONS: dict[tuple[str, str], F] = {
    ("silu", "value"): subnormal(sigmoid, lambda x: x),
    ("silu", "slope 0"): both(root(lambda x: (sigmoid(x), x * bell(x))), subnormal(sigmoid, lambda x: x)),
    ("gelu", "value"): subnormal(normal, lambda x: x),
    ("gelu", "slope 0"): both(root(lambda x: (normal(x), x * density(x))), subnormal(density, lambda x: x)),
    # The cubic is rounded before its exponential.
    ("gelu, tanh", "value"): lambda tiny, x: 1 + abs(argument(x)),
    ("gelu, tanh", "slope 0"): both(lambda tiny, x: 1 + abs(argument(x)), root(gelu_tanh_terms)),
    ("sinc", "slope 0"): root(sinc_terms),
    # 2^x overflows a little before ln(2) 2^x does.
    ("exp2", "slope 0"): lambda tiny, x: mp.inf if mp.power(2, x) * tiny > 4 else 1,
    ("power", "slope 0"): lambda tiny, x, y: (
        mp.inf if mp.power(x, y - 1) * tiny > 4 else abs(y) if mp.power(x, y - 1) < tiny else mp.mpf(1)
    ),
    ("power", "slope 1"): subnormal(mp.power, lambda x, y: mp.log(x)),
    ("logaddexp", "value"): root(lambda x, y: (max(x, y), mp.log1p(mp.exp(-abs(x - y))))),
    ("logaddexp2", "value"): root(lambda x, y: (max(x, y), mp.log1p(mp.power(2, -abs(x - y))))),
    **{(f"logaddexp{n}", f"slope {i}"): apart for n in ("", "2") for i in (0, 1)},
    ("log_softmax", "slope 0"): lambda tiny, x: apart(tiny, x, 0),  # shares are exponentials of the result
    **{
        ("softmax of three", what): lambda tiny, x, y: apart(tiny, x, y, 0)
        for what in ("value", "slope 0", "slope 1")
    },
    **{
        ("cross_entropy of three", what): lambda tiny, x, y: apart(tiny, x, y, 0)
        for what in ("value", "slope 0", "slope 1")
    },
    # 1 / y is the larger, the smaller y is.
    ("divide", "slope 1"): subnormal(lambda x, y: x / y, lambda x, y: 1 / y),
    ("arctan2", "slope 0"): subnormal(lambda y, x: x / mp.hypot(x, y), lambda y, x: 1 / mp.hypot(x, y)),
    ("arctan2", "slope 1"): subnormal(lambda y, x: y / mp.hypot(x, y), lambda y, x: 1 / mp.hypot(x, y)),
    # The difference overflows.
    ("huber", "value"): lambda tiny, x, y: mp.inf if abs(x - y) * tiny > 4 else 1,
    ("binary_cross_entropy", "slope 0"): root(
        lambda x, y: ((0.125 if y > 0 else 0.875) * sigmoid(x), -(0.875 if y > 0 else 0.125) * sigmoid(-x))
    ),
}  # fmt: skip


def units(got: float, exact: Any, info: Any, factor: Any) -> float:
    """How many units in the last place a number is off, over the factor of its exception."""
    if factor == mp.inf:
        return 0.0
    largest = mp.mpf(float(info.max))
    if not np.isfinite(got):
        right = abs(exact) > largest * (1 - LIMIT * mp.mpf(float(info.eps))) and np.sign(got) == mp.sign(
            exact
        )
        return 0.0 if right else np.inf
    unit = mp.mpf(float(info.smallest_subnormal))
    if exact:
        unit = max(unit, mp.mpf(2) ** (int(mp.floor(mp.log(abs(exact), 2))) - info.nmant))
    return float(min(abs(mp.mpf(float(got)) - exact) / unit / factor, mp.mpf(1e300)))


def points(case: Case, dtype: Any, n: int) -> list[np.ndarray]:
    """The arguments: one spread, or two, of which a half are near one another."""
    if len(case.slopes) == 1:
        found = [spread(dtype, n)]
    else:
        rng = np.random.default_rng(1)
        x, y = rng.permutation(spread(dtype, n)), rng.permutation(spread(dtype, n, 1))
        near = (x * rng.uniform(-3, 3, len(x))).astype(dtype)
        small = np.abs(x), rng.uniform(-2, 2, len(x)).astype(dtype)
        found = [np.concatenate(parts) for parts in ((x, x, small[0]), (y, near, small[1]))]
        found = [v[np.isfinite(found[1]) & (found[1] != 0)] for v in found]
    kept = [case.real(*map(float, args)) for args in zip(*found, strict=True)]
    return [v[kept] for v in found]


def worst(name: str, case: Case, dtype: Any, n: int) -> dict[str, tuple[float, tuple[float, ...]]]:
    """Of value and derivatives the most units off, over the factor of the exception, and where."""
    with np.errstate(all="ignore"):
        args = points(case, dtype, n)
        leaves = [tg.Tensor(x, requires_grad=True) for x in args]
        out = case.ours(*leaves)
        out.backward(np.ones(out.shape))
    slopes = [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad for leaf in leaves]
    return judge(name, case, args, [out.data, *slopes])


def judge(
    name: str, case: Case, args: list[np.ndarray], found: list[np.ndarray]
) -> dict[str, tuple[float, tuple[float, ...]]]:
    """The same of a value and derivatives that were found."""
    dtype = args[0].dtype
    info = np.finfo(dtype)
    tiny = mp.mpf(float(info.smallest_normal))
    result = {}
    with mp.workdps(60 if len(args) == 1 else 700 if dtype == np.float64 else 120):  # sums of all magnitudes
        exact = [[mp.mpf(float(v)) for v in x] for x in args]
        for k, (values, f) in enumerate(zip(found, (case.value, *case.slopes), strict=True)):
            what = f"slope {k - 1}" if k else "value"
            factor = EXCEPTIONS.get((name, what), lambda *args: mp.mpf(1))
            off = [
                units(v, f(*at), info, max(factor(tiny, *at), 1))
                for v, *at in zip(values, *exact, strict=True)
            ]
            i = int(np.argmax(off))
            result[what] = off[i], tuple(float(x[i]) for x in args)
    return result


CASES = {**UNARY, **BINARY}


def check(name: str, dtype: Any, n: int) -> None:
    for what, (off, at) in worst(name, CASES[name], dtype, n).items():
        assert off <= LIMIT, f"{what} of {name} at {at}: off by {off:.3g} units in the last place"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_value_and_derivative_keep_their_accuracy(name: str, dtype: Any) -> None:
    check(name, dtype, 40)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_value_and_derivative_keep_their_accuracy_everywhere(name: str, dtype: Any) -> None:
    check(name, dtype, 400)


# Higher derivatives: the formulas are differentiated in turn, also at 0, where a branch or a size would show

SMOOTH = (
    "sigmoid", "softplus", "silu", "tanh", "gelu", "gelu, tanh", "erf", "erfc", "arctan", "exp2", "sinc",
    "softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy, weighted",
    "cross_entropy, one-hot", "binary_cross_entropy, yes",
)  # fmt: skip
PLACES = (0.0, 1e-8, 0.3, -0.7, 1.5, 3.0, -9.0, 12.25, 25.0, -30.0, -36.5, -100.0, 200.3, -600.0)


def nest(f: F, order: int) -> F:
    """The derivative of an order of a function of one number."""
    for _ in range(order):
        f = tg.grad(f)
    return f


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("name", SMOOTH)
def test_higher_derivatives_are_right(name: str, order: int) -> None:
    case = UNARY[name]
    derivative = nest(lambda x: np.sum(case.ours(np.stack([x]))), order)
    for x in PLACES:
        if name == "sinc" and (x == 0 or (order == 3 and abs(x) < 1)):
            continue  # our oracle divides by x
        with mp.workdps(150):
            exact = float(mp.diff(case.slopes[0], mp.mpf(x), order - 1, h=mp.mpf(10) ** -40))
        assert float(derivative(x)) == pytest.approx(exact, rel=1e-10, abs=1e-13 * (abs(x) < 5)), x


@pytest.mark.parametrize(("f", "x", "derivatives"), [
    (lambda x: np.logaddexp(x, 0.0), 0.0, (1 / 2, 1 / 4, 0, -1 / 8)),
    (lambda x: np.logaddexp2(x, 0.0), 0.0, (1 / 2, np.log(2) / 4, 0, -(np.log(2) ** 3) / 8)),
    (lambda x: np.logaddexp(x, x), 1.0, (1, 0, 0)),
    (tg.sigmoid, 0.0, (1 / 4, 0, -1 / 8, 0, 1 / 4)),
    (np.tanh, 0.0, (1, 0, -2, 0, 16)),
    (np.sinc, 0.0, (0, -(np.pi**2) / 3, 0, np.pi**4 / 5)),
    (lambda x: np.hypot(x, 4.0), 3.0, (3 / 5, 16 / 125, -9 * 16 / 5**5)),
    (lambda x: np.arctan2(x, 4.0), 3.0, (4 / 25, -24 / 625)),
    (lambda x: x**0.3, 2.0, (0.3 * 2**-0.7, -0.21 * 2**-1.7, 0.357 * 2**-2.7)),
    (lambda x: x**-1.3, 2.0, (-1.3 * 2**-2.3, 2.99 * 2**-3.3, -9.867 * 2**-4.3)),
    (lambda x: tg.softmax(np.stack([x, 0 * x]))[0], 0.0, (1 / 4, 0, -1 / 8, 0)),
    (lambda x: tg.log_softmax(np.stack([x, 0 * x]))[0], 0.0, (1 / 2, -1 / 4, 0, 1 / 8)),
])  # fmt: skip
def test_higher_derivatives_where_two_branches_meet(f: F, x: float, derivatives: tuple[float, ...]) -> None:
    for order, exact in enumerate(derivatives, start=1):
        assert float(nest(f, order)(x)) == pytest.approx(exact, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(("f", "factor"), [(np.arcsin, 1), (np.arccos, -1), (np.arctanh, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_second_derivatives_near_their_root(f: F, factor: float, dtype: Any) -> None:
    for x in (dtype(1e-3), dtype(-1e-9), dtype(1e-30)):
        exact = factor * float(x) * (1 + (2 if factor == 2 else 1.5) * float(x) ** 2)
        assert float(nest(f, 2)(x)) == pytest.approx(exact, rel=8 * float(np.finfo(dtype).eps) + 8e-12, abs=0)


@pytest.mark.parametrize(("f", "slope"), [
    (lambda x: np.log(tg.sigmoid(x)), 1.0),
    (lambda x: np.log(tg.softplus(x)), 1.0),
    (lambda x: np.log(tg.softmax(np.stack([x, 0 * x]))[0]), 1.0),
    (lambda x: np.log(tg.cross_entropy(np.stack([np.stack([-x, 0 * x])]), np.array([0]))), 1.0),
    (lambda x: np.log(tg.erfc(-x / 4)), 2 / 4 / np.sqrt(np.pi) * np.exp(-25) / 1.5374597944280349e-12),
], ids=["sigmoid", "softplus", "softmax", "cross_entropy", "erfc"])  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slope_of_a_logarithm_of_a_tail(f: F, slope: float, dtype: Any) -> None:
    found = tg.grad(f)(dtype(-20))
    assert found.dtype == dtype
    assert float(found) == pytest.approx(slope, rel=1e-5 if dtype == np.float32 else 1e-8)


def test_no_tail_warns() -> None:
    for dtype in DTYPES:
        x = np.array([-np.inf, -float(np.finfo(dtype).max), -1e3, 0, 1e3, float(np.finfo(dtype).max)], dtype)
        for f in (tg.sigmoid, tg.tanh, tg.softplus, tg.silu, tg.gelu, tg.erf, tg.erfc):
            assert not np.isnan(tg.grad(lambda x, f=f: np.sum(f(x)))(x[1:])).any(), f
        assert not np.isnan(tg.grad(lambda x: np.sum(tg.gelu(x, approximate="tanh")))(x[1:])).any()
        for f in (tg.sigmoid, tg.tanh, tg.erf):
            assert tg.grad(f)(x[0]) == 0


if __name__ == "__main__":
    for name, case in CASES.items():
        for dtype in DTYPES:
            found = worst(name, case, dtype, 200)
            flag = "**" if any(off > LIMIT for off, _ in found.values()) else "  "
            print(
                flag,
                name,
                np.dtype(dtype).name,
                {k: (round(v, 1), at) for k, (v, at) in found.items()},
                flush=True,
            )
