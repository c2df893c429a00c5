# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: B905, E741
"""The functions that a program of `to_numpy` may call: convolution and pooling in plain NumPy.

Their source is what is written, so they stand on their own: no types, nothing imported, no names but NumPy's
and one another's. Each takes the same products and sums in the same order as the op in `tensorgrad.ops` that
it is for, and gives the same bits in the same layout: ``tests/graph/test_export_rules.py`` holds each to
that, so that neither changes alone.

How an element of a product of matrices is rounded depends on the length of its sum and on where it lies: BLAS
computes the last columns by another loop than the others. So the products here are of the shapes that the
engine takes, one for each row of images. Most convolutions have no padding, stride, dilation or groups, and
get simpler functions; ``_general`` ones take them all.

A maximum is exact, so only what decides ties and signs of zero must be as in the engine: the taps in
row-major order, rows before columns. Sums also round, and are taken in that order too.
"""

from __future__ import annotations

import inspect

import numpy as np


def source_of(name: str) -> str:
    """The text of one of these functions, as a program has it."""
    return inspect.getsource(globals()[name])


def windows_of(x, size):
    """The windows over images x (N, H, W, C): (OH, KH, C * KW, OW * N)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))  # (N, OH, OW, C, KH, KW)
    windows = windows.transpose(1, 4, 3, 5, 2, 0)  # (OH, KH, C, KW, OW, N)
    channels = windows.shape[2]
    return np.ascontiguousarray(windows.reshape(*windows.shape[:2], channels * size[1], -1))


def conv2d(x, w, bias):
    """out[n, i, j, f] = bias[f] + sum over c, k, l of w[f, c, k, l] x[n, i + k, j + l, c].

    The sum is a product of matrices for each row of the output.
    """
    filters, channels, height, width = w.shape
    windows = windows_of(x, (height, width))
    w = w.swapaxes(1, 2).reshape(filters, height, channels * width)
    if bias is not None:  # the weight of ones that follow the pixels of a window's first row
        windows = np.concatenate([windows, np.ones_like(windows[:, :, :1])], axis=2)
        w = np.concatenate([w, np.zeros_like(w[:, :, :1])], axis=2)
        w[:, 0, -1] = bias
    w = w.reshape(filters, -1)  # (F, K)
    rows = len(windows)
    out = w @ windows.reshape(rows, w.shape[1], -1)  # (OH, F, OW * N)
    out = np.ascontiguousarray(out.swapaxes(0, 1))  # sums over it are rounded by its layout
    return out.reshape(filters, rows, -1, len(x)).swapaxes(0, 3)


def conv2d_filters(x, g, shape, blocks):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i + k, j + l, c].

    A product of matrices for each row; added up in blocks of rows, then block by block, to round as in
    tensorgrad.
    """
    filters, channels, height, width = shape
    windows = windows_of(x, (height, width))
    rows = len(windows)
    g = np.ascontiguousarray(g.swapaxes(0, 3)).reshape(filters, rows, -1)
    g = g.transpose(1, 2, 0)  # (OH, OW * N, F)
    products = windows.reshape(rows, height * channels * width, -1) @ g  # (OH, KH * C * KW, F)
    sums = [np.sum(products[top:bottom], axis=0) for top, bottom in blocks]
    d_w = np.sum(sums, axis=0).reshape(height, channels, width, filters)
    return d_w.transpose(3, 1, 0, 2)


