"""Linear algebra, under the names of `numpy.linalg`: systems, determinants, factorizations, norms, products.

Every function takes stacks of matrices where NumPy does, and is differentiable to any order. An op has one
output, so a factorization is an op (its name ends in an underscore) whose factors lie in one array, from
which the function of NumPy's name reads them.

A function of a symmetric matrix reads one triangle of it, as NumPy's does, and gives that triangle the
gradient; the other has gradient 0. Along symmetric matrices this derivative is that of the symmetric
gradient, which other libraries give.

Where eigenvalues or singular values coincide, their vectors are not functions of the matrix: a derivative
that needs them raises `numpy.linalg.LinAlgError`. The values alone have a first derivative even there,
the one along the vectors that LAPACK chose, which is right for symmetric functions of the values, such as
their sum. Where a norm's derivative has a choice it is a subgradient, at 0 it is 0.

The formulas are from Giles, Collected matrix derivative results for forward and reverse mode (2008);
Murray, Differentiation of the Cholesky decomposition (2016); Wan and Zhang, Automatic differentiation for
complex valued SVD (2019); Liao et al., Differentiable programming tensor networks (2019), for qr.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from operator import index
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import Array, Tensor, implements, nondifferentiable, op, sum_to
from tensorgrad.ops import products, rearranging, shape
from tensorgrad.ops.arrays import as_array, in_floats, plain
from tensorgrad.ops.cofactors import cofactors
from tensorgrad.ops.shape import Axes, moveaxis, reshape, transpose

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd",
    "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]  # fmt: skip

nondifferentiable(np.linalg.matrix_rank)

# NumPy's named tuples of results
_Eigh, _Slogdet, _QR, _SVD = (
    type(f(np.eye(1))) for f in (np.linalg.eigh, np.linalg.slogdet, np.linalg.qr, np.linalg.svd)
)


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
def pinv(a: Array, *, rcond: Any = None, rtol: Any = ...) -> Array:
    """Pseudo-inverse; see `numpy.linalg.pinv`. The derivative takes the rank for constant.

    The formula is from Golub and Pereyra (1973).

    >>> tg.linalg.pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    return np.linalg.pinv(a, rcond) if rtol is ... else np.linalg.pinv(a, rcond, rtol=rtol)


def _pinv_vjp(g: Array, out: Array, a: Array, rcond: Any, rtol: Any) -> Array:
    p, q, h = out, _t(out), _t(g)
    residual = a - a @ p @ a
    if np.any(abs(residual) > max(a.shape) ** 2 * np.finfo(a.dtype).eps * np.max(abs(a), initial=0)):
        return _truncated_pinv_vjp(h, svd_(a), p, a)
    left, right = h @ p @ q, q @ p @ h
    return left - a @ p @ left + right - right @ p @ a - q @ g @ q


def _truncated_pinv_vjp(h: Array, factors: Array, p: Array, a: Array) -> Array:
    """Where singular values were cut off that are not 0: by the divided differences of f(s) = 1/s, or 0."""
    m, n = a.shape[-2:]
    u, s, v = factors[..., :m, :], factors[..., m, :], factors[..., m + 1 :, :]
    rank = np.rint(np.trace(plain(a) @ plain(p), axis1=-2, axis2=-1))
    kept = np.arange(min(m, n)) < rank[..., None]
    f = np.where(kept, 1 / np.where(kept, s, 1), 0)
    x, y = f[..., :, None], f[..., None, :]
    mixed = kept[..., :, None] ^ kept[..., None, :]
    even = np.where(mixed, (y - x) / np.where(mixed, _differences(s), 1), -x * y)
    odd = np.where(mixed, (x + y) / np.where(mixed, s[..., None, :] + s[..., :, None], 1), x * y)
    e = _t(u) @ h @ v
    gx = u @ (even * (e + _t(e)) + odd * (e - _t(e))) @ _t(v) / 2
    if m > n:
        gx = gx + (h - u @ (_t(u) @ h)) @ (v * y * y) @ _t(v)
    if n > m:
        gx = gx + (u * y * y) @ _t(u) @ (h - (h @ v) @ _t(v))
    return gx


