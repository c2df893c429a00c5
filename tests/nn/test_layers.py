"""Every layer against loops in NumPy (and torch, where it is installed), and what it refuses.

The oracles compute in float64 from the layer's parameters; gradients are central differences of the oracle,
so nothing of the package stands on both sides of a comparison.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def padded(x, padding, fill):
    rows, columns = pair(padding)
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=fill)


def windows(x, size, stride):
    """(i, j, window) for every position of a window over images (N, H, W, C)."""
    (height, width), (down, across) = pair(size), pair(stride)
    rows, columns = (x.shape[1] - height) // down + 1, (x.shape[2] - width) // across + 1
    for i, j in product(range(rows), range(columns)):
        yield i, j, x[:, i * down : i * down + height, j * across : j * across + width]


def dense(x, weights, bias):
    return np.array(
        [
            [sum(x[n, i] * weights[i, j] for i in range(len(weights))) + bias[j] for j in range(len(bias))]
            for n in range(len(x))
        ]
    )


def convolution(x, filters, bias, stride=1, padding=0):
    x = padded(x, padding, 0)
    places = {}
    for i, j, window in windows(x, filters.shape[2:], stride):
        products = [(window * f.transpose(1, 2, 0)).sum(axis=(1, 2, 3)) for f in filters]
        places[i, j] = np.stack(products, axis=-1) + bias
    return images(places)


def pooling(reduce, fill, x, size=2, stride=None, padding=0):
    x = padded(x, padding, fill)
    places = windows(x, size, size if stride is None else stride)
    return images({(i, j): reduce(window, axis=(1, 2)) for i, j, window in places})


largest, mean = partial(pooling, np.max, -np.inf), partial(pooling, np.mean, 0)


def images(places):
    """{(i, j): (N, C)} as images (N, H, W, C)."""
    rows, columns = (1 + max(place[axis] for place in places) for axis in (0, 1))
    return np.stack([np.stack([places[i, j] for j in range(columns)], 1) for i in range(rows)], 1)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Case:
    """A layer by its class and arguments, the shape it is called with, and the oracle of its forward."""

    kind: str
    arguments: tuple
    options: dict[str, Any]
    shape: tuple
    oracle: Any

    def layer(self, dtype):
        options = dict(self.options)
        if self.kind in ("Dense", "Conv2D"):
            options |= {"bias_init": "notebook_dense", "dtype": dtype, "rng": 0}
        return getattr(tg, self.kind)(*self.arguments, **options)

    def input(self, dtype):
        return np.random.default_rng(1).standard_normal(self.shape).astype(dtype)

    def expected(self, x, *parameters):
        return self.oracle(x, *parameters, **self.options)


CASES = {
    "Dense": Case("Dense", (3, 4), {}, (5, 3), dense),
    "Dense to one output": Case("Dense", (6, 1), {}, (1, 6), dense),
    "Conv2D": Case("Conv2D", (2, 3, 3), {}, (2, 5, 6, 2), convolution),
    "Conv2D 1x1": Case("Conv2D", (3, 2, 1), {}, (2, 3, 2, 3), convolution),
    "Conv2D strided": Case("Conv2D", (2, 3, 2), {"stride": 2}, (2, 5, 4, 2), convolution),
    "Conv2D padded": Case("Conv2D", (1, 2, 3), {"padding": 1}, (2, 3, 4, 1), convolution),
    "Conv2D rectangular": Case(
        "Conv2D", (2, 2, (3, 2)), {"stride": (1, 2), "padding": (0, 1)}, (1, 4, 5, 2), convolution
    ),
    "MaxPool2D": Case("MaxPool2D", (), {}, (2, 4, 6, 3), largest),
    "MaxPool2D of odd images": Case("MaxPool2D", (), {}, (2, 5, 3, 1), largest),
    "MaxPool2D overlapping": Case(
        "MaxPool2D", (), {"size": (3, 2), "stride": 1}, (2, 4, 4, 2), largest
    ),
    "MaxPool2D padded": Case(
        "MaxPool2D", (), {"size": 3, "stride": 2, "padding": 1}, (1, 5, 4, 2),
        largest,
    ),
    "AvgPool2D": Case("AvgPool2D", (), {}, (2, 4, 6, 3), mean),
    "AvgPool2D with gaps": Case(
        "AvgPool2D", (), {"size": 2, "stride": 3}, (1, 5, 6, 2), mean
    ),
    "AvgPool2D padded": Case(
        "AvgPool2D", (), {"size": (2, 3), "stride": 1, "padding": 1}, (1, 3, 3, 2),
        mean,
    ),
    "Flatten": Case("Flatten", (), {}, (2, 3, 4, 2), lambda x: np.array([image.ravel() for image in x])),
    "Flatten of rows": Case("Flatten", (), {}, (3, 2), lambda x: x),
    "Sigmoid": Case("Sigmoid", (), {}, (3, 4), lambda x: 1 / (1 + np.exp(-x))),
    "ReLU": Case("ReLU", (), {}, (2, 3, 2, 2), lambda x: np.where(x > 0, x, 0)),
    "Tanh": Case("Tanh", (), {}, (3, 4), lambda x: 1 - 2 / (np.exp(2 * x) + 1)),
    "Softmax": Case("Softmax", (), {}, (3, 4), softmax),
}  # fmt: skip

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def differentiated(case, dtype):
    """The layer's output, a cotangent v, and input and parameters with their gradients of <v, output>."""
    layer = case.layer(dtype)
    x = tg.Tensor(case.input(dtype), requires_grad=True)
    out = layer(x)
    v = np.random.default_rng(2).standard_normal(out.shape)
    out.backward(v)
    return out, v, [x, *layer.parameters()]


