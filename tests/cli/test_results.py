"""The folder of ``tensorgrad train --out``: what is in it, and how a training goes on from it."""

import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from runs import FILES, QUICK, assert_same_results, process, report_of

import tensorgrad as tg
from tensorgrad.cli import report, train
from tensorgrad.data import load


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def finished_folder(finished, tmp_path):
    """A folder of one's own of a training that is finished."""
    return Path(shutil.copytree(finished(*QUICK), tmp_path / "finished"))


def test_the_folder_has_all_that_was_found(command, tmp_path):
    out = tmp_path / "new" / "run"
    status, printed, err = command("train", "modern", "--epochs", 2, "--batch-size", 100, "--out", out)
    assert (status, err) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES
    assert all(name in printed.splitlines()[-1] for name in {str(out), *FILES})
    for name in ("learning-curve.png", "confusion.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert len((out / name).read_bytes()) > 10_000
    found = report_of(out)
    assert (
        f"test accuracy {found['test_accuracy']:.4f}\ntrain accuracy {found['train_accuracy']:.4f}\n"
        in printed
    )
    assert found["options"] == {
        **{name: value for name, value in vars(train.NETWORKS["modern"]).items() if name != "build"},
        "network": "modern", "data": "digits", "dtype": "float32", "seed": 0, "flip": False,
        "epochs": 2, "batch_size": 100,
    }  # fmt: skip
    assert (found["epochs"], found["interrupted"], found["failure"]) == (2, False, None)
    assert found["history"]["test_accuracy"][-1] == pytest.approx(found["test_accuracy"])
    assert not any("validation" in key for key in found["history"])
    digits = load("digits")
    network = tg.load_network(out / "network.npz")
    assert np.mean(network.predict(digits.x_test).argmax(axis=1) == digits.y_test) == found["test_accuracy"]
    assert (
        np.mean(network.predict(digits.x_train).argmax(axis=1) == digits.y_train) == found["train_accuracy"]
    )


def test_the_report_has_no_option_that_was_not_used(finished):
    folder = finished("train", "modern", "--epochs", 1, "--optimizer", "adam", "--shift", 0)
    options = report_of(folder)["options"]
    assert options == tg.load_notes(folder / "network.npz")["options"]
    assert options.keys() == {
        "network", "data", "dtype", "seed", "flip", "epochs", "batch_size", "loss", "optimizer",
        "learning_rate", "weight_decay", "schedule", "shift", "rotate",
    }  # fmt: skip
    assert (options["optimizer"], options["learning_rate"]) == ("adam", 0.001)


@pytest.mark.usefixtures("no_plots")
def test_the_curve_says_test_and_not_validation(command, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib, which draws, is not installed")
    drawn = []
    monkeypatch.setattr(report, "_write_plot", lambda path, figure: drawn.append(figure))
    assert command(*QUICK, "--out", tmp_path)[0] == 0
    labels = [[line.get_label() for line in axes.lines] for axes in drawn[0].axes]
    assert labels == [["training", "test"]] * 2
    tg.plot_history(report_of(tmp_path)["history"])


@pytest.mark.usefixtures("no_plots")
def test_a_folder_changes_nothing(command, tmp_path):
    def numbers(out):
        return [line.rsplit("  ", 1)[0] for line in out.splitlines() if line.startswith(("epoch", "test"))]

    assert numbers(command(*QUICK, "--out", tmp_path)[1]) == numbers(command(*QUICK)[1])


@pytest.mark.usefixtures("no_plots")
def test_a_checkpoint_is_not_overwritten(command, finished_folder):
    before = contents(finished_folder)
    status, out, err = command(*QUICK, "--out", finished_folder)
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {finished_folder / 'checkpoint.npz'} is there already")
    assert "--resume" in err
    assert contents(finished_folder) == before


# Resuming


@pytest.mark.usefixtures("no_plots")
def test_without_a_checkpoint_resume_begins(command, finished, tmp_path):
    assert command(*QUICK, "--out", tmp_path, "--resume")[0] == 0
    assert_same_results(tmp_path, finished(*QUICK))


@pytest.mark.usefixtures("no_plots")
def test_a_finished_training_resumes_to_its_report_or_goes_on(command, finished, finished_folder):
    before = report_of(finished_folder)
    assert command(*QUICK, "--out", finished_folder, "--resume")[0] == 0
    assert report_of(finished_folder) == before
    longer = ("train", "dense", "--epochs", 4)
    assert command(*longer, "--out", finished_folder, "--resume")[0] == 0
    assert_same_results(finished_folder, finished(*longer))


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--seed", 1), "seed was 0, is 1"),
        (("--learning-rate", 0.1), "learning-rate was 0.01, is 0.1"),
        (
            ("--momentum", 0.5, "--dtype", "float64"),
            "dtype was float32, is float64, momentum was 0.0, is 0.5",
        ),
        (("--schedule", "cosine"), "schedule was constant, is cosine"),
        (("--flip",), "flip was False, is True"),
        (("--loss", "cross-entropy"), "loss was squared-error, is cross-entropy"),
    ],
)
def test_other_options_are_refused_with_what_differs(command, finished_folder, flags, told):
    before = contents(finished_folder)
    status, out, err = command(*QUICK, "--out", finished_folder, "--resume", *flags)
    assert (status, out) == (1, "")
    path = finished_folder / "checkpoint.npz"
    assert err == f"tensorgrad: --resume: {path} is of a training with other options: {told}\n"
    assert contents(finished_folder) == before


