"""Network.fit for real use: optimizers, schedules, data, weights, modes, faults and interruptions."""

import functools
import gc
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

QUIET = {"verbose": False, "seed": 0}


def blobs(rows=40, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    x = rng.standard_normal((rows, 4)) + 2 * np.eye(4)[labels]
    return x.astype(np.float32), labels


def classifier(rng=0, classes=3, loss=tg.cross_entropy, **options):
    rng = np.random.default_rng(rng)
    network = tg.Network([tg.Dense(4, 8, rng=rng), tg.Tanh(), tg.Dense(8, classes, rng=rng)])
    network.use(loss, **options)
    return network


def assert_same(a, b):
    a, b = a.state(), b.state()
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def assert_close(a, b, rtol=1e-5):
    for path, values in a.state().items():
        np.testing.assert_allclose(values, b.state()[path], rtol=rtol, atol=1e-6, err_msg=path)


X, Y = blobs()


# Optimizers and schedules


def test_an_optimizer_or_a_function_that_makes_it_is_the_loop_by_hand():
    given, made, by_hand = classifier(), classifier(), classifier()
    given.fit(X, Y, 3, optimizer=tg.Adam(given.parameters(), 0.02), batch_size=16, **QUIET)
    made.fit(X, Y, 3, optimizer=lambda p: tg.Adam(p, 0.02), batch_size=16, **QUIET)
    optimizer, rng = tg.Adam(by_hand.parameters(), 0.02), np.random.default_rng(0)
    for _ in range(3):
        for x, y in tg.minibatches(X, Y, 16, rng):
            optimizer.zero_grad()
            tg.cross_entropy(by_hand(x), y).backward()
            optimizer.step()
    assert_same(given, by_hand)
    assert_same(made, by_hand)


def test_an_optimizer_goes_on_from_fit_to_fit():
    once, twice = classifier(), classifier()
    rng = np.random.default_rng(0)
    once.fit(
        X, Y, 4, optimizer=tg.Adam(once.parameters(), 0.02), seed=np.random.default_rng(0), verbose=False
    )
    optimizer = tg.Adam(twice.parameters(), 0.02)
    for _ in range(2):
        twice.fit(X, Y, 2, optimizer=optimizer, seed=rng, verbose=False)
    assert_same(once, twice)


def test_gradients_are_clipped_by_the_optimizer():
    network = classifier()
    before = network.state()
    network.fit(X, Y, 1, optimizer=lambda p: tg.MiniBatchSGD(p, 1.0, clip_norm=1e-3), batch_size=40, **QUIET)
    moved = np.sqrt(sum(((network.state()[path] - before[path]) ** 2).sum() for path in before))
    assert moved == pytest.approx(1e-3, rel=1e-3)


def rates(every, schedule, epochs=3):
    class Watch(tg.Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, training):
            self.seen.append(training.optimizer.learning_rate)

    watch, network = Watch(), classifier()
    history = network.fit(
        X, Y, epochs, 0.1, 20, schedule=schedule, schedule_every=every, callbacks=[watch], **QUIET
    )
    return watch.seen, history["learning_rate"]


def test_schedules_step_by_epoch_or_by_batch():
    halving = lambda optimizer: tg.ExponentialDecay(optimizer, 0.5)
    seen, reported = rates("epoch", halving)
    assert seen == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert reported == [0.1, 0.05, 0.025]
    seen, reported = rates("batch", halving)
    assert seen == pytest.approx([0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625])
    assert reported == pytest.approx([0.025, 0.00625, 0.0015625])


@pytest.mark.parametrize(("monitor", "lowered"), [(None, False), ("seconds", True)])
def test_a_plateau_is_watched_for(monitor, lowered):
    """The loss falls in every epoch; a figure that must fall by a million never does."""
    network = classifier()
    threshold = 1e-4 if monitor is None else 1e6
    history = network.fit(
        X, Y, 4, 0.05, validation=(X, Y), schedule_monitor=monitor,
        schedule=lambda o: tg.ReduceOnPlateau(o, patience=0, threshold=threshold, relative=False), **QUIET,
    )  # fmt: skip
    assert (history["learning_rate"][-1] < 0.05) == lowered


@refused_calls(
    ("fit()", ValueError, "expected a learning_rate or an optimizer"),
    ("fit(optimizer=lambda p: tg.Adam(p), learning_rate=0.1)", ValueError, "learning_rate.*in the optimizer"),
    ("fit(optimizer=lambda p: tg.Adam(p), momentum=0.9)", ValueError, "momentum.*in the optimizer"),
    ("fit(optimizer=lambda p: p)", TypeError, "to give an Optimizer"),
    ("fit(optimizer=tg.Adam([tg.Parameter([1.0])]))", ValueError, "parameters of something else"),
    ("fit(learning_rate=0.1, schedule=lambda o: 3)", TypeError, "to give a Schedule, got 3"),
    (
        "fit(learning_rate=0.1, schedule=tg.StepDecay(tg.Adam([tg.Parameter([1.0])]), 3))",
        ValueError,
        "another optimizer",
    ),
    ("fit(learning_rate=0.1, schedule_every='step')", ValueError, "epoch or batch, got 'step'"),
    (
        "fit(learning_rate=0.1, schedule=tg.ReduceOnPlateau, schedule_every='batch')",
        ValueError,
        "ReduceOnPlateau watches a figure of an epoch",
    ),
    ("fit(learning_rate=0.1, callbacks=[print])", TypeError, "expected callbacks to be Callbacks"),
)
def test_what_does_not_go_together_is_refused(call, error, message):
    network = classifier()
    assert_refused(call, error, message, fit=functools.partial(network.fit, X, Y, **QUIET))
    assert_same(network, classifier())


# Targets


def test_labels_and_one_hot_targets_train_alike():
    by_label, by_row = classifier(), classifier()
    for kind in (np.int64, np.int32, np.uint8):
        history = by_label.fit(X, Y.astype(kind), 2, 0.1, validation=(X, Y.astype(kind)), **QUIET)
    for _ in range(3):
        other = by_row.fit(X, np.eye(3)[Y], 2, 0.1, validation=(X, np.eye(3)[Y]), **QUIET)
    assert_close(by_label, by_row)
    assert history["validation_accuracy"] == other["validation_accuracy"]
    assert history["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)


def test_labels_reach_the_loss_as_they_are():
    seen = set()

    def spying(prediction, target):
        seen.add(target.dtype)
        return tg.cross_entropy(prediction, target)

    classifier(loss=spying).fit(X, Y.astype(np.uint8), 1, 0.1, **QUIET)
    assert seen == {np.dtype(np.uint8)}


def test_an_embedding_is_given_integers():
    words = np.random.default_rng(0).integers(0, 7, (30, 5))
    network = tg.Network([tg.Embedding(7, 4, rng=0), tg.Flatten(), tg.Dense(20, 2, rng=0)])
    network.use(tg.cross_entropy)
    history = network.fit(words, words[:, 0] % 2, 60, 0.5, **QUIET)
    assert history["loss"][-1] < 0.1 < history["loss"][0]
    assert network.predict(words).shape == (30, 2)


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("loss", [tg.cross_entropy, functools.partial(tg.cross_entropy, label_smoothing=0.1)])
def test_a_label_outside_the_classes_is_refused_with_its_row(label, loss):
    network, wrong = classifier(loss=loss), Y.copy()
    wrong[17] = label
    with pytest.raises(ValueError, match=rf"fit, y: expected labels from 0 to 2.*got {label} in row 17"):
        network.fit(X, wrong, 1, 0.1, **QUIET)
    with pytest.raises(ValueError, match=rf"fit, validation, y: .*got {label} in row 17"):
        network.fit(X, Y, 1, 0.1, validation=(X, wrong), **QUIET)
    assert_same(network, classifier())


def test_images_of_another_size_are_refused():
    network = tg.convolutional_network((8, 8, 1), 3, rng=0)
    network.use(tg.mse)
    before = network.state()
    with pytest.raises(ValueError, match=r"fit: layer 5 of 11, Dense\(128, 128\).*\(N, 128\)"):
        network.fit(np.ones((4, 12, 12, 1)), np.eye(3)[[0, 1, 2, 0]], 1, 0.1, **QUIET)
    with pytest.raises(ValueError, match="fit, validation: layer 5"):
        network.fit(
            np.ones((4, 8, 8, 1)), np.eye(3)[[0, 1, 2, 0]], 1, 0.1,
            validation=(np.ones((2, 12, 12, 1)), np.eye(3)[[0, 1]]), **QUIET,
        )  # fmt: skip
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, before[path])


# Losses per example


def summed(prediction, target, **options):
    return tg.mse(prediction, target, reduction="sum", **options)


def penalized(prediction, target):
    return summed(prediction, target) + 1.0


@pytest.mark.parametrize("batch_size", [1, 7, 40])
@pytest.mark.parametrize("loss", [tg.mse, summed, functools.partial(tg.mse, reduction="sum")])
def test_losses_are_reported_per_example_whatever_the_batch(loss, batch_size):
    target = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    network = classifier(loss=loss)
    squares = (network.predict(X).astype(float) - target) ** 2
    expected = squares.mean() if loss is tg.mse else squares.sum() / 40
    history = network.fit(X, target, 1, 0.0, batch_size, validation=(X, target), **QUIET)
    assert history["loss"] == [pytest.approx(expected, rel=1e-5)]
    assert history["validation_loss"] == [pytest.approx(expected, rel=1e-5)]


def test_a_loss_that_is_neither_sum_nor_mean_counts_as_a_mean_unless_use_says_so():
    target = np.zeros((40, 3), np.float32)
    network = classifier(loss=penalized)
    total = (network.predict(X).astype(float) ** 2).sum()
    loss = network.fit(X, target, 1, 0.0, 10, **QUIET)["loss"][0]
    assert loss == pytest.approx(total / 4 + 1, rel=1e-5)
    network.use(penalized, reduction="sum")
    loss = network.fit(X, target, 1, 0.0, 10, **QUIET)["loss"][0]
    assert loss == pytest.approx((total + 4) / 40, rel=1e-5)
    with pytest.raises(ValueError, match="mean or sum, got 'none'"):
        network.use(penalized, reduction="none")


def test_rows_that_cost_nothing_do_not_hide_a_sum():
    """The reduction is found on rows with a loss, wherever they are."""
    network = tg.Network([tg.Dense(1, 1, rng=0)])
    network.use(summed)
    x = np.array([[0.0], [0.0], [1.0], [2.0]], np.float32)
    expected = (network.predict(x).astype(float) ** 2).sum() / 4
    assert network.evaluate(x, np.zeros((4, 1)), 3)["loss"] == pytest.approx(expected, rel=1e-5)


# Weights


@pytest.mark.parametrize("loss", [tg.cross_entropy, functools.partial(tg.cross_entropy, reduction="sum")])
def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row(loss):
    weights = np.arange(40) % 3
    weighted, repeated = classifier(loss=loss), classifier(loss=loss)
    rows = np.repeat(np.arange(40), weights)
    options = {"epochs": 3, "learning_rate": 0.01, "batch_size": 100, **QUIET}
    history = weighted.fit(X, Y, sample_weight=weights, validation=(X, Y, weights), **options)
    other = repeated.fit(X[rows], Y[rows], validation=(X[rows], Y[rows]), **options)
    assert_close(weighted, repeated, rtol=1e-4)
    assert history["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert history["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)
    measured = weighted.evaluate(X, Y, 7, sample_weight=weights)["loss"]
    assert measured == pytest.approx(repeated.evaluate(X[rows], Y[rows])["loss"], rel=1e-4)


@pytest.mark.parametrize("target", [Y, np.eye(3)[Y]], ids=["labels", "one-hot"])
@pytest.mark.parametrize("given", [{0: 2.0, 2: 0.5}, [2.0, 1.0, 0.5]], ids=["dict", "list"])
def test_class_weights_are_weights_of_the_rows_of_a_class(target, given):
    by_class, by_row = classifier(), classifier()
    own = np.linspace(1, 2, 40)
    by_class.fit(X, target, 2, 0.1, 8, class_weight=given, sample_weight=own, **QUIET)
    by_row.fit(X, target, 2, 0.1, 8, sample_weight=np.array([2.0, 1.0, 0.5])[Y] * own, **QUIET)
    assert_close(by_class, by_row)


def test_balanced_class_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat([0, 1, 2], [30, 9, 1])
    balanced, by_hand = classifier(), classifier()
    balanced.fit(X, y, 2, 0.1, 8, class_weight="balanced", **QUIET)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=y)
    by_hand.fit(X, y, 2, 0.1, 8, class_weight=weights, **QUIET)
    assert_same(balanced, by_hand)