@every_case
def test_forward_is_that_of_loops(case):
    out, _, leaves = differentiated(case, "float64")
    np.testing.assert_allclose(out.data, case.expected(*(t.data for t in leaves)), rtol=1e-12, atol=1e-13)


@every_case
def test_gradients_of_input_and_parameters_are_the_oracles_difference_quotients(case):
    _, v, leaves = differentiated(case, "float64")
    values = [t.numpy() for t in leaves]
    for leaf, value in zip(leaves, values, strict=True):
        quotients = np.empty_like(value)
        for index in np.ndindex(value.shape):
            ahead_behind = []
            for step in (1e-5, -1e-5):
                kept = value[index]
                value[index] = kept + step
                ahead_behind.append((v * case.expected(*values)).sum())
                value[index] = kept
            quotients[index] = (ahead_behind[0] - ahead_behind[1]) / 2e-5
        np.testing.assert_allclose(leaf.grad, quotients, rtol=1e-7, atol=1e-8)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch, the second oracle, is not installed")


def torch_forward(torch, case, x, *parameters):
    f, options = torch.nn.functional, case.options
    if case.kind == "Dense":
        return x @ parameters[0] + parameters[1]
    if case.kind == "Conv2D":
        return f.conv2d(x.permute(0, 3, 1, 2), *parameters, **options).permute(0, 2, 3, 1)
    if case.kind.endswith("Pool2D"):
        pool = {"MaxPool2D": f.max_pool2d, "AvgPool2D": f.avg_pool2d}[case.kind]
        sizes = {"kernel_size": options.get("size", 2), "stride": options.get("stride")}
        return pool(x.permute(0, 3, 1, 2), padding=options.get("padding", 0), **sizes).permute(0, 2, 3, 1)
    if case.kind == "Softmax":
        return f.softmax(x, dim=-1)
    return {"Flatten": lambda x: x.flatten(1), "Sigmoid": torch.sigmoid, "ReLU": f.relu, "Tanh": torch.tanh}[
        case.kind
    ](x)


