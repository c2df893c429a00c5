"""What reductions, cumulative functions and softmax should compute: of the list of elements in question."""

import math
from fractions import Fraction

import numpy as np

from oracles.loops import each, reduction


def variance(x, *, axis=None, ddof=0, keepdims=False):
    def of_list(elements):
        mean = math.fsum(elements) / len(elements)
        return math.fsum((v - mean) ** 2 for v in elements) / (len(elements) - ddof)

    return reduction(of_list)(x, axis=axis, keepdims=keepdims)


def median(elements):
    ordered, half = sorted(elements), len(elements) // 2
    return (
        ordered[half]
        if len(elements) % 2
        else float((Fraction(ordered[half - 1]) + Fraction(ordered[half])) / 2)
    )


def product(elements):
    return float(math.prod(map(Fraction, elements)))


def logsumexp(elements):
    return math.log(math.fsum(map(math.exp, elements)))


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


def softmax(x, *, axis=-1):
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        line = list(place)
        line[axis] = slice(None)
        out[place] = math.exp(x[place]) / math.fsum(math.exp(v) for v in x[tuple(line)])
    return out


def log_softmax(x, *, axis=-1):
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        line = list(place)
        line[axis] = slice(None)
        out[place] = -math.log(math.fsum(math.exp(v - x[place].item()) for v in x[tuple(line)]))
    return out


#: The oracle of each op, by its name.
ORACLES = {
    "sum": reduction(math.fsum),
    "mean": reduction(lambda elements: math.fsum(elements) / len(elements)),
    "var": variance,
    "prod": reduction(product),
    "max": reduction(lambda elements: sorted(elements)[-1]),
    "min": reduction(lambda elements: sorted(elements)[0]),
    "median": reduction(median),
    "logsumexp": reduction(logsumexp),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "cumsum": cumulative(math.fsum),
    "cumprod": cumulative(product),
    "normalize": each(lambda x, mean, gain, shift: (x - mean) * gain + shift),
}
