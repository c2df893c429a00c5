"""The command ``tensorgrad train``: what it prints, what its flags do, how it fails and how it ends."""

import inspect
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tensorgrad as tg
from tensorgrad.cli import train
from tensorgrad.data import Dataset, load

MNIST = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "mnist"


@pytest.fixture
def mnist_dir():
    if not (MNIST / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"the original MNIST files are not in {MNIST}")
    return MNIST


def accuracies(out):
    """Test and training accuracy as printed."""
    test, train = (
        float(re.search(rf"^{which} accuracy ([\d.]+)$", out, re.M)[1]) for which in ("test", "train")
    )
    return test, train


def confusion(out):
    """The confusion matrix as printed."""
    rows = re.findall(r"^ ?\[+([\d ]+)\]+$", out, re.M)
    return np.array([[int(count) for count in row.split()] for row in rows])


def losses(out):
    return [float(loss) for loss in re.findall(r"^epoch \d+/\d+  loss ([\d.]+)", out, re.M)]


# What it prints


@pytest.mark.parametrize("seed", [None, 1])
def test_by_default_the_convolutional_network_reads_digits(command, seed):
    status, out, _ = command("train", *(() if seed is None else ("--seed", seed)))
    assert status == 0
    assert out.startswith("digits: 1437 training and 360 test images of shape (8, 8, 1)\n")
    assert f"seed {seed or 0};" in out
    assert len(losses(out)) == 20
    test, train = accuracies(out)
    assert test >= 0.97
    assert train >= test - 0.01


def test_a_run_is_reported_from_the_data_to_the_confusion_matrix(command):
    status, out, err = command("train", "dense", "--epochs", "3")
    assert (status, err) == (0, "")
    table = [" ".join(line.split()) for line in out.splitlines()]
    for start in (
        f"1 Dense(64, 256) (N, 256) {64 * 256 + 256:,} {64 * 256:,} ",
        f"5 Dense(256, 10) (N, 10) {256 * 10 + 10:,} {256 * 10:,} ",
        f"total {65 * 256 + 257 * 256 + 257 * 10:,} ",
    ):
        assert any(line.startswith(start) for line in table)
    assert len(losses(out)) == 3
    matrix, (test, train) = confusion(out), accuracies(out)
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(load("digits").y_test))
    assert test == pytest.approx(matrix.trace() / matrix.sum(), abs=5e-5)
    assert 0 < train <= 1
    last = float(re.findall(r"^epoch 3/3 .* test accuracy ([\d.]+)", out, re.M)[-1])
    assert last == test
    assert "validation" not in out


def test_classes_with_names_are_named(command, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 8, 8, 1), np.float32), np.arange(12) % 3
    names = ("T-shirt/top", "Trouser", "Bag")
    monkeypatch.setattr(train, "load", lambda name, folder: Dataset(name, x, y, x[:6], y[:6], names))
    _, out, _ = command("train", "--data", "fashion-mnist", "--epochs", "1")
    assert out.startswith("fashion-mnist: 12 training and 6 test images")
    assert "  0: T-shirt/top\n  1: Trouser\n  2: Bag\n" in out
    assert confusion(out).shape == (3, 3)


def test_the_same_command_gives_the_same_numbers(command):
    def numbers():
        out = command("train", "cnn", "--epochs", "1")[1]
        return losses(out), confusion(out).tolist(), accuracies(out)

    assert numbers() == numbers()


# Flags


@pytest.fixture(scope="module")
def plain():
    """The losses of one epoch of the dense network with the default settings."""
    return fitted_losses()


def fitted_losses(**options):
    """What ``train dense --epochs 1`` should print, from the parts that the command is made of."""
    settings = {
        "learning_rate": 0.01, "batch_size": 32, "momentum": 0.0, "weight_decay": 0.0, "seed": 0, "epochs": 1,
        "dtype": "float32", **options,
    }  # fmt: skip
    digits = load("digits")
    rng = np.random.default_rng(settings.pop("seed"))
    network = tg.dense_network((8, 8, 1), 10, dtype=settings.pop("dtype"), rng=rng)
    network.use(lambda prediction, target: tg.mse(prediction, target, reduction="sum"))
    with threadpool_limits(1):
        history = network.fit(digits.x_train, np.eye(10)[digits.y_train], seed=rng, verbose=False, **settings)
    return [round(loss, 4) for loss in history["loss"]]


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--epochs", 2, "epoch 2/2"),
        ("--batch-size", 20, "batches of 20"),
        ("--learning-rate", 0.02, "learning rate 0.02"),
        ("--momentum", 0.5, "momentum 0.5"),
        ("--weight-decay", 0.01, "weight decay 0.01"),
        ("--seed", 3, "seed 3"),
        ("--dtype", "float64", "float64"),
    ],
)
def test_every_flag_takes_effect_and_is_shown(command, plain, flag, value, shown):
    status, out, _ = command("train", "dense", *(() if flag == "--epochs" else ("--epochs", 1)), flag, value)
    assert status == 0
    assert shown in out
    expected = fitted_losses(**{flag.strip("-").replace("-", "_"): value})
    assert losses(out) == pytest.approx(expected, abs=1e-4)
    if flag != "--dtype":  # whose effect is beyond the fourth digit
        assert expected != plain


