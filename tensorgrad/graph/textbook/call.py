"""A call of an op, of which a line tells the vjp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tensorgrad.core import Op
from tensorgrad.core.checks import NDArray


@dataclass(frozen=True)
class Call:
    """A call of an op, whose cotangent for the argument ``i`` is told."""

    op: Op[...]
    i: int
    g: NDArray
    out: NDArray
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]


#: A line, or what writes it for a call; None leaves it to the source.
Line: TypeAlias = str | Callable[[Call], str | None]
