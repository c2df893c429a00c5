"""The two tables that ops are entered in; everything that asks "which ops exist?" reads them here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorgrad.core.op import Op

#: Every differentiable op, by its name. The methods and operators of Tensor look their op up here,
#: which is why the engine can stay ignorant of the ops that are built on it.
OPS: dict[str, Op[Any]] = {}

#: What stands in for a NumPy function when one of its arguments is a Tensor.
NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}