@pytest.mark.parametrize("given", [None, 0.01])
def test_adam_has_its_own_rate_and_no_momentum(command, monkeypatch, given):
    made, adam = [], tg.AdamW

    def recording(parameters, *arguments, **options):
        made.append((*arguments, options))
        return adam(parameters, *arguments, **options)

    monkeypatch.setattr(tg, "AdamW", recording)
    flags = () if given is None else ("--learning-rate", given)
    status, out, _ = command("train", "dense", "--epochs", 1, "--optimizer", "adam", *flags)
    rate = given or inspect.signature(adam).parameters["learning_rate"].default
    assert status == 0
    assert made == [(rate, {"weight_decay": 0.0})]
    assert f"adam, learning rate {rate}, weight decay" in out
    assert "momentum" not in out


@pytest.mark.parametrize(("option", "least"), [("--shift", 8), ("--batch-size", 1438)])
@pytest.mark.parametrize("more", [0, 1, 10**30])
def test_what_does_not_fit_the_images_is_refused_before_anything_is_done(
    command, tmp_path, option, least, more
):
    status, out, err = command("train", "dense", option, least + more, "--out", tmp_path / "new")
    assert (status, out) == (1, "")
    assert err == f"tensorgrad: {option}: expected at most {least - 1} for digits, got {least + more}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", train.LOSSES)
@pytest.mark.parametrize("network", train.NETWORKS)
def test_every_network_learns_by_every_loss(command, tmp_path, network, loss):
    rate = 0.1 if loss == "cross-entropy" else 0.01
    flags = ("--loss", loss, "--learning-rate", rate, "--epochs", 3, "--out", tmp_path)
    status, out, _ = command("train", network, *flags)
    assert status == 0
    found = losses(out)
    assert found[-1] < found[0]
    saved = tg.load_network(tmp_path / "network.npz")
    assert isinstance(saved.layers[-1], tg.Sigmoid) == (loss == "squared-error" and network != "modern")
    image = np.zeros((8, 8, 1))
    np.save(tmp_path / "image.npy", image)
    status, out, _ = command("predict", tmp_path / "network.npz", tmp_path / "image.npy")
    (outputs,) = saved.predict(image[None])
    e = np.exp(outputs - outputs.max()) if loss == "cross-entropy" else outputs
    shown = e.max() / (e.sum() if loss == "cross-entropy" else 1)
    assert status == 0
    assert out.split("\t")[1:] == [str(outputs.argmax()), f"{shown:.4f}\n"]


@pytest.mark.parametrize("flags", [(), ("--dtype", "float64")])
def test_the_network_is_of_the_wanted_dtype(command, monkeypatch, flags):
    made = []

    def recording(*arguments, **options):
        made.append(tg.dense_network(*arguments, **options))
        return made[-1]

    monkeypatch.setitem(train.NETWORKS, "dense", replace(train.NETWORKS["dense"], build=recording))
    command("train", "dense", "--epochs", 1, *flags)
    assert made[0].dtype == np.dtype(flags[1] if flags else "float32")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("test",),
        ("train", "transformer"),
        ("train", "--epochs", "many"),
        ("train", "--epochs", "1.5"),
        ("train", "--learning-rate", "fast"),
        ("train", "--dtype", "float16"),
        ("train", "--data", "cifar"),
        ("train", "--depth", "3"),
        ("train", "--seed"),
        ("train", "--seed", "-1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_a_line_and_a_hint(command, arguments):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    line, hint = err.splitlines()
    assert re.match("tensorgrad( train)?: error: ", line)
    assert re.match("Try tensorgrad( train)? --help", hint)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", 0),
        ("--epochs", -3),
        ("--batch-size", 0),
        ("--learning-rate", -1),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--momentum", 1),
        ("--weight-decay", -1),
        ("--seed", "x"),
        ("--shift", 1.5),
        ("--rotate", -1),
    ],
)
def test_numbers_out_of_range_exit_with_2_and_name_themselves(command, flag, value):
    status, out, err = command("train", "dense", flag, value)
    assert (status, out) == (2, "")
    assert f"tensorgrad train: error: argument {flag}: expected " in err
    assert repr(str(value)) in err


def test_divergence_exits_with_1_and_says_what_helps(command):
    status, _, err = command("train", "cnn", "--epochs", 3, "--learning-rate", 1e18)
    assert status == 1
    assert re.match(r"tensorgrad: .*loss became (nan|inf).*learning rate", err)


# Data


