"""NumPy functions that are made of ops: their derivatives, of every order, are those of their parts.

The signatures are NumPy's, less the options that tensors have no use for (out, where, dtype), which raise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Array, implements
from tensorgrad.ops.reduce import Axis, var


@implements(np.std)
def std(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """sqrt(var(a)) over ``axis``; see `numpy.std`. Where all elements are equal it is 0, with gradient 0.

    >>> print(tg.std(np.array([1.0, 2.0, 3.0]), ddof=1))
    1.0
    """
    # Rounding of the mean can make the variance of equal elements positive, and its root's slope arbitrary.
    constant = np.max(a, axis=axis, keepdims=keepdims) == np.min(a, axis=axis, keepdims=keepdims)
    variance = var(a, axis=axis, ddof=ddof, keepdims=keepdims)
    return np.where(constant, 0, np.sqrt(np.where(constant, 1, variance)))


@implements(np.ptp)
def ptp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """max(a) - min(a) over ``axis``; see `numpy.ptp`.

    >>> print(tg.ptp(np.array([1.0, 5.0, 3.0])))
    4.0
    """
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@implements(np.average)
def average(a: Array, axis: Axis = None, weights: Array = None, *, keepdims: bool = False) -> Array:
    """sum(a weights) / sum(weights) over ``axis``, differentiable in both; see `numpy.average`.

    The weights have the shape of ``a`` or of its axes ``axis``. ZeroDivisionError if a sum of them is 0.

    >>> print(tg.average(np.array([1.0, 3.0]), weights=np.array([3.0, 1.0])))
    1.5
    """
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(a):
        weights = _along_axes(weights, np.shape(a), axis)
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    if np.any(total == 0):
        raise ZeroDivisionError("average: the weights sum to zero")
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / total


def _along_axes(weights: Array, shape: tuple[int, ...], axis: Axis) -> Array:
    """Weights of the axes ``axis`` as an array that broadcasts against ``shape``."""
    axes = (
        [i % len(shape) for i in (axis if isinstance(axis, tuple) else (axis,))] if axis is not None else []
    )
    if np.shape(weights) != tuple(shape[i] for i in axes) or not axes:
        raise ValueError(
            f"average: expected weights of the shape of a, {shape}, or of its axes {axis}, "
            f"got {np.shape(weights)}"
        )
    weights = np.transpose(weights, tuple(np.argsort(axes).tolist()))
    return np.reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(shape)))


# NaN left out: it has gradient 0, since the result does not depend on what it would have been.


@implements(np.nansum)
def nansum(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Sum of the elements that are not NaN; see `numpy.nansum`.

    >>> print(tg.nansum(np.array([1.0, np.nan, 3.0])))
    4.0
    """
    return np.sum(np.where(np.isnan(a), 0, a), axis=axis, keepdims=keepdims)


@implements(np.nanprod)
def nanprod(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Product of the elements that are not NaN; see `numpy.nanprod`.

    >>> print(tg.nanprod(np.array([2.0, np.nan, 3.0])))
    6.0
    """
    return np.prod(np.where(np.isnan(a), 1, a), axis=axis, keepdims=keepdims)


@implements(np.nanmean)
def nanmean(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Mean of the elements that are not NaN; see `numpy.nanmean`. ValueError where all are.

    >>> print(tg.nanmean(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    total = nansum(a, axis, keepdims=keepdims)
    return total / _numbers("nanmean", a, axis, keepdims).astype(total.dtype)


@implements(np.nanvar)
def nanvar(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """Variance of the elements that are not NaN; see `numpy.nanvar`. ValueError unless they outnumber ddof.

    >>> print(tg.nanvar(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    # The zeros come before the square: its slope at NaN would be NaN, and NaN times zero is no zero.
    centered = np.where(np.isnan(a), 0, a - nanmean(a, axis, keepdims=True))
    total = np.sum(np.square(centered), axis=axis, keepdims=keepdims)
    return total / (_numbers("nanvar", a, axis, keepdims, ddof) - ddof).astype(total.dtype)


@implements(np.nanstd)
def nanstd(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """Standard deviation of the elements that are not NaN; see `numpy.nanstd`, and `std` for equal elements.

    >>> print(tg.nanstd(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    variance = nanvar(a, axis, ddof=ddof, keepdims=keepdims)
    constant = nanmax(a, axis, keepdims=keepdims) == nanmin(a, axis, keepdims=keepdims)
    return np.where(constant, 0, np.sqrt(np.where(constant, 1, variance)))


@implements(np.nanmax)
def nanmax(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Maximum of the elements that are not NaN; see `numpy.nanmax`. ValueError where all are.

    >>> print(tg.nanmax(np.array([1.0, np.nan, 3.0])))
    3.0
    """
    _numbers("nanmax", a, axis, keepdims)
    return np.max(np.where(np.isnan(a), -np.inf, a), axis=axis, keepdims=keepdims)


@implements(np.nanmin)
def nanmin(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Minimum of the elements that are not NaN; see `numpy.nanmin`. ValueError where all are.

    >>> print(tg.nanmin(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    _numbers("nanmin", a, axis, keepdims)
    return np.min(np.where(np.isnan(a), np.inf, a), axis=axis, keepdims=keepdims)


def _numbers(name: str, a: Array, axis: Axis, keepdims: bool, ddof: float = 0) -> Any:
    """How many elements are not NaN; ValueError unless they are more than ``ddof``."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    if np.any(count <= ddof):
        raise ValueError(f"{name}: expected more than {ddof} elements that are not NaN in every slice")
    return count
