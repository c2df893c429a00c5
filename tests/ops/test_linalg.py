"""Linear algebra: against PyTorch and autograd, at kinks, at singular matrices, and where values coincide."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from helpers import assert_agrees_with_autograd, assert_refused, evaluate, leaf, refused_calls
from hypothesis import strategies as st
from random_cases import many

import tensorgrad as tg

# Matrices far from singular, whose eigenvalues and singular values lie apart


def regular(rng, *shape):
    n = min(shape[-2:])
    x = 0.3 * rng.standard_normal(shape)
    x[..., range(n), range(n)] += np.arange(1.0, n + 1)
    return x


def pair(out, torch=None):
    """Two factors side by side, without the signs that libraries choose: their elements squared."""
    a, b = out
    if torch is not None:
        return torch.cat([(a * a).flatten(), (b * b).flatten()])
    return np.concatenate([np.ravel(a * a), np.ravel(b * b)])


@st.composite
def problems(draw):
    """A name, our function and PyTorch's, and the shapes of their arguments."""
    torch = pytest.importorskip("torch")
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n, m = max(n, m), min(n, m)
    batch = draw(st.sampled_from([(), (2,), (1,), (2, 2)]))
    p = draw(st.sampled_from([1, 2, 3, 1.5, np.inf, -np.inf, -2]))
    q = draw(st.sampled_from(["fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf]))
    power, keep, axis = draw(st.integers(-2, 5)), draw(st.booleans()), draw(st.sampled_from([0, -1, None]))
    square, high, wide = (*batch, n, n), (*batch, n, m), (*batch, m, n)
    la, ta = np.linalg, torch.linalg
    spd = lambda x: np.matmul(x, np.swapaxes(x, -1, -2))
    sym = lambda x: x + np.swapaxes(x, -1, -2)
    columns = (*draw(st.sampled_from([batch[1:], (3, *(1 for _ in batch))])), n, m)
    choices = [
        ("solve", la.solve, ta.solve, square, high),
        ("solve vector", la.solve, lambda a, b: ta.inv(a) @ b, square, (n,)),
        ("solve broadcast", la.solve, lambda a, b: ta.solve(*broadcast(torch, a, b)), square, columns),
        ("inv", la.inv, ta.inv, square),
        ("det", la.det, ta.det, square),
        ("slogdet", lambda x: la.slogdet(x)[1], lambda x: ta.slogdet(x)[1], square),
        ("cholesky", lambda x: la.cholesky(spd(x)), lambda x: ta.cholesky(x @ x.mT), square),
        ("cholesky upper", lambda x: la.cholesky(spd(x), upper=True), lambda x: ta.cholesky(x @ x.mT).mT,
         square),
        ("eigh", lambda x: pair(la.eigh(sym(x))), lambda x: pair(ta.eigh(x + x.mT), torch), square),
        ("eigh upper", lambda x: pair(la.eigh(sym(x), "U")), lambda x: pair(ta.eigh(x + x.mT), torch),
         square),
        ("eigvalsh", lambda x: la.eigvalsh(sym(x)), lambda x: ta.eigvalsh(x + x.mT), square),
        ("svd", lambda x: pair(la.svd(x, full_matrices=False)[:2]),
         lambda x: pair(ta.svd(x, full_matrices=False)[:2], torch), high),
        ("svd of wide", lambda x: pair(la.svd(x, full_matrices=False)[1:]),
         lambda x: pair(ta.svd(x, full_matrices=False)[1:], torch), wide),
        ("svdvals", la.svdvals, ta.svdvals, wide),
        ("qr", lambda x: pair(la.qr(x)), lambda x: pair(ta.qr(x), torch), high),
        ("qr of wide", lambda x: pair(la.qr(x)), lambda x: pair(ta.qr(x), torch), wide),
        ("pinv", la.pinv, ta.pinv, high),
        ("pinv of wide", la.pinv, ta.pinv, wide),
        ("matrix_power", lambda x: la.matrix_power(x, power), lambda x: ta.matrix_power(x, power) + 0 * x,
         square),
        ("vector norm", lambda x: la.norm(x, p, axis or 0, keep),
         lambda x: ta.vector_norm(x, p, axis or 0, keep), high),
        ("vector_norm", lambda x: la.vector_norm(x, axis=axis, keepdims=keep, ord=p),
         lambda x: ta.vector_norm(x, p, axis, keep), high),
        ("matrix norm", lambda x: la.norm(x, q, (-2, -1), keep),
         lambda x: ta.matrix_norm(x, q, (-2, -1), keep), high),
        ("matrix norm, axes exchanged", lambda x: la.norm(x, q, (-1, -2)),
         lambda x: ta.matrix_norm(x, q, (-1, -2)), wide),
        ("multi_dot", lambda x, y, z: la.multi_dot([x, y, z]), lambda x, y, z: x @ y @ z,
         (n, m), (m, n), (n,)),
    ]  # fmt: skip
    return draw(st.sampled_from(choices))


def broadcast(torch, a, b):
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])


def check_problem(rng, case):
    _, ours, theirs, *shapes = case
    arrays = [regular(rng, *shape) if len(shape) > 1 else rng.standard_normal(shape) for shape in shapes]
    assert_agrees_with_torch(ours, theirs, *arrays)


def test_random_problems_agree_with_torch():
    assert many(check_problem, problems(), 100) == 100


@pytest.mark.slow
def test_thousands_of_random_problems_agree_with_torch():
    print(f"\nlinalg: {many(check_problem, problems(), 3000)} cases")


@pytest.mark.parametrize("call", [
    "np.linalg.inv(x)", "np.linalg.det(x)", "np.linalg.slogdet(x)[1]", "np.linalg.norm(x)",
    "np.linalg.norm(x, axis=0)", "np.linalg.norm(x, 3, axis=-1)", "np.linalg.solve(x, x[..., :2] ** 2)",
    "np.linalg.cholesky(np.matmul(x, np.swapaxes(x, -1, -2)))",
    "np.linalg.eigh(x + np.swapaxes(x, -1, -2))[0]", "np.linalg.eigh(x + np.swapaxes(x, -1, -2))[1] ** 2",
])  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)], ids=str)
def test_agreement_with_autograd(call, shape):
    x = regular(np.random.default_rng(0), *shape)
    assert_agrees_with_autograd(lambda numpy, x: eval(call, {"np": numpy, "x": x}), x)


