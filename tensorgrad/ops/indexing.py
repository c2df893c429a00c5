"""Indexing: `getitem` and its adjoint `scatter_add`, and what is an index in disguise."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tensorgrad.core import Array, Tensor, broadcast_to, implements, op
from tensorgrad.core.checks import NDArray
from tensorgrad.ops.shape import ravel, reshape

__all__ = [
    "add_at", "compress", "delete", "diff", "extract", "getitem", "partition", "scatter_add", "set_at",
    "sort", "take", "take_along_axis",
]  # fmt: skip


@op
def getitem(x: Array, *, index: Any) -> Array:
    """``x[index]``, for every index that NumPy takes; see `numpy.ndarray.__getitem__`.

    >>> tg.getitem(np.array([1.0, 2.0, 3.0]), index=[0, 0, 2])
    array([1., 1., 3.])
    """
    return x[index]


getitem.defvjp(x=lambda g, out, x, index: scatter_add(g, index=index, shape=x.shape))


@op
def scatter_add(x: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
    """``x`` added into zeros of ``shape`` at ``index``, repeats included: the adjoint of `getitem`.

    >>> tg.scatter_add(np.array([1.0, 10.0, 5.0]), index=[0, 0, 2], shape=(3,))
    array([11.,  0.,  5.])
    """
    out = np.zeros(shape, dtype=x.dtype)
    if reads_once(index):
        out[index] = x
    else:
        np.add.at(out, index, x)
    return out


scatter_add.defvjp(x=lambda g, out, x, index, shape: getitem(g, index=index))


def reads_once(index: Any) -> bool:
    """Whether an index reads no element twice, since it is a mask or has no array or list in it."""
    if isinstance(index, np.ndarray):
        return bool(index.dtype == bool)
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts
    )


def along(axis: int, index: Any, ndim: int) -> tuple[Any, ...]:
    """An index that reads along one axis and leaves the others.

    >>> along(1, 0, ndim=3)
    (slice(None, None, None), 0)
    """
    return (slice(None),) * normalize_axis_index(axis, ndim) + (index,)


# Updates, as functions: a tensor is a value, and its elements cannot be assigned


def set_at(x: Array, index: Any, value: Array) -> Array:
    """A copy of ``x`` with ``value`` at ``index``: what ``x[index] = value`` would make of it.

    Where an index names an element twice, the last value wins, and takes the whole gradient.

    Parameters
    ----------
    x, value : array
        Of one dtype; ``value`` may also be a number, and broadcasts to ``x[index]``.
    index
        Any index that NumPy takes.

    Raises
    ------
    IndexError, ValueError
        If there is no such index, or ``value`` does not fit it.
    TypeError
        If ``value`` would have to be cast.

    >>> tg.set_at(np.array([1.0, 2.0, 3.0]), slice(0, 2), 0.0)
    array([0., 0., 3.])
    """
    x, value, places = _fit("set_at", x, index, value)
    if not places.size:
        return x if isinstance(x, Tensor) else x.copy()
    winner = np.full(np.shape(x), -1)
    winner[_plain_index(index)] = np.arange(places.size).reshape(places.shape)
    return np.where(winner < 0, x, ravel(value)[winner])


def add_at(x: Array, index: Any, value: Array) -> Array:
    """A copy of ``x`` with ``value`` added at ``index``, as often as the index names an element.

    See `set_at`; what `numpy.add.at` does in place.

    >>> tg.add_at(np.array([1.0, 2.0, 3.0]), [0, 0, 2], 10.0)
    array([21.,  2., 13.])
    """
    x, value, _ = _fit("add_at", x, index, value)
    return x + scatter_add(value, index=_plain_index(index), shape=np.shape(x))


def _fit(name: str, x: Array, index: Any, value: Array) -> tuple[Array, Array, NDArray]:
    """``x``, the value broadcast to ``x[index]`` in the dtype of ``x``, and an array of the shape of that."""
    weak = type(value) in (float, int, bool)  # a Python number takes the dtype of x
    x = x if isinstance(x, Tensor) else np.asarray(x)
    value = value if isinstance(value, Tensor) else np.asarray(value, x.dtype if weak else None)
    came = f"x {x.dtype} {x.shape}"
    try:
        places = np.broadcast_to(False, x.shape)[_plain_index(index)]
    except (IndexError, TypeError) as error:
        raise type(error)(f"{name}: {error} ({came})") from None
    came = f"{came}, x[index] {places.shape}, value {value.dtype} {value.shape}"
    if value.dtype != x.dtype and (isinstance(value, Tensor) or np.result_type(value, x.dtype) != x.dtype):
        raise TypeError(f"{name}: the value would have to be cast ({came}); cast one side with .astype")
    try:
        # As NumPy assigns: leading axes of length 1 may be too many.
        extra = max(0, value.ndim - places.ndim)
        if extra and value.shape[:extra] == (1,) * extra:
            value = reshape(value, shape=value.shape[extra:])
        value = broadcast_to(value, shape=places.shape)
    except ValueError:
        raise ValueError(f"{name}: the value does not fit what is indexed ({came})") from None
    return x, value if isinstance(value, Tensor) else value.astype(x.dtype), places


def _plain_index(index: Any) -> Any:
    """An index in which tensors are arrays."""
    if isinstance(index, tuple):
        return tuple(_plain_index(part) for part in index)
    return index.data if isinstance(index, Tensor) else index


# Reading by numbers, and in an order


@implements(np.take)
def take(
    a: Array,
    indices: Any,
    axis: int | None = None,
    out: None = None,
    mode: Literal["raise", "wrap", "clip"] = "raise",
) -> Array:
    """Elements, or slices along ``axis``, by number; see `numpy.take`.

    >>> tg.take(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 1, 0], axis=1)
    array([[2., 2., 1.],
           [4., 4., 3.]])
    """
    if out is not None:
        raise TypeError("take: no option out can be used here")
    if axis is None:
        a, axis = ravel(a), 0
    n = a.shape[axis]
    numbers = np.asarray(_plain_index(indices)).astype(np.intp, casting="same_kind")
    if mode == "wrap":
        numbers = numbers % n
    elif mode == "clip":
        numbers = np.clip(numbers, 0, n - 1)
    elif mode != "raise":
        raise ValueError(f"take: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    return a[along(axis, numbers, a.ndim)]


@implements(np.take_along_axis)
def take_along_axis(arr: Array, indices: Any, axis: int | None = -1) -> Array:
    """For each line along ``axis`` its own elements by number; see `numpy.take_along_axis`.

    >>> x = np.array([[3.0, 1.0], [2.0, 4.0]])
    >>> tg.take_along_axis(x, np.argsort(x, axis=1), axis=1)
    array([[1., 3.],
           [2., 4.]])
    """
    numbers = np.asarray(_plain_index(indices))
    if axis is None:
        arr, axis = ravel(arr), 0
    if numbers.ndim != arr.ndim or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"take_along_axis: expected integers of {arr.ndim} axes, got {numbers.dtype} {numbers.shape}"
        )
    axis = normalize_axis_index(axis, arr.ndim)
    grid = np.ogrid[tuple(slice(n) for n in arr.shape)]
    return arr[*grid[:axis], numbers, *grid[axis + 1 :]]


@implements(np.sort)
def sort(a: Array, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Array:
    """See `numpy.sort`. Ties keep their order, whatever the ``kind``, and their gradients: a subgradient.

    >>> tg.grad(lambda x: tg.sort(x)[0])(np.array([2.0, 1.0, 1.0]))
    array([0., 1., 0.])
    """
    if axis is None:
        a, axis = ravel(a), 0
    return take_along_axis(a, np.argsort(a, axis=axis, stable=True), axis)


@implements(np.partition)
def partition(a: Array, kth: Any, axis: int | None = -1, kind: Any = "introselect") -> Array:
    """See `numpy.partition`. Tied elements keep their gradients, wherever NumPy puts them: a subgradient.

    >>> tg.partition(np.array([3.0, 1.0, 2.0]), 0)[:1]
    array([1.])
    """
    if axis is None:
        a, axis = ravel(a), 0
    values = a.data if isinstance(a, Tensor) else a
    return take_along_axis(a, np.argpartition(values, kth, axis, kind), axis)


@implements(np.compress)
def compress(condition: Any, a: Array, axis: int | None = None) -> Array:
    """The slices along ``axis`` for which a condition holds; see `numpy.compress`."""
    return take(a, np.flatnonzero(_plain_index(condition)), axis)


@implements(np.extract)
def extract(condition: Any, arr: Array) -> Array:
    """The elements for which a condition holds; see `numpy.extract`."""
    return ravel(arr)[np.flatnonzero(_plain_index(condition))]


@implements(np.delete)
def delete(arr: Array, obj: Any, axis: int | None = None) -> Array:
    """All slices along ``axis`` but those named; see `numpy.delete`.

    >>> tg.delete(np.array([1.0, 2.0, 3.0]), [0, -1])
    array([2.])
    """
    if axis is None:
        arr, axis = ravel(arr), 0
    return take(arr, np.delete(np.arange(arr.shape[axis]), _plain_index(obj)), axis)


@implements(np.diff)
def diff(a: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours, taken ``n`` times; see `numpy.diff`.

    >>> tg.diff(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    if n < 0:
        raise ValueError(f"diff: order must be non-negative, got {n}")
    if n and (prepend is not None or append is not None):
        ends = [None if x is None else _end(x, a, axis) for x in (prepend, append)]
        a = np.concatenate([x for x in (ends[0], a, ends[1]) if x is not None], axis)
    for _ in range(n):
        a = a[along(axis, slice(1, None), a.ndim)] - a[along(axis, slice(None, -1), a.ndim)]
    return a


def _end(x: Array, a: Array, axis: int) -> Array:
    x = x if isinstance(x, Tensor) else np.asarray(x, None if np.ndim(x) else a.dtype)
    return x if x.ndim else broadcast_to(x, shape=a[along(axis, slice(1), a.ndim)].shape)
