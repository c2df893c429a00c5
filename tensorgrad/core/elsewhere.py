"""What other libraries call things: who types a name of theirs, or misspells ours, is told what to write.

The names stand in ``elsewhere.txt``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = [
    "TABLES", "Elsewhere", "Explained", "advise_keyword", "advise_name", "advise_value", "choose",
    "explained", "find_name", "tell_names",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _read(path: str) -> dict[str, dict[str, str]]:
    """The tables of a file by their titles: name -> what to write."""
    tables: dict[str, dict[str, str]] = {}
    with open(path, encoding="utf-8") as file:
        sections = file.read().split("\n[")[1:]
    for section in sections:
        title, *lines = section.splitlines()
        pairs = (line.split(": ", 1) for line in lines if line)
        tables[title[:-1]] = {name: advice for names, advice in pairs for name in names.split(", ")}
    return tables


TABLES = _read(__file__.rpartition(".")[0] + ".txt")  # pathlib would take longer than all the rest

#: NumPy's functions that make arrays.
_MAKERS = ("arange", "array", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")


def find_name(name: str, known: Iterable[str]) -> str | None:
    """What is meant by a misspelt name: it is another in capitals and underscores, or in a letter or two."""
    known = list(known)
    if name in known:
        return name
    plain = {each.replace("_", "").lower(): each for each in known}
    close = get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else None


def _say(advice: str) -> str:
    """What to write as the end of a sentence."""
    return f"did you mean {advice[6:]}?" if advice.startswith("write ") else advice


def advise_name(name: str, known: Iterable[str]) -> str:
    """What to write for a name that the package has not, as the end of a sentence; empty if nobody knows."""
    if name.startswith("_"):
        return ""
    advice = TABLES["package"].get(name)
    if advice is None and hasattr(np, name):
        advice = f"write tg.Tensor(np.{name}(...))" if name in _MAKERS else f"NumPy has np.{name}"
    advice = advice or find_name(name, known) or ""
    return f"; {_say(f'write tg.{advice}' if advice.isidentifier() else advice)}" if advice else ""


def advise_keyword(name: str, known: Iterable[str]) -> str:
    """What to write for a keyword argument that a function has not."""
    known = list(known)
    advice = TABLES["keywords"].get(name, "")
    meant = [each for each in advice.split(", ") if each in known]
    if advice and not meant and " " in advice.replace(", ", ","):
        return advice
    found = meant[0] if meant else find_name(name, known)
    return f"did you mean {found}?" if found else f"it takes {', '.join(known) or 'none'}"


def advise_value(name: str, known: Iterable[str]) -> str:
    """What to write for one of several names, as the end of a sentence; empty if nobody knows."""
    known = list(known)
    advice = TABLES["values"].get(name) or TABLES["package"].get(name, "")
    meant = next((each for each in advice.split(", ") if each in known), None) or find_name(name, known)
    return "" if meant is None else f"; did you mean {meant!r}?"


def choose(what: str, value: Any, table: Mapping[str, T], others: str = "") -> T:
    """The entry of a table by its name; ValueError with all names, and the one that may be meant."""
    if isinstance(value, str) and value in table:
        return table[value]
    name = getattr(value, "__name__", value)
    advice = advise_value(name, table) if isinstance(name, str) else ""
    raise ValueError(f"{what} to be one of {', '.join(table)}{others}, got {value!r}{advice}")


class Elsewhere:
    """An attribute that other libraries have: reading it raises an AttributeError that says what to write.

    It is no data descriptor, so that an attribute of the same name can be assigned.
    """

    def __init__(self, name: str, advice: str) -> None:
        self._name, self._advice = name, _say(advice)

    def __get__(self, instance: object, owner: type) -> Any:
        # With obj=None Python itself adds no other suggestion.
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}; {self._advice}",
            name=self._name,
            obj=None,
        )


def tell_names(cls: type, table: Mapping[str, str]) -> None:
    """Let a class say what to write for the names of a table, but for those that it has."""
    for name, advice in table.items():
        if not hasattr(cls, name):
            setattr(cls, name, Elsewhere(name, advice))


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """A function or method whose TypeError about its own arguments says what it takes."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except TypeError:
            problem = _find_misfit(function, args, options)
            if problem is None:
                raise
            raise TypeError(problem) from None

    return call


def _find_misfit(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of a call, if it is their number or their names."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions in C
        return None
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        problem = str(error)
    else:
        return None
    name = function.__name__
    if "." in function.__qualname__ and args:  # a method
        name = f"{type(args[0]).__name__}.{name}".removesuffix(".__init__")
    known = {key: p.replace(annotation=p.empty) for key, p in signature.parameters.items() if key != "self"}
    unknown = [each for each in options if each not in signature.parameters]
    if unknown:
        told = [f"unexpected keyword argument {each!r}; {advise_keyword(each, known)}" for each in unknown]
        return f"{name}: {'; '.join(told)}"
    return f"{name}: {problem}; it takes {inspect.Signature([*known.values()])}"


class Explained:
    """Base of classes whose constructors say what they take, and those of all subclasses."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = explained(vars(cls)["__init__"])  # type: ignore[method-assign]  # the same