pinv.defvjp(a=_pinv_vjp)


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Array, b: Array, axes: Sequence[int] | None = None) -> Array:
    """The x with tensordot(a, x, x.ndim) = b; see `numpy.linalg.tensorsolve`."""
    ndim, rank = np.ndim(a), np.ndim(b)
    if axes is not None:
        order = list(range(ndim))
        for axis in axes:
            order.append(order.pop(order.index(axis)))
        a = transpose(a, axes=tuple(order))
    shape = np.shape(a)[-(ndim - rank) :]
    if np.size(a) != prod(shape) ** 2:
        raise np.linalg.LinAlgError(f"tensorsolve: expected as many unknowns as equations, got {np.shape(a)}")
    return reshape(solve(reshape(a, shape=(prod(shape), prod(shape))), np.ravel(b)), shape=shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Array, ind: int = 2) -> Array:
    """The inverse with respect to `tensordot` over ``ind`` axes; see `numpy.linalg.tensorinv`."""
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    first, last = np.shape(a)[:ind], np.shape(a)[ind:]
    if not np.ndim(a):
        raise TypeError("tensorinv: expected at least one axis, got shape ()")
    return reshape(inv(reshape(a, shape=(prod(last), -1))), shape=last + first)


# Determinants


@op(numpy=np.linalg.det)
def det(a: Array) -> Array:
    """Determinant of square matrices; see `numpy.linalg.det`.

    >>> print(tg.linalg.det(np.array([[2.0, 1.0], [0.0, 4.0]])))
    8.0
    """
    return np.linalg.det(a)


def _det_vjp(g: Array, out: Array, a: Array) -> Array:
    return g[..., None, None] * cofactors(a, out)


det.defvjp(a=_det_vjp)


@op
def slogdet_(x: Array) -> Array:
    """The op under `slogdet`: sign and logarithm side by side.

    >>> tg.ops.linalg.slogdet_(np.array([[1.0, 0.0], [0.0, -1.0]]))
    array([-1.,  0.])
    """
    return np.stack(np.linalg.slogdet(x), axis=-1)


slogdet_.defvjp(x=lambda g, out, x: g[..., 1, None, None] * _t(np.linalg.inv(x)))


