"""The shape and dtype of what an op gives: its forward tells them, from few elements in the place of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Op
from tensorgrad.core.checks import NDArray

Outline: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]

#: Ops whose results have axes as long as their arguments', or of length 1; besides those on elements.
ALONG = (
    "all", "any", "einsum_", "gate", "log_softmax", "logsumexp", "matmul", "max", "mean", "min", "softmax",
    "sum", "sum_to", "swapaxes", "transpose", "var",
)  # fmt: skip
#: Ops on images: how many arguments have a row for each sample, and whether the result has.
BY_SAMPLE = {
    "avg_pool": (1, True), "avg_pool_images": (1, True), "conv2d": (1, True), "conv2d_filters": (2, False),
    "conv2d_images": (1, True), "max_pool": (1, True), "max_pool_images": (1, True),
}  # fmt: skip


def stand_in(shape: Sequence[int], dtype: Any) -> NDArray:
    """An array of zeros that takes no memory."""
    return np.ndarray(shape, dtype, np.zeros((), dtype), strides=(0,) * len(shape))


def has_static_shape(op: Op[Any], options: Mapping[str, Any]) -> bool:
    """Whether no values decide on the shape of what one of our or NumPy's ops gives."""
    known = op.vjps or op.joint or isinstance(op.forward, np.ufunc) or op.name in (*ALONG, "zeros_like")
    parts = [part for x in options.values() for part in (x if isinstance(x, tuple) else (x,))]
    return bool(known) and not any(isinstance(x, np.ndarray) and x.dtype == bool for x in parts)


def infer(op: Op[Any], arrays: Sequence[Any], options: Mapping[str, Any]) -> Outline:
    """The shape and dtype of what an op gives that `has_static_shape`; or an error, of the forward too."""
    if op.elementwise or op.name in ALONG:
        return _follow_axes(op, arrays, options)
    if op.name in BY_SAMPLE:
        return _take_sample(op, arrays, options, *BY_SAMPLE[op.name])
    out = op.forward(*arrays, **options)
    return out.shape, out.dtype


def _follow_axes(op: Op[Any], arrays: Sequence[Any], options: Mapping[str, Any]) -> Outline:
    """With axes of lengths 2, 3, 4 and so on, which differ where they did."""
    shapes = [getattr(x, "shape", ()) for x in (*arrays, *options.values())] + [options.get("shape", ())]
    lengths = {n for shape in shapes for n in shape if n > 1}
    short = {n: k for k, n in enumerate(sorted(lengths), start=2)}

    def cut(x: Any) -> Any:
        return x[tuple([slice(short.get(n, n)) for n in x.shape])] if isinstance(x, np.ndarray) else x

    few = {key: cut(x) for key, x in options.items()}
    if "shape" in few:
        few["shape"] = tuple([short.get(n, n) for n in few["shape"]])
    out = op.forward(*map(cut, arrays), **few)
    long = {0: 0, 1: 1} | {k: n for n, k in short.items()}
    return tuple([long[n] for n in out.shape]), out.dtype


def _take_sample(
    op: Op[Any], arrays: Sequence[Any], options: Mapping[str, Any], many: int, sampled: bool
) -> Outline:
    """With one sample, if there are some."""
    few = {key: x[:1] if isinstance(x, np.ndarray) else x for key, x in options.items()}
    counts = {len(x) for x in (*arrays[:many], *options.values()) if isinstance(x, np.ndarray)}
    if sampled and "shape" in few:
        counts |= {few["shape"][0]}
        few["shape"] = (min(few["shape"][0], 1), *few["shape"][1:])
    (count,) = counts
    out = op.forward(*(x[:1] for x in arrays[:many]), *arrays[many:], **few)
    return (count if sampled else out.shape[0], *out.shape[1:]), out.dtype
