"""The arguments of the program that `to_numpy` writes: the leaves of the graph, and arrays that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.names import CONSTANT, Owner
from tensorgrad.graph.export.trace import Script, Traced, call
from tensorgrad.graph.recorded import Recorded, word_for

_INDEXING = ("getitem", "scatter_add")


class Leaves:
    """The arguments of the program: the given inputs first, then the other leaves, then constant arrays.

    No array is written out, not even a small one: it may have been computed, such as a mask by a comparison,
    of what is an argument itself.

    Attributes
    ----------
    traced : dict
        The leaves of the graph as traced arrays, by their ids.
    kept : dict
        What each result was made of, inputs and params, by its id: the arrays among them are traced.
    """

    def __init__(self, script: Script, graph: Recorded, inputs: dict[str, Any]) -> None:
        self._script, self._graph, self._leaves = script, graph, graph.leaves
        self._given: dict[str, Traced] = {}
        self.traced: dict[int, Traced] = {}
        self._enter_inputs(inputs)
        self._unread = set(self._given)
        for leaf in self._leaves:
            if id(leaf) not in self.traced:
                self.traced[id(leaf)] = self._enter(leaf)
        self.kept = {id(node): self._keep_call(node) for node in graph.results}
        if self._unread:
            read = ", ".join(f"{leaf.name or 'unnamed'} {leaf.shape}" for leaf in self._leaves)
            names = ", ".join(map(repr, sorted(self._unread)))
            raise ValueError(
                f"to_numpy: the graph does not read the input {names}, nor a reshaped copy of it; its leaves "
                f"are {read}. What is computed of an input that does not require grad is not in the graph: "
                "make it a tg.Tensor(..., requires_grad=True)"
            )

    def _enter_inputs(self, inputs: dict[str, Any]) -> None:
        leaves = {id(leaf) for leaf in self._leaves}
        for name, x in inputs.items():
            if isinstance(x, Tensor) and id(x) in leaves:
                self.traced[id(x)] = self._script.argument(x.data.copy(order="K"), name)
            elif isinstance(x, Tensor) and x.requires_grad:
                raise ValueError(f"to_numpy: the input {name!r} is no leaf of the graph")
            else:
                values = np.array(x.data if isinstance(x, Tensor) else x)
                self._given[name] = self._script.argument(values, name)

    def _enter(self, leaf: Tensor) -> Traced:
        traced = None if leaf.requires_grad else self._find_input(leaf.data)
        if traced is None:
            traced = self._script.argument(leaf.data.copy(order="K"), None, self._graph.names[id(leaf)])
            if self._graph.kind_of(leaf) == "constant":
                traced.step.owner = CONSTANT
        return traced

    def _keep_call(self, node: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs and params of a node with arguments of the program for the arrays among them."""
        op, params = node.op, node.params
        assert op is not None
        inputs = tuple(
            self._keep(x, self._graph.name_of_input(node, i) if np.ndim(x) else word_for(node, i))
            for i, x in enumerate(self._graph.inputs(node))
        )
        if op.name in _INDEXING:
            params["index"] = self._keep(params["index"], f"{op.name}_index")
        return inputs, params

    def _keep(self, x: Any, name: str) -> Any:
        if type(x) is tuple:
            return tuple(self._keep(part, name) for part in x)
        if not isinstance(x, (np.ndarray, np.bool_)):
            return x
        values = np.asarray(x)
        found = self._find_input(values)
        if found is None:
            found = self._script.argument(values, None, name)
            found.step.owner = CONSTANT
        return found

    def _find_input(self, x: NDArray) -> Traced | None:
        """The given input that ``x`` is a copy of, in its shape."""
        matches = [
            name
            for name, given in self._given.items()
            if given.dtype == x.dtype and given.size == x.size and given.step.value.tobytes() == x.tobytes()
        ]
        matches = [name for name in matches if self._given[name].shape == x.shape] or matches
        if not matches:
            return None
        if len(matches) > 1:
            raise ValueError(
                f"to_numpy: the inputs {', '.join(matches)} have the same values; which is read?"
            )
        self._unread.discard(matches[0])
        given = self._given[matches[0]]
        self._script.begin("forward", Owner(matches[0]))
        return given if given.shape == x.shape else call(f"{matches[0]}_reshaped", given.reshape(x.shape))

    def choose(self, wrt: Tensor | Iterable[Tensor] | None) -> list[Tensor]:
        """The leaves whose gradients are wanted."""
        able = [leaf for leaf in self._leaves if leaf.requires_grad]
        if wrt is None:
            return able
        wanted = [wrt] if isinstance(wrt, Tensor) else list(wrt)
        for x in wanted:
            if not isinstance(x, Tensor) or all(x is not leaf for leaf in able):
                what = x.label() if isinstance(x, Tensor) else repr(x)
                raise ValueError(f"to_numpy: {what} in wrt is no leaf of the graph that requires grad")
        return wanted
