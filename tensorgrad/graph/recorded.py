"""What every reader of a recorded graph asks first: its nodes in order, their users, makers and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tensorgrad.core import Op, Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.engine import find_ancestors
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.textbook.write import write_vjp
from tensorgrad.graph.values import number


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


def op_name(node: Tensor) -> str:
    """What the op that made a tensor is called, without the underscore that keeps it from Python's names."""
    assert node.op is not None
    return str(node.op.name.removesuffix("_"))


def word_for(node: Tensor, i: int) -> str:
    """What the op that made ``node`` calls its argument ``i``, if that is a word; else "array"."""
    assert node.op is not None
    name = argument_names(node.op, len(node.inputs))[i]
    return name if len(name) > 2 and name.isidentifier() else "array"


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
    given : tuple
        The tensors that the layer was given, and of arrays weak references, shapes and dtypes; or of a vjp
        weak references to the op's result and argument, the op, and the argument's position.
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
    given: tuple[Any, ...] = ()
    outputs: list[Tensor] = field(default_factory=list)


Part: TypeAlias = Tensor | Group
K = TypeVar("K", bound=Hashable)


def results_in(part: Part, *, hidden: bool = True) -> Iterator[Tensor]:
    """The results in a group, in the order of computation, with or without the rounds that are not drawn."""
    if isinstance(part, Tensor):
        yield part
        return
    for inner in chain(*part.rounds) if hidden and part.rounds else part.parts:
        yield from results_in(inner, hidden=hidden)


