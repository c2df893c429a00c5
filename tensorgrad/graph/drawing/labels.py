"""The words in a drawing: what stands on a node, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.recorded import leaf_kind
from tensorgrad.graph.values import number, short


def op_lines(node: Tensor) -> list[str]:
    """Op, name if it has one, params worth seeing, shape and dtype."""
    assert node._op is not None
    lines = [node._op.name.removesuffix("_")]
    if node.name:
        lines.append(_cut(str(node.name), 80))
    params = ", ".join(params_shown(node))
    if params:
        lines.append(_cut(params, 60))
    return [*lines, size(node)]


def leaf_lines(leaf: Tensor, title: str | None = None) -> list[str]:
    """A title if it is given, else name or kind; shape and dtype, and the count of a parameter."""
    kind = leaf_kind(leaf)
    lines = [_cut(str(title or leaf.name or kind), 80), size(leaf)]
    if kind == "parameter":
        lines.append(count(leaf.size, "parameter"))
    return lines


def constant_lines(node: Tensor, position: int) -> list[str]:
    """A number as it is; an array by what the op calls it, if that is a word, its shape and dtype."""
    x = node._inputs[position]
    assert node._op is not None
    if isinstance(x, np.ndarray) and x.ndim:
        name = argument_names(node._op, len(node._inputs))[position]
        return [name if len(name) > 2 and name.isidentifier() else "array", f"{x.shape} {x.dtype}"]
    return [number(x.item()) if isinstance(x, (np.ndarray, np.generic)) else _cut(f"{x!r}", 24)]


def value_line(x: Any) -> str:
    """Few values as they are, many by their shape and norm."""
    array = np.asarray(x._array if isinstance(x, Tensor) else x)
    return short(array) if array.dtype.kind in "fiu" or array.size <= 6 else f"{array.dtype} {array.shape}"


def size(x: Tensor) -> str:
    """Shape and dtype."""
    return f"{x.shape} {x.dtype}"


def count(n: int, what: str) -> str:
    """A number of things, in words."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def params_shown(node: Tensor, without: tuple[str, ...] = ()) -> Iterator[str]:
    """The params worth seeing: those that are not at their defaults, and do not say the shape once more."""
    op = node._op
    assert op is not None
    if op.name == "recompute":  # of a checkpoint
        yield f"{node._params['name']}"
        return
    for name, value in node._params.items():
        if name in without or name == "shape" or callable(value):
            continue
        # What does not vary goes without saying, but for the size of pooling windows.
        if name == "size" or name not in op._defaults or shown(value) != shown(op._defaults[name]):
            yield f"{name}={shown(value)}"


def shown(value: Any) -> str:
    """A param in brief: slices as they are written in an index, arrays by their shape."""
    if isinstance(value, slice):
        ends = (value.start, value.stop, value.step)
        start, stop, step = ("" if part is None else str(part) for part in ends)
        return f"{start}:{stop}" + (f":{step}" if step else "")
    if value is Ellipsis:
        return "..."
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{value.dtype} {value.shape}"
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.item())
    if isinstance(value, (tuple, list)):
        parts = [shown(part) for part in value[:8]] + (["..."] if len(value) > 8 else [])
        inside = ", ".join(parts) + ("," if len(parts) == 1 and isinstance(value, tuple) else "")
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, str):
        return _cut(value, 30)
    return _cut(str(value) if isinstance(value, (int, float, bool, type(None))) else type(value).__name__, 30)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
