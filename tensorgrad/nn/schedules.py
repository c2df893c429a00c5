"""Schedules: they change learning rates while a network is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tensorgrad.core.checks import fraction, is_integer, nonnegative, positive
from tensorgrad.core.elsewhere import Explained
from tensorgrad.nn.optimizers import Optimizer

__all__ = [
    "CosineDecay", "ExponentialDecay", "OneCycle", "ReduceOnPlateau", "Schedule", "StepDecay", "WarmUp",
]  # fmt: skip


class Schedule(Explained):
    """Base of all schedules: it sets an optimizer's learning rates, each group's from its own base rate.

    A group's base rate is the rate that it has when the schedule is made, which sets the first rates.
    `step` sets the next; whether that is once a batch or once an epoch is the caller's choice. Write your own
    by defining `rate`.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    steps : int
        How often `step` was called.
    needs_metric : bool
        Whether `step` must be given a metric.

    >>> class Halving(tg.Schedule):
    ...     def rate(self, base, steps):
    ...         return base / 2**steps
    >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=0.1)
    >>> schedule = Halving(optimizer)
    >>> schedule.step()
    >>> optimizer.learning_rate
    0.05
    """

    #: Attributes that a constructor sets, and attributes that change; both are part of the state.
    _settings: ClassVar[tuple[str, ...]] = ()
    _progress: ClassVar[tuple[str, ...]] = ()

    needs_metric: bool = False

    def __init__(self, optimizer: Optimizer) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: expected an Optimizer, got {optimizer!r}")
        self.optimizer = optimizer
        self.steps = 0
        self.base_rates = self._current()
        self._rates = self.base_rates
        self._set([self.rate(base, 0) for base in self.base_rates])

    def rate(self, base: float, steps: int) -> float:
        """The learning rate of a group whose base rate is ``base``, after ``steps`` steps."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate")

    def step(self, metric: float | None = None) -> None:
        """Set the next rates.

        Parameters
        ----------
        metric : float, optional
            Read by `ReduceOnPlateau`; the other schedules ignore it, so that a loop can pass it to any.

        Raises
        ------
        RuntimeError
            If something else changed the rates since the last step: the schedule would undo that.
        """
        if self._current() != self._rates:
            raise RuntimeError(
                f"{type(self).__name__}: the rates are {self._current()}, but this schedule had set "
                f"{self._rates}; something else changed them, and the next step would undo that"
            )
        self._set([self.rate(base, self.steps + 1) for base in self.base_rates])
        self.steps += 1

    def watch(self, figure: str, mode: str | None) -> None:
        """Learn from `Network.fit` which figure `step` will be given, and whether its "min" or "max" is best.

        The mode is None if it is not known. Of use to a schedule that ``needs_metric``.
        """

    def _current(self) -> list[float]:
        return [group.learning_rate for group in self.optimizer.groups]

    def _set(self, rates: list[float]) -> None:
        rates = [nonnegative(type(self).__name__, "learning_rate", rate) for rate in rates]
        for group, rate in zip(self.optimizer.groups, rates, strict=True):
            group.learning_rate = rate
        self._rates = rates

    # State

    def state(self) -> dict[str, Any]:
        """Where the schedule stands, and its settings: dicts, lists, strings and numbers.

        >>> optimizer = tg.MiniBatchSGD([tg.Parameter(1.0)], learning_rate=0.1)
        >>> tg.ExponentialDecay(optimizer, 0.9).state()["rates"]
        [0.1]
        """
        return {
            "schedule": type(self).__name__,
            "settings": {name: _plain(getattr(self, name)) for name in self._settings},
            "steps": self.steps,
            "base_rates": list(self.base_rates),
            "rates": list(self._rates),
            "progress": {name: getattr(self, name) for name in self._progress},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; this sets the optimizer's rates too.

        Raises
        ------
        ValueError
            If the state is of another kind of schedule, of other settings or of other groups. Nothing is
            changed then.
        """
        self._adopt(self._check_state(state))

    def _check_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        name = type(self).__name__
        own = self.state()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise ValueError(f"{name}.load_state: expected a dict with the entries {', '.join(own)}")
        for key in ("schedule", "settings"):
            if state[key] != own[key]:
                raise ValueError(f"{name}.load_state: the state's {key} is {state[key]}, expected {own[key]}")
        steps, progress = state["steps"], state["progress"]
        if not _is_count(steps):
            raise ValueError(f"{name}.load_state: expected steps to be at least 0, got {steps!r}")
        rates = {}
        for key in ("base_rates", "rates"):
            if not isinstance(state[key], list) or len(state[key]) != len(own[key]):
                raise ValueError(f"{name}.load_state: expected {len(own[key])} {key}, got {state[key]!r}")
            try:
                rates[key] = [nonnegative(f"{name}.load_state", key, value) for value in state[key]]
            except TypeError as error:
                raise ValueError(str(error)) from None
        if not isinstance(progress, Mapping) or progress.keys() != own["progress"].keys():
            raise ValueError(f"{name}.load_state: expected progress {own['progress']}, got {progress!r}")
        return {"steps": int(steps), **rates, "progress": self._check_progress(progress)}

    def _check_progress(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that change, raising ValueError if one has no value that it could have."""
        return dict(progress)

    def _adopt(self, checked: dict[str, Any]) -> None:
        self.steps, self.base_rates = checked["steps"], checked["base_rates"]
        vars(self).update(checked["progress"])
        self._set(checked["rates"])


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
            self.every: int | tuple[int, ...] = tuple(_count(name, "every", step) for step in every)
            if not every or any(b <= a for a, b in zip(self.every, self.every[1:], strict=False)):
                raise ValueError(f"{name}: expected every to list increasing steps, got {every!r}")
        else:
            self.every = _count(name, "every", every)
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
        self.total = _count("CosineDecay", "total", total)
        self.minimum = nonnegative("CosineDecay", "minimum", minimum)
        super().__init__(optimizer)

    def rate(self, base: float, steps: int) -> float:
        """minimum + (base - minimum) (1 + cos(pi steps / total)) / 2."""
        if base < self.minimum:
            raise ValueError(f"CosineDecay: the rate {base} is below the minimum {self.minimum}")
        return _cosine(base, self.minimum, min(steps / self.total, 1.0))


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
        self.total = _count(name, "total", total, least=2)
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
            return _cosine(start, base, steps / peak)
        return _cosine(base, start / self.end_divisor, min((steps - peak) / (last - peak), 1.0))


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
        self.total = _count("WarmUp", "total", total)
        self.start = fraction("WarmUp", "start", start)
        if isinstance(then, Schedule) and then.steps:
            raise ValueError(f"WarmUp: expected a new schedule, got one that made {then.steps} steps")
        self.then = then if isinstance(then, Schedule) else None
        super().__init__(then.optimizer if isinstance(then, Schedule) else then)

    @property
    def needs_metric(self) -> bool:  # type: ignore[override]  # it depends on what follows
        """Whether what follows needs one; the warm-up does not read it."""
        return self.then is not None and self.then.needs_metric

    def watch(self, figure: str, mode: str | None) -> None:
        """Tell the other schedule."""
        if self.then is not None:
            self.then.watch(figure, mode)

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

    def _check_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        checked = super()._check_state(state)
        if (self.then is None) != (state["then"] is None):
            raise ValueError(f"WarmUp.load_state: another schedule follows there: {state['then']}")
        then = None if self.then is None else self.then._check_state(state["then"])
        return {**checked, "then": then}

    def _adopt(self, checked: dict[str, Any]) -> None:
        if self.then is not None:
            self.then._adopt(checked["then"])
        super()._adopt(checked)


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
    mode : "min" or "max", optional
        Whether lower or higher metrics are better. By default "min", and in `Network.fit` what is better of
        the figure that is watched: of a loss, the accuracy and scikit-learn's scorers it is known.
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
        mode: str | None = None,
        threshold: float = 1e-4,
        relative: bool = True,
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        name = "ReduceOnPlateau"
        if mode not in (None, "min", "max"):
            raise ValueError(f"{name}: expected mode 'min' or 'max', got {mode!r}")
        self.factor = positive(name, "factor", fraction(name, "factor", factor))
        self.patience = _count(name, "patience", patience, least=0)
        self.mode = mode or "min"
        self._chosen = mode is not None
        self.threshold = nonnegative(name, "threshold", threshold)
        self.relative = bool(relative)
        self.cooldown = _count(name, "cooldown", cooldown, least=0)
        self.minimum = nonnegative(name, "minimum", minimum)
        self.best: float | None = None
        self.waited = self.cooling = 0  # steps without improvement, and steps of cooldown that are left
        super().__init__(optimizer)

    def watch(self, figure: str, mode: str | None) -> None:
        """Take the mode of the figure, unless one was chosen.

        Raises
        ------
        ValueError
            If neither is known.
        """
        if self._chosen:
            return
        if mode is None:
            raise ValueError(
                f"ReduceOnPlateau: give mode 'min' or 'max' for {figure!r}: which is better is known of "
                "losses, the accuracy and scikit-learn's metrics alone"
            )
        self.mode = mode

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
        waited = 0 if self._improves(metric) or self.cooling else self.waited + 1
        if waited > self.patience:
            # A rate that is below the minimum already stays there.
            self._set([max(rate * self.factor, min(rate, self.minimum)) for rate in self._current()])
            self.waited, self.cooling = 0, self.cooldown
        else:
            self.waited, self.cooling = waited, max(self.cooling - 1, 0)
        if self._improves(metric):
            self.best = metric
        self._rates = self._current()
        self.steps += 1

    def _improves(self, metric: float) -> bool:
        if self.best is None:
            return True
        scale = abs(self.best) if self.relative and math.isfinite(self.best) else 1
        margin = self.threshold * scale
        return metric < self.best - margin if self.mode == "min" else metric > self.best + margin

    def _check_progress(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        best = progress["best"]
        if not (best is None or (isinstance(best, float) and not math.isnan(best))):
            raise ValueError(f"ReduceOnPlateau.load_state: expected best to be a number, got {best!r}")
        if not (_is_count(progress["waited"]) and _is_count(progress["cooling"])):
            raise ValueError(f"ReduceOnPlateau.load_state: expected counts, got {dict(progress)}")
        return {"best": best, "waited": int(progress["waited"]), "cooling": int(progress["cooling"])}


def _count(owner: str, name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if not _is_count(value) or value < least:
        raise ValueError(f"{owner}: expected {name} to be a whole number of at least {least}, got {value!r}")
    return int(value)


def _is_count(value: Any) -> bool:
    """Whether ``value`` is an integer of at least 0."""
    return is_integer(value) and value >= 0


def _cosine(start: float, end: float, part: float) -> float:
    """From ``start`` to ``end`` along half a wave, for ``part`` from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
