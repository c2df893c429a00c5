"""The steps of a program in NumPy: calls of functions, with the values that they had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Value = Any


class Step:
    """One call of a program: ``function(*args, **kwargs)``, with the value that it had.

    Attributes
    ----------
    function
        None for an argument of the program.
    section, owner
        The part of the program and the node of the graph that it belongs to.
    name, base
        Its name: fixed, or a word that may need a number.
    needs : tuple of Step
        Checks that come before it.
    """

    __slots__ = (
        "args", "base", "errors", "function", "kwargs", "name", "needs", "owner", "section", "serial",
        "value", "viewed",
    )  # fmt: skip

    def __init__(
        self, function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any], value: Value
    ) -> None:
        self.function, self.args, self.kwargs, self.value = function, args, kwargs, value
        self.section, self.owner = "", object()
        self.name: Any = None
        self.base: str | None = None
        self.needs: tuple[Step, ...] = ()
        self.errors: tuple[tuple[str, str], ...] = ()
        self.serial = 0
        self.viewed = False

    def sources(self) -> Iterator[Step]:
        """The steps that this one reads, and the checks before it."""
        yield from steps_in((self.args, tuple(self.kwargs.values())))
        yield from self.needs


def steps_in(x: Any) -> Iterator[Step]:
    """All steps in nested tuples, lists and slices."""
    if isinstance(x, Step):
        yield x
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from steps_in(item)
    elif isinstance(x, slice):
        yield from steps_in((x.start, x.stop, x.step))


class Method:
    """A method of ndarray, or with ``call=False`` an attribute, as a function of the array."""

    def __init__(self, name: str, call: bool = True) -> None:
        self.name, self.call = name, call

    def __call__(self, x: Value, *args: Any, **kwargs: Any) -> Value:
        found = getattr(x, self.name)
        return found(*args, **kwargs) if self.call else found


class Item:
    """The ``i``-th of several results."""

    def __init__(self, i: int) -> None:
        self.i = i

    def __call__(self, results: Any) -> Value:
        return results[self.i]


class Check:
    """That a condition on values still has the outcome that decided how the program was written."""

    def __init__(self, outcome: bool) -> None:
        self.outcome = outcome

    def __call__(self, condition: Value) -> bool:
        return bool(condition)


class Lines:
    """Some lines of code that set ``{out}`` from ``{0}``, ``{1}``, ..., and the function that they compute.

    ``{a1}`` is argument 1 as it stands among those of a call, ``{i1}`` as it stands in an index. ``helpers``
    are the sources of functions that the lines call.
    """

    def __init__(
        self, word: str, compute: Callable[..., Value], *lines: str, helpers: tuple[str, ...] = ()
    ) -> None:
        self.name, self.compute, self.lines, self.helpers = word, compute, lines, helpers

    def __call__(self, *args: Any) -> Value:
        return self.compute(*args)


class Set:
    """Assignment to elements of an array; as a function it gives the changed array."""

    def __call__(self, x: Value, index: Any, value: Value) -> Value:
        changed = x.copy(order="K")
        changed[index] = value
        return changed


SET = Set()


class Size(int):
    """A number of elements: divided by, it says so in the text rather than give an unexplained decimal."""

    def __rtruediv__(self, other: float) -> float:
        return Ratio(other, int(self)) if isinstance(other, int) else other / int(self)


class Ratio(float):
    """A quotient of integers that remembers them."""

    text: str

    def __new__(cls, above: int, below: int) -> Ratio:
        new = super().__new__(cls, above / below)
        new.text = f"({above} / {below})"
        return new
