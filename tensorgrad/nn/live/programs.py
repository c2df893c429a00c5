"""The programs of a page, in JavaScript: training steps, predictions, and the walk of one example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.javascript import hold, plan_graph, plan_plain, write_javascript
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.variant import expand_alike
from tensorgrad.nn.between_steps import list_draws, list_reports
from tensorgrad.nn.fit.compiling import Step
from tensorgrad.nn.layer import infer, learn
from tensorgrad.nn.live.data import encode
from tensorgrad.nn.live.walk import ExampleWalk
from tensorgrad.nn.sequential import Sequential

__all__ = ["Programs"]


class Programs:
    """The programs of a network.

    Parameters
    ----------
    network : Sequential
    trained : list of Parameter
        Those that the optimizer moves.

    Attributes
    ----------
    texts : list of str
        For each an entry of an object in JavaScript: its name, and a function that makes it.
    described : dict of str to dict
        What each reads and gives, as trainer.js wants it.
    constants : list of dicts
        Arrays that programs read besides parameters, buffers and examples.
    """

    def __init__(self, network: Sequential, trained: Sequence[Parameter]) -> None:
        self.texts: list[str] = []
        self.described: dict[str, dict[str, Any]] = {}
        self.constants: list[dict[str, Any]] = []
        self._network, self._trained, self._step = network, trained, Step(network, predicts=True)
        self._places: dict[int, tuple[str, Any]] = {}
        for kind, tensors in (("parameters", network.parameters()), ("buffers", network.buffers())):
            self._places |= {id(x): (kind, i) for i, x in enumerate(tensors)}

    def add_step(self, x: NDArray, y: NDArray) -> None:
        """A training step on so many rows: loss, prediction, what layers report, gradients."""
        name = f"step_{len(x)}"
        with learn(), np.errstate(all="ignore"):
            program = plan_plain(self._step, [x, y], ["x", "target"])
        self._add(name, program)
        places = {id(leaf): i for i, (leaf, _) in enumerate(program.graph.recording.gradients)}
        for p in self._trained:
            if id(p) not in places:
                raise ValueError(f"playground: the loss does not depend on {p.label()}, a parameter to train")
        first = len(program.outputs)
        self.described[name]["gradients"] = [first + places[id(p)] for p in self._trained]

    def add_evaluation(self, x: NDArray, y: NDArray) -> None:
        """Loss and prediction of one row, at inference."""
        self._add("evaluate", infer(plan_plain, self._step, [x, y], ["x", "target"], False))

    def add_layers(self, x: NDArray, ends: Sequence[int]) -> None:
        """What some layers make of so many rows, at inference."""

        def compute_layers(x: NDArray) -> list[Tensor]:
            found = [out for _, out in self._network.run_layers(x)]
            return [found[i] for i in ends]

        self._add("layers", infer(plan_plain, compute_layers, [x], ["x"], False))

    def add_walk(self, x: NDArray, y: NDArray) -> ExampleWalk:
        """The values of all nodes and their cotangents, for one row; recorded for the first and the last."""
        found, other = (
            infer(ExampleWalk, self._network, x[i : i + 1], y[i : i + 1]) for i in (0, len(x) - 1)
        )
        self._add("walk", plan_graph(expand_alike([found.recording, other.recording])))
        return found

    def _add(self, name: str, program: Program) -> None:
        recording, dtype = program.graph.recording, self._network.dtype
        if program.dtype != dtype:
            raise TypeError(f"playground: expected network and loss in {dtype}, got {program.dtype}")
        inputs = zip(recording.inputs, "xy", strict=False)
        places = self._places | {id(t): ("inputs", key) for t, key in inputs}
        places |= {id(t): ("drawn", i) for i, (t, _) in enumerate(recording.draws)}
        given = []
        for buffer, leaf in program.arguments:
            if id(leaf) not in places:
                places[id(leaf)] = "constants", len(self.constants)
                self.constants.append(encode(hold(leaf, dtype)))
            kind, place = places[id(leaf)]
            given.append({"from": kind, "place": place, **_tell(leaf.shape, buffer.whole)})
        made = [_tell(v.shape, v.kind != "f") for v in (*program.outputs, *program.gradients)]
        reports = [
            {"output": k, **options, "buffers": [self._places[id(b)][1] for b in layer.buffers()]}
            for k, layer, options in list_reports(recording)
        ]
        draws = [options for *_, options in list_draws(recording)]
        self.described[name] = {"given": given, "made": made, "draws": draws, "reports": reports}
        self.texts.append(f"{name}: () => {{\n{write_javascript(program, name)}return {name};\n}},")


def _tell(shape: Sequence[int], whole: bool) -> dict[str, Any]:
    return {"shape": list(shape), "whole": whole}