@refused_calls(
    ("fit(sample_weight=np.ones(39))", ValueError, r"weights: expected one for each of 40 rows, got \(39,\)"),
    ("fit(sample_weight=-np.arange(40.0))", ValueError, "weights: expected 0 or more, got -1.0 for row 1"),
    ("fit(sample_weight=np.zeros(40))", ValueError, "weights: all are 0"),
    ("fit(sample_weight=np.full(40, np.nan))", ValueError, "weights: expected finite numbers, got nan"),
    ("fit(class_weight={3: 1.0})", ValueError, "labels from 0 to 2, got 3"),
    ("fit(class_weight=[1.0, 2.0])", ValueError, "expected 3 weights"),
    ("fit(class_weight='even')", ValueError, "balanced, got 'even'"),
    ("fit(class_weight={0: -1.0})", ValueError, "weights of 0 or more"),
    ("fit(class_weight=[0.0, 0.0, 0.0])", ValueError, "all weights are 0"),
)
def test_weights_that_do_not_fit_are_refused(call, error, message):
    network = classifier()
    assert_refused(call, error, message, fit=functools.partial(network.fit, X, Y, 1, 0.1, **QUIET))
    assert_same(network, classifier())


@pytest.mark.parametrize("options", [{"sample_weight": np.ones(40)}, {"class_weight": {0: 2.0}}])
def test_weights_need_a_loss_that_takes_them(options):
    network = classifier(loss=lambda p, t: tg.cross_entropy(p, t))
    with pytest.raises(TypeError, match="a loss that takes the keyword weights"):
        network.fit(X, Y, 1, 0.1, **options, **QUIET)


