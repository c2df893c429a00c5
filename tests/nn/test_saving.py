"""Saved weights and networks: what comes back, in both formats, and what is refused."""

import inspect
import json
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import LAYOUTS, assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.nn.description import build, describe, known_layers
from tensorgrad.nn.files.archive import read_safetensors, write_arrays, write_safetensors

SUFFIXES = [".npz", ".safetensors"]
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture(autouse=True)
def _needs_safetensors(request):
    if "suffix" in request.fixturenames and request.getfixturevalue("suffix") == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")


class Scale(tg.Layer):
    """A layer of a user's own, with a parameter and a buffer."""

    def __init__(self, factor=2.0):
        self.factor = tg.Parameter(factor, name="factor")
        self.seen = tg.nn.Buffer(np.zeros(3), name="seen")
        self.inner = [tg.Dense(2, 2, rng=0)]

    def forward(self, x):
        return x * self.factor


def assert_same_state(one, other):
    one, other = one.state(), other.state()
    assert list(one) == list(other)
    for path in one:
        assert one[path].dtype == other[path].dtype
        np.testing.assert_array_equal(one[path], other[path])


# Weights


@every_suffix
def test_weights_and_buffers_come_back_into_a_layer_of_ones_own(tmp_path, suffix):
    layer = Scale(3.5)
    layer.seen.data = [1.0, np.nan, -0.0]
    path = tmp_path / f"weights{suffix}"
    tg.save_weights(path, layer)
    fresh = Scale()
    fresh.inner[0].weights.data = np.zeros((2, 2))
    parameter = fresh.factor
    tg.load_weights(path, fresh)
    assert_same_state(fresh, layer)
    assert fresh.factor is parameter


@every_suffix
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_of_every_layout_come_back_in_value(tmp_path, suffix, layout, dtype):
    """safetensors writes memory as it lies: a transposed matrix would come back scrambled."""

    class Holder(tg.Layer):
        def __init__(self, *arrays):
            self.arrays = [tg.Parameter(array) for array in arrays]

    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (2, 3, 4, 5), (), (0, 3))]
    layer = Holder(*(LAYOUTS[layout](x) for x in values), values[0].T)
    fresh = Holder(*(np.zeros_like(x) for x in values), np.zeros((4, 3), dtype))
    path = tmp_path / f"weights{suffix}"
    tg.save_weights(path, layer)
    tg.load_weights(path, fresh)
    for p, x in zip(fresh.arrays, [*values, values[0].T], strict=True):
        np.testing.assert_array_equal(p.data, x)
        assert p.dtype == x.dtype
        assert p.shape == x.shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_safetensors_are_written_in_value_whatever_the_memory_order(tmp_path, layout):
    """The package writes memory as it lies; that `Layer.state` copies to C order is not relied on."""
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    x = np.arange(24.0).reshape(2, 3, 4)
    write_safetensors(tmp_path / "x.safetensors", {}, {"x": LAYOUTS[layout](x), "t": LAYOUTS[layout](x).T})
    found = safetensors.load_file(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["t"], x.T)


def test_other_programs_read_the_weights_by_their_paths(tmp_path):
    layer = tg.Network([tg.Dense(2, 3, rng=0)])
    tg.save_weights(tmp_path / "weights.npz", layer)
    with np.load(tmp_path / "weights.npz") as archive:
        np.testing.assert_array_equal(archive["Dense0.weights"], layer.parameter("Dense0.weights").data)
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    tg.save_weights(tmp_path / "weights.safetensors", layer)
    found = safetensors.load_file(tmp_path / "weights.safetensors")
    assert set(found) == {"Dense0.weights", "Dense0.bias"}
    np.testing.assert_array_equal(found["Dense0.weights"], layer.parameter("Dense0.weights").data)


@every_suffix
def test_weights_that_other_programs_wrote_are_read(tmp_path, suffix):
    values = {"weights": np.ones((2, 1), np.float32), "bias": np.full(1, 5, np.float32)}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **values)
    else:
        import safetensors.numpy

        safetensors.numpy.save_file(values, path, metadata={"format": "np"})
    layer = tg.Dense(2, 1, rng=0)
    tg.load_weights(path, layer)
    np.testing.assert_array_equal(layer.weights.data, values["weights"])
    np.testing.assert_array_equal(layer.bias.data, values["bias"])


