"""The walk of one example: all that is computed of it, and the cotangents that come back."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import paused, recorded_by
from tensorgrad.graph.native.record import Recording
from tensorgrad.graph.native.walk import Watch
from tensorgrad.graph.recorded import Recorded, op_name
from tensorgrad.nn.sequential import Sequential

__all__ = ["ExampleWalk"]


class ExampleWalk:
    """The forward pass of one example and the walk back, recorded; inside of `infer`.

    All that depends on the example is recorded, its label and decisions by its values too.

    Attributes
    ----------
    recording : Recording
        Its outputs are the values of ``nodes``, then the cotangents of those that have one.
    graph : Recorded
    nodes : list of Tensor
        Inputs, parameters and the results of ops, but for the target.
    cotangents : dict of int to int
        By the identity of a node, the place of its cotangent among the outputs.
    """

    def __init__(self, network: Sequential, x: NDArray, y: NDArray) -> None:
        given = Tensor(x, requires_grad=x.dtype.kind == "f", name="x")
        target = Tensor(y, name="target")
        self.recording = Recording([given, target])
        watch = Watch()
        compute_loss: Any = network.loss
        paused.set(0)  # in the context of `infer`, which is dropped
        with np.errstate(all="ignore"), recorded_by(self.recording):
            loss = compute_loss(network(given), target)
            one = Tensor(np.ones(loss.shape, loss.dtype), name="one")
            watch.walk(loss, one)
        self.graph = Recorded(loss)
        ends = given, target
        others = [node for node in self.graph.nodes if not any(node is end for end in ends)]
        self.nodes = [given, *others]
        known = [node for node in self.nodes if id(node) in watch.came]
        self.cotangents = {id(node): len(self.nodes) + i for i, node in enumerate(known)}
        self.recording.outputs = [*self.nodes, *(_as_tensor(watch.came[id(node)]) for node in known)]

    def describe(self, parameters: list[Parameter]) -> list[dict[str, Any]]:
        """The nodes: names, shapes, how they were made, and the formulas of their vjps."""
        numbers = {id(p): i for i, p in enumerate(parameters)}
        return [
            {
                "name": self.graph.names.get(id(node), node.name), "shape": list(node.shape), "value": i,
                "cotangent": self.cotangents.get(id(node)), "parameter": numbers.get(id(node)),
                "tiles": _find_tiles(node), "own": [], **self._tell(node),
            }
            for i, node in enumerate(self.nodes)
        ]  # fmt: skip

    def _tell(self, node: Tensor) -> dict[str, Any]:
        """The call that made a node, and its vjps: for whom, and the formula, in the names of the graph."""
        if node.op is None:
            return {"call": "", "vjps": []}
        read = {i: self.graph.name_of_input(node, i) for i, x in enumerate(node.inputs) if x is not None}
        sent = [i for i in read if id(node.inputs[i]) in self.cotangents and id(node) in self.cotangents]
        return {
            "call": f"{op_name(node)}({', '.join(read.values())})",
            "vjps": [[read[i], self.graph.write_vjp(node, i)] for i in sent],
        }


def _as_tensor(x: Array) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _find_tiles(node: Tensor) -> dict[str, int] | None:
    """How pictures lie in a node: the maps of an image, or filters; None if there are none."""
    if node.ndim != 4:
        return None
    count, height, width, channels = node.shape
    if isinstance(node, Parameter):
        filters, channels, height, width = node.shape
        count, step, next_one = filters * channels, 1, height * width
    else:
        count, step, next_one = channels, channels, 1
    found = {"count": count, "height": height, "width": width, "step": step, "next": next_one}
    return found if min(height, width) > 1 else None
