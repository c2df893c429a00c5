"""The functions of convolution that a program of `to_numpy` may call, as text."""

PLAIN_WINDOWS = '''
def windows_of(x, size):
    """The windows over images x (N, H, W, C): (OH, KH, C * KW, OW, N)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))  # (N, OH, OW, C, KH, KW)
    windows = windows.transpose(1, 4, 3, 5, 2, 0)
    return np.ascontiguousarray(windows.reshape(*windows.shape[:2], -1, *windows.shape[4:]))
'''

PLAIN_CONV2D = '''
def conv2d(x, w, bias, blocks):
    """out[n, i, j, f] = bias[f] + sum over c, k, l of w[f, c, k, l] x[n, i + k, j + l, c].

    The sum is a product of matrices. BLAS rounds by their shapes, so the output's columns from left to
    right are multiplied in pieces as wide as in tensorgrad.
    """
    filters, channels, height, width = w.shape
    windows = windows_of(x, (height, width))
    rows, _, _, columns, batch = windows.shape
    w = w.swapaxes(1, 2).reshape(filters, height, channels * width)
    if bias is not None:  # the weight of ones that follow the pixels of a window's first row
        windows = np.concatenate([windows, np.ones_like(windows[:, :, :1])], axis=2)
        w = np.concatenate([w, np.zeros_like(w[:, :, :1])], axis=2)
        w[:, 0, -1] = bias
    w = w.reshape(filters, -1)  # (F, K)
    out = np.empty((filters, rows, columns, batch), x.dtype)
    for left, right, piece in blocks:
        block = windows[:, :, :, left:right].reshape(rows, w.shape[1], -1, piece)
        product = w @ block.swapaxes(1, 2)  # (OH, pieces, F, piece)
        out[:, :, left:right] = product.transpose(2, 0, 1, 3).reshape(filters, rows, right - left, batch)
    return out.swapaxes(0, 3)
'''

PLAIN_FILTERS = '''
def conv2d_filters(x, g, shape, blocks):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i + k, j + l, c].

    Rounded as in tensorgrad: piece by piece, which are added up in each block, then block by block.
    """
    filters, channels, height, width = shape
    windows = windows_of(x, (height, width))
    rows, _, _, columns, batch = windows.shape
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    sums = []
    for left, right, piece in blocks:
        block = windows[:, :, :, left:right].reshape(rows, height * channels * width, -1, piece)
        of_g = g[:, :, left:right].reshape(filters, rows, -1, piece)
        products = block.swapaxes(1, 2) @ of_g.transpose(1, 2, 3, 0)  # (OH, pieces, KH * C * KW, F)
        sums.append(np.sum(products, axis=(0, 1)))
    d_w = np.sum(sums, axis=0).reshape(height, channels, width, filters)
    return d_w.transpose(3, 1, 0, 2)
'''

PLAIN_FILTERS_BY_TAP = '''
def conv2d_filters_by_tap(x, g, shape, blocks, piece):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i + k, j + l, c].

    Rounded as in tensorgrad: each row in pieces, which are added up in blocks of rows, then block by block.
    """
    filters, channels, height, width = shape
    x, g = (np.ascontiguousarray(images.swapaxes(0, 3)) for images in (x, g))  # (C, H, W, N), (F, OH, OW, N)
    rows, columns = g.shape[1:3]
    g = g.reshape(filters, rows, -1, piece).transpose(1, 2, 3, 0)  # (OH, pieces, piece, F)
    d_w = np.empty((height, channels, width, filters), x.dtype)
    for k, l in np.ndindex(height, width):
        pixels = x[:, k : k + rows, l : l + columns].reshape(channels, rows, -1, piece)
        pixels = pixels.transpose(1, 2, 0, 3)  # (OH, pieces, C, piece)
        sums = [np.sum(pixels[top:bottom] @ g[top:bottom], axis=(0, 1)) for top, bottom in blocks]
        d_w[k, :, l] = np.sum(sums, axis=0)
    return d_w.transpose(3, 1, 0, 2)
'''