@every_case
def test_forward_and_gradients_are_torchs(torch, case):
    out, v, leaves = differentiated(case, "float64")
    peers = [torch.tensor(t.numpy(), requires_grad=True) for t in leaves]
    peer_out = torch_forward(torch, case, *peers)
    peer_out.backward(torch.tensor(v))
    np.testing.assert_allclose(out.data, peer_out.detach().numpy(), rtol=1e-12, atol=1e-13)
    for leaf, peer in zip(leaves, peers, strict=True):
        np.testing.assert_allclose(leaf.grad, peer.grad.numpy(), rtol=1e-12, atol=1e-13)


@every_case
def test_float32_stays_float32_and_agrees_with_float64(case):
    out, _, leaves = differentiated(case, "float32")
    exact, _, exact_leaves = differentiated(case, "float64")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.data, exact.data, rtol=2e-5, atol=2e-6)
    for leaf, exact_leaf in zip(leaves, exact_leaves, strict=True):
        assert leaf.grad.dtype == np.float32
        np.testing.assert_allclose(leaf.grad, exact_leaf.grad, rtol=2e-5, atol=1e-5)


@every_case
def test_a_plain_array_gives_the_same_tensor(case):
    layer, x = case.layer("float32"), case.input("float32")
    out = layer(x)
    assert isinstance(out, tg.Tensor)
    assert out.requires_grad == bool(layer.parameters())
    np.testing.assert_array_equal(out.data, layer(tg.Tensor(x, requires_grad=True)).data)


def test_saturated_activations_neither_overflow_nor_give_nan():
    x = np.array([[-1e4, 0.0, 1e4]])
    np.testing.assert_allclose(tg.Sigmoid()(x).data, [[0, 0.5, 1]], atol=1e-15)
    np.testing.assert_allclose(tg.Tanh()(x).data, [[-1, 0, 1]])
    np.testing.assert_allclose(tg.Softmax()(x).data, [[0, 0, 1]])


def test_layers_default_to_float32():
    assert {p.dtype for layer in (tg.Dense(2, 3), tg.Conv2D(1, 2, 3)) for p in layer.parameters()} == {
        np.dtype("float32")
    }


f32, f64 = np.float32, np.float64


# What each message must hold: the layer (or its op), what was expected, what came.
@refused_calls(
    ("tg.Dense(3, 4)(np.ones((5, 2), f32))", ValueError, r"Dense\(3, 4\).*\(N, 3\).*\(5, 2\)"),
    ("tg.Dense(3, 4)(np.ones(3, f32))", ValueError, r"Dense\(3, 4\).*\(N, 3\).*\(3,\)"),
    ("tg.Dense(3, 4)(np.ones((2, 5, 3), f32))", ValueError, r"Dense\(3, 4\).*\(N, 3\).*\(2, 5, 3\)"),
    ("tg.Dense(3, 4)(np.ones((5, 3), f64))", TypeError, r"Dense\(3, 4\).*float32.*float64"),
    ("tg.Dense(3, 4, dtype=f64)(np.ones((5, 3), f32))", TypeError, r"Dense\(3, 4\).*float64.*float32"),
    ("tg.Dense(3, 4)(np.ones((5, 3), int))", TypeError, r"Dense\(3, 4\).*float32.*int64"),
    ("tg.Dense(3, 4)([[1.0, 2.0, 3.0]])", TypeError, r"Dense\(3, 4\).*float32.*list"),
    ("tg.Conv2D(3, 4, 3)(np.ones((2, 8, 8, 1), f32))", ValueError, r"Conv2D\(3.*W, 3\).*\(2, 8, 8, 1\)"),
    ("tg.Conv2D(3, 4, 3)(np.ones((8, 8, 3), f32))", ValueError, r"Conv2D\(3.*\(N, H, W, 3\).*\(8, 8, 3\)"),
    ("tg.Conv2D(3, 4, 3)(np.ones((2, 8, 8, 3)))", TypeError, r"Conv2D\(3.*float32.*float64"),
    ("tg.Conv2D(3, 4, 3)(np.ones((2, 2, 8, 3), f32))", ValueError, r"conv2d.*3.*\(2, 2, 8, 3\)"),
    ("tg.Conv2D(3, 4, 3)(np.ones((0, 8, 8, 3), f32))", ValueError, r"conv2d.*\(0, 8, 8, 3\)"),
    ("tg.MaxPool2D(2)(np.ones((8, 8, 3), f32))", ValueError, r"max_pool.*\(N, H, W, C\).*\(8, 8, 3\)"),
    ("tg.MaxPool2D(4)(np.ones((1, 3, 8, 1), f32))", ValueError, r"max_pool.*4.*\(1, 3, 8, 1\)"),
    ("tg.AvgPool2D(2)(np.ones((2, 8), f32))", ValueError, r"avg_pool.*\(N, H, W, C\).*\(2, 8\)"),
    ("tg.AvgPool2D(2)(np.ones((1, 4, 4, 1), int))", TypeError, "avg_pool.*float.*int64"),
    ("tg.Flatten()(np.ones(3, f32))", ValueError, r"Flatten\(\).*\(N, \.\.\.\).*\(3,\)"),
)
def test_misfit_input_is_refused_by_layer_expected_and_got(call, error, message):
    assert_refused(call, error, message, f32=f32, f64=f64)


