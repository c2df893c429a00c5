"""Singular points: determinants of deficient rank, norms and deviations at 0 and near the ends of a dtype.

The oracles are cofactors in exact fractions, the definition in many digits, and exact limits.
"""

from fractions import Fraction
from itertools import pairwise, product
from math import factorial

import mpmath
import numpy as np
import pytest

import tensorgrad as tg

# Determinants


def determinant(rows):
    """By Gaussian elimination, in fractions."""
    rows, found = [list(row) for row in rows], Fraction(1)
    for i in range(len(rows)):
        pivot = next((k for k in range(i, len(rows)) if rows[k][i]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != i:
            rows[i], rows[pivot], found = rows[pivot], rows[i], -found
        found *= rows[i][i]
        for k in range(i + 1, len(rows)):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i], strict=True)]
    return found


def fractions(a):
    return [[Fraction(float(x)) for x in row] for row in a]


def without(rows, i, j):
    return [[x for m, x in enumerate(row) if m not in j] for k, row in enumerate(rows) if k not in i]


def derivatives_of_det(a):
    """Cofactors, and the cofactors of the minors, exact but for one rounding each."""
    rows, n = fractions(a), len(a)
    first, second = np.zeros((n, n)), np.zeros((n, n, n, n))
    for i, j in product(range(n), repeat=2):
        first[i, j] = (-1) ** (i + j) * determinant(without(rows, {i}, {j}))
    for i, j, k, m in product(range(n), repeat=4):
        if i != k and j != m:
            sign = (-1) ** (i + j + k - (k > i) + m - (m > j))
            second[i, j, k, m] = sign * determinant(without(rows, {i, k}, {j, m}))
    return first, second


def derivatives_along(a, d):
    """The derivatives of det(a + t d) by t at 0: of the polynomial through n + 1 exact values, by Newton."""
    n, a, d = len(a), fractions(a), fractions(d)
    values = [
        determinant([[x + t * y for x, y in zip(*rows, strict=True)] for rows in zip(a, d, strict=True)])
        for t in range(n + 1)
    ]
    coefficients, basis = [Fraction(0)] * (n + 1), [Fraction(1)]
    for k in range(n + 1):
        for i, b in enumerate(basis):
            coefficients[i] += values[0] * b
        values = [(y - x) / (k + 1) for x, y in pairwise(values)]
        basis = [x - k * y for x, y in zip([0, *basis], [*basis, 0], strict=True)]
    return [float(c * factorial(k)) for k, c in enumerate(coefficients)]


def of_rank(rank, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))


def graded(*powers):
    """Singular values that are powers of ten, in no special basis."""
    rng = np.random.default_rng(0)
    q, r = (np.linalg.qr(rng.standard_normal((len(powers),) * 2))[0] for _ in range(2))
    return q @ np.diag(10.0 ** np.array(powers)) @ r


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_derivatives_of_det_are_the_cofactors_at_every_rank(n):
    for rank in range(n + 1):
        a = of_rank(rank, n, seed=rank)
        size = np.linalg.norm(a, 2) if rank else 1.0
        first, second = derivatives_of_det(a)
        assert np.max(abs(tg.grad(np.linalg.det)(a) - first)) <= 1e-14 * size ** (n - 1)
        assert np.max(abs(tg.hessian(np.linalg.det)(a) - second), initial=0) <= 1e-14 * size ** max(n - 2, 0)


