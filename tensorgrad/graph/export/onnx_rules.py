"""The rules of ONNX: a rule is ``rule(graph, *arguments, **options)`` and gives a `Value`.

It asks the `OnnxGraph` for the names of its arguments (`OnnxGraph.read`) and adds nodes (`write`), the last
of which gives the result (`put`); the shape and dtype that this must have are those of ``graph.out``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.core import Array
from tensorgrad.graph.export.expressions import UnwritableError
from tensorgrad.graph.export.numpy_functions import pixels
from tensorgrad.graph.export.onnx_graph import SAMPLES, OnnxGraph, Rows, Value, first, fixed
from tensorgrad.ops.indexing import reads_once
from tensorgrad.ops.reduce import reduced_axes
from tensorgrad.ops.windows import Windows, slide_pooling

Rule = Callable[..., Value]

#: How images lie in ONNX, (N, C, H, W).
IMAGES = (0, 2, 3, 1)


def apply(operator: str, **fixed_options: Any) -> Rule:
    """As an operator on elements, whose attributes are the op's options."""
    return lambda graph, *args, **options: graph.apply(operator, *args, **fixed_options, **options)


def compare(operator: str, dtype: Any = None) -> Rule:
    """As a comparison, of arguments of their common dtype, or of this one."""

    def rule(graph: OnnxGraph, *args: Any) -> Value:
        kinds = [getattr(x, "dtype", x) for x in args]
        return graph.apply(operator, *args, dtype=dtype or np.result_type(*kinds))

    return rule


def as_it_is(graph: OnnxGraph, x: Value) -> Value:
    return graph.see(graph.read(x, x.perm), x.perm)


def astype(graph: OnnxGraph, x: Value, *, dtype: Any) -> Value:
    return graph.see(graph.read(x, x.perm, dtype), x.perm)


def gate(graph: OnnxGraph, x: Value, condition: Value) -> Value:
    return graph.apply("Where", condition, x, 0)


def normalize(graph: OnnxGraph, x: Any, mean: Any, gain: Any, shift: Any) -> Value:
    """As BatchNormalization where mean, variance and the rest are those of a layer at inference."""
    scale, root = _made_by(graph, gain, "divide", 2)
    (total,) = _made_by(graph, root, "sqrt", 1)
    variance, eps = _made_by(graph, total, "add", 2)
    kept = [scale, shift, mean, variance]
    if x.ndim > 1 and type(eps) is float and all(isinstance(v, Value) and v.is_vector for v in kept):
        perm = (0, *range(2, x.ndim), 1)
        names = [graph.read(v) for v in kept]
        return graph.put("BatchNormalization", graph.read(x, perm), *names, perm=perm, epsilon=eps)
    centred = graph.step("Sub", x, mean)
    return graph.apply("Add", graph.step("Mul", centred, gain), shift)


def _made_by(graph: OnnxGraph, x: Any, op: str, count: int) -> list[Any]:
    """What a value was made of by this op; else so many None."""
    made = x.tensor if isinstance(x, Value) else None
    if made is None or made.op is None or made.op.name != op:
        return [None] * count
    return [graph.values.get(id(part), part) for part in made.inputs]


# Reductions


def reduce(operator: str) -> Rule:
    """As a reduction, of axes where they lie."""

    def rule(graph: OnnxGraph, x: Value, *, axis: Any = None, keepdims: bool = False) -> Value:
        axes = reduced_axes(x, axis)
        name = graph.read(x, x.perm, graph.out.dtype)
        if not axes:
            return graph.see(name, x.perm)
        lie = graph.constant(np.array(sorted(x.perm[k] for k in axes)))
        kept = [x.perm[k] for k in range(x.ndim) if k not in axes]
        perm = x.perm if keepdims else [sorted(kept).index(k) for k in kept]
        return graph.put(operator, name, lie, perm=perm, keepdims=int(keepdims))

    return rule


