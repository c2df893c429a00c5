"""A function in C for arguments of certain shapes and dtypes: recorded, planned, written, compiled and
called.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
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
from tensorgrad.graph.native.record import Recording, UncompilableError, compare, record
from tensorgrad.graph.native.toolchain import build

# What a step returns, as prelude.c says.
STEPPED, NOT_FINITE, ANOTHER_BRANCH, NO_SUCH_ROW, NO_MEMORY = range(5)

_locks: dict[Path, threading.Lock] = {}  # a library has one memory: one call at a time


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
    ) -> None:
        self.recording = recording = record(function, arrays, names, differentiate)
        turned = [np.roll(x, 1, axis=0) if x.ndim else x for x in arrays]
        compare(recording, record(function, turned, names, differentiate))
        self.program = _plan(recording, next((x.shape[0] for x in arrays if x.ndim), None))
        what = "its value and gradients" if recording.gradients else "its value"
        name = getattr(function, "__name__", type(function).__name__)
        self.source = write_c(self.program, f"{name}({', '.join(names)}): {what}, in {self.program.dtype}.")
        self.built = build(self.source)
        self._call = self.built.library.step
        self._lock = _locks.setdefault(self.built.path, threading.Lock())
        self._whole = np.dtype(f"i{self.program.dtype.itemsize}")
        inputs = {id(t): i for i, t in enumerate(recording.inputs)}
        draws = {id(t): make for t, make in recording.draws}
        self._leaves = [
            (leaf, inputs.get(id(leaf)), draws.get(id(leaf))) for _, leaf in self.program.arguments
        ]

    @property
    def keeps_rows_apart(self) -> bool:
        """Whether each sample's results depend on that sample alone."""
        return self.program.samples is not None and all(b.role != "sums" for b in self.program.buffers)

    def run(self, arrays: Sequence[NDArray], threads: int) -> tuple[list[NDArray], list[NDArray]]:
        """The outputs and what is reported, and the gradients. `BranchError` if a guard does not hold."""
        gradients = [np.empty(p.shape, p.dtype) for p, _ in self.recording.gradients]
        outputs, _ = self._step(arrays, [x.ctypes.data for x in gradients], threads, 0)
        return outputs, gradients

    def update(self, arrays: Sequence[NDArray], threads: int, update: Update) -> tuple[list[NDArray], bool]:
        """The outputs and what is reported, and whether a step was made: none is where a gradient is not
        finite.
        """
        places = {id(p): i for i, p in enumerate(update.parameters)}
        clip = np.array([update.clip_norm or 0.0, np.inf if update.clip_value is None else update.clip_value])
        pointers: list[int | None] = [clip.ctypes.data]
        for p, _ in self.recording.gradients:
            i = places.get(id(p))
            own = [] if i is None else [update.values[i], *update.slots[i]]
            pointers += [x.ctypes.data for x in own] + [None] * (4 - len(own))
            pointers.append(None if i is None else update.options[i].ctypes.data)
        outputs, result = self._step(arrays, pointers, threads, update.kind)
        return outputs, result == STEPPED

    def _step(
        self, arrays: Sequence[NDArray], pointers: Sequence[int | None], threads: int, mode: int
    ) -> tuple[list[NDArray], int]:
        held = [self._hold(leaf, i, draw, arrays) for leaf, i, draw in self._leaves]
        values = self.program.outputs
        outputs = [np.empty(v.shape, self.program.dtype if v.kind == "f" else self._whole) for v in values]
        all_pointers = [*(x.ctypes.data for x in outputs), *(x.ctypes.data for x in held), *pointers]
        with self._lock:
            result = self._call((ctypes.c_void_p * len(all_pointers))(*all_pointers), threads, mode)
        if result == ANOTHER_BRANCH:
            raise BranchError
        if result == NO_SUCH_ROW:
            raise IndexError("compile: an index is out of range")
        if result == NO_MEMORY:
            raise MemoryError("compile: no memory for the step")
        given = [
            x if v.kind == "f" else x != 0 if v.kind == "b" else x
            for x, v in zip(outputs, values, strict=True)
        ]
        return [x.astype(v.tensor.dtype, copy=False) for x, v in zip(given, values, strict=True)], result

    def _hold(
        self,
        leaf: Tensor | NDArray,
        position: int | None,
        draw: Callable[[], NDArray] | None,
        arrays: Sequence[NDArray],
    ) -> NDArray:
        """What a leaf is in this call, as the program reads it: real or whole numbers, true as -1."""
        if position is not None:
            x = arrays[position]
        else:
            x = draw() if draw is not None else leaf.data if isinstance(leaf, Tensor) else leaf
        if x.dtype.kind == "f":
            return np.ascontiguousarray(x, self.program.dtype)
        whole = (
            np.negative(x, dtype=self._whole, casting="unsafe")
            if x.dtype.kind == "b"
            else x.astype(self._whole)
        )
        if x.dtype.itemsize > self._whole.itemsize and not np.array_equal(whole, x):
            raise OverflowError(
                f"compile: expected integers of {8 * self._whole.itemsize} bits, got larger ones"
            )
        return np.ascontiguousarray(whole)


def _plan(recording: Recording, samples: int | None) -> Program:
    """The program with lanes or, where samples are mixed, without."""
    expansion, dtype = Expansion(recording, C_RULES), _find_dtype(recording)
    for tensor in expansion.order:
        _require_dtype(tensor, dtype, expansion)
    given = [id(t) for t in (*recording.inputs, *(t for t, _ in recording.draws))]
    gradients = [g for _, g in recording.gradients]
    reason: Exception = UnwritableError("no rows")
    for rows in dict.fromkeys([samples or None, None]):
        try:
            return Program(
                expansion.order, expansion.find, given, recording.told(), gradients, recording.guards,
                C_RULES,
                samples=rows, registers=_count_registers(), dtype=dtype,
            )  # fmt: skip
        except UnbatchableError as error:
            reason = error
        except UnwritableError as error:
            raise UncompilableError(f"compile: there is no rule in C for {error}") from error
    raise UncompilableError(f"compile: {reason}")


def _find_dtype(recording: Recording) -> np.dtype[Any]:
    dtypes = {t.dtype for t in recording.results() if t.dtype.kind == "f"}
    if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
        found = ", ".join(sorted(map(str, dtypes))) or "none"
        raise UncompilableError(f"compile: expected results of one dtype, float32 or float64, got {found}")
    return dtypes.pop()


def _require_dtype(tensor: Tensor, dtype: np.dtype[Any], expansion: Expansion) -> None:
    """Real numbers are of one dtype throughout, but for what is only read to be converted."""
    if tensor.dtype.kind in "biu" or tensor.dtype == dtype:
        return
    users = [
        t
        for t in expansion.order
        if any(expansion.find(x) is tensor for x in t.inputs if isinstance(x, Tensor))
    ]
    if (
        tensor.op is not None
        or tensor.dtype.kind != "f"
        or any(t.op and t.op.name != "astype" for t in users)
    ):
        name = tensor.name or (tensor.op.name if tensor.op else "a constant")
        raise UncompilableError(
            f"compile: expected {dtype} throughout, got {tensor.dtype} in {name}; convert it before"
        )


def _count_registers() -> int:
    """How many vectors of 64 bytes stay in registers: most of 32 on AVX-512; of eight, made of two or four,
    else.
    """
    chosen = os.environ.get("CC", "")
    try:
        wide = "avx512" in chosen or "x86-64-v4" in chosen
        wide = wide or (
            "-march=" not in chosen and "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
        )
    except OSError:  # not on Linux
        wide = False
    return 24 if wide else 6
