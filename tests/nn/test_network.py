"""Network: training, prediction and evaluation against loops written out by hand."""

import copy
import gc
import io
import pickle
import re
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

SIZES = (3, 6, 2)


def regression(rows=22, dtype=np.float32, seed=10):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 3)).astype(dtype)
    return x, np.stack([x[:, 0] * x[:, 1], x[:, 2]], axis=1)


def classes(rows=23, seed=11):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    x = rng.standard_normal((rows, 3)) + labels[:, None]
    return x.astype(np.float32), np.eye(2)[labels]


def small(rng=0, dtype=np.float32, loss=tg.mse, init="notebook_dense"):
    """Dense 3-6-2 with a sigmoid after each, initialised as the notebook's."""
    rng = np.random.default_rng(rng)
    network = tg.Network()
    for inputs, outputs in pairwise(SIZES):
        network.add(tg.Dense(inputs, outputs, init=init, bias_init=init, dtype=dtype, rng=rng))
        network.add(tg.Sigmoid())
    network.use(loss)
    return network


def tiny_cnn(rng=0):
    rng = np.random.default_rng(rng)
    network = tg.Network([tg.Conv2D(1, 2, 3, rng=rng), tg.ReLU(), tg.MaxPool2D(2), tg.Flatten()])
    network.add(tg.Dense(8, 2, rng=rng))
    network.use(tg.mse)
    return network


def values(network):
    return [p.numpy() for p in network.parameters()]


def assert_same(arrays, others):
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)


def squared_error(prediction, target):
    return tg.mse(prediction, target, reduction="sum")


# Training


def test_fit_is_the_loop_written_by_hand_bit_for_bit():
    x, y = regression()
    network = small()
    history = network.fit(x, y, 3, 0.1, 5, seed=4, verbose=False)

    w1, b1, w2, b2 = parameters = [tg.Tensor(p, requires_grad=True) for p in values(small())]
    rng = np.random.default_rng(4)
    losses = []
    for _ in range(3):
        total = 0.0
        for x_batch, y_batch in tg.minibatches(x, y, 5, rng):
            loss = tg.mse(tg.sigmoid(tg.sigmoid(x_batch @ w1 + b1) @ w2 + b2), y_batch)
            loss.backward()
            for p in parameters:
                with tg.no_grad():
                    p -= 0.1 * p.grad
                p.zero_grad()
            total += loss.item() * len(x_batch)
        losses.append(total / len(x))
    assert_same(values(network), [p.data for p in parameters])
    assert history["loss"] == losses


def test_fit_with_every_option_is_the_loop_with_the_optimizer_bit_for_bit():
    x, y = regression()
    options = {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}
    fitted, looped = small(), small()
    fitted.fit(x, y, 2, 0.1, 8, seed=4, verbose=False, **options)
    optimizer = tg.MiniBatchSGD(looped.parameters(), 0.1, **options)
    rng = np.random.default_rng(4)
    for _ in range(2):
        for x_batch, y_batch in tg.minibatches(x, y, 8, rng):
            optimizer.zero_grad()
            tg.mse(looped(x_batch), y_batch).backward()
            optimizer.step()
    assert_same(values(fitted), values(looped))


def notebook_fit(x, y, layers, orders, learning_rate, batch_size):
    """The notebook's own arithmetic on layers [weights, bias].

    By its derivative 2 (y_hat - y) the loss is the *sum* of squares; a layer is updated on the way back, once
    its old weights have handed the error on.
    """
    for order in orders:
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            signals = [x[rows]]
            for weights, bias in layers:
                signals.append(1 / (1 + np.exp(-(np.dot(signals[-1], weights) + bias))))
            error = 2 * (signals[-1] - y[rows])
            for layer, given, out in zip(layers[::-1], signals[-2::-1], signals[:0:-1], strict=True):
                error = error * out * (1 - out)
                weights_error = np.dot(given.T, error)
                bias_error = np.sum(error, axis=0, keepdims=True)
                error = np.dot(error, layer[0].T)
                layer[0] = layer[0] - learning_rate * weights_error
                layer[1] = layer[1] - learning_rate * bias_error
    return layers


