"""The rules of C for ops that move, add up and multiply; those on elements and on windows stand beside.

A rule is ``rule(program, value, *arguments, **options)``. It asks the `Program` for the memory of its
arguments (`need`), says where its result lies (`see`: in that memory, `begin`: in new memory), and puts
lines into code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.code import INDICES, Term, Words
from tensorgrad.graph.native.plan import (
    UnbatchableError,
    UnwritableError,
    Value,
    View,
    dense_view,
    require_apart,
    times,
)  # fmt: skip
from tensorgrad.graph.native.products import Factor, Product
from tensorgrad.graph.native.program import Program

# Other views of the same memory

FAR = 1 << 40  # the step of the batch axis in an array that is only looked at


def view_as(look: Callable[..., NDArray]) -> Callable[..., None]:
    """As a view: NumPy says, of an array that stands in for memory and is not read, where elements lie."""

    def rule(program: Program, value: Value, x: Value, **options: Any) -> None:
        view = program.need(x)
        strides = [FAR if k == view.batch else step for k, step in enumerate(view.strides)]
        stand_in = as_strided(np.empty(0, np.int8), view.shape, strides)
        seen = look(stand_in, **options)
        offset = seen.ctypes.data - stand_in.ctypes.data
        kept = not x.laned or (FAR in seen.strides and abs(offset) < FAR // 2)
        require_apart(kept, f"{value.name} picks samples")
        batch = seen.strides.index(FAR) if x.laned else None
        steps = tuple(0 if k == batch else step for k, step in enumerate(seen.strides))
        program.see(value, View(view.buffer, value.shape, steps, view.offset + offset, batch), x)

    return rule


swapaxes = view_as(np.swapaxes)
transpose = view_as(np.transpose)


def broadcast_to(program: Program, value: Value, x: Value, *, shape: Any) -> None:
    view, lead = program.need(x), len(value.shape) - len(x.shape)
    steps = [0] * lead + [0 if n == 1 else step for n, step in zip(x.shape, view.strides, strict=True)]
    batch = None if x.batch is None else x.batch + lead
    program.see(value, View(view.buffer, value.shape, tuple(steps), view.offset, batch), x)


def reshape(program: Program, value: Value, x: Value, *, shape: Any, order: str) -> None:
    if order != "C":
        raise UnwritableError(f"reshape in the order {order}")
    view, batch = program.need_dense(x), x.batch
    if batch is not None:
        split = [math.prod(x.shape[:batch]), x.shape[batch]]
        found = [k for k, n in enumerate(value.shape) if [math.prod(value.shape[:k]), n] == split]
        require_apart(found != [], "a reshape takes the batch axis apart")
        batch = batch if batch in found else found[0]
    program.see(value, dense_view(view.buffer, value.shape, batch, view.offset), x)


# What moves elements


def move(look: Callable[..., NDArray]) -> Callable[..., None]:
    """By a table, which NumPy makes of the elements' numbers."""

    def rule(program: Program, value: Value, x: Value, **options: Any) -> None:
        table, batch = _follow(lambda numbers: look(numbers, **options), x.shape, x.batch)
        code, to, of = program.begin(value, "elements moved", x, batch=batch, dense=True)
        name = program.add_table(f"{value.name}from", table)
        with code.loops(i=table.size) as (i,):
            code.put(f"{to.at(i)} = {of.at(f'{name}[{i}]')};")

    return rule


def _follow(
    look: Callable[[NDArray], NDArray], shape: Sequence[int], batch: int | None
) -> tuple[NDArray, Any]:
    """Which element each of the result is, without the batch axis, and where that axis is in the result."""
    inside = [n for k, n in enumerate(shape) if k != batch]
    numbers = np.arange(math.prod(inside)).reshape(inside)
    if batch is None:
        return np.asarray(look(numbers)), None
    rows = np.arange(shape[batch])
    starts = numbers.size * rows.reshape(-1, *[1] * (len(shape) - 1 - batch))
    sample, element = np.divmod(look(np.expand_dims(numbers, batch) + starts), max(numbers.size, 1))
    for k in [k for k, n in enumerate(element.shape) if n == len(rows)]:
        expected = rows.reshape(-1, *[1] * (element.ndim - 1 - k))
        if np.all(sample == expected) and np.all(element == element.take([0], k)):
            return element.take(0, k), k
    raise UnbatchableError("elements are moved from sample to sample")


