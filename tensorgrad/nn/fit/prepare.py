"""From the arguments of `Network.fit` to a `Training`: everything is checked before anything changes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from tensorgrad.core import Parameter
from tensorgrad.core.checks import positive_integer
from tensorgrad.core.elsewhere import choose
from tensorgrad.data.batches import StreamedBatches
from tensorgrad.nn.files.trees import generator_state, set_generator_state
from tensorgrad.nn.fit import checkpoints
from tensorgrad.nn.fit.callbacks import Progress
from tensorgrad.nn.fit.examples import Data, Intake, take_training, take_validation
from tensorgrad.nn.fit.fingerprint import require_same, take_fingerprint
from tensorgrad.nn.fit.metrics import Measure, better, measures
from tensorgrad.nn.fit.options import FitOptions, monitored
from tensorgrad.nn.fit.outputs import output_scale
from tensorgrad.nn.fit.ranks import Ranks
from tensorgrad.nn.fit.source import Source, split
from tensorgrad.nn.fit.training import Callback, Training
from tensorgrad.nn.optimizers import Adam, AdamW, MiniBatchSGD, Optimizer
from tensorgrad.nn.schedules import (
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)
from tensorgrad.nn.sequential import Sequential

__all__ = ["OPTIMIZERS", "make_optimizer", "prepare_training"]

#: What `Network.fit` and the estimators call optimizers.
OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": MiniBatchSGD}

#: What `Network.fit` calls schedules: each as a function of the optimizer and of the steps in the training.
SCHEDULES: dict[str, Callable[[Optimizer, int], Schedule]] = {
    "cosine": CosineDecay,
    "exponential": lambda optimizer, total: ExponentialDecay(optimizer, 0.01 ** (1 / total)),
    "step": lambda optimizer, total: StepDecay(optimizer, -(-total // 3)),
    "one_cycle": OneCycle,
    "warm_up": lambda optimizer, total: WarmUp(optimizer, -(-total // 10), 1 / (1 - (-total // 10))),
    "reduce_on_plateau": lambda optimizer, total: ReduceOnPlateau(optimizer),
}


def prepare_training(network: Sequential, options: FitOptions, ranks: Ranks) -> Training:
    """The training that `Network.fit` runs; see there."""
    if ranks.rank:
        options = replace(options, checkpoint=None, checkpoint_every=None, resume=False, verbose=False)
    measured = None if options.metrics is None else measures(options.metrics, output_scale(network))
    intake = Intake(network, measured)
    data = take_training(intake, options.x, options.y, options.sample_weight, options.steps_per_epoch)
    held_out = take_validation(intake, options.validation)
    positive_integer("", "epochs", options.epochs)
    positive_integer("", "batch_size", options.batch_size)
    if options.schedule_every not in ("epoch", "batch"):
        raise ValueError(f"fit: expected schedule_every to be epoch or batch, got {options.schedule_every!r}")
    callbacks = _take_callbacks(options.callbacks)
    if options.verbose and not any(isinstance(callback, Progress) for callback in callbacks):
        callbacks = [*callbacks, Progress()]
    if ranks.rank:
        callbacks = checkpoints.with_state(callbacks)
    rng = np.random.default_rng(options.seed)
    optimizer = _make_optimizer(network, options)
    schedule = _make_schedule(options, optimizer, data)
    _watch(options, schedule, held_out is not None or options.validation_split is not None, measured)
    _check_checkpoint(options)
    resumed = checkpoints.find(options.checkpoint, options.resume)
    if options.checkpoint is not None or resumed is not None or ranks.size > 1:
        fingerprint = take_fingerprint(
            network, options, data, held_out, measured or {}, optimizer, schedule,
            checkpoints.with_state(callbacks), rng,
        )  # fmt: skip
    if ranks.size > 1:
        more = {name: str(getattr(options, name)) for name in ("epochs", "compile")}
        ranks.require_alike({**fingerprint, **more, "seed": None})
    tree = ranks.broadcast("the checkpoint", None if resumed is None else checkpoints.read(resumed))
    if resumed is not None and tree is not None:
        require_same(resumed, tree, fingerprint, optimizer, schedule is not None)
        fingerprint = tree["fingerprint"]
        set_generator_state(rng, tree["start"])
    start = ranks.broadcast("the start", generator_state(rng))
    set_generator_state(rng, start)
    if options.validation_split is not None:
        data, held_out = split(data, held_out, options.validation_split, rng)
    share = options.augment is None
    source = Source(intake, data, options.class_weight, options.batch_size, ranks, share=share)
    training = Training(
        options, intake, source, held_out, measured, optimizer, schedule, callbacks, rng, ranks
    )
    checkpoints.start_alike(training, ranks)
    training.require_monitor(training.foresee())
    if options.checkpoint is not None:
        training.checkpoints = checkpoints.Checkpoints(
            options.checkpoint, options.checkpoint_every, fingerprint, start
        )
    if tree is not None:
        training.engine.load_state(tree["engine"])
    training.prepare_engine()
    if tree is not None:
        checkpoints.restore(training, tree)
    if not network.training and (network.buffers() or network.named_generators()):
        _warn_of_inference()
    return training


def _warn_of_inference() -> None:
    warnings.warn(
        "fit: the network was put into inference by eval(), and is trained as it is: batch normalization "
        "takes its running statistics, dropout keeps all. Call train() first, then eval() of the layers "
        "that are to stay so",
        RuntimeWarning,
        stacklevel=5,
    )


def _take_callbacks(given: Any) -> list[Callback]:
    callbacks = [] if given is None else list(given) if isinstance(given, Iterable) else [given]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            made = f"; write {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise TypeError(f"fit: expected callbacks to be Callbacks, got {callback!r}{made}")
    return callbacks


def make_optimizer(owner: str, made: Any, parameters: list[Parameter], **options: Any) -> Optimizer:
    """An optimizer by its name, or as a class or function makes it of parameters and options."""
    if isinstance(made, str) or not callable(made):
        others = " or a function (parameters, ...) -> Optimizer"
        made = choose(f"{owner}: expected optimizer", made, OPTIMIZERS, others)
    if isinstance(made, type) and issubclass(made, Optimizer):
        known = inspect.signature(made).parameters
        foreign = [f"{name}={value}" for name, value in options.items() if name not in known]
        if foreign:
            raise ValueError(f"{owner}: {made.__name__} has no {', '.join(foreign)}")
        if made is MiniBatchSGD and "learning_rate" not in options:
            raise ValueError(f"{owner}: expected a learning_rate for MiniBatchSGD, which has none by itself")
    made = made(parameters, **options)
    if not isinstance(made, Optimizer):
        raise TypeError(f"{owner}: expected optimizer to give an Optimizer, got {made!r}")
    return made


def _make_optimizer(network: Sequential, options: FitOptions) -> Optimizer:
    made, rate = options.optimizer, options.learning_rate
    if made is None and rate is None:
        raise ValueError("fit: expected a learning_rate or an optimizer, got neither")
    given = {name: value for name in ("momentum", "nesterov") if (value := getattr(options, name))}
    for name in ("learning_rate", "weight_decay"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    if made is None or isinstance(made, (str, type)):
        made = make_optimizer("fit", "sgd" if made is None else made, network.parameters(), **given)
    elif given:
        raise ValueError(f"fit: expected {', '.join(given)} to be set in the optimizer that was given")
    elif not isinstance(made, Optimizer):
        made = make_optimizer("fit", made, network.parameters())
    own = {id(p) for p in network.parameters()}
    foreign = [p for p in made.parameters if id(p) not in own]
    if foreign:
        raise ValueError(f"fit: the optimizer has parameters of something else: {foreign[0]!r}")
    return made


def _make_schedule(options: FitOptions, optimizer: Optimizer, data: Data) -> Schedule | None:
    made: Any = options.schedule
    if made is None:
        return None
    if isinstance(made, str):
        make = choose("fit: expected schedule", made, SCHEDULES, " or a function (optimizer) -> Schedule")
        made = make(optimizer, _count_steps(options, made, data))
    elif not isinstance(made, Schedule):
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


def _count_steps(options: FitOptions, name: str, data: Data) -> int:
    """How often a schedule steps in the whole training."""
    if options.schedule_every == "epoch":
        return options.epochs
    if isinstance(data, StreamedBatches):
        if data.steps is None:
            raise ValueError(f"fit: schedule={name!r} for every batch needs steps_per_epoch")
        return options.epochs * data.steps
    rows = len(data[0]) - round(len(data[0]) * (options.validation_split or 0))
    return options.epochs * -(-rows // options.batch_size)


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
