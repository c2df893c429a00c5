"""to_numpy on random graphs: the bits of the engine, at the values of the graph and at others."""

import numpy as np
import pytest
from test_numpy_code import assert_computes

import tensorgrad as tg

UNARY = (
    np.tanh,
    np.sin,
    np.negative,
    np.abs,
    np.square,
    tg.sigmoid,
    tg.relu,
    tg.softplus,
    tg.logsumexp,
    lambda x: np.exp(np.tanh(x)),
    lambda x: np.sqrt(np.abs(x) + 1),
    lambda x: np.log(x * x + 1),
    lambda x: x**3,
    lambda x: (x * x + 0.5) ** -1.5,
    lambda x: 2 / (x * x + 1),
    lambda x: x.T,
    lambda x: x.reshape(-1),
    lambda x: x[..., None],
    lambda x: x.reshape(-1)[[0, -1, 0]],
    lambda x: x.reshape(-1)[::-2],
    lambda x: tg.softmax(x.reshape(-1)),
    lambda x: np.cumsum(x),
    lambda x: np.clip(x, -1, 1),
    lambda x: np.roll(x, 1),
    lambda x: np.pad(x, 1),
    lambda x: np.concatenate([x.reshape(-1), x.reshape(-1)[:2]]),
    lambda x: np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, x, 0.5 * x),
    lambda x: x.sum(),
    lambda x: x.mean(),
    lambda x: np.var(x),
    lambda x: np.prod(np.tanh(x) + 2),
    lambda x: x.reshape(-1, 1).sum(axis=0),
    lambda x: np.max(x.reshape(1, -1), axis=1, keepdims=True),
    lambda x: np.linalg.norm(x.reshape(-1)),
    lambda x: np.einsum("i,j->ij", x.reshape(-1)[:3], x.reshape(-1)[-2:]),
)
BINARY = (
    np.add,
    np.subtract,
    np.multiply,
    np.maximum,
    np.minimum,
    np.hypot,
    np.logaddexp,
    np.arctan2,
    lambda x, y: x / (y * y + 1),
    lambda x, y: tg.mse(*np.broadcast_arrays(x, y)),
)
SHAPES = ((3,), (2, 3), (3, 1), (3, 3), (), (2, 1, 3))


def product(x, y):
    """A product of matrices of whatever there is."""
    x, y = x.reshape(-1), y.reshape(-1)
    n = min(x.size, y.size)
    return np.outer(x[:n], y[:n]) @ (x[:n] + y[:n])


def random_graph(seed, values):
    """Named leaves, their values from one generator, and a scalar of them, its form from another."""
    rng, draw = np.random.default_rng(seed), np.random.default_rng(values)
    nodes = [
        tg.Tensor(draw.standard_normal(SHAPES[rng.integers(len(SHAPES))]), requires_grad=True, name=f"x{i}")
        for i in range(rng.integers(1, 5))
    ]
    leaves = list(nodes)
    for _ in range(rng.integers(3, 14)):
        # The newest node mostly, so that graphs grow deep; any, so that there are diamonds.
        x, y = (nodes[-1] if rng.random() < 0.5 else nodes[rng.integers(len(nodes))] for _ in range(2))
        choice = rng.random()
        if choice < 0.55:
            new = UNARY[rng.integers(len(UNARY))](x)
        elif choice < 0.65:
            new = product(x, y)
        else:
            function = BINARY[rng.integers(len(BINARY))]
            try:
                np.broadcast_shapes(x.shape, y.shape)
            except ValueError:
                continue
            new = function(x, y)
        if new.size <= 300:
            nodes.append(new)
    loss = sum((node.sum() for node in nodes[-3:]), 0.0 * sum(leaf.sum() for leaf in leaves))
    return leaves, loss


def hold(seeds):
    """Hold the code of random graphs against the engine, at the values of the graphs and at others."""
    computed = 0
    for seed in seeds:
        with np.errstate(all="ignore"):
            leaves, loss = random_graph(seed, values=seed)
            code = tg.to_numpy(loss)
            assert_computes(code, loss, leaves)
            leaves, loss = random_graph(seed, values=10_000 + seed)
            assert_computes(code, loss, leaves)
        computed += bool(np.isfinite(loss.item()))
    assert computed > 0.9 * len(seeds)  # and not a comparison of NaN with NaN


@pytest.mark.parametrize("hundred", range(2))
def test_the_code_of_random_graphs_has_the_engines_bits(hundred):
    hold(range(100 * hundred, 100 * hundred + 100))


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(2, 12))
def test_the_code_of_a_thousand_more_has_the_engines_bits(hundred):
    hold(range(100 * hundred, 100 * hundred + 100))


def test_random_graphs_in_single_precision():
    for seed in range(50):
        with np.errstate(all="ignore"):
            leaves, _ = random_graph(seed, values=seed)
            loss = sum(tg.mse(np.tanh(x), 0.5 * x) for x in (tg.astype(x, dtype="float32") for x in leaves))
            code = tg.to_numpy(loss)
            assert_computes(code, loss, leaves)
            assert code.compile()(**code.arguments)[0].dtype == np.float32


