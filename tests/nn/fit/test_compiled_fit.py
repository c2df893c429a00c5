"""Trainings and predictions in compiled code, held against the same in NumPy."""

import copy
import functools
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from resumable import NAMES, arguments, outcome
from sklearn.base import clone

import tensorgrad as tg
from tensorgrad import cli
from tensorgrad.cli import report as cli_report
from tensorgrad.data import Augment
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor
from tensorgrad.graph.native import variant
from tensorgrad.graph.native.toolchain import build
from tensorgrad.nn.fit import compiling, engine
from tensorgrad.nn.layer import infer

pytestmark = pytest.mark.skipif(
    not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))),
    reason="nothing here compiles C",
)


@pytest.fixture(autouse=True)
def _quick_compiler(monkeypatch):
    """Optimizing takes a compiler most of its time, and the numbers are the same but for rounding."""
    monkeypatch.setattr(variant, "build", functools.partial(build, optimize="-O0"))


@pytest.fixture
def everything_pays(monkeypatch):
    for module, name in itertools.product((compiling, engine), ("WORTH", "WORTH_FORWARD")):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(compiling, "_MANY", 1)


RNG = np.random.default_rng(0)
X = RNG.standard_normal((21, 4))
LABELS = RNG.permutation(np.arange(21) % 3)
QUIET = {"verbose": False, "seed": 0}


def dense(rng=0):
    rng = np.random.default_rng(rng)
    options = {"rng": rng, "dtype": np.float64}
    network = tg.Network([tg.Dense(4, 6, **options), tg.Tanh(), tg.Dense(6, 3, **options)])
    network.use(tg.cross_entropy)
    return network


def layered(*layers):
    """A function that makes a network of layers given by functions of options."""

    def make():
        options = {"dtype": np.float64, "rng": np.random.default_rng(0)}
        network = tg.Network([layer(options) for layer in layers])
        network.use(tg.cross_entropy)
        return network

    return make


def trained(make, choice, *data, epochs=3, batch_size=8, **options):
    network = make()
    options = {"learning_rate": 0.1, **options} if "optimizer" not in options else options
    history = network.fit(*data, epochs=epochs, batch_size=batch_size, compile=choice, **QUIET | options)
    assert network.engine[0] == ("C" if choice else "N")
    return network, {key: values for key, values in history.items() if key != "seconds"}


def assert_alike(found, expected, tolerance=1e-9):
    (network, history), (true_network, true_history) = found, expected
    assert history.keys() == true_history.keys()
    for key, values in true_history.items():
        np.testing.assert_allclose(history[key], values, rtol=tolerance, atol=tolerance, err_msg=key)
    state, true_state = network.state(), true_network.state()
    assert state.keys() == true_state.keys()
    for path, values in true_state.items():
        np.testing.assert_allclose(state[path], values, rtol=tolerance, atol=tolerance, err_msg=path)


def assert_compiles(make, *data, tolerance=1e-9, **options):
    both = [trained(make, choice, *data, **options) for choice in (True, False)]
    assert_alike(*both, tolerance)
    return both[0][0]


def assert_identical(found, expected):
    (state, history), (true_state, true_history) = found, expected
    assert history == true_history
    for path, values in true_state.items():
        np.testing.assert_array_equal(state[path], values, err_msg=path)


# Optimizers and schedules

