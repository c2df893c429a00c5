"""Elementwise ops. Arguments broadcast; the engine sums the cotangents back to the arguments' shapes."""

from __future__ import annotations

import numpy as np

from tensorgrad.core import Array, differentiate, op

add = differentiate(np.add, x=lambda g, out, x, y: g, y=lambda g, out, x, y: g)
subtract = differentiate(np.subtract, x=lambda g, out, x, y: g, y=lambda g, out, x, y: -g)
multiply = differentiate(np.multiply, x=lambda g, out, x, y: g * y, y=lambda g, out, x, y: g * x)
divide = differentiate(np.divide, x=lambda g, out, x, y: g / y, y=lambda g, out, x, y: -g * out / y)
negative = differentiate(np.negative, x=lambda g, out, x: -g)

exp = differentiate(np.exp, x=lambda g, out, x: g * out)
log = differentiate(np.log, x=lambda g, out, x: g / x)
sqrt = differentiate(np.sqrt, x=lambda g, out, x: 0.5 * g / out)
tanh = differentiate(np.tanh, x=lambda g, out, x: g * (1 - out * out))


def _lowered(y: Array) -> Array:
    """The exponent y - 1; 1 where y is 0, since d/dx x^0 = 0 x is 0 even at x = 0, where 0 x^-1 is not."""
    if isinstance(y, (int, float)):  # kept a Python scalar, which promotes nothing
        return y - 1 if y else 1
    return np.where(y == 0, 1, y - 1)


def _log_of_base(x: Array) -> Array:
    """log x; 0 where x is 0, since d/dy 0^y is 0 for y > 0, where 0^y log 0 is not."""
    if isinstance(x, (int, float)):
        return float(np.log(x)) if x else 0.0
    return np.log(np.where(x == 0, 1, x))


power = differentiate(
    np.power,
    x=lambda g, out, x, y: g * y * x ** _lowered(y),
    y=lambda g, out, x, y: g * out * _log_of_base(x),
)

# Equal arguments share the gradient equally, a subgradient. A NaN lets it pass to both, and so shows.
maximum = differentiate(
    np.maximum,
    x=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(x < y, 0, g)),
    y=lambda g, out, x, y: np.where(x == y, 0.5 * g, np.where(y < x, 0, g)),
)


@op(elementwise=True, numpy=np.where)
def where(condition: Array, x: Array, y: Array) -> Array:
    """``x`` where the condition holds, ``y`` elsewhere; see `numpy.where`. No gradient to the condition.

    >>> tg.where(np.array([True, False]), 1.0, np.array([2.0, 3.0]))
    array([1., 3.])
    """
    return np.where(condition, x, y)


where.defvjp(
    condition=None,
    x=lambda g, out, condition, x, y: np.where(condition, g, 0),
    y=lambda g, out, condition, x, y: np.where(condition, 0, g),
)


@op(elementwise=True)
def sigmoid(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x)), in the tanh form that never overflows.

    >>> tg.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    out = np.tanh(0.5 * x)
    if isinstance(out, np.ndarray):  # its own array: no more temporaries
        out *= 0.5
        out += 0.5
        return out
    return 0.5 * out + 0.5


sigmoid.defvjp(x=lambda g, out, x: g * out * (1 - out))


@op(elementwise=True)
def relu(x: Array) -> Array:
    """Rectified linear unit max(x, 0); its derivative at 0 is taken to be 0.

    >>> tg.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.maximum(x, 0)


relu.defvjp(x=lambda g, out, x: np.where(x <= 0, 0, g))


@op
def astype(x: Array, *, dtype: np.dtype[np.floating] | type[np.floating] | str) -> Array:
    """``x`` cast to another floating dtype; the cotangent is cast back.

    >>> tg.astype(np.array([0.5]), dtype="float32")
    array([0.5], dtype=float32)
    """
    return np.asarray(x).astype(dtype)


astype.defvjp(x=lambda g, out, x, dtype: astype(g, dtype=x.dtype))
