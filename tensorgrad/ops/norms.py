"""Norms of vectors and matrices. Where a derivative has a choice it is a subgradient, at 0 it is 0."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import Array, implements, op
from tensorgrad.ops.factorizations import svdvals
from tensorgrad.ops.shape import Axes, moveaxis


@op
def norm_(x: Array, *, axis: tuple[int, ...], ord: float = 2, keepdims: bool = False) -> Array:
    """The op under `norm`: (sum of abs(x)^ord)^(1/ord) over ``axis``; its derivative at 0 is taken to be 0.

    >>> print(tg.ops.norms.norm_(np.array([3.0, -4.0]), axis=(0,)))
    5.0
    """
    if ord == 2:
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def _norm_vjp(g: Array, out: Array, x: Array, axis: tuple[int, ...], ord: float, keepdims: bool) -> Array:
    if not keepdims:
        g, out = np.expand_dims(g, axis), np.expand_dims(out, axis)
    size = np.where(out == 0, inf, out)  # so that the derivatives at 0 are 0, of every order
    # For ord 2 the same as the formula below, but smooth where an element is 0.
    return g * (x / size) if ord == 2 else g * (np.sign(x) * (np.abs(x) / size) ** (ord - 1))


norm_.defvjp(x=_norm_vjp)


@implements(np.linalg.norm)
def norm(x: Array, ord: Any = None, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Norm of vectors (``axis`` an integer) or of matrices (``axis`` a pair); see `numpy.linalg.norm`.

    Where a norm has no derivative a subgradient is taken: 0 at 0, equal shares for tied maxima; of singular
    values that coincide, see `svd`. TypeError for ``ord=0``, which only counts.

    >>> tg.grad(tg.linalg.norm)(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> tg.grad(tg.linalg.norm)(np.zeros(2))
    array([0., 0.])
    """
    ndim = np.ndim(x)
    axes = tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)
    if ord is None:
        return norm_(x, axis=axes, keepdims=keepdims)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(f"norm: ord={ord} needs one axis or two, got {len(axes)} of shape {np.shape(x)}")


def _vector_norm(x: Array, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is of matrices, got vectors (shape {np.shape(x)}, axis {axes})")
    if ord == 0:
        raise TypeError("norm: ord=0 counts elements and has no derivative rule; see np.count_nonzero")
    if abs(ord) == inf:
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axes, keepdims=keepdims)
    return norm_(x, ord=float(ord), axis=axes, keepdims=keepdims)


def _matrix_norm(x: Array, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    if ord == "fro":
        return norm_(x, axis=axes, keepdims=keepdims)
    if ord in (1, -1, inf, -inf):
        sums = np.sum(np.abs(x), axis=axes[abs(ord) == inf], keepdims=True)
        return (np.max if ord > 0 else np.min)(sums, axis=axes, keepdims=keepdims)
    if ord not in ("nuc", 2, -2):
        raise ValueError(f"norm: matrices have no norm of ord={ord!r}")
    values = svdvals(moveaxis(x, axes, (-2, -1)))
    result = np.sum(values, axis=-1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    return np.expand_dims(result, axes) if keepdims else result


@implements(np.linalg.vector_norm)
def vector_norm(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False, ord: float = 2) -> Array:
    """The norm of all elements along ``axis`` as one vector; see `numpy.linalg.vector_norm`."""
    axes = tuple(range(np.ndim(x))) if axis is None else normalize_axis_tuple(axis, np.ndim(x))
    return _vector_norm(x, ord, axes, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm over the last two axes; see `numpy.linalg.matrix_norm`."""
    return norm(x, ord, (-2, -1), keepdims)
