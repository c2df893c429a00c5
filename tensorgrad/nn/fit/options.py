"""The arguments of a training, in one record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from tensorgrad.core import Array
from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.fit.metrics import Metric
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.schedules import Schedule

__all__ = ["FitOptions", "monitored"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FitOptions:
    """The arguments of `Network.fit`, which says what they mean."""

    x: Any
    y: Array | None
    epochs: int
    learning_rate: float | None
    batch_size: int
    momentum: float
    nesterov: bool
    weight_decay: float | None
    optimizer: str | Optimizer | Callable[..., Optimizer] | None
    schedule: str | Schedule | Callable[[Optimizer], Schedule] | None
    schedule_every: str
    schedule_monitor: str | None
    validation: Any
    validation_split: float | None
    metrics: Iterable[Metric] | None
    callbacks: Any
    sample_weight: Array | None
    class_weight: Any
    augment: Callable[[Array, np.random.Generator], Array] | None
    steps_per_epoch: int | None
    checkpoint: PathLike | None
    checkpoint_every: int | timedelta | None
    resume: bool | PathLike
    compile: bool | None
    communicator: Any
    seed: np.random.Generator | int | None
    verbose: bool


def monitored(options: FitOptions, validates: bool) -> str:
    """The figure that a schedule watches which needs one."""
    return options.schedule_monitor or ("validation_loss" if validates else "loss")
