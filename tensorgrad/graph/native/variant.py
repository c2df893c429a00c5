"""A function in C for arguments of certain shapes and dtypes: recorded, written, compiled and called."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import threading
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.engine import array_of
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.expansions import Expansion, compare
from tensorgrad.graph.native.plan import UnbatchableError, UnwritableError
from tensorgrad.graph.native.printer import write_c
from tensorgrad.graph.native.program import Program, Vectors, hold_array
from tensorgrad.graph.native.record import Recording, UncompilableError, record
from tensorgrad.graph.native.toolchain import build

# What a step returns, as prelude.c says.
STEPPED, NOT_FINITE, ANOTHER_BRANCH, NO_SUCH_ROW, NO_MEMORY, TOO_LARGE = range(6)
TROUBLES = 16  # and what they are, of a step that was made
MANY = 1000  # arrays whose addresses are known

_makers: weakref.WeakValueDictionary[int, Variant] = weakref.WeakValueDictionary()  # of gradients
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
    options : array (parameters, 7), float64
        See the functions ``descend`` and ``adapt`` in the generated C.
    clip_value, clip_norm : float or None
    """

    kind: int
    parameters: list[Tensor]
    values: list[NDArray]
    slots: list[list[NDArray]]
    options: NDArray
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
        graph = record_graph(function, arrays, names, differentiate, cotangents)
        self.recording = graph.recording
        self.recording.values.clear()  # which may be large
        self.program = plan_program(graph, next((x.shape[0] for x in arrays if x.ndim), None))
        what = "its value and gradients" if self.recording.gradients else "its value"
        name = getattr(function, "__name__", type(function).__name__)
        self.source = write_c(self.program, f"{name}({', '.join(names)}): {what}, in {self.program.dtype}.")
        self.built = build(self.source)
        self._call = self.built.functions.step
        self._call.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_int
        self._places = {id(t): i for i, t in enumerate(self.recording.given())}  # among what a call is given
        self._loaded = [self._places[id(self.program.arguments[k][1])] for k in self.program.loaded]
        self._addresses: dict[int, tuple[weakref.ref[NDArray], int]] = {}

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
        places = [x.ctypes.data for x in gradients]
        outputs, _ = self._step(arrays, places, threads, 0, {})
        if gradients:
            self._given = [*zip(map(weakref.ref, gradients), places, strict=True)]
            self._threads = threads
            leaves = [id(p) for p, _ in self.recording.gradients]
            if _makers.get(leaves[0]) is not self:
                _makers.update(dict.fromkeys(leaves, self))
        return outputs, gradients

    def find_gradients(self, parameters: Sequence[Tensor]) -> list[int] | None:
        """Where those are that the last `run` gave, if these parameters have them, as they were, by now."""
        last = self._given  # another thread may run it meanwhile
        given = {id(p): x() for (p, _), (x, _) in zip(self.recording.gradients, last, strict=True)}
        for p in parameters:
            x, g = given.get(id(p)), p.grad
            if x is None or not isinstance(g, np.ndarray) or g.base is not x:
                return None
            if (g.shape, g.strides, p.shape, p.dtype) != (x.shape, x.strides, x.shape, x.dtype):
                return None
        return [place for _, place in last]

    def apply(self, update: Update, gradients: Sequence[int]) -> int | None:
        """Make a step of the gradients that `run` gave; None, and no step, where they are not finite.

        Else what NumPy would have warned of: the sum of 1, division by zero, 2, overflow, and 8, invalid.
        """
        program = self.program
        unread = len(program.outputs) + len(program.arguments) + len(program.loaded)
        with self._pointing(update) as (pointers, _):
            places = array("Q", [*[0] * unread, *pointers, *gradients])
            with _locks.setdefault(self.built.path, threading.Lock()):
                result = self._call(places.buffer_info()[0], self._threads, -update.kind)
        return None if 0 < result < TROUBLES else result % TROUBLES

    def update(self, arrays: Sequence[NDArray], threads: int, update: Update) -> tuple[list[NDArray], bool]:
        """The outputs and what is reported, and whether a step was made: none is of what is not finite.

        `BranchError` if a guard does not hold; then no step was made either.
        """
        with self._pointing(update) as (pointers, values):
            outputs, result = self._step([*arrays, *self.draw()], pointers, threads, update.kind, values)
        return outputs, result == STEPPED

    @contextmanager
    def _pointing(self, update: Update) -> Iterator[tuple[list[int], dict[int, NDArray]]]:
        """Pointers to what a step changes and reads of an optimizer, and the parameters' values, in rows."""
        changed = [[x, *slots] for x, slots in zip(update.values, update.slots, strict=True)]
        rows = [[np.ascontiguousarray(x) for x in own] for own in changed]
        clip = np.array([update.clip_norm or 0.0, np.inf if update.clip_value is None else update.clip_value])
        pointers, options = [clip.ctypes.data], update.options.ctypes.data
        numbers = {id(p): i for i, p in enumerate(update.parameters)}
        for p, _ in self.recording.gradients:
            i = numbers.get(id(p))
            its = [] if i is None else [self._find_address(x) for x in rows[i]]
            held = 0 if i is None else options + i * update.options.strides[0]
            pointers += [*its, *[0] * (4 - len(its)), held]
        yield pointers, {id(p): own[0] for p, own in zip(update.parameters, rows, strict=True)}
        for own, copies in zip(changed, rows, strict=True):
            for x, row in zip(own, copies, strict=True):
                if row is not x:  # it lies in memory in another order
                    x[...] = row

    def _step(
        self,
        arrays: Sequence[NDArray],
        pointers: Sequence[int],
        threads: int,
        mode: int,
        values: Mapping[int, NDArray],
    ) -> tuple[list[NDArray], int]:
        """A call of the library; of some leaves, by their identities, the values are here."""
        made, dtype, whole = self.program.outputs, self.program.dtype, self.program.whole
        arrays, orders = [*arrays], [0] * len(self._loaded)
        for k, place in enumerate(self._loaded):
            x: Any = arrays[place]  # or rows of an array, as `Code` may give: they are read where they lie
            if not isinstance(x, np.ndarray) and x.array.dtype == dtype and x.array.flags.c_contiguous:
                arrays[place], orders[k] = x.array, x.order.ctypes.data
        read = [self._read_leaf(leaf, arrays, values) for _, leaf in self.program.arguments]
        outputs = [np.empty(value.shape, dtype if value.kind == "f" else whole) for value in made]
        shown = [*(x.ctypes.data for x in outputs), *(place for place, _ in read)]
        places = array("Q", [*shown, *orders, *pointers])
        with _locks.setdefault(self.built.path, threading.Lock()):
            result = self._call(places.buffer_info()[0], threads, mode)
        if result == ANOTHER_BRANCH:
            raise BranchError
        if result == NO_SUCH_ROW:
            raise IndexError("compile: an index is out of range")
        if result == NO_MEMORY:
            raise MemoryError("compile: no memory for the step")
        if result == TOO_LARGE:
            raise OverflowError(f"compile: expected integers that fit {whole}, got larger ones")
        return [x.astype(v.tensor.dtype, copy=False) for x, v in zip(outputs, made, strict=True)], result

    def _read_leaf(
        self, leaf: Tensor | NDArray, arrays: Sequence[NDArray], values: Mapping[int, NDArray]
    ) -> tuple[int, NDArray]:
        """Where a leaf's values are for this call, and what must live as long."""
        key = id(leaf)
        if key in values and values[key].dtype == self.program.dtype:
            return self._find_address(values[key]), values[key]
        if key in self._places:
            held = hold_array(arrays[self._places[key]], self.program.dtype, self.program.whole)
            return held.ctypes.data, held
        x = array_of(leaf)
        if x.dtype == self.program.dtype and x.flags.c_contiguous:
            return self._find_address(x), x
        held = hold_array(x, self.program.dtype, self.program.whole)
        return held.ctypes.data, held

    def _find_address(self, x: NDArray) -> int:
        """Where an array's numbers are. NumPy takes a microsecond to tell: it is asked once."""
        known = self._addresses.get(id(x))
        if known is None or known[0]() is not x:
            if len(self._addresses) > MANY:
                self._addresses.clear()
            known = self._addresses[id(x)] = weakref.ref(x), x.ctypes.data
        return known[1]


