"""Ops that move elements: each vjp is the inverse movement."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Array, op


@op(numpy=np.reshape)
def reshape(x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """The same elements in another shape, rows last; see `numpy.reshape`.

    >>> tg.reshape(np.array([1.0, 2.0, 3.0, 4.0]), shape=(2, -1))
    array([[1., 2.],
           [3., 4.]])
    """
    return np.reshape(x, shape)


reshape.defvjp(x=lambda g, out, x, shape: reshape(g, shape=x.shape))


@op(numpy=np.transpose)
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Array:
    """``x`` with its axes permuted, reversed by default; see `numpy.transpose`.

    >>> tg.transpose(np.zeros((2, 3, 4)), axes=(1, 2, 0)).shape
    (3, 4, 2)
    """
    return np.transpose(x, axes)


def _inverse(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
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


@op
def getitem(x: Array, *, index: Any) -> Array:
    """``x[index]``, for every index that NumPy takes; see `numpy.ndarray.__getitem__`.

    >>> tg.getitem(np.array([1.0, 2.0, 3.0]), index=[0, 0, 2])
    array([1., 1., 3.])
    """
    return x[index]


@op
def add_at(x: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
    """``x`` added into zeros of ``shape`` at ``index``, repeats included: the adjoint of `getitem`.

    >>> tg.add_at(np.array([1.0, 10.0, 5.0]), index=[0, 0, 2], shape=(3,))
    array([11.,  0.,  5.])
    """
    out = np.zeros(shape, dtype=x.dtype)
    if _is_basic(index):
        out[index] = x
    else:
        np.add.at(out, index, x)
    return out


def _is_basic(index: Any) -> bool:
    """Whether an index reads no element twice, since it has no array or list in it."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts
    )


getitem.defvjp(x=lambda g, out, x, index: add_at(g, index=index, shape=x.shape))
add_at.defvjp(x=lambda g, out, x, index, shape: getitem(g, index=index))
