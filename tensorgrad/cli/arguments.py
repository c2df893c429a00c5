"""What the command line takes."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from tensorgrad.cli.audit import audit
from tensorgrad.cli.models import draw, evaluate, predict
from tensorgrad.cli.train import (
    ADAM_RATE,
    LOSSES,
    NETWORKS,
    OPTIMIZER_NAMES,
    SCHEDULES,
    choose_options,
    train,
)
from tensorgrad.core.checks import open_file

__all__ = ["parse"]

DATA_SETS = ("digits", "mnist", "fashion-mnist")
NO_FOLDER = "argument --data-dir: needs --data mnist or fashion-mnist; digits have no files"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with ``run``, the function to call with them. Wrong usage ends the program with 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _Parser(
        prog="tensorgrad",
        description="Train, evaluate and use networks for images, draw them, check the ops.",
        epilog="The exit status is 0, 1 after an error, 2 for wrong usage and 130 after Ctrl-C.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    trainer = _add_train(commands)
    _add_models(commands)
    _add_audit(commands)
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    parser.require_known(words[:place])
    if place < len(words):
        if words[place] not in commands.choices:
            known = ", ".join(commands.choices)
            guess = _guess(words[place], commands.choices)
            parser.error(f"invalid choice: {words[place]!r} (choose from {known}){guess}")
        commands.choices[words[place]].require_known(words[place + 1 :])
    found = parser.parse_args(words)
    if found.version:
        found.run = _version
    elif "run" not in found:
        parser.error("the following arguments are required: COMMAND")
    elif found.run is train:
        if found.config is not None:
            _read_config(trainer, found.config)
            found = parser.parse_args(words)
        _check_train(trainer, found)
    elif found.run is evaluate and found.data == "digits" and found.data_dir is not None:
        commands.choices["evaluate"].error(NO_FOLDER)
    return found


def _check_train(parser: _Parser, found: argparse.Namespace) -> None:
    """Refuse what would do nothing."""
    if found.resume and found.out is None:
        parser.error("argument --resume: needs --out, the folder with the checkpoint")
    if found.data == "digits" and found.data_dir is not None:
        parser.error(NO_FOLDER)
    if found.momentum is not None and "momentum" not in choose_options(found):
        parser.error(f"argument --momentum: needs --optimizer sgd; {found.optimizer} has averages of its own")


class _Help(argparse.HelpFormatter):
    """Help that shows defaults, where there are some."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False or action.default == argparse.SUPPRESS
        if silent or not action.option_strings:
            return action.help
        return f"{action.help or ''} (default: %(default)s)".lstrip()


class _Parser(argparse.ArgumentParser):
    """A parser whose options are named in full, and whose errors name the file that they come from."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **options)
        self.file: Path | None = None

    def error(self, message: str) -> NoReturn:
        place = "" if self.file is None else f"{self.file}: "
        line = " ".join(f"{self.prog}: error: {place}{message}".splitlines())
        self.exit(2, f"{line}\nTry {self.prog} --help.\n")

    def require_known(self, words: Iterable[str]) -> None:
        """Tell of an option that there is not, before its value is taken for something else."""
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if (
                re.match(r"[-–—]", word)
                and not re.match(r"-[\d.]", word)
                and name not in self._option_string_actions
            ):
                self.error(f"there is no option {name}{_guess(name, self._option_string_actions)}")


def _guess(word: str, known: Iterable[str]) -> str:
    """The name that was meant, as a question; also for what peers abbreviate, such as --lr."""
    initials = {re.sub(r"(\w)\w*-?", r"\1", name): name for name in known if "-" in name.strip("-")}
    word = word.lower()
    meant = initials.get(word) or next(iter(get_close_matches(word, known, 1)), None)
    return f"; did you mean {meant}?" if meant else ""


def _version(arguments: argparse.Namespace) -> int:
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
            bound = f"below {below}" if least <= value < float("inf") else f"of at least {least}"
            raise argparse.ArgumentTypeError(f"expected {wanted} {bound}, got {text!r}")
        return value

    return number


def _path(text: str) -> Path:
    """A type of argparse: a path that can be one."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a path, got {text!r}")
    return Path(text)


def _add_data(parser: _Parser, default: str | None, text: str) -> None:
    parser.add_argument("--data", choices=DATA_SETS, default=default, help=text)
    parser.add_argument(
        "--data-dir", type=_path, help="folder with the four idx files of the data set, gzipped or not"
    )


