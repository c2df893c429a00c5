"""How a page draws a network: a column for each layer with weights, or with another shape than before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tensorgrad.core.checks import NDArray
from tensorgrad.graph.recorded import Group
from tensorgrad.nn.layer import Layer, infer
from tensorgrad.nn.layers import Conv2D, Dense
from tensorgrad.nn.live.walk import ExampleWalk
from tensorgrad.nn.sequential import Sequential

__all__ = ["draw_columns", "place_columns"]

_MANY, _MAPS = 16, 12  # units and feature maps that are drawn one by one
_SIDE = 2  # pixels, at least, of what is a picture


def draw_columns(
    network: Sequential, x: NDArray, features: Sequence[str] | None, classes: Sequence[str] | None
) -> tuple[list[dict[str, Any]], list[int]]:
    """The columns, of which the first is the inputs; and the number of the layer each other ends with."""
    columns, shape = [_column("Inputs", "", x.shape[1:], features)], x.shape[1:]
    ends: list[int] = []
    for i, (layer, out) in enumerate(infer(lambda: list(network.run_layers(x)))):
        joins = ends and out.shape[1:] == shape and all(p.ndim < 2 for p in layer.parameters())
        if joins:
            columns[-1]["note"] = f"{columns[-1]['note']} {layer!r}".strip()
            ends[-1] = i
        else:
            columns.append(_column(_name(layer), "", out.shape[1:], None))
            ends.append(i)
            _add_weights(network, layer, columns)
        shape = out.shape[1:]
    columns[-1]["last"] = True
    if columns[-1]["kind"] == "units" and classes is not None and columns[-1]["count"] == len(classes):
        columns[-1]["names"] = list(classes)
    return columns, ends


def _name(layer: Layer) -> str:
    text = repr(layer)
    return text if len(text) <= 60 else type(layer).__name__


def _column(title: str, note: str, shape: tuple[int, ...], names: Sequence[str] | None) -> dict[str, Any]:
    kind, count = "box", math.prod(shape)
    if len(shape) == 1:
        kind = "units" if count <= _MANY else "wide"
    elif len(shape) == 3 and min(shape[:2]) >= _SIDE:
        kind, count = "maps", shape[2]
    elif len(shape) == 2:
        kind = "wide"  # a picture of its rows
    shown = {"units": count, "maps": min(count, _MAPS), "wide": 1, "box": 0}[kind]
    column = {
        "title": title, "note": note, "kind": kind, "count": count, "shown": shown, "last": False,
        "size": " × ".join(map(str, shape)) or "1", "names": names if kind == "units" else None,
        "edges": None, "filters": None, "surface": None,
    }  # fmt: skip
    if len(shape) == 2:
        column["across"] = shape[1] if shape[0] <= 3 * shape[1] else None
    return column | ({"height": shape[0], "width": shape[1]} if kind == "maps" else {})


def _add_weights(network: Sequential, layer: Layer, columns: list[dict[str, Any]]) -> None:
    """What a column shows of its layer's weights: as edges where both ends are units, or as filters."""
    numbers = {id(p): i for i, p in enumerate(network.parameters())}
    before, column = columns[-2:]
    if isinstance(layer, Dense) and before["kind"] == column["kind"] == "units":
        column["edges"] = numbers[id(layer.weights)]
    if isinstance(layer, Conv2D) and column["kind"] == "maps" and min(layer.filters.shape[2:]) > 1:
        column["filters"] = {"parameter": numbers[id(layer.filters)], "shape": list(layer.filters.shape)}


def place_columns(
    network: Sequential,
    walk: ExampleWalk,
    columns: list[dict[str, Any]],
    ends: list[int],
    nodes: list[dict[str, Any]],
) -> None:
    """Note for each column the node that it shows, and in that node the parameters that lead to its units."""
    places = {id(node): i for i, node in enumerate(walk.nodes)}
    whole = [part for part in walk.graph.clusters.parts if isinstance(part, Group)]
    calls = [part for group in whole for part in group.parts if isinstance(part, Group)]
    made: dict[int, int] = {}
    for call in calls:  # in the order of computation; a layer may come again
        i = next((i for i, layer in enumerate(network.layers) if layer is call.layer and i not in made), None)
        if i is not None:
            made[i] = places[id(call.outputs[-1])]
    at = columns[0]["node"] = places[id(walk.recording.inputs[0])]
    start = 0
    for k, (column, end) in enumerate(zip(columns[1:], ends, strict=True)):
        layers = range(start, end + 1)
        at = next((made[i] for i in reversed(layers) if i in made), at)  # Dropout records nothing here
        column["node"], column["surface"], start = at, k, end + 1
        count = 0 if column["kind"] == "box" or "across" in column else column["count"]
        own = [p for i in layers for p in network.layers[i].parameters() if id(p) in places]
        nodes[at]["own"] = [places[id(p)] for p in own if p.shape[0 if p.ndim == 4 else -1] == count]