def test_class_weights_of_two_classes_with_one_output():
    y = (Y > 0).astype(np.float32)[:, None]
    by_class, by_row = (classifier(classes=1, loss=tg.binary_cross_entropy) for _ in range(2))
    by_class.fit(X, y, 2, 0.1, 8, class_weight={1: 3.0}, **QUIET)
    by_row.fit(X, y, 2, 0.1, 8, sample_weight=1 + 2 * y[:, 0], **QUIET)
    assert_same(by_class, by_row)


def test_class_weights_need_classes():
    network = classifier(loss=tg.mse)
    with pytest.raises(ValueError, match="class_weight: expected labels, one-hot"):
        network.fit(X, np.ones((40, 3)), 1, 0.1, class_weight={0: 1.0}, **QUIET)


# Validation


def test_a_validation_split_is_drawn_once_and_kept_apart():
    seen = []

    class Spy(tg.Layer):
        def forward(self, x):
            seen.append((self.training, len(x), set(x[:, 0].tolist())))
            return x * 1.0 if isinstance(x, tg.Tensor) else tg.Tensor(x)

    x = np.arange(40.0, dtype=np.float32)[:, None] @ np.ones((1, 4), np.float32)
    network = tg.Network([Spy(), *classifier().layers])
    network.use(tg.cross_entropy)
    network.fit(x, Y, 2, 0.01, 16, validation_split=0.25, **QUIET)
    trained = set().union(*(rows for training, _, rows in seen if training))
    held = [rows for training, count, rows in seen if not training and count == 10]
    assert len(held) == 2
    assert held[0] == held[1]
    assert not held[0] & trained
    assert len(trained) == 30
    assert held[0] != set(range(30, 40))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 0.001, 0.999, 2])