@refused_calls(
    ("tg.Dense(0, 3)", ValueError, "Dense: .*inputs"),
    ("tg.Dense(3, -1)", ValueError, "Dense: .*outputs"),
    ("tg.Dense(True, 3)", ValueError, "Dense: .*inputs"),
    ("tg.Dense(2.0, 3)", ValueError, "Dense: .*inputs"),
    ("tg.Conv2D(0, 1, 3)", ValueError, "Conv2D: .*channels"),
    ("tg.Conv2D(1, 0, 3)", ValueError, "Conv2D: .*filters"),
    ("tg.Conv2D(1, 1, 0)", ValueError, "Conv2D: .*kernel"),
    ("tg.Conv2D(1, 1, (3, -3))", ValueError, "Conv2D: .*kernel"),
    ("tg.Conv2D(1, 1, (3, 3, 3))", TypeError, "Conv2D: .*kernel"),
    ("tg.Conv2D(1, 1, 2.5)", TypeError, "Conv2D: .*kernel"),
    ("tg.Conv2D(1, 1, True)", TypeError, "Conv2D: .*kernel"),
)
def test_sizes_that_are_no_positive_integers_are_refused_when_the_layer_is_made(call, error, message):
    assert_refused(call, error, message)


def test_sizes_may_be_numpy_integers():
    n = np.int64(3)
    assert tg.Dense(n, n)(np.ones((1, 3), f32)).shape == (1, 3)
    assert tg.Conv2D(n, n, n)(np.ones((1, 4, 5, 3), f32)).shape == (1, 2, 3, 3)


@pytest.mark.parametrize("kind", [tg.MaxPool2D, tg.AvgPool2D, lambda **o: tg.Conv2D(1, 1, 2, **o)])
@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": 1.5}, {"padding": -1}, {"stride": (1, 2, 3)}])
def test_impossible_strides_and_paddings_are_refused_by_name_and_value(kind, options):
    ((name, value),) = options.items()
    with pytest.raises((ValueError, TypeError)) as caught:
        kind(**options)(np.ones((1, 6, 6, 1), f32))
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match=r"int64"):
        tg.Dense(3, 2, dtype=int)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (tg.Dense(3, 2), "Dense(3, 2)"),
        (tg.Conv2D(1, 16, 3), "Conv2D(1, 16, 3x3)"),
        (tg.Conv2D(2, 4, (3, 5), 2, (1, 0)), "Conv2D(2, 4, 3x5, stride=2, padding=(1, 0))"),
        (tg.MaxPool2D(), "MaxPool2D(2)"),
        (tg.AvgPool2D((2, 3), 1, 1), "AvgPool2D((2, 3), stride=1, padding=1)"),
        (tg.Flatten(), "Flatten()"),
        (tg.ReLU(), "ReLU()"),
        (tg.Softmax(), "Softmax()"),
        (tg.Network([tg.Dense(1, 2), tg.Tanh()]), "Network([Dense(1, 2), Tanh()])"),
    ],
)  # fmt: skip
def test_repr_says_what_the_layer_does(layer, text):
    assert repr(layer) == text