# What is made of the ops; x is (3, 3), h (4, 2), c a stack (2, 3, 3), t (2, 3, 6), v (3,)

OPERANDS = {"x": (3, 3), "h": (4, 2), "w": (2, 4), "c": (2, 3, 3), "t": (2, 3, 6), "v": (3,), "one": (1, 1)}

CALLS = """
np.linalg.solve(x, v)
np.linalg.solve(c, v)
np.linalg.solve(c, x)
np.linalg.solve(x, c[:, :, :1])
np.linalg.inv(c)
np.linalg.det(c)
np.linalg.det(one)
np.linalg.slogdet(-c)[1]
np.linalg.cholesky(c @ np.swapaxes(c, -1, -2))
np.linalg.cholesky(x @ x.T, upper=True)
np.linalg.eigh(c)[0]
np.linalg.eigh(x).eigenvectors
np.linalg.eigh(c, 'U')[1]
np.linalg.eigvalsh(x, 'U')
np.linalg.svd(x)[0]
np.linalg.svd(c).Vh
np.linalg.svd(h, False)[0]
np.linalg.svd(w, full_matrices=False)[2]
np.linalg.svd(h, compute_uv=False)
np.linalg.svdvals(c)
np.linalg.qr(h)[0]
np.linalg.qr(w).R
np.linalg.qr(w).Q
np.linalg.qr(x, 'complete')[1]
np.linalg.qr(t, 'r')
np.linalg.pinv(h)
np.linalg.pinv(w, 1e-3)
np.linalg.pinv(c, rtol=1e-3)
np.linalg.matrix_power(x, 0)
np.linalg.matrix_power(c, 1)
np.linalg.matrix_power(c, 5)
np.linalg.matrix_power(x, -3)
np.linalg.multi_dot([x, x])
np.linalg.multi_dot([v, x, c[0], x[:, :1]])
np.linalg.multi_dot([h, w, h, w[:, 0]])
np.linalg.tensorsolve(t, x[:2])
np.linalg.tensorsolve(np.moveaxis(t, 2, 0), x[:2], axes=(0,))
np.linalg.tensorinv(t)
np.linalg.tensorinv(t.reshape(6, 2, 3), ind=1)
np.linalg.cond(x)
np.linalg.cond(c, -2)
np.linalg.cond(x, 'fro')
np.linalg.cond(c, np.inf)
np.linalg.norm(v)
np.linalg.norm(x)
np.linalg.norm(c)
np.linalg.norm(v, 1)
np.linalg.norm(v, np.inf)
np.linalg.norm(v, -np.inf)
np.linalg.norm(v, 3.5)
np.linalg.norm(v, -1)
np.linalg.norm(v, 4, keepdims=True)
np.linalg.norm(c, axis=1)
np.linalg.norm(c, None, (0, 2), True)
np.linalg.norm(c, 'fro', (2, 0))
np.linalg.norm(c, 'nuc', (1, 2), keepdims=True)
np.linalg.norm(x, 2)
np.linalg.norm(c, -2, axis=(0, 1))
np.linalg.norm(x, 1)
np.linalg.norm(x, -1)
np.linalg.norm(c, np.inf, axis=(2, 0), keepdims=True)
np.linalg.norm(x, -np.inf)
np.linalg.norm(c, 2, axis=0)
np.linalg.vector_norm(c, axis=(0, 1), ord=3)
np.linalg.vector_norm(c, ord=np.inf, keepdims=True)
np.linalg.vector_norm(x)
np.linalg.matrix_norm(c)
np.linalg.matrix_norm(c, ord='nuc', keepdims=True)
""".strip().splitlines()


