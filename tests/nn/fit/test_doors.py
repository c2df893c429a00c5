"""What is refused at every door: masked arrays, and probabilities where a loss takes logits."""

import functools

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor

# Most trainings here are short.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUIET = {"verbose": False, "seed": 0}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 12)
IMAGES = RNG.standard_normal((2, 4, 4, 1)).astype(np.float32)


def masked(array):
    return np.ma.MaskedArray(array, mask=np.arange(array.size).reshape(array.shape) == 1)


def made(*last, outputs=3, loss=tg.cross_entropy):
    network = tg.Network([tg.Dense(4, outputs, rng=0), *last])
    network.use(loss)
    return network


# Masked arrays

LOST = "a masked array would lose its mask"
FLAT = (
    "Dense(4, 2)", "BatchNorm(4)", "BatchNorm(4).eval()", "LayerNorm(4)", "Flatten()", "Dropout(0.5)",
    "Dropout(0.5).eval()", "Dropout(0.0)", "Sigmoid()", "ReLU()", "LeakyReLU()", "ELU()", "SiLU()", "GELU()",
    "Softplus()", "Tanh()", "Softmax()", "LogSoftmax()", "Network([tg.ReLU()])",
)  # fmt: skip
SPATIAL = ("Conv2D(1, 2, 3)", "MaxPool2D()", "AvgPool2D()", "GlobalAvgPool2D()", "GlobalMaxPool2D()")


def test_every_layer_is_here():
    listed = {text.split("(")[0] for text in (*FLAT, *SPATIAL)} | {"Embedding"}
    assert listed == set(tg.nn.layers.__all__) | {"Network"}


@pytest.mark.parametrize("layer", [*FLAT, *SPATIAL])
def test_every_layer_refuses_a_masked_array(layer):
    x = masked(IMAGES if layer in SPATIAL else X)
    name = layer.split("(")[0]
    assert_refused(f"tg.{layer}(x)", TypeError, f"{name}: {LOST}", x=x)


