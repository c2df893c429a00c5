"""Reshaping, permuting and broadcasting: ops whose vjp is the inverse movement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Array, broadcast_to, implements, op
from tensorgrad.ops.arrays import alike, plain

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "expand_dims", "linspace",
    "matrix_transpose", "meshgrid", "moveaxis", "ravel", "reshape", "rollaxis", "squeeze", "swapaxes", "tile",
    "transpose",
]  # fmt: skip

Axes: TypeAlias = int | Sequence[int]


@op(numpy=np.reshape)
def reshape(x: Array, *, shape: Axes, order: Literal["C", "F"] = "C") -> Array:
    """The same elements, row-major or (``order="F"``) column-major, in another shape; see `numpy.reshape`.

    Under that name ``order="A"`` asks how the elements lie in memory.

    >>> tg.reshape(np.array([1.0, 2.0, 3.0, 4.0]), shape=(2, -1))
    array([[1., 2.],
           [3., 4.]])
    """
    if order not in ("C", "F"):
        raise TypeError(f"reshape: order must be 'C' or 'F', got {order!r}")
    if order == "C" and _is_flattened_batch(x, shape):
        # Copied in runs as long as the batch, which stays innermost: up to seven times as fast as one by one.
        return np.moveaxis(x, 0, -1).reshape(-1, x.shape[0]).T
    return np.reshape(x, shape, order)


reshape.defvjp(x=lambda g, out, x, shape, order: reshape(g, shape=x.shape, order=order))


def _is_flattened_batch(x: Array, shape: Any) -> bool:
    """Whether images whose batch lies innermost in memory, as convolution leaves it, become rows (N, ...)."""
    return (
        type(x) is np.ndarray
        and x.ndim == 4
        and x.strides[0] == x.itemsize
        and x.shape[0] > 1
        and type(shape) is tuple
        and shape in ((x.shape[0], -1), (x.shape[0], x.size // x.shape[0]))
    )


def _settle(order: str, x: Array) -> Any:
    """An order as C or F: with A that in which ``x`` lies in memory; other words as they are."""
    order = order.upper() if isinstance(order, str) else "C" if order is None else order
    return ("F" if np.asarray(plain(x)).flags.fnc else "C") if order == "A" else order


@implements(np.reshape)
def reshape_(x: Array, shape: Axes, order: Any = "C") -> Array:
    return reshape(x, shape=shape, order=_settle(order, x))


@op(numpy=np.transpose)
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Array:
    """``x`` with its axes permuted, reversed by default; see `numpy.transpose`.

    >>> tg.transpose(np.zeros((2, 3, 4)), axes=(1, 2, 0)).shape
    (3, 4, 2)
    """
    return np.transpose(x, axes)


def _inverse(axes: int | tuple[int, ...] | None) -> tuple[int, ...] | None:
    axes = (axes,) if isinstance(axes, (int, np.integer)) else axes
    return None if axes is None else tuple(int(i) for i in np.argsort([i % len(axes) for i in axes]))


transpose.defvjp(x=lambda g, out, x, axes: transpose(g, axes=_inverse(axes)))


@op(numpy=np.swapaxes)
def swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    """``x`` with two axes interchanged; see `numpy.swapaxes`.

    >>> tg.swapaxes(np.zeros((2, 3, 4)), axis1=0, axis2=-1).shape
    (4, 3, 2)
    """
    return np.swapaxes(x, axis1, axis2)


swapaxes.defvjp(x=lambda g, out, x, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2))

# Permutations. An empty array of shape (0, 1, 2, ...) tells by its shape where NumPy puts each axis.


def _permute(rule: Callable[..., Any], x: Array, *args: Any) -> Array:
    return transpose(x, axes=rule(np.empty(range(np.ndim(x))), *args).shape)


@implements(np.moveaxis)
def moveaxis(a: Array, source: Axes, destination: Axes) -> Array:
    """Axes moved to other places, all others in order; see `numpy.moveaxis`.

    >>> tg.moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return _permute(np.moveaxis, a, source, destination)


@implements(np.rollaxis)
def rollaxis(a: Array, axis: int, start: int = 0) -> Array:
    """An axis moved to before another; see `numpy.rollaxis`."""
    return _permute(np.rollaxis, a, axis, start)


@implements(np.matrix_transpose)
def matrix_transpose(x: Array, /) -> Array:
    """The last two axes interchanged; see `numpy.matrix_transpose`."""
    return _permute(np.matrix_transpose, x)


# New shapes. A stand-in of no memory tells by its shape what NumPy makes of the real array.


def _reshape_as(rule: Callable[..., Any], x: Array, *args: Any) -> Array:
    return reshape(x, shape=rule(np.broadcast_to(False, np.shape(x)), *args).shape)


