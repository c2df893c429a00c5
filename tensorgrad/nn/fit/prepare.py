"""From the arguments of `Network.fit` to a `Training`: everything is checked before anything changes."""

from __future__ import annotations

import warnings
from datetime import timedelta

import numpy as np

from tensorgrad.core.checks import positive_integer
from tensorgrad.nn.files.trees import generator_state, set_generator_state
from tensorgrad.nn.fit import checkpoints
from tensorgrad.nn.fit.callbacks import Progress
from tensorgrad.nn.fit.examples import Intake, Source, split, take_training, take_validation
from tensorgrad.nn.fit.fingerprint import require_same, take_fingerprint
from tensorgrad.nn.fit.metrics import Measure, better, measures
from tensorgrad.nn.fit.outputs import output_scale
from tensorgrad.nn.fit.training import Callback, FitOptions, Training, monitored
from tensorgrad.nn.optimizers import MiniBatchSGD, Optimizer
from tensorgrad.nn.schedules import Schedule
from tensorgrad.nn.sequential import Sequential

__all__ = ["prepare_training"]


def prepare_training(network: Sequential, options: FitOptions) -> Training:
    """The training that `Network.fit` runs; see there."""
    _check_optimizer_options(options)
    positive_integer("", "epochs", options.epochs)
    measured = None if options.metrics is None else measures(options.metrics, output_scale(network))
    intake = Intake(network, measured)
    data = take_training(intake, options.x, options.y, options.sample_weight, options.steps_per_epoch)
    held_out = take_validation(intake, options.validation)
    positive_integer("", "batch_size", options.batch_size)
    if options.schedule_every not in ("epoch", "batch"):
        raise ValueError(f"fit: expected schedule_every to be epoch or batch, got {options.schedule_every!r}")
    callbacks = [*options.callbacks]
    if options.verbose and not any(isinstance(callback, Progress) for callback in callbacks):
        callbacks.append(Progress())
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: expected callbacks to be Callbacks, got {callback!r}")
    rng = np.random.default_rng(options.seed)
    optimizer = _make_optimizer(network, options)
    schedule = _make_schedule(options, optimizer)
    _watch(options, schedule, held_out is not None or options.validation_split is not None, measured)
    _check_checkpoint(options)
    resumed = checkpoints.find(options.checkpoint, options.resume)
    if options.checkpoint is not None or resumed is not None:
        fingerprint = take_fingerprint(
            network, options, data, held_out, measured or {}, optimizer, schedule,
            checkpoints.with_state(callbacks), rng,
        )  # fmt: skip
    tree = None if resumed is None else checkpoints.read(resumed)
    if resumed is not None and tree is not None:
        require_same(resumed, tree, fingerprint, optimizer, schedule is not None)
        fingerprint = tree["fingerprint"]
        set_generator_state(rng, tree["start"])
    start = generator_state(rng)
    if options.validation_split is not None:
        data, held_out = split(data, held_out, options.validation_split, rng)
    source = Source(intake, data, options.class_weight, options.batch_size)
    training = Training(options, intake, source, held_out, measured, optimizer, schedule, callbacks, rng)
    if options.checkpoint is not None:
        training.checkpoints = checkpoints.Checkpoints(
            options.checkpoint, options.checkpoint_every, fingerprint, start
        )
    if tree is not None:
        training.engine.load_state(tree.get("engine", {"choice": False, "libraries": {}}))
    training.prepare_engine()
    if tree is not None:
        checkpoints.restore(training, tree)
    if not network.training and (network.buffers() or network.named_generators()):
        warnings.warn(
            "fit: the network was put into inference by eval(), and is trained as it is: batch normalization "
            "takes its running statistics, dropout keeps all. Call train() first, then eval() of the layers "
            "that are to stay so",
            RuntimeWarning,
            stacklevel=3,
        )
    return training


def _check_optimizer_options(options: FitOptions) -> None:
    names = ("learning_rate", "momentum", "nesterov", "weight_decay")
    given = [name for name in names if getattr(options, name)]
    if options.optimizer is None:
        if options.learning_rate is None:
            raise ValueError("fit: expected a learning_rate or an optimizer, got neither")
    elif options.learning_rate is not None or given:
        raise ValueError(f"fit: expected {', '.join(given)} to be set in the optimizer that was given")


def _make_optimizer(network: Sequential, options: FitOptions) -> Optimizer:
    if options.optimizer is None:
        assert options.learning_rate is not None
        return MiniBatchSGD(
            network.parameters(), options.learning_rate,
            momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay,
        )  # fmt: skip
    made = options.optimizer
    if not isinstance(made, Optimizer):
        made = made(network.parameters())
    if not isinstance(made, Optimizer):
        raise TypeError(f"fit: expected optimizer to give an Optimizer, got {made!r}")
    own = {id(p) for p in network.parameters()}
    foreign = [p for p in made.parameters if id(p) not in own]
    if foreign:
        raise ValueError(f"fit: the optimizer has parameters of something else: {foreign[0]!r}")
    return made


def _make_schedule(options: FitOptions, optimizer: Optimizer) -> Schedule | None:
    made = options.schedule
    if made is None:
        return None
    if not isinstance(made, Schedule):
        made = made(optimizer)
    if not isinstance(made, Schedule):
        raise TypeError(f"fit: expected schedule to give a Schedule, got {made!r}")
    if made.optimizer is not optimizer:
        raise ValueError("fit: the schedule is that of another optimizer; give both, or functions")
    if made.needs_metric and options.schedule_every == "batch":
        raise ValueError(
            f"fit: {type(made).__name__} watches a figure of an epoch; expected schedule_every='epoch'"
        )
    return made


def _watch(
    options: FitOptions, schedule: Schedule | None, validates: bool, measured: dict[str, Measure] | None
) -> None:
    if schedule is not None and schedule.needs_metric:
        monitor = monitored(options, validates)
        schedule.watch(monitor, better(monitor, measured))
    elif options.schedule_monitor is not None:
        name = "no schedule" if schedule is None else type(schedule).__name__
        raise ValueError(f"fit: schedule_monitor is for ReduceOnPlateau, got it with {name}")


def _check_checkpoint(options: FitOptions) -> None:
    every = options.checkpoint_every
    if every is None:
        return
    if options.checkpoint is None:
        raise ValueError("fit: checkpoint_every needs checkpoint=path")
    if not isinstance(every, timedelta):
        positive_integer("", "checkpoint_every", every)
    elif every <= timedelta(0):
        raise ValueError(f"fit: expected checkpoint_every to be a time above 0, got {every}")
