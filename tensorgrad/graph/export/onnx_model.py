"""A function's graph as an ONNX model: recorded for two batch sizes, so that what follows the batch shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.context import inferring
from tensorgrad.graph.export.expressions import UnwritableError
from tensorgrad.graph.export.lowerings import ONNX_RULES
from tensorgrad.graph.export.names import NodeNames
from tensorgrad.graph.export.onnx_graph import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUT,
    SAMPLES,
    Length,
    OnnxGraph,
    Value,
    merge,
)
from tensorgrad.graph.export.onnx_rules import EXPANSIONS
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.record import Recording, UncompilableError, record
from tensorgrad.graph.recorded import Recorded

__all__: list[str] = []

LARGEST = 2_000_000_000  # bytes of weights, of 2^31 in a file


def import_onnx(doing: str) -> Any:
    """The package; ImportError that says how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"{doing} needs onnx; install it with pip install 'tensorgrad-numpy[onnx]'"
        ) from error
    return onnx


def make_model(
    function: Callable[..., Any], shape: tuple[int, ...], dtype: Any, paths: dict[int, str]
) -> Any:
    """The model of a function of one array (N, *shape); ``paths`` are names by the identity of tensors.

    Raises
    ------
    TypeError
        If an op has no rule, or what the function does depends on values or on the size of the batch.
    """
    onnx = import_onnx("to_onnx")
    try:
        with np.errstate(all="ignore"):  # random numbers are no typical input
            recordings = [_record(function, (rows, *shape), dtype) for rows in SAMPLES]
            first, second = (Expansion(r, ONNX_RULES, EXPANSIONS, "ONNX") for r in recordings)
        return _write(OnnxGraph(onnx), recordings[0], first, second, paths)
    except (UncompilableError, UnwritableError) as error:
        raise TypeError(f"to_onnx: {str(error).removeprefix('compile: ')}") from error


def _record(function: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> Recording:
    rng = np.random.default_rng(shape[0])
    x = rng.standard_normal(shape).astype(dtype) if np.dtype(dtype).kind == "f" else np.zeros(shape, dtype)
    mode = inferring.set(True)
    try:
        recording = record(function, [x], ["input"], differentiate=False, checks=False)
    finally:
        inferring.reset(mode)
    if len(recording.outputs) != 1:
        raise UnwritableError(f"expected a function of one result, got {len(recording.outputs)}")
    if recording.guards:
        decided = recording.guards[0][0]
        raise UnwritableError(
            f"the function decides by the values of {decided.op.name if decided.op else 'a tensor'}, "
            "which ONNX would not follow; write np.where"
        )
    return recording


def _write(
    graph: OnnxGraph, recording: Recording, first: Expansion, second: Expansion, paths: dict[int, str]
) -> Any:
    if [t.op for t in first.order] != [t.op for t in second.order]:
        raise UnwritableError("the function does other things for a batch of another size")
    if not any(t is recording.inputs[0] for t in first.order):
        raise UnwritableError("what the function gives does not depend on its argument")
    words = _words(recording, first, paths)
    given, result = recording.inputs[0], first.find(recording.outputs[0])
    for a, b in zip(first.order, second.order, strict=True):
        graph.values[id(a)] = _write_value(graph, a, b, a is given, words, (first, second))
    last = graph.values[id(result)]
    end = graph.onnx.helper.make_node("Identity", [graph.read(last)], [OUTPUT], name=OUTPUT)
    graph.nodes.append(end)
    return _assemble(graph, graph.values[id(given)], last)


def _words(recording: Recording, graph: Expansion, paths: dict[int, str]) -> dict[int, str]:
    """What to call each tensor: parameters by their paths, results after the layers that made them."""
    recorded = Recorded(recording.outputs[0])
    _ = recorded.clusters  # in which layers have names
    names = NodeNames(recorded)
    words = {id(leaf): recorded.names[id(leaf)] for leaf in recorded.leaves} | paths
    for node in recorded.results:
        word = node.op.name if node is recorded.output and node.op else names.word_for(node)
        words.setdefault(id(graph.find(node)), word)
    return words


def _write_value(
    graph: OnnxGraph, a: Tensor, b: Tensor, is_given: bool, words: dict[int, str], both: Sequence[Expansion]
) -> Value:
    """The value of a tensor, which is ``b`` in the second recording."""
    word = words.get(id(a)) or (a.op.name.rstrip("_") if a.op is not None else "constant")
    if a.op is None and not is_given:
        made = merge(a.data, b.data, word)
        data = made.constant if isinstance(made, Value) else made
        return Value(word, made.shape, a.dtype, tuple(range(a.ndim)), data, a)
    shape: tuple[Length, ...] = merge(a.shape, b.shape, word)
    if a.op is None:
        return Value(INPUT, shape, a.dtype, tuple(range(a.ndim)), tensor=a)
    graph.out = Value(word, shape, a.dtype, tuple(range(a.ndim)))
    args = [_merge_input(graph, x, y, word, both) for x, y in zip(a.inputs, b.inputs, strict=True)]
    options = {k: _merge_input(graph, a.params[k], b.params[k], word, both) for k in a.params}
    made = ONNX_RULES[a.op.name](graph, *args, **options)
    made.tensor = a
    return made


def _merge_input(graph: OnnxGraph, x: Any, y: Any, word: str, both: Sequence[Expansion]) -> Any:
    if isinstance(x, Tensor):
        return graph.values[id(both[0].find(x))]
    if isinstance(x, tuple) and any(isinstance(part, Tensor) for part in x):
        return tuple(_merge_input(graph, p, q, word, both) for p, q in zip(x, y, strict=True))
    return merge(x, y, word)


def _assemble(graph: OnnxGraph, given: Value, last: Value) -> Any:
    """The model of what the output needs, checked."""
    make, onnx = graph.onnx.helper, graph.onnx
    needed, nodes = {OUTPUT}, []
    for node in reversed(graph.nodes):
        if node.output[0] in needed:
            nodes.append(node)
            needed.update(node.input)
    weights = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(x), name)
        for name, x in graph.initializers.items()
        if name in needed
    ]
    if (size := sum(x.nbytes for x in graph.initializers.values())) > LARGEST:
        raise UnwritableError(f"the weights have {size / 1e9:.1f} GB, and a file of ONNX holds 2")
    ends = [
        make.make_tensor_value_info(name, graph.kind(x.dtype), [_name_length(n) for n in x.shape])
        for name, x in ((INPUT, given), (OUTPUT, last))
    ]
    body = make.make_graph(nodes[::-1], "tensorgrad", ends[:1], ends[1:], weights)
    opset = [make.make_opsetid("", OPSET)]
    model = make.make_model(body, opset_imports=opset, ir_version=IR_VERSION, producer_name="tensorgrad")
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_length(n: Length) -> int | str:
    return n if isinstance(n, int) else "N" if n.times == 1 else f"{n.times}N"
