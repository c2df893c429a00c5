"""The rules of NumPy: what a program has in place of ops that write into arrays, or would not read well.

Convolution and pooling are calls of the functions in `numpy_functions`, with options only if there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core import OPS
from tensorgrad.core.parallel import parts
from tensorgrad.graph.export.numpy_functions import pixels, source_of
from tensorgrad.graph.export.trace import Lines, Method, Traced, call, record
from tensorgrad.ops.arrays import in_wide_floats
from tensorgrad.ops.conv import patch_row_bytes, row_bytes
from tensorgrad.ops.indexing import reads_once
from tensorgrad.ops.windows import Index, Shape, Windows, find_taps, slide, slide_pooling


def astype(x: Any, *, dtype: Any) -> Any:
    """With the dtype as np.float32, not as a string."""
    return record(Method("astype"), x, np.dtype(dtype).type)


@in_wide_floats
def sum_to(x: Any, *, shape: Shape) -> Any:
    """Without axes of length 1 kept only to be dropped."""
    new = x.ndim - len(shape)
    unit = tuple(i + new for i, n in enumerate(shape) if n == 1 != x.shape[i + new])
    axes = (*range(new), *unit)
    if new and unit:
        return np.sum(x, axis=axes, keepdims=True).reshape(shape)
    axis = None if len(axes) == x.ndim else axes[0] if len(axes) == 1 else axes
    return np.sum(x, axis=axis, keepdims=bool(unit) or not axes)


def reshape(x: Any, *, shape: Any, order: Any = "C") -> Any:
    """As a method, with all lengths; laid out as in the engine, which matters to products."""
    if order != "C":
        return np.reshape(x, shape, order)
    made = OPS["reshape"].forward(x.step.value, shape=shape)
    out = x.reshape(made.shape)
    as_made = out.flags.f_contiguous or not made.flags.f_contiguous
    return out if as_made else record(np.asfortranarray, out)


def broadcast_to(x: Any, *, shape: Shape) -> Any:
    """Without axes of length 1 given first to what has none."""
    function, args = x.step.function, x.step.args
    if isinstance(function, Method) and function.name == "reshape" and not args[0].value.ndim:
        x = Traced(x.script, args[0])
    return np.broadcast_to(x, shape)


def gate(x: Any, condition: Any) -> Any:
    """By np.where, which everybody knows."""
    return record(np.where, condition, x, 0)


@in_wide_floats
def scatter_add(x: Any, *, index: Any, shape: Shape) -> Any:
    """By an assignment where no element is met twice."""
    dtype = "" if x.dtype == float else f", dtype=np.{x.dtype.name}"
    zeros = f"{{out}} = np.zeros({tuple(shape)}{dtype})"
    once = reads_once(index.step.value if isinstance(index, Traced) else index)
    add = "{out}[{i1}] = {0}" if once else "np.add.at({out}, {1}, {0})"
    return record(Lines("scattered", (zeros, add)), x, index)


def _call(word: str, used: str, args: tuple[Any, ...], *how: str, disjoint: bool = False) -> Any:
    """A call of the last of the functions named in ``used``; ``how`` are its arguments after the arrays.

    What overlapping windows add to pixels need only be assigned if windows are disjoint.
    """
    name, sources = used.split()[-1], [*map(source_of, used.split())]
    if disjoint:
        name, *sources = (x.replace("_overlapping", "").replace("] += ", "] = ") for x in (name, *sources))
    arguments = ", ".join([*(f"{{a{k}}}" for k in range(len(args))), *filter(None, how)])
    return record(Lines(word, (f"{{out}} = {name}({arguments})",), tuple(sources)), *args)


# Convolution


def conv2d(x: Any, w: Any, bias: Any = None, **options: Any) -> Any:
    _, how = _lay_filters(x.shape, w.shape, **options)
    used = "windows_of_general conv2d_general" if how else "windows_of conv2d"
    return _call("convolved", used, (x, w, bias), how)


def conv2d_filters(x: Any, y: Any, *, shape: Shape, **options: Any) -> Any:
    (rows, columns), how = _lay_filters(x.shape, shape, **options)
    used = "windows_of_general conv2d_filters_general" if how else "windows_of conv2d_filters"
    blocks = _blocks_of(rows, row_bytes(x.swapaxes(0, 3), shape[0], rows, columns))
    return _call("convolved", used, (x, y), f"shape={tuple(shape)}", blocks, how)


def conv2d_images(y: Any, w: Any, *, shape: Shape, **options: Any) -> Any:
    (rows, columns), how = _lay_filters(shape, w.shape, **options)
    used, blocks = "tap conv2d_images_general" if how else "conv2d_images", ""
    if not rows.stride == rows.dilation == 1:
        used = "tap conv2d_images_by_patch"
        blocks = _blocks_of(rows, patch_row_bytes(y.swapaxes(0, 3), shape[3], rows, columns))
    return _call("convolved", used, (y, w), f"shape={tuple(shape)}", blocks, how)


def _lay_filters(
    images: Shape, filters: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[tuple[Windows, Windows], str]:
    """The axes, and the options as arguments of the general functions; none if the convolution is plain."""
    axes = slide("to_numpy", images[1:3], filters[2:], stride, padding, dilation, shapes="")
    how = f"stride={_both('stride', axes)}, padding={tuple((axis.before, axis.after) for axis in axes)}"
    how += f", dilation={_both('dilation', axes)}, groups={groups}"
    plain = "stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1"
    return axes, "" if how == plain else how


def _both(what: str, axes: tuple[Windows, Windows]) -> tuple[int, ...]:
    return tuple(getattr(axis, what) for axis in axes)


def _blocks_of(rows: Windows, row_bytes: int) -> str:
    """The blocks of rows that the engine takes at a time: sums are rounded by them."""
    return f"blocks={[(part.start, part.stop) for part in parts(rows.count, row_bytes)]}"


# Pooling


def max_pool(x: Any, **options: Any) -> Any:
    return _fold(x, slide_pooling("to_numpy", x.shape, **options), np.maximum, -np.inf)


def max_pool_images(y: Any, *, images: Any, maxima: Any, **options: Any) -> Any:
    axes = slide_pooling("to_numpy", images.shape, **options)
    used, how = "max_pool_vjp_overlapping_padded", _list_taps(axes)
    if all(map(_lies_inside, axes)):
        used = "max_pool_vjp_overlapping"
        size, stride, dilation = (_both(what, axes) for what in ("size", "stride", "dilation"))
        how = f"size={size}, stride={stride}" + (f", dilation={dilation}" if dilation != (1, 1) else "")
    return _call("d", used, (y, maxima, images), how, disjoint=_are_disjoint(axes))


def gather_windows(x: Any, index: Any, **options: Any) -> Any:
    axes = slide_pooling("to_numpy", x.shape, **options)
    return _call("windows", "gather_windows", (x, index), _list_taps(axes))


def scatter_windows(y: Any, index: Any, *, shape: Shape, **options: Any) -> Any:
    axes = slide_pooling("to_numpy", shape, **options)
    used, how = "scatter_windows_overlapping", (str(tuple(shape)), _list_taps(axes))
    return _call("windows", used, (y, index), *how, disjoint=_are_disjoint(axes))


@in_wide_floats
def avg_pool(x: Any, *, count_include_pad: bool = True, **options: Any) -> Any:
    axes = slide_pooling("to_numpy", x.shape, **options)
    return _divide(_fold(x, axes, np.add, 0), axes, count_include_pad)


@in_wide_floats
def avg_pool_images(y: Any, *, shape: Shape, count_include_pad: bool = True, **options: Any) -> Any:
    axes = slide_pooling("to_numpy", shape, **options)
    means = _divide(y, axes, count_include_pad)
    return _call("d", "spread_windows", (means,), str(tuple(shape)), _list_taps(axes))


def _lies_inside(axis: Windows) -> bool:
    """Whether every window lies inside the images."""
    last = (axis.count - 1) * axis.stride + (axis.size - 1) * axis.dilation - axis.before
    return not axis.before and last < axis.length


def _are_disjoint(axes: tuple[Windows, Windows]) -> bool:
    return all(axis.stride > axis.dilation * (axis.size - 1) for axis in axes)


def _fold(x: Any, axes: tuple[Windows, Windows], combine: Callable[..., Any], start: float) -> Any:
    """All pixels of every window combined, along rows first, then along columns."""
    for place, (word, axis) in enumerate(zip(("of_rows", "of_windows"), axes, strict=True), 1):
        before = (slice(None),) * place
        taps = [tuple((*before, part) for part in axis.tap(k)) for k in range(axis.size)]
        if len(taps) > 1 and all(axis.count == part[-1].stop - part[-1].start for part, _ in taps):
            out = combine(x[taps[0][1]], x[taps[1][1]])
            for _, later in taps[2:]:
                out = combine(out, x[later])
            x = call(word, out)
            continue
        shape = (*x.shape[:place], axis.count, *x.shape[place + 1 :])
        lines = [f"{{out}} = np.full_like({{a0}}, {'-np.inf' if start else '0'}, shape={shape})"]
        for windows, seen in taps:
            part, new = f"{{out}}[{_write(windows)}]", f"{{0}}[{_write(seen)}]"
            lines.append(f"{part} += {new}" if combine is np.add else f"{part} = np.maximum({part}, {new})")
        x = record(Lines(word, tuple(lines)), x)
    return x


def _list_taps(axes: tuple[Windows, Windows]) -> str:
    """The windows and the pixels of each tap, as the functions take them."""
    return f"[{', '.join(f'(np.s_[{_write(w)}], np.s_[{_write(p)}])' for w, p in find_taps(*axes))}]"


def _write(index: Index) -> str:
    """An index as it is written, without what follows from the shapes."""

    def write(s: slice) -> str:
        if s.start is None and s.stop is None:
            return ":"
        return f"{s.start}:{s.stop}" + (f":{s.step}" if s.step not in (None, 1) else "")

    return ", ".join(map(write, index))


def _divide(x: Any, axes: tuple[Windows, Windows], count_include_pad: bool) -> Any:
    """Sums divided by the numbers of pixels in the windows, for which there is one number or a formula."""
    counts, texts = [], []
    for axis in axes:
        how = (axis.count, axis.size, axis.stride, axis.before, *axis.bounds(count_include_pad))
        counts.append(pixels(*how))  # type: ignore[no-untyped-call]
        texts.append(f"pixels{how}")
    number = np.multiply.outer(*counts)
    if (number == number.flat[0]).all():
        return np.divide(x, int(number.flat[0]))
    line = f"{{out}} = {{0}} / np.multiply.outer({', '.join(texts)}).astype(np.{x.dtype.name})[:, :, None]"
    return record(Lines("mean", (line,), (source_of("pixels"),)), x)
