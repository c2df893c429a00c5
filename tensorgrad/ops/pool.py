"""Pooling of images (N, H, W, C): the largest or the mean value of every window.

The gradient of a maximum goes to one element of its window, that of a mean to all of them. Each kind of
pooling has its adjoint for a sibling, so that derivatives of any order exist. Work is done on slices of the
images, one for each tap of the windows, and on whole rows where windows are tiles; results lie in memory in
the order of the images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad.core import Array, op
from tensorgrad.core.checks import flag
from tensorgrad.core.engine import as_option
from tensorgrad.core.parallel import parts, share
from tensorgrad.ops.activations import keep
from tensorgrad.ops.arrays import halves_in_single, in_wide_floats
from tensorgrad.ops.reduce import max, mean
from tensorgrad.ops.windows import (
    Shape,
    Sides,
    Size,
    Windows,
    find_taps,
    remember,
    require_images,
    require_shape,
    slide_pooling,
)

__all__ = ["avg_pool", "global_avg_pool", "global_max_pool", "max_pool"]


@remember
def _windows(
    name: str, shape: Shape, size: Size, stride: Size | None, padding: Sides, dilation: Size, ceil_mode: bool
) -> tuple[Windows, Windows]:
    """The two axes of a pooling; ValueError if a window would lie in the padding altogether."""
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"{name}: expected images (N, H, W, C), no axis empty, got {shape}")
    flag(name, "ceil_mode", ceil_mode)
    shapes = f"images {shape}"
    axes = slide_pooling(name, shape, size, stride, padding, dilation, ceil_mode, shapes)
    for axis in axes:
        if not axis.before and not axis.after:
            continue
        inside = {i for k in range(axis.size) for i in range(*axis.tap(k)[0].indices(axis.count))}
        if len(inside) < axis.count:
            raise ValueError(
                f"{name}: a window of size {size} would see nothing but padding {padding} ({shapes})"
            )
    return axes


_OPTIONS = ("size", "stride", "padding", "dilation", "ceil_mode")  # of all ops of max pooling, in this order


def _fold(combine: Callable[..., Array], start: float, x: Array, rows: Windows, columns: Windows) -> Array:
    """All pixels of every window combined with ``start``, which is neutral: along rows first, then columns.

    Rows lie in memory as long as they are, and the second pass, over every other pixel, is left with less.
    """
    out = np.empty_like(x, shape=(x.shape[0], rows.count, columns.count, x.shape[3]))

    def fold(some: Any) -> None:
        part = x[some]
        lines = np.empty_like(part, shape=(part.shape[0], rows.count, *part.shape[2:]))
        _fold_axis(combine, start, part, rows, 1, lines)
        _fold_axis(combine, start, lines, columns, 2, out[some])

    share(fold, _along_memory(x))
    return out


def _fold_axis(
    combine: Callable[..., Array], start: float, x: Array, axis: Windows, place: int, out: Array
) -> None:
    slices, whole = _along(axis, place)
    if whole:  # nothing to start from
        combine(x[slices[0][1]], x[slices[1][1]], out=out)
        slices = slices[2:]
    else:
        out[...] = start
    for windows, pixels in slices:
        part = out[windows]
        combine(part, x[pixels], out=part)


@lru_cache
def _along(axis: Windows, place: int) -> tuple[list[tuple[Any, Any]], bool]:
    """Windows and pixels of each tap along an axis, the ``place``-th; and whether two taps see no padding."""
    before = (slice(None),) * place
    taps = [axis.tap(k) for k in range(axis.size)]
    whole = [windows.stop - windows.start == axis.count for windows, _ in taps[:2]]
    return [((*before, windows), (*before, pixels)) for windows, pixels in taps], whole == [True, True]


def _copy(target: Array, source: Array) -> None:
    """``target[...] = source`` for images, pixel by pixel.

    Of every other pixel, NumPy's loop over numbers costs as much as the numbers in it. So all that lies in
    one piece at a pixel, its images or its channels, is copied as a single item of so many bytes.
    """
    for axis in (0, 3):
        if target.strides[axis] == source.strides[axis] == source.itemsize:
            item = np.dtype((np.void, source.itemsize * source.shape[axis]))
            target, source = (x.swapaxes(axis, 3).view(item) for x in (target, source))
            break
    target[...] = source


def _along_memory(x: Array) -> list[Any]:
    """Images in parts, as indices: channels or images, whichever lie farther apart in memory."""
    axis = 3 if x.strides[3] > x.strides[0] else 0
    each = x.nbytes // x.shape[axis]
    return [(slice(None),) * axis + (some,) for some in parts(x.shape[axis], each)]


@op
def max_pool(
    x: Array,
    *,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest value of every window: out[n, i, j, c] = max over k, l of x[n, i s + k d, j s + l d, c].

    Where several elements of a window are equally large, the first of them, in row-major order, takes the
    whole gradient: a subgradient, and PyTorch's rule. A NaN counts as the largest value of its window.

    Parameters
    ----------
    x : array (N, H, W, C)
        Images, floating.
    size, stride, dilation : int or pair
        Of the windows, for rows and columns; the stride is the size if it is None.
    padding : int, pair, or pair of pairs
        Pixels of minus infinity on all sides, for rows and columns, or ((top, bottom), (left, right)).
    ceil_mode : bool
        Take in rows and columns that are left over at the end by one more window, which may reach beyond the
        padding but must start before it.

    Returns
    -------
    array (N, OH, OW, C)
        OH = floor((H + top + bottom - d (KH - 1) - 1) / s) + 1, with ceil for floor in ``ceil_mode``.

    Raises
    ------
    ValueError
        If a window is larger than the padded image or lies in the padding altogether, or there is no image.
    TypeError
        If the images are not floating (there is no minus infinity to pad with, and no gradient), or metadata
        are not integers.

    >>> x = np.array([[1.0, 2.0, 5.0, 5.0], [3.0, 0.0, 5.0, 4.0]]).reshape(1, 2, 4, 1)
    >>> tg.max_pool(x).ravel()
    array([3., 5.])
    >>> tg.grad(lambda x: tg.max_pool(x).sum())(x).reshape(2, 4)
    array([[0., 0., 1., 0.],
           [1., 0., 0., 0.]])
    """
    require_images("max_pool", images=x)
    rows, columns = _windows("max_pool", x.shape, size, stride, padding, dilation, ceil_mode)
    return _fold(np.maximum, -np.inf, x, rows, columns)


