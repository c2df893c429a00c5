"""What the products and the ops of linalg should compute: sums of products, and algorithms of their own.

LAPACK is free to choose the signs of eigenvectors, singular vectors and the columns of Q. The factors are
found here by other algorithms; their signs alone are taken from NumPy.
"""

import itertools
import math

import numpy as np

from oracles.loops import behind, filled, flat


def matmul(x, y):
    """Each element a sum of products; a vector is a matrix of one row (left) or one column (right)."""
    a = x if x.ndim > 1 else filled((1, *x.shape), flat(x))
    b = y if y.ndim > 1 else filled((*y.shape, 1), flat(y))
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.empty((*batch, a.shape[-2], b.shape[-1]))
    for *place, i, j in np.ndindex(out.shape):
        left, right = behind(a.shape[:-2], place), behind(b.shape[:-2], place)
        out[(*place, i, j)] = math.fsum(
            a[(*map(int, left), i, k)] * b[(*map(int, right), k, j)] for k in range(a.shape[-1])
        )
    kept = batch + ((a.shape[-2],) if x.ndim > 1 else ()) + ((b.shape[-1],) if y.ndim > 1 else ())
    return filled(kept, flat(out))


def einsum(*operands, subscripts, optimize=False):
    """The sum over all values of all letters; a letter whose axis has length 1 there stands for 0."""
    left, _, result = subscripts.partition("->")
    terms = left.split(",")
    lengths = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            lengths[letter] = max(n, lengths.get(letter, 0))
    out = np.zeros([lengths[letter] for letter in result])
    for values in itertools.product(*(range(n) for n in lengths.values())):
        at = dict(zip(lengths, values, strict=True))
        product = 1.0
        for term, x in zip(terms, operands, strict=True):
            product *= x[tuple(at[letter] if n > 1 else 0 for letter, n in zip(term, x.shape, strict=True))]
        out[tuple(at[letter] for letter in result)] += product
    return out


def each_matrix(f):
    """The function ``f`` of one matrix, for every matrix of a stack."""

    def oracle(x, **params):
        results = {place: f(x[place], **params) for place in np.ndindex(x.shape[:-2])}
        shape = np.shape(next(iter(results.values())))
        out = np.empty(x.shape[:-2] + shape)
        for place, result in results.items():
            out[place] = result
        return out

    return oracle


def gauss(a, b):
    """Gaussian elimination with row exchanges; ``b`` holds columns."""
    a, b = a.tolist(), b.tolist()
    n = len(a)
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(a[i][k]))
        a[k], a[pivot], b[k], b[pivot] = a[pivot], a[k], b[pivot], b[k]
        for i in range(n):
            if i != k:
                factor = a[i][k] / a[k][k]
                a[i] = [p - factor * q for p, q in zip(a[i], a[k], strict=True)]
                b[i] = [p - factor * q for p, q in zip(b[i], b[k], strict=True)]
    return np.array([[v / a[i][i] for v in b[i]] for i in range(n)])


def solve(a, b):
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, batch + a.shape[-2:])
    b = np.broadcast_to(b, batch + b.shape[-2:])
    out = np.empty(b.shape)
    for place in np.ndindex(batch):
        out[place] = gauss(a[place], b[place])
    return out


def inv(a):
    return gauss(a, np.eye(len(a)))


def det(a):
    """Leibniz: the sum over all permutations."""
    total = 0.0
    for order in itertools.permutations(range(len(a))):
        inversions = sum(i > j for i, j in itertools.combinations(order, 2))
        total += (-1) ** inversions * math.prod(a[i, j] for i, j in enumerate(order))
    return np.array(total)


def slogdet(a):
    d = det(a).item()
    return np.array([math.copysign(1, d), math.log(abs(d))])


def product(a, b):
    return np.array([[math.fsum(a[i, k] * b[k, j] for k in range(a.shape[1])) for j in range(b.shape[1])]
                     for i in range(a.shape[0])])  # fmt: skip


def pinv(a, *, rcond=None, rtol=None):
    """By the normal equations, for matrices of full rank."""
    if a.shape[0] >= a.shape[1]:
        return gauss(product(a.T, a), a.T)
    return gauss(product(a, a.T), a).T