@refused_calls(
    ("tg.Embedding(3, 2)(masked(Y))", TypeError, f"Embedding: {LOST}"),
    ("fit(masked(X), Y)", TypeError, f"fit, x: {LOST}"),
    ("fit(list(masked(X)), Y)", TypeError, f"fit, x: {LOST}"),
    ("fit(X, masked(Y))", TypeError, f"fit, y: {LOST}"),
    ("fit(X, Y, sample_weight=masked(np.ones(12)))", TypeError, f"fit, weights: {LOST}"),
    ("fit(X, Y, class_weight=masked(np.ones(3)))", TypeError, f"fit, class_weight: {LOST}"),
    ("fit(X, Y, validation=(masked(X), Y))", TypeError, f"fit, validation, x: {LOST}"),
    ("fit(X, Y, validation=(X, masked(Y)))", TypeError, f"fit, validation, y: {LOST}"),
    ("fit(X, Y, validation=(X, Y, masked(np.ones(12))))", TypeError, f"fit, validation, weights: {LOST}"),
    ("fit(X, Y, validation=[(masked(X), Y)])", TypeError, f"fit, validation, x: {LOST}"),
    ("fit([(X, Y), (masked(X), Y)])", TypeError, f"fit, batch 2 of epoch 1, x: {LOST}"),
    ("fit([(X, masked(Y))])", TypeError, f"fit, batch 1 of epoch 1, y: {LOST}"),
    (
        "fit(lambda rng: [(X, Y, masked(np.ones(12)))])",
        TypeError,
        f"fit, batch 1 of epoch 1, weights: {LOST}",
    ),
    ("fit(X, Y, augment=lambda x, rng: np.ma.MaskedArray(x, mask=x > 0))", TypeError, LOST),
    ("made().predict(masked(X))", TypeError, f"predict, x: {LOST}"),
    ("made().evaluate(masked(X), Y)", TypeError, f"evaluate, x: {LOST}"),
    ("made().evaluate(X, masked(Y))", TypeError, f"evaluate, y: {LOST}"),
    ("made().evaluate(X, Y, sample_weight=masked(np.ones(12)))", TypeError, f"evaluate, weights: {LOST}"),
    ("tg.minibatches(masked(X), Y, 2, RNG)", TypeError, f"minibatches, x: {LOST}"),
    ("tg.minibatches(X, masked(Y), 2, RNG)", TypeError, f"minibatches, y: {LOST}"),
    ("tg.mse(masked(X), X)", TypeError, f"mse: {LOST}"),
    ("tg.huber(X, masked(X))", TypeError, f"huber: {LOST}"),
    ("tg.mae(X, X, masked(np.ones(12)))", TypeError, f"mae: {LOST}"),
    ("tg.cross_entropy(X, masked(Y))", TypeError, f"cross_entropy: {LOST}"),
    ("tg.cross_entropy(masked(X), Y)", TypeError, f"cross_entropy: {LOST}"),
    ("tg.cross_entropy(X, Y, class_weights=masked(np.ones(4)))", TypeError, f"weights: {LOST}"),
    ("tg.binary_cross_entropy(X, masked(X > 0))", TypeError, f"binary_cross_entropy: {LOST}"),
    ("tg.binary_cross_entropy(X, X > 0, positive_weight=masked(np.ones(4)))", TypeError, f"weights: {LOST}"),
    ("tg.accuracy(masked(X), Y)", TypeError, f"metrics: {LOST}"),
    ("tg.accuracy(X, masked(Y))", TypeError, f"metrics: {LOST}"),
    ("tg.data.one_hot(masked(Y), 3)", TypeError, f"one_hot: {LOST}"),
    ("tg.data.Augment(flip=True)(masked(IMAGES), RNG)", TypeError, f"Augment: {LOST}"),
    ("tg.plot_confusion(masked(Y), Y)", TypeError, f"plot_confusion: {LOST}"),
    ("tg.plot_confusion(Y, masked(Y))", TypeError, f"plot_confusion: {LOST}"),
    ("tg.Tensor(list(masked(X)))", TypeError, f"Tensor: {LOST}"),
    ("setattr(made().parameters()[1], 'data', masked(np.ones(3, 'f')))", TypeError, f"assigning to .*{LOST}"),
    ("setattr(made().parameters()[1], 'grad', masked(np.ones(3, 'f')))", TypeError, f"grad of .*{LOST}"),
    ("made().load_state({**made().state(), 'Dense0.bias': masked(np.ones(3, 'f'))})", ValueError, LOST),
    ("classifier().fit(masked(X), Y)", TypeError, f"TensorgradClassifier, X: {LOST}"),
    ("classifier().fit(X, masked(Y))", TypeError, f"TensorgradClassifier, y: {LOST}"),
    (
        "classifier().fit(X, Y, masked(np.ones(12)))",
        TypeError,
        f"TensorgradClassifier, sample_weight: {LOST}",
    ),
    ("classifier().fit(X, Y, X_val=masked(X), y_val=Y)", TypeError, f"TensorgradClassifier, X: {LOST}"),
    ("classifier().fit(X, Y, X_val=X, y_val=masked(Y))", TypeError, f"TensorgradClassifier, y: {LOST}"),
    (
        "classifier().partial_fit(masked(X), Y, classes=range(3))",
        TypeError,
        f"TensorgradClassifier, X: {LOST}",
    ),
    ("classifier().fit(X, Y).predict(masked(X))", TypeError, f"TensorgradClassifier, X: {LOST}"),
    ("classifier().fit(X, Y).predict_proba(masked(X))", TypeError, f"TensorgradClassifier, X: {LOST}"),
    ("classifier().fit(X, Y).score(masked(X), Y)", TypeError, f"TensorgradClassifier, X: {LOST}"),
    ("regressor().fit(X, masked(X[:, 0]))", TypeError, f"TensorgradRegressor, y: {LOST}"),
    ("regressor().fit(X, masked(X))", TypeError, f"TensorgradRegressor, y: {LOST}"),
)
def test_every_door_refuses_a_masked_array(call, error, message):
    network = made()
    before = network.state()
    names = {
        "fit": lambda x, y=None, **o: network.fit(
            x, y, epochs=1, learning_rate=0.0, batch_size=6, **o, **QUIET
        ),
        "classifier": functools.partial(TensorgradClassifier, max_epochs=1),
        "regressor": functools.partial(TensorgradRegressor, max_epochs=1),
    }
    assert_refused(call, error, message, masked=masked, made=made, X=X, Y=Y, IMAGES=IMAGES, RNG=RNG, **names)
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, before[path])


# Probabilities in place of logits


class Own(tg.Layer):
    def forward(self, x):
        return tg.softmax(x)


