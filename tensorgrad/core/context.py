"""What holds for a thread or task alone: whether ops record, who listens to them or does their work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeVar

from tensorgrad.core.checks import NDArray
from tensorgrad.core.operators import Array

__all__ = ["no_grad"]

F = TypeVar("F", bound=Callable[..., Any])

#: How many `no_grad` blocks this thread or task is inside of; ops record at 0.
paused: ContextVar[int] = ContextVar("tensorgrad_paused", default=0)


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
        paused.set(paused.get() + 1)
        return self

    def __exit__(self, *exc: object) -> None:
        # Not below 0, should a generator that left its block open end it after the derivative it was in.
        paused.set(max(paused.get() - 1, 0))


# Who looks on, and who carries ops out in place of the engine: at first reading, skip this


class Call(NamedTuple):
    """A call that ended in a tensor: of a layer, or of one formula of an op. Drawings frame what it made.

    Attributes
    ----------
    start : int
        The serial number before it: what it made is younger.
    maker : weakref.ref or Op
        The layer, or the op.
    label : str or int
        The name of the layer's class, or the position of the argument whose formula it was.
    given : Tensor or tuple
        The tensor that the layer was given, or several, and of arrays weak references, shapes and dtypes; or
        weak references to the op's result and argument.
    """

    start: int
    maker: Any
    label: Any
    given: Any


class Watch(Protocol):
    """What is told of every op and every vjp: `detect_nan`, and the recorder of `backward_steps`."""

    def walking(self) -> AbstractContextManager[None]: ...
    def forward_again(self) -> AbstractContextManager[None]: ...
    def after_forward(self, node: Any, arrays: list[Array]) -> None: ...
    def after_vjp(self, node: Any, position: int, g: Array, gx: Array) -> None: ...


class Recorder(Protocol):
    """What records a function for a compiler.

    Then ops record all that they are given, also what needs no gradient, truth values and integers; and no
    values leave the graph unseen. ``checks`` says whether later calls can refuse what layers refuse.
    """

    checks: bool

    def call(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any: ...
    def decide(self, condition: Any) -> bool: ...
    def draw(self, make: Callable[[], NDArray]) -> Any: ...
    def report(self, values: tuple[Any, ...], take: Callable[..., None]) -> None: ...
    def refuse(self, tensor: Any, what: str) -> None: ...
    def forbid(self, what: str) -> None: ...


#: The watch this thread or task is under.
watching: ContextVar[Watch | None] = ContextVar("tensorgrad_watch", default=None)

#: The recorder that this thread or task works for.
tracing: ContextVar[Recorder | None] = ContextVar("tensorgrad_tracing", default=None)

#: The recorders at work in all threads; empty but while one is, so that ordinary calls do not pay for it.
recorders: list[Recorder] = []

# The engine asks with every op; a method bound here is found faster than by way of a name that is imported.
count_pauses, find_watch, find_recorder = paused.get, watching.get, tracing.get


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Let a recorder find all ops of the block in the graph."""
    recorders.append(recorder)
    token = tracing.set(recorder)
    try:
        yield
    finally:
        tracing.reset(token)
        recorders.pop()


def forbid(what: str, tensor: Any = None) -> None:
    """Tell a recorder, if one is at work, of what a function does beside its result."""
    if (recorder := find_recorder()) is not None:
        recorder.forbid(what if tensor is None else f"{what} {tensor.label()}")


@contextmanager
def unrecorded() -> Iterator[None]:
    """Let values be read that do not leave the graph, or that an error tells."""
    token = tracing.set(None)
    try:
        yield
    finally:
        tracing.reset(token)


#: Whether layers compute as at inference in this thread or task, whatever their own modes are: what was
#: recorded in one is not what the other would do.
inferring: ContextVar[bool] = ContextVar("tensorgrad_inferring", default=False)


class SharedRows(NamedTuple):
    """Which rows of a batch are computed here, where ranks share it.

    Attributes
    ----------
    start, stop, total : int
        The first, the end, and how many the batch has.
    counts : bool
        Whether they are part of the batch: a rank for which none is left computes one that is not.
    add : function (array) -> array, or None
        The sum over all ranks.
    """

    start: int
    stop: int
    total: int
    counts: bool = True
    add: Callable[[NDArray], NDArray] | None = None


#: Of this thread or task. What layers draw and measure then does not depend on how a batch is shared.
shared_rows: ContextVar[SharedRows | None] = ContextVar("tensorgrad_shared_rows", default=None)

#: What carries out the ops that a thread (by its number) calls without Tensors, in place of their forwards,
#: as ``lower(op, *args, **params)``: an exporter, to which formulas so dictate their ops. It is empty but
#: while one is at work, so that ordinary calls do not pay for it.
lowering: dict[int, Callable[..., Any]] = {}
