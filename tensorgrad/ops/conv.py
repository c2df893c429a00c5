"""Convolution of images, and its two adjoints: a family closed under transposition.

Convolution is bilinear in images x and filters w. The three ops are the three ways to read the trilinear form
<y, conv2d(x, w)>: `conv2d` gives what multiplies y, `conv2d_images` what multiplies x, `conv2d_filters` what
multiplies w. So every vjp is a call to a sibling, and derivatives of any order exist.

Images are (N, H, W, C) to the caller, but results lie in memory as (C, H, W, N): with the batch innermost,
the copies below move long contiguous rows, and the product of filters and windows is the result as it stands.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from tensorgrad.core import Array, op
from tensorgrad.core.checks import integer, pair
from tensorgrad.core.parallel import parts, share
from tensorgrad.ops.arrays import halves_in_single, in_wide_floats
from tensorgrad.ops.windows import (
    Padding,
    Shape,
    Sides,
    Size,
    Windows,
    remember,
    require_images,
    require_shape,
    sides,
    slide,
)

__all__ = ["conv1d", "conv2d", "conv_transpose2d"]


@remember
def _windows(
    name: str, shapes: tuple[Shape, Shape], stride: Size, padding: Padding, dilation: Size, groups: int
) -> tuple[Windows, Windows]:
    """The two axes of a convolution, after a check that images, filters and groups fit one another."""
    images, filters = shapes
    both = f"images {images}, filters {filters}"
    for shape in (images, filters):
        if len(shape) != 4 or min(shape) < 1:
            raise ValueError(f"{name}: expected shapes of four positive lengths, got {both}")
    groups = integer(name, "groups", groups, 1)
    if images[3] % groups or filters[0] % groups:
        raise ValueError(
            f"{name}: {groups} groups do not divide {images[3]} channels and {filters[0]} filters ({both})"
        )
    if images[3] != groups * filters[1]:
        of_groups = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{name}: images have {images[3] // groups} channels{of_groups}, "
            f"filters expect {filters[1]} ({both})"
            + "; channels come last here, write x.transpose(0, 2, 3, 1)"
            * (images[1] == groups * filters[1])
        )
    return slide(name, images[1:3], filters[2:], stride, padding, dilation, shapes=both)


def _batch_innermost(x: Array) -> Array:
    """Images (N, H, W, C) as a contiguous array (C, H, W, N): a view where they lie so already."""
    x = x.swapaxes(0, 3)
    return x if x.flags.c_contiguous else x.copy()


def _pad(x: Array, rows: Windows, columns: Windows) -> Array:
    """Images x (C, H, W, N) with zeros around them; x itself if there is no padding."""
    if not (rows.before or rows.after or columns.before or columns.after):
        return x
    channels, height, width, batch = x.shape
    shape = (channels, rows.before + height + rows.after, columns.before + width + columns.after, batch)
    padded = np.zeros_like(x, shape=shape, order="C")
    padded[:, rows.before : rows.before + height, columns.before : columns.before + width] = x
    return padded


def _windows_over(
    x: Array, groups: int, rows: Windows, columns: Windows, down: slice, ones: bool = False
) -> Array:
    """The windows of the output rows ``down`` over padded images x (C, H, W, N): (G, R, KH*C/G*KW, OW*N).

    What is copied is strips, (C/G*KW, OW*N) for each row of the images. The windows of a row are the KH
    strips that lie behind one another from its first on, so those of the next row share them: a view. One
    more line of each strip is of ones if asked for.
    """
    channels, _, _, batch = x.shape
    each, height = channels // groups, down.stop - down.start
    channel, row, pixel, item = x.strides
    lines: tuple[int, ...]
    steps: tuple[int, ...]
    if _shares_strips(rows):
        step, lines, steps = rows.stride, ((height - 1) * rows.stride + rows.size,), (row,)
    else:  # each row of windows has strips of its own
        step, lines, steps = rows.size, (height, rows.size), (rows.stride * row, rows.dilation * row)
    shape = (groups, *lines, each, columns.size, columns.count, batch)
    strides = (each * channel, *steps, channel, columns.dilation * pixel, columns.stride * pixel, item)
    source = np.ndarray(shape, x.dtype, x, down.start * rows.stride * row, strides)
    taps = each * columns.size
    strips = np.empty_like(x, shape=(groups, math.prod(lines), taps + ones, columns.count * batch), order="C")
    strips[:, :, taps:] = 1
    strips[:, :, :taps].reshape(shape)[...] = source  # one call for all, so that other threads can run long
    return _neighbours(strips, step, height, rows.size)


def _shares_strips(rows: Windows) -> bool:
    return rows.dilation == 1 and rows.stride < rows.size


def _neighbours(strips: Array, step: int, height: int, size: int) -> Array:
    """Strips (G, R, lines, length) by ``size`` neighbours: (G, height, size * lines, length), a view.

    The first of them are the strips 0, ``step``, 2 ``step`` ...; neighbours overlap in memory.
    """
    group, strip, line, item = strips.strides
    shape = (strips.shape[0], height, size * strips.shape[2], strips.shape[3])
    return np.ndarray(shape, strips.dtype, strips, 0, (group, step * strip, line, item))


def _by_rows(y: Array, groups: int, down: slice) -> Array:
    """The rows ``down`` of images y (F, H, W, N): (G, R, F/G, W*N), a view."""
    part = y[:, down]
    return part.reshape(groups, len(y) // groups, part.shape[1], -1).swapaxes(1, 2)


@op
@halves_in_single
def conv2d(
    x: Array,
    w: Array,
    bias: Array = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """Convolution, as deep learning calls it: the cross-correlation of images with filters.

    out[n, i, j, f] = bias[f] + sum over c, k, l of w[f, c, k, l] x[n, i s + k d, j s + l d, c], with stride s
    and dilation d; x is zero in the padding.

    Parameters
    ----------
    x : array (N, H, W, C)
        Images, floating.
    w : array (F, C / groups, KH, KW)
        Filters, of the same dtype.
    bias : array (F,), optional
    stride, dilation : int or pair
        For rows and columns.
    padding : int, pair, pair of pairs, "same" or "valid"
        Pixels on all sides, for rows and columns, or ((top, bottom), (left, right)). "same" gives
        ceil(H / stride) rows, with an odd pixel at the bottom and right, as TensorFlow and JAX do.
    groups : int
        The filters fall into so many groups, each of which sees only its share of the channels; as many
        groups as channels make a depthwise convolution.

    Returns
    -------
    array (N, OH, OW, F)
        OH = floor((H + top + bottom - d (KH - 1) - 1) / s) + 1, and OW likewise.

    Raises
    ------
    ValueError
        If the shapes do not fit one another, a window is larger than the padded image, or there is no image.
    TypeError
        If images and filters are not of one floating dtype, or metadata are not integers.

    Notes
    -----
    The sizes are those of Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016). The
    windows are laid out as a matrix (Chellapilla, Puri and Simard, 2006), some rows at a time.

    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> w = np.array([[[[1.0, -1.0]]]])
    >>> tg.conv2d(x, w, stride=(2, 1))[0, :, :, 0]
    array([[-1., -1., -1.],
           [-1., -1., -1.]])
    """
    require_images("conv2d", images=x, filters=w)
    rows, columns = _windows("conv2d", (x.shape, w.shape), stride, padding, dilation, groups)
    filters = w.shape[0]
    if bias is not None and np.shape(bias) != (filters,):
        raise ValueError(f"conv2d: expected a bias of shape {(filters,)}, {x.dtype}, got {np.shape(bias)}")
    if bias is not None and bias.dtype != x.dtype:
        raise TypeError(f"conv2d: expected a bias of {x.dtype}, got {bias.dtype}")
    x = _pad(_batch_innermost(x), rows, columns)
    batch = x.shape[3]
    out = np.empty_like(x, shape=(filters, rows.count, columns.count, batch), order="C")
    # (F, C/G, KH, KW) -> (F, KH, C/G * KW): the order of the strips
    taps = w.shape[1] * columns.size
    weights = np.zeros_like(w, shape=(filters, rows.size, taps + (bias is not None)), order="C")
    weights[:, :, :taps].reshape(filters, rows.size, -1, columns.size)[...] = w.swapaxes(1, 2)
    if bias is not None:  # the weight of a line of ones in the first strip: no pass over the result to add it
        weights[:, 0, taps] = bias
    weights = weights.reshape(groups, 1, filters // groups, -1)

    def convolve(down: slice) -> None:
        windows = _windows_over(x, groups, rows, columns, down, ones=bias is not None)
        # (G, 1, F/G, KH*C/G*KW) @ (G, R, KH*C/G*KW, OW*N) -> (G, R, F/G, OW*N)
        np.matmul(weights, windows, out=_by_rows(out, groups, down))

    share(convolve, parts(rows.count, row_bytes(x, filters, rows, columns)))
    return out.swapaxes(0, 3)


conv2d.defvjp(
    x=lambda g, out, x, w, bias, **options: conv2d_images(g, w, shape=x.shape, **options),
    w=lambda g, out, x, w, bias, **options: conv2d_filters(x, g, shape=w.shape, **options),
    bias=in_wide_floats(lambda g, out, x, w, bias, **options: np.sum(g, axis=(0, 1, 2))),
)
conv2d.multiply_adds = lambda out, x, w, bias, **options: out.size * w.size // w.shape[0]


def row_bytes(x: Array, filters: int, rows: Windows, columns: Windows) -> int:
    """Bytes that the windows and the results of one output row take, for images x (C, H, W, N).

    `share` cuts the rows by it; so does whatever is to add up in the same order.
    """
    strips = rows.stride if _shares_strips(rows) else rows.size
    lines = strips * x.shape[0] * columns.size + filters
    return int(lines * columns.count * x.shape[3] * x.itemsize)


@op
@halves_in_single
def conv2d_images(
    y: Array,
    w: Array,
    *,
    shape: Shape,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """The adjoint of `conv2d` with respect to images: y (N, OH, OW, F) spread over images of ``shape``.

    <conv2d(x, w), y> = <x, conv2d_images(y, w, shape=x.shape)> for all x, with the same options in both.
    Errors are as in `conv2d`; ValueError also if y has not the shape that images of ``shape`` would give.

    >>> tg.ops.conv.conv2d_images(np.ones((1, 1, 2, 1)), np.ones((1, 1, 1, 2)), shape=(1, 1, 3, 1)).ravel()
    array([1., 2., 1.])
    """
    require_images("conv2d_images", cotangent=y, filters=w)
    shape = tuple(shape)
    rows, columns = _windows("conv2d_images", (shape, w.shape), stride, padding, dilation, groups)
    require_shape("conv2d_images", y, (shape[0], rows.count, columns.count, w.shape[0]))
    y = _batch_innermost(y)
    x = np.zeros_like(y, shape=(shape[3], shape[1], shape[2], shape[0]), order="C")
    spread = _spread_rows if rows.stride == rows.dilation == 1 else _spread_patches
    spread(x, y, w, groups, rows, columns)
    return x.swapaxes(0, 3)


conv2d_images.defvjp(
    y=lambda g, out, y, w, shape, **options: conv2d(g, w, **options),
    w=lambda g, out, y, w, shape, **options: conv2d_filters(g, y, shape=w.shape, **options),
)
conv2d_images.multiply_adds = lambda out, y, w, **options: y.size * w.size // w.shape[0]


def _spread_rows(x: Array, y: Array, w: Array, groups: int, rows: Windows, columns: Windows) -> None:
    """Add y (F, OH, OW, N), spread, to images x (C, H, W, N), for row stride and dilation 1.

    A row of the images is seen by KH neighbouring rows of y: their product with the filters is summed over
    those rows, which leaves KW numbers a pixel to add up, not KH KW.
    """
    channels, height, _, batch = x.shape
    each, filters = channels // groups, len(y) // groups
    # (F, C/G, KH, KW) -> (G, 1, C/G*KW, KH*F/G), the last row of the filters first
    w = w.reshape(groups, filters, each, rows.size, columns.size)[:, :, :, ::-1]
    w = w.transpose(0, 2, 4, 3, 1).reshape(groups, 1, each * columns.size, rows.size * filters)
    x = x.reshape(groups, each, *x.shape[1:])

    def spread(down: slice) -> None:
        count = down.stop - down.start
        first = down.start + rows.before - rows.size + 1  # of the rows of y that these rows see
        seen = slice(max(first, 0), min(down.stop + rows.before, rows.count))
        shape = (groups, count + rows.size - 1, filters, columns.count * batch)
        strips = np.zeros_like(y, shape=shape, order="C")
        strips[:, seen.start - first : seen.stop - first] = _by_rows(y, groups, seen)
        windows = _neighbours(strips, 1, count, rows.size)
        # (G, 1, C/G*KW, KH*F/G) @ (G, R, KH*F/G, OW*N) -> (G, R, C/G*KW, OW*N)
        sums = np.matmul(w, windows).reshape(groups, count, each, columns.size, columns.count, batch)
        for k in range(columns.size):
            some, xs = columns.tap(k)
            target = x[:, :, down, xs]
            target += sums[:, :, :, k, some].swapaxes(1, 2)

    row = (len(y) + channels * columns.size) * columns.count * batch * x.itemsize
    share(spread, parts(height, row, least=min(2 * rows.size, height)))


def _spread_patches(x: Array, y: Array, w: Array, groups: int, rows: Windows, columns: Windows) -> None:
    """Add y (F, OH, OW, N), spread, to images x (C, H, W, N): all pixels of a window at once, then summed."""
    channels, _, _, batch = x.shape
    each = channels // groups
    w = w.reshape(groups, 1, len(y) // groups, -1).swapaxes(2, 3)
    x = x.reshape(groups, each, *x.shape[1:])
    for down in parts(rows.count, patch_row_bytes(y, channels, rows, columns)):
        # (G, 1, C/G*KH*KW, F/G) @ (G, R, F/G, OW*N) -> (G, R, C/G*KH*KW, OW*N)
        patches = np.matmul(w, _by_rows(y, groups, down))
        patches = patches.reshape(groups, -1, each, rows.size, columns.size, columns.count, batch)
        for i, j in np.ndindex(rows.size, columns.size):
            some, ys = rows.tap(i, down.start, down.stop)
            across, xs = columns.tap(j)
            target = x[:, :, ys, xs]
            target += patches[:, some, :, i, j, across].swapaxes(1, 2)


def patch_row_bytes(y: Array, channels: int, rows: Windows, columns: Windows) -> int:
    """Bytes that a row of y (F, OH, OW, N) takes, and its patches: as `row_bytes`, for `conv2d_images`."""
    lines = channels * rows.size * columns.size + y.shape[0]
    return int(lines * columns.count * y.shape[3] * y.itemsize)


@op
@halves_in_single
def conv2d_filters(
    x: Array,
    y: Array,
    *,
    shape: Shape,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """The adjoint of `conv2d` with respect to filters: images x correlated with y (N, OH, OW, F).

    <conv2d(x, w), y> = <w, conv2d_filters(x, y, shape=w.shape)> for all w, with the same options in both.
    Errors are as in `conv2d`; ValueError also if y has not the shape that filters of ``shape`` would give.

    >>> tg.ops.conv.conv2d_filters(np.ones((1, 1, 3, 1)), np.ones((1, 1, 2, 1)), shape=(1, 1, 1, 2))
    array([[[[2., 2.]]]])
    """
    require_images("conv2d_filters", images=x, cotangent=y)
    shape = tuple(shape)
    rows, columns = _windows("conv2d_filters", (x.shape, shape), stride, padding, dilation, groups)
    require_shape("conv2d_filters", y, (x.shape[0], rows.count, columns.count, shape[0]))
    x, y = _pad(_batch_innermost(x), rows, columns), _batch_innermost(y)
    channels, filters = shape[1], shape[0] // groups
    blocks = parts(rows.count, row_bytes(x, shape[0], rows, columns))
    sums = np.empty_like(x, shape=(len(blocks), groups, shape[2] * channels * shape[3], filters), order="C")

    def correlate(i: int) -> None:
        windows = _windows_over(x, groups, rows, columns, blocks[i])
        # (G, R, KH*C/G*KW, OW*N) @ (G, R, OW*N, F/G) -> (G, R, KH*C/G*KW, F/G)
        np.sum(np.matmul(windows, _by_rows(y, groups, blocks[i]).swapaxes(2, 3)), axis=1, out=sums[i])

    share(correlate, range(len(blocks)))
    w = np.sum(sums, axis=0).reshape(groups, shape[2], channels, shape[3], filters)
    return w.transpose(0, 4, 2, 1, 3).reshape(shape)


conv2d_filters.defvjp(
    x=lambda g, out, x, y, shape, **options: conv2d_images(y, g, shape=x.shape, **options),
    y=lambda g, out, x, y, shape, **options: conv2d(x, g, **options),
)
conv2d_filters.multiply_adds = lambda out, x, y, **options: y.size * out.size // out.shape[0]


def conv_transpose2d(
    x: Array,
    w: Array,
    bias: Array = None,
    *,
    stride: Size = 1,
    padding: Sides = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """Transposed convolution, which enlarges images: the adjoint of `conv2d` with the same filters.

    Parameters
    ----------
    x : array (N, H, W, F)
        Images, floating.
    w : array (F, C / groups, KH, KW)
        Filters, laid out as for that convolution: they take F channels to C.
    bias : array (C,), optional
    stride, dilation, groups
        As in `conv2d`.
    padding : int, pair, or pair of pairs
        Pixels that are cut off from the result's sides.
    output_padding : int or pair
        Rows and columns added at the bottom and right, fewer than the stride: a strided convolution takes
        images of several sizes to one size, and this says which of them is meant.

    Returns
    -------
    array (N, OH, OW, C)
        OH = (H - 1) stride - top - bottom + dilation (KH - 1) + output_padding + 1, and OW likewise.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; ValueError also if nothing is left of the result.

    >>> x = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    >>> tg.conv_transpose2d(x, np.array([[[[1.0, 2.0, 3.0]]]]), stride=2).ravel()
    array([ 1.,  2., 13., 20., 30.])
    """
    name = "conv_transpose2d"
    require_images(name, images=x, filters=w)
    shapes = f"images {x.shape}, filters {w.shape}"
    if x.shape[3] != w.shape[0]:
        raise ValueError(f"{name}: images have {x.shape[3]} channels, filters expect {w.shape[0]} ({shapes})")
    channels = w.shape[1] * integer(name, "groups", groups, 1)
    if bias is not None and np.shape(bias) != (channels,):
        raise ValueError(f"{name}: expected a bias of shape {(channels,)}, got {np.shape(bias)}")
    if isinstance(padding, str):
        raise TypeError(f"{name}: expected padding in pixels, got {padding!r}")
    strides, dilations = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    extra, pads = pair(name, "output_padding", output_padding, 0), sides(name, padding)
    if extra[0] >= strides[0] or extra[1] >= strides[1]:
        raise ValueError(f"{name}: expected output_padding below the stride {stride}, got {output_padding}")
    lengths = [
        (x.shape[1 + i] - 1) * strides[i] - sum(pads[i]) + dilations[i] * (w.shape[2 + i] - 1) + extra[i] + 1
        for i in range(2)
    ]
    if min(lengths) < 1:
        raise ValueError(f"{name}: padding {padding} leaves nothing of the result ({shapes})")
    shape = (x.shape[0], *lengths, channels)
    out = conv2d_images(x, w, shape=shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return out if bias is None else out + bias


def conv1d(
    x: Array,
    w: Array,
    bias: Array = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] | Literal["same", "valid"] = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """Convolution of sequences (N, L, C) with filters (F, C / groups, K): a `conv2d` of images one row high.

    ``padding`` is an integer, a pair (before, after), "same" or "valid"; all else as in `conv2d`.

    >>> x = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    >>> tg.conv1d(x, np.array([[[-1.0, 1.0]]])).ravel()
    array([1., 2.])
    """
    if np.ndim(x) != 3 or np.ndim(w) != 3:
        raise ValueError(
            f"conv1d: expected sequences (N, L, C) and filters (F, C, K), got {np.shape(x)} and {np.shape(w)}"
        )
    sides: Padding = padding if isinstance(padding, str) else ((0, 0), pair("conv1d", "padding", padding, 0))
    out = conv2d(
        x.reshape((x.shape[0], 1, *x.shape[1:])),
        w.reshape((*w.shape[:2], 1, w.shape[2])),
        bias,
        stride=(1, integer("conv1d", "stride", stride, 1)),
        padding=sides,
        dilation=(1, integer("conv1d", "dilation", dilation, 1)),
        groups=groups,
    )
    return out.reshape((out.shape[0], *out.shape[2:]))
