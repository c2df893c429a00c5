"""Values as text: numbers and small arrays as they are, large ones by what sums them up."""

from __future__ import annotations

import numpy as np

from tensorgrad.core.checks import NDArray


def number(x: float) -> str:
    """A number with six digits, as Python writes it."""
    return repr(float(f"{x:.6g}")) if isinstance(x, float) else repr(x)


def norm(x: NDArray) -> float:
    """The Euclidean norm of all elements, in float64 so that large ones do not overflow."""
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(x.ravel().astype(np.float64)))


def short(x: NDArray) -> str:
    """Few numbers as they are, many by their shape and norm."""
    if x.ndim == 0:
        return number(x.item())
    if x.size <= 6:
        return np.array2string(x, precision=8, separator=", ").replace("\n", "")
    return f"{x.dtype} {x.shape}, norm {norm(x):.6g}"
