"""The batches of a training and of its validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray, is_integer
from tensorgrad.data.batches import ArrayBatches, Batch, Rows, StreamedBatches
from tensorgrad.nn.fit.examples import EVALUATED, PROBED, Data, Examples, Intake, fill_up, take_rows
from tensorgrad.nn.fit.outputs import are_classes
from tensorgrad.nn.fit.ranks import Ranks, require_rows_apart
from tensorgrad.nn.layer import infer, learn
from tensorgrad.nn.sequential import ForwardState

__all__ = ["Source", "cut", "split", "validation_batches"]


def split(
    data: Data, held_out: Data | None, share: float, rng: np.random.Generator
) -> tuple[Examples, Examples]:
    """The examples in two parts, drawn at random; the second holds that share of them."""
    if isinstance(data, StreamedBatches) or held_out is not None:
        raise ValueError("fit: validation_split needs arrays, and no validation beside it")
    rows = len(data[0])
    count = round(rows * share) if 0 < share < 1 else 0
    if not 1 <= count < rows:
        raise ValueError(
            f"fit: expected validation_split to leave examples on both sides of {rows}, got {share!r}"
        )
    order = rng.permutation(rows)
    # In their old order, so that memory is read from front to back.
    return _pick(data, np.sort(order[count:])), _pick(data, np.sort(order[:count]))


def _pick(examples: Examples, rows: NDArray) -> Examples:
    x, y, weights = examples
    return Rows(x, rows), Rows(y, rows), None if weights is None else weights[rows]


# Batches


class Source:
    """The batches of a training, as the network takes them: checked, cast, and weighted by class.

    With ``share`` the inputs are this rank's rows alone; targets and weights are always whole.
    """

    def __init__(
        self, intake: Intake, data: Data, class_weight: Any, batch_size: int, ranks: Ranks, *, share: bool
    ) -> None:
        self._intake, self._ranks, self._apart = intake, ranks, ranks.size == 1
        self._share = ranks.rows if share and ranks.size > 1 else lambda rows: slice(None)
        self._class_weight = class_weight
        if isinstance(data, StreamedBatches):
            if isinstance(class_weight, str):
                raise ValueError("fit: class_weight='balanced' needs arrays; give the weights")
            self._batches: ArrayBatches | StreamedBatches = data
            return
        x, y, weights = data
        if class_weight is not None:
            weights = self._weigh(y[:], weights)
            intake.try_weights("fit, class_weight", x, y)
        if weights is not None:
            counted = weights > 0
            if not counted.any():
                raise ValueError("fit: all weights are 0")
            if not counted.all():
                x, y, weights = _pick((x, y, weights), np.flatnonzero(counted))
        arrays = (x, y) if weights is None else (x, y, weights)
        self._batches = ArrayBatches(arrays, batch_size, lazy=x.dtype == intake.dtype)
        if len(x) % batch_size == 1 or batch_size == 1:
            self._try_batch_of_one(x, batch_size)
        places = np.unique(np.arange(PROBED) * len(x) // PROBED)  # from everywhere: the rows may be sorted
        self._require_apart(*(array[places] for array in self._batches.arrays))

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if that is known."""
        return self._batches.steps

    def samples(self, epochs: int) -> Iterator[tuple[Examples, Examples, int]]:
        """Of each shape of batches, if they are cut from arrays: one, another one, and how many there are."""
        if isinstance(self._batches, StreamedBatches):
            return
        x, y, weights = fill_up(self._batches.arrays)
        size, total = self._batches.batch_size, len(x)
        for rows, times in ((size, total // size), (total % size, 1)):
            if rows and times:
                places = np.arange(rows) * total // rows  # from everywhere: the rows may be sorted
                places = places[self._ranks.rows(rows)]
                picked = (_pick((x, y, weights), (places + i) % total) for i in (0, 1))
                one, another = (self._intake.cast(*part) for part in picked)
                yield one, another, times * epochs

    def read(self, rng: np.random.Generator, epoch: int, skip: int, seen: int) -> Iterator[Examples]:
        """The batches of an epoch after the first ``skip``; what ``rng`` gives for them is drawn at the call.

        Inputs that need no cast are `Rows`, which compiled code reads where they lie.
        ``seen`` are the batches of all epochs, before and in this one.
        """
        if isinstance(self._batches, StreamedBatches):
            return self._take(self._batches.epoch(rng, skip, seen), epoch, skip)
        return self._take(self._batches.epoch(rng, skip, seen, self._share), epoch, skip)

    def _require_apart(self, x: NDArray, y: NDArray, weights: NDArray | None = None) -> None:
        if not self._apart and len(y) > 1:
            batch = self._intake.cast(x[:PROBED], y[:PROBED], None if weights is None else weights[:PROBED])
            require_rows_apart(self._intake.network, self._intake.reduction, *batch)
            self._apart = True

    def _take(self, batches: Iterator[Batch], epoch: int, done: int) -> Iterator[Examples]:
        for number, batch in enumerate(batches, done + 1):
            x, y, weights = fill_up(batch)
            if isinstance(self._batches, StreamedBatches):
                what = f"fit, batch {number} of epoch {epoch}"
                x, y, weights = self._intake.take(what, x, y, weights, try_row=False)
                if self._class_weight is not None:
                    weights = self._weigh(y, weights)
                self._ranks.require_same_batch(what, x, y, weights)
                self._require_apart(x, y, weights)
                x = x[self._share(len(y))]
            given = self._intake.cast(x[:0] if isinstance(x, Rows) else x, y, weights)
            yield (x, *given[1:]) if isinstance(x, Rows) else given

    def _weigh(self, y: NDArray, weights: NDArray | None) -> NDArray:
        """The weights of rows, times those of their classes."""
        assert self._intake.output is not None
        output = (len(y), *self._intake.output[1:])
        one_output = int(np.prod(output[1:])) == 1 and y.shape in (output, output[:1])
        if one_output and ((y == 0) | (y == 1)).all():
            classes = 2
        elif len(output) == 2 and are_classes(np.empty(output), y):
            classes = output[1]
        else:
            raise ValueError(
                "fit, class_weight: expected labels, one-hot targets, or 0 and 1 for one output, "
                f"got {y.dtype} {y.shape}"
            )
        own = _weigh_classes("fit, class_weight", self._class_weight, y, classes)
        own = own.astype(self._intake.dtype)
        return own if weights is None else weights * own

    def _try_batch_of_one(self, x: Any, batch_size: int) -> None:
        """Refuse a row left over that a layer, such as `BatchNorm`, cannot train on."""
        network = self._intake.network
        before = ForwardState(network)
        try:
            infer(self._train_on, self._intake.cast_inputs(x[:1]))
        except ValueError as error:
            raise ValueError(
                f"fit: {len(x)} examples in batches of {batch_size} leave a batch of one: {error}; "
                "another batch_size helps"
            ) from error
        finally:
            before.restore()

    def _train_on(self, x: NDArray) -> None:
        with learn():
            self._intake.network(x)


def _weigh_classes(what: str, given: Any, y: NDArray, classes: int) -> NDArray:
    """The weight of each row by its class.

    ``given`` is a dict label -> weight (1 for others), one weight a class, or "balanced": N / (C count).
    """
    labels = y.reshape(len(y)).astype(np.intp) if y.size == len(y) else y.argmax(axis=1)
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f"{what}: expected a dict, one weight a class, or balanced, got {given!r}")
        counts = np.bincount(labels, minlength=classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(given, dict):
        weights = np.ones(classes)
        for label, weight in given.items():
            if not is_integer(label) or not 0 <= label < classes:
                raise ValueError(f"{what}: expected labels from 0 to {classes - 1}, got {label!r}")
            weights[label] = weight
    else:
        weights = np.asarray(take_rows(what, given, np.dtype(np.float64)), np.float64)
        if weights.shape != (classes,):
            raise ValueError(f"{what}: expected {classes} weights, got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"{what}: expected finite weights of 0 or more, got {given!r}")
    found: NDArray = weights[labels]
    return found


def cut(intake: Intake, examples: Examples, rows: int) -> Iterator[Examples]:
    """Batches in the order of the examples."""
    x, y, weights = examples
    for part in (slice(i, i + rows) for i in range(0, len(x), rows)):
        yield intake.cast(x[part], y[part], None if weights is None else weights[part])


def validation_batches(intake: Intake, held_out: Data, ranks: Ranks) -> Iterator[Examples]:
    """What is held out in batches for all ranks, the same ones each time."""
    if not isinstance(held_out, StreamedBatches):
        yield from cut(intake, held_out, EVALUATED * ranks.size)
        return
    for batch in held_out.epoch(np.random.default_rng(0)):
        x, y, weights = intake.take("fit, validation", *fill_up(batch), try_row=False)
        ranks.require_same_batch("a batch of the validation", x, y, weights)
        yield intake.cast(x, y, weights)
