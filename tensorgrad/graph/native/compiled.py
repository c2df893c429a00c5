"""tg.compile: a function recorded once, written in C, and called with arrays from then on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.engine import clock, paused
from tensorgrad.core.parallel import pool
from tensorgrad.graph.native.c_text import write
from tensorgrad.graph.native.plan import UnbatchableError
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.record import Expansion, Recording, UncompilableError, record
from tensorgrad.graph.native.rules import RULES

__all__ = ["Compiled", "UncompilableError", "compile"]


class Variant:
    """A function in C for arguments of certain shapes."""

    def __init__(self, function: Callable[..., Any], arrays: Sequence[NDArray], names: Sequence[str], differentiate: bool, build: Callable[[str], ctypes.CDLL]) -> None:
        self.recording = record(function, arrays, names, differentiate)
        again = record(function, [np.roll(x, 1, axis=0) if x.ndim else x for x in arrays], names, differentiate)
        dtype = _dtype_of(self.recording)
        expansion = Expansion(self.recording.results(), RULES)
        _compare(self.recording, again)
        given = {id(t): t.name or "" for t in [*self.recording.inputs, *(t for t, _ in self.recording.draws)]}
        samples = arrays[0].shape[0] if arrays and arrays[0].ndim else None
        import os
        vector = 64 // dtype.itemsize
        lanes = vector * int(os.environ.get("TG_GROUPS", "1"))
        plans: list[int | None] = [samples, None] if samples is not None else [None]
        for rows in plans:
            try:
                self.program = Program(
                    expansion.order, given, expansion.outputs, RULES, samples=rows, lanes=lanes, vector=vector, registers=24, dtype=dtype,
                )  # fmt: skip
                break
            except UnbatchableError as error:
                if rows is None:
                    raise UncompilableError(f"compile: {error}") from None
        else:
            raise AssertionError
        values = [self.program.values[id(t)] for t in expansion.outputs]
        many = len(self.recording.outputs)
        gradients = values[many : many + len(self.recording.gradients)]
        others = values[many + len(gradients) :]
        self.results = [*values[:many], *others]
        self.slots = min(self.program.blocks, 2)
        self.source, _ = write(self.program, [(v.name, v) for v in self.results], gradients, self.slots)
        self.step = build(self.source).step
        self.leaves = [t for _, t in self.program.arguments]
        self._whole = np.dtype(np.int32 if dtype == np.float32 else np.int64)
        self._kept = {id(t): self._convert(t._array) for t in self.leaves if isinstance(t, Tensor) and not t.requires_grad}
        self._inputs = {id(t): i for i, t in enumerate(self.recording.inputs)}
        self._draws = {id(t): make for t, make in self.recording.draws}

    def _convert(self, x: NDArray) -> NDArray:
        if x.dtype.kind == "f":
            return np.ascontiguousarray(x)
        x = -x.astype(self._whole) if x.dtype.kind == "b" else x.astype(self._whole)
        return np.ascontiguousarray(x)

    def update(self, arrays: Sequence[NDArray], threads: int, plan: Any) -> tuple[list[NDArray], bool]:
        """The outputs, and whether a step was made of the gradients: not where one is not finite."""
        order = [plan.places[id(p)] for p, _ in self.recording.gradients]
        held, outputs = self._hold(arrays)
        clip = np.array([plan.clip_norm or 0.0, np.inf if plan.clip_value is None else plan.clip_value])
        pointers = [x.ctypes.data for x in (*held, *outputs, clip)]
        for i in order:
            slots = [x.ctypes.data for x in plan.slots[i]]
            pointers += [plan.values[i].ctypes.data, *slots, *[None] * (3 - len(slots)), plan.options[i].ctypes.data]
        stepped = self.step((ctypes.c_void_p * len(pointers))(*pointers), threads, plan.kind) == 0
        return outputs, stepped

    def __call__(self, arrays: Sequence[NDArray], threads: int) -> tuple[list[NDArray], list[NDArray]]:
        """The outputs and the gradients."""
        held, outputs = self._hold(arrays)
        gradients = [np.empty(p.shape, p.dtype) for p, _ in self.recording.gradients]
        everything = [*held, *outputs, *gradients]
        pointers = (ctypes.c_void_p * len(everything))(*[x.ctypes.data for x in everything])
        self.step(pointers, threads, 0)
        return outputs, gradients

    def _hold(self, arrays: Sequence[NDArray]) -> tuple[list[NDArray], list[NDArray]]:
        """The arrays that the leaves have in this call, and new ones for the outputs."""
        held: list[NDArray] = []
        for t in self.leaves:
            i = self._inputs.get(id(t))
            if i is not None:
                held.append(self._convert(arrays[i]))
            elif id(t) in self._draws:
                held.append(self._convert(self._draws[id(t)]()))
            elif t.requires_grad:
                held.append(np.ascontiguousarray(t._array))
            else:
                held.append(self._kept[id(t)])
        outputs = [np.empty(v.shape, self._whole if v.whole else v.tensor.dtype) for v in self.results]
        return held, outputs


def _dtype_of(recording: Recording) -> np.dtype[Any]:
    dtypes = {t.dtype for t in recording.results() if t.dtype.kind == "f"}
    if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise UncompilableError(f"compile: expected one dtype, float32 or float64, got {sorted(map(str, dtypes))}")
    return dtypes.pop()


def _compare(first: Recording, second: Recording) -> None:
    """Refuse what differs between two recordings of different data: it is data in disguise."""
    from tensorgrad.graph.native.record import sort_graph

    drawn = {id(t) for r in (first, second) for t, _ in r.draws}
    one, two = sort_graph(first.results()), sort_graph(second.results())
    if len(one) != len(two):
        raise UncompilableError("compile: the function does other things with other values, which no guard can check")
    inputs = {id(t) for r in (first, second) for t in r.inputs}
    for a, b in zip(one, two, strict=True):
        if (a.op and a.op.name) != (b.op and b.op.name) or a.shape != b.shape or a.dtype != b.dtype:
            raise UncompilableError("compile: the function does other things with other values, which no guard can check")
        if a.op is None:
            if id(a) not in inputs and id(a) not in drawn and a is not b and not np.array_equal(a._array, b._array, equal_nan=a.dtype.kind == "f"):
                raise UncompilableError(f"compile: {a.name or 'a constant'} is made of the arguments, or drawn anew in each call, outside of the graph")
        elif not all(_are_equal(x, y) for x, y in zip(a.inputs, b.inputs, strict=True)) or not all(_are_equal(x, b.params[k]) for k, x in a.params.items()):
            raise UncompilableError(f"compile: {a.op.name} is given an array that is made of the arguments outside of the graph")


def _are_equal(x: Any, y: Any) -> bool:
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return isinstance(x, Tensor) and isinstance(y, Tensor)
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return np.array_equal(x, y)
    if isinstance(x, (tuple, list)):
        return len(x) == len(y) and all(map(_are_equal, x, y))
    return bool(x == y or (x != x and y != y))


class Compiled:
    """A function that computes in C what another computes; `compile` makes it."""

    def __init__(self, function: Callable[..., Any], threads: int | None = None, build: Any = None) -> None:
        self.function = function
        self.threads = threads
        self.variants: dict[Any, Variant] = {}
        self.recordings = 0
        self._build = build
        self._op: Op[Any] = Op(_forward, "compiled", ("parameters",), elementwise=False, native=False)
        self._op.defvjp_joint(_scale)

    def __call__(self, *arrays: Any) -> Any:
        """What the function gives, for arrays of any shapes; each combination of shapes is compiled once."""
        given = [x._array if isinstance(x, Tensor) else np.asarray(x) for x in arrays]
        differentiate = not paused.get()
        variant = self._variant(given, differentiate)
        outputs, gradients = variant(given, self.threads or pool.threads)
        recording = variant.recording
        count = len(recording.outputs)
        rest = outputs[count:]
        at = 0
        for values, take in recording.reports:
            take(*rest[at : at + len(values)])
            at += len(values)
        for (_, outcome), found in zip(recording.guards, rest[at:], strict=True):
            if bool(found) != outcome:
                return self.function(*arrays)
        results = [self._result(x, v, recording, gradients if k == 0 else []) for k, (x, v) in enumerate(zip(outputs[:count], variant.results, strict=False))]
        return results[0] if count == 1 else tuple(results)

    def _result(self, x: NDArray, value: Any, recording: Recording, gradients: list[NDArray]) -> Tensor:
        if not gradients:
            return Tensor(x)
        leaves = tuple(p for p, _ in recording.gradients)
        return self._op(*leaves, value=x, gradients=tuple(gradients))  # type: ignore[no-any-return]

    def _variant(self, arrays: Sequence[NDArray], differentiate: bool) -> Variant:
        key = (differentiate, tuple((x.shape, x.dtype) for x in arrays))
        variant = self.variants.get(key)
        if variant is None:
            self.recordings += 1
            names = ["x", "y", "z"][: len(arrays)] if len(arrays) <= 3 else [f"x{i}" for i in range(len(arrays))]
            variant = self.variants[key] = Variant(self.function, arrays, names, differentiate, self._build)
        return variant


def _forward(*parameters: Any, value: NDArray, gradients: tuple[NDArray, ...]) -> NDArray:
    return value


def _scale(g: Any, out: Any, *parameters: Any, value: NDArray, gradients: tuple[NDArray, ...]) -> tuple[Any, ...]:
    if any(isinstance(x, Tensor) for x in parameters):
        raise NotImplementedError("compiled: second derivatives are the NumPy engine's; call the function itself")
    return gradients if np.all(g == 1) else tuple(g * x for x in gradients)


def compile(function: Callable[..., Any], *, threads: int | None = None) -> Compiled:
    """..."""
    return Compiled(function, threads)
