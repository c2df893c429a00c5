"""Elementwise ops: arithmetic, exponentials, angles, steps, remainders, extrema, choice, the error function.

Arguments broadcast; the engine sums the cotangents back to the arguments' shapes.

Where a derivative has a choice: abs, fabs and copysign have derivative 0 at 0, hypot at the origin; equal
arguments of maximum, minimum, fmax, fmin and clip share the gradient equally; all are subgradients. sign,
heaviside and rounding have derivative 0 at their steps as well; remainder and fmod count, at theirs, the y
that they took. arctan2 jumps at the origin, and gives NaN.

An infinite slope is given, with NumPy's warning: that of roots and logarithms at 0, that of arcsin, arccos,
arccosh and arctanh at the ends of their domains. logaddexp of -inf and -inf is -inf, with derivative 0; of
inf and inf it is inf, with derivative NaN.

Values and derivatives are right to 8 units in the last place over the whole range of the dtype. Where not:
near a root of the derivative of sinc and of logaddexp itself, terms cancel; in the derivative of logaddexp
the difference of x and y is rounded, which costs half a unit for each unit of it; the derivatives of divide,
arctan2 and power have no more digits than a quotient or power that is subnormal; and those of exp2 and power
are infinite where the power itself overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tensorgrad.core import (
    NUMPY,
    Array,
    Tensor,
    differentiate,
    identity,
    implements,
    nondifferentiable,
    op,
)
from tensorgrad.core.engine import as_option
from tensorgrad.ops.arrays import alike, as_array, in_floats, like, plain

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "around", "asin", "asinh", "astype", "atan", "atan2", "atanh", "cbrt", "ceil", "clip",
    "copysign", "cos", "cosh", "deg2rad", "degrees", "divide", "erf", "erfc", "exp", "exp2", "expm1", "fabs",
    "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "heaviside", "hypot", "imag", "ldexp",
    "log", "log1p", "log2", "log10", "logaddexp", "logaddexp2", "maximum", "minimum", "mod", "multiply",
    "nan_to_num", "negative", "positive", "power", "rad2deg", "radians", "real", "real_if_close",
    "reciprocal", "remainder", "rint", "round", "select", "sign", "sin", "sinc", "sinh", "sqrt", "square",
    "subtract", "tan", "tanh", "trunc", "where",
]  # fmt: skip

add = differentiate(np.add, x=lambda g, out, x, y: g, y=lambda g, out, x, y: g)
subtract = differentiate(np.subtract, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g)
multiply = differentiate(np.multiply, x=lambda g, out, x, y: g * y, y=lambda g, out, x, y: g * x)
divide = differentiate(np.divide, x=lambda g, out, x, y: g / y, y=lambda g, out, x, y: -g * out / y)
negative = differentiate(np.negative, x=lambda g, out, x: -g)
positive = differentiate(np.positive, x=lambda g, out, x: g)
square = differentiate(np.square, x=lambda g, out, x: g * (2 * x))
reciprocal = differentiate(np.reciprocal, x=lambda g, out, x: -g * out * out)


def _lower_power(out: Array, x: Array, y: Array) -> Array:
    """x^(y - 1); x where y is 0, since d/dx x^0 = 0 x is 0 even at x = 0, where 0 x^-1 is not.

    If y < 1/2, y - 1 may be rounded, and the logarithm of x magnifies that up to 700 times: x^y / x is exact.
    """
    if isinstance(y, (int, float)):
        if isinstance(y, int) or y.is_integer():  # kept a Python scalar, which promotes nothing
            return x ** (y - 1 if y else 1)
        y = x.dtype.type(y)
    y = like(y, out)
    lower = np.where(y == 0, 1, y - 1)
    rounded = (lower + 1 != y) & (y != 0)
    if isinstance(rounded, np.bool_) and not rounded:
        return x**lower
    divided = rounded & np.isfinite(x) & (x != 0)
    return np.where(divided, out / np.where(divided, x, 1), x**lower)


def _log_of_base(x: Array, out: Array) -> Array:
    """log x; 0 where x is 0, since d/dy 0^y is 0 for y > 0, where 0^y log 0 is not."""
    if isinstance(x, (int, float)):
        return float(np.log(x)) if x else 0.0
    x = like(x, out)
    return np.log(np.where(x == 0, 1, x))


power = differentiate(
    np.power,
    x=lambda g, out, x, y: g * y * _lower_power(out, x, y),
    y=lambda g, out, x, y: g * out * _log_of_base(x, out),
)


@implements(np.float_power)
def float_power(x1: Array, x2: Array, /) -> Array:
    """``x1 ** x2`` in float64, whatever the dtypes; see `numpy.float_power`. The cotangents are cast back.

    >>> tg.float_power(np.array([1, 2], dtype="float32"), -1)
    array([1. , 0.5])
    """
    return np.power(astype(x1, dtype="float64"), astype(x2, dtype="float64"))


# Exponentials, logarithms and roots

LN2, LN10 = math.log(2), math.log(10)

exp = differentiate(np.exp, x=lambda g, out, x: g * out)
exp2 = differentiate(np.exp2, x=lambda g, out, x: g * out * LN2)
expm1 = differentiate(np.expm1, x=lambda g, out, x: g * np.exp(x))  # out + 1 would round to 0 for x < -37

log = differentiate(np.log, x=lambda g, out, x: g / x)
log2 = differentiate(np.log2, x=lambda g, out, x: g / (x * LN2))
log10 = differentiate(np.log10, x=lambda g, out, x: g / LN10 / x)  # x LN10 may overflow
log1p = differentiate(np.log1p, x=lambda g, out, x: g / (1 + x))

sqrt = differentiate(np.sqrt, x=lambda g, out, x: 0.5 * g / out)
cbrt = differentiate(np.cbrt, x=lambda g, out, x: g / (3 * out * out))


def _lead(y: Array, x: Array) -> Array:
    """y - x; inf where both are -inf, so that neither has a share in their sum then, rather than NaN."""
    with np.errstate(invalid="ignore"):
        return np.where((x == -np.inf) & (y == -np.inf), np.inf, y - x)


def _share(lead: Array, power: Callable[..., Array]) -> Array:
    """1 / (1 + power(lead)) is exp(x - out): for large x, x - out is lost to rounding, y - x is not."""
    below = lead < 0
    e = power(np.where(below, lead, -lead))
    return np.where(below, 1, e) / (1 + e)


logaddexp = differentiate(
    np.logaddexp,
    x=lambda g, out, x, y: g * _share(_lead(y, x), np.exp),
    y=lambda g, out, x, y: g * _share(_lead(x, y), np.exp),
)
logaddexp2 = differentiate(
    np.logaddexp2,
    x=lambda g, out, x, y: g * _share(_lead(y, x), np.exp2),
    y=lambda g, out, x, y: g * _share(_lead(x, y), np.exp2),
)


# Trigonometric and hyperbolic functions, their inverses, and angles

sin = differentiate(np.sin, x=lambda g, out, x: g * np.cos(x))
cos = differentiate(np.cos, x=lambda g, out, x: -g * np.sin(x))
tan = differentiate(np.tan, x=lambda g, out, x: g * (1 + out * out))


def _less_square(x: Array) -> Array:
    """1 - x^2, in factors where that would cancel; near 0 their derivative would, which is -2 x."""
    return np.where(np.abs(x) < 0.5, 1 - x * x, (1 - x) * (1 + x))


# By hypot, twice, where 1 + x^2 would overflow.
arcsin = asin = differentiate(np.arcsin, x=lambda g, out, x: g / np.sqrt(_less_square(x)))
arccos = acos = differentiate(np.arccos, x=lambda g, out, x: -g / np.sqrt(_less_square(x)))
arctan = atan = differentiate(np.arctan, x=lambda g, out, x: g / np.hypot(1, x) / np.hypot(1, x))

sinh = differentiate(np.sinh, x=lambda g, out, x: g * np.cosh(x))
cosh = differentiate(np.cosh, x=lambda g, out, x: g * np.sinh(x))


@cache
def _end_of_exp(dtype: np.dtype[Any]) -> float:
    """The largest number whose exponential does not overflow."""
    return math.log(np.finfo(dtype).max)


def _cosh(x: Array) -> Array:
    """cosh(x), or the largest number where that would overflow."""
    end = _end_of_exp(x.dtype)
    return np.cosh(np.minimum(np.maximum(x, -end), end))


tanh = differentiate(np.tanh, x=lambda g, out, x: g / (c := _cosh(x)) / c)  # 1 - out^2 would cancel

arcsinh = asinh = differentiate(np.arcsinh, x=lambda g, out, x: g / np.hypot(1, x))
arccosh = acosh = differentiate(np.arccosh, x=lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
arctanh = atanh = differentiate(np.arctanh, x=lambda g, out, x: g / _less_square(x))

deg2rad = differentiate(np.deg2rad, x=lambda g, out, x: np.deg2rad(g))
rad2deg = differentiate(np.rad2deg, x=lambda g, out, x: np.rad2deg(g))
radians = differentiate(np.radians, x=lambda g, out, x: np.radians(g))
degrees = differentiate(np.degrees, x=lambda g, out, x: np.degrees(g))


def _scale(x: Array, y: Array, out: Array) -> tuple[Array, Array, Array]:
    """x and hypot(x, y) over the larger size, lest it overflow or be subnormal; and that size.

    What is made of them does not change with the size, so that its derivatives cancel.
    """
    x, y = like(x, out), like(y, out)
    size = np.maximum(np.abs(x), np.abs(y))
    size = np.where(np.isfinite(size) & (size != 0), size, 1)
    x, y = x / size, y / size
    return x, np.hypot(x, y), size


def _cosine(x: Array, y: Array, out: Array) -> Array:
    """x / hypot(x, y); 0 at the origin, with its derivatives."""
    x, h, _ = _scale(x, y, out)
    return np.where(h == 0, 0, x) / np.where(h == 0, 1, h)


hypot = differentiate(
    np.hypot,
    x=lambda g, out, x, y: g * _cosine(x, y, out),
    y=lambda g, out, x, y: g * _cosine(y, x, out),
)


def _over_square(x: Array, y: Array, out: Array) -> Array:
    """x / (x^2 + y^2)."""
    x, h, size = _scale(x, y, out)
    return x / h / h / size


arctan2 = atan2 = differentiate(
    np.arctan2,
    y=lambda g, out, y, x: g * _over_square(x, y, out),
    x=lambda g, out, y, x: -g * _over_square(y, x, out),
)

# The derivative of sin(pi x) / (pi x) = 1 - (pi x)^2 / 3! + ... is x times a series in x^2, highest first.
_SERIES = [2 * k * (-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(16, 0, -1)]


def _half_turns(x: Array) -> tuple[Array, Array]:
    """x less the nearest whole number, exactly, and the sign by which sines and cosines of pi x differ."""
    whole = np.rint(x)
    return x - whole, 1 - 2 * np.remainder(whole, 2)


@op(elementwise=True, numpy=np.sinc)
@in_floats
def sinc(x: Array) -> Array:
    """sin(pi x) / (pi x), and 1 at 0; see `numpy.sinc`.

    Whole turns are taken off before the sine: large x and the roots are as accurate as all else, where
    NumPy's own rounds pi x.

    >>> tg.sinc(np.array([0.0, 0.5, 1e6]))
    array([1.        , 0.63661977, 0.        ])
    """
    turns, sign = _half_turns(x)
    return np.where(x == 0, 1, sign * np.sin(math.pi * turns) / math.pi / np.where(x == 0, 1, x))


def _sinc_slope(x: Array) -> Array:
    """(cos(pi x) - sinc(x)) / x; near 0, where that cancels, by the series, in all derivatives."""
    near = np.abs(x) < 0.5
    z, far = np.where(near, x, 0), np.where(near, 1, x)
    series = 0 * z
    for coefficient in _SERIES:
        series = series * (z * z) + coefficient
    turns, sign = _half_turns(far)
    # The cosine as the sine of what is left of a quarter turn: near its root that is exact.
    cosine = np.sin(math.pi * (0.5 - np.where(turns < 0, -turns, turns)))
    return np.where(near, z * series, sign * (cosine - np.sin(math.pi * turns) / math.pi / far) / far)


sinc.defvjp(x=lambda g, out, x: g * _sinc_slope(x))


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
# (x - out) / y is the whole number of times that y was taken off, up to rounding; x - out might overflow.
remainder = mod = differentiate(
    np.remainder, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g * np.rint(x / y - out / y)
)
fmod = differentiate(np.fmod, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g * np.rint(x / y - out / y))

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


_ABSENT: Any = ...  # which None is not


@implements(np.clip)
def clip(
    a: Array, a_min: Array = _ABSENT, a_max: Array = _ABSENT, *, min: Array = _ABSENT, max: Array = _ABSENT
) -> Array:
    """``minimum(maximum(a, a_min), a_max)``; see `numpy.clip`.

    The gradient passes to ``a`` inside the bounds and to the bound outside; at a bound they share it equally.

    >>> tg.clip(np.array([-1.0, 0.5, 3.0]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    by_place, by_name = ([x is not _ABSENT for x in bounds] for bounds in ((a_min, a_max), (min, max)))
    if any(by_place) and (any(by_name) or not all(by_place)):
        raise ValueError("clip: expected both a_min and a_max (None for no bound), or min and max alone")
    lower, upper = (None if x is _ABSENT else x for x in ((a_min, a_max) if any(by_place) else (min, max)))
    of_constants = not isinstance(lower, Tensor) and not isinstance(upper, Tensor)
    if isinstance(a, Tensor) and a.dtype.kind in "iu" and of_constants:
        return Tensor(np.clip(a.data, lower, upper))  # which knows bounds beyond the dtype
    a = a if lower is None else np.maximum(a, lower)
    return np.positive(a) if upper is None else np.minimum(a, upper)


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


@implements(np.where)
def where_(condition: Array, *choices: Array) -> Any:
    """`where`, or of a condition alone the places where it holds."""
    return where(condition, *choices) if choices else np.nonzero(condition)


@implements(np.select)
def select(condlist: Sequence[Array], choicelist: Sequence[Array], default: Array = 0) -> Array:
    """Of several choices the first whose condition holds; see `numpy.select`.

    >>> x = np.array([1.0, 2.0, 3.0])
    >>> tg.select([x < 2, x > 2], [-x, x], 0.5)
    array([-1. ,  0.5,  3. ])
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: expected a choice a condition, got {len(choicelist)} and {len(condlist)}")
    condlist = [as_array(as_option(x)) for x in condlist]
    if any(condition.dtype.kind != "b" for condition in condlist):
        raise TypeError("select: expected conditions that are arrays of booleans")
    out, *choices = alike(default, *choicelist)
    for condition, choice in reversed([*zip(condlist, choices, strict=True)]):
        out = where(condition, choice, out)
    return out


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


@implements(np.real)
def real(val: Array) -> Array:
    """The real part, which is all of a tensor; see `numpy.real`."""
    return identity(val) if isinstance(val, Tensor) else np.real(val)


@implements(np.conjugate)
def conjugate_(x: Array) -> Array:
    return identity(x) if x.dtype.kind != "b" else Tensor(np.conjugate(x.data))


@implements(np.real_if_close)
def real_if_close(a: Array, tol: float = 100) -> Array:
    """A tensor as it is, since it is real; see `numpy.real_if_close`."""
    return identity(a) if isinstance(a, Tensor) else np.real_if_close(a, tol)


@implements(np.imag)
def imag(val: Array) -> Array:
    """The imaginary part, an array of zeros; see `numpy.imag`."""
    return np.imag(plain(val))


@op
def astype(x: Array, *, dtype: np.dtype[np.floating] | type[np.floating] | str) -> Array:
    """``x`` cast to another floating dtype; the cotangent is cast back.

    >>> tg.astype(np.array([0.5]), dtype="float32")
    array([0.5], dtype=float32)
    """
    return np.asarray(x).astype(dtype)


astype.defvjp(x=lambda g, out, x, dtype: astype(g, dtype=x.dtype))
if hasattr(np, "astype"):  # since NumPy 2.1

    @implements(np.astype)
    def astype_(x: Array, dtype: Any, /, *, copy: bool = True) -> Array:
        return x.astype(dtype, copy=copy)


# The error function, by W. J. Cody, Rational Chebyshev approximations for the error function, Mathematics of
# Computation 23 (1969). In float64 erf is right to 3e-16 and erfc, also where it is tiny, to a relative
# 1e-15; NumPy has neither.

# Numerators and denominators, the highest power first: of erf(x) / x in x^2 for abs(x) < 0.46875, of
# exp(x^2) erfc(x) in x from there to 4, and beyond of x^2 (1 / sqrt(pi) - x exp(x^2) erfc(x)) in 1 / x^2.
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346047, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip
_BORDERS = 0.46875, 4.0
_ROOT_PI = float(np.sqrt(np.pi))
_NOTHING_LEFT = 28.0  # erfc of more is 0, even as a subnormal number


@op(elementwise=True)
@in_floats
def erf(x: Array) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    >>> tg.erf(np.array([-1.0, 0.0, 0.5]))
    array([-0.84270079,  0.        ,  0.52049988])
    """
    return piecewise(x, small=lambda x, erf: erf, beyond=lambda x, erfc: np.copysign(1 - erfc, x))


erf.defvjp(x=lambda g, out, x: g * gaussian(x) * (2 / _ROOT_PI))


@op(elementwise=True)
@in_floats
def erfc(x: Array) -> Array:
    """1 - erf(x), without cancellation: accurate also where it is tiny.

    >>> tg.erfc(np.array([-1.0, 0.0, 10.0]))
    array([1.84270079e+00, 1.00000000e+00, 2.08848758e-45])
    """
    return piecewise(x, small=lambda x, erf: 1 - erf, beyond=lambda x, erfc: np.where(x < 0, 2 - erfc, erfc))


erfc.defvjp(x=lambda g, out, x: -g * gaussian(x) * (2 / _ROOT_PI))


def gaussian(x: Array, scale: float = 1.0) -> Array:
    """exp(-scale x^2), with x^2 in two parts, the first exact: its rounding alone would cost x^2 units.

    The scale is a power of 2.
    """
    x = np.minimum(np.maximum(x, -64), 64)  # beyond, it is 0, and the square might overflow
    coarse = np.trunc(16 * x) / 16
    return np.exp(-scale * coarse * coarse) * np.exp(-scale * (x - coarse) * (x + coarse))


def piecewise(
    x: Array, small: Callable[..., Array], beyond: Callable[..., Array], scale: float = 1.0
) -> Array:
    """``small(x, erf(y))`` near 0 and ``beyond(x, erfc(abs(y)))`` elsewhere, of y = sqrt(scale) x."""
    line = np.reshape(x, -1)
    y = np.minimum(np.abs(math.sqrt(scale) * line), _NOTHING_LEFT)
    out = np.empty_like(y)
    first, second = _BORDERS
    near, far = y < first, y > second
    between = ~(near | far)  # and NaN
    out[near] = small(line[near], _erf_small(math.sqrt(scale) * line[near]))
    for chosen, scaled in ((between, _scaled_middle), (far, _scaled_large)):
        out[chosen] = beyond(line[chosen], gaussian(line[chosen], scale) * scaled(y[chosen]))
    return out.reshape(np.shape(x))


# exp(y^2) erfc(y): y may be rounded, as exp(-y^2) must not be.


def _erf_small(y: Array) -> Array:
    return y * _ratio(_SMALL, y * y)


def _scaled_middle(y: Array) -> Array:
    return _ratio(_MIDDLE, y)


def _scaled_large(y: Array) -> Array:
    z = 1 / (y * y)
    return (1 / _ROOT_PI - z * _ratio(_LARGE, z)) / y


def _ratio(coefficients: tuple[Sequence[float], Sequence[float]], x: Array) -> Array:
    """The quotient of two polynomials, by Horner's rule."""
    numerator, denominator = coefficients
    top, bottom = numerator[0] * x, denominator[0] * x
    for a, b in zip(numerator[1:-1], denominator[1:-1], strict=True):
        top, bottom = (top + a) * x, (bottom + b) * x
    return (top + numerator[-1]) / (bottom + denominator[-1])


# Functions without a derivative that Tensors may be given to: their results are booleans, integers, or depend
# on the shape alone. They give plain arrays, so nothing that has a gradient is lost. np.unique, np.histogram
# and their like, which also return values of their arguments, are not among them.

for _function in (
    # comparisons
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin,
    # logic
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not, np.any, np.all,
    # kinds of numbers
    np.isfinite, np.isinf, np.isnan, np.isposinf, np.isneginf, np.signbit, np.isreal, np.iscomplex,
    # places and counts
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere,
    np.nonzero, np.flatnonzero, np.count_nonzero, np.searchsorted, np.digitize,
    np.zeros_like, np.ones_like, np.empty_like,
):  # fmt: skip
    nondifferentiable(_function)

_OF_SHAPE_AND_DTYPE: tuple[Any, ...] = (
    np.shape, np.ndim, np.size, np.isrealobj, np.iscomplexobj, np.result_type, np.can_cast,
    np.shares_memory, np.may_share_memory,
)  # fmt: skip
for _function in _OF_SHAPE_AND_DTYPE:
    nondifferentiable(_function, reads=False)
