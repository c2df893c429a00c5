"""tg.compile: a function recorded once, written in C, and called with arrays from then on."""

from __future__ import annotations

import ctypes
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.engine import paused
from tensorgrad.core.parallel import pool
from tensorgrad.graph.native.c_text import write
from tensorgrad.graph.native.plan import UnbatchableError
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.record import Expansion, Recording, UncompilableError, compare, record
from tensorgrad.graph.native.rules import RULES
from tensorgrad.graph.native.snapshot import Snapshot
from tensorgrad.graph.native.toolchain import Built, build

__all__ = ["Compiled", "compile"]

#: So many recordings of one function are told of: it may never be called twice with the same shapes.
MANY = 16

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


class Stepper(Protocol):
    """An optimizer whose step can be compiled.

    ``begin_update`` is given the leaves that have a gradient, and ``end_update`` told whether the step was made.
    """

    def begin_update(self, leaves: Sequence[Tensor]) -> Update: ...
    def end_update(self, stepped: bool) -> None: ...
    def zero_grad(self) -> None: ...
    def step(self) -> None: ...


class Variant:
    """A function in C, for arguments of certain shapes and dtypes."""

    def __init__(self, function: Callable[..., Any], arrays: Sequence[NDArray], names: Sequence[str], differentiate: bool) -> None:
        self.recording = recording = record(function, arrays, names, differentiate)
        turned = [np.roll(x, 1, axis=0) if x.ndim else x for x in arrays]
        compare(recording, record(function, turned, names, differentiate))
        expansion = Expansion(recording.results(), RULES)
        dtype = _find_dtype(recording)
        given = {id(t): t.name or "" for t in [*recording.inputs, *(t for t, _ in recording.draws)]}
        samples = next((x.shape[0] for x in arrays if x.ndim), None)
        self.program = _plan(expansion, given, samples, dtype)
        values = [self.program.values[id(t)] for t in expansion.outputs]
        first, last = len(recording.outputs), len(recording.outputs) + len(recording.gradients)
        self._results = [*values[:first], *values[last:]]
        slots = min(self.program.blocks, 2)
        outcomes = [outcome for _, outcome in recording.guards]
        self.source, _ = write(self.program, [(v.name, v) for v in self._results], values[first:last], slots, outcomes)
        self.built: Built = build(self.source)
        self._call = self.built.library.step
        self._lock = _locks.setdefault(self.built.path, threading.Lock())
        self._whole = np.dtype(np.int32 if dtype == np.float32 else np.int64)
        inputs = {id(t): i for i, t in enumerate(recording.inputs)}
        draws = {id(t): make for t, make in recording.draws}
        self._leaves = [(t, inputs.get(id(t)), draws.get(id(t))) for _, t in self.program.arguments]

    @property
    def keeps_rows_apart(self) -> bool:
        """Whether each sample's results depend on that sample alone."""
        return self.program.samples is not None and all(b.role != "sums" for b in self.program.buffers)

    def run(self, arrays: Sequence[NDArray], threads: int) -> tuple[list[NDArray], list[NDArray]]:
        """The outputs and the gradients."""
        gradients = [np.empty(p.shape, p.dtype) for p, _ in self.recording.gradients]
        held, outputs = self._hold(arrays)
        self._step([x.ctypes.data for x in (*held, *outputs, *gradients)], threads, 0)
        return outputs, gradients

    def update(self, arrays: Sequence[NDArray], threads: int, update: Update) -> tuple[list[NDArray], bool]:
        """The outputs, and whether a step was made: none is where the loss or a gradient is not finite, or where
        the function would decide otherwise than when it was recorded."""
        places = {id(p): i for i, p in enumerate(update.parameters)}
        changed = [[x, *slots] for x, slots in zip(update.values, update.slots, strict=True)]
        rows = [[np.ascontiguousarray(x) for x in arrays] for arrays in changed]
        held, outputs = self._hold(arrays)
        clip = np.array([update.clip_norm or 0.0, np.inf if update.clip_value is None else update.clip_value])
        pointers: list[int | None] = [x.ctypes.data for x in (*held, *outputs, clip)]
        for p, _ in self.recording.gradients:
            i = places.get(id(p))
            if i is None:
                pointers += [None] * 5
                continue
            own = [x.ctypes.data for x in rows[i]]
            pointers += [*own, *[None] * (4 - len(own)), update.options[i].ctypes.data]
        stepped = self._step(pointers, threads, update.kind) == 0
        for x, row in ((x, row) for i in range(len(rows)) for x, row in zip(changed[i], rows[i], strict=True)):
            if row is not x:  # it lies in memory in another order
                x[...] = row
        return outputs, stepped

    def _step(self, pointers: list[int | None], threads: int, mode: int) -> int:
        with self._lock:
            return int(self._call((ctypes.c_void_p * len(pointers))(*pointers), threads, mode))

    def _hold(self, arrays: Sequence[NDArray]) -> tuple[list[NDArray], list[NDArray]]:
        """What the leaves are in this call, and new arrays for the outputs."""
        held = []
        for leaf, i, make in self._leaves:
            x = arrays[i] if i is not None else make() if make is not None else leaf._array if isinstance(leaf, Tensor) else leaf
            if x.dtype.kind != "f":
                x = -x.astype(self._whole) if x.dtype.kind == "b" else x.astype(self._whole)
            held.append(np.ascontiguousarray(x))
        return held, [np.empty(v.shape, self._whole if v.whole else v.tensor.dtype) for v in self._results]