@pytest.mark.parametrize("call", CALLS)
def test_values_are_numpys_and_derivatives_right(call):
    names = [name for name in OPERANDS if name in compile(call, call, "eval").co_names]
    rng = np.random.default_rng(3)
    arrays = [regular(rng, *OPERANDS[k]) if len(OPERANDS[k]) > 1 else rng.standard_normal(3) for k in names]
    if "t" in names:
        arrays[names.index("t")] = regular(rng, 6, 6).reshape(2, 3, 6)
    f = lambda *xs: evaluate(call, **dict(zip(names, xs, strict=True)))
    ours = f(*(leaf(x) for x in arrays))
    np.testing.assert_allclose(ours.data, f(*arrays), rtol=1e-13, atol=1e-13)
    assert ours.shape == np.shape(f(*arrays))
    tg.gradcheck(f, *arrays, order=2)
    single = [leaf(x, "float32") for x in arrays]
    out = f(*single)
    out.backward(np.ones(out.shape))
    assert [out.dtype, *(x.grad.dtype for x in single)] == [np.float32] * (1 + len(single))


def test_third_derivatives_pass_gradcheck():
    x = regular(np.random.default_rng(0), 2, 2)
    for f in (
        np.linalg.inv,
        np.linalg.det,
        np.linalg.eigvalsh,
        np.linalg.svdvals,
        lambda x: np.linalg.qr(x).R,
    ):
        tg.gradcheck(f, x, order=3)
    tg.gradcheck(lambda x: np.linalg.cholesky(x @ x.T), x, order=3)


