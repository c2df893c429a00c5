"""``tensorgrad predict``, ``evaluate`` and ``draw``: what is done with a trained network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.cli.report import confusion_table
from tensorgrad.data import load, one_hot, read_idx

Images = np.ndarray[Any, Any]


def predict(arguments: argparse.Namespace) -> int:
    """Print name, class and probability of each image."""
    network, notes = _loaded(arguments.model)
    for path in arguments.images:  # all are read before the first line is printed
        _read_images(path, notes["image_shape"])
    for path in arguments.images:
        images = _read_images(path, notes["image_shape"])
        outputs = _probabilities(network.predict(images), notes)
        for i, row in enumerate(outputs):
            name = f"{path}[{i}]" if len(outputs) > 1 else str(path)
            best = int(row.argmax())
            print(f"{name}\t{notes['classes'][best]}\t{row[best]:.4f}")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print loss, accuracy and confusion matrix on the test images of a data set."""
    network, notes = _loaded(arguments.model)
    if arguments.data == "digits" and arguments.data_dir is not None:
        raise ValueError("--data-dir needs --data mnist or fashion-mnist: digits come with scikit-learn")
    data = load(arguments.data, arguments.data_dir)
    if list(data.x_test.shape[1:]) != notes["image_shape"] or len(data.class_names) != len(notes["classes"]):
        raise ValueError(
            f"evaluate: {arguments.model} was trained on images {tuple(notes['image_shape'])} of "
            f"{len(notes['classes'])} classes; {data.name} has {data.x_test.shape[1:]} of {len(data.class_names)}"
        )
    outputs = network.predict(data.x_test)
    if notes["loss"] == "cross-entropy":
        loss = tg.cross_entropy(outputs, data.y_test)
    else:
        loss = tg.mse(outputs, one_hot(data.y_test, len(data.class_names), outputs.dtype), reduction="sum")
        loss = loss / len(outputs)
    predicted = outputs.argmax(axis=1)
    print(f"{data.name}: {len(data.x_test)} test images")
    print("confusion matrix (rows: true class, columns: predicted)")
    print(confusion_table(data.y_test, predicted, data.class_names))
    print(f"loss {float(loss):.4f}")
    print(f"test accuracy {np.mean(predicted == data.y_test):.4f}")
    return 0


def draw(arguments: argparse.Namespace) -> int:
    """Print the drawing in DOT, or write it to a file."""
    network, notes = _loaded(arguments.model)
    drawing = tg.draw(network, input_shape=tuple(notes["image_shape"]), depth=arguments.depth)
    if arguments.out is None:
        print(drawing.source)
    else:
        print(drawing.render(arguments.out))
    return 0


def _loaded(path: Path) -> tuple[tg.Network, dict[str, Any]]:
    network, notes = tg.load_network(path), tg.load_notes(path)
    wanted = {"classes": list, "image_shape": list, "loss": str}
    missing = [name for name, kind in wanted.items() if not isinstance(notes.get(name), kind)]
    if missing or not isinstance(network, tg.Network):
        raise tg.SavedFileError(
            f"{path}: expected a network that `tensorgrad train --out` wrote; "
            f"its notes have no {', '.join(missing) or 'fault, but it is no Network'}"
        )
    return network, notes


def _probabilities(outputs: Images, notes: dict[str, Any]) -> Images:
    """Softmax of logits; other outputs as they are."""
    return np.asarray(tg.softmax(outputs)) if notes["loss"] == "cross-entropy" else outputs


def _read_images(path: Path, shape: list[int]) -> Images:
    """The images in a file as (N, H, W, C) in [0, 1]; ValueError if they are not of ``shape``."""
    name = path.name.lower()
    if name.endswith(".npy"):
        images = np.load(path, allow_pickle=False)
    elif name.endswith(".png"):
        images = _read_png(path, shape[2])
    elif name.endswith((".gz", "-ubyte", ".idx")):
        images = read_idx(path)
    else:
        raise ValueError(f"predict: expected images in a file of .npy, .png, idx or idx .gz, got {path}")
    if images.dtype.kind not in "fiu":
        raise ValueError(f"predict: {path}: expected numbers, got {images.dtype}")
    found = images.shape
    images = next(_as_batches(images, tuple(shape)), None)
    if images is None:
        raise ValueError(f"predict: {path}: expected images of shape {tuple(shape)}, got {found}")
    if images.dtype.kind in "iu":
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32)


def _as_batches(images: Images, shape: tuple[int, ...]) -> Iterator[Images]:
    """``images`` as a batch, in the ways in which they can be one: the channel or the batch may be left out."""
    for candidate in (images, images[None], images[..., None], images[None, ..., None]):
        if candidate.shape[1:] == shape and len(candidate):
            yield candidate


def _read_png(path: Path, channels: int) -> Images:
    try:
        from matplotlib.image import imread
    except ImportError:
        raise ImportError(
            "predict: reading .png needs matplotlib; install it with pip install 'tensorgrad-numpy[plot]'"
        ) from None
    pixels: Images = imread(path)  # in [0, 1]
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]  # without transparency
    if channels == 1 and pixels.ndim == 3:
        pixels = pixels.mean(axis=2)  # grey
    return pixels
