"""The arguments of the program that `to_numpy` writes: the leaves of the graph, and its large constants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgrad.core import Parameter, Tensor
from tensorgrad.graph.numpy_expressions import SMALL
from tensorgrad.graph.numpy_names import Owner
from tensorgrad.graph.numpy_trace import Script, Traced


class Leaves:
    """The arguments of the program: the given inputs first, then the other leaves and large constants."""

    def __init__(self, script: Script, nodes: list[Tensor], inputs: dict[str, Any]) -> None:
        self.script, self.tensors = script, [node for node in nodes if node._op is None]
        self.by_tensor: dict[int, Traced] = {}
        self.given: dict[str, Traced] = {}
        self.constants: dict[tuple[Any, ...], Traced] = {}
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
                    base = (
                        "parameter"
                        if isinstance(leaf, Parameter)
                        else "tensor"
                        if leaf._requires_grad
                        else "constant"
                    )
                    traced = script.argument(leaf._array.copy(order="K"), None, leaf.name or base)
                self.by_tensor[id(leaf)] = traced
        for node in nodes:
            for x in node._inputs:
                if isinstance(x, np.ndarray):
                    self.of(x)
        if self.unread:
            read = ", ".join(f"{leaf.name or 'unnamed'} {leaf.shape}" for leaf in self.tensors)
            names = ", ".join(map(repr, sorted(self.unread)))
            raise ValueError(
                f"to_numpy: the graph does not read the input {names}, nor a reshaped copy of it; its leaves "
                f"are {read}. What is computed of an input that does not require grad is not in the graph: "
                "make it a tg.Tensor(..., requires_grad=True)"
            )

    def of(self, x: Any) -> Any:
        """What stands in the program for an input of a node that is no Tensor."""
        if not isinstance(x, np.ndarray):
            return x
        found = self._input_of(x)
        if found is None and x.size > SMALL:
            key = (x.shape, x.dtype.str, x.tobytes())
            if key not in self.constants:
                self.constants[key] = self.script.argument(x, None, "constant")
            found = self.constants[key]
        return x if found is None else found

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
                what = x._label() if isinstance(x, Tensor) else repr(x)
                raise ValueError(f"to_numpy: {what} in wrt is no leaf of the graph that requires grad")
        return wanted