@implements(np.linalg.slogdet)
def slogdet(a: Array) -> Any:
    """Sign and logarithm of the absolute value of the determinant; see `numpy.linalg.slogdet`.

    The gradient of a singular matrix raises `numpy.linalg.LinAlgError`.

    >>> tg.grad(lambda x: tg.linalg.slogdet(x).logabsdet)(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    out = slogdet_(a)
    return _Slogdet(out[..., 0], out[..., 1])  # type: ignore[call-arg, arg-type]


# Factorizations


def _lower(x: Array) -> Array:
    """The lower triangle of a matrix, with half of its diagonal."""
    n = x.shape[-1]
    return x * (np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype))


def _diagonal(x: Array) -> Array:
    """Vectors as diagonal matrices."""
    return x[..., None] * np.eye(x.shape[-1], dtype=x.dtype)


@op
def cholesky_(x: Array) -> Array:
    """The op under `cholesky`: the lower factor, from the lower triangle.

    >>> tg.ops.linalg.cholesky_(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[2., 0.],
           [1., 2.]])
    """
    return np.linalg.cholesky(x)


def _cholesky_vjp(g: Array, out: Array, x: Array) -> Array:
    # S = L^-T lower(L^T g) L^-1
    left = np.linalg.solve(_t(out), _lower(_t(out) @ g))
    s = np.linalg.solve(_t(out), _t(left))
    return _lower(s + _t(s))


cholesky_.defvjp(x=_cholesky_vjp)


@implements(np.linalg.cholesky)
def cholesky(a: Array, /, *, upper: bool = False) -> Array:
    """The L of a = L L^T, read from the lower triangle, or the U of a = U^T U, from the upper.

    See `numpy.linalg.cholesky`. The other triangle has gradient 0.

    >>> tg.grad(lambda x: tg.linalg.cholesky(x)[1, 1])(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[ 0.0625,  0.    ],
           [-0.25  ,  0.25  ]])
    """
    return _t(cholesky_(_t(a))) if upper else cholesky_(a)


def _reciprocal(op: str, gaps: Array, largest: Array, *cotangents: Array, besides: Any = False) -> Array:
    """1 / gaps, or 0 where values coincide to within rounding: then no cotangent may need it.

    Nobody asks about the gaps ``besides``. A cotangent that is a Tensor could be moved away from 0.
    """
    values = plain(gaps)
    rounding = values.shape[-1] * np.finfo(values.dtype).eps * largest.max(axis=-1, initial=0)
    none = abs(values) <= rounding.reshape(rounding.shape + (1,) * (values.ndim - rounding.ndim))
    if (none & ~np.asarray(besides)).any() and any(isinstance(g, Tensor) or g.any() for g in cotangents):
        raise np.linalg.LinAlgError(
            f"{op}: values coincide (or are 0), so their vectors are no functions of the matrix and have no "
            "derivative; nor has the gradient of the values"
        )
    return np.where(none, 0, 1 / np.where(none, 1, gaps))


def _differences(x: Array) -> Array:
    """The matrix of x_j - x_i."""
    return x[..., None, :] - x[..., :, None]


def _magnitudes(x: Array) -> Any:
    return abs(plain(x))


@op
def eigh_(x: Array, *, UPLO: Literal["L", "U"] = "L") -> Array:  # noqa: N803 - NumPy's name
    """The op under `eigh`: one row of eigenvalues above the rows of the matrix of eigenvectors.

    >>> abs(tg.ops.linalg.eigh_(np.array([[2.0, 0.0], [0.0, 1.0]])))
    array([[1., 2.],
           [0., 1.],
           [1., 0.]])
    """
    values, vectors = np.linalg.eigh(x, UPLO)
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def _eigh_vjp(g: Array, out: Array, x: Array, UPLO: Literal["L", "U"]) -> Array:  # noqa: N803
    w, v, gw, gv = out[..., 0, :], out[..., 1:, :], g[..., 0, :], g[..., 1:, :]
    gaps = _reciprocal("eigh", _differences(w), _magnitudes(w), gv, besides=np.eye(x.shape[-1], dtype=bool))
    s = v @ (_t(v) @ gv * gaps + _diagonal(gw)) @ _t(v)
    lower = _lower(s + _t(s))
    return lower if UPLO in "Ll" else _t(lower)


eigh_.defvjp(x=_eigh_vjp)


@implements(np.linalg.eigh)
def eigh(a: Array, UPLO: Literal["L", "U"] = "L") -> Any:  # noqa: N803
    """Eigenvalues, ascending, and orthonormal eigenvectors of a symmetric matrix; see `numpy.linalg.eigh`.

    The triangle that ``UPLO`` names is read, and receives the gradient.

    Raises
    ------
    numpy.linalg.LinAlgError
        In backward, if eigenvalues coincide and the derivative of their eigenvectors is needed.

    >>> tg.grad(lambda x: tg.linalg.eigh(x).eigenvalues[0])(np.array([[2.0, 0.0], [0.0, 1.0]]))
    array([[0., 0.],
           [0., 1.]])
    """
    out = eigh_(a, UPLO=UPLO)
    return _Eigh(out[..., 0, :], out[..., 1:, :])  # type: ignore[call-arg, arg-type]


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Array, UPLO: Literal["L", "U"] = "L") -> Array:  # noqa: N803
    """Eigenvalues of a symmetric matrix, as in `eigh`; see `numpy.linalg.eigvalsh`."""
    return eigh_(a, UPLO=UPLO)[..., 0, :]


@op
def svd_(x: Array) -> Array:
    """The op under `svd`: the rows of U, one row of singular values, and the rows of V.

    >>> abs(tg.ops.linalg.svd_(np.array([[0.0, 2.0], [3.0, 0.0]])))
    array([[0., 1.],
           [1., 0.],
           [3., 2.],
           [1., 0.],
           [0., 1.]])
    """
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], _t(vt)], axis=-2)


def _svd_vjp(g: Array, out: Array, x: Array) -> Array:
    m, n = x.shape[-2:]
    u, s, v = out[..., :m, :], out[..., m, :], out[..., m + 1 :, :]
    gu, gs, gv = g[..., :m, :], g[..., m, :], g[..., m + 1 :, :]
    sums = s[..., None, :] + s[..., :, None]
    gaps = _reciprocal("svd", _differences(s), _magnitudes(s), gu, gv, besides=np.eye(min(m, n), dtype=bool))
    gaps = gaps / np.where(sums == 0, 1, sums)  # 1 / (s_j^2 - s_i^2)
    of_u, of_v = gaps * (_t(u) @ gu), gaps * (_t(v) @ gv)
    inner = (of_u + _t(of_u)) * s[..., None, :] + s[..., :, None] * (of_v + _t(of_v)) + _diagonal(gs)
    gx = u @ inner @ _t(v)
    if m > n:  # what moves U out of the space that its columns span
        w = gu * _reciprocal("svd", s, _magnitudes(s), gu)[..., None, :]
        gx = gx + (w - u @ (_t(u) @ w)) @ _t(v)
    if n > m:
        w = gv * _reciprocal("svd", s, _magnitudes(s), gv)[..., None, :]
        gx = gx + u @ _t(w - v @ (_t(v) @ w))
    return gx


svd_.defvjp(x=_svd_vjp)


@implements(np.linalg.svd)
def svd(a: Array, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values (descending) and V^T; see `numpy.linalg.svd`.

    Raises
    ------
    TypeError
        If ``a`` is not square and ``full_matrices`` is true: the columns beyond the first min(M, N) are no
        functions of ``a``.
    numpy.linalg.LinAlgError
        In backward, if singular values coincide (or are 0, unless ``a`` is square) and the derivative of
        their vectors is needed.

    >>> x = np.array([[0.0, 2.0], [3.0, 0.0]])
    >>> tg.grad(lambda x: tg.linalg.svd(x).S[0])(x)
    array([[0., 0.],
           [1., 0.]])
    """
    if not compute_uv:
        return svdvals(a)
    m, n = np.shape(a)[-2:]
    if full_matrices and m != n:
        raise TypeError(
            f"svd: full_matrices=True has no derivative for shape {np.shape(a)}; pass full_matrices=False"
        )
    out = svd_(a)
    return _SVD(out[..., :m, :], out[..., m, :], _t(out[..., m + 1 :, :]))  # type: ignore[call-arg, arg-type]


