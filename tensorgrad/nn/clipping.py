"""Clipping of gradients: by value, and by the norm of all of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# PyTorch's clip_grad_norm_ divides by the norm plus this.
_MARGIN = 1e-6


def global_norm(arrays: Sequence[np.ndarray[Any, Any]]) -> float:
    """The Euclidean norm of all elements of all arrays; it neither over- nor underflows.

    >>> from tensorgrad.nn.clipping import global_norm
    >>> global_norm([np.array([3.0]), np.array([[0.0, 4.0]])])
    5.0
    """
    with np.errstate(all="ignore"):
        squared: float = sum(_squared_norm(array) for array in arrays)
        if 1e-200 < squared < np.inf:
            return math.sqrt(squared)
        largest = max((float(np.max(np.abs(array), initial=0)) for array in arrays), default=0.0)
        if not 0 < largest < np.inf:
            return largest
        scaled: float = sum(_squared_norm(array.astype(np.float64) / largest) for array in arrays)
        return largest * math.sqrt(scaled)


def _squared_norm(array: np.ndarray[Any, Any]) -> float:
    flat = array.ravel(order="K")
    if flat.dtype == np.float32:
        squared = float(np.vdot(flat, flat))
        # Outside this range squares may have been lost to over- or underflow.
        if 1e-20 < squared < 1e30:
            return squared
    flat = flat.astype(np.float64, copy=False)
    return float(np.vdot(flat, flat))


def clipped(
    what: str,
    gradients: Sequence[np.ndarray[Any, Any]],
    labels: Sequence[str],
    value: float | None,
    norm: float | None,
) -> list[np.ndarray[Any, Any]]:
    """The gradients clipped to [-value, value], then scaled by min(1, norm / (their global norm + 1e-6)).

    Raises
    ------
    FloatingPointError
        If ``norm`` is given and a gradient is not finite; ``labels`` name which.
    """
    if norm is not None:
        wrong = [label for label, g in zip(labels, gradients, strict=True) if not np.isfinite(g).all()]
        if wrong:
            raise FloatingPointError(
                f"{what}: the gradient of {', '.join(wrong)} is not finite, so that it has no norm to clip"
            )
    if value is not None:
        gradients = [np.clip(g, -value, value) for g in gradients]
    if norm is not None:
        scale = norm / (global_norm(gradients) + _MARGIN)
        if scale < 1:
            gradients = [g * scale for g in gradients]
    return list(gradients)
