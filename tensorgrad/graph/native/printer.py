"""The whole text of a compiled program in C: constants, templates, functions, and the order of stages.

What is the same in every program stands in C files beside this one: ``prelude.c``, the vectors and functions
of them; ``workers.c``, memory and threads; ``update.c``, what is done with gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.graph.native.plan import Buffer, Value, View, dense_strides, merge_axes, place_in_arena
from tensorgrad.graph.native.program import Program

MOST_THREADS = 64
MOST_SLOTS = 2
MOST_UNITS = 16  # that the work on one gradient is shared in


def write_c(program: Program, title: str) -> str:
    """The text.

    Arguments of its function ``step`` are the outputs, then the leaves in the order of ``program.arguments``.
    Then come the gradients; for an update what is clipped, and for each gradient its parameter, three arrays
    of the optimizer and its options, which may all be null.
    """
    sources = [_find_source(program, value) for value in program.gradients]
    _store_outputs(program)
    sizes, bounds = _lay_out(program, {view.buffer for view in sources})
    first = len(program.outputs) + len(program.arguments)
    table, units, own = _list_gradients(program, sources, bounds)
    sizes |= {"GRADIENTS": len(sources), "UNITS": units, "OWN": max(own, 16), "FIRST": first}
    parts = [
        _describe(program, title),
        "\n".join(f"#define {name} {number}" for name, number in sizes.items()),
        _read("prelude"),
        _read("workers"),
        *program.functions.values(),
        *_write_stages(program),
        *([_read("update"), table] if sources else ["static void finish(int thread) {}"]),
        "\n".join(_write_work(program, bounds)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _read(name: str) -> str:
    return Path(__file__).with_name(f"{name}.c").read_text(encoding="utf-8")


def _describe(program: Program, title: str) -> str:
    """What the program computes, with the shapes."""
    lines = [title, "Arguments:"]
    for buffer, _ in program.arguments:
        lines.append(f"  {buffer.name}: {buffer.note}{', whole numbers' if buffer.whole else ''}")
    for what, values in (("Outputs:", program.outputs), ("Gradients:", program.gradients)):
        shapes = [f"  {v.name}: {' x '.join(map(str, v.shape)) or '1'}" for v in values]
        lines += [what, *shapes] if shapes else []
    if program.samples is not None:
        lines.append(
            f"{program.samples} samples go through all of it in blocks of {program.lanes}, each in a lane."
        )
    return "\n".join(f"// {line}" for line in lines)


def _find_source(program: Program, value: Value) -> View:
    """Where a gradient lies: with at most two loops in a row."""
    view = program.need(value)
    simple = len(merge_axes(view.shape[1:], [view.strides[1:]])) <= 2
    return view if simple else program.need_dense(value)


def _store_outputs(program: Program) -> None:
    """Write outputs into the caller's memory, of each block or at the end, and see whether guards held."""
    dense = [program.need_dense(value) for value in program.outputs]
    last = max((stage + laned for stage, laned in program.stages), default=0)
    end = program.code(last, False)
    for k, (value, view) in enumerate(zip(program.outputs, dense, strict=True)):
        code = program.code(value.stage, True) if value.laned else end
        source = program.point(view, code)
        if value.batch is not None:
            outer, inner = math.prod(value.shape[: value.batch]), math.prod(value.shape[value.batch + 1 :])
            code.put(f"store(arg[{k}], {source.plus()}, {outer}, SAMPLES, {inner}, block, count);")
        else:
            code.put(f"memcpy(arg[{k}], {source.plus()}, {math.prod(value.shape)} * sizeof(real));")
    for value, outcome in program.guards:
        condition = program.point(program.need(value), end)
        end.put(f"if ({condition.at()} {'==' if outcome else '!='} 0) result = ANOTHER_BRANCH;")


# Memory


def _lay_out(program: Program, final: set[Buffer]) -> tuple[dict[str, int], dict[int, tuple[int, int, int]]]:
    """Give every buffer its place. The sizes of all memory; for each stage where its sums are.

    These begin with what later stages read, which is added up over slots at once; then come gradients, whose
    slots are added up when they are collected: for each stage the begin of both, and the end.
    """
    arenas = [
        place_in_arena([b for b in code.buffers if b.role == "arena"]) for code in program.stages.values()
    ]
    for k, (buffer, _) in enumerate(program.arguments):
        buffer.offset = len(program.outputs) + k
    kept = _line_up([b for b in program.buffers if b.role == "kept"], 0, 1)
    plain = _line_up([b for b in program.buffers if b.role == "plain"], 0, 16)
    sums, bounds = 0, {}
    for stage in sorted({b.stage for b in program.buffers if b.role == "sums"}):
        own = [b for b in program.buffers if b.role == "sums" and b.stage == stage]
        alone = [
            b for b in own if b in final and sum(b in code.buffers for code in program.stages.values()) == 1
        ]
        middle = _line_up([b for b in own if b not in alone], sums, 16)
        end = _line_up(alone, middle, 16)
        bounds[stage], sums = (sums, middle, end), end
    sizes = {
        "SINGLE": int(program.dtype == np.float32), "LANES": program.lanes, "SAMPLES": program.samples or 0,
        "BLOCKS": program.blocks, "SLOTS": min(program.blocks, MOST_SLOTS), "MOST_THREADS": MOST_THREADS,
        "ARENA": max([1, *arenas]), "KEPT": max(kept, 1), "PLAIN": max(plain, 16), "SUMS": max(sums, 16),
    }  # fmt: skip
    return sizes, bounds


