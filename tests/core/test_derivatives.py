"""jvp, hvp, jacobian and hessian, over trees, nested in any way, held against HIPS autograd and PyTorch."""

import collections
import gc
import itertools
import re
import threading
import weakref

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.differential_operators import hessian_vector_product, make_jvp
from helpers import assert_refused, leaf, refused_calls

import tensorgrad as tg

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def assert_same(found, truth):
    """Equal to 1e-9 and of one shape, through tuples."""
    if isinstance(truth, tuple):
        assert len(found) == len(truth)
        for f, t in zip(found, truth, strict=True):
            assert_same(f, t)
        return
    found = found.numpy() if isinstance(found, tg.Tensor) else found
    assert np.shape(found) == np.shape(truth)
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9)


# Against HIPS autograd


def chain(np, x, w):
    return np.tanh(x @ w) @ np.transpose(w) @ np.sin(x)


def softmax(np, x, w):
    e = np.exp(x @ w - np.max(x @ w, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def ratio(np, x, w):
    return np.sum(x * x, axis=0) / (1 + np.sum(np.exp(w)))


def kernel(np, x, w):
    return np.exp(-np.sum((x[:, None, :] - np.transpose(w)[None, :, :]) ** 2, axis=-1))


each_function = pytest.mark.parametrize("f", [chain, softmax, ratio, kernel], ids=lambda f: f.__name__)
ARGS = normal(3, 3), normal(3, 2)
TANGENTS = normal(3, 3), normal(3, 2)


def scalar_of(f):
    return lambda np, x, w: np.sum(f(np, x, w) ** 2 * (1 + f(np, x, w)))


@each_function
def test_jvp_agrees_with_autograd(f):
    value, tangent = tg.jvp(lambda x, w: f(np, x, w), ARGS, TANGENTS)
    truth = make_jvp(lambda args: f(anp, *args))(ARGS)(TANGENTS)
    assert_same((value, tangent), tuple(truth))


@each_function
@pytest.mark.parametrize("argnums", [0, 1, -1], ids=repr)
def test_jacobian_and_hessian_agree_with_autograd(f, argnums):
    truth = autograd.jacobian(lambda x, w: f(anp, x, w), argnums % 2)(*ARGS)
    assert_same(tg.jacobian(lambda x, w: f(np, x, w), argnums)(*ARGS), truth)
    truth = autograd.hessian(lambda x, w: scalar_of(f)(anp, x, w), argnums % 2)(*ARGS)
    assert_same(tg.hessian(lambda x, w: scalar_of(f)(np, x, w), argnums)(*ARGS), truth)


@each_function
@pytest.mark.parametrize("argnums", [0, 1, -2], ids=repr)
def test_hvp_agrees_with_autograd(f, argnums):
    truth = hessian_vector_product(lambda x, w: scalar_of(f)(anp, x, w), argnums % 2)(
        *ARGS, TANGENTS[argnums]
    )
    assert_same(tg.hvp(lambda x, w: scalar_of(f)(np, x, w), argnums)(*ARGS, TANGENTS[argnums]), truth)


@each_function
def test_a_tuple_of_argnums_gives_a_tuple(f):
    def of(numpy):
        return lambda x, w: scalar_of(f)(numpy, x, w)

    forward = tg.jacobian(lambda x, w: f(np, x, w), (0, 1))(*ARGS)
    assert_same(tg.jacobian(lambda x, w: f(np, x, w), (1, 0))(*ARGS), forward[::-1])
    assert_same(tg.jacobian(lambda x, w: f(np, x, w), (-1,))(*ARGS), forward[1:])
    along = autograd.grad(
        lambda args: sum(
            anp.sum(g * t) for g, t in zip(autograd.grad(of(anp), (0, 1))(*args), TANGENTS, strict=True)
        )
    )(ARGS)
    assert_same(tg.hvp(of(np), (0, 1))(*ARGS, TANGENTS), tuple(along))


# Against torch.func, whose first jvp warns of its own torch.jit

quiet_torch = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    pytest.importorskip("torch.func")
    return module


def convolutional(x, w1, w2):
    """Convolution, pooling, a dense layer and the squared error."""
    images = np.maximum(tg.avg_pool(np.tanh(tg.conv2d(x, w1, padding=1)), size=2), -0.9)
    return tg.mse(images.reshape(2, -1) @ w2, np.ones((2, 3)))


def torch_convolutional(torch):
    def f(x, w1, w2):
        conv = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w1, padding=1)
        pooled = torch.nn.functional.avg_pool2d(torch.tanh(conv), 2).clamp(min=-0.9)
        flat = pooled.permute(0, 2, 3, 1).reshape(2, -1)
        return ((flat @ w2 - 1) ** 2).mean()

    return f


@quiet_torch
def test_a_convolutional_network_agrees_with_torch(torch):
    args = normal(2, 4, 4, 2), normal(2, 2, 3, 3), normal(8, 3)
    tangents = normal(2, 4, 4, 2), normal(2, 2, 3, 3), normal(8, 3)
    everything = (0, 1, 2)
    theirs = torch_convolutional(torch)
    targs, ttangents = (tuple(map(torch.tensor, trees)) for trees in (args, tangents))

    def numbers(tree):
        return tuple(map(numbers, tree)) if isinstance(tree, tuple) else tree.numpy()

    gradient = torch.func.grad(theirs, everything)
    assert_same(tg.jvp(convolutional, args, tangents), numbers(torch.func.jvp(theirs, targs, ttangents)))
    assert_same(tg.grad(convolutional, everything)(*args), numbers(gradient(*targs)))
    truth = torch.func.jvp(gradient, targs, ttangents)
    assert_same(tg.hvp(convolutional, everything)(*args, tangents), numbers(truth[1]))
    assert_same(tg.jvp(tg.grad(convolutional, everything), args, tangents), numbers(truth))
    assert_same(tg.hessian(convolutional, 1)(*args), torch.func.hessian(theirs, 1)(*targs).numpy())


@quiet_torch
def test_higher_jacobians_agree_with_torch(torch):
    def f(x):
        return np.exp(x @ x.T).sum(axis=0) * x[:, 0]

    def theirs(x):
        return torch.exp(x @ x.T).sum(0) * x[:, 0]

    x = normal(2, 2) / 2
    jacrev = torch.func.jacrev
    assert_same(tg.jacobian(tg.jacobian(f))(x), jacrev(jacrev(theirs))(torch.tensor(x)).numpy())
    third = jacrev(jacrev(jacrev(theirs)))(torch.tensor(x)).numpy()
    assert_same(tg.jacobian(tg.jacobian(tg.jacobian(f)))(x), third)
    hessian = torch.func.hessian(lambda x: theirs(x).sum())(torch.tensor(x)).numpy()
    assert_same(tg.hessian(lambda x: f(x).sum())(x), hessian)


# Nesting

X, V = np.array([0.3, -1.2]), np.array([2.0, 0.5])


def quartic(x):
    return np.sum(x**4) + x[0] ** 2 * x[1] ** 3


def third(x):
    """The third derivatives of `quartic`, by hand."""
    t = np.zeros((2, 2, 2))
    t[0, 0, 0], t[1, 1, 1] = 24 * x[0], 24 * x[1] + 6 * x[0] ** 2
    for places, value in (((0, 0, 1), 6 * x[1] ** 2), ((0, 1, 1), 12 * x[0] * x[1])):
        for i in itertools.permutations(places):
            t[i] = value
    return t


@pytest.mark.parametrize(
    "found",
    [
        lambda: tg.jacobian(tg.hessian(quartic))(X),
        lambda: tg.hessian(lambda x: tg.jvp(quartic, (x,), (np.ones(2),))[1])(X),
        lambda: tg.jacobian(tg.jacobian(tg.grad(quartic)))(X),
        lambda: tg.jacobian(lambda x: np.stack([tg.hvp(quartic)(x, e) for e in np.eye(2)]))(X),
        lambda: np.stack([tg.jacobian(lambda x, i=i: tg.hessian(quartic)(x)[i])(X) for i in range(2)]),
        lambda: np.stack([tg.jvp(tg.hessian(quartic), (X,), (e,))[1] for e in np.eye(2)]),
    ],
    ids=[
        "jacobian of hessian", "hessian of jvp", "jacobian of jacobian", "of hvps", "rows", "jvp of hessian",
    ],
)  # fmt: skip
def test_third_derivatives_by_every_way(found):
    truth, found = third(X), found()
    if found.shape == (2, 2):  # contracted with ones
        truth = truth.sum(axis=0)
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_grad_of_hvp_and_of_jvp():
    def along(x):
        return np.sum(tg.hvp(quartic)(x, V) * V)

    np.testing.assert_allclose(tg.grad(along)(X), third(X) @ V @ V, rtol=1e-9)
    found = tg.grad(lambda v: np.sum(tg.hvp(quartic)(X, v) * v))(V)
    np.testing.assert_allclose(found, 2 * tg.hessian(quartic)(X) @ V, rtol=1e-9)
    found = tg.grad(lambda t: tg.jvp(quartic, (X,), (t,))[1])(V)
    np.testing.assert_allclose(found, tg.grad(quartic)(X), rtol=1e-9)


def test_jvp_of_jvp_and_no_confusion_of_perturbations():
    value, tangent = tg.jvp(lambda x: tg.jvp(lambda y: y**4, (x,), (1.0,))[1], (2.0,), (1.0,))
    assert (value, tangent) == (32.0, 48.0)
    inner = tg.jvp(lambda x: x * tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (2.0,), (1.0,))
    assert inner == (2.0, 1.0)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (lambda q: tg.hessian(lambda x: q * np.sum(x**3))(np.ones(2)).sum(), 12.0),
        (lambda q: tg.hvp(lambda x: q * np.sum(x**3))(np.ones(2), np.ones(2)).sum(), 12.0),
        (lambda q: tg.jacobian(lambda x: q * x**3)(np.ones(2)).sum(), 6.0),
        (lambda q: tg.jvp(lambda x: q * x**3, (1.0,), (1.0,))[1], 3.0),
        (lambda q: tg.jvp(lambda x: q * x**3, (1.0,), (1.0,))[0], 1.0),
        (lambda q: tg.jvp(lambda x: x**3, (1.0,), (q,))[1], 3.0),
        (lambda q: tg.vjp(lambda x: x**3, 1.0)[1](q)[0], 3.0),
        (lambda q: np.sum(tg.hessian(lambda x: q * x.sum())(np.ones(2))), 0.0),
    ],
    ids=["hessian", "hvp", "jacobian", "jvp", "value of jvp", "tangent", "cotangent", "zero"],
)  # fmt: skip
def test_functions_that_close_over_a_traced_tensor(of, expected):
    assert tg.grad(of)(2.0) == expected