@implements(np.linalg.svdvals)
def svdvals(x: Array, /) -> Array:
    """The singular values, descending; see `numpy.linalg.svdvals`."""
    return svd_(x)[..., np.shape(x)[-2], :]


@op
def qr_(x: Array) -> Array:
    """The op under `qr`, for matrices no wider than high: the rows of Q, then those of R.

    >>> abs(tg.ops.linalg.qr_(np.array([[3.0], [4.0]])))
    array([[0.6],
           [0.8],
           [5. ]])
    """
    return np.concatenate(np.linalg.qr(x), axis=-2)


def _qr_vjp(g: Array, out: Array, x: Array) -> Array:
    m = x.shape[-2]
    q, r, gq, gr = out[..., :m, :], out[..., m:, :], g[..., :m, :], g[..., m:, :]
    sizes = _magnitudes(r).diagonal(axis1=-2, axis2=-1)
    if (sizes <= m * np.finfo(sizes.dtype).eps * sizes.max(axis=-1, keepdims=True, initial=0)).any():
        raise np.linalg.LinAlgError(
            "the vjp of qr: columns are linearly dependent, so Q is no function of the matrix"
        )
    lower = _lower(r @ _t(gr) - _t(gq) @ q)
    return _t(np.linalg.solve(r, _t(gq + q @ (lower + _t(lower)))))


qr_.defvjp(x=_qr_vjp)


