"""``tensorgrad train``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.cli.report import confusion_table, labels_of
from tensorgrad.data import Augment, Dataset, load, one_hot


def squared_error(prediction: tg.Tensor, target: Any, weights: Any = None) -> tg.Tensor:
    """The loss whose derivative the notebook computed: the sum, not the mean, of the squares."""
    loss: tg.Tensor = tg.mse(prediction, target, weights, reduction="sum")
    return loss


@dataclass(frozen=True)
class Recipe:
    """How a network is trained where the command line does not say otherwise."""

    build: Callable[..., tg.Network]
    epochs: int
    batch_size: int
    loss: str
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    shift: int
    rotate: float


NETWORKS = {
    "dense": Recipe(tg.dense_network, 20, 32, "squared-error", "sgd", 0.01, 0.0, 0.0, "constant", 0, 0.0),
    "cnn": Recipe(
        tg.convolutional_network, 20, 32, "squared-error", "sgd", 0.01, 0.0, 0.0, "constant", 0, 0.0
    ),
    "modern": Recipe(tg.modern_network, 15, 64, "cross-entropy", "sgd", 0.1, 0.9, 5e-4, "one-cycle", 1, 0.0),
}
LOSSES: dict[str, Callable[..., tg.Tensor]] = {
    "squared-error": squared_error,
    "cross-entropy": tg.cross_entropy,
}
OPTIMIZERS = ("sgd", "adam")
SCHEDULES: dict[str, Callable[[tg.Optimizer, int], tg.Schedule] | None] = {
    "constant": None,
    "cosine": tg.CosineDecay,
    "one-cycle": tg.OneCycle,
    "warm-up-cosine": lambda optimizer, steps: tg.WarmUp(
        tg.CosineDecay(optimizer, steps - steps // 10), max(steps // 10, 1)
    ),
}
SAVED_EVERY = timedelta(seconds=20)


def train(arguments: argparse.Namespace) -> int:
    """Train, report, and write the results to ``--out``; 130 if Ctrl-C ended the training."""
    if arguments.data == "digits" and arguments.data_dir is not None:
        raise ValueError("--data-dir needs --data mnist or fashion-mnist: digits come with scikit-learn")
    if arguments.resume and arguments.out is None:
        raise ValueError("--resume needs --out, the folder with the checkpoint")
    recipe = NETWORKS[arguments.network]
    chosen = {name: getattr(arguments, name) for name in vars(recipe) if name != "build"}
    options = {name: getattr(recipe, name) if value is None else value for name, value in chosen.items()}
    data = load(arguments.data, arguments.data_dir)
    classes, shape = len(data.class_names), data.x_train.shape[1:]
    print(f"{data.name}: {len(data.x_train)} training and {len(data.x_test)} test images of shape {shape}")
    rng = np.random.default_rng(arguments.seed)
    network = recipe.build(shape, classes, dtype=arguments.dtype, rng=rng)
    network.use(LOSSES[options["loss"]])
    print(network.summary(shape, options["batch_size"]))
    print(f"{_told(options, arguments)}, {arguments.dtype}, seed {arguments.seed}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    status = 0
    try:
        _fit(network, data, options, arguments, rng)
    except KeyboardInterrupt:
        finished = len(network.history.get("loss", ()))
        print(f"\ninterrupted after {finished} finished epochs; the results so far:")
        status = 130
    seconds = time.perf_counter() - start
    print(f"trained in {seconds:.1f} s")
    report = _report(network, data)
    report |= {
        "seconds": seconds,
        "interrupted": status != 0,
        "network": arguments.network,
        "data": data.name,
    }
    report |= {"options": {**options, "seed": arguments.seed, "dtype": arguments.dtype}}
    if arguments.out is not None:
        _write(network, data, report, arguments)
    return status


def _told(options: dict[str, Any], arguments: argparse.Namespace) -> str:
    momentum = f", momentum {options['momentum']}" if options["optimizer"] == "sgd" else ""
    changes = [f"shifted by up to {options['shift']} pixels"] if options["shift"] else []
    changes += [f"turned by up to {options['rotate']} degrees"] if options["rotate"] else []
    changes += ["mirrored"] if arguments.flip else []
    return (
        f"{options['optimizer']}, learning rate {options['learning_rate']} ({options['schedule']}){momentum}, "
        f"weight decay {options['weight_decay']}, batches of {options['batch_size']}"
        f"{', images ' + ' and '.join(changes) if changes else ''}; loss: {options['loss']}"
    )


def _fit(
    network: tg.Network,
    data: Dataset,
    options: dict[str, Any],
    arguments: argparse.Namespace,
    rng: np.random.Generator,
) -> None:
    classes = len(data.class_names)
    # Labels for cross-entropy; the squared error compares numbers.
    target = partial(one_hot, classes=classes) if options["loss"] == "squared-error" else np.asarray
    rate, decay = options["learning_rate"], options["weight_decay"]
    steps = options["epochs"] * -(-len(data.x_train) // options["batch_size"])
    schedule = SCHEDULES[options["schedule"]]
    changes = {"shift": options["shift"], "rotate": options["rotate"], "flip": arguments.flip}

    def optimizer(parameters: list[tg.Parameter]) -> tg.Optimizer:
        if options["optimizer"] == "adam":
            return tg.AdamW(parameters, rate, weight_decay=decay)
        return tg.MiniBatchSGD(parameters, rate, momentum=options["momentum"], weight_decay=decay)

    network.fit(
        data.x_train,
        target(data.y_train),
        options["epochs"],
        batch_size=options["batch_size"],
        optimizer=optimizer,
        schedule=None if schedule is None else lambda optimizer: schedule(optimizer, steps),
        schedule_every="batch",
        validation=(data.x_test, target(data.y_test)),
        augment=Augment(**changes) if any(changes.values()) else None,
        checkpoint=None if arguments.out is None else arguments.out / "checkpoint.npz",
        checkpoint_every=None if arguments.out is None else SAVED_EVERY,
        resume=arguments.resume,
        seed=rng,
    )


def _report(network: tg.Network, data: Dataset) -> dict[str, Any]:
    """Test and training accuracy and the confusion matrix, as the notebook prints them."""
    from sklearn.metrics import accuracy_score

    predicted = labels_of(network, data.x_test)
    print("confusion matrix on the test images (rows: true class, columns: predicted)")
    print(confusion_table(data.y_test, predicted, data.class_names))
    fitted = labels_of(network, data.x_train)
    report = {
        "test_accuracy": float(accuracy_score(data.y_test, predicted)),
        "train_accuracy": float(accuracy_score(data.y_train, fitted)),
    }
    print(f"test accuracy {report['test_accuracy']:.4f}")
    print(f"train accuracy {report['train_accuracy']:.4f}")
    return report


def _write(network: tg.Network, data: Dataset, report: dict[str, Any], arguments: argparse.Namespace) -> None:
    """The network, the report and the plots, in the folder of ``--out``."""
    folder = arguments.out
    notes = {
        "classes": [str(name) for name in data.class_names],
        "image_shape": list(data.x_train.shape[1:]),
        "loss": report["options"]["loss"],
    }
    tg.save_network(folder / "network.npz", network, {**notes, **report})
    (folder / "report.json").write_text(json.dumps({**report, "history": network.history}, indent=1) + "\n")
    try:
        if network.history.get("loss"):
            tg.plot_history(network.history).savefig(folder / "learning-curve.png", dpi=150)
        predicted = labels_of(network, data.x_test)
        tg.plot_confusion(data.y_test, predicted, data.class_names).savefig(folder / "confusion.png", dpi=150)
    except ImportError as error:
        print(f"no plots: {error}")
    print(f"written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
