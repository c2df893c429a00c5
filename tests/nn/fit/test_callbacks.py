"""Callbacks: their order, what they see, early stopping, and what is shown of the progress."""

import io
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

QUIET = {"verbose": False, "seed": 0}
X = np.random.default_rng(0).standard_normal((22, 3)).astype(np.float32)
Y = X[:, :1]


def linear():
    network = tg.Network([tg.Dense(3, 1, rng=0)])
    network.use(tg.mse)
    return network


class Log(tg.Callback):
    def __init__(self):
        self.events = []

    def note(self, event, training):
        finished = len(training.history.get("loss", ()))
        self.events.append((event, training.epoch, training.batch, training.step, finished))

    def on_train_begin(self, training):
        self.note("begin", training)

    def on_epoch_begin(self, training):
        self.note("epoch begins", training)

    def on_batch_end(self, training):
        self.note("batch", training)

    def on_epoch_end(self, training):
        self.note("epoch ends", training)

    def on_train_end(self, training):
        self.note("end", training)

    def close(self):
        self.events.append("closed")


def test_the_order_of_events_and_where_the_training_stands():
    log = Log()
    linear().fit(X, Y, 2, 0.1, 8, callbacks=[log], **QUIET)
    assert log.events == [
        ("begin", 0, 0, 0, 0),
        ("epoch begins", 1, 0, 0, 0), ("batch", 1, 1, 1, 0), ("batch", 1, 2, 2, 0), ("batch", 1, 3, 3, 0),
        ("epoch ends", 1, 3, 3, 1),
        ("epoch begins", 2, 0, 3, 1), ("batch", 2, 1, 4, 1), ("batch", 2, 2, 5, 1), ("batch", 2, 3, 6, 1),
        ("epoch ends", 2, 3, 6, 2),
        ("end", 2, 0, 6, 2),
        "closed",
    ]  # fmt: skip


class Halved(tg.Callback):
    def on_gradients(self, training):
        for p in training.optimizer.parameters:
            p.grad = 0.5 * p.grad


def test_gradients_are_changed_before_the_step():
    """Half of each gradient at twice the rate is the same step, to the last bit."""
    halved, plain = linear(), linear()
    halved.fit(X, Y, 3, 0.25, 8, callbacks=Halved(), **QUIET)
    plain.fit(X, Y, 3, 0.125, 8, **QUIET)
    for name, values in plain.state().items():
        np.testing.assert_array_equal(halved.state()[name], values)


def test_gradients_come_before_they_are_clipped_and_after_they_are_whole():
    class Norm(tg.Callback):
        def on_gradients(self, training):
            x, y = network.layers[0].weights.data, network.layers[0].bias.data
            by_hand = 2 * X.T @ (X @ x + y - Y) / len(X)
            np.testing.assert_allclose(training.optimizer.parameters[0].grad, by_hand, rtol=1e-5)
            self.seen = True

    network, log = linear(), Norm()
    sgd = lambda parameters: tg.MiniBatchSGD(parameters, 0.1, clip_norm=1e-3)
    network.fit(X, Y, 1, batch_size=22, optimizer=sgd, callbacks=log, **QUIET)
    assert log.seen


def test_a_gradient_that_a_callback_spoils_is_named_and_makes_no_step():
    class Spoil(tg.Callback):
        def on_gradients(self, training):
            if training.step:
                p = training.optimizer.parameters[1]
                p.grad = np.full(1, np.nan)

    network = linear()
    with pytest.raises(FloatingPointError, match=r"Dense0.bias became nan between .* in epoch 1, batch 2"):
        network.fit(X, Y, 1, 0.1, 8, callbacks=Spoil(), **QUIET)
    assert all(np.isfinite(values).all() for values in network.state().values())


