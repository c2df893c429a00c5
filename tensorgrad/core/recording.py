"""Whether ops record, and the clock that orders what they record."""

from __future__ import annotations

import itertools
from contextlib import ContextDecorator
from contextvars import ContextVar, Token

# One clock for all tensors: a tensor's serial number is the tick at which it was made or last
# assigned. Hence an input is always older than what was made of it; where it is not, it was changed.
_clock = itertools.count(1)

_recording: ContextVar[bool] = ContextVar("tensorgrad_recording", default=True)


class no_grad(ContextDecorator):  # noqa: N801 - a verb in lower case, as NumPy's errstate is
    """Context manager and decorator: ops compute but do not record.

    The switch is a context variable, so it holds for this thread (or asyncio task) alone.

    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # as a decorator: a fresh one a call, so that threads share no tokens

    def __enter__(self) -> no_grad:
        self._tokens.append(_recording.set(False))
        return self

    def __exit__(self, *exc: object) -> None:
        _recording.reset(self._tokens.pop())
