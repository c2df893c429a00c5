"""Factorizations of matrices: cholesky, eigh, svd, qr, slogdet.

An op has one output, so a factorization is an op (its name ends in an underscore) whose factors lie in
one array, from which the function of NumPy's name reads them.

A function of a symmetric matrix reads one triangle of it, as NumPy's does, and gives that triangle the
gradient; the other has gradient 0. Along symmetric matrices this derivative is that of the symmetric
gradient, which other libraries give.

Where eigenvalues or singular values coincide, their vectors are not functions of the matrix: a derivative
that needs them raises `numpy.linalg.LinAlgError`. The values alone have a first derivative even there,
the one along the vectors that LAPACK chose, which is right for symmetric functions of the values, such as
their sum.

The formulas are from Giles, Collected matrix derivative results for forward and reverse mode (2008);
Murray, Differentiation of the Cholesky decomposition (2016); Wan and Zhang, Automatic differentiation for
complex valued SVD (2019); Liao et al., Differentiable programming tensor networks (2019), for qr.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tensorgrad.core import Array, Tensor, implements, op

# NumPy's named tuples of results
_Eigh, _Slogdet, _QR, _SVD = (
    type(f(np.eye(1))) for f in (np.linalg.eigh, np.linalg.slogdet, np.linalg.qr, np.linalg.svd)
)


def _t(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


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

    >>> tg.ops.factorizations.cholesky_(np.array([[4.0, 2.0], [2.0, 5.0]]))
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
    values = gaps.data if isinstance(gaps, Tensor) else gaps
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


def _plain(x: Array) -> Any:
    return abs(x.data) if isinstance(x, Tensor) else abs(x)


@op
def eigh_(x: Array, *, UPLO: Literal["L", "U"] = "L") -> Array:  # noqa: N803 - NumPy's name
    """The op under `eigh`: one row of eigenvalues above the rows of the matrix of eigenvectors.

    >>> abs(tg.ops.factorizations.eigh_(np.array([[2.0, 0.0], [0.0, 1.0]])))
    array([[1., 2.],
           [0., 1.],
           [1., 0.]])
    """
    values, vectors = np.linalg.eigh(x, UPLO)
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def _eigh_vjp(g: Array, out: Array, x: Array, UPLO: Literal["L", "U"]) -> Array:  # noqa: N803
    w, v, gw, gv = out[..., 0, :], out[..., 1:, :], g[..., 0, :], g[..., 1:, :]
    gaps = _reciprocal("eigh", _differences(w), _plain(w), gv, besides=np.eye(x.shape[-1], dtype=bool))
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
    return _Eigh(out[..., 0, :], out[..., 1:, :])  # type: ignore[call-arg]


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Array, UPLO: Literal["L", "U"] = "L") -> Array:  # noqa: N803
    """Eigenvalues of a symmetric matrix, as in `eigh`; see `numpy.linalg.eigvalsh`."""
    return eigh_(a, UPLO=UPLO)[..., 0, :]


@op
def svd_(x: Array) -> Array:
    """The op under `svd`: the rows of U, one row of singular values, and the rows of V.

    >>> abs(tg.ops.factorizations.svd_(np.array([[0.0, 2.0], [3.0, 0.0]])))
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
    gaps = _reciprocal("svd", _differences(s), _plain(s), gu, gv, besides=np.eye(min(m, n), dtype=bool))
    gaps = gaps / np.where(sums == 0, 1, sums)  # 1 / (s_j^2 - s_i^2)
    of_u, of_v = gaps * (_t(u) @ gu), gaps * (_t(v) @ gv)
    inner = (of_u + _t(of_u)) * s[..., None, :] + s[..., :, None] * (of_v + _t(of_v)) + _diagonal(gs)
    gx = u @ inner @ _t(v)
    if m > n:  # what moves U out of the space that its columns span
        w = gu * _reciprocal("svd", s, _plain(s), gu)[..., None, :]
        gx = gx + (w - u @ (_t(u) @ w)) @ _t(v)
    if n > m:
        w = gv * _reciprocal("svd", s, _plain(s), gv)[..., None, :]
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
    return _SVD(out[..., :m, :], out[..., m, :], _t(out[..., m + 1 :, :]))  # type: ignore[call-arg]


@implements(np.linalg.svdvals)
def svdvals(x: Array, /) -> Array:
    """The singular values, descending; see `numpy.linalg.svdvals`."""
    return svd_(x)[..., np.shape(x)[-2], :]


@op
def qr_(x: Array) -> Array:
    """The op under `qr`, for matrices no wider than high: the rows of Q, then those of R.

    >>> abs(tg.ops.factorizations.qr_(np.array([[3.0], [4.0]])))
    array([[0.6],
           [0.8],
           [5. ]])
    """
    return np.concatenate(np.linalg.qr(x), axis=-2)


def _qr_vjp(g: Array, out: Array, x: Array) -> Array:
    m = x.shape[-2]
    q, r, gq, gr = out[..., :m, :], out[..., m:, :], g[..., :m, :], g[..., m:, :]
    sizes = abs((r.data if isinstance(r, Tensor) else r).diagonal(axis1=-2, axis2=-1))
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


@op
def slogdet_(x: Array) -> Array:
    """The op under `slogdet`: sign and logarithm side by side.

    >>> tg.ops.factorizations.slogdet_(np.array([[1.0, 0.0], [0.0, -1.0]]))
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
    return _Slogdet(out[..., 0], out[..., 1])  # type: ignore[call-arg]
