"""player: the walk forward and back as one HTML file."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.graph.drawing.dot import Overlay, dot_text
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.graphviz import bare_svg, lay_out
from tensorgrad.graph.drawing.labels import constant_lines, params_shown, size
from tensorgrad.graph.drawing.layered import layered_svg
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.steps import BackwardStep, BackwardSteps, backward_steps
from tensorgrad.graph.values import norm, number

__all__ = ["player"]

MOST = 300  # nodes that can be followed step by step
PRINTED = 48  # numbers of an array that are printed; larger ones are summarised


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
    if folding.size() > MOST:
        raise ValueError(
            f"player: {folding.size():,} nodes are too many to follow (the limit is {MOST}); "
            "play an earlier tensor, or a smaller batch of layers"
        )
    steps = backward_steps(output, grad)
    script = _Script(folding, steps)
    template = Path(__file__).with_name("player.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(title),
        "svg": _svg(folding, script.titles),
        # In a script element, only < could end the text too early.
        "data": json.dumps(script.contents(), ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = re.sub("@(title|svg|data)@", lambda found: parts[found[1]], template)
    path = Path(path)
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


def _svg(folding: Folding, titles: dict[int, str]) -> str:
    try:
        return bare_svg(lay_out(dot_text(folding, Overlay(titles=titles), "TB"), "svg"))
    except RuntimeError:
        return layered_svg(folding, titles)


class _Script:
    """What the page plays: the nodes by the names they have in the picture, and a frame for each step."""

    def __init__(self, folding: Folding, steps: BackwardSteps) -> None:
        self._folding, self._steps = folding, steps
        self._ids = folding.ids
        self.titles = folding.recorded.names

    def contents(self) -> dict[str, Any]:
        leaves = [self._ids[id(x)] for x in self._folding.recorded.leaves]
        constants = {
            f"{self._ids[id(node)]}c{i}": {
                "title": constant_lines(node, i)[0],
                "size": size_of(x),
                "value": value_text(x),
            }
            for node in self._folding.recorded.nodes
            for i, x in self._folding.constants(node)
        }
        nodes = {
            self._ids[id(x)]: {"title": self.titles[id(x)], "size": size(x), "value": value_text(x._array)}
            for x in self._folding.recorded.nodes
        }
        frames = [self._start(), *map(self._forward, self._folding.recorded.results), *self._backward()]
        return {"leaves": [*leaves, *constants], "nodes": {**nodes, **constants}, "frames": frames}

    def _frame(self, phase: str, title: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        plain = {"text": "", "call": "", "node": "", "edges": [], "op": False, "incoming": ""}
        heading = "Backward" if phase == "backward" else "Forward"
        return {**plain, "phase": phase, "heading": heading, "title": title, "rows": rows, **more}

    def _row(self, name: str, x: Any, **more: Any) -> dict[str, Any]:
        return {"name": name, "size": size_of(x), "value": value_text(x), **more}

    def _start(self) -> dict[str, Any]:
        rows = [
            self._row(self.titles[id(x)], x._array) for x in self._folding.recorded.nodes if x._op is None
        ]
        text = "Inputs, parameters and constants are given. Each op computes its result from them."
        return self._frame("forward", "What is given", rows, text=text)

    def _forward(self, node: Tensor) -> dict[str, Any]:
        name = self._ids[id(node)]
        rows = [
            self._row(f"{argument} = {self._called(node, i)}", x._array if isinstance(x, Tensor) else x)
            for i, (argument, x) in enumerate(zip(self._arguments(node), node._inputs, strict=True))
            if x is not None
        ]
        inputs = [self._called(node, i) for i, x in enumerate(node._inputs) if x is not None]
        assert node._op is not None
        return self._frame(
            "forward",
            node._op.name.removesuffix("_"),
            [*rows, self._row("out", node._array)],
            call=f"out = {node._op.name.removesuffix('_')}({', '.join([*inputs, *params_shown(node)])})",
            node=name,
            edges=self._edges_to(node),
        )

    def _backward(self) -> list[dict[str, Any]]:
        output, seed = self._steps.output, self._steps.seed
        name = self._ids[id(output)]
        begin = self._frame(
            "backward",
            "The walk back begins",
            [self._row(f"g of {self.titles[id(output)]}", seed, node=name, total=value_text(seed))],
            text="The cotangent g of a tensor is the gradient of the drawn result with respect to it.",
            node=name,
            incoming=value_text(seed),
        )
        held = {id(output): seed}
        frames = [begin]
        for step in self._steps:
            rows = [self._row("g, all that came to the result", step.incoming)]
            for i, g in enumerate(step.outgoing):
                if g is not None:
                    x = step.inputs[i]
                    held[id(x)] = held[id(x)] + g if id(x) in held else g
                    rows.append(self._sent(step, i, g, held[id(x)]))
            frames.append(
                self._frame(
                    "backward",
                    f"vjp of {step.op.name.removesuffix('_')}",
                    rows,
                    node=self._ids[id(step.output)],
                    op=True,
                    incoming=value_text(step.incoming),
                    edges=self._edges_to(step.output, step),
                )
            )
        rows = [self._row(self.titles[id(leaf)], g) for leaf, g in self._steps.gradients]
        text = "backward adds these to the .grad of the leaves."
        return [*frames, self._frame("backward", "The gradients", rows, text=text)]

    def _sent(self, step: BackwardStep, i: int, g: np.ndarray[Any, Any], total: Array) -> dict[str, Any]:
        formula = step.formulas[i]
        if step.was_broadcast(i):
            formula = f"{formula}, summed over what was broadcast"
        to = step.inputs[i]
        return self._row(
            f"to {step.arguments[i]} = {self._called(step.output, i)}",
            g,
            formula=formula,
            node=self._ids[id(to)],
            total=value_text(np.asarray(total)),
        )

    def _arguments(self, node: Tensor) -> tuple[str, ...]:
        assert node._op is not None
        return argument_names(node._op, len(node._inputs))

    def _called(self, node: Tensor, i: int) -> str:
        x = node._inputs[i]
        return self.titles[id(x)] if isinstance(x, Tensor) else constant_lines(node, i)[0]

    def _edges_to(self, node: Tensor, step: BackwardStep | None = None) -> list[str]:
        """The titles of the arrows into a node: all, or those along which the step sent something."""
        name = self._ids[id(node)]
        return [
            f"{self._ids[id(x)] if isinstance(x, Tensor) else f'{name}c{i}'}->{name}"
            for i, x in enumerate(node._inputs)
            if x is not None and (step is None or step.outgoing[i] is not None)
        ]


def size_of(x: Any) -> str:
    """Shape and dtype of an array, nothing of a Python number."""
    return f"{x.shape} {x.dtype}" if isinstance(x, np.ndarray) else ""


def value_text(x: Any) -> str:
    """A small array as it is; a large one by its range, mean and norm."""
    array = np.asarray(x)
    if array.ndim == 0:
        return number(array.item())
    if array.size <= PRINTED:
        shown = "{:.4g}".format if array.dtype.kind == "f" else str
        return np.array2string(array, formatter={"all": shown}, separator=", ", max_line_width=50)
    if array.dtype.kind not in "fiu":
        return f"{array.size:,} values"
    if not np.isfinite(array).all():
        return f"{array.size:,} values, {np.count_nonzero(~np.isfinite(array)):,} of them not finite"
    low, high, mean = array.min(), array.max(), array.mean(dtype=np.float64)
    return f"{array.size:,} values from {low:.4g} to {high:.4g}, mean {mean:.4g}, norm {norm(array):.4g}"
