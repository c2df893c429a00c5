"""``tensorgrad train``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.cli.report import compute_outputs, confusion_table, write_results
from tensorgrad.core.checks import NDArray
from tensorgrad.data import Augment, Dataset, load, one_hot
from tensorgrad.nn.fit.callbacks import Progress

__all__ = [
    "ADAM_RATE", "LOSSES", "NETWORKS", "OPTIMIZER_NAMES", "SCHEDULES", "choose_options", "make_target",
    "train",
]  # fmt: skip


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
OPTIMIZER_NAMES = ("sgd", "adam")
ADAM_RATE = 0.001  # its authors' default; that of a recipe is for its own optimizer
SCHEDULES: dict[str, Callable[[tg.Optimizer, int], tg.Schedule] | None] = {
    "constant": None,
    "cosine": tg.CosineDecay,
    "one-cycle": tg.OneCycle,
    "warm-up-cosine": lambda optimizer, steps: tg.WarmUp(
        tg.CosineDecay(optimizer, steps - steps // 10), max(steps // 10, 1)
    ),
}
SAVED_EVERY = timedelta(seconds=5)


class Options(tg.Callback):
    """Keeps the options of a training in its checkpoint, where a resumed one finds them."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def state(self) -> dict[str, Any]:
        """The options."""
        return self.options


def train(arguments: argparse.Namespace) -> int:
    """Train, report, and write the results to ``--out``; 130 if Ctrl-C ended the training."""
    communicator = _find_communicator()
    data, out = load(arguments.data, arguments.data_dir), arguments.out
    options = _fit_to(data, choose_options(arguments), arguments)
    changes = {name: options[name] for name in ("shift", "rotate", "flip")}
    augment = Augment(**changes) if any(changes.values()) else None
    shape = data.x_train.shape[1:]
    if communicator is not None and communicator.rank:
        return _train_along(data, options, augment, arguments, communicator)
    checkpoint = None if out is None else out / "checkpoint.npz"
    if checkpoint is not None:
        out.mkdir(parents=True, exist_ok=True)
        _check_checkpoint(checkpoint, options, resume=arguments.resume)
    print(f"{data.name}: {len(data.x_train)} training and {len(data.x_test)} test images of shape {shape}")
    network, rng = _build(data, options, arguments)
    print(network.summary(shape, options["batch_size"]))
    print(_describe(options))
    start = time.perf_counter()
    status, failure = 0, None
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found and told
            _fit(network, data, options, augment, rng, checkpoint, arguments, communicator)
    except tg.CheckpointError as error:
        cause = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise OSError(f"{cause}. When the cause is removed, --resume goes on with the training") from error
    except KeyboardInterrupt:
        if checkpoint is not None:
            _go_back(network, checkpoint)
        status = 130
    except FloatingPointError as error:
        if checkpoint is None:
            raise
        print(f"tensorgrad: {error}", file=sys.stderr)
        _go_back(network, checkpoint)
        status, failure = 1, str(error)
    finished = len(network.history.get("loss", ()))
    if status:
        how = "interrupted" if failure is None else "back at the last checkpoint,"
        print(f"\n{how} after {finished} finished epochs; the results so far:")
    print(f"trained in {time.perf_counter() - start:.1f} s")
    choice = False if arguments.compile is False else None
    predicted = compute_outputs(network, data.x_test, choice).argmax(axis=1)
    report = {
        **_accuracies(network, data, predicted, choice),
        "epochs": finished,
        "seconds": sum(network.history.get("seconds", ())),
        "engine": network.engine,
        "interrupted": status == 130,
        "failure": failure,
        "options": options,
    }
    if out is not None:
        write_results(out, network, data, predicted, report)
    if communicator is not None:
        communicator.Barrier()
    return status


def _find_communicator() -> Any:
    """That of all processes that ``mpiexec`` has started, if there are several."""
    if "mpi4py.run" in sys.modules:
        from mpi4py import MPI

        return MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        if os.environ.get(name, "1") != "1":
            raise ValueError(
                f"{os.environ[name]} processes were started, and each would train by itself; let them train "
                f"together by mpiexec -n {os.environ[name]} python -m mpi4py -m tensorgrad train ..."
            )
    return None


def _train_along(
    data: Dataset,
    options: dict[str, Any],
    augment: Augment | None,
    arguments: argparse.Namespace,
    communicator: Any,
) -> int:
    """Train as a rank beside the first, which alone reads, writes and tells."""
    network, rng = _build(data, options, arguments)
    with np.errstate(over="ignore", invalid="ignore"), suppress(FloatingPointError, KeyboardInterrupt):
        _fit(network, data, options, augment, rng, None, arguments, communicator)
    communicator.Barrier()  # a rank that is done sooner, after Ctrl-C, would take the first along
    return 0


def _build(
    data: Dataset, options: dict[str, Any], arguments: argparse.Namespace
) -> tuple[tg.Network, np.random.Generator]:
    """The network, and the generator that goes on to shuffle."""
    rng, shape = np.random.default_rng(arguments.seed), data.x_train.shape[1:]
    network = NETWORKS[arguments.network].build(shape, len(data.class_names), dtype=arguments.dtype, rng=rng)
    if options["loss"] == "cross-entropy" and isinstance(network.layers[-1], tg.Sigmoid):
        network = tg.Network(network.layers[:-1])  # the loss takes what a softmax would, not probabilities
    network.use(LOSSES[options["loss"]])
    return network, rng


def make_target(loss: str, labels: NDArray, classes: int) -> NDArray:
    """What outputs are compared with: labels for cross-entropy; for the squared error, numbers."""
    return one_hot(labels, classes) if loss == "squared-error" else labels