roll = move(np.roll)
_take = move(lambda numbers, index: numbers[index])
_slice = view_as(lambda x, index: x[index])  # which is no number, for it has an ellipsis


def getitem(program: Program, value: Value, x: Value, *, index: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Tensor) for part in parts):
        _look_up(program, value, x, parts)
    elif all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts):
        _slice(program, value, x, index=parts if Ellipsis in parts else (*parts, Ellipsis))  # never a number
    else:
        _take(program, value, x, index=index)


def _find_numbers(program: Program, parts: Sequence[Any]) -> Value:
    """The index alone: whole numbers that a call brings."""
    numbers: Value = program.value_of(parts[0])
    if len(parts) > 1 or numbers.kind != "i":
        raise UnwritableError("an index of several parts or of truth values, which a call brings")
    return numbers


def _look_up(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """Rows of a plain array by numbers that each sample brings: an embedding."""
    numbers, width = _find_numbers(program, parts), math.prod(x.shape[1:])
    require_apart(not x.laned, "an index that samples bring picks among samples")
    given = program.begin(value, f"rows of {x.name}", x, numbers, batch=numbers.batch, dense=True)
    code, to, rows, index = given
    lanes = program.lanes if value.laned else 1
    with code.loops(n=index.view.count(), l=lanes, i=width) as (n, lane, i):
        at = f"[{lane}]" if value.laned else ""
        row = times(f"find_row({index.at(n)}{at}, {x.shape[0]})", width)
        code.put(f"{to.at(times(n, width), i)}{at} = {rows.at(row, i)};")


def scatter_add(program: Program, value: Value, x: Value, *, index: Any, shape: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Tensor) for part in parts):
        _add_up_rows(program, value, x, parts)
        return
    table, batch = _follow(lambda numbers: numbers[index], shape, x.batch)
    require_apart(batch == x.batch, "an index picks samples")
    code, to, of = program.begin(value, "added at an index", x, batch=batch, dense=True)
    code.clear(to)
    name = program.add_table(f"{value.name}to", table)
    with code.loops(i=table.size) as (i,):
        code.put(f"{to.at(f'{name}[{i}]')} += {of.at(i)};")


