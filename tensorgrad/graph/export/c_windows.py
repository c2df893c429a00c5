"""The rules of C for windows that slide over images: convolution, a sum of products, and pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.graph.native.code import Code, Words
from tensorgrad.graph.native.plan import Value, View, add, lane_strides, require_apart, times
from tensorgrad.graph.native.products import Factor, Product
from tensorgrad.graph.native.program import Program
from tensorgrad.ops.windows import Windows, slide, slide_pooling

Axes: TypeAlias = tuple[Windows, Windows]
Index: TypeAlias = tuple[str, str, str, str]  # of images: sample, row, column, channel


class Convolution:
    """How filters lie over images, as letters of a product.

    These are samples s, groups g, filters f and channels c of a group, rows y and columns x of the output, k
    and l of the filters.
    """

    def __init__(
        self,
        program: Program,
        value: Value,
        images: Sequence[int],
        filters: Sequence[int],
        groups: int,
        **how: Any,
    ) -> None:
        self.program, self.value = program, value
        self.axes = slide("compile", (images[1], images[2]), filters[2:], **how, shapes="")
        counts = (axis.count for axis in self.axes)
        each = (images[0], groups, filters[0] // groups, *filters[1:], *counts)
        self.lengths = dict(zip("sgfcklyx", each, strict=True))

    def see_filters(self, w: Value) -> Factor:
        """The factor of filters."""
        view = self.program.need(w)
        steps = dict(zip("fckl", view.steps(), strict=True))
        return Factor(w, view, {"g": self.lengths["f"] * view.strides[0], **steps})

    def see_images(self, x: Value) -> Factor:
        """The factor of images, with their padding."""
        rows, columns = self.axes
        view = self._add_margin(x, [(axis.before, axis.after) for axis in self.axes])
        return self.see(x, view, "c", y=rows.stride, x=columns.stride, k=rows.dilation, l=columns.dilation)

    def see_cotangent(self, y: Value) -> Factor:
        """The factor of a cotangent over which filters go that are turned around.

        It has a margin, and zeros between where a stride skips. With more padding than a window is long
        there are rows that it never sees.
        """
        lasts = [(axis.size - 1) * axis.dilation for axis in self.axes]  # taps of a window
        margins, start = [], 0
        for last, axis in zip(lasts, self.axes, strict=True):
            after = axis.length + axis.before - 1 - (axis.count - 1) * axis.stride
            margins.append((max(last - axis.before, 0), max(after, 0)))
        view = self._add_margin(y, margins, [axis.stride for axis in self.axes])
        for last, axis, step in zip(lasts, self.axes, view.strides[1:3], strict=True):
            start += max(last, axis.before) * step
        view = View(view.buffer, view.shape, view.strides, view.offset + start, view.batch)
        rows, columns = self.axes
        self.lengths |= {"y": rows.length, "x": columns.length}
        return self.see(y, view, "f", y=1, x=1, k=-rows.dilation, l=-columns.dilation)

    def see(self, image: Value, view: View, channel: str, /, **pixels: int) -> Factor:
        """The factor of images; ``pixels`` says how many of them some letters go at a time."""
        sample, *_, each = view.steps()
        steps = {letter: n * view.strides[1 if letter in "yk" else 2] for letter, n in pixels.items()}
        group = self.lengths[channel] * view.strides[3]
        return Factor(image, view, {"s": sample, "g": group, channel: each, **steps})

    def _add_margin(self, x: Value, margins: Sequence[Sequence[int]], spread: Sequence[int] = (1, 1)) -> View:
        """Images with zeros around them and, ``spread`` by more than 1, between them."""
        view = self.program.need(x)
        if not any(map(any, margins)) and max(spread) == 1:
            return view
        pixels = zip(x.shape[1:3], spread, margins, strict=True)
        lengths = [before + (n - 1) * step + 1 + after for n, step, (before, after) in pixels]
        shape = (x.shape[0], *lengths, x.shape[3])
        buffer = self.program.new_view(f"{self.value.name}margin", shape, x.batch).buffer
        sample, down, across, channel = strides = lane_strides(shape, x.batch)
        padded = View(buffer, shape, strides, 0, x.batch)
        code = self.program.code(x.stage, x.laned)
        code.put(f"// {self.value.name}: {x.name} with a margin, {buffer.note}")
        code.clear(self.program.point(padded, code))
        start = margins[0][0] * down + margins[1][0] * across
        inside = (sample, down * spread[0], across * spread[1], channel)
        self.program.copy(code, view, View(buffer, x.shape, inside, start, x.batch))
        return padded

    def multiply(self, factors: Sequence[Factor], order: str, result: str, bias: Any = None) -> None:
        """Write the product, in loops of some order."""
        lengths = {letter: self.lengths[letter] for letter in order}
        Product(self.program, self.value, factors, lengths, result, bias)


def conv2d(program: Program, value: Value, x: Value, w: Value, bias: Any = None, **options: Any) -> None:
    how = Convolution(program, value, x.shape, w.shape, **options)
    how.multiply([how.see_images(x), how.see_filters(w)], "sgfyxckl", "syxgf", bias)


def conv2d_images(program: Program, value: Value, y: Value, w: Value, *, shape: Any, **options: Any) -> None:
    how = Convolution(program, value, shape, w.shape, **options)
    how.multiply([how.see_cotangent(y), how.see_filters(w)], "sgcyxfkl", "syxgc")


def conv2d_filters(program: Program, value: Value, x: Value, y: Value, *, shape: Any, **options: Any) -> None:
    how = Convolution(program, value, x.shape, shape, **options)
    cotangent = how.see(y, program.need(y), "f", y=1, x=1)
    how.multiply([cotangent, how.see_images(x)], "sgfcklyx", "gfckl")


# Pooling


def max_pool(program: Program, value: Value, x: Value, **options: Any) -> None:
    code, out, pixels = program.begin(value, "maxima of windows", x, batch=x.batch)
    with _loop_over_windows(code, x, slide_pooling("compile", x.shape, **options)) as (window, taps):
        code.put("V top = all(-INFINITY);" if x.laned else "real top = -INFINITY;")
        for pixel in taps:
            code.put(f"top = {'v' if x.laned else 's'}_max({pixels[pixel]}, top);")
        code.put(f"{out[window]} = top;")


def max_pool_images(
    program: Program, value: Value, g: Value, *, images: Any, maxima: Any, **options: Any
) -> None:
    x, tops = (program.constant(program.value_of(array)) for array in (images, maxima))
    require_apart(g.batch == x.batch == tops.batch, f"{value.name} has images that are not of its samples")
    axes = slide_pooling("compile", x.shape, **options)
    what = "to the first maximum of each window"
    code, out, cotangents, pixels, maxima = program.begin(value, what, g, x, tops, batch=x.batch)
    tiled = all(axis.is_tiled for axis in axes)
    if not tiled or any(axis.count * axis.size < axis.length for axis in axes):
        code.clear(out)
    v, vector, mask = ("v", "V", "W") if x.laned else ("s", "real", "whole")
    with _loop_over_windows(code, x, axes) as (window, taps):
        code.put(f"const {vector} top = {maxima[window]}, g = {cotangents[window]};")
        code.put(f"{mask} hit, left = {'all_whole(-1)' if x.laned else '-1'};")
        for pixel in taps:
            code.put(f"hit = left & {v}_is_top({pixels[pixel]}, top);", "left &= ~hit;")
            code.put(f"{out[pixel]} {'=' if tiled else '+='} {v}_keep(hit, g);")


def avg_pool(program: Program, value: Value, x: Value, *, count_include_pad: bool, **options: Any) -> None:
    axes = slide_pooling("compile", x.shape, **options)
    code, out, pixels = program.begin(value, "means of windows", x, batch=x.batch)
    with _loop_over_windows(code, x, axes) as (window, taps):
        code.put("V sum = zero;" if x.laned else "real sum = 0;")
        for pixel in taps:
            code.put(f"sum += {pixels[pixel]};")
        code.put(f"{out[window]} = sum / {_count_pixels(program, value, axes, count_include_pad, window)};")


def avg_pool_images(
    program: Program, value: Value, g: Value, *, shape: Any, count_include_pad: bool, **options: Any
) -> None:
    axes = slide_pooling("compile", shape, **options)
    code, out, cotangents = program.begin(value, "to all pixels of each window", g, batch=g.batch)
    code.clear(out)
    with _loop_over_windows(code, value, axes) as (window, taps):
        count = _count_pixels(program, value, axes, count_include_pad, window)
        code.put(f"const {'V' if value.laned else 'real'} share = {cotangents[window]} / {count};")
        for pixel in taps:
            code.put(f"{out[pixel]} += share;")


@contextmanager
def _loop_over_windows(code: Code, images: Value, axes: Axes) -> Iterator[tuple[Index, Iterator[Index]]]:
    """Loops over samples, if they are not in lanes, windows and channels: the window and its pixels."""
    (rows, columns), (samples, *_, channels) = axes, images.shape
    ranges = {"y": rows.count, "x": columns.count}
    ranges = {"c": channels, **ranges} if images.laned else {"b": samples, **ranges, "c": channels}
    with code.loops(**ranges) as names:
        at = {"b": "0", **dict(zip(ranges, names, strict=True))}
        taps = _visit_taps(code, axes, at["y"], at["x"])
        yield (at["b"], at["y"], at["x"], at["c"]), ((at["b"], y, x, at["c"]) for y, x in taps)


def _visit_taps(code: Code, axes: Axes, y: str, x: str) -> Iterator[tuple[str, str]]:
    """Row and column of each pixel in the window (y, x): one by one or, if there are many, in loops.

    Where windows reach into padding, what is put for a pixel stands behind a test.
    """
    rows, columns = axes
    ends = [(a.count - 1) * a.stride + (a.size - 1) * a.dilation - a.before for a in axes]
    padded = [a.before > 0 or end >= a.length for a, end in zip(axes, ends, strict=True)]
    first = times(y, rows.stride), times(x, columns.stride)
    if rows.size * columns.size <= 16 and not any(padded):
        for i, j in np.ndindex(rows.size, columns.size):
            yield add(first[0], i * rows.dilation), add(first[1], j * columns.dilation)
        return
    with code.loops(k=rows.size, l=columns.size) as (k, l), ExitStack() as inside:  # noqa: E741
        row = add(first[0], times(k, rows.dilation), -rows.before)
        code.put(
            f"const int row = {row}, column = {add(first[1], times(l, columns.dilation), -columns.before)};"
        )
        named = zip(("row", "column"), axes, padded, strict=True)
        tests = [f"{name} >= 0 && {name} < {axis.length}" for name, axis, reaches in named if reaches]
        if tests:
            inside.enter_context(code.block(f"if ({' && '.join(tests)})"))
        yield "row", "column"


def _count_pixels(program: Program, value: Value, axes: Axes, with_padding: bool, window: Index) -> str:
    """How many pixels a window counts: a number, or an element of a table."""
    counts = []
    for axis in axes:
        pixels = np.arange(axis.count)[:, None] * axis.stride - axis.before + np.arange(axis.size)
        low, high = (-axis.before, axis.length + axis.after) if with_padding else (0, axis.length)
        counts.append(np.sum((pixels >= low) & (pixels < high), axis=1))
    table = np.multiply.outer(*counts)
    if (table == table[0, 0]).all():
        return Words(program.dtype, False, "f").real(int(table[0, 0]))
    name = program.add_table(f"{value.name}pixels", table, "real")
    return f"{name}[{add(times(window[1], axes[1].count), window[2])}]"
