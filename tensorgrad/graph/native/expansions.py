"""Ops that have no rule of a language, as what they are made of.

That is their forward, where it is made of ops; for the others it stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.listeners import tracing
from tensorgrad.graph.native.record import Recording, UncompilableError, sort_graph
from tensorgrad.ops import exp, log, max, mean, sum
from tensorgrad.ops.classification import mix_targets, weigh_elements


def softmax(x: Array, *, axis: Any = -1) -> Array:
    e = exp(x - max(x, axis=axis, keepdims=True))
    return e / sum(e, axis=axis, keepdims=True)


def log_softmax(x: Array, *, axis: Any = -1) -> Array:
    shifted = x - max(x, axis=axis, keepdims=True)
    return shifted - log(sum(exp(shifted), axis=axis, keepdims=True))


def logsumexp(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    top = max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    out = log(sum(exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=axis)


def var(x: Array, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Array:
    centred = x - mean(x, axis=axis, keepdims=True)
    total = sum(centred * centred, axis=axis, keepdims=keepdims)
    return total * (1 / (math.prod(x.shape) // math.prod(total.shape) - float(ddof)))


def cross_entropy(
    prediction: Array,
    target: Array,
    weights: Array = None,
    *,
    class_weights: Array,
    label_smoothing: float,
    reduction: Any,
) -> Array:
    mixed = mix_targets(prediction, target, class_weights, label_smoothing)
    losses = -sum(np.where(mixed == 0, 0.0, mixed * log_softmax(prediction)), axis=-1)
    if target.ndim < prediction.ndim and not np.all((target >= 0) & (target < prediction.shape[-1])):
        raise ValueError("labels")
    counted = losses * weigh_elements(prediction, target, weights, class_weights, reduction)
    return counted if reduction == "none" else sum(counted)


def all_of(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    return sum(np.logical_not(x), axis=axis, keepdims=keepdims) == 0


def any_of(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    return sum(x != 0, axis=axis, keepdims=keepdims) != 0


EXPANSIONS: Mapping[str, Callable[..., Array]] = {
    "all": all_of,
    "any": any_of,
    "cross_entropy": cross_entropy,
    "log_softmax": log_softmax,
    "logsumexp": logsumexp,
    "softmax": softmax,
    "var": var,
}


class Expansion:
    """A graph in which every op has a rule, and what is computed from the same things is computed once.

    Attributes
    ----------
    order : list of Tensor
        The graph in the order of computation. For inputs of these tensors ask `find`.
    """

    def __init__(self, recording: Recording, rules: Mapping[str, Any]) -> None:
        self.order: list[Tensor] = []
        self._recording, self._rules = recording, rules
        self._seen: dict[int, Tensor] = {}  # it holds them, so that their identities stay taken
        self._first: dict[Any, Tensor] = {}
        self._instead: dict[int, Tensor] = {}
        while graph := sort_graph(recording.results(), self._seen):  # an expansion may decide by a value, too
            for tensor in graph:
                self._visit(tensor)

    def find(self, tensor: Tensor) -> Tensor:
        """What stands for a tensor of the graph."""
        while id(tensor) in self._instead:
            tensor = self._instead[id(tensor)]
        return tensor

    def _visit(self, tensor: Tensor) -> None:
        if id(tensor) in self._seen:
            return
        self._seen[id(tensor)] = tensor
        if tensor.op is None or tensor.op.name in self._rules:
            key = tensor.op and (tensor.op.name, self._key((*tensor.inputs, *sorted(tensor.params.items()))))
            first = self._first.setdefault(key or id(tensor), tensor)
            if first is tensor:
                self.order.append(tensor)
            else:
                self._instead[id(tensor)] = first
            return
        made = self._expand(tensor)
        for inside in sort_graph([made], self._seen):
            self._visit(inside)
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
        token = tracing.set(self._recording)
        try:
            made = EXPANSIONS.get(op.name, op.forward)(*tensor.inputs, **tensor.params)
        except UncompilableError:
            raise
        except Exception as error:
            raise UncompilableError(f"compile: there is no rule for {op.name} in C") from error
        finally:
            tracing.reset(token)
        if not isinstance(made, Tensor) or (made.op is op and made.inputs == tensor.inputs):
            raise UncompilableError(f"compile: there is no rule for {op.name} in C")
        return made
