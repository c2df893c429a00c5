"""Exponentials, logarithms and roots.

At 0 the roots and logarithms have an infinite slope, and give it, with NumPy's warning. logaddexp of -inf and
-inf is -inf, with derivative 0; of inf and inf it is inf, with derivative NaN.
"""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.core import Array, differentiate

LN2, LN10 = math.log(2), math.log(10)

exp = differentiate(np.exp, x=lambda g, out, x: g * out)
exp2 = differentiate(np.exp2, x=lambda g, out, x: g * out * LN2)
expm1 = differentiate(np.expm1, x=lambda g, out, x: g * np.exp(x))  # out + 1 would round to 0 for x < -37

log = differentiate(np.log, x=lambda g, out, x: g / x)
log2 = differentiate(np.log2, x=lambda g, out, x: g / (x * LN2))
log10 = differentiate(np.log10, x=lambda g, out, x: g / (x * LN10))
log1p = differentiate(np.log1p, x=lambda g, out, x: g / (1 + x))

sqrt = differentiate(np.sqrt, x=lambda g, out, x: 0.5 * g / out)
cbrt = differentiate(np.cbrt, x=lambda g, out, x: g / (3 * out * out))


def _lead(y: Array, x: Array) -> Array:
    """y - x; inf where both are -inf, so that neither has a share in their sum then, rather than NaN."""
    with np.errstate(invalid="ignore"):
        return np.where((x == -np.inf) & (y == -np.inf), np.inf, y - x)


# The share exp(x - out) is 1 / (1 + exp(y - x)): for large x, x - out is lost to rounding, y - x is not.
logaddexp = differentiate(
    np.logaddexp,
    x=lambda g, out, x, y: g * np.exp(-np.logaddexp(0, _lead(y, x))),
    y=lambda g, out, x, y: g * np.exp(-np.logaddexp(0, _lead(x, y))),
)
logaddexp2 = differentiate(
    np.logaddexp2,
    x=lambda g, out, x, y: g * np.exp2(-np.logaddexp2(0, _lead(y, x))),
    y=lambda g, out, x, y: g * np.exp2(-np.logaddexp2(0, _lead(x, y))),
)