MATRICES = {
    "whole numbers of rank 2": np.arange(25.0).reshape(5, 5),
    "rank 8 of 10": of_rank(8, 10),
    "rank 1 of 6": of_rank(1, 6),
    "zeros": np.zeros((5, 5)),
    "Hilbert's": np.array([[1 / (i + j + 1) for j in range(8)] for i in range(8)]),
    "graded": graded(0, -3, -6, -9, -12, -15),
    "two and two alike": graded(0, 0, -9, -9),
    "tiny": 1e-90 * np.eye(4),
    "of which the determinant is none": np.diag([1.0, 1e-120, 1e-120, 1e-120]),
    "huge": 1e70 * of_rank(4, 4),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_derivatives_of_det_along_a_line(name):
    a = MATRICES[name]
    d = np.random.default_rng(2).standard_normal(a.shape)
    size, step, n = np.linalg.norm(a, 2), np.linalg.norm(d, 2), len(a)
    f, truth = (lambda t: np.linalg.det(a + t * d)), derivatives_along(a, d)
    for order in range(1, 4):
        f = tg.grad(f)
        rounding = 1e-13 * size ** (n - order) * step**order if n >= order else 0
        assert abs(f(0.0) - truth[order]) <= rounding + 1e-14 * abs(truth[order]), order


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matrices_of_several_ranks_in_one_stack(dtype):
    whole = [np.eye(4), np.zeros((4, 4)), np.arange(16.0).reshape(4, 4), np.diag([1.0, 2.0, 0.0, 0.0])]
    stack, tolerance = np.array(whole, dtype), 1e3 * np.finfo(dtype).eps
    gradient = tg.grad(lambda x: np.sum(np.linalg.det(x)))(stack)
    hessian = tg.hessian(lambda x: np.sum(np.linalg.det(x)))(stack)
    assert gradient.dtype == hessian.dtype == dtype
    for i, a in enumerate(whole):
        first, second = derivatives_of_det(a)
        np.testing.assert_allclose(gradient[i], first, rtol=tolerance, atol=tolerance * 100)
        np.testing.assert_allclose(hessian[i, :, :, i], second, rtol=tolerance, atol=tolerance * 10)
    assert not hessian[0, :, :, 1:].any()


def test_det_of_nan_and_of_nothing():
    for n in (2, 3, 4):
        with np.errstate(invalid="ignore"):
            assert np.isnan(tg.grad(np.linalg.det)(np.full((n, n), np.nan))).all()
    assert tg.grad(np.linalg.det)(np.zeros((0, 0))).shape == (0, 0)
    assert tg.grad(lambda x: np.sum(np.linalg.det(x)))(np.zeros((0, 4, 4))).shape == (0, 4, 4)


# Products


@pytest.mark.parametrize("x", [
    [1e-17, 3.0, 7.0], [1 / 3, 3.0, 7.0, 0.1], [0.0, 3.0, 7.0], [0.0, 0.0, 7.0], [1e-170, 3e10, 7.0, 1e-9],
])  # fmt: skip
def test_the_second_derivatives_of_a_product_are_products(x):
    n = len(x)
    expected = np.array([
        [0 if i == j else np.prod([x[k] for k in range(n) if k not in (i, j)]) for j in range(n)]
        for i in range(n)
    ])  # fmt: skip
    np.testing.assert_allclose(tg.hessian(np.prod)(np.array(x)), expected, rtol=1e-15)


# Norms


@pytest.mark.parametrize("ord", [None, 0.5, 0.25, 1, 1.5, 2, 3, -0.5, -1, -2, -3, np.inf, -np.inf])
def test_the_derivative_of_a_norm_at_zeros_is_0(ord):
    for shape in [(1,), (4,)]:
        value, gradient = tg.value_and_grad(lambda x: np.linalg.norm(x, ord))(np.zeros(shape))
        assert (value, gradient.tolist()) == (0, [0.0] * shape[0])
    assert not tg.hessian(lambda x: np.linalg.norm(x, ord))(np.zeros(2)).any()


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_the_derivative_of_a_matrix_norm_at_zeros_is_0(ord):
    value, gradient = tg.value_and_grad(lambda x: np.linalg.norm(x, ord))(np.zeros((2, 3)))
    assert (value, gradient.tolist()) == (0, [[0.0] * 3] * 2)


@pytest.mark.parametrize(("ord", "x", "expected"), [
    (0.5, [0.0, 4.0], [0.0, 1.0]),  # infinite to both sides of the 0
    (0.5, [1.0, 4.0], [3.0, 1.5]),  # sqrt(norm / x)
    (0.5, [0.0, 1.0, -4.0], [0.0, 3.0, -1.5]),
    (1, [0.0, -4.0], [0.0, -1.0]),
    (3, [0.0, -4.0], [0.0, -1.0]),
    (-1, [0.0, 4.0], [0.0, 0.0]),  # the norm is 0 whatever the other is
    (-1, [1.0, 3.0], [9 / 16, 1 / 16]),  # (norm / x)^2, and the norm is 3/4
    (-0.5, [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
    (-2, [0.0, 1e-200], [0.0, 0.0]),
])  # fmt: skip
def test_a_norm_with_an_element_0(ord, x, expected):
    found = tg.grad(lambda x: np.linalg.norm(x, ord))(np.array(x))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def exact_norm(x, ord):
    with mpmath.workdps(60):
        terms = [abs(mpmath.mpf(float(v))) ** mpmath.mpf(ord) for v in x]
        norm = mpmath.fsum(terms) ** (1 / mpmath.mpf(ord))
        slopes = [mpmath.sign(v) * (abs(mpmath.mpf(float(v))) / norm) ** mpmath.mpf(ord - 1) for v in x]
        return float(norm), np.array([float(s) for s in slopes])


def exact_std(x):
    with mpmath.workdps(60):
        x = [mpmath.mpf(float(v)) for v in x]
        centred = [v - mpmath.fsum(x) / len(x) for v in x]
        std = mpmath.sqrt(mpmath.fsum(v**2 for v in centred) / len(x))
        return float(std), np.array([float(v / (len(x) * std)) for v in centred])


SIZES = {"float32": [1e-36, 1e-30, 1e-23, 1e-19, 1e-3, 1.0, 1e15, 1e20, 1e30, 1e37], "float64": [
    1e-300, 1e-200, 1e-160, 1e-100, 1.0, 1e100, 1e160, 1e200, 1e300,
]}  # fmt: skip


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("ord", [2, 1, 3, 0.5, 1.5, -1, -0.5])
def test_norms_of_numbers_of_every_size(ord, dtype):
    """NumPy's own norm is 0 or infinite where a power of the elements is."""
    rng, tolerance = np.random.default_rng(0), 16 * np.finfo(dtype).eps
    for size in SIZES[dtype]:
        x = (size / 10 * rng.uniform(0.2, 2, 5) * rng.choice([-1, 1], 5)).astype(dtype)
        value, gradient = tg.value_and_grad(lambda x: np.linalg.norm(x, ord))(x)
        norm, slopes = exact_norm(x, ord)
        np.testing.assert_allclose(value, norm, rtol=tolerance)
        np.testing.assert_allclose(gradient, slopes, rtol=tolerance)


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("f", [np.std, np.nanstd, lambda x: np.std(x, where=True)])
def test_deviations_of_numbers_of_every_size(f, dtype):
    """The square of a deviation near 1e-23 is none in float32, and the slope of its root infinite."""
    rng, tolerance = np.random.default_rng(0), 32 * np.finfo(dtype).eps
    for size in SIZES[dtype]:
        x = (size / 10 * rng.standard_normal(6)).astype(dtype)
        value, gradient = tg.value_and_grad(f)(x)
        std, slopes = exact_std(x)
        np.testing.assert_allclose(value, std, rtol=tolerance)
        np.testing.assert_allclose(gradient, slopes, rtol=tolerance, atol=tolerance)


def test_a_deviation_so_small_has_a_second_derivative():
    x = np.array([1.0, 2.0, 4.0])
    truth = tg.hessian(np.std)(x)
    np.testing.assert_allclose(tg.hessian(np.std)(1e-200 * x), 1e200 * truth, rtol=1e-13)


def test_the_nuclear_norm_of_deficient_rank_has_the_least_subgradient():
    """U V^T of the singular values that are not 0, whatever basis LAPACK chose for the others."""
    u, v = np.array([0.6, 0.8, 0.0]), np.array([0.0, 1.0])
    gradient = tg.grad(lambda x: np.linalg.norm(x, "nuc"))(5 * np.outer(u, v))
    np.testing.assert_allclose(gradient, np.outer(u, v), atol=1e-15)


def test_equal_largest_singular_values_share():
    np.testing.assert_array_equal(tg.grad(lambda x: np.linalg.norm(x, 2))(np.eye(4)), np.eye(4) / 4)


# Pseudo-inverses


@pytest.mark.parametrize("rtol", [0.3, 0.5, 0.9, 1e-10])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4), (2, 3, 2)], ids=str)
def test_a_pseudo_inverse_that_cuts_singular_values_off(shape, rtol):
    a = np.random.default_rng(3).standard_normal(shape)
    tg.gradcheck(lambda a: np.linalg.pinv(a, rtol=rtol), a, order=2)