def sum_to(graph: OnnxGraph, x: Value, *, shape: Any) -> Value:
    lead = x.ndim - len(shape)
    axes = [k for k, n in enumerate(x.shape) if k < lead or shape[k - lead] == 1 != n]
    name = graph.write("ReduceSum", [graph.read(x), graph.constant(np.array(axes))], noop_with_empty_axes=1)
    return graph.put("Reshape", *graph.reshape(name, graph.out.shape))


def along(operator: str) -> Rule:
    """As an operator along one axis, such as Softmax."""

    def rule(graph: OnnxGraph, x: Value, *, axis: Any) -> Value:
        if not isinstance(axis, (int, np.integer)):
            raise UnwritableError(f"{operator} along the axes {axis}")
        return graph.put(operator, graph.read(x, x.perm), perm=x.perm, axis=x.perm[axis])

    return rule


def cumsum(graph: OnnxGraph, x: Value, *, axis: int | None) -> Value:
    if axis is None and x.ndim != 1:
        raise UnwritableError("cumsum over all axes")
    at = graph.constant(np.array((axis or 0) % x.ndim))
    return graph.put("CumSum", graph.read(x, dtype=graph.out.dtype), at)


# What moves elements


def reshape(graph: OnnxGraph, x: Value, *, shape: Any, order: str = "C") -> Value:
    if order != "C":
        raise UnwritableError(f"reshape in the order {order}")
    return graph.put("Reshape", *graph.reshape(graph.read(x), graph.out.shape))


def transpose(graph: OnnxGraph, x: Value, *, axes: Sequence[int] | None) -> Value:
    order = range(x.ndim)[::-1] if axes is None else axes
    return graph.see(graph.read(x, x.perm), [x.perm[k] for k in order])


def swapaxes(graph: OnnxGraph, x: Value, *, axis1: int, axis2: int) -> Value:
    order = [*range(x.ndim)]
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(graph, x, axes=order)


def broadcast_to(graph: OnnxGraph, x: Any, *, shape: Any) -> Value:
    return graph.put("Expand", graph.read(x), graph.lengths(graph.out.shape))


def concatenate(graph: OnnxGraph, *arrays: Any, axis: int) -> Value:
    values = [graph.value(x) for x in arrays]
    perm = next((x.perm for x in values if x.constant is None), values[0].perm)
    names = [graph.read(x, perm, graph.out.dtype) for x in values]
    return graph.put("Concat", *names, perm=perm, axis=perm[axis])


def getitem(graph: OnnxGraph, x: Value, *, index: Any) -> Value:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Value) for part in parts):
        if len(parts) > 1 or parts[0].dtype.kind == "b":
            raise UnwritableError("an index of several arrays that are computed, or of truth values")
        return graph.put("Gather", graph.read(x), graph.read(parts[0]), axis=0)
    if all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts):
        return _slice(graph, x, parts)
    return _move(lambda numbers: numbers[index])(graph, x)


def _slice(graph: OnnxGraph, x: Value, parts: Sequence[Any]) -> Value:
    """By starts, ends and steps; then lengths of 1 go and come as in any reshape."""
    given = sum(part is not None and part is not Ellipsis for part in parts)
    rest = [slice(None)] * (x.ndim - given)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    whole = [part for part in (*parts[:at], *rest, *parts[at + 1 :]) if part is not None]
    most = np.iinfo(np.int64).max
    rows = []
    for axis, part in enumerate(whole):
        if isinstance(part, int):
            part = slice(part, part + 1 or most)
        step = part.step or 1
        ends = (0, most) if step > 0 else (most, -most)
        bounds = (part.start, None if part.stop == x.shape[axis] and step > 0 else part.stop)
        start, stop = (end if n is None else n for n, end in zip(bounds, ends, strict=True))
        if (start, stop, step) != (0, most, 1):
            rows.append((start, stop, axis, step))
    if any(isinstance(n, Rows) for row in rows for n in row):
        raise UnwritableError("a slice that follows the batch")
    name = graph.read(x)
    if rows:
        starts, stops, axes, steps = (graph.constant(np.array(n)) for n in zip(*rows, strict=True))
        name = graph.write("Slice", [name, starts, stops, axes, steps])
    return graph.put("Reshape", *graph.reshape(name, graph.out.shape))


