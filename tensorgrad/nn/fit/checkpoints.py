"""Checkpoints of a training: when they are written, what is in them, and whether they fit what is resumed."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.files.trees import (
    generator_state,
    load_checkpoint,
    save_checkpoint,
    set_generator_state,
)
from tensorgrad.nn.fit.callbacks import Callback, Progress
from tensorgrad.nn.fit.metrics import Values

if TYPE_CHECKING:
    from tensorgrad.nn.fit.training import Training
    from tensorgrad.nn.network import Network

_KIND = "tensorgrad training"
_HASHED_BYTES = 64 << 20  # of an array; larger ones are hashed in parts
_PARTS = 64


class CheckpointError(OSError):
    """A checkpoint could not be written. Nothing is lost yet: ``training`` is as it was.

    The network has its weights and history up to the last whole step. With ``error.save(path)`` all that a
    resume needs is written elsewhere.
    """

    def __init__(self, message: str, checkpoints: Checkpoints, training: Training) -> None:
        super().__init__(message)
        self.training = training
        self._checkpoints = checkpoints

    def save(self, path: PathLike) -> None:
        """Write the checkpoint to another place."""
        self._checkpoints.write(self.training, path)


class Checkpoints:
    """Writes the state of a training: at the end of each epoch, and as often as ``every`` says."""

    def __init__(
        self,
        path: PathLike,
        every: int | timedelta | None,
        fingerprint: dict[str, Any],
        start: dict[str, Any],
    ) -> None:
        self.path = path
        self.every = every
        self.fingerprint = fingerprint
        self.start = start  # of the generator before anything was drawn
        self._saved_at = time.monotonic()
        self._saved: tuple[object, ...] | None = None

    def due(self, training: Training) -> bool:
        """Whether it is time within an epoch."""
        if isinstance(self.every, timedelta):
            return time.monotonic() - self._saved_at >= self.every.total_seconds()
        return self.every is not None and training.step % self.every == 0

    def epoch_ended(self, training: Training) -> None:
        """Save, unless it was to be done by time and is not due."""
        if not isinstance(self.every, timedelta) or self.due(training):
            self.save(training)

    def finish(self, training: Training) -> None:
        """Save if anything has happened since the last time."""
        if self._saved != self._place(training):
            self.save(training)

    def save(self, training: Training) -> None:
        """Write the file, in one step.

        Raises
        ------
        FloatingPointError
            If a parameter is not finite. The last checkpoint is as it was.
        CheckpointError
            If the file cannot be written. The last checkpoint is as it was.
        """
        training.require_finite_parameters()
        try:
            self.write(training, self.path)
        except OSError as error:
            done = f"epoch {training.finished + 1}, batch {training.batch}" if training.step else "the start"
            raise CheckpointError(
                f"fit: the checkpoint {self.path} could not be written: {error}. The training stops after "
                f"{done}; the network has its weights of then, and the last checkpoint, if there is one, is "
                "whole. save(path) of this error writes the checkpoint elsewhere",
                self,
                training,
            ) from error
        self._saved_at = time.monotonic()
        self._saved = self._place(training)

    def write(self, training: Training, path: PathLike) -> None:
        """Write the file wherever it is wanted."""
        save_checkpoint(path, self._tree(training))

    @staticmethod
    def _place(training: Training) -> tuple[object, ...]:
        return training.step, training.finished, training.batch, training.stopped

    def _tree(self, training: Training) -> dict[str, Any]:
        schedule = training.schedule
        return {
            "kind": _KIND,
            "fingerprint": self.fingerprint,
            "start": self.start,
            "network": training.network.state(),
            "optimizer": training.optimizer.state(),
            "schedule": None if schedule is None else schedule.state(),
            "callbacks": [
                {"class": type(callback).__name__, "state": callback.state()} for callback in _kept(training)
            ],
            "generators": {name: generator_state(g) for name, g in training.generators.items()},
            "epoch_start": training.epoch_start,
            "history": {key: list(values) for key, values in training.history.items()},
            "epoch": training.epoch,
            "batch": training.batch,
            "step": training.step,
            "seconds": training.seconds,
            "tally": training.tally.state(),
            "stopped": training.stopped,
        }


def read(path: PathLike, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint, if it is one of a training with that fingerprint.

    Raises
    ------
    ValueError
        With all that is not as it was.
    """
    tree = load_checkpoint(path)
    if not isinstance(tree, dict) or tree.get("kind") != _KIND:
        raise ValueError(f"fit, resume: {path} is a checkpoint, but not one that fit wrote")
    saved = tree["fingerprint"]
    differences = [
        f"{key}: was {saved.get(key)}, is {fingerprint.get(key)}"
        for key in {**saved, **fingerprint}
        if saved.get(key) != fingerprint.get(key)
    ]
    if differences:
        raise ValueError(
            f"fit, resume: this is not the training that wrote {path}; nothing was changed:\n  "
            + "\n  ".join(differences)
        )
    return tree