def _max_pool_vjp(g: Array, out: Array, x: Array, **options: Any) -> Array:
    # The derivative does not change with x but by jumps: x and out are no arguments that have one.
    return max_pool_images(g, images=as_option(x), maxima=as_option(out), **options)


max_pool.defvjp(x=_max_pool_vjp)


def _first_maximum(x: Array, out: Array, rows: Windows, columns: Windows) -> Array:
    """The number of the tap that gave each window's maximum; the first of them if several did."""
    with_nan = np.isnan(np.max(out))
    indices = np.zeros_like(out, dtype=np.min_scalar_type(rows.size * columns.size))

    def count(some: Any) -> None:
        part_of_x, part_of_out, index = x[some], out[some], indices[some]
        missed = np.ones_like(part_of_out, dtype=bool)  # windows in which no tap so far is the maximum
        tap = np.empty_like(part_of_out)
        for k, (windows, pixels) in enumerate(find_taps(rows, columns)):
            if k == rows.size * columns.size - 1:
                break  # what all others missed is the last
            _copy(tap[windows], part_of_x[pixels])
            miss = tap[windows] != part_of_out[windows]
            if with_nan:
                miss &= ~np.isnan(tap[windows])  # which differs from everything, even itself
            missed[windows] &= miss
            index += missed

    share(count, _along_memory(x))
    return indices