def _move(look: Callable[..., Any]) -> Rule:
    """By a table, which NumPy makes of the elements' numbers; samples stay whole."""

    def rule(graph: OnnxGraph, x: Value, **options: Any) -> Value:
        lane = [k for k, n in enumerate(x.shape) if isinstance(n, Rows)]
        if not lane:
            numbers = np.arange(math.prod(fixed(x.shape))).reshape(fixed(x.shape))
            flat = graph.write("Reshape", [graph.read(x), graph.constant(np.array([-1]))])
            return graph.put("Gather", flat, graph.constant(look(numbers, **options)), axis=0)
        at, out = lane[0], graph.out.shape
        if x.shape[at] not in out:
            raise UnwritableError("elements are moved from sample to sample")
        rest, count = fixed(x.shape[:at] + x.shape[at + 1 :]), first(x.shape[at])
        each, place = math.prod(rest), out.index(x.shape[at])
        numbers = np.moveaxis(np.arange(count * each).reshape(count, *rest), 0, at)
        table = np.moveaxis(look(numbers, **options), place, 0)
        starts = (np.arange(count) * each).reshape(-1, *[1] * (table.ndim - 1))
        if np.any(table - starts != table[:1]):
            raise UnwritableError("elements are moved from sample to sample")
        front = [*range(1, at + 1), 0, *range(at + 1, x.ndim)]
        flat = graph.write("Reshape", [graph.read(x, front), graph.constant(np.array([-1, each]))])
        perm = [*range(1, place + 1), 0, *range(place + 1, len(out))]
        return graph.put("Gather", flat, graph.constant(table[0]), perm=perm, axis=1)

    return rule


def scatter_add(graph: OnnxGraph, x: Value, *, index: Any, shape: Any) -> Value:
    """As elements moved: each is one of x, or the zero that is put at the end of each sample."""
    if not reads_once(index) or not isinstance(shape[0], Rows) or shape[0] != x.shape[0]:
        raise UnwritableError("scatter_add but for frames around samples")
    own, inside = fixed(x.shape[1:]), fixed(shape[1:])
    table = np.full((SAMPLES[0], *inside), math.prod(own))
    places = np.arange(math.prod(own)).reshape(own)
    table[first(index)] = places
    if np.any(table != table[:1]):
        raise UnwritableError("elements are moved from sample to sample")
    flat = graph.write("Reshape", [graph.read(x), graph.constant(np.array([-1, places.size]))])
    padded = graph.write("Pad", [flat, graph.constant(np.array([0, 0, 0, 1]))])
    return graph.put("Gather", padded, graph.constant(table[0]), axis=1)


# Products and windows


def matmul(graph: OnnxGraph, x: Any, y: Any) -> Value:
    return graph.put("MatMul", *(graph.read(a, dtype=graph.out.dtype) for a in (x, y)))


def einsum(graph: OnnxGraph, *operands: Any, subscripts: str, optimize: Any = None) -> Value:
    names = [graph.read(x, dtype=graph.out.dtype) for x in operands]
    return graph.put("Einsum", *names, equation=subscripts)


def conv2d(graph: OnnxGraph, x: Value, w: Any, bias: Any = None, *, groups: int = 1, **options: Any) -> Value:
    axes = _lay(x.shape, w.shape[2:], **options)
    names = [graph.read(x, IMAGES), *(graph.read(a) for a in (w, bias) if a is not None)]
    pads = [axis.before for axis in axes] + [axis.after for axis in axes]
    return graph.put("Conv", *names, perm=IMAGES, group=groups, pads=pads, **_steps(axes))


