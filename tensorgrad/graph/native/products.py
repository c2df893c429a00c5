"""Sums of products: matrix products, einsum and convolution are all this, in four kinds of loops.

A product is out[p, q] = sum over r of a[p, r] b[q, r], where p, q and r stand for any number of loop variables,
each with its steps in the three arrays; windows of images are such steps too, so no matrix of windows is made.
Which kind of loops it gets depends on where the samples are:

- in ``a`` and ``out`` (a layer's output, the cotangent of its input): some q times some p stay in registers;
- in ``a`` and ``b``, and summed over (the gradient of filters): the same, each a vector that is added up last;
- the same without r (the gradient of a matrix): ``b`` turned, so that its elements lie along a vector;
- elsewhere: plain loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tensorgrad.graph.native.plan import UnbatchableError, Value, View, dense_strides
from tensorgrad.graph.native.program import Code, Program, place


class Loop(NamedTuple):
    """A loop variable of a product: its name and length, its steps in both factors, and the axis of the output
    that it runs along (None: it is summed over). A step of None: the factor's samples are along it."""

    name: str
    length: int
    a: int | None
    b: int | None
    out: int | None


def multiply(
    program: Program,
    value: Value,
    a: tuple[Value, View],
    b: tuple[Value, View],
    loops: Sequence[Loop],
    bias: View | None = None,
) -> None:
    """Write ``value`` as a sum of products of two arrays."""
    loops = [loop for loop in loops if loop.length != 1 or loop.a is None or loop.b is None]
    stage = max(a[0].stage, b[0].stage)
    along = [loop for loop in loops if loop.a is None or loop.b is None]
    if not along:
        return _multiply_plainly(program, value, stage, a[1], b[1], loops, bias)
    if len(along) > 1:
        raise UnbatchableError(f"{value.name} multiplies samples with one another")
    (samples,) = along
    rest = [loop for loop in loops if loop is not samples]
    if samples.out is None:
        if samples.a is not None or samples.b is not None:
            raise UnbatchableError(f"{value.name} sums over samples of one factor")
        value.stage = stage + 1
        if any(loop.out is None for loop in rest):
            return _add_up_windows(program, value, stage, a[1], b[1], rest)
        return _add_up_outer(program, value, stage, a[1], b[1], rest)
    value.batch, value.stage = samples.out, stage
    if samples.a is None and samples.b is None:
        return _multiply_plainly(program, value, stage, a[1], b[1], rest, bias)
    if samples.a is not None:  # the laned factor first
        a, b, rest = b, a, [Loop(n, length, y, x, out) for n, length, x, y, out in rest]
    if samples.a not in (0, None) or samples.b not in (0, None):
        raise UnbatchableError(f"{value.name} multiplies samples with rows of a plain array")
    return _multiply_rows(program, value, stage, a[1], b[1], rest, bias)


def _step(step: int | None) -> int:
    return step or 0


def _multiply_plainly(
    program: Program, value: Value, stage: int, a: View, b: View, loops: Sequence[Loop], bias: View | None
) -> None:
    """Loops without blocks: the sum inside of the outputs, but along the last output where both step by one."""
    value.stage = stage
    value.view = program.new_view(value)
    code, out = program.code(stage, value.laned), value.view
    outer = [loop for loop in loops if loop.out is not None]
    inner = [loop for loop in loops if loop.out is None]
    program_a, program_b = program.point(a.buffer, code), program.point(b.buffer, code)
    names, product = [loop.name for loop in loops], "V" if value.laned else "real"
    at_a = place(names, [_step(loop.a) for loop in loops], a.offset)
    at_b = place(names, [_step(loop.b) for loop in loops], b.offset)
    at_out = place([x.name for x in outer], [out.strides[x.out] for x in outer if x.out is not None], 0)
    start = "zero" if value.laned else "0"
    if bias is not None:
        start = f"{'all' if value.laned else ''}({program.point(bias.buffer, code)}[{place([x.name for x in outer], [bias.strides[0] if x.out == len(out.shape) - 1 else 0 for x in outer], bias.offset)}])"
        if any(x.name == "g" for x in outer):  # groups of filters: their bias lies behind one another
            each = next(x.length for x in outer if x.name == "f") if any(x.name == "f" for x in outer) else 1
            start = start.replace("])", f" + g * {each * bias.strides[0]}])")
    code.put(f"// {value.name}: sums of {math.prod(x.length for x in inner)} products, {out.buffer.note}")
    last = outer[-1] if outer else None
    if last is not None and inner and not value.laned and last.out is not None and out.strides[last.out] == 1 and (last.b, last.a) in ((1, 0), (0, 1)):
        to = program.point(out.buffer, code)
        with code.loops(*((x.name, x.length) for x in outer)):
            code.put(f"{to}[{at_out}] = {start};")
        with code.loops(*((x.name, x.length) for x in [*outer[:-1], *inner, last])):
            code.put(f"{to}[{at_out}] += {program_a}[{at_a}] * {program_b}[{at_b}];")
        return
    with code.loops(*((x.name, x.length) for x in outer)), code.block(""):
        code.put(f"{product} sum = {start};")
        with code.loops(*((x.name, x.length) for x in inner)):
            code.put(f"sum += {program_a}[{at_a}] * {program_b}[{at_b}];")
        code.put(f"{program.point(out.buffer, code)}[{at_out}] = sum;")


