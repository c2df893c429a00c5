"""What layers ask of their arguments and inputs, and how they show them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor

Seed: TypeAlias = np.random.Generator | int | None
Pair: TypeAlias = int | tuple[int, int]


def require_input(layer: object, x: Array, shape: tuple[int | str, ...], dtype: np.dtype[Any]) -> None:
    """Refuse, naming ``layer``, an ``x`` of another dtype or shape, where a str matches any length and "..."
    any number of axes."""
    if not isinstance(x, (np.ndarray, Tensor)):
        raise TypeError(f"{layer}: expected a {dtype} array or Tensor, got a {type(x).__name__}")
    x_shape, x_dtype = x.shape, x.dtype
    wanted = shape
    if "..." in shape:
        at, more = shape.index("..."), len(x_shape) - len(shape) + 1
        wanted = shape[:at] + ("any",) * more + shape[at + 1 :]
    fits = len(x_shape) == len(wanted) and all(
        isinstance(n, str) or n == m for n, m in zip(wanted, x_shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{layer}: expected input of shape ({', '.join(str(n) for n in shape)}), got {x_shape}"
        )
    if x_dtype != dtype:
        raise TypeError(
            f"{layer}: expected {dtype} input, got {x_dtype}; cast it with .astype({str(dtype)!r})"
        )


def require_positive(layer: str, **sizes: int) -> None:
    """Refuse, naming ``layer``, sizes that are no positive integers."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{layer}: expected {name} to be a positive integer, got {size!r}")


def require_between(layer: str, low: float, high: float, **values: float) -> None:
    """Refuse, naming ``layer``, values that are no numbers from ``low`` to ``high``."""
    for name, value in values.items():
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            raise ValueError(f"{layer}: expected {name} from {low} to {high}, got {value!r}")


def as_tensor(x: Array) -> Tensor:
    """A layer's result as a Tensor, also where the layer has no parameters and came first."""
    return x if isinstance(x, Tensor) else Tensor(x)


def unusual(*options: tuple[str, Any, Any]) -> str:
    """Of the options (name, value, default) those that are not the default, for a repr."""
    return "".join(f", {name}={value}" for name, value, usual in options if value != usual)
