"""Sums of products: matrix products, einsum and convolution are all this, in four kinds of loops.

A product is out[p, q] = sum over r of a[p, r] b[q, r], where p, q and r stand for any number of letters, each
with its steps in both factors; windows of images are such steps too, so no matrix of windows is made. Which
kind of loops it gets depends on where the samples are:

- in ``a`` and the output (a layer's output, the cotangent of its input): some q times some p stay in
registers;
- in ``a`` and ``b``, and summed over (the gradient of filters): the same, each a vector that is added up
last;
- the same without r (the gradient of a matrix): ``b`` turned, so that its elements lie along a vector;
- elsewhere: plain loops.

The innermost loops of the first three stand in ``products.c``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tensorgrad.graph.native.code import Code, read_template
from tensorgrad.graph.native.plan import (
    Value,
    View,
    add,
    dense_strides,
    lane_strides,
    place,
    require_apart,
    times,
)
from tensorgrad.graph.native.program import Program


class Factor(NamedTuple):
    """An array that is multiplied, and its step along each letter; None: its samples are along it."""

    value: Value
    view: View
    steps: Mapping[str, int | None]


class Loop(NamedTuple):
    """A loop variable of a product: its name, length, and steps in both factors and the output.

    None: in a factor it is not one of its letters; in the output it is summed over.
    """

    name: str
    length: int
    a: int | None
    b: int | None
    out: int | None


NOTHING = Loop("", 1, None, None, None)


class Product:
    """A value that is a sum of products: over the letters, of some lengths, that are not in ``result``.

    Attributes
    ----------
    a, b : Factor
        If one of them has samples it is ``a``.
    batch : int or None
        Where the samples are in the result.
    loops : list of Loop
        All but the samples'. By where they are: ``p``, ``q``: in the result, and in ``a`` or ``b`` alone;
        ``g``: in the result otherwise; ``r``: summed over.
    bias : Value or None
        A vector along the letters f and, before it, g.
    """

    def __init__(
        self,
        program: Program,
        value: Value,
        a: Factor,
        b: Factor,
        lengths: Mapping[str, int],
        result: str,
        bias: Value | None = None,
    ) -> None:
        self.program, self.value, self.bias = program, value, bias
        along = {letter for factor in (a, b) for letter, step in factor.steps.items() if step is None}
        require_apart(len(along) <= 1, f"{value.name} multiplies samples with one another")
        samples = along.pop() if along else ""
        lanes = [factor.steps.get(samples, 0) is None for factor in (a, b)]
        self.a, self.b = (b, a) if lanes == [False, True] else (a, b)
        one = lanes.count(True) == 1
        alone = not one or (samples in result and not self.b.steps.get(samples))
        require_apart(alone, f"{value.name} sums over samples of one factor, or multiplies them with rows")
        require_apart(not samples or 0 not in lengths.values(), f"{value.name} multiplies empty arrays")
        self.batch = result.index(samples) if samples and samples in result else None
        steps = dict(zip(result, lane_strides([lengths[x] for x in result], self.batch), strict=True))
        self.channels = {"g": lengths.get("f", 1), "f": 1}
        self.loops = [
            Loop(x, n, self.a.steps.get(x), self.b.steps.get(x), steps.get(x))
            for x, n in lengths.items()
            if n != 1 and x != samples
        ]
        self.r = [x for x in self.loops if x.out is None]
        self.p = [x for x in self.loops if x.out is not None and x.a is not None and x.b is None]
        self.q = [x for x in self.loops if x.out is not None and x.a is None and x.b is not None]
        self.g = [x for x in self.loops if x not in (*self.r, *self.p, *self.q)]
        if samples and self.batch is None:
            simple = not self.r and not self.g and len(self.p) <= 1 and len(self.q) <= 1
            (self._add_up_outer if simple else self._add_up_windows)()
        elif one:
            self._multiply_rows()
        else:
            self._multiply_plainly()

    def _multiply_plainly(self) -> None:
        """Loops without blocks: the sum inside of the outputs, but along the last output where it steps by
        one.
        """
        outer = [x for x in self.loops if x.out is not None]
        code, out, x, y = self._begin()
        element = out.at(_place(outer, "out"))
        product = f"{x.at(_place(self.loops, 'a'))} * {y.at(_place(self.loops, 'b'))}"
        kind, start = ("V", "zero") if self.value.laned else ("real", "0")
        if self.bias is not None:
            first = self.program.point(self.program.need_dense(self.bias), code).at(
                self._place_channel(outer)
            )
            start = f"all({first})" if self.value.laned else first
        last = outer[-1] if outer else NOTHING
        if self.r and not self.value.laned and (last.out, {last.a, last.b}) == (1, {1, None}):
            with code.loops(**_ranges(outer)):
                code.put(f"{element} = {start};")
            with code.loops(**_ranges([*outer[:-1], *self.r, last])):
                code.put(f"{element} += {product};")
            return
        with code.loops(**_ranges(outer)):
            code.put(f"{kind} sum = {start};")
            with code.loops(**_ranges(self.r)):
                code.put(f"sum += {product};")
            code.put(f"{element} = sum;")

    def _place_channel(self, loops: Sequence[Loop]) -> str:
        """Which element of the bias the loops are at: the channels of all groups lie behind one another."""
        return add(*(times(x.name, self.channels[x.name]) for x in loops if x.name in self.channels))

    def _begin(self, summed: bool = False) -> tuple[Any, ...]:
        what = f"sums of {math.prod(x.length for x in self.r)} products" + " over samples" * summed
        stage = max(x.stage for x in (self.a.value, self.b.value, self.bias) if x is not None)
        code, out = self.program.begin(self.value, what, batch=self.batch, stage=stage, summed=summed)
        return code, out, self.program.point(self.a.view, code), self.program.point(self.b.view, code)

    def _call(self, kind: int, rows: int, columns: int, arguments: Sequence[str], **words: str) -> str:
        """A call of one of the functions in ``products.c``, of which a copy is made for this product."""
        name = f"{self.value.name}{('rows', 'windows', 'outer')[kind]}_{rows}_{columns}"
        heads = [f"for (int {x.name} = 0; {x.name} < {x.length}; {x.name}++)" for x in self.r]
        words |= {"NAME": name, "ROWS": str(rows), "COLUMNS": str(columns), "LOOPS": "\n  ".join(heads)}
        words |= {"AT_A": _place(self.r, "a"), "AT_B": _place(self.r, "b")}
        template = read_template("products").split("\n\n")[kind + 1].partition("\n")[2]
        text = re.sub(rf"\b({'|'.join(words)})\b", lambda match: words[match[0]], template)
        self.program.functions[name] = text
        return f"{name}({', '.join(arguments)});"

    def _multiply_rows(self) -> None:
        """Samples in ``a`` and the output: blocks of outputs q by places p in registers."""
        code, out, x, w = self._begin()
        p, q = (self.p or [NOTHING])[-1], (self.q or [NOTHING])[-1]
        outer = [*self.g, *self.q[:-1], *self.p[:-1]]
        width = 3 if p.length > 8 else next(n for n in (3, 2, 4, 1) if p.length % n == 0)
        height = _share_evenly(q.length, self.program.registers // width)
        first = self.bias and self.program.point(self.program.need_dense(self.bias), code)
        words = {"START": "all(first[q])" if first else "zero", "STEP_A": times("p", p.a or 0)}
        words["STEP_B"] = times("q", q.b or 0)
        words["STEP_OUT"] = add(times("q", q.out or 0), times("p", p.out or 0))
        with code.loops(**_ranges(outer)):
            for (rows, q0), (columns, p0) in _in_blocks(
                code, ("to", q.length, height), ("at", p.length, width)
            ):
                arguments = [
                    x.plus(_place(outer, "a"), times(p0, p.a or 0)),
                    w.plus(_place(outer, "b"), times(q0, q.b or 0)),
                    out.plus(_place(outer, "out"), times(q0, q.out or 0), times(p0, p.out or 0)),
                    first.plus(self._place_channel(outer), q0) if first else "0",
                ]
                code.put(self._call(0, rows, columns, arguments, **words))

    def _add_up_windows(self) -> None:
        """Samples in both factors, summed over with others: vectors in registers, added up across at last."""
        code, out, x, y = self._begin(summed=True)
        words = {}
        for word, loops, side in (
            ("OF_A", self.p, "a"), ("OF_B", self.q, "b"), ("TO_A", self.p, "out"), ("TO_B", self.q, "out"),
        ):  # fmt: skip
            words[word] = self.program.add_table(
                f"{self.value.name}{word.lower()}", _list_places(loops, side)
            )
        rows, columns = (math.prod(x.length for x in loops) for loops in (self.p, self.q))
        height, width = _choose_blocks(rows, columns, self.program.registers)
        with code.loops(**_ranges(self.g)):
            starts = [
                pointer.plus(_place(self.g, side)) for pointer, side in ((x, "a"), (y, "b"), (out, "out"))
            ]
            for (high, p0), (wide, q0) in _in_blocks(code, ("at", rows, height), ("to", columns, width)):
                code.put(self._call(1, high, wide, [*starts, p0, q0, "valid"], **words))

    def _add_up_outer(self) -> None:
        """Samples in both factors and nothing else summed over: the gradient of a matrix.

        Both factors are kept for all samples, ``b`` turned so that its elements lie along a vector. When all
        blocks are done, threads share the rows of the result: each element is added up over all samples in a
        register.
        """
        program, value, a, b = self.program, self.value, self.a, self.b
        p, q = (self.p or [NOTHING])[0], (self.q or [NOTHING])[0]
        vectors = -(-q.length // program.lanes)
        width, samples = vectors * program.lanes, program.blocks * program.lanes
        columns = _share_evenly(vectors, 6)
        rows = min(max(program.registers // columns, 1), 8, p.length)
        stage = max(a.value.stage, b.value.stage)
        matrix = program.new_view(value.name, (p.length, width), None)
        turned = program.new_view(f"{value.name}turned", (samples, width), None)
        code, after = program.code(stage, True), program.share(stage, value.name, -(-p.length // rows))
        into = program.point(turned, code).plus(f"(long)block * {program.lanes * width}")
        code.put(f"// {value.name}: {b.value.name} with a row a sample, {turned.buffer.note}")
        code.put(f"turn({into}, {program.point(b.view, code).plus()}, {q.length}, {q.b or 0}, {width});")
        steps = {p.out: width, q.out: 1}
        strides = tuple(steps.get(step, 0) for step in dense_strides(value.shape, None)[0])
        value.view, value.stage = View(matrix.buffer, value.shape, strides), stage + 1
        a.view.buffer.role = "kept"
        left, right, out = (program.point(view, after) for view in (a.view, turned, matrix))
        after.put(f"// {value.name}: sums over all samples of outer products, {matrix.buffer.note}")
        full = p.length // rows
        for height, test in ((rows, f"unit < {full}"), (p.length % rows, f"unit == {full}")):
            if not height or (height == rows and not full):
                continue
            with after.block(f"if ({test})"):
                for ((many, q0),) in _in_blocks(after, ("to", vectors, columns)):
                    at = times(q0, program.lanes)
                    arguments = [left.plus(times("unit", rows * (p.a or 0))), right.plus(at)]
                    arguments.append(out.plus(times("unit", rows * width), at))
                    words = {
                        "WIDTH": str(width),
                        "STEP_A": times("p", p.a or 0),
                        "BLOCK": str(a.view.buffer.size),
                    }
                    after.put(self._call(2, height, many, arguments, **words))


def _place(loops: Sequence[Loop], side: str) -> str:
    """Where the loops are in one of the arrays."""
    return place([x.name for x in loops], [getattr(x, side) or 0 for x in loops])


def _ranges(loops: Sequence[Loop]) -> dict[str, int]:
    return {x.name: x.length for x in loops}


def _list_places(loops: Sequence[Loop], side: str) -> list[int]:
    axes = [[i * (getattr(x, side) or 0) for i in range(x.length)] for x in loops]
    return [sum(places) for places in itertools.product(*axes)]


def _in_blocks(code: Code, *axes: tuple[str, int, int]) -> Iterator[tuple[tuple[int, str], ...]]:
    """Loops over axes, each of a name and a length, in blocks of a size: sizes and beginnings of blocks."""
    if not axes:
        yield ()
        return
    (name, length, size), *rest = axes
    full, left = divmod(length, size)
    for many, count, first in ((size, full, 0), (left, 1, full * size)):
        if many and count:
            with code.loops(**{name: count}) as (index,):
                for blocks in _in_blocks(code, *rest):
                    yield (many, add(first, times(index, size))), *blocks


def _share_evenly(length: int, most: int) -> int:
    """The size of blocks of at most ``most``, of about equal size."""
    return -(-length // -(-length // max(most, 1)))


def _choose_blocks(p: int, q: int, registers: int) -> tuple[int, int]:
    """How many p by q to keep in registers: the least loads and multiplications for all of them."""

    def cost(pair: tuple[int, int]) -> tuple[float, int]:
        rows, columns = pair
        loads = -(-p // rows) * -(-q // columns) * max(rows * columns, rows + columns + 1)
        return loads, -rows * columns

    pairs = [(m, n) for m in range(1, min(p, 8) + 1) for n in range(1, min(q, 12) + 1)]
    return min((pair for pair in pairs if math.prod(pair) <= registers), key=cost)