PLAIN_IMAGES = '''
def conv2d_images(g, w, shape, blocks):
    """d_x[n, i, j, c] = sum over f, k, l of w[f, c, k, l] g[n, i - k, j - l, f].

    Rounded as in tensorgrad: the sums over f and k are products of matrices, in pieces; those over l follow.
    """
    filters, channels, height, width = w.shape
    w = w[:, :, ::-1].transpose(1, 3, 2, 0).reshape(channels * width, height * filters)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    g = np.pad(g, [(0, 0), (height - 1, height - 1), (0, 0), (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(g, height, axis=1)  # by each row of x
    seen = seen.transpose(1, 4, 0, 2, 3)  # (H, KH, F, OW, N)
    d_x = np.zeros((channels, *shape[1:3], shape[0]), g.dtype)
    for top, bottom, columns in blocks:
        for left, right, piece in columns:
            block = seen[top:bottom, :, :, left:right].reshape(bottom - top, height * filters, -1, piece)
            product = w @ block.swapaxes(1, 2)  # (rows, pieces, C * KW, piece)
            product = product.swapaxes(1, 2).reshape(bottom - top, channels, width, right - left, shape[0])
            for l in range(width):
                d_x[:, top:bottom, left + l : right + l] += product[:, :, l].swapaxes(0, 1)
    return d_x.swapaxes(0, 3)
'''

WINDOWS = '''
def windows_of_general(x, size, stride, padding, dilation, groups):
    """The windows over images x (N, H, W, C): (groups, OH, KH, C / groups * KW, OW, N)."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    span = [d * (n - 1) + 1 for n, d in zip(size, dilation)]
    windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    batch, rows, columns, channels = windows.shape[:4]
    windows = windows.reshape(batch, rows, columns, groups, channels // groups, *size)
    windows = windows.transpose(3, 1, 5, 4, 6, 2, 0)  # (groups, OH, KH, C / groups, KW, OW, N)
    return np.ascontiguousarray(windows.reshape(groups, rows, size[0], -1, columns, batch))
'''

CONV2D = '''
def conv2d_general(x, w, bias, blocks, stride, padding, dilation, groups):
    """out[n, i, j, f] = bias[f] + sum over c, k, l of w[f, c, k, l] x[n, i s + k d, j s + l d, c].

    The sum is a product of matrices. BLAS rounds by their shapes, so the output's columns from left to
    right are multiplied in pieces as wide as in tensorgrad.
    """
    filters, channels, height, width = w.shape
    windows = windows_of_general(x, (height, width), stride, padding, dilation, groups)
    _, rows, _, _, columns, batch = windows.shape
    w = w.swapaxes(1, 2).reshape(filters, height, channels * width)
    if bias is not None:  # the weight of ones that follow the pixels of a window's first row
        windows = np.concatenate([windows, np.ones_like(windows[:, :, :, :1])], axis=3)
        w = np.concatenate([w, np.zeros_like(w[:, :, :1])], axis=2)
        w[:, 0, -1] = bias
    w = w.reshape(groups, 1, 1, filters // groups, -1)
    out = np.empty((groups, filters // groups, rows, columns, batch), x.dtype)
    for left, right, piece in blocks:
        block = windows[:, :, :, :, left:right].reshape(groups, rows, w.shape[4], -1, piece)
        product = w @ block.swapaxes(2, 3)  # (groups, OH, pieces, F / groups, piece)
        part = out[:, :, :, left:right]
        part[...] = product.transpose(0, 3, 1, 2, 4).reshape(part.shape)
    return out.reshape(filters, rows, columns, batch).swapaxes(0, 3)
'''

FILTERS = '''
def conv2d_filters_general(x, g, shape, blocks, stride, padding, dilation, groups):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i s + k d, j s + l d, c].

    Rounded as in tensorgrad: piece by piece, which are added up in each block, then block by block.
    """
    filters, channels, height, width = shape
    windows = windows_of_general(x, (height, width), stride, padding, dilation, groups)
    _, rows, _, _, columns, batch = windows.shape
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    sums = []
    for left, right, piece in blocks:
        block = windows[:, :, :, :, left:right].reshape(groups, rows, height * channels * width, -1, piece)
        of_g = g[:, :, left:right].reshape(groups, filters // groups, rows, -1, piece)
        # (groups, OH, pieces, KH * C / groups * KW, F / groups)
        products = block.swapaxes(2, 3) @ of_g.transpose(0, 2, 3, 4, 1)
        sums.append(np.sum(products, axis=(1, 2)))
    d_w = np.sum(sums, axis=0).reshape(groups, height, channels, width, filters // groups)
    return d_w.transpose(0, 4, 2, 1, 3).reshape(shape)
'''

