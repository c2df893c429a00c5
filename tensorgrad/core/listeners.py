"""Who listens to the engine, or carries ops out in its place. At first reading, skip this file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol

from tensorgrad.core.checks import NDArray
from tensorgrad.core.operators import Array


class Watch(Protocol):
    """What is told of every op and every vjp: `detect_nan`, and the recorder of `backward_steps`."""

    def walking(self) -> AbstractContextManager[None]: ...
    def forward_again(self) -> AbstractContextManager[None]: ...
    def after_forward(self, node: Any, arrays: list[Array]) -> None: ...
    def after_vjp(self, node: Any, position: int, g: Array, gx: Array) -> None: ...


class Recorder(Protocol):
    """What records a function for a compiler.

    Then ops record all that they are given, also what needs no gradient, truth values and integers; and no
    values leave the graph unseen.
    """

    def decide(self, condition: Any) -> bool: ...
    def draw(self, make: Callable[[], NDArray]) -> Any: ...
    def report(self, values: tuple[Any, ...], take: Callable[..., None]) -> None: ...
    def refuse(self, tensor: Any, what: str) -> None: ...


#: The watch this thread or task is under.
watching: ContextVar[Watch | None] = ContextVar("tensorgrad_watch", default=None)

#: The recorder that this thread or task works for.
tracing: ContextVar[Recorder | None] = ContextVar("tensorgrad_tracing", default=None)

#: Whether layers compute as at inference in this thread or task, whatever their own modes are: what was
#: recorded in one is not what the other would do.
inferring: ContextVar[bool] = ContextVar("tensorgrad_inferring", default=False)

#: What carries out the ops that a thread (by its number) calls without Tensors, in place of their forwards,
#: as ``lower(op, *args, **params)``: an exporter, to which formulas so dictate their ops. It is empty but
#: while one is at work, so that ordinary calls do not pay for it.
lowering: dict[int, Callable[..., Any]] = {}
