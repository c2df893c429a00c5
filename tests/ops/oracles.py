"""What each op should compute, from its definition: loops over elements in plain Python."""

import math
import operator

import numpy as np
import oracles_images
import oracles_losses
import oracles_numpy_a
import oracles_numpy_b


def elementwise(f):
    """The scalar function ``f`` for each element of the broadcast arguments."""

    def oracle(*args):
        args = [np.asarray(x) for x in args]
        shape = np.broadcast_shapes(*(x.shape for x in args))
        out = np.empty(shape)
        for place in np.ndindex(shape):
            out[place] = f(*(x[_behind(x.shape, place)].item() for x in args))
        return out

    return oracle


def _behind(shape, place):
    """The place in an array of ``shape`` that broadcasting repeats at ``place``."""
    tail = place[len(place) - len(shape) :]
    return tuple(0 if n == 1 else i for n, i in zip(shape, tail, strict=True))


def reduction(f):
    """The function ``f`` of the list of the elements that share a place once ``axis`` is gone."""

    def oracle(x, *, axis=None, keepdims=False):
        axes = range(x.ndim) if axis is None else {i % x.ndim for i in np.atleast_1d(axis)} if x.ndim else ()
        lists = {}
        for place in np.ndindex(x.shape):
            reduced = tuple(0 if i in axes else n for i, n in enumerate(place))
            lists.setdefault(reduced, []).append(x[place].item())
        out = np.empty([1 if i in axes else n for i, n in enumerate(x.shape)])
        for place, elements in lists.items():
            out[place] = f(elements)
        return out if keepdims else _filled([n for i, n in enumerate(x.shape) if i not in axes], _flat(out))

    return oracle


def _flat(x):
    return [x[place].item() for place in np.ndindex(x.shape)]


def _filled(shape, elements):
    out = np.empty(shape)
    for place, value in zip(np.ndindex(*shape), elements, strict=True):
        out[place] = value
    return out


def softmax(x, *, axis=-1):
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        line = list(place)
        line[axis] = slice(None)
        out[place] = math.exp(x[place]) / math.fsum(math.exp(v) for v in x[tuple(line)])
    return out


def broadcast_to(x, *, shape):
    shape = (shape,) if isinstance(shape, int) else shape
    return _filled(shape, [x[_behind(x.shape, place)] for place in np.ndindex(shape)])


def sum_to(x, *, shape):
    out = np.zeros(shape)
    for place in np.ndindex(x.shape):
        out[_behind(shape, place)] += x[place]
    return out


def reshape(x, *, shape):
    shape = [shape] if isinstance(shape, int) else list(shape)
    if -1 in shape:
        shape[shape.index(-1)] = x.size // -math.prod(shape)
    return _filled(shape, _flat(x))


def transpose(x, *, axes=None):
    axes = [i % x.ndim for i in axes] if axes else range(x.ndim)[::-1]
    out = np.empty([x.shape[i] for i in axes])
    for place in np.ndindex(x.shape):
        out[tuple(place[i] for i in axes)] = x[place]
    return out


def swapaxes(x, *, axis1, axis2):
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(x, axes=axes)


def _read(shape, index):
    """The places that an index reads, in order, and the shape it gives; its arrays are 1d, side by side."""
    parts = list(index) if isinstance(index, tuple) else [index]
    masks = [np.asarray(p) for p in parts if isinstance(p, (list, np.ndarray))]
    taken = sum(p is not None and p is not ... for p in parts) + sum(
        m.ndim - 1 for m in masks if m.dtype == bool
    )
    rest = [slice(None)] * (len(shape) - taken)
    at = next((i for i, p in enumerate(parts) if p is ...), len(parts))
    parts[at : at + 1] = rest
    groups, lengths, axis, zipped = [], [], 0, None
    for part in parts:
        if part is None:
            lengths.append(1)
        elif isinstance(part, int):
            groups.append([(part % shape[axis],)])
            axis += 1
        elif isinstance(part, slice):
            groups.append([(i,) for i in range(shape[axis])[part]])
            lengths.append(len(groups[-1]))
            axis += 1
        else:
            part = np.asarray(part)
            if part.dtype == bool:
                places = [place for place in np.ndindex(part.shape) if part[place]]
            else:
                places = [(int(i) % shape[axis],) for i in part]
            axis += part.ndim
            if zipped is None:  # the first array: an axis of the result
                zipped = len(groups)
                groups.append(places)
                lengths.append(len(places))
            else:
                groups[zipped] = [a + b for a, b in zip(groups[zipped], places, strict=True)]
    read = [()]
    for group in groups:
        read = [place + more for place in read for more in group]
    return read, lengths


