"""The file with the state of a training: when it is written, what is in it, and how a training goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from tensorgrad.nn.files import generator_state, load_checkpoint, save_checkpoint, set_generator_state
from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.files.trees import Tree
from tensorgrad.nn.fit.callbacks import Progress
from tensorgrad.nn.fit.ranks import Ranks
from tensorgrad.nn.fit.training import Callback, Training

__all__ = ["CheckpointError"]

_KIND = "tensorgrad training"

# Attributes of a training that its file holds: parts with a state (the schedule may be None), and its place.
_PARTS = ("network", "optimizer", "schedule")
_PLACE = ("epoch", "batch", "step", "seconds", "stopped")

# What a file must hold to be gone on from.
_ENTRIES: dict[str, Any] = {
    **dict.fromkeys(("fingerprint", "start", "network", "optimizer", "generators"), dict),
    **dict.fromkeys(("epoch_start", "history", "tally"), dict),
    **dict.fromkeys(("epoch", "batch", "step"), int),
    "callbacks": list, "schedule": dict | None, "seconds": float, "stopped": str | None, "engine": dict,
}  # fmt: skip
_INNER = {
    "tally": ("total", "weight", "rows", "right", "predictions", "targets", "weights"),
    "engine": ("choice", "libraries"),
}


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


class Checkpoints(Callback):
    """Writes the state of a training: at start and end, after epochs, and as often as ``every`` says."""

    def __init__(self, path: PathLike, every: int | timedelta | None, fingerprint: Tree, start: Tree) -> None:
        self.path, self.every = path, every
        self.fingerprint = fingerprint
        self.start = start  # of the generator before anything was drawn
        self._saved_at = time.monotonic()
        self._saved: tuple[object, ...] | None = None

    def on_train_begin(self, training: Training) -> None:
        """Save, so that a folder that cannot be written to shows now."""
        if not training.resumed:
            self.save(training)

    def on_batch_end(self, training: Training) -> None:
        """Save if it is time."""
        if self._is_due(training):
            self.save(training)

    def on_epoch_end(self, training: Training) -> None:
        """Save, unless it was to be done by time and is not due."""
        if not isinstance(self.every, timedelta) or self._is_due(training):
            self.save(training)

    def on_train_end(self, training: Training) -> None:
        """Save if anything has happened since the last time."""
        if self._saved != self._place(training):
            self.save(training)

    def _is_due(self, training: Training) -> bool:
        if isinstance(self.every, timedelta):
            return time.monotonic() - self._saved_at >= self.every.total_seconds()
        return self.every is not None and training.step % self.every == 0

    @staticmethod
    def _place(training: Training) -> tuple[object, ...]:
        return training.step, training.finished, training.batch, training.stopped

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
        parts = {name: getattr(training, name) for name in _PARTS}
        tree = {
            "kind": _KIND,
            "fingerprint": self.fingerprint,
            "start": self.start,
            **{name: None if part is None else part.state() for name, part in parts.items()},
            "engine": training.engine.state(),
            "callbacks": [
                {"class": type(callback).__name__, "state": callback.state()}
                for callback in with_state(training.callbacks)
            ],
            "generators": {name: generator_state(g) for name, g in training.generators.items()},
            "epoch_start": training.epoch_start,
            "history": {key: list(values) for key, values in training.history.items()},
            **{name: getattr(training, name) for name in _PLACE},
            "tally": training.tally.state(),
        }
        save_checkpoint(path, tree)


def find(checkpoint: PathLike | None, resume: bool | PathLike) -> PathLike | None:
    """The file to resume from, or None to begin anew."""
    if resume is False:
        return None
    if resume is not True:
        return resume
    if checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint=path; or give resume the path")
    return checkpoint if Path(checkpoint).exists() else None


def read(path: PathLike) -> dict[str, Any]:
    """The checkpoint, if it is one of a training."""
    tree = load_checkpoint(path)
    if not isinstance(tree, dict) or tree.get("kind") != _KIND:
        raise ValueError(f"fit, resume: {path} is a checkpoint, but not one that fit wrote")
    tree.setdefault("engine", {"choice": False, "libraries": {}})  # there was none at first
    wrong = [name for name, kind in _ENTRIES.items() if not isinstance(tree.get(name, ...), kind)]
    wrong += [
        f"{of} {x}" for of, inner in _INNER.items() if of not in wrong for x in inner if x not in tree[of]
    ]
    if wrong:
        raise ValueError(f"fit, resume: {path} has not what fit writes as {', '.join(wrong)}")
    return tree


def restore(training: Training, tree: Mapping[str, Any]) -> None:
    """Let the training go on from a checkpoint. If a part refuses its state, all parts are as they were."""
    if training.generators.keys() != tree["generators"].keys():
        raise ValueError(
            f"fit, resume: expected random generators for {', '.join(map(repr, tree['generators']))}, "
            f"got {', '.join(map(repr, training.generators))}"
        )
    parts = [(getattr(training, name), tree[name]) for name in _PARTS if getattr(training, name) is not None]
    parts += zip(with_state(training.callbacks), (entry["state"] for entry in tree["callbacks"]), strict=True)
    with ExitStack() as undo:
        for part, state in parts:
            undo.callback(part.load_state, part.state())
            part.load_state(state)
        for name, generator in training.generators.items():
            undo.callback(set_generator_state, generator, generator_state(generator))
            set_generator_state(generator, tree["generators"][name])
        undo.pop_all()
    training.history.update({key: list(values) for key, values in tree["history"].items()})
    for name in (*_PLACE, "epoch_start"):
        setattr(training, name, tree[name])
    training.tally.load_state(tree["tally"])
    training.resumed = True


def start_alike(training: Training, ranks: Ranks) -> None:
    """Let all ranks begin with what rank 0 has."""
    if ranks.size == 1:
        return
    parts = [part for name in _PARTS if (part := getattr(training, name)) is not None]
    generators = training.generators.values()
    mine = [part.state() for part in parts], [generator_state(each) for each in generators]
    states, drawn = ranks.broadcast("the beginning", mine)
    for part, state in zip(parts, states, strict=True):
        part.load_state(state)
    for generator, state in zip(generators, drawn, strict=True):
        set_generator_state(generator, state)


def with_state(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks with a state: a resumed run may be more or less verbose."""
    return [callback for callback in callbacks if not isinstance(callback, Progress)]
