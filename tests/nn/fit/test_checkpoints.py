"""Resumed trainings: the same as if they had never been interrupted, or refused."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from resumable import NAMES, arguments, images, network, outcome

import tensorgrad as tg


def assert_identical(found, expected):
    (state, history), (true_state, true_history) = found, expected
    assert state.keys() == true_state.keys()
    for path in state:
        np.testing.assert_array_equal(state[path], true_state[path], err_msg=path)
    assert history == true_history


class DeathError(Exception):
    pass


class Dies(tg.Callback):
    """Ends the training as hard as a process can without ending: at a step or at the end of an epoch."""

    def __init__(self, step=None, epoch=None):
        self.at_step, self.at_epoch = step, epoch

    def on_batch_end(self, training):
        if training.step == self.at_step:
            raise DeathError

    def on_epoch_end(self, training):
        if training.epoch == self.at_epoch:
            raise DeathError


def trained(name, **more):
    fitted, data, options = arguments(name)
    options["callbacks"] = [*options.get("callbacks", []), Dies()]
    return outcome(fitted, fitted.fit(*data, **options, **more))


def interrupted(name, path, dies, **more):
    fitted, data, options = arguments(name)
    options["callbacks"] = [*options.get("callbacks", []), dies]
    with pytest.raises(DeathError):
        fitted.fit(*data, **options, checkpoint=path, **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_changes_nothing(name, tmp_path):
    assert_identical(trained(name, checkpoint=tmp_path / "c.npz", checkpoint_every=1), trained(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_died_at_any_step_resumes_bit_identically(name, tmp_path):
    expected = trained(name)
    path = tmp_path / "c.npz"
    for step in range(1, 14, 1 if name == "momentum" else 3):
        path.unlink(missing_ok=True)
        interrupted(name, path, Dies(step=step), checkpoint_every=2)
        assert_identical(trained(name, checkpoint=path, resume=True), expected)


@pytest.mark.parametrize("name", ["adam", "stopping"])
def test_a_training_that_died_between_epochs_resumes_bit_identically(name, tmp_path):
    expected = trained(name)
    for epoch in (1, 2, 4):
        path = tmp_path / f"{epoch}.npz"
        interrupted(name, path, Dies(epoch=epoch))
        assert_identical(trained(name, checkpoint=path, resume=True), expected)


def test_a_training_that_died_again_and_again_resumes_bit_identically(tmp_path):
    expected, path = trained("adam"), tmp_path / "c.npz"
    for step in (3, 4, 7, 12):
        interrupted("adam", path, Dies(step=step), checkpoint_every=1, resume=True)
    assert_identical(trained("adam", checkpoint=path, resume=True), expected)


def test_an_iterator_is_read_on_to_where_it_was(tmp_path):
    def endless():
        rng = np.random.default_rng(0)
        x, y = images()
        while True:
            rows = rng.integers(0, len(x), 8)
            yield x[rows], y[rows]

    def fit(**more):
        fitted = network()
        options = {"epochs": 3, "learning_rate": 0.05, "steps_per_epoch": 5, "seed": 0, "verbose": False}
        return outcome(fitted, fitted.fit(endless(), **options, **more))

    expected = fit(callbacks=[Dies()])
    for step in (4, 5, 8):
        path = tmp_path / f"{step}.npz"
        with pytest.raises(DeathError):
            fit(checkpoint=path, checkpoint_every=1, callbacks=[Dies(step=step)])
        assert_identical(fit(checkpoint=path, resume=True, callbacks=[Dies()]), expected)


def test_a_finished_training_resumes_to_its_end_and_may_go_on(tmp_path):
    fitted, data, options = arguments("stopping")
    fitted.fit(*data, **options, checkpoint=tmp_path / "c.npz")
    again, data, options = arguments("stopping")
    again.fit(*data, **options, checkpoint=tmp_path / "c.npz", resume=True)
    assert_identical(outcome(again, again.history), outcome(fitted, fitted.history))
    assert again.history["seconds"] == fitted.history["seconds"]

    short, data, options = arguments("momentum")
    short.fit(*data, **{**options, "epochs": 2}, checkpoint=tmp_path / "d.npz")
    longer, data, options = arguments("momentum")
    longer.fit(*data, **options, checkpoint=tmp_path / "d.npz", resume=True)
    whole, data, options = arguments("momentum")
    whole.fit(*data, **options)
    assert_identical(outcome(longer, longer.history), outcome(whole, whole.history))


# Killed processes


PROGRAM = Path(__file__).with_name("resumable.py")


def run(name, checkpoint, out, kill_after=None):
    """Run the program; kill it so many seconds after it began to train. Whether it ended, and when."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, PROGRAM, name, checkpoint, out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"ready\n", process.stderr.read().decode()
        begun = time.perf_counter()
        if kill_after is not None:
            try:
                process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        error = process.communicate(timeout=120)[1].decode()
        assert process.returncode in (0, -signal.SIGKILL), error
        return process.returncode == 0, time.perf_counter() - begun
    finally:
        process.kill()
        process.communicate()


