"""Linear algebra, under the names of `numpy.linalg`; `factorizations` have a file of their own.

Every function takes stacks of matrices where NumPy does, and is differentiable to any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tensorgrad.core import Array, implements, nondifferentiable, op, sum_to
from tensorgrad.ops import products, rearranging
from tensorgrad.ops.factorizations import cholesky as cholesky
from tensorgrad.ops.factorizations import eigh as eigh
from tensorgrad.ops.factorizations import eigvalsh as eigvalsh
from tensorgrad.ops.factorizations import qr as qr
from tensorgrad.ops.factorizations import slogdet as slogdet
from tensorgrad.ops.factorizations import svd as svd
from tensorgrad.ops.factorizations import svdvals as svdvals
from tensorgrad.ops.norms import matrix_norm as matrix_norm
from tensorgrad.ops.norms import norm as norm
from tensorgrad.ops.norms import vector_norm as vector_norm
from tensorgrad.ops.shape import Axes, moveaxis, reshape
from tensorgrad.ops.shape import matrix_transpose as matrix_transpose

nondifferentiable(np.linalg.matrix_rank)


def _t(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


# Linear systems


@op
def solve_(a: Array, b: Array) -> Array:
    """The op under `solve`, for a ``b`` of columns: X with a X = b.

    >>> tg.ops.linalg.solve_(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[2.0], [2.0]]))
    array([[1. ],
           [0.5]])
    """
    return np.linalg.solve(a, b)


solve_.defvjp(
    a=lambda g, out, a, b: sum_to(-np.linalg.solve(_t(a), g) @ _t(out), shape=a.shape),
    b=lambda g, out, a, b: sum_to(np.linalg.solve(_t(a), g), shape=b.shape),
)


@implements(np.linalg.solve)
def solve(a: Array, b: Array) -> Array:
    """The x of a x = b, for one vector ``b`` or for columns; see `numpy.linalg.solve`.

    >>> tg.linalg.solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([2.0, 2.0]))
    array([1. , 0.5])
    """
    return solve_(a, reshape(b, shape=(-1, 1)))[..., 0] if np.ndim(b) == 1 else solve_(a, b)


@op(numpy=np.linalg.inv)
def inv(a: Array) -> Array:
    """Inverse of square matrices; see `numpy.linalg.inv`.

    >>> tg.linalg.inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return np.linalg.inv(a)


inv.defvjp(a=lambda g, out, a: -_t(out) @ g @ _t(out))


