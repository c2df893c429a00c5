"""A recorded graph as a program of loops: what each op's rule is given to write with.

The rules of C (`tensorgrad.graph.export.c_rules`) are asked op by op, in the order of computation. They say
what an element is, or what moves; this says in which loops, over which memory, in which stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.code import Code, Pointer, Term, Words
from tensorgrad.graph.native.plan import (
    Buffer,
    Role,
    UnbatchableError,
    UnwritableError,
    Value,
    View,
    dense_view,
    lane_strides,
    merge_axes,
    place,
)
from tensorgrad.graph.native.record import find_tensors

#: ``rule(program, value, *arguments, **options)`` writes the value of an op; `Value` stands for tensors.
Rule = Callable[..., None]
#: Names of loop variables, for the axes of an array.
INDICES = "ijklmnopqrstuvw"


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
            raise UnwritableError(f"{value.name.rstrip('_')} of {value.tensor.dtype}")
        program.fuse(value, arguments)

    def write(self, words: Words, *terms: Term, **options: Any) -> str:
        """The text."""
        if self._kinds:
            terms = tuple(words.convert(term, words.kind) for term in terms)
        return self._write(words, *terms, **options)


class Share(NamedTuple):
    """Lines that threads share by units when the blocks of a stage are done."""

    name: str
    units: int
    code: Code


class Program:
    """A graph of tensors being written as loops.

    Parameters
    ----------
    order : sequence of Tensor
        The graph in the order of computation.
    find : function
        What stands for a tensor in ``order``.
    given : collection of int
        The identities of tensors that each call gives anew; those with ``samples`` rows are split into lanes.
    outputs, gradients : sequence of Tensor
    guards : sequence of (Tensor, bool)
        Conditions, and whether they held when the graph was recorded.
    rules : mapping of op name to rule
    samples : int or None
        The length of the batch axis; None plans without lanes.
    registers : int
        How many vectors of a block may stay in registers, beside those that are loaded.
    dtype : dtype
        float32 or float64: of all real numbers in the program.
    """

    def __init__(
        self,
        order: Sequence[Tensor],
        find: Callable[[Tensor], Tensor],
        given: Iterable[int],
        outputs: Sequence[Tensor],
        gradients: Sequence[Tensor],
        guards: Sequence[tuple[Tensor, bool]],
        rules: Mapping[str, Rule],
        *,
        samples: int | None,
        registers: int,
        dtype: np.dtype[Any],
    ) -> None:
        if samples is not None and not all(t.size for t in order):
            raise UnbatchableError("an array is empty")
        self.rules, self.samples, self.registers, self.dtype = rules, samples, registers, dtype
        self.lanes = 64 // dtype.itemsize
        self.blocks = 1 if samples is None else -(-samples // self.lanes)
        self.buffers: list[Buffer] = []
        self.arguments: list[tuple[Buffer, Tensor | NDArray]] = []
        self.stages: dict[tuple[int, bool], Code] = {}
        self.shared: dict[int, list[Share]] = {}
        self.functions: dict[str, str] = {}  # texts of helper functions and tables, by their names
        self._find, self._given = find, {*given}
        self._wanted = {id(find(t)) for t in (*outputs, *gradients, *(t for t, _ in guards))}
        self._names: dict[str, int] = {}
        self._rows: dict[int, Value] = {}
        self._clock = 0
        self._values: dict[int, Value] = {}
        for tensor in order:
            kind = tensor.dtype.kind.replace("u", "i")
            self._values[id(tensor)] = Value(tensor, self.name(tensor), kind)
            for x in find_tensors(tensor):
                self.value_of(x).users.append(tensor)
        for tensor in order:
            self._clock += 1
            self._write(self.value_of(tensor))
        self.outputs = [self.value_of(t) for t in outputs]
        self.gradients = [self.value_of(t) for t in gradients]
        self.guards = [(self.value_of(t), outcome) for t, outcome in guards]
        if any(value.laned for value in self.gradients):
            raise UnbatchableError("a gradient has a row for each sample")

    # Names and memory

    def name(self, what: Tensor | str) -> str:
        """A name of the program's own for a tensor, after that in the graph."""
        made_by = "constant" if isinstance(what, str) or what.op is None else what.op.name
        text = what if isinstance(what, str) else what.name or made_by
        base = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "value"
        base = base if base[0].isalpha() else f"v_{base}"
        self._names[base] = number = self._names.get(base, 0) + 1
        return f"{base}_" if number == 1 else f"{base}_{number}"

    def new_view(
        self,
        name: str,
        shape: tuple[int, ...],
        batch: int | None,
        whole: bool = False,
        role: Role | None = None,
        lanes: bool = False,
    ) -> View:
        """New memory for an array in row-major order, or in that of `lane_strides`."""
        note = " x ".join(str(n) for k, n in enumerate(shape) if k != batch) or "1"
        role = role or ("plain" if batch is None else "arena")
        buffer = Buffer(name, 1, batch is not None, whole, role, note, self._clock, self._clock)
        self.buffers.append(buffer)
        view = dense_view(buffer, shape, batch)
        buffer.size = max(int(np.prod([shape[k] for k in view.axes()], dtype=int)), 1)
        return View(buffer, shape, lane_strides(shape, batch), 0, batch) if lanes else view

    def code(self, stage: int, laned: bool) -> Code:
        """Where the lines of a stage go: of its blocks, or of what comes before them once."""
        return self.stages.setdefault((stage, laned), Code())

    def share(self, stage: int, name: str, units: int) -> Code:
        """Where the lines go that threads share by units when the blocks of a stage are done."""
        self.shared.setdefault(stage, []).append(Share(name, units, code := Code()))
        return code

    @contextmanager
    def function(self, name: str, parameters: str) -> Iterator[Code]:
        """What is put inside is the body of a function that all stages can call."""
        code = Code(0)
        with code.block(f"INLINE void {name}({parameters})"):
            yield code
        self.functions[name] = "\n".join(code.lines)

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
        return self._values[id(self._find(x))] if isinstance(x, Tensor) else x

    def _write(self, value: Value) -> None:
        """Ask the rule of an op; for what is made by none read the caller's memory."""
        tensor = value.tensor
        if tensor.op is None:
            self._read(value, tensor)
            if id(tensor) in self._given and self.samples is not None and value.shape[:1] == (self.samples,):
                self._spread(value)
            return
        arguments = [self.value_of(x) for x in tensor.inputs]
        self.rules[tensor.op.name](self, value, *arguments, **tensor.params)
        if id(tensor) in self._wanted:
            self.need(value)

    def _read(self, value: Value, source: Tensor | NDArray) -> None:
        value.view = self.new_view(value.name, value.shape, None, value.kind != "f", "argument")
        self.arguments.append((value.view.buffer, source))

    def _spread(self, value: Value) -> None:
        """Read the rows of an argument into lanes."""
        assert value.view is not None
        code = self.code(0, True)
        rows = self.point(value.view, code)
        value.batch = 0
        value.view = self.new_view(f"{value.name}lanes", value.shape, 0, value.kind != "f")
        to, size = self.point(value.view, code), value.view.buffer.size
        code.put(f"load({to.name}, {rows.name}, {size}, block, count);  // a sample a lane")

    def constant(self, x: Any) -> Value:
        """The value of a plain array that an op was given; a value stands for itself."""
        if isinstance(x, Value):
            return x
        tensor = Tensor(x)
        value = Value(tensor, self.name("constant"), tensor.dtype.kind.replace("u", "i"))
        self._read(value, x)
        return value

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
        self.copy(self.code(value.stage, value.laned), view, dense)
        return dense

    def copy(self, code: Code, source: View, target: View) -> None:
        """Copy the elements of a view into another of the same shape, which may be in lanes."""
        if target.batch is not None and source.batch is None and source.strides[target.batch]:
            raise UnbatchableError("samples are joined with rows of a plain array")
        axes = [*target.axes()]
        strides = [[view.strides[k] for k in axes] for view in (source, target)]
        loops = merge_axes([target.shape[k] for k in axes], strides)
        spread = (
            ("all_whole({})" if source.buffer.whole else "all({})") if source.batch != target.batch else "{}"
        )
        from_, to = self.point(source, code), self.point(target, code)
        with code.loops(**{INDICES[k]: n for k, (n, _) in enumerate(loops)}) as index:
            places = [place(index, [steps[side] for _, steps in loops]) for side in (0, 1)]
            code.put(f"{to.at(places[1])} = {spread.format(from_.at(places[0]))};")

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
        role: Role | None = "sums" if summed else None
        view = self.new_view(value.name, value.shape, batch, value.kind != "f", role, lanes=not dense)
        view.buffer.stage = stage
        self.see(value, view, stage + summed)
        code = self.code(stage, summed or value.laned)
        code.put(f"// {value.name}: {what}, {view.buffer.note}")
        return code, *(self.point(v, code) for v in (view, *views))

    def see(self, value: Value, view: View, stage: int) -> None:
        """Let a value be what lies in a view from a stage on."""
        if view.batch is not None and view.shape[view.batch] != self.samples:
            raise UnbatchableError(f"{value.name} repeats samples")
        value.view, value.batch, value.stage = view, view.batch, stage

    # Elements

    def fuse(self, value: Value, arguments: Sequence[Any]) -> None:
        """A value each of whose elements is made of one of each argument, which broadcast.

        It is written into the loop of its user, if it has one that reads elements, or into a loop of its own.
        """
        ndim = len(value.shape)
        laned = [x for x in arguments if isinstance(x, Value) and x.batch is not None]
        batches = {x.batch + ndim - len(x.shape) for x in laned if x.batch is not None}
        if len(batches) > 1:
            raise UnbatchableError(f"{value.name} meets samples along two axes")
        value.batch = batches.pop() if batches else None
        if value.batch is not None and value.shape[value.batch] != self.samples:
            raise UnbatchableError(f"{value.name} repeats samples")
        values = [self.constant(x) if isinstance(x, np.ndarray) and x.ndim else x for x in arguments]
        value.arguments = tuple(self._across(value, x) if isinstance(x, Value) else x for x in values)
        value.stage = max((x.stage for x in value.arguments if isinstance(x, Value)), default=0)
        if not self._is_inlined(value):
            self.need(value)

    def _across(self, value: Value, x: Value) -> Value:
        """An argument of a laned value: in lanes, the same for all, or rows of the caller's memory."""
        if value.batch is None or x.laned:
            return x
        axis = value.batch - len(value.shape) + len(x.shape)
        if axis < 0 or x.shape[axis] == 1 or self.need(x).strides[axis] == 0:
            return x
        view = self.need(x)
        if axis or view.buffer.role != "argument" or not view.is_dense() or view.offset:
            raise UnbatchableError(f"{value.name} meets an array that is not the same for all samples")
        if id(x) not in self._rows:
            rows = self._rows[id(x)] = Value(x.tensor, f"{x.name}rows_", x.kind, view=view)
            self._spread(rows)
        return self._rows[id(x)]

    def _is_inlined(self, value: Value) -> bool:
        """Whether the one user of a value writes it out: an op on elements of the same shape, or a sum."""
        if len(value.users) != 1 or id(value.tensor) in self._wanted:
            return False
        user = value.users[0]
        assert user.op is not None
        rule = self.rules[user.op.name]
        return getattr(rule, "fuses", False) and (
            user.shape == value.shape or not isinstance(rule, Elementwise)
        )

    def _write_out(self, value: Value) -> None:
        """Write an expression into a loop of its own."""
        leaves = self._find_leaves(value, value.shape)
        op = value.tensor.op.name if value.tensor.op else ""
        code, out = self.begin(value, op, batch=value.batch, stage=value.stage)
        axes = [*out.view.axes()]
        steps = [[strides[k] for k in axes] for strides in (out.view.strides, *leaves.values())]
        loops = merge_axes([value.shape[k] for k in axes], steps)
        with code.loops(**{INDICES[k]: n for k, (n, _) in enumerate(loops)}) as index:
            places = [place(index, [of[j] for _, of in loops]) for j in range(len(leaves) + 1)]
            at = dict(zip(leaves, places[1:], strict=True))
            term = self._write_term(value, at, code, value.laned, outermost=True)
            code.put(f"{out.at(places[0])} = {term};")

    def element(self, value: Value, index: Sequence[str], code: Code) -> Term:
        """The text of an element, for ops that write loops of their own."""
        leaves = {value: value.view.strides} if value.view else self._find_leaves(value, value.shape)
        at = {leaf: place(index, strides) for leaf, strides in leaves.items()}
        return self._write_term(value, at, code, value.laned)

    def _find_leaves(self, value: Value, shape: tuple[int, ...]) -> dict[Value, Sequence[int]]:
        """The values in memory that an expression reads, with their strides along the axes of ``shape``."""
        found: dict[Value, Sequence[int]] = {}
        for x in value.arguments:
            if not isinstance(x, Value):
                continue
            same = x.stage == value.stage and x.laned == value.laned and x.shape == value.shape
            if x.view is None and same:
                found |= self._find_leaves(x, shape)
                continue
            view, lead = self.need(x), len(shape) - len(x.shape)
            found[x] = [0] * lead + [0 if n == 1 else s for n, s in zip(x.shape, view.strides, strict=True)]
        return found

    def _write_term(
        self, x: Any, at: Mapping[Value, str], code: Code, laned: bool, outermost: bool = False
    ) -> Term:
        """The text of an element, the places of whose leaves are known."""
        if not isinstance(x, Value):
            return Words(self.dtype, laned, "f").literal(x)
        if x.view is not None and not outermost:
            return Term(self.point(x.view, code).at(at[x]), x.laned, x.kind)
        terms = [self._write_term(y, at, code, laned) for y in x.arguments]
        assert x.tensor.op is not None
        rule: Any = self.rules[x.tensor.op.name]
        return Term(rule.write(Words(self.dtype, laned, x.kind), *terms, **x.tensor.params), laned, x.kind)