def test_a_missing_data_folder_exits_with_1_and_is_named(command, tmp_path):
    status, _, err = command("train", "dense", "--data", "mnist", "--data-dir", tmp_path / "nowhere")
    assert status == 1
    assert err.startswith(f"tensorgrad: {tmp_path / 'nowhere'}: ")
    assert "train-images-idx3-ubyte.gz" in err


@pytest.mark.parametrize(
    "content", [b"", b"not gzip", b"\x1f\x8b\x08\x00cut short"], ids=["empty", "text", "cut"]
)
def test_a_corrupt_file_exits_with_1_and_is_named(command, tmp_path, content):
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{part}-ubyte.gz").write_bytes(content)
    status, out, err = command("train", "dense", "--data", "mnist", "--data-dir", tmp_path)
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {tmp_path / 'train-images-idx3-ubyte.gz'}: ")
    assert "replace it" in err


def test_a_data_folder_without_a_data_set_to_read_from_it_is_not_silently_ignored(command, tmp_path):
    status, _, err = command("train", "dense", "--epochs", 1, "--data-dir", tmp_path)
    assert status in (1, 2)
    assert "--data" in err


def test_mnist_is_read_from_a_folder(command, mnist_dir):
    status, out, _ = command("train", "dense", "--data", "mnist", "--data-dir", mnist_dir, "--epochs", 1)
    assert status == 0
    assert out.startswith("mnist: 60000 training and 10000 test images of shape (28, 28, 1)\n")
    assert "269,322" in out
    assert confusion(out).sum() == 10_000
    assert accuracies(out)[0] > 0.9


@pytest.mark.slow
def test_the_notebooks_first_experiment_reaches_its_accuracy(command, mnist_dir):
    _, out, _ = command("train", "dense", "--data", "mnist", "--data-dir", mnist_dir, "--epochs", 20)
    assert "learning rate 0.01, momentum 0.0, weight decay 0.0, batches of 32" in out
    # Seed 0 gives 0.9762 in float32 and in float64, so rounding does not matter here.
    assert accuracies(out)[0] >= 0.976


@pytest.mark.slow
def test_the_notebooks_second_experiment_reaches_more_with_every_filter_trained(command, mnist_dir):
    _, out, _ = command("train", "cnn", "--data", "mnist", "--data-dir", mnist_dir, "--epochs", 10)
    assert "learning rate 0.01, momentum 0.0, weight decay 0.0, batches of 32" in out
    # One epoch is noise of 0.001 around this; the median of five tells what the network has learned.
    last = [float(found) for found in re.findall(r"^epoch .* test accuracy ([\d.]+)", out, re.M)][-5:]
    assert statistics.median(last) >= 0.988  # after half of the notebook's 20 epochs


# Ctrl-C


@pytest.mark.parametrize(("step", "finished"), [(10, 0), (45 + 10, 1), (3 * 45 + 1, 3)])
def test_ctrl_c_ends_with_the_results_so_far(command, monkeypatch, step, finished):
    steps = []

    def interrupted(prediction, target):
        steps.append(prediction.requires_grad)
        if sum(steps) == step:
            raise KeyboardInterrupt
        return tg.mse(prediction, target, reduction="sum")

    monkeypatch.setitem(train.LOSSES, "squared-error", interrupted)
    status, out, err = command("train", "dense", "--epochs", 10)
    assert (status, err) == (130, "")
    assert len(losses(out)) == finished
    assert f"interrupted after {finished} finished epoch" in out
    assert confusion(out).sum() == 360
    assert 0 < accuracies(out)[0] <= 1


def test_ctrl_c_before_the_training_ends_without_a_traceback(command, monkeypatch):
    def interrupted(name, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "load", interrupted)
    assert command("train") == (130, "", "tensorgrad: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_sigint_ends_a_real_process_with_the_results_so_far():
    code = (  # a process that a shell started with & ignores SIGINT, and so would its children
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tensorgrad.cli import main; sys.exit(main(['train', 'dense', '--epochs', '100000']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out = ""
            while "epoch 2/" not in out and (line := process.stdout.readline()):
                out += line
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            rest, err = process.communicate(timeout=60)
        finally:
            process.kill()
    out += rest
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"interrupted after {len(losses(out))} finished epochs; the results so far:" in out
    assert confusion(out).sum() == 360


def test_python_m_tensorgrad_is_the_command():
    done = subprocess.run([sys.executable, "-m", "tensorgrad", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: tensorgrad")
    assert "train" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "tensorgrad", "train", "--help"], capture_output=True, text=True
    )
    for flag in (
        "data",
        "data-dir",
        "epochs",
        "batch-size",
        "learning-rate",
        "momentum",
        "weight-decay",
        "seed",
    ):
        assert f"--{flag}" in done.stdout
    failed = subprocess.run(
        [sys.executable, "-m", "tensorgrad", "train", "--epochs", "0"], capture_output=True
    )
    assert failed.returncode == 2
