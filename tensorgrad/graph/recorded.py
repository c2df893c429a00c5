"""What every reader of a recorded graph asks first: its nodes in order, their users, makers and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from tensorgrad.core import Op, Parameter, Tensor
from tensorgrad.core.engine import find_ancestors
from tensorgrad.graph.formulas import argument_names, formula_text


def ancestors(*outputs: Tensor, since: int = 0) -> list[Tensor]:
    """Some tensors and all they were made from, each once: leaves first, then in the order of computation.

    What one with a serial number below ``since`` was made from is left out.

    >>> from tensorgrad.graph.recorded import ancestors
    >>> x = tg.Tensor(2.0, requires_grad=True, name="x")
    >>> [node.name or node.op.name for node in ancestors(np.exp(x) * x)]
    ['x', 'exp', 'multiply']
    """
    # Assigning a leaf gives it a new serial number, so leaves are kept apart.
    return sorted(
        find_ancestors(outputs, since).values(), key=lambda node: (node.op is not None, node.serial)
    )


def tensors_in(node: Tensor) -> list[Tensor]:
    """The tensors that an op read."""
    return [x for x in node.inputs if isinstance(x, Tensor)]


def constants_in(node: Tensor) -> list[tuple[int, Any]]:
    """The numbers and plain arrays that an op read, with their places among its inputs."""
    return [(i, x) for i, x in enumerate(node.inputs) if x is not None and not isinstance(x, Tensor)]


def op_name(node: Tensor) -> str:
    """What the op that made a tensor is called, without the underscore that keeps it from Python's names."""
    assert node.op is not None
    return str(node.op.name.removesuffix("_"))


def leaf_kind(leaf: Tensor) -> str:
    """Whether a leaf is a parameter, an input, or a buffer, which a layer keeps but does not train."""
    if isinstance(leaf, Parameter):
        return "parameter"
    return "input" if type(leaf) is Tensor else "buffer"


@dataclass(eq=False)
class Group:
    """Results of ops that belong together, in the order of computation.

    Attributes
    ----------
    kind : str
        "graph" for the whole, "layer" or "vjp" for what one call of it made, or "repeat".
    name : str
        Of a layer, its path in the layer that called it, or else its class.
    title : str
        The name, with a number from the second call of the same layer on; or what the vjp or repeat is.
    note : str
        A short description of a layer, the formula of a vjp.
    parts : list
        What is in it: results of ops, and groups.
    rounds : list of lists
        Of a repeat the parts of every round; ``parts`` are those of the first.
    start : int
        The serial number before the call.
    layer : Layer, optional
        The layer that was called, if it is still there.
    outputs : list of Tensor
        What the call gave.
    """

    kind: str
    title: str = ""
    note: str = ""
    parts: list[Part] = field(default_factory=list)
    rounds: list[list[Part]] = field(default_factory=list)
    start: int = 0
    name: str = ""
    layer: Any = None
    outputs: list[Tensor] = field(default_factory=list)


Part: TypeAlias = Tensor | Group


def results_in(part: Part, *, hidden: bool = True) -> Iterator[Tensor]:
    """The results in a group, in the order of computation, with or without the rounds that are not drawn."""
    if isinstance(part, Tensor):
        yield part
        return
    for inner in chain(*part.rounds) if hidden and part.rounds else part.parts:
        yield from results_in(inner, hidden=hidden)


