"""What the layers of a network cost, read from the graph that they record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tensorgrad.core import Op, Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.trees import flatten
from tensorgrad.graph.recorded import ancestors
from tensorgrad.graph.zeros import rehearse

__all__ = ["layer_costs", "multiply_adds", "outline", "summarize"]


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs; see `layer_costs`."""

    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    kept: int
    parts: tuple[LayerCost, ...] = ()


def layer_costs(network: Any, input_shape: tuple[int, ...], batch_size: int) -> list[LayerCost]:
    """The costs of a network's layers, or of one layer, in a training step on so many rows, of zeros.

    ``output_shape`` is without the batch. ``multiply_adds`` are those of one forward pass of one row, in
    matrix products, einsum and convolutions; a product and its addition count as one, a bias and elementwise
    ops as none. ``kept`` are the bytes of the arrays that the graph holds for the backward pass of the batch,
    each array once, in the layer that first holds it: results of ops that depend on a parameter, and what
    else these ops read, the input of the network included, but not the parameters. ``parts`` are the layers
    inside of a layer, each with what its calls made. A parameter counts in the layer that first has it.
    """
    with rehearse(network, input_shape, batch_size) as (twin, x):
        twin.train()
        held = _Held(twin.parameters())
        counts = _count_parameters(twin)
        costs = []
        start = x.serial
        for layer, out in twin.run_layers(x):
            outs = out if isinstance(out, (tuple, list)) else (out,)
            made = ancestors(*outs, since=start + 1)
            nodes = [node for node in made if node.op is not None and node.serial > start]
            start = max(part.serial for part in outs)
            kept = {id(node): held.add(node) for node in nodes}
            cost = partial(_cost, kept=kept, rows=batch_size, counts=counts)
            parts = _parts(layer, nodes, cost)
            costs.append(cost(layer, "", outs[0], nodes, parts=parts))
    return costs


def _count_parameters(layer: Any) -> dict[int, int]:
    """By the identity of each layer, the elements of its parameters, but for those of layers before it."""
    counts: dict[int, int] = {}
    seen: set[int] = set()

    def visit(layer: Any) -> None:
        new = {id(p): p.size for p in layer.parameters() if id(p) not in seen}
        counts[id(layer)] = sum(new.values())
        for _, part in layer.children():
            if id(part) not in counts:
                visit(part)
        seen.update(new)

    visit(layer)
    return counts


def outline(layer: Any) -> str:
    """A line for a layer and for each layer in it, with the parameters that it adds."""
    counts = _count_parameters(layer)
    paths = {id(layer): type(layer).__name__}
    rows = [(type(layer).__name__, f"{counts[id(layer)]:,}", " parameters")]

    def visit(owner: Any, depth: int, path: str) -> None:
        for name, part in owner.children():
            text = f"{'  ' * depth}{name}: {_title(part)}"
            if id(part) in paths:
                rows.append((text, "", f"the same as {paths[id(part)]}"))
                continue
            paths[id(part)] = path + name
            rows.append((text, f"{counts[id(part)]:,}" if part.parameters() else "", ""))
            visit(part, depth + 1, f"{path}{name}.")

    visit(layer, 1, "")
    wide, digits = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{text:{wide}}   {count:>{digits}}{more}".rstrip() for text, count, more in rows)


def _title(layer: Any) -> str:
    return type(layer).__name__ if any(layer.children()) else repr(layer)


def _cost(
    layer: Any,
    name: str,
    out: Tensor,
    nodes: Iterable[Tensor],
    *,
    kept: Mapping[int, int],
    rows: int,
    counts: dict[int, int],
    parts: Iterable[LayerCost] = (),
) -> LayerCost:
    return LayerCost(
        layer=name + _title(layer),
        output_shape=out.shape[1:],
        parameters=counts.pop(id(layer), 0),  # 0 for one that comes again
        multiply_adds=round(sum(map(multiply_adds, nodes)) / rows),
        kept=sum(kept[id(node)] for node in nodes),
        parts=tuple(parts),
    )


def _parts(layer: Any, nodes: list[Tensor], cost: Callable[..., LayerCost]) -> Iterator[LayerCost]:
    """The costs of the layers inside of a layer, by their calls that ended in these results."""
    calls = [(node, call) for node in nodes for call in node.calls if not isinstance(call.maker, Op)]
    for depth, name, part in _inside(layer, 0, {id(layer)}):
        own = [(node, call.start) for node, call in calls if call.maker() is part]
        if not own:
            continue
        made = {
            id(x): x for node, start in own for x in ancestors(node) if x.op is not None and x.serial > start
        }
        yield cost(part, f"{'  ' * depth}{name}: ", own[0][0], made.values())


def _inside(layer: Any, depth: int, seen: set[int]) -> Iterator[tuple[int, str, Any]]:
    """The layers in a layer, each once, with how deep they are and their names in the layers around them."""
    for name, part in layer.children():
        if id(part) not in seen:
            seen.add(id(part))
            yield depth, name, part
            yield from _inside(part, depth + 1, seen)


def summarize(layer: Any, input_shape: int | tuple[int, ...], batch_size: int) -> str:
    """The table that `Layer.summary` gives."""
    shape = input_shape if isinstance(input_shape, (tuple, list)) else (input_shape,)
    costs = layer_costs(layer, tuple(shape), batch_size)
    digits = len(str(len(costs) - 1))
    kept, work = sum(cost.kept for cost in costs), sum(cost.multiply_adds for cost in costs)
    parameters = layer.parameters()
    rows = [("layer", "output shape", "parameters", "multiply-adds", "kept")]
    for i, cost in enumerate(costs):
        for part in (cost, *cost.parts):
            place = f"{i:<{digits}}  " if part is cost else " " * (digits + 4)
            shown = f"(N, {', '.join(map(str, part.output_shape))})"
            numbers = f"{part.parameters:,}", f"{part.multiply_adds:,}", _bytes(part.kept)
            rows.append((place + part.layer, shown, *numbers))
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