@pytest.mark.parametrize(("call", "fields"), [
    ("np.linalg.eigh(x)", ("eigenvalues", "eigenvectors")),
    ("np.linalg.svd(x)", ("U", "S", "Vh")),
    ("np.linalg.qr(x)", ("Q", "R")),
    ("np.linalg.slogdet(x)", ("sign", "logabsdet")),
])  # fmt: skip
def test_results_are_numpys_named_tuples_of_tensors(call, fields):
    x = regular(np.random.default_rng(0), 3, 3)
    found, plain = evaluate(call, x=leaf(x)), evaluate(call, x=x)
    on_arrays = evaluate(call.replace("np.", "tg."), x=x)
    assert type(found) is type(plain) is type(on_arrays)
    for name in fields:
        assert isinstance(getattr(found, name), tg.Tensor)
        np.testing.assert_array_equal(getattr(found, name).data, getattr(plain, name))
        np.testing.assert_array_equal(getattr(on_arrays, name), getattr(plain, name))


def test_questions_are_answered_by_plain_arrays():
    assert np.linalg.matrix_rank(leaf(np.eye(3))) == 3


def test_empty_matrices_have_empty_gradients():
    for f in (
        np.linalg.inv,
        np.linalg.det,
        np.linalg.eigvalsh,
        np.linalg.svdvals,
        np.linalg.norm,
        np.linalg.cholesky,
    ):
        x = leaf(np.zeros((2, 0, 0)))
        out = f(x)
        out.backward(np.ones(out.shape))
        assert x.grad.shape == x.shape


# One triangle is read, and has the gradient


@pytest.mark.parametrize("call", [
    "np.linalg.cholesky(x)", "np.linalg.cholesky(x, upper=True)", "np.linalg.eigh(x)[0] ** 2",
    "np.linalg.eigh(x, 'U').eigenvectors ** 2", "np.linalg.eigvalsh(x)",
])  # fmt: skip
def test_the_triangle_that_is_read_has_the_gradient(call):
    upper = "'U'" in call or "upper" in call
    base = regular(np.random.default_rng(0), 3, 3)
    x = base @ base.T
    other = np.tril(np.full((3, 3), 7.0), -1) if upper else np.triu(np.full((3, 3), 7.0), 1)
    f = lambda x: evaluate(call, x=x)
    np.testing.assert_array_equal(f(x), f(x + other))
    v = np.random.default_rng(1).standard_normal((3, 3))
    v = v if np.ndim(f(x)) == 2 else v[0]
    gradient = tg.grad(lambda x: np.sum(f(x) * v))(x)
    unread = np.tril(gradient, -1) if upper else np.triu(gradient, 1)
    np.testing.assert_array_equal(unread, 0)
    # Along symmetric matrices it is the derivative that autograd gives.
    d = base + base.T
    if not (upper and "cholesky" in call):
        call = call.replace(".eigenvectors", "[1]").replace("eigvalsh(x)", "eigh(x)[0]")
        theirs = autograd.grad(lambda x: anp.sum(eval(call, {"np": anp, "x": x}) * v))(x)
        np.testing.assert_allclose(np.sum(gradient * d), np.sum(theirs * d), rtol=1e-9)


# Choices, and where there is no derivative


@pytest.mark.parametrize("call", [
    "np.linalg.norm(x)", "np.linalg.norm(x, axis=0)", "np.linalg.norm(x, 'fro')", "np.linalg.norm(x, 1)",
    "np.linalg.norm(x[0], 1)", "np.linalg.norm(x[0], 3)", "np.linalg.norm(x[0], 1.5)",
    "np.linalg.norm(x[0], np.inf)", "np.linalg.norm(x, np.inf)", "np.linalg.norm(x[0], -np.inf)",
    "np.linalg.vector_norm(x)",
])  # fmt: skip
def test_the_gradient_of_a_norm_at_zero_is_zero(call):
    """autograd and MyGrad give NaN."""
    f = lambda x: np.sum(evaluate(call, x=x))
    np.testing.assert_array_equal(tg.grad(f)(np.zeros((2, 3))), np.zeros((2, 3)))
    if "1.5" not in call and "3" not in call:
        np.testing.assert_array_equal(tg.hvp(f)(np.zeros((2, 3)), np.ones((2, 3))), np.zeros((2, 3)))