def _multiply_rows(
    program: Program, value: Value, stage: int, a: View, b: View, loops: Sequence[Loop], bias: View | None
) -> None:
    """Samples in ``a`` and the output: blocks of outputs q by places p in registers."""
    value.view = out = program.new_view(value)
    p = [x for x in loops if x.out is not None and _step(x.a) and not _step(x.b)]
    q = [x for x in loops if x.out is not None and _step(x.b) and not _step(x.a)]
    g = [x for x in loops if x.out is not None and _step(x.a) and _step(x.b)]
    r = [x for x in loops if x.out is None]
    inner_p = p[-1:]
    inner_q = q[-1:]
    outer = [*g, *q[:-1], *p[:-1]]
    places, outputs = math.prod(x.length for x in inner_p), math.prod(x.length for x in inner_q)
    width = next(n for n in (3, 2, 4, 1) if places % n == 0 or n == 1) if places < 9 else 3
    height = _share_evenly(outputs, max(program.registers() // width, 1))
    step = lambda x: out.strides[x.out]
    code = program.code(stage, True)
    code.put(f"// {value.name}: sums of {math.prod(x.length for x in r)} products, {out.buffer.note}")
    names = [x.name for x in outer]
    of_a, of_b, of_out = (
        place(names, [f(x) for x in outer], offset)
        for f, offset in ((lambda x: _step(x.a), a.offset), (lambda x: _step(x.b), b.offset), (step, 0))
    )
    (sa, so) = (_step(inner_p[0].a), step(inner_p[0])) if inner_p else (0, 0)
    (sb, sq) = (_step(inner_q[0].b), step(inner_q[0])) if inner_q else (0, 0)
    first = ""
    if bias is not None:
        each = outputs if g else 0
        first = f", {program.point(bias.buffer, code)} + {place([x.name for x in g], [each] * len(g), bias.offset)}"

    def write(rows: int, columns: int) -> str:
        name = f"{value.name}rows_{rows}_{columns}"
        offsets = place([x.name for x in r], [_step(x.a) for x in r], 0), place([x.name for x in r], [_step(x.b) for x in r], 0)
        helper = Code()
        head = f"INLINE void {name}(const V *restrict a, const real *restrict b, V *restrict out{', const real *first' if bias else ''})"
        with helper.block(head):
            helper.put(f"V sums[{rows}][{columns}];")
            helper.put(f"for (int q = 0; q < {rows}; q++) for (int p = 0; p < {columns}; p++) sums[q][p] = {'all(first[q])' if bias else 'zero'};")
            with helper.loops(*((x.name, x.length) for x in r)):
                with helper.block(""):
                    helper.put(f"const V *x = a + {offsets[0]};", f"const real *w = b + {offsets[1]};")
                    helper.put("UNROLL", f"for (int q = 0; q < {rows}; q++)", "  UNROLL", f"  for (int p = 0; p < {columns}; p++) sums[q][p] += x[p * {sa}] * w[q * {sb}];")
            helper.put(f"for (int q = 0; q < {rows}; q++) for (int p = 0; p < {columns}; p++) out[q * {sq} + p * {so}] = sums[q][p];")
        program.functions[name] = "\n".join(line[2:] if line.startswith("  ") else line for line in helper.lines)
        return name

    def call(rows: int, q0: str, columns: int, p0: str) -> None:
        offset_q = f" + ({q0}) * {height}" if q0 != "0" else ""
        code.put(
            f"{write(rows, columns)}({program.point(a.buffer, code)} + {of_a} + ({p0}) * {sa}, "
            f"{program.point(b.buffer, code)} + {of_b} + ({q0}) * {height * sb}, "
            f"{program.point(out.buffer, code)} + {of_out} + ({q0}) * {height * sq} + ({p0}) * {so}{first + offset_q if first else ''});"
        )

    with code.loops(*((x.name, x.length) for x in outer)), code.block(""):
        for rows, q0, many_q in _cut(outputs, height, "to"):
            with code.loops(("to", many_q)):
                for columns, p0, many_p in _cut(places, width, "at"):
                    with code.loops(("at", many_p)):
                        call(rows, q0, columns, f"{p0} * {width}" if p0 != "0" else "0")


def _cut(length: int, size: int, name: str) -> list[tuple[int, str, int]]:
    """A loop over ``length`` in blocks: (their size, which block, how many of them), what is left over last."""
    full, left = divmod(length, size)
    blocks = [(size, name if full != 1 else "0", full)] if full else []
    return [*blocks, (left, str(full), 1)] if left else blocks


def _share_evenly(length: int, most: int) -> int:
    """The size of blocks of at most ``most``, of about equal size."""
    return -(-length // -(-length // most))


def _add_up_windows(
    program: Program, value: Value, stage: int, a: View, b: View, loops: Sequence[Loop]
) -> None:
    """Samples in both factors, summed over together with others: vectors in registers, added up across at last."""
    strides, size = dense_strides(value.shape, None)
    buffer = program.new_buffer(value.name, size, False, "sums", " x ".join(map(str, value.shape)))
    value.view = View(buffer, value.shape, strides)
    p = [x for x in loops if x.out is not None and not _step(x.b)]
    q = [x for x in loops if x.out is not None and not _step(x.a) and x not in p]
    g = [x for x in loops if x.out is not None and _step(x.a) and _step(x.b)]
    r = [x for x in loops if x.out is None]
    code = program.code(stage, True)
    to = lambda x: strides[x.out]
    tables = {
        "pa": _offsets([(x.length, _step(x.a)) for x in p]), "po": _offsets([(x.length, to(x)) for x in p]),
        "qb": _offsets([(x.length, _step(x.b)) for x in q]), "qo": _offsets([(x.length, to(x)) for x in q]),
    }  # fmt: skip
    rows, columns = _choose_blocks(len(tables["pa"]), len(tables["qb"]), program.registers())
    for key, offsets in tables.items():
        name = f"{value.name}{key}"
        program.functions[name] = f"static const int {name}[{len(offsets)}] = {{{', '.join(map(str, offsets))}}};"
    at_a = place([x.name for x in r], [_step(x.a) for x in r], 0)
    at_b = place([x.name for x in r], [_step(x.b) for x in r], 0)

    def write(height: int, width: int) -> str:
        name = f"{value.name}sums_{height}_{width}"
        helper = Code()
        head = f"INLINE void {name}(const V *restrict a, const V *restrict b, real *restrict out, int p0, int q0, W valid)"
        with helper.block(head):
            helper.put(f"const V *xs[{height}], *ys[{width}];", f"V sums[{height}][{width}];")
            helper.put(f"for (int p = 0; p < {height}; p++) xs[p] = a + {value.name}pa[p0 + p];")
            helper.put(f"for (int q = 0; q < {width}; q++) ys[q] = b + {value.name}qb[q0 + q];")
            helper.put(f"for (int p = 0; p < {height}; p++) for (int q = 0; q < {width}; q++) sums[p][q] = zero;")
            with helper.loops(*((x.name, x.length) for x in r)):
                with helper.block(""):
                    helper.put(f"const long i = {at_a}, j = {at_b};", "UNROLL", f"for (int p = 0; p < {height}; p++) {{", "  const V x = xs[p][i];", "  UNROLL", f"  for (int q = 0; q < {width}; q++) sums[p][q] += x * ys[q][j];", "}")
            helper.put(
                f"for (int p = 0; p < {height}; p++) for (int q = 0; q < {width}; q++) "
                f"out[{value.name}po[p0 + p] + {value.name}qo[q0 + q]] += total(keep(valid, sums[p][q]));"
            )
        program.functions[name] = "\n".join(line[2:] if line.startswith("  ") else line for line in helper.lines)
        return name

    names = [x.name for x in g]
    code.put(f"// {value.name}: sums over samples, {buffer.note}")
    with code.loops(*((x.name, x.length) for x in g)), code.block(""):
        for height, p0, many_p in _cut(len(tables["pa"]), rows, "at"):
            with code.loops(("at", many_p)):
                for width, q0, many_q in _cut(len(tables["qb"]), columns, "to"):
                    with code.loops(("to", many_q)):
                        code.put(
                            f"{write(height, width)}({program.point(a.buffer, code)} + {place(names, [_step(x.a) for x in g], a.offset)}, "
                            f"{program.point(b.buffer, code)} + {place(names, [_step(x.b) for x in g], b.offset)}, "
                            f"{program.point(buffer, code)} + {place(names, [to(x) for x in g], 0)}, ({p0}) * {rows}, ({q0}) * {columns}, valid);"
                        )


def _offsets(axes: Sequence[tuple[int, int]]) -> list[int]:
    found = [0]
    for length, step in axes:
        found = [start + i * step for start in found for i in range(length)]
    return found


def _choose_blocks(p: int, q: int, registers: int) -> tuple[int, int]:
    """How many p by q to keep in registers: the least loads and multiplications for all of them."""

    def cost(rows: int, columns: int) -> float:
        return -(-p // rows) * -(-q // columns) * max(rows * columns, rows + columns + 1)

    pairs = [(m, n) for m in range(1, min(p, 8) + 1) for n in range(1, min(q, 12) + 1) if m * n <= registers]
    return min(pairs, key=lambda pair: (cost(*pair), -pair[0] * pair[1]))


def _add_up_outer(program: Program, value: Value, stage: int, a: View, b: View, loops: Sequence[Loop]) -> None:
    """Samples in both factors and nothing else summed over: the gradient of a matrix.

    Both factors are kept for all samples, ``b`` turned so that its elements lie along a vector. When all blocks
    are done, threads share the rows of the result: each element is added up over all samples in a register.
    """
    p = [x for x in loops if not _step(x.b)]
    q = [x for x in loops if _step(x.b) and not _step(x.a)]
    if len(p) > 1 or len(q) > 1 or len(p) + len(q) < len(loops):
        dummy = Loop("r", 1, 0, 0, None)
        return _add_up_windows(program, value, stage, a, b, [*loops, dummy])
    rows, columns = math.prod(x.length for x in p), math.prod(x.length for x in q)
    vectors = -(-columns // program.vector)
    width = vectors * program.vector
    buffer = program.new_buffer(value.name, rows * width, False, "plain", f"{rows} x {columns}, in rows of {width}")
    strides = [0] * len(value.shape)
    for x, step in [*((x, width) for x in p), *((x, 1) for x in q)]:
        assert x.out is not None
        strides[x.out] = step
    value.view = View(buffer, value.shape, tuple(strides))
    size = program.blocks * program.lanes * width
    turned = program.new_buffer(f"{value.name}turned", size, False, "plain", f"{program.samples} x {columns}, a row a sample")
    code = program.code(stage, True)
    sa, sb = (_step(p[0].a) if p else 0), (_step(q[0].b) if q else 0)
    wide = _share_evenly(vectors, 6)
    high = min(max(program.registers() // wide, 1), 8, rows)
    code.put(f"turn({program.point(turned, code)} + (long)block * LANES * {width}, {program.point(b.buffer, code)} + {b.offset}, {columns}, {sb}, {width});")
    after = program.share(stage, value.name, -(-rows // high))
    program.keep(a.buffer)

    def write(height: int, many: int) -> str:
        name = f"{value.name}outer_{height}_{many}"
        helper = Code()
        head = f"INLINE void {name}(const V *a, const real *restrict b, real *restrict out)"
        each = f"for (int p = 0; p < {height}; p++) for (int q = 0; q < {many}; q++)"
        with helper.block(head):
            helper.put(f"U sums[{height}][{many}];", f"{each} sums[p][q] = (U){{0}};")
            with helper.block("for (int block = 0; block < BLOCKS; block++)"):
                helper.put("const real *const x = (const real *)(a + (long)block * KEPT), *const y = b + (long)block * LANES * " + f"{width};")
                with helper.block("for (int l = 0; l < LANES && block * LANES + l < SAMPLES; l++)"):
                    helper.put("UNROLL", f"for (int p = 0; p < {height}; p++) {{", "  UNROLL", f"  for (int q = 0; q < {many}; q++) sums[p][q] += *(const U *)(y + l * {width} + q * {program.vector}) * x[p * {sa} * LANES + l];", "}")
            helper.put(f"{each} *(U *)(out + p * {width} + q * {program.vector}) = sums[p][q];")
        program.functions[name] = "\n".join(line[2:] if line.startswith("  ") else line for line in helper.lines)
        return name

    after.put(f"// {value.name}: sums over all samples of outer products, {buffer.note}")
    for height, p0, many_p in _cut(rows, high, "unit"):
        with after.block(f"if (unit {'<' if p0 == 'unit' or many_p > 1 or p0 == '0' else '=='} {many_p if p0 in ('unit', '0') else p0})"):
            for many, q0, many_q in _cut(vectors, wide, "to"):
                with after.loops(("to", many_q)):
                    after.put(
                        f"{write(height, many)}({program.point(a.buffer, after)} + {a.offset} + unit * {high * sa}, "
                        f"{program.point(turned, after)} + ({q0}) * {wide * program.vector}, "
                        f"{program.point(buffer, after)} + unit * {high * width} + ({q0}) * {wide * program.vector});"
                    )