def test_a_split_must_leave_both_sides_something(share):
    with pytest.raises(ValueError, match="validation_split to leave examples on both sides of 40"):
        classifier().fit(X, Y, 1, 0.1, validation_split=share, **QUIET)


def test_validation_may_come_in_batches():
    batches = [(X[:13], Y[:13]), (X[13:], Y[13:])]
    history = classifier().fit(X, Y, 2, 0.1, validation=(X, Y), **QUIET)
    for given in (batches, lambda rng: iter(batches)):
        other = classifier().fit(X, Y, 2, 0.1, validation=given, **QUIET)
        assert other["validation_loss"] == pytest.approx(history["validation_loss"], rel=1e-6)
        assert other["validation_accuracy"] == history["validation_accuracy"]
    with pytest.raises(TypeError, match="read again, got an iterator"):
        classifier().fit(X, Y, 2, 0.1, validation=iter(batches), **QUIET)


# Batches of one's own


def test_batches_from_anywhere_train_as_arrays_do():
    arrays, made, listed, iterated, endless = (classifier() for _ in range(5))
    arrays.fit(X, Y, 3, 0.1, 16, **QUIET)
    made.fit(lambda rng: tg.minibatches(X, Y, 16, rng), epochs=3, learning_rate=0.1, **QUIET)
    assert_same(made, arrays)
    rng = np.random.default_rng(0)
    every = [batch for _ in range(3) for batch in tg.minibatches(X, Y, 16, rng)]
    listed.fit(every, epochs=1, learning_rate=0.1, **QUIET)
    assert_same(listed, arrays)
    iterated.fit(iter(every), epochs=3, learning_rate=0.1, steps_per_epoch=3, **QUIET)
    assert_same(iterated, arrays)

    def forever():
        rng = np.random.default_rng(0)
        while True:
            yield from tg.minibatches(X, Y, 16, rng)

    history = endless.fit(forever(), epochs=3, learning_rate=0.1, steps_per_epoch=3, **QUIET)
    assert_same(endless, arrays)
    assert len(history["loss"]) == 3


