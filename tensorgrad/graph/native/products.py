"""Sums of products: matrix products, einsum and convolution are all this, in four kinds of loops.

A product is out[p, q] = sum over r of a[p, r] b[q, r], where p, q and r stand for any number of letters, each
with its steps in both factors; windows of images are such steps too, so no matrix of windows is made. Which
kind of loops it gets depends on where the samples are:

- in ``a`` and the output (a layer's output, the cotangent of its input): some q times some p are in
  registers;
- in ``a`` and ``b``, and summed over (the gradient of filters): the same, of vectors that are added up last;
- the same without r (the gradient of a matrix): ``b`` turned, so that its elements lie along a vector;
- elsewhere: plain loops, in JavaScript over a few sums at a time.

The innermost loops of the first three stand in ``rows.c``, ``windows.c`` and ``outer.c``, with words in
capitals for what differs.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from tensorgrad.graph.native.code import Code, Pointer, read_template
from tensorgrad.graph.native.plan import (
    Value,
    View,
    add,
    dense_strides,
    lane_strides,
    place,
    require_apart,
    times,
)  # fmt: skip
from tensorgrad.graph.native.program import Program


class Factor(NamedTuple):
    """An array that is multiplied, and its step along each letter; None: its samples are along it."""

    value: Value
    view: View
    steps: Mapping[str, int | None]


class Loop(NamedTuple):
    """A loop variable of a product: name, length, the arrays that it is a letter of, and steps in them."""

    name: str
    length: int
    of: str  # some of "a", "b" and "o", the output
    a: int
    b: int
    o: int


PARTS, LARGE = 4, 100_000  # in which a matrix of so many elements is shared out by rows

NOTHING = Loop("", 1, "", 0, 0, 0)
Starts: TypeAlias = Mapping[str, str]  # where some loops are, by their names
NOWHERE: Starts = {}


class Product:
    """A value that is a sum of products: over the letters, of some lengths, that are not in ``result``.

    Attributes
    ----------
    a, b : Factor
        If one of them has samples it is ``a``.
    batch : int or None
        Where the samples are in the result.
    loops : list of Loop
        All but the samples'. Of the output are ``p`` with ``a`` alone, ``q`` with ``b`` alone and the others,
        ``g``; ``r`` is summed over.
    bias : Value or None
        A vector along the letters f and, before it, g.
    """

    def __init__(
        self,
        program: Program,
        value: Value,
        factors: Sequence[Factor],
        lengths: Mapping[str, int],
        result: str,
        bias: Value | None = None,
    ) -> None:
        self.program, self.value, self.bias = program, value, bias
        along = {letter for factor in factors for letter, step in factor.steps.items() if step is None}
        require_apart(len(along) <= 1, f"{value.name} multiplies samples with one another")
        samples = along.pop() if along else ""
        self.a, self.b = sorted(factors, key=lambda factor: factor.steps.get(samples, 0) is not None)
        both = self.b.steps.get(samples, 0) is None
        alone = not samples or both or (samples in result and not self.b.steps.get(samples))
        require_apart(alone, f"{value.name} sums over samples of one factor, or multiplies them with rows")
        require_apart(not samples or 0 not in lengths.values(), f"{value.name} multiplies empty arrays")
        self.batch = result.index(samples) if samples and samples in result else None
        strides = lane_strides([lengths[x] for x in result], self.batch)
        steps = {"a": self.a.steps, "b": self.b.steps, "o": dict(zip(result, strides, strict=True))}
        self.loops: list[Loop] = []
        for x, n in lengths.items():
            if n != 1 and x != samples:
                of = "".join(side for side, its in steps.items() if x in its)
                self.loops.append(Loop(x, n, of, *(its.get(x) or 0 for its in steps.values())))
        kinds = (["ao"], ["bo"], ["o", "abo"], ["a", "b", "ab"])
        self.p, self.q, self.g, self.r = ([x for x in self.loops if x.of in kind] for kind in kinds)
        self.channels = {"g": lengths.get("f", 1), "f": 1}
        if samples and self.batch is None:
            simple = not self.r and not self.g and len(self.p) <= 1 and len(self.q) <= 1
            (self._add_up_outer if simple else self._add_up_windows)()
        elif samples and not both:
            self._multiply_rows()
        elif self.r and not self.value.laned and max(program.tile) > 1:
            self._multiply_in_tiles(*program.tile)
        else:
            self._multiply_plainly()

    def _multiply_plainly(self) -> None:
        """Loops without blocks: sums inside of the outputs, but along the last output if it steps by one."""
        code, out, x, y = self._begin()
        outer = [x for x in self.loops if "o" in x.of]
        element = out.at(_place(outer, "o"))
        product = f"{x.at(_place(self.loops, 'a'))} * {y.at(_place(self.loops, 'b'))}"
        kind, start = ("V", "zero") if self.value.laned else ("real", "0")
        if self.bias is not None:
            first = self.program.point(self.program.need_dense(self.bias), code)
            start = f"{'all' if self.value.laned else ''}({first.at(self._place_channel(outer))})"
        last = outer[-1] if outer else NOTHING
        if self.r and not self.value.laned and last.o == 1 and last.a + last.b == 1:
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

    def _multiply_in_tiles(self, height: int, width: int) -> None:
        """Plain loops that add up some p by some q at a time: what is read then serves for several sums."""
        code, *pointers = self._begin()
        p, q = [NOTHING, *self.p][-1], [NOTHING, *self.q][-1]
        outer = [x for x in self.loops if "o" in x.of]
        first = self.bias and self.program.point(self.program.need_dense(self.bias), code)
        with code.loops(**_ranges([x for x in outer if x not in (p, q)])):
            for (rows, p0), (columns, q0) in _in_blocks(
                code, ("at", p.length, height), ("to", q.length, width)
            ):
                tile = [*itertools.product(range(rows), range(columns))]
                starts = {(i, j): {p.name: add(p0, i), q.name: add(q0, j)} for i, j in tile}
                sums = [
                    f"sum{i}{j} = {first.at(self._place_channel(outer, starts[i, j])) if first else 0}"
                    for i, j in tile
                ]
                code.put(f"real {', '.join(sums)};")
                out, x, y = (
                    {at: of.at(_place(self.loops, side, starts[at])) for at in tile}
                    for of, side in zip(pointers, "oab", strict=True)
                )
                with code.loops(**_ranges(self.r)):
                    read = [f"a{i} = {x[i, 0]}" for i in range(rows)]
                    read += [f"b{j} = {y[0, j]}" for j in range(columns)]
                    code.put(
                        f"const real {', '.join(read)};", *(f"sum{i}{j} += a{i} * b{j};" for i, j in tile)
                    )
                code.put(*(f"{out[i, j]} = sum{i}{j};" for i, j in tile))

    def _place_channel(self, loops: Sequence[Loop], starts: Starts = NOWHERE) -> str:
        """Which element of the bias the loops are at: the channels of all groups lie behind one another."""
        names = [x.name for x in loops if x.name in self.channels]
        return place([starts.get(x, x) for x in names], [self.channels[x] for x in names])

    def _begin(self, summed: bool = False) -> tuple[Any, ...]:
        what = f"sums of {math.prod(x.length for x in self.r)} products" + " over samples" * summed
        stage = max(x.stage for x in (self.a.value, self.b.value, self.bias) if x is not None)
        code, out = self.program.begin(self.value, what, batch=self.batch, stage=stage, summed=summed)
        return code, out, self.program.point(self.a.view, code), self.program.point(self.b.view, code)

    def _advance(
        self, pointers: Sequence[Pointer], loops: Sequence[Loop], starts: Starts = NOWHERE
    ) -> list[str]:
        """Pointers to the output and both factors where loops are."""
        return [x.plus(_place(loops, side, starts)) for x, side in zip(pointers, "oab", strict=True)]

    def _call(self, kind: str, rows: int, columns: int, arguments: Sequence[str], **words: str) -> str:
        """A call of a function in one of the C files, of which a copy is made for this product."""
        name = f"{self.value.name}{kind}_{rows}x{columns}"
        inner = [x._replace(name=f"{x.name}_") for x in self.r]  # apart from the names in the files
        loops = [f"for (int {x.name} = 0; {x.name} < {x.length}; {x.name}++)" for x in inner]
        words |= {"NAME": name, "ROWS": str(rows), "COLUMNS": str(columns), "LOOPS": " ".join(loops)}
        words |= {"AT_A": _place(inner, "a"), "AT_B": _place(inner, "b")}
        pattern = re.compile(rf"\b({'|'.join(words)})\b")
        self.program.functions[name] = pattern.sub(lambda word: words[word[0]], read_template(kind))
        return f"{name}({', '.join(arguments)});"

    def _multiply_rows(self) -> None:
        """Samples in ``a`` and the output: blocks of outputs q by places p in registers."""
        if self._has_long_rows():
            self._multiply_parts()
            return
        code, *pointers = self._begin()
        p, q = [NOTHING, *self.p][-1], [NOTHING, *self.q][-1]
        loops = [*self.g, *self.q, *self.p]
        width = 3 if p.length > 8 else next(n for n in (3, 2, 4, 1) if p.length % n == 0)
        height = _share_evenly(q.length, self.program.registers // width)
        first = self.bias and self.program.point(self.program.need_dense(self.bias), code)
        words = {"START": "all(first[q])" if first else "zero"}
        words |= {"STEP_A": times("p", p.a), "STEP_B": times("q", q.b)}
        words["STEP_OUT"] = add(times("q", q.o), times("p", p.o))
        far = q.b == 1 and len(self.r) == 1 and self.r[0].b * self.program.dtype.itemsize >= 128
        words["AHEAD"] = str(8 * self.r[0].b) if far else "0"
        blocks = ("to", q.length, height), ("at", p.length, width)
        with code.loops(**_ranges([x for x in loops if x not in (p, q)])):
            for (rows, q0), (columns, p0) in _in_blocks(code, *blocks):
                starts = {p.name: p0, q.name: q0}
                out, x, w = (
                    of.plus(_place(loops, side, starts)) for of, side in zip(pointers, "oab", strict=True)
                )
                channels = first.plus(self._place_channel(loops, starts)) if first else "0"
                code.put(self._call("rows", rows, columns, [x, w, out, channels], **words))

    def _has_long_rows(self) -> bool:
        """Whether ``b`` is better shared out by its rows: it is trained, large, and read for few samples."""
        if (len(self.q), len(self.r)) != (1, 1) or self.p or self.g or self.q[0].b != 1:
            return False
        (r,), trained = self.r, self.program.graph.recording.gradients
        many = r.length >= 3 * self.program.blocks * self.program.lanes and r.length % PARTS == 0
        return many and bool(trained) and r.length * self.q[0].length >= LARGE

    def _multiply_parts(self) -> None:
        """As `_multiply_rows`, but each thread has some rows of ``b``, for all blocks, and sums of their own.

        The rows of its gradient and of the update are shared likewise: no weight goes from core to core.
        """
        program, value = self.program, self.value
        (q,), (r,) = self.q, self.r
        stage, each = max(self.a.value.stage, self.b.value.stage), r.length // PARTS
        parts = program.new_view(f"{value.name}parts", (1, PARTS, q.length), 0, role="kept")
        self.a.view.buffer.role, self.r = "kept", [r._replace(length=each)]
        code = program.share(stage, parts.buffer.name, PARTS)
        x, w, to = (program.point(view, code) for view in (self.a.view, self.b.view, parts))
        code.put(f"// {parts.buffer.name}: sums of {each} products, of rows that a thread has, {q.length}")
        words = {"START": "zero", "STEP_A": "0", "STEP_B": "q", "STEP_OUT": "q"}
        words["AHEAD"] = str(8 * r.b) if r.b * program.dtype.itemsize >= 128 else "0"
        height = _share_evenly(q.length, program.registers)
        with code.loops(block=program.blocks) as (block,):
            for ((rows, q0),) in _in_blocks(code, ("to", q.length, height)):
                of = x.plus(times("unit", each * r.a), times(block, self.a.view.buffer.size))
                at = to.plus(times("unit", q.length), times(block, parts.buffer.size), q0)
                arguments = of, w.plus(times("unit", each * r.b), q0), at, "0"
                code.put(self._call("rows", rows, 1, arguments, **words))
        code, out = program.begin(value, f"sums of {PARTS} parts", batch=self.batch, stage=stage + 1)
        part = program.point(parts, code)
        terms = [part.at("q", i * q.length) for i in range(PARTS)]
        if self.bias is not None:
            terms.append(f"all({program.point(program.need_dense(self.bias), code).at('q')})")
        with code.loops(q=q.length):
            code.put(f"{out.at('q')} = {' + '.join(terms)};")

    def _add_up_windows(self) -> None:
        """Samples in both factors, summed over with others: vectors in registers, added up across at last."""
        code, *pointers = self._begin(summed=True)
        tables = {"OF_A": (self.p, "a"), "OF_B": (self.q, "b"), "TO_A": (self.p, "o"), "TO_B": (self.q, "o")}
        words = {
            word: self.program.add_table(f"{self.value.name}{word.lower()}", _list_places(*table))
            for word, table in tables.items()
        }
        rows, columns = (math.prod(x.length for x in loops) for loops in (self.p, self.q))
        height, width = _choose_blocks(self.p, self.q, self.program.registers)
        pointers = self._advance(pointers, self.g)
        with code.loops(**_ranges(self.g)):
            for (high, p0), (wide, q0) in _in_blocks(code, ("at", rows, height), ("to", columns, width)):
                at = {word: f"{name}[{p0 if word[-1] == 'A' else q0}]" for word, name in words.items()}
                places = (at["TO_A"], at["TO_B"]), (at["OF_A"],), (at["OF_B"],)
                out, *factors = (" + ".join([x, *its]) for x, its in zip(pointers, places, strict=True))
                code.put(self._call("windows", high, wide, [*factors, out, "valid"], **words))

    def _add_up_outer(self) -> None:
        """Samples in both factors and nothing else summed over: the gradient of a matrix.

        Both factors are kept for all samples, ``b`` turned so that its elements lie along a vector. When all
        blocks are done, threads share the rows of the result; each element is added up in a register.
        """
        program, value, a, b = self.program, self.value, self.a, self.b
        p, q = [NOTHING, *self.p][-1], [NOTHING, *self.q][-1]
        vectors = -(-q.length // program.lanes)
        width, columns = vectors * program.lanes, _share_evenly(vectors, 3)
        rows = min(max(program.registers // columns, 1), 8, p.length)
        stage = max(a.value.stage, b.value.stage)
        matrix = program.new_view(value.name, (p.length, width), None)
        turned = program.new_view(f"{value.name}turned", (program.blocks * program.lanes, width), None)
        code = program.code(stage, True)
        of, start = program.point(b.view, code).plus(), f"(long)block * {program.lanes * width}"
        to = program.point(turned, code).plus(start)
        code.put(f"// {value.name}: {b.value.name} with a row a sample, {turned.buffer.note}")
        code.put(f"turn({to}, {of}, {q.length}, {q.b}, {width});")
        steps = {p.o: width, q.o: 1}
        strides = tuple(steps.get(step, 0) for step in dense_strides(value.shape, None)[0])
        value.view, value.stage = View(matrix.buffer, value.shape, strides), stage + 1
        a.view.buffer.role = "kept"
        full, left = divmod(p.length, rows)
        after = program.share(stage, value.name, full + (left > 0))
        pointers = [program.point(view, after) for view in (a.view, turned, matrix)]
        after.put(f"// {value.name}: sums over all samples of outer products, {matrix.buffer.note}")
        words = {"WIDTH": str(width), "STEP_A": times("p", p.a), "BLOCK": str(a.view.buffer.size)}
        for height, test in ((rows if full else 0, f"unit < {full}"), (left, f"unit == {full}")):
            with after.block(f"if ({test})" if height else ""):
                for ((many, q0),) in _in_blocks(after, ("to", vectors if height else 0, columns)):
                    at = times(q0, program.lanes)
                    places = [times("unit", rows * p.a)], [at], [times("unit", rows * width), at]
                    arguments = [of.plus(*its) for of, its in zip(pointers, places, strict=True)]
                    after.put(self._call("outer", height, many, arguments, **words))


def _place(loops: Sequence[Loop], side: str, starts: Starts = NOWHERE) -> str:
    """Where the loops are in one of the arrays, those of ``starts`` there."""
    return place([starts.get(x.name, x.name) for x in loops], [getattr(x, side) for x in loops])


def _list_places(loops: Sequence[Loop], side: str) -> list[int]:
    """All places in one of the arrays."""
    axes = [[i * getattr(x, side) for i in range(x.length)] for x in loops]
    return [sum(places) for places in itertools.product(*axes)]


def _ranges(loops: Sequence[Loop]) -> dict[str, int]:
    return {x.name: x.length for x in loops}


def _in_blocks(code: Code, *axes: tuple[str, int, int]) -> Iterator[tuple[tuple[int, str], ...]]:
    """Loops over axes of a name and a length, in blocks of a size: the sizes and beginnings of blocks."""
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


def _choose_blocks(p: Sequence[Loop], q: Sequence[Loop], registers: int) -> tuple[int, int]:
    """How many p by q to keep in registers, with the fewer of both: the least time for all of them.

    That is of multiplications or loads, whichever there are more; a sum is not ready for the next at once.
    """
    rows, columns = (math.prod(x.length for x in loops) for loops in (p, q))

    def cost(pair: tuple[int, int]) -> tuple[int, int]:
        each = max(math.prod(pair), sum(pair), 8)
        return -(-rows // pair[0]) * -(-columns // pair[1]) * each, -math.prod(pair)

    fits = [
        pair
        for pair in itertools.product(_list_sizes(p), _list_sizes(q))
        if math.prod(pair) + min(pair) < registers * 4 // 3
    ]
    return min(fits, key=cost)


def _list_sizes(loops: Sequence[Loop]) -> list[int]:
    """The sizes of blocks of all indices of some loops that lie, one like the other, in a row of memory."""
    sizes, inside = {1}, 1
    for x in reversed(loops):
        sizes |= {inside * n for n in range(1, x.length + 1) if x is loops[0] or x.length % n == 0}
        inside *= x.length
    return sorted(sizes)
