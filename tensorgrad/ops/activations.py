"""Activations, elementwise; softmax is in `tensorgrad.ops.reduce`.

At 0, relu has derivative 0, leaky_relu that of its left side, ``slope``, and elu that of its left, ``alpha``.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from tensorgrad.core import Array, op
from tensorgrad.ops.arrays import in_floats
from tensorgrad.ops.elementwise import erfc, gaussian, piecewise

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]


_SATURATED = 50.0  # from here on, and sooner, a sigmoid is 1 in every precision


@op(elementwise=True)
@in_floats
def sigmoid(x: Array) -> Array:
    """Logistic function exp(x) / (1 + exp(x)), which never overflows and is accurate where it is tiny.

    >>> tg.sigmoid(np.array([-1000.0, -40.0, 0.0, 1000.0]))
    array([0.00000000e+00, 4.24835426e-18, 5.00000000e-01, 1.00000000e+00])
    """
    e = np.exp(np.minimum(x, _SATURATED))
    e /= 1 + e
    return e


sigmoid.defvjp(x=lambda g, out, x: g * (out * sigmoid(-x)))  # 1 - out would cancel


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
@in_floats
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where it is positive, alpha (exp(x) - 1) elsewhere. Source: Clevert, Unterthiner, Hochreiter (2016).

    >>> tg.elu(np.array([-1.0, 3.0]))
    array([-0.63212056,  3.        ])
    """
    return np.where(x > 0, x, float(alpha) * np.expm1(np.minimum(x, 0)))


# The exponential only of what is negative: elsewhere it could overflow.
elu.defvjp(x=lambda g, out, x, alpha: g * np.where(x > 0, 1, float(alpha) * np.exp(np.where(x > 0, 0, x))))


@op(elementwise=True)
@in_floats
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), which never overflows: a smooth relu.

    >>> tg.softplus(np.array([-1000.0, 0.0, 1000.0]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # np.logaddexp takes twenty times as long


softplus.defvjp(x=lambda g, out, x: g * sigmoid(x))


@op(elementwise=True)
@in_floats
def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya (2018).

    Where the sigmoid is a subnormal number, x times it has no more digits than that, nor has the slope.

    >>> tg.silu(np.array([-1000.0, 0.0, 1000.0]))
    array([  -0.,    0., 1000.])
    """
    return x * sigmoid(x)


silu.defvjp(x=lambda g, out, x: g * (sigmoid(x) + out * sigmoid(-x)))

_A, _K = 0.044715, math.sqrt(2 / math.pi)  # of the approximation


@op(elementwise=True)
@in_floats
def gelu(x: Array, *, approximate: Literal["none", "tanh"] = "none") -> Array:
    """x times the probability that a standard normal variable is below x: x erfc(-x / sqrt(2)) / 2.

    Source: Hendrycks and Gimpel, Gaussian error linear units (2016).

    Parameters
    ----------
    approximate : "none" or "tanh"
        "tanh" computes x (1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), instead, which is off by up
        to 5e-4, and its derivative by up to 2e-3. It is some ten times as fast: NumPy has no erf. Below 0,
        where it is about x exp(2 u), it is right to 2 u units in the last place: u is rounded.

    Raises
    ------
    ValueError
        If there is no such approximation.

    >>> tg.gelu(np.array([-1.0, 0.0, 1.0]))
    array([-0.15865525,  0.        ,  0.84134475])
    """
    if approximate == "tanh":
        return x * sigmoid(_double_argument(_clip(x)))
    if approximate != "none":
        raise ValueError(f"gelu: expected approximate to be none or tanh, got {approximate!r}")
    return piecewise(
        x,
        small=lambda x, erf: 0.5 * x * (1 + erf),
        beyond=lambda x, erfc: 0.5 * x * np.where(x > 0, 2 - erfc, erfc),
        scale=0.5,
    )


def _clip(x: Array) -> Array:
    """``x``, but for what is so far from 0 that the approximation is x or 0."""
    return np.minimum(np.maximum(x, -30), 30)


def _double_argument(x: Array) -> Array:
    """2 u, where the approximation is x (1 + tanh(u)) / 2 = x sigmoid(2 u)."""
    return (2 * _K) * x * (1 + _A * x * x)


def _gelu_vjp(g: Array, out: Array, x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        x = _clip(x)
        u = _double_argument(x)
        return g * (sigmoid(u) + out * sigmoid(-u) * (2 * _K) * (1 + 3 * _A * x * x))
    return g * (0.5 * erfc(-math.sqrt(0.5) * x) + x * gaussian(x, 0.5) / math.sqrt(2 * math.pi))


gelu.defvjp(x=_gelu_vjp)
