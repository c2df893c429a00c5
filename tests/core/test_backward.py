"""The reverse walk: every node once, with all its cotangents; nothing more computed, nothing kept alive."""

import contextlib
import gc
import sys
import weakref

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg

# Sums over paths


def diamond(x):
    """micrograd's: ``a`` is used twice, once through another node."""
    a = x * x
    b = a + 1.0
    return a * b


def reused_in_both_operands(x):
    a = x + 1.0
    return a * a


def uneven_paths(x):
    a = x * 2.0
    b = a
    for _ in range(5):
        b = b + a
    return a * b * x


def deep_and_shallow(x):
    deep = x
    for _ in range(10):
        deep = deep * x
    return x + deep + x * deep


def lattice(x):
    a, b = x, x * 1.0
    for _ in range(20):
        a, b = 0.5 * (a + b), 0.5 * (a + b)
    return a * b


@pytest.mark.parametrize(("f", "derivative"), [
    (diamond, lambda x: 4 * x**3 + 2 * x),
    (reused_in_both_operands, lambda x: 2 * (x + 1)),
    (uneven_paths, lambda x: 72 * x**2),
    (deep_and_shallow, lambda x: 1 + 11 * x**10 + 12 * x**11),
    (lattice, lambda x: 2 * x),
])  # fmt: skip
@pytest.mark.parametrize("value", [1.5, -0.5])
def test_a_gradient_is_the_sum_over_all_paths(f, derivative, value):
    x = leaf(value)
    f(x).backward()
    np.testing.assert_allclose(x.grad, derivative(value), rtol=1e-12)


def test_tricycles_aliased_accumulation():
    """Tricycle adds cotangents in place, where they are shared: it finds dy = 2."""
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    ((x + y) + x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])
    np.testing.assert_array_equal(y.grad, [1.0, 1.0])


def test_an_argument_given_twice_receives_both_cotangents():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    (x @ x).sum().backward()
    ones = np.ones((2, 2))
    np.testing.assert_array_equal(x.grad, ones @ x.data.T + x.data.T @ ones)


def test_all_cotangents_of_a_wide_fan_out_are_added():
    x = leaf(1.0)
    total = x * 0.0
    for i in range(2000):
        total = total + x * float(i)
    total.backward()
    assert x.grad == sum(range(2000))


def test_backward_on_a_leaf_gives_the_cotangent():
    x = leaf([1.0, 2.0])
    x.backward([3.0, 4.0])
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


# Accumulation


@pytest.mark.parametrize("f", [diamond, uneven_paths])
def test_backward_twice_adds_the_same_twice(f):
    """micrograd keeps gradients on inner nodes: 32, then 64, even after zeroing the leaf."""
    x = leaf(2.0)
    y = f(x)
    y.backward()
    once = x.grad.item()
    y.backward()
    assert x.grad == 2 * once
    x.zero_grad()
    y.backward()
    assert x.grad == once


def test_only_leaves_accumulate():
    x = leaf(2.0)
    y = x * x
    (y * 3.0).backward()
    assert y.grad is None


def test_two_outputs_of_one_graph_add_up():
    x = leaf(3.0)
    a = x * x
    (a * 2).backward()
    (a + x).backward()
    assert x.grad == 12 + 6 + 1


def test_gradients_are_read_only_arrays_of_the_leafs_shape_and_dtype():
    for dtype in ("float16", "float32", "float64"):
        x, b = leaf([[1.0, 2.0]], dtype), leaf(1.0, dtype)
        (x * b).sum().backward()
        for t in (x, b):
            assert isinstance(t.grad, np.ndarray)
            assert (t.grad.shape, t.grad.dtype) == (t.shape, np.dtype(dtype))
            assert not t.grad.flags.writeable


# What is asked of an output


def test_a_non_scalar_needs_a_cotangent():
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(ValueError, match=r"backward: Tensor of shape \(2,\), float64 is not a scalar"):
        (x * x).backward()
    (x[:1] * 3).backward()  # one element will do, whatever its shape
    np.testing.assert_array_equal(x.grad, [3.0, 0.0])


