"""Options of optimizers: groups of parameters that share them, and checks of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Tensor

Options: TypeAlias = dict[str, Any]


class ParameterGroup:
    """Parameters that are stepped with the same options.

    The options are attributes, such as ``group.learning_rate``; assigned ones are checked as the
    constructor's.

    >>> w, b = tg.Parameter([1.0]), tg.Parameter([0.0])
    >>> optimizer = tg.MiniBatchSGD(
    ...     [{"parameters": [w]}, {"parameters": [b], "learning_rate": 0.2}], learning_rate=0.1
    ... )
    >>> optimizer.groups[0].learning_rate = 0.05
    >>> [group.learning_rate for group in optimizer.groups]
    [0.05, 0.2]
    """

    parameters: tuple[Tensor, ...]
    _options: Options
    _check: Callable[[Options], Options]

    def __init__(
        self, parameters: tuple[Tensor, ...], options: Options, check: Callable[[Options], Options]
    ) -> None:
        vars(self).update(parameters=parameters, _options=check(options), _check=check)

    @property
    def options(self) -> Options:
        """All options by name."""
        return dict(self._options)

    def __getattr__(self, name: str) -> Any:
        options = vars(self).get("_options", {})  # not yet there while a copy or a pickle is being restored
        if name not in options:
            raise AttributeError(f"ParameterGroup: no option {name!r}; there are {', '.join(options)}")
        return options[name]

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["_options"] = self._check({**self._options, name: value})

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self._options.items())
        return f"ParameterGroup({len(self.parameters)} parameters{options})"


def split_into_groups(name: str, items: list[Any]) -> Iterator[tuple[list[Any], Options]]:
    """The parameters and own options of each group."""
    grouped = [isinstance(item, Mapping) for item in items]
    if not any(grouped):
        if items:
            yield items, {}
        return
    if not all(grouped):
        raise TypeError(f"{name}: expected either parameters or groups (dicts), got both")
    for i, item in enumerate(items):
        options = dict(item)
        if "parameters" not in options:
            raise TypeError(f"{name}: group {i} has no 'parameters'")
        parameters = options.pop("parameters")
        if isinstance(parameters, Tensor):
            raise TypeError(f"{name}: expected a list of parameters in group {i}, got one Tensor")
        parameters = list(parameters)
        if not parameters:
            raise ValueError(f"{name}: no parameters in group {i}")
        yield parameters, options


def _number(owner: str, name: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> float:
    """``value`` as a Python number, which promotes no float32."""
    if isinstance(value, bool) or np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
        raise TypeError(f"{owner}: expected {name} to be a number, got {value!r}")
    number = float(value)
    if not fits(number):
        raise ValueError(f"{owner}: expected {name} to be {wanted}, got {value}")
    return number


def nonnegative(owner: str, name: str, value: Any) -> float:
    """A finite number of at least 0."""
    return _number(owner, name, value, "finite and at least 0", lambda x: 0 <= x < np.inf)


def positive(owner: str, name: str, value: Any) -> float:
    """A finite number above 0."""
    return _number(owner, name, value, "finite and above 0", lambda x: 0 < x < np.inf)


def fraction(owner: str, name: str, value: Any) -> float:
    """A number of at least 0 and below 1."""
    return _number(owner, name, value, "at least 0 and below 1", lambda x: 0 <= x < 1)


def boolean(owner: str, name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: expected {name} to be True or False, got {value!r}")
    return bool(value)
