"""What the command line takes."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tensorgrad.cli.audit import audit
from tensorgrad.cli.models import draw, evaluate, predict
from tensorgrad.cli.train import LOSSES, NETWORKS, OPTIMIZERS, SCHEDULES, train

DATA_SETS = ("digits", "mnist", "fashion-mnist")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with ``run``, the function to call with them. Wrong usage ends the program with 2."""
    parser = _Parser(
        prog="tensorgrad",
        description="Train, evaluate and use networks for images, draw them, check the ops.",
        epilog="The exit status is 0, 1 after an error, 2 for wrong usage and 130 after Ctrl-C.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    trainer = _add_train(commands)
    _add_models(commands)
    checker = commands.add_parser(
        "audit",
        help="check the derivatives of every op on this machine",
        description=(
            "Hold the derivatives of every op against finite differences, and print the worst error of each "
            "op, dtype and order as a table. The exit status is 1 if one is wrong."
        ),
    )
    checker.add_argument("--order", type=_from(1, int), default=2, help="the highest derivative to check")
    checker.set_defaults(run=audit)
    found = parser.parse_args(argv)
    if found.version:
        found.run = _version
    elif "run" not in found:
        parser.error("the following arguments are required: COMMAND")
    elif found.run is train and found.config is not None:
        _read_config(trainer, found.config)
        found = parser.parse_args(argv)
    return found


class _Help(argparse.HelpFormatter):
    """Help that shows defaults, where there are some."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS) or not action.option_strings:
            return action.help
        return f"{action.help or ''} (default: %(default)s)".lstrip()


class _Parser(argparse.ArgumentParser):
    """A parser whose options are named in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **options)


def _version(arguments: argparse.Namespace) -> int:
    from importlib.metadata import version

    print(f"tensorgrad {version('tensorgrad-numpy')}")
    return 0


def _from(least: float, kind: Callable[[str], float], below: float = float("inf")) -> Callable[[str], Any]:
    """A type of argparse: a finite number from ``least`` on."""

    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value < below:
            wanted = "an integer" if kind is int else "a number"
            top = "" if below == float("inf") else f" and below {below}"
            raise argparse.ArgumentTypeError(f"expected {wanted} of at least {least}{top}, got {text!r}")
        return value

    return number


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=DATA_SETS, default="digits", help="the images")
    parser.add_argument("--data-dir", type=Path, help="folder with the four idx .gz files of the data set")


def _add_train(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a network on images of digits or clothes, and report its accuracy",
        description=(
            "Train a network, report accuracy and confusion matrix. dense and cnn are the notebook's two, "
            "with its loss; modern is a convolutional network of the same size as one would write it today: "
            "batch normalization, dropout, cross-entropy, momentum and a schedule. Without options: cnn on "
            "scikit-learn's digits, which need no download."
        ),
    )
    parser.add_argument(
        "network", nargs="?", choices=sorted(NETWORKS), default="cnn", help="the network; cnn if omitted"
    )
    _add_data(parser)
    own = "; the network's own if omitted"
    parser.add_argument("--epochs", type=_from(1, int), help=f"passes over the images{own}")
    parser.add_argument("--batch-size", type=_from(1, int), help=f"images of a step{own}")
    parser.add_argument("--loss", choices=sorted(LOSSES), help=f"what is made small{own}")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), help=f"how steps are made{own}")
    parser.add_argument("--learning-rate", type=_from(0, float), help=f"length of a step{own}")
    parser.add_argument("--momentum", type=_from(0, float, below=1), help=f"of sgd{own}")
    parser.add_argument("--weight-decay", type=_from(0, float), help=f"pull towards 0{own}")
    parser.add_argument("--schedule", choices=sorted(SCHEDULES), help=f"of the learning rate{own}")
    parser.add_argument("--shift", type=_from(0, int), help=f"pixels that images are moved at random{own}")
    parser.add_argument("--rotate", type=_from(0, float), help=f"degrees that they are turned{own}")
    parser.add_argument("--flip", action="store_true", help="mirror half of them; not for digits")
    parser.add_argument("--seed", type=_from(0, int), default=0, help="of all that is random")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of all arrays")
    parser.add_argument(
        "--out", type=Path, help="folder for the network, its checkpoint, the report and the plots"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--config", type=Path, help="TOML file with these options by name, such as epochs = 5"
    )
    parser.set_defaults(run=train)
    return parser


def _read_config(parser: argparse.ArgumentParser, path: Path) -> None:
    """Make the options in a TOML file the defaults, so that the command line overrules them."""
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"argument --config: {path}: {error}")
    actions = {action.dest.replace("_", "-"): action for action in parser._actions}
    for name in ("help", "config", "resume", "run"):
        actions.pop(name, None)
    for name, value in options.items():
        if name not in actions:
            parser.error(f"argument --config: {path}: no option {name!r}; there are {', '.join(actions)}")
        action = actions[name]
        if isinstance(action, argparse._StoreTrueAction):
            if not isinstance(value, bool):
                parser.error(f"argument --config: {path}: expected {name} to be true or false, got {value!r}")
        else:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                parser.error(f"argument --config: {path}: expected {name} to be one value, got {value!r}")
            try:
                value = parser._get_value(action, str(value))
                parser._check_value(action, value)
            except argparse.ArgumentError as error:
                parser.error(f"argument --config: {path}: {name}: {error.message}")
        parser.set_defaults(**{action.dest: value})


def _add_models(commands: Any) -> None:
    predicting = commands.add_parser(
        "predict",
        help="print the class of images",
        description=(
            "Print a line for each image: its name, the class, and the probability that the network gives it "
            "(its output, if outputs are no probabilities), between tabs. Images are files of .npy "
            "(one image or many), idx, idx .gz, or .png; pixels of whole numbers are divided by 255."
        ),
    )
    predicting.add_argument("model", type=Path, help="network.npz, as train --out writes it")
    predicting.add_argument("images", type=Path, nargs="+")
    predicting.set_defaults(run=predict)
    evaluating = commands.add_parser(
        "evaluate",
        help="print the accuracy of a network on a data set's test images",
        description="Print loss, accuracy and confusion matrix on the test images of a data set.",
    )
    evaluating.add_argument("model", type=Path, help="network.npz, as train --out writes it")
    _add_data(evaluating)
    evaluating.set_defaults(run=evaluate)
    drawing = commands.add_parser(
        "draw",
        help="draw a network",
        description="Draw a network: as DOT text, or into a file if --out is given.",
    )
    drawing.add_argument("model", type=Path, help="network.npz, as train --out writes it")
    drawing.add_argument("--out", type=Path, help="a file that ends in .svg, .png, .pdf or .dot")
    drawing.add_argument("--depth", type=_from(0, int), help="fold layers nested deeper than this")
    drawing.set_defaults(run=draw)
