"""Elementwise ops at kinks, ties, zeros and infinities, and under every broadcast."""

import math

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
def test_values_and_slopes_at_infinities_and_nan(f, x, value, slope):
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


# NumPy's functions where they have a choice, a jump or a pole


@pytest.mark.parametrize(("f", "x", "slope"), [
    (np.abs, [-2.0, -0.0, 0.0, 3.0], [-1, 0, 0, 1]),
    (np.fabs, [-2.0, -0.0, 0.0, 3.0], [-1, 0, 0, 1]),
    (lambda x: np.copysign(x, -1.0), [-2.0, 0.0, 3.0], [1, 0, -1]),
    (lambda x: np.copysign(2.0, x), [-2.0, 0.0, 3.0], [0, 0, 0]),
    (np.sign, [-2.0, 0.0, 3.0], [0, 0, 0]),
    (np.floor, [-1.0, 0.5, 2.0], [0, 0, 0]),
    (np.ceil, [-1.0, 0.5, 2.0], [0, 0, 0]),
    (np.trunc, [-1.0, 0.5, 2.0], [0, 0, 0]),
    (np.rint, [-0.5, 0.5, 2.0], [0, 0, 0]),
    (np.round, [-0.5, 0.5, 2.0], [0, 0, 0]),
    (np.around, [-0.5, 0.5, 2.0], [0, 0, 0]),
    (np.fix, [-0.5, 0.5, 2.0], [0, 0, 0]),
    (lambda x: x - np.floor_divide(x, 2.0), [-1.0, 2.0, 4.0], [1, 1, 1]),
    (lambda x: np.heaviside(x, 0.5), [-1.0, 0.0, 4.0], [0, 0, 0]),
    (lambda h: np.heaviside(np.array([-1.0, 0.0, 4.0]), h), [7.0, 7.0, 7.0], [0, 1, 0]),
    (lambda x: np.hypot(x, 0.0), [-2.0, 0.0, 3.0], [-1, 0, 1]),
    (lambda x: np.minimum(x, 1.0), [0.0, 1.0, 2.0, INF, -INF], [1, 0.5, 0, 0, 1]),
    (lambda x: np.fmin(x, 1.0), [0.0, 1.0, 2.0, NAN], [1, 0.5, 0, 0]),
    (lambda x: np.fmax(x, 1.0), [0.0, 1.0, 2.0, NAN], [0, 0.5, 1, 0]),
    (lambda x: np.fmax(x, NAN), [0.0, NAN], [1, 1]),
    (lambda x: np.fmin(x, NAN), [0.0, NAN], [1, 1]),
    (lambda x: np.remainder(x, 3.0), [-3.0, 1.0, 6.0], [1, 1, 1]),
    (lambda y: np.remainder(7.0, y), [2.0, -2.0, 3.5], [-3, 4, -2]),
    (lambda y: np.fmod(-7.0, y), [2.0, -2.0, 3.5], [3, -3, 2]),
    (lambda x: np.clip(x, 0, 1), [-1.0, 0.0, 0.5, 1.0, 2.0], [0, 0.5, 1, 0.5, 0]),
    (lambda x: np.clip(x, None, 1), [-1.0, 1.0, 2.0], [1, 0.5, 0]),
    (lambda x: tg.clip(x, min=0), [-1.0, 0.0, 2.0], [0, 0.5, 1]),
    (lambda x: np.clip(x, None, None), [-1.0, 2.0], [1, 1]),
    (lambda lower: np.clip(np.zeros(3), lower, 1.0), [-1.0, 0.0, 0.5], [0, 0.5, 1]),
    (lambda upper: np.clip(np.zeros(3), -1.0, upper), [-0.5, 0.0, 0.5], [1, 0.5, 0]),
    (np.nan_to_num, [1.0, NAN, INF, -INF], [1, 0, 0, 0]),
    (np.cbrt, [8.0, -8.0, INF], [1 / 12, 1 / 12, 0]),
    (np.sinc, [0.0, 1.0, -1.0], [0, -1, 1]),
    (lambda x: np.logaddexp(x, -INF), [0.0, -INF], [1, 0]),
    (lambda x: np.logaddexp2(x, -INF), [0.0, -INF], [1, 0]),
    (lambda x: np.logaddexp(x, 1e300), [0.0, 1e300], [0, 0.5]),
    (lambda x: np.logaddexp2(x, -1e300), [0.0, -1e300], [1, 0.5]),
])  # fmt: skip
def test_derivatives_at_kinks_jumps_and_infinities(f, x, slope):
    np.testing.assert_allclose(slopes(f, x), slope, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(("f", "x", "slope"), [
    (np.cbrt, [0.0, -0.0], [INF, INF]),
    (np.log2, [0.0], [INF]),
    (np.log10, [0.0], [INF]),
    (np.log1p, [-1.0], [INF]),
    (np.reciprocal, [0.0], [-INF]),
    (np.arcsin, [-1.0, 1.0], [INF, INF]),
    (np.arccos, [-1.0, 1.0], [-INF, -INF]),
    (np.arccosh, [1.0], [INF]),
    (np.arctanh, [-1.0, 1.0], [INF, INF]),
    (lambda y: np.arctan2(y, 0.0), [0.0], [NAN]),
    (lambda x: np.arctan2(0.0, x), [0.0], [NAN]),
])  # fmt: skip
def test_poles_give_infinity_and_no_derivative_nan_and_numpy_warns(f, x, slope):
    with pytest.warns(RuntimeWarning, match=r"divide by zero|invalid value"):
        found = slopes(f, x)
    np.testing.assert_array_equal(found, slope)


@pytest.mark.parametrize(("f", "x", "slope"), [
    (np.arctan, 1e200, 0.0),
    (np.arcsinh, -1e200, 1e-200),
    (lambda x: np.hypot(x, 1e200), 1e200, math.sqrt(0.5)),
    (lambda x: np.hypot(x, 1e-200), 1e-200, math.sqrt(0.5)),
    (lambda y: np.arctan2(y, 1e-200), 1e-200, 5e199),
    (lambda x: np.arctan2(1e200, x), 1e200, -5e-201),
    (np.expm1, -50.0, math.exp(-50)),
    (np.expm1, 1e-20, 1.0),
    (np.log1p, 1e-20, 1.0),
    (np.arcsin, 1 - 2.0**-40, 2.0**20 / math.sqrt(2 - 2.0**-40)),
    (np.arccos, 2.0**-40 - 1, -(2.0**20) / math.sqrt(2 - 2.0**-40)),
    (np.arctanh, 1 - 2.0**-40, 2.0**40 / (2 - 2.0**-40)),
    (np.arccosh, 1 + 2.0**-40, 2.0**20 / math.sqrt(2 + 2.0**-40)),
    (lambda x: np.logaddexp(x, 0.0), -700.0, math.exp(-700)),
    (lambda x: np.logaddexp(x, 1e5), 1e5, 0.5),
    (np.cosh, -2.0, -math.sinh(2)),
], ids=str)  # fmt: skip
def test_derivatives_far_out_and_close_to_poles_are_exact_and_silent(f, x, slope):
    np.testing.assert_allclose(slopes(f, [x]), slope, rtol=1e-14)


def test_hypot_and_abs_at_0_have_second_derivative_0():
    np.testing.assert_array_equal(tg.hessian(lambda x: np.hypot(x[0], x[1]))(np.zeros(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(tg.hessian(lambda x: np.abs(x).sum())(np.zeros(2)), np.zeros((2, 2)))


@pytest.mark.parametrize("order", range(5))
def test_derivatives_of_sinc_near_0(order):
    """sinc(x) is the mean of cos(pi t x) over t from 0 to 1; Gauss's rule integrates its derivatives."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t, weights = 0.5 * (nodes + 1), 0.5 * weights
    x = np.array([0.0, 1e-300, 1e-9, 1e-4, 0.1, 0.4999, 0.5, 0.7, 1.0, -0.3, -2.5])
    truth = ((math.pi * t) ** order * np.cos(math.pi * t * x[:, None] + order * math.pi / 2)) @ weights
    f = np.sinc
    for _ in range(order):
        f = tg.grad(summed(f))
    np.testing.assert_allclose(f(x), truth, rtol=1e-11, atol=1e-12)


def test_float_power_computes_in_float64_and_casts_the_gradient_back():
    x = leaf([1.0, 4.0], "float32")
    y = np.float_power(x, -1)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(x.grad, [-1, -1 / 16])
    np.testing.assert_array_equal(tg.float_power([2, 4], -1), [0.5, 0.25])
    tg.gradcheck(np.float_power, np.array([0.5, 2.0]), np.array([[1.5], [-2.0]]), order=2)


def test_clip_is_numpys_and_differentiable_in_its_bounds():
    rng = np.random.default_rng(0)
    x, lower, upper = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal((4, 1))
    np.testing.assert_array_equal(tg.clip(x, lower, upper), np.clip(x, lower, upper))
    tg.gradcheck(np.clip, x, lower, upper, order=2)
    assert np.clip(leaf([0.5], "float32"), 0, 1.0).dtype == np.float32
    with pytest.raises(ValueError, match="clip: expected both a_min and a_max"):
        tg.clip(leaf([0.0]), 0, max=1)


@pytest.mark.parametrize("call", [
    "np.abs(x, out=y)", "np.exp(x, where=x > 0)", "np.hypot(x, 1, dtype=float)", "np.clip(x, 0, 1, out=y)",
    "np.round(x, out=y)", "np.around(x, 1, out=y)", "np.nan_to_num(x, copy=False)", "np.fix(x, out=y)",
])  # fmt: skip
def test_options_without_meaning_for_tensors_are_refused_by_name(call):
    name, option = call[3 : call.index("(")], call[call.rindex(" ") + 1 : call.rindex("=")]
    names = {"abs": "absolute", "around": "round", "fix": "trunc"}
    pattern = rf"{names.get(name, name)}.*\b{option.strip('x >')}\b"
    if "where" in call:
        pattern = "exp.*where"
    with pytest.raises(TypeError, match=pattern):
        evaluate(call, x=leaf([1.0]), y=np.zeros(1))


@pytest.mark.parametrize(
    "call", ["np.modf(x)", "np.divmod(x, 2)", "np.nextafter(x, 2)", "np.spacing(x)", "np.unique(x)"]
)
def test_a_function_without_a_rule_names_itself(call):
    with pytest.raises(TypeError, match=rf"np\.{call[3 : call.index('(')]} has no derivative rule"):
        evaluate(call, x=leaf([1.0]))


@pytest.mark.parametrize("call", [
    "np.logical_and(x, y)", "np.logical_or(x, False)", "np.logical_xor(x, y)", "np.logical_not(x)",
    "np.any(x > 1)",
    "np.any(x)", "np.all(x, axis=0)", "np.isnan(x)", "np.isinf(x)", "np.isfinite(x)", "np.isposinf(x)",
    "np.isneginf(x)", "np.signbit(x)", "np.isreal(x)", "np.iscomplexobj(x)", "np.array_equiv(x, x)",
    "np.isin(x, y)",
    "np.argmax(x)", "np.argmin(x, axis=1)", "np.nanargmax(x)", "np.nanargmin(x)", "np.argsort(x)",
    "np.argpartition(x, 1)", "np.argwhere(x)", "np.nonzero(x)", "np.flatnonzero(x)", "np.count_nonzero(x)",
    "np.searchsorted(y[0], x)", "np.digitize(x, y[0])", "np.zeros_like(x)", "np.ones_like(x)", "np.shape(x)",
    "np.ndim(x)", "np.size(x)", "np.result_type(x, 1.0)", "np.isclose(x, y)", "np.greater_equal(x, y)",
])  # fmt: skip
def test_discrete_functions_give_plain_arrays(call):
    x, y = np.array([[0.0, 3.0, -1.0], [2.0, 1.0, 5.0]]), np.array([[-1.0, 2.0, 2.5], [0.0, 1.0, 5.0]])
    found, truth = evaluate(call, x=leaf(x), y=y), evaluate(call, x=x, y=y)
    assert type(found) is type(truth)
    np.testing.assert_equal(found, truth)


def test_an_alias_is_the_same_op():
    assert (tg.abs, tg.mod, tg.around) == (tg.absolute, tg.remainder, tg.round)
    for alias, function in (("asin", "arcsin"), ("atan2", "arctan2"), ("acosh", "arccosh")):
        assert getattr(tg, alias) is getattr(tg, function)
    assert np.mod(leaf([5.0]), 3).op is tg.remainder


def test_gate_lets_nothing_of_what_is_left_out_through():
    x = np.array([1.0, np.nan, np.inf, -0.0])
    keep = np.array([True, False, False, True])
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        out = tg.ops.activations.gate(x.astype(dtype), keep)
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, [1, 0, 0, 0])
        assert np.signbit(out).tolist() == [False, False, False, True]
    for condition in (np.array([1, 0, 0, 1]), keep[:2], True):
        with pytest.raises(ValueError, match=r"gate: expected a condition of booleans of shape \(4,\), got"):
            tg.ops.activations.gate(x, condition)
