"""A schedule that watches a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from tensorgrad.core.checks import fraction, nonnegative, positive
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.schedule import Schedule, count, is_count


class ReduceOnPlateau(Schedule):
    """Multiply the rates by ``factor`` when a metric has not improved for more than ``patience`` steps.

    PyTorch's ``ReduceLROnPlateau``; but a relative threshold is one of the best metric's magnitude, so that
    it works for negative metrics too, and a metric that is NaN is refused.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        Above 0, below 1.
    patience : int
        Steps without improvement that are tolerated.
    mode : "min" or "max"
        Whether lower or higher metrics are better.
    threshold : float
        An improvement must be larger than this, times the best metric's magnitude if ``relative``.
    relative : bool
    cooldown : int
        Steps after a reduction that are not counted.
    minimum : float
        No rate is reduced to less.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> optimizer.learning_rate
    0.5
    """

    _settings: ClassVar = (
        "factor", "patience", "mode", "threshold", "relative", "cooldown", "minimum",
    )  # fmt: skip
    _progress: ClassVar = ("best", "waited", "cooling")

    needs_metric: bool = True

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        *,
        mode: str = "min",
        threshold: float = 1e-4,
        relative: bool = True,
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        name = "ReduceOnPlateau"
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: expected mode 'min' or 'max', got {mode!r}")
        self.factor = positive(name, "factor", fraction(name, "factor", factor))
        self.patience = count(name, "patience", patience, least=0)
        self.mode = mode
        self.threshold = nonnegative(name, "threshold", threshold)
        self.relative = bool(relative)
        self.cooldown = count(name, "cooldown", cooldown, least=0)
        self.minimum = nonnegative(name, "minimum", minimum)
        self.best: float | None = None
        self.waited = self.cooling = 0  # steps without improvement, and steps of cooldown that are left
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """The base rate, to start with; the later ones depend on the metric."""
        return base

    def step(self, metric: float | None = None) -> None:
        """Note the metric, and reduce the rates if it has not improved for too long.

        Raises
        ------
        TypeError
            If no metric is given.
        ValueError
            If it is NaN.
        """
        if metric is None:
            raise TypeError("ReduceOnPlateau.step: expected the metric, got none")
        metric = float(metric)
        if math.isnan(metric):
            raise ValueError("ReduceOnPlateau.step: the metric is NaN")
        waited = 0 if self._better(metric) or self.cooling else self.waited + 1
        if waited > self.patience:
            # A rate that is below the minimum already stays there.
            self._set([max(rate * self.factor, min(rate, self.minimum)) for rate in self._current()])
            self.waited, self.cooling = 0, self.cooldown
        else:
            self.waited, self.cooling = waited, max(self.cooling - 1, 0)
        if self._better(metric):
            self.best = metric
        self._rates = self._current()
        self.steps += 1

    def _better(self, metric: float) -> bool:
        if self.best is None:
            return True
        scale = abs(self.best) if self.relative and math.isfinite(self.best) else 1
        margin = self.threshold * scale
        return metric < self.best - margin if self.mode == "min" else metric > self.best + margin

    def _checked_progress(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        best = progress["best"]
        if not (best is None or (isinstance(best, float) and not math.isnan(best))):
            raise ValueError(f"ReduceOnPlateau.load_state: expected best to be a number, got {best!r}")
        if not (is_count(progress["waited"]) and is_count(progress["cooling"])):
            raise ValueError(f"ReduceOnPlateau.load_state: expected counts, got {dict(progress)}")
        return dict(progress)