def test_batches_may_have_weights_and_are_cast():
    weights = np.linspace(0.5, 2, 40)
    arrays, streamed = classifier(), classifier()
    arrays.fit(X, Y, 2, 0.1, 40, sample_weight=weights, class_weight={0: 2.0}, **QUIET)
    streamed.fit([(X.astype(float), Y, weights)], epochs=2, learning_rate=0.1, class_weight={0: 2.0}, **QUIET)
    assert_close(arrays, streamed)


@refused_calls(
    ("fit(X)", TypeError, "expected y, or batches"),
    ("fit(3)", TypeError, "expected y, or batches"),
    ("fit([])", ValueError, "gave no batch"),
    ("fit([X])", TypeError, "expected batches .*got a ndarray"),
    ("fit([(X,)])", TypeError, r"expected batches \(x, y\).*got a tuple of 1"),
    ("fit([(X, Y)], steps_per_epoch=2)", ValueError, "steps_per_epoch = 2 batches, the source ended after 1"),
    ("fit(iter([(X, Y)] * 9), epochs=2)", ValueError, "an iterator can be read only once"),
    ("fit(lambda rng: 3)", TypeError, "a function that gives an iterable of batches, got 3"),
    ("fit([(X, Y[:-1])])", ValueError, "fit, batch 1 of epoch 1: expected as many targets"),
    ("fit([(X, Y), (X * np.nan, Y)])", ValueError, "fit, batch 2 of epoch 1, x: expected finite numbers"),
    (
        "fit([(X, Y), (X, Y + 1)])",
        ValueError,
        "fit, batch 2 of epoch 1, y: expected labels from 0 to 2.*got 3",
    ),
    ("fit([(X, Y)], sample_weight=np.ones(40))", ValueError, "instead of sample_weight"),
    ("fit([(X, Y)], class_weight='balanced')", ValueError, "needs arrays"),
    ("fit([(X, Y)], validation_split=0.5)", ValueError, "validation_split needs arrays"),
    ("fit([(X, Y)], steps_per_epoch=0)", ValueError, "steps_per_epoch to be a positive integer"),
)
def test_batches_that_are_none_are_refused(call, error, message):
    def fit(source, **options):
        classifier().fit(source, **{"epochs": 1, "learning_rate": 0.1, **QUIET, **options})

    assert_refused(call, error, message, fit=fit, X=X, Y=Y)


def test_steps_per_epoch_is_not_for_arrays():
    with pytest.raises(ValueError, match="steps_per_epoch is for batches of your own"):
        classifier().fit(X, Y, 1, 0.1, steps_per_epoch=2, **QUIET)


# Modes


class Recorder(tg.Layer):
    def __init__(self):
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return tg.Tensor(x) if isinstance(x, np.ndarray) else x


