"""State dicts that PyTorch wrote, and that it reads: both compute the same then."""

import numpy as np
import pytest

import tensorgrad as tg

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
nn = torch.nn

RNG = np.random.default_rng(0)


class TorchBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


class Block(tg.Layer):
    def __init__(self, channels):
        self.conv1 = tg.Conv2D(channels, channels, 3, padding=1, bias=False)
        self.bn1 = tg.BatchNorm(channels)
        self.conv2 = tg.Conv2D(channels, channels, 3, padding=1, bias=False)
        self.bn2 = tg.BatchNorm(channels)

    def forward(self, x):
        return tg.relu(x + self.bn2(self.conv2(tg.relu(self.bn1(self.conv1(x))))))


class TorchVGG(nn.Module):
    """As torchvision's: the classifier comes before the features in the alphabet."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            *(m for _ in range(9) for m in (nn.Conv2d(16, 16, 1), nn.Tanh())), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(16 * 3 * 2, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 5)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def lenet():
    theirs = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(16 * 4 * 2, 30), nn.Tanh(), nn.Linear(30, 10),
    )  # fmt: skip
    ours = [
        tg.Conv2D(3, 6, 3, padding=1), tg.Tanh(), tg.AvgPool2D(2), tg.Conv2D(6, 16, 3), tg.Tanh(),
        tg.Flatten(), tg.Dense(16 * 4 * 2, 30), tg.Tanh(), tg.Dense(30, 10),
    ]  # fmt: skip
    return theirs, tg.Network(ours)


def vgg():
    ours = [
        tg.Conv2D(3, 8, 3, padding=1), tg.BatchNorm(8), tg.ReLU(), tg.Conv2D(8, 8, 3, padding=1),
        tg.BatchNorm(8), tg.ReLU(), tg.MaxPool2D(2), tg.Conv2D(8, 16, 3, padding=1), tg.ReLU(),
        *(layer for _ in range(9) for layer in (tg.Conv2D(16, 16, 1), tg.Tanh())), tg.MaxPool2D(2),
        tg.Flatten(), tg.Dense(16 * 3 * 2, 24), tg.ReLU(), tg.Dropout(), tg.Dense(24, 24), tg.ReLU(),
        tg.Dense(24, 5),
    ]  # fmt: skip
    return TorchVGG(), tg.Network(ours)


def residual():
    theirs = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), TorchBlock(8), TorchBlock(8), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    ours = [
        tg.Conv2D(3, 8, 3, stride=2, padding=1), Block(8), Block(8), tg.GlobalAvgPool2D(), tg.Dense(8, 5),
    ]  # fmt: skip
    return theirs, tg.Network(ours)


def normalized():
    """What is flattened goes through activations and normalizations, whose parameters are pixels too."""
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 10, 6]), nn.Flatten(), nn.SiLU(), nn.BatchNorm1d(240),
        nn.LayerNorm(240), nn.Dropout(0.3), nn.LeakyReLU(0.1), nn.Linear(240, 7, bias=False),
        nn.BatchNorm1d(7),
        nn.Linear(7, 2),
    )  # fmt: skip
    ours = [
        tg.Conv2D(3, 4, 3), tg.LayerNorm((10, 6, 4)), tg.Flatten(), tg.SiLU(), tg.BatchNorm(240),
        tg.LayerNorm(240), tg.Dropout(0.3), tg.LeakyReLU(0.1), tg.Dense(240, 7, bias=False), tg.BatchNorm(7),
        tg.Dense(7, 2),
    ]  # fmt: skip
    return theirs, tg.Network(ours)


MODELS = [lenet, vgg, residual, normalized]
SHAPE = (12, 8, 3)


def shuffle(model):
    """Let no parameter or statistic be as it was made."""
    torch.manual_seed(1)
    with torch.no_grad():
        for x in (*model.parameters(), *model.buffers()):
            if x.dtype.is_floating_point:
                x.copy_(torch.rand(x.shape) * 0.5 + 0.25 if x.ndim == 1 else torch.randn(x.shape) * 0.2)


def assert_alike(model, network):
    x = RNG.standard_normal((5, *SHAPE)).astype(np.float32)
    theirs = model.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    np.testing.assert_allclose(network.predict(x), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [False, True], ids=["by shape", "by names"])
@pytest.mark.parametrize("make", MODELS)
def test_a_state_dict_of_pytorch(make, given, tmp_path):
    model, network = make()
    shuffle(model)
    files.save_file(model.state_dict(), tmp_path / "model.safetensors")
    names = list(model.state_dict()) if given else None
    tg.load_pytorch(tmp_path / "model.safetensors", network, input_shape=SHAPE, names=names)
    assert_alike(model, network)


@pytest.mark.parametrize("make", MODELS)
def test_a_state_dict_for_pytorch(make, tmp_path):
    model, network = make()
    for x in (*network.parameters(), *network.buffers()):
        x.data = RNG.uniform(0.1, 0.5, x.shape).astype(np.float32)
    path = tmp_path / "model.safetensors"
    tg.save_pytorch(path, network, input_shape=SHAPE, names=list(model.state_dict()))
    model.load_state_dict(files.load_file(path))
    assert_alike(model, network)


def test_numbers_are_the_names_of_layers_in_a_row(tmp_path):
    model, network = residual()
    tg.save_pytorch(tmp_path / "model.safetensors", network, input_shape=SHAPE)
    state = files.load_file(tmp_path / "model.safetensors")
    network.add(tg.Tanh())
    renamed = {name.replace("4.", "5."): x for name, x in state.items()}  # PyTorch's has a Flatten
    model.load_state_dict(renamed)
    assert_alike(nn.Sequential(model, nn.Tanh()), network)


def test_what_was_loaded_has_the_same_gradients(tmp_path):
    model, network = normalized()
    shuffle(model)
    files.save_file(model.state_dict(), tmp_path / "model.safetensors")
    tg.load_pytorch(tmp_path / "model.safetensors", network.eval(), input_shape=SHAPE)
    x = RNG.standard_normal((5, *SHAPE)).astype(np.float32)
    (model.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())) ** 2).sum().backward()
    tg.sum(network(x) ** 2).backward()
    theirs = model[8].weight.grad.numpy().reshape(7, 4, 10, 6).transpose(2, 3, 1, 0).reshape(240, 7)
    np.testing.assert_allclose(network.layers[8].weights.grad, theirs, rtol=1e-3, atol=1e-4)


def test_embeddings_and_float64(tmp_path):
    model = nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    network = tg.Network([tg.Embedding(11, 4, dtype=float), tg.Flatten(), tg.Dense(12, 2, dtype=float)])
    files.save_file(model.state_dict(), tmp_path / "model.safetensors")
    tg.load_pytorch(tmp_path / "model.safetensors", network, input_shape=3)
    x = RNG.integers(0, 11, (5, 3))
    np.testing.assert_allclose(network(x).numpy(), model(torch.from_numpy(x)).detach().numpy(), rtol=1e-12)


# What does not fit


def assert_refused(network, arrays, message, tmp_path, error=tg.SavedFileError, **options):
    """Nothing of a file is loaded."""
    path = tmp_path / "model.safetensors"
    files.save_file({name: torch.zeros(shape) for name, shape in arrays.items()}, path)
    before = network.state()
    with pytest.raises(error, match=message) as caught:
        tg.load_pytorch(path, network, **{"input_shape": SHAPE, **options})
    np.testing.assert_equal(network.state(), before)
    return str(caught.value)


def test_every_misfit_is_listed_and_nothing_is_loaded(tmp_path):
    network = tg.Network([tg.Dense(3, 2), tg.BatchNorm(2), tg.Dense(2, 1)])
    arrays = {
        "a.weight": (2, 3), "a.bias": (2,), "b.weight": (2,), "b.bias": (2,),
        "c.weight": (1, 3), "c.bias": (1,),
    }  # fmt: skip
    said = assert_refused(network, arrays, "left as it was", tmp_path, input_shape=3)
    assert (
        "BatchNorm1, BatchNorm(2), needs weight (2,), bias (2,), running_mean (2,), running_var (2,)" in said
    )
    assert "Dense2, Dense(2, 1), needs weight (1, 2), bias (1,); no module is left that has it" in said
    assert (
        "b has weight (2,), bias (2,), which no layer takes" in said or "b has bias (2,), weight (2,)" in said
    )
    assert "c has" in said
    assert "Dense0" not in said
    by_names = assert_refused(network, arrays, "left as it was", tmp_path, input_shape=3, names=list(arrays))
    assert "Dense2, Dense(2, 1), needs weight (1, 2), bias (1,); c has weight (1, 3), bias (1,)" in by_names


def test_modules_of_equal_shapes_need_an_order(tmp_path):
    network = tg.Network([tg.Dense(3, 3, bias=False), tg.Dense(3, 3, bias=False)])
    arrays = {"encoder.weight": (3, 3), "decoder.weight": (3, 3)}
    assert_refused(network, arrays, "decoder, encoder have equal shapes", tmp_path, input_shape=3)
    path = tmp_path / "model.safetensors"
    tensors = {"encoder.weight": torch.ones(3, 3), "decoder.weight": torch.zeros(3, 3)}
    files.save_file(tensors, path)
    tg.load_pytorch(path, network, input_shape=3, names=list(tensors))
    assert [float(p.data[0, 0]) for p in network.parameters()] == [1, 0]


def test_another_dtype_is_refused(tmp_path):
    network = tg.Network([tg.Dense(3, 2, dtype=float)])
    arrays = {"0.weight": (2, 3), "0.bias": (2,)}
    assert_refused(network, arrays, "expected float64, got float32", tmp_path, input_shape=3)


class Scale(tg.Layer):
    def __init__(self, size):
        self.gain = tg.Parameter(np.ones(size, np.float32), "gain")

    def forward(self, x):
        return x * self.gain


class Halves(tg.Layer):
    def forward(self, x):
        return x[:, : x.shape[1] // 2]


class OneRow(tg.Layer):
    def forward(self, x):
        return np.squeeze(x, 1)


def test_what_cannot_be_followed_is_refused(tmp_path):
    line = tg.Network([tg.Conv2D(3, 4, (12, 1)), OneRow(), tg.Flatten(), tg.Dense(32, 1)])
    assert_refused(
        line, {"weight": (1,)}, r"\(2, 8, 4\) is flattened after a convolution", tmp_path, ValueError
    )
    own = tg.Network([tg.Flatten(), Scale(288)])
    assert_refused(
        own, {"weight": (1,)}, r"Scale1\.gain are of no layer that PyTorch has", tmp_path, ValueError
    )
    cut = tg.Network([tg.Flatten(), Halves(), tg.Dense(144, 1)])
    assert_refused(cut, {"weight": (1,)}, "getitem is given flattened images", tmp_path, ValueError)
    shared = tg.Dense(288, 288)
    twice = tg.Network([tg.Flatten(), shared, shared])
    assert_refused(twice, {"weight": (1,)}, "both for flattened images and for other", tmp_path, ValueError)


def test_wrong_arguments_are_refused(tmp_path):
    network = tg.Network([tg.Dense(3, 2)])
    with pytest.raises(ValueError, match=r"got 'model\.pt'; those of PyTorch are pickles"):
        tg.load_pytorch("model.pt", network, input_shape=3)
    for state in ({"0.bias": np.zeros(2)}, None):
        with pytest.raises(
            TypeError, match=rf"expected a file name .*got a {type(state).__name__}; .*save_file"
        ):
            tg.load_pytorch(state, network, input_shape=3)
    with pytest.raises(TypeError, match="load_pytorch: expected a Layer, got 3"):
        tg.load_pytorch("model.safetensors", 3, input_shape=3)
    with pytest.raises(ValueError, match=r"the names do not fit the layers of the network: 0\.bias, a\.bias"):
        tg.save_pytorch(
            tmp_path / "model.safetensors",
            tg.Network([tg.Dense(3, 2)]),
            input_shape=3,
            names=["a.weight", "0.bias"],
        )
    assert not (tmp_path / "model.safetensors").exists()
    arrays = {"0.weight": (2, 3), "0.bias": (2,)}
    assert_refused(
        network, arrays, "do not have the same keys: 0.bias", tmp_path, input_shape=3, names=["0.weight"]
    )
