"""Activations and the error function: against PyTorch, the math module, and at their extremes."""

import math

import numpy as np
import pytest
from against_torch import assert_agrees_with_torch

import tensorgrad as tg


def in_torch(name, **options):
    """A function of PyTorch's, found when it is called, since PyTorch may not be installed."""

    def function(x):
        import torch

        owner = torch if hasattr(torch, name) else torch.nn.functional
        return getattr(owner, name)(x, **options)

    return function


ACTIVATIONS = {
    "leaky_relu": (in_torch("leaky_relu"), {}),
    "leaky_relu, slope": (in_torch("leaky_relu", negative_slope=0.3), {"slope": 0.3}),
    "elu": (in_torch("elu"), {}),
    "elu, alpha": (in_torch("elu", alpha=2.0), {"alpha": 2.0}),
    "silu": (in_torch("silu"), {}),
    "softplus": (in_torch("softplus", threshold=1000), {}),
    "gelu": (in_torch("gelu"), {}),
    "gelu, tanh": (in_torch("gelu", approximate="tanh"), {"approximate": "tanh"}),
    "erf": (in_torch("erf"), {}),
    "erfc": (in_torch("erfc"), {}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives_are_torchs(name):
    pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    theirs, options = ACTIVATIONS[name]
    op = getattr(tg, name.partition(",")[0])
    x = np.concatenate([np.random.default_rng(0).uniform(-6, 6, 200), np.linspace(-30, 30, 60)])
    assert_agrees_with_torch(lambda x: op(x, **options), theirs, x)


# The error function

LINE = np.concatenate([
    np.linspace(-6, 6, 4001), np.linspace(-30, 30, 1001),
    [0.46875, 4.0, -0.46875, -4.0, 1e-300, 1e300, np.inf],
])  # fmt: skip


def test_erf_and_erfc_are_those_of_the_math_module():
    truth = np.array([math.erf(x) for x in LINE])
    np.testing.assert_allclose(tg.erf(LINE), truth, rtol=1e-15, atol=0)
    truth = np.array([math.erfc(x) for x in LINE])
    np.testing.assert_allclose(tg.erfc(LINE), truth, rtol=2e-15, atol=1e-308)
    np.testing.assert_array_equal(tg.erf(-LINE), -tg.erf(LINE))


def test_erf_and_erfc_in_float32():
    x = LINE[np.abs(LINE) < 9].astype(np.float32)
    for ours, theirs in ((tg.erf, math.erf), (tg.erfc, math.erfc)):
        out = ours(x)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, [theirs(v) for v in x], rtol=1e-6, atol=0)


@pytest.mark.parametrize("op", [tg.erf, tg.erfc, tg.gelu], ids=lambda op: op.name)
def test_of_any_shape_and_of_nan(op):
    assert np.shape(op(0.5)) == ()
    assert op(np.zeros((0, 3))).shape == (0, 3)
    x = np.array([[1.0, np.nan], [-7.0, 0.1]])
    out = op(x)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(x))
    np.testing.assert_array_equal(op(x[:, ::-1]), out[:, ::-1])
    np.testing.assert_array_equal(op(np.asfortranarray(x)), out)


def test_gelu_keeps_its_tail():
    """In the form 1 + erf the result at -10 would be 0."""
    assert tg.gelu(np.array(-10.0)) == pytest.approx(-10 * math.erfc(10 / math.sqrt(2)) / 2, rel=1e-13)


def test_the_error_of_the_approximate_gelu_is_as_documented():
    x = np.linspace(-10, 10, 20001)
    exact, near = ({"approximate": name} for name in ("none", "tanh"))
    assert 4e-4 < np.abs(tg.gelu(x, **exact) - tg.gelu(x, **near)).max() < 5e-4
    slopes = [tg.vjp(lambda x, o=o: tg.gelu(x, **o), x)[1](np.ones_like(x)) for o in (exact, near)]
    assert np.abs(np.squeeze(slopes[0]) - np.squeeze(slopes[1])).max() < 1e-3


def test_an_unknown_approximation_is_refused():
    with pytest.raises(ValueError, match="gelu: expected approximate to be none or tanh, got 'erf'"):
        tg.gelu(np.ones(2), approximate="erf")


# Extremes and kinks


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "softplus", "silu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_values_neither_overflow_nor_become_nan(name, dtype):
    x = tg.Tensor(np.array([-1e9, -1e4, -90, 0, 90, 1e4, 1e9], dtype), requires_grad=True)
    out = getattr(tg, name)(x)
    out.backward(np.ones(7, dtype))
    assert out.dtype == x.grad.dtype == dtype
    np.testing.assert_allclose(out.data[-3:], [90, 1e4, 1e9], rtol=1e-6)
    np.testing.assert_allclose(x.grad[-3:], 1, rtol=1e-6)
    if name != "leaky_relu":
        np.testing.assert_allclose(x.grad[:3], 0, atol=1e-30)
        assert np.abs(out.data[:3]).max() <= 1


def test_derivatives_at_0_are_those_of_the_left_side():
    for op, slope in ((lambda x: tg.leaky_relu(x, slope=0.2), 0.2), (lambda x: tg.elu(x, alpha=3.0), 3.0)):
        assert tg.grad(op)(0.0) == pytest.approx(slope)
    assert tg.grad(tg.grad(lambda x: tg.elu(x, alpha=3.0)))(0.0) == 3.0


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "softplus", "silu", "gelu"])
def test_a_nan_shows(name):
    x = tg.Tensor([np.nan, 1.0], requires_grad=True)
    out = getattr(tg, name)(x)
    assert np.isnan(out.data).tolist() == [True, False]


@pytest.mark.parametrize("option", [{"slope": np.float64(0.1)}, {"slope": 1}], ids=str)
def test_options_promote_nothing(option):
    assert tg.leaky_relu(tg.Tensor(np.ones(2, np.float32), requires_grad=True), **option).dtype == np.float32