def safetensors_file(path, **arrays):
    """Arrays given by dtype, shape and bytes, written by hand."""
    header, contents = {}, b""
    for name, (dtype, shape, values) in arrays.items():
        offsets = [len(contents), len(contents) + len(values)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        contents += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + contents)


@pytest.mark.parametrize("suffix", [".safetensors"])
def test_bfloat16_is_read_as_float32_exactly(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    halves = {0x3F80: 1.0, 0xC020: -2.5, 0x0001: 2.0**-133, 0x7F7F: (2 - 2**-7) * 2.0**127, 0xFF80: -np.inf}
    bits = struct.pack("<6H", *halves, 0x7FC0)
    safetensors_file(path, weights=("BF16", [6, 1], bits), bias=("F32", [1], struct.pack("<f", 3)))
    layer = tg.Dense(6, 1, rng=0)
    tg.load_weights(path, layer)
    np.testing.assert_array_equal(layer.weights.data[:, 0], np.float32([*halves.values(), np.nan]))
    np.testing.assert_array_equal(layer.bias.data, np.float32([3]))
    with pytest.raises(tg.SavedFileError, match="weights: expected float64, got float32"):
        tg.load_weights(path, tg.Dense(6, 1, rng=0, dtype="float64"))


@pytest.mark.parametrize("suffix", [".safetensors"])
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_what_numpy_does_not_have_is_called_by_its_name(tmp_path, suffix, dtype):
    path = tmp_path / f"weights{suffix}"
    safetensors_file(path, weights=(dtype, [2], b"\1\2"))
    with pytest.raises(
        tg.SavedFileError, match=f"weights is an array of {dtype}, which NumPy does not"
    ) as error:
        tg.load_weights(path, tg.Dense(1, 1, rng=0))
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors"])
def test_every_dtype_of_safetensors_is_read(tmp_path, suffix):
    import safetensors.numpy

    path = tmp_path / f"weights{suffix}"
    rng = np.random.default_rng(0)
    names = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "c8", "?"]
    arrays = {name: rng.integers(0, 2, (2, 3)).astype(name) for name in names}
    arrays |= {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(2.5)}
    safetensors.numpy.save_file(arrays, path)
    header, found = read_safetensors(path)
    assert header is None
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    safetensors_file(path, flag=("BOOL", [2], b"\1\7"))
    with pytest.raises(tg.SavedFileError, match="neither True nor False"):
        read_safetensors(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@every_suffix
def test_a_named_pipe_is_refused_without_waiting(tmp_path, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    loads = [tg.load_network, tg.load_notes, lambda path: tg.load_weights(path, tg.Dense(1, 1, rng=0))]
    for load in [*loads, tg.load_checkpoint] if suffix == ".npz" else loads:
        with pytest.raises(OSError, match=f"regular file, got a pipe or a device: '{path}'"):
            load(path)
    with pytest.raises(OSError, match=f"cannot write {path}: it is a pipe or a device"):
        tg.save_weights(path, tg.Dense(1, 1, rng=0))
    assert path.is_fifo()


@every_suffix
def test_weights_that_do_not_fit_are_refused_with_every_misfit_and_nothing_changes(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    tg.save_weights(path, tg.Network([tg.Dense(2, 3, rng=0), tg.Dense(3, 1, rng=0)]))
    layer = tg.Network([tg.Dense(2, 3, rng=1), tg.Dense(3, 4, rng=1), tg.Dense(4, 1, rng=1)])
    before = layer.state()
    with pytest.raises(tg.SavedFileError) as caught:
        tg.load_weights(path, layer)
    for part in (
        str(path),
        "Dense2.weights is missing",
        r"Dense1.weights: expected shape (3, 4), got (3, 1)",
    ):
        assert part in str(caught.value)
    for key, value in layer.state().items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(tg.SavedFileError, match="expected float64, got float32"):
        tg.load_weights(path, tg.Network([tg.Dense(2, 3, dtype=float), tg.Dense(3, 1)]))


@every_suffix
def test_a_weights_file_that_is_cut_off_or_changed_is_refused_and_nothing_changes(tmp_path, suffix):
    path, layer = tmp_path / f"weights{suffix}", tg.Dense(2, 2, rng=0)
    tg.save_weights(path, layer)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    fresh = tg.Dense(2, 2, rng=1)
    before = fresh.state()
    damaged = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(changed))
    read = 0
    for contents in damaged:
        path.write_bytes(contents)
        try:
            tg.load_weights(path, fresh)
        except tg.SavedFileError:
            pass
        else:  # the name of a key of the metadata, so that the checksum is not found
            read += 1
            assert suffix == ".safetensors"
            assert_same_state(fresh, layer)
            fresh.load_state(before)
        for key, value in fresh.state().items():
            np.testing.assert_array_equal(value, before[key])
    assert read < 60


@pytest.mark.parametrize("name", ["weights", "weights.npy", "weights.pt", "weights.NPZ", ".npz"])
def test_another_suffix_is_refused(tmp_path, name):
    layer = tg.Dense(1, 1, rng=0)
    for act in (tg.save_weights, tg.load_weights, tg.save_network):
        with pytest.raises(ValueError, match=r"ends in \.npz or \.safetensors"):
            act(tmp_path / name, layer)
    with pytest.raises(ValueError, match=r"ends in \.npz or \.safetensors"):
        tg.load_network(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@every_suffix
def test_a_missing_file_and_what_is_no_layer_are_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(FileNotFoundError):
        tg.load_weights(path, tg.Dense(1, 1))
    for act in (tg.save_weights, tg.load_weights, tg.save_network):
        with pytest.raises(TypeError, match=f"{act.__name__}: expected a Layer, got None"):
            act(path, None)


def test_without_safetensors_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    layer = tg.Dense(1, 1, rng=0)
    path = tmp_path / "weights.safetensors"
    for act in (tg.save_weights, tg.load_weights):
        with pytest.raises(ImportError, match=r"pip install 'tensorgrad-numpy\[safetensors\]'"):
            act(path, layer)


# Networks


def sample(kind):
    """A layer of the kind with an unusual value for each option, to see that all of them come back."""
    options = {
        "Dense": {"inputs": 3, "outputs": 2, "bias": False, "dtype": "float64"},
        "Conv2D": {
            "channels": 4, "filters": 6, "kernel_size": (2, 3), "stride": (2, 1), "padding": ((0, 1), (2, 0)),
            "dilation": 2, "groups": 2, "bias": False, "dtype": "float64",
        },
        "MaxPool2D": {"size": (3, 2), "stride": (1, 2), "padding": 1},
        "AvgPool2D": {"size": (3, 2), "stride": (1, 2), "padding": 1},
        "BatchNorm": {"channels": 3, "momentum": 0.25, "eps": 1e-3, "dtype": "float64"},
        "LayerNorm": {"shape": (2, 3), "eps": 1e-3, "dtype": "float64"},
        "Dropout": {"rate": 0.25},
        "Embedding": {"count": 5, "size": 3, "dtype": "float64"},
        "LeakyReLU": {"slope": 0.25},
        "ELU": {"alpha": 0.25},
        "GELU": {"approximate": "tanh"},
    }.get(kind.__name__, {})  # fmt: skip
    wanted = set(inspect.signature(kind).parameters) - {"init", "bias_init", "rng"}
    if kind is not tg.Network:
        assert set(options) == wanted, f"give {kind.__name__} a sample with all its options"
    return options


@pytest.mark.parametrize("name", sorted(known_layers()))
def test_every_layer_of_tensorgrad_comes_back_with_all_its_options(name, tmp_path):
    kind = known_layers()[name]
    options = sample(kind)
    layer = kind(**options)
    form = json.loads(json.dumps(describe(layer)))
    twin = build(form, layer.state())
    assert type(twin) is kind
    assert describe(twin) == describe(layer)
    assert repr(twin) == repr(layer)
    assert_same_state(twin, layer)
    for key in options:
        if key not in ("dtype", "filters", "kernel_size", "bias"):
            value = getattr(twin, key)
            assert value == options[key]
            assert type(value) is type(options[key])
    for option, value in form.get("options", {}).items():
        default = inspect.signature(kind).parameters[option].default
        assert default is inspect.Parameter.empty or value != default  # so that the test would miss none


def network():
    rng = np.random.default_rng(0)
    return tg.Network(
        [
            tg.Conv2D(1, 4, 3, padding=1, rng=rng),
            tg.BatchNorm(4),
            tg.LeakyReLU(0.1),
            tg.MaxPool2D(2),
            tg.Network([tg.Flatten(), tg.Dropout(0.5, rng=1), tg.Dense(64, 10, rng=rng)]),
        ]
    )


@every_suffix
def test_a_network_comes_back_with_its_outputs_and_modes(tmp_path, suffix):
    rng = np.random.default_rng(1)
    model = network()
    x = rng.standard_normal((5, 8, 8, 1)).astype(np.float32)
    model(x)  # which moves the running statistics
    path = tmp_path / f"model{suffix}"
    tg.save_network(path, model)
    loaded = tg.load_network(path)
    assert loaded.training
    assert repr(loaded) == repr(model)
    assert_same_state(loaded, model)
    np.testing.assert_array_equal(loaded.eval()(x).data, model.eval()(x).data)
    model.layers[1].train()
    tg.save_network(path, model)
    modes = [layer.training for layer in tg.load_network(path).named_layers().values()]
    assert modes == [layer.training for layer in model.named_layers().values()]
    assert len(set(modes)) == 2
    tg.load_weights(path, network())


def test_a_network_is_loaded_by_a_process_that_knows_nothing_of_it(tmp_path):
    model = tg.dense_network((4, 4, 1), 3, rng=0)
    tg.save_network(tmp_path / "model.npz", model, {"classes": ["a", "b", "c"]})
    code = (
        "import sys, numpy as np, tensorgrad as tg; model = tg.load_network(sys.argv[1]);"
        "print(tg.load_notes(sys.argv[1])['classes'], model.predict(np.ones((1, 4, 4, 1))).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.npz"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"['a', 'b', 'c'] {model.predict(np.ones((1, 4, 4, 1))).tolist()}"


def test_a_layer_that_comes_twice_stays_one(tmp_path):
    shared = tg.Dense(3, 3, rng=0)
    block = tg.Network([shared, tg.Tanh()])
    model = tg.Network([shared, block, block, tg.Dense(3, 1, rng=1)])
    tg.save_network(tmp_path / "model.npz", model)
    loaded = tg.load_network(tmp_path / "model.npz")
    assert loaded.layers[0] is loaded.layers[1].layers[0]
    assert loaded.layers[1] is loaded.layers[2]
    assert_same_state(loaded, model)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(loaded(x).data, model(x).data)


def test_a_single_layer_is_a_network_too(tmp_path):
    layer = tg.Dense(2, 1, rng=0, dtype=float)
    tg.save_network(tmp_path / "layer.npz", layer)
    assert_same_state(tg.load_network(tmp_path / "layer.npz"), layer)


@pytest.mark.parametrize("notes", [{}, {"a": [1, 2.5, None, True, {"b": "ü"}]}], ids=str)
@every_suffix
def test_notes_come_back(tmp_path, suffix, notes):
    path = tmp_path / f"model{suffix}"
    tg.save_network(path, tg.ReLU(), notes)
    assert tg.load_notes(path) == notes


@pytest.mark.parametrize(
    "notes", [[1], {"a": (1,)}, {1: 2}, {"a": np.ones(2)}, {"a": np.float64(1)}, "a"], ids=str
)
def test_notes_that_would_come_back_otherwise_are_refused(tmp_path, notes):
    with pytest.raises(TypeError, match="notes"):
        tg.save_network(tmp_path / "model.npz", tg.ReLU(), notes)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_of_ones_own_has_weights_to_save_but_no_architecture(tmp_path):
    class Dense(tg.Dense):
        """Of the same name, and nevertheless another."""

    for layer in (Scale(), Dense(1, 1)):
        name = type(layer).__name__
        for model, place in ((layer, name), (tg.Network([tg.ReLU(), layer]), rf"Network\.{name}1")):
            with pytest.raises(TypeError, match=rf"save_network: {place} is a {name}, .*save_weights"):
                tg.save_network(tmp_path / "model.npz", model)
    assert list(tmp_path.iterdir()) == []


def test_what_a_description_would_lose_is_refused(tmp_path):
    tied = tg.Network([tg.Dense(2, 2, rng=0), tg.Dense(2, 2, rng=0)])
    tied.layers[1].weights = tied.layers[0].weights
    extra = tg.Network([tg.Dense(2, 2, rng=0)])
    extra.scale = tg.Parameter(2.0)
    odd = tg.Network([tg.Dense(2, 2, rng=0)])
    odd.layers[0].extra = tg.nn.Buffer(np.zeros(2))
    for model in (tied, extra, odd):
        with pytest.raises((ValueError, TypeError), match="save_network"):
            tg.save_network(tmp_path / "model.npz", model)
    assert list(tmp_path.iterdir()) == []


# Files that were made to do harm


DENSE = {
    "class": "Dense",
    "training": True,
    "options": {"inputs": 2, "outputs": 1, "bias": True, "dtype": "float32"},
}
STATE = {"weights": np.ones((2, 1), np.float32), "bias": np.ones(1, np.float32)}


def with_options(**options):
    return {**DENSE, "options": {**DENSE["options"], **options}}


def layers(*forms):
    return {"class": "Network", "training": True, "layers": list(forms)}


CONV = {
    "class": "Conv2D",
    "training": True,
    "options": {
        "channels": 1, "filters": 1, "kernel_size": 10**5, "stride": 1, "padding": 0, "dilation": 1,
        "groups": 1, "bias": True, "dtype": "float32",
    },
}  # fmt: skip
NORM = {
    "class": "LayerNorm",
    "training": True,
    "options": {"shape": [10**5, 10**5], "eps": 1e-5, "dtype": "float32"},
}


@refused_calls(
    ("load(None)", tg.SavedFileError, "description of a layer"),
    ("load([])", tg.SavedFileError, "description of a layer"),
    ("load({})", tg.SavedFileError, "None is not known"),
    (
        "load({**DENSE, 'class': 'Residual'})",
        tg.SavedFileError,
        "'Residual' is not known; there are AvgPool2D",
    ),
    ("load({**DENSE, 'class': 'Layer'})", tg.SavedFileError, "'Layer' is not known"),
    ("load({**DENSE, 'class': 'os.system'})", tg.SavedFileError, "not known"),
    ("load({**DENSE, 'class': ['Dense']})", tg.SavedFileError, "not known"),
    ("load({**DENSE, 'class': 'save_network'})", tg.SavedFileError, "not known"),
    ("load({**DENSE, 'more': 1})", tg.SavedFileError, "expected class, options, training"),
    ("load({**DENSE, 'training': 1})", tg.SavedFileError, "expected class"),
    ("load({'class': 'Dense'})", tg.SavedFileError, "expected class"),
    ("load({**DENSE, 'options': []})", tg.SavedFileError, "expected the options inputs"),
    ("load({**DENSE, 'options': {'inputs': 2}})", tg.SavedFileError, "expected the options"),
    ("load(with_options(rng=0))", tg.SavedFileError, "expected the options"),
    ("load(with_options(init='zeros'))", tg.SavedFileError, "expected the options"),
    ("load(with_options(inputs=10**9))", tg.SavedFileError, "larger than the values"),
    ("load(with_options(inputs=10**400))", tg.SavedFileError, "larger than the values"),
    ("load(with_options(inputs=-1))", tg.SavedFileError, "positive"),
    ("load(with_options(inputs='2'))", tg.SavedFileError, "positive"),
    ("load(with_options(inputs=None))", tg.SavedFileError, "positive"),
    ("load(with_options(inputs=[2]))", tg.SavedFileError, "positive"),
    ("load(with_options(inputs=1.0))", tg.SavedFileError, "positive"),
    ("load(with_options(inputs=1))", tg.SavedFileError, "expected shape"),
    ("load(with_options(dtype='float64'))", tg.SavedFileError, "expected float64"),
    ("load(with_options(dtype='O'))", tg.SavedFileError, "dtype"),
    ("load(with_options(dtype=['float32']))", tg.SavedFileError, "dtype"),
    ("load(with_options(dtype={'a': 1}))", tg.SavedFileError, "dtype"),
    ("load(with_options(bias=False))", tg.SavedFileError, "bias is not a parameter"),
    ("load(layers(DENSE))", tg.SavedFileError, "Dense0.weights is missing"),
    ("load({**layers(), 'layers': 5})", tg.SavedFileError, "list of layers"),
    ("load({**layers(), 'options': {}})", tg.SavedFileError, "expected class"),
    ("load(layers({'again': 0}))", tg.SavedFileError, "no layer 0"),
    ("load(layers(DENSE, {'again': 2}))", tg.SavedFileError, "no layer 2"),
    ("load(layers(DENSE, {'again': -1}))", tg.SavedFileError, "no layer -1"),
    ("load(layers(DENSE, {'again': True}))", tg.SavedFileError, "no layer True"),
    ("load(CONV)", tg.SavedFileError, "larger than the values"),
    ("load(NORM)", tg.SavedFileError, "larger than the values"),
    ("load(layers(*[DENSE] * 1000))", tg.SavedFileError, "larger than the values"),
)
@every_suffix
def test_a_description_that_is_none_is_refused(tmp_path, suffix, call, error, message):
    path = tmp_path / f"model{suffix}"

    def load(form):
        header = {"format": "tensorgrad network", "version": 1, "network": form, "notes": {}}
        write_arrays(path, header, STATE)
        tg.load_network(path)

    told = assert_refused(call, error, message, load=load, **globals())
    assert str(path) in told
    assert "damaged" not in told


@every_suffix
def test_files_of_other_kinds_and_versions_are_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    tg.save_weights(path, tg.ReLU())
    with pytest.raises(tg.SavedFileError, match="holds weights alone"):
        tg.load_network(path)
    for header, part in (
        ({"format": "tensorgrad network", "version": 2, "network": DENSE, "notes": {}}, "newer tensorgrad"),
        ({"format": "tensorgrad network", "version": 1, "network": DENSE}, "entries"),
        ({"format": "recipe", "version": 1}, "'recipe'"),
        ({"format": "tensorgrad network", "version": 1, "network": DENSE, "notes": 1}, "notes"),
    ):
        write_arrays(path, header, STATE)
        with pytest.raises(tg.SavedFileError, match=part):
            tg.load_notes(path)
    if suffix == ".npz":
        tg.save_checkpoint(path, {"weights": np.ones((2, 1), np.float32)})
        for act in (tg.load_network, lambda path: tg.load_weights(path, tg.Dense(2, 1))):
            with pytest.raises(tg.SavedFileError, match=r"expected a tensorgrad .*checkpoint"):
                act(path)
        np.savez(path, **STATE)
        with pytest.raises(tg.SavedFileError, match="no header"):
            tg.load_network(path)


def test_a_file_of_thousands_of_layers_is_read_in_a_moment(tmp_path):
    path = tmp_path / "model.npz"
    form = layers(*[{"class": "ReLU", "training": True, "options": {}}] * 8000)
    write_arrays(path, {"format": "tensorgrad network", "version": 1, "network": form, "notes": {}}, {})
    start = time.process_time()
    network = tg.load_network(path)
    tg.save_network(path, network)
    assert len(tg.load_network(path).layers) == 8000
    assert time.process_time() - start < 20  # four minutes if a layer costs a search through those before


def test_a_few_lines_that_mean_a_million_layers_are_refused(tmp_path):
    def doubled(times):
        form = {"class": "ReLU", "training": True, "options": {}}
        for place in range(times - 1, -1, -1):
            form = layers(form, {"again": place + 1})
        return {"format": "tensorgrad network", "version": 1, "network": form, "notes": {}}

    write_arrays(tmp_path / "model.npz", doubled(8), {})
    network = tg.load_network(tmp_path / "model.npz")
    x = np.float32([[-1, 2]])
    np.testing.assert_array_equal(network.predict(x), np.maximum(x, 0))
    write_arrays(tmp_path / "model.npz", doubled(60), {})
    with pytest.raises(tg.SavedFileError, match="applies 1048576 layers in a row, more than 1000000"):
        tg.load_network(tmp_path / "model.npz")


def test_a_deeply_nested_description_is_refused(tmp_path):
    form = layers()
    for _ in range(300):
        form = layers(form)
    header = {"format": "tensorgrad network", "version": 1, "network": form, "notes": {}}
    write_arrays(tmp_path / "model.npz", header, {})
    assert isinstance(tg.load_network(tmp_path / "model.npz"), tg.Network)


@pytest.mark.parametrize("suffix", [".safetensors"])
@pytest.mark.parametrize("contents", [
    b"", b"\0" * 7, b"\xff" * 8, b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]",
    b"PK\3\4" + bytes(50),
    b'\x3d\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}' + bytes(4),
], ids=range(8))  # fmt: skip
def test_a_foreign_file_in_place_of_safetensors_is_refused(tmp_path, suffix, contents):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(contents)
    with pytest.raises(tg.SavedFileError, match=str(path)):
        tg.load_weights(path, tg.Dense(1, 1))
