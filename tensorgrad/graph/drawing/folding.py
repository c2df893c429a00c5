"""What of a graph is drawn: clusters opened down to a depth, repeats folded, each leaf in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from tensorgrad.core import Parameter, Tensor
from tensorgrad.graph.drawing.repeats import Repeats
from tensorgrad.graph.recorded import Group, Part, Recorded, results_in


@dataclass
class Arrow:
    """An arrow between two drawn nodes, and the uses that it stands for, as (result, place of the input).

    ``carried``: to the next round of a repeat.
    """

    source: str
    target: str
    carried: bool
    uses: list[tuple[Tensor, int]] = field(default_factory=list)


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
        self._repeats = Repeats(self.recorded)
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

    def find_drawn(self, x: Tensor) -> Part:
        """What stands in the drawing for ``x``: itself, the like of it in a first round, or a box."""
        x = self._repeats.first(x)
        return self._box_of.get(id(x), x)

    def arrows(self) -> Iterable[Arrow]:
        """The arrows for every use of a tensor or constant that crosses from one drawn node to another."""
        arrows: dict[tuple[str, str, int], Arrow] = {}
        for hidden in (False, True):  # what only ops of hidden rounds read so is carried there
            for node in self.recorded.results:
                if (self._repeats.first(node) is not node) is not hidden:
                    continue
                for i in range(len(node.inputs)):
                    ends = self.ends(node, i)
                    if ends is not None:
                        arrows.setdefault(ends, Arrow(*ends[:2], hidden)).uses.append((node, i))
        return arrows.values()

    def ends(self, node: Tensor, i: int) -> tuple[str, str, int] | None:
        """Where the arrow from an op's input begins and ends, and which it is of those in between, if any."""
        x, target = self.recorded.inputs(node)[i], self.find_drawn(node)
        name = self.ids[id(target)]
        if not isinstance(x, Tensor):
            return None if x is None or isinstance(target, Group) else (f"{name}c{i}", name, i)
        source = self.find_drawn(x)
        if isinstance(source, Tensor) and isinstance(target, Tensor):
            return self.ids[id(source)], name, i
        return None if source is target else (self.ids[id(source)], name, -1)

    def find_only_user(self, leaf: Tensor, group: Group) -> Tensor | None:
        """The drawn op that alone reads what a layer has, if both stand in ``group``."""
        users = {id(user): user for user in map(self.find_drawn, self.recorded.users[id(leaf)])}
        if self.recorded.kind_of(leaf) == "input" or len(users) != 1:
            return None
        (user,) = users.values()
        return user if isinstance(user, Tensor) and self._around[id(user)][-1] is group else None

    def find_outputs(self, group: Group) -> list[Tensor]:
        """The results in a group that are used outside of it."""
        inside = {id(x): x for x in results_in(group)}
        users = self.recorded.users
        return [
            x
            for x in inside.values()
            if x is self.recorded.output or any(id(user) not in inside for user in users[id(x)])
        ]

    def count_parameters(self, group: Group) -> int:
        """How many numbers the parameters have that a group reads."""
        read = {id(x): x for node in results_in(group) for x in node.inputs if isinstance(x, Parameter)}
        return sum(x.size for x in read.values())

    def count_nodes(self) -> int:
        """How many nodes are drawn."""
        drawn = (node for node in self.recorded.results if self.find_drawn(node) is node)
        return len(self.ids) + sum(len(self.recorded.constants_in(node)) for node in drawn)

    def _locate(self, group: Group, around: list[Group], depth: int | None) -> None:
        level = sum(outer.kind in ("layer", "vjp") for outer in around)
        for part in group.parts:
            if isinstance(part, Tensor):
                self._around[id(part)] = around
            elif part.kind != "repeat" and depth is not None and level >= depth:
                self.boxes.add(part)
                for x in results_in(part):
                    self._box_of[id(x)] = part
                    self._around[id(x)] = [*around, part]
            else:
                self._locate(part, [*around, part], depth)

    def _place_leaves(self) -> None:
        """What layers have goes into the innermost group around all who read it, inputs outside."""
        for leaf in self.recorded.leaves:
            if self._repeats.first(leaf) is not leaf:
                continue
            around = [self.graph]
            own = id(leaf) in self._repeats.own_leaves
            if own or self.recorded.kind_of(leaf) != "input":
                users = map(self._repeats.first, self.recorded.users[id(leaf)])
                levels = zip(*(self._around[id(user)] for user in users), strict=False)
                around = [group for group, *others in levels if all(other is group for other in others)]
                if not own:
                    around = list(takewhile(lambda group: group.kind != "repeat", around))
            box = next((group for group in around if group in self.boxes), None)
            if box is not None:
                self._box_of[id(leaf)] = box
            else:
                self.leaves.setdefault(id(around[-1] if around else self.graph), []).append(leaf)

    def _number(self) -> None:
        count: Counter[str] = Counter()
        for part in map(self.find_drawn, self.recorded.nodes):
            if id(part) not in self.ids:
                letter = "g" if isinstance(part, Group) else "n"
                self.ids[id(part)] = f"{letter}{count[letter]}"
                count[letter] += 1
