"""The rules of C for ops that move, add up and multiply; those on elements and on windows stand beside.

A rule is ``rule(program, value, *arguments, **options)``. It asks the `Program` for the memory of its
arguments (`Program.need`), says where its result lies (`Program.see` another view of it, `Program.begin` new
memory), and puts lines into the code it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.code import Code, Pointer, Words, name_table
from tensorgrad.graph.native.plan import (
    UnbatchableError,
    UnwritableError,
    Value,
    View,
    dense_view,
    times,
)
from tensorgrad.graph.native.products import Factor, multiply
from tensorgrad.graph.native.program import INDICES, Program

# Other views of the same memory

FAR = 1 << 40  # the step of the batch axis in an array that is only looked at


def view_as(look: Callable[..., NDArray]) -> Callable[..., None]:
    """As a view: NumPy says, of an array in place of the memory, which is not read, where elements lie."""

    def rule(program: Program, value: Value, x: Value, **options: Any) -> None:
        view = program.need(x)
        strides = [FAR if k == view.batch else step for k, step in enumerate(view.strides)]
        stand_in = as_strided(np.empty(0, np.int8), view.shape, strides)
        seen = look(stand_in, **options)
        batch, offset = None, seen.ctypes.data - stand_in.ctypes.data
        if view.batch is not None:
            if FAR not in seen.strides or abs(offset) >= FAR // 2:
                raise UnbatchableError(f"{value.name} picks samples")
            batch = seen.strides.index(FAR)
        strides = [0 if k == batch else step for k, step in enumerate(seen.strides)]
        value.kind = x.kind
        program.see(
            value, View(view.buffer, value.shape, tuple(strides), view.offset + offset, batch), x.stage
        )

    return rule


broadcast_to = view_as(np.broadcast_to)
swapaxes = view_as(np.swapaxes)
transpose = view_as(np.transpose)


def reshape(program: Program, value: Value, x: Value, *, shape: Any, order: str) -> None:
    if order != "C":
        raise UnwritableError(f"reshape in the order {order}")
    view, batch = program.need_dense(x), None
    if x.batch is not None:
        before, length = math.prod(x.shape[: x.batch]), x.shape[x.batch]
        found = [k for k, n in enumerate(value.shape) if n == length and math.prod(value.shape[:k]) == before]
        if not found:
            raise UnbatchableError("a reshape takes the batch axis apart")
        batch = x.batch if x.batch in found else found[0]
    value.kind = x.kind
    program.see(value, dense_view(view.buffer, value.shape, batch, view.offset), x.stage)


# What moves elements


def move(look: Callable[..., NDArray]) -> Callable[..., None]:
    """By a table, which NumPy makes of the elements' numbers."""

    def rule(program: Program, value: Value, x: Value, **options: Any) -> None:
        table, batch = _follow(lambda numbers: look(numbers, **options), x.shape, x.batch)
        code, to, from_ = program.begin(value, "elements moved", x, batch=batch, dense=True)
        name = f"{value.name}from"
        program.functions[name] = name_table(name, table.ravel().tolist())
        with code.loops(i=table.size) as (i,):
            code.put(f"{to.at(i)} = {from_.at(f'{name}[{i}]')};")

    return rule


def _follow(
    look: Callable[[NDArray], NDArray], shape: Sequence[int], batch: int | None
) -> tuple[NDArray, int | None]:
    """Which element each of the result is, without the batch axis, and where that axis is in the result."""
    inside = [n for k, n in enumerate(shape) if k != batch]
    numbers = np.arange(math.prod(inside)).reshape(inside)
    if batch is None:
        return np.asarray(look(numbers)), None
    rows = shape[batch]
    starts = numbers.size * np.arange(rows).reshape(-1, *[1] * (len(shape) - 1 - batch))
    sample, element = np.divmod(look(np.expand_dims(numbers, batch) + starts), numbers.size)
    for k in range(element.ndim):
        expected = np.arange(rows).reshape(-1, *[1] * (element.ndim - 1 - k))
        if (
            element.shape[k] == rows
            and np.all(sample == expected)
            and np.all(element == element.take([0], k))
        ):
            return element.take(0, k), k
    raise UnbatchableError("elements are moved from sample to sample")


roll = move(np.roll)
_take = move(lambda numbers, index: numbers[index])
_slice = view_as(lambda x, index: x[index])


