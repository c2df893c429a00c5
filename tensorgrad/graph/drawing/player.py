"""player: the walk forward and back as one HTML file."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray, write_file
from tensorgrad.graph.drawing.dot import Overlay, write_dot
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.graphviz import lay_out, strip_svg
from tensorgrad.graph.drawing.labels import constant_lines, list_params
from tensorgrad.graph.drawing.plain_layout import write_svg
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.recorded import constants_in, op_name
from tensorgrad.graph.steps import BackwardStep, BackwardSteps, backward_steps
from tensorgrad.graph.values import long, size

__all__ = ["player"]

MOST = 300  # nodes that can be followed step by step


def player(
    output: Tensor,
    path: str | os.PathLike[str] = "player.html",
    *,
    grad: Array | None = None,
    title: str = "Forward, and back",
) -> Path:
    """Write one HTML file that plays how ``output`` was computed and how the gradients come back.

    It needs no network and no server: open it in a browser. Buttons, a slider and the arrow keys go from op
    to op, first forward, then in the order of the reverse walk; beside the picture stand the formula, the
    shapes and the values of the present step. Pointing at a node, or moving to it with the Tab key, shows its
    value and the cotangent that has come to it. ``#step=3`` at the end of the address opens the third step.

    The picture is laid out by Graphviz when the file is written; where there is none, more plainly by
    tensorgrad. ``.grad`` is left alone.

    Parameters
    ----------
    output : Tensor
    path : path
    grad : array_like, optional
        Cotangent of the output; needed unless there is one element, as in `Tensor.backward`.
    title : str

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError, RuntimeError
        If ``output`` is not a Tensor, or nothing that it was made of requires grad.
    ValueError
        If there are over 300 nodes, or ``output`` is no scalar and ``grad`` is missing.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"player: expected a Tensor, got a {type(output).__name__}")
    folding = Folding(output, None, repeats=False)
    drawn = folding.count_nodes()
    if drawn > MOST:
        raise ValueError(
            f"player: {drawn:,} nodes are too many to follow (the limit is {MOST}); "
            "play an earlier tensor, or a smaller batch of layers"
        )
    script = _Script(folding, backward_steps(output, grad)).contents()
    parts = {
        "title": html.escape(title),
        "svg": _draw(folding),
        # In a script element, only < could end the text too early.
        "data": json.dumps(script, ensure_ascii=False).replace("<", "\\u003c"),
    }
    template = Path(__file__).with_name("player.html").read_text(encoding="utf-8")
    page = re.sub("@(title|svg|data)@", lambda found: parts[found[1]], template)
    path = Path(path)
    write_file(path, page.encode("utf-8", "replace"))
    return path


def _draw(folding: Folding) -> str:
    try:
        return strip_svg(lay_out(write_dot(folding, Overlay(titles=folding.recorded.names), "TB"), "svg"))
    except RuntimeError:
        return write_svg(folding)


def _entry(key: str, name: str, x: Any, **more: Any) -> dict[str, Any]:
    """What the page shows of a tensor or constant, its name under ``key``."""
    return {key: name, "size": size(x), "value": long(x), **more}


class _Script:
    """What the page plays: the nodes by the names they have in the picture, and a frame for each step."""

    def __init__(self, folding: Folding, steps: BackwardSteps) -> None:
        self._folding, self._steps = folding, steps
        self._graph, self._ids, self._names = folding.recorded, folding.ids, folding.recorded.names

    def contents(self) -> dict[str, Any]:
        """All of it, as it goes into the page."""
        leaves = [self._ids[id(x)] for x in self._graph.leaves]
        constants = {
            f"{self._ids[id(node)]}c{i}": _entry("title", constant_lines(node, i)[0], x)
            for node in self._graph.results
            for i, x in constants_in(node)
        }
        nodes = {self._ids[id(x)]: _entry("title", self._names[id(x)], x) for x in self._graph.nodes}
        frames = [self._start(), *map(self._forward, self._graph.results), *self._backward()]
        return {"leaves": [*leaves, *constants], "nodes": {**nodes, **constants}, "frames": frames}

    def _frame(self, phase: str, title: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        plain = {"text": "", "call": "", "node": "", "edges": [], "op": False, "incoming": ""}
        return {**plain, "phase": phase, "heading": phase.title(), "title": title, "rows": rows, **more}

    def _start(self) -> dict[str, Any]:
        rows = [_entry("name", self._names[id(x)], x) for x in self._graph.leaves]
        text = "Inputs, parameters and constants are given. Each op computes its result from them."
        return self._frame("forward", "What is given", rows, text=text)

    def _forward(self, node: Tensor) -> dict[str, Any]:
        assert node.op is not None
        arguments = argument_names(node.op, len(node.inputs))
        inputs = {i: self._name_input(node, i) for i, x in enumerate(node.inputs) if x is not None}
        rows = [_entry("name", f"{arguments[i]} = {name}", node.inputs[i]) for i, name in inputs.items()]
        return self._frame(
            "forward",
            op_name(node),
            [*rows, _entry("name", "out", node)],
            call=f"out = {op_name(node)}({', '.join([*inputs.values(), *list_params(node)])})",
            node=self._ids[id(node)],
            edges=self._edges_to(node, inputs),
        )

    def _backward(self) -> Iterator[dict[str, Any]]:
        output, seed = self._steps.output, self._steps.seed
        name, node = f"g of {self._names[id(output)]}", self._ids[id(output)]
        yield self._frame(
            "backward",
            "The walk back begins",
            [_entry("name", name, seed, node=node, total=long(seed))],
            text="The cotangent g of a tensor is the gradient of the drawn result with respect to it.",
            node=node,
            incoming=long(seed),
        )
        held = {id(output): seed}
        for step in self._steps:
            rows = [_entry("name", "g, all that came to the result", step.incoming)]
            sent = {i: g for i, g in enumerate(step.outgoing) if g is not None}
            for i, g in sent.items():
                x = step.inputs[i]
                held[id(x)] = held[id(x)] + g if id(x) in held else g
                rows.append(self._send(step, i, g, held[id(x)]))
            yield self._frame(
                "backward",
                f"vjp of {op_name(step.output)}",
                rows,
                node=self._ids[id(step.output)],
                op=True,
                incoming=long(step.incoming),
                edges=self._edges_to(step.output, sent),
            )
        rows = [_entry("name", self._names[id(leaf)], g) for leaf, g in self._steps.gradients]
        text = "backward adds these to the .grad of the leaves."
        yield self._frame("backward", "The gradients", rows, text=text)

    def _send(self, step: BackwardStep, i: int, g: NDArray, total: NDArray) -> dict[str, Any]:
        """The row of a cotangent that a step gives to its input ``i``, which then holds ``total``."""
        summed = ", summed over what was broadcast" if step.was_broadcast(i) else ""
        return _entry(
            "name",
            f"to {step.arguments[i]} = {self._name_input(step.output, i)}",
            g,
            formula=f"{step.formulas[i]}{summed}",
            node=self._ids[id(step.inputs[i])],
            total=long(total),
        )

    def _name_input(self, node: Tensor, i: int) -> str:
        x = node.inputs[i]
        return self._names[id(x)] if isinstance(x, Tensor) else constant_lines(node, i)[0]

    def _edges_to(self, node: Tensor, places: Iterable[int]) -> list[str]:
        """The titles of the arrows into a node from its inputs at some places."""
        ends = (self._folding.ends(node, i) for i in places)
        return [f"{source}->{target}" for source, target, _ in filter(None, ends)]
