"""The command ``tensorgrad``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.data import Dataset, load, one_hot

NETWORKS = {"dense": tg.dense_network, "cnn": tg.convolutional_network}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"tensorgrad: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tensorgrad: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tensorgrad", description="Train the networks of tensorgrad from the command line."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="train a network on images of digits or clothes, and report its accuracy",
        description=(
            "Train one of the notebook's two networks on the squared error, summed over each batch, "
            "and report accuracy and confusion matrix. Without options: the convolutional network "
            "on scikit-learn's digits, which need no download."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("network", nargs="?", choices=sorted(NETWORKS), default="cnn")
    train.add_argument("--data", choices=("digits", "mnist", "fashion-mnist"), default="digits")
    train.add_argument("--data-dir", type=Path, help="folder with the four idx .gz files of the data set")
    train.add_argument("--epochs", type=int, default=20)
    train.add_argument("--batch-size", type=int, default=32)
    train.add_argument("--learning-rate", type=float, default=0.01)
    train.add_argument("--momentum", type=float, default=0.0)
    train.add_argument("--weight-decay", type=float, default=0.0)
    train.add_argument("--seed", type=_seed, default=0, help="of the initial weights and the shuffling")
    train.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    train.set_defaults(run=_train)
    audit = commands.add_parser(
        "audit",
        help="check the derivatives of every op on this machine",
        description=(
            "Hold the derivatives of every op against finite differences, and print the worst error of each "
            "op, dtype and order as a table. The exit status is 1 if one is wrong."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    audit.add_argument("--order", type=int, default=2, help="the highest derivative to check")
    audit.set_defaults(run=_audit)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer of at least 0, got {text!r}")
    return int(text)


def squared_error(prediction: tg.Tensor, target: Any) -> tg.Tensor:
    """The loss whose derivative the notebook computed: the sum, not the mean, of the squares."""
    loss: tg.Tensor = tg.mse(prediction, target, reduction="sum")
    return loss


def _audit(arguments: argparse.Namespace) -> int:
    from tensorgrad.audit import run, table

    if arguments.order < 1:
        raise ValueError(f"audit: expected --order to be at least 1, got {arguments.order}")
    rows = run(arguments.order, progress=lambda op: print(f"\r{op:<40}", end="", file=sys.stderr))
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    print(table(rows))
    wrong = [row for row in rows if not row.ok]
    print(f"{len({row.op for row in rows})} ops, {len(rows)} rows, {len(wrong)} with a problem")
    return 1 if wrong else 0


def _train(arguments: argparse.Namespace) -> int:
    if arguments.data == "digits" and arguments.data_dir is not None:
        raise ValueError("--data-dir needs --data mnist or fashion-mnist: digits come with scikit-learn")
    data = load(arguments.data, arguments.data_dir)
    classes = len(data.class_names)
    shape = data.x_train.shape[1:]
    print(f"{data.name}: {len(data.x_train)} training and {len(data.x_test)} test images of shape {shape}")
    rng = np.random.default_rng(arguments.seed)
    network = NETWORKS[arguments.network](shape, classes, dtype=arguments.dtype, rng=rng)
    network.use(squared_error)
    print(network.summary(shape))
    print(
        f"MiniBatchSGD, learning rate {arguments.learning_rate}, momentum {arguments.momentum}, "
        f"weight decay {arguments.weight_decay}, batches of {arguments.batch_size}, "
        f"{arguments.dtype}, seed {arguments.seed}; loss: squared error, summed over the batch"
    )
    start = time.perf_counter()
    status = 0
    try:
        network.fit(
            data.x_train,
            one_hot(data.y_train, classes),
            arguments.epochs,
            arguments.learning_rate,
            arguments.batch_size,
            momentum=arguments.momentum,
            weight_decay=arguments.weight_decay,
            validation=(data.x_test, one_hot(data.y_test, classes)),
            seed=rng,
        )
    except KeyboardInterrupt:
        finished = len(network.history.get("loss", ()))
        print(f"\ninterrupted after {finished} finished epochs; the results so far:")
        status = 130
    print(f"trained in {time.perf_counter() - start:.1f} s")
    _report(network, data)
    return status


def _report(network: tg.Network, data: Dataset) -> None:
    """Test and training accuracy and the confusion matrix, as the notebook prints them."""
    from sklearn.metrics import accuracy_score, confusion_matrix

    predicted = network.predict(data.x_test).argmax(axis=1)
    print("confusion matrix on the test images (rows: true class, columns: predicted)")
    print(confusion_matrix(data.y_test, predicted))
    for name, y in enumerate(data.class_names):
        if str(name) != y:
            print(f"  {name}: {y}")
    fitted = network.predict(data.x_train).argmax(axis=1)
    print(f"test accuracy {accuracy_score(data.y_test, predicted):.4f}")
    print(f"train accuracy {accuracy_score(data.y_train, fitted):.4f}")