class Apply(tg.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def written_out(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def nested(*layers):
    return tg.Network([tg.Network(list(layers))])


CE, BCE = tg.cross_entropy, tg.binary_cross_entropy
SMOOTHED = functools.partial(CE, label_smoothing=0.1)
BINARY = (X[:, :1] > 0).astype(np.float32)
ROWS = np.eye(3, dtype=np.float32)[Y]


@pytest.mark.parametrize(
    ("last", "loss", "target", "message"),
    [
        ([tg.Softmax()], CE, Y, "cross_entropy takes logits, and was given what softmax made.*layer Softmax"),
        ([tg.Softmax()], CE, ROWS, "cross_entropy takes logits"),
        ([tg.Sigmoid()], CE, Y, "cross_entropy takes logits, and was given what sigmoid made.*layer Sigmoid"),
        ([tg.Sigmoid()], BCE, ROWS, "binary_cross_entropy takes logits, and was given what sigmoid made"),
        ([tg.Softmax()], BCE, ROWS, "binary_cross_entropy takes logits, and was given what softmax made"),
        ([tg.Softmax()], SMOOTHED, Y, "cross_entropy takes logits"),
        ([tg.Softmax()], lambda p, t: CE(p, t) + 0.1, Y, "cross_entropy takes logits"),
        ([], lambda p, t: CE(tg.softmax(p), t), Y, "cross_entropy takes logits"),
        ([nested(tg.Tanh(), tg.Softmax())], CE, Y, "cross_entropy takes logits.*layer Softmax"),
        ([Own()], CE, Y, "cross_entropy takes logits.*layer Own"),
        ([tg.Softmax(), tg.Flatten()], CE, Y, "cross_entropy takes logits"),
        ([Apply(written_out)], CE, Y, "cross_entropy takes logits.*each row sums to 1"),
        ([Apply(written_out)], lambda p, t: CE(p, t), Y, "cross_entropy takes logits.*each row sums to 1"),
        ([Apply(tg.checkpoint(tg.softmax))], CE, Y, "cross_entropy takes logits"),
        ([Apply(lambda x: np.clip(tg.softmax(x), 1e-7, 1.0))], CE, Y, "what softmax made"),
        ([Apply(lambda x: np.clip(tg.sigmoid(x), 1e-7, 1.0))], BCE, ROWS, "what sigmoid made"),
        ([Apply(lambda x: 1.0 * tg.softmax(x))], CE, Y, "cross_entropy takes logits.*each row sums to 1"),
    ],
)
def test_probabilities_are_refused_where_the_loss_takes_logits(last, loss, target, message):
    network = made(*last, loss=loss)
    before = network.state()
    with pytest.raises(ValueError, match=message):
        network.fit(X, target, 2, 0.1, **QUIET)
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, before[path])
    assert network.history == {}


def test_probabilities_are_refused_before_anything_is_written(tmp_path):
    network = made(tg.Softmax())
    with pytest.raises(ValueError, match="fit: the loss cross_entropy takes logits"):
        network.fit(X, Y, 1, 0.1, checkpoint=tmp_path / "c.npz", **QUIET)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="evaluate: the loss cross_entropy takes logits"):
        network.evaluate(X, Y)
    assert network.predict(X).shape == (12, 3)


def test_one_output_with_a_sigmoid_is_refused_too():
    network = made(tg.Sigmoid(), outputs=1, loss=BCE)
    with pytest.raises(ValueError, match="binary_cross_entropy takes logits"):
        network.fit(X, BINARY, 1, 0.1, **QUIET)
    with pytest.raises(ValueError, match="cross_entropy takes logits"):
        TensorgradClassifier(made(tg.Sigmoid()), max_epochs=1).fit(X, Y)


@pytest.mark.parametrize(
    ("last", "loss", "target"),
    [
        ([], CE, Y), ([tg.LogSoftmax()], CE, Y), ([tg.Softmax()], tg.mse, ROWS),
        ([tg.Sigmoid()], tg.mse, ROWS), ([tg.Tanh()], CE, Y), ([tg.Softmax(), tg.Dense(3, 3, rng=1)], CE, Y),
        ([tg.Softmax()], lambda p, t: -(np.log(p) * t).sum(), ROWS), ([], BCE, ROWS),
        ([tg.Sigmoid()], lambda p, t: CE(p * 10.0, t), Y),
        ([Apply(lambda x: 0 * x + 1 / 3)], CE, Y),  # as weights and biases may begin
    ],
)  # fmt: skip
def test_what_is_right_is_trained(last, loss, target):
    network = made(*last, loss=loss)
    assert len(network.fit(X, target, 2, 0.01, **QUIET)["loss"]) == 2
