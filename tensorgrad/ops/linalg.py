"""Products of matrices."""

from __future__ import annotations

import numpy as np

from tensorgrad.core import Array, differentiate, sum_to


def _left_vjp(g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 2:
        # (K, M) . (M, N) -> (K, N): OpenBLAS is up to 1.5 times as fast with the larger factor on the left,
        # and images that were flattened have their batch innermost again.
        return (y @ g.T).T
    # A vector counts as a matrix of one row (on the left) or one column (on the right).
    g = g.reshape((*g.shape, 1)) if y.ndim == 1 else g
    y = y.reshape((-1, 1)) if y.ndim == 1 else y
    if x.ndim == 1:
        g = g.reshape((*g.shape[:-1], 1, *g.shape[-1:]))
        return sum_to(g @ np.swapaxes(y, -1, -2), shape=(1, *x.shape)).reshape(x.shape)
    return sum_to(g @ np.swapaxes(y, -1, -2), shape=x.shape)


def _right_vjp(g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 2:
        return x.T @ g  # (K, N) . (N, M) -> (K, M)
    g = g.reshape((*g.shape, 1)) if y.ndim == 1 else g
    if x.ndim == 1:
        g = g.reshape((*g.shape[:-1], 1, *g.shape[-1:]))
        x = x.reshape((1, -1))
    if y.ndim == 1:
        return sum_to(np.swapaxes(x, -1, -2) @ g, shape=(*y.shape, 1)).reshape(y.shape)
    return sum_to(np.swapaxes(x, -1, -2) @ g, shape=y.shape)


matmul = differentiate(np.matmul, x=_left_vjp, y=_right_vjp)
# Of the rows and columns that matmul broadcasts, the formulas take care themselves.
matmul.elementwise = False