@pytest.mark.parametrize("cotangent", [1.0, [1.0], [[1.0, 2.0]], [1.0, 2.0, 3.0]], ids=repr)
def test_a_cotangent_of_another_shape_is_refused(cotangent):
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=r"backward: expected a cotangent .*\(2,\).*, got"):
        (x * x).backward(cotangent)
    assert x.grad is None


@pytest.mark.parametrize("make", [
    lambda: tg.Tensor(1.0), lambda: tg.Tensor(1.0) * 2, lambda: tg.no_grad()(lambda: leaf(1.0) * 2)(),
    lambda: leaf(1.0).detach(),
], ids=["constant", "of constants", "under no_grad", "detached"])  # fmt: skip
def test_backward_from_what_requires_no_grad_is_refused(make):
    with pytest.raises(RuntimeError, match="does not depend on anything that requires grad"):
        make().backward()


# Only what is needed


def picky(**formulas):
    @tg.op
    def product(x, y):
        return x * y

    product.defvjp(**formulas)
    return product


def fail(g, out, x, y):
    raise AssertionError("nobody needs this derivative")


def test_only_the_vjps_that_somebody_needs_run():
    product = picky(x=lambda g, out, x, y: g * y, y=fail)
    for constant in (3.0, np.array([3.0]), tg.Tensor([3.0])):
        x = leaf([2.0])
        product(x, constant).backward()
        np.testing.assert_array_equal(x.grad, [3.0])
    (gradient,) = tg.grad(product, argnums=(0,))(np.array([2.0]), np.array([3.0]))
    np.testing.assert_array_equal(gradient, [3.0])


def test_vjps_of_what_a_transform_does_not_ask_for_do_not_run():
    product, w = picky(x=lambda g, out, x, y: g * y, y=fail), leaf([3.0])
    assert tg.grad(lambda x: product(x, w))(np.array([2.0])).item() == 3.0


def test_formulas_run_on_arrays_unless_a_graph_is_asked_for():
    kinds = []

    def formula(g, out, x, y):
        kinds.append({type(a) for a in (out, x, y)})
        return g * y

    product = picky(x=formula, y=None)
    x, y = leaf([2.0]), tg.Tensor([3.0])
    product(x, y).backward()
    product(x, y).backward(create_graph=True)
    assert kinds == [{np.ndarray}, {tg.Tensor}]


def test_a_vjp_declared_none_is_zero():
    product = picky(x=lambda g, out, x, y: g * y, y=None)
    x, y = leaf([2.0]), leaf([3.0])
    product(x, y).backward()
    np.testing.assert_array_equal(x.grad, [3.0])
    assert y.grad is None
    assert tg.grad(product, argnums=1)(np.array([2.0]), np.array([3.0])) == 0.0


# What is wrong is named


@pytest.mark.parametrize("formulas", [{}, {"x": lambda g, out, x, y: g * y}])
def test_a_missing_vjp_names_op_and_argument(formulas):
    product = picky(**formulas)
    x = leaf([2.0])
    y = product(leaf([1.0]), x) if formulas else product(x, 1.0)
    argument = "y" if formulas else "x"
    with pytest.raises(
        NotImplementedError, match=f"product has no vjp with respect to {argument}; declare it with"
    ):
        y.backward()


WRONG_COTANGENTS = {
    "another shape": (lambda g: g[:1], "(1,)"),
    "another rank": (lambda g: g[None], "(1, 3)"),
    "a sum over all": (lambda g: np.sum(g), "()"),
    "wider": (lambda g: np.stack([g] * 4), "(4, 3)"),
    "another dtype": (lambda g: np.float32(g), "float32"),
    "integers": (lambda g: np.ones(3, int), "int64"),
    "a Python number": (lambda g: 0.0, ""),
    "nothing": (lambda g: None, ""),
}


