"""What ops of shape, indexing and joining should compute: each element put where it belongs."""

import math

import numpy as np

from oracles.loops import behind, filled, flat


def broadcast_to(x, *, shape):
    shape = (shape,) if isinstance(shape, int) else shape
    return filled(shape, [x[behind(x.shape, place)] for place in np.ndindex(shape)])


def sum_to(x, *, shape):
    out = np.zeros(shape)
    for place in np.ndindex(x.shape):
        out[behind(shape, place)] += x[place]
    return out


def reshape(x, *, shape, order="C"):
    shape = [shape] if isinstance(shape, int) else list(shape)
    if -1 in shape:
        shape[shape.index(-1)] = x.size // -math.prod(shape)

    def places(shape):
        if order == "C":
            return list(np.ndindex(*shape))
        return [place[::-1] for place in np.ndindex(*shape[::-1])]

    out = np.empty(shape)
    for place, source in zip(places(shape), places(x.shape), strict=True):
        out[place] = x[source]
    return out


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


def read_places(shape, index):
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
    read, shape = read_places(x.shape, index)
    return filled(shape, [x[place] for place in read])


def scatter_add(x, *, index, shape):
    out = np.zeros(shape)
    read, _ = read_places(shape, index)
    for place, value in zip(read, flat(x), strict=True):
        out[place] += value
    return out


def roll(x, *, shift, axis=None):
    out = np.empty(x.shape)
    if axis is None:
        places = list(np.ndindex(x.shape))
        for i, place in enumerate(places):
            out[places[(i + shift) % x.size]] = x[place]
        return out
    axes = axis if isinstance(axis, tuple) else (axis,)
    shifts = shift if isinstance(shift, tuple) else (shift,) * len(axes)
    for place in np.ndindex(x.shape):
        moved = list(place)
        for s, k in zip(shifts, axes, strict=True):
            moved[k] = (moved[k] + s) % x.shape[k]
        out[tuple(moved)] = x[place]
    return out


def concatenate(*arrays, axis=0):
    axis %= arrays[0].ndim
    shape = list(arrays[0].shape)
    shape[axis] = sum(x.shape[axis] for x in arrays)
    out, before = np.empty(shape), 0
    for x in arrays:
        for place in np.ndindex(x.shape):
            out[(*place[:axis], place[axis] + before, *place[axis + 1 :])] = x[place]
        before += x.shape[axis]
    return out


def stack(*arrays, axis=0):
    axis %= arrays[0].ndim + 1
    shape = arrays[0].shape
    out = np.empty((*shape[:axis], len(arrays), *shape[axis:]))
    for i, x in enumerate(arrays):
        for place in np.ndindex(shape):
            out[(*place[:axis], i, *place[axis:])] = x[place]
    return out


#: The oracle of each op, by its name.
ORACLES = {
    "broadcast_to": broadcast_to,
    "sum_to": sum_to,
    "reshape": reshape,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "getitem": getitem,
    "scatter_add": scatter_add,
    "roll": roll,
    "concatenate_": concatenate,
    "stack_": stack,
}
