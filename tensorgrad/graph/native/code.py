"""The text of a compiled program in C: lines, loops, and the elements that are in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.graph.native.plan import Buffer, UnwritableError, View, add

WIDTH = 110  # of a line, if it can be
#: Names of loop variables, for the axes of an array.
INDICES = "ijklmnopqrstuvw"


@cache
def read_template(name: str) -> str:
    """One of the C files beside this one."""
    return Path(__file__).with_name(f"{name}.c").read_text(encoding="utf-8")


class Code:
    """Lines of one function, and the buffers that they name."""

    def __init__(self, depth: int = 1) -> None:
        self.lines: list[str] = []
        self.buffers: dict[Buffer, None] = {}
        self._depth = depth

    def put(self, *lines: str) -> None:
        """Add lines."""
        self.lines += ["  " * self._depth + line for line in lines]

    def clear(self, to: Pointer) -> None:
        """Set all of a buffer to zero."""
        self.put(f"memset({to.name}, 0, {to.view.buffer.size} * sizeof *{to.name});")

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """What is put inside stands in braces after ``head``, or behind it if it is one line."""
        start = len(self.lines)
        self.put(f"{head} {{".lstrip())
        self._depth += 1
        yield
        self._depth -= 1
        inside = self.lines[start + 1 :]
        if not inside:
            del self.lines[start:]
            return
        if len(inside) == 1 and (not head or len(head + inside[0]) < WIDTH):
            self.lines[start:] = ["  " * self._depth + f"{head} {inside[0].lstrip()}".lstrip()]
        else:
            self.put("}")

    @contextmanager
    def loops(self, **ranges: int) -> Iterator[list[str]]:
        """What is put inside is repeated for every index of all ranges; the texts of the indices.

        A range of one is no loop, its index "0". Names inside are the block's own where there is no loop,
        too.
        """
        many = {name: length for name, length in ranges.items() if length != 1}
        with ExitStack() as stack:
            for head in [f"for (int {x} = 0; {x} < {n}; {x}++)" for x, n in many.items()] or [""]:
                stack.enter_context(self.block(head))
            yield [name if name in many else "0" for name in ranges]


@dataclass(frozen=True)
class Pointer:
    """A view under its name in a function."""

    name: str
    view: View

    def __getitem__(self, index: Sequence[str]) -> str:
        """The element of some indices, one for each axis."""
        return f"{self.name}[{self.view.at(index)}]"

    def at(self, *places: str | int) -> str:
        """The element at some place behind the view's first."""
        return f"{self.name}[{add(self.view.offset, *places)}]"

    def plus(self, *places: str | int) -> str:
        """A pointer to that element."""
        place = add(self.view.offset, *places)
        return self.name if place == "0" else f"{self.name} + {place}".replace("+ -", "- ")


class Term(str):
    """The text of an element, and what it is.

    Attributes
    ----------
    laned : bool
        Whether it is a vector, or the same for all lanes.
    kind : str
        "f", "i" or "b", as a value's.
    origin : Term, number or None
        What was converted to it; of a constant the number.
    """

    laned: bool
    kind: str
    origin: Any

    def __new__(cls, text: str, laned: bool, kind: str, origin: Any = None) -> Term:
        term = super().__new__(cls, text)
        term.laned, term.kind, term.origin = laned, kind, origin
        return term


class Words:
    """How an element of a result is written: of a dtype's program, in lanes or alone, of a kind."""

    def __init__(self, dtype: np.dtype[Any], laned: bool, kind: str) -> None:
        self.dtype, self.laned, self.kind = dtype, laned, kind

    def literal(self, x: Any) -> Term:
        """A Python or NumPy number, or an array of one."""
        x = np.asarray(x).item()
        if isinstance(x, bool):
            return Term("-1" if x else "0", False, "b", x)
        if isinstance(x, int):
            return Term(str(x) if x >= 0 else f"({x})", False, "i", x)
        return self.real(x)

    def real(self, x: float) -> Term:
        """A real number, as short as it can be written."""
        if math.isfinite(x):
            text = f"{self.dtype.type(x)!s}{'f' if self.dtype == np.float32 else ''}"
        else:
            text = "(real)NAN" if math.isnan(x) else f"{'-' if x < 0 else ''}(real)INFINITY"
        return Term(f"({text})" if text.startswith("-") else text, False, "f", x)

    def convert(self, term: Term, kind: str) -> Term:
        """A term as another kind of element."""
        if term.kind == kind:
            if (
                kind == "i"
                and isinstance(term.origin, int)
                and abs(term.origin) >> self.dtype.itemsize * 8 - 1
            ):
                raise UnwritableError(f"the number {term}, which has more bits than {self.dtype}")
            return term
        if isinstance(term.origin, Term):
            if term.origin.kind == "b":  # it keeps its two values in every kind
                return self.convert(term.origin, kind)
        elif kind == "f" and term.origin is not None:
            return self.real(float(term.origin))
        elif kind == "i" and isinstance(term.origin, bool):
            return self.literal(int(term.origin))
        minus = "-" if term.kind == "b" else ""
        if kind == "f":
            whole = (f"(-{term})" if term.laned else f"(0 - {term})") if minus else term  # no -0
            text = f"to_real({whole})" if term.laned else f"(real){whole}"
        elif kind == "b":
            text = f"{term} != 0" if term.laned else f"-({term} != 0)"
        else:
            text = f"-{term}" if minus else f"{'v' if term.laned else 's'}_to_whole({term})"
        return Term(f"({text})", term.laned, kind, term)

    def spread(self, term: Term) -> Term:
        """A term that is the same for all samples as a vector, if vectors are written."""
        if term.laned or not self.laned:
            return term
        return Term(f"{'all' if term.kind == 'f' else 'all_whole'}({term})", True, term.kind)

    def call(self, name: str, *terms: Any) -> str:
        """A function of the prelude, of real numbers."""
        reals = [self.convert(t if isinstance(t, Term) else self.literal(t), "f") for t in terms]
        return self.call_plainly(name, *reals)

    def call_plainly(self, name: str, *terms: Term) -> str:
        """A function of the prelude, of terms as they are."""
        return f"{'v' if self.laned else 's'}_{name}({', '.join(map(self.spread, terms))})"
