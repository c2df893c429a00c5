"""Cross-entropy of yes-or-no answers. Weights and reductions follow the rule of `ops.losses`."""

from __future__ import annotations

import numpy as np

from tensorgrad.core import Array, Tensor, op
from tensorgrad.ops.activations import sigmoid, softplus
from tensorgrad.ops.losses import (
    TOLERANCE,
    Reduction,
    constants,
    exactly,
    named_place,
    reduced,
    require_equal_shapes,
    require_logits,
    require_loss,
    shares,
    weights_vjp,
)


@op
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
            f"binary_cross_entropy: expected targets from 0 to 1, got {target[place]} at {named_place(place)}"
        )
    _require_positive_weight(prediction, positive_weight)
    yes, no = constants(positive_weight, prediction) * target, 1 - target
    losses = (
        yes * np.maximum(-prediction, 0)
        + no * np.maximum(prediction, 0)
        + (yes + no) * np.log1p(np.exp(-np.abs(prediction)))
    )
    return reduced(losses, weights, reduction)


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


def _binary_target_vjp(
    g: Array,
    out: Array,
    prediction: Array,
    target: Array,
    weights: Array,
    positive_weight: Array,
    reduction: Reduction,
) -> Array:
    found = constants(positive_weight, prediction) * softplus(-prediction) - np.logaddexp(prediction, 0)
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
