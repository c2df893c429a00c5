"""Reductions over every choice of axes; ties, zeros and NaN; sums of exponentials far from the origin."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from helpers import assert_agrees_with_autograd, assert_refused, evaluate, leaf, refused_calls
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg


@st.composite
def reductions(draw, min_side=1):
    """An array without ties, axes to reduce (None, one or several, of either sign), and keepdims."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=min_side, max_side=3))
    axes = st.none()
    if shape:
        each = st.integers(-len(shape), len(shape) - 1)
        axes |= each | st.lists(each, unique_by=lambda i: i % len(shape), max_size=len(shape)).map(tuple)
    order = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(order).permutation(np.linspace(-1, 1, int(np.prod(shape))))
    return values.reshape(shape), {"axis": draw(axes), "keepdims": draw(st.booleans())}


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
@given(case=reductions())
def test_every_choice_of_axes_agrees_with_autograd(name, case):
    x, params = case
    if params["axis"] == ():  # autograd takes () for all axes
        tg.gradcheck(lambda x: getattr(np, name)(x, **params), x)
    else:
        assert_agrees_with_autograd(lambda numpy, x: getattr(numpy, name)(x, **params), x)


@given(case=reductions(min_side=0))
def test_sums_of_empty_arrays_have_gradients_of_the_right_shape(case):
    x, params = case
    t = leaf(x)
    out = np.sum(t, **params)
    out.backward(np.ones(out.shape))
    np.testing.assert_array_equal(t.grad, np.ones(x.shape))


@pytest.mark.parametrize("reduce", [tg.sum, tg.mean, tg.max])
@pytest.mark.parametrize("axis", [np.int64(1), np.int8(-1), (np.int64(0), 1)], ids=repr)
def test_axes_may_be_numpy_integers(reduce, axis):
    plain = tuple(map(int, axis)) if isinstance(axis, tuple) else int(axis)
    for given_axis in (axis, plain):
        x = leaf([[1.0, 2.0], [4.0, 3.0]])
        out = reduce(x, axis=given_axis)
        out.backward(np.ones(out.shape))
        if given_axis is axis:
            found = x.grad
    np.testing.assert_array_equal(found, x.grad)


@pytest.mark.parametrize("reduce", [tg.sum, tg.mean, tg.max])
@pytest.mark.parametrize(("axis", "error"), [
    (2, IndexError), (-3, IndexError), ((0, 0), ValueError), ((0, -2), ValueError),
    (1.0, TypeError), ("rows", TypeError),
], ids=repr)  # fmt: skip
def test_impossible_axes_are_refused_by_the_op(reduce, axis, error):
    with pytest.raises(error, match=rf"^{reduce.name}: .*x float64 \(2, 2\)"):
        reduce(leaf(np.ones((2, 2))), axis=axis)


def test_a_mean_or_maximum_of_nothing_is_refused():
    for x in (leaf(np.zeros((0, 3))), np.zeros((0, 3))):
        with pytest.raises(ValueError, match=r"mean: expected at least one element, got an empty array"):
            tg.mean(x)
        with pytest.raises(ValueError, match="max: zero-size array"):
            tg.max(x)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_a_list_is_an_array_as_in_numpy(name):
    assert getattr(tg, name)([1.0, 2.0]) == getattr(np, name)([1.0, 2.0])


# Ties


