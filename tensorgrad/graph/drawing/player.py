"""player: the walk forward and back as a page of HTML."""

from __future__ import annotations

import base64
import html
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray, flag, write_file
from tensorgrad.graph.drawing.dot import Overlay, write_dot
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.graphviz import lay_out, strip_svg
from tensorgrad.graph.drawing.labels import list_params
from tensorgrad.graph.drawing.pictures import Pictures
from tensorgrad.graph.drawing.plain_layout import write_svg
from tensorgrad.graph.native.javascript import hold, read_prelude, write_javascript
from tensorgrad.graph.native.record import UncompilableError
from tensorgrad.graph.native.walk import Walk
from tensorgrad.graph.recorded import Recorded, op_name
from tensorgrad.graph.steps import BackwardStep, BackwardSteps, backward_steps
from tensorgrad.graph.values import long, size

__all__ = ["Player", "player"]

MOST = 300  # nodes that can be followed step by step
MOST_NUMBERS = 1 << 22  # that a live page computes with
FEW = 4  # numbers that are written into a node


class Player:
    """A page that plays a computation. A notebook shows it by itself.

    Attributes
    ----------
    source : str
        The page: HTML that needs nothing else.
    """

    height = "40rem"  # in a notebook

    def __init__(self, source: str) -> None:
        self.source = source

    def render(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, and return its path."""
        write_file(path, self.source.encode(errors="replace"))
        return Path(path)

    def _repr_html_(self) -> str:
        page = html.escape(self.source.encode(errors="replace").decode())
        style = f"width: 100%; height: {self.height}; border: 1px solid #8888"
        return f'<div><iframe srcdoc="{page}" style="{style}"></iframe></div>'

    def __repr__(self) -> str:
        return "<Player: .source is its page in HTML, .render(path) writes a file>"


def player(
    output: Tensor,
    path: str | os.PathLike[str] | None = None,
    *,
    grad: Array | None = None,
    title: str = "Forward, and back",
    live: bool = False,
) -> Player:
    """Play how ``output`` was computed and how the gradients come back, as one page of HTML.

    A notebook shows it; with a ``path`` it is written to a file, to be opened in a browser. It needs no
    network and no server. Buttons, a slider and the arrow keys go from op to op, first forward, then in the
    order of the reverse walk; beside the picture stand the formula, the shapes and the values of the present
    step. Inside of nodes of up to four elements stand their value and the cotangent that has come to them;
    images, feature maps and filters are shown as pictures. Pointing at a node, or moving to it with the Tab
    key, shows more. ``#step=3`` at the end of the address opens the third step.

    The picture is laid out by Graphviz when the page is made; where there is none, more plainly by
    tensorgrad. ``.grad`` is left alone.

    With ``live`` the numbers of leaves can be changed on the page: in a field, on a slider, or by dragging
    their nodes to and fro. All values, cotangents and pictures follow, computed by JavaScript that is made of
    the graph. What is no leaf stays as it was recorded: the condition of ``np.where(x > 0, ...)`` is one, and
    the page names each.

    Parameters
    ----------
    output : Tensor
    path : path, optional
    grad : array_like, optional
        Cotangent of the output; needed unless there is one element, as in `Tensor.backward`.
    title : str
    live : bool

    Returns
    -------
    Player

    Raises
    ------
    TypeError, RuntimeError
        If ``output`` is not a Tensor, or nothing that it was made of requires grad.
    ValueError
        If there are over 300 nodes, or ``output`` is no scalar and ``grad`` is missing; with ``live`` if
        there are over four million numbers.
    UncompilableError
        With ``live``, if there is no rule in JavaScript for an op, or not one dtype throughout.

    >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
    >>> tg.player(x * x).source.startswith("<!DOCTYPE html>")
    True
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
    script = _Script(folding, backward_steps(output, grad), flag("player", "live", live))
    contents = script.contents()
    parts = {
        "title": html.escape(title),
        "svg": _draw(folding, script.titles(contents)),
        # In a script element, only < could end the text too early.
        "data": json.dumps(contents, ensure_ascii=False).replace("<", "\\u003c"),
        "live": script.engine(),
    }
    played = Player(re.sub("@(title|svg|data|live)@", lambda found: parts[found[1]], _read("player.html")))
    if path is not None:
        played.render(path)
    return played


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _draw(folding: Folding, titles: dict[int, str]) -> str:
    try:
        return strip_svg(lay_out(write_dot(folding, Overlay(titles=titles), "TB"), "svg"))
    except RuntimeError:
        return write_svg(folding, titles)


def _record_walk(graph: Recorded, steps: BackwardSteps) -> Walk:
    try:
        walk = Walk(graph, steps)
    except UncompilableError as error:
        raise UncompilableError(f"player: live: {str(error).removeprefix('compile: ')}") from error
    numbers = sum(buffer.size for buffer in walk.program.buffers)
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"player: live: {numbers:,} numbers are too many to compute with in a page (the limit is "
            f"{MOST_NUMBERS:,}); play a smaller network, or fewer examples"
        )
    return walk


