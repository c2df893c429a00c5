"""ONNX's operators as functions of arrays and tensors, made of ops and NumPy functions.

Attributes are keyword arguments by their own names. ``opset`` and ``count`` are the version of the operator
set and how many results are wanted. Images are (N, C, H, W), as in the files.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from tensorgrad import ops
from tensorgrad.core import Array, Tensor
from tensorgrad.ops.conv import conv2d_images

Operator: TypeAlias = Callable[..., Any]

#: So many elements may a file ask for in an array that holds one value.
MOST_ELEMENTS = 1 << 28


def integers(x: Any) -> list[int]:
    """A shape, axes or the like."""
    if isinstance(x, Tensor) or np.asarray(x).dtype.kind not in "iu":
        raise TypeError(f"expected integers that do not depend on parameters, got {x!r}")
    return [int(n) for n in np.ravel(x)]


def as_in(x: Array, out: Any) -> Any:
    """``out`` in the dtype of ``x``, which NumPy widens and ONNX keeps."""
    return out if out.dtype == x.dtype else out.astype(x.dtype)


def require_room(lengths: Sequence[int]) -> Sequence[int]:
    """The shape; ValueError if a few bytes ask for more than memory has."""
    if math.prod(lengths) > MOST_ELEMENTS:
        raise ValueError(f"expected at most {MOST_ELEMENTS} elements, got the shape {tuple(lengths)}")
    return lengths


# Elements


def divide(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":  # towards 0, as in C
        return as_in(x, np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y)))
    return x / y


def power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.power(x, as_in(x, y))
    return as_in(x, np.power(x, y))


def clip(x: Array, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Array:
    low, high = min if low is None else low, max if high is None else high
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    return np.isinf(x) & ((x > 0) & bool(detect_positive) | (x < 0) & bool(detect_negative))


def shrink(x: Array, *, bias: float = 0.0, lambd: float = 0.5) -> Array:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0 * x))


def fold(function: Callable[[Any, Any], Any]) -> Operator:
    return lambda *arrays: reduce(function, arrays)


# Along axes


def over_axes(function: Operator) -> Operator:
    """A reduction, whose axes are an attribute or, in newer versions, an input."""

    def operator(
        x: Array, given: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        found = (axes or ()) if given is None else integers(given)
        axis = tuple(found) if found or noop_with_empty_axes else None
        return as_in(x, function(x, axis=axis, keepdims=bool(keepdims)))

    return operator


def softmax(function: Operator) -> Operator:
    def operator(x: Array, *, axis: int | None = None, opset: int) -> Any:
        if opset >= 13:
            return function(x, axis=-1 if axis is None else axis)
        return function(flatten(x, axis=1 if axis is None else axis), axis=-1).reshape(x.shape)

    return operator


def arg(function: Operator) -> Operator:
    def operator(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        if select_last_index:
            return x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))
        return function(x, axis=axis, keepdims=bool(keepdims))

    return operator


def cumsum(x: Array, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    (k,) = integers(axis)
    x = np.flip(x, k) if reverse else x
    out = as_in(x, np.cumsum(x, axis=k))
    out = out - x if exclusive else out
    return np.flip(out, k) if reverse else out


def lp_normalize(x: Array, *, axis: int = -1, p: int = 2) -> Array:
    size = np.sum(np.abs(x), axis=axis, keepdims=True) if p == 1 else _root_of_squares(x, axis, True)
    return np.where(size == 0, 0 * x, x / np.where(size == 0, 1 + 0 * size, size))


def _root_of_squares(x: Array, axis: Any, keepdims: bool) -> Array:
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


# Shapes


def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    lengths = require_room(integers(shape))
    return np.full(lengths, np.float32(0) if value is None else value[0])


def arange(start: Any, limit: Any, step: Any) -> Any:
    require_room([abs(int((limit - start) / step))])
    return np.arange(start, limit, step, dtype=np.asarray(start).dtype)


def reshape(x: Array, shape: Any, *, allowzero: int = 0) -> Any:
    lengths = integers(shape)
    if not allowzero:
        lengths = [x.shape[i] if n == 0 else n for i, n in enumerate(lengths)]
    return np.reshape(x, lengths)


def flatten(x: Array, *, axis: int = 1) -> Any:
    axis = axis + x.ndim if axis < 0 else axis
    return np.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def squeeze(x: Array, given: Any = None, *, axes: Any = None) -> Any:
    found = axes if given is None else integers(given)
    return np.squeeze(x, None if found is None else tuple(found))


def unsqueeze(x: Array, given: Any = None, *, axes: Any = None) -> Any:
    return np.expand_dims(x, tuple(axes if given is None else integers(given)))


def expand(x: Array, shape: Any) -> Any:
    return np.broadcast_to(x, require_room(np.broadcast_shapes(x.shape, integers(shape))))


def tile(x: Array, repeats: Any) -> Any:
    times = integers(repeats)
    require_room([x.size, *times])
    return np.tile(x, times)


def gather(x: Array, index: Any, *, axis: int = 0) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (index,)] if axis % x.ndim else x[index]


def cut(
    x: Array, start: Any = None, end: Any = None, axis: Any = None, step: Any = None,
    *, starts: Any = None, ends: Any = None, axes: Any = None,
) -> Any:  # fmt: skip
    start, end = integers(starts if start is None else start), integers(ends if end is None else end)
    given = axes if axis is None else axis
    which = range(len(start)) if given is None else integers(given)
    steps = [1] * len(start) if step is None else integers(step)
    index = [slice(None)] * x.ndim
    for k, *bounds in zip(which, start, end, steps, strict=True):
        index[k] = slice(*bounds)
    return x[tuple(index)]


def split(
    x: Array, given: Any = None, *, axis: int = 0, split: Any = None, num_outputs: Any = None, count: int
) -> Any:
    sizes = split if given is None else integers(given)
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1)
        sizes.append(x.shape[axis] - sum(sizes))
    return tuple(np.split(x, [int(n) for n in np.cumsum(sizes)[:-1]], axis))


def pad(
    x: Array, given: Any = None, constant: Any = None, axis: Any = None,
    *, pads: Any = None, value: float = 0.0, mode: str = "constant",
) -> Any:  # fmt: skip
    sizes = integers(pads if given is None else given)
    which, half = range(x.ndim) if axis is None else integers(axis), len(sizes) // 2
    widths = [(0, 0)] * x.ndim
    for k, before, after in zip(which, sizes[:half], sizes[half:], strict=True):
        widths[k] = (before, after)
    if min(sizes, default=0) < 0:
        raise ValueError(f"expected pads of at least 0, got {sizes}")
    require_room([n + before + after for n, (before, after) in zip(x.shape, widths, strict=True)])
    if mode != "constant":
        return ops.pad(x, widths, mode)
    return ops.pad(x, widths, constant_values=value if constant is None else np.ravel(constant)[0])


def depth_to_space(x: Array, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    c //= blocksize**2
    if mode == "DCR":
        parts = np.transpose(x.reshape(n, blocksize, blocksize, c, h, w), (0, 3, 4, 1, 5, 2))
    else:
        parts = np.transpose(x.reshape(n, c, blocksize, blocksize, h, w), (0, 1, 4, 2, 5, 3))
    return parts.reshape(n, c, h * blocksize, w * blocksize)


def space_to_depth(x: Array, *, blocksize: int) -> Any:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize)
    return np.transpose(parts, (0, 3, 5, 1, 2, 4)).reshape(n, -1, h // blocksize, w // blocksize)


# Products


def gemm(
    a: Array, b: Array, c: Array = None,
    *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,  # noqa: N803
) -> Array:  # fmt: skip
    out = (a.T if transA else a) @ (b.T if transB else b)
    out = out if alpha == 1 else alpha * out
    return out if c is None else out + (c if beta == 1 else beta * c)


# Windows over (N, C, H, W), or over (N, C, L) as images of one row


def _windows(
    x: Array, size: Sequence[int], auto_pad: str, pads: Any, strides: Any, dilations: Any
) -> dict[str, tuple[Any, ...]]:
    """Stride, padding and dilation along both axes of images."""
    n = len(size)
    if n not in (1, 2) or x.ndim != n + 2:
        raise ValueError(f"expected (N, C, L) or (N, C, H, W), got {x.shape} with windows of {list(size)}")
    strides, dilations = strides or [1] * n, dilations or [1] * n
    pads = list(pads or [0] * 2 * n)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for i, (length, k, s, d) in enumerate(zip(x.shape[2:], size, strides, dilations, strict=True)):
            total = max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
            less, more = total // 2, total - total // 2
            pads[i], pads[i + n] = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    padding = [*zip(pads[:n], pads[n:], strict=True)]
    if n == 1:
        strides, dilations, padding = [1, *strides], [1, *dilations], [(0, 0), *padding]
    return {"stride": tuple(strides), "padding": tuple(padding), "dilation": tuple(dilations)}


def _channels_last(x: Array) -> Array:
    return np.transpose(x if x.ndim == 4 else np.expand_dims(x, 2), (0, 2, 3, 1))


def _channels_first(x: Array, ndim: int) -> Array:
    x = np.transpose(x, (0, 3, 1, 2))
    return x if ndim == 4 else np.squeeze(x, 2)


def conv(
    x: Array, w: Array, b: Array = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Array:  # fmt: skip
    how = _windows(x, w.shape[2:], auto_pad, pads, strides, dilations)
    w = w if w.ndim == 4 else np.expand_dims(w, 2)
    return _channels_first(ops.conv2d(_channels_last(x), w, b, groups=group, **how), x.ndim)


def conv_transpose(
    x: Array, w: Array, b: Array = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Array:  # fmt: skip
    size, n = w.shape[2:], x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    more, pads = output_padding or [0] * n, list(pads or [0] * 2 * n)
    sides = [*zip(x.shape[2:], size, strides, dilations, more, strict=True)]
    full = [s * (length - 1) + d * (k - 1) + 1 + extra for length, k, s, d, extra in sides]
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = output_shape or [length * s for length, _, s, _, _ in sides]
    for i, wanted in enumerate(output_shape or []):
        total = max(full[i] - wanted, 0)
        less, most = total // 2, total - total // 2
        pads[i], pads[i + n] = (less, most) if auto_pad == "SAME_UPPER" else (most, less)
    how = _windows(x, size, "NOTSET", pads, strides, dilations)
    lengths = output_shape or [full[i] - pads[i] - pads[i + n] for i in range(n)]
    w = w if w.ndim == 4 else np.expand_dims(w, 2)
    shape = (x.shape[0], *([1, *lengths][-2:]), w.shape[1] * group)
    out = conv2d_images(_channels_last(x), w, shape=shape, groups=group, **how)
    return _channels_first(out if b is None else out + b, x.ndim)


def max_pool(
    x: Array, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None,
    pads: Any = None, storage_order: int = 0, strides: Any = None,
) -> Array:  # fmt: skip
    how = _windows(x, kernel_shape, auto_pad, pads, strides, dilations)
    size = tuple([1, *kernel_shape][-2:])
    return _channels_first(
        ops.max_pool(_channels_last(x), size=size, ceil_mode=bool(ceil_mode), **how), x.ndim
    )


def avg_pool(
    x: Array, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Array:  # fmt: skip
    how = _windows(x, kernel_shape, auto_pad, pads, strides, dilations)
    if how.pop("dilation") != (1, 1):
        raise ValueError(f"expected no dilation, got {dilations}")
    size, counted = tuple([1, *kernel_shape][-2:]), bool(count_include_pad)
    means = ops.avg_pool(
        _channels_last(x), size=size, ceil_mode=bool(ceil_mode), count_include_pad=counted, **how
    )
    return _channels_first(means, x.ndim)


def over_images(function: Operator) -> Operator:
    return lambda x: function(x, axis=tuple(range(2, x.ndim)), keepdims=True)


# Normalization


def batch_norm(
    x: Array, scale: Array, shift: Array, mean: Array, variance: Array,
    *, epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0, spatial: int = 1,
) -> Array:  # fmt: skip
    if training_mode or not spatial:
        raise ValueError("expected running statistics of channels, got another mode")
    gain = scale / np.sqrt(variance + epsilon)
    shape = (-1, *[1] * (x.ndim - 2))
    return (x - mean.reshape(shape)) * gain.reshape(shape) + shift.reshape(shape)


def _standardize(x: Array, axis: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    mean = np.mean(x, axis=axis, keepdims=True)
    inverse = 1 / np.sqrt(np.mean((x - mean) ** 2, axis=axis, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def layer_norm(
    x: Array, scale: Array, shift: Array = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    made, mean, inverse = _standardize(x, tuple(range(axis % x.ndim, x.ndim)), epsilon)
    return made * scale if shift is None else made * scale + shift, mean, inverse


def rms_norm(x: Array, scale: Array, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Array:
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x / np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + epsilon) * scale


def instance_norm(x: Array, scale: Array, shift: Array, *, epsilon: float = 1e-5) -> Array:
    shape = (-1, *[1] * (x.ndim - 2))
    made, _, _ = _standardize(x, tuple(range(2, x.ndim)), epsilon)
    return made * scale.reshape(shape) + shift.reshape(shape)


def group_norm(
    x: Array, scale: Array, shift: Array, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    made, _, _ = _standardize(x.reshape(len(x), num_groups, -1), (2,), epsilon)
    groups, shape = x.shape[1] // len(scale), (-1, *[1] * (x.ndim - 2))
    scale, shift = (np.repeat(a, groups).reshape(shape) for a in (scale, shift))
    return made.reshape(x.shape) * scale + shift


def dropout(x: Array, rate: Any = None, training: Any = None, *, ratio: Any = None, seed: Any = None) -> Any:
    if training is not None and bool(training):
        raise ValueError("expected a Dropout at inference, got one in training")
    return x, np.ones(x.shape, bool)


OPERATORS: Mapping[str, Operator] = {
    "Abs": np.abs, "Acos": np.arccos, "Acosh": np.arccosh, "Add": np.add, "And": np.logical_and,
    "ArgMax": arg(np.argmax), "ArgMin": arg(np.argmin),
    "ArrayFeatureExtractor": lambda x, i: x[..., np.ravel(i)],
    "Asin": np.arcsin, "Asinh": np.arcsinh, "Atan": np.arctan, "Atanh": np.arctanh, "AveragePool": avg_pool,
    "BatchNormalization": batch_norm, "Cast": lambda x, *, to, saturate=1, round_mode="up": x.astype(to),
    "CastLike": lambda x, like, *, saturate=1, round_mode="up": x.astype(like.dtype), "Ceil": np.ceil,
    "Celu": lambda x, *, alpha=1.0: alpha * ops.elu(x / alpha), "Clip": clip,
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis), "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "ConvTranspose": conv_transpose, "Cos": np.cos, "Cosh": np.cosh, "CumSum": cumsum,
    "DepthToSpace": depth_to_space, "Div": divide, "Dropout": dropout,
    "Einsum": lambda *arrays, equation: np.einsum(equation, *arrays),
    "Elu": lambda x, *, alpha=1.0: ops.elu(x, alpha=alpha), "Equal": np.equal, "Erf": ops.erf, "Exp": np.exp,
    "Expand": expand, "Flatten": flatten, "Floor": np.floor, "Gather": gather,
    "GatherElements": lambda x, index, *, axis=0: np.take_along_axis(x, index, axis),
    "Gelu": lambda x, *, approximate="none": ops.gelu(x, approximate=approximate), "Gemm": gemm,
    "GlobalAveragePool": over_images(np.mean), "GlobalMaxPool": over_images(np.max), "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "GroupNormalization": group_norm,
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: clip(alpha * x + beta, 0, 1),
    "HardSwish": lambda x: x * clip(x / 6 + 0.5, 0, 1), "Identity": lambda x: x,
    "InstanceNormalization": instance_norm, "IsInf": is_inf, "IsNaN": np.isnan,
    "LayerNormalization": layer_norm, "LeakyRelu": lambda x, *, alpha=0.01: ops.leaky_relu(x, slope=alpha),
    "Less": np.less, "LessOrEqual": np.less_equal, "Log": np.log, "LogSoftmax": softmax(ops.log_softmax),
    "LpNormalization": lp_normalize, "MatMul": np.matmul, "Max": fold(np.maximum), "MaxPool": max_pool,
    "Mean": lambda *arrays: fold(np.add)(*arrays) / len(arrays), "Min": fold(np.minimum),
    "Mish": lambda x: x * np.tanh(ops.softplus(x)),
    "Mod": lambda x, y, *, fmod=0: np.fmod(x, y) if fmod else np.remainder(x, y), "Mul": np.multiply,
    "Neg": np.negative, "Not": np.logical_not, "Or": np.logical_or,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x), "Pad": pad, "Pow": power,
    "RMSNormalization": rms_norm, "Range": arange, "Reciprocal": lambda x: 1 / x,
    "ReduceL1": over_axes(lambda x, **how: np.sum(np.abs(x), **how)),
    "ReduceL2": over_axes(lambda x, axis, keepdims: _root_of_squares(x, axis, keepdims)),
    "ReduceLogSum": over_axes(lambda x, **how: np.log(np.sum(x, **how))),
    "ReduceLogSumExp": over_axes(ops.logsumexp), "ReduceMax": over_axes(np.max),
    "ReduceMean": over_axes(np.mean),
    "ReduceMin": over_axes(np.min), "ReduceProd": over_axes(np.prod), "ReduceSum": over_axes(np.sum),
    "ReduceSumSquare": over_axes(lambda x, **how: np.sum(x * x, **how)), "Relu": ops.relu, "Reshape": reshape,
    "Round": np.rint,
    "Selu": lambda x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: (
        gamma * ops.elu(x, alpha=alpha)
    ),
    "Shape": lambda x, *, start=0, end=None: np.array(x.shape[start:end], np.int64), "Shrink": shrink,
    "Sigmoid": ops.sigmoid, "Sign": np.sign, "Sin": np.sin, "Sinh": np.sinh,
    "Size": lambda x: np.array(x.size, np.int64), "Slice": cut, "Softmax": softmax(ops.softmax),
    "Softplus": ops.softplus, "Softsign": lambda x: x / (1 + np.abs(x)), "SpaceToDepth": space_to_depth,
    "Split": split, "Sqrt": np.sqrt, "Squeeze": squeeze, "Sub": np.subtract, "Sum": fold(np.add),
    "Swish": lambda x, *, alpha=1.0: x * ops.sigmoid(alpha * x), "Tan": np.tan, "Tanh": np.tanh,
    "ThresholdedRelu": lambda x, *, alpha=1.0: np.where(x > alpha, x, 0 * x),
    "Tile": tile,
    "Transpose": lambda x, *, perm=None: np.transpose(x, perm),
    "Trilu": lambda x, k=0, *, upper=1: (np.triu if upper else np.tril)(x, int(k)),
    "Unsqueeze": unsqueeze, "Where": np.where, "Xor": np.logical_xor,
}  # fmt: skip

#: The inputs that are weights, by operator; of those on elements any that is no single number.
TRAINED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Add", "Div", "MatMul", "Mul", "Sub", "Sum"), (0, 1)),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "BatchNormalization", "LayerNormalization"), (1, 2)),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization"), (1, 2)),
    "Einsum": (0, 1), "Gather": (0,), "PRelu": (1,), "RMSNormalization": (1,),
}  # fmt: skip

#: Operators with several results.
SEVERAL = ("Dropout", "LayerNormalization", "Split")


def attributes_of(operator: Operator) -> set[str]:
    """The names of the keyword arguments; those of NumPy's own functions are no attributes."""
    if operator is np.where or isinstance(operator, np.ufunc):
        return set()
    parameters = inspect.signature(operator).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
