"""The whole text of a compiled program in C: constants, memory, functions, and the order of stages.

What is the same in every program stands in C files beside this one: ``prelude.c``, vectors and functions of
them; ``workers.c``, threads; ``update.c``, what is done with gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgrad.graph.native.code import read_template
from tensorgrad.graph.native.plan import Buffer, View, dense_strides, merge_axes, place_in_arena
from tensorgrad.graph.native.program import Program, Share
from tensorgrad.graph.native.record import UncompilableError

MOST_THREADS = 64
MOST_SLOTS, SLOT_ROOM = 8, 1 << 20  # to which blocks add sums, and all their elements
SHARED = 64  # parts of what threads share after blocks
PARTS = 4  # that the adding up of slots is shared in
MOST_UNITS, A_UNIT = 16, 1 << 12  # that the work on one gradient is shared in, and the elements of one
MOST_MEMORY = 2**31 - 2**26  # bytes of its own that a library can have: places in it are 32 bits


def write_c(program: Program, title: str) -> str:
    """The text.

    Arguments of its function ``step`` are the outputs, then the leaves in the order of
    ``program.arguments``, then for ``program.loaded`` the numbers of their rows, which may be null: the first
    ones. Then come the gradients; for an update what is clipped, and for each gradient its
    parameter, three arrays of the optimizer and its options, which may all be null.
    """
    sources = [_find_source(program, k) for k in range(len(program.gradients))]
    _store_outputs(program)
    for k, (buffer, _) in enumerate(program.arguments):
        buffer.offset = len(program.outputs) + k
    codes = program.stages.values()
    arenas = [place_in_arena([b for b in code.buffers if b.role == "arena"]) for code in codes]
    table, units, room = _list_gradients(program, sources)
    slots = _count_slots(program)
    phases, functions = _list_phases(program, [view.buffer for view in sources], slots, units)
    sizes = {
        "SINGLE": int(program.dtype == np.float32), "LANES": program.lanes, "SAMPLES": program.samples or 0,
        "BLOCKS": program.blocks, "SLOTS": slots, "PARTS": PARTS, "MOST_THREADS": MOST_THREADS,
        "PHASES": len(phases), "GRADIENTS_DONE": len(phases) - 2 * bool(sources),
        "ARENA": max([1, *arenas]), "ORDERS": (orders := len(program.outputs) + len(program.arguments)),
        "FIRST": orders + len(program.loaded),
        "GRADIENTS": len(sources), "UNITS": units, "ROOM": room,
    }  # fmt: skip
    _require_room(program, sizes)
    parts = [
        _describe(program, title),
        "\n".join(f"#define {name} {number}" for name, number in sizes.items()),
        read_template("prelude"),
        "\n".join(_reserve(buffer) for buffer in program.buffers if buffer.role not in ("argument", "arena")),
        read_template("workers"),
        *program.functions.values(),
        *_write_stages(program),
        *([read_template("update"), table] if sources else []),
        "\n".join(functions),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _require_room(program: Program, sizes: Mapping[str, int]) -> None:
    """Refuse memory that no library can have, and arrays whose elements an int does not count."""
    each = program.dtype.itemsize
    lanes = {"kept": each * sizes["LANES"] * sizes["BLOCKS"], "sums": each * sizes["SLOTS"], "plain": each}
    needed = sum(buffer.size * lanes.get(buffer.role, 0) for buffer in program.buffers) + sizes["ROOM"] * each
    if needed > MOST_MEMORY:
        raise UncompilableError(
            f"compile: what is kept of all samples takes {needed / 2**30:.1f} GB, and compiled code has 2 at "
            "most; use smaller batches"
        )
    for buffer in program.buffers:
        if buffer.size > 2**30:
            raise UncompilableError(f"compile: {buffer.name} has {buffer.size} elements, more than 2^30")


def _describe(program: Program, title: str) -> str:
    """What the program computes, with the shapes."""
    whole = {True: ", whole numbers", False: ""}
    made = [[(v.name, v.shape, "") for v in values] for values in (program.outputs, program.gradients)]
    read = [(buffer.name, leaf.shape, whole[buffer.whole]) for buffer, leaf in program.arguments]
    lines = [title]
    for what, arrays in zip(("Arguments", "Outputs", "Gradients"), (read, *made), strict=True):
        shapes = [f"  {name}: {' x '.join(map(str, shape)) or '1'}{words}" for name, shape, words in arrays]
        lines += [f"{what}:", *shapes] if shapes else []
    if program.samples is not None:
        lines.append(f"{program.samples} samples go through it in blocks of {program.lanes}, each in a lane.")
    return "\n".join(f"// {line}" for line in lines)


def _find_source(program: Program, k: int) -> View:
    """Where a gradient lies: with at most two loops in a row."""
    view = program.need(program.gradients[k])
    simple = len(merge_axes(view.shape[1:], [view.strides[1:]])) <= 2
    return view if simple else program.need_dense(program.gradients[k])


def _store_outputs(program: Program) -> None:
    """Write outputs into the caller's memory, of each block or at the end; see whether the guards held."""
    views = [program.need_dense(value) for value in program.outputs]
    end = program.code(max((stage + laned for stage, laned in program.stages), default=0), False)
    for k, (value, view) in enumerate(zip(program.outputs, views, strict=True)):
        code = program.code(value.stage, True) if value.laned else end
        source = program.point(view, code).plus()
        if value.batch is None:
            code.put(f"memcpy(arg[{k}], {source}, {math.prod(value.shape)} * sizeof(real));  // {value.name}")
            continue
        outer, inner = math.prod(value.shape[: value.batch]), math.prod(value.shape[value.batch + 1 :])
        code.put(f"store(arg[{k}], {source}, {outer}, SAMPLES, {inner}, block, count);  // {value.name}")
    for value, held in program.guards:
        condition = program.point(program.need(value), end).at()
        end.put(f"if ({condition} {'==' if held else '!='} 0) result = ANOTHER_BRANCH;")


