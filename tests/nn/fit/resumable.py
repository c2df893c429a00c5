"""Trainings that are interrupted by the tests of resuming; run as a program, one that can be killed.

python tests/nn/fit/resumable.py NAME CHECKPOINT OUT
"""

import datetime
import json
import sys

import numpy as np

import tensorgrad as tg
from tensorgrad.data import Augment

ROWS = 46


def images():
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, 6, 6, 1)).astype(np.float32), rng.integers(0, 3, ROWS)


def network(*, dropout=True, norm=True):
    rng = np.random.default_rng(5)
    layers = [tg.Conv2D(1, 3, 3, rng=rng)]
    layers += [tg.BatchNorm(3)] if norm else []
    layers += [tg.ReLU(), tg.MaxPool2D(2), tg.Flatten()]
    layers += [tg.Dropout(0.3, rng=rng)] if dropout else []
    layers.append(tg.Dense(12, 3, rng=rng))
    made = tg.Network(layers)
    made.use(tg.cross_entropy)
    return made


def streamed(rng):
    x, y = images()
    return tg.minibatches(x, y, 10, rng)


def arguments(name):
    """A new network, the data, and what `fit` is given."""
    x, y = images()
    common = {"epochs": 4, "batch_size": 8, "seed": 11, "verbose": False}
    momentum = lambda p: tg.MiniBatchSGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
    held = (x[:10] + 0.1, y[:10])
    if name == "plain":
        return network(dropout=False, norm=False), (x, y), {**common, "learning_rate": 0.1}
    if name == "momentum":
        return network(), (x, y), {
            **common, "optimizer": momentum, "validation": held, "metrics": ["accuracy"],
            "schedule": lambda o: tg.CosineDecay(o, 24), "schedule_every": "batch",
        }  # fmt: skip
    if name == "adam":
        return network(), (x, y), {
            **common, "optimizer": lambda p: tg.Adam(p, 0.01),
            "augment": Augment(shift=1, rotate=15, flip=True), "validation_split": 0.2,
            "schedule": lambda o: tg.ReduceOnPlateau(o, patience=0),
            "class_weight": "balanced", "sample_weight": np.arange(ROWS) % 4,
        }  # fmt: skip
    if name == "stopping":
        return network(), (x, y), {
            **common, "epochs": 8, "optimizer": lambda p: tg.AdamW(p, 0.05, clip_norm=1.0),
            "validation": held, "callbacks": [tg.EarlyStopping(patience=2)],
        }  # fmt: skip
    if name == "stream":
        return (
            network(),
            (streamed,),
            {**common, "batch_size": 32, "optimizer": momentum, "metrics": ["accuracy"]},
        )
    raise ValueError(name)


NAMES = ("plain", "momentum", "adam", "stopping", "stream")


def outcome(trained, history):
    """All that must be the same bit by bit."""
    return trained.state(), {key: values for key, values in history.items() if key != "seconds"}


def main(name, checkpoint, out):
    trained, data, options = arguments(name)
    options["epochs"] *= 3
    print("ready", flush=True)
    history = trained.fit(
        *data, **options, checkpoint=checkpoint, resume=True,
        checkpoint_every=datetime.timedelta(seconds=0.001) if name == "momentum" else 2,
    )  # fmt: skip
    state, figures = outcome(trained, history)
    np.savez(out, history=json.dumps(figures), **state)


if __name__ == "__main__":
    main(*sys.argv[1:])
