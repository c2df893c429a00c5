"""Statistics made of ops, what leaves NaN out, and NumPy's options of sums: dtype, initial and where.

Their derivatives, of every order, are those of their parts. What is left out has gradient 0, since the result
does not depend on what it would have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, TypeVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import NUMPY, OPS, Array, Tensor, implements
from tensorgrad.ops import reduce
from tensorgrad.ops.arrays import in_floats, plain
from tensorgrad.ops.linalg import norm_
from tensorgrad.ops.reduce import Axis, elements, reduced_axes

__all__ = [
    "average", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "ptp", "std",
]  # fmt: skip


F = TypeVar("F", bound=Callable[..., Any])


def _mask(where: Any, x: Array, nan: bool) -> Any:
    """The elements at ``where``, with ``nan`` less those that are NaN; True for all."""
    if where is True and not nan:
        return True
    where = np.asarray(where)
    if where.dtype != bool and where.ndim:
        raise TypeError(f"expected where to be an array of booleans, got {where.dtype} {where.shape}")
    where = np.broadcast_to(where.astype(bool), np.shape(x))
    return where & ~np.isnan(plain(x)) if nan else where


def _count(name: str, x: Array, mask: Any, axis: Axis, keepdims: bool, ddof: float = 0) -> Any:
    """How many elements there are; ValueError unless they are more than ``ddof``."""
    count = np.asarray(elements(x, axis) if mask is True else np.sum(mask, axis=axis, keepdims=keepdims))
    if np.any((count <= ddof) | (count == 0)):
        which = "that are not NaN " if name.startswith("nan") else ""
        raise ValueError(f"{name}: expected more than {ddof} elements {which}in every slice")
    return count


# Sums, products and extrema

_ABSENT: Any = ...  # None is no initial value, and says that there is none

_NEUTRAL = {
    "sum": (np.add, 0),
    "prod": (np.multiply, 1),
    "max": (np.maximum, -math.inf),
    "min": (np.minimum, math.inf),
}


def _accumulate(
    name: str, x: Array, axis: Axis = None, *, nan: bool = False, dtype: Any = None, keepdims: bool = False,
    initial: Any = _ABSENT, where: Any = True,
) -> Array:  # fmt: skip
    """A sum, product or extremum of ``initial`` and the elements at ``where``, with ``nan`` less NaN."""
    if isinstance(x, Tensor) and x.dtype.kind != "f":
        options = {"dtype": dtype, "initial": initial, "where": where}
        absent = {"dtype": None, "initial": _ABSENT, "where": True}
        options = {key: value for key, value in options.items() if value is not absent[key]}
        return Tensor(getattr(np, name)(x.data, axis=axis, keepdims=keepdims, **options))
    x = x if dtype is None else x.astype(dtype)
    total, (join, neutral) = OPS[name], _NEUTRAL[name]
    extremum = abs(neutral) == math.inf
    initial = None if extremum and initial is _ABSENT else initial
    if initial is None and (where is not True or not elements(x, axis)):
        raise ValueError(f"{name}: needs initial, the result where no element is left")
    mask = _mask(where, x, nan)
    if extremum and nan and initial is None:
        _count(f"nan{name}", x, mask, axis, keepdims)
    x = x if mask is True else np.where(mask, x, neutral)
    if initial is None or initial is _ABSENT:
        return total(x, axis=axis, keepdims=keepdims)
    if np.ndim(initial):
        raise ValueError(f"{name}: expected initial to be a number, got an array")
    initial = x.dtype.type(initial)
    if not elements(x, axis):
        return np.sum(x, axis=axis, keepdims=keepdims) + initial
    return join(total(x, axis=axis, keepdims=keepdims), initial)


for _name in _NEUTRAL:
    implements(getattr(np, _name), plainly=OPS[_name])(partial(_accumulate, _name))
NUMPY[np.amax], NUMPY[np.amin] = NUMPY[np.max], NUMPY[np.min]  # NumPy's aliases are functions of their own


def _with_options_of(general: Callable[..., Any]) -> Callable[[F], F]:
    """The signature of a function that hands its ``*axis`` and ``**options`` on."""

    def sign(f: F) -> F:
        own, others = signature(f), signature(general).parameters.values()
        kept = [p for p in own.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        more = [p for p in others if p.default is not p.empty and p.name != "nan"]
        f.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
        return f

    return sign


def _scan(total: Callable[..., Array], x: Array, axis: int | None = None, *, dtype: Any) -> Array:
    return total(x.astype(dtype), axis=axis)


implements(np.cumsum, plainly=reduce.cumsum)(partial(_scan, reduce.cumsum))
implements(np.cumprod, plainly=reduce.cumprod)(partial(_scan, reduce.cumprod))


@implements(np.nansum)
@_with_options_of(_accumulate)
def nansum(a: Array, *axis: Axis, **options: Any) -> Array:
    """Sum of the elements that are not NaN; see `numpy.nansum`, whose options are taken.

    >>> print(tg.nansum(np.array([1.0, np.nan, 3.0])))
    4.0
    """
    return _accumulate("sum", a, *axis, nan=True, **options)


@implements(np.nanprod)
@_with_options_of(_accumulate)
def nanprod(a: Array, *axis: Axis, **options: Any) -> Array:
    """Product of the elements that are not NaN; see `numpy.nanprod`, whose options are taken.

    >>> print(tg.nanprod(np.array([2.0, np.nan, 3.0])))
    6.0
    """
    return _accumulate("prod", a, *axis, nan=True, **options)


@implements(np.nanmax)
@_with_options_of(_accumulate)
def nanmax(a: Array, *axis: Axis, **options: Any) -> Array:
    """Maximum of the elements that are not NaN; see `numpy.nanmax`. ValueError where all are.

    >>> print(tg.nanmax(np.array([1.0, np.nan, 3.0])))
    3.0
    """
    return _accumulate("max", a, *axis, nan=True, **options)


@implements(np.nanmin)
@_with_options_of(_accumulate)
def nanmin(a: Array, *axis: Axis, **options: Any) -> Array:
    """Minimum of the elements that are not NaN; see `numpy.nanmin`. ValueError where all are.

    >>> print(tg.nanmin(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    return _accumulate("min", a, *axis, nan=True, **options)


@implements(np.ptp)
def ptp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """max(a) - min(a) over ``axis``; see `numpy.ptp`.

    >>> print(tg.ptp(np.array([1.0, 5.0, 3.0])))
    4.0
    """
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


# Means and deviations


@in_floats
def _mean(x: Array, *, name: str, mask: Any, axis: Axis, keepdims: bool, ddof: float = 0) -> Array:
    if mask is True:
        return np.mean(x, axis=axis, keepdims=keepdims)
    total = np.sum(np.where(mask, x, 0), axis=axis, keepdims=keepdims)
    return total / _count(name, x, mask, axis, keepdims).astype(total.dtype)


def _centre(x: Array, name: str, mask: Any, axis: Axis) -> Array:
    """The elements less their mean, and 0 where the mask leaves one out: its slope would be NaN for NaN."""
    centred = x - _mean(x, name=name, mask=mask, axis=axis, keepdims=True)
    return centred if mask is True else np.where(mask, centred, 0)


@in_floats
def _var(x: Array, *, name: str, mask: Any, axis: Axis, keepdims: bool, ddof: float = 0) -> Array:
    freedom = _count(name, x, mask, axis, keepdims, ddof) - ddof
    total = np.sum(np.square(_centre(x, name, mask, axis)), axis=axis, keepdims=keepdims)
    return total / freedom.astype(total.dtype)


@in_floats
def _std(x: Array, *, name: str, mask: Any, axis: Axis, keepdims: bool, ddof: float = 0) -> Array:
    """The norm of the elements less their mean, over the root of their number.

    Where all are equal, rounding of the mean leaves a difference whose slope would be arbitrary.
    """
    freedom = _count(name, x, mask, axis, keepdims, ddof) - ddof
    values, axes = plain(x), tuple(reduced_axes(x, axis))
    largest = np.max(values, axis=axes, keepdims=True, where=mask, initial=-math.inf)
    smallest = np.min(values, axis=axes, keepdims=True, where=mask, initial=math.inf)
    centred = np.where(largest == smallest, 0, _centre(x, name, mask, axis))
    size = norm_(centred, axis=axes, keepdims=keepdims)
    return size / np.sqrt(freedom).astype(size.dtype)


def _statistic(
    of: Callable[..., Array], name: str, x: Array, axis: Axis = None, *, dtype: Any = None, ddof: float = 0,
    keepdims: bool = False, where: Any = True,
) -> Array:  # fmt: skip
    """A mean or deviation with NumPy's options."""
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise TypeError(f"{name}: expected a floating dtype, got {np.dtype(dtype)}; cast the result instead")
    x = x if dtype is None else x.astype(dtype)
    mask = _mask(where, x, name.startswith("nan"))
    return of(x, name=name, mask=mask, axis=axis, keepdims=keepdims, ddof=ddof)


@implements(np.mean, plainly=reduce.mean)
@_with_options_of(_statistic)
def mean_(x: Array, *axis: Axis, **options: Any) -> Array:
    return _statistic(_mean, "mean", x, *axis, **options)


@implements(np.var, plainly=reduce.var)
@_with_options_of(_statistic)
def var_(x: Array, *axis: Axis, **options: Any) -> Array:
    return _statistic(_var, "var", x, *axis, **options)


@implements(np.std)
@_with_options_of(_statistic)
def std(a: Array, *axis: Axis, **options: Any) -> Array:
    """sqrt(var(a)) over ``axis``; see `numpy.std`. Where all elements are equal it is 0, with gradient 0.

    No square is taken that is too small or large for the dtype. ValueError unless elements outnumber ddof.

    >>> print(tg.std(np.array([1.0, 2.0, 3.0]), ddof=1))
    1.0
    """
    return _statistic(_std, "std", a, *axis, **options)


@implements(np.nanmean)
@_with_options_of(_statistic)
def nanmean(a: Array, *axis: Axis, **options: Any) -> Array:
    """Mean of the elements that are not NaN; see `numpy.nanmean`. ValueError where all are.

    >>> print(tg.nanmean(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    return _statistic(_mean, "nanmean", a, *axis, **options)


@implements(np.nanvar)
@_with_options_of(_statistic)
def nanvar(a: Array, *axis: Axis, **options: Any) -> Array:
    """Variance of the elements that are not NaN; see `numpy.nanvar`. ValueError unless they outnumber ddof.

    >>> print(tg.nanvar(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    return _statistic(_var, "nanvar", a, *axis, **options)


@implements(np.nanstd)
@_with_options_of(_statistic)
def nanstd(a: Array, *axis: Axis, **options: Any) -> Array:
    """Standard deviation of the elements that are not NaN; see `numpy.nanstd`, and `std` for equal elements.

    >>> print(tg.nanstd(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    return _statistic(_std, "nanstd", a, *axis, **options)


@implements(np.average)
def average(
    a: Array, axis: Axis = None, weights: Array = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """sum(a weights) / sum(weights) over ``axis``, differentiable in both; see `numpy.average`.

    The weights have the shape of ``a`` or of its axes ``axis``. ZeroDivisionError if a sum of them is 0.

    >>> print(tg.average(np.array([1.0, 3.0]), weights=np.array([3.0, 1.0])))
    1.5
    """
    axis = None if axis is None else normalize_axis_tuple(axis, np.ndim(a), "axis")
    if weights is None:
        found: Any = np.mean(a, axis=axis, keepdims=keepdims)
        total: Any = elements(a, axis)
        if not found.size:
            raise ZeroDivisionError("average: there is nothing to average")
    else:
        if np.shape(weights) != np.shape(a):
            weights = _along_axes(weights, np.shape(a), axis)
        if np.any(np.sum(plain(weights), axis, float) == 0):
            raise ZeroDivisionError("average: the weights sum to zero")
        found = _weighted_mean(a, weights, axis=axis, keepdims=keepdims)
        total = np.sum(weights, axis=axis, keepdims=keepdims) if returned else None
    return (found, np.broadcast_to(total, found.shape).astype(found.dtype)) if returned else found


@in_floats
def _weighted_mean(a: Array, weights: Array, *, axis: Axis, keepdims: bool) -> Array:
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / total


def _along_axes(weights: Array, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Array:
    """Weights of some axes as an array that broadcasts against ``shape``."""
    if axes is None or np.shape(weights) != tuple(shape[i] for i in axes):
        raise ValueError(
            f"average: expected weights of the shape of a, {shape}, or of its axes {axes}, "
            f"got {np.shape(weights)}"
        )
    weights = np.transpose(weights, tuple(np.argsort(axes).tolist()))
    return np.reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(shape)))
