"""Reductions, cumulative sums and products, statistics, and normalisation by them.

Tied extrema share the gradient equally, a subgradient. What is made of ops alone (`std`, `average`, the
functions that leave NaN out) has derivatives, of every order, that are those of its parts. Under NumPy's
names they take its options dtype, initial and where as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import NUMPY, OPS, Array, Tensor, broadcast_to, implements, op, sum_to
from tensorgrad.ops.floats import in_floats
from tensorgrad.ops.linalg import norm_

__all__ = [
    "amax", "amin", "average", "cumprod", "cumsum", "log_softmax", "logsumexp", "max", "mean", "median",
    "min", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "normalize", "prod", "ptp",
    "softmax", "std", "sum", "var",
]  # fmt: skip

Axis: TypeAlias = int | tuple[int, ...] | None  #: the axes that a reduction takes away, None for all


def _expand(reduced: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """A reduction's result or cotangent with the reduced axes back, as axes of length 1."""
    if keepdims:
        return reduced
    axes = _reduced_axes(x, axis)
    return reduced.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _reduced_axes(x: Array, axis: Axis) -> set[int]:
    """The axes that a reduction over ``axis`` takes away."""
    ndim = np.ndim(x)
    if axis is None:
        return {*range(ndim)}
    return {i % ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,)) if ndim}


def _elements(x: Array, axis: Axis) -> int:
    """How many elements go into each result."""
    return math.prod(np.shape(x)[i] for i in _reduced_axes(x, axis))


def _share(g: Array, chosen: Array, axis: Axis) -> Array:
    """A cotangent divided equally among the chosen elements."""
    axes = tuple(_reduced_axes(chosen, axis))
    return np.where(chosen, g / np.sum(chosen, axis=axes, keepdims=True).astype(g.dtype), 0)


@op(numpy=np.sum)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Sum over ``axis`` (all axes by default); see `numpy.sum`.

    >>> tg.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    return np.sum(x, axis=axis, keepdims=keepdims)


sum.defvjp(x=lambda g, out, x, axis, keepdims: broadcast_to(_expand(g, x, axis, keepdims), shape=x.shape))


@op(numpy=np.mean)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Mean over ``axis`` (all axes by default); see `numpy.mean`.

    >>> tg.mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    array([1.5, 3.5])
    """
    if not _elements(x, axis):
        raise ValueError("mean: expected at least one element, got an empty array")
    return np.mean(x, axis=axis, keepdims=keepdims)


mean.defvjp(
    x=in_floats(
        lambda g, out, x, axis, keepdims: broadcast_to(
            _expand(g, x, axis, keepdims) / _elements(x, axis), shape=x.shape
        )
    )
)


@op(numpy=np.var)
@in_floats
def var(x: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Array:
    """sum((x - mean(x))^2) / (n - ddof) over ``axis``; see `numpy.var`. ValueError unless n > ddof.

    >>> print(tg.var(np.array([1.0, 2.0, 3.0]), ddof=1))
    1.0
    """
    elements = _elements(x, axis)
    if elements <= ddof or not elements:
        raise ValueError(f"var: expected more elements than ddof={ddof}, got {elements}")
    return np.var(x, axis=axis, ddof=ddof, keepdims=keepdims)


@in_floats
def _var_vjp(g: Array, out: Array, x: Array, axis: Axis, ddof: float, keepdims: bool) -> Array:
    share = _expand(g, x, axis, keepdims) * (2 / (_elements(x, axis) - float(ddof)))
    return share * (x - np.mean(x, axis=axis, keepdims=True))


var.defvjp(x=_var_vjp)


@op(numpy=np.prod)
def prod(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Product over ``axis`` (all axes by default); see `numpy.prod`.

    The derivatives, of every order, are right with zeros among the factors.

    >>> tg.grad(tg.prod)(np.array([0.0, 2.0, 3.0]))
    array([6., 0., 0.])
    """
    return np.prod(x, axis=axis, keepdims=keepdims)


