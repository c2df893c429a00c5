"""Repeats: a stretch of the graph that comes again and again, drawn once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from tensorgrad.core import Parameter, Tensor
from tensorgrad.graph.drawing.labels import list_params
from tensorgrad.graph.recorded import Group, Part, Recorded, op_name, results_in

LONGEST = 128  # parts in a round
HIDDEN = 8  # results that folding must hide to be worth while
WORK = 3_000_000  # inputs to compare before folding gives up


class Repeats:
    """Folds the repeats in the groups of a graph, the inner ones first.

    Rounds are alike if their ops are, with the same params (but for indices) and shapes, and if they are
    wired alike: each input comes from the same place in the round, from the same place some rounds before (in
    the first rounds, where there is none yet, from anywhere before), from the same tensor outside, or is a
    leaf of each round's own.

    Attributes
    ----------
    own_leaves : set of int
        The ids of leaves that are drawn for those that the other rounds have of their own.
    """

    def __init__(self, graph: Recorded) -> None:
        self._graph = graph
        self._first: dict[int, Tensor] = {}
        self.own_leaves: set[int] = set()
        self._codes: dict[Hashable, int] = {}
        self._code_of: dict[int, int] = {}
        self._work = 0

    def first(self, x: Tensor) -> Tensor:
        """The tensor that is drawn for ``x``: that of the first round, or ``x`` itself."""
        while id(x) in self._first:
            x = self._first[id(x)]
        return x

    def fold(self, group: Group) -> None:
        """Replace the stretches of the group's parts, and of the groups in it, by repeats."""
        for part in group.parts:
            if isinstance(part, Group):
                self.fold(part)
        while self._fold_once(group):
            pass

    def _fold_once(self, group: Group) -> bool:
        """Fold the stretches with the shortest rounds; whether there were any."""
        parts = group.parts
        codes = np.array([self._code(part) for part in parts])
        level = _Level(self._graph, parts)
        for length in range(1, min(LONGEST, len(parts) // 3) + 1):
            found = self._find_stretches(level, codes, length)
            if found:
                folded: list[Part] = []
                end = 0
                for start, rounds in found:
                    folded += [*parts[end:start], self._make_repeat(level, start, length, rounds)]
                    end = start + length * rounds
                group.parts = folded + parts[end:]
                return True
        return False

    def _find_stretches(self, level: _Level, codes: Any, length: int) -> list[tuple[int, int]]:
        """Where rounds of that length repeat, as (start, number of rounds)."""
        same = np.concatenate([[False], codes[:-length] == codes[length:], [False]])
        stretches = np.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2)  # where they begin and stop
        found: list[tuple[int, int]] = []
        end = 0
        for begin, stop in stretches[stretches[:, 1] - stretches[:, 0] >= 2 * length].tolist():
            start = max(begin, end)  # the rounds before may reach into this stretch
            last_start = min(begin + length, stop)
            while start < last_start and self._work < WORK:
                most = (stop + length - start) // length
                size = sum(1 for part in level.parts[start : start + length] for _ in results_in(part))
                if most < 3 or (most - 1) * size < HIDDEN:
                    break
                rounds = self._count_rounds(level, start, length, most)
                if rounds >= 3 and (rounds - 1) * size >= HIDDEN:
                    found.append((start, rounds))
                    start = end = start + rounds * length
                    last_start = min(start + length, stop)
                else:
                    start += 1
        return found

    def _count_rounds(self, level: _Level, start: int, length: int, most: int) -> int:
        """How many rounds from ``start`` on are wired alike."""
        for k in range(most - 1):
            for i in range(start + k * length, start + (k + 1) * length):
                for x, y in zip(level.reads(i), level.reads(i + length), strict=True):
                    self._work += 1
                    if not self._alike(level, start, length, k, i, x, y):
                        return k + 1
        return most

    def _alike(self, level: _Level, start: int, length: int, k: int, i: int, x: Tensor, y: Tensor) -> bool:
        """Whether part ``i``, of round ``k``, reads ``x`` as the part a round later reads ``y``."""
        if y.op is None:
            if x is y or x.op is not None:
                return x is y
            begin = start + k * length
            return self._belongs(level, x, begin, length) and self._belongs(level, y, begin + length, length)
        here, there = level.place.get(id(x)), level.place.get(id(y))
        if there is None or there[0] < start:
            return x is y or (x.op is not None and self.first(x) is self.first(y))
        if here is not None and here[0] >= start:
            return (i - here[0], here[1]) == (i + length - there[0], there[1])
        lag = k + 1 - (there[0] - start) // length
        return k < lag

    def _belongs(self, level: _Level, leaf: Tensor, start: int, length: int) -> bool:
        """Whether only the parts of the round that begins at ``start`` read a leaf."""
        places = [level.place.get(id(user)) for user in self._graph.users[id(leaf)]]
        return all(place is not None and start <= place[0] < start + length for place in places)

    def _make_repeat(self, level: _Level, start: int, length: int, count: int) -> Group:
        rounds = [level.parts[start + k * length : start + (k + 1) * length] for k in range(count)]
        firsts, *others = ([x for part in parts for x in results_in(part)] for parts in rounds)
        for results in others:
            for x, first in zip(results, firsts, strict=True):
                self._first[id(x)] = first
                leaves = map(self._graph.tensors_in, (x, first))
                for leaf, drawn in zip(*leaves, strict=True):
                    if leaf.op is None and drawn.op is None and leaf is not drawn:
                        self._first.setdefault(id(leaf), drawn)
                        self.own_leaves.add(id(drawn))
        return Group("repeat", f"× {count}", parts=rounds[0], rounds=rounds)

    def _code(self, part: Part) -> int:
        """A number that parts share if they look alike, whatever they are wired to."""
        if id(part) not in self._code_of:
            if isinstance(part, Group):
                inside = tuple(self._code(x) for x in part.parts)
                key: Hashable = (part.kind, part.note, len(part.rounds), inside)
            else:
                params = tuple(list_params(part, without=("index",)))
                inputs = tuple(map(_look, self._graph.inputs(part)))
                key = (op_name(part), part.name, part.shape, part.dtype.str, params, inputs)
            self._code_of[id(part)] = self._codes.setdefault(key, len(self._codes))
        return self._code_of[id(part)]


class _Level:
    """The parts of one group, with what they read and where each result stands."""

    def __init__(self, graph: Recorded, parts: list[Part]) -> None:
        self._graph, self.parts = graph, parts
        self._reads: dict[int, list[Tensor]] = {}
        self.place = {
            id(x): (i, offset) for i, part in enumerate(parts) for offset, x in enumerate(results_in(part))
        }

    def reads(self, i: int) -> list[Tensor]:
        """The tensors that part ``i`` reads, in a fixed order."""
        if i not in self._reads:
            nodes = results_in(self.parts[i], hidden=False)
            self._reads[i] = [x for node in nodes for x in self._graph.tensors_in(node)]
        return self._reads[i]


def _look(x: Any) -> Hashable:
    if not isinstance(x, Tensor):
        return (type(x).__name__, getattr(x, "shape", ()))
    return (isinstance(x, Parameter), x.shape, x.dtype.str)
