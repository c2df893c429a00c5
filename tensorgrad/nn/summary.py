"""What the layers of a network cost, read from the graph that they record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.core import Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.trees import flatten
from tensorgrad.graph.recorded import ancestors
from tensorgrad.graph.zeros import rehearse
from tensorgrad.nn.sequential import Sequential, run_layers

__all__ = ["layer_costs", "multiply_adds", "summarize"]


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs; see `layer_costs`."""

    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    kept: int


def layer_costs(network: Sequential, input_shape: tuple[int, ...], batch_size: int) -> list[LayerCost]:
    """The costs of a network's layers in a training step on so many rows, of zeros.

    ``output_shape`` is without the batch. ``multiply_adds`` are those of one forward pass of one row, in
    matrix products, einsum and convolutions; a product and its addition count as one, a bias and elementwise
    ops as none. ``kept`` are the bytes of the arrays that the graph holds for the backward pass of the batch,
    each array once, in the layer that first holds it: results of ops that depend on a parameter, and what
    else these ops read, the input of the network included, but not the parameters.
    """
    with rehearse(network, input_shape, batch_size) as (twin, x):
        twin.train()
        held = _Held(twin.parameters())
        costs = []
        for layer, out in zip(twin.layers, run_layers(twin, x), strict=True):
            nodes = [node for node in ancestors(out) if node.op is not None and node.serial > x.serial]
            x = out
            costs.append(
                LayerCost(
                    layer=repr(layer),
                    output_shape=out.shape[1:],
                    parameters=sum(parameter.size for parameter in layer.parameters()),
                    multiply_adds=round(sum(map(multiply_adds, nodes)) / batch_size),
                    kept=sum(map(held.add, nodes)),
                )
            )
    return costs


def summarize(network: Sequential, input_shape: tuple[int, ...], batch_size: int) -> str:
    """The table that `Network.summary` gives."""
    costs = layer_costs(network, tuple(input_shape), batch_size)
    digits = len(str(len(costs) - 1))
    kept, work = sum(cost.kept for cost in costs), sum(cost.multiply_adds for cost in costs)
    parameters = network.parameters()
    rows = [("layer", "output shape", "parameters", "multiply-adds", "kept")]
    for i, cost in enumerate(costs):
        shape = f"(N, {', '.join(map(str, cost.output_shape))})"
        numbers = f"{cost.parameters:,}", f"{cost.multiply_adds:,}", _bytes(cost.kept)
        rows.append((f"{i:<{digits}}  {cost.layer}", shape, *numbers))
    rows.append(("total", "", f"{sum(p.size for p in parameters):,}", f"{work:,}", _bytes(kept)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust)
    lines = ["   ".join(pad(text, n) for pad, text, n in zip(pads, row, widths, strict=True)) for row in rows]
    weights = sum(p.data.nbytes for p in parameters)
    lines.append(
        f"a step on {batch_size} rows: {_bytes(kept)} kept for backward + {_bytes(weights)} parameters "
        f"+ {_bytes(weights)} gradients = {_bytes(kept + 2 * weights)}"
    )
    return "\n".join(lines)


class _Held:
    """Counts the bytes that a graph holds, each array once."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._seen = {id(_owner(parameter.data)) for parameter in parameters}
        self._trained = {id(parameter) for parameter in parameters}  # and all that depends on one

    def add(self, node: Tensor) -> int:
        """The bytes that ``node`` adds; of nodes in the order of computation."""
        if not any(id(x) in self._trained for x in node.inputs):
            return 0  # training gives it arrays, and records nothing
        self._trained.add(id(node))
        return sum(self._add_once(x) for _, x in flatten([node, node.inputs, node.params]))

    def _add_once(self, x: Any) -> int:
        x = x.data if isinstance(x, Tensor) else x
        if not isinstance(x, np.ndarray):
            return 0
        owner = _owner(x)
        if id(owner) in self._seen:
            return 0
        self._seen.add(id(owner))
        return int(owner.nbytes)


def _owner(x: NDArray) -> NDArray:
    """The array whose memory ``x`` sees."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def multiply_adds(node: Tensor) -> int:
    """How many products an op adds up; 0 for ops that are no products of matrices or convolutions."""
    assert node.op is not None
    if node.op.name == "recompute":  # a checkpoint has forgotten its ops
        inside = ancestors(node.params["f"]())
        return sum(multiply_adds(x) for x in inside if x.op is not None and x.serial > node.serial)
    count = node.op.multiply_adds
    return 0 if count is None else count(node, *node.inputs, **node.params)


def _bytes(n: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B"