@pytest.mark.parametrize(("x", "axis", "expected"), [
    ([1.0, 1.0], None, [0.5, 0.5]),
    ([1.0, 3.0, 3.0, 3.0], None, [0, 1 / 3, 1 / 3, 1 / 3]),
    ([[1.0, 1.0], [0.0, 1.0]], None, [[1 / 3, 1 / 3], [0, 1 / 3]]),
    ([[1.0, 1.0], [0.0, 1.0]], 1, [[0.5, 0.5], [0, 1]]),
    ([[1.0, 1.0], [0.0, 1.0]], 0, [[1, 0.5], [0, 0.5]]),
    ([0.0, -0.0], None, [0.5, 0.5]),
    ([np.inf, np.inf], None, [0.5, 0.5]),
    ([-np.inf, -np.inf], None, [0.5, 0.5]),
    ([-np.inf, 1.0], None, [0, 1]),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("keepdims", [False, True])
def test_tied_maxima_share_the_gradient_equally(x, axis, keepdims, expected):
    """dezero gives each of them the whole, which is no subgradient."""
    t = leaf(x)
    out = tg.max(t, axis=axis, keepdims=keepdims)
    out.backward(np.ones(out.shape))
    np.testing.assert_allclose(t.grad, expected, rtol=1e-15)
    assert t.grad.sum() == pytest.approx(out.size)


def test_a_nan_maximum_shows_in_the_gradient():
    t = leaf([1.0, np.nan, np.nan])
    out = tg.max(t)
    assert np.isnan(out.data)
    with np.errstate(all="ignore"):
        out.backward()
    assert np.isnan(t.grad).any() or t.grad.sum() == 1  # never silently zero


# softmax


@pytest.mark.parametrize("shift", [0.0, 1e3, -1e3, 1e300])
def test_softmax_does_not_overflow(shift):
    x = np.array([[0.0, 0.0], [0.0, 0.0]]) + shift
    np.testing.assert_array_equal(tg.softmax(x), 0.5)
    gradient = tg.grad(lambda x: (tg.softmax(x) * np.array([1.0, 0.0])).sum())(x)
    np.testing.assert_array_equal(gradient, [[0.25, -0.25], [0.25, -0.25]])


@given(
    x=hnp.arrays(float, hnp.array_shapes(max_dims=3, max_side=3), elements=st.floats(-50, 50)), data=st.data()
)
def test_softmax_is_the_quotient_of_its_definition(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    np.testing.assert_allclose(np.sum(tg.softmax(x, axis=axis), axis=axis), 1, rtol=1e-12)

    def by_definition(numpy, x):
        e = numpy.exp(x)
        return e / numpy.sum(e, axis=axis, keepdims=True)

    v = np.cos(np.arange(x.size)).reshape(x.shape)
    found = tg.grad(lambda x: (tg.softmax(x, axis=axis) * v).sum())(x)
    truth = tg.grad(lambda x: (by_definition(np, x) * v).sum())(x)
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-12)


def test_softmax_of_minus_infinity_is_zero():
    np.testing.assert_array_equal(tg.softmax(np.array([-np.inf, 0.0])), [0.0, 1.0])


def test_log_softmax_keeps_what_the_logarithm_of_softmax_loses():
    np.testing.assert_allclose(
        tg.log_softmax(np.array([0.0, 1000.0, -1e300])), [-1000.0, 0.0, -1e300], rtol=1e-15
    )
    np.testing.assert_allclose(tg.log_softmax(np.array([10.0, 0.0]))[0], -np.log1p(np.exp(-10)), rtol=1e-11)


# logsumexp


@pytest.mark.parametrize(("x", "value", "gradient"), [
    ([-np.inf, -np.inf], -np.inf, [0, 0]),
    ([-np.inf, 3.0], 3.0, [0, 1]),
    ([1e300, 1e300], 1e300, [0.5, 0.5]),
    ([-1e300, -1e300, 0.0], 0.0, [0, 0, 1]),
    ([1000.0, 1000.0], 1000 + np.log(2), [0.5, 0.5]),
    ([], -np.inf, []),
    ([-np.inf], -np.inf, [0]),
])  # fmt: skip
def test_logsumexp_far_out_and_of_nothing(x, value, gradient):
    t = leaf(x)
    out = tg.logsumexp(t)
    out.backward()
    assert out.data == value
    np.testing.assert_array_equal(t.grad, gradient)


def test_rows_of_minus_infinity_leave_the_other_rows_alone():
    x = np.array([[0.0, 1.0], [-np.inf, -np.inf], [-np.inf, 2.0]])
    out, pull_back = tg.vjp(lambda x: tg.logsumexp(x, axis=1, keepdims=True), x)
    np.testing.assert_allclose(out, [[np.log1p(np.e)], [-np.inf], [2.0]], rtol=1e-15)
    e = 1 / (1 + np.e)
    np.testing.assert_allclose(pull_back(np.ones((3, 1)))[0], [[e, 1 - e], [0, 0], [0, 1]], rtol=1e-15)
    second = tg.hvp(lambda x: tg.logsumexp(x, axis=1)[[0, 2]].sum())(x, np.ones(x.shape))
    np.testing.assert_allclose(second, np.zeros(x.shape), atol=1e-15)


# Products with zeros


@pytest.mark.parametrize(("x", "gradient"), [
    ([0.0, 2.0, 3.0], [6, 0, 0]),
    ([2.0, -0.0, 3.0], [0, 6, 0]),
    ([0.0, 0.0, 3.0], [0, 0, 0]),
    ([0.0], [1]),
    ([], []),
    ([1e-200, 1e-200, 1e10], [1e-190, 1e-190, 0]),
    ([1e200, 1e200, 1e-200], [1, 1, np.inf]),
    ([5e-324, 1.0, 1.0], [1, 5e-324, 5e-324]),
])  # fmt: skip
def test_the_gradient_of_a_product_is_the_product_of_the_others(x, gradient):
    with np.errstate(over="ignore"):
        found = tg.grad(tg.prod)(np.array(x))
    np.testing.assert_allclose(found, gradient, rtol=1e-14)


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_derivatives_of_products_with_zeros_to_third_order(name, zeros):
    x = np.array([1.5, -0.5, 2.0, 0.7])
    x[list(zeros)] = 0
    tg.gradcheck(getattr(np, name), x, order=3)


def test_the_hessian_of_a_product_is_the_product_of_the_rest():
    x = np.array([0.0, 2.0, 0.0, 3.0])
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[2, 0] = 6
    np.testing.assert_array_equal(tg.hessian(tg.prod)(x), expected)


# Ties and NaN of the other extrema


@pytest.mark.parametrize(("f", "x", "expected"), [
    (np.min, [1.0, 1.0, 2.0], [0.5, 0.5, 0]),
    (np.amin, [np.inf, np.inf], [0.5, 0.5]),
    (np.amax, [3.0, 1.0, 3.0], [0.5, 0, 0.5]),
    (np.max, [1.0, np.nan, np.nan], [0, 0.5, 0.5]),
    (np.min, [np.nan, 1.0], [1, 0]),
    (np.median, [1.0, 1.0, 1.0], [1 / 3, 1 / 3, 1 / 3]),
    (np.median, [1.0, 2.0, 2.0, 3.0], [0, 0.5, 0.5, 0]),
    (np.median, [2.0, 1.0, 2.0], [0.5, 0, 0.5]),
    (np.median, [4.0, 1.0, 2.0, 3.0], [0, 0, 0.5, 0.5]),
    (np.median, [5.0], [1]),
    (np.median, [1.0, np.nan, 2.0], [0, 1, 0]),
    (np.median, [-np.inf, 0.0, np.inf], [0, 1, 0]),
], ids=str)  # fmt: skip
def test_ties_share_and_nans_show(f, x, expected):
    t = leaf(x)
    f(t).backward()
    np.testing.assert_allclose(t.grad, expected, rtol=1e-15)


def test_a_median_of_nothing_is_refused():
    with pytest.raises(ValueError, match="median: expected at least one element, got an empty array"):
        np.median(leaf([]))


@pytest.mark.parametrize("call", [
    "np.sum(x, out=y)", "np.amin(x, out=y)", "np.cumsum(x, out=y)", "np.ptp(x, out=y)", "np.nansum(x, out=y)",
    "np.median(x, overwrite_input=True)", "np.std(x, correction=1)", "np.var(x, mean=y)",
])  # fmt: skip
def test_options_without_meaning_for_tensors_are_refused_by_name(call):
    name, option = (
        call[3 : call.index("(")].replace("amin", "min"),
        call[call.index(", ") + 2 : call.index("=")],
    )
    with pytest.raises(TypeError, match=rf"\b{name}\b.*\b{option}\b"):
        evaluate(call, x=leaf([1.0, 2.0]), y=np.zeros(()), mask=np.array([True, False]))


def test_numpys_positional_axes():
    x = np.arange(6.0).reshape(2, 3)
    for name in ("sum", "prod", "mean", "max", "min", "amax", "amin", "median", "cumsum", "cumprod"):
        f = getattr(np, name)
        np.testing.assert_array_equal(f(leaf(x), 0).data, f(x, 0))
        np.testing.assert_array_equal(f(a=leaf(x), axis=1).data, f(x, 1))


# What is made of ops: variances, averages, what leaves NaN out; against NumPy, PyTorch and differences

RNG = np.random.default_rng(0)
X = RNG.permutation(np.linspace(-1, 1, 24)).reshape(2, 3, 4)
WITH_NAN = np.where(RNG.random(X.shape) < 0.3, np.nan, X)
WITH_NAN[:, 0, :] = X[:, 0, :]  # so that no slice is NaN alone
WITH_NAN[:, :, 0] = X[:, :, 0]

CALLS = [
    f"np.{name}(x, {options})"
    for name in (
        "var",
        "std",
        "ptp",
        "nanvar",
        "nanstd",
        "nansum",
        "nanmean",
        "nanprod",
        "nanmax",
        "nanmin",
        "average",
    )
    for options in (
        "",
        "axis=1",
        "axis=-1, keepdims=True",
        "axis=(0, -1)",
        "axis=(2, 1), keepdims=True",
        "keepdims=True",
    )
] + [
    f"np.{name}(x, axis={axis}, ddof={ddof})"
    for name in ("var", "std", "nanvar", "nanstd")
    for axis, ddof in (((0, 1), 1), ((0, 2), 2), (None, 0.5))
]


@pytest.mark.parametrize("call", CALLS)
def test_values_are_numpys_and_derivatives_pass_gradcheck(call):
    x = WITH_NAN if "nan" in call else X
    out = evaluate(call, x=leaf(x))
    truth = evaluate(call, x=x)
    assert out.shape == np.shape(truth)
    np.testing.assert_allclose(out.data, truth, rtol=1e-13)
    # On arrays the functions of tensorgrad are those of NumPy too.
    np.testing.assert_allclose(evaluate(call.replace("np.", "tg."), x=x), truth, rtol=1e-13)
    numbers = np.isfinite(x)
    places = np.nonzero(numbers)

    def of_numbers(values):
        return evaluate(call, x=tg.ops.where(numbers, _placed(values, places, x.shape), x))

    tg.gradcheck(of_numbers, x[numbers], order=2)


def _placed(values, places, shape):
    """The ``values`` at ``places`` of a tensor of ``shape`` with zeros, by a matrix of 0 and 1."""
    matrix = np.zeros((int(np.prod(shape)), len(places[0])))
    matrix[np.ravel_multi_index(places, shape), np.arange(len(places[0]))] = 1
    return (matrix @ values).reshape(shape)


@pytest.mark.parametrize("call", CALLS)
def test_float32_stays_float32(call):
    x = leaf(WITH_NAN if "nan" in call else X, "float32")
    out = evaluate(call, x=x)
    out.backward(np.ones(out.shape))
    assert (out.dtype, x.grad.dtype) == (np.float32, np.float32)
    numbers = leaf(x.data, float)
    exact = evaluate(call, x=numbers)
    exact.backward(np.ones(out.shape))
    np.testing.assert_allclose(x.grad, numbers.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, (0, 2), (0, 1, 2)])
def test_var_and_std_agree_with_torch(axis, ddof):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    for ours, theirs in ((np.var, torch.var), (np.std, torch.std)):
        assert_agrees_with_torch(
            lambda x, ours=ours: ours(x, axis, ddof=ddof),
            lambda x, theirs=theirs: theirs(x, axis, correction=ddof),
            X,
        )


# Where the standard deviation has no derivative


@pytest.mark.parametrize("x", [[0.1, 0.1, 0.1], [5.0], [0.0, 0.0], [1e300, 1e300], [-3.3] * 7], ids=str)
@pytest.mark.parametrize("f", [np.std, np.nanstd])
def test_std_of_equal_elements_is_0_with_derivatives_0(f, x):
    """The mean of [0.1, 0.1, 0.1] is not 0.1, so that their variance is not 0 and its root has some slope."""
    x = np.array(x)
    value, gradient = tg.value_and_grad(f)(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(x.shape))
    np.testing.assert_array_equal(tg.hessian(f)(x), np.zeros((*x.shape, *x.shape)))


def test_std_of_equal_rows_beside_others():
    x = np.array([[2.0, 2.0], [1.0, 3.0]])
    gradient = tg.grad(lambda x: np.std(x, axis=1).sum())(x)
    np.testing.assert_allclose(gradient, [[0, 0], [-0.5, 0.5]], rtol=1e-15)


def test_nan_in_std_and_var_shows():
    for f in (np.std, np.var):
        value, gradient = tg.value_and_grad(f)(np.array([1.0, np.nan]))
        assert np.isnan(value)
        assert np.isnan(gradient).all()


@refused_calls(
    ("np.var(x, ddof=2)", ValueError, "var: expected more elements than ddof=2, got 2"),
    ("np.std(x, ddof=3)", ValueError, "std: expected more than 3 elements in every slice"),
    ("np.nanmean(nan)", ValueError, "nanmean: expected more than 0 elements that are not NaN in every slice"),
    ("np.nanvar(x, ddof=2)", ValueError, "nanvar: expected more than 2 elements"),
    ("np.nanmax(nan)", ValueError, "nanmax: expected more than 0 elements"),
    ("np.nanmin(nan, axis=0)", ValueError, "nanmin: expected more than 0 elements"),
    (
        "np.average(x, weights=np.ones(3), axis=0)",
        ValueError,
        r"average: expected weights of .* \(2,\), .* got \(3,\)",
    ),
    ("np.average(x, weights=np.ones(1))", ValueError, r"average: expected weights"),
)
def test_what_has_no_value_is_refused(call, error, message):
    assert_refused(call, error, message, x=leaf([1.0, 2.0]), nan=leaf([np.nan, np.nan]))


def test_a_nan_left_out_receives_nothing():
    x = np.array([1.0, np.nan, 3.0])
    for f, gradient in (
        (np.nansum, [1, 0, 1]),
        (np.nanmean, [0.5, 0, 0.5]),
        (np.nanprod, [3, 0, 1]),
        (np.nanmax, [0, 0, 1]),
        (np.nanmin, [1, 0, 0]),
        (np.nanvar, [-1, 0, 1]),
        (np.nanstd, [-0.5, 0, 0.5]),
    ):
        np.testing.assert_allclose(tg.grad(f)(x), gradient, rtol=1e-15)
    assert np.nansum(leaf([np.nan])).item() == 0


def test_ties_of_ptp_and_nanmax_share():
    np.testing.assert_array_equal(tg.grad(np.ptp)(np.array([1.0, 3.0, 1.0, 2.0])), [-0.5, 1, -0.5, 0])
    np.testing.assert_array_equal(tg.grad(np.nanmax)(np.array([3.0, np.nan, 3.0])), [0.5, 0, 0.5])


# Averages


@pytest.mark.parametrize(("shape", "axis"), [
    ((2, 3, 4), None), ((2, 3, 4), 1), ((2, 3, 4), (0, 2)), ((3,), 1), ((4,), -1), ((2, 4), (0, 2)),
    ((4, 2), (2, 0)),
], ids=str)  # fmt: skip
def test_averages_are_numpys_and_differentiable_in_both(shape, axis):
    weights = np.random.default_rng(1).uniform(0.5, 2, shape)
    for keepdims in (False, True):

        def f(a, weights, keepdims=keepdims):
            return np.average(a, axis, weights, keepdims=keepdims)

        np.testing.assert_allclose(f(leaf(X), weights).data, f(X, weights), rtol=1e-14)
        np.testing.assert_allclose(tg.average(X, axis, weights, keepdims=keepdims), f(X, weights), rtol=1e-14)
        tg.gradcheck(f, X, weights, order=2)


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(ZeroDivisionError, match="average: the weights sum to zero"):
        np.average(leaf([1.0, 2.0]), weights=[1.0, -1.0])


# NumPy's options, and dtypes


MASK = np.array([[True, False, True], [True, True, False]])


@pytest.mark.parametrize("call", [
    "np.sum(x, dtype='float32')", "np.sum(x, 0, where=mask)", "np.sum(x, initial=3.0, keepdims=True)",
    "np.prod(x, 1, where=mask, initial=2.0)", "np.max(x, 0, where=mask, initial=0.1)",
    "np.min(x, initial=0.5)", "np.mean(x, 1, where=mask)", "np.mean(x, dtype='float32')",
    "np.var(x, 0, where=mask)", "np.cumsum(x, 1, dtype='float32')",
    "np.std(x, where=mask, ddof=1)", "np.nansum(y, 0, where=mask)", "np.nanmean(y, where=mask)",
    "np.nanmax(y, 0, initial=0.2, where=mask)", "np.nanstd(y, where=mask)",
    "np.average(x, 0, returned=True)[0]", "np.average(x, weights=x, returned=True)[1]",
    "np.sum(x[:0], initial=2.0)", "np.max(x[:0], initial=2.0)", "x.sum(where=mask)", "x.mean(1, 'float32')",
])  # fmt: skip
def test_options_are_numpys_and_their_derivatives_pass_gradcheck(call):
    x = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3))
    y = x.copy()
    y[1, 1] = np.nan
    known = {"mask": MASK, "y": y, "x": x}
    truth = evaluate(call, **known)
    found = evaluate(call, **{name: v if name == "mask" else leaf(v) for name, v in known.items()})
    assert (found.dtype, found.shape) == (truth.dtype, truth.shape)
    np.testing.assert_allclose(found.data, truth, rtol=1e-6 if truth.dtype == np.float32 else 1e-13)
    if "float32" not in call and "[:0]" not in call:
        argument = "y" if "(y" in call else "x"
        free = MASK & ~np.isnan(y) if "(y" in call else np.ones((2, 3), bool)

        def f(values):  # a NaN has no difference quotient
            return evaluate(call, **known | {argument: tg.set_at(known[argument], free, values)})

        tg.gradcheck(f, known[argument][free], order=2)


