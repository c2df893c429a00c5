"""Elementwise ops: arithmetic, steps, remainders, extrema, choice.

Arguments broadcast; the engine sums the cotangents back to the arguments' shapes.

Where a derivative has a choice: abs, fabs, copysign and relu have derivative 0 at 0; equal arguments of
maximum, minimum, fmax, fmin and clip share the gradient equally; both are subgradients. sign, heaviside and
rounding have derivative 0 at their steps as well; remainder and fmod count, at theirs, the y that they took.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.core import Array, differentiate, implements, op
from tensorgrad.core.operators import NUMPY

add = differentiate(np.add, x=lambda g, out, x, y: g, y=lambda g, out, x, y: g)
subtract = differentiate(np.subtract, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g)
multiply = differentiate(np.multiply, x=lambda g, out, x, y: g * y, y=lambda g, out, x, y: g * x)
divide = differentiate(np.divide, x=lambda g, out, x, y: g / y, y=lambda g, out, x, y: -g * out / y)
negative = differentiate(np.negative, x=lambda g, out, x: -g)
positive = differentiate(np.positive, x=lambda g, out, x: g)
square = differentiate(np.square, x=lambda g, out, x: g * (2 * x))
reciprocal = differentiate(np.reciprocal, x=lambda g, out, x: -g * out * out)


def _lowered(y: Array) -> Array:
    """The exponent y - 1; 1 where y is 0, since d/dx x^0 = 0 x is 0 even at x = 0, where 0 x^-1 is not."""
    if isinstance(y, (int, float)):  # kept a Python scalar, which promotes nothing
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _log_of_base(x: Array) -> Array:
    """log x; 0 where x is 0, since d/dy 0^y is 0 for y > 0, where 0^y log 0 is not."""
    if isinstance(x, (int, float)):
        return float(np.log(x)) if x else 0.0
    return np.log(np.where(x == 0, 1, x))


power = differentiate(
    np.power,
    x=lambda g, out, x, y: g * y * x ** _lowered(y),
    y=lambda g, out, x, y: g * out * _log_of_base(x),
)


@implements(np.float_power)
def float_power(x1: Array, x2: Array, /) -> Array:
    """``x1 ** x2`` in float64, whatever the dtypes; see `numpy.float_power`. The cotangents are cast back.

    >>> tg.float_power(np.array([1, 2], dtype="float32"), -1)
    array([1. , 0.5])
    """
    return np.power(astype(x1, dtype="float64"), astype(x2, dtype="float64"))


# Steps: zero between them, and taken to be zero at them

_zero = lambda g, out, x: np.zeros_like(x)

sign = differentiate(np.sign, x=_zero)
floor = differentiate(np.floor, x=_zero)
ceil = differentiate(np.ceil, x=_zero)
trunc = differentiate(np.trunc, x=_zero)
rint = differentiate(np.rint, x=_zero)
floor_divide = differentiate(
    np.floor_divide, x=lambda g, out, x, y: np.zeros_like(x), y=lambda g, out, x, y: np.zeros_like(y)
)
heaviside = differentiate(
    np.heaviside, x=lambda g, out, x, h: np.zeros_like(x), h=lambda g, out, x, h: np.where(x == 0, g, 0)
)


@op(elementwise=True, numpy=np.round)
def round(x: Array, *, decimals: int = 0) -> Array:
    """``x`` rounded to ``decimals``, halves to even; see `numpy.round`. Its derivative is 0.

    >>> tg.round(np.array([0.5, 1.26]), decimals=1)
    array([0.5, 1.3])
    """
    return np.round(x, decimals)


round.defvjp(x=lambda g, out, x, decimals: np.zeros_like(x))
around = round
NUMPY[np.around] = NUMPY[np.round]  # NumPy's aliases are functions of their own
NUMPY[np.fix] = trunc

# Sizes, signs and remainders

absolute = abs = differentiate(np.absolute, x=lambda g, out, x: g * np.sign(x))
fabs = differentiate(np.fabs, x=lambda g, out, x: g * np.sign(x))
copysign = differentiate(
    np.copysign,
    x=lambda g, out, x, y: g * np.sign(x) * np.sign(out),
    y=lambda g, out, x, y: np.zeros_like(y),
)
ldexp = differentiate(np.ldexp, x=lambda g, out, x, i: np.ldexp(g, i), i=None)
# (x - out) / y is the whole number of times that y was taken off, up to rounding.
remainder = mod = differentiate(
    np.remainder, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g * np.rint((x - out) / y)
)
fmod = differentiate(np.fmod, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g * np.rint((x - out) / y))

# Extrema. A NaN lets the gradient of maximum and minimum pass to both arguments, and so shows;
# fmax and fmin skip it.

maximum = differentiate(
    np.maximum,
    x=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(x < y, 0, g)),
    y=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(y < x, 0, g)),
)
minimum = differentiate(
    np.minimum,
    x=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(x > y, 0, g)),
    y=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(y > x, 0, g)),
)
fmax = differentiate(
    np.fmax,
    x=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where((x > y) | np.isnan(y), g, 0)),
    y=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where((y > x) | np.isnan(x), g, 0)),
)
fmin = differentiate(
    np.fmin,
    x=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where((x < y) | np.isnan(y), g, 0)),
    y=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where((y < x) | np.isnan(x), g, 0)),
)


@implements(np.clip)
def clip(
    a: Array,
    a_min: Array = None,
    a_max: Array = None,
    *,
    min: Array = None,
    max: Array = None,
) -> Array:
    """``minimum(maximum(a, a_min), a_max)``; see `numpy.clip`.

    The gradient passes to ``a`` inside the bounds and to the bound outside; at a bound they share it equally.

    >>> tg.clip(np.array([-1.0, 0.5, 3.0]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    if not (a_min is None and a_max is None) and not (min is None and max is None):
        raise ValueError("clip: expected a_min and a_max, or min and max, got some of both")
    lower = a_min if min is None else min
    upper = a_max if max is None else max
    if lower is None and upper is None:
        return np.positive(a)
    a = a if lower is None else np.maximum(a, lower)
    return a if upper is None else np.minimum(a, upper)


@op(elementwise=True, numpy=np.where)
def where(condition: Array, x: Array, y: Array) -> Array:
    """``x`` where the condition holds, ``y`` elsewhere; see `numpy.where`. No gradient to the condition.

    >>> tg.where(np.array([True, False]), 1.0, np.array([2.0, 3.0]))
    array([1., 3.])
    """
    return np.where(condition, x, y)


where.defvjp(
    condition=None,
    x=lambda g, out, condition, x, y: np.where(condition, g, 0),
    y=lambda g, out, condition, x, y: np.where(condition, 0, g),
)


@op(elementwise=True, numpy=np.nan_to_num)
def nan_to_num(
    x: Array, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """``x`` with NaN and infinities replaced by constants; see `numpy.nan_to_num`. Those have derivative 0.

    >>> tg.nan_to_num(np.array([1.0, np.nan, np.inf]), posinf=9.0)
    array([1., 0., 9.])
    """
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


nan_to_num.defvjp(x=lambda g, out, x, **replacements: np.where(np.isfinite(x), g, 0))


@op(elementwise=True)
def sigmoid(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x)), in the tanh form that never overflows.

    >>> tg.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return 0.5 * np.tanh(0.5 * x) + 0.5


sigmoid.defvjp(x=lambda g, out, x: g * out * (1 - out))


@op(elementwise=True)
def relu(x: Array) -> Array:
    """Rectified linear unit max(x, 0); its derivative at 0 is taken to be 0.

    >>> tg.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.maximum(x, 0)


def masked(x: Array, hit: Array, out: Array = None) -> Array:
    """``x`` where ``hit``, elsewhere 0: as bits times 0 or 1, for numpy.where branches on each element."""
    if x.dtype.itemsize > 8:
        return np.where(hit, x, x.dtype.type(0))
    bits = f"i{x.dtype.itemsize}"
    out = None if out is None else out.view(bits)
    return np.multiply(x.view(bits), hit.view(np.int8), out=out).view(x.dtype)


@op
def gate(x: Array, condition: Array) -> Array:
    """``x`` where the boolean ``condition``, of the same shape, holds; elsewhere 0, whatever ``x`` is there.

    >>> tg.ops.elementwise.gate(np.array([1.0, np.nan]), np.array([True, False]))
    array([1., 0.])
    """
    if getattr(condition, "dtype", None) != np.bool_ or np.shape(condition) != np.shape(x):
        came = f"{getattr(condition, 'dtype', type(condition).__name__)} {np.shape(condition)}"
        raise ValueError(f"gate: expected a condition of booleans of shape {np.shape(x)}, got {came}")
    return masked(x, condition)


gate.defvjp(x=lambda g, out, x, condition: gate(g, condition), condition=None)
relu.defvjp(x=lambda g, out, x: gate(g, ~(x <= 0)))  # NaN lets the cotangent pass


@op
def astype(x: Array, *, dtype: np.dtype[np.floating] | type[np.floating] | str) -> Array:
    """``x`` cast to another floating dtype; the cotangent is cast back.

    >>> tg.astype(np.array([0.5]), dtype="float32")
    array([0.5], dtype=float32)
    """
    return np.asarray(x).astype(dtype)


astype.defvjp(x=lambda g, out, x, dtype: astype(g, dtype=x.dtype))