CLIPS = ({}, {"clip_norm": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.1, "clip_value": 0.02})
OPTIONS = {
    tg.MiniBatchSGD: (
        {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5},
        {"weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    tg.Adam: ({}, {"weight_decay": 0.1}, {"amsgrad": True, "betas": (0.5, 0.8), "eps": 1e-3}),
    tg.AdamW: ({}, {"weight_decay": 0.1, "amsgrad": True}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "clip"), [
    (kind, options, clip) for kind, each in OPTIONS.items() for options in each for clip in CLIPS
], ids=lambda x: x.__name__ if isinstance(x, type) else ",".join(x) or "plain")  # fmt: skip
def test_every_optimizer_makes_the_steps_of_numpy(kind, options, clip):
    optimizer = lambda p: kind(p, 0.05, **options, **clip)
    assert_compiles(dense, X, LABELS, optimizer=optimizer)


@pytest.mark.parametrize("y", [LABELS, np.eye(3)[LABELS]], ids=["labels", "one-hot"])
def test_the_accuracy_in_training_is_that_of_numpy(y):
    network = assert_compiles(dense, X, y, validation=(X[:5], y[:5]))
    assert len(network.history["accuracy"]) == 3


def test_groups_have_options_of_their_own_and_parameters_without_an_optimizer_stay():
    def optimizer(parameters):
        first, second, third, _ = parameters
        groups = [
            {"parameters": [first], "learning_rate": 0.3},
            {"parameters": [second, third], "momentum": 0},
        ]
        return tg.MiniBatchSGD(groups, 0.1, momentum=0.9, clip_norm=0.05)

    network = assert_compiles(dense, X, LABELS, optimizer=optimizer)
    assert not network.layers[2].bias.data.any()


SCHEDULES = {
    "step": lambda o: tg.StepDecay(o, 2),
    "cosine": lambda o: tg.CosineDecay(o, 9),
    "one cycle": lambda o: tg.OneCycle(o, 9),
    "warm up": lambda o: tg.WarmUp(tg.ExponentialDecay(o, 0.8), 3),
}


@pytest.mark.parametrize("every", ["epoch", "batch"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_schedule_is_followed(schedule, every):
    optimizer = lambda p: tg.MiniBatchSGD(p, 0.2, momentum=0.5)
    assert_compiles(dense, X, LABELS, optimizer=optimizer, schedule=schedule, schedule_every=every)


def test_a_plateau_is_seen_in_the_validation():
    schedule = lambda o: tg.ReduceOnPlateau(o, patience=0, factor=0.5)
    assert_compiles(dense, X, LABELS, validation=(X[::-1], LABELS), schedule=schedule, epochs=6)


class Signs(tg.Optimizer):
    """An optimizer of the user's own."""

    _checks: ClassVar = {"learning_rate": lambda owner, name, value: value}

    def _update(self, options, x, g, slots, scratch, first):
        x -= options["learning_rate"] * np.sign(g)


class Louder(tg.Adam):
    def _update(self, options, x, g, slots, scratch, first):
        super()._update(options, x, 2 * g, slots, scratch, first)


@pytest.mark.parametrize("optimizer", [
    lambda p: Signs(p, {"learning_rate": 0.01}, None, 0.5), lambda p: Louder(p, 0.01),
], ids=["own", "derived"])  # fmt: skip
def test_an_optimizer_of_ones_own_steps_by_itself_on_compiled_gradients(optimizer):
    assert_compiles(dense, X, LABELS, optimizer=optimizer)
    with pytest.raises(TypeError, match=r"steps of .* cannot be compiled"):
        optimizer(dense().parameters()).begin_update([])


def test_a_callback_changes_compiled_gradients_before_the_step():
    class Scaled(tg.Callback):
        def on_gradients(self, training):
            for i, p in enumerate(training.optimizer.parameters):
                p.grad = p.grad * (i + 0.5)

    assert_compiles(dense, X, LABELS, optimizer=lambda p: tg.MiniBatchSGD(p, 0.05), callbacks=[Scaled()])


def test_steps_and_slots_are_those_of_numpy_and_only_of_steps_that_were_made():
    states = []
    for choice in (True, False):
        network = dense()
        optimizer = tg.Adam(network.parameters(), 0.01)
        network.fit(X, LABELS, 2, optimizer=optimizer, batch_size=8, compile=choice, **QUIET)
        states.append(optimizer.state())
    assert states[0]["steps"] == states[1]["steps"] == 6
    for found, expected in zip(*(state["slots"] for state in states), strict=True):
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-12)


def test_a_parameter_without_a_gradient_is_told_as_ever():
    class Idle(tg.Layer):
        def __init__(self):
            self.spare = tg.Parameter(np.zeros(2), "spare")

        def forward(self, x):
            return x

    make = layered(lambda _: Idle(), lambda o: tg.Dense(4, 3, **o))
    for choice in (True, False):
        with pytest.raises(RuntimeError, match=r"MiniBatchSGD: no gradient for Idle0\.spare; was backward"):
            make().fit(X, LABELS, 1, 0.1, 8, compile=choice, **QUIET)


def test_parameters_that_lie_in_memory_in_another_order_are_stepped():
    def make():
        network = dense()
        network.layers[0].weights = tg.Parameter(np.asfortranarray(network.layers[0].weights.data), "weights")
        return network

    assert_compiles(make, X, LABELS, optimizer=lambda p: tg.Adam(p, 0.01))


# Examples


@pytest.mark.parametrize("options", [
    {"sample_weight": np.arange(21) % 4}, {"class_weight": "balanced"},
    {"class_weight": {1: 3.0}, "sample_weight": RNG.random(21)},
    {"metrics": ["accuracy", "f1_macro"], "validation": (X[:9], LABELS[:9])},
    {"validation_split": 0.3, "metrics": ["accuracy"]},
    {"batch_size": 100}, {"batch_size": 1}, {"batch_size": 7},
], ids=lambda options: ",".join(options) + str(options.get("batch_size", "")))  # fmt: skip
def test_weights_metrics_and_batches_of_any_size(options):
    assert_compiles(dense, X, LABELS, **options)


IMAGES = RNG.standard_normal((21, 6, 5, 2))
NUMBERS = RNG.integers(0, 7, (21, 3))
NETWORKS = {
    "convolution": (IMAGES, layered(
        lambda o: tg.Conv2D(2, 3, 3, padding=1, **o), lambda _: tg.ReLU(), lambda _: tg.MaxPool2D(2),
        lambda _: tg.Flatten(), lambda o: tg.Dense(18, 3, **o),
    )),
    "batch norm": (IMAGES, layered(
        lambda o: tg.Conv2D(2, 3, 3, bias=False, **o), lambda o: tg.BatchNorm(3, dtype=o["dtype"]),
        lambda _: tg.GELU(), lambda _: tg.GlobalAvgPool2D(), lambda o: tg.Dense(3, 3, **o),
    )),
    "dropout": (X, layered(
        lambda o: tg.Dense(4, 8, **o), lambda o: tg.Dropout(0.4, rng=o["rng"]), lambda _: tg.ReLU(),
        lambda o: tg.Dropout(0.2, rng=o["rng"]), lambda o: tg.Dense(8, 3, **o),
    )),
    "layer norm": (X, layered(
        lambda o: tg.Dense(4, 8, **o), lambda o: tg.LayerNorm(8, dtype=o["dtype"]), lambda _: tg.SiLU(),
        lambda o: tg.Dense(8, 3, **o),
    )),
    "embedding": (NUMBERS, layered(
        lambda o: tg.Embedding(7, 4, **o), lambda _: tg.Flatten(), lambda o: tg.Dense(12, 3, **o),
    )),
}  # fmt: skip


@pytest.mark.parametrize(("x", "make"), NETWORKS.values(), ids=NETWORKS)
def test_layers_with_states_draws_and_numbers(x, make):
    options = {
        "validation": (x[:9], LABELS[:9]),
        "optimizer": lambda p: tg.MiniBatchSGD(p, 0.1, momentum=0.9),
    }
    network = assert_compiles(make, x, LABELS, **options)
    by_numpy, _ = trained(make, False, x, LABELS, **options)
    for path, generator in network.named_generators().items():
        assert generator.bit_generator.state == by_numpy.named_generators()[path].bit_generator.state


def test_float32_and_augmented_images():
    def make():
        rng = np.random.default_rng(0)
        network = tg.Network([tg.Conv2D(2, 3, 3, rng=rng), tg.ReLU(), tg.Flatten(), tg.Dense(36, 3, rng=rng)])
        network.use(functools.partial(tg.cross_entropy, label_smoothing=0.1))
        return network

    augment = Augment(shift=1, flip=True)
    assert_compiles(make, IMAGES, LABELS, augment=augment, batch_size=6, tolerance=1e-5)


def test_rows_are_read_where_they_lie_as_if_they_were_copied(tmp_path, monkeypatch):
    whole = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", X.dtype, X.shape)
    whole[:] = X
    orders, step = [], variant.Variant._step

    def note(self, arrays, *others):
        orders.append(hasattr(arrays[0], "order"))
        return step(self, arrays, *others)

    monkeypatch.setattr(variant.Variant, "_step", note)
    expected = trained(dense, True, np.asfortranarray(X), LABELS)
    for x in (X, whole, np.repeat(X, 2, axis=0)[::2]):
        assert_identical(*((n.state(), h) for n, h in (trained(dense, True, x, LABELS), expected)))
    assert sum(orders) == 4 * 3 * 3  # batches of all epochs
    assert_compiles(dense, X, LABELS, validation_split=0.25)  # rows of rows


def test_batches_of_ones_own_of_several_shapes():
    def batches(rng):
        for size in (8, 5, 8, 3):
            rows = rng.permutation(21)[:size]
            yield X[rows], LABELS[rows], np.ones(size)

    both = []
    for choice in (True, False):
        network = dense()
        network.fit(batches, epochs=3, learning_rate=0.1, compile=choice, validation=[(X, LABELS)], **QUIET)
        both.append((network, {"loss": network.history["loss"], "v": network.history["validation_loss"]}))
    assert_alike(*both)


def test_early_stopping_restores_the_best_weights():
    stop = lambda: [tg.EarlyStopping(patience=1)]
    both = [
        trained(
            dense,
            choice,
            X,
            LABELS,
            epochs=40,
            learning_rate=2.0,
            validation=(X[::-1], LABELS),
            callbacks=stop(),
        )
        for choice in (True, False)
    ]
    assert_alike(*both)
    assert len(both[0][1]["loss"]) < 40


def test_a_callback_may_change_the_network():
    class Quieter(tg.Callback):
        def on_batch_end(self, training):
            if training.step == 4:
                training.network.layers[1].rate = 0.0

    x, make = NETWORKS["dropout"]
    network = assert_compiles(make, x, LABELS, callbacks=[Quieter()])
    assert network.layers[1].rate == 0


def test_what_was_recorded_in_training_is_not_what_is_inferred():
    dropout = tg.Dropout(0.5, rng=0)
    total = tg.compile(lambda x: tg.sum(dropout(x)))
    for _ in range(2):
        assert total(X).item() != pytest.approx(X.sum())
        assert infer(total, X).item() == pytest.approx(X.sum())
        dropout.eval()
        assert total(X).item() == pytest.approx(X.sum())
        dropout.train()


def test_recording_draws_nothing():
    dropouts = [tg.Dropout(0.5, rng=0) for _ in range(2)]
    compiled, plain = (lambda x, d=d: tg.sum(d(x)) for d in dropouts)
    compiled = tg.compile(compiled)
    for _ in range(3):
        assert compiled(X).item() == pytest.approx(plain(X).item())


def test_probabilities_are_refused_where_the_loss_takes_logits():
    make = layered(lambda o: tg.Dense(4, 3, **o), lambda _: tg.Softmax())
    for choice in (True, None, False):
        with pytest.raises(ValueError, match="takes logits, and was given what softmax made"):
            make().fit(X, LABELS, 1, 0.1, 8, compile=choice, **QUIET)


def test_layers_that_were_put_into_inference_stay_there():
    x, make = NETWORKS["dropout"]

    def frozen():
        network = make()
        network.layers[1].eval()
        return network

    assert_compiles(frozen, x, LABELS)


def test_compiled_steps_leave_no_gradients_and_callbacks_are_told_of_the_engine():
    class Asks(tg.Callback):
        def on_batch_end(self, training):
            seen.append((str(training.engine)[0], training.optimizer.parameters[0].grad))

    seen = []
    network = dense()
    network.fit(X, LABELS, 1, 0.1, 8, compile=False, **QUIET)
    network.fit(X, LABELS, 1, 0.1, 8, compile=True, callbacks=[Asks()], **QUIET)
    assert seen == [("C", None)] * 3


# Numbers that are not finite, and rows that there are not


def explodes(choice, **options):
    network = dense()
    x = X.copy()
    x[20] = 1e200
    network.use(lambda p, t: tg.mean(tg.exp(p) ** 2))
    with pytest.raises(FloatingPointError) as caught:
        network.fit(x, LABELS, 2, 1e3, 21, compile=choice, **QUIET, **options)
    return network, str(caught.value)


def test_a_loss_that_is_not_finite_is_told_with_its_provenance_and_changes_nothing():
    found, message = explodes(True)
    expected, true_message = explodes(False)
    assert message == true_message
    assert "detect_nan" in message
    assert "in epoch" in message
    assert_alike((found, {}), (expected, {}))


def test_a_gradient_that_is_not_finite_too_and_running_statistics_stay():
    def make():
        network = NETWORKS["batch norm"][1]()
        network.use(lambda p, t: tg.mean(np.sqrt(np.abs(p) * 0)))
        return network

    for choice in (True, False):
        network = make()
        before = network.state()
        with pytest.raises(FloatingPointError, match=r"gradient of .* became nan in epoch 1, batch 1"):
            network.fit(IMAGES, LABELS, 1, 0.1, 8, compile=choice, **QUIET)
        assert_identical((network.state(), 0), (before, 0))


def test_finite_gradients_whose_squares_overflow_are_stepped_by_numpy():
    def make():
        rng = np.random.default_rng(0)
        network = tg.Network([tg.Dense(4, 3, rng=rng)])
        network.use(lambda p, t: tg.mean(p) * np.float32(1e25))
        return network

    assert_compiles(make, X, LABELS, learning_rate=1e-25, tolerance=1e-5)


def test_a_row_that_an_embedding_does_not_have_is_refused_as_ever():
    numbers = NUMBERS.copy()
    numbers[4, 1] = 99
    make = NETWORKS["embedding"][1]
    states = []
    for choice in (True, False):
        network = make()
        with pytest.raises(ValueError, match=r"expected numbers from 0 to 6, got 99"):
            network.fit(numbers, LABELS, 3, 0.1, 8, compile=choice, **QUIET)
        states.append(network)
    assert_alike(*((network, {}) for network in states))


# What cannot be compiled


def without_a_rule():
    @tg.op
    def bessel(x):
        return np.i0(x)

    class Bessel(tg.Layer):
        def forward(self, x):
            return bessel(x)

    return Bessel


def with_values():
    class Reads(tg.Layer):
        def forward(self, x):
            return x * float(np.asarray(x.data if isinstance(x, tg.Tensor) else x).max() > -9)

    return Reads


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize(
    ("define", "reason"), [(without_a_rule, "no rule for bessel"), (with_values, "out of the graph")]
)
def test_what_has_no_c_goes_on_in_numpy_and_says_why(define, reason, capsys):
    layer = define()
    make = layered(lambda _: layer(), lambda o: tg.Dense(4, 3, **o))
    network, expected = make(), trained(make, False, X, LABELS)
    network.fit(X, LABELS, 3, 0.1, 8, seed=0)
    assert network.engine.startswith("NumPy: ")
    line, *_ = capsys.readouterr().out.splitlines()
    assert line == network.engine.replace("NumPy", "not compiled", 1)
    assert_identical((network.state(), 0), (expected[0].state(), 0))
    with pytest.raises(tg.UncompilableError, match=f"(?i){reason}"):
        make().fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET)
    assert network.predict(X).shape == (21, 3)
    with pytest.raises(tg.UncompilableError, match=f"(?i){reason}"):
        network.predict(X, compile=True)


@pytest.mark.usefixtures("everything_pays")
def test_a_loss_that_tells_tensors_from_arrays_is_found_out():
    def loss(prediction, target):
        return tg.mse(prediction, target) * (2 if isinstance(target, tg.Tensor) else 1)

    network = layered(lambda o: tg.Dense(4, 3, **o))()
    network.use(loss)
    network.fit(X, X[:, :3], 1, 0.1, 8, **QUIET)
    assert "in compiled code and" in network.engine
    with pytest.raises(tg.UncompilableError, match="does the loss or a layer tell tensors from arrays"):
        network.fit(X, X[:, :3], 1, 0.1, 8, compile=True, **QUIET)


def test_data_in_disguise_is_found_out_even_in_batches_of_one():
    class Cheats(tg.Layer):
        def forward(self, x):
            self.seen = getattr(self, "seen", 0) + 1
            return x * self.seen

    network = layered(lambda _: Cheats(), lambda o: tg.Dense(4, 3, **o))()
    with pytest.raises(tg.UncompilableError):
        network.fit(X, LABELS, 1, 0.1, 1, compile=True, **QUIET)


@pytest.mark.usefixtures("everything_pays")
def test_without_a_compiler_numpy_goes_on_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    network, expected = dense(), trained(dense, False, X, LABELS)
    network.fit(X, LABELS, 3, 0.1, 8, seed=0, validation=(X, LABELS))
    assert network.engine.startswith("NumPy: no C compiler: ")
    assert capsys.readouterr().out.count("not compiled: no C compiler") == 1
    assert_identical((network.state(), 0), (expected[0].state(), 0))
    assert network.predict(X).shape == (21, 3)
    for call in (
        lambda: dense().fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET),
        lambda: network.predict(X, compile=True),
        lambda: network.evaluate(X, LABELS, compile=True),
    ):
        with pytest.raises(tg.NoCompilerError, match="no C compiler"):
            call()


def test_short_trainings_are_not_compiled_and_say_nothing(capsys):
    network = dense()
    network.fit(X, LABELS, 1, 0.1, 8, seed=0)
    assert network.engine == "NumPy"
    assert capsys.readouterr().out.startswith("epoch 1/1  loss")


@pytest.mark.usefixtures("everything_pays")
def test_long_trainings_are_compiled_and_say_so(capsys):
    network = dense()
    network.fit(X, LABELS, 1, 0.1, 8, seed=0, validation=(X, LABELS))
    line, *_ = capsys.readouterr().out.splitlines()
    assert network.engine == f"C, {line}"
    assert line.startswith("compiled ")
    network.fit(X, LABELS, 1, 0.1, 8, compile=False, **QUIET)
    assert network.engine == "NumPy"


@pytest.mark.usefixtures("everything_pays")
def test_detect_nan_looks_at_numpy():
    network = dense()
    with tg.detect_nan():
        network.fit(X, LABELS, 1, 0.1, 8, **QUIET)
        assert "detect_nan looks at every op" in network.engine
        with pytest.raises(tg.UncompilableError, match="detect_nan"):
            network.fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET)