FILTERS_BY_TAP = '''
def conv2d_filters_by_tap_general(x, g, shape, blocks, piece, stride, padding, dilation, groups):
    """d_w[f, c, k, l] = sum over n, i, j of g[n, i, j, f] x[n, i s + k d, j + l d, c].

    Rounded as in tensorgrad: each row in pieces, which are added up in blocks of rows, then block by block.
    """
    filters, channels, height, width = shape
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    x, g = (np.ascontiguousarray(images.swapaxes(0, 3)) for images in (x, g))  # (C, H, W, N), (F, OH, OW, N)
    x = x.reshape(groups, channels, *x.shape[1:])  # (groups, C / groups, H, W, N)
    rows, columns = g.shape[1:3]
    g = g.reshape(groups, filters // groups, rows, -1, piece).transpose(0, 2, 3, 4, 1)
    d_w = np.empty((groups, height, channels, width, filters // groups), x.dtype)
    for k, l in np.ndindex(height, width):
        top, left = k * dilation[0], l * dilation[1]
        pixels = x[:, :, top : top + rows * stride[0] : stride[0], left : left + columns]
        pixels = pixels.reshape(groups, channels, rows, -1, piece).transpose(0, 2, 3, 1, 4)
        sums = [np.sum(pixels[:, i:j] @ g[:, i:j], axis=(1, 2)) for i, j in blocks]
        d_w[:, k, :, l] = np.sum(sums, axis=0)
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
def conv2d_images_general(g, w, shape, blocks, stride, padding, dilation, groups):
    """d_x[n, i, j, c] = the sum of w[f, c, k, l] g[n, i', j', f] over all windows i', j' that see the pixel.

    Rounded as in tensorgrad: the sums over f and k are products of matrices, in pieces; those over l follow.
    """
    filters, channels, height, width = w.shape
    batch, rows, length, _ = shape
    w = w.reshape(groups, -1, channels, height, width)[:, :, :, ::-1].transpose(0, 2, 4, 3, 1)
    w = w.reshape(groups, 1, 1, channels * width, -1)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    first = padding[0][0] - height + 1  # of the rows of g that the first row of x is seen by
    around = np.zeros((filters, rows + height - 1, *g.shape[2:]), g.dtype)
    some = slice(max(first, 0), min(rows + padding[0][0], g.shape[1]))
    around[:, some.start - first : some.stop - first] = g[:, some]
    seen = np.lib.stride_tricks.sliding_window_view(around, height, axis=1)
    seen = seen.reshape(groups, filters // groups, *seen.shape[1:]).transpose(0, 2, 5, 1, 3, 4)
    d_x = np.zeros((groups, channels, rows, length, batch), g.dtype)
    for top, bottom, columns in blocks:
        for left, right, piece in columns:
            block = seen[:, top:bottom, :, :, left:right].reshape(groups, bottom - top, w.shape[4], -1, piece)
            product = w @ block.swapaxes(2, 3)  # (groups, rows, pieces, C / groups * KW, piece)
            product = product.swapaxes(2, 3)
            product = product.reshape(groups, bottom - top, channels, width, right - left, batch)
            for l in range(width):
                windows, pixels = tap(l, left, right, length, stride[1], padding[1][0], dilation[1])
                d_x[:, :, top:bottom, pixels] += product[:, :, :, l, windows].swapaxes(1, 2)
    return d_x.reshape(-1, rows, length, batch).swapaxes(0, 3)
'''

IMAGES_BY_PATCH = '''
def conv2d_images_by_patch(g, w, shape, blocks, stride, padding, dilation, groups):
    """d_x[n, i, j, c] = the sum of w[f, c, k, l] g[n, i', j', f] over all windows i', j' that see the pixel.

    Rounded as in tensorgrad: the sums over f are products of matrices, in pieces; those over k, l follow.
    """
    filters, channels, height, width = w.shape
    batch, rows, columns, _ = shape
    w = w.reshape(groups, 1, filters // groups, -1).swapaxes(2, 3)
    g = np.ascontiguousarray(g.swapaxes(0, 3))  # (F, OH, OW, N)
    d_x = np.zeros((groups * channels, rows, columns, batch), g.dtype)
    for top, bottom, left, right, piece in blocks:
        part = g[:, top:bottom, left:right].reshape(groups, filters // groups, -1, piece)
        patches = (w @ part.swapaxes(1, 2)).swapaxes(1, 2)  # (groups, C / groups * KH * KW, pieces, piece)
        patches = patches.reshape(-1, height, width, bottom - top, right - left, batch)
        for k, l in np.ndindex(height, width):
            down, ys = tap(k, top, bottom, rows, stride[0], padding[0][0], dilation[0])
            across, xs = tap(l, left, right, columns, stride[1], padding[1][0], dilation[1])
            d_x[:, ys, xs] += patches[:, k, l, down, across]
    return d_x.swapaxes(0, 3)
'''
