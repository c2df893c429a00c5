"""Labels, images and matrices in other forms: taken if they mean one thing alone, or told what to write."""

import numpy as np
import pytest
import scipy.sparse
from helpers import assert_refused, refused_calls

import tensorgrad as tg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 4)).astype(np.float32)
Y = np.arange(24) % 3
IMAGES = RNG.random((24, 8, 8, 1)).astype(np.float32)
QUIET = {"batch_size": 8, "seed": 0, "verbose": False}


def dense(outputs=3, loss="cross_entropy", inputs=4):
    network = tg.Network([tg.Dense(inputs, 6, rng=0), tg.Tanh(), tg.Dense(6, outputs, rng=1)])
    network.use(loss)
    return network


def images(channels=1):
    network = tg.Network([tg.Conv2D(channels, 2, 3, rng=0), tg.Flatten(), tg.Dense(72, 3, rng=1)])
    network.use("cross_entropy")
    return network


def trained(epochs=2, network=None, x=X, y=Y, **options):
    network = network or dense()
    network.fit(x, y, epochs, **QUIET | options)
    return network


def assert_same(one, other):
    for path, values in one.state().items():
        np.testing.assert_array_equal(values, other.state()[path], err_msg=path)


def fit(x=X, y=Y, network=None, **options):
    options = {"epochs": 1, "verbose": False} | options
    if "optimizer" not in options:
        options = {"learning_rate": 0.1} | options
    return (network or dense()).fit(x, y, **options)


# Labels in other forms


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.reshape(-1, 1),
        lambda y: y.astype(np.float32),
        lambda y: y.astype(float).reshape(-1, 1),
        lambda y: y.astype(np.uint8),
        lambda y: y.tolist(),
    ],
    ids=["column", "float32", "float64 column", "uint8", "list"],
)
def test_labels_may_be_a_column_or_whole_floats(form):
    expected = trained(learning_rate=0.1, validation=(X, Y))
    found = trained(learning_rate=0.1, y=form(Y), validation=(X, form(Y)))
    assert_same(found, expected)
    assert found.history["validation_accuracy"] == expected.history["validation_accuracy"]
    assert found.evaluate(X, form(Y), metrics=["accuracy"]) == expected.evaluate(X, Y, metrics=["accuracy"])
    batches = [(X[:12], form(Y[:12])), (X[12:], form(Y[12:]))]
    streamed, arrays = dense(), dense()
    streamed.fit(batches, epochs=2, learning_rate=0.1, verbose=False)
    arrays.fit([(X[:12], Y[:12]), (X[12:], Y[12:])], epochs=2, learning_rate=0.1, verbose=False)
    assert_same(streamed, arrays)


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y.reshape(-1, 1)], ids=["row", "column"])
def test_labels_of_two_classes_may_be_bool(form):
    two = Y > 0
    assert_same(
        trained(network=dense(2), y=form(two), learning_rate=0.1),
        trained(network=dense(2), y=two.astype(int), learning_rate=0.1),
    )


def test_labels_of_sequences_may_have_a_last_axis_of_one():
    x, y = RNG.integers(0, 5, (8, 7)), RNG.integers(0, 3, (8, 7))
    networks = [tg.Network([tg.Embedding(5, 3, rng=0)]) for _ in range(2)]
    for network, labels in zip(networks, (y, y[..., None].astype(float)), strict=True):
        network.use("cross_entropy")
        network.fit(x, labels, 2, 0.1, verbose=False)
    assert_same(*networks)


def broadcasting(p, y):
    return ((p - y) ** 2).mean()


def flat(p, y):
    return broadcasting(p[:, 0], y)


