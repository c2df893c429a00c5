"""Cross-entropy: of one class out of several, and of yes-or-no answers. The rule of `ops.losses` holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor, op
from tensorgrad.core.checks import between
from tensorgrad.core.refusals import require_dense, require_values
from tensorgrad.ops.activations import sigmoid, softplus
from tensorgrad.ops.arrays import in_wide_floats
from tensorgrad.ops.losses import (
    TOLERANCE,
    Reduction,
    constants,
    exactly,
    name_place,
    per_element,
    reduce,
    require_equal_shapes,
    require_logits,
    require_loss,
    shares,
    weights_vjp,
)
from tensorgrad.ops.reduce import excess, log_softmax, log_sum, softmax

__all__ = ["binary_cross_entropy", "cross_entropy"]


@op
@in_wide_floats
def cross_entropy(
    prediction: Array,
    target: Array,
    weights: Array = None,
    *,
    class_weights: Array = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Array:
    """Cross-entropy -sum_c target_c log softmax(prediction)_c of logits; it never overflows or takes log(0).

    Parameters
    ----------
    prediction : array (N, C) or (N, ..., C)
        Logits: any real numbers, not probabilities.
    target : array (N,) or (N, ...) of integers, or of the prediction's shape
        Labels from 0 to C - 1; or a probability for each class, one-hot or not, which sum to 1.
    weights : array (N,), optional
        One for each row, none negative.
    class_weights : array (C,), optional
        One for each class, none negative; constants. Every term of the sum over classes is multiplied by that
        of its class. In the mean an element counts as much as the weight of its label, or as
        sum_c class_weights_c target_c.
    label_smoothing : float
        From 0 to 1: the target is mixed with so much of the uniform distribution.
    reduction : "mean", "sum" or "none"
        See ``tensorgrad.ops.losses`` for the rule. "none" gives the target's shape, without the classes.

    Raises
    ------
    ValueError
        If a label is outside the classes, the shapes do not fit, probabilities are negative or do not sum to
        1, weights are negative or, for the mean, all 0; or if there are fewer than two classes, or no rows.
    TypeError
        If labels are not integers.

    Notes
    -----
    With labels this is PyTorch's ``cross_entropy``, but that the classes are on the last axis. With
    probabilities PyTorch divides by the number of rows even if classes have weights; here a one-hot target
    gives exactly what its label gives. Label smoothing: Szegedy et al., Rethinking the Inception architecture
    (2016).

    >>> logits = tg.Tensor([[2.0, 0.0, 0.0], [1000.0, 0.0, 0.0]], requires_grad=True)
    >>> tg.cross_entropy(logits, np.array([0, 1]), reduction="none")
    Tensor([2.39544766e-01, 1.00000000e+03], dtype=float64, op=cross_entropy)
    """
    require_logits("cross_entropy", prediction)
    require_dense(target, "cross_entropy")
    require_values(target, "cross_entropy")
    if np.ndim(prediction) < 2 or np.shape(prediction)[-1] < 2:
        raise ValueError(
            "cross_entropy: expected logits (N, C) of two classes or more (binary_cross_entropy is for one "
            f"logit), got {np.shape(prediction)}"
        )
    target = target if hasattr(target, "dtype") else np.asarray(target)
    if np.shape(target) == np.shape(prediction):
        require_probabilities(target)
    else:
        _require_labels(prediction, target)
    require_loss("cross_entropy", prediction, weights, reduction)
    if class_weights is not None:
        _require_class_weights(prediction, class_weights)
    between("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    if _are_labels(prediction, target) and class_weights is None and not label_smoothing:
        shifted = prediction - np.max(prediction, axis=-1, keepdims=True)
        found = shifted.reshape(-1, shifted.shape[-1])[np.arange(target.size), target.ravel()]
        losses = log_sum(shifted, -1)[..., 0] - found.reshape(target.shape)
    else:
        log_shares = log_softmax(prediction, axis=-1)
        mixed = mix_targets(prediction, target, class_weights, label_smoothing)
        with np.errstate(invalid="ignore"):  # where it is no target, a class of logit -inf costs nothing
            losses = -np.sum(np.where(mixed == 0, 0, mixed * log_shares), axis=-1)
    counted = losses * weigh_elements(prediction, target, weights, class_weights, reduction)
    return counted if reduction == "none" else np.sum(counted)


@in_wide_floats
def _cross_entropy_vjp(
    g: Array,
    out: Array,
    prediction: Array,
    target: Array,
    weights: Array,
    class_weights: Array,
    label_smoothing: float,
    reduction: Reduction,
) -> Array:
    found = softmax(prediction, axis=-1)
    mixed = mix_targets(prediction, target, class_weights, label_smoothing)
    if class_weights is None and not label_smoothing and _are_labels(prediction, target):
        # That of the label less 1, which may be near: the others instead.
        found = found * (1 - mixed)
        found = found - mixed * np.sum(found, axis=-1, keepdims=True)
    else:
        found = excess(found, mixed, -1)
    return _for_each_class(g * weigh_elements(prediction, target, weights, class_weights, reduction)) * found


@in_wide_floats
def _cross_entropy_target_vjp(
    g: Array,
    out: Array,
    prediction: Array,
    target: Array,
    weights: Array,
    class_weights: Array,
    label_smoothing: float,
    reduction: Reduction,
) -> Array:
    found = (float(label_smoothing) - 1) * log_softmax(prediction, axis=-1)
    if class_weights is not None:  # they are part of what the mean is divided by
        found = (found - out if reduction == "mean" else found) * constants(class_weights, prediction)
    return _for_each_class(g * weigh_elements(prediction, target, weights, class_weights, reduction)) * found


@in_wide_floats
def _cross_entropy_weights_vjp(
    g: Array, out: Array, prediction: Array, target: Array, weights: Array, **params: Any
) -> Array:
    reduction, class_weights = params.pop("reduction"), params["class_weights"]
    losses = cross_entropy(prediction, target, reduction="none", **params)
    if reduction == "mean":
        own = _own_counts(prediction, target, class_weights)
        losses = (losses - out * own) / np.sum(own * per_element(weights, losses))
    return np.sum((g * losses).reshape(losses.shape[0], -1), axis=1)


cross_entropy.defvjp(
    prediction=_cross_entropy_vjp, target=_cross_entropy_target_vjp, weights=_cross_entropy_weights_vjp
)


def require_probabilities(target: Array) -> None:
    """Refuse targets that are no probabilities of classes."""
    sums = np.sum(target, axis=-1)
    wrong = (np.abs(sums - 1) > TOLERANCE) | np.any(np.less(target, -TOLERANCE), axis=-1)
    if np.any(wrong):
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            "cross_entropy: expected targets that are probabilities and sum to 1, got "
            f"{np.array2string(target[place], threshold=8)} in row {name_place(place)}"
        )


def _require_labels(prediction: Array, target: Array) -> None:
    shape = np.shape(prediction)
    if np.shape(target) != shape[:-1]:
        column = np.shape(target) == (*shape[:-1], 1)
        raise ValueError(
            f"cross_entropy: expected labels {shape[:-1]} or probabilities {shape} for logits {shape}, "
            f"got targets {np.shape(target)}{'; write target.ravel()' if column else ''}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: expected integer labels, got {target.dtype}; write target.astype(int)"
        )
    labels = target.data if isinstance(target, Tensor) else target
    if not labels.size or (labels.min() >= 0 and labels.max() < shape[-1]):
        return
    place = tuple(map(int, np.argwhere((labels < 0) | (labels >= shape[-1]))[0]))
    raise ValueError(
        f"cross_entropy: expected labels from 0 to {shape[-1] - 1}, "
        f"got {labels[place]} in row {name_place(place)}"
    )


def _require_class_weights(prediction: Array, class_weights: Array) -> None:
    if isinstance(class_weights, Tensor) and class_weights.requires_grad:
        raise TypeError("cross_entropy: class_weights are constants, got a tensor that requires grad")
    classes = np.shape(prediction)[-1]
    if np.shape(class_weights) != (classes,):
        raise ValueError(
            f"cross_entropy: expected {classes} class_weights, one for each class, "
            f"got shape {np.shape(class_weights)}"
        )
    if not np.all(np.greater_equal(class_weights, 0) & np.less(class_weights, np.inf)):
        raise ValueError(f"cross_entropy: expected class_weights of 0 or more, got {class_weights}")


def _are_labels(prediction: Array, target: Array) -> bool:
    return bool(target.ndim < prediction.ndim)


def _probabilities(prediction: Array, target: Array) -> Array:
    """The target as probabilities; labels as one-hot rows."""
    if not _are_labels(prediction, target):
        return exactly(target, prediction)
    return np.equal(target[..., None], np.arange(prediction.shape[-1])).astype(prediction.dtype)


def mix_targets(prediction: Array, target: Array, class_weights: Array, label_smoothing: float) -> Array:
    """The factors of the logarithms: the target, smoothed, times the weights of classes."""
    mixed = _probabilities(prediction, target)
    if label_smoothing:
        smoothing = float(label_smoothing)
        mixed = (1 - smoothing) * mixed + smoothing / prediction.shape[-1]
    return mixed if class_weights is None else mixed * constants(class_weights, prediction)


def _own_counts(prediction: Array, target: Array, class_weights: Array) -> Array:
    """What each element counts in the mean for its class."""
    if class_weights is None:
        return np.ones(
            target.shape if _are_labels(prediction, target) else target.shape[:-1], prediction.dtype
        )
    return np.sum(_probabilities(prediction, target) * constants(class_weights, prediction), axis=-1)


def weigh_elements(
    prediction: Array, target: Array, weights: Array, class_weights: Array, reduction: Reduction
) -> Array:
    """What the losses of elements are multiplied by, before they are added up."""
    elements = prediction[..., 0]
    if class_weights is None or reduction != "mean":
        return shares(1, elements, weights, reduction)
    own = _own_counts(prediction, target, class_weights)
    rows = 1 if weights is None else per_element(weights, elements)
    total = np.sum(rows * own)
    if total == 0:
        raise ValueError("cross_entropy: all weights are 0, so there is no mean; use another reduction")
    return rows / total


def _for_each_class(cotangents: Array) -> Array:
    return cotangents.reshape((*cotangents.shape, 1)) if cotangents.ndim else cotangents


@op
@in_wide_floats
def binary_cross_entropy(
    prediction: Array,
    target: Array,
    weights: Array = None,
    *,
    positive_weight: Array = 1.0,
    reduction: Reduction = "mean",
) -> Array:
    """Cross-entropy of independent yes-or-no answers, -p t log s(x) - (1 - t) log(1 - s(x)), from logits x.

    s is the sigmoid, which is not computed: t softplus(-x) and (1 - t) softplus(x) neither overflow nor round
    a small loss to 0.

    Parameters
    ----------
    prediction : array
        Logits: any real numbers, not probabilities.
    target : array
        Of the same shape, from 0 to 1; booleans and integers too.
    weights, reduction
        As in `mse`.
    positive_weight : float or array (C,)
        p, how much the positive answers count: one number, or one for each place of the last axis. Constants;
        the mean is not divided by them, as with PyTorch's ``pos_weight``.

    Raises
    ------
    ValueError
        If a target is outside 0 to 1, a positive weight is not positive, and as in `mse`.
    TypeError
        If the logits are not floating.

    >>> tg.binary_cross_entropy(np.array([0.0, 1000.0]), np.array([1, 0]), reduction="none")
    array([6.93147181e-01, 1.00000000e+03])
    """
    require_logits("binary_cross_entropy", prediction)
    require_equal_shapes("binary_cross_entropy", prediction, target)
    require_loss("binary_cross_entropy", prediction, weights, reduction)
    target = exactly(target, prediction)
    if np.any((target < -TOLERANCE) | (target > 1 + TOLERANCE)):
        place = tuple(map(int, np.argwhere((target < -TOLERANCE) | (target > 1 + TOLERANCE))[0]))
        raise ValueError(
            f"binary_cross_entropy: expected targets from 0 to 1, got {target[place]} at {name_place(place)}"
        )
    _require_positive_weight(prediction, positive_weight)
    yes, no = constants(positive_weight, prediction) * target, 1 - target
    losses = (
        yes * np.maximum(-prediction, 0)
        + no * np.maximum(prediction, 0)
        + (yes + no) * np.log1p(np.exp(-np.abs(prediction)))
    )
    return reduce(losses, weights, reduction)


@in_wide_floats
def _binary_vjp(
    g: Array,
    out: Array,
    prediction: Array,
    target: Array,
    weights: Array,
    positive_weight: Array,
    reduction: Reduction,
) -> Array:
    target = exactly(target, prediction)
    yes, no = constants(positive_weight, prediction) * target, 1 - target
    found = no * sigmoid(prediction) - yes * sigmoid(-prediction)
    return shares(g, prediction, weights, reduction) * found


@in_wide_floats
def _binary_target_vjp(
    g: Array,
    out: Array,
    prediction: Array,
    target: Array,
    weights: Array,
    positive_weight: Array,
    reduction: Reduction,
) -> Array:
    # p softplus(-x) - softplus(x), one of which is the other less x
    positive = constants(positive_weight, prediction)
    negative = prediction < 0
    small = softplus(np.where(negative, prediction, -prediction))
    found = np.where(negative, positive, 1) * -prediction + (positive - 1) * small
    return shares(g, prediction, weights, reduction) * found


binary_cross_entropy.defvjp(
    prediction=_binary_vjp, target=_binary_target_vjp, weights=weights_vjp(binary_cross_entropy)
)


def _require_positive_weight(prediction: Array, positive_weight: Array) -> None:
    if isinstance(positive_weight, Tensor) and positive_weight.requires_grad:
        raise TypeError(
            "binary_cross_entropy: positive_weight is a constant, got a tensor that requires grad"
        )
    shape = np.shape(positive_weight)
    if shape and shape != np.shape(prediction)[-1:]:
        raise ValueError(
            "binary_cross_entropy: expected one positive_weight, or one for each place of the last axis of "
            f"logits {np.shape(prediction)}, got shape {shape}"
        )
    if not np.all(np.greater(positive_weight, 0) & np.less(positive_weight, np.inf)):
        raise ValueError(f"binary_cross_entropy: expected a positive_weight above 0, got {positive_weight}")