@pytest.mark.parametrize(
    "of",
    [
        lambda w: tg.jvp(lambda x: x * w, (X,), (V,)),
        lambda w: tg.hvp(lambda x: (x * x * w).sum())(X, V),
        lambda w: tg.jacobian(lambda x: x * w)(X),
        lambda w: tg.hessian(lambda x: (x * x * w).sum())(X),
        lambda w: tg.grad(lambda x: (x * x * w).sum())(X),
    ],
    ids=["jvp", "hvp", "jacobian", "hessian", "grad"],
)
def test_results_are_arrays_unless_something_outer_is_traced(of):
    for w, kind in ((2.0, np.ndarray), (tg.Tensor(2.0), np.ndarray), (leaf(2.0), tg.Tensor)):
        results = of(w)
        for result in results if isinstance(results, tuple) else (results,):
            assert type(result) is kind
            if kind is np.ndarray:
                result += 1  # the caller's own
            else:
                assert result.requires_grad


def test_under_no_grad_derivatives_are_arrays_and_right():
    w = leaf(2.0)
    with tg.no_grad():
        found = (
            tg.grad(lambda x: w * x**3)(3.0),
            tg.hvp(lambda x: w * x**3)(3.0, 1.0),
            tg.hessian(lambda x: w * x**3)(3.0),
            tg.jacobian(lambda x: w * x**3)(3.0),
        )
    assert {type(x) for x in found} == {np.ndarray}
    assert found == (54.0, 36.0, 36.0, 54.0)