@pytest.mark.parametrize("f", [
    np.mean, np.average, np.nanmean, np.max, np.min, np.median, np.var, np.std, np.nanstd, np.nanmax,
    lambda x: np.average(x, weights=np.ones(x.shape, x.dtype)), lambda x: np.mean(x, where=x.data < 9),
    lambda x: tg.softmax(x)[6], tg.logsumexp, lambda x: tg.log_softmax(x)[0], np.linalg.norm,
], ids=[
    "mean", "average", "nanmean", "max", "min", "median", "var", "std", "nanstd", "nanmax",
    "weights", "where", "softmax", "logsumexp", "log_softmax", "norm",
])  # fmt: skip
def test_half_precision_counts_what_it_cannot_hold(f):
    """70,000 is infinite in float16. The truth is that of the same numbers in float64."""
    x = (np.arange(70_000) % 7).astype(np.float16)
    value, gradient = tg.value_and_grad(f)(x)
    truth, slopes = tg.value_and_grad(f)(x.astype(float))
    assert value.dtype == gradient.dtype == np.float16
    # A share of 1/70,000 is subnormal there, and has few digits.
    np.testing.assert_allclose(value, truth, rtol=1e-2, atol=6e-8)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-2, atol=6e-8)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_integers_give_what_floats_give(dtype):
    limits = (False, True) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max, 3)
    x = np.array(limits, dtype)
    for f in (
        np.mean, np.std, np.var, np.average, np.nanmean, np.nanstd, np.median, tg.softmax, tg.log_softmax,
        tg.logsumexp, np.linalg.norm, lambda x: np.linalg.norm(x, np.inf), lambda x: np.average(x, weights=x),
        lambda x: np.linalg.norm(x[None], "nuc"), lambda x: np.linalg.norm(x[None], 1),
    ):  # fmt: skip
        found = f(tg.Tensor(x))
        assert found.dtype == float
        np.testing.assert_allclose(found.data, np.asarray(f(tg.Tensor(x.astype(float))).data), rtol=1e-13)
