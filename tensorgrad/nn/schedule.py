"""Schedule: what all schedules of learning rates share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from tensorgrad.core.checks import nonnegative
from tensorgrad.nn.optimizers import Optimizer


class Schedule:
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
            "progress": {name: _plain(getattr(self, name)) for name in self._progress},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; this sets the optimizer's rates too.

        Raises
        ------
        ValueError
            If the state is of another kind of schedule, of other settings or of other groups. Nothing is
            changed then.
        """
        self._adopt(self._checked_state(state))

    def _checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        name = type(self).__name__
        own = self.state()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise ValueError(f"{name}.load_state: expected a dict with the entries {', '.join(own)}")
        for key in ("schedule", "settings"):
            if state[key] != own[key]:
                raise ValueError(f"{name}.load_state: the state's {key} is {state[key]}, expected {own[key]}")
        steps, progress = state["steps"], state["progress"]
        if not is_count(steps):
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
        return {"steps": steps, **rates, "progress": self._checked_progress(progress)}

    def _checked_progress(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that change, raising ValueError if one has no value that it could have."""
        return dict(progress)

    def _adopt(self, checked: dict[str, Any]) -> None:
        self.steps, self.base_rates = checked["steps"], checked["base_rates"]
        vars(self).update(checked["progress"])
        self._set(checked["rates"])


def count(owner: str, name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if not is_count(value) or value < least:
        raise ValueError(f"{owner}: expected {name} to be a whole number of at least {least}, got {value!r}")
    return int(value)


def is_count(value: Any) -> bool:
    """Whether ``value`` is an integer of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def cosine(start: float, end: float, part: float) -> float:
    """From ``start`` to ``end`` along half a wave, for ``part`` from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
