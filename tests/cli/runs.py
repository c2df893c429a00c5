"""Trainings with a folder of results, in this process and in others, and what their folders hold."""

import json
import subprocess
import sys

import numpy as np

import tensorgrad as tg

FILES = {"checkpoint.npz", "network.npz", "report.json", "learning-curve.png", "confusion.png"}
QUICK = ("train", "dense", "--epochs", 2)


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def history_of(folder):
    """Without what differs from run to run."""
    return {key: values for key, values in report_of(folder)["history"].items() if key != "seconds"}


def assert_same_results(found, expected):
    assert history_of(found) == history_of(expected)
    state, true_state = (tg.load_network(folder / "network.npz").state() for folder in (found, expected))
    assert state.keys() == true_state.keys()
    for path, values in true_state.items():
        np.testing.assert_array_equal(state[path], values, err_msg=path)


# Checkpoints are written often, and plots are left out, as they take a second. A process that a shell started
# with & ignores SIGINT, and so would its children.
PROGRAM = (
    "import signal, sys; from datetime import timedelta\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from tensorgrad import cli; from tensorgrad.cli import report, train\n"
    "report._write_plot = lambda path, figure: path.write_bytes(b'')\n"
    "train.SAVED_EVERY = timedelta(milliseconds=20)\n"
    "sys.exit(cli.main(sys.argv[1:]))"
)


def process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
