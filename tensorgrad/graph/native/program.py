"""A recorded graph as a program of loops: what each op's rule is given to write with.

The rules of C (`tensorgrad.graph.export.c_rules`) are asked op by op, in the order of computation. They say
what an element is, or what moves; this says in which loops, over which memory, in which stage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.code import INDICES, Code, Pointer, Term, Words
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.plan import (
    Buffer,
    UnwritableError,
    Value,
    View,
    dense_view,
    lane_strides,
    merge_axes,
    place,
    require_apart,
)  # fmt: skip
from tensorgrad.graph.native.record import LazyTensor, find_tensors

#: ``rule(program, value, *arguments, **options)`` writes the value of an op; `Value` stands for tensors.
Rule = Callable[..., None]


class Elementwise:
    """The rule of an op on elements: the text of one element of the result, from those of its arguments.

    ``write(words, *terms, **options)`` gives it. Terms are converted to the kind of the result first, which
    must be one of ``kinds``; without ``kinds`` ``write`` does so itself.
    """

    fuses = True  # it writes out expressions that it is given

    def __init__(self, write: Callable[..., str], kinds: str = "") -> None:
        self._write, self._kinds = write, kinds

    def __call__(self, program: Program, value: Value, *arguments: Any, **options: Any) -> None:
        if self._kinds and value.kind not in self._kinds:
            raise UnwritableError(value.describe())
        program.fuse(value, arguments)

    def write(self, words: Words, *terms: Term, **options: Any) -> str:
        """The text."""
        if self._kinds:
            terms = tuple(words.convert(term, words.kind) for term in terms)
        return self._write(words, *terms, **options)


class Vectors(NamedTuple):
    """What one register holds, in bytes, and how many registers sums may stay in, beside what is loaded.

    Larger vectors, which compilers make of several registers, are up to twenty times as slow.
    """

    size: int
    registers: int


class Share(NamedTuple):
    """Lines that threads share by units when the blocks of a stage are done."""

    stage: int
    name: str
    units: int
    code: Code


class Program:
    """A graph of tensors being written as loops.

    Parameters
    ----------
    graph : Expansion
    rules : mapping of op name to rule
    samples : int or None
        The length of the batch axis, the first of inputs, which are split into lanes along it; None plans
        without lanes.
    vectors : Vectors

    Attributes
    ----------
    arguments : list of (Buffer, Tensor or array)
        What the program reads in each call.
    loaded : list of int
        Which of them have samples for rows, that may be given in another order.
    stages : dict of (stage, laned) to Code
        The lines of a block, and those that come before all blocks.
    functions : dict of name to text
        Functions and tables that they use.
    dtype, whole : dtype
        Of real numbers, and of integers and truth values.
    """

    #: How many sums of products plain loops add up at a time; compilers of C choose by themselves.
    tile: ClassVar[tuple[int, int]] = (1, 1)

    def __init__(
        self, graph: Expansion, rules: Mapping[str, Rule], samples: int | None, vectors: Vectors
    ) -> None:
        self.graph, self.rules, self.samples, self.registers = graph, rules, samples, vectors.registers
        self.dtype, self.lanes = graph.dtype, vectors.size // graph.dtype.itemsize
        self.whole = np.dtype(f"i{self.dtype.itemsize}")
        self.blocks = 1 if samples is None else -(-samples // self.lanes)
        self.buffers: list[Buffer] = []
        self.arguments: list[tuple[Buffer, Tensor | NDArray]] = []
        self.loaded: list[int] = []
        self.stages: dict[tuple[int, bool], Code] = {}
        self.shares: list[Share] = []
        self.functions: dict[str, str] = {}
        self._names: dict[str, int] = {}
        self._values: dict[int, Value] = {}
        self._lanes_of: dict[Value, Value] = {}
        self._clock = 0
        recording = graph.recording
        self._wanted = {id(graph.find(t)) for t in recording.results()}
        self._inputs = {id(t) for t in recording.given()}
        for tensor in graph.order:
            self._values[id(tensor)] = Value(tensor, self.name(tensor), _find_kind(tensor))
            for x in find_tensors(tensor):
                self.value_of(x).users.append(tensor)
        for tensor in graph.order:
            self._clock += 1
            self._write(self.value_of(tensor))
        self.outputs: list[Value] = [self.value_of(t) for t in recording.told()]
        self.gradients: list[Value] = [self.value_of(g) for _, g in recording.gradients]
        self.guards: list[tuple[Value, bool]] = [(self.value_of(t), held) for t, held in recording.guards]
        require_apart(not any(g.laned for g in self.gradients), "a gradient has a row for each sample")

    # Names and memory

    def name(self, what: Tensor | str) -> str:
        """A name of the program's own for a tensor, after that in the graph."""
        text = what if isinstance(what, str) else what.name or (what.op.name if what.op else "constant")
        base = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "value"
        base = base if base[0].isalpha() else f"v_{base}"
        self._names[base] = number = self._names.get(base, 0) + 1
        return f"{base}_" if number == 1 else f"{base}_{number}"

    def new_view(
        self, name: str, shape: Sequence[int], batch: int | None, whole: bool = False, role: str = ""
    ) -> View:
        """New memory for an array in row-major order."""
        inside = [n for k, n in enumerate(shape) if k != batch]
        role = role or ("plain" if batch is None else "arena")
        size, note = max(math.prod(inside), 1), " x ".join(map(str, inside)) or "1"
        buffer = Buffer(name, size, batch is not None, whole, role, note, self._clock, self._clock)
        self.buffers.append(buffer)
        return dense_view(buffer, tuple(shape), batch)

    def add_table(self, name: str, numbers: Any, kind: str = "int") -> str:
        """Constants that functions use; the name again."""
        texts = [str(x) for x in np.ravel(numbers).tolist()] or ["0"]
        self.functions[name] = f"static const {kind} {name}[{len(texts)}] = {{{', '.join(texts)}}};"
        return name

    def code(self, stage: int, laned: bool) -> Code:
        """Where the lines of a stage go: of its blocks, or of what comes before them once."""
        return self.stages.setdefault((stage, laned), Code())

    def share(self, stage: int, name: str, units: int) -> Code:
        """Where the lines go that threads share by units when the blocks of a stage are done."""
        self.shares.append(Share(stage, name, units, code := Code()))
        return code

    def point(self, view: View, code: Code) -> Pointer:
        """A view for use in ``code``. What blocks of two stages use is kept for all blocks."""
        buffer = view.buffer
        code.buffers[buffer] = None
        buffer.first, buffer.last = min(buffer.first, self._clock), max(buffer.last, self._clock)
        if buffer.role == "arena" and sum(buffer in other.buffers for other in self.stages.values()) > 1:
            buffer.role = "kept"
        return Pointer(buffer.name, view)

    # Values

    def value_of(self, x: Any) -> Any:
        """The value of a tensor; what is none stands for itself."""
        return self._values[id(self.graph.find(x))] if isinstance(x, Tensor) else x

    def _write(self, value: Value) -> None:
        """Ask the rule of an op; what is made by none is an argument."""
        tensor = value.tensor
        if tensor.op is not None:
            rule, arguments = self.rules[tensor.op.name], [self.value_of(x) for x in tensor.inputs]
            if not isinstance(rule, Elementwise):
                arguments = [self.constant(x) if isinstance(x, np.ndarray) else x for x in arguments]
            rule(self, value, *arguments, **tensor.params)
            if id(tensor) in self._wanted:
                self.need(value)
            return
        self._read(value, tensor)
        if id(tensor) in self._inputs and self.samples is not None and value.shape[:1] == (self.samples,):
            self._spread(value, f"arg[ORDERS + {len(self.loaded)}]")
            self.loaded.append(len(self.arguments) - 1)

    def _read(self, value: Value, source: Tensor | NDArray) -> None:
        value.view = self.new_view(value.name, value.shape, None, value.kind != "f", "argument")
        self.arguments.append((value.view.buffer, source))

    def _spread(self, value: Value, order: str = "0") -> None:
        """Read the rows of an argument into lanes, in an order that the caller gives or as they lie."""
        code = self.code(0, True)
        rows = self.point(self.need(value), code)
        value.batch, value.view = 0, self.new_view(f"{value.name}lanes", value.shape, 0, value.kind != "f")
        to = self.point(value.view, code)
        size = value.view.buffer.size
        code.put(f"load({to.name}, {rows.name}, {order}, {size}, block, count);  // a sample a lane")

    def constant(self, x: Any) -> Value:
        """The value of a plain array that an op was given; a value stands for itself."""
        if isinstance(x, Value):
            return x
        tensor = LazyTensor({}, x.shape, x.dtype)
        value = Value(tensor, self.name("constant"), _find_kind(tensor))
        self._read(value, x)
        return value

    def need_real(self, x: Any) -> Value:
        """An array or a value as real numbers, for a rule that reads nothing else."""
        value = self.constant(x)
        if value.kind == "f":
            return value
        real = Value(value.tensor, self.name(f"{value.name}real"), "f")
        code, to, of = self.begin(real, f"{value.name} as real numbers", value, batch=value.batch)
        words = Words(self.dtype, value.laned, "f")
        with self._loop(code, to.view, to.view.strides, of.view.strides) as (at, place):
            code.put(f"{to.at(at)} = {words.convert(Term(of.at(place), value.laned, value.kind), 'f')};")
        return real

    def need(self, value: Value) -> View:
        """Where a value lies, after it has been written there if it was an expression."""
        if value.view is None:
            self._write_out(value)
        assert value.view is not None
        return value.view

    def need_dense(self, value: Value) -> View:
        """As `need`, in row-major order without gaps."""
        view = self.need(value)
        if view.is_dense():
            return view
        dense = self.new_view(self.name(f"{value.name}rows"), view.shape, view.batch, view.buffer.whole)
        code = self.code(value.stage, value.laned)
        code.put(f"// {dense.buffer.name}: {value.name} in rows, {dense.buffer.note}")
        self.copy(code, view, dense)
        return dense

    def copy(self, code: Code, source: View, target: View) -> None:
        """Copy the elements of a view into another of the same shape, which may be in lanes."""
        alike = target.batch is None or source.batch is not None or not source.strides[target.batch]
        require_apart(alike, "samples are joined with rows of a plain array")
        from_, to = self.point(source, code), self.point(target, code)
        with self._loop(code, target, target.strides, source.strides) as (at, of):
            element = from_.at(of)
            if source.batch != target.batch:
                element = f"{'all_whole' if source.buffer.whole else 'all'}({element})"
            code.put(f"{to.at(at)} = {element};")

    @contextmanager
    def _loop(self, code: Code, view: View, *strides: Sequence[int]) -> Iterator[list[str]]:
        """Loops over the elements of a view, in the order of the first strides; the places in all arrays."""
        axes = sorted(view.axes(), key=lambda k: -strides[0][k])
        loops = merge_axes([view.shape[k] for k in axes], [[array[k] for k in axes] for array in strides])
        with code.loops(**{INDICES[k]: n for k, (n, _) in enumerate(loops)}) as index:
            yield [place(index, [steps[k] for _, steps in loops]) for k in range(len(strides))]

    def begin(
        self,
        value: Value,
        what: str,
        *given: Value,
        batch: int | None = None,
        stage: int = 0,
        dense: bool = False,
        summed: bool = False,
    ) -> tuple[Any, ...]:
        """Make room for a value. The code that writes it, pointers to it and to the values ``given``.

        The one place that says how an op's output gets its batch axis and its stage: the latest of ``stage``
        and those given. If it is ``summed`` over samples, its blocks add to it, and the next stage has it.
        ``dense`` puts all of them in row-major order.
        """
        views = [self.need_dense(x) if dense else self.need(x) for x in given]
        stage = max([stage, *(x.stage for x in given)])
        view = self.new_view(value.name, value.shape, batch, value.kind != "f", "sums" * summed)
        view.buffer.stage = stage
        strides = view.strides if dense else lane_strides(value.shape, batch)
        self._lay(value, batch, stage + summed)
        value.view = View(view.buffer, value.shape, strides, 0, batch)
        code = self.code(stage, summed or value.laned)
        code.put(f"// {value.name}: {what}, {view.buffer.note}")
        return code, *(self.point(v, code) for v in (self.need(value), *views))

    def see(self, value: Value, view: View, of: Value) -> None:
        """Let a value be what lies in another view of the memory of one."""
        self._lay(value, view.batch, of.stage)
        value.view, value.kind = view, of.kind

    def _lay(self, value: Value, batch: int | None, stage: int) -> None:
        apart = batch is None or value.shape[batch] == self.samples
        require_apart(apart, f"{value.name} repeats samples")
        value.batch, value.stage = batch, stage

    # Elements

    def fuse(self, value: Value, arguments: Sequence[Any]) -> None:
        """A value each of whose elements is made of one of each argument, which broadcast.

        It is written into the loop of its user, if it has one that reads elements, or into a loop of its own.
        """
        arguments = [self.constant(x) if isinstance(x, np.ndarray) and x.ndim else x for x in arguments]
        values = [x for x in arguments if isinstance(x, Value)]
        batches = {x.batch + len(value.shape) - len(x.shape) for x in values if x.batch is not None}
        require_apart(len(batches) <= 1, f"{value.name} meets samples along two axes")
        self._lay(value, batches.pop() if batches else None, 0)
        value.arguments = tuple(self._across(value, x) if isinstance(x, Value) else x for x in arguments)
        values = [x for x in value.arguments if isinstance(x, Value)]
        value.stage = max((x.stage for x in values), default=0)
        for x in values:
            if (x.stage, x.laned, x.shape) != (value.stage, value.laned, value.shape):
                self.need(x)
        if not self._is_inlined(value):
            self.need(value)

    def _across(self, value: Value, x: Value) -> Value:
        """An argument of a laned value: in lanes, the same for all samples, or rows of the caller's."""
        if value.batch is None or x.laned:
            return x
        axis = value.batch - len(value.shape) + len(x.shape)
        if axis < 0 or x.shape[axis] == 1 or self.need(x).strides[axis] == 0:
            return x
        read = (
            x.view is not None
            and x.view.buffer.role == "argument"
            and x.view.is_dense()
            and not x.view.offset
        )
        require_apart(read and axis == 0, f"{value.name} meets an array that is not the same for all samples")
        if x not in self._lanes_of:
            self._lanes_of[x] = Value(x.tensor, f"{x.name}rows_", x.kind, view=x.view)
            self._spread(self._lanes_of[x])
        return self._lanes_of[x]

    def _is_inlined(self, value: Value) -> bool:
        """Whether the one user of a value writes it out: an op on elements of the same shape, or a sum."""
        if len(value.users) != 1 or id(value.tensor) in self._wanted:
            return False
        user = value.users[0]
        assert user.op is not None
        rule = self.rules[user.op.name]
        alike = user.shape == value.shape or not isinstance(rule, Elementwise)
        return alike and getattr(rule, "fuses", False)

    def _write_out(self, value: Value) -> None:
        """Write an expression into a loop of its own."""
        leaves = self._find_leaves(value, value.shape)
        what = value.tensor.op.name if value.tensor.op else ""
        code, out = self.begin(value, what, batch=value.batch, stage=value.stage)
        with self._loop(code, out.view, out.view.strides, *leaves.values()) as (at, *places):
            term = self._write_op(value, dict(zip(leaves, places, strict=True)), code, value.laned)
            code.put(f"{out.at(at)} = {term};")

    def element(self, value: Value, index: Sequence[str], code: Code) -> Term:
        """The text of an element, for ops that write loops of their own."""
        leaves = self._find_leaves(value, value.shape) if value.view is None else {value: value.view.strides}
        at = {leaf: place(index, strides) for leaf, strides in leaves.items()}
        return self._write_term(value, at, code, value.laned)

    def _find_leaves(self, value: Value, shape: tuple[int, ...]) -> dict[Value, Sequence[int]]:
        """The values in memory that an expression reads, with their strides along the axes of ``shape``."""
        found: dict[Value, Sequence[int]] = {}
        for x in [x for x in value.arguments if isinstance(x, Value)]:
            if x.view is None:
                found |= self._find_leaves(x, shape)
                continue
            strides = [0 if n == 1 else step for n, step in zip(x.shape, x.view.strides, strict=True)]
            found[x] = [0] * (len(shape) - len(x.shape)) + strides
        return found

    def _write_term(self, x: Any, at: Mapping[Value, str], code: Code, laned: bool) -> Term:
        """The text of an element, the places of whose leaves are known."""
        if not isinstance(x, Value):
            return Words(self.dtype, laned, "f").literal(x)
        if x.view is not None:
            return Term(self.point(x.view, code).at(at[x]), x.laned, x.kind)
        return self._write_op(x, at, code, laned)

    def _write_op(self, x: Value, at: Mapping[Value, str], code: Code, laned: bool) -> Term:
        terms = [self._write_term(y, at, code, laned) for y in x.arguments]
        rule: Any = self.rules[x.tensor.op.name] if x.tensor.op else None
        text = rule.write(Words(self.dtype, laned, x.kind), *terms, **x.tensor.params)
        return text if isinstance(text, Term) else Term(text, laned, x.kind)


def _find_kind(tensor: Tensor) -> str:
    return tensor.dtype.kind.replace("u", "i")


def hold_array(x: NDArray, real: np.dtype[Any], whole: np.dtype[Any]) -> NDArray:
    """An array as programs read it, in rows: real numbers, or whole ones, of which true is -1."""
    if x.dtype.kind == "f":
        return np.ascontiguousarray(x, real)
    held = np.asarray(x, whole, order="C")
    wide = x.dtype != whole and x.dtype.itemsize >= whole.itemsize
    if wide and not np.array_equal(held, x):
        raise OverflowError(f"compile: expected integers that fit {whole}, got larger ones")
    return np.negative(held, out=held) if x.dtype.kind == "b" else held  # of no axes too