def conv2d_images(
    graph: OnnxGraph, y: Value, w: Any, *, shape: Any, groups: int = 1, **options: Any
) -> Value:
    axes = _lay(shape, w.shape[2:], **options)
    spans = [(a.count - 1) * a.stride + a.dilation * (a.size - 1) + 1 - a.before - a.after for a in axes]
    more = [axis.length - span for axis, span in zip(axes, spans, strict=True)]
    pads = [axis.before for axis in axes] + [axis.after for axis in axes]
    names = [graph.read(y, IMAGES), graph.read(w)]
    how = {"group": groups, "pads": pads, "output_padding": more, **_steps(axes)}
    return graph.put("ConvTranspose", *names, perm=IMAGES, **how)


def max_pool(graph: OnnxGraph, x: Value, **options: Any) -> Value:
    axes = _lay(x.shape, **options)
    how = {"kernel_shape": [a.size for a in axes], "pads": _pads(axes), **_steps(axes)}
    return graph.put("MaxPool", graph.read(x, IMAGES), perm=IMAGES, **how)


def avg_pool(graph: OnnxGraph, x: Value, *, count_include_pad: bool = True, **options: Any) -> Value:
    """As means over whole windows, padding counted, times what is to be divided by instead."""
    axes = _lay(x.shape, **options)
    lie = [(a.count, a.size, a.stride, a.before, *a.bounds(count_include_pad)) for a in axes]
    counts = [pixels(*how) for how in lie]  # type: ignore[no-untyped-call]
    size, steps = [a.size for a in axes], [a.stride for a in axes]
    weights = math.prod(size) / np.multiply.outer(*counts)
    how: Any = {"kernel_shape": size, "pads": _pads(axes), "count_include_pad": 1, "strides": steps}
    if np.all(weights == 1):
        return graph.put("AveragePool", graph.read(x, IMAGES), perm=IMAGES, **how)
    means = graph.write("AveragePool", [graph.read(x, IMAGES)], **how)
    return graph.put("Mul", means, graph.constant(weights.astype(x.dtype)), perm=IMAGES)


def _lay(shape: Any, *size: Any, **options: Any) -> tuple[Windows, Windows]:
    return slide_pooling("to_onnx", (0, *fixed(shape[1:3]), 0), *size, **options)


def _pads(axes: Sequence[Windows]) -> list[int]:
    """The padding that windows reach; what lies behind the last is of no use, and may be refused."""
    ends = [(a.count - 1) * a.stride + a.dilation * (a.size - 1) + 1 - a.length - a.before for a in axes]
    return [a.before for a in axes] + [max(end, 0) for end in ends]


def _steps(axes: Sequence[Windows]) -> dict[str, list[int]]:
    return {"strides": [a.stride for a in axes], "dilations": [a.dilation for a in axes]}


OPERATORS = {
    "absolute": "Abs", "arccos": "Acos", "arccosh": "Acosh", "arcsin": "Asin", "arcsinh": "Asinh",
    "arctan": "Atan", "arctanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
    "exp": "Exp", "fabs": "Abs", "floor": "Floor", "log": "Log", "negative": "Neg",
    "reciprocal": "Reciprocal", "relu": "Relu", "rint": "Round", "sigmoid": "Sigmoid", "sign": "Sign",
    "sin": "Sin", "sinh": "Sinh", "softplus": "Softplus", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
    "gelu": "Gelu", "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow",
    "maximum": "Max", "minimum": "Min", "where": "Where",
}  # fmt: skip
COMPARISONS = {
    "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
}  # fmt: skip
LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}

