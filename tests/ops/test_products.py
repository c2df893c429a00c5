"""matmul, einsum in every form, and the products that are made of them."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from helpers import assert_agrees_with_autograd, assert_refused, evaluate, leaf, refused_calls
from hypothesis import given
from hypothesis import strategies as st
from random_cases import many

import tensorgrad as tg

# Vectors, matrices, and stacks of them that broadcast
operands = hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3)


@given(shapes=operands, seed=st.integers(0, 2**32 - 1))
def test_all_pairs_of_ranks_agree_with_autograd(shapes, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal(shape) for shape in shapes.input_shapes)
    assert_agrees_with_autograd(lambda numpy, x, y: x @ y, x, y)


@given(shapes=operands)
def test_gradients_have_the_shapes_of_the_operands(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes.input_shapes)
    out = x @ y
    assert out.shape == shapes.result_shape
    out.backward(np.ones(out.shape))
    assert (x.grad.shape, y.grad.shape) == (x.shape, y.shape)


@pytest.mark.parametrize(
    "shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((0, 2, 3), (3,))], ids=str
)
def test_empty_operands_have_gradients_of_their_shapes(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes)
    out = x @ y
    out.backward(np.ones(out.shape))
    for t in (x, y):
        assert t.grad.shape == t.shape
        assert t.grad.sum() == out.size * x.shape[-1]  # every product counts once


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((3,), (2,)), ((2, 3), ()), ((2, 2, 3), (3, 3, 2))], ids=str
)
def test_operands_that_do_not_fit_are_named_with_their_shapes(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes)
    with pytest.raises(ValueError, match=r"^matmul: ") as caught:
        x @ y
    for shape in shapes:
        assert f"float64 {shape}" in str(caught.value)


def test_third_derivatives_pass_gradcheck():
    w = np.array([[0.5, -1.0], [2.0, 0.3]])
    tg.gradcheck(lambda x: x @ (w @ (x @ x)), np.array([[1.0, 0.2], [-0.4, 0.7]]), order=3)


# einsum


@st.composite
def einsums(draw):
    """Subscripts and the shapes of their operands: repeats, diagonals, unit axes, letters summed alone."""
    letters = "abcd"
    lengths = {letter: draw(st.integers(1, 3)) for letter in letters}
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        term = "".join(draw(st.lists(st.sampled_from(letters), max_size=3)))
        unit = {letter: draw(st.integers(0, 4)) == 0 for letter in letters}  # broadcast along that axis
        terms.append(term)
        shapes.append(tuple(1 if unit[letter] else lengths[letter] for letter in term))
    present = sorted(set("".join(terms)))
    result = draw(st.lists(st.sampled_from(present), unique=True)) if present else []
    form = draw(st.sampled_from(["explicit", "implicit", "lists"]))
    return terms, "".join(result), shapes, form, draw(st.sampled_from([False, True, "optimal"]))


def check_einsum(rng, case):
    torch = pytest.importorskip("torch")
    terms, result, shapes, form, optimize = case
    arrays = [rng.standard_normal(shape) for shape in shapes]
    if form == "implicit":
        named = "".join(terms)
        result = "".join(sorted(letter for letter in set(named) if named.count(letter) == 1))
    explicit = f"{','.join(terms)}->{result}"

    def ours(*xs):
        if form == "lists":
            parts = [part for x, term in zip(xs, terms, strict=True) for part in (x, [*map(ord_of, term)])]
            return np.einsum(*parts, [*map(ord_of, result)], optimize=optimize)
        return np.einsum(",".join(terms) if form == "implicit" else explicit, *xs, optimize=optimize)

    np.testing.assert_allclose(ours(*map(leaf, arrays)).data, np.einsum(explicit, *arrays), atol=1e-12)
    assert_agrees_with_torch(ours, lambda *xs: torch.einsum(explicit, *xs), *arrays)


def ord_of(letter):
    return ord(letter) - ord("a")


def test_random_einsums_agree_with_torch():
    assert many(check_einsum, einsums(), 100) == 100


@st.composite
def contractions(draw):
    """A product that autograd has too, and shapes for it."""
    n, m, k, j = (draw(st.integers(1, 3)) for _ in range(4))
    batch = draw(st.sampled_from([(), (2,), (1,), (3, 1), (2, 3)]))
    name, f, *shapes = draw(st.sampled_from([
        ("dot", lambda np, x, y: np.dot(x, y), (n, m), (m, k)),
        ("dot", lambda np, x, y: np.dot(x, y), (*batch, n, m), (j, m, k)),
        ("dot", lambda np, x, y: np.dot(x, y), (*batch, m), (m,)),
        ("dot", lambda np, x, y: np.dot(x, y), (), (n, m)),
        ("inner", lambda np, x, y: np.inner(x, y), (*batch, m), (k, m)),
        ("outer", lambda np, x, y: np.outer(x, y), (n,), (m,)),
        ("matmul", lambda np, x, y: np.matmul(x, y), (*batch, n, m), (*batch[1:], m, k)),
        ("tensordot", lambda np, x, y: np.tensordot(x, y, 1), (*batch, n), (n, m)),
        ("tensordot", lambda np, x, y: np.tensordot(x, y, 0), batch, (n, m)),
        ("tensordot", lambda np, x, y: np.tensordot(x, y, ([0, 2], [1, 0])), (n, m, k), (k, n, j)),
        ("tensordot", lambda np, x, y: np.tensordot(x, y, ([-1], [0])), (n, m, k), (k, n)),
        ("kron", lambda np, x, y: np.kron(x, y), (n, m), (j, k)),
        ("cross", lambda np, x, y: np.cross(x, y), (*batch, 3), (*batch, 3)),
        ("einsum", lambda np, x, y: np.einsum("...ij,...jk->...ik", x, y),
         (*batch, n, m), (*batch[1:], m, k)),
        ("einsum", lambda np, x, y: np.einsum("i...,...j", x, y), (n, *batch), (*batch, m)),
    ]))  # fmt: skip
    return name, f, shapes


def check_contraction(rng, case):
    _, f, shapes = case
    assert_agrees_with_autograd(f, *(rng.standard_normal(shape) for shape in shapes))


def test_random_contractions_agree_with_autograd():
    assert many(check_contraction, contractions(), 100) == 100


@pytest.mark.slow
def test_thousands_of_random_products_agree():
    counts = [many(check_einsum, einsums(), 3000), many(check_contraction, contractions(), 1500)]
    print(f"\nproducts: {sum(counts)} cases")


# Every form. x is (2, 3), y (3, 2), s (3, 3), v (3,), w (2,), c (2, 3, 4), o (), u (1, 3)

OPERANDS = {"x": (2, 3), "y": (3, 2), "s": (3, 3), "v": (3,), "w": (2,), "c": (2, 3, 4), "o": (), "u": (1, 3)}

CALLS = """
np.einsum('ij,jk', x, y)
np.einsum('ba', x)
np.einsum('ii', s)
np.einsum('ii->i', s)
np.einsum('ij->', x)
np.einsum('i j , j k -> i k', x, y)
np.einsum('...', x)
np.einsum('...j->j...', c)
np.einsum('i...->...', c)
np.einsum('...ij,...jk->...ik', c, c[0].T)
np.einsum('i...j,j...->i...', c, c.T[..., 0])
np.einsum('...,...', x, v)
np.einsum('...i,i...', x, v)
np.einsum('ij,ij->ij', x, u)
np.einsum('iji->j', s[:, None] * v[None, :, None])
np.einsum('ii,ij,jk,k->', s, s, y, w)
np.einsum(',ij,->ji', o, x, o)
np.einsum('ij,ij,ij->i', x, x, x, optimize='greedy')
np.einsum('ij,jk,kl->il', x, y, x, optimize=['einsum_path', (1, 2), (0, 1)])
np.einsum('aB,Bc', x, y)
np.einsum(x, [0, 1], y, [1, 2], [0, 2])
np.einsum(x, [0, 1], y, [1, 2])
np.einsum(x, [30, 2])
np.einsum(c, [..., 0], [0, ...])
np.einsum(s, [0, 0])
np.einsum('i,i', v, [1.0, 2.0, 3.0])
np.dot(o, x)
np.dot(x, 2.0)
np.dot(v, v)
np.dot(x, v)
np.dot(c, y[:, :1].T[..., :1] * np.ones((4, 2)))
np.dot(x, c.T[..., :1][0])
np.dot(v, c)
np.vdot(x, y)
np.vdot(o, o)
np.inner(x, s)
np.inner(v, o)
np.inner(v, v)
np.outer(x, v)
np.outer(w, [1.0, 2.0])
np.linalg.outer(w, v)
np.tensordot(x, y, 1)
np.tensordot(x, y, axes=((0, 1), (1, 0)))
np.tensordot(c, x, ([1, 0], [1, 0]))
np.tensordot(x, v, axes=[-1, 0])
np.linalg.tensordot(x, c, axes=2)
np.kron(x, v)
np.kron(v, c)
np.kron(o, x)
np.cross(x, u)
np.cross(s, v)
np.cross(s, s.T, 0, 1, 0)
np.cross(c, 2.0 * c, axis=1)
np.linalg.cross(y, y[:, ::-1], axis=0)
np.vecdot(x, v)
np.linalg.vecdot(c, c, axis=1)
np.linalg.matmul(x, y)
""".strip().splitlines()


@pytest.mark.parametrize("call", CALLS)
def test_values_are_numpys_and_derivatives_right(call):
    names = [name for name in OPERANDS if name in compile(call, call, "eval").co_names]
    rng = np.random.default_rng(len(call))
    arrays = [rng.standard_normal(OPERANDS[name]) for name in names]
    f = lambda *xs: evaluate(call, **dict(zip(names, xs, strict=True)))
    ours = evaluate(call.replace("np.", "tg.", 1), **dict(zip(names, arrays, strict=True)))
    for values in (f(*(leaf(x) for x in arrays)).data, ours):
        np.testing.assert_allclose(values, f(*arrays), rtol=1e-13, atol=1e-14)
        assert np.shape(values) == np.shape(f(*arrays))
    tg.gradcheck(f, *arrays, order=2)
    single = [leaf(x, "float32") for x in arrays]
    if "1.0" not in call and "ones" not in call:
        out = f(*single)
        out.backward(np.ones(out.shape))
        assert [out.dtype, *(x.grad.dtype for x in single)] == [np.float32] * (1 + len(single))


def test_third_derivatives_of_einsum():
    x = np.random.default_rng(0).standard_normal((2, 2))
    tg.gradcheck(lambda x: np.einsum("ii,ij,kj->k", x, x, x), x, order=3)


def test_an_einsum_of_a_diagonal_gives_it_alone_a_gradient():
    x = leaf(np.ones((3, 3)))
    np.einsum("ii", x).backward()
    np.testing.assert_array_equal(x.grad, np.eye(3))


@refused_calls(
    ("np.einsum('ij,jk', x)", ValueError, "einsum: 'ij,jk' has 2 operands, got 1"),
    ("np.einsum('ijk', x)", ValueError, "einsum: 'ijk' in 'ijk' does not fit operand 0, of 2 axes"),
    ("np.einsum('i', x)", ValueError, "does not fit operand 0"),
    ("np.einsum('ij...k->', x)", ValueError, "does not fit operand 0"),
    ("np.einsum('i?', x)", ValueError, "does not fit operand 0"),
    ("np.einsum('i...->i', x)", ValueError, "has an ellipsis on the left alone"),
    ("np.einsum('ij->ijk', x)", ValueError, "einsum_: "),
    ("np.einsum('ij->ii', x)", ValueError, "einsum_: "),
    ("np.einsum('ij,ij', x, x.T)", ValueError, r"^einsum_: .*\(operands\[0\] float64 \(2, 3\)"),
    ("np.einsum('ii', x)", ValueError, "^einsum_: "),
    ("np.einsum(x, [0, -1])", ValueError, "einsum: axes must be 0 to 51"),
    ("np.einsum(x, [0, 52])", ValueError, "einsum: axes must be 0 to 51"),
    ("np.einsum('ij', x, out=x)", TypeError, "einsum.*out"),
    ("np.einsum('ij', x, dtype='float32')", TypeError, "einsum.*dtype"),
    ("np.einsum('ij', x, order='F')", TypeError, "einsum.*order"),
    ("np.dot(x, x)", ValueError, r"^matmul: "),
    ("np.dot(x, x.T, out=x)", TypeError, "dot.*out"),
    ("np.outer(x, x, out=x)", TypeError, "outer.*out"),
    ("np.tensordot(x, x, 1)", ValueError, r"tensordot: axes 1 of shapes \(2, 3\) and \(2, 3\) differ"),
    ("np.tensordot(x, x, ([0], [0, 1]))", ValueError, "tensordot: axes"),
    ("np.cross(x[:, :2], x)", ValueError, r"cross: expected vectors of 3 elements"),
    ("np.vdot(x, x[0])", ValueError, "matmul: "),
)
def test_what_does_not_fit_or_is_not_supported_is_named(call, error, message):
    assert_refused(call, error, message, x=leaf(np.ones((2, 3))))