def _add_train(commands: Any) -> _Parser:
    parser: _Parser = commands.add_parser(
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
    _add_data(parser, "digits", "the images")
    for option, text, taken in (
        ("epochs", "passes over the images", {"type": _from(1, int)}),
        ("batch-size", "images of a step", {"type": _from(1, int)}),
        ("loss", "what is made small", {"choices": sorted(LOSSES)}),
        ("optimizer", "how steps are made", {"choices": sorted(OPTIMIZER_NAMES)}),
        ("learning-rate", "length of a step", {"type": _from(0, float)}),
        ("momentum", "of sgd alone", {"type": _from(0, float, below=1)}),
        ("weight-decay", "pull towards 0", {"type": _from(0, float)}),
        ("schedule", "of the learning rate", {"choices": sorted(SCHEDULES)}),
        ("shift", "pixels that images are moved at random", {"type": _from(0, int)}),
        ("rotate", "degrees that they are turned", {"type": _from(0, float)}),
    ):
        parser.add_argument(f"--{option}", help=f"{text} ({_tell_defaults(option)})", **taken)
    parser.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, default=False, help="mirror half of them"
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="make the steps in C, or not; if omitted, where a compiler is found and it pays",
    )
    parser.add_argument("--seed", type=_from(0, int), default=0, help="of all that is random")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of all arrays")
    parser.add_argument("--out", type=_path, help="folder for the network, its checkpoint, report and plots")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, if there is one"
    )
    parser.add_argument(
        "--config", type=_path, help="TOML file with these options by name, such as epochs = 5"
    )
    parser.set_defaults(run=train)
    return parser


def _tell_defaults(option: str) -> str:
    """What each network's recipe says of an option: ``default: 20 for cnn and dense, 15 for modern``."""
    networks: dict[str, list[str]] = {}
    for name, recipe in sorted(NETWORKS.items()):
        value = getattr(recipe, option.replace("-", "_"))
        networks.setdefault(value if isinstance(value, str) else f"{value:g}", []).append(name)
    each = [f"{value} for {' and '.join(names)}" for value, names in networks.items()]
    adam = f"; {ADAM_RATE:g} with adam" if option == "learning-rate" else ""
    return f"default: {', '.join(each) if len(each) > 1 else next(iter(networks))}{adam}"


def _read_config(parser: _Parser, path: Path) -> None:
    """Make the options in a TOML file the defaults, so that the command line overrules them."""
    parser.file = path
    try:
        with open_file(path) as file:
            options = tomllib.load(file)
    except OSError as error:
        parser.error(f"{error.strerror}")
    except (ValueError, RecursionError) as error:
        parser.error(f"expected a file of TOML: {error}")
    known = {name.replace("_", "-"): default for name, default in vars(parser.parse_args([])).items()}
    for name in ("config", "resume", "run"):
        del known[name]
    flags = {"compile", *(name for name, default in known.items() if isinstance(default, bool))}
    words, network = [], []
    for name, value in options.items():
        if name not in known:
            parser.error(f"there is no option {name!r}; there are {', '.join(known)}{_guess(name, known)}")
        if name in flags:
            if not isinstance(value, bool):
                parser.error(f"expected {name} to be true or false, got {value!r}")
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            parser.error(f"expected {name} to be a string or a number, got {value!r}")
        elif name == "network":
            network = ["--", str(value)]
        else:
            words.append(f"--{name}={value}")
    parser.set_defaults(**vars(parser.parse_args(words + network)))
    parser.file = None


def _add_audit(commands: Any) -> None:
    checker = commands.add_parser(
        "audit",
        help="check the derivatives of every op on this machine",
        description=(
            "Hold the derivatives of every op against finite differences, and print the worst error of each "
            "op, dtype and order as a table. The exit status is 1 if one is wrong."
        ),
    )
    checker.add_argument(
        "--order", type=_from(1, int, below=5), default=2, help="the highest derivative to check"
    )
    checker.set_defaults(run=audit)


def _add_models(commands: Any) -> None:
    predicting = commands.add_parser(
        "predict",
        help="print the class of images",
        description=(
            "Print a line for each image: its name, the class, and the probability that the network gives it "
            "(its output, if it was trained on the squared error), between tabs. Images are files of .npy "
            "(one image or many), idx, idx .gz, or .png. Pixels of .npy and idx are fractions from 0 to 1, "
            "or whole numbers from 0 to 255, or to 16 for a network that was trained on digits."
        ),
    )
    predicting.add_argument("model", type=_path, help="network.npz, as train --out writes it")
    predicting.add_argument("images", type=_path, nargs="+")
    predicting.set_defaults(run=predict)
    evaluating = commands.add_parser(
        "evaluate",
        help="print the accuracy of a network on a data set's test images",
        description="Print loss, accuracy and confusion matrix on the test images of a data set.",
    )
    evaluating.add_argument("model", type=_path, help="network.npz, as train --out writes it")
    _add_data(evaluating, None, "the images; those that the network was trained on if omitted")
    evaluating.set_defaults(run=evaluate)
    drawing = commands.add_parser(
        "draw",
        help="draw a network",
        description="Draw a network: as DOT text, or into a file if --out is given.",
    )
    drawing.add_argument("model", type=_path, help="network.npz, as train --out writes it")
    drawing.add_argument("--out", type=_path, help="a file that ends in .svg, .png, .pdf or .dot")
    drawing.add_argument("--depth", type=_from(0, int), help="fold layers nested deeper than this")
    drawing.set_defaults(run=draw)
