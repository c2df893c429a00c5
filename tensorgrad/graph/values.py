"""Values as text: numbers and small arrays as they are, large ones by what sums them up."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray

PRINTED = 48  # numbers of an array that `long` prints
FEW = 4  # numbers that a drawing shows


def number(x: float) -> str:
    """A number with six digits, as Python writes it."""
    return repr(float(f"{x:.6g}")) if isinstance(x, float) else repr(x)


def norm(x: NDArray) -> float:
    """The Euclidean norm of all elements, in float64 so that large ones do not overflow."""
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(x.ravel().astype(np.float64)))


def short(x: Any) -> str:
    """Few numbers as they are, many by their shape and norm, or by their shape if they are no numbers."""
    x = as_array(x)
    if x.ndim == 0:
        return number(x.item())
    if x.size <= 6:
        return np.array2string(x, precision=6, separator=", ").replace("\n", "")
    return f"{x.dtype} {x.shape}" + (f", norm {norm(x):.6g}" if x.dtype.kind in "fiu" else "")


def brief(x: Any) -> str:
    """Up to four numbers with four digits each; of more the norm, if they are numbers."""
    x = as_array(x)
    if x.size > FEW:
        return f"norm {norm(x):.4g}" if x.dtype.kind in "fiu" else ""
    shown = (lambda v: number(float(f"{v:.4g}"))) if x.dtype.kind == "f" else str
    return np.array2string(x, formatter={"all": shown}, separator=", ").replace("\n", "")


def long(x: Any) -> str:
    """A small array as it is; a large one by its range, mean and norm."""
    x = as_array(x)
    if x.ndim == 0:
        return number(x.item())
    if x.size <= PRINTED:
        shown = "{:.4g}".format if x.dtype.kind == "f" else str
        return np.array2string(x, formatter={"all": shown}, separator=", ", max_line_width=50)
    if x.dtype.kind not in "fiu":
        return f"{x.size:,} values"
    if not np.isfinite(x).all():
        return f"{x.size:,} values, {np.count_nonzero(~np.isfinite(x)):,} of them not finite"
    low, high, mean = x.min(), x.max(), x.mean(dtype=np.float64)
    return f"{x.size:,} values from {low:.4g} to {high:.4g}, mean {mean:.4g}, norm {norm(x):.4g}"


def size(x: Any) -> str:
    """Shape and dtype; nothing of a Python number."""
    return f"{x.shape} {x.dtype}" if isinstance(x, (np.ndarray, Tensor)) else ""


def as_array(x: Any) -> NDArray:
    """The values of a tensor, or of a constant."""
    return np.asarray(x.data if isinstance(x, Tensor) else x)
