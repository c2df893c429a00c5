"""Changing a value between forward and backward raises, or cannot reach the graph; never a wrong gradient."""

import contextlib

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg


def assign(w):
    w.data = w.numpy() + 10


def update(w):
    with tg.no_grad():
        w -= 10


def update_by_a_step(w):
    with tg.no_grad():
        w -= 0.1 * np.ones(w.shape)


each_change = pytest.mark.parametrize("change", [assign, update, update_by_a_step])

VIEWS = {
    "the leaf itself": lambda w: w,
    "reshape": lambda w: w.reshape(2, 2),
    "transpose": lambda w: w.T,
    "getitem": lambda w: w[:, ::-1],
    "swapaxes": lambda w: np.swapaxes(w, 0, 1),
    "broadcast_to": lambda w: tg.broadcast_to(w, shape=(2, 2, 2)),
    "identity": tg.identity,
    "view of a view": lambda w: w.T.reshape(2, 2)[...],
}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)

VALUES = np.array([[1.0, 2.0], [3.0, 4.0]])


@each_change
@each_view
def test_backward_raises_once_a_leaf_that_it_needs_was_assigned(view, change):
    w = leaf(VALUES, name="w")
    y = view(w)
    loss = (y * y).sum()
    change(w)
    with pytest.raises(
        RuntimeError, match=r"backward through \w+: Tensor 'w'.* was assigned after \w+ had read it"
    ):
        loss.backward()
    assert w.grad is None
    (w * w).sum().backward()  # a new forward is all it takes
    np.testing.assert_array_equal(w.grad, 2 * w.data)


@each_view
def test_a_constant_that_was_assigned_raises_too(view):
    c, x = tg.Tensor(VALUES), leaf(VALUES)
    y = (x * c).sum()
    assign(c)
    with pytest.raises(RuntimeError, match="was assigned after multiply had read it"):
        y.backward()
    assert x.grad is None


def values_made_beside_the_graph(view):
    """Ways to come by the values of ``w`` that no gradient flows through."""
    yield "under no_grad", lambda w: tg.no_grad()(view)(w)
    yield "of a constant", lambda w: view(w.detach())
    yield "under no_grad, of a recorded view", lambda w: tg.no_grad()(view)(w.reshape(2, 2))
    yield "under no_grad, of an unrecorded view", lambda w: tg.no_grad()(lambda: view(w.reshape(2, 2)))()
    yield "detached", lambda w: view(w).detach()
    yield "as an array", lambda w: view(w.data)


@each_change
@pytest.mark.parametrize("way", [
    pytest.param(way, id=f"{name} {label}")
    for name, view in VIEWS.items()
    for label, way in values_made_beside_the_graph(view)
    if not (name == "the leaf itself" and label.startswith("under no_grad"))
])  # fmt: skip
def test_values_taken_beside_the_graph_stay_what_they_were(way, change):
    w, x = leaf(VALUES), leaf(np.ones((2, 2)))
    c = way(w)
    taken = np.array(c)
    loss = (x * c).sum()
    change(w)
    loss.backward()
    np.testing.assert_array_equal(x.grad, taken.reshape(-1, 2, 2).sum(0))


@each_view
def test_a_view_that_a_transform_closes_over_is_not_read_after_its_leaf_was_assigned(view):
    """Either the gradient is that of the values at the call, or pulling back raises."""
    w = leaf(VALUES)
    v = view(w)
    taken = v.numpy()
    _, pull_back = tg.vjp(lambda x: (x * v).sum(), np.ones((2, 2)))
    assign(w)
    with contextlib.suppress(RuntimeError):
        (g,) = pull_back(1.0)
        np.testing.assert_array_equal(g.data, taken.reshape(-1, 2, 2).sum(0))


@pytest.mark.parametrize("condition", ["compared", "a view of the leaf"])
def test_a_condition_that_depends_on_an_assigned_leaf_does_not_change_the_gradient(condition):
    """No gradient flows to a condition, so the walk does not come past it to see that it changed."""
    w, x = leaf([1.0, 0.0]), leaf([1.0, 1.0])
    read = w.reshape(2)
    loss = np.where(read > 0.5 if condition == "compared" else read, x, 0.0).sum()
    w.data = [0.0, 1.0]
    with contextlib.suppress(RuntimeError):
        loss.backward()
        np.testing.assert_array_equal(x.grad, [1.0, 0.0])


# Arrays of the caller's


def test_a_tensor_has_its_own_copy_of_the_array_it_was_made_of():
    values = VALUES.copy()
    x = leaf(values)
    y = (x * x).sum()
    values[:] = 0
    y.backward()
    np.testing.assert_array_equal(x.data, VALUES)
    np.testing.assert_array_equal(x.grad, 2 * VALUES)


OPERANDS = {
    "array on the right": lambda x, a: x * a,
    "array on the left": lambda x, a: a * x,
    "view of an array": lambda x, a: x * a[:],
    "matrix": lambda x, a: x @ a,
    "vjp that reads both": lambda x, a: x / a,
    "condition": lambda x, a: np.where(a > 0, x, a),
}