class _Script:
    """What the page plays: the nodes by the names they have in the picture, and a frame for each step."""

    def __init__(self, folding: Folding, steps: BackwardSteps, live: bool) -> None:
        self._folding, self._steps = folding, steps
        self._walk = _record_walk(folding.recorded, steps) if live else None
        self._graph, self._ids, self._names = folding.recorded, folding.ids, folding.recorded.names
        self._pictures = Pictures(folding.recorded)

    def contents(self) -> dict[str, Any]:
        """All of it, as it goes into the page."""
        leaves = [self._ids[id(x)] for x in self._graph.leaves]
        constants = {
            f"{self._ids[id(node)]}c{i}": self._entry("title", self._graph.name_of_input(node, i), x)
            for node in self._graph.results
            for i, x in self._graph.constants_in(node)
        }
        nodes = {self._ids[id(x)]: self._entry("title", self._names[id(x)], x) for x in self._graph.nodes}
        frames = [self._start(), *map(self._forward, self._graph.results), *self._backward()]
        live = {"live": self._offer(self._walk)} if self._walk else {}
        return {
            "leaves": [*leaves, *constants], "nodes": {**nodes, **constants}, "frames": frames,
            "pictures": self._pictures.painted, **live,
        }  # fmt: skip

    def _offer(self, walk: Walk) -> dict[str, Any]:
        """What the live mode computes with: the arguments, which of them can be changed, what is made."""
        program = walk.program
        sources = [id(source) for _, source in program.arguments]
        given = [hold(source, program.dtype) for _, source in program.arguments]
        leaves = [
            {
                "node": self._ids[id(x)], "title": self._names[id(x)], "shape": x.shape,
                "given": sources.index(id(copy)), "whole": x.dtype.kind == "i",
            }
            for x, copy in walk.leaves if x.dtype.kind in "fi" and x.size
        ]  # fmt: skip
        real = program.dtype.char
        decided = [
            self._names[id(node)] for node in self._graph.results
            if any(hasattr(x, "dtype") and x.dtype.kind == "b" for x in self._graph.inputs(node))
        ]  # fmt: skip
        return {
            "given": [[x.dtype.char, base64.b64encode(x.tobytes()).decode()] for x in given],
            "made": [{"kind": v.kind.replace("f", real), "shape": v.shape} for v in program.outputs],
            "leaves": leaves, "output": self._ids[id(self._steps.output)], "decided": decided,
        }  # fmt: skip

    def engine(self) -> str:
        """The scripts of the live mode."""
        if self._walk is None:
            return ""
        engine = f"{read_prelude()}\n{write_javascript(self._walk.program, 'engine')}"
        return "".join(f"<script>\n{text}</script>\n" for text in (engine, _read("live.js")))

    def titles(self, contents: dict[str, Any]) -> dict[int, str]:
        """The names in the picture, with room under them for what the page writes or paints into the nodes.

        It is two lines as wide as the widest of that, or three for a picture. The page finds them by their
        text.
        """
        held: dict[str, list[str]] = {}
        for frame in contents["frames"]:
            for row in frame["rows"]:
                if "node" in row:
                    held.setdefault(row["node"], []).append(f"grad {row['total']['value']}")
        titles = dict(self._names)
        for x in self._graph.nodes:
            name = self._ids[id(x)]
            entry = contents["nodes"][name]
            if entry["picture"] is not None:
                titles[id(x)] += "\n0000000000" * 3
            elif 0 < x.size <= FEW:
                texts = (" ".join(text.split()) for text in [f"data {entry['value']}", *held.get(name, ())])
                widest = max(*texts, "data" + " -0.12345" * x.size * (self._walk is not None), key=len)
                entry["room"] = widest[
                    : math.ceil(0.85 * len(widest))
                ]  # the page writes it smaller than names
                titles[id(x)] += f"\n{entry['room']}" * 2
        return titles

    def _entry(
        self, key: str, name: str, x: Any, like: Any = None, place: Any = None, **more: Any
    ) -> dict[str, Any]:
        """What the page shows of a tensor or constant, or of a cotangent of one; its name under ``key``."""
        return {key: name, "size": size(x), **self._show(x, x if like is None else like, place), **more}

    def _show(self, x: Any, like: Any, place: Any = None) -> dict[str, Any]:
        """The value and its picture; and which output of the walk it is, a cotangent by its place there."""
        k = self._walk.outputs.get(place or id(x)) if self._walk else None
        made = {} if k is None else {"made": k}
        return {"value": long(x), "picture": self._pictures.number(x, like), **made}

    def _frame(self, phase: str, title: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        plain = {"text": "", "call": "", "node": "", "edges": [], "op": False, "incoming": None}
        return {**plain, "phase": phase, "heading": phase.title(), "title": title, "rows": rows, **more}

    def _start(self) -> dict[str, Any]:
        rows = [self._entry("name", self._names[id(x)], x) for x in self._graph.leaves]
        text = "Inputs, parameters and constants are given. Each op computes its result from them."
        return self._frame("forward", "What is given", rows, text=text)

    def _forward(self, node: Tensor) -> dict[str, Any]:
        assert node.op is not None
        given = self._graph.inputs(node)
        inputs = {i: self._graph.name_of_input(node, i) for i, x in enumerate(given) if x is not None}
        shown = {name: given[i] for i, name in inputs.items()} | {self._names[id(node)]: node}
        rows = [
            self._entry("name", name, x) for name, x in shown.items() if hasattr(x, "shape")
        ]  # no numbers
        read = [*inputs.values(), *list_params(node)]
        return self._frame(
            "forward",
            self._names[id(node)],
            rows,
            call=f"{self._names[id(node)]} = {op_name(node)}({', '.join(read)})",
            node=self._ids[id(node)],
            edges=self._edges_to(node, inputs),
        )

    def _backward(self) -> Iterator[dict[str, Any]]:
        output, seed = self._steps.output, self._steps.seed
        name, node, start = f"g of {self._names[id(output)]}", self._ids[id(output)], (0, "in")
        yield self._frame(
            "backward",
            "The walk back begins",
            [
                self._entry(
                    "name", name, seed, output, start, node=node, total=self._show(seed, output, start)
                )
            ],
            text="The cotangent g of a tensor is the gradient of the drawn result with respect to it.",
            node=node,
            incoming=self._show(seed, output, start),
        )
        held, last = {id(output): seed}, dict[int, Any]({id(output): start})
        for step in self._steps:
            came = (step.incoming, step.output, (step.number, "in"))
            rows = [self._entry("name", "g, all that came to the result", *came)]
            sent = {i: g for i, g in enumerate(step.outgoing) if g is not None}
            for i, g in sent.items():
                x = step.inputs[i]
                held[id(x)] = held[id(x)] + g if id(x) in held else g
                last[id(x)] = (step.number, i, "total")
                rows.append(self._send(step, i, g, held[id(x)]))
            yield self._frame(
                "backward",
                f"vjp of {step.name}",
                rows,
                node=self._ids[id(step.output)],
                op=True,
                incoming=self._show(*came),
                edges=self._edges_to(step.output, sent),
            )
        rows = [
            self._entry("name", self._names[id(leaf)], g, leaf, last[id(leaf)])
            for leaf, g in self._steps.gradients
        ]
        text = "backward adds these to the .grad of the leaves."
        yield self._frame("backward", "The gradients", rows, text=text)

    def _send(self, step: BackwardStep, i: int, g: NDArray, total: NDArray) -> dict[str, Any]:
        """The row of a cotangent that a step gives to its input ``i``, which then holds ``total``."""
        summed = ", summed over what was broadcast" if step.was_broadcast(i) else ""
        return self._entry(
            "name",
            f"to {self._graph.name_of_input(step.output, i)}",
            g,
            step.inputs[i],
            (step.number, i),
            formula=f"{step.formulas[i]}{summed}",
            node=self._ids[id(step.inputs[i])],
            total=self._show(total, step.inputs[i], (step.number, i, "total")),
        )

    def _edges_to(self, node: Tensor, places: Iterable[int]) -> list[str]:
        """The titles of the arrows into a node from its inputs at some places."""
        ends = (self._folding.ends(node, i) for i in places)
        return [f"{source}->{target}" for source, target, _ in filter(None, ends)]
