"""What to_onnx writes, held against `predict` by onnxruntime, which shares nothing with tensorgrad."""

import hashlib

import numpy as np
import pytest
from random_networks import Residual, draw_network

import tensorgrad as tg
from tensorgrad.core import OPS
from tensorgrad.graph.export import onnx_model
from tensorgrad.graph.export.onnx_rules import ONNX_RULES
from tensorgrad.nn import layers

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RNG = np.random.default_rng(0)
W = tg.Parameter(RNG.standard_normal((3, 4)).astype(np.float32), "w")
K = tg.Parameter(RNG.standard_normal((4, 2, 3, 2)).astype(np.float32), "k")
V = RNG.standard_normal(4).astype(np.float32)


def assert_runs_alike(function, shape, path, dtype=np.float32, tolerance=1e-5):
    """Hold the file of a function against the function at batches of 1, 4 and 7."""
    tg.to_onnx(function, shape, path, dtype=dtype)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shape = shape if isinstance(shape, tuple) else (shape,)
    for n in (1, 4, 7):
        x = np.random.default_rng(n).standard_normal((n, *shape))
        x = x.astype(dtype) if np.dtype(dtype).kind == "f" else (np.abs(x) * 3).astype(dtype)
        if isinstance(function, tg.Network):
            want = function.predict(x)
        else:
            made = function(tg.Tensor(x))
            want = made.numpy() if isinstance(made, tg.Tensor) else made
        (got,) = session.run(None, {"input": x})
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


# Functions: every rule, with its options

