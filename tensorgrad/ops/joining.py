"""Joining and splitting. An op takes its arrays one by one, `concatenate_(x, y)`, NumPy a sequence of them.

A name that ends in an underscore is the op under the NumPy function of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Array, implements, op
from tensorgrad.ops.indexing import along
from tensorgrad.ops.shape import atleast_1d, atleast_2d, atleast_3d, ravel, reshape


@op
def concatenate_(*arrays: Array, axis: int = 0) -> Array:
    """Arrays joined along an axis that they have: the op under `concatenate`.

    >>> tg.ops.joining.concatenate_(np.array([1.0]), np.array([2.0, 3.0]))
    array([1., 2., 3.])
    """
    return np.concatenate(arrays, axis)


def _part(i: int, g: Array, out: Array, *arrays: Array, axis: int) -> Array:
    start = sum(x.shape[axis] for x in arrays[:i])
    return g[along(axis, slice(start, start + arrays[i].shape[axis]), g.ndim)]


concatenate_.defvjp(arrays=_part)


@op
def stack_(*arrays: Array, axis: int = 0) -> Array:
    """Arrays of one shape side by side along a new axis: the op under `stack`.

    >>> tg.ops.joining.stack_(np.array([1.0, 2.0]), np.array([3.0, 4.0]), axis=1)
    array([[1., 3.],
           [2., 4.]])
    """
    return np.stack(arrays, axis)


stack_.defvjp(arrays=lambda i, g, out, *arrays, axis: g[along(axis, i, g.ndim)])


@implements(np.concatenate)
def concatenate(arrays: Sequence[Array], /, axis: int | None = 0) -> Array:
    """Arrays joined along an axis that they have; see `numpy.concatenate`.

    >>> tg.concatenate([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])], axis=None)
    array([1., 2., 3., 4.])
    """
    if axis is None:
        return concatenate_(*(ravel(x) for x in arrays))
    return concatenate_(*arrays, axis=axis)


@implements(np.stack)
def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Arrays of one shape side by side along a new axis; see `numpy.stack`."""
    return stack_(*arrays, axis=axis)


@implements(np.hstack)
def hstack(tup: Sequence[Array]) -> Array:
    """Arrays joined along the second axis, vectors along their only one; see `numpy.hstack`."""
    arrays = [atleast_1d(x) for x in tup]
    return concatenate_(*arrays, axis=0 if arrays and arrays[0].ndim == 1 else 1)


@implements(np.vstack)
def vstack(tup: Sequence[Array]) -> Array:
    """Arrays joined along the first axis, vectors as rows; see `numpy.vstack`."""
    return concatenate_(*(atleast_2d(x) for x in tup), axis=0)


@implements(np.dstack)
def dstack(tup: Sequence[Array]) -> Array:
    """Arrays joined along the third axis; see `numpy.dstack`."""
    return concatenate_(*(atleast_3d(x) for x in tup), axis=2)


@implements(np.column_stack)
def column_stack(tup: Sequence[Array]) -> Array:
    """Vectors as columns, and matrices, side by side; see `numpy.column_stack`.

    >>> tg.column_stack([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    array([[1., 3.],
           [2., 4.]])
    """
    return concatenate_(*(reshape(x, shape=(-1, 1)) if np.ndim(x) < 2 else x for x in tup), axis=1)


@implements(np.append)
def append(arr: Array, values: Array, axis: int | None = None) -> Array:
    """Two arrays joined, raveled if there is no axis; see `numpy.append`."""
    return concatenate([arr, values], axis)


@implements(np.block)
def block(arrays: Any) -> Array:
    """An array put together from nested lists of blocks; see `numpy.block`.

    >>> tg.block([[np.ones((1, 2)), 0.0], [np.zeros((1, 3))]])
    array([[1., 1., 0.],
           [0., 0., 0.]])
    """
    depth, ndim = _depth(arrays)
    return _block(arrays, depth, max(depth, ndim))


def _depth(blocks: Any) -> tuple[int, int]:
    """How deep the lists are nested, and the rank of the array of highest rank in them."""
    if not isinstance(blocks, list):
        return 0, np.ndim(blocks)
    if not blocks:
        raise ValueError("block: a list of blocks is empty")
    inner = [_depth(b) for b in blocks]
    if len({depth for depth, _ in inner}) > 1:
        raise ValueError("block: lists are nested to different depths")
    return 1 + inner[0][0], max(ndim for _, ndim in inner)


def _block(blocks: Any, depth: int, ndim: int) -> Array:
    if not isinstance(blocks, list):
        return reshape(blocks, shape=(1,) * (ndim - np.ndim(blocks)) + np.shape(blocks))
    return concatenate_(*(_block(b, depth - 1, ndim) for b in blocks), axis=-depth)


# Splitting. What NumPy makes of the positions along the axis says which to read.


def _split(rule: Callable[..., Any], x: Array, sections: Any, axis: int) -> list[Array]:
    parts = rule(np.arange(np.shape(x)[axis]), sections)
    ends = [(part[0], part[-1] + 1) if part.size else (0, 0) for part in parts]
    return [x[along(axis, slice(start, stop), x.ndim)] for start, stop in ends]


@implements(np.split)
def split(ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Equal parts, or parts between given places; see `numpy.split`.

    >>> tg.split(np.array([1.0, 2.0, 3.0]), [1])
    [array([1.]), array([2., 3.])]
    """
    return _split(np.split, ary, indices_or_sections, axis)


@implements(np.array_split)
def array_split(ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Parts as equal as can be, or between given places; see `numpy.array_split`."""
    return _split(np.array_split, ary, indices_or_sections, axis)


@implements(np.hsplit)
def hsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """Parts along the second axis, of a vector along its only one; see `numpy.hsplit`."""
    return split(ary, indices_or_sections, axis=0 if np.ndim(ary) == 1 else 1)


@implements(np.vsplit)
def vsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """Parts along the first axis; see `numpy.vsplit`."""
    if np.ndim(ary) < 2:
        raise ValueError(f"vsplit: expected at least 2 axes, got shape {np.shape(ary)}")
    return split(ary, indices_or_sections, axis=0)


@implements(np.dsplit)
def dsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """Parts along the third axis; see `numpy.dsplit`."""
    if np.ndim(ary) < 3:
        raise ValueError(f"dsplit: expected at least 3 axes, got shape {np.shape(ary)}")
    return split(ary, indices_or_sections, axis=2)