def choose_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that the result depends on: as the arguments say, or else as the network's recipe does."""
    recipe = vars(NETWORKS[arguments.network])
    options = {name: getattr(arguments, name) for name in ("network", "data", "dtype", "seed", "flip")}
    if arguments.optimizer == "adam":
        recipe = {**recipe, "learning_rate": ADAM_RATE}
        del recipe["momentum"]
    for name, default in recipe.items():
        if name != "build":
            value = getattr(arguments, name)
            options[name] = default if value is None else value
    return options


def _fit_to(data: Dataset, options: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The options as they are used: a recipe's are made smaller to fit the images, given ones are refused."""
    for name, limit in (("shift", min(data.x_train.shape[1:3]) - 1), ("batch_size", len(data.x_train))):
        given = getattr(arguments, name)
        if given is not None and given > limit:
            option = name.replace("_", "-")
            raise ValueError(f"--{option}: expected at most {limit} for {data.name}, got {given}")
        options[name] = min(options[name], limit)
    return options


def _describe(options: dict[str, Any]) -> str:
    schedule = "" if options["schedule"] == "constant" else f" ({options['schedule']})"
    momentum = f", momentum {options['momentum']}" if "momentum" in options else ""
    changes = [f"shifted by up to {options['shift']} pixels"] if options["shift"] else []
    changes += [f"turned by up to {options['rotate']} degrees"] if options["rotate"] else []
    changes += ["mirrored"] if options["flip"] else []
    return (
        f"{options['optimizer']}, learning rate {options['learning_rate']}{schedule}{momentum}, "
        f"weight decay {options['weight_decay']}, batches of {options['batch_size']}"
        f"{', images ' + ' and '.join(changes) if changes else ''}, "
        f"{options['dtype']}, seed {options['seed']}; loss: {options['loss']}"
    )


def _check_checkpoint(path: Path, options: dict[str, Any], *, resume: bool) -> None:
    """Refuse to overwrite a checkpoint, and to go on from it with other options."""
    if not path.exists():
        return
    if not resume:
        raise ValueError(
            f"{path} is there already: go on with that training by --resume, or choose another folder"
        )
    tree = tg.load_checkpoint(path)
    callbacks = tree.get("callbacks") if isinstance(tree, dict) else None
    entries = [each for each in callbacks if isinstance(each, dict)] if isinstance(callbacks, list) else []
    saved = next((each.get("state") for each in entries if each.get("class") == Options.__name__), None)
    if not isinstance(saved, dict):
        raise ValueError(f"{path}: expected the checkpoint of a `tensorgrad train --out`, got another one")
    # Only a constant learning rate does not depend on the number of epochs.
    free = {"epochs"} if options["schedule"] == "constant" else set()
    differences = [
        f"{name.replace('_', '-')} was {saved.get(name)}, is {options.get(name)}"
        for name in {**saved, **options}
        if name not in free and saved.get(name) != options.get(name)
    ]
    if differences:
        raise ValueError(f"--resume: {path} is of a training with other options: {', '.join(differences)}")


def _fit(
    network: tg.Network,
    data: Dataset,
    options: dict[str, Any],
    augment: Augment | None,
    rng: np.random.Generator,
    checkpoint: Path | None,
    arguments: argparse.Namespace,
    communicator: Any,
) -> None:
    classes = len(data.class_names)
    rate, decay = options["learning_rate"], options["weight_decay"]
    steps = options["epochs"] * -(-len(data.x_train) // options["batch_size"])
    schedule = SCHEDULES[options["schedule"]]

    def optimizer(parameters: list[tg.Parameter]) -> tg.Optimizer:
        if options["optimizer"] == "adam":
            return tg.AdamW(parameters, rate, weight_decay=decay)
        return tg.MiniBatchSGD(parameters, rate, momentum=options["momentum"], weight_decay=decay)

    network.fit(
        data.x_train,
        make_target(options["loss"], data.y_train, classes),
        options["epochs"],
        batch_size=options["batch_size"],
        optimizer=optimizer,
        schedule=None if schedule is None else lambda optimizer: schedule(optimizer, steps),
        schedule_every="batch",
        validation=(data.x_test, make_target(options["loss"], data.y_test, classes)),
        callbacks=[Options(options), Progress("test")],
        augment=augment,
        checkpoint=checkpoint,
        checkpoint_every=None if checkpoint is None else SAVED_EVERY,
        resume=arguments.resume,
        compile=arguments.compile,
        communicator=communicator,
        seed=rng,
    )


def _go_back(network: tg.Network, path: Path) -> None:
    """Let the network be that of the checkpoint: after a whole step, finite, and what is resumed."""
    if not path.exists():  # Ctrl-C came before the first step
        raise KeyboardInterrupt
    tree = tg.load_checkpoint(path)
    network.load_state(tree["network"])
    network.history = tree["history"]


def _accuracies(
    network: tg.Network, data: Dataset, predicted: NDArray, choice: bool | None
) -> dict[str, float]:
    """Test and training accuracy, printed with the confusion matrix as the notebook does."""
    print("confusion matrix on the test images (rows: true class, columns: predicted)")
    print(confusion_table(data.y_test, predicted, data.class_names))
    fitted = compute_outputs(network, data.x_train, choice).argmax(axis=1)
    test, train = float(np.mean(predicted == data.y_test)), float(np.mean(fitted == data.y_train))
    print(f"test accuracy {test:.4f}")
    print(f"train accuracy {train:.4f}")
    return {"test_accuracy": test, "train_accuracy": train}
