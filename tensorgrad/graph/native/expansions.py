"""Ops that have no rule in C and whose forward is not made of ops: what they are made of, for a compiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core import Array
from tensorgrad.ops import exp, log, max, mean, sum


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
    prediction: Array, target: Array, weights: Array = None, *, class_weights: Array, label_smoothing: float, reduction: str
) -> Array:
    from tensorgrad.ops import classification as c

    log_shares = log_softmax(prediction)
    mixed = c._mix(prediction, target, class_weights, label_smoothing)
    losses = -sum(np.where(mixed == 0, 0.0, mixed * log_shares), axis=-1)
    if target.ndim < prediction.ndim and not np.all((target >= 0) & (target < prediction.shape[-1])):
        raise ValueError("labels")
    counted = losses * c._counts(prediction, target, weights, class_weights, reduction)
    return counted if reduction == "none" else sum(counted)


EXPANSIONS: dict[str, Callable[..., Array]] = {
    "softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp, "var": var, "cross_entropy": cross_entropy,
}  # fmt: skip