@pytest.mark.parametrize("epochs", [1, 25])
def test_fit_on_the_sum_of_squares_gives_the_notebooks_numbers(epochs):
    x, y = regression(rows=70, dtype=np.float64)
    network = small(dtype=np.float64, loss=squared_error)
    w1, b1, w2, b2 = values(network)
    rng = np.random.default_rng(4)
    orders = [rng.permutation(70) for _ in range(epochs)]
    (v1, c1), (v2, c2) = notebook_fit(x, y, [[w1, b1[None]], [w2, b2[None]]], orders, 0.05, 32)
    network.fit(x, y, epochs, 0.05, 32, seed=4, verbose=False)
    for found, expected in zip(values(network), (v1, c1[0], v2, c2[0]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert abs(values(network)[0] - w1).max() > 1e-3


def test_the_notebooks_rate_is_batch_times_outputs_times_that_of_the_mean():
    x, y = regression(rows=40, dtype=np.float64)
    by_sum, by_mean = small(dtype=np.float64, loss=squared_error), small(dtype=np.float64)
    by_sum.fit(x, y, 3, 0.01, 8, seed=1, verbose=False)
    by_mean.fit(x, y, 3, 0.01 * 8 * 2, 8, seed=1, verbose=False)
    for a, b in zip(values(by_sum), values(by_mean), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_convolutional_network_learns_to_tell_bars():
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((60, 6, 6, 1)).astype(np.float32)
    labels = np.arange(60) % 2
    x[labels == 0, rng.integers(0, 6), :, 0] += 1
    x[labels == 1, :, rng.integers(0, 6), 0] += 1
    network = tiny_cnn()
    before = values(network)
    network.fit(x, np.eye(2)[labels], 15, 0.1, 10, momentum=0.9, seed=0, verbose=False)
    assert network.evaluate(x, np.eye(2)[labels])["accuracy"] == 1
    for p, old in zip(network.parameters(), before, strict=True):
        assert (p.data != old).any(), f"{p.name} was never trained"


def test_seeds_fix_weights_and_order():
    x, y = regression()

    def trained(weights, order):
        network = small(rng=weights)
        history = network.fit(x, y, 2, 0.3, 4, seed=order, verbose=False)
        return [*values(network), history["loss"]]

    assert_same(trained(1, 2), trained(1, 2))
    assert_same(trained(1, 2), trained(1, np.random.default_rng(2)))
    for other in (trained(1, 3), trained(2, 2), trained(1, None)):
        assert (other[0] != trained(1, 2)[0]).all()


def test_the_last_short_batch_is_trained_on_and_weighted_by_its_rows():
    sizes, losses = [], []

    def recording(prediction, target):
        loss = tg.mse(prediction, target)
        sizes.append(len(target))
        losses.append(loss.item())
        return loss

    x, y = regression(rows=11)
    network = small(loss=recording)
    history = network.fit(x, y, 1, 0.1, 4, seed=0, verbose=False)
    assert sizes[-3:] == [4, 4, 3]
    assert history["loss"] == [pytest.approx(np.average(losses[-3:], weights=[4, 4, 3]))]


@pytest.mark.parametrize("batch_size", [22, 1000])
def test_a_batch_may_hold_everything(batch_size):
    x, y = regression(rows=22)
    network = small()
    history = network.fit(x, y, 1, 0.1, batch_size, seed=0, verbose=False)
    assert history["loss"] == [pytest.approx(tg.mse(small()(x), y).item())]


def test_history_has_an_entry_an_epoch_and_starts_afresh_with_each_fit():
    x, y = classes()
    held_x, held_y = classes(9, seed=12)
    network = small()
    history = network.fit(x, y, 3, 0.1, 8, validation=(held_x, held_y), seed=0, verbose=False)
    assert history is network.history
    assert {key: len(entries) for key, entries in history.items()} == dict.fromkeys(
        ("loss", "accuracy", "seconds", "validation_loss", "validation_accuracy"), 3
    )
    assert all(seconds > 0 for seconds in history["seconds"])
    last = network.evaluate(held_x, held_y)
    assert history["validation_loss"][-1] == last["loss"]
    assert history["validation_accuracy"][-1] == last["accuracy"]
    assert set(network.fit(x, y, 1, 0.1, seed=0, verbose=False)) == {"loss", "seconds"}


def test_validation_leaves_the_training_as_it_is():
    x, y = classes()
    with_it, without = small(), small()
    with_it.fit(x, y, 2, 0.1, 8, validation=classes(9, seed=12), seed=0, verbose=False)
    without.fit(x, y, 2, 0.1, 8, seed=0, verbose=False)
    assert_same(values(with_it), values(without))


def test_data_is_cast_to_the_networks_dtype_and_left_alone():
    x, y = regression(dtype=np.float64)
    kept = x.copy()
    from_double, from_single = small(), small()
    from_double.fit(x, y, 2, 0.1, 8, seed=0, verbose=False)
    from_single.fit(x.astype(np.float32), y.astype(np.float32), 2, 0.1, 8, seed=0, verbose=False)
    assert_same(values(from_double), values(from_single))
    assert {p.dtype for p in from_double.parameters()} == {np.dtype("float32")}
    assert from_double.predict(x).dtype == np.float32
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("kind", [int, np.uint8, bool, list])
def test_integers_booleans_and_lists_are_data_too(kind):
    x, y = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), np.array([[1, 0], [0, 1], [1, 0]])
    given = (x.tolist(), y.tolist()) if kind is list else (x.astype(kind), y.astype(kind))
    network, expected = small(), small()
    network.fit(*given, 2, 0.1, 2, seed=0, verbose=False)
    expected.fit(x.astype(np.float32), y.astype(np.float32), 2, 0.1, 2, seed=0, verbose=False)
    assert_same(values(network), values(expected))


# Prediction, evaluation, summary


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_predict_in_batches_is_predict_at_once_is_forward(batch_size):
    x, _ = classes()
    network = small()
    predicted = network.predict(x, batch_size=batch_size)
    assert type(predicted) is np.ndarray
    assert predicted.flags.writeable
    np.testing.assert_allclose(predicted, network(x).data, rtol=1e-6)
    assert all(p.grad is None for p in network.parameters())


def test_predict_never_sees_more_than_a_batch():
    seen = []

    class Spy(tg.Layer):
        def forward(self, x):
            seen.append(len(x))
            return tg.Tensor(x)

    tg.Network([Spy()]).predict(np.ones((10, 2)), batch_size=4)
    assert seen == [4, 4, 2]


def test_evaluate_gives_loss_and_accuracy():
    x, y = classes()
    network = small()
    predicted = np.asarray(network.predict(x), dtype=float)
    measured = network.evaluate(x, y, batch_size=4)
    assert measured["loss"] == pytest.approx(((predicted - y) ** 2).mean(), rel=1e-6)
    assert measured["accuracy"] == pytest.approx(np.mean(predicted.argmax(1) == y.argmax(1)))
    assert 0 < measured["accuracy"] < 1


@pytest.mark.parametrize(
    "y", [np.full((4, 2), 0.5), np.ones((4, 2)), np.zeros((4, 2)), 2 * np.eye(2)[[0, 1, 1, 0]]]
)
def test_targets_that_are_not_one_hot_have_no_accuracy(y):
    assert set(small().evaluate(np.ones((4, 3)), y)) == {"loss"}


def test_summary_counts_what_is_there():
    *lines, last = tiny_cnn().summary((6, 6, 1)).splitlines()
    assert [
        line.split()[:-2] for line in lines[1:]
    ] == [  # kept memory is held against measurements elsewhere
        ["0", "Conv2D(1,", "2,", "3x3)", "(N,", "4,", "4,", "2)", "20", "288"],
        ["1", "ReLU()", "(N,", "4,", "4,", "2)", "0", "0"],
        ["2", "MaxPool2D(2)", "(N,", "2,", "2,", "2)", "0", "0"],
        ["3", "Flatten()", "(N,", "8)", "0", "0"],
        ["4", "Dense(8,", "2)", "(N,", "2)", "18", "16"],
        ["total", "38", "304"],
    ]
    assert len({len(line) for line in lines}) == 1
    assert last.startswith("a step on 32 rows: ")


# Copies


@pytest.mark.parametrize("loss", [tg.mse, squared_error], ids=["an op", "a function"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"]
)
def test_a_copy_trains_identically_and_alone(copied, loss):
    x = np.random.default_rng(0).standard_normal((20, 6, 6, 1))
    y = np.eye(2)[np.arange(20) % 2]
    network = tiny_cnn()
    network.use(loss)
    network.fit(x, y, 1, 0.01, 8, seed=1, verbose=False)
    before = values(network)
    twin = copied(network)
    assert list(twin.named_parameters()) == list(network.named_parameters())
    assert twin.history == network.history
    twin.fit(x, y, 2, 0.01, 8, momentum=0.9, seed=2, verbose=False)
    assert_same(values(network), before)
    network.fit(x, y, 2, 0.01, 8, momentum=0.9, seed=2, verbose=False)
    assert_same(values(network), values(twin))
    assert (values(twin)[0] != before[0]).any()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"]
)
def test_a_copy_shares_what_the_original_shares(copied):
    shared = tg.Dense(3, 3, rng=0)
    twin = copied(tg.Network([shared, tg.Tanh(), shared]))
    assert twin.layers[0] is twin.layers[2]
    assert len(twin.parameters()) == 2
    assert twin.layers[0] is not shared


# Refusals: all before any training


X, Y = regression()
X_NAN, Y_NAN, X_INF, Y_INF = X.copy(), Y.copy(), X.copy(), Y.copy()
X_NAN[7, 1] = Y_NAN[8, 0] = np.nan
X_INF[5, 0] = Y_INF[6, 1] = -np.inf


@refused_calls(
    ("fit(x=X_NAN)", ValueError, "x.*finite.*nan.*row 7"),
    ("fit(y=Y_NAN)", ValueError, "y.*finite.*nan.*row 8"),
    ("fit(x=X_INF)", ValueError, "x.*finite.*-inf.*row 5"),
    ("fit(y=Y_INF)", ValueError, "y.*finite.*-inf.*row 6"),
    ("fit(x=X[:0], y=Y[:0])", ValueError, r"x.*at least one row.*\(0, 3\)"),
    ("fit(x=1.0)", ValueError, r"x.*at least one row.*\(\)"),
    ("fit(y=Y[:-1])", ValueError, "21.*22"),
    ("fit(x=[[1.0, 2.0, 3.0], [4.0]])", ValueError, "fit, x.*inhomogeneous"),
    ("fit(x=X.astype(object))", TypeError, "x.*real numbers.*object"),
    ("fit(y=Y.astype(complex))", TypeError, "y.*real numbers.*complex"),
    ("fit(x=np.full((22, 3), 'a'))", TypeError, "x.*real numbers.*<U1"),
    ("fit(x=None)", TypeError, "x.*real numbers"),
    ("fit(x=X[:, :2])", ValueError, r"layer 0 of 4.*Dense\(3, 6\).*\(1, 2\).*\(N, 3\)"),
    ("fit(y=Y[:, 0])", ValueError, r"mse.*\(1, 2\).*\(1,\)"),
    ("fit(y=Y[:, :1])", ValueError, r"mse.*\(1, 2\).*\(1, 1\)"),
    ("fit(epochs=0)", ValueError, "epochs.*positive integer.*0"),
    ("fit(epochs=-1)", ValueError, "epochs.*-1"),
    ("fit(epochs=True)", ValueError, "epochs.*True"),
    ("fit(epochs=1.5)", ValueError, r"epochs.*1\.5"),
    ("fit(batch_size=0)", ValueError, "batch_size.*0"),
    ("fit(batch_size=True)", ValueError, "batch_size.*True"),
    ("fit(batch_size=2.0)", ValueError, r"batch_size.*2\.0"),
    ("fit(learning_rate=-1.0)", ValueError, r"learning_rate.*-1\.0"),
    ("fit(learning_rate=np.nan)", ValueError, "learning_rate.*nan"),
    ("fit(momentum=1.5)", ValueError, r"momentum.*1\.5"),
    ("fit(weight_decay=-0.1)", ValueError, r"weight_decay.*-0\.1"),
    ("fit(nesterov=True)", ValueError, "nesterov"),
    ("fit(validation=(X[:, :2], Y))", ValueError, r"validation.*layer 0.*\(1, 2\).*\(N, 3\)"),
    ("fit(validation=(X, Y[:, 0]))", ValueError, r"validation.*\(1,\)"),
    ("fit(validation=(X, Y_NAN))", ValueError, "validation.*y.*nan.*row 8"),
    ("fit(validation=(X, Y[1:]))", ValueError, "validation.*21.*22"),
    ("fit(validation=X)", TypeError, r"validation.*\(x, y\)"),
)
def test_fit_refuses_before_any_training(call, error, message):
    network = small()
    before = values(network)

    def fit(**arguments):
        network.fit(**{"x": X, "y": Y, "epochs": 1, "learning_rate": 0.1, "verbose": False, **arguments})

    assert_refused(call, error, message, fit=fit, **globals())
    assert_same(values(network), before)


def test_a_refused_fit_leaves_the_history_of_the_last():
    network = small()
    network.fit(X, Y, 2, 0.1, verbose=False)
    kept = {key: list(entries) for key, entries in network.history.items()}
    for refused in ({"batch_size": 0}, {"epochs": 0}, {"learning_rate": -1.0}):
        with pytest.raises(ValueError, match=next(iter(refused))):
            network.fit(**{"x": X, "y": Y, "epochs": 1, "learning_rate": 0.1, "verbose": False, **refused})
        assert network.history == kept


def test_a_misfit_deep_inside_is_reported_with_its_place_and_both_shapes():
    network = tg.Network([tg.Dense(3, 8), tg.ReLU(), tg.Dense(7, 2)])
    network.use(tg.mse)
    before = values(network)
    with pytest.raises(ValueError, match=r"layer 2 of 3, Dense\(7, 2\).*\(1, 8\).*\(N, 7\)"):
        network.fit(X, Y, 1, 0.1)
    with pytest.raises(ValueError, match=r"layer 2 of 3, Dense\(7, 2\).*\(32, 8\).*\(N, 7\)"):
        network.summary((3,))
    assert_same(values(network), before)


def test_images_too_small_for_a_window_are_reported_with_the_layers_place():
    network = tg.Network([tg.MaxPool2D(2), tg.Conv2D(1, 2, 3)])
    network.use(tg.mse)
    with pytest.raises(ValueError, match=r"layer 1 of 2, Conv2D\(1, 2, 3x3\).*\(1, 2, 2, 1\).*conv2d"):
        network.fit(np.ones((5, 4, 4, 1)), np.ones((5, 2)), 1, 0.1)


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_no_loss_is_said_so(verb):
    network = tg.Network([tg.Dense(3, 2)])
    arguments = (X, Y, 1, 0.1) if verb == "fit" else (X, Y)
    with pytest.raises(ValueError, match=r"no loss is set; call use"):
        getattr(network, verb)(*arguments)


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict", "summary"])
def test_no_layers_is_said_so(verb):
    network = tg.Network()
    network.use(tg.mse)
    arguments = {"fit": (X, Y, 1, 0.1), "evaluate": (X, Y), "predict": (X,), "summary": ((3,),)}[verb]
    with pytest.raises(ValueError, match=r"no layers"):
        getattr(network, verb)(*arguments)


def test_mixed_dtypes_are_refused_with_both():
    network = tg.Network([tg.Dense(3, 4), tg.Dense(4, 2, dtype="float64")])
    network.use(tg.mse)
    with pytest.raises(TypeError, match=r"one dtype, got float32, float64"):
        network.fit(X, Y, 1, 0.1)
    with pytest.raises(TypeError, match=r"one dtype, got float32, float64"):
        network.predict(X)


@pytest.mark.parametrize("thing", [tg.Dense, tg.relu, 5, None], ids=["class", "op", "number", "None"])
def test_only_layers_can_be_added(thing):
    network = tg.Network([tg.Flatten()])
    with pytest.raises(TypeError, match=r"expected a Layer"):
        network.add(thing)
    assert len(network.layers) == 1


@pytest.mark.parametrize("loss", [lambda p, t: p - t, lambda p, t: 1.0], ids=["not a scalar", "not a Tensor"])
def test_a_loss_that_gives_no_scalar_tensor_is_refused(loss):
    network = small(loss=loss)
    with pytest.raises(ValueError, match=r"scalar Tensor"):
        network.fit(X, Y, 1, 0.1)


@pytest.mark.parametrize("batch_size", [0, -3, True, 2.0])
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_batch_sizes_must_be_positive_integers(verb, batch_size):
    arguments = (X,) if verb == "predict" else (X, Y)
    with pytest.raises(ValueError, match=r"batch_size.*positive integer"):
        getattr(small(), verb)(*arguments, batch_size=batch_size)


# What goes wrong on the way


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_parameters_from_before_the_batch(bad):
    calls, seen = [], []
    network = small()

    def failing(prediction, target):
        calls.append(1)
        if prediction.requires_grad:
            seen.append(values(network))
        return tg.mse(prediction, target) * (bad if len(seen) == 8 else 1.0)

    network.use(failing)
    with pytest.raises(FloatingPointError, match=rf"loss became {bad} in epoch 2"):
        network.fit(X, Y, 3, 0.1, 4, seed=0, verbose=False)
    assert len(seen) == 9  # and once more, to find the op that began it
    assert_same(values(network), seen[-1])
    assert_same(seen[-1], seen[-2])
    assert (seen[-1][0] != seen[-3][0]).any()
    assert len(network.history["loss"]) == 1


def test_divergence_ends_in_a_floating_point_error_alone():
    network = tg.Network([tg.Dense(3, 2, rng=0)])
    network.use(tg.mse)
    with pytest.raises(
        FloatingPointError, match=r"smaller learning rate"
    ):  # and no RuntimeWarning, an error here
        network.fit(X, Y, 100, 1e6, 4, seed=0, verbose=False)
    assert all(np.isfinite(p).all() for p in values(network))


def test_a_last_step_to_infinity_is_not_passed_over_in_silence():
    network = tg.Network([tg.Dense(3, 2, rng=0)])
    network.use(tg.mse)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        network.fit(X, Y, 1, 1e39, batch_size=len(X), verbose=False)  # one step; 1e39 is beyond float32


def test_ctrl_c_leaves_the_history_of_the_finished_epochs():
    steps = []

    def interrupting(prediction, target):
        steps.append(prediction.requires_grad)
        if sum(steps) == 2 * 6 + 3:
            raise KeyboardInterrupt
        return tg.mse(prediction, target)

    network = small(loss=interrupting)
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, 5, 0.1, 4, validation=(X, Y), seed=0, verbose=False)
    assert {key: len(entries) for key, entries in network.history.items()} == {
        "loss": 2, "seconds": 2, "validation_loss": 2,
    }  # fmt: skip


def test_memory_does_not_grow_over_thousands_of_steps():
    x, y = regression(rows=400)
    network = small()
    gc.collect()
    gc.disable()  # so that a reference cycle would show
    try:
        in_use = []
        for _ in range(5):
            network.fit(x, y, 6, 0.01, 2, momentum=0.9, seed=0, verbose=False)
            in_use.append(sys.getallocatedblocks())
    finally:
        gc.enable()
    # The first steps fill Python's caches. A node kept at each of the last 1200 would be thousands of blocks.
    assert in_use[4] - in_use[3] < 600


# What is shown


def test_a_line_an_epoch_is_printed(capsys):
    x, y = classes()
    network = small()
    history = network.fit(x, y, 2, 0.1, 8, validation=(x, y), seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for i, line in enumerate(lines):
        shown = re.fullmatch(
            rf"epoch {i + 1}/2  loss ([\d.]+)  accuracy ([\d.]+)  validation loss ([\d.]+)  "
            r"validation accuracy ([\d.]+)  [\d.]+ s, \d+ rows/s",
            line,
        )
        expected = [history[key][i] for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")]
        assert shown, line
        assert [float(figure) for figure in shown.groups()] == pytest.approx(expected, abs=5e-5)


def test_nothing_is_printed_unless_verbose(capfd):
    small().fit(*classes(), 2, 0.1, 8, seed=0, verbose=False)
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def slow_mse(prediction, target):
    time.sleep(0.03)
    return tg.mse(prediction, target)


def test_a_terminal_shows_a_bar_with_loss_and_speed(monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="tqdm, which draws the bar, is not installed")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    small(loss=slow_mse).fit(*classes(), 2, 0.1, 2, seed=0)
    shown = terminal.getvalue()
    assert re.search(r"epoch 1/2: +\d+%.*/12 .*(step/s|s/step).*loss 0\.\d+", shown), shown
    assert "epoch 2/2" in shown
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_elsewhere_there_is_no_bar(capsys):
    small(loss=slow_mse).fit(*classes(), 1, 0.1, 2, seed=0)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("epoch 1/1")


def test_without_tqdm_training_is_the_same_and_a_line_an_epoch_remains(monkeypatch, capsys):
    with_it, without = small(), small()
    with_it.fit(*classes(), 2, 0.1, 8, seed=0)
    lines = len(capsys.readouterr().out.splitlines())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    without.fit(*classes(), 2, 0.1, 8, seed=0)
    assert_same(values(with_it), values(without))
    assert len(capsys.readouterr().out.splitlines()) == lines == 2
    assert terminal.getvalue() == ""


def test_a_summed_loss_is_reported_per_example_whatever_the_batch():
    rng = np.random.default_rng(0)
    x, y = rng.random((90, 3)).astype("f4"), rng.random((90, 2)).astype("f4")
    network = tg.Network([tg.Dense(3, 2, rng=0)])
    network.use(lambda prediction, target: tg.mse(prediction, target, reduction="sum"))
    history = network.fit(x, y, 1, 0.01, 30, validation=(x, y), seed=0, verbose=False)
    assert network.evaluate(x, y)["loss"] == history["validation_loss"][-1]
    by_hand = ((np.asarray(network.predict(x), float) - y) ** 2).sum() / 90
    for batch_size in (1, 7, 30, 90):
        assert network.evaluate(x, y, batch_size)["loss"] == pytest.approx(by_hand, rel=1e-5)


def test_a_loss_must_be_a_function():
    with pytest.raises(TypeError, match=r"Network.use: expected a function .*, got 3"):
        tg.Network().use(3)


def test_every_layer_is_named_though_others_were_taken_away():
    """What is gone leaves its identity to what comes."""
    network = tg.Network([])
    for _ in range(300):
        network.add(tg.Dense(2, 1, rng=0))
        assert [p.name for p in network.parameters()] == ["Dense0.weights", "Dense0.bias"]
        network.layers.pop()


@pytest.mark.parametrize("stranger", ["x", np.tanh, tg.ReLU], ids=str)
def test_what_is_no_layer_among_the_layers_is_named(stranger):
    network = tg.Network([tg.Dense(2, 1, rng=0)])
    network.layers.append(stranger)
    for call in (lambda: network.predict(np.ones((3, 2))), lambda: network.summary((2,)), network.parameters):
        with pytest.raises(TypeError, match=r"Network: expected layers\[1\] to be a Layer, got"):
            call()
