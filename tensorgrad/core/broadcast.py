"""The few ops that the engine itself needs: identity, and broadcasting with its adjoint."""

from __future__ import annotations

import numpy as np

from tensorgrad.core.op import op
from tensorgrad.core.tensor import Array


@op(elementwise=True)
def identity(x: Array) -> Array:
    """The same values as a new node, from which a derivative can be taken.

    >>> tg.identity(3.0)
    3.0
    """
    return x


identity.defvjp(x=lambda g, out, x: g)


@op(numpy=np.broadcast_to)
def broadcast_to(x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """``x`` repeated along new and unit axes to ``shape``; see `numpy.broadcast_to`.

    >>> tg.broadcast_to(np.array([1.0, 2.0]), shape=(2, 2))
    array([[1., 2.],
           [1., 2.]])
    """
    return np.broadcast_to(x, shape)


@op
def sum_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """``x`` summed over the axes that broadcasting from ``shape`` added: the adjoint of `broadcast_to`.

    >>> tg.sum_to(np.ones((3, 2)), shape=(1, 2))
    array([[3., 3.]])
    """
    new = x.ndim - len(shape)
    if new < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[new:], strict=True)):
        raise ValueError(f"sum_to: {x.shape} is not a broadcast of {shape}")
    axes = tuple(range(new)) + tuple(i + new for i, n in enumerate(shape) if n == 1 != x.shape[i + new])
    return np.add.reduce(x, axis=axes).reshape(shape)  # np.sum without its wrapper, which costs as much


broadcast_to.defvjp(x=lambda g, out, x, shape: sum_to(g, shape=x.shape))
sum_to.defvjp(x=lambda g, out, x, shape: broadcast_to(g, shape=x.shape))