def test_jvp_under_no_grad():
    with tg.no_grad():
        assert tg.jvp(lambda x: x**3, (3.0,), (1.0,)) == (27.0, 27.0)


def test_a_pull_back_made_under_no_grad_may_be_differentiated_or_refuses():
    with tg.no_grad():
        _, pull_back = tg.vjp(lambda x: x * x, 3.0)
    assert tg.grad(lambda g: pull_back(g)[0])(1.0) == 6.0


# Trees

Point = collections.namedtuple("Point", "x y")


def test_trees_of_tuples_lists_dicts_and_namedtuples():
    tree = {"p": Point(np.array([1.0, 2.0]), 3.0), "rest": [np.array([[4.0]]), (5.0,)]}
    ones = {"p": Point(np.ones(2), 1.0), "rest": [np.ones((1, 1)), (1.0,)]}

    def f(t):
        return (t["p"].x ** 2).sum() * t["p"].y + t["rest"][0].sum() * t["rest"][1][0] ** 2

    gradient = tg.grad(f)(tree)
    np.testing.assert_equal(gradient, {"p": Point(np.array([6.0, 12.0]), 5.0), "rest": [[[25.0]], (40.0,)]})
    assert type(gradient["p"]) is Point
    value, tangent = tg.jvp(f, (tree,), (ones,))
    assert (value, tangent) == (115.0, 6 + 12 + 5 + 25 + 40)
    np.testing.assert_equal(
        tg.hvp(f)(tree, ones),
        {"p": Point(np.array([8.0, 10.0]), 6.0), "rest": [[[10.0]], (10.0 + 8.0,)]},
    )
    np.testing.assert_equal(tg.jacobian(f)(tree), gradient)


