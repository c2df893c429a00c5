"""What layers do between the steps of a recorded function, as data for who makes the steps elsewhere.

A Dropout draws a mask before each step, a BatchNorm moves its running statistics after it. ``drawMask`` and
``moveRunning`` in the prelude of JavaScript do so by what is told here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tensorgrad.core import Tensor
from tensorgrad.graph.native.record import Recording, UncompilableError
from tensorgrad.nn.layers import BatchNorm, Dropout


class Draw(NamedTuple):
    """An argument of the program that a layer draws anew for each step."""

    argument: Tensor
    layer: Dropout
    options: dict[str, Any]


class Report(NamedTuple):
    """Outputs of the program, the first of them at ``output``, that a layer is told after each step."""

    output: int
    layer: BatchNorm
    options: dict[str, Any]


def list_draws(recording: Recording) -> list[Draw]:
    """The masks of each Dropout: 1 / ``keep`` with probability ``keep``, else 0.

    Raises
    ------
    UncompilableError
        If another layer draws, in a way that is not known here.
    """
    return [
        Draw(argument, layer, {"keep": 1 - layer.rate})
        for argument, make in recording.draws
        for layer in [_find_layer(make, Dropout, "draws numbers")]
    ]


def list_reports(recording: Recording) -> list[Report]:
    """The mean and the variance that each BatchNorm is told of: two outputs of the program.

    Its running statistics move by ``momentum`` towards them, the variance times ``unbiased``.
    UncompilableError as in `list_draws`.
    """
    reports, output = [], len(recording.outputs)
    for values, take in recording.reports:
        layer = _find_layer(take, BatchNorm, "keeps something of each step")
        (count,) = take.args  # type: ignore[attr-defined]
        options = {"momentum": layer.momentum, "unbiased": count / (count - 1)}
        reports.append(Report(output, layer, options))
        output += len(values)
    return reports


def _find_layer(function: Any, kind: type[Any], what: str) -> Any:
    """The layer whose method it is, if the layer is known."""
    layer = getattr(getattr(function, "func", function), "__self__", None)
    if type(layer) is not kind:
        name = getattr(function, "__qualname__", "a function") if layer is None else type(layer).__name__
        raise UncompilableError(f"compile: {name} {what}, and what it does is not known in JavaScript")
    return layer
