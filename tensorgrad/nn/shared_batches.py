"""What layers compute of a batch that ranks share: of the rows that are here, as if all were here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.core import Array, Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import SharedRows, shared_rows

__all__ = ["count_values", "draw_rows", "find_statistics"]


def draw_rows(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray:
    """Numbers from 0 to 1 for a batch; or for the rows of it that are computed here, as if drawn for all."""
    shared = shared_rows.get()
    if shared is None:
        return generator.random(shape, np.float32)
    size = _repeats(shared, shape[0]) * math.prod(shape[1:])
    _skip(generator, shared.start * size)
    drawn = generator.random(shape, np.float32)
    _skip(generator, (shared.total - shared.stop) * size)
    return drawn


def _repeats(shared: SharedRows, length: int) -> int:
    """How often the first axis has each row: (N, T, C) may have become (N T, C)."""
    each, rest = divmod(length, shared.stop - shared.start)
    if rest:
        raise ValueError(
            f"expected the {shared.stop - shared.start} rows of a batch on the first axis, got {length}"
        )
    return each


def _skip(generator: np.random.Generator, count: int) -> None:
    """Let a generator go on as if it had drawn so many single numbers; NumPy's usual one need not draw them.

    A step of it gives 64 bits, of which a number takes 32 and leaves the others to the next.
    """
    bits: Any = generator.bit_generator
    if count > 2 and isinstance(bits, (np.random.PCG64, np.random.PCG64DXSM)):
        if bits.state["has_uint32"]:
            generator.random(1, np.float32)
            count -= 1
        bits.advance(count // 2)
        count %= 2
    generator.random(count, np.float32)


def count_values(x: Array) -> int:
    """How many values each channel, of the last axis, has in the whole batch."""
    shared, here = shared_rows.get(), int(x.size) // int(x.shape[-1])
    if shared is None or shared.add is None:
        return here
    rows = len(x)
    return shared.total * _repeats(shared, rows) * (here // rows)


def find_statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel over all axes but the last, of the whole batch."""
    axes, shared = tuple(range(x.ndim - 1)), shared_rows.get()
    if shared is None or shared.add is None:
        return ops.mean(x, axis=axes), ops.var(x, axis=axes)
    count, own = count_values(x), x if shared.counts else x[:0]
    mean = _add_up(ops.sum(own, axis=axes), add=shared.add) / count
    # Of the mean in it the variance does not depend: deviations sum to 0.
    deviations = own - (mean.data if isinstance(mean, Tensor) else mean)
    return mean, _add_up(ops.sum(deviations * deviations, axis=axes), add=shared.add) / count


def _add(x: NDArray, *, add: Callable[[NDArray], NDArray]) -> NDArray:
    return add(x)


_add_up: Op[Any] = Op(_add, "add up", elementwise=False, native=False)
_add_up.defvjp(x=lambda g, out, x, add: _add_up(g, add=add))