def _line_up(buffers: Sequence[Buffer], start: int, multiple: int) -> int:
    """Place buffers one behind the other; the end."""
    for buffer in buffers:
        buffer.offset = start
        start += -(-buffer.size // multiple) * multiple
    return start


def _declare(buffer: Buffer, stage: int) -> str:
    """A name for a buffer in a function of a stage."""
    element = {(True, True): "W", (True, False): "V", (False, True): "whole", (False, False): "real"}
    kind = element[buffer.laned, buffer.whole]
    adds = buffer.role == "sums" and buffer.stage == stage
    memory = {"sums": "sums" if adds else "all_sums[0]"}.get(buffer.role, buffer.role)
    start = f"arg[{buffer.offset}]" if buffer.role == "argument" else f"({memory} + {buffer.offset})"
    const = "const " if buffer.role == "argument" else ""
    return f"  {const}{kind} *const {buffer.name} = ({const}{kind} *){start};  // {buffer.note}"


# Functions


def _write_stages(program: Program) -> Iterator[str]:
    """The functions of each stage: what comes before its blocks, a block, and what threads share after."""
    for (stage, laned), code in sorted(program.stages.items(), key=lambda item: item[0]):
        head = (
            f"blocks_{stage}(int block, V *restrict arena, real *restrict sums)"
            if laned
            else f"plain_{stage}(void)"
        )
        lines = [_declare(buffer, stage if laned else -1) for buffer in code.buffers] + code.lines
        needed = {
            "count": "const int count = SAMPLES - block * LANES < LANES ? SAMPLES - block * LANES : LANES;",
            "valid": "W valid; for (int l = 0; l < LANES; l++) valid[l] = -(block * LANES + l < SAMPLES);",
            "(kept +": "V *const kept = all_kept + (long)block * KEPT;",
        }
        start = [f"  {line}" for word, line in needed.items() if laned and any(word in x for x in lines)]
        yield "\n".join([f"static void {head} {{", *start, *lines, "}"])
    for share in [share for shares in program.shared.values() for share in shares]:
        lines = [_declare(buffer, -1) for buffer in share.code.buffers] + share.code.lines
        yield "\n".join(
            [f"static void {share.name}shared(int unit) {{", "  V *const kept = all_kept;", *lines, "}"]
        )


def _write_work(program: Program, bounds: dict[int, tuple[int, int, int]]) -> Iterator[str]:
    """The function of a thread: stage by stage."""
    yield "// A whole step; a block's number alone says its slot, so that sums do not depend on threads."
    yield "static void work(int thread) {"
    last = max((stage for stage, _ in program.stages), default=0)
    for stage in range(last + 1):
        if (stage, False) in program.stages:
            yield f"  if (thread == 0) plain_{stage}();"
            if stage < last or (stage, True) in program.stages or program.gradients:
                yield "  meet();"
        if (stage, True) not in program.stages:
            continue
        start, middle, end = bounds.get(stage, (0, 0, 0))
        yield "  for (int slot = thread; slot < SLOTS; slot += using) {"
        if end > start:
            yield f"    memset(all_sums[slot] + {start}, 0, {end - start} * sizeof(real));"
        yield "    for (int block = slot; block < BLOCKS; block += SLOTS)"
        yield f"      blocks_{stage}(block, arenas[thread], all_sums[slot]);"
        yield "  }"
        yield "  meet();"
        for share in program.shared.get(stage, []):
            ends = (f"{share.units} * {step} / using" for step in ("thread", "(thread + 1)"))
            yield "  for (int unit = {}; unit < {}; unit++)".format(*ends)
            yield f"    {share.name}shared(unit);"
        if program.shared.get(stage):
            yield "  meet();"
        if middle > start:
            yield f"  if (SLOTS > 1) add_up_slots({start}, {middle}, thread);"
            yield "  meet();"
    yield "  finish(thread);"
    yield "}"


def _list_gradients(
    program: Program, sources: Sequence[View], bounds: dict[int, tuple[int, int, int]]
) -> tuple[str, int, int]:
    """The table of gradients, the number of units that they are shared in, and the room they need."""
    rows, first, at = [], 0, 0
    for value, view in zip(program.gradients, sources, strict=True):
        buffer, length = view.buffer, value.shape[0] if value.shape else 1
        loops = [(1, [0])] * 2 + merge_axes(view.shape[1:], [view.strides[1:]])
        (n, (step,)), (m, (last,)) = loops[-2:]
        units = min(length, MOST_UNITS)
        alone = buffer.role == "sums" and buffer.offset >= bounds[buffer.stage][1]
        memory = {"sums": f"all_sums[0] + {buffer.offset}", "plain": f"plain + {buffer.offset}"}.get(
            buffer.role, "0"
        )
        fields: dict[str, Any] = {
            "name": f'"{value.name}"', "source": memory, "slots": "SLOTS" if alone else 1,
            "leaf": buffer.offset,
            "offset": view.offset, "row_step": view.strides[0] if value.shape else 0,
            "steps": f"{{{step}, {last}}}", "rows": length, "lengths": f"{{{n}, {m}}}",
            "at": at, "first_unit": first, "units": units,
        }  # fmt: skip
        rows.append(f"  {{{', '.join(f'.{key} = {x}' for key, x in fields.items())}}},")
        first += units
        at += -(-dense_strides(value.shape, None)[1] // 16) * 16
    return "\n".join(["static const struct gradient gradients[] = {", *rows, "};"]), first, at
