"""A recorded graph and its reverse walk as one program, whose outputs are all numbers that a player shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.context import recorded_by, watching
from tensorgrad.core.engine import walk
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.javascript import JAVASCRIPT_RULES, plan_graph
from tensorgrad.graph.native.record import Recording, UncompilableError
from tensorgrad.graph.recorded import Recorded, op_name
from tensorgrad.graph.steps import BackwardSteps


@dataclass
class Watch:
    """A reverse walk that is recorded; it is told of the vjps, as `tensorgrad.detect_nan` is.

    Attributes
    ----------
    came : dict of int to Array
        The cotangents that came to nodes, by the node's id.
    sent : dict of (int, int) to Tensor
        Those that vjps sent, by the id of the op's result and the input's place.
    """

    came: dict[int, Array] = field(default_factory=dict)
    sent: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    _depth: int = 0  # of walks: what those inside of a vjp send is not told

    def walk(self, output: Tensor, start: Tensor) -> None:
        """Walk back from a node with a cotangent."""
        before = watching.get()
        watching.set(self)
        try:
            found = walk([(output, start)], create_graph=True)
        finally:
            watching.set(before)
        self.came |= {id(output): start} | {id(leaf): g for leaf, g in found}

    @contextmanager
    def walking(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def forward_again(self) -> AbstractContextManager[None]:
        return nullcontext()

    def after_forward(self, node: Tensor, arrays: list[Array]) -> None:
        pass

    def after_vjp(self, node: Tensor, position: int, g: Array, gx: Array) -> None:
        if self._depth == 1:
            self.came[id(node)] = g
            self.sent[id(node), position] = gx if isinstance(gx, Tensor) else Tensor(gx)


class Walk:
    """The program of a walk forward and back; leaves are its arguments, so that their values may be others.

    What is no leaf stays what it was: a condition, such as that of ``np.where(x > 0, x, 0)``, too.

    Attributes
    ----------
    program : Program
    leaves : list of (Tensor, Tensor)
        The leaves of the graph, each with the argument of the program that stands for it.
    outputs : dict of key to int
        Which output of the program is the value of a node, by its id; and of the k-th step the cotangent that
        came to the result, ``(k, "in")``, that sent to input i, ``(k, i)``, and all that came to that input
        so far, ``(k, i, "total")``. The walk begins with the cotangent ``(0, "in")``.

    Raises
    ------
    UncompilableError
        If an op has no rule in JavaScript, or cannot be recorded again.
    """

    def __init__(self, graph: Recorded, steps: BackwardSteps) -> None:
        recording = Recording()
        start = recording.give(steps.seed, "seed")
        self.leaves = [(x, _copy(x, graph.names[id(x)], recording)) for x in graph.leaves]
        nodes = {id(x): copy for x, copy in self.leaves}
        watch = Watch()
        with recorded_by(recording):
            for node in graph.results:
                nodes[id(node)] = _record_again(graph, node, nodes)
            watch.walk(nodes[id(steps.output)], start)
            shown = {**nodes, **_list_cotangents(steps, start, nodes, watch.sent)}
        for node in graph.results:
            if not np.array_equal(nodes[id(node)].data, node.data, equal_nan=True):
                raise UncompilableError(
                    f"compile: {op_name(node)} gives another result when it is called again"
                )
        recording.inputs = [*(copy for _, copy in self.leaves), start]
        recording.outputs = [*{id(x): x for x in shown.values()}.values()]
        places = {id(x): k for k, x in enumerate(recording.outputs)}
        self.outputs = {key: places[id(x)] for key, x in shown.items()}
        self.program = plan_graph(Expansion(recording, JAVASCRIPT_RULES, language="JavaScript"))


def _copy(leaf: Tensor, name: str, recording: Recording) -> Tensor:
    return Tensor(leaf.data, True, name=name) if leaf.requires_grad else recording.give(leaf.data, name)


def _record_again(graph: Recorded, node: Tensor, nodes: Mapping[int, Tensor]) -> Tensor:
    """What an op gives of the tensors that stand for what it was given."""
    assert node.op is not None

    def replace(x: Any) -> Any:
        if isinstance(x, (tuple, list)):
            return type(x)(map(replace, x))
        return nodes[id(x)] if isinstance(x, Tensor) else x

    try:
        made = node.op(
            *map(replace, graph.inputs(node)), **{key: replace(x) for key, x in node.params.items()}
        )
    except Exception as error:
        raise UncompilableError(f"compile: {op_name(node)} cannot be recorded again: {error}") from error
    return made if isinstance(made, Tensor) else Tensor(made)


def _list_cotangents(
    steps: BackwardSteps, start: Tensor, nodes: Mapping[int, Tensor], sent: Mapping[tuple[int, int], Tensor]
) -> dict[Any, Tensor]:
    """The cotangents of all steps, by the keys of `Walk.outputs`."""
    held: dict[int, Tensor] = {id(steps.output): start}
    shown: dict[Any, Tensor] = {(0, "in"): start}
    for step in steps:
        shown[step.number, "in"] = held[id(step.output)]
        for i, g in enumerate(step.outgoing):
            if g is not None:
                own, x = sent[id(nodes[id(step.output)]), i], id(step.inputs[i])
                held[x] = held[x] + own if x in held else own
                shown |= {(step.number, i): own, (step.number, i, "total"): held[x]}
    return shown
