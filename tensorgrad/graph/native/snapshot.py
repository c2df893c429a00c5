"""What a function reads besides its arguments, so that a change of it is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tensorgrad.core import Op, Tensor

DEPTH = 12  # of objects in one another
LARGEST = 1 << 16  # bytes of an array that is compared
#: What cannot change, or is read anew in each call.
STEADY = (str, bytes, int, float, type, ModuleType, Op, Tensor, np.random.Generator)


class Snapshot:
    """The values that a function can reach: through its closure, globals, defaults and attributes of objects.

    Tensors, and arrays that are operands, are read anew in each call of a compiled function and may change;
    everything else must be as it was.
    """

    def __init__(self, function: Any) -> None:
        self._holders: list[tuple[Any, tuple[Any, ...]]] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        self._look(function, DEPTH)

    def holds(self) -> bool:
        """Whether all is as it was."""
        arrays = (np.array_equal(x, copy, equal_nan=x.dtype.kind == "f") for x, copy in self._arrays)
        return all(map(_is_unchanged, self._holders)) and all(arrays)

    def _look(self, x: Any, depth: int) -> None:
        if id(x) in self._seen or not depth or isinstance(x, STEADY):
            return
        self._seen.add(id(x))
        if isinstance(x, np.ndarray):
            if x.nbytes <= LARGEST:
                self._arrays.append((x, x.copy()))
            return
        values = tuple(_read(x))
        if values:
            self._holders.append((x, values))
            for value in values:
                self._look(value, depth - 1)


def _is_unchanged(held: tuple[Any, tuple[Any, ...]]) -> bool:
    holder, before = held
    now = tuple(_read(holder))
    same = (a is b or (type(a) in (int, float, str) and a == b) for a, b in zip(now, before, strict=False))
    return len(now) == len(before) and all(same)


def _read(x: Any) -> Iterator[Any]:
    """What an object refers to, as far as a function's result can depend on it."""
    if isinstance(x, FunctionType):
        for cell in x.__closure__ or ():
            yield cell.cell_contents
        yield from x.__defaults__ or ()
        for name in _names_in(x.__code__):
            if name in x.__globals__:
                yield x.__globals__[name]
    elif isinstance(x, MethodType):
        yield x.__self__
        yield x.__func__
    elif isinstance(x, partial):
        yield from (x.func, *x.args, *x.keywords.values())
    elif isinstance(x, dict):
        yield from x.values()
    elif isinstance(x, (list, tuple)):
        yield from x
    elif hasattr(x, "__dict__"):
        yield from vars(x).values()


_names: dict[CodeType, tuple[str, ...]] = {}


def _names_in(code: CodeType) -> tuple[str, ...]:
    if code not in _names:
        inner = [c for c in code.co_consts if isinstance(c, CodeType)]
        _names[code] = tuple(dict.fromkeys([*code.co_names, *(n for c in inner for n in _names_in(c))]))
    return _names[code]
