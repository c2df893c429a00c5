"""A recorded graph gone through again with traced arrays: its ops and formulas dictate the program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.core import Tensor, sum_to
from tensorgrad.core.checks import NDArray
from tensorgrad.core.refusals import refuse_assigned
from tensorgrad.graph.export.expressions import UnwritableError
from tensorgrad.graph.export.leaves import Leaves
from tensorgrad.graph.export.lowerings import Rules, lower, lower_ops
from tensorgrad.graph.export.names import NodeNames, Owner
from tensorgrad.graph.export.trace import Script, Step, Traced, UntraceableError
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.steps import BackwardStep


class Replay:
    """The script of a graph, written by running it again: forward node by node, backward step by step.

    Every op is carried out by its rule, if it has one (`lower`), and so are those that forwards and formulas
    call.

    Attributes
    ----------
    script : Script
    leaves : Leaves
    named : dict
        The steps that computed the nodes of the graph, in order, as keys.
    """

    def __init__(self, graph: Recorded, inputs: dict[str, Any], rules: Rules) -> None:
        self.script = Script()
        self.leaves = Leaves(self.script, graph, inputs)
        self._graph, self._names, self._rules = graph, NodeNames(graph), rules
        self._traced = dict(self.leaves.traced)  # by the ids of tensors, as are the calls and cotangents
        self._calls: dict[int, tuple[list[Any], dict[str, Any]]] = {}
        self._cotangents: dict[int, Any] = {}
        self.named: dict[Step, None] = {}

    def step_of(self, node: Tensor) -> Step:
        """The step that computed a node."""
        return self._traced[id(node)].step

    def run_forward(self) -> None:
        """Compute every node again, and see that it has the same values."""
        for node in self._graph.results:
            with lower_ops(self._rules):
                self._compute(node)
            step = self.step_of(node)
            if step.function is not None and step not in self.named:
                step.base = self._names.word_for(node)
                self.named[step] = None

    def _compute(self, node: Tensor) -> None:
        op = node.op
        assert op is not None
        for x in node.inputs:
            if isinstance(x, Tensor) and x.serial > node.serial:
                refuse_assigned(op, x, "to_numpy")
        inputs, params = self.leaves.kept[id(node)]
        args = [self._traced[id(x)] if isinstance(x, Tensor) else x for x in inputs]
        self._calls[id(node)] = args, params
        self.script.begin("forward", self._names.owner_of(node))
        with _explain(op.name):
            out = lower(self._rules, op, *args, **params)
            if not isinstance(out, Traced):
                raise UntraceableError(
                    f"its forward gives a {type(out).__name__} that depends on none of its arguments"
                )
        out.step.value = np.asarray(out.step.value)  # as the node's, where NumPy makes a scalar of no axes
        if not have_same_bits(out.step.value, node.data):
            raise TypeError(
                f"to_numpy: {op.name} computed again gives other values; "
                "its forward must be a function of its arguments alone"
            )
        self._traced[id(node)] = out

    def run_backward(self, steps: Iterable[BackwardStep]) -> None:
        """Take the steps of the reverse walk again, in its order."""
        loss = self._graph.output
        self.script.begin("backward", Owner("loss"))
        self._cotangents[id(loss)] = g = self.script.record(np.ones_like, self._traced[id(loss)])
        self._name_cotangent(g, loss)
        with lower_ops(self._rules):
            for step in steps:
                self._pull_back(step)

    def _pull_back(self, step: BackwardStep) -> None:
        op, node, g = step.op, step.output, self._cotangents.pop(id(step.output))
        args, params = self._calls[id(node)]
        owner, formulas, together = Owner(op.name), op.formulas_for(len(args)), None
        for i, x in enumerate(step.inputs):
            if step.outgoing[i] is None:
                continue
            formula = op.joint or formulas[i]
            assert formula is not None
            self.script.begin("backward", owner)
            self._name_cotangent(g, node)
            if together is None or op.joint is None:
                with _explain(op.name):
                    together = formula(g, self._traced[id(node)], *args, **params)
            gx: Any = together if op.joint is None else together[i]
            if gx.shape != x.shape:
                gx = sum_to(gx, shape=x.shape)
            before = self._cotangents.get(id(x))
            self._cotangents[id(x)] = gx if before is None else before + gx

    def gradient_of(self, leaf: Tensor) -> Step:
        """The step that computed the cotangent of a leaf."""
        g = self._cotangents.get(id(leaf))
        if g is None:
            self.script.begin("backward", Owner("zero"))
            g = self.script.record(np.zeros_like, self._traced[id(leaf)])
        elif not isinstance(g, Traced):  # of a formula that depends on none of its arguments
            g = self.script.record(np.array, g)
        self._name_cotangent(g, leaf)
        return g.step

    def _name_cotangent(self, g: Any, node: Tensor) -> None:
        """Call ``g`` d_<name of the node>, unless it has a name already."""
        unnamed = isinstance(g, Traced) and g.step.name is None and g.step.base is None
        if unnamed and g.step.function is not None:
            g.step.name = self.step_of(node)


@contextmanager
def _explain(op: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        untraceable = isinstance(error, (UntraceableError, UnwritableError)) or isinstance(
            error.__cause__, UntraceableError
        )
        advice = (
            "write its forward and its formulas with NumPy functions that give new arrays"
            if untraceable
            else "its code does not take an array that is not of type ndarray"
        )
        raise TypeError(f"to_numpy: {op} cannot be written as plain NumPy: {error}; {advice}") from error


def have_same_bits(x: NDArray, y: NDArray) -> bool:
    """Whether two arrays have equal elements to the last bit, signs of zero too; NaN is NaN."""
    same_bits = np.where(np.isnan(x), np.nan, x).tobytes() == np.where(np.isnan(y), np.nan, y).tobytes()
    return same_bits and (x.shape, x.dtype) == (y.shape, y.dtype)