def record_graph(
    function: Callable[..., Any],
    arrays: Sequence[NDArray],
    names: Sequence[str],
    differentiate: bool,
    cotangents: Sequence[NDArray | None] = (),
    language: str = "C",
) -> Expansion:
    """The graph of a function as `record` finds it, in ops with rules, held against one of other data."""
    turned = [np.roll(x, 1, axis=0) if x.ndim else x for x in arrays]
    try:
        recordings = (record(function, x, names, differentiate, cotangents) for x in (arrays, turned))
        return expand_alike(recordings, language)
    except UncompilableError:
        if differentiate:  # an op without a rule is named first, not something in its formula
            Expansion(record(function, arrays, names, False), C_RULES, language=language)
        raise


def find_maker(parameters: Sequence[Tensor]) -> tuple[Variant, list[int]] | None:
    """The code that gave the gradients of these parameters, all of them in its last call; and all it gave."""
    maker = next((m for m in map(_makers.get, map(id, parameters)) if m is not None), None)
    gradients = maker and maker.find_gradients(parameters)
    return (maker, gradients) if maker and gradients else None


def expand_alike(recordings: Iterable[Recording], language: str = "C") -> Expansion:
    """The first graph in ops that have rules; UncompilableError unless the other, of other data, is alike."""
    first, second = (Expansion(recording, C_RULES, language=language) for recording in recordings)
    compare(first, second)
    second.recording.values.clear()
    return first


def plan_program(graph: Expansion, samples: int | None) -> Program:
    """The program with lanes or, where there are no samples or they are mixed, without."""
    vectors = find_vectors()
    try:
        with suppress(UnbatchableError):
            return Program(graph, C_RULES, samples or None, vectors)
        return Program(graph, C_RULES, None, vectors)
    except (UnbatchableError, UnwritableError) as error:
        raise UncompilableError(f"compile: there is no rule in C for this: {error}") from error


def find_vectors() -> Vectors:
    """The vectors of this processor, or of the one that CC names: AVX-512's, AVX2's, SSE's or NEON's."""
    chosen, known = os.environ.get("CC", ""), Path("/proc/cpuinfo")
    named = re.findall(r"-march=(?!native)(\S+)", chosen)
    flags = known.read_text(encoding="utf-8") if known.exists() and not named else " ".join(named)
    if re.search(r"avx512f|x86-64-v4", flags):
        return Vectors(64, 24)
    if platform.machine() not in ("x86_64", "AMD64"):
        return Vectors(16, 24)
    old = known.exists() and not named and " avx2 " not in flags
    return Vectors(16, 12) if old or named[-1:] in (["x86-64"], ["x86-64-v2"]) else Vectors(32, 12)
