"""The graph of a recording with a rule for every op.

Ops that have none are written as what their forward is made of, or as it stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.graph.native.record import (
    Recording,
    UncompilableError,
    find_tensors,
    is_shipped,
    sort_graph,
)  # fmt: skip
from tensorgrad.ops import astype, exp, log1p, max, mean, sum
from tensorgrad.ops.classification import mix_targets, require_probabilities, weigh_elements
from tensorgrad.ops.losses import require_loss


def softmax(x: Array, *, axis: Any = -1) -> Array:
    e = exp(x - max(x, axis=axis, keepdims=True))
    return e / sum(e, axis=axis, keepdims=True)


def log_softmax(x: Array, *, axis: Any = -1) -> Array:
    shifted = x - max(x, axis=axis, keepdims=True)
    return shifted - log_sum(shifted, axis)


def log_sum(shifted: Array, axis: Any) -> Array:
    """log(sum(exp(shifted))) of numbers that are 0 at most: what the sum is more than 1 keeps its digits."""
    top = astype(shifted == 0, dtype=shifted.dtype)
    others, tops = (sum(x, axis=axis, keepdims=True) for x in (exp(shifted) - top, top))
    return log1p(others + (tops - 1))


def logsumexp(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    top: Array = max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    out = log_sum(x - top, axis) + top
    return out if keepdims else np.squeeze(out, axis=axis)


def var(x: Array, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Array:
    centred = x - mean(x, axis=axis, keepdims=True)
    total = sum(centred * centred, axis=axis, keepdims=keepdims)
    return total * (1 / (count(x, total) - float(ddof)))


def mean_of(x: Array, **axes: Any) -> Array:
    total = sum(x, **axes)
    return total / count(x, total)


def count(x: Array, total: Array) -> int:
    """How many elements are added up to each, if there are any."""
    return math.prod(x.shape) // math.prod(total.shape) if math.prod(total.shape) else 1


def zeros_like(x: Array, dtype: Any = None) -> Array:
    return np.broadcast_to(Tensor(np.zeros((), dtype or x.dtype)), x.shape)


def cross_entropy(
    prediction: Array, target: Array, weights: Array = None, *, reduction: Any, **how: Any
) -> Array:
    if target.ndim == prediction.ndim:
        require_probabilities(target)
    elif not np.all((target >= 0) & (target < prediction.shape[-1])):
        raise ValueError("labels")
    require_loss("cross_entropy", prediction, weights, reduction)
    mixed = mix_targets(prediction, target, **how)
    losses = -sum(np.where(mixed == 0, 0.0, mixed * log_softmax(prediction)), axis=-1)
    counted = losses * weigh_elements(prediction, target, weights, how["class_weights"], reduction)
    return counted if reduction == "none" else sum(counted)


#: Truth values are counted, which goes over samples in lanes.
EXPANSIONS: Mapping[str, Callable[..., Array]] = {
    "all": lambda x, **axes: sum(np.logical_not(x), **axes) == 0,
    "any": lambda x, **axes: sum(x != 0, **axes) != 0,
    "cross_entropy": cross_entropy,
    "log_softmax": log_softmax,
    "logsumexp": logsumexp,
    "mean": mean_of,
    "softmax": softmax,
    "stack_": lambda *arrays, axis: np.concatenate([np.expand_dims(x, axis) for x in arrays], axis),
    "var": var,
    "zeros_like": zeros_like,
}


class Expansion:
    """A graph in which every op has a rule, and what is computed from the same things is computed once.

    Attributes
    ----------
    recording : Recording
    order : list of Tensor
        The graph in the order of computation. For inputs of these tensors ask `find`.
    """

    def __init__(
        self,
        recording: Recording,
        rules: Mapping[str, Any],
        expansions: Mapping[str, Callable[..., Array]] = EXPANSIONS,
        language: str = "C",
    ) -> None:
        self.recording, self._rules, self._expansions, self._language = recording, rules, expansions, language
        self.order: list[Tensor] = []
        self._seen: dict[int, Tensor] = {}  # it holds them, so that their identities stay taken
        self._first: dict[Any, Tensor] = {}
        self._instead: dict[int, Tensor] = {}
        self._places: dict[int, int] = {}  # in the order
        while graph := sort_graph(recording.results(), self._seen):  # an expansion may decide by a value, too
            for tensor in graph:
                self._visit(tensor)
        for serial in recording.values.keys() - {t.serial for t in recording.given()}:
            del recording.values[serial]  # nobody asks for them any more

    def find(self, tensor: Tensor) -> Tensor:
        """What stands for a tensor of the graph."""
        while id(tensor) in self._instead:
            tensor = self._instead[id(tensor)]
        return tensor

    def _visit(self, tensor: Tensor) -> None:
        if tensor.serial in self._seen:
            return
        self._seen[tensor.serial] = tensor
        if tensor.op is None or (tensor.op.name in self._rules and is_shipped(tensor.op)):
            parts = (*tensor.inputs, *sorted(tensor.params.items()))
            key = id(tensor) if tensor.op is None else (tensor.op.name, self._key(parts))
            first = self._first.setdefault(key, tensor)
            if first is tensor:
                self._places[id(tensor)] = len(self.order)
                self.order.append(tensor)
            else:
                self._instead[id(tensor)] = first
            return
        made = self._expand(tensor)
        try:
            for inside in sort_graph([made], self._seen):
                self._visit(inside)
        except UncompilableError as error:
            assert tensor.op is not None
            if tensor.op.name in str(error):
                raise
            raise UncompilableError(f"{error}, of which {tensor.op.name} is made") from error
        self._instead[id(tensor)] = made

    def _key(self, x: Any) -> Any:
        """Of things that an op is given, what is equal only if they are the same."""
        if isinstance(x, (tuple, list)):
            return tuple(map(self._key, x))
        if isinstance(x, Tensor):
            return id(self.find(x))
        return ("array", id(x)) if isinstance(x, np.ndarray) else (type(x), repr(x))

    def _expand(self, tensor: Tensor) -> Tensor:
        """The same value, made of other ops."""
        op = tensor.op
        assert op is not None
        unknown = f"compile: there is no rule for {op.name} in {self._language}"
        try:
            with self.recording.record():
                forward = self._expansions.get(op.name, op.forward) if is_shipped(op) else op.forward
                made = forward(*tensor.inputs, **tensor.params)
        except Exception as error:
            _ = tensor.data  # the op itself may refuse its values
            why = f", and in it {error}" * isinstance(error, UncompilableError)
            raise UncompilableError(unknown + why) from error
        again = isinstance(made, Tensor) and made.op is op and made.inputs == tensor.inputs
        if again or not isinstance(made, Tensor) or made.shape != tensor.shape:
            raise UncompilableError(unknown)
        return made

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: the one of the results, which all other real numbers must have."""
        dtypes = {t.dtype for t in self.recording.results() if t.dtype.kind not in "biu"}
        if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
            found = ", ".join(sorted(map(str, dtypes))) or "none"
            raise UncompilableError(f"compile: expected float32 or float64 throughout, got {found}")
        (dtype,) = dtypes
        for t in self.order:
            if t.dtype.kind not in "biu" and t.dtype != dtype:
                name = t.name or (t.op.name if t.op is not None else "a constant")
                raise UncompilableError(f"compile: expected {dtype} throughout, got {t.dtype} in {name}")
        return dtype

    def outline(self) -> Any:
        """All that does not depend on values: ops, what they are given, shapes, dtypes and results."""
        given = {id(t): k for k, t in enumerate(self.recording.given())}
        nodes = [
            (t.op, t.shape, t.dtype, given.get(id(t)), [self._place(x) for x in find_tensors(t)])
            for t in self.order
        ]
        return nodes, [self._place(t) for t in self.recording.results()]

    def _place(self, tensor: Tensor) -> int:
        return self._places[id(self.find(tensor))]