@pytest.mark.parametrize("f", OPERANDS.values(), ids=OPERANDS)
def test_an_array_operand_may_be_changed_after_the_call(f):
    """HIPS autograd and dezero silently give a wrong gradient here."""
    found = []
    for change in (False, True):
        x, a = leaf(VALUES), np.array([[0.5, -2.0], [1.5, 1.0]])
        y = f(x, a).sum()
        if change:
            a[:] = 100
        y.backward()
        found.append(x.grad)
    np.testing.assert_array_equal(*found)


def test_a_list_operand_may_be_changed_after_the_call():
    x, a = leaf([1.0, 2.0]), [3.0, 4.0]
    y = (x * a).sum()
    a[:] = [0.0, 0.0]
    y.backward()
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


@pytest.mark.parametrize(("index", "change"), [
    (np.array([0, 0, 2]), lambda i: i.fill(1)),
    ([0, 0, 2], lambda i: i.__setitem__(slice(None), [1, 1, 1])),
    (np.array([True, False, True]), lambda i: i.fill(False)),
    (([0, 2],), lambda i: i[0].__setitem__(0, 1)),
    (tg.Tensor([0, 0, 2]), lambda i: setattr(i, "data", [1, 1, 1])),
])  # fmt: skip
def test_an_index_may_be_changed_after_the_call(index, change):
    x = leaf([1.0, 2.0, 3.0])
    read = tuple(map(np.array, index)) if isinstance(index, tuple) else np.array(index)
    expected = np.zeros(3)
    np.add.at(expected, read, 1.0)
    y = x[index].sum()
    change(index)
    y.backward()
    np.testing.assert_array_equal(x.grad, expected)


def test_the_cotangent_may_be_changed_after_backward():
    x, y = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    out, g = x + y, np.array([3.0, 4.0])
    out.backward(g)
    g[:] = 0
    for t in (x, y):
        np.testing.assert_array_equal(t.grad, [3.0, 4.0])


@pytest.mark.parametrize("cotangent", [
    [3.0, 4.0], (3, 4), np.array([3, 4]), np.array([3.0, 4.0], "float32"), tg.Tensor([3.0, 4.0]),
], ids=repr)  # fmt: skip
def test_the_cotangent_is_anything_array_like(cotangent):
    x = leaf([1.0, 2.0])
    if isinstance(cotangent, tg.Tensor):
        cotangent = tg.Tensor(cotangent.data)
    (2 * x).backward(cotangent)
    assert isinstance(x.grad, np.ndarray)
    np.testing.assert_array_equal(x.grad, [6.0, 8.0])


def test_results_of_transforms_are_the_callers_own():
    values = np.array([1.0, 2.0])
    value, pull_back = tg.vjp(lambda x, y: (x + y, x), values, values)
    first, second = pull_back((np.ones(2), np.zeros(2)))
    value[0][:] = value[1][:] = first[:] = 0
    np.testing.assert_array_equal(second, [1.0, 1.0])
    np.testing.assert_array_equal(values, [1.0, 2.0])
    for again in pull_back((np.ones(2), np.zeros(2))):
        np.testing.assert_array_equal(again, [1.0, 1.0])


def test_an_op_that_returns_its_argument_gives_the_tensor_memory_of_its_own():
    @tg.op
    def second(x, y):
        return y

    second.defvjp(x=None, y=lambda g, out, x, y: g)
    array, x = np.array([1.0, 2.0]), leaf([1.0, 1.0])
    constant = second(tg.Tensor(0.0), array)
    loss = (x * constant).sum()
    array[:] = 100
    loss.backward()
    np.testing.assert_array_equal(x.grad, [1.0, 2.0])


def test_an_op_writes_into_no_array_of_the_callers():
    x, buffer, third = leaf([1.0, 2.0]), np.zeros(2), leaf([5.0, 5.0])
    for call in (
        lambda: tg.exp(x, out=buffer),
        lambda: tg.exp(x, buffer),
        lambda: tg.add(x, x, third),
        lambda: tg.maximum(x, 0.0, third),
    ):
        with pytest.raises(TypeError):
            call()
    np.testing.assert_array_equal(buffer, 0.0)
    np.testing.assert_array_equal(third.data, 5.0)


# Gradients of different leaves


def test_leaves_that_receive_the_same_cotangent_do_not_share_it():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x + y).backward(np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        x.grad[0] = 9.0
    x.grad = x.grad + 1
    np.testing.assert_array_equal(y.grad, [1.0, 1.0])
    (x + y).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [3.0, 3.0])
    np.testing.assert_array_equal(y.grad, [2.0, 2.0])


def test_a_gradient_that_was_read_does_not_change_with_the_next_backward():
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward()
    first = x.grad
    y.sum().backward()
    np.testing.assert_array_equal(first, [2.0, 4.0])
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])


def test_gradients_that_are_views_are_not_tied_to_one_another():
    x, y = leaf(np.zeros((2, 2))), leaf(np.zeros((2, 2)))
    (x + y.T).sum().backward()
    assert not np.shares_memory(x.grad, y.grad)
    assert x.grad.strides != (0, 0)
