"""Pooling in the program that `to_numpy` writes: the same sums and maxima as in `tensorgrad.ops.pool`.

A maximum is exact, so only what decides ties and signs of zero must be as there: the taps in row-major order,
rows before columns. Sums also round, and are taken in that order too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tensorgrad.core import OPS
from tensorgrad.graph.numpy_steps import Lines
from tensorgrad.graph.numpy_trace import Script, Traced
from tensorgrad.ops.windows import Axis, slide

_VJP = '''
def {name}(g, out, x, size, stride, dilation=(1, 1)):
    """Give the cotangent g of each window to the first of its largest pixels."""
    d_x = np.zeros_like(out, dtype=g.dtype, shape=x.shape)
    waiting = np.ones_like(out, dtype=bool)  # windows whose largest pixel has not come yet
    for i, j in np.ndindex(size):
        top, left = i * dilation[0], j * dilation[1]
        bottom, right = top + stride[0] * out.shape[1], left + stride[1] * out.shape[2]
        pixels = np.s_[:, top : bottom : stride[0], left : right : stride[1]]  # one of each window
        first = waiting & ((x[pixels] == out) | np.isnan(x[pixels]))
        d_x[pixels] {assign} np.where(first, g, 0)
        waiting &= ~first
    return d_x
'''

_VJP_PADDED = '''
def {name}(g, out, x, taps):
    """Give the cotangent g of each window to the first of its largest pixels; windows overlap the edges."""
    d_x = np.zeros_like(out, dtype=g.dtype, shape=x.shape)
    waiting = np.ones_like(out, dtype=bool)  # windows whose largest pixel has not come yet
    for windows, pixels in taps:
        first = waiting[windows] & ((x[pixels] == out[windows]) | np.isnan(x[pixels]))
        d_x[pixels] {assign} np.where(first, g[windows], 0)
        waiting[windows] &= ~first
    return d_x
'''

_GATHER = '''
def gather_windows(x, index, taps):
    """The element of each window whose number is given."""
    out = np.zeros_like(index, dtype=x.dtype)
    for k, (windows, pixels) in enumerate(taps):
        out[windows] += np.where(index[windows] == k, x[pixels], 0)
    return out
'''

_SCATTER = '''
def {name}(y, index, shape, taps):
    """Zeros, with y at the element of each window whose number is given."""
    x = np.zeros_like(index, dtype=y.dtype, shape=shape)
    for k, (windows, pixels) in enumerate(taps):
        x[pixels] {assign} np.where(index[windows] == k, y[windows], 0)
    return x
'''

_PIXELS = '''
def pixels(count, size, stride, before, low, high):
    """How many pixels from low to high each window has along an axis."""
    start = np.arange(count) * stride - before
    return np.minimum(start + size, high) - np.maximum(start, low)
'''

_SPREAD = '''
def spread_windows(y, shape, taps):
    """Images in which each pixel is the sum of the y of its windows."""
    x = np.zeros_like(y, shape=shape)
    for windows, pixels in taps:
        x[pixels] += y[windows]
    return x
'''


def _axes(shape: Any, size: Any = 2, stride: Any = None, padding: Any = 0, dilation: Any = 1,
          ceil_mode: bool = False, **_: Any) -> tuple[Axis, Axis]:  # fmt: skip
    stride = size if stride is None else stride
    return slide("to_numpy", shape[1:3], size, stride, padding, dilation, ceil_mode=ceil_mode, shapes="")


def _is_inside(axis: Axis) -> bool:
    """Whether every window lies inside the images."""
    last = (axis.count - 1) * axis.stride + (axis.size - 1) * axis.dilation - axis.before
    return not axis.before and last < axis.length


def _fold(script: Script, x: Traced, axes: tuple[Axis, Axis], combine: Any, start: float) -> Any:
    """All pixels of every window combined, along rows first, then along columns."""
    for place, (word, axis) in enumerate(zip(("of_rows", "of_windows"), axes, strict=True), 1):
        before = (slice(None),) * place
        taps = [tuple((*before, part) for part in axis.tap(k)) for k in range(axis.size)]
        whole = [axis.count == part[-1].stop - part[-1].start for part, _ in taps]
        if len(taps) > 1 and all(whole):
            out = combine(x[taps[0][1]], x[taps[1][1]])
            for _, pixels in taps[2:]:
                out = combine(out, x[pixels])
            x = script.called(word, out)
            continue
        shape = (*x.shape[:place], axis.count, *x.shape[place + 1 :])
        value = "-np.inf" if start else "0"
        lines = [f"{{out}} = np.full_like({{a0}}, {value}, shape={shape})"]
        for windows, pixels in taps:
            part, new = f"{{out}}[{_text(windows)}]", f"{{0}}[{_text(pixels)}]"
            lines.append(f"{part} += {new}" if combine is np.add else f"{part} = np.maximum({part}, {new})")
        x = script.record(Lines(word, _folding(combine, start, shape, taps), *lines), x)
    return x


def _folding(combine: Any, start: float, shape: tuple[int, ...], taps: list[Any]) -> Any:
    def compute(x: Any) -> Any:
        out = np.full_like(x, start, shape=shape)
        for windows, pixels in taps:
            out[windows] = combine(out[windows], x[pixels])
        return out

    return compute


def _text(index: tuple[slice, ...]) -> str:
    """An index as it is written, without what follows from the shapes."""

    def part(s: slice) -> str:
        if s.start is None and s.stop is None:
            return ":"
        return f"{s.start}:{s.stop}" + (f":{s.step}" if s.step not in (None, 1) else "")

    return ", ".join(map(part, index))


def _taps(axes: tuple[Axis, Axis]) -> Iterator[tuple[Any, Any]]:
    rows, columns = axes
    for k in range(rows.size * columns.size):
        down, ys = rows.tap(k // columns.size)
        across, xs = columns.tap(k % columns.size)
        yield (slice(None), down, across), (slice(None), ys, xs)


def _listed(axes: tuple[Axis, Axis]) -> str:
    return f"[{', '.join(f'(np.s_[{_text(w)}], np.s_[{_text(p)}])' for w, p in _taps(axes))}]"


def _is_disjoint(axes: tuple[Axis, Axis]) -> bool:
    return all(axis.stride > axis.dilation * (axis.size - 1) for axis in axes)


def max_pool(script: Script, x: Traced, **options: Any) -> Any:
    return _fold(script, x, _axes(x.shape, **options), np.maximum, -np.inf)


def max_pool_vjp(script: Script, g: Traced, out: Traced, x: Traced, **options: Any) -> Any:
    axes = _axes(x.shape, **options)
    disjoint = _is_disjoint(axes)
    inside = all(map(_is_inside, axes))
    name = f"max_pool_vjp{'' if disjoint else '_overlapping'}{'' if inside else '_padded'}"
    helper = (_VJP if inside else _VJP_PADDED).format(name=name, assign="=" if disjoint else "+=")
    size, stride, dilation = (
        tuple(getattr(axis, what) for axis in axes) for what in ("size", "stride", "dilation")
    )
    how = f"size={size}, stride={stride}" + (f", dilation={dilation}" if dilation != (1, 1) else "")
    how = how if inside else _listed(axes)
    formula = OPS["max_pool"].vjps["x"]

    def compute(g: Any, out: Any, x: Any) -> Any:
        return formula(g, out, x, **options)

    return script.record(
        Lines("d", compute, f"{{out}} = {name}({{a0}}, {{a1}}, {{a2}}, {how})", helpers=(helper,)), g, out, x
    )


def max_pool_images(script: Script, y: Traced, *, images: Any, maxima: Any, **options: Any) -> Any:
    return max_pool_vjp(script, y, maxima, images, **options)


def gather_windows(script: Script, x: Traced, index: Any, **options: Any) -> Any:
    line = f"{{out}} = gather_windows({{a0}}, {{a1}}, {_listed(_axes(x.shape, **options))})"
    return script.record(
        Lines("windows", partial(OPS["gather_windows"].forward, **options), line, helpers=(_GATHER,)),
        x,
        index,
    )


def scatter_windows(script: Script, y: Traced, index: Any, **options: Any) -> Any:
    axes = _axes(**options)
    name = "scatter_windows" + ("" if _is_disjoint(axes) else "_overlapping")
    helper = _SCATTER.format(name=name, assign="=" if _is_disjoint(axes) else "+=")
    line = f"{{out}} = {name}({{a0}}, {{a1}}, {tuple(options['shape'])}, {_listed(axes)})"
    return script.record(
        Lines("windows", partial(OPS["scatter_windows"].forward, **options), line, helpers=(helper,)),
        y,
        index,
    )


def avg_pool(script: Script, x: Traced, **options: Any) -> Any:
    axes = _axes(x.shape, **options)
    return _divided(script, _fold(script, x, axes, np.add, 0), axes, options)


def avg_pool_images(script: Script, y: Traced, **options: Any) -> Any:
    axes = _axes(**options)
    shape = tuple(options["shape"])
    y = _divided(script, y, axes, options)
    line = f"{{out}} = spread_windows({{a0}}, {shape}, {_listed(axes)})"

    def compute(y: Any) -> Any:
        x = np.zeros_like(y, shape=shape)
        for windows, pixels in _taps(axes):
            x[pixels] += y[windows]
        return x

    return script.record(Lines("d", compute, line, helpers=(_SPREAD,)), y)


def _divided(script: Script, x: Any, axes: tuple[Axis, Axis], options: dict[str, Any]) -> Any:
    """Sums divided by the numbers of pixels in the windows, for which there is one number or a formula."""
    counts, texts = [], []
    for axis in axes:
        low, high = 0, axis.length
        if options.get("count_include_pad", True):
            low, high = -axis.before, axis.length + axis.after
        counts.append(_pixels(axis.count, axis.size, axis.stride, axis.before, low, high))
        texts.append(f"pixels({axis.count}, {axis.size}, {axis.stride}, {axis.before}, {low}, {high})")
    pixels = np.multiply.outer(*counts)
    if (pixels == pixels.flat[0]).all():
        return np.divide(x, int(pixels.flat[0]))
    divisor = pixels.astype(x.dtype)[:, :, None]
    line = f"{{out}} = {{0}} / np.multiply.outer({', '.join(texts)}).astype(np.{x.dtype.name})[:, :, None]"
    return script.record(Lines("mean", lambda x: x / divisor, line, helpers=(_PIXELS,)), x)


def _pixels(count: int, size: int, stride: int, before: int, low: int, high: int) -> Any:
    start = np.arange(count) * stride - before
    return np.minimum(start + size, high) - np.maximum(start, low)
