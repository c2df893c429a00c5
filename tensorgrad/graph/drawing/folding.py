"""What of a graph is drawn: clusters opened down to a depth, repeats folded, each leaf in its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorgrad.core import Parameter, Tensor
from tensorgrad.graph.drawing.repeats import Repeats
from tensorgrad.graph.recorded import Group, Part, Recorded, leaf_kind


@dataclass(frozen=True)
class Edge:
    """The use of a tensor or constant ``x`` by an op, and the arrow that stands for it.

    Uses with the same ``source``, ``target`` and ``place`` have one arrow. ``carried``: to the next round.
    """

    source: str
    target: str
    place: int
    carried: bool
    x: Any
    node: Tensor
    position: int


class Folding:
    """The drawn part of the graph that made ``output``.

    Attributes
    ----------
    recorded : Recorded
        The whole graph.
    graph : Group
        Its clusters, with repeats folded.
    boxes : set of Group
        The clusters that are folded into one node.
    leaves : dict of lists
        The leaves drawn in each group, by its id.
    ids : dict
        The identifiers of the drawn nodes in DOT, counted through, by the ids of tensors and boxes.
    """

    def __init__(self, output: Tensor, depth: int | None, repeats: bool) -> None:
        self.recorded = Recorded(output)
        self.graph = self.recorded.clusters
        self._repeats = Repeats(self.recorded.users)
        if repeats:
            self._repeats.fold(self.graph)
        self.boxes: set[Group] = set()
        self._box_of: dict[int, Group] = {}
        self._around: dict[int, list[Group]] = {}  # the groups around a drawn result, from the outside in
        self._locate(self.graph, [self.graph], depth)
        self.leaves: dict[int, list[Tensor]] = {}
        self._place_leaves()
        self.ids: dict[int, str] = {}
        self._number()

    def drawn(self, x: Tensor) -> Part:
        """What stands in the drawing for ``x``: itself, the like of it in a first round, or a box."""
        x = self._repeats.first(x)
        return self._box_of.get(id(x), x)

    def constants(self, node: Tensor) -> Iterator[tuple[int, Any]]:
        """The constants that an op reads, with their places among its inputs."""
        return ((i, x) for i, x in enumerate(node._inputs) if x is not None and not isinstance(x, Tensor))

    def edges(self) -> Iterator[Edge]:
        """Every use of a tensor or constant that crosses from one drawn node to another."""
        hidden = []
        met = set()
        for node in self.recorded.nodes:
            if self._repeats.first(node) is not node:
                hidden.append(node)
                continue
            for edge in self._edges_to(node, carried=False):
                met.add((edge.source, edge.target, edge.place))
                yield edge
        for node in hidden:
            for edge in self._edges_to(node, carried=True):
                known = (edge.source, edge.target, edge.place) in met
                yield edge if not known else Edge(**{**vars(edge), "carried": False})

    def _edges_to(self, node: Tensor, carried: bool) -> Iterator[Edge]:
        target = self.drawn(node)
        for i, x in enumerate(node._inputs):
            if isinstance(x, Tensor):
                source = self.drawn(x)
                if source is target and isinstance(source, Group):
                    continue
                place = i if isinstance(source, Tensor) and isinstance(target, Tensor) else -1
                yield Edge(self.ids[id(source)], self.ids[id(target)], place, carried, x, node, i)
            elif x is not None and isinstance(target, Tensor):
                name = self.ids[id(target)]
                yield Edge(f"{name}c{i}", name, i, carried, x, node, i)

    def only_user(self, leaf: Tensor, group: Group) -> Tensor | None:
        """The drawn op that alone reads a parameter or buffer, if both stand in ``group``."""
        users = {id(user): user for user in map(self.drawn, self.recorded.users[id(leaf)])}
        if leaf_kind(leaf) == "input" or len(users) != 1:
            return None
        (user,) = users.values()
        return user if isinstance(user, Tensor) and self._around[id(user)][-1] is group else None

    def results(self, group: Group) -> list[Tensor]:
        """The results in a group that are used outside of it."""
        inside = {id(x): x for x in group.tensors()}
        return [
            x
            for x in inside.values()
            if x is self.recorded.output or any(id(user) not in inside for user in self.recorded.users[id(x)])
        ]

    def parameters_in(self, group: Group) -> int:
        """How many numbers the parameters have that a group reads."""
        read = {id(x): x for node in group.tensors() for x in node._inputs if isinstance(x, Parameter)}
        return sum(x.size for x in read.values())

    def size(self) -> int:
        """How many nodes are drawn."""
        return len(self.ids) + sum(
            1 for node in self.recorded.nodes if self.drawn(node) is node for _ in self.constants(node)
        )

    def _locate(self, group: Group, around: list[Group], depth: int | None) -> None:
        level = sum(outer.kind in ("layer", "vjp") for outer in around)
        for part in group.parts:
            if isinstance(part, Tensor):
                self._around[id(part)] = around
            elif part.kind != "repeat" and depth is not None and level >= depth:
                self.boxes.add(part)
                for x in part.tensors():
                    self._box_of[id(x)] = part
                    self._around[id(x)] = [*around, part]
            else:
                self._locate(part, [*around, part], depth)

    def _place_leaves(self) -> None:
        """Parameters and buffers go into the innermost group around all who read them, inputs outside."""
        own = {id(first) for first in self._repeats.drawn_leaves()}  # which every round has its own of
        for leaf in self.recorded.nodes:
            if leaf._op is not None or self._repeats.first(leaf) is not leaf:
                continue
            around = [self.graph]
            if id(leaf) in own or leaf_kind(leaf) != "input":
                around = self._around_all(self.recorded.users[id(leaf)]) or around
                while id(leaf) not in own and any(group.kind == "repeat" for group in around):
                    around = around[:-1]
            box = next((group for group in around if group in self.boxes), None)
            if box is not None:
                self._box_of[id(leaf)] = box
            else:
                self.leaves.setdefault(id(around[-1]), []).append(leaf)

    def _around_all(self, nodes: list[Tensor]) -> list[Group]:
        """The groups around all of some results."""
        common: list[Group] | None = None
        for node in nodes:
            around = self._around[id(self._repeats.first(node))]
            if common is None:
                common = around
            elif common is not around:
                common = [a for a, b in zip(common, around, strict=False) if a is b]
        return common or []

    def _number(self) -> None:
        boxes = 0
        for node in self.recorded.nodes:
            part = self.drawn(node)
            if id(part) in self.ids:
                continue
            if isinstance(part, Group):
                self.ids[id(part)] = f"g{boxes}"
                boxes += 1
            else:
                self.ids[id(part)] = f"n{len(self.ids) - boxes}"
