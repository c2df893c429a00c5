"""The arguments of the program that `to_numpy` writes: the leaves of the graph, and arrays that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgrad.core import Op, Parameter, Tensor
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.numpy_names import CONSTANT, Owner
from tensorgrad.graph.numpy_trace import Script, Traced

_INDEXING = ("getitem", "scatter_add")


class Leaves:
    """The arguments of the program: the given inputs first, then the other leaves, then constant arrays.

    No array is written out, not even a small one: it may have been computed, such as a mask by a comparison,
    of what is an argument itself.
    """

    def __init__(self, script: Script, nodes: list[Tensor], inputs: dict[str, Any]) -> None:
        self.script, self.tensors = script, [node for node in nodes if node._op is None]
        self.by_tensor: dict[int, Traced] = {}
        self.given: dict[str, Traced] = {}
        self.kept: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}  # inputs and params by node
        leaves = {id(leaf) for leaf in self.tensors}
        for name, x in inputs.items():
            if isinstance(x, Tensor) and id(x) in leaves:
                self.by_tensor[id(x)] = script.argument(x._array.copy(order="K"), name)
            elif isinstance(x, Tensor) and x._requires_grad:
                raise ValueError(f"to_numpy: the input {name!r} is no leaf of the graph")
            else:
                values = np.array(x._array if isinstance(x, Tensor) else x)
                self.given[name] = script.argument(values, name)
        self.unread = set(self.given)
        for leaf in self.tensors:
            if id(leaf) not in self.by_tensor:
                traced = None if leaf._requires_grad else self._input_of(leaf._array)
                if traced is None:
                    kind = "parameter" if isinstance(leaf, Parameter) else "tensor"
                    base = leaf.name or (kind if leaf._requires_grad else "constant")
                    traced = script.argument(leaf._array.copy(order="K"), None, base)
                    if base == "constant":
                        traced.step.owner = CONSTANT
                self.by_tensor[id(leaf)] = traced
        for node in nodes:
            if node._op is not None:
                self.kept[id(node)] = self._keep_of(node, node._op)
        if self.unread:
            read = ", ".join(f"{leaf.name or 'unnamed'} {leaf.shape}" for leaf in self.tensors)
            names = ", ".join(map(repr, sorted(self.unread)))
            raise ValueError(
                f"to_numpy: the graph does not read the input {names}, nor a reshaped copy of it; its leaves "
                f"are {read}. What is computed of an input that does not require grad is not in the graph: "
                "make it a tg.Tensor(..., requires_grad=True)"
            )

    def _keep_of(self, node: Tensor, op: Op[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs and params of a node with arguments of the program for the arrays among them."""
        prefix = op.name.rstrip("_")
        inputs = tuple(
            self._keep(x, f"{prefix}_{name}")
            for name, x in zip(argument_names(op, len(node._inputs)), node._inputs, strict=False)
        )
        params = dict(node._params)
        if op.name in _INDEXING:
            params["index"] = self._keep(params["index"], f"{prefix}_index")
        return inputs, params

    def _keep(self, x: Any, name: str) -> Any:
        if type(x) is tuple:
            return tuple(self._keep(part, name) for part in x)
        if not isinstance(x, (np.ndarray, np.bool_)):
            return x
        values = np.asarray(x)
        found = self._input_of(values)
        if found is None:
            found = self.script.argument(values, None, name)
            found.step.owner = CONSTANT
        return found

    def _input_of(self, x: np.ndarray[Any, Any]) -> Any:
        """The given input that ``x`` is a copy of, in its shape."""
        matches = [
            name
            for name, given in self.given.items()
            if given.dtype == x.dtype and given.size == x.size and given.step.value.tobytes() == x.tobytes()
        ]
        exact = [name for name in matches if self.given[name].shape == x.shape]
        matches = exact or matches
        if not matches:
            return None
        if len(matches) > 1:
            raise ValueError(
                f"to_numpy: the inputs {', '.join(matches)} have the same values; which is read?"
            )
        self.unread.discard(matches[0])
        given = self.given[matches[0]]
        self.script.begin("forward", Owner(matches[0]))
        if given.shape == x.shape:
            return given
        return self.script.called(f"{matches[0]}_reshaped", given.reshape(x.shape))

    def targets(self, wrt: Tensor | Iterable[Tensor] | None) -> list[Tensor]:
        """The leaves whose gradients are wanted."""
        able = [leaf for leaf in self.tensors if leaf._requires_grad]
        if wrt is None:
            return able
        wanted = [wrt] if isinstance(wrt, Tensor) else list(wrt)
        for x in wanted:
            if not isinstance(x, Tensor) or all(x is not leaf for leaf in able):
                what = x.label() if isinstance(x, Tensor) else repr(x)
                raise ValueError(f"to_numpy: {what} in wrt is no leaf of the graph that requires grad")
        return wanted
