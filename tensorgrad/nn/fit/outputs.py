"""What a network's outputs and its targets are: classes or values, logits or probabilities."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.recorded import ancestors
from tensorgrad.nn.layers import LogSoftmax, Sigmoid, Softmax
from tensorgrad.nn.sequential import Sequential
from tensorgrad.ops import binary_cross_entropy, cross_entropy, sigmoid, softmax
from tensorgrad.ops.losses import TOLERANCE

__all__ = [
    "Scale", "are_classes", "are_two_classes", "bare_loss", "column", "name_labels", "output_scale",
    "probabilities", "require_logits", "require_no_softmax", "true_values",
]  # fmt: skip

Scale: TypeAlias = Literal["logits", "probabilities"] | None

#: Ops that make no logits of probabilities: what they are given is looked at.
_SAME_NUMBERS = (
    "reshape", "transpose", "getitem", "astype", "identity", "swapaxes", "expand_dims", "squeeze", "positive",
    "maximum", "minimum",
)  # fmt: skip


def bare_loss(network: Sequential) -> Callable[..., Any] | None:
    """The function that computes the loss, without the options that `functools.partial` has set."""
    loss = network.loss
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss


def require_no_softmax(loss: Any, given: Any) -> None:
    """ValueError if a loss that takes logits is given probabilities: it would train, but badly.

    The graph tells, whatever layers and functions the op was called from; of a softmax in other words the
    rows do.
    """
    rows = given.data if isinstance(given, Tensor) else None
    while isinstance(given, Tensor) and given.op is not None and given.op.name in _SAME_NUMBERS:
        given = given.inputs[0]
    takes_logits = loss is cross_entropy or loss is binary_cross_entropy
    if takes_logits and isinstance(given, Tensor) and (given.op is softmax or given.op is sigmoid):
        by = "".join(f", the result of a layer {call.label}" for call in given.calls[:1])
        raise ValueError(
            f"the loss {loss.__name__} takes logits, and was given what {given.op.name} made{by}; leave it "
            "away, or use another loss"
        )
    if loss is cross_entropy and rows is not None and _are_shares(rows):
        raise ValueError(
            "the loss cross_entropy takes logits, and was given probabilities: no number is negative, and "
            "each row sums to 1; leave the softmax away, or use another loss"
        )


def _are_shares(rows: NDArray) -> bool:
    """Whether rows that differ are none negative, and sum to 1."""
    if rows.ndim < 2 or (rows < 0).any() or (abs(rows.sum(axis=-1) - 1) > TOLERANCE).any():
        return False
    return bool((rows != rows[:1]).any())


def require_logits(loss: Tensor) -> None:
    """`require_no_softmax` for each op in the graph of a loss, which may be a function around others."""
    for node in ancestors(loss):
        require_no_softmax(node.op, node.inputs[0] if node.inputs else None)


def output_scale(network: Sequential) -> Scale:
    """What the network's outputs are, as far as its loss or its last layer tells."""
    loss, last = bare_loss(network), network.layers[-1] if network.layers else None
    if loss is cross_entropy or loss is binary_cross_entropy or isinstance(last, LogSoftmax):
        return "logits"
    return "probabilities" if isinstance(last, (Softmax, Sigmoid)) else None


def are_classes(prediction: NDArray, target: NDArray) -> bool:
    """Whether the targets are labels or one-hot rows for these predictions."""
    if prediction.ndim < 2 or prediction.shape[-1] < 2:
        return False
    if target.shape == prediction.shape[:-1]:
        return target.dtype.kind in "iu"
    return target.shape == prediction.shape and _is_one_hot(target)


def are_two_classes(prediction: NDArray, target: NDArray, scale: Scale) -> bool:
    """Whether one output tells two classes apart."""
    return column(prediction).ndim == 1 and scale is not None and _is_zero_or_one(target)


def column(x: NDArray) -> NDArray:
    """(N,) for (N, 1); other arrays as they are."""
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x


def true_values(prediction: NDArray, target: NDArray) -> NDArray:
    """The targets as scikit-learn wants them: labels of classes, or values."""
    if are_classes(prediction, target):
        return target if target.ndim < prediction.ndim else target.argmax(axis=-1)
    return column(target) if target.shape == prediction.shape else target


def name_labels(labels: NDArray, prediction: NDArray, target: NDArray, classes: NDArray | None) -> NDArray:
    """What the labels of classes stand for, where targets are classes that stand for something."""
    return labels if classes is None or not are_classes(prediction, target) else classes[labels]


def probabilities(name: str, prediction: NDArray, scale: Scale) -> NDArray:
    """(N, C) probabilities of the classes; two columns for one output.

    Raises
    ------
    ValueError
        If it is not known what the outputs are, or they are no probabilities of exclusive classes.
    """
    if scale is None:
        raise ValueError(
            f"{name} needs probabilities, and neither the loss (cross_entropy and binary_cross_entropy take "
            "logits) nor the last layer (Softmax, Sigmoid) tells what the outputs are; give a function "
            "(prediction, target) instead"
        )
    p = prediction.astype(np.float64)
    if p.ndim == 1 or p.shape[-1] == 1:
        p = p.reshape(len(p), 1)
        p = sigmoid(p) if scale == "logits" else p
        return np.concatenate([1 - p, p], axis=1)
    if scale == "logits":
        return softmax(p, axis=-1)
    if (abs(p.sum(axis=-1) - 1) > TOLERANCE).any():
        raise ValueError(
            f"{name} needs probabilities of exclusive classes, and the rows of the outputs do not sum to 1: "
            "use Softmax as the last layer or tg.cross_entropy as the loss"
        )
    return p / p.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def _is_one_hot(target: NDArray) -> bool:
    """Whether each row on the last axis is a single 1 among 0."""
    return _is_zero_or_one(target) and bool((target.sum(axis=-1) == 1).all())


def _is_zero_or_one(target: NDArray) -> bool:
    return bool(((target == 0) | (target == 1)).all())