# Options of Dense and Conv2D, and global pooling


def test_dense_without_bias():
    layer = tg.Dense(3, 2, bias=False, dtype=f64, rng=0)
    assert layer.bias is None
    assert list(layer.named_parameters()) == ["weights"]
    assert repr(layer) == "Dense(3, 2, bias=False)"
    x = np.random.default_rng(1).standard_normal((4, 3))
    np.testing.assert_allclose(layer(x).data, dense(x, layer.weights.data, np.zeros(2)), rtol=1e-12)
    np.testing.assert_array_equal(layer.weights.data, tg.Dense(3, 2, dtype=f64, rng=0).weights.data)


@pytest.mark.parametrize(("channels", "filters", "options"), [
    (2, 4, {"bias": False}),
    (2, 3, {"dilation": 2}),
    (4, 6, {"groups": 2}),
    (3, 6, {"groups": 3, "stride": 2, "padding": 1, "bias": False}),
    (4, 4, {"groups": 4, "dilation": (1, 2), "padding": (0, 1)}),
])  # fmt: skip
def test_conv2d_with_dilation_groups_and_without_bias_is_torchs(torch, channels, filters, options):
    layer = tg.Conv2D(channels, filters, 3, dtype=f64, rng=0, bias_init="notebook_dense", **options)
    values = np.random.default_rng(1).standard_normal((2, 7, 8, channels))
    x = tg.Tensor(values, requires_grad=True)
    peers = [torch.tensor(t.numpy(), requires_grad=True) for t in (x, *layer.parameters())]
    given = {key: value for key, value in options.items() if key != "bias"}
    truth = torch.nn.functional.conv2d(peers[0].permute(0, 3, 1, 2), *peers[1:], **given).permute(0, 2, 3, 1)
    out = layer(x)
    np.testing.assert_allclose(out.data, truth.detach().numpy(), rtol=1e-11, atol=1e-12)
    v = np.random.default_rng(2).standard_normal(out.shape)
    out.backward(v)
    truth.backward(torch.tensor(v))
    for leaf, peer in zip((x, *layer.parameters()), peers, strict=True):
        np.testing.assert_allclose(leaf.grad, peer.grad.numpy(), rtol=1e-11, atol=1e-12)
    assert len(layer.parameters()) == 2 - ("bias" in options)


def test_conv2d_shows_its_options_and_draws_for_the_fan_of_a_group():
    layer = tg.Conv2D(8, 16, 3, groups=4, dilation=2, bias=False, init="he_normal", rng=0)
    assert repr(layer) == "Conv2D(8, 16, 3x3, dilation=2, groups=4, bias=False)"
    assert layer.filters.shape == (16, 2, 3, 3)
    assert layer.filters.data.std() == pytest.approx((2 / 18) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("channels", "filters", "groups"), [(3, 4, 2), (4, 3, 2), (4, 4, 0), (4, 4, 1.0), (4, 4, True)]
)
def test_groups_that_do_not_divide_are_refused(channels, filters, groups):
    with pytest.raises(ValueError, match=r"Conv2D: expected .*groups"):
        tg.Conv2D(channels, filters, 3, groups=groups)


@pytest.mark.parametrize(
    ("layer", "reduce"), [(tg.GlobalAvgPool2D(), np.mean), (tg.GlobalMaxPool2D(), np.max)]
)
def test_global_pooling_reduces_each_channel_of_each_image(layer, reduce):
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 2))
    expected = [[reduce(x[n, :, :, c]) for c in range(2)] for n in range(3)]
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-13)
    assert repr(layer) == f"{type(layer).__name__}()"
    tg.gradcheck(layer, x, order=1)
    with pytest.raises(ValueError, match=r"global_.*\(N, H, W, C\).*\(3, 4\)"):
        layer(x[:, :, 0, 0])