def test_results_may_be_trees_and_take_trees_of_cotangents():
    value, pull_back = tg.vjp(lambda x: Point({"a": x * x}, [x.sum(), (3 * x,)]), X)
    assert type(value) is Point
    assert value.y[0] == X.sum()
    (g,) = pull_back(Point({"a": V}, [2.0, (np.ones(2),)]))
    np.testing.assert_allclose(g, 2 * X * V + 2 + 3)
    value, tangent = tg.jvp(lambda x: Point({"a": x * x}, [x.sum()]), (X,), (V,))
    np.testing.assert_equal(tangent, Point({"a": 2 * X * V}, [V.sum()]))


def test_jacobian_of_a_tree_has_a_block_for_each_array():
    blocks = tg.jacobian(lambda m: m["a"] * m["b"][0])({"a": np.array([1.0, 3.0]), "b": (2.0,)})
    np.testing.assert_equal(blocks, {"a": 2 * np.eye(2), "b": (np.array([1.0, 3.0]),)})


@pytest.mark.parametrize("empty", [{}, [], (), {"a": [(), {}]}], ids=repr)
def test_empty_trees_come_back_empty(empty):
    assert tg.grad(lambda t: 1.0)(empty) == empty
    assert tg.jacobian(lambda t: np.ones(2))(empty) == empty
    assert tg.hvp(lambda t: 1.0)(empty, empty) == empty
    value, tangent = tg.jvp(lambda t: np.ones(2), (empty,), (empty,))
    np.testing.assert_array_equal((value, tangent), [[1.0, 1.0], [0.0, 0.0]])
    value, pull_back = tg.vjp(lambda x: empty, 1.0)
    assert value == empty
    assert pull_back(empty) == (0.0,)


@pytest.mark.parametrize(
    "f",
    [lambda w: tg.vjp(lambda m: w * w, {})[0], lambda w: tg.value_and_grad(lambda m: w * w, ())(1.0)[0]],
    ids=["empty tree", "no argnums"],
)
def test_the_value_with_nothing_to_differentiate_stays_attached(f):
    assert tg.grad(f)(3.0) == 6.0


def test_trees_are_matched_by_key_whatever_the_order_of_the_dict():
    """Either by key or refused; by position it would be silently wrong."""
    _, pull_back = tg.vjp(lambda x: {"a": 2 * x, "b": 3 * x}, 1.0)
    assert pull_back({"b": 10.0, "a": 1.0}) == (32.0,)
    ones = {"a": 1.0, "b": 1.0}
    assert tg.jvp(lambda m: 2 * m["a"] + 3 * m["b"], (ones,), ({"b": 10.0, "a": 1.0},))[1] == 32.0
    found = tg.hvp(lambda m: m["a"] ** 2 + 5 * m["b"] ** 2)(ones, {"b": 1.0, "a": 0.0})
    assert found == {"a": 0.0, "b": 10.0}