class Recorded:
    """The graph that made a tensor. Its dicts have ids of tensors as keys.

    Attributes
    ----------
    output : Tensor
    nodes : list of Tensor
        The whole graph, as `ancestors` orders it.
    leaves, results : list of Tensor
        The nodes that no op made, and the others.
    users : dict of lists
        The results that each node went into, once for each place among their inputs.

    >>> from tensorgrad.graph.recorded import Recorded
    >>> dense = tg.Dense(2, 1, rng=0)
    >>> graph = Recorded(tg.sum(dense(np.ones((3, 2), np.float32)) ** 2))
    >>> [graph.names[id(node)] for node in graph.results]
    ['matmul', 'add', 'power', 'sum']
    >>> [node.op.name for node in graph.results if graph.layer_of(node) is not None]
    ['matmul', 'add']
    """

    def __init__(self, output: Tensor) -> None:
        self.output = output
        self.nodes = ancestors(output)
        self.leaves = [node for node in self.nodes if node.op is None]
        self.results = [node for node in self.nodes if node.op is not None]
        self.users: dict[int, list[Tensor]] = {id(x): [] for x in self.nodes}
        for node in self.results:
            for x in tensors_in(node):
                self.users[id(x)].append(node)

    @cached_property
    def names(self) -> dict[int, str]:
        """What to call each node: its name, or its op or "input", with a number where several have the same.

        A leaf that shares its name is called by its path in the outermost layer that holds it; see `paths`.
        """
        plain = {id(x): str(x.name or (op_name(x) if x.op else "input")) for x in self.nodes}
        uses = Counter(plain.values())
        met: Counter[str] = Counter()
        names = {}
        for key, name in plain.items():
            met[name] += 1
            names[key] = name if uses[name] == 1 else f"{name} {met[name]}"
        return names | self.paths

    @cached_property
    def paths(self) -> dict[int, str]:
        """The paths of the leaves that share their names, in the outermost layer that holds them."""
        uses = Counter(leaf.name for leaf in self.leaves)
        shared = {id(leaf) for leaf in self.leaves if leaf.name and uses[leaf.name] > 1}
        paths: dict[int, str] = {}
        if not shared:
            return paths
        for group in sorted(self._calls, key=lambda call: call.start):  # the outermost began first
            for path, parameter in _ask(group.layer, "named_parameters").items():
                if id(parameter) in shared:
                    paths.setdefault(id(parameter), path)
        return paths

    @cached_property
    def clusters(self) -> Group:
        """The results in groups, nested as layers and vjps called one another."""
        return _nest(self.results, *self._owners)

    def layer_of(self, node: Tensor) -> Group | None:
        """The group of the innermost layer that made a result; None where none did."""
        _ = self.clusters  # in which groups have names
        owners, around = self._owners
        group = owners.get(id(node))
        while group is not None and group.kind != "layer":
            group = around.get(group)
        return group

    @cached_property
    def _calls(self) -> list[Group]:
        """A group for each call of a layer or a vjp that ended in the graph."""
        calls: dict[tuple[int, Any], Group] = {}
        for node in self.results:
            for start, maker, label in node.calls:
                if (start, label) not in calls:
                    calls[start, label] = _group_for(start, maker, label)
                calls[start, label].outputs.append(node)
        return list(calls.values())

    @cached_property
    def _owners(self) -> tuple[dict[int, Group], dict[Group, Group]]:
        """The group of the innermost call that made each result, and of the call that made each call.

        What a call made are the ancestors of its results that are younger than the call's beginning.
        """
        owners: dict[int, Group] = {}
        around: dict[Group, Group] = {}
        for group in sorted(self._calls, key=lambda call: -call.start):  # the inner ones begin later
            seen = {id(node) for node in group.outputs}
            stack = list(group.outputs)
            while stack:
                node = stack.pop()
                inner = owners.setdefault(id(node), group)
                while inner in around:
                    inner = around[inner]
                if inner is not group:
                    around[inner] = group
                for x in tensors_in(node):
                    if x.op is not None and x.serial > group.start and id(x) not in seen:
                        seen.add(id(x))
                        stack.append(x)
        return owners, around


def _group_for(start: int, maker: Any, label: Any) -> Group:
    """A group for a call: of an op's vjp for the argument at the position ``label``, or of a layer."""
    if not isinstance(maker, Op):
        layer = maker()
        return Group("layer", start=start, name=label, layer=layer, note=_describe(layer))
    arguments = argument_names(maker, label + 1)
    formula = maker.joint or maker.formulas_for(label + 1)[label]
    note = formula_text(formula, (), {}) if formula else ""
    if note.startswith(("_", "a lambda")):  # a name that says nothing here
        note = ""
    name = f"vjp of {maker.name.removesuffix('_')} for {arguments[label]}"
    return Group("vjp", start=start, name=name, note=_shorten(note))


def _nest(results: list[Tensor], owners: dict[int, Group], around: dict[Group, Group]) -> Group:
    """The group of the whole graph, with the groups of all calls in it, each under its title."""
    graph = Group("graph")
    paths: dict[int, dict[int, str]] = {}
    times: Counter[tuple[int, int]] = Counter()
    for node in results:
        owner = owners.get(id(node), graph)
        new = []  # the owner and the groups around it, as far as they are not in the whole yet
        group: Group | None = owner
        while group is not None and group is not graph and not group.title:
            new.append(group)
            group = around.get(group)
        for group in reversed(new):
            parent = around.get(group, graph)
            parent.parts.append(group)
            if group.layer is not None and parent.layer is not None:
                if id(parent) not in paths:
                    paths[id(parent)] = {
                        id(x): path for path, x in _ask(parent.layer, "named_layers").items()
                    }
                group.name = paths[id(parent)].get(id(group.layer)) or group.name
            times[id(parent), id(group.layer)] += 1
            time = times[id(parent), id(group.layer)]
            group.title = group.name if time == 1 or group.layer is None else f"{group.name} (call {time})"
        owner.parts.append(node)
    return graph


def _ask(layer: Any, what: str) -> dict[str, Any]:
    """What a layer names, or nothing if it is gone or two of its names are the same."""
    try:
        named: Callable[[], dict[str, Any]] = getattr(layer, what, dict)
        return named()
    except ValueError:
        return {}


def _describe(layer: Any) -> str:
    """How a layer writes itself, if it does so briefly; what is in it has clusters of its own."""
    try:
        note = "" if layer is None or any(layer.children()) else repr(layer)
    except Exception:  # of somebody's layer; the drawing does without
        return ""
    # An address in memory says nothing, nor does the title once more.
    return "" if " at 0x" in note or note == f"{type(layer).__name__}()" else _shorten(note)


def _shorten(note: str) -> str:
    return note if len(note) <= 48 else ""
