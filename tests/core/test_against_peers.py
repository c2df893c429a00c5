"""Agreement with HIPS autograd and PyTorch on whole functions: values, gradients, Hessian-vector products."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, leaf

import tensorgrad as tg

RNG = np.random.default_rng(0)


def logistic_regression(np, w, b):
    x = np.array([[0.5, 1.0], [-1.0, 2.0], [0.3, -0.2]])
    p = 1 / (1 + np.exp(-(x @ w + b)))
    y = np.array([1.0, 0.0, 1.0])
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def two_layers(np, x, w):
    hidden = np.tanh(x @ w)
    return np.sum((hidden @ np.transpose(w) - x) ** 2)


def rosenbrock(np, x, y):
    return np.sum(100 * (y - x**2) ** 2 + (1 - x) ** 2)


def log_sum_exp(np, x, y):
    z = np.reshape(x[:, None] * y[None, :], (-1,))
    top = np.max(z)
    return top + np.log(np.sum(np.exp(z - top)))


def gaussian_process_like(np, x, scale):
    d = (x[:, None] - x[None, :]) / scale
    k = np.exp(-0.5 * d * d) + np.maximum(d, 0.1) ** 1.5
    return np.mean(np.sqrt(np.sum(k, axis=0) + 1))


def attention(np, q, k):
    s = q @ np.swapaxes(k, -1, -2) / 2.0
    e = np.exp(s - np.max(s, axis=-1, keepdims=True))
    p = e / np.sum(e, axis=-1, keepdims=True)
    return np.sum((p @ k) ** 2 * np.array([1.0, 2.0]))


def recurrent(np, h, w):
    for _ in range(10):
        h = np.tanh(h @ w) + 0.1 * h[[3, 2, 1, 0]]
    return np.sum(h * h)


def powers(np, x, y):
    return np.sum(np.where(x > 1, x**y, y**x) / (x + y))


def normal(*shape):
    return RNG.standard_normal(shape)


def positive(*shape):
    return RNG.uniform(0.5, 2, shape)


CASES = [
    (logistic_regression, normal(2), normal()),
    (two_layers, normal(4, 3), normal(3, 2)),
    (rosenbrock, normal(5), normal(5)),
    (log_sum_exp, normal(3), normal(4)),
    (gaussian_process_like, normal(5), positive()),
    (attention, normal(2, 3, 2), normal(2, 4, 2)),
    (recurrent, normal(4, 3), normal(3, 3)),
    (powers, positive(2, 3), positive(3)),
]
each_function = pytest.mark.parametrize(("f", "x", "y"), CASES, ids=[f.__name__ for f, *_ in CASES])


def close(found, truth):
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9)


@each_function
def test_agrees_with_autograd(f, x, y):
    assert_agrees_with_autograd(f, x, y)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torch_as_numpy(torch):
    """The few functions that the cases call, by NumPy's names and signatures."""

    class Namespace:
        exp, log, tanh, sqrt, where = torch.exp, torch.log, torch.tanh, torch.sqrt, torch.where
        sum, mean, reshape, swapaxes = torch.sum, torch.mean, torch.reshape, torch.swapaxes

        @staticmethod
        def array(x):
            return torch.tensor(x, dtype=torch.float64)

        @staticmethod
        def transpose(x):
            return x.mT

        @staticmethod
        def maximum(x, y):
            return torch.clamp(x, min=y)

        @staticmethod
        def max(x, axis=None, keepdims=False):
            return torch.amax(x, dim=() if axis is None else axis, keepdim=keepdims)

    return Namespace


@each_function
def test_values_gradients_and_hessian_vector_products_are_torchs(f, x, y, torch):
    v, u = np.cos(x), np.sin(1 + y)
    t = tuple(torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, y))
    value = f(torch_as_numpy(torch), *t)
    gradients = torch.autograd.grad(value, t, create_graph=True)
    along = torch.sum(gradients[0] * torch.tensor(v)) + torch.sum(gradients[1] * torch.tensor(u))
    hvp = torch.autograd.grad(along, t)

    ours = (tg.Tensor(x, requires_grad=True), tg.Tensor(y, requires_grad=True))
    loss = f(np, *ours)
    loss.backward(create_graph=True)
    close(loss.data, value.detach().numpy())
    found = [a.grad for a in ours]
    for a, truth in zip(ours, gradients, strict=True):
        close(a.grad.data, truth.detach().numpy())
        a.zero_grad()
    (np.sum(found[0] * v) + np.sum(found[1] * u)).backward()
    for a, truth in zip(ours, hvp, strict=True):
        close(a.grad, truth.numpy())


def test_jacobian_rows_agree_with_autograd():
    def f(np, x):
        return np.exp(x @ np.transpose(x)) / np.sum(x, axis=1)

    x = positive(3, 2)
    value, pull_back = tg.vjp(lambda x: f(np, x), x)
    rows = []
    for place in np.ndindex(value.shape):
        unit = np.zeros(value.shape)
        unit[place] = 1
        rows.append(pull_back(unit)[0])
    close(np.reshape(rows, (*value.shape, *x.shape)), autograd.jacobian(lambda x: f(anp, x))(x))


# Well-known traps; the others are tested in test_backward, test_no_grad, test_op, test_linalg, test_losses


def test_dezeros_double_backward_of_a_convolution(torch):
    x, w = normal(2, 5, 5, 2), normal(3, 2, 3, 3)

    def penalty(conv, sum, grad):
        def f(x, w):
            return sum(conv(x, w) ** 3)

        return lambda x, w: sum(grad(f)(x, w) ** 2)

    def conv(x, w):
        return torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w, stride=2, padding=1)

    theirs = penalty(conv, torch.sum, torch.func.grad)
    truth = torch.func.grad(theirs, (0, 1))(torch.tensor(x), torch.tensor(w))
    ours = penalty(lambda x, w: tg.conv2d(x, w, stride=2, padding=1), np.sum, tg.grad)
    for found, expected in zip(tg.grad(ours, (0, 1))(x, w), truth, strict=True):
        close(found, expected.numpy())


def test_where_with_a_nan_in_the_untaken_branch():
    """The value is right; the gradient is either right or pointed at, which is what detect_nan is for."""
    x = leaf([-1.0, 4.0])
    with np.errstate(invalid="ignore"):
        y = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), np.nan * 0 + x)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 0.25]
    z = leaf([0.0, 4.0])
    with pytest.raises(FloatingPointError, match="masked this branch"), tg.detect_nan():
        np.where(z > 0, np.sqrt(z), 0.0).sum().backward()


@pytest.mark.parametrize("index", [
    [0, 0, 2, 0], np.array([[0, 0], [2, -3]]), ([0, 0], [1, 1]), ([[0], [0]], [1, 0, 1]),
], ids=["list", "matrix", "pairs", "broadcast"])  # fmt: skip
def test_repeated_fancy_indices_add_up(index):
    x = normal(3, 2)
    assert_agrees_with_autograd(lambda np, x: np.exp(x)[index], x)
