"""From the arguments of `Network.fit` to a `Training`: everything is checked before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.core import Array, Parameter, no_grad
from tensorgrad.data.batches import ArrayBatches, Batch, StreamedBatches
from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.files.trees import generator_state, set_generator_state
from tensorgrad.nn.fit.callbacks import Callback
from tensorgrad.nn.fit.checkpoints import (
    Checkpoints,
    described_array,
    described_function,
    described_network,
    find,
    read,
    restore,
)
from tensorgrad.nn.fit.examples import Examples, Intake, check_count, class_weights
from tensorgrad.nn.fit.metrics import Measure, Metric, Values, are_classes, measures, output_scale
from tensorgrad.nn.fit.tally import measured, mode
from tensorgrad.nn.fit.training import Training
from tensorgrad.nn.optimizers import MiniBatchSGD, Optimizer
from tensorgrad.nn.schedules import Schedule

if TYPE_CHECKING:
    from tensorgrad.nn.network import Network

EVALUATED = 256  # rows at once in validation


def optimizer_for(
    network: Network,
    optimizer: Optimizer | Callable[[list[Parameter]], Optimizer] | None,
    learning_rate: float | None,
    **options: Any,
) -> Callable[[], Optimizer]:
    """A function that gives the optimizer, once the rest of the arguments is checked."""
    if optimizer is None:
        if learning_rate is None:
            raise ValueError("fit: expected a learning_rate or an optimizer, got neither")
        return lambda: MiniBatchSGD(network.parameters(), learning_rate, **options)
    if learning_rate is not None or any(options.values()):
        given = {"learning_rate": learning_rate, **options}
        names = ", ".join(name for name, value in given.items() if value)
        raise ValueError(f"fit: expected {names} to be set in the optimizer that was given")

    def make() -> Optimizer:
        made = optimizer if isinstance(optimizer, Optimizer) else optimizer(network.parameters())
        if not isinstance(made, Optimizer):
            raise TypeError(f"fit: expected optimizer to give an Optimizer, got {made!r}")
        own = {id(p) for p in network.parameters()}
        foreign = [p for p in made.parameters if id(p) not in own]
        if foreign:
            raise ValueError(f"fit: the optimizer has parameters of something else: {foreign[0]!r}")
        return made

    return make


def prepared_training(
    network: Network,
    x: Any,
    y: Array | None,
    *,
    epochs: int,
    batch_size: int,
    seed: np.random.Generator | int | None,
    optimizer: Callable[[], Optimizer],
    schedule: Schedule | Callable[[Optimizer], Schedule] | None,
    schedule_every: str,
    schedule_monitor: str | None,
    validation: Any,
    validation_split: float | None,
    metrics: Iterable[Metric] | None,
    callbacks: Sequence[Callback],
    sample_weight: Array | None,
    class_weight: Any,
    augment: Callable[[Array, np.random.Generator], Array] | None,
    steps_per_epoch: int | None,
    checkpoint: PathLike | None,
    checkpoint_every: int | timedelta | None,
    resume: bool | PathLike,
) -> Training:
    """The training that `Network.fit` runs; see there."""
    check_count("epochs", epochs)
    intake = Intake(network)
    data = _data(intake, x, y, sample_weight, steps_per_epoch)
    held_out = _validation(intake, validation)
    check_count("batch_size", batch_size)
    if schedule_every not in ("epoch", "batch"):
        raise ValueError(f"fit: expected schedule_every to be epoch or batch, got {schedule_every!r}")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: expected callbacks to be Callbacks, got {callback!r}")
    measure = {} if metrics is None else measures(metrics, output_scale(network))
    rng = np.random.default_rng(seed)
    made = optimizer()
    timetable = _schedule(schedule, made, schedule_every)
    _check_checkpoint(checkpoint, checkpoint_every)
    tree = None
    path = find(checkpoint, resume)
    if checkpoint is not None or path is not None:
        fingerprint = {
            "network": described_network(network),
            "loss": described_function(network.loss),
            "optimizer": type(made).__name__,
            "schedule": "none"
            if timetable is None
            else f"{type(timetable).__name__}, every {schedule_every}",
            "batch_size": int(batch_size) if y is not None else None,
            "steps_per_epoch": steps_per_epoch,
            **_described("", data),
            **_described("validation ", held_out),
            "validation_split": validation_split,
            "class_weight": None if class_weight is None else str(class_weight),
            "metrics": list(measure),
            "augment": described_function(augment),
            "generator": type(rng.bit_generator).__name__,
        }
        if path is not None:
            tree = read(path, fingerprint)
            set_generator_state(rng, tree["start"])
    start = generator_state(rng)
    if validation_split is not None:
        data, held_out = _split(data, held_out, validation_split, rng)
    augment_rng = None if augment is None else np.random.default_rng(int(rng.integers(1 << 62)))
    source, weigh = _source(intake, data, class_weight, batch_size)
    if isinstance(source, ArrayBatches):
        _try_last_batch(network, source)
    training = Training(
        network, made, timetable, source, intake,
        epochs=epochs, rng=rng, augment=augment, augment_rng=augment_rng, weigh=weigh, measures=measure,
        validate=None if held_out is None else _validate(
            network, held_out, intake, measure if metrics is not None else None
        ),
        callbacks=callbacks, schedule_every=schedule_every, schedule_monitor=schedule_monitor,
    )  # fmt: skip
    if checkpoint is not None:
        training.checkpoints = Checkpoints(checkpoint, checkpoint_every, fingerprint, start)
    if tree is not None:
        restore(training, tree)
    return training


# Examples


def _data(
    intake: Intake, x: Any, y: Array | None, sample_weight: Array | None, steps_per_epoch: int | None
) -> Examples | StreamedBatches:
    if y is not None:
        if steps_per_epoch is not None:
            raise ValueError("fit: steps_per_epoch is for batches of your own; arrays know their length")
        return intake.take("fit", x, y, sample_weight)
    if isinstance(x, np.ndarray) or not (callable(x) or isinstance(x, Iterable)):
        raise TypeError(f"fit: expected y, or batches (x, y) alone, got only {type(x).__name__}")
    if sample_weight is not None:
        raise ValueError("fit: expected batches (x, y, weights) instead of sample_weight")
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)
    return StreamedBatches(x, steps_per_epoch)


def _validation(intake: Intake, validation: Any) -> Examples | StreamedBatches | None:
    if validation is None:
        return None
    expected = "fit: expected validation to be a pair (x, y), with weights or not, or batches"
    if isinstance(validation, (tuple, list)) and not all(isinstance(part, tuple) for part in validation):
        if len(validation) not in (2, 3):
            raise TypeError(f"{expected}, got {len(validation)} things")
        x, y, *weights = validation
        return intake.take("fit, validation", x, y, weights[0] if weights else None)
    if isinstance(validation, np.ndarray) or not (callable(validation) or isinstance(validation, Iterable)):
        raise TypeError(f"{expected}, got a {type(validation).__name__}")
    if isinstance(validation, Iterator):
        raise TypeError(f"{expected} that can be read again, got an iterator")
    return StreamedBatches(validation)


def _split(
    data: Examples | StreamedBatches,
    held_out: Examples | StreamedBatches | None,
    share: float,
    rng: np.random.Generator,
) -> tuple[Examples, Examples]:
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
    return _rows(data, np.sort(order[count:])), _rows(data, np.sort(order[:count]))


def _rows(examples: Examples, rows: Values) -> Examples:
    x, y, weights = examples
    return x[rows], y[rows], None if weights is None else weights[rows]


def _source(
    intake: Intake, data: Examples | StreamedBatches, class_weight: Any, batch_size: int
) -> tuple[ArrayBatches | StreamedBatches, Callable[[Values, Values | None], Values | None] | None]:
    """The batches; and for batches that are not weighted yet, the function that does it."""
    weigh = None if class_weight is None else _by_class(intake, class_weight)
    if isinstance(data, StreamedBatches):
        if isinstance(class_weight, str):
            raise ValueError("fit: class_weight='balanced' needs arrays; give the weights")
        return data, weigh
    x, y, weights = data
    if weigh is not None:
        weights = weigh(y, weights)
        intake.try_weights(x, y)
    if weights is None:
        return ArrayBatches((x, y), batch_size), None
    counted = weights > 0
    if not counted.any():
        raise ValueError("fit: all weights are 0")
    if not counted.all():
        x, y, weights = x[counted], y[counted], weights[counted]
    return ArrayBatches((x, y, weights), batch_size), None


def _by_class(intake: Intake, class_weight: Any) -> Callable[[Values, Values | None], Values | None]:
    def weigh(y: Values, weights: Values | None) -> Values:
        assert intake.output is not None
        output = (len(y), *intake.output[1:])
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
        own = class_weights("fit, class_weight", class_weight, y, classes)
        return own.astype(intake.network.dtype) if weights is None else weights * own.astype(weights.dtype)

    return weigh


def _try_last_batch(network: Network, source: ArrayBatches) -> None:
    """Show before any training that a layer, such as `BatchNorm`, cannot train on the one row left over."""
    x = source.arrays[0]
    if len(x) % source.batch_size != 1 and source.batch_size > 1:
        return
    buffers = [(buffer, buffer.numpy()) for buffer in network._buffers().values()]
    generators = [(g, generator_state(g)) for g in network.named_generators().values()]
    try:
        with no_grad(), mode(network, training=True):
            network(x[:1])
    except ValueError as error:
        raise ValueError(
            f"fit: {len(x)} examples in batches of {source.batch_size} leave a batch of one: {error}; "
            "another batch_size helps"
        ) from error
    finally:
        for buffer, values in buffers:
            buffer.data = values
        for generator, state in generators:
            set_generator_state(generator, state)


def _validate(
    network: Network,
    held_out: Examples | StreamedBatches,
    intake: Intake,
    measure: dict[str, Measure] | None,
) -> Callable[[], dict[str, float]]:
    def taken() -> Iterator[Batch]:
        if not isinstance(held_out, StreamedBatches):
            yield from in_order(held_out, EVALUATED)
            return
        for x, y, *weights in held_out.epoch(np.random.default_rng(0)):
            yield intake.take("fit, validation", x, y, weights[0] if weights else None, try_row=False)

    return lambda: measured(network, taken(), intake, measure)


# The rest


def _schedule(
    schedule: Schedule | Callable[[Optimizer], Schedule] | None, optimizer: Optimizer, every: str
) -> Schedule | None:
    if schedule is None:
        return None
    made = schedule if isinstance(schedule, Schedule) else schedule(optimizer)
    if not isinstance(made, Schedule):
        raise TypeError(f"fit: expected schedule to give a Schedule, got {made!r}")
    if made.optimizer is not optimizer:
        raise ValueError("fit: the schedule is that of another optimizer; give both, or functions")
    if made.needs_metric and every == "batch":
        raise ValueError(
            f"fit: {type(made).__name__} watches a figure of an epoch; expected schedule_every='epoch'"
        )
    return made


def _check_checkpoint(path: PathLike | None, every: int | timedelta | None) -> None:
    if every is None:
        return
    if path is None:
        raise ValueError("fit: checkpoint_every needs checkpoint=path")
    if isinstance(every, timedelta):
        if every <= timedelta(0):
            raise ValueError(f"fit: expected checkpoint_every to be a time above 0, got {every}")
    else:
        check_count("checkpoint_every", every)


def _described(prefix: str, data: Examples | StreamedBatches | None) -> dict[str, str]:
    if data is None or isinstance(data, StreamedBatches):
        return {f"{prefix}x": "none" if data is None else "batches"}
    names = ("x", "y", "weights")
    return {f"{prefix}{name}": described_array(array) for name, array in zip(names, data, strict=True)}


def in_order(examples: Examples, rows: int) -> Iterator[Batch]:
    """Batches in the order of the examples."""
    x, y, weights = examples
    for i in range(0, len(x), rows):
        part = slice(i, i + rows)
        yield x[part], y[part], None if weights is None else weights[part]