def test_what_a_callback_sees():
    class Look(tg.Callback):
        def on_batch_end(self, training):
            self.losses.append((training.loss, training.rows))

        def on_train_begin(self, training):
            self.losses = []
            assert (training.epochs, training.batches) == (1, 3)
            assert training.network is network
            assert isinstance(training.optimizer, tg.MiniBatchSGD)
            assert training.schedule is None
            assert not training.validates
            assert not training.resumed

        def on_epoch_end(self, training):
            assert training.figures == {key: values[-1] for key, values in training.history.items()}

    look, network = Look(), linear()
    history = network.fit(X, Y, 1, 0.1, 8, callbacks=[look], **QUIET)
    losses, rows = zip(*look.losses, strict=True)
    assert rows == (8, 16, 22)
    assert np.average(losses, weights=[8, 8, 6]) == pytest.approx(history["loss"][0])


def test_callbacks_are_called_in_their_order_and_closed_after_an_error():
    calls = []

    class Named(tg.Callback):
        def __init__(self, name):
            self.name = name

        def on_batch_end(self, training):
            calls.append(self.name)
            if self.name == "b":
                raise RuntimeError

        def close(self):
            calls.append("closed " + self.name)

    with pytest.raises(RuntimeError):
        linear().fit(X, Y, 1, 0.1, callbacks=[Named("a"), Named("b"), Named("c")], **QUIET)
    assert calls == ["a", "b", "closed a", "closed b", "closed c"]


def test_a_callback_stops_the_training_after_the_epoch():
    class Stops(tg.Callback):
        def on_batch_end(self, training):
            if training.step == 4:
                training.stop("enough")

    assert len(linear().fit(X, Y, 10, 0.1, 8, callbacks=[Stops()], **QUIET)["loss"]) == 2


# Early stopping


class Scripted(tg.Callback):
    """Sets a weight to the epoch's number, and the figure that is watched to what is written."""

    def __init__(self, key, values):
        self.key, self.values = key, values

    def on_epoch_end(self, training):
        training.network.layers[0].bias.data = np.array([training.epoch], np.float32)
        training.figures[self.key] = self.values[training.epoch - 1]


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 2}, [5, 4, 3, 3, 3.5, 1], 5, 3),
        ({"patience": 1}, [5, 6, 1], 2, 1),
        ({"patience": 3}, [5, 4, 6, 6, 3, 7, 7], 7, 5),
        ({"patience": 2, "min_delta": 0.5}, [5, 4.6, 4.6, 1], 3, 1),
        ({"patience": 2, "min_delta": 0.3}, [5, 4.6, 4.6, 4.7, 1], 4, 2),
        ({"patience": 2, "mode": "max"}, [5, 6, 4, 4, 9], 4, 2),
    ],
)
def test_training_stops_when_nothing_improves_and_the_best_is_restored(options, values, epochs, best):
    network, stopping = linear(), tg.EarlyStopping("loss", **options)
    callbacks = [Scripted("loss", values), stopping]
    history = network.fit(X, Y, len(values), 0.1, callbacks=callbacks, **QUIET)
    assert len(history["loss"]) == epochs
    assert network.layers[0].bias.data[0] == best
    assert (stopping.best_epoch, stopping.best) == (best, values[best - 1])


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "mode", "epochs", "best", "wrong"),
    [
        ([5, NAN, NAN, 1], "min", 3, 1, [2, 3]),
        ([NAN, 5, 7, 4], "min", 4, 4, [1]),
        ([NAN, 5, 7, 4], "max", 4, 3, [1]),
        ([5, NAN, 4, NAN, NAN, 1], "min", 5, 3, [2, 4, 5]),
        ([float("inf"), 5, NAN], "min", 3, 2, [3]),
    ],
)
def test_a_figure_that_is_nan_never_counts_as_best_and_is_told(values, mode, epochs, best, wrong):
    network, stopping = linear(), tg.EarlyStopping("loss", 2, mode=mode)
    with pytest.warns(RuntimeWarning, match="EarlyStopping: loss is NaN in epoch") as told:
        history = network.fit(X, Y, len(values), 0.1, callbacks=[Scripted("loss", values), stopping], **QUIET)
    assert [int(str(w.message).split("epoch ")[1].split(",")[0]) for w in told] == wrong
    assert len(history["loss"]) == epochs
    assert network.layers[0].bias.data[0] == best
    assert (stopping.best_epoch, stopping.best) == (best, values[best - 1])


