"""The last step of normalising layers. Their statistics are `mean` and `var`."""

from __future__ import annotations

import numpy as np

from tensorgrad.core import Array, op, sum_to


@op(elementwise=True)
def normalize(x: Array, mean: Array, gain: Array, shift: Array) -> Array:
    """(x - mean) gain + shift, broadcast.

    With the mean of x and the gain scale / sqrt(variance + eps) this is batch or layer normalisation.

    >>> tg.normalize(np.array([1.0, 3.0]), 2.0, 10.0, 0.5)
    array([-9.5, 10.5])
    """
    return (x - mean) * gain + shift


def _mean_vjp(g: Array, out: Array, x: Array, mean: Array, gain: Array, shift: Array) -> Array:
    if np.shape(gain) != np.shape(mean):
        return -g * gain
    return -gain * sum_to(g, shape=np.shape(mean))  # summed first, it is small


normalize.defvjp(
    x=lambda g, out, x, mean, gain, shift: g * gain,
    mean=_mean_vjp,
    gain=lambda g, out, x, mean, gain, shift: g * (x - mean),
    shift=lambda g, out, x, mean, gain, shift: g,
)
