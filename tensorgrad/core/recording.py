"""Whether ops record, the clock that orders what they record, and the line that called them."""

from __future__ import annotations

import inspect
import itertools
import linecache
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ContextDecorator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from tensorgrad.core.tensor import Array, Tensor

F = TypeVar("F", bound=Callable[..., Any])

# One clock for all tensors: a tensor's serial number is the tick at which it was made or last
# assigned. Hence an input is always older than what was made of it; where it is not, it was changed.
_clock = itertools.count(1)

# How many no_grad blocks this thread or task is inside of; ops record at 0.
_paused: ContextVar[int] = ContextVar("tensorgrad_paused", default=0)


# What carries out an op's call without Tensors in place of its forward, as ``lower(op, *args, **params)``: an
# exporter, to which the formulas so dictate their ops. It holds for this thread or task.
lowering: ContextVar[Callable[..., Any] | None] = ContextVar("tensorgrad_lowering", default=None)


class Watch(Protocol):
    """What is told of every op and every vjp: `detect_nan`, and the recorder of `backward_steps`."""

    def walking(self) -> AbstractContextManager[None]: ...
    def forward_again(self) -> AbstractContextManager[None]: ...
    def after_forward(self, node: Tensor, arrays: list[Array]) -> None: ...
    def after_vjp(self, node: Tensor, position: int, g: Array, gx: Array) -> None: ...


# The watch this thread or task is under.
_watch: ContextVar[Watch | None] = ContextVar("tensorgrad_watch", default=None)


class no_grad(ContextDecorator):  # noqa: N801 - a verb in lower case, as NumPy's errstate is
    """Context manager and decorator: ops compute but do not record.

    The switch is a context variable, so it holds for this thread (or asyncio task) alone.

    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    def __call__(self, f: F) -> F:
        if inspect.iscoroutinefunction(f) or inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f):
            raise TypeError(
                f"no_grad: {f.__name__} runs after it was called; put with tg.no_grad() inside it"
            )
        return super().__call__(f)

    def __enter__(self) -> no_grad:
        _paused.set(_paused.get() + 1)
        return self

    def __exit__(self, *exc: object) -> None:
        # Not below 0, should a generator that left its block open end it after the derivative it was in.
        _paused.set(max(_paused.get() - 1, 0))


def calling_line() -> str:
    """The line outside of tensorgrad that led to the op."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tensorgrad."):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line, frame.f_globals).strip()
    return f"{file}:{line}" + (f" ({source})" if source else "")
