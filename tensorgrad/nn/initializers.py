"""Initial values of weights, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import advise_value

__all__ = ["INITIALIZERS", "initialize"]

Seed: TypeAlias = np.random.Generator | int | None
Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[np.random.Generator, Shape, int, int], NDArray]


def _draw_uniform(rng: np.random.Generator, shape: Shape, square: float) -> NDArray:
    return rng.uniform(-(square**0.5), square**0.5, shape)


def _draw_normal(rng: np.random.Generator, shape: Shape, variance: float) -> NDArray:
    drawn: NDArray = rng.standard_normal(shape) * variance**0.5
    return drawn


#: Name -> function of (rng, shape, fan_in, fan_out). Glorot keeps the variance of signals through sigmoid
#: and tanh layers (Glorot and Bengio 2010), He through relu layers (He et al. 2015); LeCun is the first
#: of the same kind (LeCun et al. 1998). The last two are the notebook's: U[-1/2, 1/2) for dense layers and
#: N(0, 1) / K^2 for filters.
INITIALIZERS: dict[str, Initializer] = {
    "zeros": lambda rng, shape, fan_in, fan_out: np.zeros(shape),
    "normal": lambda rng, shape, fan_in, fan_out: rng.standard_normal(shape),
    "glorot_uniform": lambda rng, shape, fan_in, fan_out: _draw_uniform(rng, shape, 6 / (fan_in + fan_out)),
    "glorot_normal": lambda rng, shape, fan_in, fan_out: _draw_normal(rng, shape, 2 / (fan_in + fan_out)),
    "he_uniform": lambda rng, shape, fan_in, fan_out: _draw_uniform(rng, shape, 6 / fan_in),
    "he_normal": lambda rng, shape, fan_in, fan_out: _draw_normal(rng, shape, 2 / fan_in),
    "lecun_normal": lambda rng, shape, fan_in, fan_out: _draw_normal(rng, shape, 1 / fan_in),
    "notebook_dense": lambda rng, shape, fan_in, fan_out: rng.random(shape) - 0.5,
    "notebook_conv": lambda rng, shape, fan_in, fan_out: rng.standard_normal(shape) / (shape[-1] * shape[-2]),
}


def initialize(
    name: str, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int, dtype: DTypeLike
) -> NDArray:
    """Draw initial values from the initializer called ``name``.

    Parameters
    ----------
    name : str
        A key of ``INITIALIZERS``: zeros, normal, glorot_uniform, glorot_normal, he_uniform, he_normal,
        lecun_normal, notebook_dense, notebook_conv.
    rng : numpy.random.Generator
        Where all randomness comes from.
    shape : tuple of int
    fan_in, fan_out : int
        Inputs that reach one output, and outputs that one input reaches.
    dtype : dtype

    Raises
    ------
    ValueError
        If there is no initializer of that name.

    >>> from tensorgrad.nn.initializers import initialize
    >>> initialize("he_normal", np.random.default_rng(0), (2, 2), 2, 2, np.float32).dtype
    dtype('float32')
    """
    if name not in INITIALIZERS:
        advice = advise_value(str(name), INITIALIZERS)
        raise ValueError(f"no initializer {name!r}{advice}; there are {', '.join(INITIALIZERS)}")
    return INITIALIZERS[name](rng, shape, fan_in, fan_out).astype(dtype)