def name_type(buffer: Buffer) -> str:
    """What an element of a buffer is in C."""
    return ("W" if buffer.whole else "V") if buffer.laned else ("whole" if buffer.whole else "real")


def _reserve(buffer: Buffer) -> str:
    """Memory of the program's own: of all blocks, of slots to which blocks add up sums, or alone."""
    many = {"kept": "all[BLOCKS]", "sums": "all[SLOTS]", "plain": ""}[buffer.role]
    size = -(-buffer.size // 16) * 16 if buffer.role != "kept" else buffer.size
    return f"static {name_type(buffer)} {buffer.name}{many}[{size}] ALIGNED;  // {buffer.note}"


def _declare(buffer: Buffer, stage: int | None) -> str:
    """A name for a buffer in a function, which may be that of a block of a stage."""
    kind = name_type(buffer)
    slot = "slot" if buffer.stage == stage else "0"
    start = {
        "argument": f"arg[{buffer.offset}]", "arena": f"({kind} *)(arena + {buffer.offset})",
        "kept": f"{buffer.name}all[{'0' if stage is None else 'block'}]",
        "sums": f"{buffer.name}all[{slot}]",
    }  # fmt: skip
    const = "const " if buffer.role == "argument" else ""
    return f"{const}{kind} *const {buffer.name} = {start[buffer.role]};  // {buffer.note}"


def _write_stages(program: Program) -> Iterator[str]:
    """The functions of every stage: what comes before its blocks, a block, what threads share after it."""
    for (stage, laned), code in sorted(program.stages.items(), key=lambda item: item[0]):
        head = (
            f"blocks_{stage}(int block, int slot, V *arena)"
            if laned
            else f"plain_{stage}(int task, int thread)"
        )
        text = "\n".join(code.lines)
        start = {
            "count": "const int count = SAMPLES - block * LANES < LANES ? SAMPLES - block * LANES : LANES;",
            "valid": "W valid; for (int l = 0; l < LANES; l++) valid[l] = -(block * LANES + l < SAMPLES);",
        }
        names = [line for word, line in start.items() if laned and word in text]
        yield _write_function(head, names, code.buffers, code.lines, stage if laned else None)
    for share in program.shares:
        yield _write_function(
            f"{share.name}shared(int unit, int thread)", [], share.code.buffers, share.code.lines, None
        )


def _write_function(
    head: str, names: Sequence[str], buffers: Iterable[Buffer], lines: Sequence[str], stage: int | None
) -> str:
    own = [_declare(buffer, stage) for buffer in buffers if buffer.role != "plain"]
    return "\n".join([f"static void {head} {{", *(f"  {line}" for line in (*names, *own)), *lines, "}"])


def _count_slots(program: Program) -> int:
    """By sizes alone: no sum depends on the threads."""
    room = sum(b.size for b in program.buffers if b.role == "sums")
    return min(program.blocks, MOST_SLOTS, max(2, SLOT_ROOM // max(room, 1)))


def _list_phases(
    program: Program, sources: Sequence[Buffer], slots: int, units: int
) -> tuple[list[tuple[str, int]], list[str]]:
    """The functions of all phases, each with how many tasks it has, and the text of those made here.

    Sums that are read later are added up over slots at once.
    """
    phases: list[tuple[str, int]] = []
    lines: list[str] = []
    for stage in range(max(program.stages)[0] + 1):
        if (stage, False) in program.stages:
            phases.append((f"plain_{stage}", 1))
        if (stage, True) not in program.stages:
            continue
        sums = [b for b in program.buffers if b.role == "sums" and b.stage == stage]
        lines += [
            f"static void slots_{stage}(int slot, int thread) {{",
            *(f"  memset({b.name}all[slot], 0, sizeof *{b.name}all);" for b in sums),
            f"  for (int b = slot; b < BLOCKS; b += SLOTS) blocks_{stage}(b, slot, arenas[thread]);\n}}",
        ]
        phases.append((f"slots_{stage}", slots))
        if shares := [share for share in program.shares if share.stage == stage]:
            lines += [f"static void shared_{stage}(int part, int thread) {{", *map(_share_out, shares), "}"]
            phases.append((f"shared_{stage}", SHARED))
        if sums := [b for b in sums if slots > 1 and not _is_collected(program, b, sources)]:
            each = (
                f"  add_up_slots({b.name}all[0], sizeof *{b.name}all / sizeof(real), part);" for b in sums
            )
            lines += [f"static void add_up_{stage}(int part, int thread) {{", *each, "}"]
            phases.append((f"add_up_{stage}", PARTS))
    if sources:
        phases += [("collect", units), ("decide", 1), ("update", units)]
    table = ", ".join(f"{{{name}, {tasks}}}" for name, tasks in phases)
    return phases, [*lines, f"static const struct phase phases[PHASES] = {{{table}}};"]


def _share_out(share: Share) -> str:
    """A part of all units of a share: the rows of one part of it are beside those of the others' parts."""
    start, end = (f"{share.units}L * {part} / {SHARED}" for part in ("part", "(part + 1)"))
    return f"  for (int unit = {start}; unit < {end}; unit++) {share.name}shared(unit, thread);"


def _is_collected(program: Program, buffer: Buffer, sources: Sequence[Buffer]) -> bool:
    """Whether sums are a gradient alone, which adds up the slots by itself."""
    return buffer in sources and sum(buffer in code.buffers for code in program.stages.values()) == 1


def _list_gradients(program: Program, sources: Sequence[View]) -> tuple[str, int, int]:
    """The tables of gradients and of units, how many of the latter there are, and the room gradients need."""
    rows, at = [], 0
    units: list[tuple[float, str]] = []
    for k, (value, view) in enumerate(zip(program.gradients, sources, strict=True)):
        buffer, length = view.buffer, value.shape[0] if value.shape else 1
        loops = [(1, [0])] * 2 + merge_axes(view.shape[1:], [view.strides[1:]])
        (n, (step,)), (m, (last,)) = loops[-2:]
        buffers = [v.buffer for v in sources]
        stays = buffer.role == "plain" and view.is_dense() and buffers.count(buffer) == 1
        alone = buffer.role == "sums" and _is_collected(program, buffer, buffers)
        memory = {"sums": f"{buffer.name}all[0]", "plain": buffer.name}.get(buffer.role, "0")
        fields: dict[str, Any] = {
            "name": f'"{value.name}"', "source": memory, "leaf": buffer.offset,
            "slots": "SLOTS" if alone else 1, "slot_step": -(-buffer.size // 16) * 16,
            "offset": view.offset, "row_step": [*view.strides, 0][0], "steps": f"{{{step}, {last}}}",
            "rows": length, "lengths": f"{{{n}, {m}}}", "at": at,
            "stays": int(stays),
        }  # fmt: skip
        rows.append(f"  {{{', '.join(f'.{key} = {x}' for key, x in fields.items())}}},")
        size = math.prod(value.shape)
        many = max(1, min(length, MOST_UNITS, size // A_UNIT))
        ends = [length * i // many * (size // max(length, 1)) for i in range(many + 1)]
        units += [((i + 0.5) / many, f"{{{k}, {ends[i]}, {ends[i + 1]}}}") for i in range(many)]
        at += 0 if stays else -(-dense_strides(value.shape, None)[1] // 16) * 16
    tables = ["static const struct gradient gradients[GRADIENTS] = {", *rows, "};"]
    texts = [text for _, text in sorted(units, key=lambda unit: unit[0])]
    tables.append(f"static const struct unit units[UNITS] = {{{', '.join(texts)}}};")
    return "\n".join(tables), len(units), max(at, 1)