def getitem(program: Program, value: Value, x: Value, *, index: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Tensor) for part in parts):
        _look_up(program, value, x, parts)
    elif all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts):
        _slice(program, value, x, index=index)
    else:
        _take(program, value, x, index=index)


def _look_up(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """Rows of a plain array by numbers that each sample brings: an embedding."""
    numbers = program.value_of(parts[0])
    if len(parts) != 1 or x.laned:
        raise UnbatchableError("an index that samples bring picks among samples")
    what = f"rows of {x.name}"
    code, to, rows, index = program.begin(value, what, x, numbers, batch=numbers.batch, dense=True)
    width = math.prod(x.shape[1:])
    with code.loops(n=index.view.buffer.size, i=width, l=program.lanes if value.laned else 1) as (n, i, lane):
        at = f"[{lane}]" if value.laned else ""
        row = times(f"find_row({index.at(n)}{at}, {x.shape[0]})", width)
        code.put(f"{to.at(times(n, width), i)}{at} = {rows.at(row, i)};")


def scatter_add(program: Program, value: Value, x: Value, *, index: Any, shape: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Tensor) for part in parts):
        _add_up_rows(program, value, x, parts)
        return
    for batch in [None] if x.batch is None else [k for k, n in enumerate(shape) if n == program.samples]:
        try:
            table, of_x = _follow(lambda numbers: numbers[index], shape, batch)
        except UnbatchableError:
            continue
        if of_x == x.batch:
            break
    else:
        raise UnbatchableError("an index picks samples")
    code, to, from_ = program.begin(value, "added at an index", x, batch=batch, dense=True)
    _clear(code, to)
    name = f"{value.name}to"
    program.functions[name] = name_table(name, table.ravel().tolist())
    with code.loops(i=table.size) as (i,):
        code.put(f"{to.at(f'{name}[{i}]')} += {from_.at(i)};")