UNARY = [
    "absolute", "arccosh", "arcsin", "arccos", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "cos", "cosh",
    "degrees", "exp", "exp2", "expm1", "fabs", "floor", "isfinite", "isnan", "log", "log10", "log1p", "log2",
    "negative", "positive", "radians", "reciprocal", "rint", "sign", "sin", "sinh", "sqrt", "square", "tan",
    "tanh", "trunc",
]  # fmt: skip
WITHIN = {
    "arccosh": lambda x: 1.5 + x * x, "arcsin": np.tanh, "arccos": np.tanh, "arctanh": np.tanh,
    **dict.fromkeys(("log", "log10", "log2", "log1p", "sqrt"), lambda x: np.abs(x) + 0.01),
}  # fmt: skip
FUNCTIONS = {
    "add, subtract, multiply, divide": ((4,), lambda x: (x + V) * (V - x) / (2 + x * x)),
    "maximum, minimum, power": ((4,), lambda x: np.maximum(x, V) + np.minimum(V, x) ** 2 + np.abs(x) ** V),
    "where of comparisons": (
        (4,),
        lambda x: np.where(np.logical_xor((x <= V) & (x >= -V), ~(x < 0)) | (x != V) & (x > 0.1), x, 2.0),
    ),
    "equal": ((4,), lambda x: np.where(x == x, V, x)),
    "truth values times numbers": ((4,), lambda x: (x > 0) * x + (x < 0.5).astype(np.float32)),
    "integers": ((4,), lambda x: x.astype(np.int64) + x.shape[1]),
    "another dtype": ((4,), lambda x: x.astype(np.float64) * 2.0),
    "the size of the batch": ((4,), lambda x: x / len(x)),
    "gate": ((4,), lambda x: OPS["gate"](x, x > 0)),
    "fmod": ((4,), lambda x: np.fmod(x, 0.3)),
    "remainder": ((4,), lambda x: np.remainder(x, -0.3)),
    "fmax": ((4,), lambda x: np.fmax(np.where(x > 1, np.nan, x), 0.2)),
    "fmin": ((4,), lambda x: np.fmin(V, np.where(x < -1, np.nan, x))),
    "hypot": ((4,), lambda x: np.hypot(x * 1e30, V) + np.hypot(x, 0.5) + np.hypot(0 * x, 0.0)),
    "logaddexp": ((4,), lambda x: np.logaddexp(x, V * 30)),
    "erf": ((4,), tg.erf),
    "sigmoid, silu": ((4,), lambda x: tg.sigmoid(x) - tg.silu(9 * x)),
    "relu, softplus": ((4,), lambda x: tg.relu(x) * tg.softplus(9 * x)),
    "gelu": ((4,), lambda x: tg.gelu(x) + tg.gelu(x, approximate="tanh")),
    "leaky_relu, elu": ((4,), lambda x: tg.leaky_relu(x, slope=0.3) - tg.elu(x, alpha=0.3)),
    "identity": ((4,), lambda x: OPS["identity"](x)),
    "normalize": ((4,), lambda x: OPS["normalize"](x, V, 2 * V, x)),
    "sum": ((3, 4, 2), lambda x: x.sum(axis=(1, 3))),
    "sum over the batch": ((3, 4), lambda x: x - x.sum() + x.mean(axis=0)),
    "prod": ((3, 4), lambda x: np.prod(x, axis=2, keepdims=True)),
    "sum_to": ((3, 4), lambda x: OPS["sum_to"](x, shape=(x.shape[0], 1, 4))),
    "var": ((3, 4), lambda x: x.var(axis=-1, ddof=1, keepdims=True) - x.var(axis=0, keepdims=True)),
    "max, min": ((3, 4), lambda x: x.max(axis=1) - x.min(axis=(1,))),
    "reduced as images lie": ((7, 8, 2), lambda x: tg.conv2d(x, K).max(axis=(1, 3)) + V[0]),
    "logsumexp": ((3, 4), lambda x: tg.logsumexp(100 * x, axis=(1, 2))),
    "softmax": ((3, 4), lambda x: tg.softmax(x, axis=1) + tg.log_softmax(x, axis=-1)),
    "any, all": (
        (3, 4),
        lambda x: np.where(np.any(x > 1, axis=-1) | np.all(x > -0.5, axis=-1), x.sum(axis=-1), 2.0),
    ),
    "cumsum": ((3, 4), lambda x: np.cumsum(x, axis=1)),
    "reshape": ((3, 4), lambda x: x.reshape(-1, 2, 6)[:, ::-1, 1:-2]),
    "rows made of rows": ((3, 4), lambda x: x.reshape(len(x) * 3, 4) @ W.T),
    "transpose": ((3, 4), lambda x: np.swapaxes(np.transpose(x, (2, 0, 1)), 0, 2)),
    "broadcast_to": ((1, 4), lambda x: np.broadcast_to(x, (len(x), 3, 4))),
    "broadcast_to more axes": ((1, 4), lambda x: np.broadcast_to(x, (2, *x.shape))),
    "concatenate": (
        (3, 4),
        lambda x: np.concatenate([x, x * 2, np.zeros((len(x), 1, 4), np.float32)], axis=1),
    ),
    "concatenate as images lie": (
        (7, 8, 2),
        lambda x: np.concatenate([tg.conv2d(x, K), np.ones((len(x), 5, 7, 1), np.float32)], axis=3),
    ),
    "stack": ((3, 4), lambda x: np.stack([x, x + 1], axis=2)),
    "a list as index": ((3, 4), lambda x: x[:, [2, 0, 2]] + W[[2, 0, 1]]),
    "two arrays as index": ((3, 4), lambda x: x[:, np.arange(3), [0, 1, 3]]),
    "new and lost axes": ((3, 4), lambda x: x[:, -1, None, ...] + x[0 : len(x), 1:, None, 0]),
    "a sample": ((3, 4), lambda x: x[0] - x[::-1, :, ::-2].sum(axis=(0, 2))[:, None]),
    "diagonal": ((3, 3), lambda x: np.diagonal(x, axis1=1, axis2=2)),
    "roll": ((3, 4), lambda x: np.roll(x, 1, axis=(1, 2))),
    "repeat, tile": ((3, 4), lambda x: np.repeat(x, 2, axis=1) + np.tile(x, (1, 2, 1))),
    "pad": ((3, 4), lambda x: np.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2)),
    "matmul": ((5, 3), lambda x: x @ W + (x @ W) @ V[:, None]),
    "matmul with a vector": ((4,), lambda x: x @ V),
    "einsum": ((3, 4), lambda x: np.einsum("nij,nkj->nik", x, x)),
    "tensordot": ((3, 4), lambda x: np.tensordot(x, W, axes=([1, 2], [0, 1]))),
    "conv1d": ((7, 2), lambda x: tg.conv1d(x, K[:, :, :, 0])),
    "conv2d": ((7, 8, 2), lambda x: tg.conv2d(x, K, stride=(1, 2), padding="same") * V),
    "conv2d in groups": (
        (7, 8, 4),
        lambda x: tg.conv2d(x, K, V, groups=2, dilation=(2, 3), padding=((1, 2), (3, 0)))[:, ::2],
    ),
    "conv_transpose2d": ((5, 6, 4), lambda x: tg.conv_transpose2d(x, K, stride=(2, 1), padding=1)),
    "max_pool": ((7, 8, 2), lambda x: tg.max_pool(x, size=(2, 3), stride=2, dilation=(2, 1), ceil_mode=True)),
    "avg_pool": (
        (7, 8, 2),
        lambda x: tg.avg_pool(x, size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    ),
    "avg_pool of padding": ((7, 8, 2), lambda x: tg.avg_pool(x, size=3, stride=2, padding=1, ceil_mode=True)),
    **{
        name: ((6,), lambda x, name=name: getattr(np, name)(WITHIN.get(name, lambda x: 3 * x)(x)))
        for name in UNARY
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_alike(name, tmp_path):
    shape, function = FUNCTIONS[name]
    assert_runs_alike(function, shape, tmp_path / "f.onnx")


def test_every_rule_is_among_the_functions(monkeypatch):
    met = set()

    class Noted(dict):
        def __getitem__(self, op):
            met.add(op)
            return super().__getitem__(op)

    monkeypatch.setattr(onnx_model, "ONNX_RULES", Noted(ONNX_RULES))
    for shape, function in FUNCTIONS.values():
        onnx_model.make_model(function, shape, np.float32, {})
    assert met == set(ONNX_RULES)


def test_an_op_of_ones_own_is_written_as_its_forward(tmp_path):
    @tg.op(elementwise=True)
    def log_cosh(x):
        return np.logaddexp(x, -x) - 0.6931471805599453

    log_cosh.defvjp(x=lambda g, out, x: g * np.tanh(x))
    assert_runs_alike(log_cosh, (5,), tmp_path / "f.onnx")


def test_expm1_and_log1p_keep_their_digits_near_0(tmp_path):
    tiny = np.array([[1e-8, -3e-6, 2e-4]], np.float32)
    for function in (np.expm1, np.log1p):
        tg.to_onnx(lambda x, f=function: f(x), 3, tmp_path / "f.onnx")
        (got,) = onnxruntime.InferenceSession(tmp_path / "f.onnx").run(None, {"input": tiny})
        np.testing.assert_allclose(got, function(tiny.astype(float)), rtol=1e-6)


# Networks


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_runs_alike(seed, tmp_path):
    assert_runs_alike(*draw_network(seed), tmp_path / "network.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 540))
def test_many_random_networks_run_alike(seed, tmp_path):
    assert_runs_alike(*draw_network(seed), tmp_path / "network.onnx")


@pytest.mark.parametrize("make", [tg.dense_network, tg.convolutional_network, tg.modern_network])
def test_a_stock_architecture_runs_alike(make, tmp_path):
    network = make((28, 28, 1), 10, rng=0)
    for buffer in network.buffers():
        buffer.data = np.random.default_rng(1).uniform(0.5, 2, buffer.shape).astype(np.float32)
    assert_runs_alike(network, (28, 28, 1), tmp_path / "network.onnx")


def test_every_layer_runs_alike(tmp_path):
    images = {
        "AvgPool2D": tg.AvgPool2D(2), "BatchNorm": tg.BatchNorm(3), "Conv2D": tg.Conv2D(3, 4, 3, rng=0),
        "Flatten": tg.Flatten(), "GlobalAvgPool2D": tg.GlobalAvgPool2D(), "Dropout": tg.Dropout(0.5),
        "GlobalMaxPool2D": tg.GlobalMaxPool2D(), "LayerNorm": tg.LayerNorm((5, 3)),
        "MaxPool2D": tg.MaxPool2D(2),
    }  # fmt: skip
    rows = {"Dense": tg.Dense(3, 2, rng=0), "Embedding": tg.Embedding(16, 4, rng=0)}
    others = images | rows
    others |= {name: getattr(tg, name)() for name in layers.__all__ if name not in others}  # activations
    for name in layers.__all__:
        shape, dtype = (
            ((6, 5, 3) if name in images else (3,)),
            np.int64 if name == "Embedding" else np.float32,
        )
        assert_runs_alike(tg.Network([others[name]]), shape, tmp_path / "layer.onnx", dtype)


def test_an_embedding_among_layers_runs_alike(tmp_path):
    network = tg.Network([tg.Embedding(16, 4, rng=0), tg.Flatten(), tg.LayerNorm(12), tg.Dense(12, 3, rng=1)])
    assert_runs_alike(network, 3, tmp_path / "network.onnx", np.int64)


def test_names_are_those_of_the_graph(tmp_path):
    network = tg.modern_network((12, 12, 1), 4, rng=0)
    tg.to_onnx(network, (12, 12, 1), tmp_path / "network.onnx")
    graph = onnx.load(tmp_path / "network.onnx").graph
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
    for path, values in network.state().items():
        np.testing.assert_array_equal(weights[path], values.reshape(weights[path].shape))
    operators = [node.op_type for node in graph.node]
    assert operators.count("BatchNormalization") == operators.count("Conv") == 2
    assert operators.count("Transpose") == 2  # of the input, and before Flatten
    assert {"Conv2D0", "ReLU2", "MaxPool2D3", "Dense10", "Dense10_matmul"} <= {
        node.name for node in graph.node
    }
    lengths = [
        [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim]
        for x in (*graph.input, *graph.output)
    ]
    assert lengths == [["N", 12, 12, 1], ["N", 4]]


def test_names_that_are_taken_get_numbers(tmp_path):
    a, b = (
        tg.Parameter(np.full(3, value, np.float32), name) for value, name in ((2, "input"), (3, "output"))
    )
    same = tg.Parameter(np.full(3, 5, np.float32), "output")

    def function(x):
        out = x * a + b
        out.name = "output"
        return (out * same) + tg.Tensor(np.ones(3, np.float32), name="input")

    assert_runs_alike(function, 3, tmp_path / "f.onnx")


def test_a_network_in_training_is_written_as_at_inference_and_left_as_it_is(tmp_path):
    network = tg.Network([tg.Dense(3, 3, rng=0), tg.BatchNorm(3), tg.Dropout(0.5, rng=0)])
    before = network.state(), network.layers[2].generator.bit_generator.state
    assert_runs_alike(network, 3, tmp_path / "network.onnx")
    after = network.state(), network.layers[2].generator.bit_generator.state
    assert network.training
    np.testing.assert_equal(after, before)


def test_float64_runs_alike_in_the_reference_of_onnx(tmp_path):
    block = Residual(tg.Conv2D(2, 2, 3, padding=1, dtype=float, rng=0), tg.BatchNorm(2, dtype=float))
    network = tg.Network([block, tg.AvgPool2D(2), tg.Flatten(), tg.Dense(8, 3, dtype=float, rng=0)])
    tg.to_onnx(network, (4, 4, 2), tmp_path / "network.onnx")
    x = RNG.standard_normal((3, 4, 4, 2))
    (got,) = reference.ReferenceEvaluator(str(tmp_path / "network.onnx")).run(None, {"input": x})
    np.testing.assert_allclose(
        got, network.predict(x), rtol=1e-6, atol=1e-6
    )  # eps is a float32 in the format


def test_the_file_ends_with_its_checksum(tmp_path):
    tg.to_onnx(tg.Dense(2, 1, rng=0), 2, tmp_path / "dense.onnx")
    model = onnx.load(tmp_path / "dense.onnx")
    (entry,) = model.metadata_props
    contents = (tmp_path / "dense.onnx").read_bytes()
    assert any(
        hashlib.sha256(contents[:n]).hexdigest() == entry.value
        for n in range(len(contents) - 200, len(contents))
    )


# What cannot be written

REFUSED = {
    "an op without a rule": ((3,), lambda x: np.median(x, axis=1), "no rule for median in ONNX"),
    "an op without a rule among others": ((3, 3), lambda x: np.linalg.inv(x + 1) * 2, "no rule for inv"),
    "a decision": ((3,), lambda x: x if x.sum() > 0 else -x, "decides by the values of greater"),
    "a branch by the batch": ((3,), lambda x: x * 2 if len(x) == 5 else x + 1, "batch of another size"),
    "a number made of the batch": ((3,), lambda x: x * len(x) ** 2, "is given 25 for 5 rows and 49 for 7"),
    "what is drawn": (
        (3,),
        lambda x: x * np.random.default_rng().random(3, np.float32),
        "another one in each call",
    ),
    "samples mixed": ((3,), lambda x: np.roll(x, 1, axis=0), "from sample to sample"),
    "another order": ((3, 2), lambda x: np.reshape(x, (-1, 6), order="F"), "in the order F"),
    "a constant": ((3,), lambda x: tg.Tensor(np.ones(3)), "does not depend on its argument"),
    "two results": ((3,), lambda x: (x, x + 1), "a function of one result, got 2"),
    "values that leave the graph": ((3,), lambda x: x * float(x.data[0, 0]), "out of the graph"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_named_before_anything_is(name, tmp_path):
    shape, function, message = REFUSED[name]
    path = tmp_path / "f.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(TypeError, match=message) as caught:
        tg.to_onnx(function, shape, path)
    assert str(caught.value).startswith("to_onnx: ")
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"what was there"


def test_weights_that_no_file_of_onnx_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "LARGEST", 100)
    with pytest.raises(TypeError, match="a file of ONNX holds 2"):
        tg.to_onnx(tg.Dense(8, 8), 8, tmp_path / "dense.onnx")
    assert not any(tmp_path.iterdir())


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"to_onnx: expected a network or a function, got 3"):
        tg.to_onnx(3, 3, tmp_path / "f.onnx")
    with pytest.raises(ValueError, match=r"expected input of shape \(N, 2\), got \(5, 3\)"):
        tg.to_onnx(tg.Network([tg.Dense(2, 1)]), 3, tmp_path / "f.onnx")
    mixed = tg.Network([tg.Dense(2, 1), tg.Dense(1, 1, dtype=float)])
    with pytest.raises(TypeError, match="expected layers of one dtype, got float32, float64"):
        tg.to_onnx(mixed, 2, tmp_path / "f.onnx")
    with pytest.raises(OSError, match="cannot write"):
        tg.to_onnx(tg.Dense(2, 1), 2, tmp_path / "missing" / "f.onnx")
