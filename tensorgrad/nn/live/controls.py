"""What can be set in a page while it trains: the batch size, the speed, and what the optimizer has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tensorgrad.core import Parameter
from tensorgrad.nn.fit.prepare import make_optimizer
from tensorgrad.nn.optimizers import Optimizer

__all__ = ["FASTEST", "list_controls", "take_optimizer"]

FASTEST, _SPEEDS = 1_000_000, [1, 5, 20, 60, 200, 1000]  # steps a second
#: Of options of optimizers: how a slider goes through them, and its ends; in powers of ten for "log".
_RANGES: dict[str, tuple[str, float, float]] = {
    "learning_rate": ("log", -5, 1),
    "momentum": ("linear", 0, 0.99),
    "dampening": ("linear", 0, 0.99),
    "betas": ("linear", 0, 0.999),
    "weight_decay": ("log0", -6, 0),
    "eps": ("log", -10, -1),
    "clip_value": ("log", -4, 2),
    "clip_norm": ("log", -4, 2),
}


def take_optimizer(given: Any, rate: float | None, parameters: list[Parameter]) -> Optimizer:
    """The optimizer, chosen as in `Network.fit`; by default Adam with a rate of 0.01."""
    options = {} if rate is None else {"learning_rate": rate}
    if given is None:
        given, options = ("adam", {"learning_rate": 0.01}) if rate is None else ("sgd", options)
    if not isinstance(given, Optimizer):
        made = make_optimizer("playground", given, parameters, **options)
    elif options:
        raise ValueError("playground: expected learning_rate to be set in the optimizer that was given")
    else:
        made = given
    if len(made.groups) > 1:
        raise ValueError(
            "playground: expected an optimizer with one group of parameters, which the sliders move, got "
            f"{len(made.groups)}"
        )
    if not made.has_compiled_step:
        raise TypeError(
            f"playground: expected one of tensorgrad's own optimizers, got {type(made).__name__}, whose "
            "steps are not known in the page"
        )
    own = {id(p) for p in parameters}
    foreign = [p for p in made.parameters if id(p) not in own]
    if foreign:
        raise ValueError(f"playground: the optimizer has parameters of something else: {foreign[0]!r}")
    return made


def read_options(optimizer: Optimizer) -> dict[str, Any]:
    """The options of an optimizer, as the page's own has them."""
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in optimizer.groups[0].options.items()}
    return options | {"clip_value": optimizer.clip_value, "clip_norm": optimizer.clip_norm}


def list_controls(
    optimizer: Optimizer, sizes: Sequence[int], batch_size: int, speed: int
) -> list[dict[str, Any]]:
    """A control for each thing that can be set, in the order in which they stand."""
    options = read_options(optimizer)
    rate = _slider("learning_rate", options)
    others = [part for name in options if name != "learning_rate" for part in _of_option(name, options)]
    return [
        _choice("speed", "steps a second", sorted({*_SPEEDS, speed, FASTEST}), speed), rate,
        _choice("batch", "batch size", list(sizes), batch_size), *others,
    ]  # fmt: skip


def _of_option(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    value = options[name]
    if value is None:
        return []
    if isinstance(value, bool):
        return [{"name": name, "label": name.replace("_", " "), "kind": "flag", "value": value}]
    if isinstance(value, list):
        return [_slider(name, options, place) for place in range(len(value))]
    return [_slider(name, options)] if value or name in ("momentum", "weight_decay") else []


def _slider(name: str, options: dict[str, Any], place: int | None = None) -> dict[str, Any]:
    kind, low, high = _RANGES[name]
    value = options[name] if place is None else options[name][place]
    at = value if kind == "linear" else math.log10(value) if value else low
    label = name.replace("_", " ") if place is None else f"beta {place + 1}"
    slider = {"name": name, "label": label, "kind": kind, "low": min(low, at), "high": max(high, at)}
    slider["value"] = value
    return slider if place is None else slider | {"place": place}


def _choice(name: str, label: str, choices: list[int], value: int) -> dict[str, Any]:
    return {"name": name, "label": label, "kind": "choice", "choices": choices, "value": value}
