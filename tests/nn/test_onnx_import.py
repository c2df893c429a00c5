"""What from_onnx makes of files: ours, those of PyTorch, Keras and scikit-learn, damaged and hostile ones.

Values are held against the programs that wrote the files, or against onnxruntime.
"""

import copy
import itertools
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from random_networks import draw_network

import tensorgrad as tg
from tensorgrad.nn.onnx_operators import OPERATORS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after it is known to be there

RNG = np.random.default_rng(0)


# Files of ours


@pytest.mark.parametrize("seed", range(20))
def test_a_written_network_comes_back(seed, tmp_path):
    network, shape = draw_network(seed)
    tg.to_onnx(network, shape, tmp_path / "network.onnx")
    layer = tg.from_onnx(tmp_path / "network.onnx")
    x = RNG.standard_normal((3, *shape)).astype(np.float32)
    np.testing.assert_allclose(layer(x).numpy(), network.predict(x), rtol=1e-5, atol=1e-5)


def test_what_comes_back_has_the_same_gradients(tmp_path):
    network = tg.modern_network((12, 12, 1), 4, rng=0).eval()
    tg.to_onnx(network, (12, 12, 1), tmp_path / "network.onnx")
    layer = tg.from_onnx(tmp_path / "network.onnx")
    x = RNG.standard_normal((5, 12, 12, 1)).astype(np.float32)
    for function in (network, layer):
        tg.mean(function(x) ** 2).backward()
    ours, back = network.named_parameters(), layer.weights
    assert ours.keys() == back.keys()
    for path, parameter in ours.items():
        np.testing.assert_allclose(back[path].grad, parameter.grad, rtol=1e-4, atol=1e-6)
    assert layer.statistics.keys() == network.named_buffers().keys()


def test_what_comes_back_can_be_trained_saved_and_written_again(tmp_path):
    tg.to_onnx(tg.Network([tg.Dense(4, 8, rng=0), tg.ReLU(), tg.Dense(8, 1, rng=1)]), 4, tmp_path / "a.onnx")
    layer = tg.from_onnx(tmp_path / "a.onnx")
    network = tg.Network([layer])
    network.use(tg.mse)
    x = RNG.standard_normal((64, 4)).astype(np.float32)
    history = network.fit(x, x[:, :1] * x[:, 1:2], epochs=40, learning_rate=0.1, seed=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    tg.save_weights(tmp_path / "trained.npz", layer)
    tg.to_onnx(network, 4, tmp_path / "b.onnx")
    again = tg.from_onnx(tmp_path / "a.onnx")
    assert not np.allclose(again(x).numpy(), layer(x).numpy())
    tg.load_weights(tmp_path / "trained.npz", again)
    np.testing.assert_array_equal(again(x).numpy(), layer(x).numpy())
    np.testing.assert_allclose(tg.from_onnx(tmp_path / "b.onnx")(x).numpy(), layer(x).numpy(), rtol=1e-6)


# Files of PyTorch


def torch_models():
    nn = pytest.importorskip("torch", reason="PyTorch is not installed").nn

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.second = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

        def forward(self, x):
            return (x + self.second(self.norm(self.first(x)).relu())).relu()

    return {
        "LeNet": nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 10),
        ),
        "residual": nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), Block(8), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5),
            nn.LogSoftmax(dim=1),
        ),
        "strided, dilated and grouped": nn.Sequential(
            nn.Conv2d(1, 8, (3, 2), (2, 1), (0, 1)), nn.ELU(), nn.Conv2d(8, 16, 3, dilation=2, groups=4),
            nn.LeakyReLU(0.2), nn.ConvTranspose2d(16, 4, 3, 2, 1, output_padding=1), nn.Hardswish(),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Flatten(), nn.LazyLinear(3), nn.Sigmoid(),
        ),
        "multilayer perceptron": nn.Sequential(
            nn.Flatten(), nn.Linear(784, 20), nn.LayerNorm(20), nn.GELU(), nn.Linear(20, 20),
            nn.BatchNorm1d(20), nn.SiLU(), nn.Linear(20, 3, bias=False), nn.Softmax(-1),
        ),
    }  # fmt: skip