class Recorded:
    """The graph that made a tensor. Its dicts have ids of tensors as keys.

    A plain array that the outermost layer was given is an input, as a tensor would be: a leaf stands for it,
    once however often it is read. Other arrays and numbers are constants.

    Attributes
    ----------
    output : Tensor
    nodes : list of Tensor
        The arrays that layers were given, and the whole graph as `ancestors` orders it.
    leaves, results : list of Tensor
        The nodes that no op made, and the others.
    users : dict of lists
        The results that each node went into, once for each place among their inputs.

    >>> from tensorgrad.graph.recorded import Recorded
    >>> dense = tg.Dense(2, 1, rng=0)
    >>> graph = Recorded(tg.sum(dense(np.ones((3, 2), np.float32)) ** 2))
    >>> [graph.names[id(node)] for node in graph.nodes]
    ['input', 'weights', 'bias', 'matmul', 'Dense', 'power', 'sum']
    >>> [node.op.name for node in graph.results if graph.layer_of(node) is not None]
    ['matmul', 'add']
    """

    def __init__(self, output: Tensor) -> None:
        self.output = output
        nodes = ancestors(output)
        self.results = [node for node in nodes if node.op is not None]
        self._given: dict[tuple[int, int], Tensor] = {}  # leaves for arrays, by id of an op and place in it
        self._own: set[int] = set()  # the leaves that layers made or have
        given = [*self._find_given()]
        self.nodes = given + nodes
        self.leaves = given + [node for node in nodes if node.op is None]
        self.users: dict[int, list[Tensor]] = {id(x): [] for x in self.nodes}
        for node in self.results:
            for x in self.tensors_in(node):
                self.users[id(x)].append(node)

    def inputs(self, node: Tensor) -> tuple[Any, ...]:
        """What an op read, with leaves for the arrays that layers were given."""
        if not self._given:
            return node.inputs
        return tuple(self._given.get((id(node), i), x) for i, x in enumerate(node.inputs))

    def tensors_in(self, node: Tensor) -> list[Tensor]:
        """The tensors that an op read, and the leaves for arrays that layers were given."""
        return [x for x in self.inputs(node) if isinstance(x, Tensor)]

    def constants_in(self, node: Tensor) -> list[tuple[int, Any]]:
        """The other arrays and the numbers that an op read, with their places among its inputs."""
        read = enumerate(self.inputs(node))
        return [(i, x) for i, x in read if x is not None and not isinstance(x, Tensor)]

    def kind_of(self, leaf: Tensor) -> str:
        """Whether a leaf is a parameter, buffer, input or constant.

        A buffer is what a layer keeps but does not train; a constant what it made without recording it, as
        Dropout its mask, or has as an attribute.
        """
        if type(leaf) is not Tensor:
            return "parameter" if isinstance(leaf, Parameter) else "buffer"
        return "constant" if id(leaf) in self._own else "input"

    # What layers were given

    def _find_given(self) -> Iterator[Tensor]:
        """A leaf for each plain array that an outermost layer was given; sets what layers have aside."""
        read: dict[Group, list[tuple[Tensor, int, list[Group]]]] = {}  # what may be given, by outermost layer
        for node in self.results if self._calls else ():
            around = self._layers_around(node)
            for i, x in enumerate(node.inputs if around else ()):
                plain = type(x) is Tensor and x.op is None and not x.requires_grad
                if plain or (isinstance(x, np.ndarray) and x.ndim):
                    read.setdefault(around[-1], []).append((node, i, around))
        for top, uses in read.items():
            found = _choose([node.inputs[i] for node, i, _ in uses], top.given)
            if not found:  # layers that recorded nothing gave what was computed of it to others
                rows = {(x.shape if isinstance(x, Tensor) else x[1])[:1] for x in top.given}
                inner = {layer: layer for *_, around in uses for layer in around[:-1]}
                for layer in inner:
                    mine = [node.inputs[i] for node, i, around in uses if layer in around]
                    found |= _choose([x for x in mine if x.shape[:1] in rows], layer.given)
            leaves: list[Tensor] = []
            for node, i, around in uses:
                x = node.inputs[i]
                if isinstance(x, Tensor):
                    own = x.serial > top.start or any(_has(layer.layer, x) for layer in around)
                    if own and id(x) not in found:
                        self._own.add(id(x))
                elif id(x) in found:
                    known = [leaf for leaf in leaves if _same(leaf.data, x)]
                    if not known:
                        leaves += (known := [Tensor(x)])
                    self._given[id(node), i] = known[0]
            yield from leaves

    # Names

    @cached_property
    def names(self) -> dict[int, str]:
        """What every reader calls a node: its name or its op, with a number where several are the same.

        What a layer gives is called by its path in the outermost layer, what else the layer makes by path and
        op, as in Dense0.matmul. A leaf that shares its name is called by its path (see `paths`), one without
        a name an input, or what the op that reads it calls it.
        """
        names, ends = dict(self._names_by_op), {}
        for x in self._named:
            layers = self._layers_around(x)
            if layers and not x.name and x is layers[0].outputs[-1]:
                ends[id(x)] = _path(layers) or layers[0].name
        return _number(names | ends)

    @cached_property
    def _names_by_op(self) -> dict[int, str]:
        """The same, with the op in the names of what layers give too."""
        _ = self._nested  # in which layers have their paths
        names = {}
        for x in self._named:
            if x.op is not None:
                names[id(x)] = str(
                    x.name or f"{_path(self._layers_around(x))}.{op_name(x)}".removeprefix(".")
                )
            else:
                names[id(x)] = self.paths.get(id(x)) or str(x.name or self._word_for_leaf(x))
        return _number(names)

    def title_of(self, node: Tensor) -> str:
        """A result's op, with its number: what tells it from others in the same layer."""
        return op_name(node) if node.name else self._names_by_op[id(node)].rpartition(".")[2]

    def name_of_input(self, node: Tensor, i: int) -> str:
        """What to call what an op read: a tensor by its name, a number by itself, an array by a word."""
        x = self.inputs(node)[i]
        if isinstance(x, Tensor):
            return self.names[id(x)]
        if isinstance(x, np.ndarray) and x.ndim:
            return self._array_names[id(node), i]
        return number(x.item() if isinstance(x, (np.ndarray, np.generic)) else x)

    @cached_property
    def _array_names(self) -> dict[tuple[int, int], str]:
        results = (node for node in self._named if node.op is not None)
        constants = ((node, i) for node in results for i, x in self.constants_in(node) if np.ndim(x))
        words = {(id(node), i): word_for(node, i) for node, i in constants}
        return _number(words, self.names.values())

    @cached_property
    def _named(self) -> list[Tensor]:
        """The nodes, and what is not in the graph but had vjps that made part of it; in their order."""
        others: dict[int, Tensor] = {}
        for call in self._calls:
            node = call.given[0]() if call.kind == "vjp" else None
            if node is not None:
                others |= {id(x): x for x in (*self.tensors_in(node), node) if id(x) not in self.users}
        if not others:
            return self.nodes
        return sorted([*self.nodes, *others.values()], key=lambda x: (x.op is not None, x.serial))

    def _word_for_leaf(self, leaf: Tensor) -> str:
        kind = self.kind_of(leaf)
        if kind != "constant":
            return kind
        user = self.users[id(leaf)][0]
        return word_for(user, next(i for i, x in enumerate(user.inputs) if x is leaf))

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

    def write_vjp(self, node: Tensor, i: int) -> str:
        """The vjp of a result for what its op read at place ``i``, in the names of the graph."""
        assert node.op is not None
        arrays = [x.data if isinstance(x, Tensor) else x for x in node.inputs]
        inputs = ["None" if x is None else self.name_of_input(node, k) for k, x in enumerate(node.inputs)]
        names = [self.name_of_cotangent(node), self.names[id(node)], *inputs]
        return write_vjp(node.op, i, (node.data, node.data, *arrays), node.params, names)

    def name_of_cotangent(self, node: Tensor) -> str:
        """The letter g, unless the op that made ``node`` read something of that name."""
        read = {self.names[id(x)] for x in (*self.tensors_in(node), node)}
        return f"d_{self.names[id(node)]}" if "g" in read else "g"

    # Layers and vjps

    @cached_property
    def clusters(self) -> Group:
        """The results in groups, nested as layers and vjps called one another."""
        nested = self._nested
        for call in self._calls:
            if call.kind == "vjp":
                call.title, call.note = self._tell_vjp(*call.given)
        return nested

    def _tell_vjp(self, result: Any, argument: Any, op: Op[...], i: int) -> tuple[str, str]:
        """What a vjp is of, and its formula; of an op whose result is gone only what is sure."""
        node, x, word = result(), argument(), argument_names(op, i + 1)[i]
        target = word if x is None else self.names.get(id(x)) or str(x.name or word)
        if node is not None:
            several = sum(x is other for other in node.inputs) > 1
            title = f"{self.names[id(node)]} for {target}" + f" as {word}" * several
            return f"vjp of {title}", _shorten(self.write_vjp(node, i))
        alone = len(op.arrays) == 1 and not op.variadic
        note = write_vjp(op, i, called=["g", "out", target]) if alone else ""
        return f"vjp of {op.name.removesuffix('_')} for {target}", _shorten(note)

    @cached_property
    def _nested(self) -> Group:
        return _nest(self.results, *self._owners)

    def layer_of(self, node: Tensor) -> Group | None:
        """The group of the innermost layer that made a result; None where none did."""
        _ = self._nested  # in which groups have names
        return next(iter(self._layers_around(node)), None)

    def _layers_around(self, node: Tensor) -> list[Group]:
        """The groups of the layers that made a result, from the innermost out."""
        owners, around = self._owners
        found, group = [], owners.get(id(node))
        while group is not None:
            if group.kind == "layer":
                found.append(group)
            group = around.get(group)
        return found

    @cached_property
    def _calls(self) -> list[Group]:
        """A group for each call of a layer or a vjp that ended in the graph."""
        calls: dict[tuple[int, Any], Group] = {}
        for node in self.results:
            for call in node.calls:
                if (call.start, call.label) not in calls:
                    calls[call.start, call.label] = _group_for(*call)
                calls[call.start, call.label].outputs.append(node)
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
                for x in node.inputs:
                    made = isinstance(x, Tensor) and x.op is not None and x.serial > group.start
                    if made and id(x) not in seen:
                        seen.add(id(x))
                        stack.append(x)
        return owners, around