def compare(first: Expansion, second: Expansion) -> None:
    """Refuse what differs between two recordings of different data: it is data in disguise."""
    if first.outline() != second.outline():
        raise UncompilableError(
            "compile: with other values the function does other things, which no guard tells; is there a "
            "branch on values that left the graph?"
        )
    given = set(map(id, first.recording.given()))
    for a, b in zip(first.order, second.order, strict=True):
        if a.op is None:
            alike = a is b or id(a) in given or _are_equal(a.data, b.data)
        else:
            alike = all(map(_are_equal, (*a.inputs, *a.params.values()), (*b.inputs, *b.params.values())))
        if not alike:
            name = a.name or "a tensor" if a.op is None else f"what {a.op.name} is given"
            raise UncompilableError(
                f"compile: {name} is made of the arguments outside of the graph, or drawn anew in each call, "
                "and would stay as it is now; compute it with tensors, or pass it as an argument"
            )


def _are_equal(x: Any, y: Any) -> bool:
    """Whether two things that ops were given are the same; of tensors the outline says it."""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return True
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return x is y or np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f")
    if isinstance(x, (tuple, list)):
        return type(x) is type(y) and len(x) == len(y) and all(map(_are_equal, x, y))
    return bool(x is y or x == y or (x != x and y != y))
