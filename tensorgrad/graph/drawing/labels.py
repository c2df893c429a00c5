"""The words in a drawing: what stands on a node, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.values import size


def node_lines(graph: Recorded, x: Tensor, shape: str, title: str | None = None) -> list[str]:
    """Of a result the op, the name if it has one, the params worth seeing; of a leaf the name; the shape.

    The count of a parameter comes last. A ``title`` has the name in it, so it stands before the op.
    """
    name = _cut(graph.names[id(x)], 80)
    if x.op is not None:
        first, second = (graph.title_of(x), name) if title is None else (title, graph.title_of(x))
        lines = [first, second if x.name else "", _cut(", ".join(list_params(x)), 60), shape]
        return [line for line in lines if line]
    kind, name = graph.kind_of(x), title or name
    return [name, shape, count(x.size, kind)] if kind == "parameter" else [name, shape]


def constant_lines(graph: Recorded, node: Tensor, position: int, shape: str | None = None) -> list[str]:
    """A number as it is; the word for an array, its shape and dtype."""
    x = node.inputs[position]
    name = _cut(graph.name_of_input(node, position), 24)
    return [name, shape or size(x)] if isinstance(x, np.ndarray) and x.ndim else [name]


def count(n: int, what: str) -> str:
    """A number of things, in words."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def list_params(node: Tensor, without: tuple[str, ...] = ()) -> Iterator[str]:
    """The params worth seeing: those that are not at their defaults, and do not say the shape once more."""
    op = node.op
    assert op is not None
    if op.name == "recompute":  # of a checkpoint
        yield f"{node.params['name']}"
        return
    for name, value in node.params.items():
        if name in without or name == "shape" or callable(value):
            continue
        # What does not vary goes without saying, but for the size of pooling windows.
        if name == "size" or name not in op.defaults or abbreviate(value) != abbreviate(op.defaults[name]):
            yield f"{name}={abbreviate(value)}"


def abbreviate(value: Any) -> str:
    """A param in brief: slices as they are written in an index, arrays by their shape."""
    if isinstance(value, slice):
        start, stop, step = ("" if x is None else str(x) for x in (value.start, value.stop, value.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    if value is Ellipsis:
        return "..."
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{value.dtype} {value.shape}"
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.item())
    if isinstance(value, (tuple, list)):
        parts = [abbreviate(part) for part in value[:8]] + (["..."] if len(value) > 8 else [])
        inside = ", ".join(parts) + ("," if len(parts) == 1 and isinstance(value, tuple) else "")
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    plain = isinstance(value, (str, int, float, type(None)))
    return _cut(str(value) if plain else type(value).__name__, 30)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
