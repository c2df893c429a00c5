"""Trigonometric and hyperbolic functions, their inverses, and angles.

hypot has derivative 0 at the origin, a subgradient (as abs at 0); arctan2 jumps there, and gives NaN.
arcsin, arccos, arccosh and arctanh have an infinite slope at the ends of their domains, and give it, with
NumPy's warning.
"""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.core import Array, differentiate

sin = differentiate(np.sin, x=lambda g, out, x: g * np.cos(x))
cos = differentiate(np.cos, x=lambda g, out, x: -g * np.sin(x))
tan = differentiate(np.tan, x=lambda g, out, x: g * (1 + out * out))

# Squares in factors where 1 - x^2 would cancel; by hypot, twice, where 1 + x^2 would overflow.
arcsin = asin = differentiate(np.arcsin, x=lambda g, out, x: g / np.sqrt((1 - x) * (1 + x)))
arccos = acos = differentiate(np.arccos, x=lambda g, out, x: -g / np.sqrt((1 - x) * (1 + x)))
arctan = atan = differentiate(np.arctan, x=lambda g, out, x: g / np.hypot(1, x) / np.hypot(1, x))

sinh = differentiate(np.sinh, x=lambda g, out, x: g * np.cosh(x))
cosh = differentiate(np.cosh, x=lambda g, out, x: g * np.sinh(x))
tanh = differentiate(np.tanh, x=lambda g, out, x: g * (1 - out * out))

arcsinh = asinh = differentiate(np.arcsinh, x=lambda g, out, x: g / np.hypot(1, x))
arccosh = acosh = differentiate(np.arccosh, x=lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
arctanh = atanh = differentiate(np.arctanh, x=lambda g, out, x: g / ((1 - x) * (1 + x)))

deg2rad = differentiate(np.deg2rad, x=lambda g, out, x: np.deg2rad(g))
rad2deg = differentiate(np.rad2deg, x=lambda g, out, x: np.rad2deg(g))
radians = differentiate(np.radians, x=lambda g, out, x: np.radians(g))
degrees = differentiate(np.degrees, x=lambda g, out, x: np.degrees(g))


def _cosine(x: Array, out: Array) -> Array:
    """x / out; 0 where out is 0, with its derivatives."""
    return np.where(out == 0, 0, x) / np.where(out == 0, 1, out)


hypot = differentiate(
    np.hypot, x=lambda g, out, x, y: g * _cosine(x, out), y=lambda g, out, x, y: g * _cosine(y, out)
)
arctan2 = atan2 = differentiate(
    np.arctan2,
    y=lambda g, out, y, x: g * (x / np.hypot(x, y)) / np.hypot(x, y),
    x=lambda g, out, y, x: -g * (y / np.hypot(x, y)) / np.hypot(x, y),
)

# The derivative of sin(pi x) / (pi x) = 1 - (pi x)^2 / 3! + ... is x times a series in x^2, highest first.
_SERIES = [2 * k * (-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(16, 0, -1)]


def _sinc_slope(x: Array) -> Array:
    """(cos(pi x) - sinc(x)) / x; near 0, where that cancels, by the series, in all derivatives."""
    near = np.abs(x) < 0.5
    z, far = np.where(near, x, 0), np.where(near, 1, x)
    series = 0 * z
    for coefficient in _SERIES:
        series = series * (z * z) + coefficient
    return np.where(near, z * series, (np.cos(math.pi * far) - np.sinc(far)) / far)


sinc = differentiate(np.sinc, x=lambda g, out, x: g * _sinc_slope(x))