@refused_calls(
    (
        "tg.vjp(lambda x: {'a': x, 'b': x}, 1.0)[1]([1.0, 2.0])",
        ValueError,
        r"expected a dict with keys \['a', 'b'\], got a list",
    ),
    (
        "tg.vjp(lambda x: {'a': x, 'b': x}, 1.0)[1]({'a': 1.0, 'c': 2.0})",
        ValueError,
        r"got keys \['a', 'c'\]",
    ),
    (
        "tg.vjp(lambda x: (x, (x, x)), 1.0)[1](((1.0, 2.0), 3.0))",
        ValueError,
        r"cotangent\[1\]: expected 2 parts, got a float",
    ),
    (
        "tg.jvp(lambda m: m[0][0] * m[1], (((1.0,), 1.0),), ((1.0, (1.0,)),))",
        ValueError,
        r"tangent\[0\]\[0\]: expected 1 parts, got a float",
    ),
    (
        "tg.hvp(lambda m: m[0][0] * m[1])(((1.0,), 1.0), (1.0, (1.0,)))",
        ValueError,
        r"\[0\]\[0\]: expected 1 parts, got a float",
    ),
)
def test_trees_of_another_form_are_refused(call, error, message):
    assert_refused(call, error, message)


# What is refused


@refused_calls(
    ("tg.jvp(lambda x: x * x, (X,), (np.ones(3),))", ValueError, "expected .* got"),
    ("tg.jvp(lambda x: x * x, (X,), (1.0,))", ValueError, "expected .* got"),
    ("tg.jvp(lambda x: x * x, (X,), (np.ones((1, 2)),))", ValueError, "expected .* got"),
    ("tg.jvp(lambda x, y: x * y, (X, X), (X,))", ValueError, "expected .* got"),
    ("tg.jvp(lambda x: x[0] * x[1], ((1.0, 1.0),), ((1.0,),))", ValueError, "expected .* got"),
    ("tg.hvp(quartic)(X, np.ones(3))", ValueError, "expected .* got"),
    ("tg.hvp(quartic)(X, (X, X))", ValueError, "expected .* got"),
    ("tg.vjp(lambda x: x * x, X)[1](np.ones(3))", ValueError, "expected .* got"),
    ("tg.vjp(lambda x: (x, x), X)[1]((X,))", ValueError, "expected .* got"),
    ("tg.vjp(lambda x: x * 2, X.astype('f4'))[1](tg.Tensor(X))", ValueError, "expected .* got"),
)
def test_mismatched_tangents_and_cotangents_are_refused(call, error, message):
    assert_refused(call, error, message, X=X, quartic=quartic)


@refused_calls(
    ("tg.jvp(f, (X,), (np.ones(3),))", ValueError, "jvp of f"),
    ("tg.jvp(f, ((X, X),), ((X,),))", ValueError, "jvp of f"),
    ("tg.hvp(f)(X, np.ones(3))", ValueError, "hvp of f"),
    ("tg.vjp(f, X)[1](np.ones(2))", ValueError, "vjp of f"),
)
def test_refusals_name_the_transform_and_the_function(call, error, message):
    def f(x):
        return np.sum(x[0] * x[0])

    assert_refused(call, error, message, f=f, X=X)


def test_an_argument_is_named_by_its_own_position():
    with pytest.raises(ValueError, match="does not depend on argument 1"):
        tg.grad(lambda x, y: x, 1, allow_unused=False)(1.0, 2.0)
    with pytest.raises(TypeError, match="argument 1: only floating"):
        tg.grad(lambda x, y: x * y, 1)(1.0, 2)
    with pytest.raises(ValueError, match="does not depend on argument 2"):
        tg.grad(lambda x, y, z: x, (-3, -1), allow_unused=False)(1.0, 2.0, 3.0)


@pytest.mark.parametrize("transform", [tg.grad, tg.hvp, tg.jacobian, tg.hessian])
def test_there_must_be_such_an_argument(transform):
    args = (X, V) if transform is tg.hvp else (X,)
    with pytest.raises(ValueError, match="no positional argument 3, only 1 were given"):
        transform(quartic, 3)(*args)