def test_one_zero_among_vectors_leaves_the_others_alone():
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    f = lambda x: np.linalg.norm(x, axis=1).sum()
    np.testing.assert_allclose(tg.grad(f)(x), [[0.0, 0.0], [0.6, 0.8]])
    np.testing.assert_allclose(tg.hvp(f)(x, np.ones((2, 2))), [[0.0, 0.0], [0.032, -0.024]], atol=1e-15)


def test_tied_maxima_of_a_norm_share():
    np.testing.assert_array_equal(
        tg.grad(lambda x: np.linalg.norm(x, np.inf))(np.array([2.0, -2.0, 1.0])), [0.5, -0.5, 0]
    )


def test_the_spectral_norm_of_zero_has_a_subgradient():
    gradient = tg.grad(lambda x: np.linalg.norm(x, 2))(np.zeros((2, 2)))
    assert np.linalg.norm(gradient, "nuc") <= 1 + 1e-12


@pytest.mark.parametrize(
    "x", [np.eye(3), np.diag([1.0, 2.0, 2.0]), np.zeros((2, 2))], ids=["eye", "two", "zero"]
)
@pytest.mark.parametrize("call", [
    "np.linalg.eigh(x).eigenvectors", "np.linalg.svd(x).U", "np.linalg.svd(x).Vh",
])  # fmt: skip
def test_vectors_of_coinciding_values_have_no_derivative(x, call):
    with pytest.raises(np.linalg.LinAlgError, match=r"^(eigh|svd): values coincide .*no derivative"):
        tg.grad(lambda x: np.sum(evaluate(call, x=x) * np.arange(x.size).reshape(x.shape)))(x)


def test_values_that_coincide_have_a_gradient_but_no_second():
    x = np.diag([2.0, 2.0, 3.0])
    for f in (lambda x: np.linalg.eigvalsh(x).sum(), lambda x: np.linalg.eigh(x)[0].sum()):
        np.testing.assert_allclose(tg.grad(f)(x), np.eye(3), atol=1e-15)
    np.testing.assert_allclose(tg.grad(lambda x: np.linalg.norm(x, "nuc"))(x), np.eye(3), atol=1e-15)
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(np.linalg.eigvalsh(x) ** 2))(x), 2 * x, atol=1e-14)
    for f in (lambda x: np.sum(np.linalg.eigvalsh(x) ** 2), lambda x: np.sum(np.linalg.svdvals(x) ** 3)):
        with pytest.raises(np.linalg.LinAlgError, match="nor has the gradient of the values"):
            tg.hvp(f)(x, np.ones((3, 3)))


def test_one_matrix_of_a_stack_whose_values_coincide_is_enough():
    x = np.stack([np.diag([1.0, 2.0]), np.eye(2)])
    with pytest.raises(np.linalg.LinAlgError, match="eigh: values coincide"):
        tg.grad(lambda x: np.sum(np.linalg.eigh(x)[1] * np.arange(4.0).reshape(2, 2)))(x)


def test_values_that_nearly_coincide_are_taken_as_they_are():
    x = np.diag([1.0, 1.0 + 1e-6])
    v = np.array([[0.0, 1.0], [0.0, 0.0]])
    gradient = tg.grad(lambda x: np.sum(np.linalg.eigh(x)[1] * v))(x)
    assert abs(gradient[1, 0]) == pytest.approx(1e6, rel=1e-6)


def test_singular_vectors_of_zero_in_a_matrix_that_is_not_square_have_no_derivative():
    x = np.zeros((3, 1))
    with pytest.raises(np.linalg.LinAlgError, match="svd: values coincide"):
        tg.grad(lambda x: np.sum(np.linalg.svd(x, full_matrices=False).U * np.ones((3, 1))))(x)
    assert np.isfinite(tg.grad(lambda x: np.linalg.svdvals(x).sum())(x)).all()