@implements(np.linalg.qr)
def qr(a: Array, mode: Literal["reduced", "complete", "r"] = "reduced") -> Any:
    """Q with orthonormal columns and upper triangular R; see `numpy.linalg.qr`.

    Raises
    ------
    TypeError
        If ``mode`` is "raw", or "complete" for a matrix higher than wide: the columns beyond the first
        min(M, N) are no functions of ``a``.
    numpy.linalg.LinAlgError
        In backward, if the first min(M, N) columns are linearly dependent.

    >>> print(abs(tg.linalg.qr(np.array([[3.0], [4.0]])).R))
    [[5.]]
    """
    m, n = np.shape(a)[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise TypeError(f"qr: mode={mode!r} has no derivative for shape {np.shape(a)}; pass mode='reduced'")
    out = qr_(a[..., :, :m])
    q, r = out[..., :m, :], out[..., m:, :]
    if n > m:
        r = np.concatenate([r, _t(q) @ a[..., :, m:]], axis=-1)
    return r if mode == "r" else _QR(q, r)  # type: ignore[call-arg]


# Norms


@op
@in_floats
def norm_(x: Array, *, axis: tuple[int, ...], ord: float = 2, keepdims: bool = False) -> Array:
    """The op under `norm`: (sum of abs(x)^ord)^(1/ord) over ``axis``; its derivative at 0 is taken to be 0.

    So is that by an element that is 0, for an ``ord`` below 1, where it is infinite to both sides. Powers
    that are too large or too small for the dtype are not lost.

    >>> print(tg.ops.linalg.norm_(np.array([3.0, -4.0]), axis=(0,)))
    5.0
    """
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        if ord == 2:
            total = np.sum(x * x, axis=axis, keepdims=keepdims)
            limits = np.finfo(total.dtype)
            if np.all((total > limits.tiny / limits.eps) & (total < inf)):
                return np.sqrt(total)
        # By the largest element, or the smallest, the others are of a size whose powers are none to fear.
        extreme, initial = (np.max, 0) if ord > 0 else (np.min, inf)
        end = extreme(np.abs(x), axis=axis, keepdims=True, initial=initial)
        scale = np.where((end > 0) & (end < inf), end, 1)
        size = np.sum(np.abs(x / scale) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)
        return size * (scale if keepdims else np.squeeze(scale, axis))


def _norm_vjp(g: Array, out: Array, x: Array, axis: tuple[int, ...], ord: float, keepdims: bool) -> Array:
    if not keepdims:
        g, out = np.expand_dims(g, axis), np.expand_dims(out, axis)
    if ord > 0 and ord % 2 == 0:  # as below, but smooth where an element is 0; at 0 all derivatives are 0
        ratio = x / np.where(out == 0, inf, out)
        return g * (ratio if ord == 2 else ratio ** (ord - 1))
    flat = (out == 0) | (x == 0)  # which is a constant, lest a power of 0 give its derivatives NaN
    ratio = np.where(flat, 1, np.abs(x)) / np.where(out == 0, 1, out)
    return g * (np.where(flat, 0, np.sign(x)) * ratio ** (ord - 1))


norm_.defvjp(x=_norm_vjp)


@implements(np.linalg.norm)
def norm(x: Array, ord: Any = None, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Norm of vectors (``axis`` an integer) or of matrices (``axis`` a pair); see `numpy.linalg.norm`.

    Where a norm has no derivative a subgradient is taken: 0 at 0, equal shares for tied maxima; of singular
    values that coincide, see `svd`. TypeError for ``ord=0``, which only counts.

    >>> tg.grad(tg.linalg.norm)(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> tg.grad(tg.linalg.norm)(np.zeros(2))
    array([0., 0.])
    """
    x, axes = _floats_and_axes(x, axis)
    if ord is None and (axis is None or len(axes) in (1, 2)):
        return norm_(x, axis=axes, keepdims=keepdims)
    if len(axes) == 1:
        return _vector_norm(x, axes, ord, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, axes, ord, keepdims)
    raise ValueError(f"norm: ord={ord} needs one axis or two, got {len(axes)} of shape {np.shape(x)}")


def _floats_and_axes(x: Array, axis: Any) -> tuple[Array, tuple[int, ...]]:
    """``x`` as floats, and the axes that a norm is over."""
    x = as_array(x)
    x = x if x.dtype.kind == "f" else x.astype(float)
    if axis is None:
        return x, tuple(range(x.ndim))
    return x, normalize_axis_tuple(axis if isinstance(axis, tuple) else int(axis), x.ndim)


def _vector_norm(x: Array, axes: tuple[int, ...], ord: Any, keepdims: bool) -> Array:
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is of matrices, got vectors (shape {np.shape(x)}, axis {axes})")
    if ord == 0:
        raise TypeError("norm: ord=0 counts elements and has no derivative rule; see np.count_nonzero")
    if ord is not None and abs(ord) == inf:
        return _extreme(np.abs(x), ord, axes, keepdims)
    return norm_(x, ord=2.0 if ord is None else float(ord), axis=axes, keepdims=keepdims)


def _extreme(x: Array, ord: float, axes: int | tuple[int, ...], keepdims: bool) -> Array:
    """The largest or smallest, by the sign of ``ord``; the largest of no sizes is 0."""
    if ord > 0 and not x.size:
        return np.sum(x, axis=axes, keepdims=keepdims)
    return (np.max if ord > 0 else np.min)(x, axis=axes, keepdims=keepdims)


def _matrix_norm(x: Array, axes: tuple[int, ...], ord: Any, keepdims: bool) -> Array:
    if ord in (None, "fro", "f"):
        return norm_(x, axis=axes, keepdims=keepdims)
    if ord in (1, -1, inf, -inf):
        sums = np.sum(np.abs(x), axis=axes[abs(ord) == inf], keepdims=True)
        return _extreme(sums, ord, axes, keepdims)
    if ord not in ("nuc", 2, -2):
        raise ValueError(f"norm: matrices have no norm of ord={ord!r}")
    values = svdvals(moveaxis(x, axes, (-2, -1)))
    # What rounding has left of a singular value 0 has a slope along vectors that are arbitrary: 0 is taken.
    sizes = _magnitudes(values)
    least = max(x.shape) * np.finfo(sizes.dtype).eps * sizes.max(-1, keepdims=True, initial=0)
    values = np.where(sizes > least, values, sizes)
    result = np.sum(values, axis=-1) if ord == "nuc" else _extreme(values, ord, -1, False)
    return np.expand_dims(result, axes) if keepdims else result


@implements(np.linalg.vector_norm)
def vector_norm(x: Array, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Array:
    """The norm of all elements along ``axis`` as one vector; see `numpy.linalg.vector_norm`."""
    if keepdims and axis is not None and not isinstance(axis, tuple):
        axis = index(axis)
    return _vector_norm(*_floats_and_axes(x, axis), ord, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm over the last two axes; see `numpy.linalg.matrix_norm`."""
    return norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def cond(x: Array, p: Any = None) -> Array:
    """Condition number; see `numpy.linalg.cond`. Where it is infinite its derivative is 0."""
    value = np.linalg.cond(plain(x), p)
    none = ~np.isfinite(value)
    if none.any():
        x = np.where(none[..., None, None], np.eye(*np.shape(x)[-2:], dtype=x.dtype), x)
    if p in (None, 2, -2):
        s = svdvals(x)
        found = s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    else:
        found = matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)
    return np.where(none, value, found) if none.any() else found


# Products


@implements(np.linalg.matrix_power)
def matrix_power(a: Array, n: int) -> Array:
    """The ``n``-th power of square matrices, by squaring; see `numpy.linalg.matrix_power`.

    >>> tg.linalg.matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 5)
    array([[1., 5.],
           [0., 1.]])
    """
    shape, n = np.shape(a), index(n)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power: expected square matrices, got shape {shape}")
    if n < 0:
        return matrix_power(inv(a), -n)
    if n == 0:
        return np.where(True, np.eye(shape[-1], dtype=a.dtype), a)
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
    if len(arrays) == 2:
        return products.dot(*arrays)
    ranks = [np.ndim(x) for x in arrays]
    if {ranks[0], ranks[-1]} - {1, 2} or {*ranks[1:-1]} != {2}:
        raise np.linalg.LinAlgError(
            f"multi_dot: expected matrices, and vectors at the ends, got shapes {[*map(np.shape, arrays)]}"
        )
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
    """All products of an element of each vector; see `numpy.linalg.outer`."""
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError(f"outer: expected vectors, got shapes {np.shape(x1)} and {np.shape(x2)}")
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
    return products.cross(x1, x2, axis=index(axis))


@implements(np.linalg.matrix_transpose)
def matrix_transpose(x: Array, /) -> Array:
    """The last two axes interchanged; see `numpy.linalg.matrix_transpose`."""
    return shape.matrix_transpose(x)


@implements(np.linalg.diagonal)
def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """The diagonal of the last two axes; see `numpy.linalg.diagonal`."""
    return rearranging.diagonal(x, offset, -2, -1)


@implements(np.linalg.trace)
def trace(x: Array, /, *, offset: int = 0) -> Array:
    """The trace over the last two axes; see `numpy.linalg.trace`."""
    return rearranging.trace(x, offset, -2, -1)