@pytest.mark.parametrize("call", [
    lambda n, c: n.fit(X, LABELS, 1, 0.1, compile=c), lambda n, c: n.predict(X, compile=c),
    lambda n, c: n.evaluate(X, LABELS, compile=c),
], ids=["fit", "predict", "evaluate"])  # fmt: skip
def test_the_choice_is_true_false_or_none(call):
    with pytest.raises(TypeError, match=r"expected compile to be True, False or None, got 'yes'"):
        call(dense(), "yes")


# Predictions


@pytest.mark.parametrize("rows", [1, 3, 16, 17, 21])
@pytest.mark.parametrize("batch_size", [4, 16, 256])
def test_predictions_are_those_of_numpy(rows, batch_size):
    network = NETWORKS["batch norm"][1]()
    network.fit(IMAGES, LABELS, 1, 0.1, 8, compile=False, **QUIET)
    x = IMAGES[:rows]
    expected = network.predict(x, batch_size)
    np.testing.assert_allclose(network.predict(x, batch_size, compile=True), expected, rtol=1e-12)
    found, figures = (
        network.evaluate(x, LABELS[:rows], batch_size, sample_weight=1 + np.arange(rows), compile=choice)
        for choice in (True, False)
    )
    assert found == pytest.approx(figures, rel=1e-12)


