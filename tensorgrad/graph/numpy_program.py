"""Steps as the lines of a function: what is needed, in order, each under a name and with its shape."""

from __future__ import annotations

import builtins
import json
import keyword
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tensorgrad.graph.numpy_expressions import (
    ATOM,
    SMALL,
    Text,
    UnwritableError,
    array,
    expression,
    index,
    literal,
)
from tensorgrad.graph.numpy_layout import WIDTH, wrapped
from tensorgrad.graph.numpy_names import CONSTANT
from tensorgrad.graph.numpy_steps import Check, Item, Lines, Method, Set, Step, steps_in

COLUMN = 80  # comments of neighbouring lines are lined up, no further to the right than this

_WORDS = {
    "add": "total", "subtract": "difference", "sub": "difference", "multiply": "product", "mul": "product",
    "divide": "quotient", "truediv": "quotient", "matmul": "product", "getitem": "part", "negative": "minus",
    "neg": "minus", "pow": "power", "reshape": "reshaped", "where": "chosen", "square": "squares",
    "equal": "equal", "eq": "equal", "le": "below", "lt": "below", "ge": "above", "gt": "above",
    "zeros_like": "zeros", "ones_like": "ones", "isnan": "is_nan", "broadcast_to": "spread", "and_": "both",
    "or_": "either", "invert": "others", "absolute": "size", "abs": "size",
    "empty_like": "filled", "astype": "cast", "maximum": "larger", "minimum": "smaller",
}  # fmt: skip