def cholesky(a):
    """Row by row, from the lower triangle."""
    n = len(a)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j] - math.fsum(out[i, k] * out[j, k] for k in range(j))
            out[i, j] = math.sqrt(rest) if i == j else rest / out[j, j]
    return out


def _signed_as(columns, model):
    """The columns, each with the sign that makes it look like the model's."""
    return columns * np.array([math.copysign(1, x @ y) for x, y in zip(columns.T, model.T, strict=True)])


def eigh(a, *, UPLO="L"):  # noqa: N803
    """Jacobi's method: rotations in each plane until nothing is left off the diagonal."""
    model = np.linalg.eigh(a, UPLO)[1]
    a, n = a.copy(), len(a)
    for i, j in itertools.combinations(range(n), 2):
        a[(i, j) if UPLO == "L" else (j, i)] = a[(j, i) if UPLO == "L" else (i, j)]
    vectors = np.eye(n)
    for _ in range(30):
        for i, j in itertools.combinations(range(n), 2):
            angle = 0.5 * math.atan2(2 * a[i, j], a[j, j] - a[i, i])
            turn = np.eye(n)
            turn[i, i] = turn[j, j] = math.cos(angle)
            turn[i, j], turn[j, i] = math.sin(angle), -math.sin(angle)
            a, vectors = turn.T @ a @ turn, vectors @ turn
    order = sorted(range(n), key=lambda i: a[i, i])
    values, vectors = np.diag(a)[order], vectors[:, order]
    return np.vstack([values, _signed_as(vectors, model)])


def svd(a):
    """From the eigenvectors of the smaller of a^T a and a a^T."""
    model = np.linalg.svd(a, full_matrices=False)
    if a.shape[0] < a.shape[1]:
        out = svd_high(a.T, model[2].T)
        n = a.shape[0]
        return np.vstack([out[-n:], out[-n - 1 : -n], out[: -n - 1]])
    return svd_high(a, model[0])


def svd_high(a, model):
    vectors = eigh(product(a.T, a))[1:, ::-1]
    u = product(a, vectors)
    s = np.array([math.sqrt(math.fsum(v * v for v in column)) for column in u.T])
    u = u / s
    signed = _signed_as(u, model)
    v = vectors * np.array([math.copysign(1, x @ y) for x, y in zip(u.T, signed.T, strict=True)])
    return np.vstack([signed, s, v])


def qr(a):
    """Gram and Schmidt, each column made orthogonal to those before it, twice."""
    q = np.zeros(a.shape)
    for j, column in enumerate(a.T):
        for _ in range(2):
            for k in range(j):
                column = column - q[:, k] * math.fsum(q[:, k] * column)
        q[:, j] = column / math.sqrt(math.fsum(column * column))
    q = _signed_as(q, np.linalg.qr(a).Q)
    return np.vstack([q, np.triu(product(q.T, a))])


def norm(x, *, axis, ord=2, keepdims=False):
    axes = [i % x.ndim for i in axis]
    lists = {}
    for place in np.ndindex(x.shape):
        kept = tuple(0 if i in axes else n for i, n in enumerate(place))
        lists.setdefault(kept, []).append(abs(x[place].item()))
    out = np.empty([1 if i in axes else n for i, n in enumerate(x.shape)])
    for place, elements in lists.items():
        out[place] = math.fsum(v**ord for v in elements) ** (1 / ord)
    return out if keepdims else out.reshape([n for i, n in enumerate(x.shape) if i not in axes])


#: The oracle of each op, by its name.
ORACLES = {
    "matmul": matmul,
    "einsum_": einsum,
    "solve_": solve,
    "inv": each_matrix(inv),
    "pinv": each_matrix(pinv),
    "det": each_matrix(det),
    "slogdet_": each_matrix(slogdet),
    "cholesky_": each_matrix(cholesky),
    "eigh_": each_matrix(eigh),
    "svd_": each_matrix(svd),
    "qr_": each_matrix(qr),
    "norm_": norm,
}