def _prod_vjp(g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    g, out = _expand(g, x, axis, keepdims), _expand(out, x, axis, keepdims)
    size = np.abs(out)
    if not isinstance(x, Tensor) and np.all((size >= np.finfo(x.dtype).tiny) & (size < np.inf)):
        return g * (out / x)
    # With a zero (or overflow), and for higher derivatives, in which out / x cancels: the last of the
    # cumulative products over the axes laid behind one another.
    axes = _reduced_axes(x, axis)
    order = (*(i for i in range(x.ndim) if i not in axes), *sorted(axes))
    laid = np.transpose(x, order)
    lines = laid.reshape((*laid.shape[: x.ndim - len(axes)], -1))
    last = np.where(np.arange(lines.shape[-1]) == lines.shape[-1] - 1, g.reshape((*lines.shape[:-1], 1)), 0)
    gx = _cumprod_lines_vjp(last, lines).reshape(laid.shape)
    return np.transpose(gx, tuple(np.argsort(order).tolist()))


prod.defvjp(x=_prod_vjp)


@in_floats
def _extremum_vjp(g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    chosen = (x == _expand(out, x, axis, keepdims)) | np.isnan(x)  # a NaN, if there is one, is the result
    return _share(_expand(g, x, axis, keepdims), chosen, axis)


@op(numpy=np.max)
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Maximum over ``axis`` (all axes by default); see `numpy.max`.

    Tied maxima share the gradient equally, which is a subgradient.

    >>> tg.max(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([3., 5.])
    """
    return np.max(x, axis=axis, keepdims=keepdims)


max.defvjp(x=_extremum_vjp)


@op(numpy=np.min)
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Minimum over ``axis`` (all axes by default); see `numpy.min`. Ties as in `max`.

    >>> tg.min(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([1., 4.])
    """
    return np.min(x, axis=axis, keepdims=keepdims)


min.defvjp(x=_extremum_vjp)
amax, amin = max, min


@op(numpy=np.median)
def median(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The middle element over ``axis``, or the mean of the two; see `numpy.median`.

    Elements equal to a middle one share its gradient equally.

    >>> tg.grad(tg.median)(np.array([5.0, 1.0, 3.0, 2.0]))
    array([0. , 0. , 0.5, 0.5])
    """
    if not np.size(x):
        raise ValueError("median: expected at least one element, got an empty array")
    return np.median(x, axis=axis, keepdims=keepdims)


@in_floats
def _median_vjp(g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    half = 0.5 * _expand(g, x, axis, keepdims)
    axes, x = tuple(_reduced_axes(x, axis)), x.data if isinstance(x, Tensor) else x
    middle = [np.quantile(x, 0.5, axis=axes, keepdims=True, method=m) for m in ("lower", "higher")]
    lower, higher = (_share(half, (x == m) | np.isnan(x), axis) for m in middle)
    return lower + higher


median.defvjp(x=_median_vjp)


# Along lines: what is cumulative


def _along(line_vjp: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """The vjp along any axis (None for the flattened array), from the vjp along the last."""

    def formula(g: Array, out: Array, x: Array, axis: int | None) -> Array:
        if axis is None or not x.ndim:
            return line_vjp(g, x.reshape(-1)).reshape(x.shape)
        return np.swapaxes(line_vjp(np.swapaxes(g, axis, -1), np.swapaxes(x, axis, -1)), axis, -1)

    return formula


@op(numpy=np.cumsum)
def cumsum(x: Array, *, axis: int | None = None) -> Array:
    """Sums of the first 1, 2, ... elements along ``axis``, or of all in order; see `numpy.cumsum`.

    >>> tg.cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    return np.cumsum(x, axis=axis)


cumsum.defvjp(x=_along(lambda g, x: np.cumsum(g[..., ::-1], axis=-1)[..., ::-1]))


@op(numpy=np.cumprod)
def cumprod(x: Array, *, axis: int | None = None) -> Array:
    """Products of the first 1, 2, ... elements along ``axis``, or of all in order; see `numpy.cumprod`.

    The derivatives, of every order, are right with zeros among the factors.

    >>> tg.cumprod(np.array([1.0, 2.0, 3.0]))
    array([1., 2., 6.])
    """
    return np.cumprod(x, axis=axis)


def _from(x: Array, n: int) -> Array:
    """Lines from their element ``n`` on, then zeros."""
    return np.concatenate([x[..., n:], np.zeros_like(x[..., :n])], axis=-1)


def _cumprod_lines_vjp(g: Array, x: Array) -> Array:
    """dx[i] = (x[0] ... x[i-1]) s[i], where s[i] = g[i] + x[i+1] s[i+1]: no division, so zeros do no harm.

    The recurrence is solved by doubling (Hillis and Steele, 1986): s[i] = total[i] + factor[i] s[i + step].
    """
    before = np.cumprod(np.concatenate([np.ones_like(x[..., :1]), x[..., :-1]], axis=-1), axis=-1)
    total, factor, step = g, _from(x, 1), 1
    while step < x.shape[-1]:
        total, factor = total + factor * _from(total, step), factor * _from(factor, step)
        step *= 2
    return before * total


cumprod.defvjp(x=_along(_cumprod_lines_vjp))


# Sums of exponentials


@op
@in_floats
def logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) over ``axis`` (all axes by default), shifted by the maximum: it never overflows.

    Of -inf alone, and of nothing, it is -inf, with gradient 0; with +inf it is inf, with gradient NaN.

    >>> tg.logsumexp(np.array([[1000.0, 1000.0], [-np.inf, -np.inf]]), axis=1)
    array([1000.69314718,         -inf])
    """
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        out = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=axis)


@in_floats
def _logsumexp_vjp(g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    nothing = _expand(out, x, axis, keepdims) == -np.inf
    shares = np.where(nothing, 0, softmax(np.where(nothing, 0, x), axis=axis))
    return _expand(g, x, axis, keepdims) * shares


logsumexp.defvjp(x=_logsumexp_vjp)


@op
@in_floats
def softmax(x: Array, *, axis: Axis = -1) -> Array:
    """exp(x) / sum(exp(x)) over ``axis``, shifted by the maximum so that it never overflows.

    >>> tg.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis=axis, keepdims=True)


softmax.defvjp(x=in_floats(lambda g, out, x, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True))))