def test_jacobian_and_hessian_want_one_array():
    with pytest.raises(ValueError, match=r"jacobian of .*expected one result, got a tuple"):
        tg.jacobian(lambda x: (x, x))(X)
    with pytest.raises(ValueError, match="expected one result, got a dict"):
        tg.hessian(lambda m: m["a"] ** 2)({"a": 1.0})
    with pytest.raises(ValueError, match="expected a scalar result"):
        tg.hessian(lambda x: x)(X)


# allow_unused


@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad])
def test_unused_arguments_are_named_only_where_they_are_not_allowed(transform):
    def f(model, y):
        return (model["w"] ** 2).sum() * np.sign(model["b"][0]) + (y.numpy() * 0).sum()

    args = {"w": X, "b": (1.0, 2.0)}, V
    transform(f, (0, 1))(*args)
    with pytest.raises(
        ValueError, match=re.escape("f: the result does not depend on argument 0['b'][1], argument 1")
    ):
        transform(f, (0, 1), allow_unused=False)(*args)


def test_allow_unused_is_content_when_all_are_used():
    def f(model, y):
        return model["w"].sum() + sum(model["b"]) + y.sum()

    tg.grad(f, (0, 1), allow_unused=False)({"w": X, "b": (1.0, 2.0)}, V)


def test_allow_unused_within_another_derivative_and_checkpoint():
    inner = tg.grad(lambda y, x: tg.checkpoint(lambda y: y * y * x)(y), allow_unused=False)
    assert tg.grad(lambda x: inner(3.0, x))(2.0) == 6.0
    with pytest.raises(ValueError, match="does not depend on argument 0"):
        tg.grad(lambda x: tg.grad(lambda y: x * x, allow_unused=False)(x))(2.0)


# Functions that ignore arguments, scalars, empty arrays


@pytest.mark.parametrize(
    "f",
    [lambda x: 1.0, lambda x: tg.Tensor(2.0), lambda x: x.detach().sum()],
    ids=["number", "Tensor", "detached"],
)
def test_functions_that_ignore_their_argument(f):
    x = X.astype("f4")
    for found, shape in (
        (tg.hessian(f)(x), (2, 2)), (tg.hvp(f)(x, x), (2,)), (tg.jacobian(f)(x), (2,)),
        (tg.jvp(f, (x,), (x,))[1], ()),
    ):  # fmt: skip
        assert found.shape == shape
        assert not found.any()


def test_scalars_and_0d_arrays():
    for x in (3.0, np.float64(3), np.array(3.0), tg.Tensor(3.0)):
        for found in (tg.hessian(lambda x: x**3)(x), tg.hvp(lambda x: x**3)(x, 1.0)):
            assert (type(found), found.shape, found) == (np.ndarray, (), 18.0)
        assert tg.jacobian(lambda x: x * X)(x).shape == (2,)
        assert tg.jvp(lambda x: x**3, (x,), (2.0,)) == (27.0, 54.0)


def test_arguments_without_elements():
    x = np.ones((0, 3))
    assert tg.grad(lambda x: (x * x).sum())(x).shape == (0, 3)
    assert tg.jacobian(lambda x: (x * x).sum(axis=0))(x).shape == (3, 0, 3)
    assert tg.hvp(lambda x: (x * x).sum())(x, x).shape == (0, 3)
    assert tg.jvp(lambda x: (x * x).sum(axis=0), (x,), (x,))[1].tolist() == [0.0, 0.0, 0.0]
    assert tg.grad(lambda x: (x @ np.ones((0, 3))).sum())(np.ones((2, 0))).shape == (2, 0)


def test_results_without_elements():
    assert tg.jacobian(lambda x: x[:0])(X).shape == (0, 2)
    assert tg.hessian(lambda x: (x * x).sum())(np.ones((0, 3))).shape == (0, 3, 0, 3)


# dtypes


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nothing_is_promoted(dtype):
    x = np.ones(2, dtype)

    def f(x):
        return np.sum(np.exp(x) * 2.0 / (1 + x) ** 2)

    results = (
        tg.grad(f)(x), tg.hessian(f)(x), tg.hvp(f)(x, x), tg.jacobian(lambda x: np.tanh(x) * 2)(x),
        *tg.jvp(f, (x,), (x,)), *tg.value_and_grad(f)(x), tg.jacobian(tg.jacobian(np.tanh))(x),
        tg.grad(lambda x: np.sum(tg.hvp(f)(x, x)))(x), tg.jvp(f, (x,), (np.ones(2),))[1],
        tg.grad(lambda x: 1.0)(x), tg.hessian(lambda x: x.sum())(x), tg.grad(tg.checkpoint(f))(x),
        tg.vjp(lambda x: (x, x * 2), x)[1]((np.ones(2), np.arange(2)))[0],
    )  # fmt: skip
    assert {str(y.dtype) for y in results} == {dtype}


