"""Which steps a program needs, what each is called, and which of them get lines of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.expressions import (
    ATOM,
    SMALL,
    WIDTH,
    Text,
    UnwritableError,
    write_array,
    write_call,
)
from tensorgrad.graph.export.names import CONSTANT, RESERVED, word_for
from tensorgrad.graph.export.trace import Check, Item, Lines, Method, SetItem, Step


class Program:
    """A function of the steps that lead to some results.

    Parameters
    ----------
    steps : list of Step
        All steps in order, those that nobody needs among them.
    results : list of Step
        What the function returns.
    named : list of Step
        Steps that need names even if they get no line, since other names are made of theirs.
    reserved : list of str
        Names that are taken.

    Attributes
    ----------
    live : list of Step
        The steps that the results are made of, in order, after arrays too large to be written out.
    arguments : list of Step
        Those that are arguments of the function.
    uses : Counter
        How often each is read.
    names : dict
        What those are called that are arguments, have lines of their own, or lend their names to others.
    lines : set of Step
        Those with lines of their own: all others are written inside the one line that reads them.
    items : dict of lists
        Of each step with several results, the steps that take one of them.
    """

    def __init__(
        self, steps: list[Step], results: list[Step], named: Iterable[Step], reserved: Iterable[str]
    ) -> None:
        self._results = results
        self._constants: dict[bytes, Step] = {}
        self.live = self._find_needed(steps)
        self.uses = Counter(source for step in self.live for source in step.arguments()) + Counter(results)
        self.arguments = [step for step in self.live if step.function is None]
        self.items: dict[Step, list[Step]] = {step: [] for step in self.live if has_several(step)}
        for step in self.live:
            if isinstance(step.function, Item):
                self.items[step.args[0]].append(step)
        self.names: dict[Step, str] = {}
        functions = re.findall(r"^def (\w+)", "\n".join(self.helpers()), re.MULTILINE)
        self._taken = {"gradients", *functions, *reserved, *RESERVED}
        self._name([*self.arguments, *named])
        self._name([step for step in self.live if step.name is not None])
        self.lines = self._choose_lines()
        self._name([step for step in self.live if step in self.lines])

    def helpers(self) -> list[str]:
        """The sources of the functions that lines call, each once."""
        functions = [step.function for step in self.live]
        return list(dict.fromkeys(h for f in functions if isinstance(f, Lines) for h in f.helpers))

    def _find_needed(self, steps: list[Step]) -> list[Step]:
        needed: set[Step] = set()
        stack = list(self._results)
        while stack:
            step = stack.pop()
            if step in needed:
                continue
            needed.add(step)
            step.args = self._without_arrays(step.args)
            step.kwargs = {key: self._without_arrays(x) for key, x in step.kwargs.items()}
            stack.extend(step.sources())
        new = [step for step in self._constants.values() if step in needed]
        return new + [step for step in steps if step in needed]

    def _without_arrays(self, x: Any) -> Any:
        """Nested arguments with a step, an argument of the program, for each array too large to write out."""
        if isinstance(x, list) and len(x) > SMALL and all(isinstance(n, (int, float)) for n in x):
            x = np.array(x)
        if isinstance(x, np.ndarray):
            try:
                write_array(x)
            except UnwritableError:
                return self._constants.setdefault(_content(x), _constant(x))
        if type(x) in (tuple, list):
            return type(x)([self._without_arrays(item) for item in x])
        return x

    # Names

    def _name(self, steps: Iterable[Step]) -> None:
        steps = [step for step in steps if step not in self.names]
        words = {step: word_for(step, self.names) for step in steps}
        numbered = Counter(word for step, word in words.items() if step.name is None)
        count: Counter[str] = Counter()
        for step, word in words.items():
            if self._continues(step):
                self.names[step] = self.names[step.args[0]]
                continue
            name = word
            while name in self._taken or (step.name is None and numbered[word] > 1 and name == word):
                count[word] += 1
                name = f"{word}_{count[word]}"
            self._taken.add(name)
            self.names[step] = name

    def _continues(self, step: Step) -> bool:
        """Whether elements are set of an array that nobody reads as it was before: it keeps its name."""
        if not isinstance(step.function, SetItem) or step.name is not None:
            return False
        return self.uses[step.args[0]] == 1 and step.args[0] in self.names

    # Lines

    def _choose_lines(self) -> set[Step]:
        readers = {source: step for step in self.live for source in step.arguments()}
        lines: set[Step] = set()
        for step in self.live:
            if step.function is not None and self._stands_alone(step, readers.get(step), lines):
                lines.add(step)
        # What makes a line too long gets a line of its own: the longest part that fits first.
        for step in self.live:
            while step.function is not None and len(self._draft(step, lines)) > WIDTH:
                inside = [(len(self._draft(s, lines)), s) for s in _inside(step, lines) if not _is_free(s)]
                if not inside:
                    break
                fitting = [pair for pair in inside if pair[0] <= WIDTH]
                lines.add(max(fitting or inside, key=lambda pair: (pair[0], pair[1].serial))[1])
        return lines

    def _stands_alone(self, step: Step, reader: Step | None, lines: set[Step]) -> bool:
        """Whether a step needs a line of its own, however short; ``reader`` is the last to read it."""
        if (
            isinstance(step.function, (Lines, Check, SetItem))
            or step in self._results
            or step.name is not None
        ):
            return True
        group = step.args[0] if isinstance(step.function, Item) else step
        if len(self.items.get(group, ())) > 1:
            return True
        if _is_free(step):
            if self.uses[step] > 1 and not _is_named(step.args[0], lines):
                return True
        elif self.uses[step] > 1 or reader is None or reader.owner is not step.owner:
            return True
        if reader is None:
            return False
        return reader.errors != step.errors or (
            isinstance(reader.function, SetItem) and step is reader.args[0]
        )

    def _draft(self, step: Step, lines: set[Step]) -> str:
        """The line of a step before names are known: about as long as it will be."""
        if isinstance(step.function, (Lines, Check, SetItem)):
            return ""

        def write(source: Step) -> Text:
            if _is_named(source, lines):
                return self.names.get(source, "some_name"), ATOM
            return write_call(source, write)

        return "some_name = " + write_call(step, write)[0]


def has_several(step: Step) -> bool:
    """Whether a step has several results."""
    return isinstance(step.value, (tuple, list))


def _constant(x: NDArray) -> Step:
    return Step(None, (), {}, x, base="constant", owner=CONSTANT)


def _content(x: NDArray) -> bytes:
    return f"{x.shape}{x.dtype.str}".encode() + x.tobytes()


def _is_free(step: Step) -> bool:
    """Whether a step costs nothing and reads well wherever it stands, as x.T does."""
    return isinstance(step.function, Method) and not step.function.call


def _is_named(step: Step, lines: set[Step]) -> bool:
    return step.function is None or step in lines


def _inside(step: Step, lines: set[Step]) -> list[Step]:
    """The steps written inside the line of another."""
    sources = [source for source in step.arguments() if not _is_named(source, lines)]
    return sources + [inner for source in sources for inner in _inside(source, lines)]
