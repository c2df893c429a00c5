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
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tensorgrad.graph.native.code import Code, name_table
from tensorgrad.graph.native.plan import (
    UnbatchableError,
    Value,
    View,
    add,
    dense_strides,
    lane_strides,
    place,
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


def multiply(
    program: Program,
    value: Value,
    a: Factor,
    b: Factor,
    lengths: Mapping[str, int],
    result: str,
    bias: Value | None = None,
) -> None:
    """Write ``value`` as a sum of products: over the letters, of some lengths, that are not in ``result``.

    ``bias`` is a vector along the last letters of the result, as many as it needs.
    """
    along = {letter for factor in (a, b) for letter, step in factor.steps.items() if step is None}
    if len(along) > 1:
        raise UnbatchableError(f"{value.name} multiplies samples with one another")
    samples = along.pop() if along else ""
    both = samples != "" and all(factor.steps.get(samples, 0) is None for factor in (a, b))
    if samples and samples not in result and not both:
        raise UnbatchableError(f"{value.name} sums over samples of one factor")
    if samples and not both and a.steps.get(samples, 0) is not None:
        a, b = b, a  # the laned factor first
    if samples and not both and b.steps.get(samples, 0):
        raise UnbatchableError(f"{value.name} multiplies samples with rows of a plain array")
    batch = result.index(samples) if samples and samples in result else None
    strides = dict(zip(result, lane_strides([lengths[x] for x in result], batch), strict=True))
    loops = [
        Loop(x, n, a.steps.get(x), b.steps.get(x), strides.get(x))
        for x, n in lengths.items()
        if n != 1 and x != samples
    ]
    if samples and batch is None:
        p, q, g, r = _sort_loops(loops)
        write = _add_up_windows if g or r or len(p) > 1 or len(q) > 1 else _add_up_outer
        write(program, value, a, b, loops)
    elif samples and not both:
        _multiply_rows(program, value, batch, a, b, loops, bias)
    else:
        _multiply_plainly(program, value, batch, a, b, loops, bias)


def _sort_loops(loops: Sequence[Loop]) -> tuple[list[Loop], list[Loop], list[Loop], list[Loop]]:
    """Those of the output in ``a`` alone, in ``b`` alone, in both or none; those that are summed over."""
    p = [x for x in loops if x.out is not None and x.a is not None and x.b is None]
    q = [x for x in loops if x.out is not None and x.b is not None and x.a is None]
    g = [x for x in loops if x.out is not None and x not in p and x not in q]
    return p, q, g, [x for x in loops if x.out is None]


def _place(loops: Sequence[Loop], side: str) -> str:
    """Where the loops are in one of the arrays."""
    return place([x.name for x in loops], [getattr(x, side) or 0 for x in loops])


def _ranges(loops: Sequence[Loop]) -> dict[str, int]:
    return {x.name: x.length for x in loops}


def _describe(loops: Sequence[Loop]) -> str:
    return f"sums of {math.prod(x.length for x in loops if x.out is None)} products"


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
    most = max(most, 1)
    return -(-length // -(-length // most))


def _multiply_plainly(
    program: Program,
    value: Value,
    batch: int | None,
    a: Factor,
    b: Factor,
    loops: Sequence[Loop],
    bias: Value | None,
) -> None:
    """Loops without blocks: the sum inside the outputs, but along the last output where that steps by one."""
    stage = max(a.value.stage, b.value.stage)
    code, out = program.begin(value, _describe(loops), batch=batch, stage=stage)
    x, w = program.point(a.view, code), program.point(b.view, code)
    outer, inner = [x for x in loops if x.out is not None], [x for x in loops if x.out is None]
    element = out.at(_place(outer, "out"))
    product = f"{x.at(_place(loops, 'a'))} * {w.at(_place(loops, 'b'))}"
    start = "zero" if value.laned else "0"
    if bias is not None:
        first = program.point(program.need(bias), code)
        channel = _place([x for x in outer if x.name in "gf"], "out")
        start = ("all({})" if value.laned else "{}").format(first.at(times(channel, first.view.strides[0])))
    last = outer[-1] if outer else None
    if last and inner and not value.laned and (last.out, {last.a, last.b}) == (1, {1, None}):
        with code.loops(**_ranges(outer)):
            code.put(f"{element} = {start};")
        with code.loops(**_ranges([*outer[:-1], *inner, last])):
            code.put(f"{element} += {product};")
        return
    with code.loops(**_ranges(outer)):
        code.put(f"{'V' if value.laned else 'real'} sum = {start};")
        with code.loops(**_ranges(inner)):
            code.put(f"sum += {product};")
        code.put(f"{element} = sum;")


def _multiply_rows(
    program: Program,
    value: Value,
    batch: int | None,
    a: Factor,
    b: Factor,
    loops: Sequence[Loop],
    bias: Value | None,
) -> None:
    """Samples in ``a`` and the output: blocks of outputs q by places p in registers."""
    stage = max([a.value.stage, b.value.stage, *([bias.stage] if bias else [])])
    code, out = program.begin(value, _describe(loops), batch=batch, stage=stage)
    x, w = program.point(a.view, code), program.point(b.view, code)
    p, q, g, r = _sort_loops(loops)
    at, to = (p or [NOTHING])[-1], (q or [NOTHING])[-1]
    outer = [*g, *q[:-1], *p[:-1]]
    width = 3 if at.length > 8 else next(n for n in (3, 2, 4, 1) if at.length % n == 0)
    height = _share_evenly(to.length, program.registers // width)
    first = None if bias is None else program.point(program.need_dense(bias), code)
    each = "for (int q = 0; q < {}; q++) for (int p = 0; p < {}; p++)"

    def write(rows: int, columns: int) -> str:
        name, own = f"{value.name}rows_{rows}_{columns}", each.format(rows, columns)
        of_first = ", const real *first" if first else ""
        parameters = f"const V *restrict a, const real *restrict b, V *restrict out{of_first}"
        with program.function(name, parameters) as body:
            body.put(f"V sums[{rows}][{columns}];")
            body.put(f"{own} sums[q][p] = {'all(first[q])' if first else 'zero'};")
            with body.loops(**_ranges(r)):
                body.put(f"const V *x = a + {_place(r, 'a')};", f"const real *w = b + {_place(r, 'b')};")
                body.put("UNROLL", f"for (int q = 0; q < {rows}; q++)", "  UNROLL")
                product = f"x[{times('p', at.a or 0)}] * w[{times('q', to.b or 0)}]"
                body.put(f"  for (int p = 0; p < {columns}; p++) sums[q][p] += {product};")
            body.put(f"{own} out[{add(times('q', to.out or 0), times('p', at.out or 0))}] = sums[q][p];")
        return name

    with code.loops(**_ranges(outer)):
        for (rows, q0), (columns, p0) in _in_blocks(
            code, ("to", to.length, height), ("at", at.length, width)
        ):
            arguments = [
                x.plus(_place(outer, "a"), times(p0, at.a or 0)),
                w.plus(_place(outer, "b"), times(q0, to.b or 0)),
                out.plus(_place(outer, "out"), times(q0, to.out or 0), times(p0, at.out or 0)),
            ]
            if first:
                arguments.append(first.plus(*(times(x.name, to.length) for x in g), q0))
            code.put(f"{write(rows, columns)}({', '.join(arguments)});")


def _add_up_windows(program: Program, value: Value, a: Factor, b: Factor, loops: Sequence[Loop]) -> None:
    """Samples in both factors, summed over together with others: vectors in registers, added up across at
    last.
    """
    stage = max(a.value.stage, b.value.stage)
    code, out = program.begin(value, "sums over samples", stage=stage, summed=True)
    x, y = program.point(a.view, code), program.point(b.view, code)
    p, q, g, r = _sort_loops(loops)
    tables = {
        f"{value.name}{side}_{array}": _list_places(own, array)
        for side, own, arrays in (("p", p, ("a", "out")), ("q", q, ("b", "out")))
        for array in arrays
    }
    program.functions |= {name: name_table(name, places) for name, places in tables.items()}
    of_p, to_p, of_q, to_q = tables
    rows, columns = len(tables[of_p]), len(tables[of_q])
    height, width = _choose_blocks(rows, columns, program.registers)

    def write(height: int, width: int) -> str:
        name = f"{value.name}sums_{height}_{width}"
        each_p, each_q = f"for (int p = 0; p < {height}; p++)", f"for (int q = 0; q < {width}; q++)"
        parameters = "const V *restrict a, const V *restrict b, real *restrict out, int p0, int q0, W valid"
        with program.function(name, parameters) as body:
            body.put(f"const V *xs[{height}], *ys[{width}];", f"V sums[{height}][{width}];")
            body.put(f"{each_p} xs[p] = a + {of_p}[p0 + p];", f"{each_q} ys[q] = b + {of_q}[q0 + q];")
            body.put(f"{each_p} {each_q} sums[p][q] = zero;")
            with body.loops(**_ranges(r)):
                body.put(f"const long i = {_place(r, 'a')}, j = {_place(r, 'b')};")
                body.put("UNROLL", f"{each_p} {{", "  const V x = xs[p][i];")
                body.put("  UNROLL", f"  {each_q} sums[p][q] += x * ys[q][j];", "}")
            body.put(f"{each_p} {each_q}")
            body.put(f"  out[{to_p}[p0 + p] + {to_q}[q0 + q]] += total(v_keep(valid, sums[p][q]));")
        return name

    with code.loops(**_ranges(g)):
        starts = f"{x.plus(_place(g, 'a'))}, {y.plus(_place(g, 'b'))}, {out.plus(_place(g, 'out'))}"
        for (high, p0), (wide, q0) in _in_blocks(code, ("at", rows, height), ("to", columns, width)):
            code.put(f"{write(high, wide)}({starts}, {p0}, {q0}, valid);")


def _list_places(loops: Sequence[Loop], side: str) -> list[int]:
    found = [0]
    for x in loops:
        found = [start + i * (getattr(x, side) or 0) for start in found for i in range(x.length)]
    return found


def _choose_blocks(p: int, q: int, registers: int) -> tuple[int, int]:
    """How many p by q to keep in registers: the least loads and multiplications for all of them."""

    def cost(rows: int, columns: int) -> float:
        return -(-p // rows) * -(-q // columns) * max(rows * columns, rows + columns + 1)

    pairs = [(m, n) for m in range(1, min(p, 8) + 1) for n in range(1, min(q, 12) + 1) if m * n <= registers]
    return min(pairs, key=lambda pair: (cost(*pair), -pair[0] * pair[1]))


def _add_up_outer(program: Program, value: Value, a: Factor, b: Factor, loops: Sequence[Loop]) -> None:
    """Samples in both factors and nothing else summed over: the gradient of a matrix.

    Both factors are kept for all samples, ``b`` turned so that its elements lie along a vector. When all
    blocks are done, threads share the rows of the result: each element is added up over all samples in a
    register.
    """
    p = next((x for x in loops if x.a is not None), NOTHING)
    q = next((x for x in loops if x.b is not None), NOTHING)
    vectors = -(-q.length // program.lanes)
    width, many = vectors * program.lanes, program.blocks * program.lanes
    wide = _share_evenly(vectors, 6)
    high = min(max(program.registers // wide, 1), 8, p.length)
    stage = max(a.value.stage, b.value.stage)
    matrix = program.new_view(value.name, (p.length, width), None)
    turned = program.new_view(f"{value.name}turned", (many, width), None)
    code, after = program.code(stage, True), program.share(stage, value.name, -(-p.length // high))
    rows, columns = program.point(turned, code), program.point(b.view, code)
    code.put(f"// {value.name}: {b.value.name} with a row a sample, for its product with {a.value.name}")
    into = rows.plus(f"(long)block * {program.lanes * width}")
    code.put(f"turn({into}, {columns.plus()}, {q.length}, {q.b or 0}, {width});")
    strides = {p.out: width, q.out: 1}
    axes = tuple(strides.get(step, 0) for step in dense_strides(value.shape, None)[0])
    program.see(value, View(matrix.buffer, value.shape, axes), stage + 1)
    a.view.buffer.role = "kept"

    def write(height: int, many: int) -> str:
        name = f"{value.name}outer_{height}_{many}"
        each_p, each_q = f"for (int p = 0; p < {height}; p++)", f"for (int q = 0; q < {many}; q++)"
        at = f"{add(times('p', width), times('q', program.lanes))}"
        with program.function(name, "const V *a, const real *restrict b, real *restrict out") as body:
            body.put(f"U sums[{height}][{many}];", f"{each_p} {each_q} sums[p][q] = (U){{0}};")
            with body.block("for (int block = 0; block < BLOCKS; block++)"):
                body.put("const real *const x = (const real *)(a + (long)block * KEPT);")
                body.put(f"const real *const y = b + (long)block * LANES * {width};")
                with body.block("for (int l = 0; l < LANES && block * LANES + l < SAMPLES; l++)"):
                    vector, step = f"*(const U *)(y + l * {width} + q * LANES)", (p.a or 0) * program.lanes
                    body.put("UNROLL", f"{each_p} {{", "  UNROLL")
                    body.put(f"  {each_q} sums[p][q] += {vector} * x[{add(times('p', step), 'l')}];", "}")
            body.put(f"{each_p} {each_q} *(U *)(out + {at}) = sums[p][q];")
        return name

    left, right, out = (program.point(view, after) for view in (a.view, turned, matrix))
    after.put(f"// {value.name}: sums over all samples of outer products, {matrix.buffer.note}")
    full = p.length // high
    for height, condition in ((high, f"unit < {full}"), (p.length % high, f"unit == {full}")):
        if height and (full or height != high):
            with after.block(f"if ({condition})"):
                for ((wide_, q0),) in _in_blocks(after, ("to", vectors, wide)):
                    column = times(q0, program.lanes)
                    arguments = [left.plus(times("unit", high * (p.a or 0))), right.plus(column)]
                    arguments.append(out.plus(times("unit", high * width), column))
                    after.put(f"{write(height, wide_)}({', '.join(arguments)});")
