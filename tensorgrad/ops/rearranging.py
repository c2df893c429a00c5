"""Rolling, flipping, padding, diagonals, triangles, joining and splitting: what moves elements about.

An op takes its arrays one by one, `concatenate_(x, y)`, NumPy a sequence of them: a name that ends in an
underscore is the op under the NumPy function of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import Array, implements, op
from tensorgrad.ops.arrays import as_array
from tensorgrad.ops.indexing import along, getitem, line_up, scatter_add, take
from tensorgrad.ops.shape import Axes, atleast_1d, atleast_2d, atleast_3d, moveaxis, ravel, reshape

__all__ = [
    "append", "array_split", "block", "column_stack", "concatenate", "diag", "diagflat", "diagonal", "dsplit",
    "dstack", "flip", "fliplr", "flipud", "hsplit", "hstack", "pad", "repeat", "resize", "roll", "rot90",
    "split", "stack", "trace", "tril", "triu", "vsplit", "vstack",
]  # fmt: skip


def _move(rule: Callable[..., Any], x: Array, *args: Any, **kwargs: Any) -> Array:
    """What a NumPy function that only moves elements makes of ``x``: it tells where it puts their numbers."""
    numbers = np.arange(np.size(x)).reshape(np.shape(x))
    return ravel(x)[rule(numbers, *args, **kwargs)]


@op(numpy=np.roll)
def roll(x: Array, *, shift: Axes, axis: Axes | None = None) -> Array:
    """Elements shifted along axes, those pushed over an end coming in at the other; see `numpy.roll`.

    >>> tg.roll(np.array([1.0, 2.0, 3.0]), shift=1)
    array([3., 1., 2.])
    """
    return np.roll(x, shift, axis)


roll.defvjp(x=lambda g, out, x, shift, axis: roll(g, shift=np.negative(shift), axis=axis))


@implements(np.flip)
def flip(m: Array, axis: Axes | None = None) -> Array:
    """Elements in reverse order along axes, all by default; see `numpy.flip`.

    >>> tg.flip(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    array([[2., 1.],
           [4., 3.]])
    """
    ndim = np.ndim(m)
    flipped = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    return getitem(m, index=tuple(slice(None, None, -1 if i in flipped else 1) for i in range(ndim)))


@implements(np.fliplr)
def fliplr(m: Array) -> Array:
    """Columns in reverse order; see `numpy.fliplr`."""
    return flip(m, 1)


@implements(np.flipud)
def flipud(m: Array) -> Array:
    """Rows in reverse order; see `numpy.flipud`."""
    return flip(m, 0)


@implements(np.rot90)
def rot90(m: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """A quarter turn, ``k`` times, from the first of two axes to the second; see `numpy.rot90`.

    >>> tg.rot90(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[2., 4.],
           [1., 3.]])
    """
    return _move(np.rot90, m, k, axes)


@implements(np.repeat)
def repeat(a: Array, repeats: Any, axis: int | None = None) -> Array:
    """Each element (or slice along ``axis``) so many times; see `numpy.repeat`.

    >>> tg.repeat(np.array([1.0, 2.0]), [3, 1])
    array([1., 1., 1., 2.])
    """
    a, axis = line_up(a, axis)
    return take(a, np.repeat(np.arange(np.shape(a)[axis]), repeats), axis)


@implements(np.resize)
def resize(a: Array, new_shape: Axes) -> Array:
    """See `numpy.resize`; zeros if ``a`` is empty."""
    shape = np.empty(new_shape, bool).shape
    if not np.size(a):
        return np.zeros(shape, a.dtype)
    return ravel(a)[np.arange(np.prod(shape, dtype=int)).reshape(shape) % np.size(a)]


@implements(np.pad)
def pad(array: Array, pad_width: Any, mode: Any = "constant", *, constant_values: Any = None) -> Array:
    """``array`` with a frame of constants or of its own elements; see `numpy.pad`.

    Modes are "constant", "edge", "reflect", "symmetric" and "wrap"; TypeError names any other.

    >>> tg.pad(np.array([1.0, 2.0, 3.0]), (2, 1), "reflect")
    array([3., 2., 1., 2., 3., 2.])
    """
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        if constant_values is not None:
            raise TypeError(f"pad: mode {mode!r} has no option constant_values")
        return _move(np.pad, array, pad_width, mode)
    if mode != "constant":
        raise TypeError(f"pad: mode {mode!r} has no derivative rule; edge, reflect, symmetric, wrap have one")
    if isinstance(pad_width, dict):
        pairs = [(0, 0)] * array.ndim
        for axis, width in pad_width.items():
            pairs[axis] = (width, width) if isinstance(width, int) else width
        pad_width = pairs
    constants = 0 if constant_values is None else constant_values
    frame = np.pad(np.zeros(np.shape(array), array.dtype), pad_width, constant_values=constants)
    before = np.broadcast_to(pad_width, (array.ndim, 2))[:, 0]
    inside = tuple(slice(int(i), int(i) + n) for i, n in zip(before, array.shape, strict=True))
    return frame + scatter_add(array, index=inside, shape=frame.shape)


# Diagonals are steps of n + 1 through the elements in row-major order, so no index array is needed.


def _steps(rows: int, columns: int, offset: int) -> slice:
    """The slice of a raveled matrix that is one of its diagonals."""
    length = max(0, min(rows - max(-offset, 0), columns - max(offset, 0)))
    start = max(offset, -offset * columns, 0) if length else 0
    return slice(start, start + length * (columns + 1), columns + 1)


@implements(np.diagonal)
def diagonal(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonals over two axes, as the last axis; see `numpy.diagonal`.

    >>> tg.diagonal(np.array([[1.0, 2.0], [3.0, 4.0]]), offset=1)
    array([2.])
    """
    last = moveaxis(a, (axis1, axis2), (-2, -1))
    *rest, rows, columns = last.shape
    steps = _steps(rows, columns, index(offset))
    return getitem(reshape(last, shape=(*rest, rows * columns)), index=(..., steps))