def test_a_prediction_does_not_depend_on_the_rows_beside_it_nor_need_code_of_its_own():
    network = dense()
    whole = network.predict(X, compile=True)
    for rows in range(1, 22):
        np.testing.assert_array_equal(network.predict(X[:rows], compile=True), whole[:rows])
    assert network.code["prediction"].recordings == 2


def test_where_rows_are_mixed_a_last_batch_has_code_of_its_own():
    class Centres(tg.Layer):
        def forward(self, x):
            return x - tg.mean(x, axis=0, keepdims=True)

    network = layered(lambda _: Centres(), lambda o: tg.Dense(4, 3, **o))()
    np.testing.assert_allclose(network.predict(X, 8, compile=True), network.predict(X, 8), rtol=1e-12)


def test_weights_and_layers_are_read_when_a_prediction_is_made():
    network = dense()
    network.predict(X, compile=True)
    network.layers[0].weights.data = network.layers[0].weights.data * 2
    np.testing.assert_allclose(network.predict(X, compile=True), network.predict(X), rtol=1e-12)
    network.layers[1] = tg.ReLU()
    np.testing.assert_allclose(network.predict(X, compile=True), network.predict(X), rtol=1e-12)


def test_a_row_that_an_embedding_does_not_have_is_no_prediction():
    network = NETWORKS["embedding"][1]()
    network.predict(NUMBERS, compile=True)
    with pytest.raises(ValueError, match="expected numbers from 0 to 6, got 7"):
        network.predict(NUMBERS + 1, compile=True)