@op
@in_floats
def log_softmax(x: Array, *, axis: Axis = -1) -> Array:
    """log(softmax(x)) over ``axis``: x - logsumexp(x), which neither overflows nor becomes log(0).

    >>> tg.log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


log_softmax.defvjp(x=in_floats(lambda g, out, x, axis: g - np.exp(out) * np.sum(g, axis=axis, keepdims=True)))


# NumPy's options dtype, initial and where, of which the ops above know nothing


_ABSENT: Any = np._NoValue  # NumPy's own default, which None is not


def _cast(x: Array, dtype: Any) -> Array:
    """``x`` in the dtype of a mean, which is floating."""
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise TypeError(f"expected a floating dtype, got {np.dtype(dtype)}; cast the result with .astype")
    return x if dtype is None else x.astype(dtype)


def _mask(where: Any, x: Array, nan: bool = False) -> Any:
    """The elements that the option ``where`` names, with ``nan`` less those that are NaN; True for all."""
    if where is True and not nan:
        return True
    where = np.asarray(where)
    if where.dtype != bool and where.ndim:
        raise TypeError(f"expected where to be an array of booleans, got {where.dtype} {where.shape}")
    where = np.broadcast_to(where.astype(bool), np.shape(x))
    return where & ~np.isnan(x) if nan else where


def _accumulate(
    total: Callable[..., Array],
    join: Callable[..., Array],
    neutral: float,
    x: Array,
    *,
    axis: Axis = None,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = _ABSENT,
    where: Any = True,
) -> Array:
    """A sum, product or extremum of the elements at ``where`` and of ``initial``."""
    if isinstance(x, Tensor) and x.dtype.kind != "f":
        given = {"where": where} | ({} if dtype is None else {"dtype": dtype})
        given |= {} if initial is _ABSENT else {"initial": initial}
        return Tensor(getattr(np, total.__name__)(x.data, axis=axis, keepdims=keepdims, **given))
    x = x if dtype is None else x.astype(dtype)
    if initial is _ABSENT and abs(neutral) == math.inf:
        initial = None
    if initial is None and (where is not True or not _elements(x, axis)):
        raise ValueError(f"{total.__name__}: needs initial, the result where no element is left")
    if where is not True:
        x = np.where(_mask(where, x), x, initial if abs(neutral) == math.inf else neutral)
    if initial is None or initial is _ABSENT:
        return total(x, axis=axis, keepdims=keepdims)
    if np.ndim(initial):
        raise ValueError(f"{total.__name__}: expected initial to be a number, got an array")
    initial = x.dtype.type(initial)
    if not _elements(x, axis):
        return sum(x, axis=axis, keepdims=keepdims) + initial
    return join(total(x, axis=axis, keepdims=keepdims), initial)


for _name, _join, _neutral in (
    ("sum", np.add, 0),
    ("prod", np.multiply, 1),
    ("max", np.maximum, -math.inf),
    ("min", np.minimum, math.inf),
):
    _total = OPS[_name]
    implements(getattr(np, _name), plainly=_total)(partial(_accumulate, _total, _join, _neutral))
NUMPY[np.amax], NUMPY[np.amin] = NUMPY[np.max], NUMPY[np.min]  # NumPy's aliases are functions of their own


def _scan(total: Callable[..., Array], x: Array, *, axis: int | None = None, dtype: Any) -> Array:
    return total(x.astype(dtype), axis=axis)


implements(np.cumsum, plainly=cumsum)(partial(_scan, cumsum))
implements(np.cumprod, plainly=cumprod)(partial(_scan, cumprod))


# Statistics of some elements, those in a mask


def _count(name: str, x: Array, mask: Any, axis: Axis, keepdims: bool, ddof: float = 0) -> Any:
    """How many elements there are; ValueError unless they are more than ``ddof``."""
    count = np.asarray(_elements(x, axis) if mask is True else np.sum(mask, axis=axis, keepdims=keepdims))
    if np.any((count <= ddof) | (count == 0)):
        which = "that are not NaN " if name.startswith("nan") else ""
        raise ValueError(f"{name}: expected more than {ddof} elements {which}in every slice")
    return count


@in_floats
def _mean_of(x: Array, *, name: str, mask: Any, axis: Axis, keepdims: bool) -> Array:
    if mask is True:
        return np.mean(x, axis=axis, keepdims=keepdims)
    total = np.sum(np.where(mask, x, 0), axis=axis, keepdims=keepdims)
    return total / _count(name, x, mask, axis, keepdims).astype(total.dtype)


def _centre(x: Array, name: str, mask: Any, axis: Axis) -> Array:
    """The elements less their mean, and 0 where the mask leaves one out: its slope would be NaN for NaN."""
    centred = x - _mean_of(x, name=name, mask=mask, axis=axis, keepdims=True)
    return centred if mask is True else np.where(mask, centred, 0)


@in_floats
def _var_of(x: Array, *, name: str, mask: Any, axis: Axis, ddof: float, keepdims: bool) -> Array:
    freedom = _count(name, x, mask, axis, keepdims, ddof) - ddof
    total = np.sum(np.square(_centre(x, name, mask, axis)), axis=axis, keepdims=keepdims)
    return total / freedom.astype(total.dtype)


@in_floats
def _std_of(x: Array, *, name: str, mask: Any, axis: Axis, ddof: float, keepdims: bool) -> Array:
    """The norm of the elements less their mean, over the root of their number.

    Where all are equal rounding of the mean leaves a difference, whose slope would be arbitrary.
    """
    freedom = _count(name, x, mask, axis, keepdims, ddof) - ddof
    axes = tuple(_reduced_axes(x, axis))
    values = x.data if isinstance(x, Tensor) else x
    largest, smallest = (
        f(values, axis=axes, keepdims=True, where=mask, initial=end)
        for f, end in ((np.max, -math.inf), (np.min, math.inf))
    )
    centred = np.where(largest == smallest, 0, _centre(x, name, mask, axis))
    size = norm_(centred, axis=axes, keepdims=keepdims)
    return size / np.sqrt(freedom).astype(size.dtype)


@implements(np.mean, plainly=mean)
def mean_(
    x: Array, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False, where: Any = True
) -> Array:
    x = _cast(x, dtype)
    return _mean_of(x, name="mean", mask=_mask(where, x), axis=axis, keepdims=keepdims)


@implements(np.var, plainly=var)
def var_(
    x: Array,
    *,
    axis: Axis = None,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
) -> Array:
    x = _cast(x, dtype)
    return _var_of(x, name="var", mask=_mask(where, x), axis=axis, ddof=ddof, keepdims=keepdims)


@implements(np.std)
def std(
    a: Array,
    axis: Axis = None,
    *,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
) -> Array:
    """sqrt(var(a)) over ``axis``; see `numpy.std`. Where all elements are equal it is 0, with gradient 0.

    No square of a small or large element is lost on the way. ValueError unless there are more than ``ddof``.

    >>> print(tg.std(np.array([1.0, 2.0, 3.0]), ddof=1))
    1.0
    """
    a = _cast(a, dtype)
    return _std_of(a, name="std", mask=_mask(where, a), axis=axis, ddof=ddof, keepdims=keepdims)


@implements(np.ptp)
def ptp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """max(a) - min(a) over ``axis``; see `numpy.ptp`.

    >>> print(tg.ptp(np.array([1.0, 5.0, 3.0])))
    4.0
    """
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


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
        total: Any = _elements(a, axis)
        if not found.size:
            raise ZeroDivisionError("average: there is nothing to average")
    else:
        if np.shape(weights) != np.shape(a):
            weights = _along_axes(weights, np.shape(a), axis)
        if np.any(np.sum(weights.data if isinstance(weights, Tensor) else weights, axis, float) == 0):
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


# NaN left out: it has gradient 0, since the result does not depend on what it would have been.


def _without_nan(a: Array, instead: float) -> Array:
    return np.where(np.isnan(a), instead, a) if a.dtype.kind == "f" else a


@implements(np.nansum)
def nansum(
    a: Array,
    axis: Axis = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = _ABSENT,
    where: Any = True,
) -> Array:
    """Sum of the elements that are not NaN; see `numpy.nansum`.

    >>> print(tg.nansum(np.array([1.0, np.nan, 3.0])))
    4.0
    """
    options = {"dtype": dtype, "keepdims": keepdims, "initial": initial, "where": where}
    return _accumulate(sum, np.add, 0, _without_nan(a, 0), axis=axis, **options)


@implements(np.nanprod)
def nanprod(
    a: Array,
    axis: Axis = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = _ABSENT,
    where: Any = True,
) -> Array:
    """Product of the elements that are not NaN; see `numpy.nanprod`.

    >>> print(tg.nanprod(np.array([2.0, np.nan, 3.0])))
    6.0
    """
    options = {"dtype": dtype, "keepdims": keepdims, "initial": initial, "where": where}
    return _accumulate(prod, np.multiply, 1, _without_nan(a, 1), axis=axis, **options)


@implements(np.nanmean)
def nanmean(
    a: Array, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False, where: Any = True
) -> Array:
    """Mean of the elements that are not NaN; see `numpy.nanmean`. ValueError where all are.

    >>> print(tg.nanmean(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    a = _cast(a, dtype)
    return _mean_of(a, name="nanmean", mask=_mask(where, a, nan=True), axis=axis, keepdims=keepdims)


@implements(np.nanvar)
def nanvar(
    a: Array,
    axis: Axis = None,
    *,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
) -> Array:
    """Variance of the elements that are not NaN; see `numpy.nanvar`. ValueError unless they outnumber ddof.

    >>> print(tg.nanvar(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    a = _cast(a, dtype)
    mask = _mask(where, a, nan=True)
    return _var_of(a, name="nanvar", mask=mask, axis=axis, ddof=ddof, keepdims=keepdims)


@implements(np.nanstd)
def nanstd(
    a: Array,
    axis: Axis = None,
    *,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
) -> Array:
    """Standard deviation of the elements that are not NaN; see `numpy.nanstd`, and `std` for equal elements.

    >>> print(tg.nanstd(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    a = _cast(a, dtype)
    mask = _mask(where, a, nan=True)
    return _std_of(a, name="nanstd", mask=mask, axis=axis, ddof=ddof, keepdims=keepdims)


@implements(np.nanmax)
def nanmax(
    a: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = _ABSENT, where: Any = True
) -> Array:
    """Maximum of the elements that are not NaN; see `numpy.nanmax`. ValueError where all are.

    >>> print(tg.nanmax(np.array([1.0, np.nan, 3.0])))
    3.0
    """
    if initial is None or initial is _ABSENT:
        _count("nanmax", a, _mask(True, a, nan=True), axis, keepdims)
    x = _without_nan(a, -math.inf)
    return _accumulate(
        max, np.maximum, -math.inf, x, axis=axis, keepdims=keepdims, initial=initial, where=where
    )


@implements(np.nanmin)
def nanmin(
    a: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = _ABSENT, where: Any = True
) -> Array:
    """Minimum of the elements that are not NaN; see `numpy.nanmin`. ValueError where all are.

    >>> print(tg.nanmin(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    if initial is None or initial is _ABSENT:
        _count("nanmin", a, _mask(True, a, nan=True), axis, keepdims)
    x = _without_nan(a, math.inf)
    return _accumulate(
        min, np.minimum, math.inf, x, axis=axis, keepdims=keepdims, initial=initial, where=where
    )


@op(elementwise=True)
def normalize(x: Array, mean: Array, gain: Array, shift: Array) -> Array:
    """(x - mean) gain + shift, broadcast.

    With the mean of x and the gain scale / sqrt(variance + eps) this is batch or layer normalisation.

    >>> tg.normalize(np.array([1.0, 3.0]), 2.0, 10.0, 0.5)
    array([-9.5, 10.5])
    """
    return (x - mean) * gain + shift


def _mean_vjp(g: Array, out: Array, x: Array, mean: Array, gain: Array, shift: Array) -> Array:
    if np.shape(gain) != np.shape(mean):
        return -g * gain
    return -gain * sum_to(g, shape=np.shape(mean))  # summed first, it is small


normalize.defvjp(
    x=lambda g, out, x, mean, gain, shift: g * gain,
    mean=_mean_vjp,
    gain=lambda g, out, x, mean, gain, shift: g * (x - mean),
    shift=lambda g, out, x, mean, gain, shift: g,
)
