"""Where the values of a compiled program lie: the batch axis in lanes, all else in rows, stages between sums.

A value whose batch axis is known is *laned*: each of its elements is a vector, of one number for each sample
of a block. Blocks go through the whole program one after the other, so what they need stays in the cache.
Where a sum over all samples feeds samples again, as the mean of a BatchNorm does, the program is cut into
stages: all blocks up to the sum, then all from it.

Nothing here is of one language but for sums and products of integers as text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorgrad.core import Tensor


class UnbatchableError(Exception):
    """An op mixes samples in a way that lanes cannot follow; the program is then planned without lanes."""


class UnwritableError(Exception):
    """There is no rule for an op, for options of it or for its dtypes."""


def require_apart(condition: bool, message: str) -> None:
    """UnbatchableError with a message unless samples stay in their lanes."""
    if not condition:
        raise UnbatchableError(message)


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
    stage : int
        Of sums the stage whose blocks add to them.
    offset : int
        Where it begins in a thread's memory; of an argument its number.
    """

    name: str
    size: int
    laned: bool
    whole: bool
    role: str
    note: str
    first: int = 0
    last: int = 0
    stage: int = 0
    offset: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """A buffer seen as an array: element ``i`` of it lies at offset + sum of i times strides.

    The batch axis of a laned view has no steps, nor has an axis of length 1 that was made here.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    batch: int | None = None

    def axes(self) -> list[int]:
        """Every axis but the batch's."""
        return [k for k in range(len(self.shape)) if k != self.batch]

    def count(self) -> int:
        """How many elements there are, of a laned view vectors."""
        return math.prod(self.shape[k] for k in self.axes())

    def steps(self) -> tuple[int | None, ...]:
        """The strides, None for the batch axis."""
        return tuple(None if k == self.batch else stride for k, stride in enumerate(self.strides))

    def is_dense(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        dense, _ = dense_strides(self.shape, self.batch)
        return all(self.shape[k] == 1 or self.strides[k] == dense[k] for k in self.axes())

    def at(self, index: Sequence[str]) -> str:
        """The place of an element, whose indices are text."""
        return place(index, self.strides, self.offset)


def dense_strides(shape: Sequence[int], batch: int | None) -> tuple[tuple[int, ...], int]:
    """The strides of a row-major array, its batch axis left out, and how many elements it has."""
    strides, step = [0] * len(shape), 1
    for k in reversed(range(len(shape))):
        if k != batch:
            strides[k] = step if shape[k] != 1 else 0
            step *= shape[k]
    return tuple(strides), step


def lane_strides(shape: Sequence[int], batch: int | None) -> tuple[int, ...]:
    """The strides of a laned value: row-major, but images (N, H, W, C) a channel after the other.

    The pixels that a window slides over are neighbours then. With the channels innermost they would be
    powers of two apart, and a cache keeps such in few of its places.
    """
    if batch != 0 or len(shape) < 4:
        return dense_strides(shape, batch)[0]
    order = [0, *range(3, len(shape)), 1, 2]
    strides = dict(zip(order, dense_strides([shape[k] for k in order], 0)[0], strict=True))
    return tuple(strides[k] for k in range(len(shape)))


def dense_view(buffer: Buffer, shape: tuple[int, ...], batch: int | None, offset: int = 0) -> View:
    """A buffer as a row-major array."""
    return View(buffer, shape, dense_strides(shape, batch)[0], offset, batch)


@dataclass(eq=False)
class Value:
    """One tensor of the recorded graph, in the plan.

    Attributes
    ----------
    tensor : Tensor
    name : str
        Its name in the program.
    kind : str
        What its elements are there: "f", real numbers; "i", integers; "b", truth values, of which true is -1.
    batch : int or None
        Which axis is the batch's.
    stage : int
        The stage that it is computed in; of a plain value that before whose blocks it is.
    view : View or None
        Where it lies; None while it is an expression of ``arguments`` that its only user writes out.
    users : list of Tensor
    """

    tensor: Tensor
    name: str
    kind: str
    batch: int | None = None
    stage: int = 0
    view: View | None = None
    arguments: tuple[Any, ...] = ()
    users: list[Tensor] = field(default_factory=list)

    def describe(self) -> str:
        """The op and its dtype, for a refusal."""
        return f"{self.tensor.op.name.rstrip('_') if self.tensor.op else self.name} of {self.tensor.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, with the batch axis."""
        return self.tensor.shape

    @property
    def laned(self) -> bool:
        """Whether each element is a vector of samples."""
        return self.batch is not None


def place_in_arena(buffers: Sequence[Buffer]) -> int:
    """Give buffers offsets such that no two that are needed at one time overlap; the size of it all.

    First fit in the order of first need, which for the stack-like lives of a training step is near the best.
    """
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.size)):
        buffer.offset = 0
        for other in sorted(placed, key=lambda b: b.offset):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if buffer.offset + buffer.size <= other.offset:
                break
            buffer.offset = max(buffer.offset, other.offset + other.size)
        placed.append(buffer)
    return max((b.offset + b.size for b in placed), default=0)


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


def times(x: str, n: int) -> str:
    """A product as text.

    >>> times("i", 3), times("1 + i * 3", 4), times("0", 5), times("i - 1", -2), times("t[i]", 2)
    ('i * 3', '4 + i * 12', '0', '2 - i * 2', 't[i] * 2')
    """
    terms = []
    for term in _split(x):
        name, _, factor = term.rpartition(" * ") if term[-1].isdigit() and " * " in term else (term, "", "1")
        number = int(factor) * n * (-1 if name[0] == "-" else 1)
        name = name.lstrip("-")
        text = f"{name} * {abs(number)}" if abs(number) != 1 else name
        terms.append(
            str(number * int(name)) if name.isdigit() else f"{'-' * (number < 0)}{text}" if number else "0"
        )
    return add(*terms)


def add(*terms: str | int) -> str:
    """A sum as text.

    >>> add("i * 3", "0", 2, "j + 5"), add("i", "-k * 4"), add("0", 0)
    ('7 + i * 3 + j', 'i - k * 4', '0')
    """
    texts = [text for term in terms for text in _split(str(term))]
    numbers = [text for text in texts if text.lstrip("-").isdigit()]
    words = [text for text in texts if text not in numbers]
    known = sum(map(int, numbers))
    return " + ".join([str(known), *words] if known or not words else words).replace("+ -", "- ")


def _split(x: str) -> list[str]:
    """The terms of a sum; what has brackets is one."""
    return [x] if "[" in x or "(" in x else x.replace(" - ", " + -").split(" + ")


def place(index: Sequence[str], strides: Sequence[int], offset: int = 0) -> str:
    """A place in memory: the offset and each index times its stride."""
    return add(offset, *(times(i, stride) for i, stride in zip(index, strides, strict=True)))
