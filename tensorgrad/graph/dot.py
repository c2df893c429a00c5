"""The recorded graph as DOT text, the language of Graphviz."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Parameter, Tensor

_STYLES = {
    "op": 'shape=ellipse style=filled fillcolor="#dce9f5"',
    "parameter": 'shape=box style="filled,rounded" fillcolor="#fbe3c0"',
    "tensor": 'shape=box style=filled fillcolor="#e6e6e6"',
    "constant": "shape=box style=dashed",
}


def to_dot(output: Tensor) -> str:
    """The graph that made ``output``, as DOT text: a node per tensor, an arrow from each input.

    Ops are ellipses, parameters rounded boxes, other tensors boxes, plain arrays and numbers dashed boxes;
    each shows its name, shape and dtype. The text is a pure function of the graph: leaves are numbered
    first, then the others in the order in which they were computed.

    Parameters
    ----------
    output : Tensor

    Raises
    ------
    TypeError
        If ``output`` is not a Tensor.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> print(tg.to_dot(x * 2.0))
    digraph {
      rankdir=BT
      node [fontname="Helvetica" fontsize=11]
      n0 [label="x\\n(2,) float64" shape=box style=filled fillcolor="#e6e6e6"]
      n1 [label="multiply\\n(2,) float64" shape=ellipse style=filled fillcolor="#dce9f5"]
      n1c1 [label="2.0" shape=box style=dashed]
      n0 -> n1
      n1c1 -> n1
    }
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"to_dot: expected a Tensor, got a {type(output).__name__}")
    nodes = _ancestors(output)
    number = {id(node): i for i, node in enumerate(nodes)}
    lines = ["digraph {", "  rankdir=BT", '  node [fontname="Helvetica" fontsize=11]']
    edges = []
    for i, node in enumerate(nodes):
        lines.append(f"  n{i} {_box(*_describe(node))}")
        for position, x in enumerate(node.inputs):
            source = f"n{number[id(x)]}" if isinstance(x, Tensor) else f"n{i}c{position}"
            if x is None:
                continue
            if not isinstance(x, Tensor):
                lines.append(f"  {source} {_box('constant', *_constant_label(x))}")
            edges.append(f"  {source} -> n{i}")
    return "\n".join([*lines, *edges, "}"])


def _ancestors(output: Tensor) -> list[Tensor]:
    """``output`` and all it was made from, each once: leaves first, then in the order of computation."""
    found = {id(output): output}
    stack = [output]
    while stack:
        for x in stack.pop().inputs:
            if isinstance(x, Tensor) and id(x) not in found:
                found[id(x)] = x
                stack.append(x)
    # Assigning a leaf gives it a new serial number, so leaves are kept apart.
    return sorted(found.values(), key=lambda node: (node.op is not None, node._serial))


def _describe(node: Tensor) -> tuple[str, ...]:
    """Kind and label lines of a tensor."""
    size = f"{node.shape} {node.dtype}"
    if node.op is not None:
        return ("op", node.op.name, *([node.name] if node.name else []), size)
    kind = "parameter" if isinstance(node, Parameter) else "tensor"
    return kind, node.name or kind, size


def _constant_label(x: Any) -> tuple[str, ...]:
    if isinstance(x, np.ndarray) and x.ndim:
        return "array", f"{x.shape} {x.dtype}"
    return (f"{x!r}",)


def _box(kind: str, *label: str) -> str:
    text = "\\n".join(map(_escaped, label))
    return f'[label="{text}" {_STYLES[kind]}]'


def _escaped(text: str) -> str:
    """``text`` as it must stand in a label, where Graphviz reads HTML entities and backslashes."""
    for special, written in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(special, written)
    return text