def export(model, path, dynamo):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    images = torch.randn(2, 1, 28, 28)
    model(images)
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript, by which PyTorch writes ONNX, is not installed")
        shapes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    else:
        shapes = {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]}
    torch.onnx.export(model.eval(), images, path, dynamo=dynamo, verbose=False, **shapes)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporters
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    "name", ["LeNet", "residual", "strided, dilated and grouped", "multilayer perceptron"]
)
def test_a_file_of_pytorch(name, dynamo, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    model = torch_models()[name]
    export(model, tmp_path / "model.onnx", dynamo)
    layer = tg.from_onnx(tmp_path / "model.onnx")
    x = RNG.standard_normal((4, 1, 28, 28)).astype(np.float32)
    theirs, ours = model(torch.from_numpy(x)), layer(x)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    (theirs**2).sum().backward()
    tg.sum(ours**2).backward()
    assert all(w.grad is not None for w in layer.parameters())
    held = 0
    for path, parameter in model.named_parameters():
        own = layer.weights.get(path)  # of the same name, but where the exporter merged layers
        if own is not None and np.array_equal(own.data, parameter.detach().numpy()):
            np.testing.assert_allclose(own.grad, parameter.grad.numpy(), rtol=1e-3, atol=1e-5)
            held += 1
    assert held > 3


# Files of Keras and of scikit-learn

KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
L = keras.layers
keras.utils.set_random_seed(0)
model = keras.Sequential([
    L.Input((10, 8, 3)), L.Conv2D(8, 3, padding="same", strides=2, use_bias=False), L.BatchNormalization(),
    L.ReLU(), L.MaxPooling2D(2), L.Conv2D(4, 2), L.Flatten(), L.Dense(6, activation="tanh"),
    L.Dense(4, activation="softmax"),
])
x = np.load("x.npy")
np.save("y.npy", model.predict(x, verbose=0))
model.export("model.onnx", format="onnx", verbose=False)
"""


def test_a_file_of_keras(tmp_path):
    for package in ("torch", "keras", "onnxscript"):
        if find_spec(package) is None:
            pytest.skip(f"{package}, by which Keras writes ONNX, is not installed")
    x = RNG.standard_normal((3, 10, 8, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-c", KERAS], cwd=tmp_path, check=True, capture_output=True)
    layer = tg.from_onnx(tmp_path / "model.onnx")
    np.testing.assert_allclose(layer(x).numpy(), np.load(tmp_path / "y.npy"), rtol=1e-5, atol=1e-6)


def test_images_with_channels_last_between_transpositions(tmp_path):
    """As exporters of Keras write them, by hand: Transpose, Conv, Transpose, Reshape, MatMul."""
    kernel, weights = RNG.standard_normal((4, 3, 3, 3)), RNG.standard_normal((5 * 4 * 4, 2))
    arrays = {"kernel": kernel, "bias": np.zeros(4), "weights": weights}
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["first", "kernel", "bias"], ["made"], auto_pad="SAME_UPPER", strides=[2, 2]
        ),
        helper.make_node("Transpose", ["made"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Shape", ["last"], ["shape"], start=0, end=1),
        helper.make_node("Concat", ["shape", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["last", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["y"]),
    ]
    arrays = {name: x.astype(np.float32) for name, x in arrays.items()} | {"rest": np.array([-1])}
    path = save(tmp_path, nodes, arrays, ["N", 10, 8, 3])
    layer = tg.from_onnx(path)
    assert list(layer.weights) == ["kernel", "bias", "weights"]
    x = RNG.standard_normal((3, 10, 8, 3)).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    np.testing.assert_allclose(layer(x).numpy(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of trainings that are cut short
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_of_scikit_learn(classes, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    from sklearn.neural_network import MLPClassifier

    x = RNG.random((60, 4)).astype(np.float32)
    model = MLPClassifier((8, 5), max_iter=30, random_state=0).fit(x, (x[:, 0] * classes).astype(int))
    written = skl2onnx.to_onnx(model, x[:1], options={"zipmap": False})
    onnx.save(written, tmp_path / "model.onnx")
    with pytest.raises(
        tg.SavedFileError, match=r"several results; choose by outputs= from label, probabilities"
    ):
        tg.from_onnx(tmp_path / "model.onnx")
    layer = tg.from_onnx(tmp_path / "model.onnx", outputs="probabilities")
    np.testing.assert_allclose(layer(x).numpy(), model.predict_proba(x), rtol=1e-5, atol=1e-6)
    assert [w.shape for w in layer.parameters()] == [
        x.shape for x in (*model.coefs_, *model.intercepts_)
    ] or len(layer.parameters()) == 6
    label, _ = tg.from_onnx(tmp_path / "model.onnx", outputs=["label", "probabilities"])(x)
    np.testing.assert_array_equal(label.numpy(), model.predict(x))


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile"])
def test_shapes_that_are_computed_and_huge_are_refused(operator, tmp_path):
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["shape"], axis=0),
        helper.make_node(operator, ["shape"] if operator == "ConstantOfShape" else ["w", "shape"], ["big"]),
        helper.make_node("Add", ["x", "big"], ["y"]),
    ]
    arrays = {"a": np.array([1 << 20]), "b": np.array([1 << 20]), "w": np.ones((1, 1), np.float32)}
    layer = tg.from_onnx(save(tmp_path, nodes, arrays))
    with pytest.raises(ValueError, match="expected at most"):
        layer(np.ones((1, 3), np.float32))


# Files that are refused


def save(folder, nodes, arrays=(), shape=("N", 3), opset=20, name="model.onnx", **options):
    """A file of these nodes from x to y."""
    weights = [
        numpy_helper.from_array(x, k) if isinstance(x, np.ndarray) else x for k, x in dict(arrays).items()
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ("rows", "columns")),
    ]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9, **options)
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


def test_operators_that_are_not_known_are_listed_with_their_counts(tmp_path):
    nodes = [
        helper.make_node("Det", ["x"], ["a"]), helper.make_node("Det", ["a"], ["b"]),
        helper.make_node("FusedConv", ["b"], ["c"], domain="com.example"),
        helper.make_node("MaxPool", ["c"], ["d", "where"], kernel_shape=[2]),
        helper.make_node("Add", ["d", "where"], ["e"]), helper.make_node("Relu", ["e"], ["y"], slope=2.0),
        helper.make_node("LSTM", ["x"], ["unused"]),
    ]  # fmt: skip
    message = (
        "operators that are not known: Det (2), MaxPool with several results (1), Relu with slope (1), "
        "com.example.FusedConv (1)"
    )
    with pytest.raises(tg.SavedFileError) as caught:
        tg.from_onnx(save(tmp_path, nodes))
    assert message in str(caught.value)
    assert "LSTM" not in str(caught.value)


def external(location, lengths=(3,), **entries):
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=lengths, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


ADD = [helper.make_node("Add", ["x", "w"], ["y"])]


def test_data_beside_the_file_is_read(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(np.arange(5, dtype=np.float32).tobytes())
    path = save(tmp_path, ADD, {"w": external("data/w.bin", offset=8, length=12)})
    np.testing.assert_array_equal(tg.from_onnx(path).weights["w"].data, [2, 3, 4])


def test_data_outside_of_the_folder_is_refused(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(12))
    (inside / "link").symlink_to(secret)
    for location in ("../secret.bin", str(secret), "link", "", ".", "../inside/../secret.bin"):
        path = save(inside, ADD, {"w": external(location)})
        with pytest.raises(tg.SavedFileError, match="outside of the file's folder"):
            tg.from_onnx(path)


ARRAYS = {
    "a file cut off": (external("w.bin", (4,)), "is cut off"),
    "a start that is too late": (external("w.bin", offset=1), "is cut off"),
    "another length": (external("w.bin", length=8), "does not fit its shape"),
    "a start before the file": (external("w.bin", offset=-4), "does not fit its shape"),
    "negative lengths beside": (external("w.bin", (-1, -3)), "does not fit its shape"),
    "huge lengths beside": (external("w.bin", (1 << 40, 1 << 40)), "is cut off"),
    "no file": (external("missing.bin"), "damaged: FileNotFoundError"),
    "huge lengths": (TensorProto(name="w", data_type=1, dims=[1 << 40], raw_data=bytes(12)), "damaged"),
    "negative lengths": (TensorProto(name="w", data_type=1, dims=[-3], raw_data=bytes(12)), "damaged"),
    "bfloat16": (TensorProto(name="w", data_type=16, dims=[3], raw_data=bytes(6)), "damaged"),
    "no type": (TensorProto(name="w", data_type=77, dims=[3], raw_data=bytes(12)), "damaged"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_not_what_they_say_are_refused(name, tmp_path):
    tensor, message = ARRAYS[name]
    (tmp_path / "w.bin").write_bytes(bytes(12))
    with pytest.raises(tg.SavedFileError, match=message):
        tg.from_onnx(save(tmp_path, ADD, {"w": tensor}))


def test_a_few_bytes_that_ask_for_much_memory_are_refused(tmp_path):
    huge = np.array([1 << 20, 1 << 20])
    grown = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["w"]), *ADD,
    ]  # fmt: skip
    with pytest.raises(tg.SavedFileError, match="would have the shape"):
        tg.from_onnx(save(tmp_path, grown, {"shape": huge}))
    doubled = [helper.make_node("Concat", [f"w{i}", f"w{i}"], [f"w{i + 1}"], axis=0) for i in range(40)]
    doubled += [helper.make_node("ReduceSum", ["w40"], ["w"]), *ADD]
    with pytest.raises(tg.SavedFileError, match="would have the shape"):
        tg.from_onnx(save(tmp_path, doubled, {"w0": np.ones(1, np.float32)}))
    names = ["x", *(f"x{i}" for i in range(1, 41))]
    doubled = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]
    with pytest.raises(tg.SavedFileError, match="would have the shape"):
        tg.from_onnx(save(tmp_path, [*doubled, helper.make_node("Relu", ["x40"], ["y"])]))
    copies = [helper.make_node("Identity", ["w"], [f"c{i}"]) for i in range(2000)]
    copies.append(helper.make_node("Sum", ["x", *(f"c{i}" for i in range(2000))], ["y"]))
    with pytest.raises(tg.SavedFileError, match="again and again"):
        tg.from_onnx(save(tmp_path, copies, {"w": np.ones((100_000, 3), np.float32)}))


def test_what_is_no_whole_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    for contents in (b"", b"PK\x03\x04 no model", b"\x08\x09", bytes(range(256)), RNG.bytes(999)):
        path.write_bytes(contents)
        with pytest.raises(tg.SavedFileError, match=r"model\.onnx: "):
            tg.from_onnx(path)
    for opset in (6, 999):
        with pytest.raises(tg.SavedFileError, match="expected operators of the opset 7 to"):
            tg.from_onnx(save(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], opset=opset))
    with pytest.raises(tg.SavedFileError, match="does not depend on an input"):
        tg.from_onnx(
            save(tmp_path, [helper.make_node("Relu", ["w"], ["y"])], {"w": np.ones((2, 3), np.float32)})
        )
    with pytest.raises(tg.SavedFileError, match="damaged"):  # a value that nothing gives
        tg.from_onnx(save(tmp_path, [helper.make_node("Relu", ["z"], ["y"])]))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        tg.from_onnx(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        tg.from_onnx(tmp_path / "missing.onnx")


def test_every_flipped_bit_and_every_cut_of_our_files_is_noticed(tmp_path):
    path = tmp_path / "model.onnx"
    tg.to_onnx(tg.Network([tg.Dense(2, 2, rng=0), tg.Tanh()]), 2, path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = [whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :] for bit in range(8)]
        for contents in (*flipped, whole[:place]):
            path.write_bytes(contents)
            with pytest.raises(tg.SavedFileError):
                tg.from_onnx(path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of weights that became huge
def test_flipped_bits_of_other_files_are_refused_or_make_sense(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["i"]),
        helper.make_node("Conv", ["i", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]  # fmt: skip
    arrays = {
        "w": RNG.standard_normal((8, 3)).astype(np.float32), "b": np.zeros(8, np.float32),
        "shape": np.array([0, 2, 2, 2]), "k": RNG.standard_normal((1, 2, 3, 3)).astype(np.float32),
    }  # fmt: skip
    path = save(tmp_path, nodes, arrays)
    whole, outcomes = path.read_bytes(), set()
    for place in range(len(whole)):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << int(RNG.integers(8))]) + whole[place + 1 :]
        )
        try:
            out = tg.from_onnx(path)(np.ones((2, 3), np.float32))
            outcomes.add("computed" if isinstance(out, tg.Tensor) else "nothing")
        except (tg.SavedFileError, ValueError, TypeError) as error:
            outcomes.add(type(error))
    assert outcomes <= {"computed", tg.SavedFileError, ValueError, TypeError}
    assert {"computed", tg.SavedFileError} <= outcomes


def test_inputs_that_do_not_fit_are_refused(tmp_path):
    tg.to_onnx(tg.Dense(3, 2, rng=0), 3, tmp_path / "dense.onnx")
    layer = tg.from_onnx(tmp_path / "dense.onnx")
    with pytest.raises(ValueError, match=r"expected input of shape \(N, 3\), got \(2, 4\)"):
        layer(np.ones((2, 4), np.float32))
    with pytest.raises(TypeError, match="expected input of float32, got float64"):
        layer(np.ones((2, 3)))
    with pytest.raises(ValueError, match="expected 1 inputs, got 2"):
        layer((np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)))
    with pytest.raises(tg.SavedFileError, match=r"expected outputs from output, got 'scores'"):
        tg.from_onnx(tmp_path / "dense.onnx", outputs="scores")


def test_the_same_bytes_beside_are_not_read_again_and_again(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(4_000_000))
    names = [f"w{i}" for i in range(100)]
    tensors = {}
    for name in names:
        tensors[name] = external("w.bin", (1_000_000,))
        tensors[name].name = name
    nodes = [helper.make_node("Sum", ["x", *names], ["y"])]
    with pytest.raises(tg.SavedFileError, match="again and again"):
        tg.from_onnx(save(tmp_path, nodes, tensors))


def test_an_imported_layer_can_be_copied_and_pickled(tmp_path):
    network = tg.Network([tg.Embedding(10, 4, rng=0), tg.Flatten(), tg.Dense(12, 3, rng=0)])
    tg.to_onnx(network, 3, tmp_path / "network.onnx", dtype="int64")
    layer, x = tg.from_onnx(tmp_path / "network.onnx"), RNG.integers(0, 10, (5, 3))
    for twin in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_allclose(twin(x).numpy(), network.predict(x), rtol=1e-6)


# ONNX's own cases of single operators

#: What of them is refused, and why; all other cases must pass.
LIMITS = (
    "which is not read",  # types that NumPy does not have, and strings
    "expected operators of the opset",
    "with several results", "with mode (1)", "KeyError(0)",  # indices of maxima, sequences
    "expected (N, C, L) or (N, C, H, W)",  # three dimensions
    "expected no dilation", "expected images of one floating dtype", "expected a Dropout at inference",
    "which has no identity",  # the maximum of nothing
    "does not depend on an input",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ONNX's cases
def test_the_operators_pass_the_cases_of_onnx(tmp_path):
    loader = pytest.importorskip("onnx.backend.test.loader")
    path, passed, refused, tried = tmp_path / "case.onnx", 0, {}, set()
    with np.errstate(all="ignore"):
        for case in loader.load_model_tests(kind="node"):
            kinds = {node.op_type for node in case.model.graph.node}
            if not kinds <= {*OPERATORS, "Constant"}:
                continue
            path.write_bytes(case.model.SerializeToString())
            inputs = [x.name for x in case.model.graph.input]
            for given, wanted in case.data_sets:
                given, wanted = ([as_array(x) for x in xs] for xs in (given, wanted))
                try:
                    layer = tg.from_onnx(path, outputs=[x.name for x in case.model.graph.output])
                    needed = [x for name, x in zip(inputs, given, strict=True) if name in layer._inputs]
                    got = layer(tuple(needed))
                except (tg.SavedFileError, ValueError, TypeError) as error:
                    refused[case.name] = str(error)
                    continue
                for ours, theirs in zip(got if isinstance(got, tuple) else [got], wanted, strict=True):
                    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), case.name
                    near = 1e-2 if theirs.dtype == np.float16 else 1e-5
                    np.testing.assert_allclose(
                        ours.numpy(), theirs, rtol=max(near, case.rtol), atol=near, err_msg=case.name
                    )
                passed += 1
                tried |= kinds
    assert {name: why for name, why in refused.items() if not any(limit in why for limit in LIMITS)} == {}
    assert set(OPERATORS) - tried <= {
        "ArrayFeatureExtractor"
    }  # which has a case in another operator set alone
    print(f"{passed} of ONNX's cases pass, {len(refused)} are refused")
    assert passed > 900


def as_array(x):
    return numpy_helper.to_array(x) if isinstance(x, TensorProto) else np.asarray(x)