def getitem(x, *, index):
    read, shape = _read(x.shape, index)
    return _filled(shape, [x[place] for place in read])


def scatter_add(x, *, index, shape):
    out = np.zeros(shape)
    read, _ = _read(shape, index)
    for place, value in zip(read, _flat(x), strict=True):
        out[place] += value
    return out


def matmul(x, y):
    """Each element a sum of products; a vector is a matrix of one row (left) or one column (right)."""
    a = x if x.ndim > 1 else _filled((1, *x.shape), _flat(x))
    b = y if y.ndim > 1 else _filled((*y.shape, 1), _flat(y))
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.empty((*batch, a.shape[-2], b.shape[-1]))
    for *place, i, j in np.ndindex(out.shape):
        left, right = _behind(a.shape[:-2], place), _behind(b.shape[:-2], place)
        out[(*place, i, j)] = math.fsum(
            a[(*map(int, left), i, k)] * b[(*map(int, right), k, j)] for k in range(a.shape[-1])
        )
    kept = batch + ((a.shape[-2],) if x.ndim > 1 else ()) + ((b.shape[-1],) if y.ndim > 1 else ())
    return _filled(kept, _flat(out))


def variance(x, *, axis=None, ddof=0, keepdims=False):
    def of_list(elements):
        mean = math.fsum(elements) / len(elements)
        return math.fsum((v - mean) ** 2 for v in elements) / (len(elements) - ddof)

    return reduction(of_list)(x, axis=axis, keepdims=keepdims)


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


#: name of the op: its oracle
ORACLES = {
    "identity": elementwise(lambda x: x),
    "negative": elementwise(operator.neg),
    "exp": elementwise(math.exp),
    "log": elementwise(math.log),
    "sqrt": elementwise(math.sqrt),
    "tanh": elementwise(math.tanh),
    "sigmoid": elementwise(lambda x: 1 / (1 + math.exp(-x))),
    "relu": elementwise(lambda x: x if x > 0 else 0.0),
    "leaky_relu": lambda x, slope=0.01: elementwise(lambda v: v if v > 0 else slope * v)(x),
    "elu": lambda x, alpha=1.0: elementwise(lambda v: v if v > 0 else alpha * (math.exp(v) - 1))(x),
    "softplus": elementwise(lambda x: math.log(1 + math.exp(x))),
    "silu": elementwise(lambda x: x / (1 + math.exp(-x))),
    "gelu": lambda x, approximate="none": elementwise(gelu_tanh if approximate == "tanh" else gelu)(x),
    "erf": elementwise(math.erf),
    "erfc": elementwise(math.erfc),
    "astype": lambda x, dtype: elementwise({"float64": float}[dtype])(x),
    "add": elementwise(operator.add),
    "subtract": elementwise(operator.sub),
    "multiply": elementwise(operator.mul),
    "divide": elementwise(operator.truediv),
    "power": elementwise(math.pow),
    "maximum": elementwise(lambda x, y: x if x > y else y),
    "where": elementwise(lambda condition, x, y: x if condition else y),
    "gate": elementwise(lambda x, condition: x if condition else 0.0),
    "sum": reduction(math.fsum),
    "mean": reduction(lambda elements: math.fsum(elements) / len(elements)),
    "var": variance,
    "normalize": elementwise(lambda x, mean, gain, shift: (x - mean) * gain + shift),
    "max": reduction(lambda elements: sorted(elements)[-1]),
    "softmax": softmax,
    "broadcast_to": broadcast_to,
    "sum_to": sum_to,
    "reshape": reshape,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "getitem": getitem,
    "scatter_add": scatter_add,
    "matmul": matmul,
    **oracles_images.ORACLES,
    **oracles_losses.ORACLES,
    **oracles_numpy_a.ORACLES,
    **oracles_numpy_b.ORACLES,
}
