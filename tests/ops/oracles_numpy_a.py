"""What the elementwise ops and reductions should compute: Python's math and fractions, element by element."""

import itertools
import math
from fractions import Fraction

import numpy as np


def each(f):
    """The scalar function ``f`` for each element of the broadcast arguments, as Python numbers."""
    return np.vectorize(
        lambda *args: f(*(x.item() if hasattr(x, "item") else x for x in args)), otypes=[float]
    )


def lines(f):
    """The function ``f`` of the list of elements that a reduction brings together, in row-major order."""

    def oracle(x, *, axis=None, keepdims=False):
        axes = [
            i % x.ndim for i in np.atleast_1d(range(x.ndim) if axis is None else axis).astype(int) if x.ndim
        ]
        kept = [i for i in range(x.ndim) if i not in axes]
        out = np.empty([x.shape[i] for i in kept])
        for place in np.ndindex(out.shape):
            whole = dict(zip(kept, place, strict=True))
            reduced = itertools.product(*(range(x.shape[i]) for i in sorted(axes)))
            out[place] = f(
                [
                    x[
                        tuple({**whole, **dict(zip(sorted(axes), r, strict=True))}[i] for i in range(x.ndim))
                    ].item()
                    for r in reduced
                ]
            )
        return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if keepdims else out

    return oracle


def cumulative(f):
    """The function ``f`` of the first 1, 2, ... elements of each line."""

    def oracle(x, *, axis=None):
        x = np.array([v.item() for v in x.flat]) if axis is None else x
        out = np.empty(x.shape)
        for place in np.ndindex(x.shape):
            line = list(place)
            line[axis or 0] = slice(0, place[axis or 0] + 1)
            out[place] = f([v.item() for v in x[tuple(line)]])
        return out

    return oracle


def log_softmax(x, *, axis=-1):
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        line = list(place)
        line[axis] = slice(None)
        out[place] = -math.log(math.fsum(math.exp(v - x[place].item()) for v in x[tuple(line)]))
    return out


def logsumexp(elements):
    return math.log(math.fsum(map(math.exp, elements)))


def median(elements):
    ordered, half = sorted(elements), len(elements) // 2
    return (
        ordered[half]
        if len(elements) % 2
        else float((Fraction(ordered[half - 1]) + Fraction(ordered[half])) / 2)
    )


def product(elements):
    return float(math.prod(map(Fraction, elements)))


def to_whole(x):
    """The nearest whole number, halves to even, from the definition."""
    below = math.floor(Fraction(x))
    rest = Fraction(x) - below
    return float(below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2)))


def round_to(x, *, decimals=0):
    return each(lambda v: to_whole(Fraction(v) * Fraction(10) ** decimals) / 10.0**decimals)(x)


def nan_to_num(x, *, nan=0.0, posinf=None, neginf=None):
    largest = (2 - 2.0**-52) * 2.0**1023

    def one(v):
        if math.isnan(v):
            return nan
        if math.isinf(v):
            return (
                (largest if posinf is None else posinf) if v > 0 else (-largest if neginf is None else neginf)
            )
        return v

    return each(one)(x)


def sign(x):
    return float((x > 0) - (x < 0))


def root_of_three(x):
    return math.copysign(abs(x) ** (1 / 3), x)


#: name of the op: its oracle
ORACLES = {
    "positive": each(lambda x: x),
    "square": each(lambda x: float(Fraction(x) ** 2)),
    "reciprocal": each(lambda x: float(1 / Fraction(x))),
    "absolute": each(abs),
    "fabs": each(math.fabs),
    "sign": each(sign),
    "floor": each(math.floor),
    "ceil": each(math.ceil),
    "trunc": each(math.trunc),
    "rint": each(to_whole),
    "round": round_to,
    "floor_divide": each(lambda x, y: math.floor(Fraction(x) / Fraction(y))),
    "remainder": each(lambda x, y: float(Fraction(x) % Fraction(y))),
    "fmod": each(math.fmod),
    "copysign": each(math.copysign),
    "heaviside": each(lambda x, h: h if x == 0 else float(x > 0)),
    "ldexp": each(lambda x, i: float(Fraction(x) * Fraction(2) ** i)),
    "minimum": each(lambda x, y: x if x < y else y),
    "fmax": each(lambda x, y: x if x > y else y),
    "fmin": each(lambda x, y: x if x < y else y),
    "nan_to_num": nan_to_num,
    "exp2": each(lambda x: math.exp(x * math.log(2))),
    "expm1": each(math.expm1),
    "log2": each(math.log2),
    "log10": each(math.log10),
    "log1p": each(math.log1p),
    "cbrt": each(root_of_three),
    "logaddexp": each(lambda x, y: logsumexp([x, y])),
    "logaddexp2": each(lambda x, y: math.log2(2**x + 2**y)),
    "sin": each(math.sin),
    "cos": each(math.cos),
    "tan": each(math.tan),
    "arcsin": each(math.asin),
    "arccos": each(math.acos),
    "arctan": each(math.atan),
    "sinh": each(math.sinh),
    "cosh": each(math.cosh),
    "arcsinh": each(math.asinh),
    "arccosh": each(math.acosh),
    "arctanh": each(math.atanh),
    "deg2rad": each(math.radians),
    "rad2deg": each(math.degrees),
    "radians": each(math.radians),
    "degrees": each(math.degrees),
    "hypot": each(math.hypot),
    "arctan2": each(math.atan2),
    "sinc": each(lambda x: math.sin(math.pi * x) / (math.pi * x) if x else 1.0),
    "prod": lines(product),
    "min": lines(lambda elements: sorted(elements)[0]),
    "median": lines(median),
    "logsumexp": lines(logsumexp),
    "log_softmax": log_softmax,
    "cumsum": cumulative(math.fsum),
    "cumprod": cumulative(product),
}