@implements(np.diag)
def diag(v: Array, k: int = 0) -> Array:
    """The diagonal of a matrix, or a matrix with the diagonal given; see `numpy.diag`.

    >>> tg.diag(np.array([1.0, 2.0]))
    array([[1., 0.],
           [0., 2.]])
    """
    if np.ndim(v) == 2:
        return diagonal(v, k)
    if np.ndim(v) != 1:
        raise ValueError(f"diag: expected one axis or two, got shape {np.shape(v)}")
    n = np.size(v) + abs(index(k))
    return reshape(scatter_add(v, index=_steps(n, n, index(k)), shape=(n * n,)), shape=(n, n))


@implements(np.diagflat)
def diagflat(v: Array, k: int = 0) -> Array:
    """A matrix with all elements of ``v`` on a diagonal; see `numpy.diagflat`."""
    return diag(ravel(v), k)


@implements(np.trace)
def trace(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Array:
    """Sum of a diagonal; see `numpy.trace`.

    >>> print(tg.trace(np.array([[1.0, 2.0], [3.0, 4.0]])))
    5.0
    """
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@implements(np.tril)
def tril(m: Array, k: int = 0) -> Array:
    """``m`` with zeros above its ``k``-th diagonal; see `numpy.tril`.

    >>> tg.tril(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 0.],
           [3., 4.]])
    """
    return np.where(np.tril(np.ones(m.shape[-2:], bool), k), m, m.dtype.type(0))


@implements(np.triu)
def triu(m: Array, k: int = 0) -> Array:
    """``m`` with zeros below its ``k``-th diagonal; see `numpy.triu`."""
    return np.where(np.triu(np.ones(m.shape[-2:], bool), k), m, m.dtype.type(0))


# Joining


@op
def concatenate_(*arrays: Array, axis: int = 0) -> Array:
    """Arrays joined along an axis that they have: the op under `concatenate`.

    >>> tg.ops.rearranging.concatenate_(np.array([1.0]), np.array([2.0, 3.0]))
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

    >>> tg.ops.rearranging.stack_(np.array([1.0, 2.0]), np.array([3.0, 4.0]), axis=1)
    array([[1., 3.],
           [2., 4.]])
    """
    return np.stack(arrays, axis)


stack_.defvjp(arrays=lambda i, g, out, *arrays, axis: g[along(axis, i, g.ndim)])


def _cast(arrays: Sequence[Array], dtype: Any, casting: Any) -> list[Array]:
    """What is joined, cast to ``dtype`` if there is one."""
    np.can_cast(float, float, casting)  # which refuses what is no rule of casting
    if dtype is None:
        return list(arrays)
    return [as_array(x).astype(dtype, casting=casting) for x in arrays]


@implements(np.concatenate)
def concatenate(
    arrays: Sequence[Array], /, axis: int | None = 0, *, dtype: Any = None, casting: Any = "same_kind"
) -> Array:
    """Arrays joined along an axis that they have; see `numpy.concatenate`.

    >>> tg.concatenate([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])], axis=None)
    array([1., 2., 3., 4.])
    """
    arrays = _cast(arrays, dtype, casting)
    if axis is None:
        return concatenate_(*(ravel(x) for x in arrays))
    return concatenate_(*arrays, axis=axis)


@implements(np.stack)
def stack(arrays: Sequence[Array], axis: int = 0, *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Arrays of one shape side by side along a new axis; see `numpy.stack`."""
    return stack_(*_cast(arrays, dtype, casting), axis=index(axis))


@implements(np.hstack)
def hstack(tup: Sequence[Array], *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Arrays joined along the second axis, vectors along their only one; see `numpy.hstack`."""
    arrays = [atleast_1d(x) for x in _cast(tup, dtype, casting)]
    return concatenate_(*arrays, axis=0 if arrays and arrays[0].ndim == 1 else 1)


@implements(np.vstack)
def vstack(tup: Sequence[Array], *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Arrays joined along the first axis, vectors as rows; see `numpy.vstack`."""
    return concatenate_(*(atleast_2d(x) for x in _cast(tup, dtype, casting)), axis=0)


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
