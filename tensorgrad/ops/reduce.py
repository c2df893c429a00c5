"""Reductions, cumulative sums and products, sums of exponentials, and normalisation.

Tied extrema share the gradient equally, a subgradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor, broadcast_to, op, sum_to
from tensorgrad.ops.arrays import HALF, in_floats, in_wide_floats, plain

__all__ = [
    "amax", "amin", "cumprod", "cumsum", "log_softmax", "logsumexp", "max", "mean", "median", "min",
    "normalize", "prod", "softmax", "sum", "var",
]  # fmt: skip

Axis: TypeAlias = int | tuple[int, ...] | None  #: the axes that a reduction takes away, None for all


def _expand(reduced: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """A reduction's result or cotangent with the reduced axes back, as axes of length 1."""
    if keepdims:
        return reduced
    axes = reduced_axes(x, axis)
    return reduced.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def reduced_axes(x: Array, axis: Axis) -> set[int]:
    """The axes that a reduction over ``axis`` takes away."""
    ndim = np.ndim(x)
    if axis is None:
        return {*range(ndim)}
    return {i % ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,)) if ndim}


def elements(x: Array, axis: Axis) -> int:
    """How many elements go into each result."""
    return math.prod(np.shape(x)[i] for i in reduced_axes(x, axis))


def _share(g: Array, chosen: Array, axis: Axis) -> Array:
    """A cotangent divided equally among the chosen elements."""
    axes = tuple(reduced_axes(chosen, axis))
    return np.where(chosen, g / np.sum(chosen, axis=axes, keepdims=True).astype(g.dtype), 0)


@op(numpy=np.sum)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Sum over ``axis`` (all axes by default); see `numpy.sum`.

    >>> tg.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    if getattr(x, "dtype", None) is HALF:  # whose sums NumPy rounds, along some axes, one by one
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float32).astype(HALF)
    return np.sum(x, axis=axis, keepdims=keepdims)


sum.defvjp(x=lambda g, out, x, axis, keepdims: broadcast_to(_expand(g, x, axis, keepdims), shape=x.shape))


@op(numpy=np.mean)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Mean over ``axis`` (all axes by default); see `numpy.mean`.

    >>> tg.mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    array([1.5, 3.5])
    """
    if not elements(x, axis):
        raise ValueError("mean: expected at least one element, got an empty array")
    return np.mean(x, axis=axis, keepdims=keepdims)


mean.defvjp(
    x=in_floats(
        lambda g, out, x, axis, keepdims: broadcast_to(
            _expand(g, x, axis, keepdims) / elements(x, axis), shape=x.shape
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
    count = elements(x, axis)
    if count <= ddof or not count:
        raise ValueError(f"var: expected more elements than ddof={ddof}, got {count}")
    return np.var(x, axis=axis, ddof=ddof, keepdims=keepdims)


@in_floats
def _var_vjp(g: Array, out: Array, x: Array, axis: Axis, ddof: float, keepdims: bool) -> Array:
    share = _expand(g, x, axis, keepdims) * (2 / (elements(x, axis) - float(ddof)))
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
    axes = reduced_axes(x, axis)
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
    axes, x = tuple(reduced_axes(x, axis)), plain(x)
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
@in_wide_floats
def cumsum(x: Array, *, axis: int | None = None) -> Array:
    """Sums of the first 1, 2, ... elements along ``axis``, or of all in order; see `numpy.cumsum`.

    >>> tg.cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    return np.cumsum(x, axis=axis)


cumsum.defvjp(x=in_floats(_along(lambda g, x: np.cumsum(g[..., ::-1], axis=-1)[..., ::-1])))


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


# Sums of exponentials. Only the largest share can be near 1. What it lacks of 1 is the sum of the others,
# tiny as it may be: taken from 1 it would be lost.


def log_sum(shifted: Array, axis: Axis) -> Array:
    """log(sum(exp(shifted))) of numbers that are 0 at most."""
    top = shifted == 0
    others = np.sum(np.exp(shifted) - top, axis=axis, keepdims=True)
    return np.log1p(others + (np.sum(top, axis=axis, keepdims=True, dtype=shifted.dtype) - 1))


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
        out = log_sum(x - top, axis) + top
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

    The difference from the maximum is rounded: a share has half as many units of error as that is large.

    >>> tg.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis=axis, keepdims=True)


@in_floats
def _softmax_vjp(g: Array, out: Array, x: Array, axis: Axis) -> Array:
    # The same for all cotangents less one number: less that of a share near 1, nothing large cancels.
    g = g - np.sum(g * (out > 0.5), axis=axis, keepdims=True)
    return out * (g - np.sum(g * out, axis=axis, keepdims=True))


softmax.defvjp(x=_softmax_vjp)


@op
@in_floats
def log_softmax(x: Array, *, axis: Axis = -1) -> Array:
    """log(softmax(x)) over ``axis``: x - logsumexp(x), which neither overflows nor becomes log(0).

    That of a share near 1 is as accurate as others: log1p of the sum of these.

    >>> tg.log_softmax(np.array([0.0, 40.0]))
    array([-4.00000000e+01, -4.24835426e-18])
    """
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - log_sum(shifted, axis)


def excess(shares: Array, target: Array, axis: Axis) -> Array:
    """shares sum(target) - target: the gradient of -sum(target log(shares)) with respect to logits."""
    large = shares > 0.5
    of_shares, of_target = (np.sum(np.where(large, 0, x), axis=axis, keepdims=True) for x in (shares, target))
    usual = shares * np.sum(target, axis=axis, keepdims=True) - target
    return np.where(large, shares * of_target - target * of_shares, usual)


log_softmax.defvjp(x=in_floats(lambda g, out, x, axis: -excess(np.exp(out), g, axis)))


@op(elementwise=True)
@in_floats
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
    x=in_floats(lambda g, out, x, mean, gain, shift: g * gain),
    mean=in_floats(_mean_vjp),
    gain=in_floats(lambda g, out, x, mean, gain, shift: g * (x - mean)),
    shift=lambda g, out, x, mean, gain, shift: g,
)
