"""Loops over elements in plain Python: what the oracles are made of."""

import numpy as np


def each(f):
    """The scalar function ``f`` for each element of the broadcast arguments."""

    def oracle(*args):
        args = [np.asarray(x) for x in args]
        shape = np.broadcast_shapes(*(x.shape for x in args))
        out = np.empty(shape)
        for place in np.ndindex(shape):
            out[place] = f(*(x[behind(x.shape, place)].item() for x in args))
        return out

    return oracle


def behind(shape, place):
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
        return out if keepdims else filled([n for i, n in enumerate(x.shape) if i not in axes], flat(out))

    return oracle


def flat(x):
    return [x[place].item() for place in np.ndindex(x.shape)]


def filled(shape, elements):
    out = np.empty(shape)
    for place, value in zip(np.ndindex(*shape), elements, strict=True):
        out[place] = value
    return out
