"""What an argument must be: an integer, a pair, a number in a range, a file. One wording for everybody.

Each check takes who asks (``""`` for nobody), the argument's name and its value. It gives the value as plain
Python, which promotes no float32, or raises and says what was expected and what came.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

import numpy as np

#: A NumPy array of any shape and dtype.
NDArray: TypeAlias = np.ndarray[Any, Any]


def is_integer(value: object) -> bool:
    """Whether ``value`` is an integer, Python's or NumPy's, and no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number, Python's or NumPy's, and no bool."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def integer(owner: str, name: str, value: Any, least: int | None = None) -> int:
    """An integer, of at least ``least``; TypeError or ValueError otherwise."""
    if not is_integer(value):
        raise TypeError(f"{_at(owner)}expected {name} to be an integer, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{_at(owner)}expected {name} to be at least {least}, got {value!r}")
    return int(value)


def positive_integer(owner: str, name: str, value: Any) -> int:
    """A count from 1 up; ValueError otherwise."""
    if not is_integer(value) or value < 1:
        raise ValueError(f"{_at(owner)}expected {name} to be a positive integer, got {value!r}")
    return int(value)


def pair(owner: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Two integers from ``least`` up, or one that stands for both; TypeError or ValueError otherwise."""
    if type(value) is int and value >= least:  # nearly always
        return value, value
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(map(is_integer, values)):
        raise TypeError(f"{_at(owner)}expected {name} to be an integer or a pair of them, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{_at(owner)}expected {name} to be at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def flag(owner: str, name: str, value: Any) -> bool:
    """True or False; TypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{_at(owner)}expected {name} to be True or False, got {value!r}")
    return bool(value)


def positive(owner: str, name: str, value: Any) -> float:
    """A finite number above 0; TypeError or ValueError otherwise."""
    return _number(owner, name, value, "finite and above 0", lambda x: 0 < x < np.inf)


def nonnegative(owner: str, name: str, value: Any) -> float:
    """A finite number of at least 0; TypeError or ValueError otherwise."""
    return _number(owner, name, value, "finite and at least 0", lambda x: 0 <= x < np.inf)


def fraction(owner: str, name: str, value: Any) -> float:
    """A number of at least 0 and below 1; TypeError or ValueError otherwise."""
    return _number(owner, name, value, "at least 0 and below 1", lambda x: 0 <= x < 1)


def between(owner: str, name: str, value: Any, low: float, high: float) -> float:
    """A number from ``low`` to ``high``; ValueError otherwise."""
    if not is_number(value) or not low <= value <= high:
        raise ValueError(f"{_at(owner)}expected {name} from {low} to {high}, got {value!r}")
    return float(value)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, opened to be read; OSError otherwise: a pipe or a device might never end."""
    _require_regular(path)
    return open(path, "rb")


def write_file(path: str | os.PathLike[str], contents: bytes) -> None:
    """Write a regular file; OSError if there is something else: a pipe would wait for who reads it."""
    if os.path.exists(path):
        _require_regular(path)
    with open(path, "wb") as file:
        file.write(contents)


def _require_regular(path: str | os.PathLike[str]) -> None:
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # for a folder, open has words of its own
        raise OSError(errno.EINVAL, "expected a regular file, got a pipe or a device", os.fspath(path))


def _number(owner: str, name: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> float:
    if isinstance(value, bool) or np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
        raise TypeError(f"{_at(owner)}expected {name} to be a number, got {value!r}")
    number = float(value)
    if not fits(number):
        raise ValueError(f"{_at(owner)}expected {name} to be {wanted}, got {value}")
    return number


def _at(owner: str) -> str:
    return f"{owner}: " if owner else ""