def test_copies_and_pickles_have_the_network_and_not_its_code():
    network, _ = trained(dense, True, X, LABELS)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.history == network.history
        assert twin.engine == network.engine
        assert network.code
        assert not twin.code
        np.testing.assert_array_equal(twin.predict(X, compile=True), network.predict(X, compile=True))
        twin.fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_goes_on():
    network, _ = trained(dense, True, X, LABELS)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            network.fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET)
            os.write(writer, pickle.dumps(network.state()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        state = pickle.load(file)
    os.waitpid(child, 0)
    network.fit(X, LABELS, 1, 0.1, 8, compile=True, **QUIET)
    assert_identical((state, 0), (network.state(), 0))


def test_trainings_in_threads_do_not_meet():
    alone, _ = trained(dense, True, X, LABELS)
    networks = [dense() for _ in range(3)]
    threads = [
        threading.Thread(target=n.fit, args=(X, LABELS, 3, 0.1, 8), kwargs={**QUIET, "compile": True})
        for n in networks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for network in networks:
        assert_identical((network.state(), 0), (alone.state(), 0))


def test_bits_do_not_depend_on_the_number_of_threads():
    x, make = NETWORKS["convolution"]
    states = []
    for threads in (1, 2, 3):
        with tg.tuned_process(threads=threads):
            states.append(
                trained(make, True, np.tile(x, (4, 1, 1, 1)), np.tile(LABELS, 4), batch_size=40)[0].state()
            )
    assert_identical((states[1], 0), (states[0], 0))
    assert_identical((states[2], 0), (states[0], 0))


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_compute_as_the_process_has(threads, monkeypatch):
    seen = []
    real = variant.Variant.update
    spy = lambda self, arrays, threads, update: seen.append(threads) or real(self, arrays, threads, update)
    monkeypatch.setattr(variant.Variant, "update", spy)
    with tg.tuned_process(threads=threads):
        trained(dense, True, X, LABELS)
    assert set(seen) == {threads}


# Estimators and the command line


def test_estimators_compile():
    options = {"hidden_layer_sizes": (6,), "max_epochs": 3, "batch_size": 8, "random_state": 0}
    options |= {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1, "tol": 10.0}
    found, expected = (
        TensorgradClassifier(**options, compile=choice).fit(X, LABELS) for choice in (True, False)
    )
    assert found.module_.engine[0] == "C"
    assert expected.module_.engine == "NumPy"
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-9)
    assert found.module_.code["prediction"].recordings
    assert not expected.module_.code
    for twin in (clone(found).fit(X, LABELS), pickle.loads(pickle.dumps(found))):
        assert twin.compile is True
        np.testing.assert_array_equal(twin.predict_proba(X), found.predict_proba(X))


def test_estimators_that_are_given_a_part_at_a_time_are_compiled_once():
    found, expected = (
        TensorgradRegressor(hidden_layer_sizes=(6,), batch_size=7, random_state=0, compile=choice)
        for choice in (True, False)
    )
    for _ in range(3):
        found.partial_fit(X, X[:, :2])
        expected.partial_fit(X, X[:, :2])
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-9)
    assert found.module_.code["loss"].recordings == 1


def command(*words):
    assert cli.main([str(word) for word in words]) == 0


def results(folder):
    state = tg.load_network(folder / "network.npz").state()
    report = json.loads((folder / "report.json").read_text())
    return state, {key: values for key, values in report["history"].items() if key != "seconds"}, report


def test_the_command_line_compiles_resumes_and_reports_what_computed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli_report, "_write_plot", lambda path, figure: None)
    words = ["train", "dense", "--epochs"]
    command(*words, 2, "--compile", "--out", tmp_path / "whole")
    assert "\ncompiled " in capsys.readouterr().out
    command(*words, 1, "--compile", "--out", tmp_path / "parts")
    command(*words, 2, "--resume", "--out", tmp_path / "parts")
    *whole, report = results(tmp_path / "whole")
    assert_identical(results(tmp_path / "parts")[:2], whole)
    assert report["engine"].startswith("C, compiled ")
    (tmp_path / "run.toml").write_text("compile = false\n")
    command(*words, 2, "--config", tmp_path / "run.toml", "--out", tmp_path / "numpy")
    by_numpy = results(tmp_path / "numpy")[2]
    assert by_numpy["engine"] == "NumPy"
    assert by_numpy["history"]["loss"] == pytest.approx(report["history"]["loss"], rel=1e-2)
    capsys.readouterr()
    command(*words, 1)
    assert "compiled" not in capsys.readouterr().out


