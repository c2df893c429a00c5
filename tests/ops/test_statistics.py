"""What is made of ops: variances, averages, what leaves NaN out; against NumPy, PyTorch and differences."""

import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from helpers import assert_refused, evaluate, leaf, refused_calls

import tensorgrad as tg

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
    np.testing.assert_array_equal(tg.grad(lambda x: np.std(x, axis=1).sum())(x), [[0, 0], [-0.5, 0.5]])


def test_nan_in_std_and_var_shows():
    for f in (np.std, np.var):
        value, gradient = tg.value_and_grad(f)(np.array([1.0, np.nan]))
        assert np.isnan(value)
        assert np.isnan(gradient).all()


@refused_calls(
    ("np.var(x, ddof=2)", ValueError, "var: expected more elements than ddof=2, got 2"),
    ("np.std(x, ddof=3)", ValueError, "var: expected more elements than ddof=3, got 2"),
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
        np.testing.assert_array_equal(tg.grad(f)(x), gradient)
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
