"""Losses: they refuse unequal shapes instead of broadcasting.

One rule holds for all of them. Let l_i be the losses of the elements and w_i the weight of the row that
element i is in: 1 for every row unless ``weights`` are given. With the reduction

- "none" the result is w_i l_i, one for each element;
- "sum" it is sum_i w_i l_i;
- "mean" it is sum_i w_i l_i / sum_i w_i.

So a row of weight 2 counts as two rows, one of weight 0 as none, and only the ratios of weights matter to the
mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Array, Op, op
from tensorgrad.core.checks import is_number
from tensorgrad.core.refusals import require_dense, require_values
from tensorgrad.ops.arrays import in_floats
from tensorgrad.ops.elementwise import astype

__all__ = ["huber", "l2", "mae", "mse"]

Reduction: TypeAlias = Literal["mean", "sum", "none"]

TOLERANCE = 1e-3  #: of probabilities given as targets, whose sums are rounded


def require_loss(loss: str, prediction: Array, weights: Array, reduction: Reduction) -> None:
    """Refuse, naming the loss, an empty batch, weights that do not fit, and an unknown reduction."""
    for x in (prediction, weights):
        require_values(x, loss)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{loss}: expected the reduction mean, sum or none, got {reduction!r}")
    if not np.size(prediction):
        raise ValueError(f"{loss}: expected at least one element, got an empty batch")
    if weights is None:
        return
    shape = np.shape(prediction)
    if not shape or np.shape(weights) != shape[:1]:
        rows = f"one weight for each row of the prediction {shape}"
        raise ValueError(f"{loss}: expected {rows}, got weights of shape {np.shape(weights)}")
    if not np.all(np.greater_equal(weights, 0) & np.less(weights, np.inf)):
        row = int(np.argmin(np.greater_equal(weights, 0) & np.less(weights, np.inf)))
        raise ValueError(f"{loss}: expected weights of 0 or more, got {weights[row]} for row {row}")
    if reduction == "mean" and not np.any(weights):
        raise ValueError(f"{loss}: all weights are 0, so there is no mean; use another reduction")


def require_equal_shapes(loss: str, prediction: Array, target: Array) -> None:
    """Refuse, naming the loss, a target of another shape than the prediction's."""
    require_dense(prediction, loss)
    require_dense(target, loss)
    require_values(target, loss)
    own, came = np.shape(prediction), np.shape(target)
    if own != came:
        hint = ""
        if own == (*came, 1):
            hint = "; write target.reshape(-1, 1)"
        elif came == (*own, 1):
            hint = "; write target.ravel()" if len(own) == 1 else "; write target[..., 0]"
        elif own[:-1] == came:
            hint = f"; labels are for cross_entropy, or made one-hot by tg.data.one_hot(labels, {own[-1]})"
        raise ValueError(f"{loss}: expected prediction and target of one shape, got {own} and {came}{hint}")


def require_logits(loss: str, prediction: Array) -> None:
    """Refuse, naming the loss, a prediction that is no floating array."""
    dtype = getattr(prediction, "dtype", None)
    if dtype is None or dtype.kind != "f":
        came = f"a {type(prediction).__name__}" if dtype is None else dtype
        raise TypeError(f"{loss}: expected a floating array of logits, got {came}")


def name_place(place: tuple[int, ...]) -> str:
    """Where an element is: its row, or its full index."""
    return str(place[0]) if len(place) == 1 else str(place)


