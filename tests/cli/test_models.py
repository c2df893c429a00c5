"""The commands ``tensorgrad evaluate`` and ``draw``, and which files are taken for a trained network."""

import json
import re
import shutil

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.cli import models
from tensorgrad.data import Dataset, load
from tensorgrad.data.dataset import CLASS_NAMES

DIGITS = load("digits")


def other_network(path):
    tg.save_network(path, tg.Network([tg.Dense(2, 2, rng=0)]))


def weights_alone(path):
    tg.save_weights(path, tg.Network([tg.Dense(2, 2, rng=0)]))


def wrong_notes(**changes):
    def make(path):
        network = tg.dense_network((8, 8, 1), 10, rng=0)
        notes = {
            "classes": list("0123456789"), "image_shape": [8, 8, 1], "loss": "squared-error",
            "options": {"data": "digits"}, **changes,
        }  # fmt: skip
        tg.save_network(path, network, notes)

    return make


@pytest.mark.parametrize("arguments", [("predict", "{}", "x.npy"), ("evaluate", "{}"), ("draw", "{}")])
@pytest.mark.parametrize(
    "make",
    [
        other_network,
        weights_alone,
        lambda path: tg.save_checkpoint(path, {}),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: np.savez(path, a=np.ones(2)),
        wrong_notes(classes=list("012")),
        wrong_notes(classes=list(range(10))),
        wrong_notes(image_shape=[8, 8]),
        wrong_notes(image_shape=[8, 8, -1]),
        wrong_notes(image_shape=[8, 9, 1]),
        wrong_notes(loss=["x"]),
        wrong_notes(loss="x"),
        wrong_notes(options={}),
        wrong_notes(pixel_maximum=0),
        wrong_notes(pixel_maximum=255.0),
        wrong_notes(pixel_maximum=None),
        wrong_notes(options={"data": "cifar"}),
    ],
    ids=[
        "other", "weights", "checkpoint", "text", "savez", "few classes", "numbers", "2-D", "negative",
        "too large", "loss list", "loss", "options", "black", "fraction", "no maximum", "other data",
    ],
)  # fmt: skip
def test_a_file_that_is_no_trained_network_is_refused(command, tmp_path, arguments, make):
    make(path := tmp_path / "network.npz")
    status, out, err = command(*(word.format(path) for word in arguments))
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {path}: ")


@pytest.mark.parametrize(
    "damage",
    [lambda x: x[:-50], lambda x: x[: len(x) // 2], lambda x: x[:900] + b"?" + x[901:]],
    ids=["end", "half", "byte"],
)
def test_a_damaged_network_is_refused(command, model, tmp_path, damage):
    path = tmp_path / "network.npz"
    path.write_bytes(damage(model.read_bytes()))
    status, out, err = command("evaluate", path)
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {path}: ")


def test_a_missing_network_is_named(command, tmp_path):
    missing = tmp_path / "network.npz"
    assert command("evaluate", missing) == (1, "", f"tensorgrad: {missing}: No such file or directory\n")


# evaluate


def test_evaluate_says_what_training_reported(command, folder, model):
    report = json.loads((folder / "report.json").read_text())
    status, out, err = command("evaluate", model)
    assert (status, err) == (0, "")
    assert out.startswith("digits: 360 test images\n")
    assert f"test accuracy {report['test_accuracy']:.4f}\n" in out
    assert f"loss {report['history']['test_loss'][-1]:.4f}\n" in out
    assert command("evaluate", model, "--data", "digits")[1] == out
    counts = [int(n) for row in re.findall(r"^ ?\[+([\d ]+)\]+$", out, re.M) for n in row.split()]
    assert sum(counts) == 360
    assert sum(counts[::11]) / 360 == report["test_accuracy"]


def test_another_data_set_is_refused(command, model, monkeypatch):
    def clothes(name, data_dir):
        x, y = DIGITS.x_test, DIGITS.y_test
        return Dataset(name, x, y, x, y, CLASS_NAMES[name])

    monkeypatch.setattr(models, "load", clothes)
    status, out, err = command("evaluate", model, "--data", "fashion-mnist")
    assert (status, out) == (1, "")
    assert "is for images (8, 8, 1) of the classes 0, 1, 2" in err
    assert "fashion-mnist has images (8, 8, 1) of the classes T-shirt/top, Trouser" in err


def test_a_folder_for_digits_is_refused(command, model, tmp_path):
    status, out, err = command("evaluate", model, "--data-dir", tmp_path)
    assert (status, out) == (1, "")
    assert "--data-dir" in err


# draw


def test_draw_prints_dot_or_writes_a_file(command, model, tmp_path):
    status, out, _ = command("draw", model)
    assert status == 0
    assert out.startswith("digraph {")
    assert out.rstrip().endswith("}")
    assert "Conv2D" in out
    assert command("draw", model, "--out", tmp_path / "n.dot")[:2] == (0, f"{tmp_path / 'n.dot'}\n")
    assert (tmp_path / "n.dot").read_text().rstrip() == out.rstrip()
    folded = command("draw", model, "--depth", 0)[1]
    assert len(folded) < len(out)


def test_draw_writes_pictures(command, model, tmp_path):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz, which lays out pictures, is not installed")
    for name, start in (("n.svg", b"<?xml"), ("n.png", b"\x89PNG")):
        assert command("draw", model, "--out", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["n.gif", "n", "missing/n.dot"])
def test_draw_refuses_other_files(command, model, tmp_path, name):
    status, out, err = command("draw", model, "--out", tmp_path / name)
    assert (status, out) == (1, "")
    assert str(tmp_path / name) in err