def _add_up_rows(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """The gradient of an embedding: the cotangents of each sample added to the rows that it had looked up."""
    numbers, width = _find_numbers(program, parts), math.prod(value.shape[1:])
    require_apart(x.batch == numbers.batch, "an index that samples bring picks among samples")
    code, to, rows, index = program.begin(value, "sums of rows", x, numbers, dense=True, summed=x.laned)
    at, each = ("[l]", "for (int l = 0; l < count; l++)") if x.laned else ("", "")
    if not x.laned:
        code.clear(to)
    with code.loops(n=index.view.count()) as (n,), code.block(each), code.loops(i=width) as (i,):
        row = times(f"find_row({index.at(n)}{at}, {value.shape[0]})", width)
        code.put(f"{to.at(row, i)} += {rows.at(times(n, width), i)}{at};")


def concatenate(program: Program, value: Value, *arrays: Any, axis: int) -> None:
    parts, axis = [program.constant(x) for x in arrays], axis % len(value.shape)
    if value.kind == "f":
        parts = [program.need_real(x) for x in parts]
    elif {x.kind for x in parts} != {value.kind}:
        raise UnwritableError(f"{value.describe()} of {' and '.join(str(x.tensor.dtype) for x in parts)}")
    batches = {x.batch for x in parts} - {None}
    require_apart(len(batches) <= 1 and axis not in batches, "samples are joined")
    batch = batches.pop() if batches else None
    code, to, *given = program.begin(value, "arrays joined", *parts, batch=batch)
    start = to.view.offset
    for x in given:
        program.copy(code, x.view, View(to.view.buffer, x.view.shape, to.view.strides, start, batch))
        start += x.view.shape[axis] * to.view.strides[axis]


# Sums and maxima


class Reduction:
    """By an accumulator for each element of the result; it writes its argument's expression out by itself."""

    fuses = True

    def __init__(self, start: str, update: str) -> None:
        self.start, self.update = start, update

    def __call__(self, program: Program, value: Value, x: Value, **options: Any) -> None:
        axes = self._find_axes(x.shape, value.shape, **options)
        across = x.laned and x.batch in axes
        require_apart(not across or self.start == "0", f"{value.name} compares samples")
        if x.kind == "i" or (x.kind == "b" and self.start != "0"):
            raise UnwritableError(value.describe())
        if x.kind == "b" and math.prod(x.shape) > 2 ** np.finfo(program.dtype).nmant:
            raise UnwritableError(f"{value.describe()}, of {math.prod(x.shape)} truth values")
        value.kind = "f"  # of truth values it is how many there are
        kept = [k for k in range(len(x.shape)) if k not in axes]
        of = kept if len(kept) == len(value.shape) else range(len(x.shape))[-len(value.shape) :]
        batch = None if across or x.batch is None else of.index(x.batch)
        what = f"{value.tensor.op.name if value.tensor.op else ''} of {x.name}"
        code, to = program.begin(value, what, batch=batch, stage=x.stage, summed=across)
        index = ["0" if n == 1 or k == x.batch else INDICES[k] for k, n in enumerate(x.shape)]
        outer, inner = ({INDICES[k]: x.shape[k] for k in own if k != x.batch} for own in (kept, axes))
        kind, prefix = ("V", "v") if x.laned else ("real", "s")
        words, out = Words(program.dtype, x.laned, "f"), to[[index[k] if k in kept else "0" for k in of]]
        with code.loops(**outer):
            if all(n == 1 for n in inner.values()):
                total = words.convert(program.element(x, index, code), "f")
            else:
                total = Term("sum", x.laned, "f")
                code.put(f"{kind} sum = {words.spread(Term(self.start, False, 'f'))};")
                with code.loops(**inner):
                    term = words.convert(program.element(x, index, code), "f")
                    code.put(self.update.format(total, term, prefix))
            code.put(f"{out} += total(v_keep(valid, {total}));" if across else f"{out} = {total};")

    @staticmethod
    def _find_axes(
        before: Sequence[int],
        after: Sequence[int],
        *,
        axis: Any = None,
        keepdims: bool = False,
        shape: Any = None,
    ) -> list[int]:
        """The axes that are gone over; of the sum to a shape those that it has not, or as length 1."""
        if shape is not None:
            lead = len(before) - len(after)
            return [k for k, n in enumerate(before) if k < lead or after[k - lead] == 1 != n]
        return (
            [*range(len(before))] if axis is None else [k % len(before) for k in np.atleast_1d(axis).tolist()]
        )


add_up = Reduction("0", "{0} += {1};")
largest = Reduction("-INFINITY", "{0} = {2}_max({1}, {0});")
smallest = Reduction("INFINITY", "{0} = {2}_min({1}, {0});")


# Products


def matmul(program: Program, value: Value, x: Any, y: Any) -> None:
    rows, columns = len(x.shape) > 1, len(y.shape) > 1
    stacks = "abcdefgh"[: len(value.shape) - rows - columns]
    left = stacks[len(stacks) - len(x.shape[:-2]) :] + "mk"[not rows :]
    right = stacks[len(stacks) - len(y.shape[:-2]) :] + "kn"[: 1 + columns]
    _contract(program, value, (x, y), (left, right), stacks + "m" * rows + "n" * columns)


def einsum(program: Program, value: Value, *operands: Any, subscripts: str, optimize: Any) -> None:
    left, result = subscripts.split("->")
    terms = left.split(",")
    if len(operands) != 2 or any(len({*term}) < len(term) for term in terms):
        raise UnwritableError(f"einsum of {subscripts}")
    _contract(program, value, operands, terms, result)


def _contract(
    program: Program, value: Value, arrays: Sequence[Any], terms: Sequence[str], result: str
) -> None:
    """A sum of products of two arrays with a letter for each axis; an axis of length 1 is repeated."""
    if value.kind != "f":
        raise UnwritableError(value.describe())
    arrays = [program.need_real(x) for x in arrays]
    lengths, factors = dict.fromkeys(result, 1), []
    for x, letters in zip(arrays, terms, strict=True):
        view = program.need(x)
        steps = [0 if n == 1 and step else step for n, step in zip(x.shape, view.steps(), strict=True)]
        factors.append(Factor(x, view, dict(zip(letters, steps, strict=True))))
        for letter, n in zip(letters, x.shape, strict=True):
            lengths[letter] = max(lengths.get(letter, 1), n) if n else 0
    Product(program, value, factors, lengths, result)