def identifier(name: str) -> str:
    """A name as Python can use it.

    >>> identifier("Dense2.weights"), identifier("2nd try"), identifier("lambda")
    ('Dense2_weights', '_2nd_try', 'lambda_')
    """
    name = re.sub(r"\W", "_", name) or "_"
    name = f"_{name}" if name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) or name in {"np", *dir(builtins)} else name


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
    """

    def __init__(
        self, steps: list[Step], results: list[Step], named: Iterable[Step], reserved: Iterable[str]
    ) -> None:
        self.results = results
        self.constants: dict[bytes, Step] = {}
        self.live = self._needed(steps)
        uses = Counter(source for step in self.live for source in _read_by(step))
        self.uses = uses + Counter(self.results)
        self.arguments = [step for step in self.live if step.function is None]
        self.names: dict[Step, str] = {}
        functions = re.findall(r"^def (\w+)", "\n".join(self.helpers()), re.MULTILINE)
        self._taken = {"np", "gradients", *functions, *reserved, *keyword.kwlist, *dir(builtins)}
        self._name([*self.arguments, *named])
        self._name([step for step in self.live if step.name is not None])
        self.lines = self._with_lines()
        self._name([step for step in self.live if step in self.lines])

    def _needed(self, steps: list[Step]) -> list[Step]:
        """The steps that the results are made of, with arguments for arrays too large to write out."""
        needed: set[Step] = set()
        stack = list(self.results)
        while stack:
            step = stack.pop()
            if step in needed:
                continue
            needed.add(step)
            step.args = self._without_arrays(step.args)
            step.kwargs = {key: self._without_arrays(x) for key, x in step.kwargs.items()}
            stack.extend(step.sources())
        new = [step for step in needed if step.serial < 0]
        return sorted(new, key=lambda step: -step.serial) + [step for step in steps if step in needed]

    def _without_arrays(self, x: Any) -> Any:
        if isinstance(x, list) and len(x) > SMALL and all(isinstance(n, (int, float)) for n in x):
            x = np.array(x)
        if isinstance(x, np.ndarray):
            try:
                array(x)
            except UnwritableError:
                return self.constants.setdefault(_bytes(x), self._constant(x))
        if type(x) in (tuple, list):
            return type(x)([self._without_arrays(item) for item in x])
        return x

    def _constant(self, x: np.ndarray[Any, Any]) -> Step:
        step = Step(None, (), {}, x)
        step.base, step.owner, step.serial = "constant", CONSTANT, -1 - len(self.constants)
        return step

    # Names

    def _name(self, steps: Iterable[Step]) -> None:
        steps = [step for step in steps if step not in self.names]
        words = {step: self._word(step) for step in steps}
        numbered = Counter(word for step, word in words.items() if step.name is None)
        count: Counter[str] = Counter()
        for step, word in words.items():
            if self._goes_on(step):
                self.names[step] = self.names[step.args[0]]
                continue
            name = word
            while name in self._taken or (step.name is None and numbered[word] > 1 and name == word):
                count[word] += 1
                name = f"{word}{count[word]}"
            self._taken.add(name)
            self.names[step] = name

    def _goes_on(self, step: Step) -> bool:
        """Whether elements are set of an array that nobody reads as it was before: it keeps its name."""
        if not isinstance(step.function, Set) or step.name is not None:
            return False
        return self.uses[step.args[0]] == 1 and step.args[0] in self.names

    def _word(self, step: Step) -> str:
        if isinstance(step.name, Step):  # of which this is the cotangent
            return f"d_{self.names.get(step.name) or self._word(step.name)}"
        if step.name is not None or step.function is None:
            return identifier(str(step.name or step.base))
        if step.base is not None:
            return re.sub(r"\W", "_", step.base)
        function = step.function
        if isinstance(function, Item):
            function = step.args[0].function
        name = (
            function.name if isinstance(function, (Method, Lines)) else getattr(function, "__name__", "value")
        )
        return str(_WORDS.get(name, name))

    # Which steps have lines of their own

    def _with_lines(self) -> set[Step]:
        """The steps with lines of their own: all others are written inside the one line that reads them."""
        readers = {source: step for step in self.live for source in _read_by(step)}
        self.items = {
            step: [s for s in self.live if _is_item(s, of=step)] for step in self.live if _many(step)
        }
        lines: set[Step] = set()
        for step in self.live:
            if step.function is None:
                continue
            reader, free = readers.get(step), _is_free(step)
            if (
                isinstance(step.function, (Lines, Check, Set))
                or step in self.results
                or step.name is not None
                or len(self.items.get(step, ())) > 1
                or (isinstance(step.function, Item) and len(self.items[step.args[0]]) > 1)
                or (not free and (self.uses[step] > 1 or reader is None or reader.owner is not step.owner))
                or (reader is not None and reader.errors != step.errors)
                or (free and self.uses[step] > 1 and not self._is_named(step.args[0], lines))
                or (reader is not None and isinstance(reader.function, Set) and step is reader.args[0])
            ):
                lines.add(step)
        # What makes a line too long gets a line of its own: the longest part that fits first.
        for step in self.live:
            while step.function is not None and len(self._call(step, lines)) > WIDTH:
                inside = [
                    (len(self._call(s, lines)), s) for s in self._inside(step, lines) if not _is_free(s)
                ]
                if not inside:
                    break
                fitting = [pair for pair in inside if pair[0] <= WIDTH]
                lines.add(max(fitting or inside, key=lambda pair: (pair[0], pair[1].serial))[1])
        return lines

    def _is_named(self, step: Step, lines: set[Step]) -> bool:
        return step.function is None or step in lines

    def _inside(self, step: Step, lines: set[Step]) -> list[Step]:
        """The steps written inside the line of another."""
        sources = [source for source in _read_by(step) if not self._is_named(source, lines)]
        return sources + [inner for source in sources for inner in self._inside(source, lines)]

    def _call(self, step: Step, lines: set[Step]) -> str:
        """The text of a step, before names are known: about as long as it will be."""
        if isinstance(step.function, (Lines, Check, Set)):
            return ""

        def write(source: Step) -> Text:
            if self._is_named(source, lines):
                return self.names.get(source, "some_name"), ATOM
            return expression(source, write)

        return "some_name = " + expression(step, write)[0]

    # Text

    def _write(self, step: Step) -> Text:
        if self._is_named(step, self.lines):
            return self.names[step], ATOM
        return expression(step, self._write)

    def code(self, step: Step) -> list[str]:
        """The lines of code of a step."""
        function = step.function
        if isinstance(function, Check):
            condition, binds = self._write(step.args[0])
            if function.outcome:
                condition = f"not {condition if binds == ATOM else f'({condition})'}"
            label = getattr(step.owner, "label", "step")
            refusal = f"{label}: these values ask for other steps; write this function anew for them"
            return [f"if {condition}:", f"    raise ValueError({json.dumps(refusal)})"]
        if isinstance(function, Set):
            code = self._assignment(step)
        elif isinstance(function, Lines):
            texts = [literal(x, self._write) for x in step.args]
            places = [text if binds == ATOM else f"({text})" for text, binds in texts]
            bare = {f"a{k}": text for k, (text, _) in enumerate(texts)}
            indices = {f"i{k}": index(x, self._write) for k, x in enumerate(step.args)}
            code = [line.format(*places, out=self.names[step], **bare, **indices) for line in function.lines]
        else:
            target = self.names[step] if not _many(step) else self._targets(step)
            code = [f"{target} = {expression(step, self._write)[0]}"]
        code = [part for line in code for part in wrapped(line)]
        if step.errors:
            settings = ", ".join(f"{key}={json.dumps(value)}" for key, value in step.errors)
            code = [f"with np.errstate({settings}):", *(f"    {line}" for line in code)]
        return code

    def _targets(self, step: Step) -> str:
        names = {item.function.i: self.names[item] for item in self.items[step]}  # type: ignore[union-attr]
        return ", ".join(names.get(i, "_") for i in range(len(step.value)))

    def _assignment(self, step: Step) -> list[str]:
        before, place, value = step.args
        old, new = self.names[before], self.names[step]
        copy = "" if self.uses[before] == 1 else '.copy(order="K")'
        code = [] if old == new else [f"{new} = {old}{copy}"]
        return [*code, f"{new}[{index(place, self._write)}] = {literal(value, self._write)[0]}"]

    def helpers(self) -> list[str]:
        """The sources of the functions that lines call, each once."""
        return list(
            dict.fromkeys(h for s in self.live if isinstance(s.function, Lines) for h in s.function.helpers)
        )

    def body(self) -> list[str]:
        """The lines of the function's body, a comment with the shape after each."""
        shapes = _shapes(self.live)
        blocks: list[tuple[str, list[tuple[list[str], str]]]] = []
        for step in self.live:
            if step not in self.lines or (isinstance(step.function, Item) and step.args[0] in self.lines):
                continue  # an item is set together with the others
            if not blocks or blocks[-1][0] != step.section:
                blocks.append((step.section, []))
            blocks[-1][1].append((self.code(step), "" if isinstance(step.function, Check) else shapes[step]))
        text: list[str] = []
        for section, entries in blocks:
            text += ["", f"# {section}"] if section else [""]
            column = min(max(len(code[-1]) for code, _ in entries), COLUMN)
            for code, shape in entries:
                last = f"{code[-1]:{column}}  # {shape}" if shape else code[-1]
                text += [*code[:-1], last]
        return text


