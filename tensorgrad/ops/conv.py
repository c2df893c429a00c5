"""Convolution of images, and its two adjoints: a family closed under transposition.

Convolution is bilinear in images x and filters w. The three ops are the three ways to read the trilinear form
<y, conv2d(x, w)>: `conv2d` gives what multiplies y, `conv2d_images` what multiplies x, `conv2d_filters` what
multiplies w. So every vjp is a call to a sibling, and derivatives of any order exist.

Images are (N, H, W, C) to the caller, but results lie in memory as (C, H, W, N): with the batch innermost,
the copies below move long contiguous rows, and the product of filters and windows is the result as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tensorgrad.core import Array, op
from tensorgrad.ops.parallel import parts, share
from tensorgrad.ops.windows import (
    Axis,
    Padding,
    Shape,
    Sides,
    Size,
    integer,
    pair,
    require_images,
    sides,
    slide,
)

# A product of more multiplications than this OpenBLAS shares among its threads, and waits for them: where
# other programs keep the cores busy, for whole ticks of the scheduler, many times as long as it computes.
UNTHREADED = 1 << 18


def _windows(
    name: str, images: Shape, filters: Shape, stride: Size, padding: Padding, dilation: Size, groups: int
) -> tuple[Axis, Axis]:
    """The two axes of a convolution, after a check that images, filters and groups fit one another."""
    shapes = f"images {images}, filters {filters}"
    for shape in (images, filters):
        if len(shape) != 4 or min(shape) < 1:
            raise ValueError(f"{name}: expected shapes of four positive lengths, got {shapes}")
    groups = integer(name, "groups", groups)
    if images[3] % groups or filters[0] % groups:
        raise ValueError(
            f"{name}: {groups} groups do not divide {images[3]} channels and {filters[0]} filters ({shapes})"
        )
    if images[3] != groups * filters[1]:
        of_groups = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{name}: images have {images[3] // groups} channels{of_groups}, "
            f"filters expect {filters[1]} ({shapes})"
        )
    return slide(name, images[1:3], filters[2:], stride, padding, dilation, shapes=shapes)


def _batch_innermost(x: Array) -> Array:
    """Images (N, H, W, C) as a contiguous array (C, H, W, N): a view where they lie so already."""
    x = x.swapaxes(0, 3)
    return x if x.flags.c_contiguous else x.copy()


def _piece(columns: int, weights: int) -> int:
    """The width of the equal pieces in which that many columns are multiplied by weights, unthreaded.

    A multiple of 16 if it can be, the floats in a vector of AVX-512. All columns if there are so many weights
    that pieces would be under 32 wide: slow in themselves.
    """
    widths = [m for m in range(min(UNTHREADED // weights, columns), 31, -1) if not columns % m]
    return next((m for m in widths if not m % 16), widths[0] if widths else columns)


def _rows_of_strips(rows: Axis) -> tuple[int, int, list[tuple[Any, slice, slice]]]:
    """How strips stand for the rows of windows: (step, count, sources).

    The windows of output row i are the KH strips from ``i * step`` on, of ``count`` in all. A source is
    (strips, which of them are pixels and not padding, rows of the images).
    """
    if rows.dilation == 1:  # neighbouring rows, which output rows share
        count = (rows.count - 1) * rows.stride + rows.size
        return rows.stride, count, [(slice(None), *replace(rows, size=1, stride=1, count=count).tap(0))]
    count = rows.count * rows.size  # each output row has strips of its own
    return rows.size, count, [(slice(k, None, rows.size), *rows.tap(k)) for k in range(rows.size)]


def _strips(x: Array, groups: int, rows: Axis, columns: Axis, across: slice, ones: bool = False) -> Array:
    """Windows over some output columns of images x (C, H, W, N), for each row: (G, R, C/G * KW, S, N).

    Windows over the rows need no more copies: they are strips that lie behind one another, and share them.
    One more strip for each row is of ones if asked for.
    """
    channels, _, _, batch = x.shape
    each = channels // groups
    taps = each * columns.size
    _, count, sources = _rows_of_strips(rows)
    strips = np.empty_like(x, shape=(groups, count, taps + ones, across.stop - across.start, batch))
    strips[:, :, taps:] = 1
    x = x.reshape(groups, each, *x.shape[1:]).swapaxes(1, 2)
    for some, inside, ys in sources:
        for k in range(columns.size):
            windows, xs = columns.tap(k, across.start, across.stop)
            tap = strips[:, some, k : taps : columns.size]
            part = tap[:, inside, :, windows]
            if part.size < tap.size:
                tap[...] = 0  # the padding
            part[...] = x[:, ys, :, xs]
    return strips


def _windows_of(strips: Array, step: int, rows: Axis, piece: int) -> Array:
    """The windows over strips in pieces, (G, OH, P, KH * strips, S*N/P): a view, overlapping in memory."""
    groups, count, taps, *lengths = strips.shape
    length = math.prod(lengths)
    shape = (groups, rows.count, length // piece, rows.size * taps, piece)
    steps = (count * taps * length, step * taps * length, piece, length, 1)
    return as_strided(strips, shape, [n * strips.itemsize for n in steps])


def _pieces_of(y: Array, groups: int, piece: int) -> Array:
    """Images y (F, H, W, N), of which columns may be left out, in pieces (G, H, P, F/G, W*N/P): a view."""
    filters, height = y.shape[:2]
    return y.reshape(groups, filters // groups, height, -1, piece).transpose(0, 2, 3, 1, 4)


def _taps(rows: Axis, columns: Axis, down: slice, across: slice) -> Iterator[tuple[Any, Any, Any]]:
    """For every tap of a block's windows: its index, the windows whose tap is a pixel, and those pixels."""
    of_rows = [rows.tap(k, down.start, down.stop) for k in range(rows.size)]
    of_columns = [columns.tap(k, across.start, across.stop) for k in range(columns.size)]
    for i, (down, ys) in enumerate(of_rows):
        for j, (across, xs) in enumerate(of_columns):
            yield (slice(None), i, j), (slice(None), down, across), (slice(None), ys, xs)


