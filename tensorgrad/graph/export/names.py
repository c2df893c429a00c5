"""What a program calls things: after the layers and ops of the graph, or by a word for what is computed."""

from __future__ import annotations

import builtins
import keyword
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from tensorgrad.core import Tensor
from tensorgrad.graph.export.trace import Item, Lines, Method, Step
from tensorgrad.graph.recorded import Group, Recorded


@dataclass(eq=False)
class Owner:
    """What a step of the program belongs to: an op of the graph, or a layer that merely combines a few."""

    label: str


#: The owner of arguments that the graph keeps as constants.
CONSTANT = Owner("a constant of the graph")

#: Names that a program cannot use; it reads nothing from the keyboard.
RESERVED = frozenset({"np", *keyword.kwlist, *dir(builtins)}) - {"input"}

_WORDS = {
    "add": "total", "subtract": "difference", "sub": "difference", "multiply": "product", "mul": "product",
    "divide": "quotient", "truediv": "quotient", "matmul": "product", "getitem": "part", "negative": "minus",
    "neg": "minus", "pow": "power", "reshape": "reshaped", "where": "chosen", "square": "squares",
    "equal": "equal", "eq": "equal", "le": "below", "lt": "below", "ge": "above", "gt": "above",
    "zeros_like": "zeros", "ones_like": "ones", "isnan": "is_nan", "broadcast_to": "spread", "and_": "both",
    "or_": "either", "invert": "others", "absolute": "size", "abs": "size",
    "empty_like": "filled", "astype": "cast", "maximum": "larger", "minimum": "smaller",
}  # fmt: skip


class NodeNames:
    """The owners and the names of the nodes of a graph."""

    def __init__(self, graph: Recorded) -> None:
        self._graph = graph
        self._owners: dict[Group, Owner] = {}

    def owner_of(self, node: Tensor) -> Owner:
        """The layer that made a node, if it calls no other layer; the node itself otherwise."""
        layer = self._graph.layer_of(node)
        if layer is None or any(isinstance(part, Group) and part.kind == "layer" for part in layer.parts):
            return Owner(_op_of(node))
        return self._owners.setdefault(layer, Owner(layer.name))

    def word_for(self, node: Tensor) -> str:
        """The name of a node, as in drawings; but what is returned is the loss."""
        return "loss" if node is self._graph.output else self._graph.names[id(node)].replace(".", "_")


def _op_of(node: Tensor) -> str:
    assert node.op is not None
    return str(node.op.name)


def word_for(step: Step, names: Mapping[Step, str]) -> str:
    """What to call a step, unless that is taken; ``names`` are those that others have."""
    if isinstance(step.name, Step):  # of which this is the cotangent
        return f"d_{names.get(step.name) or word_for(step.name, names)}"
    if step.name is not None or step.function is None:
        return make_identifier(str(step.name or step.base))
    if step.base is not None:
        return _spell(step.base)
    function = step.args[0].function if isinstance(step.function, Item) else step.function
    if isinstance(function, (Method, Lines)):
        return _WORDS.get(function.name, function.name)
    name: str = getattr(function, "__name__", "value")
    return _WORDS.get(name, name)


def make_identifier(name: str) -> str:
    """A name as Python can use it.

    >>> make_identifier("Dense2.weights"), make_identifier("2nd try"), make_identifier("lambda")
    ('Dense2_weights', '_2nd_try', 'lambda_')
    """
    name = _spell(name)
    return f"{name}_" if name in RESERVED else name


def _spell(name: str) -> str:
    name = unicodedata.normalize("NFKC", name)  # as Python does with names: ℒ is L, and ₁ no letter but 1 is
    name = "".join(c if f"_{c}".isidentifier() else "_" for c in name)
    return name if name.isidentifier() else f"_{name}"