def test_tangents_take_the_dtype_of_their_argument():
    def f(x, y):
        return x * y.astype("f4")

    x, y = X.astype("f4"), X
    value, tangent = tg.jvp(f, (x, y), (x, y))
    assert (value.dtype, tangent.dtype) == (np.float32, np.float32)
    assert [g.dtype for g in tg.vjp(f, x, y)[1](X)] == [np.float32, np.float64]


def test_complex_tangents_are_not_cut_silently():
    with pytest.raises(TypeError, match="expected an array of real numbers, got dtype complex128"):
        tg.jvp(lambda x: x * x, (X,), (X * 1j,))


# Memory, and functions that do more than compute


@pytest.mark.parametrize(
    "of",
    [
        lambda f: tg.jvp(f, (X,), (V,)), lambda f: tg.hvp(f)(X, V), lambda f: tg.jacobian(f)(X),
        lambda f: tg.hessian(f)(X), lambda f: tg.grad(f)(X), lambda f: tg.vjp(f, X)[1](1.0),
        lambda f: tg.grad(lambda x: np.sum(tg.hvp(f)(x, V)))(X),
    ],
    ids=["jvp", "hvp", "jacobian", "hessian", "grad", "vjp", "grad of hvp"],
)  # fmt: skip
def test_no_graph_is_kept_alive(of):
    seen = []

    def f(x):
        y = x * x
        seen.append(weakref.ref(y))
        return np.sum(y * x)

    gc.collect()
    gc.disable()
    try:
        result = of(f)
        assert seen
        assert all(ref() is None for ref in seen)
        del result
    finally:
        gc.enable()


def test_a_pull_back_may_be_called_often_and_in_another_thread():
    _, pull_back = tg.vjp(lambda x: x * x, 3.0)
    found = [pull_back(1.0), pull_back(2.0)]
    thread = threading.Thread(target=lambda: found.append(pull_back(3.0)))
    thread.start()
    thread.join()
    assert found == [(6.0,), (12.0,), (18.0,)]


def test_a_function_that_assigns_its_argument_does_not_lose_gradients():
    def f(x, y):
        with tg.no_grad():
            x *= 2
        return x * y

    assert tg.grad(f, (0, 1))(3.0, 5.0) == (5.0, 6.0)


def test_a_function_that_raises_leaves_the_switch_as_it_was():
    def f(x):
        with tg.no_grad():
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            tg.hessian(f)(X)
    assert (leaf(1.0) * 2).requires_grad
    with tg.no_grad():
        with pytest.raises(KeyError):
            tg.jvp(f, (X,), (V,))
        assert not (leaf(1.0) * 2).requires_grad


def test_a_closure_assigned_before_pulling_back_raises():
    w = leaf(2.0, name="w")
    _, pull_back = tg.vjp(lambda x: x * w, 3.0)
    w.data = 5.0
    with pytest.raises(RuntimeError, match=r"Tensor 'w'.* was assigned after multiply had read it"):
        pull_back(1.0)


@pytest.mark.parametrize("transform", [tg.hvp, tg.jacobian, tg.hessian, tg.checkpoint])
def test_transforms_keep_name_and_documentation(transform):
    def energy(x):
        """E(x)"""
        return np.sum(x * x)

    assert (transform(energy).__name__, transform(energy).__doc__) == ("energy", "E(x)")


def test_keyword_arguments_are_passed_on():
    def f(x, *, p):
        return np.sum(x**p)

    np.testing.assert_allclose(tg.hvp(f)(X, V, p=3), 6 * X * V)
    np.testing.assert_allclose(tg.hessian(f)(X, p=3), np.diag(6 * X))
    np.testing.assert_allclose(tg.jacobian(f)(X, p=3), 3 * X**2)