def test_training_trains_and_the_rest_does_not():
    recorder = Recorder()
    network = tg.Network([recorder, tg.Dense(4, 3, rng=0)])
    network.use(tg.cross_entropy)
    network.layers[1].eval()
    network.fit(X, Y, 2, 0.1, 20, validation=(X, Y), **QUIET)
    steps = [True, True, False]
    assert recorder.modes[-6:] == steps * 2
    assert not any(recorder.modes[:-6])
    assert recorder.training
    assert not network.layers[1].training, "each layer has the mode again that it had"
    recorder.modes.clear()
    network.predict(X)
    network.evaluate(X, Y)
    assert recorder.modes
    assert not any(recorder.modes)
    assert recorder.training


def test_the_mode_returns_after_an_error_too():
    network = classifier(loss=lambda p, t: tg.cross_entropy(p, t) * np.nan)
    network.eval()
    with pytest.raises(FloatingPointError):
        network.fit(X, Y, 1, 0.1, **QUIET)
    assert not network.training


def test_a_batch_of_one_left_over_for_batch_norm_is_refused_before_any_training():
    network = tg.Network([tg.Dense(4, 3, rng=0), tg.BatchNorm(3), tg.Dropout(0.5, rng=0)])
    network.use(tg.cross_entropy)
    before, drawn = network.state(), network.layers[2].generator.bit_generator.state
    with pytest.raises(ValueError, match=r"40 examples in batches of 13 leave a batch of one.*BatchNorm"):
        network.fit(X, Y, 1, 0.1, 13, **QUIET)
    assert network.layers[2].generator.bit_generator.state == drawn
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, before[path])


# Augmentation


def test_augmentation_changes_training_alone_and_leaves_the_order_be():
    seen = []

    def recording(x, rng):
        seen.append(x.copy())
        return x + rng.standard_normal(x.shape, np.float32)

    network, plain = classifier(), classifier()
    history = network.fit(X, Y, 2, 0.0, 16, augment=recording, validation=(X, Y), **QUIET)
    other = plain.fit(X, Y, 2, 0.0, 16, validation=(X, Y), **QUIET)
    assert len(seen) == 6
    assert history["validation_loss"] == other["validation_loss"]
    assert history["loss"] != other["loss"]
    again = classifier().fit(X, Y, 2, 0.0, 16, augment=recording, validation=(X, Y), **QUIET)
    assert again["loss"] == history["loss"]


@pytest.mark.parametrize(
    "wrong",
    [lambda x, rng: x[:1], lambda x, rng: x.astype(float), lambda x, rng: None],
    ids=["shape", "dtype", "None"],
)
def test_augmentation_must_keep_shape_and_dtype(wrong):
    network = classifier()
    with pytest.raises(ValueError, match=r"expected augment to give float32 \(32, 4\) again"):
        network.fit(X, Y, 1, 0.1, augment=wrong, **QUIET)
    assert_same(network, classifier())


# Faults


class Logarithm(tg.Layer):
    """Fails for inputs below 0."""

    def forward(self, x):
        return np.log(x)


def test_a_loss_that_is_not_finite_is_traced_to_its_op_and_line():
    network = tg.Network([tg.BatchNorm(4), Logarithm(), tg.Dropout(0.1, rng=0), tg.Dense(4, 3, rng=0)])
    network.use(tg.cross_entropy)
    bad = np.abs(X) + 1
    network.layers[0].shift.data = np.full(4, 10, np.float32)
    optimizer = tg.MiniBatchSGD(network.parameters(), 0.1, momentum=0.9)

    class Keep(tg.Callback):
        def on_batch_end(self, training):
            if training.step == 2:
                network.layers[0].shift.data = np.full(4, -10, np.float32)
                self.kept = (
                    network.state(),
                    optimizer.state(),
                    network.layers[2].generator.bit_generator.state,
                )

    keep = Keep()
    with pytest.raises(FloatingPointError) as caught:
        network.fit(bad, Y, 1, optimizer=optimizer, batch_size=10, callbacks=[keep], **QUIET)
    message = str(caught.value)
    assert re.search(r"the loss became nan in epoch 1, batch 3; the parameters are as before", message), (
        message
    )
    assert re.search(
        r"detect_nan: log gave (nan|-inf) at .*log was called at .*test_training\.py:\d+ \(return", message
    )
    state, steps, drawn = keep.kept
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, state[path], err_msg=path)
    assert network.layers[2].generator.bit_generator.state == drawn
    assert optimizer.state()["steps"] == steps["steps"]
    for ours, theirs in zip(optimizer.state()["slots"], steps["slots"], strict=True):
        np.testing.assert_array_equal(ours["velocity"], theirs["velocity"])