def _add_up_rows(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """The gradient of an embedding: the cotangents of each sample added to the rows that it had looked up."""
    numbers = program.value_of(parts[0])
    if len(parts) != 1 or x.batch != numbers.batch:
        raise UnbatchableError("an index that samples bring picks among samples")
    code, to, rows, index = program.begin(value, "sums of rows", x, numbers, dense=True, summed=x.laned)
    width, at = math.prod(value.shape[1:]), "[l]" if x.laned else ""
    if not x.laned:
        _clear(code, to)
    lanes = "for (int l = 0; l < count; l++)" if x.laned else ""
    with code.loops(n=index.view.buffer.size) as (n,), code.block(lanes), code.loops(i=width) as (i,):
        row = times(f"find_row({index.at(n)}{at}, {value.shape[0]})", width)
        code.put(f"{to.at(row, i)} += {rows.at(times(n, width), i)}{at};")


def _clear(code: Code, to: Pointer) -> None:
    code.put(f"memset({to.name}, 0, {to.view.buffer.size} * sizeof *{to.name});")


def concatenate(program: Program, value: Value, *arrays: Any, axis: int) -> None:
    parts = [program.constant(x) for x in arrays]
    _join(program, value, parts, [program.need(x) for x in parts], axis % len(value.shape))


def stack(program: Program, value: Value, *arrays: Any, axis: int) -> None:
    axis %= len(value.shape)
    parts, views = [program.constant(x) for x in arrays], []
    for x in parts:
        view = program.need(x)
        shape, strides = ((*x_[:axis], new, *x_[axis:]) for x_, new in ((view.shape, 1), (view.strides, 0)))
        batch = None if view.batch is None else view.batch + (view.batch >= axis)
        views.append(View(view.buffer, shape, strides, view.offset, batch))
    _join(program, value, parts, views, axis)


def _join(program: Program, value: Value, parts: Sequence[Value], views: Sequence[View], axis: int) -> None:
    batches = {view.batch for view in views} - {None}
    if len(batches) > 1 or axis in batches:
        raise UnbatchableError("samples are joined")
    batch = batches.pop() if batches else None
    code, to, *_ = program.begin(value, "arrays joined", *parts, batch=batch)
    start = to.view.offset
    for view in views:
        program.copy(code, view, View(to.view.buffer, view.shape, to.view.strides, start, batch))
        start += view.shape[axis] * to.view.strides[axis]


# Sums and maxima


class Reduction:
    """By an accumulator for each element of the result; it writes its argument's expression out by itself."""

    fuses = True

    def __init__(self, start: str, update: str, mean: bool = False) -> None:
        self.start, self.update, self.mean = start, update, mean

    def __call__(
        self,
        program: Program,
        value: Value,
        x: Value,
        *,
        axis: Any = None,
        keepdims: bool = False,
        shape: Any = None,
    ) -> None:
        ndim, lead = len(x.shape), len(x.shape) - len(value.shape)
        if shape is not None:  # the sum to a shape: over axes that it has not, or as length 1
            axes = {k for k in range(ndim) if k < lead or value.shape[k - lead] == 1 != x.shape[k]}
        else:
            axes = {k % ndim for k in np.atleast_1d(axis).tolist()} if axis is not None else {*range(ndim)}
        across = x.laned and x.batch in axes
        if (
            x.kind == "i"
            or (x.kind == "b" and self.update != "{0} += {1};")
            or (across and self.start != "0")
        ):
            error = UnbatchableError if x.kind == "f" else UnwritableError
            raise error(
                f"{value.name} compares samples" if x.kind == "f" else f"{value.name} of {x.tensor.dtype}"
            )
        kept = [k for k in range(ndim) if k not in axes]
        of = kept if len(kept) == len(value.shape) else [*range(lead, ndim)]
        value.kind = "f"  # of truth values it is how many there are
        if x.view is None:
            program.element(x, ["0"] * ndim, Code())  # what it reads is written first
        batch = None if across or x.batch is None else of.index(x.batch)
        code, to = program.begin(value, f"of {x.name}", batch=batch, stage=x.stage, summed=across)
        outer = {INDICES[k]: x.shape[k] for k in kept if k != x.batch}
        inner = {INDICES[k]: x.shape[k] for k in sorted(axes) if k != x.batch}
        words = Words(program.dtype, x.laned, "f")
        with code.loops(**outer) as names:
            index = dict(zip(outer, names, strict=True))
            code.put(f"{'V' if x.laned else 'real'} sum = {'all' if x.laned else ''}({self.start});")
            with code.loops(**inner) as names:
                index |= zip(inner, names, strict=True)
                place = [index.get(INDICES[k], "0") for k in range(ndim)]
                term = words.convert(program.element(x, place, code), "f")
                code.put(self.update.format("sum", term, "v" if x.laned else "s"))
            out = to[[place[k] if k in kept else "0" for k in of]]
            total = "total(v_keep(valid, sum))" if across else "sum"
            if self.mean:
                total += f" / {words.real(math.prod(x.shape[k] for k in axes))}"
            code.put(f"{out} {'+=' if across else '='} {total};")


add_up = Reduction("0", "{0} += {1};")
average = Reduction("0", "{0} += {1};", mean=True)
largest = Reduction("-INFINITY", "{0} = {2}_max({1}, {0});")
smallest = Reduction("INFINITY", "{0} = {2}_min({1}, {0});")


# Products


def matmul(program: Program, value: Value, x: Any, y: Any) -> None:
    x, y = program.constant(x), program.constant(y)
    rows, columns = len(x.shape) > 1, len(y.shape) > 1
    stacks = "abcdefgh"[: len(value.shape) - rows - columns]
    left = stacks[len(stacks) - len(x.shape[:-2]) :] + "mk"[not rows :]
    right = stacks[len(stacks) - len(y.shape[:-2]) :] + "kn"[: 1 + columns]
    _contract(program, value, (x, left), (y, right), stacks + "m" * rows + "n" * columns)


def einsum(program: Program, value: Value, *operands: Any, subscripts: str, optimize: Any) -> None:
    terms, result = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    if len(operands) != 2 or any(len({*term}) < len(term) for term in terms):
        raise UnwritableError(f"einsum of {subscripts}")
    x, y = map(program.constant, operands)
    _contract(program, value, (x, terms[0]), (y, terms[1]), result)


def _contract(
    program: Program, value: Value, a: tuple[Value, str], b: tuple[Value, str], result: str
) -> None:
    """A sum of products of two arrays with a letter for each axis; an axis of length 1 is repeated."""
    lengths = dict.fromkeys(result, 1)
    factors = []
    for x, letters in (a, b):
        view = program.need(x)
        steps = [0 if n == 1 and step else step for n, step in zip(x.shape, view.steps(), strict=True)]
        factors.append(Factor(x, view, dict(zip(letters, steps, strict=True))))
        for letter, n in zip(letters, x.shape, strict=True):
            lengths[letter] = n if lengths.get(letter, 1) == 1 else lengths[letter]
    multiply(program, value, factors[0], factors[1], lengths, result)
