"""A function in C for arguments of certain shapes and dtypes: recorded, written, compiled and called."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.plan import UnbatchableError, UnwritableError
from tensorgrad.graph.native.printer import write_c
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.record import UncompilableError, compare, record, sort_graph
from tensorgrad.graph.native.toolchain import build

# What a step returns, as prelude.c says.
STEPPED, NOT_FINITE, ANOTHER_BRANCH, NO_SUCH_ROW, NO_MEMORY, TOO_LARGE = range(6)

_locks: dict[Path, threading.Lock] = {}  # a library has one memory: one call at a time
if hasattr(os, "register_at_fork"):  # a child has no thread that would release one
    os.register_at_fork(after_in_child=_locks.clear)


class Update(NamedTuple):
    """A step of an optimizer as compiled code makes it.

    Attributes
    ----------
    kind : int
        1 for gradient descent, 2 for Adam.
    parameters : list of Tensor
    values : list of arrays
        The parameters' own arrays, which are changed.
    slots : list of lists of arrays
        What is kept for each parameter from step to step, changed too.
    options : list of arrays (7,), float64
        See the functions ``descend`` and ``adapt`` in the generated C.
    clip_value, clip_norm : float or None
    """

    kind: int
    parameters: list[Tensor]
    values: list[NDArray]
    slots: list[list[NDArray]]
    options: list[NDArray]
    clip_value: float | None
    clip_norm: float | None


class BranchError(Exception):
    """A decision by a value came out otherwise than it was recorded: the results are of another function."""


class Variant:
    """A function in C, for arguments of certain shapes and dtypes.

    Attributes
    ----------
    recording : Recording
    program : Program
    source : str
        The C.
    built : Built
        The library.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arrays: Sequence[NDArray],
        names: Sequence[str],
        differentiate: bool,
        cotangents: Sequence[NDArray | None] = (),
    ) -> None:
        try:
            self.recording = record(function, arrays, names, differentiate, cotangents)
        except UncompilableError:
            if differentiate:  # an op without a rule is named first, not something in its formula
                Expansion(record(function, arrays, names, False), C_RULES)
            raise
        turned = [np.roll(x, 1, axis=0) if x.ndim else x for x in arrays]
        both = self.recording, record(function, turned, names, differentiate, cotangents)
        compare(both, [sort_graph(r.results()) for r in both])
        graph, other = (Expansion(r, C_RULES) for r in both)
        compare(both, [graph.order, other.order])
        self.program = _plan(graph, next((x.shape[0] for x in arrays if x.ndim), None))
        what = "its value and gradients" if self.recording.gradients else "its value"
        name = getattr(function, "__name__", type(function).__name__)
        self.source = write_c(self.program, f"{name}({', '.join(names)}): {what}, in {self.program.dtype}.")
        self.built = build(self.source)
        self._call = self.built.library.step
        self._whole = np.dtype(f"i{self.program.dtype.itemsize}")
        self._readers = [self._make_reader(leaf) for _, leaf in self.program.arguments]

    @property
    def keeps_rows_apart(self) -> bool:
        """Whether each sample's results depend on that sample alone."""
        return self.program.samples is not None and all(b.role != "sums" for b in self.program.buffers)

    def draw(self) -> list[NDArray]:
        """What layers draw for a call."""
        return [make() for _, make in self.recording.draws]

    def run(
        self, arrays: Sequence[NDArray], threads: int, others: Sequence[NDArray] | None = None
    ) -> tuple[list[NDArray], list[NDArray]]:
        """The outputs and what is reported, and the gradients. `BranchError` if a guard does not hold.

        ``others`` is what was drawn already, and the cotangents.
        """
        arrays = [*arrays, *(self.draw() if others is None else others)]
        gradients = [np.empty(p.shape, p.dtype) for p, _ in self.recording.gradients]
        outputs, _ = self._step(arrays, [x.ctypes.data for x in gradients], threads, 0)
        return outputs, gradients

    def update(self, arrays: Sequence[NDArray], threads: int, update: Update) -> tuple[list[NDArray], bool]:
        """The outputs and what is reported, and whether a step was made: none is of what is not finite.

        `BranchError` if a guard does not hold; then no step was made either.
        """
        changed = [[x, *slots] for x, slots in zip(update.values, update.slots, strict=True)]
        rows = [[np.ascontiguousarray(x) for x in own] for own in changed]
        clip = np.array([update.clip_norm or 0.0, np.inf if update.clip_value is None else update.clip_value])
        pointers: list[int | None] = [clip.ctypes.data]
        places = {id(p): i for i, p in enumerate(update.parameters)}
        for p, _ in self.recording.gradients:
            i = places.get(id(p))
            its = [] if i is None else [x.ctypes.data for x in rows[i]]
            options = None if i is None else update.options[i].ctypes.data
            pointers += [*its, *[None] * (4 - len(its)), options]
        outputs, result = self._step([*arrays, *self.draw()], pointers, threads, update.kind)
        for own, copies in zip(changed, rows, strict=True):
            for x, row in zip(own, copies, strict=True):
                if row is not x:  # it lies in memory in another order
                    x[...] = row
        return outputs, result == STEPPED

    def _step(
        self, arrays: Sequence[NDArray], pointers: Sequence[int | None], threads: int, mode: int
    ) -> tuple[list[NDArray], int]:
        values, dtype = self.program.outputs, self.program.dtype
        held = [self._hold(read(arrays)) for read in self._readers]
        outputs = [np.empty(value.shape, dtype if value.kind == "f" else self._whole) for value in values]
        places = [*(x.ctypes.data for x in (*outputs, *held)), *pointers]
        with _locks.setdefault(self.built.path, threading.Lock()):
            result = self._call((ctypes.c_void_p * len(places))(*places), threads, mode)
        if result == ANOTHER_BRANCH:
            raise BranchError
        if result == NO_SUCH_ROW:
            raise IndexError("compile: an index is out of range")
        if result == NO_MEMORY:
            raise MemoryError("compile: no memory for the step")
        if result == TOO_LARGE:
            raise OverflowError(f"compile: expected integers that fit {self._whole}, got larger ones")
        return [x.astype(v.tensor.dtype, copy=False) for x, v in zip(outputs, values, strict=True)], result

    def _make_reader(self, leaf: Tensor | NDArray) -> Callable[[Sequence[NDArray]], NDArray]:
        """What gives a leaf's values, from the arguments of a call."""
        for i, tensor in enumerate(self.recording.given()):
            if tensor is leaf:
                return lambda arrays: arrays[i]
        return lambda arrays: leaf.data if isinstance(leaf, Tensor) else leaf

    def _hold(self, x: NDArray) -> NDArray:
        """An array as the program reads it: real or whole numbers, true as -1, in rows."""
        if x.dtype.kind == "f":
            return np.ascontiguousarray(x, self.program.dtype)
        whole = np.asarray(x, self._whole, order="C")
        wide = x.dtype != self._whole and x.dtype.itemsize >= self._whole.itemsize
        if wide and not np.array_equal(whole, x):
            raise OverflowError(f"compile: expected integers that fit {self._whole}, got larger ones")
        return -whole if x.dtype.kind == "b" else whole


def _plan(graph: Expansion, samples: int | None) -> Program:
    """The program with lanes or, where samples are mixed, without."""
    registers = _count_registers()
    try:
        with suppress(UnbatchableError):
            return Program(graph, C_RULES, samples or None, registers)
        return Program(graph, C_RULES, None, registers)
    except (UnbatchableError, UnwritableError) as error:
        raise UncompilableError(f"compile: there is no rule in C for this: {error}") from error


def _count_registers() -> int:
    """How many vectors of 64 bytes stay in registers: most of 32 on AVX-512, else of 8 made of others."""
    chosen, known = os.environ.get("CC", ""), Path("/proc/cpuinfo")
    if "-march=" in chosen:
        wide = "avx512" in chosen or "x86-64-v4" in chosen
    else:
        wide = known.exists() and "avx512f" in known.read_text(encoding="utf-8")
    return 24 if wide else 6
