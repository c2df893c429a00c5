"""The rules of C for windows that slide over images: convolution, a sum of products, and pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from tensorgrad.graph.native.code import Code, Words, name_table
from tensorgrad.graph.native.plan import Value, View, add, times
from tensorgrad.graph.native.products import Factor, multiply
from tensorgrad.graph.native.program import Program
from tensorgrad.ops.windows import Windows, slide

# Convolution. Its letters: samples s, groups g, filters f and channels c of a group, rows y and columns x of
# the images, k and l of the filters.


def conv2d(program: Program, value: Value, x: Value, w: Value, bias: Any = None, **options: Any) -> None:
    rows, columns, lengths = _lay_filters(x.shape, w.shape, **options)
    images = _see_images(program, value, x, rows, columns, lengths)
    bias = program.constant(bias) if bias is not None else None
    _convolve(program, value, images, _see_filters(program, w, lengths), lengths, "sgfyxckl", "syxgf", bias)


def conv2d_filters(program: Program, value: Value, x: Value, y: Value, *, shape: Any, **options: Any) -> None:
    rows, columns, lengths = _lay_filters(x.shape, shape, **options)
    images = _see_images(program, value, x, rows, columns, lengths)
    view = program.need(y)
    cotangents = Factor(y, view, _find_steps(view, "f", lengths, y=1, x=1))
    _convolve(program, value, cotangents, images, lengths, "sgfcklyx", "gfckl")


def conv2d_images(program: Program, value: Value, y: Value, w: Value, *, shape: Any, **options: Any) -> None:
    """Turned around, filters go over the cotangent with a margin, and zeros between where a stride skips."""
    rows, columns, lengths = _lay_filters(shape, w.shape, **options)
    margins, start = [], 0
    for axis in (rows, columns):
        front = (axis.size - 1) * axis.dilation - axis.before
        back = axis.length + axis.before - 1 - (axis.count - 1) * axis.stride
        margins.append((max(front, 0), max(back, 0)))
    view = _add_margin(program, value, y, margins, (rows.stride, columns.stride))
    for axis, step in zip((rows, columns), view.strides[1:3], strict=True):
        last = (axis.size - 1) * axis.dilation
        start += max(last, axis.before) * step  # more padding than a window: rows that it never saw
    view = View(view.buffer, view.shape, view.strides, view.offset + start, view.batch)
    steps = _find_steps(view, "f", lengths, y=1, x=1, k=-rows.dilation, l=-columns.dilation)
    lengths |= {"y": rows.length, "x": columns.length}
    filters = _see_filters(program, w, lengths)
    _convolve(program, value, Factor(y, view, steps), filters, lengths, "sgcyxfkl", "syxgc")


def _lay_filters(
    images: Sequence[int], filters: Sequence[int], *, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Windows, Windows, dict[str, int]]:
    """How the windows lie, and the length of each letter."""
    rows, columns = slide(
        "compile", (images[1], images[2]), filters[2:], stride, padding, dilation, shapes=""
    )
    lengths = {"s": images[0], "g": groups, "f": filters[0] // groups, "c": filters[1]}
    return rows, columns, lengths | {"y": rows.count, "x": columns.count, "k": rows.size, "l": columns.size}


def _find_steps(view: View, channel: str, lengths: dict[str, int], **pixels: int) -> dict[str, int | None]:
    """Of images along each letter; ``pixels`` says how many of them some go at a time."""
    sample, down, across, each = view.steps()
    assert down is not None
    assert across is not None
    assert each is not None
    steps = {letter: n * (down if letter in "yk" else across) for letter, n in pixels.items()}
    return {"s": sample, "g": lengths[channel] * each, channel: each, **steps}


def _see_images(
    program: Program, value: Value, x: Value, rows: Windows, columns: Windows, lengths: dict[str, int]
) -> Factor:
    margins = [(axis.before, axis.after) for axis in (rows, columns)]
    view = _add_margin(program, value, x, margins)
    pixels = {"y": rows.stride, "x": columns.stride, "k": rows.dilation, "l": columns.dilation}
    return Factor(x, view, _find_steps(view, "c", lengths, **pixels))


def _see_filters(program: Program, w: Value, lengths: dict[str, int]) -> Factor:
    view = program.need(w)
    return Factor(
        w, view, {"g": lengths["f"] * view.strides[0], **dict(zip("fckl", view.steps(), strict=True))}
    )


def _add_margin(
    program: Program,
    value: Value,
    x: Value,
    margins: Sequence[tuple[int, int]],
    spread: Sequence[int] = (1, 1),
) -> View:
    """Images with zeros around them and, ``spread`` by more than 1, between them."""
    view = program.need(x)
    if not any(map(any, margins)) and tuple(spread) == (1, 1):
        return view
    lengths = [
        front + (n - 1) * step + 1 + back
        for n, step, (front, back) in zip(view.shape[1:3], spread, margins, strict=True)
    ]
    padded = program.new_view(f"{value.name}margin", (x.shape[0], *lengths, x.shape[3]), x.batch)
    sample, down, across, channel = padded.strides
    offset = margins[0][0] * down + margins[1][0] * across
    strides = (sample, down * spread[0], across * spread[1], channel)
    code = program.code(x.stage, x.laned)
    code.put(f"// {value.name}: {x.name} with a margin, {padded.buffer.note}")
    program.point(padded, code)
    code.put(f"memset({padded.buffer.name}, 0, {padded.buffer.size} * sizeof *{padded.buffer.name});")
    program.copy(code, view, View(padded.buffer, x.shape, strides, offset, x.batch))
    return padded


def _convolve(
    program: Program,
    value: Value,
    a: Factor,
    b: Factor,
    lengths: dict[str, int],
    order: str,
    result: str,
    bias: Value | None = None,
) -> None:
    multiply(program, value, a, b, {letter: lengths[letter] for letter in order}, result, bias)


# Pooling


def max_pool(program: Program, value: Value, x: Value, **options: Any) -> None:
    axes = _lay_windows(x.shape, **options)
    code, out, pixels = program.begin(value, "maxima of windows", x, batch=x.batch)
    with _loop_over_windows(code, x, axes) as (b, y, x_, c):
        code.put(f"{'V top = all(-INFINITY)' if x.laned else 'real top = -INFINITY'};")
        for row, column in _visit_taps(code, axes, y, x_):
            code.put(f"top = {'v' if x.laned else 's'}_max({pixels[b, row, column, c]}, top);")
        code.put(f"{out[b, y, x_, c]} = top;")


def max_pool_images(
    program: Program, value: Value, g: Value, *, images: Any, maxima: Any, **options: Any
) -> None:
    x, tops = program.value_of(images), program.value_of(maxima)
    axes = _lay_windows(x.shape, **options)
    given = program.begin(value, "to the first maximum of each window", g, x, tops, batch=x.batch)
    code, out, cotangents, pixels, maxima = given
    tiled = all(axis.is_tiled for axis in axes)
    if not tiled or any(axis.count * axis.size < axis.length for axis in axes):
        code.put(f"memset({out.name}, 0, {out.view.buffer.size} * sizeof *{out.name});")
    v, vector, mask = ("v", "V", "W") if x.laned else ("s", "real", "whole")
    with _loop_over_windows(code, x, axes) as (b, y, x_, c):
        code.put(f"const {vector} top = {maxima[b, y, x_, c]}, g = {cotangents[b, y, x_, c]};")
        code.put(f"{mask} hit, left = {'all_whole(-1)' if x.laned else '-1'};")
        for row, column in _visit_taps(code, axes, y, x_):
            code.put(f"hit = left & {v}_is_top({pixels[b, row, column, c]}, top);", "left &= ~hit;")
            code.put(f"{out[b, row, column, c]} {'=' if tiled else '+='} {v}_keep(hit, g);")


def avg_pool(program: Program, value: Value, x: Value, *, count_include_pad: bool, **options: Any) -> None:
    axes = _lay_windows(x.shape, **options)
    code, out, pixels = program.begin(value, "means of windows", x, batch=x.batch)
    with _loop_over_windows(code, x, axes) as (b, y, x_, c):
        code.put(f"{'V sum = zero' if x.laned else 'real sum = 0'};")
        for row, column in _visit_taps(code, axes, y, x_):
            code.put(f"sum += {pixels[b, row, column, c]};")
        code.put(
            f"{out[b, y, x_, c]} = sum / {_count_pixels(program, value, axes, count_include_pad, y, x_)};"
        )


def avg_pool_images(
    program: Program, value: Value, y: Value, *, shape: Any, count_include_pad: bool, **options: Any
) -> None:
    axes = _lay_windows(shape, **options)
    code, out, means = program.begin(value, "each mean's share to its pixels", y, batch=y.batch)
    code.put(f"memset({out.name}, 0, {out.view.buffer.size} * sizeof *{out.name});")
    with _loop_over_windows(code, value, axes) as (b, y_, x, c):
        count = _count_pixels(program, value, axes, count_include_pad, y_, x)
        code.put(f"const {'V' if value.laned else 'real'} share = {means[b, y_, x, c]} / {count};")
        for row, column in _visit_taps(code, axes, y_, x):
            code.put(f"{out[b, row, column, c]} += share;")


def _lay_windows(
    shape: Sequence[int], *, size: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any = 1
) -> tuple[Windows, Windows]:
    stride = size if stride is None else stride
    return slide(
        "compile", (shape[1], shape[2]), size, stride, padding, dilation, ceil_mode=ceil_mode, shapes=""
    )


def _loop_over_windows(code: Code, images: Value, axes: Sequence[Windows]) -> Any:
    """Loops over samples, if they are not in lanes, windows and channels."""
    samples = 1 if images.laned else images.shape[0]
    return code.loops(b=samples, y=axes[0].count, x=axes[1].count, c=images.shape[3])


def _visit_taps(code: Code, axes: Sequence[Windows], y: str, x: str) -> Iterator[tuple[str, str]]:
    """Row and column of each pixel in the window (y, x): one by one or, if there are many, in loops.

    Where windows reach into padding, what is put for a pixel stands behind a test.
    """
    rows, columns = axes
    padded = [
        a.before > 0 or (a.count - 1) * a.stride + (a.size - 1) * a.dilation - a.before >= a.length
        for a in axes
    ]
    first = [times(i, axis.stride) for i, axis in zip((y, x), axes, strict=True)]
    if rows.size * columns.size <= 16 and not any(padded):
        for down, across in np.ndindex(rows.size, columns.size):
            yield add(first[0], down * rows.dilation), add(first[1], across * columns.dilation)
        return
    with code.loops(k=rows.size, l=columns.size) as taps, ExitStack() as inside:
        places = [
            add(start, times(tap, axis.dilation), -axis.before)
            for start, tap, axis in zip(first, taps, axes, strict=True)
        ]
        code.put(f"const int row = {places[0]}, column = {places[1]};")
        named = zip(("row", "column"), axes, padded, strict=True)
        tests = [f"{name} >= 0 && {name} < {axis.length}" for name, axis, test in named if test]
        if tests:
            inside.enter_context(code.block(f"if ({' && '.join(tests)})"))
        yield "row", "column"


def _count_pixels(
    program: Program, value: Value, axes: Sequence[Windows], with_padding: bool, y: str, x: str
) -> str:
    """How many pixels the window (y, x) counts: a number, or an element of a table."""
    counts = []
    for axis in axes:
        pixels = np.arange(axis.count)[:, None] * axis.stride - axis.before + np.arange(axis.size)
        low, high = (-axis.before, axis.length + axis.after) if with_padding else (0, axis.length)
        counts.append(np.sum((pixels >= low) & (pixels < high), axis=1))
    table = np.multiply.outer(*counts).ravel().tolist()
    if len({*table}) == 1:
        return Words(program.dtype, False, "f").real(table[0])
    name = f"{value.name}pixels"
    program.functions[name] = name_table(name, table, "real")
    return f"{name}[{add(times(y, axes[1].count), x)}]"