@pytest.mark.parametrize("elementwise", [False, True], ids=["op", "elementwise op"])
@pytest.mark.parametrize("wrong", WRONG_COTANGENTS)
def test_a_wrong_cotangent_names_the_op_and_what_was_expected(wrong, elementwise):
    formula, got = WRONG_COTANGENTS[wrong]

    @tg.op(elementwise=elementwise)
    def mistaken(x):
        return x * 1

    mistaken.defvjp(x=lambda g, out, x: formula(g))
    x = leaf([1.0, 2.0, 3.0])
    with pytest.raises((TypeError, ValueError)) as caught:
        mistaken(x).backward(np.ones(3))
    message = str(caught.value)
    assert "mistaken" in message
    assert "(3,)" in message
    assert got in message
    assert x.grad is None


def test_nothing_is_accumulated_when_backward_raises():
    x, y = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    broken = picky(x=lambda g, out, x, y: g * y, y=lambda g, out, x, y: 1 / 0)
    loss = (x * 3.0 + broken(x, y)).sum()
    for kept in (None, np.ones(2)):
        x.grad = kept
        with pytest.raises(ZeroDivisionError):
            loss.backward()
        np.testing.assert_equal(x.grad, kept)
        assert y.grad is None


def test_nothing_is_accumulated_when_a_gradient_does_not_add_up():
    x, y = leaf([1.0, 2.0], "float32"), leaf([1.0, 2.0], "float32")
    loss = (x * y).sum()
    with contextlib.suppress(TypeError):
        x.grad = tg.Tensor([1.0, 1.0], dtype="float64")
    before = x.grad
    with contextlib.suppress(TypeError):
        loss.backward()
        assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float32)
        return
    assert x.grad is before
    assert y.grad is None


# Higher orders through create_graph


def test_create_graph_to_third_order():
    x = leaf([1.0, 2.0])
    y = (x**5).sum()
    for derivative in (lambda v: 5 * v**4, lambda v: 20 * v**3, lambda v: 60 * v**2):
        x.zero_grad()
        y.backward(create_graph=True)
        assert isinstance(x.grad, tg.Tensor)
        np.testing.assert_allclose(x.grad.data, derivative(x.data), rtol=1e-12)
        y = x.grad.sum()
    assert y.requires_grad


def test_gradients_recorded_and_not_recorded_add_up():
    x = leaf([1.0, 2.0])
    y = (x * x * x).sum()
    y.backward()
    y.backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.data, 6 * x.data**2)
    y.backward()
    np.testing.assert_array_equal(np.asarray(getattr(x.grad, "data", x.grad)), 9 * x.data**2)


def test_a_recorded_gradient_of_a_linear_function_is_a_constant():
    x = leaf([1.0, 2.0])
    (3.0 * x).sum().backward(create_graph=True)
    assert isinstance(x.grad, tg.Tensor)
    assert not x.grad.requires_grad


def test_a_gradient_penalty():
    x, w = np.array([[1.0, 2.0], [3.0, -1.0]]), leaf([0.5, -0.3])
    t = leaf(x)
    np.tanh(t @ w).sum().backward(create_graph=True)
    penalty = (t.grad * t.grad).sum()
    w.zero_grad()
    penalty.backward()

    def by_hand(w):
        slope = 1 - np.tanh(x @ w) ** 2
        return np.sum(slope**2) * (w @ w)

    for i, step in enumerate(1e-6 * np.eye(2)):
        quotient = (by_hand(w.data + step) - by_hand(w.data - step)) / 2e-6
        np.testing.assert_allclose(w.grad[i], quotient, rtol=1e-7)


# Depth and memory


def chain(n):
    x = leaf(1.0)
    y = x
    for _ in range(n):
        y = y + 1.0
    return x, y


@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_long_chain_is_built_differentiated_and_freed(n):
    """micrograd and others recurse, and end at a depth of about 1000."""
    assert n > 10 * sys.getrecursionlimit()
    x, y = chain(n)
    y.backward()
    assert x.grad == 1.0
    last = weakref.ref(y)
    del y
    assert last() is None