@implements(np.ravel)
def ravel(a: Array, order: Literal["C", "F", "A", "K"] = "C") -> Array:
    """All elements along one axis; see `numpy.ravel`."""
    if order in (
        "K",
        "k",
    ):  # as they lie in memory: from the axis of the longest stride to that of the shortest
        strides = np.asarray(plain(a)).strides
        a, order = transpose(a, axes=tuple(sorted(range(len(strides)), key=lambda i: -abs(strides[i])))), "C"
    return reshape(a, shape=-1, order=_settle(order, a))


@implements(np.squeeze)
def squeeze(a: Array, axis: Axes | None = None) -> Array:
    """Axes of length 1 removed; see `numpy.squeeze`."""
    return _reshape_as(np.squeeze, a, axis)


@implements(np.expand_dims)
def expand_dims(a: Array, axis: Axes) -> Array:
    """Axes of length 1 put in; see `numpy.expand_dims`."""
    return _reshape_as(np.expand_dims, a, axis)


def _each(rule: Callable[..., Any], arrays: tuple[Array, ...]) -> Any:
    reshaped = tuple(_reshape_as(rule, x) for x in arrays)
    return reshaped[0] if len(arrays) == 1 else reshaped


@implements(np.atleast_1d)
def atleast_1d(*arys: Array) -> Any:
    """Arrays with one axis at least; see `numpy.atleast_1d`."""
    return _each(np.atleast_1d, arys)


@implements(np.atleast_2d)
def atleast_2d(*arys: Array) -> Any:
    """Arrays with two axes at least; see `numpy.atleast_2d`."""
    return _each(np.atleast_2d, arys)


@implements(np.atleast_3d)
def atleast_3d(*arys: Array) -> Any:
    """Arrays with three axes at least; see `numpy.atleast_3d`.

    >>> tg.atleast_3d(np.zeros(4)).shape
    (1, 4, 1)
    """
    return _each(np.atleast_3d, arys)


# Broadcasting


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Array) -> tuple[Array, ...]:
    """Arrays broadcast against one another; see `numpy.broadcast_arrays`."""
    shape = np.broadcast_shapes(*(np.shape(x) for x in args))
    return tuple(broadcast_to(x, shape=shape) for x in args)


@implements(np.meshgrid)
def meshgrid(
    *xi: Array, copy: bool = True, sparse: bool = False, indexing: Literal["xy", "ij"] = "xy"
) -> tuple[Array, ...]:
    """See `numpy.meshgrid`; ``copy`` makes no difference, since a tensor's elements cannot be assigned.

    >>> tg.meshgrid(np.array([1.0, 2.0]), np.array([3.0, 4.0]))[0]
    array([[1., 2.],
           [1., 2.]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    places = list(range(len(xi)))
    if indexing == "xy":
        places[:2] = places[:2][::-1]
    grids = tuple(
        reshape(x, shape=[-1 if i == place else 1 for i in range(len(xi))])
        for x, place in zip(xi, places, strict=True)
    )
    return grids if sparse else broadcast_arrays(*grids)


@implements(np.linspace)
def linspace(
    start: Array,
    stop: Array,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``num`` numbers at equal distances from ``start`` to ``stop``; see `numpy.linspace`.

    >>> tg.grad(lambda stop: tg.linspace(0.0, stop, 5).sum())(1.0)
    array(2.5)
    """
    start, stop, _ = alike(start, stop, 0.0)
    if num < 0:
        raise ValueError(f"linspace: expected num to be 0 at least, got {num}")
    steps = index(num) - 1 if endpoint else index(num)
    share = np.arange(num).reshape((-1,) + (1,) * max(start.ndim, stop.ndim)) / max(steps, 1)
    share = share.astype(np.result_type(start.dtype, stop.dtype, 0.0))
    out = start * (1 - share) + stop * share
    out = out if axis == 0 else moveaxis(out, 0, axis)
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise TypeError(f"linspace: expected a floating dtype, got {np.dtype(dtype)}")
    out = out if dtype is None else out.astype(dtype)
    return (out, (stop - start) / steps if steps > 0 else np.nan) if retstep else out


@implements(np.tile)
def tile(A: Array, reps: Any) -> Array:  # noqa: N803 - NumPy's name
    """``A`` repeated ``reps`` times along each axis; see `numpy.tile`.

    >>> tg.tile(np.array([1.0, 2.0]), (2, 2))
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]])
    """
    times = tuple(index(n) for n in np.atleast_1d(reps))
    shape = (1,) * (len(times) - np.ndim(A)) + np.shape(A)
    times = (1,) * (len(shape) - len(times)) + times
    if not np.size(A):
        return reshape(A, shape=tuple(m * n for m, n in zip(times, shape, strict=True)))
    beside = reshape(A, shape=[m for n in shape for m in (1, n)])  # an axis of copies before every axis
    copies = broadcast_to(beside, shape=tuple(m for pair in zip(times, shape, strict=True) for m in pair))
    return reshape(copies, shape=tuple(m * n for m, n in zip(times, shape, strict=True)))