@refused_calls(
    ("fit(y=Y + 0.5)", ValueError, "expected labels, whole numbers, got 0.5 in row 0"),
    ("fit(y=Y + 1)", ValueError, r"got 3 in row 2; they count from 1, write y - 1"),
    ("fit(y=Y - 1)", ValueError, r"from 0 to 2, for 3 outputs, got -1 in row 0$"),
    ("fit(y=np.where(Y == 0, np.nan, Y))", ValueError, "fit, y: expected finite numbers, got nan in row 0"),
    ("fit(y=np.array(list('abc') * 8))", TypeError, r"<U1; number the classes, as np\.unique\(y, return_inv"),
    ("fit(y=list('abc') * 8)", TypeError, r"np\.unique\(y, return_inverse=True\)"),
    ("fit(y=np.eye(4)[Y])", ValueError, r"expected labels \(1,\) or probabilities \(1, 3\)"),
    # targets (N,) for an output (N, 1)
    ("fit(y=X[:, 0], network=dense(1, 'mse'))", ValueError, r"one shape.*write target\.reshape\(-1, 1\)"),
    ("fit(y=Y > 1, network=dense(1, 'binary_cross_entropy'))", ValueError, r"target\.reshape\(-1, 1\)"),
    ("fit(y=X[:, 0], network=dense(1, broadcasting))", ValueError, r"broadcasts.*write y\.reshape\(-1, 1\)"),
    ("fit(y=X[:, :1], network=dense(1, flat))", ValueError, r"broadcasts .* write y\.ravel\(\)"),
    ("dense(1, broadcasting).evaluate(X, X[:, 0])", ValueError, r"write y\.reshape\(-1, 1\)"),
    ("fit(network=dense(3, 'mse'))", ValueError, r"cross_entropy.*tg\.data\.one_hot\(labels, 3\)"),
    # the losses and the accuracy by themselves
    ("tg.mse(X[:, :1], X[:, 0])", ValueError, r"write target\.reshape\(-1, 1\)"),
    ("tg.mae(X[:, 0], X[:, :1])", ValueError, r"write target\.ravel\(\)"),
    ("tg.cross_entropy(X, Y.reshape(-1, 1))", ValueError, r"got targets \(24, 1\); write target\.ravel\(\)"),
    ("tg.cross_entropy(X, Y.astype(float))", TypeError, r"got float64; write target\.astype\(int\)"),
    ("tg.accuracy(X, Y.astype(float))", ValueError, r"write \.astype\(int\)"),
    ("tg.accuracy(X, Y.reshape(-1, 1))", ValueError, r"write \.ravel\(\)"),
    # images and other inputs
    ("fit(IMAGES.transpose(0, 3, 1, 2), network=images())", ValueError, r"write x\.transpose\(0, 2, 3, 1\)"),
    ("images(3).predict(np.zeros((2, 3, 8, 8)))", ValueError, r"x\.transpose\(0, 2, 3, 1\)"),
    ("images(3).summary((3, 8, 8))", ValueError, r"x\.transpose\(0, 2, 3, 1\)"),
    ("tg.conv2d(np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3)))", ValueError, r"x\.transpose\(0, 2, 3, 1\)"),
    ("images().predict(IMAGES[..., 0])", ValueError, r"write x\[\.\.\., np\.newaxis\] for images"),
    ("images().predict(IMAGES[0])", ValueError, r"write x\[np\.newaxis\] for a batch of one"),
    ("dense().predict(X[0])", ValueError, r"write x\[np\.newaxis\] for a batch of one"),
    ("dense(inputs=64).predict(IMAGES)", ValueError, r"write x\.reshape\(len\(x\), -1\), or put"),
    ("dense()(X.tolist())", TypeError, r"got a list; write np\.asarray\(x, 'float32'\)"),
    # sparse matrices
    ("fit(sparse(X))", TypeError, r"fit, x: .* dense array, got a csr_matrix; write \.toarray\(\)"),
    ("fit(validation=(sparse(X), Y))", TypeError, r"fit, validation, x: .*write \.toarray\(\)"),
    ("fit(y=sparse(np.eye(3)[Y]))", TypeError, r"fit, y: .*write \.toarray\(\)"),
    ("dense().predict(sparse(X))", TypeError, r"predict, x: .*write \.toarray\(\)"),
    ("dense().evaluate(sparse(X), Y)", TypeError, r"evaluate, x: .*write \.toarray\(\)"),
    ("dense()(sparse(X))", TypeError, r"got a csr_matrix; write \.toarray\(\)"),
    ("tg.Tensor(sparse(X))", TypeError, r"Tensor: .*write \.toarray\(\)"),
    ("tg.mse(sparse(X), sparse(X))", TypeError, r"mse: .*write \.toarray\(\)"),
    ("tg.huber(X, sparse(X))", TypeError, r"huber: .*write \.toarray\(\)"),
    ("tg.Tensor(X) @ sparse(X.T)", (TypeError, ValueError), r"matmul: .*\.toarray\(\)"),
)  # fmt: skip
def test_data_in_the_wrong_form_is_told_what_to_write(call, error, message):
    names = {
        "fit": fit,
        "dense": dense,
        "images": images,
        "broadcasting": broadcasting,
        "flat": flat,
        "X": X,
        "Y": Y,
    }
    assert_refused(call, error, message, **names, IMAGES=IMAGES, sparse=scipy.sparse.csr_matrix)


@pytest.mark.parametrize("loss", [
    broadcasting,
    lambda p, y: ((p - y) ** 2).sum(),
    lambda p, y: broadcasting(p, y) + 0.1,
    lambda p, y: broadcasting(p, y.reshape(-1, 1)),
    lambda p, y: broadcasting(p[:, 0], y.ravel()),
], ids=["mean", "sum", "more", "reshaped", "raveled"])  # fmt: skip
def test_a_loss_of_ones_own_that_goes_by_rows_is_not_taken_for_one_that_broadcasts(loss):
    fit(y=X[:, :1], network=dense(1, loss))


# A number that is not finite is found in its layer


class Root(tg.Layer):
    def forward(self, x):
        return np.sqrt(x)


class Block(tg.Layer):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * 1.0


def below_zero():
    layer = tg.Dense(3, 3, rng=0)
    layer.weights.data = -np.eye(3, dtype=np.float32)
    return layer


@pytest.mark.parametrize(("layers", "loss", "place"), [
    ([Root()], "mse", r"layer 1 of 2, Root\(\), given input of shape \(4, 3\): detect_nan: sqrt"),
    ([tg.Network([tg.Flatten(), Root()])], "mse", r"layer 1 of 2, Network.*layer 1 of 2, Root\(\)"),
    ([Block(Root())], "mse", r"layer 1 of 2, Block\(inner=Root\(\)\).*sqrt"),
    ([], lambda p, y: np.log(p).sum(), "in the loss, detect_nan: log"),
], ids=["layer", "network", "block", "loss"])  # fmt: skip
def test_a_nan_is_named_with_its_layer(layers, loss, place):
    network = tg.Network([below_zero(), *layers])
    network.use(loss)
    x = np.ones((4, 3), np.float32)
    with pytest.raises(FloatingPointError, match="fit: the loss became nan in epoch 1, batch 1.*" + place):
        network.fit(x, x, 1, 0.1, verbose=False)


def test_a_nan_of_the_backward_pass_is_named_with_its_layer():
    inner = tg.Dense(3, 3, rng=0, bias=False)
    inner.weights.data = np.zeros((3, 3), np.float32)
    network = tg.Network([inner, Block(Root())])
    network.use(lambda p, y: (p * 0.0).sum())
    with pytest.raises(
        FloatingPointError, match=r"of Dense0\.weights became nan.*in inner, Root\(\), detect"
    ):
        network.fit(np.ones((4, 3)), np.ones((4, 3)), 1, 0.1, verbose=False)