def _plan(expansion: Expansion, given: dict[int, str], samples: int | None, dtype: np.dtype[Any]) -> Program:
    lanes = 64 // dtype.itemsize
    for rows in dict.fromkeys([samples or None, None]):
        try:
            return Program(
                expansion.order, given, expansion.outputs, RULES,
                samples=rows, lanes=lanes, vector=lanes, registers=_registers(), dtype=dtype,
            )  # fmt: skip
        except UnbatchableError as error:
            reason = error
    raise UncompilableError(f"compile: {reason}")


def _registers() -> int:
    """How many vectors of 64 bytes may stay in registers: most of 32, or of 16 of half the size."""
    try:
        wide = "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        wide = False
    return 24 if wide else 6


def _find_dtype(recording: Recording) -> np.dtype[Any]:
    dtypes = {t.dtype for t in recording.results() if t.dtype.kind == "f"}
    if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise UncompilableError(f"compile: expected one dtype, float32 or float64, got {', '.join(sorted(map(str, dtypes))) or 'none'}")
    return dtypes.pop()


class Compiled:
    """A function that computes in C what another computes; `compile` makes it.

    Attributes
    ----------
    recordings : int
        How often the function was recorded: once for each combination of shapes and dtypes, and anew when
        something that it reads has changed.
    """

    def __init__(self, function: Callable[..., Any], optimizer: Stepper | None = None, threads: int | None = None) -> None:
        if not callable(function):
            raise TypeError(f"compile: expected a function or a layer, got {function!r}")
        self.function, self.optimizer = function, optimizer
        self.threads = None if threads is None else positive_integer("compile", "threads", threads)
        self.recordings = 0
        self._variants: dict[Any, Variant] = {}
        self._snapshot: Snapshot | None = None
        self._names = _parameter_names(function)
        self._op: Op[Any] = Op(_give_value, "compiled", ("parameters",), elementwise=False, native=False)
        self._op.defvjp_joint(_scale_gradients)

    def __call__(self, *arrays: Any) -> Any:
        """What the function gives; of an optimizer's step the loss that it had before."""
        given = [x._array if isinstance(x, Tensor) else np.asarray(x) for x in arrays]
        if self.optimizer is not None:
            return self._make_step(given)
        variant = self.variant(given, not paused.get())
        computed = self.compute(variant, given)
        if computed is None:
            return self.function(*given)
        outputs, gradients = computed
        results = [Tensor(x) for x in outputs]
        if gradients:
            leaves, values = zip(*gradients, strict=True)
            results[0] = self._op(*leaves, value=outputs[0], gradients=values)
        return results[0] if len(results) == 1 else tuple(results)

    def compute(
        self, variant: Variant, arrays: Sequence[NDArray]
    ) -> tuple[list[NDArray], list[tuple[Tensor, NDArray]]] | None:
        """What the function gives, and the gradients of the leaves; None if it would decide otherwise than when
        it was recorded."""
        outputs, gradients = variant.run(arrays, self.threads or pool.threads)
        if not self._settle(variant.recording, outputs):
            return None
        leaves = [leaf for leaf, _ in variant.recording.gradients]
        return outputs[: len(variant.recording.outputs)], [*zip(leaves, gradients, strict=True)]

    def make_step(self, variant: Variant, arrays: Sequence[NDArray], optimizer: Stepper) -> tuple[list[NDArray], bool]:
        """A step of an optimizer: what the function gives, and whether the step was made; see `Variant.update`."""
        update = optimizer.begin_update([leaf for leaf, _ in variant.recording.gradients])
        outputs, stepped = variant.update(arrays, self.threads or pool.threads, update)
        optimizer.end_update(stepped)
        if stepped:
            self._settle(variant.recording, outputs)
        return outputs, stepped

    def _make_step(self, arrays: Sequence[NDArray]) -> Tensor:
        assert self.optimizer is not None
        variant = self.variant(arrays, True)
        outputs, stepped = self.make_step(variant, arrays, self.optimizer)
        if stepped:
            return Tensor(outputs[0])
        if _decides_alike(variant.recording, outputs):
            raise FloatingPointError("compile: the loss or a gradient is not finite; the parameters are as before this step")
        self.optimizer.zero_grad()
        results = self.function(*arrays)
        loss: Tensor = results[0] if isinstance(results, (tuple, list)) else results
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _settle(self, recording: Recording, outputs: list[NDArray]) -> bool:
        """Hand on what layers want to know; whether all decisions are as they were recorded."""
        if not _decides_alike(recording, outputs):
            return False
        at = len(recording.outputs)
        for values, take in recording.reports:
            take(*outputs[at : at + len(values)])
            at += len(values)
        return True

    def variant(self, arrays: Sequence[NDArray], differentiate: bool) -> Variant:
        """The code for arguments like these, compiled if it is not yet there."""
        if self._snapshot is not None and not self._snapshot.holds():
            self._variants.clear()
            self._snapshot = None
        key = differentiate, tuple((x.shape, x.dtype) for x in arrays)
        variant = self._variants.get(key)
        if variant is None:
            names = [*self._names, *(f"x{i}" for i in range(len(self._names), len(arrays)))][: len(arrays)]
            variant = Variant(self.function, arrays, names, differentiate)
            self._variants[key] = variant
            self._snapshot = self._snapshot or Snapshot(self.function)
            self.recordings += 1
            if self.recordings == MANY:
                warnings.warn(
                    f"compile: recorded {MANY} times; is the function called with ever new shapes, or does something "
                    "that it reads change from call to call?",
                    stacklevel=3,
                )
        return variant

    @property
    def source(self) -> str:
        """The C of the latest recording."""
        if not self._variants:
            raise RuntimeError("compile: nothing is recorded yet; call the function first")
        return [*self._variants.values()][-1].source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the C to a file."""
        Path(path).write_text(self.source, encoding="utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.optimizer, self.threads)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", None) or type(self.function).__name__
        return f"<compiled {name}, recorded {self.recordings} times>"


def _decides_alike(recording: Recording, outputs: Sequence[NDArray]) -> bool:
    """Whether all decisions are as they were when the function was recorded."""
    guards = outputs[len(outputs) - len(recording.guards) :]
    return all(bool(found) == outcome for (_, outcome), found in zip(recording.guards, guards, strict=True))


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        return []


def _give_value(*parameters: Any, value: NDArray, gradients: tuple[NDArray, ...]) -> NDArray:
    return value


def _scale_gradients(g: Any, out: Any, *parameters: Any, value: NDArray, gradients: tuple[NDArray, ...]) -> tuple[Any, ...]:
    if any(isinstance(x, Tensor) for x in parameters):
        raise NotImplementedError("compile: second derivatives are not compiled; call the function itself")
    return gradients if np.all(g == 1) else tuple(g * x for x in gradients)


def compile(function: Callable[..., Any], *, optimizer: Stepper | None = None, threads: int | None = None) -> Compiled:
    """A function that computes in C what ``function`` computes: it is recorded, written and compiled when first called.

    Parameters
    ----------
    function : function or Layer
        Of arrays, to a Tensor or several; it is called with tensors of its arguments. What else it reads,
        such as the layers of a network, may change between calls.
    optimizer : Optimizer, optional
        Then each call is a whole training step: the loss, its gradients, and the step that the optimizer makes
        of them. The gradients are not kept in ``.grad``.
    threads : int, optional
        By default as many as `tuned_process` or the variable OMP_NUM_THREADS say, else the number of cores.

    Returns
    -------
    Compiled
        It gives a Tensor, from which `Tensor.backward` goes on as ever.

    Raises
    ------
    UncompilableError
        When called: if an op has no rule in C, or values leave the graph inside of the function.
    NoCompilerError
        If there is no C compiler, or it fails.

    >>> w = tg.Parameter([[1.0], [2.0]], name="w")
    >>> loss = tg.compile(lambda x, y: tg.mse(x @ w, y))
    >>> x, y = np.ones((4, 2)), np.zeros((4, 1))
    >>> out = loss(x, y)
    >>> out.backward()
    >>> out.item(), w.grad.ravel()
    (9.0, array([6., 6.]))
    """
    return Compiled(function, optimizer, threads)