@pytest.mark.parametrize("x", [
    np.array([[1.0, 2.0], [2.0, 4.0]]), np.diag([1.0, 2.0, 0.0]), np.zeros((2, 2)), np.zeros((3, 3)),
    np.zeros((1, 1)), np.stack([np.eye(3), np.diag([0.0, 1.0, 0.0])]),
], ids=["rank 1", "rank 2", "zero", "zero 3", "zero 1", "stack"])  # fmt: skip
def test_the_determinant_of_a_singular_matrix_has_derivatives(x):
    """There is no inverse, and still there are cofactors; autograd raises."""
    tg.gradcheck(np.linalg.det, x, order=2)


def test_what_needs_an_inverse_raises_at_a_singular_matrix():
    x = np.diag([1.0, 0.0])
    for f in (
        lambda x: np.linalg.slogdet(x)[1],
        lambda x: np.sum(np.linalg.inv(x)),
        lambda x: np.linalg.qr(x).R.sum(),
    ):
        with pytest.raises(np.linalg.LinAlgError, match=r"Singular|linearly dependent"):
            tg.grad(f)(x)


@refused_calls(
    ("np.linalg.svd(h)", TypeError, r"svd: full_matrices=True has no derivative for shape \(4, 2\)"),
    ("np.linalg.svd(x, hermitian=True)", TypeError, "svd.*hermitian"),
    ("np.linalg.pinv(x, hermitian=True)", TypeError, "pinv.*hermitian"),
    ("np.linalg.qr(h, 'complete')", TypeError, r"qr: mode='complete' has no derivative for shape \(4, 2\)"),
    ("np.linalg.qr(x, mode='raw')", TypeError, "qr: mode='raw'"),
    ("np.linalg.norm(v, 0)", TypeError, "norm: ord=0 counts"),
    ("np.linalg.norm(v, 'fro')", ValueError, "norm: ord='fro' is of matrices"),
    ("np.linalg.norm(x, 3)", ValueError, "norm: matrices have no norm of ord=3"),
    ("np.linalg.norm(c, 2)", ValueError, "norm: ord=2 needs one axis or two, got 3"),
    ("np.linalg.norm(x, axis=2)", ValueError, "out of bounds"),
    ("np.linalg.inv(h)", ValueError, r"^inv: .*\(a float64 \(4, 2\)\)"),
    ("np.linalg.solve(x, h)", ValueError, r"^solve_: .*\(a float64 \(3, 3\), b float64 \(4, 2\)\)"),
    ("np.linalg.cholesky(-x)", ValueError, "^cholesky_: .*not positive definite"),
    ("np.linalg.lstsq(x, v)", TypeError, "lstsq has no derivative rule"),
    ("np.linalg.eig(x)", TypeError, "eig has no derivative rule"),
    ("np.linalg.multi_dot([x])", ValueError, "multi_dot: expected at least two arrays"),
    ("np.linalg.multi_dot([x, x], out=x)", TypeError, "multi_dot.*out"),
    ("np.linalg.multi_dot([x, h])", ValueError, "matmul: "),
    ("np.linalg.tensorinv(x, 0)", ValueError, "tensorinv: ind must be positive, got 0"),
    ("np.linalg.trace(x, dtype='float32')", TypeError, "trace.*dtype"),
)
def test_what_does_not_fit_or_is_not_supported_is_named(call, error, message):
    arrays = {
        name: leaf(regular(np.random.default_rng(0), *s) if len(s) > 1 else np.ones(3))
        for name, s in OPERANDS.items()
    }
    assert_refused(call, error, message, **arrays)


@pytest.mark.parametrize("x", [[[1.0, 2.0], [2.0, 4.0]], np.ones((3, 2)), np.eye(2)[:, ::-1] * [0.0, 1.0]])
def test_qr_of_dependent_columns_has_no_derivative(x):
    x = tg.Tensor(np.array(x), requires_grad=True)
    with pytest.raises(np.linalg.LinAlgError, match="columns are linearly dependent"):
        np.linalg.qr(x)[0].sum().backward()