def assert_survives(name, folder, shares):
    """Kill the program after shares of the time that it takes alone; how often that was in time."""
    _, seconds = run(name, folder / "whole.npz", folder / "expected.npz")
    kills = 0
    for share in shares:
        finished, _ = run(name, folder / "c.npz", folder / "found.npz", share * seconds)
        kills += not finished
        if finished:
            break
    else:
        assert run(name, folder / "c.npz", folder / "found.npz")[0]
    with np.load(folder / "found.npz") as found, np.load(folder / "expected.npz") as expected:
        assert json.loads(str(found["history"])) == json.loads(str(expected["history"]))
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"history"}:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    return kills


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_process_resumes_bit_identically(tmp_path):
    chance = random.Random(0)
    assert assert_survives("momentum", tmp_path, [0.1, *(chance.uniform(0.1, 0.4) for _ in range(3))])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
@pytest.mark.parametrize("name", NAMES)
def test_processes_killed_at_many_moments_resume_bit_identically(name, tmp_path):
    kills = 0
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        chance = random.Random(seed)
        kills += assert_survives(name, folder, [chance.uniform(0, 0.4) for _ in range(10)])
    assert kills > 2


# Refusals


def checkpoint_of(name, path):
    fitted, data, options = arguments(name)
    fitted.fit(*data, **{**options, "epochs": 1}, checkpoint=path)


X, Y = images()


@refused_calls(
    ("fit(X[:-1], Y[:-1])", ValueError, r"x: was float32 \(46, 6, 6, 1\).*is float32 \(45, 6, 6, 1\)"),
    (
        "fit(X + 1e-6, Y)",
        ValueError,
        r"x: was float32 \(46, 6, 6, 1\) with checksum.*is float32 \(46, 6, 6, 1\)",
    ),
    ("fit(X, Y[::-1])", ValueError, r"y: was int64 \(46,\) with checksum"),
    ("fit(X, Y, batch_size=9)", ValueError, "batch_size: was 8, is 9"),
    ("fit(X, Y, validation=(X, Y))", ValueError, r"validation x: was float32 \(10, 6, 6, 1\)"),
    ("fit(X, Y, metrics=[])", ValueError, r"metrics: was \['accuracy'\], is \[\]"),
    ("fit(X, Y, schedule=None)", ValueError, "schedule: was CosineDecay, every batch, is none"),
    ("fit(X, Y, optimizer=lambda p: tg.Adam(p, 0.1))", ValueError, "optimizer: was MiniBatchSGD, is Adam"),
    ("fit(X, Y, class_weight='balanced')", ValueError, "class_weight: was None, is balanced"),
    ("fit(X, Y, augment=tg.data.Augment(flip=True))", ValueError, r"augment: was none, is Augment\("),
    (
        "fit(X, Y, seed=np.random.Generator(np.random.MT19937(0)))",
        ValueError,
        "generator: was PCG64, is MT19937",
    ),
    ("fit(X, Y, callbacks=[tg.EarlyStopping()])", ValueError, r"callbacks.*\[\].*EarlyStopping"),
)
def test_another_training_is_refused_with_what_differs(call, error, message, tmp_path):
    checkpoint_of("momentum", tmp_path / "c.npz")
    fitted, _, options = arguments("momentum")
    before = fitted.state()

    def fit(x, y, **change):
        fitted.fit(x, y, **{**options, **change}, resume=tmp_path / "c.npz")

    assert_refused(call, error, f"(?s)fit, resume: .*{message}", fit=fit, X=X, Y=Y)
    assert_identical((fitted.state(), fitted.history), (before, {}))


def test_another_network_or_loss_is_refused(tmp_path):
    checkpoint_of("momentum", tmp_path / "c.npz")
    _, data, options = arguments("momentum")
    other = network(dropout=False)
    with pytest.raises(ValueError, match=r"network: was .*Dropout"):
        other.fit(*data, **options, resume=tmp_path / "c.npz")
    other = network()
    other.use(lambda p, t: tg.cross_entropy(p, t))
    with pytest.raises(ValueError, match=r"loss: was cross_entropy, is .*lambda"):
        other.fit(*data, **options, resume=tmp_path / "c.npz")


