"""detect_nan: the op that made a number infinite or NaN, what it was given, and the user's own line."""

import inspect
import re
import threading
import weakref

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg
from tensorgrad.core.context import watching


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = np.geterr()
    yield
    left, _ = watching.get(), watching.set(None)
    assert left is None
    assert np.geterr() == before


def line_of(mark):
    """``file:line`` of the only line of this file that ends with the comment ``# mark``."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
    return f"{__file__}:{number} ("


def raised(f):
    """The message of the FloatingPointError that ``f`` raises under detect_nan."""
    with pytest.raises(FloatingPointError, match=r"^detect_nan: ") as caught, tg.detect_nan():
        f()
    return str(caught.value)


# Forward


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: np.log(leaf([1.0, 0.0])), "log gave -inf at (1,) (x float64 (2,) from 0 to 1)"),
        (lambda: np.log(leaf(0.0)), "log gave -inf (x float64 () from 0 to 0)"),
        (lambda: np.sqrt(leaf([[4.0, -1.0]])), "sqrt gave nan at (0, 1) (x float64 (1, 2) from -1 to 4)"),
        (lambda: np.exp(leaf([1000.0])), "exp gave inf at (0,) (x float64 (1,) from 1000 to 1000)"),
        (lambda: leaf([1.0, 2.0]) / np.array([1, 0]), "divide gave inf at (1,)"),
        (lambda: 1 / leaf([1.0, 0.0]), "y float64 (2,) from 0 to 1"),
        (lambda: leaf([1.0, 2.0]) / np.array([True, False]), "y bool (2,) from 0 to 1"),
        (lambda: leaf([3e38], dtype="f4") * 2.0, "x float32 (1,) from 3e+38 to 3e+38"),
        (lambda: np.mean(leaf([1e308, 1e308])), "mean gave inf"),
        (lambda: leaf([0.0]) ** -1.0, "power gave inf at (0,)"),
        (lambda: np.tan(leaf([1e200])) + leaf([1e308]) + 1e308, "add gave inf"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_the_op_and_the_ranges_of_its_inputs_are_named(f, message):
    assert message in raised(f)


def test_the_line_is_the_users_own():
    def f():
        x = leaf([0.0, 1.0])
        y = x * 2
        return np.log(y)  # log line

    assert f"log was called at {line_of('log line')}return np.log(y)" in raised(f)


def test_the_line_in_nested_calls_methods_operators_and_layers():
    def inner(x):
        return x / 0.0  # divide line

    def deep(x, n=5):
        return deep(x, n - 1) if n else inner(x)

    assert line_of("divide line") in raised(lambda: deep(leaf([1.0])))
    assert line_of("method line") in raised(
        lambda: leaf([1e308, 1e308]).sum()  # method line
    )

    class Bad(tg.Layer):
        def forward(self, x):
            return np.log(x * 0.0)  # layer line

    network = tg.Network([tg.Dense(2, 2, rng=0, dtype=float), Bad()])
    assert line_of("layer line") in raised(lambda: network(np.ones((1, 2))))


def test_the_line_of_a_network_of_our_own_layers_is_where_it_was_called():
    network = tg.Network([tg.Dense(2, 2, rng=0, dtype=float)])
    message = raised(lambda: network(np.full((1, 2), 1e308) * [[1, -1]]).sum() * 1e308)  # network line
    assert line_of("network line") in message


def test_the_first_op_in_forward_order_is_named():
    def f():
        x = leaf([0.0])
        y = np.log(x)
        z = np.exp(leaf([1e4]))
        return y + z

    assert ": log gave" in raised(f)


def test_it_watches_in_every_transform():
    def f(x):
        return np.sum(np.log(x) * 2)

    x = np.array([0.0, 1.0])
    for derivative in (
        lambda: tg.grad(f)(x), lambda: tg.hvp(f)(x, x), lambda: tg.jvp(f, (x,), (x,)),
        lambda: tg.hessian(f)(x), lambda: tg.grad(tg.checkpoint(f))(x),
    ):  # fmt: skip
        assert ": log gave -inf at (0,)" in raised(derivative)


# No false alarm


def test_inputs_that_are_not_finite_already_raise_nothing():
    x = leaf([np.inf, np.nan, 1.0])
    with tg.detect_nan():
        y = np.exp(x) * 2 + np.log(np.array([1.0, 1.0, 2.0]) * x)
        (leaf([1.0]) + np.array([np.nan])).sum()
        np.concatenate([leaf([1.0]), np.array([np.inf])])
    assert not np.isfinite(y.data).all()


def test_inputs_that_are_not_finite_already_raise_nothing_in_backward():
    x = leaf([np.inf, np.nan, 1.0])
    with tg.detect_nan():
        np.sum(np.log(x) * np.array([1.0, 2.0, 3.0])).backward()
    assert np.isnan(x.grad[1])


def test_a_cotangent_that_is_not_finite_already_raises_nothing():
    x = leaf([1.0, 2.0])
    with tg.detect_nan():
        (x * x).backward([np.inf, np.nan])
    assert np.isnan(x.grad[1])


def test_healthy_computations_are_left_alone():
    with tg.detect_nan():
        x = leaf([0.0, 3.0])
        y = np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)
        y.sum().backward()
        assert x.grad.tolist() == [0.0, 0.5 / np.sqrt(3)]
        (leaf([1.0, 2.0]) * tg.Tensor([1, 2]) * np.array([True, False]))[np.array([0, 0])].sum().backward()
        assert np.sum(leaf(np.ones((0, 3)))).item() == 0.0
        np.linalg.norm(leaf([0.0, 0.0])).backward()
        np.concatenate([leaf([1.0]), [2]]).sum().backward()
        network = tg.convolutional_network((8, 8, 1), 10, rng=0)
        tg.mse(network(np.ones((2, 8, 8, 1), "f4")), np.zeros((2, 10), "f4")).backward()


# Backward


def test_zero_times_infinity_is_pinned_to_the_where_that_masked_the_branch():
    def f():
        x = leaf([0.0, 4.0])
        root = np.sqrt(x)  # branch line
        y = np.where(x > 0, root, 0.0)  # mask line
        y.sum().backward()

    message = raised(f)
    assert "the vjp of sqrt for x gave nan at (0,), from a cotangent of 0 times an infinite slope" in message
    assert f"where, called at {line_of('mask line')}" in message
    assert "masked this branch: give sqrt a harmless argument there" in message
    assert f"sqrt was called at {line_of('branch line')}" in message


def test_the_where_is_found_behind_other_ops_and_in_checkpoint():
    def f(x):
        y = np.sqrt(x * 1.0)
        return np.sum(np.where(x > 0, (y * 2 + 1).reshape(2, 1), 0.0)[:, 0])  # far mask line

    for g in (f, tg.checkpoint(f)):
        message = raised(lambda g=g: tg.grad(g)(np.array([[0.0], [4.0]])))
        assert "the vjp of sqrt" in message
        assert line_of("far mask line") in message


def test_a_mask_by_multiplication_is_told_without_a_where():
    def f():
        x = leaf([0.0, 4.0])
        (np.array([0.0, 1.0]) * np.sqrt(x)).sum().backward()

    message = raised(f)
    assert "from a cotangent of 0 times an infinite slope" in message
    assert "where" not in message.split("; ")[1]


def test_an_infinite_slope_is_named():
    def f():
        np.sqrt(leaf([0.0, 4.0])).sum().backward()  # slope line

    message = raised(f)
    assert "the vjp of sqrt for x gave inf at (0,) (x float64 (2,) from 0 to 4)" in message
    assert line_of("slope line") in message


def test_a_forward_outside_and_a_backward_inside():
    y = np.sqrt(leaf([0.0])).sum()
    assert "sqrt was called at a line outside of detect_nan" in raised(y.backward)


def test_with_create_graph_something_is_raised():
    def f():
        x = leaf([0.0, 4.0])
        np.where(x > 0, np.sqrt(x), 0.0).sum().backward(create_graph=True)  # graph line

    assert line_of("graph line") in raised(f)


@pytest.mark.parametrize("how", ["create_graph", "hessian"])
def test_with_create_graph_the_mask_is_named_too(how):
    def f(x):
        return np.where(x > 0, np.sqrt(x), 0.0).sum()

    x = np.array([0.0, 4.0])
    message = raised(
        (lambda: tg.hessian(f)(x)) if how == "hessian" else lambda: f(leaf(x)).backward(create_graph=True)
    )
    assert "the vjp of sqrt for x gave nan at (0,), from a cotangent of 0" in message
    assert "masked this branch" in message


def test_gradients_stay_as_they_were():
    x, w = leaf([0.0]), leaf([1.0])
    y = (w * np.sqrt(x)).sum()
    with pytest.raises(FloatingPointError), tg.detect_nan():
        y.backward()
    assert x.grad is w.grad is None


# The block


def test_off_after_the_block_and_after_exceptions():
    with tg.detect_nan():
        pass
    with np.errstate(divide="ignore"):
        assert np.log(leaf(0.0)).item() == -np.inf
    with pytest.raises(KeyError), tg.detect_nan():
        raise KeyError
    with pytest.raises(FloatingPointError), tg.detect_nan():
        np.log(leaf(0.0))
    with np.errstate(divide="ignore"):
        assert np.log(leaf(0.0)).item() == -np.inf


@pytest.mark.parametrize("mode", ["raise", "ignore", "warn"])
def test_numpys_own_settings_are_put_back(mode):
    with np.errstate(all=mode):
        before = np.geterr()
        assert ": log gave" in raised(lambda: np.log(leaf(0.0)))
        assert np.geterr() == before


def test_an_inner_block_leaves_the_outer_one_on():
    with tg.detect_nan():
        with tg.detect_nan():
            pass
        with pytest.raises(FloatingPointError):
            np.log(leaf(0.0))
        with pytest.raises(FloatingPointError), tg.detect_nan():
            np.log(leaf(0.0))
        with pytest.raises(FloatingPointError):
            np.log(leaf(0.0))


@pytest.mark.parametrize("how", ["again", "nested", "recursive"])
def test_one_instance_may_be_used_more_than_once(how):
    watch = tg.detect_nan()

    def recursive(n):
        with watch:
            if n:
                recursive(n - 1)
            with pytest.raises(FloatingPointError):
                np.log(leaf(0.0))

    if how == "again":
        recursive(0)
        recursive(0)
    elif how == "nested":
        with watch, watch, pytest.raises(FloatingPointError):
            np.log(leaf(0.0))
    else:
        recursive(3)
    with np.errstate(divide="ignore"):
        np.log(leaf(0.0))


def test_recursion_with_new_instances():
    def recursive(n):
        with tg.detect_nan():
            return recursive(n - 1) if n else np.log(leaf(0.0))

    with pytest.raises(FloatingPointError):
        recursive(5)


def test_one_thread_inside_and_another_not():
    inside, done, found = threading.Event(), threading.Event(), []

    def watching():
        with tg.detect_nan():
            inside.set()
            done.wait(10)
            try:
                np.log(leaf(0.0))
            except FloatingPointError:
                found.append("raised")

    thread = threading.Thread(target=watching)
    thread.start()
    assert inside.wait(10)
    with np.errstate(divide="ignore"):
        found.append(np.log(leaf(0.0)).item())
    done.set()
    thread.join()
    assert found == [-np.inf, "raised"]


def test_a_long_training_within_one_block_does_not_keep_every_graph():
    nodes = []
    with tg.detect_nan():
        for _ in range(3):
            y = np.sin(leaf(np.ones(10)))
            nodes.append(weakref.ref(y))
            y.sum().backward()
            del y
        assert sum(node() is not None for node in nodes) <= 1


def test_under_no_grad_nothing_is_recorded_and_nothing_is_looked_at():
    with tg.detect_nan(), tg.no_grad():
        assert np.log(leaf(0.0)).item() == -np.inf


def test_the_message_is_one_line():
    message = raised(lambda: np.log(leaf([0.0])))
    assert "\n" not in message
    assert re.search(r"\.py:\d+ \(", message)
