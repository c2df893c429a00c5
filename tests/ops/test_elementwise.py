"""Elementwise ops at kinks, ties, zeros and infinities, and under every broadcast."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, evaluate, leaf
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

INF, NAN = np.inf, np.nan


def slopes(f, values):
    """The derivative of an elementwise function at each of the values."""
    return tg.grad(lambda x: f(x).sum())(np.array(values, float))


# Where a derivative has a choice


def test_relu_takes_the_derivative_0_at_0():
    np.testing.assert_array_equal(slopes(tg.relu, [-1.0, -0.0, 0.0, 5e-324, 1.0]), [0, 0, 0, 1, 1])


def test_equal_arguments_of_maximum_share_the_gradient():
    x, y = leaf([1.0, 2.0, 3.0]), leaf([3.0, 2.0, 1.0])
    np.maximum(x, y).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0.5, 1])
    np.testing.assert_array_equal(y.grad, [1, 0.5, 0])


@pytest.mark.parametrize("call", ["tg.relu(x)", "np.maximum(x, 0.0)", "np.maximum(0.0, x)"])
def test_the_derivative_at_a_kink_is_a_subgradient(call):
    below, at, above = slopes(lambda x: evaluate(call, x=x), [-1.0, 0.0, 1.0])
    assert below <= at <= above


# Infinities and NaN


@pytest.mark.parametrize(("f", "x", "value", "slope"), [
    (tg.relu, INF, INF, 1.0),
    (tg.relu, -INF, 0.0, 0.0),
    (tg.sigmoid, 1000.0, 1.0, 0.0),
    (tg.sigmoid, -1000.0, 0.0, 0.0),
    (tg.sigmoid, INF, 1.0, 0.0),
    (tg.sigmoid, -INF, 0.0, 0.0),
    (np.tanh, INF, 1.0, 0.0),
    (np.tanh, -1e300, -1.0, 0.0),
    (np.exp, -INF, 0.0, 0.0),
    (np.log, INF, INF, 0.0),
    (np.sqrt, INF, INF, 0.0),
    (tg.identity, -INF, -INF, 1.0),
    (tg.relu, NAN, NAN, 1.0),
    (tg.sigmoid, NAN, NAN, NAN),
    (np.exp, NAN, NAN, NAN),
], ids=str)  # fmt: skip
def test_infinities_and_nan(f, x, value, slope):
    np.testing.assert_array_equal(f(np.array([x])), [value])
    np.testing.assert_array_equal(slopes(f, [x]), [slope])


@pytest.mark.parametrize(("x", "y"), [(NAN, 1.0), (1.0, NAN), (NAN, NAN)])
def test_a_nan_in_maximum_shows_in_the_value_and_passes_the_gradient_to_both(x, y):
    a, b = leaf([x]), leaf([y])
    out = np.maximum(a, b)
    out.backward()
    assert np.isnan(out.data)
    assert (a.grad, b.grad) == (1.0, 1.0)


@pytest.mark.parametrize(("call", "slope"), [("np.sqrt(x)", INF), ("np.log(x)", INF), ("1 / x", -INF)])
def test_a_pole_gives_an_infinite_slope_and_numpys_warning(call, slope):
    with np.errstate(divide="ignore"):
        assert slopes(lambda x: evaluate(call, x=x), [0.0]) == slope
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        slopes(lambda x: evaluate(call, x=x), [0.0])


# Powers


@pytest.mark.parametrize(("exponent", "derivatives"), [
    (0, [1, 0, 0, 0]), (1, [0, 1, 0, 0]), (2, [0, 0, 2, 0]), (3, [0, 0, 0, 6]),
    (0.0, [1, 0, 0, 0]), (2.0, [0, 0, 2, 0]), (np.array([3.0]), [0, 0, 0, 6]), (np.float64(1), [0, 1, 0, 0]),
], ids=repr)  # fmt: skip
def test_derivatives_of_powers_at_0(exponent, derivatives):
    def f(x):
        return (x**exponent).sum()

    for expected in derivatives:
        assert f(np.array([0.0])) == expected
        f = summed(tg.grad(f))


def summed(f):
    return lambda x: f(x).sum()


@pytest.mark.parametrize("exponent", [2, 3, -1, -2, 4])
def test_whole_powers_of_negative_numbers(exponent):
    x = np.array([-2.0, -0.5])
    np.testing.assert_allclose(slopes(lambda x: x**exponent, x), exponent * x ** (exponent - 1), rtol=1e-14)
    tg.gradcheck(lambda x: x**exponent, x, order=2)


def test_powers_of_0_in_the_exponent():
    y = np.array([1.0, 2.0, 0.5])
    np.testing.assert_array_equal(slopes(lambda y: 0.0**y, y), [0, 0, 0])
    np.testing.assert_array_equal(slopes(lambda y: np.zeros(3) ** y, y), [0, 0, 0])


def test_the_exponent_of_a_negative_base_has_no_derivative_and_shows_it():
    with np.errstate(invalid="ignore"):
        assert np.isnan(slopes(lambda y: np.array([-2.0]) ** y, [2.0]))
    x = leaf([-2.0])  # but nobody asks for it here, and no warning comes
    (x ** tg.Tensor([2.0])).sum().backward()
    assert x.grad == -4.0


# where


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_bad_value_in_the_branch_not_taken_does_no_harm(bad):
    mask, x, y = np.array([True, False]), leaf([1.0, bad]), leaf([bad, 2.0])
    out = np.where(mask, x, y)
    out.sum().backward()
    np.testing.assert_array_equal(out.data, [1.0, 2.0])
    np.testing.assert_array_equal(x.grad, [1.0, 0.0])
    np.testing.assert_array_equal(y.grad, [0.0, 1.0])


def test_the_double_where_keeps_nan_out_of_the_gradient():
    """where(x > 0, log(x), 0) at 0 asks for 0 times infinity; a safe argument avoids it."""

    def safe(x):
        return np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)

    np.testing.assert_array_equal(slopes(safe, [0.0, -1.0, 2.0]), [0.0, 0.0, 0.5])


def test_where_takes_conditions_of_any_kind():
    x = leaf([1.0, 2.0])
    for condition in (
        np.array([True, False]),
        [True, False],
        x < 1.5,
        tg.Tensor([True, False]),
        np.array([1, 0]),
    ):
        x.zero_grad()
        np.where(condition, x, 0.0).sum().backward()
        np.testing.assert_array_equal(x.grad, [1.0, 0.0])


def test_a_condition_that_requires_grad_receives_nothing():
    condition, x = leaf([1.0, 0.0]), leaf([3.0, 4.0])
    np.where(condition, x, 0.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0, 0.0])
    assert condition.grad is None


# Casts


def test_astype_between_floating_types():
    x = leaf([0.1, 0.2], "float32")
    for dtype in ("float16", "float32", "float64", np.float64):
        x.zero_grad()
        y = x.astype(dtype)
        assert y.dtype == np.dtype(dtype)
        y.sum().backward()
        assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(tg.Tensor([1.7]).astype(int).data, [1])


# Broadcasting


shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3)
seeds = st.integers(0, 2**32 - 1)

EXPRESSIONS = [
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "x**y",
    "np.maximum(x, y)",
    "x * y + x",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(shapes=shapes, seed=seeds)
def test_broadcasting_agrees_with_autograd(expression, shapes, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(0.5, 2, shape) for shape in shapes.input_shapes)
    assert_agrees_with_autograd(lambda numpy, x, y: evaluate(expression, np=numpy, x=x, y=y), x, y)


@given(shapes=shapes)
def test_cotangents_are_summed_back_to_the_arguments(shapes):
    """d/dx sum(x + y) counts how often each element of x is used."""
    x, y = (leaf(np.zeros(shape)) for shape in shapes.input_shapes)
    (x + y).sum().backward()
    size = np.prod(shapes.result_shape)
    for t in (x, y):
        assert t.grad.shape == t.shape
        np.testing.assert_array_equal(t.grad, size / t.size if t.size else np.zeros(t.shape))


@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3), seed=seeds)
def test_where_broadcasts_all_three(shapes, seed):
    rng = np.random.default_rng(seed)
    mask, x, y = (rng.standard_normal(shape) for shape in shapes.input_shapes)

    def f(numpy, x, y):  # autograd's own where does not broadcast
        return np.where(mask > 0, x, y) if numpy is np else (mask > 0) * x + (mask <= 0) * y

    assert_agrees_with_autograd(f, x, y)
