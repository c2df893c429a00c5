"""The functions of convolution that a program of `to_numpy` may call, as text."""

PLAIN_WINDOWS = '''
def windows_of(x, size):
    """The windows over images x (N, H, W, C): (OH, KH, C * KW, OW * N)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))  # (N, OH, OW, C, KH, KW)
    windows = windows.transpose(1, 4, 3, 5, 2, 0)  # (OH, KH, C, KW, OW, N)
    channels = windows.shape[2]
    return np.ascontiguousarray(windows.reshape(*windows.shape[:2], channels * size[1], -1))
'''

PLAIN_CONV2D = '''
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
'''

PLAIN_FILTERS = '''
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
'''

PLAIN_IMAGES = '''
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
'''

WINDOWS = '''
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
'''

CONV2D = '''
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
'''

FILTERS = '''
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
'''

TAP = '''
def tap(k, first, last, length, stride, before, dilation):
    """The windows from first to last whose k-th pixel is no padding, counted from first, and those pixels."""
    offset = k * dilation - before
    low = max(first, -(offset // stride))
    high = min(last, (length - 1 - offset) // stride + 1)
    if low >= high:
        return slice(0, 0), slice(0, 0)
    start = low * stride + offset
    return slice(low - first, high - first), slice(start, start + (high - low - 1) * stride + 1, stride)
'''

IMAGES = '''
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
'''

IMAGES_BY_PATCH = '''
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
'''