@pytest.mark.parametrize("seed", range(20))
def test_random_convolutions(seed):
    rng = np.random.default_rng(seed)
    groups, batch = rng.choice([1, 1, 2]), rng.choice([1, 3, 32])
    channels, filters = groups * rng.choice([1, 3, 8]), groups * rng.choice([1, 4, 16])
    leaves = [
        tg.Tensor(rng.standard_normal(shape), requires_grad=True, name=name)
        for name, shape in (
            ("x", (batch, *rng.integers(6, 16, 2), channels)),
            ("w", (filters, channels // groups, *rng.integers(1, 4, 2))),
            ("b", filters),
        )
    ]
    options = {} if seed % 2 else {"stride": (1, 2), "padding": "same"}
    if seed % 4 == 2:
        options = {"stride": 2, "dilation": (1, 2), "padding": ((1, 0), (2, 1))}
    out = tg.conv2d(*leaves, groups=int(groups), **options)
    loss = np.sum(np.tanh(tg.max_pool(out, size=2, stride=1)) * tg.avg_pool(out, size=2, stride=1))
    assert_computes(tg.to_numpy(loss), loss, leaves)


@pytest.mark.parametrize(
    ("images", "filters", "activation"),
    [
        ((1, 12, 12, 1), (8, 1, 1, 1), tg.relu),
        ((1, 14, 14, 1), (4, 1, 5, 5), tg.relu),
        ((5, 4, 11, 1), (15, 1, 2, 3), tg.identity),  # one row of maxima
        ((8, 14, 14, 1), (1, 1, 5, 5), tg.relu),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooled_images_with_axes_of_length_one(images, filters, activation, dtype):
    """Sums round by the layout in memory, and the stride of an axis of length 1 means nothing."""
    rng = np.random.default_rng(0)
    x, w, b = (
        tg.Tensor(rng.standard_normal(shape), requires_grad=True, name=name, dtype=dtype)
        for name, shape in (("x", images), ("w", filters), ("b", filters[:1]))
    )
    h = tg.max_pool(activation(tg.conv2d(x, w, b)), size=2)
    loss = np.sum(h * h)
    assert_computes(tg.to_numpy(loss), loss, [x, w, b])


def random_classifier(seed):
    """A small convolutional network with all that may stand between convolution and classes, and its loss."""
    rng = np.random.default_rng(seed)
    dtype = ["float32", "float64"][seed % 2]
    channels, filters, classes = rng.choice([1, 1, 3]), rng.choice([1, 2, 4, 6]), rng.choice([2, 3, 4, 10])
    x = rng.standard_normal((rng.choice([1, 2, 3, 16, 32]), *rng.integers(6, 13, 2), channels)).astype(dtype)
    padding = ["same", "valid"][rng.integers(2)]
    layers = [tg.Conv2D(channels, filters, int(rng.integers(1, 4)), padding=padding, dtype=dtype, rng=seed)]
    layers += [[tg.ReLU()], [tg.Tanh()], [tg.GELU()], []][rng.integers(4)]
    layers += [[tg.BatchNorm(filters, dtype=dtype)], [], []][rng.integers(3)]
    layers += [[tg.MaxPool2D(2)], [tg.AvgPool2D(2)], []][rng.integers(3)]
    layers += [[tg.Dropout(0.3, rng=seed)], [], []][rng.integers(3)] + [tg.Flatten()]
    width = tg.Network(layers)(x).shape[1]
    if rng.random() < 0.4:
        layers += [tg.Dense(width, 5, dtype=dtype, rng=seed), tg.ReLU()]
        width = 5
    out = tg.Network([*layers, tg.Dense(width, classes, dtype=dtype, rng=seed)])(x)
    labels = rng.integers(0, classes, len(x))
    if rng.random() < 0.5:
        return tg.cross_entropy(out, labels)
    return tg.mse(out, np.eye(classes, dtype=dtype)[labels])


def hold_classifiers(seeds):
    for seed in seeds:
        loss = random_classifier(seed)
        code = tg.to_numpy(loss)  # which compares its bits with the engine's
        assert code.compile()(**code.arguments)[0].tobytes() == loss.numpy().tobytes()


def test_random_classifiers_of_few_classes():
    hold_classifiers(range(30))


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(1, 6))
def test_more_random_classifiers(hundred):
    hold_classifiers(range(100 * hundred, 100 * hundred + 100))


@pytest.mark.parametrize("classes", [2, 3])
def test_images_that_become_rows_are_laid_out_as_in_the_engine(classes):
    """Products of matrices round by the layout, above all those with few columns."""
    network = tg.Network(
        [tg.Conv2D(1, 4, 3, rng=0), tg.MaxPool2D(2), tg.Flatten(), tg.Dense(36, classes, rng=1)]
    )
    x = np.random.default_rng(0).standard_normal((32, 8, 8, 1)).astype(np.float32)
    code = tg.to_numpy(tg.mse(network(x), np.zeros((32, classes), np.float32)), inputs={"x": x})
    assert "Flatten2 = np.asfortranarray(MaxPool2D1.reshape(32, 36))" in code.source
