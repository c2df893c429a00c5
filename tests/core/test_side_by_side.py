"""The formulas of large products run at the same time: equal gradients, only those wanted, errors raised."""

import threading
import time

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import engine, parallel


@pytest.fixture(autouse=True)
def _two_threads_for_every_product(monkeypatch):
    monkeypatch.setattr(parallel.pool, "threads", 2)
    monkeypatch.setattr(engine, "LARGE_PRODUCT", 0)


def leaf(*shape, seed=0):
    return tg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def product(x_vjp, y_vjp):
    """An op of two arguments, not in the table of ops, with so many multiply-adds that it counts as large."""
    new = tg.Op(lambda x, y: x * y, "product", ("x", "y"), elementwise=True, native=False)
    new.defvjp(x=x_vjp, y=y_vjp)
    new.multiply_adds = lambda out, x, y: out.size
    return new


CALLS = {
    "conv2d": (lambda x, w, b: tg.conv2d(x, w, b, stride=2, padding=1), (3, 8, 7, 2), (4, 2, 3, 3), (4,)),
    "matmul": (lambda x, y: x @ y, (5, 4), (4, 3)),
    "matmul of vectors": (lambda x, y: x @ y, (4,), (4,)),
    "stacks of matrices": (lambda x, y: x @ y, (2, 1, 5, 4), (3, 4, 2)),
    "einsum": (lambda x, y, z: tg.einsum("ij,jk,ki->i", x, y, z), (2, 3), (3, 4), (4, 2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_gradients_are_those_of_formulas_in_turn(monkeypatch, name):
    f, *shapes = CALLS[name]
    leaves = [leaf(*shape, seed=i) for i, shape in enumerate(shapes)]

    def gradients():
        np.sum(f(*leaves) ** 2).backward()
        found = [x.grad for x in leaves]
        for x in leaves:
            x.zero_grad()
        return found

    together = gradients()
    monkeypatch.setattr(engine, "LARGE_PRODUCT", 1 << 60)
    for a, b in zip(together, gradients(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_they_run_at_the_same_time():
    both = threading.Barrier(2, timeout=30)

    def formula(g, out, x, y):
        both.wait()  # passes only if the other formula is running
        return g * 2.0

    x, y = leaf(3), leaf(3)
    product(formula, formula)(x, y).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 2, 2])
    np.testing.assert_array_equal(y.grad, [2, 2, 2])


def test_small_products_take_turns(monkeypatch):
    monkeypatch.setattr(engine, "LARGE_PRODUCT", 4)
    threads = []

    def formula(g, out, x, y):
        threads.append(threading.get_ident())
        return g

    product(formula, formula)(leaf(3), leaf(3)).sum().backward()
    assert threads == [threading.get_ident()] * 2


def test_only_what_is_wanted_is_computed():
    def unwanted(g, out, x, y):
        raise AssertionError("nobody asked for this cotangent")

    x = leaf(3)
    product(lambda g, out, x, y: g, unwanted)(x, np.ones(3)).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1, 1])


def test_a_derivative_that_is_declared_zero_stays_zero():
    x, y = leaf(3), leaf(3)
    product(lambda g, out, x, y: g, None)(x, y).sum().backward()
    assert y.grad is None or not np.any(y.grad)
    np.testing.assert_array_equal(x.grad, [1, 1, 1])


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_in_one_is_raised_and_loses_nothing(wrong):
    def fail(g, out, x, y):
        raise ZeroDivisionError("in a formula")

    formulas = [lambda g, out, x, y: g, lambda g, out, x, y: g]
    formulas[wrong] = fail
    x, y = leaf(3), leaf(3)
    (x * y).sum().backward()
    before = x.grad.copy(), y.grad.copy()
    with pytest.raises(ZeroDivisionError, match="in a formula"):
        product(*formulas)(x, y).sum().backward()
    np.testing.assert_array_equal(x.grad, before[0])
    np.testing.assert_array_equal(y.grad, before[1])


def test_of_several_errors_the_first_is_raised():
    def failing(what, pause):
        def fail(g, out, x, y):
            time.sleep(pause)
            raise ZeroDivisionError(what)

        return fail

    with pytest.raises(ZeroDivisionError, match="of x"):
        product(failing("of x", 0.02), failing("of y", 0.0))(leaf(3), leaf(3)).sum().backward()


def test_an_assigned_leaf_is_still_found_out():
    x, y = leaf(2, 2), leaf(2, 2)
    out = x @ y
    y.data = np.ones((2, 2))
    with pytest.raises(RuntimeError, match="was assigned after matmul had read it"):
        out.sum().backward()


def test_a_wrong_shape_is_still_refused():
    x, y = leaf(3), leaf(3)
    with pytest.raises(TypeError, match="expected a cotangent like the argument"):
        product(lambda g, out, x, y: g, lambda g, out, x, y: g[:2])(x, y).sum().backward()


def test_a_formula_that_gives_nothing_is_refused():
    x, y = leaf(3), leaf(3)
    with pytest.raises(TypeError, match=r"expected a cotangent like the argument, .* got None"):
        product(lambda g, out, x, y: g, lambda g, out, x, y: None)(x, y).sum().backward()


def test_second_derivatives_and_detect_nan_walk_in_turn():
    tg.gradcheck(lambda x, w: tg.conv2d(x, w) ** 2, leaf(1, 3, 3, 1).data, leaf(1, 1, 2, 2).data, order=2)
    with tg.detect_nan():
        x = leaf(2, 2)
        (x @ x).sum().backward()
    assert np.isfinite(x.grad).all()