def test_a_long_chain_is_differentiated_twice():
    x = leaf(1.0)
    y = x
    for _ in range(3000):
        y = y * 1.0 + x * 0.001
    (y * y).backward(create_graph=True)
    assert x.grad.item() == pytest.approx(32.0)
    g, x.grad = x.grad, None
    g.backward()
    assert x.grad == pytest.approx(32.0)


@pytest.fixture
def no_collector():
    """Only reference counts free memory here, so that a cycle shows as a leak."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def uses(name, inner):
    """Ways to use a graph: each makes one from ``x`` and drops it, noting its inner node in ``inner``."""

    def noted(x):
        y = x * x
        inner.append(weakref.ref(y))
        return y

    x = leaf([1.0, 2.0, 3.0])
    if name == "forward":
        np.tanh(noted(x)).reshape(1, 3).sum()
    elif name == "backward":
        noted(x).sum().backward()
    elif name == "backward twice, recorded":
        noted(x).sum().backward(create_graph=True)
        g, x.grad = x.grad, None
        (g * g).sum().backward()
    elif name == "error in forward":
        with contextlib.suppress(ValueError):
            noted(x) @ np.ones(5)
    elif name == "error in a vjp":
        broken = picky(x=lambda g, out, x, y: 1 / 0, y=None)
        with contextlib.suppress(ZeroDivisionError):
            broken(noted(x), 1.0).sum().backward()
    elif name == "missing vjp":
        with contextlib.suppress(NotImplementedError):
            picky()(noted(x), 1.0).sum().backward()
    elif name == "refused assignment":
        y = noted(x)
        x.data = np.zeros(3)
        with contextlib.suppress(RuntimeError):
            y.sum().backward()
    elif name == "grad":
        tg.grad(lambda x: noted(x).sum())(x.numpy())
    elif name == "grad of grad":
        tg.grad(lambda x: tg.grad(lambda x: noted(x).sum())(x).sum())(x.numpy())
    elif name == "vjp":
        _, pull_back = tg.vjp(noted, x.numpy())
        pull_back(np.ones(3))
    elif name == "error under grad":
        with contextlib.suppress(ValueError):
            tg.grad(noted)(x.numpy())
    elif name == "gradcheck":
        tg.gradcheck(noted, x.numpy(), order=2)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", [
    "forward", "backward", "backward twice, recorded", "error in forward", "error in a vjp", "missing vjp",
    "refused assignment", "grad", "grad of grad", "vjp", "error under grad", "gradcheck",
])  # fmt: skip
def test_no_graph_outlives_its_output(name):
    inner = []
    uses(name, inner)
    assert inner
    assert [reference() for reference in inner] == [None] * len(inner)


@pytest.mark.usefixtures("no_collector")
def test_a_graph_lives_as_long_as_its_output_and_no_longer():
    x = leaf([1.0, 2.0, 3.0])
    a = x * x
    kept = weakref.ref(a)
    out = np.tanh(a).sum()
    del a
    assert kept() is not None
    out.backward()
    assert kept() is not None  # it can be walked again
    del out
    assert kept() is None


def test_a_leaf_keeps_no_graph_alive():
    x = leaf([1.0, 2.0])
    gone = []
    for _ in range(3):
        y = (x * x).sum()
        y.backward()
        gone.append(weakref.ref(y))
    del y
    assert [reference() for reference in gone] == [None] * 3


def test_cotangents_are_dropped_on_the_way():
    """At no time do more than a few cotangents of a chain exist."""
    alive, most = set(), [0]

    @tg.op
    def step(x):
        return x * 1

    def formula(g, out, x):
        fresh = g * 1
        alive.add(id(fresh))
        weakref.finalize(fresh, alive.discard, id(fresh))
        most[0] = max(most[0], len(alive))
        return fresh

    step.defvjp(x=formula)
    x = leaf(np.zeros(3))
    y = x
    for _ in range(100):
        y = step(y)
    y.backward(np.ones(3))
    assert most[0] <= 3
