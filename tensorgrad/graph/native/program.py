"""A recorded graph as a program of loops: what each op's rule is given to write with.

The rules of a language (`tensorgrad.graph.export.c_rules`) are asked op by op, in the order of computation. They
say what an element is, or what moves; this says in which loops, over which memory, in which stage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.plan import (
    Buffer,
    Role,
    UnbatchableError,
    Value,
    View,
    count_elements,
    dense_strides,
    merge_axes,
)

Rule = Callable[..., None]


class Term(str):
    """The text of an element, and what it is: of a sample or of all lanes, a real number or a whole one."""

    laned: bool
    kind: str  # "f", "i" or "b", as NumPy's

    def __new__(cls, text: str, laned: bool, kind: str) -> Term:
        term = super().__new__(cls, text)
        term.laned, term.kind = laned, kind
        return term


class Code:
    """Lines of one function, and the buffers they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.buffers: dict[Buffer, None] = {}
        self._depth = 1

    def put(self, *lines: str) -> None:
        """Add lines."""
        self.lines += ["  " * self._depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is put inside stands in braces after ``head``."""
        self.put(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.put("}")

    @contextmanager
    def loops(self, *ranges: tuple[str, int]) -> Iterator[None]:
        """What is put inside is repeated for every index of all ranges; a range of one is no loop."""
        before, depth = len(self.lines), self._depth
        for name, length in ranges:
            if length != 1:
                self.put(f"for (int {name} = 0; {name} < {length}; {name}++) {{")
                self._depth += 1
        yield
        if self._depth == depth + 1 and len(self.lines) == before + 2:  # one loop around one line
            body = self.lines.pop().strip()
            self.lines[-1] = self.lines[-1][:-2] + " " + body
            self._depth = depth
            return
        while self._depth > depth:
            self._depth -= 1
            self.put("}")


class Program:
    """A graph of tensors being written as loops.

    Parameters
    ----------
    order : list of Tensor
        The graph in the order of computation.
    inputs : dict of Tensor to name
        The tensors that each call gives anew; those with ``samples`` rows are split into lanes.
    rules : mapping of op name to rule
    samples : int or None
        The length of the batch axis; None plans without lanes.
    lanes : int
    dtype : dtype
        float32 or float64: of all real numbers in the program.
    """

    def __init__(
        self,
        order: Sequence[Tensor],
        inputs: Mapping[int, str],
        outputs: Iterable[Tensor],
        rules: Mapping[str, Rule],
        *,
        samples: int | None,
        lanes: int,
        vector: int,
        registers: int,
        dtype: np.dtype[Any],
    ) -> None:
        self.vectors_in_registers = registers
        self.rules, self.samples, self.lanes, self.vector, self.dtype = rules, samples, lanes, vector, dtype
        self.blocks = 1 if samples is None else -(-samples // lanes)
        self.values: dict[int, Value] = {}
        self.buffers: list[Buffer] = []
        self.stages: dict[tuple[int, bool], Code] = {}
        self.shared: dict[int, list[tuple[str, int, Code]]] = {}
        self.functions: dict[str, str] = {}  # text of helper functions, by their names
        self.arguments: list[tuple[Buffer, Tensor | NDArray]] = []
        self.guards: list[tuple[Value, bool]] = []
        self._names: dict[str, int] = {}
        self._clock = 0
        self._wanted = {id(t) for t in outputs}
        for tensor in order:
            value = Value(tensor, self.name(tensor), whole=tensor.dtype.kind != "f")
            self.values[id(tensor)] = value
            for x in find_tensors(tensor):
                self.values[id(x)].users.append(tensor)
        for tensor in order:
            self._clock += 1
            self._place(self.values[id(tensor)], inputs)

    # Names and memory

    def name(self, tensor: Tensor | str) -> str:
        """A name of the program's own for a tensor, after that in the graph."""
        text = tensor if isinstance(tensor, str) else tensor.name or (tensor.op.name if tensor.op else "constant")
        base = re.sub(r"\W+", "_", text).strip("_") or "value"
        base = base if base[0].isalpha() else f"v_{base}"
        self._names[base] = number = self._names.get(base, 0) + 1
        return f"{base}_" if number == 1 else f"{base}_{number}"

    def new_buffer(self, name: str, size: int, laned: bool, role: Role, note: str, whole: bool = False) -> Buffer:
        """A new piece of memory."""
        buffer = Buffer(name, max(size, 1), laned, whole, role, note, self._clock, self._clock)
        self.buffers.append(buffer)
        return buffer

    def new_view(self, value: Value, name: str | None = None) -> View:
        """Memory for a value, in row-major order."""
        strides, size = dense_strides(value.shape, value.batch)
        role: Role = "arena" if value.laned else "plain"
        note = " x ".join(str(n) for k, n in enumerate(value.shape) if k != value.batch) or "1"
        buffer = self.new_buffer(name or value.name, size, value.laned, role, note, value.whole)
        return View(buffer, value.shape, strides, 0, value.batch)

    def code(self, stage: int, laned: bool) -> Code:
        """Where the lines of a stage go: of its blocks, or of what comes before them once."""
        return self.stages.setdefault((stage, laned), Code())

    def share(self, stage: int, name: str, units: int) -> Code:
        """Where the lines go that threads share by units when the blocks of a stage are done."""
        self.shared.setdefault(stage, []).append((name, units, code := Code()))
        return code

    def keep(self, buffer: Buffer) -> None:
        """Keep what is in a buffer for all blocks."""
        if buffer.role == "arena":
            buffer.role = "kept"

    def point(self, buffer: Buffer, code: Code) -> str:
        """The name of a buffer, for use in ``code``."""
        code.buffers[buffer] = None
        if buffer.role == "arena":
            stages = [stage for (stage, _), other in self.stages.items() if buffer in other.buffers]
            if len(stages) > 1:
                buffer.role = "kept"
        buffer.first, buffer.last = min(buffer.first, self._clock), max(buffer.last, self._clock)
        return buffer.name

    # Values

    def value_of(self, x: Any) -> Any:
        """The value of a tensor; what is none stands for itself."""
        return self.values[id(x)] if isinstance(x, Tensor) else x

    def _place(self, value: Value, inputs: Mapping[int, str]) -> None:
        tensor = value.tensor
        if tensor.op is None:
            self._read(value, id(tensor) in inputs)
            return
        rule = self.rules.get(tensor.op.name)
        if rule is None:
            raise NotImplementedError(tensor.op.name)
        rule(self, value, *(self.value_of(x) for x in tensor.inputs), **tensor.params)
        if id(tensor) in self._wanted:
            self.need(value)

    def _read(self, value: Value, given: bool) -> None:
        """A leaf: the caller's memory, or for an input with a row a sample the rows of a block in lanes."""
        shape = value.shape
        source = self.new_buffer(value.name, value.tensor.size, False, "argument", " x ".join(map(str, shape)), value.whole)
        self.arguments.append((source, value.tensor))
        value.view = View(source, shape, dense_strides(shape, None)[0])
        if given and self.samples is not None and shape and shape[0] == self.samples:
            self.spread(value, source)

    def spread(self, value: Value, source: Buffer) -> None:
        """Read the rows of an argument into lanes."""
        value.batch = 0
        value.view = self.new_view(value, f"{value.name}_lanes")
        code = self.code(0, True)
        to, size = value.view.buffer, count_elements(value.shape, 0)
        load = "load_whole" if value.whole else "load"
        code.put(f"{load}({self.point(to, code)}, {self.point(source, code)} + (long)block * LANES * {size}, {size}, count);  // a sample a lane")

    def constant(self, x: NDArray) -> Value:
        """A plain array that an op was given."""
        value = Value(Tensor(x), self.name("constant"), whole=x.dtype.kind != "f")
        self._read(value, False)
        self.arguments[-1] = (self.arguments[-1][0], x)
        return value

    def need(self, value: Value) -> View:
        """Where a value lies, after it has been written there if it was an expression."""
        if value.view is None:
            view = self.new_view(value)
            self._write_out(value, view)
            value.view = view
        return value.view

    def need_dense(self, value: Value) -> View:
        """As `need`, in row-major order without gaps."""
        view = self.need(value)
        if view.is_dense():
            return view
        return self.copy(value, view, value.name + "_rows")

    def copy(self, value: Value, view: View, name: str) -> View:
        """A row-major copy of a view of a value."""
        strides, size = dense_strides(view.shape, view.batch)
        role: Role = "arena" if view.batch is not None else "plain"
        buffer = self.new_buffer(self.name(name), size, view.batch is not None, role, "", value.whole)
        code = self.code(value.stage, value.laned)
        new = View(buffer, view.shape, strides, 0, view.batch)
        index = [f"i{k}" for k in range(len(view.shape))]
        with code.loops(*((f"i{k}", n) for k, n, _ in view.axes())):
            code.put(f"{self.point(buffer, code)}[{new.at(index)}] = {self.point(view.buffer, code)}[{view.at(index)}];")
        return new

    def registers(self) -> int:
        """How many vectors of a block stay in registers, beside those that are loaded."""
        return max(self.vectors_in_registers * self.vector // self.lanes, 1)

    def cut_last(self, value: Value, first: int, second: int) -> None:
        """Let a value be written with its last axis, then, cut in two."""
        value.cut = (*value.shape[:-1], first, second)

    def cut_first(self, value: Value, first: int, second: int) -> None:
        """Let a value be written with its first axis cut in two."""
        value.cut = (first, second, *value.shape[1:])

    def join(self, value: Value) -> None:
        """Put the axes of a value together again that were cut."""
        assert value.view is not None
        value.cut = None
        value.view = View(value.view.buffer, value.shape, dense_strides(value.shape, value.batch)[0], 0, value.batch)

    join_last = join_first = join

    def stage_of(self, *values: Any) -> int:
        """The earliest stage that has all of them."""
        return max((v.stage for v in values if isinstance(v, Value)), default=0)

    # Elementwise

    def elementwise(self, value: Value, arguments: Sequence[Any]) -> None:
        """A value each of whose elements is made of one of each argument, which broadcast."""
        ndim = len(value.shape)
        batches = {x.batch + ndim - len(x.shape) for x in arguments if isinstance(x, Value) and x.laned}
        if len(batches) > 1:
            raise UnbatchableError(f"{value.name} meets samples along two axes")
        value.batch = batches.pop() if batches else None
        fitted = []
        for x in arguments:
            if isinstance(x, np.ndarray) and x.ndim:
                x = self.constant(x)
            if isinstance(x, Value) and value.batch is not None and not x.laned:
                x = self._across(value, x)
            fitted.append(x)
        value.arguments = tuple(fitted)
        value.stage = self.stage_of(*fitted)
        if not self._is_inlined(value):
            self.need(value)

    def _across(self, value: Value, x: Value) -> Value:
        """A plain argument of a laned value: it must be the same for all samples, or rows of a constant."""
        assert value.batch is not None
        axis = value.batch - len(value.shape) + len(x.shape)
        if axis < 0 or x.shape[axis] == 1:
            return x
        view = self.need(x)
        if view.strides[axis] == 0:
            return x
        if axis == 0 and view.buffer.role == "argument" and view.is_dense():
            rows = Value(x.tensor, x.name + "rows", whole=x.whole)
            self.spread(rows, view.buffer)
            return rows
        raise UnbatchableError(f"{value.name} meets an array that is not the same for all samples")

    def _is_inlined(self, value: Value) -> bool:
        """Whether the one user of a value writes it out: an op on elements of the same shape, or a sum."""
        if len(value.users) != 1 or id(value.tensor) in self._wanted:
            return False
        user = value.users[0]
        assert user.op is not None
        rule = self.rules.get(user.op.name)
        return bool(getattr(rule, "reads_elements", False)) and (
            user.shape == value.shape or getattr(rule, "reduces", False)
        )

    def _write_out(self, value: Value, view: View) -> None:
        code = self.code(value.stage, value.laned)
        leaves = self._leaves(value, view.shape)
        axes = [*view.axes()]
        loops = merge_axes([n for _, n, _ in axes], [[s for *_, s in axes], *([strides[k] for k, *_ in axes] for _, strides in leaves)])
        names = ["i", "j", "k", "l", "m", "n", "o"][: len(loops)]
        at = {id(value): place(names, [steps[0] for _, steps in loops], 0)}
        for m, (leaf, _) in enumerate(leaves):
            at[id(leaf)] = place(names, [steps[m + 1] for _, steps in loops], leaf.view.offset)  # type: ignore[union-attr]
        code.put(f"// {value.name}: {value.tensor.op.name if value.tensor.op else ''} {view.buffer.note}")
        with code.loops(*((name, n) for name, (n, _) in zip(names, loops, strict=True))):
            code.put(f"{self.point(view.buffer, code)}[{at[id(value)]}] = {self._term_at(value, at, code, value.laned)};")

    def _leaves(self, value: Value, shape: tuple[int, ...]) -> list[tuple[Value, list[int]]]:
        """The values in memory that an expression reads, each with its strides along the axes of ``shape``."""
        found: dict[int, tuple[Value, list[int]]] = {}
        for x in value.arguments:
            if not isinstance(x, Value):
                continue
            if x.view is None and (x.stage != value.stage or x.laned != value.laned or x.shape != value.shape):
                self.need(x)
            if x.view is None:
                found.update({id(v): (v, s) for v, s in self._leaves(x, shape)})
            else:
                lead = len(shape) - len(x.shape)
                strides = [0] * lead + [0 if n == 1 else s for n, s in zip(x.shape, x.view.strides, strict=True)]
                found[id(x)] = (x, strides)
        return [*found.values()]

    def _term_at(self, x: Any, at: Mapping[int, str], code: Code, laned: bool) -> Term:
        """The text of an element, the places of whose leaves are known."""
        if not isinstance(x, Value):
            return self.literal(x)
        if x.view is not None:
            kind = x.tensor.dtype.kind
            return Term(f"{self.point(x.view.buffer, code)}[{at[id(x)]}]", x.laned or x.view.buffer.laned, "i" if kind == "u" else kind)
        terms = [self._term_at(y, at, code, laned) for y in x.arguments]
        assert x.tensor.op is not None
        write = self.rules[x.tensor.op.name].write  # type: ignore[attr-defined]
        kind = x.tensor.dtype.kind
        return Term(write(Words(laned, kind), *terms, **x.tensor.params), laned, "i" if kind == "u" else kind)

    def element(self, value: Value, index: Sequence[str], code: Code) -> Term:
        """The text of an element of a value of the op's own shape, for ops that write loops of their own."""
        leaves = self._leaves(value, value.shape) if value.view is None else [(value, list(value.view.strides))]
        at = {}
        for leaf, strides in leaves:
            assert leaf.view is not None
            steps = [s if k != value.batch else 0 for k, s in enumerate(strides)]
            at[id(leaf)] = place(index, steps, leaf.view.offset)
        return self._term_at(value, at, code, value.laned)

    def literal(self, x: Any) -> Term:
        """A Python or NumPy number in the program's dtype."""
        x = x.item() if isinstance(x, (np.generic, np.ndarray)) else x
        if isinstance(x, bool):
            return Term("-1" if x else "0", False, "b")
        if isinstance(x, int):
            return Term(f"{float(x)!r}{'f' if self.dtype == np.float32 else ''}" if abs(x) > 2**30 else str(x), False, "i")
        return Term(self.real(x), False, "f")

    def real(self, x: float) -> str:
        """A real number as C writes it."""
        if math.isnan(x):
            return "(real)NAN"
        if math.isinf(x):
            return "(real)INFINITY" if x > 0 else "(-(real)INFINITY)"
        rounded = float(self.dtype.type(x))
        text = np.format_float_scientific(self.dtype.type(x), unique=True) if rounded and not 1e-4 < abs(rounded) < 1e6 else repr(self.dtype.type(x).item() if self.dtype == np.float64 else float(str(self.dtype.type(x))))
        text = text if "." in text or "e" in text else text + ".0"
        text += "f" if self.dtype == np.float32 else ""
        return f"({text})" if x < 0 else text


class Words:
    """How an op on elements is written, for lanes or for single numbers."""

    def __init__(self, laned: bool, kind: str) -> None:
        self.laned, self.kind = laned, kind

    def call(self, name: str, *terms: Term) -> str:
        """A function of the program's prelude."""
        return f"{'v' if self.laned else 's'}_{name}({', '.join(map(self.fit, terms))})"

    def fit(self, term: Term) -> str:
        """A term as an argument of a function: in lanes a vector."""
        if self.laned and not term.laned:
            return f"all({term})" if term.kind == "f" else f"all_whole({term})"
        return str(term)

    def as_real(self, term: Term) -> Term:
        """A whole number or truth value as a real number."""
        if term.kind == "f":
            return term
        minus = "-" if term.kind == "b" else ""
        text = f"({minus}to_real({term}))" if term.laned else f"({minus}(real)({term}))"
        return Term(text, term.laned, "f")


def place(index: Sequence[str], strides: Sequence[int], offset: int) -> str:
    """A place in memory as a sum."""
    terms = [name if s == 1 else f"{name} * {s}" for name, s in zip(index, strides, strict=True) if s and name != "0"]
    return " + ".join([str(offset), *terms] if offset or not terms else terms)


def find_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensors that an op was given, in its options too."""
    found = [x for x in tensor.inputs if isinstance(x, Tensor)]
    if tensor.op is not None:
        for option in tensor.params.values():
            parts = option if isinstance(option, (tuple, list)) else (option,)
            found += [x for x in parts if isinstance(x, Tensor)]
    return found