@pytest.mark.parametrize("p", [None, 1, -1, 2, -2, np.inf, -np.inf, "fro"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cond_of_singular_matrices_is_numpys(p, dtype):
    """Infinite; of a stack, those that are regular keep their own number and its derivative."""
    regular, singular = np.array([[1.0, 2.0], [3.0, 5.0]], dtype), np.diag([1.0, 0.0]).astype(dtype)
    for x in (singular, 0 * singular, np.stack([singular, regular]), np.array([[0, np.nan], [0, 0]], dtype)):
        if np.isnan(x).any() and p in (None, 2, -2):
            continue
        with np.errstate(all="ignore"):
            found, expected = np.linalg.cond(tg.Tensor(x), p), np.linalg.cond(x, p)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.data, expected, rtol=1e-4)
    if p not in (None, 2, -2):
        slope = tg.grad(lambda x: np.linalg.cond(x, p)[1])(np.stack([singular, regular]))
        np.testing.assert_array_equal(slope, [0 * singular, tg.grad(lambda x: np.linalg.cond(x, p))(regular)])


@pytest.mark.parametrize("ord", [1.2, 1.5, 2.5, 3, 4, 6])
def test_the_second_derivatives_of_a_norm_with_an_element_0(ord):
    """Of the other elements they are those without it; by it they are 0 (none for an ord below 2)."""
    hessian = tg.hessian(lambda x: np.linalg.norm(x, ord))
    expected = np.zeros((3, 3))
    expected[1:, 1:] = hessian(np.array([3.0, -1.0]))
    np.testing.assert_allclose(hessian(np.array([0.0, 3.0, -1.0])), expected, rtol=1e-13, atol=1e-16)
    x, h = np.array([3.0, -1.0]), 1e-6
    slopes = [tg.grad(lambda x: np.linalg.norm(x, ord))(x + np.array([d, 0])) for d in (h, -h)]
    np.testing.assert_allclose((slopes[0] - slopes[1]) / (2 * h), expected[1, 1:], rtol=1e-6)


def test_the_fourth_derivative_of_a_norm_of_order_four():
    """(t^4 + 81)^(1/4) is 3 + t^4 / 108 - ..., so that its fourth derivative at 0 is 4! / 108."""
    f = lambda t: np.linalg.norm(np.stack([t, 3.0 + 0 * t]), 4)
    for _ in range(4):
        f = tg.grad(f)
    np.testing.assert_allclose(f(0.0), 24 / 108, rtol=1e-14)
