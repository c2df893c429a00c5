"""What a function reads besides its arguments, so that a change of it is noticed."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from operator import is_
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray

COMPARED = 1 << 16  # elements of an array that are compared; of a larger one so many all over it
#: What cannot change, or is read anew in each call.
STEADY = (str, bytes, int, float, ModuleType, Tensor, np.random.Generator)

_plain: set[type] = set()  # libraries' classes whose objects are read by their attributes, as layers are


class Snapshot:
    """The values that a function can reach: through its closure, globals, defaults, attributes of objects,
    and the same of the methods of their classes.

    Tensors, and arrays that are operands, are read anew in each call of a compiled function and may change;
    everything else must be as it was. What libraries have in their modules and classes does not count.
    """

    def __init__(self, function: Any) -> None:
        self._holders: list[tuple[Any, tuple[Any, ...]]] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._tensors: dict[int, tuple[Tensor, int]] = {}
        seen: set[int] = set()
        waiting = [function]
        while waiting:
            x = waiting.pop()
            if id(x) in seen or isinstance(x, STEADY):
                continue
            seen.add(id(x))
            if isinstance(x, np.ndarray):
                self._arrays.append((x, _sample(x).copy()))
            elif values := tuple(_read(x)):
                self._holders.append((x, values))
                waiting += values

    def note(self, tensors: dict[int, tuple[Tensor, int]]) -> None:
        """Watch constant tensors, too, whose values have left the graph; with their serial numbers then."""
        self._tensors |= tensors

    def holds(self) -> bool:
        """Whether all is as it was."""
        arrays = (np.array_equal(_sample(x), y, equal_nan=x.dtype.kind == "f") for x, y in self._arrays)
        tensors = (tensor.serial == serial for tensor, serial in self._tensors.values())
        return all(map(_is_unchanged, self._holders)) and all(arrays) and all(tensors)


def _sample(x: NDArray) -> NDArray:
    """An array, or of a large one elements all over it."""
    return x if x.size <= COMPARED else x.flat[:: -(-x.size // COMPARED)]


@cache
def _is_library(module: str | None) -> bool:
    """Whether a module is Python's, tensorgrad's or one that was installed."""
    top = str(module).partition(".")[0]
    file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    return top == "tensorgrad" or top in sys.stdlib_module_names or "site-packages" in file


def _is_unchanged(held: tuple[Any, tuple[Any, ...]]) -> bool:
    holder, before = held
    now = tuple(vars(holder).values() if type(holder) in _plain else _read(holder))
    if len(now) == len(before) and all(map(is_, now, before)):  # as nearly always, and soon told
        return True
    same = (
        a is b or (type(a) in (int, float, str, bytes) and a == b) for a, b in zip(now, before, strict=False)
    )
    return len(now) == len(before) and all(same)


def _read(x: Any) -> Iterator[Any]:
    """What an object refers to, as far as a function's result can depend on it."""
    if isinstance(x, FunctionType):
        yield from _read_function(x)
    elif isinstance(x, MethodType):
        yield from (x.__self__, x.__func__)
    elif isinstance(x, (staticmethod, classmethod)):
        yield x.__func__
    elif isinstance(x, property):
        yield x.fget
    elif hasattr(type(x), "begin_update") and _is_library(type(x).__module__):
        yield x.groups  # an optimizer's options; what it counts is no function's business
    elif hasattr(type(x), "make_step") and _is_library(type(x).__module__):
        yield x.function  # of which one has been compiled; the code is no function's business either
    elif isinstance(x, Op):
        yield from (x.forward, *x.vjps.values(), x.joint)
    elif isinstance(x, partial):
        yield from (x.func, *x.args, *x.keywords.values())
    elif isinstance(x, dict):
        yield from (*x, *x.values())
    elif isinstance(x, (list, tuple, set, frozenset, deque)):
        yield from x
    elif isinstance(x, (bytearray, memoryview, array)):
        yield bytes(x)
    elif isinstance(x, ContextVar):
        yield x.get(None)
    elif isinstance(x, type):
        if not _is_library(x.__module__):
            yield from (*x.__bases__, *vars(x).values())
    else:
        yield from _read_attributes(x)


def _read_function(x: FunctionType) -> Iterator[Any]:
    for cell in x.__closure__ or ():
        with suppress(ValueError):  # it is empty as yet
            yield cell.cell_contents
    yield from (*(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values(), *vars(x).values())
    if _is_library(x.__module__):
        return
    spaces, names = [x.__globals__], _names_in(x.__code__)
    for space in spaces:  # and of modules that are found what the code names in them
        for value in (space[name] for name in names if name in space):
            yield value
            if isinstance(value, ModuleType) and not _is_library(value.__name__):
                spaces += [vars(value)] * all(vars(value) is not other for other in spaces)


def _read_attributes(x: Any) -> Iterator[Any]:
    """Attributes of an object and, unless that is a library's, its class and what it has in slots."""
    if not _is_library(type(x).__module__):
        yield type(x)
        for slot in (value for cls in type(x).__mro__ for value in vars(cls).values()):
            if isinstance(slot, MemberDescriptorType):
                with suppress(AttributeError):  # it is empty as yet
                    yield slot.__get__(x)
    if hasattr(x, "__dict__"):
        if _is_library(type(x).__module__):
            _plain.add(type(x))
        yield from vars(x).values()


_names: dict[CodeType, tuple[str, ...]] = {}


def _names_in(code: CodeType) -> tuple[str, ...]:
    if code not in _names:
        inner = [c for c in code.co_consts if isinstance(c, CodeType)]
        _names[code] = tuple(dict.fromkeys([*code.co_names, *(n for c in inner for n in _names_in(c))]))
    return _names[code]
