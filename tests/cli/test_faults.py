"""What is left in the folder of ``tensorgrad train --out`` by Ctrl-C, NaN, full disks and the like."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from runs import FILES, QUICK, assert_same_results, process, report_of

import tensorgrad as tg
from tensorgrad.cli import report, train
from tensorgrad.data import one_hot

# Ctrl-C


def interrupted(*arguments, times):
    """Exit status, output and error output of a training with so many Ctrl-C after an epoch."""
    with process(*arguments) as running:
        try:
            out = ""
            while "\nepoch " not in out and (line := running.stdout.readline()):
                out += line
            for _ in range(times):
                running.send_signal(signal.SIGINT)
                time.sleep(0.002)
            rest, err = running.communicate(timeout=60)
        finally:
            running.kill()
    return running.returncode, out + rest, err


@pytest.mark.usefixtures("no_plots")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_after_ctrl_c_the_results_are_there_and_the_training_goes_on(command, finished, tmp_path):
    flags = ("train", "modern", "--epochs", 6)
    status, out, err = interrupted(*flags, "--out", tmp_path, times=1)
    assert (status, err) == (130, "")
    assert "finished epochs; the results so far:" in out
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert report_of(tmp_path)["interrupted"]
    saved = tg.load_checkpoint(tmp_path / "checkpoint.npz")["network"]
    for path, values in tg.load_network(tmp_path / "network.npz").state().items():
        np.testing.assert_array_equal(saved[path], values)
    assert command(*flags, "--out", tmp_path, "--resume")[0] == 0
    assert not report_of(tmp_path)["interrupted"]
    assert_same_results(tmp_path, finished(*flags))


@pytest.mark.usefixtures("no_plots")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_after_any_number_of_ctrl_c_every_file_is_whole_and_the_training_goes_on(command, finished, tmp_path):
    flags = ("train", "dense", "--epochs", 20)
    for times in (2, 3):
        status, _, err = interrupted(*flags, "--out", tmp_path, "--resume", times=times)
        assert status == 130
        assert err in ("", "tensorgrad: interrupted\n")
        assert {path.name for path in tmp_path.iterdir()} <= FILES
        tg.load_checkpoint(tmp_path / "checkpoint.npz")
        if (tmp_path / "network.npz").exists():
            tg.load_network(tmp_path / "network.npz")
    assert command(*flags, "--out", tmp_path, "--resume")[0] == 0
    assert_same_results(tmp_path, finished(*flags))


@pytest.mark.usefixtures("no_plots")
def test_after_the_second_ctrl_c_the_network_is_that_of_the_checkpoint(command, tmp_path, monkeypatch):
    """The second raises at once: here between the steps of two parameters."""
    stepped = tg.MiniBatchSGD.step

    def step(optimizer):
        steps.append(1)
        if len(steps) == 60:
            optimizer.parameters[0].data = optimizer.parameters[0].data * 0
            raise KeyboardInterrupt
        stepped(optimizer)

    steps = []
    monkeypatch.setattr(tg.MiniBatchSGD, "step", step)
    status, out, _ = command(*QUICK, "--out", tmp_path)
    assert status == 130
    assert "interrupted after 0 finished epochs" in out
    saved = tg.load_checkpoint(tmp_path / "checkpoint.npz")["network"]
    for path, values in tg.load_network(tmp_path / "network.npz").state().items():
        np.testing.assert_array_equal(saved[path], values)


# Faults


@pytest.mark.usefixtures("no_plots")
def test_a_loss_that_is_not_finite_leaves_the_last_good_state(command, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVED_EVERY", train.timedelta(microseconds=1))

    def loss(prediction, target, weights=None):
        steps.append(prediction.requires_grad)
        value = tg.mse(prediction, target, weights, reduction="sum")
        return tg.exp(value + 1000) if sum(steps) > 50 and prediction.requires_grad else value

    steps = []
    monkeypatch.setitem(train.LOSSES, "squared-error", loss)
    status, out, err = command(*QUICK, "--out", tmp_path)
    assert status == 1
    assert err.startswith("tensorgrad: fit: the loss became inf in epoch 2, batch ")
    assert "exp" in err
    assert "test_faults.py" in err  # where it was made
    assert "back at the last checkpoint, after 1 finished epochs; the results so far:" in out
    assert {path.name for path in tmp_path.iterdir()} == FILES
    found = report_of(tmp_path)
    assert (found["epochs"], found["interrupted"]) == (1, False)
    assert f"tensorgrad: {found['failure']}\n" == err
    assert all(np.isfinite(x).all() for x in tg.load_network(tmp_path / "network.npz").state().values())
    assert command(*QUICK, "--out", tmp_path, "--resume")[0] == 1  # the same again
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.usefixtures("no_plots")
def test_a_learning_rate_far_too_high_leaves_the_start(command, tmp_path):
    status, _, err = command("train", "cnn", "--epochs", 2, "--learning-rate", 1e9, "--out", tmp_path)
    assert status == 1
    assert err.startswith("tensorgrad: fit: the loss became")
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"learning-curve.png"}
    start = tg.convolutional_network((8, 8, 1), 10, rng=np.random.default_rng(0)).state()
    for path, values in tg.load_network(tmp_path / "network.npz").state().items():
        np.testing.assert_array_equal(values, start[path])


@pytest.mark.usefixtures("no_plots")
def test_a_folder_that_cannot_be_written_to_shows_before_the_training(command, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for out in (tmp_path / "file", tmp_path / "file" / "in"):
        status, printed, err = command(*QUICK, "--out", out)
        assert (status, printed) == (1, "")
        assert err.startswith(f"tensorgrad: {out}: ")
        assert err.count("\n") == 1
    (tmp_path / "run" / "checkpoint.npz").mkdir(parents=True)
    status, printed, err = command(*QUICK, "--out", tmp_path / "run", "--resume")
    assert (status, printed) == (1, "")
    assert str(tmp_path / "run" / "checkpoint.npz") in err


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("at", [1, 3])
def test_a_full_disk_leaves_the_last_checkpoint(command, finished, tmp_path, at, monkeypatch):
    """So does a read-only folder: both are refused by the system with an OSError."""
    monkeypatch.setattr(train, "SAVED_EVERY", train.timedelta(milliseconds=1))
    fsync, synced = os.fsync, []

    def full(number):
        synced.append(number)
        if len(synced) >= 2 * at - 1:  # the file and its folder, each time
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    status, out, err = command(*QUICK, "--out", tmp_path)
    assert status == 1
    assert "No space left on device" in err
    assert "--resume" in err
    assert str(tmp_path / "checkpoint.npz") in err
    assert "accuracy" not in out
    monkeypatch.setattr(os, "fsync", fsync)
    assert {path.name for path in tmp_path.iterdir()} == ({"checkpoint.npz"} if at > 1 else set())
    assert command(*QUICK, "--out", tmp_path, "--resume")[0] == 0
    assert_same_results(tmp_path, finished(*QUICK))


def test_a_real_limit_on_the_size_of_files_is_told(tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    limit = (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    with process(
        *QUICK, "--out", tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    ) as p:
        _, err = p.communicate(timeout=60)
    assert p.returncode == 1
    assert "Traceback" not in err
    assert err.startswith(f"tensorgrad: cannot write {tmp_path / 'checkpoint.npz'}: File too large")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_plots")
def test_without_matplotlib_all_but_the_plots_is_written(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = command(*QUICK, "--out", tmp_path)
    assert status == 0
    assert err.startswith("tensorgrad: no plots: ")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.npz", "network.npz", "report.json"}


def test_a_network_that_gives_no_numbers_is_not_reported():
    network = tg.Network([tg.Dense(2, 2, rng=0)])
    network.layers[0].weights.data = np.full((2, 2), 3e38, np.float32)
    with pytest.raises(FloatingPointError, match="output of inf"):
        report.compute_outputs(network, np.ones((1, 2), np.float32))


def test_targets_are_labels_or_numbers():
    labels = np.array([2, 0])
    assert train.make_target("cross-entropy", labels, 3) is labels
    np.testing.assert_array_equal(train.make_target("squared-error", labels, 3), one_hot(labels, 3))