def test_a_gradient_that_is_not_finite_is_traced_though_the_loss_is_finite():
    def loss(prediction, target):
        return tg.sqrt(tg.sum(tg.square(prediction - target)))  # infinite slope at 0

    network = tg.Network([tg.Dense(1, 1, rng=0)])
    network.layers[0].weights.data = np.zeros((1, 1), np.float32)
    network.use(loss)
    with pytest.raises(FloatingPointError, match=r"the gradient of Dense0\.\w+ became nan.*vjp of sqrt"):
        network.fit(np.ones((4, 1)), np.zeros((4, 1)), 1, 0.1, **QUIET)
    assert all(np.isfinite(values).all() for values in network.state().values())
    assert network.parameters()[0].grad is None


def test_an_error_within_a_batch_says_where_and_leaves_the_last_good_state():
    def failing(prediction, target):
        if prediction.requires_grad and len(seen) == 2:
            raise RuntimeError("broken")
        seen.extend([network.state()] if prediction.requires_grad else [])
        return tg.cross_entropy(prediction, target)

    seen = []
    network = tg.Network([tg.Dense(4, 3, rng=0), tg.BatchNorm(3)])
    network.use(failing)
    with pytest.raises(RuntimeError, match="broken") as caught:
        network.fit(X, Y, 2, 0.0, 16, **QUIET)
    assert any("epoch 1, batch 3" in note for note in caught.value.__notes__)


