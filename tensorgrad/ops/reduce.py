"""Reductions over axes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from tensorgrad.core import Array, broadcast_to, op

Axis: TypeAlias = int | tuple[int, ...] | None


def _expanded(reduced: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """A reduction's result or cotangent with the reduced axes back, as axes of length 1."""
    if keepdims or axis is None:
        return reduced if keepdims else reduced.reshape((1,) * x.ndim)
    axes = axis if isinstance(axis, tuple) else (axis,)
    reduced_axes = {i % x.ndim for i in axes}
    return reduced.reshape(tuple(1 if i in reduced_axes else n for i, n in enumerate(x.shape)))


def _count(x: Array, out: Array) -> int:
    """How many elements went into each result."""
    return int(x.size // out.size)


@op(numpy=np.sum)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Sum over ``axis`` (all axes by default); see `numpy.sum`.

    >>> tg.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    return np.sum(x, axis=axis, keepdims=keepdims)


sum.defvjp(x=lambda g, out, x, axis, keepdims: broadcast_to(_expanded(g, x, axis, keepdims), shape=x.shape))


@op(numpy=np.mean)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Mean over ``axis`` (all axes by default); see `numpy.mean`.

    >>> tg.mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    array([1.5, 3.5])
    """
    if not np.size(x):
        raise ValueError("mean: expected at least one element, got an empty array")
    return np.mean(x, axis=axis, keepdims=keepdims)


mean.defvjp(
    x=lambda g, out, x, axis, keepdims: broadcast_to(
        _expanded(g, x, axis, keepdims) / _count(x, out), shape=x.shape
    )
)


@op(numpy=np.max)
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Maximum over ``axis`` (all axes by default); see `numpy.max`.

    Tied maxima share the gradient equally, which is a subgradient.

    >>> tg.max(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([3., 5.])
    """
    return np.max(x, axis=axis, keepdims=keepdims)


def _max_vjp(g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    # Where there is a NaN the result is NaN, and the gradient goes to the NaN.
    is_max = (x == _expanded(out, x, axis, keepdims)) | (x != x)
    ties = np.sum(is_max, axis=axis, keepdims=True).astype(x.dtype)
    return np.where(is_max, _expanded(g, x, axis, keepdims) / ties, 0)


max.defvjp(x=_max_vjp)


@op
def softmax(x: Array, *, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along ``axis``, shifted by the maximum so that it never overflows.

    >>> tg.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


softmax.defvjp(x=lambda g, out, x, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True)))
