"""Activations, elementwise; softmax is in `tensorgrad.ops.reduce`.

At 0, relu has derivative 0, leaky_relu that of its left side, ``slope``, and elu that of its left, ``alpha``.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from tensorgrad.core import Array, op
from tensorgrad.ops.elementwise import erfc

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]


@op(elementwise=True)
def sigmoid(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x)), in the tanh form that never overflows.

    >>> tg.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return 0.5 * np.tanh(0.5 * x) + 0.5


sigmoid.defvjp(x=lambda g, out, x: g * out * (1 - out))


@op(elementwise=True)
def relu(x: Array) -> Array:
    """Rectified linear unit max(x, 0); its derivative at 0 is taken to be 0.

    >>> tg.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.maximum(x, 0)


relu.defvjp(x=lambda g, out, x: gate(g, ~(x <= 0)))  # NaN lets the cotangent pass


def keep(x: Array, hit: Array, out: Array = None) -> Array:
    """``x`` where ``hit``, elsewhere 0: as bits times 0 or 1, for numpy.where branches on each element."""
    if x.dtype.itemsize > 8:
        return np.where(hit, x, x.dtype.type(0))
    bits = f"i{x.dtype.itemsize}"
    out = None if out is None else out.view(bits)
    return np.multiply(x.view(bits), hit.view(np.int8), out=out).view(x.dtype)


@op
def gate(x: Array, condition: Array) -> Array:
    """``x`` where the boolean ``condition``, of the same shape, holds; elsewhere 0, whatever ``x`` is there.

    >>> tg.ops.activations.gate(np.array([1.0, np.nan]), np.array([True, False]))
    array([1., 0.])
    """
    if getattr(condition, "dtype", None) != np.bool_ or np.shape(condition) != np.shape(x):
        came = f"{getattr(condition, 'dtype', type(condition).__name__)} {np.shape(condition)}"
        raise ValueError(f"gate: expected a condition of booleans of shape {np.shape(x)}, got {came}")
    return keep(x, condition)


gate.defvjp(x=lambda g, out, x, condition: gate(g, condition), condition=None)


@op(elementwise=True)
def leaky_relu(x: Array, *, slope: float = 0.01) -> Array:
    """x where it is positive, slope x elsewhere. Source: Maas, Hannun and Ng (2013).

    >>> tg.leaky_relu(np.array([-2.0, 3.0]))
    array([-0.02,  3.  ])
    """
    return np.where(x > 0, x, float(slope) * x)


leaky_relu.defvjp(x=lambda g, out, x, slope: np.where(x > 0, g, float(slope) * g))


@op(elementwise=True)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where it is positive, alpha (exp(x) - 1) elsewhere. Source: Clevert, Unterthiner, Hochreiter (2016).

    >>> tg.elu(np.array([-1.0, 3.0]))
    array([-0.63212056,  3.        ])
    """
    return np.where(x > 0, x, float(alpha) * np.expm1(np.minimum(x, 0)))


# The exponential only of what is negative: elsewhere it could overflow.
elu.defvjp(x=lambda g, out, x, alpha: g * np.where(x > 0, 1, float(alpha) * np.exp(np.where(x > 0, 0, x))))


@op(elementwise=True)
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), which never overflows: a smooth relu.

    >>> tg.softplus(np.array([-1000.0, 0.0, 1000.0]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # np.logaddexp takes twenty times as long


softplus.defvjp(x=lambda g, out, x: g * sigmoid(x))


@op(elementwise=True)
def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya (2018).

    >>> tg.silu(np.array([-1000.0, 0.0, 1000.0]))
    array([  -0.,    0., 1000.])
    """
    return x * sigmoid(x)


def _silu_vjp(g: Array, out: Array, x: Array) -> Array:
    s = sigmoid(x)
    return g * (s + x * s * (1 - s))


silu.defvjp(x=_silu_vjp)

_A, _K = 0.044715, math.sqrt(2 / math.pi)  # of the approximation


@op(elementwise=True)
def gelu(x: Array, *, approximate: Literal["none", "tanh"] = "none") -> Array:
    """x times the probability that a standard normal variable is below x: x erfc(-x / sqrt(2)) / 2.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).

    Parameters
    ----------
    approximate : "none" or "tanh"
        "tanh" computes x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 instead, which is off by up to 5e-4,
        and its derivative by up to 2e-3. It is some ten times as fast: NumPy has a tanh but no erf.

    Raises
    ------
    ValueError
        If there is no such approximation.

    >>> tg.gelu(np.array([-1.0, 0.0, 1.0]))
    array([-0.15865525,  0.        ,  0.84134475])
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(_K * x * (1 + _A * x * x)))
    if approximate != "none":
        raise ValueError(f"gelu: expected approximate to be none or tanh, got {approximate!r}")
    return 0.5 * x * erfc(-math.sqrt(0.5) * x)


def _gelu_vjp(g: Array, out: Array, x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        t = np.tanh(_K * x * (1 + _A * x * x))
        return g * (0.5 * (1 + t) + (0.5 * _K) * x * (1 - t * t) * (1 + 3 * _A * x * x))
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return g * (0.5 * erfc(-math.sqrt(0.5) * x) + x * density)


gelu.defvjp(x=_gelu_vjp)