def test_a_figure_that_is_always_nan_stops_the_training_and_nothing_is_restored(capsys):
    network, stopping = linear(), tg.EarlyStopping("loss", 2)
    with pytest.warns(RuntimeWarning, match=r"NaN in epoch [12]"):
        network.fit(X, Y, 5, 0.1, callbacks=[Scripted("loss", [NAN] * 5), stopping], seed=0)
    assert (stopping.best, stopping.best_epoch) == (None, 0)
    assert network.layers[0].bias.data[0] == 2
    assert "stopped: loss was NaN in every epoch" in capsys.readouterr().out


def test_the_best_may_be_left_unrestored_and_is_restored_without_a_stop():
    for restore, expected in ((True, 2), (False, 3)):
        network = linear()
        stopping = tg.EarlyStopping("loss", 5, restore_best=restore)
        network.fit(X, Y, 3, 0.1, callbacks=[Scripted("loss", [5, 1, 3]), stopping], **QUIET)
        assert network.layers[0].bias.data[0] == expected


def test_early_stopping_begins_anew_with_each_fit():
    network, stopping = linear(), tg.EarlyStopping("loss", 1)
    network.fit(X, Y, 2, 0.1, callbacks=[Scripted("loss", [1, 2]), stopping], **QUIET)
    history = network.fit(X, Y, 2, 0.1, callbacks=[Scripted("loss", [9, 8]), stopping], **QUIET)
    assert len(history["loss"]) == 2
    assert stopping.best == 8


def test_buffers_are_restored_with_the_weights():
    network = tg.Network([tg.BatchNorm(3), tg.Dense(3, 1, rng=0)])
    network.use(tg.mse)
    kept = []

    class Keep(tg.Callback):
        def on_epoch_end(self, training):
            kept.append(network.state())

    callbacks = [Keep(), Scripted("loss", [3, 2, 2])]
    callbacks[1].on_epoch_end = lambda t: t.figures.update(loss=[3, 2, 2][t.epoch - 1])
    network.fit(X, Y, 3, 0.1, callbacks=[*callbacks, tg.EarlyStopping("loss", 5)], **QUIET)
    for path, values in network.state().items():
        np.testing.assert_array_equal(values, kept[1][path])
    assert (kept[1]["BatchNorm0.running_mean"] != kept[2]["BatchNorm0.running_mean"]).any()


@refused_calls(
    ("tg.EarlyStopping(patience=0)", ValueError, "patience to be a positive integer, got 0"),
    ("tg.EarlyStopping(min_delta=-1.0)", ValueError, "min_delta of at least 0"),
    ("tg.EarlyStopping(mode='auto')", ValueError, "got 'auto'"),
)
def test_early_stopping_refuses_what_makes_no_sense(call, error, message):
    assert_refused(call, error, message)


def own(prediction, target):
    return float(np.mean(prediction))


def own_loss(prediction, target):
    return float(np.mean(prediction))


def test_which_way_a_figure_of_ones_own_is_better_must_be_said_whatever_its_name():
    for metric in (own, own_loss):
        name = f"validation_{metric.__name__}"
        network = linear()
        before = network.state()
        options = {"metrics": [metric], "validation": (X, Y), **QUIET}
        with pytest.raises(ValueError, match=f"EarlyStopping: give mode 'min' or 'max' for '{name}'"):
            network.fit(X, Y, 2, 0.1, callbacks=[tg.EarlyStopping(name)], **options)
        with pytest.raises(ValueError, match=f"ReduceOnPlateau: give mode 'min' or 'max' for '{name}'"):
            network.fit(X, Y, 2, 0.1, schedule=tg.ReduceOnPlateau, schedule_monitor=name, **options)
        np.testing.assert_array_equal(network.state()["Dense0.weights"], before["Dense0.weights"])
        network.fit(X, Y, 2, 0.1, callbacks=[tg.EarlyStopping(name, mode="max")], **options)


