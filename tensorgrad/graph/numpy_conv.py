"""Convolution in the program that `to_numpy` writes: the same products and sums as in `tensorgrad.ops.conv`.

How an element of a product of matrices is rounded depends on the length of its sum and on where it lies: BLAS
computes the last columns by another loop than the others. So the products here are of the shapes that the
engine takes, in its blocks and pieces; its layout in memory otherwise makes no difference. Most convolutions
have no padding, stride, dilation or groups, and get simpler functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from tensorgrad.core import OPS
from tensorgrad.graph import numpy_conv_source as source
from tensorgrad.graph.numpy_steps import Lines
from tensorgrad.graph.numpy_trace import Script, Traced
from tensorgrad.ops.conv import _piece, _rows_of_strips
from tensorgrad.ops.parallel import parts
from tensorgrad.ops.windows import Axis, slide

Options = dict[str, Any]


def _axes(images: Any, filters: Any, options: Options) -> tuple[Axis, Axis]:
    get = options.get
    return slide(
        "to_numpy",
        images[1:3],
        filters[2:],
        get("stride", 1),
        get("padding", 0),
        get("dilation", 1),
        shapes="",
    )


def _is_plain(axes: tuple[Axis, Axis], groups: int) -> bool:
    return groups == 1 and all(
        axis.stride == axis.dilation == 1 and not axis.before and not axis.after for axis in axes
    )


def _how(axes: tuple[Axis, Axis], groups: int) -> str:
    """The options as arguments of the functions for convolutions that are not plain."""
    if _is_plain(axes, groups):
        return ""
    rows, columns = axes
    padding = (rows.before, rows.after), (columns.before, columns.after)
    stride, dilation = (rows.stride, columns.stride), (rows.dilation, columns.dilation)
    return f", stride={stride}, padding={padding}, dilation={dilation}, groups={groups}"


def _column_blocks(axes: tuple[Axis, Axis], x: Any, filters: int, weights: int) -> list[tuple[int, int, int]]:
    """Blocks of output columns, (left, right, width of a piece), of which the windows are multiplied."""
    rows, columns = axes
    _, count, _ = _rows_of_strips(rows)
    batch, channels = x.shape[0], x.shape[3]
    column = (count * channels * columns.size + filters * rows.count) * batch * x.itemsize
    blocks = parts(columns.count, column)
    return [(b.start, b.stop, _piece((b.stop - b.start) * batch, weights)) for b in blocks]


def _recorded(
    script: Script, compute: Callable[..., Any], call: str, helpers: tuple[str, ...], *args: Any
) -> Any:
    return script.record(Lines("convolved", compute, f"{{out}} = {call}", helpers=helpers), *args)


def conv2d(script: Script, x: Any, w: Any, bias: Any = None, **options: Any) -> Any:
    groups = options.get("groups", 1)
    axes = _axes(x.shape, w.shape, options)
    depth = axes[0].size * (w.shape[1] * w.shape[3] + (bias is not None))
    blocks = _column_blocks(axes, x, w.shape[0], w.shape[0] // groups * depth)
    if len({piece for _, _, piece in blocks}) == 1:  # the blocks do not matter then
        blocks = [(0, axes[1].count, blocks[0][2])]
    plain = _is_plain(axes, groups)
    name = "conv2d" if plain else "conv2d_general"
    helpers = (source.PLAIN_WINDOWS, source.PLAIN_CONV2D) if plain else (source.WINDOWS, source.CONV2D)
    call = f"{name}({{a0}}, {{a1}}, {{a2}}, blocks={blocks}{_how(axes, groups)})"
    return _recorded(script, partial(OPS["conv2d"].forward, **options), call, helpers, x, w, bias)


def conv2d_filters(script: Script, x: Any, y: Any, *, shape: Any, **options: Any) -> Any:
    groups = options.get("groups", 1)
    axes = _axes(x.shape, shape, options)
    rows, columns = axes
    plain = _is_plain(axes, groups)
    channels, filters = shape[1], shape[0] // groups
    size, width = rows.size * columns.size, (x.shape[2] + columns.before + columns.after)
    batch = x.shape[0]
    blocks: Any
    if columns.stride == 1 and channels >= 8 and channels * filters <= 512:
        row = (rows.size * x.shape[3] * width + shape[0] * columns.count) * batch * x.itemsize
        blocks = [(part.start, part.stop) for part in parts(rows.count, row)]
        piece = _piece(columns.count * batch, channels * filters)
        name = "conv2d_filters_by_tap" + ("" if plain else "_general")
        helpers: tuple[str, ...] = (source.PLAIN_FILTERS_BY_TAP if plain else source.FILTERS_BY_TAP,)
        how = f"blocks={blocks}, piece={piece}"
    else:
        blocks = _column_blocks(axes, x, shape[0], size * channels * filters)
        name = "conv2d_filters" + ("" if plain else "_general")
        helpers = (source.PLAIN_WINDOWS, source.PLAIN_FILTERS) if plain else (source.WINDOWS, source.FILTERS)
        how = f"blocks={blocks}"
    call = f"{name}({{a0}}, {{a1}}, shape={tuple(shape)}, {how}{_how(axes, groups)})"
    compute = partial(OPS["conv2d_filters"].forward, shape=shape, **options)
    return _recorded(script, compute, call, helpers, x, y)


def conv2d_images(script: Script, y: Any, w: Any, *, shape: Any, **options: Any) -> Any:
    groups = options.get("groups", 1)
    axes = _axes(shape, w.shape, options)
    rows, columns = axes
    batch = y.shape[0]
    compute = partial(OPS["conv2d_images"].forward, shape=shape, **options)
    how = _how(axes, groups)
    blocks: Any
    if rows.stride == rows.dilation == 1:
        pixel = (w.shape[0] + shape[3] * columns.size) * batch * y.itemsize
        weights = shape[3] // groups * columns.size * rows.size * (w.shape[0] // groups)
        downs = parts(shape[1], columns.count * pixel, least=min(2 * rows.size, shape[1]))
        by_rows = {
            (d.start, d.stop): [
                (a.start, a.stop, _piece((a.stop - a.start) * batch, weights))
                for a in parts(columns.count, (d.stop - d.start + rows.size - 1) * pixel)
            ]
            for d in downs
        }
        plain = _is_plain(axes, groups)
        different = [
            blocks for i, blocks in enumerate(by_rows.values()) if blocks not in list(by_rows.values())[:i]
        ]
        if len(different) == 1:  # the rows are computed one by one, so it does not matter in how many parts
            blocks = [(0, shape[1], different[0])]
        else:
            blocks = [(top, bottom, across) for (top, bottom), across in by_rows.items()]
        name = "conv2d_images" if plain else "conv2d_images_general"
        helpers = (source.PLAIN_IMAGES,) if plain else (source.TAP, source.IMAGES)
        call = f"{name}({{a0}}, {{a1}}, shape={tuple(shape)}, blocks={blocks}{how})"
        return _recorded(script, compute, call, helpers, y, w)
    pixel = (shape[3] * rows.size * columns.size + w.shape[0]) * batch * y.itemsize
    weights = w.shape[0] // groups * w.shape[1] * rows.size * columns.size
    blocks = [
        (d.start, d.stop, a.start, a.stop, _piece((d.stop - d.start) * (a.stop - a.start) * batch, weights))
        for d, a in product(parts(rows.count, pixel * columns.count), parts(columns.count, pixel))
    ]
    call = f"conv2d_images_by_patch({{a0}}, {{a1}}, shape={tuple(shape)}, blocks={blocks}{how})"
    return _recorded(script, compute, call, (source.TAP, source.IMAGES_BY_PATCH), y, w)


FORWARDS: dict[str, Callable[..., Traced]] = {
    "conv2d": conv2d,
    "conv2d_filters": conv2d_filters,
    "conv2d_images": conv2d_images,
}
