"""Names for what a graph computed: after the layers that made it, where layers did."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from tensorgrad.core import Tensor


@dataclass(eq=False)
class Owner:
    """What a step of the program belongs to: an op of the graph, or a layer that merely combines a few."""

    label: str


#: The owner of arguments that the graph keeps as constants.
CONSTANT = Owner("a constant of the graph")


@dataclass(eq=False)
class _Call:
    """A call of a layer: all that was made after ``start``, up to ``end``."""

    start: int
    end: int
    layer: Any
    kind: str
    name: str = ""


class Names:
    """The owners and the names of the nodes of a graph."""

    def __init__(self, nodes: list[Tensor], loss: Tensor) -> None:
        self.loss = loss
        self._calls = sorted(
            (
                _Call(start, node._serial, maker(), kind)
                for node in nodes
                for start, maker, kind in node.calls
                if isinstance(maker, weakref.ref)
            ),
            key=lambda call: call.start,
        )
        for i, call in enumerate(self._calls):
            call.name = _in_its_network(call, self._calls[:i]) or call.kind
        self._owners: dict[int, Owner] = {}

    def _innermost(self, node: Tensor) -> _Call | None:
        around = [call for call in self._calls if call.start < node._serial <= call.end]
        return around[-1] if around else None

    def owner(self, node: Tensor) -> Owner:
        """The layer that made a node, if it calls no other layer; the node itself otherwise."""
        assert node._op is not None
        call = self._innermost(node)
        calls_others = call and any(
            call.start < other.start and other.end <= call.end for other in self._calls
        )
        if call is None or calls_others:
            return Owner(node._op.name)
        return self._owners.setdefault(call.start, Owner(call.name))

    def base(self, node: Tensor) -> str:
        """The name of a node, which may need a number."""
        assert node._op is not None
        op = str(node._op.name).rstrip("_")
        call = self._innermost(node)
        if node is self.loss:
            return "loss"
        if node.name:
            return node.name
        if call is None:
            return op
        return call.name if call.end == node._serial else f"{call.name}_{op}"


def _in_its_network(call: _Call, before: list[_Call]) -> str | None:
    """What the layer that called a layer calls it."""
    for outer in reversed(before):
        if outer.end >= call.end and outer.layer is not None and call.layer is not None:
            for name, layer in outer.layer.children():
                if layer is call.layer:
                    return str(name)
    return None