def exactly(x: Array, like: Array) -> Array:
    """Integers, booleans and narrower floats in the dtype of ``like``; wider floats as they are."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    narrow = x.dtype.kind in "iub" or x.dtype.itemsize < like.dtype.itemsize
    return astype(x, dtype=like.dtype) if narrow else x


def constants(weights: Array, prediction: Array) -> Array:
    """Weights that are not differentiated, in the dtype of the logits."""
    require_values(weights, "weights")
    return np.asarray(weights, prediction.dtype)


def per_element(weights: Array, losses: Array) -> Array:
    """The weights of rows as an array that broadcasts against the losses of elements."""
    return exactly(weights, losses).reshape(-1, *[1] * (losses.ndim - 1))


def reduce(losses: Array, weights: Array, reduction: Reduction) -> Array:
    """The losses of elements, weighted and reduced by the rule above."""
    if weights is None and reduction == "mean":
        return np.mean(losses)
    if weights is not None:
        losses = losses * per_element(weights, losses)
    if reduction == "none":
        return losses
    return np.sum(losses) if reduction == "sum" else np.sum(losses) / _total(weights, losses)


def shares(g: Array, like: Array, weights: Array, reduction: Reduction) -> Array:
    """The cotangents of the losses of elements: the vjp of `reduce`. It broadcasts against ``like``."""
    if weights is None:
        return g * (1 / np.size(like)) if reduction == "mean" else g
    weighted = g * per_element(weights, like)
    return weighted / _total(weights, like) if reduction == "mean" else weighted


def _total(weights: Array, losses: Array) -> Array:
    """The sum over elements of the weights of their rows."""
    return np.sum(exactly(weights, losses)) * (losses.size // losses.shape[0])


def weights_vjp(loss: Op[Any]) -> Callable[..., Array]:
    """The formula for the weights of an elementwise loss."""

    @in_floats
    def formula(
        g: Array, out: Array, prediction: Array, target: Array, weights: Array, **params: Any
    ) -> Array:
        reduction = params.pop("reduction")
        losses = loss(prediction, target, reduction="none", **params)
        if reduction == "mean":
            losses = (losses - out) / _total(weights, losses)
        return np.sum((g * losses).reshape(losses.shape[0], -1), axis=1)

    return formula


@op
@in_floats
def mse(prediction: Array, target: Array, weights: Array = None, *, reduction: Reduction = "mean") -> Array:
    """Squared error (prediction - target)^2.

    Parameters
    ----------
    prediction, target : array
        Of one shape, whatever it is.
    weights : array (N,), optional
        One for each row, none negative. The mean is then sum(w l) / sum(w), over all elements.
    reduction : "mean", "sum" or "none"
        The mean over all elements, their sum, or each of them. With "sum" the gradient is ``size`` times that
        of "mean": a learning rate translates accordingly.

    Raises
    ------
    ValueError
        If the shapes differ (nothing is broadcast), if nothing is given, if the weights do not fit, are
        negative, not finite or (for the mean) all 0, or if there is no such reduction.

    >>> print(tg.mse(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    >>> print(tg.mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]), weights=np.array([3.0, 1.0])))
    1.0
    """
    require_equal_shapes("mse", prediction, target)
    require_loss("mse", prediction, weights, reduction)
    return reduce(np.square(prediction - target), weights, reduction)


@in_floats
def _mse_vjp(
    g: Array, out: Array, prediction: Array, target: Array, weights: Array, reduction: Reduction
) -> Array:
    # The factors first, while they are small.
    return 2 * shares(g, prediction, weights, reduction) * (prediction - target)


mse.defvjp(
    prediction=_mse_vjp,
    target=lambda g, out, prediction, target, weights, reduction: (
        -_mse_vjp(g, out, prediction, target, weights, reduction)
    ),
    weights=weights_vjp(mse),
)


@op
@in_floats
def mae(prediction: Array, target: Array, weights: Array = None, *, reduction: Reduction = "mean") -> Array:
    """Absolute error abs(prediction - target), with derivative 0 where the two are equal.

    Arguments and errors are those of `mse`.

    >>> print(tg.mae(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """
    require_equal_shapes("mae", prediction, target)
    require_loss("mae", prediction, weights, reduction)
    return reduce(np.abs(prediction - target), weights, reduction)


@in_floats
def _mae_vjp(
    g: Array, out: Array, prediction: Array, target: Array, weights: Array, reduction: Reduction
) -> Array:
    return shares(g, prediction, weights, reduction) * np.sign(prediction - target)


mae.defvjp(
    prediction=_mae_vjp,
    target=lambda g, out, prediction, target, weights, reduction: (
        -_mae_vjp(g, out, prediction, target, weights, reduction)
    ),
    weights=weights_vjp(mae),
)


@op
@in_floats
def huber(
    prediction: Array,
    target: Array,
    weights: Array = None,
    *,
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> Array:
    """d^2 / 2 for a difference d of at most ``delta``, delta (abs(d) - delta / 2) for a larger one.

    Arguments and errors are those of `mse`, and ``delta``, which is positive. The derivative is d, clipped to
    [-delta, delta]. Source: Huber, Robust estimation of a location parameter (1964).

    >>> tg.huber(np.array([1.5, 5.0]), np.array([1.0, 1.0]), reduction="none")
    array([0.125, 3.5  ])
    """
    require_equal_shapes("huber", prediction, target)
    require_loss("huber", prediction, weights, reduction)
    far = np.abs(prediction - target)
    if not is_number(delta) or not 0 < delta < np.inf:
        raise ValueError(f"huber: expected delta to be a positive number, got {delta!r}")
    near = np.minimum(far, float(delta))
    return reduce(near * (far - 0.5 * near), weights, reduction)


@in_floats
def _huber_vjp(
    g: Array, out: Array, prediction: Array, target: Array, weights: Array, delta: float, reduction: Reduction
) -> Array:
    clipped = np.clip(prediction - target, -float(delta), float(delta))
    return shares(g, prediction, weights, reduction) * clipped


huber.defvjp(
    prediction=_huber_vjp,
    target=lambda g, out, prediction, target, weights, delta, reduction: (
        -_huber_vjp(g, out, prediction, target, weights, delta, reduction)
    ),
    weights=weights_vjp(huber),
)


@op
@in_floats
def l2(*parameters: Array, strength: float) -> Array:
    """The penalty strength / 2 times the sum of the squares of all elements of all parameters.

    Added to a loss it pulls the parameters towards 0: its gradient is strength times the parameter, which is
    what the ``weight_decay`` of `MiniBatchSGD` adds to the gradient.

    Parameters
    ----------
    *parameters : array
        At least one; usually weights and filters, not biases.
    strength : float
        0 or more.

    >>> w = tg.Parameter([3.0, 4.0])
    >>> penalty = tg.l2(w, strength=0.1)
    >>> penalty.backward()
    >>> penalty.item(), w.grad
    (1.25, array([0.3, 0.4]))
    """
    if not parameters:
        raise ValueError("l2: expected at least one parameter, got none")
    if any(isinstance(x, (tuple, list)) for x in parameters):
        raise TypeError("l2: expected the parameters one by one, l2(*parameters, strength=...), got a list")
    if not is_number(strength) or not 0 <= strength < np.inf:
        raise ValueError(f"l2: expected a strength of 0 or more, got {strength!r}")
    total = np.sum(np.square(parameters[0]))
    for x in parameters[1:]:
        total = total + np.sum(np.square(x))
    return 0.5 * float(strength) * total


l2.defvjp(parameters=lambda i, g, out, *parameters, strength: g * float(strength) * parameters[i])
