"""``tensorgrad predict``, ``evaluate`` and ``draw``: what is done with a trained network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.cli.images import read_images
from tensorgrad.cli.report import compute_outputs, confusion_table, show_path
from tensorgrad.cli.train import LOSSES, make_target
from tensorgrad.data import load
from tensorgrad.data.dataset import PIXEL_MAXIMA

__all__ = ["draw", "evaluate", "predict"]


def predict(arguments: argparse.Namespace) -> int:
    """Print name, class and probability of each image."""
    network, notes = _load(arguments.model)
    lines = []
    for path in arguments.images:
        images = read_images(path, tuple(notes["image_shape"]), notes["pixel_maximum"])
        outputs = compute_outputs(network, images)
        if notes["loss"] == "cross-entropy":  # outputs are logits
            outputs = np.asarray(tg.softmax(outputs))
        for i, row in enumerate(outputs):
            name = f"{show_path(path)}[{i}]" if len(outputs) > 1 else show_path(path)
            best = int(row.argmax())
            lines.append(f"{name}\t{notes['classes'][best]}\t{row[best]:.4f}")
    print("\n".join(lines))  # when all is well
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print loss, accuracy and confusion matrix on the test images of a data set."""
    network, notes = _load(arguments.model)
    name = arguments.data or notes["options"]["data"]
    if name == "digits" and arguments.data_dir is not None:
        raise ValueError("--data-dir needs --data mnist or fashion-mnist: digits have no files")
    data = load(name, arguments.data_dir)
    if (list(data.x_test.shape[1:]), list(data.class_names)) != (notes["image_shape"], notes["classes"]):
        raise ValueError(
            f"evaluate: {arguments.model} is for images {tuple(notes['image_shape'])} of the classes "
            f"{', '.join(notes['classes'])}; {data.name} has images {data.x_test.shape[1:]} of the classes "
            f"{', '.join(data.class_names)}"
        )
    predicted = compute_outputs(network, data.x_test).argmax(axis=1)
    network.use(LOSSES[notes["loss"]])
    target = make_target(notes["loss"], data.y_test, len(data.class_names))
    loss = network.evaluate(data.x_test, target)["loss"]
    print(f"{data.name}: {len(data.x_test)} test images")
    print("confusion matrix (rows: true class, columns: predicted)")
    print(confusion_table(data.y_test, predicted, data.class_names))
    print(f"loss {loss:.4f}")
    print(f"test accuracy {np.mean(predicted == data.y_test):.4f}")
    return 0


def draw(arguments: argparse.Namespace) -> int:
    """Print the drawing in DOT, or write it to a file."""
    network, notes = _load(arguments.model)
    drawing = tg.draw(network, input_shape=tuple(notes["image_shape"]), depth=arguments.depth)
    if arguments.out is None:
        print(drawing.source)
    elif arguments.out.exists() and not (arguments.out.is_file() or arguments.out.is_dir()):
        raise ValueError(f"{arguments.out}: expected a file to write, found a pipe or a device")
    else:
        print(show_path(drawing.render(arguments.out)))
    return 0


def _load(path: Path) -> tuple[tg.Network, dict[str, Any]]:
    """A network of ``tensorgrad train --out`` with its notes, which fit it."""
    network, notes = tg.load_network(path), tg.load_notes(path)
    shape, classes, options = (notes.get(name) for name in ("image_shape", "classes", "options"))
    if not (
        isinstance(network, tg.Network)
        and isinstance(shape, list)
        and len(shape) == 3
        and all(type(length) is int and length > 0 for length in shape)
        and isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and notes.get("loss") in list(LOSSES)
        and isinstance(options, dict)
        and isinstance(options.get("data"), str)
        and type(notes.setdefault("pixel_maximum", PIXEL_MAXIMA.get(options["data"]))) is int
        and notes["pixel_maximum"] > 0
    ):
        raise tg.SavedFileError(f"{path}: expected a network of `tensorgrad train --out`, got another one")
    try:
        made = compute_outputs(network, np.zeros((1, *shape), network.dtype)).shape
    except ValueError as error:
        raise tg.SavedFileError(f"{path}: {error}") from error
    if made != (1, len(classes)):
        raise tg.SavedFileError(f"{path}: expected outputs for {len(classes)} classes, got {made[1:]}")
    return network, notes
