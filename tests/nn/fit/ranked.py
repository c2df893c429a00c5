"""A training that the tests of MPI start on several ranks. ``mpiexec -n 2 python ranked.py NAME FOLDER``"""

import json
import os
import signal
import sys

import numpy as np
from mpi4py import MPI

import tensorgrad as tg

COMMUNICATOR = MPI.COMM_WORLD


def fit(communicator, **options):
    """The trained state and the figures of a small network with dropout; its last batch has one row."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((41, 7)).astype(np.float32), rng.integers(0, 3, 41)
    network = tg.Network(
        [tg.Dense(7, 16, rng=rng), tg.ReLU(), tg.Dropout(0.2, rng=rng), tg.Dense(16, 3, rng=rng)]
    )
    network.use(tg.cross_entropy)
    options = {
        "epochs": 3, "optimizer": lambda p: tg.MiniBatchSGD(p, 0.1, momentum=0.9), "batch_size": 8,
        "seed": 1, "validation": (x[:9], y[:9]), "verbose": False, "compile": False, **options,
    }  # fmt: skip
    history = network.fit(x, y, communicator=communicator, **options)
    figures = {key: values for key, values in history.items() if key != "seconds"}
    return {name: values.tolist() for name, values in network.state().items()}, figures


class At(tg.Callback):
    """Does something on rank 1 in the middle of the second epoch."""

    def __init__(self, act):
        self.act = act

    def on_batch_end(self, training):
        if training.step == 8 and training.rank == 1:
            self.act()


def fail():
    raise ValueError("the second rank is unwell")


def main(name, folder):
    act = {
        "interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "failing": fail,
    }.get(name)
    if act is None:
        results = {"together": fit(COMMUNICATOR), "alone": fit(None)}
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have switched off
        try:
            fit(COMMUNICATOR, callbacks=[At(act)], checkpoint=f"{folder}/run.npz")
        except KeyboardInterrupt:
            results = tg.load_checkpoint(f"{folder}/run.npz")["step"]
    with open(f"{folder}/{COMMUNICATOR.rank}.json", "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
