"""Clusters: which layer, or which vjp, made which part of a recorded graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tensorgrad.core import Op, Parameter, Tensor
from tensorgrad.graph.formulas import argument_names, formula_text


@dataclass(eq=False)
class Group:
    """Results of ops that belong together, in the order of computation.

    ``kind`` is "graph" for the whole, "layer", "vjp", or "repeat". A repeat holds the parts of its first
    round; ``rounds`` are all of them.
    """

    kind: str
    title: str
    note: str = ""
    parts: list[Part] = field(default_factory=list)
    rounds: list[list[Part]] = field(default_factory=list)

    def tensors(self) -> Iterator[Tensor]:
        """All results in it, those of hidden rounds too."""
        for parts in self.rounds or [self.parts]:
            yield from tensors_of(parts)

    def shown(self) -> Iterator[Tensor]:
        """The results in it without those of hidden rounds."""
        for part in self.parts:
            if isinstance(part, Group):
                yield from part.shown()
            else:
                yield part


Part: TypeAlias = Tensor | Group


def tensors_of(parts: list[Part]) -> Iterator[Tensor]:
    """All results in some parts of a group."""
    for part in parts:
        if isinstance(part, Group):
            yield from part.tensors()
        else:
            yield part


def recorded(output: Tensor) -> list[Tensor]:
    """``output`` and all it was made from, each once: leaves first, then in the order of computation."""
    found = {id(output): output}
    stack = [output]
    while stack:
        for x in stack.pop()._inputs:
            if isinstance(x, Tensor) and id(x) not in found:
                found[id(x)] = x
                stack.append(x)
    # Assigning a leaf gives it a new serial number, so leaves are kept apart.
    return sorted(found.values(), key=lambda node: (node._op is not None, node._serial))


def leaf_kind(leaf: Tensor) -> str:
    """Whether a leaf is a parameter, an input, or a buffer, which a layer keeps but does not train."""
    if isinstance(leaf, Parameter):
        return "parameter"
    return "input" if type(leaf) is Tensor else "buffer"


def parameter_titles(nodes: list[Tensor]) -> dict[int, str]:
    """What to call the leaves among ``nodes`` that share their names: their paths in the outermost layer."""
    names = Counter(node.name for node in nodes if node._op is None)
    shared = {id(node) for node in nodes if node._op is None and node.name and names[node.name] > 1}
    if not shared:
        return {}
    calls = (call for node in nodes for call in getattr(node, "_calls", ()) if not isinstance(call[1], Op))
    titles: dict[int, str] = {}
    seen = set()
    for _, layer_of, _ in sorted(calls, key=lambda call: call[0]):  # the outermost began first
        layer = layer_of()
        if layer is not None and id(layer) not in seen:
            seen.add(id(layer))
            for path, parameter in _named(layer.named_parameters).items():
                if id(parameter) in shared:
                    titles.setdefault(id(parameter), path)
    return titles


def _named(find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a layer names, or nothing if two of its names are the same."""
    try:
        return find()
    except ValueError:
        return {}


@dataclass(eq=False)
class _Call:
    """One call of a layer, or of a vjp, and what came out of it."""

    start: int
    maker: Any  # a weak reference to the layer, or an op
    detail: Any  # the name of the layer's class, or the position of the op's argument
    outputs: list[Tensor]
    within: _Call | None = None
    group: Group | None = None

    @property
    def layer(self) -> Any:
        return None if isinstance(self.maker, Op) else self.maker()

    @property
    def outermost(self) -> _Call:
        call = self
        while call.within is not None:
            call = call.within
        return call


def clustered(nodes: list[Tensor]) -> Group:
    """The ops among ``nodes`` (as `recorded` orders them), nested as layers and vjps called one another.

    What a call made are the ancestors of its result that are younger than the call's beginning.
    """
    owner = _owners(nodes)
    graph = Group("graph", "")
    names = _Names()
    for node in nodes:
        if node._op is not None:
            call = owner.get(id(node))
            parent = graph if call is None else _group_of(call, graph, names)
            parent.parts.append(node)
    return graph


def _owners(nodes: list[Tensor]) -> dict[int, _Call]:
    """The innermost call that made each node, by the node's id."""
    calls: dict[tuple[int, Any], _Call] = {}
    for node in nodes:
        for start, maker, detail in getattr(node, "_calls", ()):
            calls.setdefault((start, detail), _Call(start, maker, detail, [])).outputs.append(node)
    owner: dict[int, _Call] = {}
    for call in sorted(calls.values(), key=lambda call: -call.start):  # the inner ones begin later
        seen = {id(node) for node in call.outputs}
        stack = list(call.outputs)
        while stack:
            node = stack.pop()
            inner = owner.setdefault(id(node), call).outermost
            if inner is not call:
                inner.within = call
            for x in node._inputs:
                if (
                    isinstance(x, Tensor)
                    and x._op is not None
                    and x._serial > call.start
                    and id(x) not in seen
                ):
                    seen.add(id(x))
                    stack.append(x)
    return owner


def _group_of(call: _Call, graph: Group, names: _Names) -> Group:
    if call.group is None:
        parent = graph if call.within is None else _group_of(call.within, graph, names)
        call.group = names.group(call)
        parent.parts.append(call.group)
    return call.group


class _Names:
    """What the groups are called: a layer by its path in the layer that called it."""

    def __init__(self) -> None:
        self._paths: dict[int, dict[int, str]] = {}
        self._times: dict[tuple[int, int], int] = {}

    def group(self, call: _Call) -> Group:
        if isinstance(call.maker, Op):
            return _vjp_group(call.maker, call.detail)
        layer, outer = call.layer, call.within.layer if call.within else None
        title = call.detail
        if layer is None:
            return Group("layer", title)
        if outer is not None:
            title = self._paths_in(outer).get(id(layer), title)
        key = (id(call.within), id(layer))
        self._times[key] = self._times.get(key, 0) + 1
        if self._times[key] > 1:
            title += f" (call {self._times[key]})"
        return Group("layer", title, _note(layer))

    def _paths_in(self, layer: Any) -> dict[int, str]:
        if id(layer) not in self._paths:
            named = _named(layer.named_layers)
            self._paths[id(layer)] = {id(x): path for path, x in named.items() if path}
        return self._paths[id(layer)]


def _vjp_group(op: Op[Any], position: int) -> Group:
    arguments = argument_names(op, position + 1)
    formula = op.joint or op.formulas_for(position + 1)[position]
    note = formula_text(formula, (), {}) if formula else ""
    if note.startswith(("_", "a lambda")):  # a name that says nothing here
        note = ""
    return Group("vjp", f"vjp of {op.name.removesuffix('_')} for {arguments[position]}", _brief(note))


def _note(layer: Any) -> str:
    """How a layer writes itself, if it does so briefly; what is in it has clusters of its own."""
    try:
        note = "" if any(layer.children()) else repr(layer)
    except Exception:  # of somebody's layer; the drawing does without
        return ""
    # An address in memory says nothing, nor does the title once more.
    return "" if " at 0x" in note or note == f"{type(layer).__name__}()" else _brief(note)


def _brief(note: str) -> str:
    return note if len(note) <= 48 else ""