@pytest.fixture
def ctrl_c_is_heard():
    """Python's own handler of Ctrl-C is set, which a process that a shell started with & does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


class Interrupts(tg.Callback):
    def __init__(self, step):
        self.step = step

    def on_batch_end(self, training):
        if training.step == self.step:
            interrupt()


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_finishes_the_step_and_writes_a_checkpoint(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    network, by_hand = classifier(), classifier()
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, 5, 0.1, 16, callbacks=[Interrupts(5)], checkpoint=path, **QUIET)
    assert signal.getsignal(signal.SIGINT) is handler
    optimizer, rng, steps = tg.MiniBatchSGD(by_hand.parameters(), 0.1), np.random.default_rng(0), 0
    for _ in range(2):
        for x, y in tg.minibatches(X, Y, 16, rng):
            if steps < 5:
                optimizer.zero_grad()
                tg.cross_entropy(by_hand(x), y).backward()
                optimizer.step()
                steps += 1
    assert_same(network, by_hand)
    assert len(network.history["loss"]) == 1
    assert tg.load_checkpoint(path)["step"] == 5
    whole, resumed = classifier(), classifier()
    whole.fit(X, Y, 5, 0.1, 16, **QUIET)
    resumed.fit(X, Y, 5, 0.1, 16, callbacks=[Interrupts(0)], resume=path, **QUIET)
    assert_same(whole, resumed)
    assert resumed.history["loss"] == whole.history["loss"]


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_within_a_step_lets_it_be_finished():
    def loss(prediction, target):
        if prediction.requires_grad:
            steps.append(1)
            if len(steps) == 2:
                interrupt()
        return tg.cross_entropy(prediction, target)

    steps = []
    network = classifier(loss=loss)
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, 5, 0.1, 16, **QUIET)
    once = classifier()
    optimizer = tg.MiniBatchSGD(once.parameters(), 0.1)
    batches = list(tg.minibatches(X, Y, 16, np.random.default_rng(0)))
    for x, y in batches[:2]:
        optimizer.zero_grad()
        tg.cross_entropy(once(x), y).backward()
        optimizer.step()
    assert_same(network, once)


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_twice_stops_at_once_and_the_checkpoint_is_whole(tmp_path):
    def loss(prediction, target):
        if prediction.requires_grad:
            steps.append(1)
            if len(steps) == 5:
                interrupt()
                interrupt()
                raise AssertionError("the second is not waited for")
        return tg.cross_entropy(prediction, target)

    steps = []
    network = classifier(loss=loss)
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, 5, 0.1, 16, checkpoint=path, checkpoint_every=1, **QUIET)
    assert tg.load_checkpoint(path)["step"] == 4
    resumed, whole = classifier(loss=loss), classifier()
    resumed.fit(X, Y, 5, 0.1, 16, resume=path, **QUIET)
    whole.fit(X, Y, 5, 0.1, 16, **QUIET)
    assert_same(resumed, whole)


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_twice_while_a_checkpoint_is_written_leaves_the_last_one(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "c.npz", os.fsync, []

    def interrupted(descriptor):
        calls.append(1)
        if len(calls) == 7:
            interrupt()
            interrupt()
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        classifier().fit(X, Y, 5, 0.1, 16, checkpoint=path, checkpoint_every=1, **QUIET)
    assert tg.load_checkpoint(path)["step"] in (2, 3)
    assert [found.name for found in tmp_path.iterdir()] == ["c.npz"]


def test_another_handler_of_ctrl_c_is_left_alone():
    caught = []
    before = signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    try:
        classifier().fit(X, Y, 1, 0.1, 16, callbacks=[Interrupts(1)], **QUIET)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [1]


def test_networks_train_in_threads():
    one, other, alone = classifier(), classifier(), classifier()
    threads = [threading.Thread(target=n.fit, args=(X, Y, 5, 0.1, 8), kwargs=QUIET) for n in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone.fit(X, Y, 5, 0.1, 8, **QUIET)
    assert_same(one, alone)
    assert_same(other, alone)


# Memory


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Memory(tg.Callback):
    """Notes the memory in use after so many steps."""

    def __init__(self, every):
        self.every, self.blocks, self.resident = every, [], []

    def on_batch_end(self, training):
        if training.step % self.every == 0:
            self.blocks.append(sys.getallocatedblocks())
            if os.path.exists("/proc/self/statm"):
                self.resident.append(resident())


def fit_for(steps, memory):
    network = tg.Network(
        [tg.Dense(4, 8, rng=0), tg.BatchNorm(8), tg.Dropout(0.2, rng=0), tg.Dense(8, 3, rng=0)]
    )
    network.use(tg.cross_entropy)
    return network.fit(
        X, Y, steps // 10, optimizer=lambda p: tg.Adam(p, 1e-3), batch_size=4, callbacks=[memory],
        schedule=lambda o: tg.StepDecay(o, 1000), schedule_every="batch", **QUIET,
    )  # fmt: skip


NEEDS_PROC = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")


def test_steps_keep_no_objects():
    memory = Memory(1000)
    gc.collect()
    gc.disable()  # so that a reference cycle would show
    try:
        fit_for(3000, memory)
    finally:
        gc.enable()
    # The first steps fill Python's caches; each of a hundred epochs leaves three numbers. An array kept at
    # each step would be a thousand blocks.
    assert memory.blocks[2] - memory.blocks[1] < 600


@NEEDS_PROC
def test_two_thousand_steps_take_no_more_memory_than_five_hundred():
    memory = Memory(500)
    fit_for(2000, memory)
    assert memory.resident[-1] - memory.resident[0] < 4 << 20


def test_a_long_history_slows_no_search_for_parameters():
    """A training of many short epochs would take time by their square."""
    network = classifier()
    lengths = []

    class Counted(list):
        def __iter__(self):
            lengths.append(len(self))
            return super().__iter__()

    network.history = {"loss": Counted(range(1000))}
    network.predict(X)
    network.named_parameters()
    assert not lengths


@NEEDS_PROC
@pytest.mark.slow
def test_a_hundred_thousand_steps_take_no_more_memory_than_ten_thousand():
    # In a process of its own: what other tests have freed in this one lies about, and is used again or not.
    program = (
        "import test_training as t; memory = t.Memory(10_000); t.fit_for(100_000, memory); "
        "print(memory.resident[-1] - memory.resident[0])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # 10,000 epochs of history are 1.3 MB; a node kept at each step would be 90 MB.
    assert int(done.stdout) < 8 << 20