@op
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
    windows are laid out as a matrix (Chellapilla, Puri and Simard, 2006), block by block to stay in cache.

    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> w = np.array([[[[1.0, -1.0]]]])
    >>> tg.conv2d(x, w, stride=(2, 1))[0, :, :, 0]
    array([[-1., -1., -1.],
           [-1., -1., -1.]])
    """
    require_images("conv2d", images=x, filters=w)
    rows, columns = _windows("conv2d", x.shape, w.shape, stride, padding, dilation, groups)
    filters = w.shape[0]
    if bias is not None and np.shape(bias) != (filters,):
        raise ValueError(f"conv2d: expected a bias of shape {(filters,)}, {x.dtype}, got {np.shape(bias)}")
    if bias is not None and bias.dtype != x.dtype:
        raise TypeError(f"conv2d: expected a bias of {x.dtype}, got {bias.dtype}")
    x = _batch_innermost(x)
    batch = x.shape[3]
    out = np.empty_like(x, shape=(filters, rows.count, columns.count, batch), order="C")
    # (F, C/G, KH, KW) -> (F, KH, C/G * KW): the order of the strips
    w = w.swapaxes(1, 2).reshape(filters, rows.size, -1)
    if bias is not None:  # the weight of a strip of ones at the first row: no pass over the result to add it
        w = np.concatenate([w, np.zeros_like(w[:, :, :1])], axis=2)
        w[:, 0, -1] = bias
    w = w.reshape(groups, 1, 1, filters // groups, -1)
    step, count, _ = _rows_of_strips(rows)

    def convolve(across: slice) -> None:
        strips = _strips(x, groups, rows, columns, across, ones=bias is not None)
        part = out[:, :, across]
        piece = _piece(part.shape[2] * batch, w[0].size)
        windows = _windows_of(strips, step, rows, piece)
        # (G, 1, 1, F/G, KH*C/G*KW) @ (G, OH, P, KH*C/G*KW, S*N/P) -> (G, OH, P, F/G, S*N/P)
        np.matmul(w, windows, out=_pieces_of(part, groups, piece))

    column = (count * x.shape[0] * columns.size + filters * rows.count) * batch * x.itemsize
    share(convolve, parts(columns.count, column))
    return out.swapaxes(0, 3)


@op
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
    rows, columns = _windows("conv2d_images", shape, w.shape, stride, padding, dilation, groups)
    _require_output("conv2d_images", y, (shape[0], rows.count, columns.count, w.shape[0]))
    y = _batch_innermost(y)
    x = np.empty_like(y, shape=(shape[3], shape[1], shape[2], shape[0]), order="C")
    if rows.stride == rows.dilation == 1:
        _images_by_rows(x, y, w, groups, rows, columns)
        return x.swapaxes(0, 3)
    x[...] = 0
    w = w.reshape(groups, 1, w.shape[0] // groups, -1).swapaxes(2, 3)
    pixel = (shape[3] * rows.size * columns.size + y.shape[0]) * y.shape[3] * y.itemsize
    for down, across in product(parts(rows.count, pixel * columns.count), parts(columns.count, pixel)):
        part = y[:, down, across].reshape(groups, w.shape[3], -1)
        piece = _piece(part.shape[2], w[0].size)
        patches = np.empty_like(y, shape=(shape[3], rows.size, columns.size, *y[:, down, across].shape[1:]))
        x_pieces = patches.reshape(groups, w.shape[2], -1, piece).swapaxes(1, 2)
        y_pieces = part.reshape(groups, w.shape[3], -1, piece).swapaxes(1, 2)
        # (G, 1, C/G*KH*KW, F/G) @ (G, P, F/G, R*S*N/P) -> (G, P, C/G*KH*KW, R*S*N/P)
        np.matmul(w, y_pieces, out=x_pieces)
        for tap, windows, pixels in _taps(rows, columns, down, across):
            target = x[pixels]
            target += patches[tap][windows]
    return x.swapaxes(0, 3)


@op
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
    rows, columns = _windows("conv2d_filters", x.shape, shape, stride, padding, dilation, groups)
    _require_output("conv2d_filters", y, (x.shape[0], rows.count, columns.count, shape[0]))
    x, y = _batch_innermost(x), _batch_innermost(y)
    channels, filters = shape[1], shape[0] // groups
    if columns.stride == 1 and channels >= 8 and channels * filters <= 512:
        w = _filters_by_tap(x, y, groups, rows, columns)
    else:
        step, count, _ = _rows_of_strips(rows)
        column = (count * x.shape[0] * columns.size + y.shape[0] * rows.count) * x.shape[3] * x.itemsize
        blocks = parts(columns.count, column)
        sums = np.empty_like(x, shape=(len(blocks), groups, shape[2] * channels * shape[3], filters))

        def correlate(i: int) -> None:
            part = y[:, :, blocks[i]]
            piece = _piece(part.shape[2] * part.shape[3], sums[0, 0].size)
            windows = _windows_of(_strips(x, groups, rows, columns, blocks[i]), step, rows, piece)
            y_pieces = _pieces_of(part, groups, piece).swapaxes(3, 4)
            # The larger factor stands on the left, and so the filters come out transposed: 1.5 times faster.
            # (G, OH, P, KH*C/G*KW, S*N/P) @ (G, OH, P, S*N/P, F/G) -> (G, OH, P, KH*C/G*KW, F/G)
            np.sum(np.matmul(windows, y_pieces), axis=(1, 2), out=sums[i])

        share(correlate, range(len(blocks)))
        w = np.sum(sums, axis=0)
    return w.reshape(groups, shape[2], channels, shape[3], filters).transpose(0, 4, 2, 1, 3).reshape(shape)


def _filters_by_tap(x: Array, y: Array, groups: int, rows: Axis, columns: Axis) -> Array:
    """Images x (C, H, W, N) correlated with y (F, OH, OW, N): (G, KH, C/G, KW, F/G), for column stride 1.

    A row's pixels at one tap of the windows are neighbours in memory, so nothing is copied. With few
    channels, or so many that OpenBLAS packs the factors, products of whole windows are faster.
    """
    if rows.before or rows.after or columns.before or columns.after:
        x = np.pad(x, [(0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)])
    channels, height, width, batch = x.shape
    each = channels // groups
    filters = y.shape[0] // groups
    length = columns.count * batch
    piece = _piece(length, each * filters)
    shape = (groups, rows.count, length // piece, rows.size, columns.size, each, piece)
    row, channel = width * batch, height * width * batch
    steps = (
        each * channel,
        rows.stride * row,
        piece,
        rows.dilation * row,
        columns.dilation * batch,
        channel,
        1,
    )
    windows = as_strided(x, shape, [n * x.itemsize for n in steps])
    y_pieces = _pieces_of(y, groups, piece).swapaxes(3, 4)[:, :, :, None, None]
    row = (rows.size * channels * width + y.shape[0] * columns.count) * batch * x.itemsize
    blocks = parts(rows.count, row)
    sums = np.empty_like(x, shape=(len(blocks), groups, rows.size, columns.size, each, filters))

    def correlate(i: int) -> None:
        # (G, R, P, KH, KW, C/G, OW*N/P) @ (G, R, P, 1, 1, OW*N/P, F/G) -> (G, R, P, KH, KW, C/G, F/G)
        np.sum(np.matmul(windows[:, blocks[i]], y_pieces[:, blocks[i]]), axis=(1, 2), out=sums[i])

    share(correlate, range(len(blocks)))
    w = np.sum(sums, axis=0)
    return w.swapaxes(2, 3)


def _images_by_rows(x: Array, y: Array, w: Array, groups: int, rows: Axis, columns: Axis) -> None:
    """Fill images x (C, H, W, N) with y (F, OH, OW, N) spread over them, for row stride and dilation 1.

    A row of the images is seen by KH neighbouring rows of y: their product with the filters is summed over
    those rows, which leaves KW numbers a pixel to add up, not KH KW.
    """
    channels, height, _, batch = x.shape
    each, filters = channels // groups, y.shape[0] // groups
    # (F, C/G, KH, KW) -> (G, 1, 1, C/G*KW, KH*F/G), the last row of the filters first
    w = w.reshape(groups, filters, each, rows.size, columns.size)[:, :, :, ::-1]
    w = w.transpose(0, 2, 4, 3, 1).reshape(groups, 1, 1, each * columns.size, rows.size * filters)
    y = y.reshape(groups, filters, *y.shape[1:])
    x = x.reshape(groups, each, *x.shape[1:])
    pixel = (groups * filters + channels * columns.size) * batch * x.itemsize

    def spread(down: slice) -> None:
        x[:, :, down] = 0
        first = down.start + rows.before - rows.size + 1  # of the rows of y that these rows see
        seen = slice(max(first, 0), min(down.stop + rows.before, rows.count))
        inside = slice(seen.start - first, seen.stop - first)
        height = down.stop - down.start
        count = height + rows.size - 1
        for across in parts(columns.count, count * pixel):
            strips = np.zeros_like(y, shape=(groups, count, filters, across.stop - across.start, batch))
            strips[:, inside] = y[:, :, seen, across].swapaxes(1, 2)
            piece = _piece(strips.shape[3] * batch, w[0].size)
            windows = _windows_of(strips, 1, replace(rows, count=height), piece)
            sums = np.empty_like(y, shape=(groups, height, each, columns.size, *strips.shape[3:]))
            pieces = sums.reshape(groups, height, each * columns.size, -1, piece).swapaxes(2, 3)
            # (G, 1, 1, C/G*KW, KH*F/G) @ (G, R, P, KH*F/G, S*N/P) -> (G, R, P, C/G*KW, S*N/P)
            np.matmul(w, windows, out=pieces)
            for k in range(columns.size):
                some, xs = columns.tap(k, across.start, across.stop)
                target = x[:, :, down, xs]
                target += sums[:, :, :, k, some].swapaxes(1, 2)

    share(spread, parts(height, columns.count * pixel, least=min(2 * rows.size, height)))


def _require_output(name: str, y: Array, expected: Shape) -> None:
    if y.shape != expected:
        raise ValueError(f"{name}: expected a cotangent of shape {expected}, got {y.shape}")


conv2d.defvjp(
    x=lambda g, out, x, w, bias, **options: conv2d_images(g, w, shape=x.shape, **options),
    w=lambda g, out, x, w, bias, **options: conv2d_filters(x, g, shape=w.shape, **options),
    bias=lambda g, out, x, w, bias, **options: np.sum(g, axis=(0, 1, 2)),
)
conv2d_images.defvjp(
    y=lambda g, out, y, w, shape, **options: conv2d(g, w, **options),
    w=lambda g, out, y, w, shape, **options: conv2d_filters(g, y, shape=w.shape, **options),
)
conv2d_filters.defvjp(
    x=lambda g, out, x, y, shape, **options: conv2d_images(y, g, shape=x.shape, **options),
    y=lambda g, out, x, y, shape, **options: conv2d(x, g, **options),
)


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
    channels = w.shape[1] * integer(name, "groups", groups)
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
        stride=(1, integer("conv1d", "stride", stride)),
        padding=sides,
        dilation=(1, integer("conv1d", "dilation", dilation)),
        groups=groups,
    )
    return out.reshape((out.shape[0], *out.shape[2:]))
