"""Cofactors, the derivatives of a determinant, right to every order at singular matrices too."""

from __future__ import annotations

from math import inf

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.ops.arrays import plain
from tensorgrad.ops.shape import reshape

#: How far the singular values of one part of a matrix lie apart, whose derivatives are taken by its inverse.
_GRADE = 100


def _t(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def cofactors(a: Array, out: Array = None) -> Array:
    """The signed determinants of ``a`` without row i and column j: what moves the determinant.

    Up to 3 by 3 as polynomials. Above that as ``det(a) inv(a)^T`` where that is to be trusted: in its m-th
    derivative terms cancel that are larger by the m-th power of the condition number.
    """
    n = a.shape[-1]
    if n < 2:
        return np.ones(a.shape, a.dtype)
    if n == 2:
        return a[..., ::-1, ::-1] * np.array([[1, -1], [-1, 1]], a.dtype)
    if n == 3:
        return np.cross(a[..., [1, 2, 0], :], a[..., [2, 0, 1], :])
    try:
        inverse = np.linalg.inv(a)
    except ValueError:  # one of them is singular
        return _cofactors_by_rank(a)
    out = np.linalg.det(a) if out is None else out
    values, other, size = plain(a), plain(inverse), abs(plain(out))
    condition = np.linalg.norm(values, 1, (-2, -1)) * np.linalg.norm(other, 1, (-2, -1))
    limit = n * _GRADE if isinstance(a, Tensor) else inf
    if np.any((condition > limit) | (size < np.finfo(a.dtype).tiny) | (size == inf)):
        return _cofactors_by_rank(a)
    return out[..., None, None] * _t(inverse)


def _cofactors_by_rank(a: Array) -> Array:
    """The cofactors of matrices of which some are singular, or nearly so: all of one rank together."""
    n = a.shape[-1]
    stack = reshape(a, shape=(-1, n, n))
    values = plain(stack)
    u, s, vt = np.linalg.svd(np.where(np.isfinite(values).all((-2, -1), keepdims=True), values, 0))
    ranks = np.count_nonzero(s > s[:, :1] / _GRADE, axis=-1)
    order = np.argsort(ranks, kind="stable")
    parts = [ranks == k for k in np.unique(ranks)]
    found = [_cofactors_in_parts(stack[i], u[i], s[i], vt[i], int(ranks[i][0])) for i in parts]
    return reshape(np.concatenate(found)[np.argsort(order)], shape=a.shape)


def _cofactors_in_parts(a: Array, u: Array, s: Array, vt: Array, rank: int) -> Array:
    """The cofactors of matrices whose first ``rank`` singular values are of one size, the others smaller.

    In the basis of its singular vectors such a matrix has four parts, of which the first has an inverse, and
    det(a) = det(p) det(t - r p^-1 q): each factor is differentiated by itself. A power of two keeps the
    determinants in range.
    """
    if rank == 0:  # zeros, or not finite
        return _minors(a)
    scale = np.exp2(np.floor(np.log2(s[:, :1, None])))
    b = _t(u) @ (a / scale) @ _t(vt)
    p, q, r, t = b[:, :rank, :rank], b[:, :rank, rank:], b[:, rank:, :rank], b[:, rank:, rank:]
    h, size = np.linalg.inv(p), np.linalg.det(p)[..., None, None]
    rest = t - r @ h @ q
    c, hq, rh = cofactors(rest), h @ q, r @ h
    blocks = [
        [np.linalg.det(rest)[..., None, None] * _t(h) + _t(rh) @ c @ _t(hq), -_t(rh) @ c],
        [-c @ _t(hq), c],
    ]
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))[:, None, None]
    found = np.concatenate([np.concatenate(row, axis=-1) for row in blocks], axis=-2)
    return sign * scale ** (a.shape[-1] - 1) * (u @ (size * found) @ vt)


def _minors(a: Array) -> Array:
    """The signed determinants of ``a`` without row i and column j, one by one: these cost n^5."""
    n = a.shape[-1]
    others = np.array([[k for k in range(n) if k != i] for i in range(n)])
    minors = a[..., others[:, None, :, None], others[None, :, None, :]]  # (..., n, n, n - 1, n - 1)
    signs = (-1) ** np.add.outer(np.arange(n), np.arange(n))
    return np.linalg.det(minors) * signs.astype(a.dtype)
