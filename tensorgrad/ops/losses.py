"""Losses: they refuse unequal shapes instead of broadcasting."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from tensorgrad.core import Array, op

Reduction: TypeAlias = Literal["mean", "sum", "none"]


@op
def mse(prediction: Array, target: Array, *, reduction: Reduction = "mean") -> Array:
    """Squared error (prediction - target)^2: its mean over all elements, its sum, or each.

    Parameters
    ----------
    prediction, target : array
        Of one shape, whatever it is.
    reduction : "mean", "sum" or "none"
        With "sum" the gradient is ``size`` times that of "mean": a learning rate translates accordingly.

    Raises
    ------
    ValueError
        If the shapes differ (nothing is broadcast), or there is no such reduction.

    >>> print(tg.mse(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    shapes = np.shape(prediction), np.shape(target)
    if shapes[0] != shapes[1]:
        raise ValueError(f"mse: expected prediction and target of one shape, got {shapes[0]} and {shapes[1]}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"mse: expected the reduction mean, sum or none, got {reduction!r}")
    if not np.size(prediction):
        raise ValueError("mse: expected at least one element, got an empty batch")
    squares = np.square(prediction - target)
    if reduction == "none":
        return squares
    return np.sum(squares) if reduction == "sum" else np.mean(squares)


def _mse_vjp(g: Array, out: Array, prediction: Array, target: Array, reduction: Reduction) -> Array:
    return g * (2 / np.size(prediction) if reduction == "mean" else 2) * (prediction - target)


mse.defvjp(
    prediction=_mse_vjp,
    target=lambda g, out, prediction, target, reduction: -_mse_vjp(g, out, prediction, target, reduction),
)
