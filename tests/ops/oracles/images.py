"""Convolution and pooling from their definitions: loops over pixels; adjoints one basis element at a time."""

import itertools
import math

import numpy as np


def pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def borders(padding, lengths, kernel, stride, dilation):
    """((top, bottom), (left, right)) of every way to write padding."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        found = []
        for n, k, s, d in zip(lengths, kernel, stride, dilation, strict=True):
            total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)
    return tuple(pair(p) for p in pair(padding))


def conv2d(x, w, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    stride, dilation = pair(stride), pair(dilation)
    n, height, width, _ = x.shape
    count, channels, *kernel = w.shape
    rows, columns = borders(padding, (height, width), kernel, stride, dilation)
    sizes = [
        (length + sum(border) - d * (k - 1) - 1) // s + 1
        for length, border, k, s, d in zip(
            (height, width), (rows, columns), kernel, stride, dilation, strict=True
        )
    ]
    out = np.zeros((n, *sizes, count))
    for i, r, s, f in np.ndindex(out.shape):
        first = f // (count // groups) * channels
        for c, k, m in np.ndindex(channels, *kernel):
            row = r * stride[0] + k * dilation[0] - rows[0]
            column = s * stride[1] + m * dilation[1] - columns[0]
            if 0 <= row < height and 0 <= column < width:
                out[i, r, s, f] += w[f, c, k, m] * x[i, row, column, first + c]
    return out if bias is None else out + bias


def basis(shape):
    for place in np.ndindex(*shape):
        e = np.zeros(shape)
        e[place] = 1
        yield place, e


def adjoint(f, y, shape):
    """The z of ``shape`` with <f(e), y> = <e, z> for every basis element e."""
    z = np.empty(shape)
    for place, e in basis(shape):
        z[place] = np.sum(f(e) * y)
    return z


def conv2d_images(y, w, *, shape, **options):
    return adjoint(lambda x: conv2d(x, w, **options), y, shape)


def conv2d_filters(x, y, *, shape, **options):
    return adjoint(lambda w: conv2d(x, w, **options), y, shape)


def windows(shape, size=2, stride=None, padding=0, dilation=1, ceil_mode=False):
    """For every output pixel the (tap, row, column) of its window, rows and columns outside the image too."""
    size, dilation = pair(size), pair(dilation)
    stride = size if stride is None else pair(stride)
    places = []
    for length, k, s, p, d in zip(
        shape[1:3], size, stride, borders(padding, shape[1:3], size, stride, dilation), dilation, strict=True
    ):
        starts = []
        for start in itertools.count(-p[0], s):
            inside = start + d * (k - 1) < length + p[1]
            partly = ceil_mode and start < length and starts and starts[-1] + d * (k - 1) < length + p[1] - 1
            if not (inside or partly):
                break
            starts.append(start)
        places.append([[start + i * d for i in range(k)] for start in starts])
    for r, row_window in enumerate(places[0]):
        for c, column_window in enumerate(places[1]):
            yield (r, c), list(enumerate(itertools.product(row_window, column_window)))


def is_inside(place, shape):
    return 0 <= place[0] < shape[1] and 0 <= place[1] < shape[2]


def pooled(x, f, **options):
    """``f`` of the (tap, value) pairs of each window, with None for values outside of the image."""
    found = dict(windows(x.shape, **options))
    rows, columns = (max(place[i] for place in found) + 1 for i in (0, 1))
    out = np.empty((x.shape[0], rows, columns, x.shape[3]))
    for (r, c), window in found.items():
        for n, channel in np.ndindex(x.shape[0], x.shape[3]):
            values = [
                (tap, x[(n, *place, channel)] if is_inside(place, x.shape) else None) for tap, place in window
            ]
            out[n, r, c, channel] = f(values, (n, r, c, channel), window)
    return out


def max_pool(x, **options):
    return pooled(x, lambda values, *_: max(v for _, v in values if v is not None), **options)


def max_pool_images(y, *, images, maxima, **options):
    """Each y goes to the first largest pixel of its window, found anew."""
    out = np.zeros(images.shape)
    for (r, c), window in windows(images.shape, **options):
        inside = [place for _, place in window if is_inside(place, images.shape)]
        for n, channel in np.ndindex(images.shape[0], images.shape[3]):
            best = max(inside, key=lambda place: images[(n, *place, channel)])
            out[(n, *best, channel)] += y[n, r, c, channel]
    return out


def gather_windows(x, index, **options):
    return pooled(x, lambda values, place, _: dict(values)[int(index[place])] or 0.0, **options)


def scatter_windows(y, index, *, shape, **options):
    return adjoint(lambda x: gather_windows(x, index, **options), y, shape)


def avg_pool(x, *, padding=0, count_include_pad=True, **options):
    (top, bottom), (left, right) = borders(padding, None, None, None, None)

    def mean(values, _, window):
        inside = [v for _, v in values if v is not None]
        in_padding = [
            (r, c)
            for _, (r, c) in window
            if -top <= r < x.shape[1] + bottom and -left <= c < x.shape[2] + right
        ]
        return math.fsum(inside) / (len(in_padding) if count_include_pad else len(inside))

    return pooled(x, mean, padding=padding, **options)


def avg_pool_images(y, *, shape, **options):
    return adjoint(lambda x: avg_pool(x, **options), y, shape)


ORACLES = {
    "conv2d": conv2d,
    "conv2d_images": conv2d_images,
    "conv2d_filters": conv2d_filters,
    "max_pool": max_pool,
    "max_pool_images": max_pool_images,
    "gather_windows": gather_windows,
    "scatter_windows": scatter_windows,
    "avg_pool": avg_pool,
    "avg_pool_images": avg_pool_images,
}
