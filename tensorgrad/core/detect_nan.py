"""detect_nan: the first op that made a number infinite or NaN, and the line that called it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token
from typing import Any, NoReturn

import numpy as np

from tensorgrad.core.context import watching
from tensorgrad.core.engine import Tensor
from tensorgrad.core.operators import Array
from tensorgrad.core.refusals import calling_line

__all__ = ["detect_nan"]


class detect_nan:  # noqa: N801 - a verb in lower case, as no_grad is
    """Context manager: the first recorded op that gives infinity or NaN from finite numbers raises.

    In the backward pass, likewise, the first vjp. Where its cotangent is 0, the error says so and names the
    `where` that masked the branch: 0 times an infinite slope is NaN, though the branch was not taken. Forward
    and backward must both run inside. Ops run several times slower there.

    Raises
    ------
    FloatingPointError
        With the op, the range of its inputs, and the line that called it.

    >>> x = tg.Tensor([0.0, 4.0], requires_grad=True)
    >>> with tg.detect_nan():
    ...     y = np.where(x > 0, np.sqrt(x), 0.0)
    ...     y.sum().backward()
    Traceback (most recent call last):
    FloatingPointError: detect_nan: the vjp of sqrt for x gave nan at (0,), from a cotangent of 0 ...
    """

    def __init__(self) -> None:
        #: The result of the op that an error has named.
        self.found: Tensor | None = None
        self._in_walk = False
        self._blocks: list[tuple[Token[Any], np.errstate]] = []
        self._lines: dict[int, str] = {}  # of the ops, by the serial number of their result
        self._users: dict[int, list[Tensor]] = {}  # what gave each tensor a cotangent

    def __enter__(self) -> detect_nan:
        quiet = np.errstate(divide="ignore", over="ignore", invalid="ignore")  # it raises instead
        quiet.__enter__()
        self._blocks.append((watching.set(self), quiet))
        return self

    def __exit__(self, *exc: object) -> None:
        token, quiet = self._blocks.pop()
        watching.reset(token)
        quiet.__exit__(None, None, None)

    @contextmanager
    def walking(self) -> Iterator[None]:
        """While a walk goes on: look at what the formulas give, not at every op in them."""
        outer, self._in_walk = self._in_walk, True
        try:
            yield
        finally:
            self._in_walk = outer
            if not outer:
                self._users.clear()  # and let go of the graph

    @contextmanager
    def forward_again(self) -> Iterator[None]:
        """While a walk computes a part of the forward pass again."""
        outer, self._in_walk = self._in_walk, False
        try:
            yield
        finally:
            self._in_walk = outer

    def after_forward(self, node: Tensor, arrays: list[Array]) -> None:
        """Look at what an op has just computed."""
        if self._in_walk:
            return
        self._lines[node.serial] = calling_line()
        weakref.finalize(node, self._lines.pop, node.serial, None)
        if _is_finite(node.data) or not all(map(_is_finite, arrays)):
            return
        op = node.op
        assert op is not None
        self._refuse(f"{op.name} gave {_show_wrong(node.data)} ({_describe(op.arrays, arrays)})", node)

    def after_vjp(self, node: Tensor, position: int, g: Array, gx: Array) -> None:
        """Look at the cotangent that a vjp has just given to an input of ``node``."""
        x = node.inputs[position]
        self._users.setdefault(x.serial, []).append(node)
        g, gx = _take_array(g), _take_array(gx)
        arrays = [_take_array(y) for y in node.inputs]
        if _is_finite(gx) or not all(map(_is_finite, [g, _take_array(node), *arrays])):
            return
        op = node.op
        assert op is not None
        name = op.arrays[min(position, len(op.arrays) - 1)]
        message = f"the vjp of {op.name} for {name} gave {_show_wrong(gx)}"
        place = tuple(np.argwhere(~np.isfinite(gx))[0])
        masked = g.shape == gx.shape and g[place] == 0
        if masked:
            message += ", from a cotangent of 0 times an infinite slope"
        message += f" ({_describe(op.arrays, arrays)})"
        where = self._nearest_where(node) if masked else None
        if where is not None:
            line = self._lines.get(where.serial, "an unknown line")
            message += (
                f"; where, called at {line}, masked this branch: "
                f"give {op.name} a harmless argument there, by a where inside it too"
            )
        self._refuse(message, node)

    def _nearest_where(self, node: Tensor) -> Tensor | None:
        waiting = [node]
        for user in waiting:
            if user.op is not None and user.op.name == "where":
                return user
            waiting += [u for u in self._users.get(user.serial, ()) if all(u is not w for w in waiting)]
        return None

    def _refuse(self, message: str, node: Tensor) -> NoReturn:
        assert node.op is not None
        self.found = node
        line = self._lines.get(node.serial, "a line outside of detect_nan")
        raise FloatingPointError(f"detect_nan: {message}; {node.op.name} was called at {line}")


def _take_array(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _is_finite(x: Any) -> bool:
    return x is None or bool(np.isfinite(x).all())


def _show_wrong(x: Array) -> str:
    """The first number of ``x`` that is not finite, and its place."""
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
    return f"{x[place]} at {place}" if place else f"{x[()]}"


def _describe(names: tuple[str, ...], arrays: list[Any]) -> str:
    labels = [*names, *[names[-1]] * (len(arrays) - len(names))]
    return ", ".join(
        f"{name} {np.asarray(x).dtype} {np.shape(x)} from {np.min(x):.6g} to {np.max(x):.6g}"
        for name, x in zip(labels, arrays, strict=False)
        if x is not None and np.size(x)
    )