def _shapes(steps: list[Step]) -> dict[Step, str]:
    """The shapes of results as they are told: k for a length that depends on values, since a mask is read."""
    shapes: dict[Step, str] = {}
    for step in steps:
        results = step.value if _many(step) else [step.value]
        shapes[step] = ", ".join(str(np.shape(x)) for x in results)
        masked = step.function is operator.getitem and any(
            x.value.dtype == bool for x in steps_in(step.args[1:])
        )
        counted = any(shapes[source].startswith("(k") for source in _read_by(step))
        if (masked or counted) and not isinstance(step.function, Set) and np.ndim(step.value):
            shapes[step] = re.sub(r"\d+", "k", shapes[step], count=1)
    return shapes


def _read_by(step: Step) -> Iterator[Step]:
    return steps_in((step.args, *step.kwargs.values()))


def _many(step: Step) -> bool:
    """Whether a step has several results."""
    return isinstance(step.value, (tuple, list))


def _is_item(step: Step, of: Step) -> bool:
    return isinstance(step.function, Item) and step.args[0] is of


def _is_free(step: Step) -> bool:
    """Whether a step costs nothing and reads well wherever it stands, as x.T does."""
    return isinstance(step.function, Method) and not step.function.call


def _bytes(x: np.ndarray[Any, Any]) -> bytes:
    return f"{x.shape}{x.dtype.str}".encode() + x.tobytes()
