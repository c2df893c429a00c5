"""Changing large arrays in place: in parts that fit the cache, and to the end whatever the numbers do."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Tensor

Floats: TypeAlias = np.ndarray[Any, Any]
#: Two arrays to compute in, for ufuncs' ``out``; or None twice, for ufuncs to make their own.
Scratch: TypeAlias = tuple[Floats | None, Floats | None]

# Larger arrays are gone through in parts of so many bytes, which stay in a core's cache from one operation of
# a formula to the next: steps over 4 MB took a half (plain) and two thirds (momentum) of the time that way,
# and less than with parts of a quarter or of twice the size.
_PART_BYTES = 1 << 20

_TROUBLES = ((2, "over", "overflow"), (8, "invalid", "invalid value"), (1, "divide", "division by zero"))


def owned(p: Tensor) -> Floats:
    """The array of a leaf, made its own alone if someone else can see it, and counted as changed."""
    return p.own()


def in_parts(
    x: Floats, g: Floats, slots: list[Floats]
) -> Iterable[tuple[Floats, Floats, list[Floats], Scratch]]:
    """The arrays and scratch arrays, in parts that fit the cache where memory is laid out in one row."""
    if x.nbytes <= _PART_BYTES or not all(array.flags.c_contiguous for array in (x, *slots)):
        return ((x, g, slots, (None, None)),)
    return _large_parts(x.reshape(-1), g.reshape(-1), [slot.reshape(-1) for slot in slots])


def _large_parts(
    x: Floats, g: Floats, slots: list[Floats]
) -> Iterator[tuple[Floats, Floats, list[Floats], Scratch]]:
    length = _PART_BYTES // x.itemsize
    first, second = np.empty(length, x.dtype), np.empty(length, x.dtype)
    for i in range(0, x.size, length):
        rows = slice(i, min(i + length, x.size))
        size = rows.stop - i
        yield x[rows], g[rows], [slot[rows] for slot in slots], (first[:size], second[:size])


@contextmanager
def reporting_at_the_end(what: str) -> Iterator[None]:
    """Context manager: overflows and the like are reported as ``np.errstate`` says, but at its end.

    ``what`` is the rest of the message.
    """
    found: list[int] = []
    note = lambda message, flag: found.append(flag)
    with np.errstate(over="call", invalid="call", divide="call", under="ignore", call=note):
        yield
    settings = dict(np.geterr())
    for flag, kind, text in _TROUBLES:
        if flag not in found or settings[kind] == "ignore":
            continue
        if settings[kind] == "raise":
            raise FloatingPointError(f"{text} in {what}")
        warnings.warn(f"{text} in {what}", RuntimeWarning, stacklevel=4)