@pytest.mark.usefixtures("no_plots")
def test_more_epochs_are_refused_where_the_learning_rate_depends_on_them(command, tmp_path):
    flags = ("train", "dense", "--schedule", "cosine", "--out", tmp_path)
    assert command(*flags, "--epochs", 1)[0] == 0
    status, _, err = command(*flags, "--epochs", 2, "--resume")
    assert status == 1
    assert "epochs was 1, is 2" in err


def foreign(path):
    tg.save_checkpoint(path, {"epoch": 1})


def of_another_program(path):
    network = tg.Network([tg.Dense(1, 1, rng=0)])
    network.use(tg.mse)
    x = np.ones((4, 1), np.float32)
    network.fit(x, x, 1, 0.1, checkpoint=path, verbose=False)


def with_callbacks(callbacks):
    return lambda path: tg.save_checkpoint(path, {"callbacks": callbacks})


def cut(path):
    foreign(path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("make", [
    foreign, of_another_program, cut, lambda path: path.write_bytes(b""), with_callbacks(1),
    with_callbacks([1, {}]), with_callbacks([{"class": "Options"}]),
    with_callbacks([{"class": "Options", "state": 3}]),
], ids=range(8))  # fmt: skip
def test_a_checkpoint_that_is_none_of_its_own_is_refused(command, tmp_path, make):
    make(tmp_path / "checkpoint.npz")
    before = (tmp_path / "checkpoint.npz").read_bytes()
    status, out, err = command(*QUICK, "--out", tmp_path, "--resume")
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {tmp_path / 'checkpoint.npz'}: ")
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


@pytest.mark.usefixtures("no_plots")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_training_resumes_bit_identically(command, finished, tmp_path):
    flags = ("train", "modern", "--epochs", 6)
    chance, kills = random.Random(0), 0
    for _ in range(2):
        with process(*flags, "--out", tmp_path, "--resume") as killed:
            while "sgd" not in (line := killed.stdout.readline()):
                assert line, killed.stderr.read()
            try:
                killed.wait(chance.uniform(0.1, 0.5))
            except subprocess.TimeoutExpired:
                killed.send_signal(signal.SIGKILL)
                kills += 1
            killed.communicate(timeout=60)
    assert kills > 0
    assert command(*flags, "--out", tmp_path, "--resume")[0] == 0
    assert_same_results(tmp_path, finished(*flags))