def test_the_command_line_ends_with_1_where_nothing_compiles(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert cli.main(["train", "dense", "--compile"]) == 1
    assert capsys.readouterr().err.startswith("tensorgrad: no C compiler: ")


# Checkpoints


class DeathError(Exception):
    pass


class Dies(tg.Callback):
    def __init__(self, step=None):
        self.at_step = step

    def on_batch_end(self, training):
        if training.step == self.at_step:
            raise DeathError


def run(name, **more):
    network, data, options = arguments(name)
    options["callbacks"] = [*options.get("callbacks", []), more.pop("dies", Dies())]
    return network, outcome(network, network.fit(*data, **options, **more))


def die(name, path, step, **more):
    with pytest.raises(DeathError):
        run(name, dies=Dies(step), checkpoint=path, checkpoint_every=2, **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_died_at_any_step_resumes_bit_identically(name, tmp_path):
    _, expected = run(name, compile=True)
    for step in (1, 6, 13):
        path = tmp_path / f"{step}.npz"
        die(name, path, step, compile=True)
        network, found = run(name, checkpoint=path, resume=True)  # as it was, without being told
        assert network.engine[0] == "C"
        assert_identical(found, expected)


def test_a_training_goes_on_in_numpy_if_it_began_there(tmp_path, everything_pays):
    _, expected = run("plain", compile=False)
    die("plain", tmp_path / "c.npz", 3, compile=False)
    network, found = run("plain", checkpoint=tmp_path / "c.npz", resume=True)
    assert network.engine == "NumPy"
    assert_identical(found, expected)


def test_a_training_that_cannot_go_on_in_its_code_says_why(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    die("plain", path, 3, compile=True)
    network, data, options = arguments("plain")
    options["callbacks"] = [Dies()]
    before = network.state()
    with monkeypatch.context() as patch:
        patch.setattr(variant, "build", functools.partial(build, optimize="-O1"))
        for choice in (None, True):
            with pytest.raises(
                ValueError, match=r"cannot go on in it bit by bit: what .* makes here is other code"
            ):
                network.fit(*data, **options, checkpoint=path, resume=True, compile=choice)
    assert_identical((network.state(), network.history), (before, {}))
    network, data, _ = arguments("plain")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.delenv("CC", raising=False)
        with pytest.raises(ValueError, match=r"no C compiler.*With compile=False it goes on in NumPy"):
            network.fit(*data, **options, checkpoint=path, resume=True)
    assert_identical((network.state(), network.history), (before, {}))
    network.fit(*data, **options, checkpoint=path, resume=True, compile=False)
    assert network.engine == "NumPy: compile=False, though the training began in compiled code"
    assert len(network.history["loss"]) == 4


def test_a_checkpoint_of_before_is_one_of_numpy(tmp_path, everything_pays):
    path = tmp_path / "c.npz"
    die("plain", path, 3, compile=False)
    tree = tg.load_checkpoint(path)
    del tree["engine"]
    tg.save_checkpoint(path, tree)
    network, found = run("plain", checkpoint=path, resume=True)
    assert_identical(found, run("plain", compile=False)[1])
    assert network.engine[0] == "N"


PROGRAM = """
import functools, sys
from tensorgrad import Network
from tensorgrad.graph.native import variant
variant.build = functools.partial(variant.build, optimize="-O0")
sys.path.insert(0, sys.argv.pop(1))
Network.fit = functools.partialmethod(Network.fit, compile=True)
import resumable
resumable.main(*sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_process_resumes_bit_identically(tmp_path):
    def go(checkpoint, out, kill_after=None):
        words = [Path(__file__).parent, "momentum", tmp_path / checkpoint, tmp_path / out]
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"ready\n"
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        return process.returncode == 0

    assert go("whole.npz", "expected.npz")
    chance = random.Random(0)
    for _ in range(4):
        if go("c.npz", "found.npz", chance.uniform(0.05, 0.4)):
            break
    else:
        assert go("c.npz", "found.npz")
    with np.load(tmp_path / "found.npz") as found, np.load(tmp_path / "expected.npz") as expected:
        assert json.loads(str(found["history"])) == json.loads(str(expected["history"]))
        for key in expected.keys() - {"history"}:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_ctrl_c_finishes_the_step_and_writes_a_checkpoint(tmp_path):
    class Interrupts(tg.Callback):
        def __init__(self, step):
            self.at_step = step

        def on_batch_end(self, training):
            if training.step == self.at_step:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        path, network = tmp_path / "c.npz", dense()
        with pytest.raises(KeyboardInterrupt):
            network.fit(
                X, LABELS, 4, 0.1, 8, compile=True, callbacks=[Interrupts(5)], checkpoint=path, **QUIET
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert tg.load_checkpoint(path)["step"] == 5
    resumed, whole = dense(), dense()
    resumed.fit(X, LABELS, 4, 0.1, 8, callbacks=[Interrupts(None)], resume=path, **QUIET, compile=True)
    whole.fit(X, LABELS, 4, 0.1, 8, **QUIET, compile=True)
    assert_identical((resumed.state(), resumed.history["loss"]), (whole.state(), whole.history["loss"]))
