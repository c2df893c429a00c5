"""Schedules: they change learning rates while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tensorgrad.core.checks import fraction, nonnegative, positive
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.schedule import Schedule, cosine, count


class StepDecay(Schedule):
    """Multiply the rate by ``factor`` after every so many steps, or after each of the steps listed.

    PyTorch's ``StepLR`` and ``MultiStepLR``.

    Parameters
    ----------
    optimizer : Optimizer
    every : int or sequence of int
        A period, or increasing numbers of steps.
    factor : float
        Above 0.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.StepDecay(optimizer, 2, factor=0.1)
    >>> for _ in range(3):
    ...     print(optimizer.learning_rate)
    ...     schedule.step()
    1.0
    1.0
    0.1
    """

    _settings: ClassVar = ("every", "factor")

    def __init__(self, optimizer: Optimizer, every: int | Sequence[int], factor: float = 0.1) -> None:
        name = "StepDecay"
        if isinstance(every, Sequence):
            self.every: int | tuple[int, ...] = tuple(count(name, "every", step) for step in every)
            if not every or any(b <= a for a, b in zip(self.every, self.every[1:], strict=False)):
                raise ValueError(f"{name}: expected every to list increasing steps, got {every!r}")
        else:
            self.every = count(name, "every", every)
        self.factor = positive(name, "factor", factor)
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """base * factor^(how often the rate was to change)."""
        times = steps // self.every if isinstance(self.every, int) else sum(n <= steps for n in self.every)
        return base * self.factor**times


class ExponentialDecay(Schedule):
    """Multiply the rate by ``factor`` after each step; PyTorch's ``ExponentialLR``.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        Above 0.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.ExponentialDecay(optimizer, 0.5)
    >>> schedule.step()
    >>> optimizer.learning_rate
    0.5
    """

    _settings: ClassVar = ("factor",)

    def __init__(self, optimizer: Optimizer, factor: float) -> None:
        self.factor = positive("ExponentialDecay", "factor", factor)
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """base * factor^steps."""
        return base * self.factor**steps


class CosineDecay(Schedule):
    """From the base rate to ``minimum`` along half a cosine wave in ``total`` steps, and at ``minimum`` then.

    Loshchilov and Hutter 2017, without restarts. PyTorch's ``CosineAnnealingLR``, which would rise again.

    Parameters
    ----------
    optimizer : Optimizer
    total : int
        Steps to the minimum.
    minimum : float
        Must be at least 0; no group's rate may be lower.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.CosineDecay(optimizer, total=4)
    >>> for _ in range(2):
    ...     schedule.step()
    >>> optimizer.learning_rate
    0.5
    """

    _settings: ClassVar = ("total", "minimum")

    def __init__(self, optimizer: Optimizer, total: int, minimum: float = 0.0) -> None:
        self.total = count("CosineDecay", "total", total)
        self.minimum = nonnegative("CosineDecay", "minimum", minimum)
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """minimum + (base - minimum) (1 + cos(pi steps / total)) / 2."""
        if base < self.minimum:
            raise ValueError(f"CosineDecay: the rate {base} is below the minimum {self.minimum}")
        return cosine(base, self.minimum, min(steps / self.total, 1.0))


class OneCycle(Schedule):
    """Up to the base rate and down again, both along half a cosine wave, in ``total`` steps.

    It starts at base / ``start_divisor`` and ends at ``end_divisor`` times less than that, where it stays
    (Smith and Topin 2017). PyTorch's ``OneCycleLR`` with ``max_lr`` the base rate and no cycling of momentum.

    Parameters
    ----------
    optimizer : Optimizer
    total : int
        Steps of the whole cycle; at least 2.
    rising : float
        Part of the cycle that goes up; above 0, below 1.
    start_divisor, end_divisor : float
        Above 0.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.OneCycle(optimizer, total=10)
    >>> optimizer.learning_rate
    0.04
    >>> for _ in range(2):
    ...     schedule.step()
    >>> optimizer.learning_rate
    1.0
    """

    _settings: ClassVar = ("total", "rising", "start_divisor", "end_divisor")

    def __init__(
        self,
        optimizer: Optimizer,
        total: int,
        *,
        rising: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
    ) -> None:
        name = "OneCycle"
        self.total = count(name, "total", total, least=2)
        self.rising = positive(name, "rising", fraction(name, "rising", rising))
        if not self.rising * self.total > 1:
            raise ValueError(f"{name}: expected more than one rising step, got {rising} of {total}")
        self.start_divisor = positive(name, "start_divisor", start_divisor)
        self.end_divisor = positive(name, "end_divisor", end_divisor)
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """Half a wave up, half a wave down."""
        start = base / self.start_divisor
        peak, last = self.rising * self.total - 1, self.total - 1  # the first step's rate has number 0
        if steps <= peak:
            return cosine(start, base, steps / peak)
        return cosine(base, start / self.end_divisor, min((steps - peak) / (last - peak), 1.0))


class WarmUp(Schedule):
    """Raise the rates linearly to those that another schedule starts with, then hand over to it.

    PyTorch's ``SequentialLR`` of ``LinearLR`` and another.

    Parameters
    ----------
    then : Schedule or Optimizer
        What follows; given an optimizer, its rates stay where they are after the warm-up.
    total : int
        Steps of the warm-up. After so many, the rates are those that ``then`` started with.
    start : float
        The first rates are these parts of the later ones; at least 0, below 1.

    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=1.0)
    >>> schedule = tg.WarmUp(tg.CosineDecay(optimizer, total=4), total=2)
    >>> for _ in range(5):
    ...     print(round(optimizer.learning_rate, 3), end=" ")
    ...     schedule.step()
    0.0 0.5 1.0 0.854 0.5
    """

    _settings: ClassVar = ("total", "start")

    def __init__(self, then: Schedule | Optimizer, total: int, start: float = 0.0) -> None:
        self.total = count("WarmUp", "total", total)
        self.start = fraction("WarmUp", "start", start)
        if isinstance(then, Schedule) and then.steps:
            raise ValueError(f"WarmUp: expected a new schedule, got one that made {then.steps} steps")
        self.then = then if isinstance(then, Schedule) else None
        super().__init__(then.optimizer if isinstance(then, Schedule) else then)

    @property
    def needs_metric(self) -> bool:  # type: ignore[override]  # it depends on what follows
        """Whether what follows needs one; the warm-up does not read it."""
        return self.then is not None and self.then.needs_metric

    def rate(self, base: float, steps: int) -> float:
        """base (start + (1 - start) steps / total)."""
        return base if steps >= self.total else base * (self.start + (1 - self.start) * steps / self.total)

    def step(self, metric: float | None = None) -> None:
        """Set the next rate of the warm-up, or let the other schedule do so."""
        if self.steps < self.total or self.then is None:
            super().step(metric)
            return
        self.then.step(metric)
        self._rates = self._current()
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """As of any schedule, with the state of the other."""
        return {**super().state(), "then": None if self.then is None else self.then.state()}

    def _checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        checked = super()._checked_state(state)
        if (self.then is None) != (state["then"] is None):
            raise ValueError(f"WarmUp.load_state: another schedule follows there: {state['then']}")
        then = None if self.then is None else self.then._checked_state(state["then"])
        return {**checked, "then": then}

    def _adopt(self, checked: dict[str, Any]) -> None:
        if self.then is not None:
            self.then._adopt(checked["then"])
        super()._adopt(checked)