def restore(training: Training, tree: Mapping[str, Any]) -> None:
    """Let the training go on from a checkpoint. If a part refuses its state, all parts are as they were."""
    classes = [type(callback).__name__ for callback in _kept(training)]
    saved = [entry["class"] for entry in tree["callbacks"]]
    if classes != saved:
        raise ValueError(f"fit, resume: expected the callbacks {saved}, got {classes}")
    if training.generators.keys() != tree["generators"].keys():
        raise ValueError(
            f"fit, resume: expected random generators for {', '.join(map(repr, tree['generators']))}, "
            f"got {', '.join(map(repr, training.generators))}"
        )
    parts: list[tuple[Any, Any]] = [
        (training.network, tree["network"]),
        (training.optimizer, tree["optimizer"]),
    ]
    if training.schedule is not None:
        parts.append((training.schedule, tree["schedule"]))
    parts += zip(_kept(training), (entry["state"] for entry in tree["callbacks"]), strict=True)
    with ExitStack() as undo:
        for part, state in parts:
            undo.callback(part.load_state, part.state())
            part.load_state(state)
        for name, generator in training.generators.items():
            undo.callback(set_generator_state, generator, generator_state(generator))
            set_generator_state(generator, tree["generators"][name])
        undo.pop_all()
    training.history.update({key: list(values) for key, values in tree["history"].items()})
    training.epoch, training.batch, training.step = tree["epoch"], tree["batch"], tree["step"]
    training.epoch_start, training.seconds = tree["epoch_start"], tree["seconds"]
    training.stopped = tree["stopped"]
    training.tally.load_state(tree["tally"])
    training.resumed = True


def _kept(training: Training) -> list[Callback]:
    """The callbacks with a state: a resumed run may be more or less verbose."""
    return [callback for callback in training.callbacks if not isinstance(callback, Progress)]


def described_network(network: Network) -> str:
    """Layers, and the paths, shapes and dtypes of their state."""
    state = ", ".join(f"{path} {x.dtype} {x.shape}" for path, x in network.state().items())
    return f"{network!r} with {state}"


def described_array(array: Values | None) -> str:
    """Shape, dtype and checksum; of arrays above 64 MiB, the checksum of evenly spaced parts."""
    if array is None:
        return "none"
    rows = len(array)
    if array.nbytes <= _HASHED_BYTES:
        parts = [slice(None)]
    else:
        length = max(1, rows * _HASHED_BYTES // (array.nbytes * _PARTS))
        parts = [slice(start, start + length) for start in np.linspace(0, rows - length, _PARTS).astype(int)]
    checksum = 0
    for part in parts:
        flat = np.ascontiguousarray(array[part]).reshape(-1)
        checksum = zlib.crc32(flat.data.cast("B"), checksum)
    return f"{array.dtype} {array.shape} with checksum {checksum:08x}"


def described_function(function: Any) -> str:
    """The name of a function, or what an object with settings says of itself."""
    if function is None:
        return "none"
    name = getattr(function, "__qualname__", None) or getattr(function, "name", None)
    if isinstance(name, str):
        return name
    text = repr(function)
    return type(function).__qualname__ if " at 0x" in text else text  # an address is another in each run


def find(checkpoint: PathLike | None, resume: bool | PathLike) -> PathLike | None:
    """The file to resume from, or None to begin anew."""
    if resume is False:
        return None
    if resume is not True:
        return resume
    if checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint=path; or give resume the path")
    return checkpoint if Path(checkpoint).exists() else None