@op
def gather_windows(
    x: Array,
    index: Array,
    *,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """One element of every window: that at the tap of number ``index``; 0 if it lies in the padding.

    ``index`` (N, OH, OW, C) holds integers from 0 to KH KW - 1; options and errors are those of `max_pool`.

    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> tg.ops.pool.gather_windows(x, np.array([[[[2]]]])).ravel()
    array([3.])
    """
    require_images("gather_windows", images=x)
    rows, columns = _windows("gather_windows", x.shape, size, stride, padding, dilation, ceil_mode)
    _require_index("gather_windows", index, x.shape, rows, columns)
    out = np.zeros_like(index, dtype=x.dtype)
    for k, (windows, pixels) in enumerate(find_taps(rows, columns)):
        part = out[windows]
        part += keep(x[pixels], index[windows] == k)
    return out


gather_windows.defvjp(
    x=lambda g, out, x, index, **options: scatter_windows(g, index, shape=x.shape, **options), index=None
)


@op
@halves_in_single
def scatter_windows(
    y: Array,
    index: Array,
    *,
    shape: Shape,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """Images of ``shape``, zero but for ``y`` added at the tap of number ``index`` of its window.

    <gather_windows(x, index), y> = <x, scatter_windows(y, index, shape=x.shape)>: the adjoint.

    >>> y, index = np.array([[[[5.0]]]]), np.array([[[[2]]]])
    >>> tg.ops.pool.scatter_windows(y, index, shape=(1, 2, 2, 1)).reshape(2, 2)
    array([[0., 0.],
           [5., 0.]])
    """
    require_images("scatter_windows", cotangent=y)
    rows, columns = _windows("scatter_windows", shape, size, stride, padding, dilation, ceil_mode)
    _require_index("scatter_windows", index, shape, rows, columns)
    require_shape("scatter_windows", y, _results(shape, rows, columns))
    if y.swapaxes(0, 3).flags.c_contiguous != index.swapaxes(0, 3).flags.c_contiguous:
        y = np.add(y, 0, out=np.empty_like(index, dtype=y.dtype))  # one slow pass instead of one a tap
    disjoint = all(axis.stride > axis.dilation * (axis.size - 1) for axis in (rows, columns))
    # Every pixel is in a window, so nothing is left as it was in memory.
    whole = all(axis.is_tiled and axis.length == axis.count * axis.size for axis in (rows, columns))
    x = (np.empty_like if whole else np.zeros_like)(index, dtype=y.dtype, shape=shape)

    def scatter(some: Any) -> None:
        part_of_x, part_of_y, part_of_index = x[some], y[some], index[some]
        for k, (windows, pixels) in enumerate(find_taps(rows, columns)):
            hit, part = part_of_index[windows] == k, part_of_x[pixels]
            chosen = keep(part_of_y[windows], hit)
            if disjoint:
                _copy(part, chosen)
            else:
                part += chosen

    share(scatter, _along_memory(x))
    return x


scatter_windows.defvjp(
    y=lambda g, out, y, index, shape, **options: gather_windows(g, index, **options), index=None
)


@op
def max_pool_images(
    y: Array,
    *,
    images: Array,
    maxima: Array,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """The adjoint of the derivative of `max_pool` at ``images``, whose result was ``maxima``.

    Each element of ``y`` is added, in an image of zeros, where the first maximum of its window is.

    >>> x = np.array([[1.0, 5.0], [5.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> tg.ops.pool.max_pool_images(np.array([[[[3.0]]]]), images=x, maxima=tg.max_pool(x)).reshape(2, 2)
    array([[0., 3.],
           [0., 0.]])
    """
    require_images("max_pool_images", cotangent=y)
    require_images("max_pool_images", images=images, maxima=maxima)  # of any dtype: they only say where
    options = (size, stride, padding, dilation, ceil_mode)
    rows, columns = _windows("max_pool_images", images.shape, *options)
    require_shape("max_pool_images", y, _results(images.shape, rows, columns))
    require_shape("max_pool_images", maxima, _results(images.shape, rows, columns), "maxima")
    if rows.is_tiled and columns.is_tiled:
        return _to_maxima_of_tiles(y, images, maxima, rows, columns)
    index = _first_maximum(images, maxima, rows, columns)
    named: dict[str, Any] = dict(zip(_OPTIONS, options, strict=True))
    return scatter_windows.forward(y, index, shape=images.shape, **named)


def _max_pool_images_vjp(
    g: Array, out: Array, y: Array, images: Array, maxima: Array, **options: Any
) -> Array:
    axes = _windows("max_pool", images.shape, *(options[name] for name in _OPTIONS))
    return gather_windows(g, _first_maximum(images, maxima, *axes), **options)


max_pool_images.defvjp(y=_max_pool_images_vjp)


def _to_maxima_of_tiles(y: Array, x: Array, maxima: Array, rows: Windows, columns: Windows) -> Array:
    """`max_pool_images` for windows that neither overlap nor leave gaps: in whole rows, not tap by tap."""
    height, width = rows.count * rows.size, columns.count * columns.size
    result = spread = np.empty_like(maxima, dtype=y.dtype, shape=x.shape)
    spread[:, height:] = spread[:, :, width:] = 0  # what is left over
    if x.strides[3] > x.strides[0]:  # as they lie in memory
        y, x, maxima, spread = (array.swapaxes(0, 3) for array in (y, x, maxima, spread))

    def route(some: slice) -> None:
        part, out = x[some, :height, :width], spread[some, :height, :width]
        shape = (len(part), rows.count, rows.size, *part.shape[2:])
        part = part.reshape(shape)
        largest = np.repeat(maxima[some], columns.size, axis=2)[:, :, None]
        hit = np.less(part, largest, order="C")
        several = np.count_nonzero(hit) != maxima[some].size * (rows.size * columns.size - 1)
        np.logical_not(hit, out=hit)
        if several:  # or NaN, to which all are equal here
            if np.isnan(np.max(maxima[some])):
                np.equal(part, largest, out=hit)
                hit |= np.isnan(part)
            _keep_the_first(hit, columns.size)
        keep(np.repeat(y[some], columns.size, axis=2)[:, :, None], hit, out=out.reshape(shape))

    share(route, parts(len(x), x.nbytes // len(x)))
    return result


def _keep_the_first(hit: Array, width: int) -> None:
    """Of hits (A, OH, KH, OW * KW, B), with KW = ``width``, leave each tile's first in row-major order."""
    outer, rows, height, columns, inner = hit.shape
    # What lies in one piece at a pixel is copied as a single item, as in _copy.
    item = np.dtype((np.void, inner))
    pixels = hit.view(item).reshape(outer, rows, height, columns // width, width)
    waiting = np.ones((outer, rows, columns // width, inner), bool)
    tap = np.empty_like(waiting)
    of_tap = tap.view(item)[..., 0]
    for i, j in np.ndindex(height, width):
        of_tap[...] = pixels[:, :, i, :, j]
        tap &= waiting
        waiting ^= tap
        pixels[:, :, i, :, j] = of_tap


def _results(shape: Shape, rows: Windows, columns: Windows) -> Shape:
    """The shape of what pooling makes of images of ``shape``."""
    return shape[0], rows.count, columns.count, shape[3]


def _require_index(name: str, index: Array, shape: Shape, rows: Windows, columns: Windows) -> None:
    dtype = getattr(index, "dtype", None)
    if dtype is None or dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an index of integers, got {dtype or type(index).__name__}")
    require_shape(name, index, _results(shape, rows, columns), "an index")


def _pixels_in(axis: Windows, count_include_pad: bool) -> Array:
    """How many pixels each window has along an axis, padding among them or not."""
    flag("avg_pool", "count_include_pad", count_include_pad)
    start = np.arange(axis.count) * axis.stride - axis.before
    low, high = axis.bounds(count_include_pad)
    return np.minimum(start + axis.size, high) - np.maximum(start, low)


def _divisor(rows: Windows, columns: Windows, count_include_pad: bool, dtype: Any) -> Array:
    down, across = _pixels_in(rows, count_include_pad), _pixels_in(columns, count_include_pad)
    return np.multiply.outer(down, across).astype(dtype)[:, :, None]


@op
@in_wide_floats
def avg_pool(
    x: Array,
    *,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of every window: out[n, i, j, c] = mean over k, l of x[n, i s + k, j s + l, c], stride s.

    Parameters
    ----------
    x : array (N, H, W, C)
        Images, floating.
    size, stride, padding, ceil_mode
        As in `max_pool`, but with zeros in the padding.
    count_include_pad : bool
        Whether the zeros of the padding count, or the mean is of the window's pixels only. What a window of
        ``ceil_mode`` has beyond the padding never counts (PyTorch's rules).

    Returns
    -------
    array (N, OH, OW, C)
        Of a size as in `max_pool`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool`.

    >>> tg.avg_pool(np.arange(8.0).reshape(1, 2, 4, 1)).ravel()
    array([2.5, 4.5])
    """
    require_images("avg_pool", images=x)
    rows, columns = _windows("avg_pool", x.shape, size, stride, padding, 1, ceil_mode)
    out = _fold(np.add, 0, x, rows, columns)
    out /= _divisor(rows, columns, count_include_pad, x.dtype)
    return out


avg_pool.defvjp(x=lambda g, out, x, **options: avg_pool_images(g, shape=x.shape, **options))


@op
@in_wide_floats
def avg_pool_images(
    y: Array,
    *,
    shape: Shape,
    size: Size = 2,
    stride: Size | None = None,
    padding: Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The adjoint of `avg_pool`: each element of ``y`` shared among the pixels of its window.

    >>> tg.ops.pool.avg_pool_images(np.array([[[[4.0]]]]), shape=(1, 2, 2, 1)).ravel()
    array([1., 1., 1., 1.])
    """
    require_images("avg_pool_images", cotangent=y)
    rows, columns = _windows("avg_pool_images", shape, size, stride, padding, 1, ceil_mode)
    require_shape("avg_pool_images", y, _results(shape, rows, columns))
    y = y / _divisor(rows, columns, count_include_pad, y.dtype)
    x = np.zeros_like(y, shape=shape)
    for windows, pixels in find_taps(rows, columns):
        part = x[pixels]
        part += y[windows]
    return x


avg_pool_images.defvjp(y=lambda g, out, y, shape, **options: avg_pool(g, **options))


def global_avg_pool(x: Array) -> Array:
    """The mean of each channel of each image, (N, H, W, C) -> (N, C).

    >>> tg.global_avg_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """
    require_images("global_avg_pool", images=x)
    return mean(x, axis=(1, 2))


def global_max_pool(x: Array) -> Array:
    """The largest value of each channel of each image, (N, H, W, C) -> (N, C); ties share, as in `max`.

    >>> tg.global_max_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[6., 7.]])
    """
    require_images("global_max_pool", images=x)
    return max(x, axis=(1, 2))
