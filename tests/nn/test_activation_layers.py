"""Activations as layers: that each is its op, with the options it was made with."""

import math

import numpy as np
import pytest

import tensorgrad as tg


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


LAYERS = {
    "Sigmoid()": (tg.Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    "ReLU()": (tg.ReLU(), lambda x: max(x, 0.0)),
    "Tanh()": (tg.Tanh(), math.tanh),
    "Softplus()": (tg.Softplus(), lambda x: math.log(1 + math.exp(x))),
    "SiLU()": (tg.SiLU(), lambda x: x / (1 + math.exp(-x))),
    "LeakyReLU(0.01)": (tg.LeakyReLU(), lambda x: x if x > 0 else 0.01 * x),
    "LeakyReLU(0.3)": (tg.LeakyReLU(0.3), lambda x: x if x > 0 else 0.3 * x),
    "ELU(1.0)": (tg.ELU(), lambda x: x if x > 0 else math.exp(x) - 1),
    "ELU(2.0)": (tg.ELU(2.0), lambda x: x if x > 0 else 2 * (math.exp(x) - 1)),
    "GELU()": (tg.GELU(), gelu),
    "GELU('tanh')": (tg.GELU("tanh"), gelu_tanh),
}
X = np.array([[-3.0, -0.7, -0.1], [0.2, 1.0, 4.0]])


@pytest.mark.parametrize("name", LAYERS)
def test_an_activation_by_its_formula(name):
    layer, formula = LAYERS[name]
    assert repr(layer) == name
    assert layer.parameters() == []
    truth = np.array([[formula(x) for x in row] for row in X])
    for dtype, precision in (("float64", 1e-13), ("float32", 1e-5)):
        out = layer(X.astype(dtype))
        assert isinstance(out, tg.Tensor)
        assert out.dtype == dtype
        np.testing.assert_allclose(out.data, truth, rtol=precision, atol=precision)
    tg.gradcheck(layer, X, order=2)


def test_log_softmax_of_the_last_axis():
    out = tg.LogSoftmax()(1000 * X)
    np.testing.assert_allclose(np.exp(out.data).sum(axis=-1), 1)
    np.testing.assert_allclose(out.data[:, -1], 0, atol=1e-12)
    np.testing.assert_allclose(np.exp(tg.LogSoftmax()(X).data), tg.Softmax()(X).data, rtol=1e-13)
