"""Indexing: `getitem` and its adjoint `scatter_add`, and what is an index in disguise."""

from __future__ import annotations

from operator import index as as_integer
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tensorgrad.core import Array, Tensor, broadcast_to, implements, op
from tensorgrad.core.checks import NDArray
from tensorgrad.ops.arrays import as_array, in_wide_floats, plain
from tensorgrad.ops.shape import ravel, reshape

__all__ = [
    "add_at", "compress", "delete", "diff", "extract", "getitem", "gradient", "partition",
    "scatter_add", "set_at", "sort", "take", "take_along_axis",
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
@in_wide_floats
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
    x = as_array(x)
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
    return plain(index)


# Reading by numbers, and in an order


def line_up(a: Array, axis: Any) -> tuple[Array, int]:
    """``a`` and an axis of it, or its elements in one line: as NumPy's C functions read ``axis``."""
    if isinstance(axis, (bool, np.bool_)):
        raise TypeError("an integer is required for the axis, got a bool")
    if axis is None or (not np.ndim(a) and as_integer(axis) in (0, -1)):
        return ravel(a), 0
    return a, normalize_axis_index(as_integer(axis), np.ndim(a))


@implements(np.take)
def take(
    a: Array, indices: Any, axis: int | None = None, *, mode: Literal["raise", "wrap", "clip"] = "raise"
) -> Array:
    """Elements, or slices along ``axis``, by number; see `numpy.take`.

    >>> tg.take(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 1, 0], axis=1)
    array([[2., 2., 1.],
           [4., 4., 3.]])
    """
    a, axis = line_up(a, axis)
    n = np.shape(a)[axis]
    numbers = np.asarray(_plain_index(indices))
    numbers = numbers.astype(np.intp, casting="same_kind" if numbers.size else "unsafe")
    if not np.size(a):  # NumPy knows what it makes of that
        return reshape(a, shape=np.take(np.zeros(np.shape(a)), numbers, axis, mode=mode).shape)
    if mode == "wrap":
        numbers = numbers % n
    elif mode == "clip":
        numbers = np.clip(numbers, 0, n - 1)
    elif mode != "raise":
        raise ValueError(f"take: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    return a[along(axis, numbers, np.ndim(a))]


@implements(np.take_along_axis)
def take_along_axis(arr: Array, indices: Any, axis: int | None = -1) -> Array:
    """For each line along ``axis`` its own elements by number; see `numpy.take_along_axis`.

    >>> x = np.array([[3.0, 1.0], [2.0, 4.0]])
    >>> tg.take_along_axis(x, np.argsort(x, axis=1), axis=1)
    array([[1., 3.],
           [2., 4.]])
    """
    numbers = _plain_index(indices)
    if axis is None:
        arr, axis = ravel(arr), 0
    if not isinstance(numbers, np.ndarray) or numbers.ndim != arr.ndim or numbers.dtype.kind not in "iu":
        came = (
            f"{numbers.dtype} {numbers.shape}" if hasattr(numbers, "dtype") else f"a {type(numbers).__name__}"
        )
        raise ValueError(f"take_along_axis: expected integers of {arr.ndim} axes in an array, got {came}")
    axis = normalize_axis_index(axis, arr.ndim)
    grid = np.ogrid[tuple(slice(n) for n in arr.shape)]
    return arr[*grid[:axis], numbers, *grid[axis + 1 :]]


@implements(np.sort)
def sort(a: Array, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Array:
    """See `numpy.sort`. Ties keep their order, whatever the ``kind``, and their gradients: a subgradient.

    >>> tg.grad(lambda x: tg.sort(x)[0])(np.array([2.0, 1.0, 1.0]))
    array([0., 1., 0.])
    """
    np.sort(np.empty(0), kind=kind, stable=stable)  # which refuses what is no kind
    a, axis = (ravel(a), 0) if axis is None else (a, as_integer(axis))
    return take_along_axis(a, np.argsort(a, axis=axis, stable=True), axis)


@implements(np.partition)
def partition(a: Array, kth: Any, axis: int | None = -1, kind: Any = "introselect") -> Array:
    """See `numpy.partition`. Tied elements keep their gradients, wherever NumPy puts them: a subgradient.

    >>> tg.partition(np.array([3.0, 1.0, 2.0]), 0)[:1]
    array([1.])
    """
    a, axis = (ravel(a), 0) if axis is None else (a, as_integer(axis))
    return take_along_axis(a, np.argpartition(plain(a), kth, axis, kind), axis)


@implements(np.compress)
def compress(condition: Any, a: Array, axis: int | None = None) -> Array:
    """The slices along ``axis`` for which a condition holds; see `numpy.compress`."""
    condition = np.asarray(_plain_index(condition))
    if condition.ndim != 1:
        raise ValueError(f"compress: expected a condition of one axis, got shape {condition.shape}")
    return take(a, np.flatnonzero(condition), axis)


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
    arr, axis = (ravel(arr), 0) if axis is None else (arr, as_integer(axis))
    return take(arr, np.delete(np.arange(arr.shape[axis]), _plain_index(obj)), axis)


@implements(np.diff)
def diff(a: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours, taken ``n`` times; see `numpy.diff`.

    >>> tg.diff(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    if n == 0:
        return a
    axis = normalize_axis_index(axis, np.ndim(a))
    if n < 0:
        raise ValueError(f"diff: order must be non-negative, got {n}")
    if prepend is not None or append is not None:
        ends = [None if x is None else _end(x, a, axis) for x in (prepend, append)]
        a = np.concatenate([x for x in (ends[0], a, ends[1]) if x is not None], axis)
    for _ in range(n):
        later, earlier = a[along(axis, slice(1, None), a.ndim)], a[along(axis, slice(None, -1), a.ndim)]
        a = later - earlier if a.dtype.kind != "b" else later != earlier
    return a


def _end(x: Array, a: Array, axis: int) -> Array:
    x = x if isinstance(x, Tensor) else np.asarray(x, None if np.ndim(x) else np.result_type(x, a.dtype))
    return x if x.ndim else broadcast_to(x, shape=(*a.shape[:axis], 1, *a.shape[axis + 1 :]))


@implements(np.gradient)
def gradient(f: Array, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Slopes by differences of neighbours, at the ends to one side; see `numpy.gradient`.

    >>> tg.gradient(np.array([0.0, 1.0, 4.0, 9.0]))
    array([1., 2., 4., 5.])
    """
    f = as_array(f)
    if f.dtype.kind == "b":
        raise TypeError("gradient: booleans have no differences; cast them with .astype")
    f = f if f.dtype.kind == "f" else f.astype(float)
    axes = normalize_axis_tuple(range(f.ndim) if axis is None else axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)) or (len(varargs) == 1 != len(axes) and np.ndim(varargs[0])):
        raise TypeError(f"gradient: expected a spacing for each of {len(axes)} axes, got {len(varargs)}")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: expected edge_order 1 or 2, got {edge_order}")
    spacings = varargs if len(varargs) == len(axes) else (*varargs, 1.0)[:1] * len(axes)
    slopes = tuple(_slopes(f, _steps(f, i, h), i, edge_order) for i, h in zip(axes, spacings, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _steps(f: Array, axis: int, spacing: Any) -> Array:
    """The distances between neighbours along an axis: one for all, or the differences of their places."""
    steps, n = as_array(spacing), f.shape[axis]
    if steps.ndim > 1 or (steps.ndim and len(steps) != n):
        raise ValueError(f"gradient: expected a number or {n} places for axis {axis}, got {steps.shape}")
    steps = steps if steps.dtype.kind == "f" else steps.astype(float)
    steps = np.diff(steps) if steps.ndim else np.broadcast_to(steps, (max(n - 1, 0),))
    return steps.astype(f.dtype).reshape((-1,) + (1,) * (f.ndim - axis - 1))


def _slopes(f: Array, steps: Array, axis: int, edge_order: int) -> Array:
    if f.shape[axis] <= edge_order:
        raise ValueError(f"gradient: expected more than {edge_order} elements along axis {axis} of {f.shape}")
    slopes = diff(f, axis=axis) / steps

    def part(start: int | None, stop: int | None) -> Array:
        return slopes[along(axis, slice(start, stop), f.ndim)]

    left, right = steps[:-1], steps[1:]
    inner = (part(None, -1) * right + part(1, None) * left) / (left + right)
    first, last = part(None, 1), part(-1, None)
    if edge_order == 2:  # straight on from the middles of the two nearest steps
        first = first - (part(1, 2) - first) * (steps[0] / (steps[0] + steps[1]))
        last = last + (last - part(-2, -1)) * (steps[-1] / (steps[-1] + steps[-2]))
    return np.concatenate([first, inner, last], axis)