def conv2d_images(g, w, shape):
    """d_x[n, i, j, c] = sum over f, k, l of w[f, c, k, l] g[n, i - k, j - l, f].

    The sums over f and k are products of matrices for each row of the images; those over l follow.
    """
    filters, channels, height, width = w.shape
    batch, rows, length, _ = shape
    columns = g.shape[2]
    w = w[:, :, ::-1].transpose(1, 3, 2, 0).reshape(channels * width, height * filters)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    g = np.pad(g, [(0, 0), (height - 1, height - 1), (0, 0), (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(g, height, axis=1)  # by each row of x
    seen = seen.transpose(1, 4, 0, 2, 3).reshape(rows, height * filters, columns * batch)
    product = (w @ seen).reshape(rows, channels, width, columns, batch).swapaxes(0, 1)
    d_x = np.zeros((channels, rows, length, batch), g.dtype)
    for l in range(width):
        d_x[:, :, l : l + columns] += product[:, :, l]
    return d_x.swapaxes(0, 3)


def windows_of_general(x, size, stride, padding, dilation, groups):
    """The windows over images x (N, H, W, C): (groups, OH, KH, C / groups * KW, OW * N)."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    span = [d * (n - 1) + 1 for n, d in zip(size, dilation)]
    windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    batch, rows, columns, channels = windows.shape[:4]
    windows = windows.reshape(batch, rows, columns, groups, channels // groups, *size)
    windows = windows.transpose(3, 1, 5, 4, 6, 2, 0)  # (groups, OH, KH, C / groups, KW, OW, N)
    return np.ascontiguousarray(windows.reshape(groups, rows, size[0], -1, columns * batch))


def conv2d_general(x, w, bias, stride, padding, dilation, groups):
    """out[n, i, j, f] = bias[f] + sum over c, k, l of w[f, c, k, l] x[n, i s + k d, j s + l d, c].

    The sum is a product of matrices for each group and row of the output.
    """
    filters, channels, height, width = w.shape
    windows = windows_of_general(x, (height, width), stride, padding, dilation, groups)
    w = w.swapaxes(1, 2).reshape(filters, height, channels * width)
    if bias is not None:  # the weight of ones that follow the pixels of a window's first row
        windows = np.concatenate([windows, np.ones_like(windows[:, :, :, :1])], axis=3)
        w = np.concatenate([w, np.zeros_like(w[:, :, :1])], axis=2)
        w[:, 0, -1] = bias
    w = w.reshape(groups, 1, filters // groups, -1)
    rows = windows.shape[1]
    out = w @ windows.reshape(groups, rows, w.shape[3], -1)  # (groups, OH, F / groups, OW * N)
    out = np.ascontiguousarray(out.swapaxes(1, 2))  # sums over it are rounded by its layout
    return out.reshape(filters, rows, -1, len(x)).swapaxes(0, 3)


def conv2d_filters_general(x, g, shape, blocks, stride, padding, dilation, groups):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i s + k d, j s + l d, c].

    A product of matrices for each group and row; added up in blocks of rows, then block by block, to round as
    in tensorgrad.
    """
    filters, channels, height, width = shape
    windows = windows_of_general(x, (height, width), stride, padding, dilation, groups)
    rows = windows.shape[1]
    windows = windows.reshape(groups, rows, height * channels * width, -1)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    g = g.reshape(groups, filters // groups, rows, -1).transpose(0, 2, 3, 1)
    products = windows @ g  # (groups, OH, KH * C / groups * KW, F / groups)
    sums = [np.sum(products[:, top:bottom], axis=1) for top, bottom in blocks]
    d_w = np.sum(sums, axis=0).reshape(groups, height, channels, width, filters // groups)
    return d_w.transpose(0, 4, 2, 1, 3).reshape(shape)


def tap(k, first, last, length, stride, before, dilation):
    """The windows from first to last whose k-th pixel is no padding, counted from first, and those pixels."""
    offset = k * dilation - before
    low = max(first, -(offset // stride))
    high = min(last, (length - 1 - offset) // stride + 1)
    if low >= high:
        return slice(0, 0), slice(0, 0)
    start = low * stride + offset
    return slice(low - first, high - first), slice(start, start + (high - low - 1) * stride + 1, stride)


def conv2d_images_general(g, w, shape, stride, padding, dilation, groups):
    """d_x[n, i, j, c] = the sum of w[f, c, k, l] g[n, i', j', f] over all windows i', j' that see the pixel.

    The sums over f and k are products of matrices for each row of the images; those over l follow.
    """
    filters, channels, height, width = w.shape
    batch, rows, length, _ = shape
    columns = g.shape[2]
    w = w.reshape(groups, -1, channels, height, width)[:, :, :, ::-1].transpose(0, 2, 4, 3, 1)
    w = w.reshape(groups, 1, channels * width, -1)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    first = padding[0][0] - height + 1  # of the rows of g that the first row of x is seen by
    around = np.zeros((filters, rows + height - 1, columns, batch), g.dtype)
    some = slice(max(first, 0), min(rows + padding[0][0], g.shape[1]))
    around[:, some.start - first : some.stop - first] = g[:, some]
    seen = np.lib.stride_tricks.sliding_window_view(around, height, axis=1)
    seen = seen.reshape(groups, filters // groups, *seen.shape[1:]).transpose(0, 2, 5, 1, 3, 4)
    product = w @ seen.reshape(groups, rows, w.shape[3], -1)  # (groups, H, C / groups * KW, OW * N)
    product = product.reshape(groups, rows, channels, width, columns, batch).swapaxes(1, 2)
    d_x = np.zeros((groups, channels, rows, length, batch), g.dtype)
    for l in range(width):
        windows, pixels = tap(l, 0, columns, length, stride[1], padding[1][0], dilation[1])
        d_x[:, :, :, pixels] += product[:, :, :, l, windows]
    return d_x.reshape(-1, rows, length, batch).swapaxes(0, 3)


def conv2d_images_by_patch(g, w, shape, blocks, stride, padding, dilation, groups):
    """d_x[n, i, j, c] = the sum of w[f, c, k, l] g[n, i', j', f] over all windows i', j' that see the pixel.

    The sums over f are products of matrices; those over k, l follow, in blocks of rows as in tensorgrad.
    """
    filters, channels, height, width = w.shape
    batch, rows, length, _ = shape
    columns = g.shape[2]
    w = w.reshape(groups, 1, filters // groups, -1).swapaxes(2, 3)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    g = g.reshape(groups, filters // groups, -1, columns * batch).swapaxes(1, 2)
    d_x = np.zeros((groups, channels, rows, length, batch), g.dtype)
    for top, bottom in blocks:
        patches = w @ g[:, top:bottom]  # (groups, rows, C / groups * KH * KW, OW * N)
        patches = patches.reshape(groups, -1, channels, height, width, columns, batch).swapaxes(1, 2)
        for k, l in np.ndindex(height, width):
            down, ys = tap(k, top, bottom, rows, stride[0], padding[0][0], dilation[0])
            across, xs = tap(l, 0, columns, length, stride[1], padding[1][0], dilation[1])
            d_x[:, :, ys, xs] += patches[:, :, down, k, l, across]
    return d_x.reshape(-1, rows, length, batch).swapaxes(0, 3)


def max_pool_vjp_overlapping(g, out, x, size, stride, dilation=(1, 1)):
    """Give the cotangent g of each window to the first of its largest pixels."""
    d_x = np.zeros_like(out, dtype=g.dtype, shape=x.shape)
    waiting = np.ones_like(out, dtype=bool)  # windows whose largest pixel has not come yet
    for i, j in np.ndindex(size):
        top, left = i * dilation[0], j * dilation[1]
        bottom, right = top + stride[0] * out.shape[1], left + stride[1] * out.shape[2]
        pixels = np.s_[:, top : bottom : stride[0], left : right : stride[1]]  # one of each window
        first = waiting & ((x[pixels] == out) | np.isnan(x[pixels]))
        d_x[pixels] += np.where(first, g, 0)
        waiting &= ~first
    return d_x


def max_pool_vjp_overlapping_padded(g, out, x, taps):
    """Give the cotangent g of each window to the first of its largest pixels; windows overlap the edges."""
    d_x = np.zeros_like(out, dtype=g.dtype, shape=x.shape)
    waiting = np.ones_like(out, dtype=bool)  # windows whose largest pixel has not come yet
    for windows, pixels in taps:
        first = waiting[windows] & ((x[pixels] == out[windows]) | np.isnan(x[pixels]))
        d_x[pixels] += np.where(first, g[windows], 0)
        waiting[windows] &= ~first
    return d_x


def gather_windows(x, index, taps):
    """The element of each window whose number is given."""
    out = np.zeros_like(index, dtype=x.dtype)
    for k, (windows, pixels) in enumerate(taps):
        out[windows] += np.where(index[windows] == k, x[pixels], 0)
    return out


def scatter_windows_overlapping(y, index, shape, taps):
    """Zeros, with y at the element of each window whose number is given."""
    x = np.zeros_like(index, dtype=y.dtype, shape=shape)
    for k, (windows, pixels) in enumerate(taps):
        x[pixels] += np.where(index[windows] == k, y[windows], 0)
    return x


def pixels(count, size, stride, before, low, high):
    """How many pixels from low to high each window has along an axis."""
    start = np.arange(count) * stride - before
    return np.minimum(start + size, high) - np.maximum(start, low)


def spread_windows(y, shape, taps):
    """Images in which each pixel is the sum of the y of its windows."""
    x = np.zeros_like(y, shape=shape)
    for windows, pixels in taps:
        x[pixels] += y[windows]
    return x