def _choose(read: list[Any], given: tuple[Any, ...]) -> set[int]:
    """The ids of those tensors and arrays in ``read`` that are what a layer was given.

    The graph has copies of arrays, so they are known by their values, or if the layer's array is gone by
    their shape and dtype, where no others have these.
    """
    found = {id(x) for x in read if any(x is other for other in given)}
    notes = [note for note in given if not isinstance(note, Tensor)]
    for kind in {(shape, dtype) for _, shape, dtype in notes}:
        originals = [ref() for ref, *rest in notes if tuple(rest) == kind]
        arrays = [x for x in read if isinstance(x, np.ndarray) and (x.shape, x.dtype) == kind]
        different: list[NDArray] = []
        for x in arrays:
            if not any(_same(x, y) for y in different):
                different.append(x)
        if len(different) > len(originals):
            arrays = [x for x in arrays if any(_same(x, y) for y in originals if y is not None)]
        found |= {id(x) for x in arrays}
    return found


def _same(x: NDArray, y: NDArray) -> bool:
    return (x.shape, x.dtype) == (y.shape, y.dtype) and x.tobytes() == y.tobytes()


def _has(layer: Any, x: Tensor) -> bool:
    """Whether a layer, if it is still there, has a tensor as an attribute."""
    return layer is not None and any(x is value for value in vars(layer).values())


def _path(layers: list[Group]) -> str:
    """The path of the innermost layer in the outermost."""
    return ".".join(layer.name for layer in reversed(layers[:-1]))


def _number(words: Mapping[K, str], others: Iterable[str] = ()) -> dict[K, str]:
    """The words, with numbers from 1 on where several things have the same or ``others`` have it."""
    others = set(others)
    uses, count = Counter(words.values()), Counter[str]()
    numbered = {}
    for key, word in words.items():
        name = word
        while uses[name] > (name is word) or name in others:
            count[word] += 1
            name = f"{word}_{count[word]}"
        numbered[key] = name
    return numbered


def _group_for(start: int, maker: Any, label: Any, given: Any) -> Group:
    """A group for a call: of an op's vjp for the argument at the position ``label``, or of a layer."""
    if isinstance(maker, Op):
        return Group("vjp", start=start, name="vjp", given=(*given, maker, label))
    layer, given = maker(), (given,) if isinstance(given, Tensor) else given
    return Group("layer", start=start, name=label, layer=layer, given=given, note=_describe(layer))


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
    return "" if len(note) > 60 or note.startswith(("_", "a lambda")) else note
