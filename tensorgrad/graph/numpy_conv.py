"""Convolution in the program that `to_numpy` writes: the same products and sums as in `tensorgrad.ops.conv`.

How an element of a product of matrices is rounded depends on the length of its sum and on where it lies: BLAS
computes the last columns by another loop than the others. So the products here are of the shapes that the
engine takes, one for each row of images. Most convolutions have no padding, stride, dilation or groups, and
get simpler functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tensorgrad.core import OPS
from tensorgrad.core.parallel import parts
from tensorgrad.graph import numpy_conv_source as source
from tensorgrad.graph.numpy_steps import Lines
from tensorgrad.graph.numpy_trace import Script, Traced
from tensorgrad.ops.conv import patch_row_bytes, row_bytes
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


def _recorded(
    script: Script, compute: Callable[..., Any], call: str, helpers: tuple[str, ...], *args: Any
) -> Any:
    return script.record(Lines("convolved", compute, f"{{out}} = {call}", helpers=helpers), *args)


def _blocks(parts: list[slice]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parts]


def conv2d(script: Script, x: Any, w: Any, bias: Any = None, **options: Any) -> Any:
    groups = options.get("groups", 1)
    axes = _axes(x.shape, w.shape, options)
    plain = _is_plain(axes, groups)
    name = "conv2d" if plain else "conv2d_general"
    helpers = (source.PLAIN_WINDOWS, source.PLAIN_CONV2D) if plain else (source.WINDOWS, source.CONV2D)
    call = f"{name}({{a0}}, {{a1}}, {{a2}}{_how(axes, groups)})"
    return _recorded(script, partial(OPS["conv2d"].forward, **options), call, helpers, x, w, bias)


def conv2d_filters(script: Script, x: Any, y: Any, *, shape: Any, **options: Any) -> Any:
    groups = options.get("groups", 1)
    rows, columns = axes = _axes(x.shape, shape, options)
    row = row_bytes(x.swapaxes(0, 3), shape[0], rows, columns)
    plain = _is_plain(axes, groups)
    name = "conv2d_filters" + ("" if plain else "_general")
    helpers = (source.PLAIN_WINDOWS, source.PLAIN_FILTERS) if plain else (source.WINDOWS, source.FILTERS)
    how = f"blocks={_blocks(parts(rows.count, row))}{_how(axes, groups)}"
    call = f"{name}({{a0}}, {{a1}}, shape={tuple(shape)}, {how})"
    compute = partial(OPS["conv2d_filters"].forward, shape=shape, **options)
    return _recorded(script, compute, call, helpers, x, y)


def conv2d_images(script: Script, y: Any, w: Any, *, shape: Any, **options: Any) -> Any:
    groups = options.get("groups", 1)
    rows, columns = axes = _axes(shape, w.shape, options)
    compute = partial(OPS["conv2d_images"].forward, shape=shape, **options)
    how = _how(axes, groups)
    if rows.stride == rows.dilation == 1:
        plain = _is_plain(axes, groups)
        name = "conv2d_images" + ("" if plain else "_general")
        helpers: tuple[str, ...] = (source.PLAIN_IMAGES,) if plain else (source.TAP, source.IMAGES)
    else:
        row = patch_row_bytes(y.swapaxes(0, 3), shape[3], rows, columns)
        how = f", blocks={_blocks(parts(rows.count, row))}{how}"
        name, helpers = "conv2d_images_by_patch", (source.TAP, source.IMAGES_BY_PATCH)
    call = f"{name}({{a0}}, {{a1}}, shape={tuple(shape)}{how})"
    return _recorded(script, compute, call, helpers, y, w)


FORWARDS: dict[str, Callable[..., Traced]] = {
    "conv2d": conv2d,
    "conv2d_filters": conv2d_filters,
    "conv2d_images": conv2d_images,
}
