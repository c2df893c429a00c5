"""Where the values of a compiled program lie: the batch axis in lanes, all else in rows, stages between sums.

A value whose batch axis is known is *laned*: each of its elements is a vector, of one number for each sample
of a block. Blocks go through the whole program one after the other, so what they need stays in the cache.
Where a sum over all samples feeds samples again, as the mean of a BatchNorm does, the program is cut into
stages: all blocks up to the sum, then all from it.

Nothing here is of one language: a printer asks for buffers, views and stages, and says how they are written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tensorgrad.core import Tensor

#: What an axis of a view steps by, in elements; the batch axis of a laned value has no steps.
Strides = tuple[int, ...]
Role = Literal["argument", "arena", "kept", "plain", "sums"]


class UnbatchableError(Exception):
    """An op mixes samples in a way that lanes cannot follow; the program is then planned without lanes."""


@dataclass(eq=False)
class Buffer:
    """A piece of memory.

    Attributes
    ----------
    name : str
    size : int
        Elements; of a laned buffer vectors.
    laned : bool
    whole : bool
        Whether the elements are integers or truth values.
    role : str
        "argument": the caller's. "arena": of a thread, reused by others when it is not needed any more.
        "kept": laned, of all blocks. "plain": of the program. "sums": of the program, once for each slot.
    note : str
        The shape, for a comment.
    first, last : int
        When it is first and last needed, by the clock of the plan.
    """

    name: str
    size: int
    laned: bool
    whole: bool
    role: Role
    note: str
    first: int = 0
    last: int = 0
    offset: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """A buffer seen as an array: element ``i`` of it lies at offset + sum of i times strides."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: Strides
    offset: int = 0
    batch: int | None = None

    def axes(self) -> Iterator[tuple[int, int, int]]:
        """Number, length and stride of every axis but the batch's."""
        for k, (length, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            if k != self.batch:
                yield k, length, stride

    def is_dense(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        step = 1
        for _, length, stride in reversed([*self.axes()]):
            if length != 1:
                if stride != step:
                    return False
                step *= length
        return True

    def at(self, index: Sequence[str]) -> str:
        """The place of an element as an expression of its indices, in any language with + and *."""
        terms = [
            name if stride == 1 else f"{name} * {stride}"
            for (k, length, stride), name in zip(self.axes(), self._without_batch(index), strict=True)
            if stride and length != 1 and name != "0"
        ]
        if self.offset:
            terms.insert(0, str(self.offset))
        return " + ".join(terms) or "0"

    def _without_batch(self, index: Sequence[str]) -> list[str]:
        return [name for k, name in enumerate(index) if k != self.batch]


def dense_strides(shape: Sequence[int], batch: int | None) -> tuple[Strides, int]:
    """The strides of a row-major array, its batch axis left out, and how many elements it has."""
    strides, step = [0] * len(shape), 1
    for k in reversed(range(len(shape))):
        if k != batch:
            strides[k] = step if shape[k] != 1 else 0
            step *= shape[k]
    return tuple(strides), step


@dataclass(eq=False)
class Value:
    """One tensor of the recorded graph, in the plan.

    Attributes
    ----------
    tensor : Tensor
    name : str
        Its name in the program.
    batch : int or None
        Which axis is the batch's.
    stage : int
        The stage that it is computed in; of a plain value that before whose blocks it is.
    view : View or None
        Where it lies; None while it is an expression of ``arguments`` that its only user writes out.
    """

    tensor: Tensor
    name: str
    batch: int | None = None
    stage: int = 0
    view: View | None = None
    arguments: tuple[Any, ...] = ()
    users: list[Tensor] = field(default_factory=list)
    whole: bool = False
    cut: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, with the batch axis; while groups are written, with an axis cut in two."""
        return self.cut or self.tensor.shape

    @property
    def laned(self) -> bool:
        """Whether each element is a vector of samples."""
        return self.batch is not None


def place_in_arena(buffers: Sequence[Buffer]) -> int:
    """Give buffers offsets such that no two that are needed at one time overlap; the size of it all.

    First fit in the order of first need, which for the stack-like lives of a training step is near the best.
    """
    placed: list[Buffer] = []
    top = 0
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.size)):
        at = 0
        for other in sorted(placed, key=lambda b: b.offset):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if at + buffer.size <= other.offset:
                break
            at = max(at, other.offset + other.size)
        buffer.offset = at
        placed.append(buffer)
        top = max(top, at + buffer.size)
    return top


def merge_axes(lengths: Sequence[int], strides: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """Loops over axes of some lengths, neighbours in one loop where every array allows it.

    ``strides`` holds for each array its strides; the result for each loop its length and the strides of all.

    >>> merge_axes([2, 3, 4], [[12, 4, 1], [12, 4, 1]])
    [(24, [1, 1])]
    >>> merge_axes([2, 3], [[3, 1], [0, 1]])
    [(2, [3, 0]), (3, [1, 1])]
    """
    loops: list[tuple[int, list[int]]] = []
    for k, length in enumerate(lengths):
        if length == 1:
            continue
        steps = [array[k] for array in strides]
        if loops and all(a == b * length for a, b in zip(loops[-1][1], steps, strict=True)):
            loops[-1] = (loops[-1][0] * length, steps)
        else:
            loops.append((length, steps))
    return loops


def count_elements(shape: Sequence[int], batch: int | None) -> int:
    """How many elements an array has, its batch axis left out."""
    return math.prod(n for k, n in enumerate(shape) if k != batch)