ONNX_RULES: Mapping[str, Rule] = {
    **{op: apply(operator) for op, operator in OPERATORS.items()},
    **{op: compare(operator) for op, operator in COMPARISONS.items()},
    **{op: compare(operator, np.dtype(bool)) for op, operator in LOGIC.items()},
    "astype": astype, "avg_pool": avg_pool, "broadcast_to": broadcast_to, "concatenate_": concatenate,
    "conv2d": conv2d, "conv2d_images": conv2d_images, "cumsum": cumsum, "einsum_": einsum,
    "elu": lambda graph, x, alpha: graph.apply("Elu", x, alpha=float(alpha)),
    "fmod": apply("Mod", fmod=1), "gate": gate, "getitem": getitem, "identity": as_it_is,
    "isnan": lambda graph, x: graph.apply("IsNaN", x, dtype=x.dtype),
    "leaky_relu": lambda graph, x, slope: graph.apply("LeakyRelu", x, alpha=float(slope)),
    "log_softmax": along("LogSoftmax"), "logsumexp": reduce("ReduceLogSumExp"), "matmul": matmul,
    "max": reduce("ReduceMax"), "max_pool": max_pool, "mean": reduce("ReduceMean"),
    "min": reduce("ReduceMin"), "normalize": normalize, "positive": as_it_is, "prod": reduce("ReduceProd"),
    "reshape": reshape, "roll": _move(np.roll), "scatter_add": scatter_add, "softmax": along("Softmax"),
    "sum": reduce("ReduceSum"), "sum_to": sum_to, "swapaxes": swapaxes, "transpose": transpose,
}  # fmt: skip


def var(x: Array, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Array:
    centred = x - ops.mean(x, axis=axis, keepdims=True)
    found = ops.mean(centred * centred, axis=axis, keepdims=keepdims)
    count = math.prod(x.shape) // math.prod(found.shape)
    return found * (count / (count - ddof)) if ddof else found


def remainder(x: Array, y: Array) -> Array:
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def hypot(x: Array, y: Array) -> Array:
    most, least = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return most * np.sqrt(1 + (least / np.where(most == 0, 1.0, most)) ** 2)


#: Ops that are written as others; an op that has neither a rule nor a line here, as its forward is made.
EXPANSIONS: Mapping[str, Callable[..., Array]] = {
    "all": lambda x, **axes: ops.sum(np.logical_not(x), **axes) == 0,
    "any": lambda x, **axes: ops.sum(x != 0, **axes) != 0,
    "deg2rad": lambda x: x * (math.pi / 180), "degrees": lambda x: x * (180 / math.pi),
    "exp2": lambda x: np.power(2.0, x),
    "expm1": lambda x: np.tanh(x / 2) * (np.exp(x) + 1),  # exact near 0
    "fmax": lambda x, y: np.where(np.isnan(x), y, np.where(np.isnan(y), x, np.maximum(x, y))),
    "fmin": lambda x, y: np.where(np.isnan(x), y, np.where(np.isnan(y), x, np.minimum(x, y))),
    "hypot": hypot,
    "isfinite": lambda x: x - x == 0,
    "cbrt": lambda x: np.sign(x) * np.abs(x) ** (1 / 3),
    "log1p": lambda x: np.where(np.abs(x) < 0.5, 2 * np.arctanh(x / (2 + x)), np.log(1 + x)),  # exact near 0
    "log10": lambda x: np.log(x) * (1 / math.log(10)), "log2": lambda x: np.log(x) * (1 / math.log(2)),
    "logaddexp": lambda x, y: np.maximum(x, y) + ops.softplus(-np.abs(np.where(x == y, 0.0, x - y))),
    "not_equal": lambda x, y: np.logical_not(x == y),
    "rad2deg": lambda x: x * (180 / math.pi), "radians": lambda x: x * (math.pi / 180),
    "remainder": remainder,
    "silu": lambda x: x * ops.sigmoid(x),
    "square": lambda x: x * x,
    "stack_": lambda *arrays, axis: np.concatenate([np.expand_dims(x, axis) for x in arrays], axis),
    "trunc": lambda x: np.sign(x) * np.floor(np.abs(x)),
    "var": var,
}  # fmt: skip