def test_files_that_are_no_checkpoint_of_a_training_are_refused(tmp_path):
    fitted, data, options = arguments("plain")
    with pytest.raises(FileNotFoundError):
        fitted.fit(*data, **options, resume=tmp_path / "missing.npz")
    tg.save_checkpoint(tmp_path / "other.npz", {"epoch": 1})
    with pytest.raises(ValueError, match="not one that fit wrote"):
        fitted.fit(*data, **options, resume=tmp_path / "other.npz")
    checkpoint_of("plain", tmp_path / "c.npz")
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    before = fitted.state()
    with pytest.raises(tg.SavedFileError):
        fitted.fit(*data, **options, checkpoint=tmp_path / "c.npz", resume=True)
    assert_identical((fitted.state(), fitted.history), (before, {}))


def test_a_checkpoint_that_lacks_something_is_refused_by_its_name(tmp_path):
    fitted, data, options = arguments("plain")
    checkpoint_of("plain", tmp_path / "c.npz")
    whole, before = tg.load_checkpoint(tmp_path / "c.npz"), fitted.state()
    without = [({k: v for k, v in whole.items() if k != name}, name) for name in whole if name != "engine"]
    for part in ("tally", "engine"):
        for name in whole[part]:
            inner = {k: v for k, v in whole[part].items() if k != name}
            without.append(({**whole, part: inner}, f"{part} {name}"))
    for tree, name in [*without, ({**whole, "step": "3"}, "step"), ({**whole, "callbacks": {}}, "callbacks")]:
        tg.save_checkpoint(tmp_path / "broken.npz", tree)
        message = "not one that fit wrote" if name == "kind" else f"has not what fit writes as {name}$"
        with pytest.raises(ValueError, match=message):
            fitted.fit(*data, **options, resume=tmp_path / "broken.npz")
        assert_identical((fitted.state(), fitted.history), (before, {}))


@refused_calls(
    ("fit(resume=True)", ValueError, "needs checkpoint"),
    ("fit(checkpoint_every=3)", ValueError, "needs checkpoint"),
    ("fit(checkpoint='c.npz', checkpoint_every=0)", ValueError, "checkpoint_every.*positive integer, got 0"),
    (
        "fit(checkpoint='c.npz', checkpoint_every=0.5)",
        ValueError,
        "checkpoint_every.*positive integer, got 0.5",
    ),
    ("fit(checkpoint='c.npz', checkpoint_every=timedelta(0))", ValueError, "time above 0"),
)
def test_arguments_that_make_no_sense_are_refused(call, error, message, tmp_path, monkeypatch):
    def fit(**options):
        network().fit(X, Y, 1, 0.1, verbose=False, **options)

    monkeypatch.chdir(tmp_path)
    assert_refused(call, error, message, fit=fit, timedelta=timedelta)
    assert not list(tmp_path.iterdir())


# Faults while a checkpoint is written


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_training(tmp_path):
    fitted = network()
    before = fitted.state()
    with pytest.raises(tg.CheckpointError, match=r"missing.*could not be written.*after the start"):
        fitted.fit(X, Y, 1, 0.1, checkpoint=tmp_path / "missing" / "c.npz", verbose=False)
    assert_identical((fitted.state(), fitted.history), (before, {}))


def test_a_full_disk_stops_the_training_and_loses_nothing(tmp_path, monkeypatch):
    expected = trained("adam")
    fitted, data, options = arguments("adam")
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 17:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    callbacks = [Dies()]
    with pytest.raises(tg.CheckpointError, match=r"No space left on device.*stops after epoch \d") as caught:
        fitted.fit(*data, **options, callbacks=callbacks, checkpoint=tmp_path / "c.npz", checkpoint_every=1)
    monkeypatch.undo()
    assert isinstance(caught.value, OSError)
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]
    last = tg.load_checkpoint(tmp_path / "c.npz")
    caught.value.save(tmp_path / "elsewhere.npz")
    kept = tg.load_checkpoint(tmp_path / "elsewhere.npz")
    assert kept["step"] == last["step"] + 1 == caught.value.training.step
    assert len(fitted.history["loss"]) == caught.value.training.finished
    for path in ("elsewhere.npz", "c.npz"):
        assert_identical(trained("adam", checkpoint=tmp_path / path, resume=True), expected)


def test_a_checkpoint_never_holds_what_is_not_finite(tmp_path):
    path = tmp_path / "c.npz"

    class Poison(tg.Callback):
        def on_batch_end(self, training):
            if training.step == 3:
                training.network.parameters()[0].data = np.full((3, 1, 3, 3), np.inf, np.float32)

    with pytest.raises(FloatingPointError, match=r"Conv2D0\S* became infinite"):
        network().fit(
            X, Y, 2, 0.1, 8, checkpoint=path, checkpoint_every=1, callbacks=[Poison()], verbose=False
        )
    assert tg.load_checkpoint(path)["step"] == 2
