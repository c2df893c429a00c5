"""The words in a drawing: what stands on a node, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.recorded import leaf_kind, op_name
from tensorgrad.graph.values import number, size


def op_lines(node: Tensor) -> list[str]:
    """Op, name if it has one, params worth seeing, shape and dtype."""
    params = ", ".join(list_params(node))
    lines = [op_name(node), _cut(str(node.name or ""), 80), _cut(params, 60), size(node)]
    return [line for line in lines if line]


def leaf_lines(leaf: Tensor, path: str | None = None) -> list[str]:
    """A path if it is given, else name or kind; shape and dtype, and the count of a parameter."""
    kind = leaf_kind(leaf)
    lines = [_cut(str(path or leaf.name or kind), 80), size(leaf)]
    return [*lines, count(leaf.size, kind)] if kind == "parameter" else lines


def constant_lines(node: Tensor, position: int) -> list[str]:
    """A number as it is; an array by what the op calls it, if that is a word, its shape and dtype."""
    x = node.inputs[position]
    if isinstance(x, np.ndarray) and x.ndim and node.op is not None:
        name = argument_names(node.op, len(node.inputs))[position]
        return [name if len(name) > 2 and name.isidentifier() else "array", size(x)]
    return [number(x.item()) if isinstance(x, (np.ndarray, np.generic)) else _cut(f"{x!r}", 24)]


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
