"""Samples: calls of ops at points where these are smooth, and ways to draw their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

__all__ = ["Sample"]

Draw: TypeAlias = Callable[[Generator], Any]
Draws: TypeAlias = Callable[[Generator], tuple[Any, ...]]


@dataclass(frozen=True)
class Sample:
    """One call of an op, at a point where it is smooth.

    Attributes
    ----------
    label : str
        What is special about the call.
    args : callable
        Draws the positional arguments, in float64.
    params : mapping
        The keyword arguments.
    dtype : str, optional
        The result's dtype, where it is not that of the arguments.

    >>> from tensorgrad.audit import SAMPLES
    >>> args = SAMPLES["matmul"][0].args(np.random.default_rng(0))
    >>> [x.shape for x in args]
    [(2, 3), (3, 4)]
    """

    label: str
    args: Draws
    params: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None


def normal(*shape: int) -> Draw:
    """Anywhere on the line."""
    return lambda rng: np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> Draw:
    """Between 0.5 and 2."""
    return lambda rng: np.asarray(rng.uniform(0.5, 2, shape))


def nonzero(*shape: int) -> Draw:
    """Of either sign, between 0.5 and 2 in size."""
    return lambda rng: np.asarray(rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape))


def mask(*shape: int) -> Draw:
    """Booleans."""
    return lambda rng: rng.random(shape) < 0.5


def of(*draws: Any) -> Draws:
    """The arguments drawn one by one; what is not callable stands for itself."""
    return lambda rng: tuple(draw(rng) if callable(draw) else draw for draw in draws)


def apart(*shapes: tuple[int, ...]) -> Draws:
    """Arguments no two elements of which are close, so that no maximum is about to change hands.

    >>> x, y = apart((2,), (1,))(np.random.default_rng(0))
    >>> np.sort(np.concatenate([x, y]))
    array([-1.,  0.,  1.])
    """
    sizes = [int(np.prod(shape)) for shape in shapes]

    def draw(rng: Generator) -> tuple[Any, ...]:
        values = rng.permutation(np.linspace(-1, 1, sum(sizes)))
        parts = np.split(values, np.cumsum(sizes)[:-1])
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    return draw


def unary(draw: Callable[..., Draw]) -> tuple[Sample, ...]:
    return Sample("2d", of(draw(2, 3))), Sample("0d", of(draw())), Sample("4d", of(draw(1, 2, 1, 2)))


def binary(x: Callable[..., Draw], y: Callable[..., Draw]) -> tuple[Sample, ...]:
    return (
        Sample("same shape", of(x(2, 3), y(2, 3))),
        Sample("0d", of(x(), y())),
        Sample("both broadcast", of(x(3, 1), y(4))),
        Sample("left of lower rank", of(x(3), y(2, 2, 3))),
        Sample("right of lower rank", of(x(2, 1, 3), y(1, 3))),
        Sample("scalar on the left", of(1.5, y(3))),
        Sample("scalar on the right", of(x(3), 1.5)),
    )


def reduction(draw: Callable[..., Draws]) -> tuple[Sample, ...]:
    return (
        Sample("all", draw((2, 3))),
        Sample("0d", draw(())),
        Sample("first axis", draw((2, 3)), {"axis": 0}),
        Sample("last axis, kept", draw((2, 3)), {"axis": -1, "keepdims": True}),
        Sample("two axes", draw((2, 3, 2)), {"axis": (0, -1)}),
        Sample("two axes, kept", draw((2, 3, 2)), {"axis": (2, 1), "keepdims": True}),
        Sample("all, kept", draw((2, 3)), {"keepdims": True}),
        Sample("no axes", draw((2, 3)), {"axis": ()}),
    )


def normals(*shapes: tuple[int, ...]) -> Draws:
    return of(*(normal(*shape) for shape in shapes))


def is_floating(x: Any) -> bool:
    """Whether ``x`` is a floating array."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