def test_a_figure_that_is_not_there_is_refused():
    network = linear()
    before = network.state()
    with pytest.raises(ValueError, match="no validation_loss without validation data"):
        network.fit(X, Y, 1, 0.1, callbacks=[tg.EarlyStopping()], **QUIET)
    plateau = lambda o: tg.ReduceOnPlateau(o, mode="max")
    held_out = {"validation": (X, Y), **QUIET}
    for options, message in [
        (
            {"callbacks": tg.EarlyStopping("accuracy")},
            "expected 'accuracy' in the history, got loss, seconds",
        ),
        ({"callbacks": tg.EarlyStopping("los", mode="min")}, "'los' in the history.*did you mean 'loss'"),
        (
            {"callbacks": tg.EarlyStopping("validation_accuracy"), **held_out},
            "expected 'validation_accuracy' in the history, got loss, seconds, validation_loss",
        ),
        (
            {"callbacks": tg.EarlyStopping("validation_r2", mode="max"), **held_out},
            "expected 'validation_r2'",
        ),
        (
            {"schedule": plateau, "schedule_monitor": "validation_r2", **held_out},
            "expected schedule_monitor to be one of loss, seconds, learning_rate, validation_loss, got",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            network.fit(X, Y, 1, 0.1, **{**QUIET, **options})
        np.testing.assert_array_equal(network.state()["Dense0.weights"], before["Dense0.weights"])
        assert network.history == {}


# What is shown


def test_the_line_has_metrics_rate_and_the_reason_to_stop(capsys):
    linear().fit(
        X, Y, 9, 0.1, metrics=["r2"], schedule=lambda o: tg.ExponentialDecay(o, 0.5), seed=0,
        callbacks=[Scripted("loss", [1, 2]), tg.EarlyStopping("loss", 1)],
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "  r2 " in lines[0]
    assert "  learning rate 0.1  " in lines[0]
    assert "  learning rate 0.05  " in lines[1]
    assert lines[2] == "stopped: loss has not improved on 1 since epoch 1"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_is_removed_after_an_error(monkeypatch):
    pytest.importorskip("tqdm", reason="tqdm, which draws the bar, is not installed")
    from tqdm import tqdm

    monkeypatch.setattr(sys, "stderr", Terminal())

    class Breaks(tg.Callback):
        def on_batch_end(self, training):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        linear().fit(X, Y, 1, 0.1, callbacks=[Breaks()], seed=0)
    assert not list(getattr(tqdm, "_instances", ()))


def test_a_bar_of_batches_without_a_number_shows_them_all_the_same(monkeypatch):
    pytest.importorskip("tqdm", reason="tqdm, which draws the bar, is not installed")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    linear().fit([(X, Y)] * 3, epochs=1, learning_rate=0.1, seed=0)
    assert "epoch 1/1" in terminal.getvalue()


NOTEBOOK = """
import sys, types
import IPython, ipykernel.zmqshell, ipywidgets  # so that tqdm takes its notebook form
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
IPython.get_ipython = lambda: shell
import tqdm.notebook
shown = []
tqdm.notebook.display = lambda *a, **k: shown.append(a)
import numpy as np, tensorgrad as tg
n = tg.Network([tg.Dense(1, 1, rng=0)]); n.use(tg.mse)
n.fit(np.ones((4, 1)), np.ones((4, 1)), 1, 0.1, seed=0)
assert len(shown) == 1, shown
"""


def test_a_notebook_shows_a_widget():
    for module in ("tqdm", "ipywidgets", "ipykernel"):
        pytest.importorskip(module, reason=f"{module}, which a bar in a notebook needs, is not installed")
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