@op(numpy=np.linalg.pinv)
def pinv(a: Array, *, rcond: Any = None, rtol: Any = None) -> Array:
    """Pseudo-inverse; see `numpy.linalg.pinv`. The derivative takes the rank for constant.

    The formula is from Golub and Pereyra (1973).

    >>> tg.linalg.pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    return np.linalg.pinv(a, rcond if rtol is None else rtol)


def _pinv_vjp(g: Array, out: Array, a: Array, rcond: Any, rtol: Any) -> Array:
    p, q, h = out, _t(out), _t(g)
    left, right = h @ p @ q, q @ p @ h
    return left - a @ p @ left + right - right @ p @ a - q @ g @ q


pinv.defvjp(a=_pinv_vjp)


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Array, b: Array, axes: Axes | None = None) -> Array:
    """The x with tensordot(a, x, x.ndim) = b; see `numpy.linalg.tensorsolve`."""
    if axes is not None:
        last = (axes,) if isinstance(axes, int) else axes
        a = moveaxis(a, last, tuple(range(-len(last), 0)))
    shape = np.shape(a)[np.ndim(b) :]
    return reshape(solve(reshape(a, shape=(-1, prod(shape))), np.ravel(b)), shape=shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Array, ind: int = 2) -> Array:
    """The inverse with respect to `tensordot` over ``ind`` axes; see `numpy.linalg.tensorinv`."""
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    first, last = np.shape(a)[:ind], np.shape(a)[ind:]
    return reshape(inv(reshape(a, shape=(prod(first), prod(last)))), shape=last + first)


# Determinants


@op(numpy=np.linalg.det)
def det(a: Array) -> Array:
    """Determinant of square matrices; see `numpy.linalg.det`.

    >>> print(tg.linalg.det(np.array([[2.0, 1.0], [0.0, 4.0]])))
    8.0
    """
    return np.linalg.det(a)


def _det_vjp(g: Array, out: Array, a: Array) -> Array:
    g = g[..., None, None]
    try:
        return g * (out[..., None, None] * _t(np.linalg.inv(a)))
    except ValueError:  # singular, where the matrix has no inverse but still has cofactors
        return g * _cofactors(a)


def _cofactors(a: Array) -> Array:
    """The signed determinants of ``a`` without row i and column j: these cost n^5, an inverse n^3."""
    n = a.shape[-1]
    if n == 1:
        return np.ones(a.shape, a.dtype)
    others = np.array([[k for k in range(n) if k != i] for i in range(n)])
    minors = a[..., others[:, None, :, None], others[None, :, None, :]]  # (..., n, n, n - 1, n - 1)
    signs = (-1) ** np.add.outer(np.arange(n), np.arange(n))
    return np.linalg.det(minors) * signs.astype(a.dtype)


det.defvjp(a=_det_vjp)


@implements(np.linalg.cond)
def cond(x: Array, p: Any = None) -> Array:
    """Condition number; see `numpy.linalg.cond`."""
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


# Products


@implements(np.linalg.matrix_power)
def matrix_power(a: Array, n: int) -> Array:
    """The ``n``-th power of square matrices, by squaring; see `numpy.linalg.matrix_power`.

    >>> tg.linalg.matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 5)
    array([[1., 5.],
           [0., 1.]])
    """
    if n < 0:
        return matrix_power(inv(a), -n)
    if n == 0:
        return np.where(True, np.eye(np.shape(a)[-1], dtype=a.dtype), a)
    if n == 1:
        return a
    half = matrix_power(a, n // 2)
    return half @ half @ a if n % 2 else half @ half


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Array]) -> Array:
    """The product of several matrices, in an order that costs little; see `numpy.linalg.multi_dot`.

    >>> tg.linalg.multi_dot([np.ones((2, 3)), np.ones((3, 4)), np.ones(4)])
    array([12., 12.])
    """
    if len(arrays) < 2:
        raise ValueError(f"multi_dot: expected at least two arrays, got {len(arrays)}")
    rest = list(arrays)
    while len(rest) > 1:  # the longest axis is summed first
        i = max(range(len(rest) - 1), key=lambda i: np.shape(rest[i])[-1])
        rest[i : i + 2] = [np.matmul(rest[i], rest[i + 1])]
    return rest[0]


# NumPy's other names


@implements(np.linalg.matmul)
def matmul(x1: Array, x2: Array, /) -> Array:
    """Product of matrices; see `numpy.linalg.matmul`."""
    return np.matmul(x1, x2)


@implements(np.linalg.outer)
def outer(x1: Array, x2: Array, /) -> Array:
    """All products of an element of each; see `numpy.linalg.outer`."""
    return products.outer(x1, x2)


@implements(np.linalg.tensordot)
def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Sum over pairs of axes; see `numpy.linalg.tensordot`."""
    return products.tensordot(x1, x2, axes)


@implements(np.linalg.vecdot)
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Sum of products along an axis; see `numpy.linalg.vecdot`."""
    return products.vecdot(x1, x2, axis=axis)


@implements(np.linalg.cross)
def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Vector product in space; see `numpy.linalg.cross`."""
    return products.cross(x1, x2, axis=axis)


@implements(np.linalg.diagonal)
def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """The diagonal of the last two axes; see `numpy.linalg.diagonal`."""
    return rearranging.diagonal(x, offset, -2, -1)


@implements(np.linalg.trace)
def trace(x: Array, /, *, offset: int = 0) -> Array:
    """The trace over the last two axes; see `numpy.linalg.trace`."""
    return rearranging.trace(x, offset, -2, -1)
