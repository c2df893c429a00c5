"""draw: a recorded graph as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray, is_integer, write_file
from tensorgrad.core.refusals import hint_network
from tensorgrad.graph.drawing.dot import Overlay, write_dot
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.graphviz import lay_out, strip_svg
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.steps import BackwardStep, BackwardSteps, backward_steps
from tensorgrad.graph.values import brief
from tensorgrad.graph.zeros import rehearse

__all__ = ["Drawing", "draw", "draw_steps"]

MOST = 500  # nodes that a reader, and dot, can take in
ROWS = 2, 3  # of zeros, on which layers are tried


class Drawing:
    """A drawn graph. A notebook shows it by itself: as a picture, or as text where nothing can lay it out.

    Attributes
    ----------
    source : str
        The drawing in DOT, the language of Graphviz; a pure function of the graph and of how it is drawn.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def render(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file ending in .svg, .png or .pdf, or the text to one ending in .dot.

        Raises
        ------
        ValueError
            If the path ends in something else.
        RuntimeError
            If no Graphviz is there, from graphviz's ExecutableNotFound, or if it fails or takes a minute.
        """
        path = Path(path)
        form = path.suffix.lower().removeprefix(".")
        if form not in ("svg", "png", "pdf", "dot"):
            raise ValueError(f"render: expected a path ending in .svg, .png, .pdf or .dot, got {path}")
        picture = self.source.encode() if form == "dot" else lay_out(self.source, form)
        write_file(path, picture)
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        try:
            return {"image/svg+xml": strip_svg(lay_out(self.source, "svg")), "text/plain": repr(self)}
        except Exception as error:  # a notebook is shown something whatever happens
            return {"text/plain": f"{self.source}\n# {error}"}

    def __repr__(self) -> str:
        return "<Drawing: .source is its text in DOT, .render(path) writes a file>"


def draw(
    thing: Tensor | Callable[..., Any],
    *,
    input_shape: tuple[int, ...] | None = None,
    depth: int | None = None,
    repeats: bool = True,
    values: bool = False,
    gradients: Literal["direction", "norms", "values"] | None = None,
    highlight: Tensor | str | None = None,
    step: int | None = None,
    rankdir: Literal["TB", "LR", "BT", "RL"] = "TB",
    limit: int = MOST,
) -> Drawing:
    """Draw the graph that made a tensor, or the one that a layer or network records for a batch.

    An arrow goes from each input to what was made of it. Ops are rounded boxes with their params, shape and
    dtype; parameters are cylinders with their counts; inputs (other tensors that no op made) are ellipses;
    buffers are notes; numbers and plain arrays are dashed boxes; the drawn tensor has a double border. What a
    layer made lies in a cluster under the layer's path (of a layer that is gone, its class) and, if it is
    short, its description. In the graph of a gradient that was recorded (``create_graph``), so does what a
    vjp made, with its formula.

    Parameters
    ----------
    thing : Tensor or Layer
        A layer is copied, in the mode it is in, and the copy applied to rows of zeros; their number is drawn
        as N.
    input_shape : tuple of int, for a layer
        Without the batch, as in `Network.summary`.
    depth : int, optional
        How many nested clusters to open; those further in are folded into one node each. 0 folds all.
    repeats : bool
        Draw the rounds of a loop, or of equal layers, once, in a dashed frame with their number.
    values : bool
        Write the values on the nodes: up to four as they are, more as their norm.
    gradients : "direction", "norms" or "values", optional
        A second arrow along each edge that a gradient comes back along; with "norms", what comes: up to four
        numbers as they are, the Euclidean norm of more (where one arrow stands for several uses, the least
        and the largest). With "values" each node has its data and its gradient, grad, side by side. The walk
        is that of `backward_steps`, which needs a scalar and leaves ``.grad`` alone.
    highlight : Tensor or str, optional
        A tensor in the graph, or the name of one or several: what depends on it stands out, the rest fades.
    step : int, optional
        The state of the walk back after so many steps: the op just taken, those done, and what waits with the
        cotangent that has come to it so far. Repeats are drawn in full then. All steps have one layout; see
        `draw_steps`.
    rankdir : str
        Where the arrows go: "TB" from top to bottom, "LR" from left to right, "BT", "RL".
    limit : int
        The most nodes to draw.

    Raises
    ------
    TypeError
        If ``thing`` is neither a Tensor nor a layer.
    ValueError
        If there are more nodes than ``limit``, or an option does not fit the graph.

    >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
    >>> drawing = tg.draw(tg.exp(x) * x, highlight="x")
    >>> drawing.source.startswith("digraph {")
    True
    """
    if depth is not None and not (is_integer(depth) and depth >= 0):
        raise ValueError(f"draw: expected depth to be an integer of at least 0, got {depth!r}")
    if rankdir not in ("TB", "LR", "BT", "RL"):
        raise ValueError(f"draw: expected rankdir to be TB, LR, BT or RL, got {rankdir!r}")
    if gradients not in (None, "direction", "norms", "values"):
        raise ValueError(
            f'draw: expected gradients to be "direction", "norms" or "values", got {gradients!r}'
        )
    output, shapes, layer = _record(thing, input_shape)
    folding = Folding(output, depth, repeats and step is None)
    del layer
    drawn = folding.count_nodes()
    if drawn > limit:
        raise ValueError(
            f"draw: {drawn:,} nodes are too many for a picture (the limit is {limit:,}); fold layers with "
            "depth=0 or 1, draw an earlier tensor, or pass a larger limit"
        )
    nodes = folding.recorded.nodes
    overlay = Overlay(values=values, shapes=shapes)
    if highlight is not None:
        overlay.influenced = _find_influenced(nodes, _look_up(nodes, highlight, thing))
    if gradients == "direction":
        overlay.back = _find_directions(folding.recorded.results)
    if gradients in ("norms", "values") or step is not None:
        steps = backward_steps(output)
        if gradients == "norms":
            overlay.back = _find_arrivals(steps, shown=True)
        elif gradients == "values":
            overlay.gradients = {id(x): g for x, g in steps.gradients}
            overlay.gradients |= {id(each.output): each.incoming for each in steps}
            overlay.values = True
        if step is not None:
            _lay_over(overlay, steps, step)
    return Drawing(write_dot(folding, overlay, rankdir))


def draw_steps(output: Tensor, path: str | os.PathLike[str], **options: Any) -> list[Path]:
    """Write the walk back as pictures, one for each step of `backward_steps`, all in one layout.

    They are what `draw` gives with ``step=0``, 1, ..., and can be flipped through as slides.

    Parameters
    ----------
    output : Tensor
        A scalar.
    path : path
        ``walk.svg`` gives ``walk-00.svg``, ``walk-01.svg``, ...; other endings are those of `Drawing.render`.
        A path without an ending is a folder, which is made, and gets ``step-00.svg``, ...
    options
        Those of `draw`, but for ``step``.

    Returns
    -------
    list of pathlib.Path
        The files, in order.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `draw` and `Drawing.render` do.

    >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
    >>> [path.name for path in tg.draw_steps(tg.exp(x) * x, "walk.dot")]
    ['walk-00.dot', 'walk-01.dot', 'walk-02.dot']
    """
    count = len(backward_steps(output))
    drawings = [draw(output, step=k, **options) for k in range(count + 1)]
    path = Path(path)
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
        path = path / "step.svg"
    names = (f"{path.stem}-{k:0{max(2, len(str(count)))}}{path.suffix}" for k in range(count + 1))
    return [drawing.render(path.with_name(name)) for drawing, name in zip(drawings, names, strict=True)]


def _record(thing: Any, input_shape: tuple[int, ...] | None) -> tuple[Tensor, dict[int, str], Any]:
    """The tensor whose graph is drawn, shapes with N in them, and the layer's copy, which knows the names."""
    if isinstance(thing, Tensor):
        if input_shape is not None:
            raise ValueError("draw: input_shape is for a layer; a Tensor has its graph already")
        return thing, {}, None
    if not hasattr(thing, "named_parameters"):
        hint = hint_network(thing)
        raise TypeError(f"draw: expected a Tensor or a Layer, got a {type(thing).__name__}{hint}")
    if input_shape is None:
        raise ValueError(f"draw: a {type(thing).__name__} needs input_shape, the shape of one input")
    (out, layer), (more, _) = (_rehearse(thing, tuple(input_shape), rows) for rows in ROWS)
    return out, dict(_find_shapes(Recorded(out), Recorded(more))), layer


def _rehearse(thing: Any, input_shape: tuple[int, ...], rows: int) -> tuple[Tensor, Any]:
    with rehearse(thing, input_shape, rows) as (layer, zeros):
        out = layer(zeros)
    if not isinstance(out, Tensor):
        raise TypeError(f"draw: expected {type(thing).__name__} to give a Tensor, got a {type(out).__name__}")
    return out, layer


def _find_shapes(graph: Recorded, other: Recorded) -> Iterator[tuple[int, str]]:
    """The shapes in a graph for batches of N, by id, from those of two graphs for batches of `ROWS`."""
    if [x.op for x in graph.nodes] != [x.op for x in other.nodes]:
        return  # the layer does something else for another batch
    for x, y in zip(graph.nodes, other.nodes, strict=True):
        pairs = [(x, y), *zip(x.inputs, y.inputs, strict=True)]
        for a, b in pairs:
            if np.ndim(a) and np.ndim(a) == np.ndim(b):
                lengths = ", ".join(map(_tell_length, a.shape, b.shape))
                yield id(a), f"({lengths}{',' * (a.ndim == 1)}) {a.dtype}"


def _tell_length(a: int, b: int) -> str:
    """A length that is ``a`` and ``b`` for batches of `ROWS`, in terms of N."""
    each, rest = (b - a) // (ROWS[1] - ROWS[0]), (b - a) % (ROWS[1] - ROWS[0])
    fixed = a - each * ROWS[0]
    if not each or rest:
        return str(a)
    return f"{each if each != 1 else ''}N" + (f" {'+' if fixed > 0 else '-'} {abs(fixed)}" if fixed else "")


def _look_up(nodes: list[Tensor], wanted: Tensor | str, thing: Any) -> list[Tensor]:
    """The tensors in a graph that were meant: themselves, by their name, or as a parameter of the layer."""
    if isinstance(wanted, Tensor) and not isinstance(thing, Tensor):
        paths = {id(parameter): path for path, parameter in thing.named_parameters().items()}
        wanted = paths.get(id(wanted), wanted)
    if isinstance(wanted, Tensor):
        found = [node for node in nodes if node is wanted]
        what = wanted.label()
    elif isinstance(wanted, str):
        found = [node for node in nodes if node.name == wanted]
        what = repr(wanted)
    else:
        raise TypeError(f"draw: expected highlight to be a Tensor or a name, got a {type(wanted).__name__}")
    if not found:
        names = ", ".join(dict.fromkeys(node.name for node in nodes if node.name)) or "none"
        raise ValueError(f"draw: {what} is not in the graph; the named tensors there are {names}")
    return found


def _find_influenced(nodes: list[Tensor], sources: list[Tensor]) -> set[int]:
    """The ids of some tensors and of all that was made of them."""
    found = {id(source) for source in sources}
    for node in nodes:  # what is made of a node comes after it
        if any(id(x) in found for x in node.inputs):
            found.add(id(node))
    return found


def _find_directions(results: list[Tensor]) -> dict[tuple[int, int], NDArray | None]:
    """The edges along which a gradient can come back."""
    return {
        (id(node), i): None
        for node in results
        for i, x in enumerate(node.inputs)
        if isinstance(x, Tensor) and x.requires_grad and node.op is not None
        if (node.op.joint or node.op.formulas_for(len(node.inputs))[i]) is not None
    }


def _find_arrivals(steps: Iterable[BackwardStep], *, shown: bool) -> dict[tuple[int, int], NDArray | None]:
    """The edges along which a gradient came back in some steps."""
    return {
        (id(step.output), i): g if shown else None
        for step in steps
        for i, g in enumerate(step.outgoing)
        if g is not None
    }


def _lay_over(overlay: Overlay, steps: BackwardSteps, k: int) -> None:
    """Lay the state of a walk after ``k`` steps over the graph."""
    if not (is_integer(k) and 0 <= k <= len(steps)):
        raise ValueError(f"draw: expected step to be an integer from 0 to {len(steps)}, got {k!r}")
    overlay.states = {id(step.output): "done" for step in steps[:k]}
    for number in range(len(steps) + 1):
        notes = {id(tensor): f"g = {brief(g)}" for tensor, g in steps.waiting(number)}
        if number:
            taken = steps[number - 1]
            notes[id(taken.output)] = f"step {number}: g = {brief(taken.incoming)}"
        for key, note in notes.items():  # so that the layout is the same after each step
            overlay.room[key] = max(len(note), overlay.room.get(key, 0))
        if number == k:
            overlay.notes = notes
    overlay.states |= {id(tensor): "waiting" for tensor, _ in steps.waiting(k)}
    if k:
        overlay.states[id(steps[k - 1].output)] = "taken"
    overlay.back = {**_find_arrivals(steps[:k], shown=False), **overlay.back}
