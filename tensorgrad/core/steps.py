"""backward_steps: the reverse walk told op by op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np

from tensorgrad.core.engine import Op, Tensor, Watch, require_recorded, seed, walk, watching
from tensorgrad.core.formula import formula_text
from tensorgrad.core.operators import READERS, Array

__all__ = ["BackwardStep", "BackwardSteps"]


@dataclass(frozen=True, eq=False, repr=False)
class BackwardStep:
    """One step of the reverse walk: the vjps of one op.

    Attributes
    ----------
    number : int
        From 1, in the order of the walk.
    output : Tensor
        What the op made.
    incoming : array, output.shape
        The cotangent ``g`` of the output, complete: the sum over all uses of it.
    outgoing : tuple of arrays or None, one for each of ``inputs``
        The cotangents that the formulas give, of the inputs' shapes; None where no gradient is wanted, or
        where the derivative is zero everywhere.
    formulas : tuple of str or None, one for each of ``inputs``
        The expressions under ``g``, ``out`` and the names in ``arguments``, as they stand in the source;
        a function's name and arguments where it is more than an expression.
    """

    number: int
    output: Tensor
    incoming: np.ndarray[Any, Any]
    outgoing: tuple[np.ndarray[Any, Any] | None, ...]
    formulas: tuple[str | None, ...]

    @property
    def op(self) -> Op[...]:
        """The op."""
        return cast("Op[...]", self.output.op)  # steps are told of results of ops alone

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The op's inputs: tensors and constants."""
        return self.output.inputs

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the formulas call the inputs."""
        return argument_names(self.op, len(self.inputs))

    def was_broadcast(self, i: int) -> bool:
        """Whether the op broadcast that input, so that the formula's result was summed to its shape."""
        return self.op.elementwise and tuple(np.shape(self.inputs[i])) != self.output.shape

    def __repr__(self) -> str:
        return f"<BackwardStep {self.number}: {self.op.name}; print it>"

    def __str__(self) -> str:
        lines = [f"{self.number}. {self.op.name}: g = {short(self.incoming)}"]
        for i, cotangent in enumerate(self.outgoing):
            if cotangent is not None:
                summed = ", summed over what was broadcast" if self.was_broadcast(i) else ""
                lines.append(f"   {self.arguments[i]}: {self.formulas[i]}{summed} = {short(cotangent)}")
        return "\n".join(lines)


class BackwardSteps(Sequence[BackwardStep]):
    """The steps of one reverse walk, in order; see `Tensor.backward_steps`.

    Attributes
    ----------
    output : Tensor
        Where the walk began.
    seed : array
        The cotangent it began with.
    gradients : list of (Tensor, array)
        The leaves that the walk reached, with what `Tensor.backward` would add to their ``.grad``.
    """

    def __init__(
        self,
        output: Tensor,
        seed: np.ndarray[Any, Any],
        steps: list[BackwardStep],
        gradients: list[tuple[Tensor, np.ndarray[Any, Any]]],
    ) -> None:
        self.output, self.seed, self.gradients = output, seed, gradients
        self._steps = steps

    @overload
    def __getitem__(self, i: int) -> BackwardStep: ...
    @overload
    def __getitem__(self, i: slice) -> list[BackwardStep]: ...
    def __getitem__(self, i: int | slice) -> BackwardStep | list[BackwardStep]:
        return self._steps[i]

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"<BackwardSteps: {len(self)} from {self.output.label()}>"

    def waiting(self, k: int) -> list[tuple[Tensor, np.ndarray[Any, Any]]]:
        """The tensors that hold a cotangent after ``k`` steps, with what has come to them so far.

        >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
        >>> steps = (tg.exp(x) * x).backward_steps()
        >>> [(tensor.name or tensor.op.name, float(g)) for tensor, g in steps.waiting(1)]
        [('x', 20.085536923187668), ('exp', 3.0)]
        """
        if not 0 <= k <= len(self):
            raise ValueError(f"waiting: there are {len(self)} steps, got step {k}")
        held = {id(self.output): (self.output, self.seed)}
        for step in self._steps[:k]:
            del held[id(step.output)]
            for x, cotangent in zip(step.inputs, step.outgoing, strict=True):
                if cotangent is not None:
                    held[id(x)] = (x, held[id(x)][1] + cotangent if id(x) in held else cotangent)
        return sorted(held.values(), key=lambda pair: pair[0]._serial)


def backward_steps(output: Tensor, g: Array | None) -> BackwardSteps:
    """Carry out `Tensor.backward_steps`."""
    require_recorded(output, "backward_steps")
    start = seed(output, g.numpy() if isinstance(g, Tensor) else g, "backward_steps")
    recorder = _Recorder(watching.get())
    token = watching.set(recorder)
    try:
        found = walk([(output, start)])
    finally:
        watching.reset(token)
    gradients = [(leaf, _own(cotangent)) for leaf, cotangent in found]
    return BackwardSteps(output, _own(start), recorder.steps(output, start), gradients)


READERS["backward_steps"] = backward_steps


class _Recorder:
    """Keeps what the walk passes to `detect_nan`, and passes it on to one that is there."""

    def __init__(self, outer: Watch | None) -> None:
        self._outer = outer
        self._depth = 0  # of walks: a checkpoint's vjp has one of its own, whose steps are not told
        self._given: dict[int, tuple[Tensor, Array, dict[int, Array]]] = {}

    @contextmanager
    def walking(self) -> Iterator[None]:
        self._depth += 1
        try:
            with self._outer.walking() if self._outer else nullcontext():
                yield
        finally:
            self._depth -= 1

    def forward_again(self) -> AbstractContextManager[None]:
        return self._outer.forward_again() if self._outer else nullcontext()

    def after_forward(self, node: Tensor, arrays: list[Array]) -> None:
        if self._outer:
            self._outer.after_forward(node, arrays)

    def after_vjp(self, node: Tensor, position: int, g: Array, gx: Array) -> None:
        if self._outer:
            self._outer.after_vjp(node, position, g, gx)
        if self._depth == 1:
            self._given.setdefault(node._serial, (node, g, {}))[2][position] = gx

    def steps(self, output: Tensor, start: Array) -> list[BackwardStep]:
        told: list[BackwardStep] = []
        cotangents = {output._serial: start}
        visited = {output._serial: output} if output._op is not None else {}
        for node, g, given in self._given.values():
            visited[node._serial] = node
            cotangents[node._serial] = g
            for position, gx in given.items():
                x = node._inputs[position]
                if x._op is not None and x._serial not in self._given:  # its derivatives are zero everywhere
                    visited[x._serial] = x
                    before = cotangents.get(x._serial)
                    cotangents[x._serial] = gx if before is None else before + gx
        # The walk takes the youngest node that waits, and all that it finds from there is older.
        for serial in sorted(visited, reverse=True):
            given = self._given[serial][2] if serial in self._given else {}
            told.append(_step(len(told) + 1, visited[serial], cotangents[serial], given))
        return told


def _step(number: int, node: Tensor, g: Array, given: dict[int, Array]) -> BackwardStep:
    op = node._op
    assert op is not None
    inputs = node._inputs
    args = (g, node._array, *(x._array if isinstance(x, Tensor) else x for x in inputs))
    formulas: list[str | None] = [None] * len(inputs)
    for position in given:
        formula = op.joint or op.formulas_for(len(inputs))[position]
        assert formula is not None
        formulas[position] = formula_text(formula, args, node._params)
    outgoing = [_own(given[i]) if i in given else None for i in range(len(inputs))]
    return BackwardStep(number, node, _own(g), tuple(outgoing), tuple(formulas))


def _own(cotangent: Array) -> np.ndarray[Any, Any]:
    """A view that cannot be written to: cotangents are shared."""
    view = np.asarray(cotangent).view()
    view.flags.writeable = False
    return view


def argument_names(op: Op[Any], count: int) -> tuple[str, ...]:
    """What the formulas of ``op`` call its arguments in a call with so many: x, y or arrays[0], arrays[1]."""
    if not op.variadic:
        return op.arrays
    *first, last = op.arrays
    return (*first, *(f"{last}[{i}]" for i in range(count - len(first))))


def short(x: np.ndarray[Any, Any]) -> str:
    """Few numbers as they are, many by their shape and norm."""
    if x.ndim == 0:
        return number(x.item())
    if x.size <= 6:
        return np.array2string(x, precision=8, separator=", ").replace("\n", "")
    return f"{x.dtype} {x.shape}, norm {norm(x):.6g}"


def norm(x: np.ndarray[Any, Any]) -> float:
    """The Euclidean norm of all elements, in float64 so that large ones do not overflow."""
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(x.ravel().astype(np.float64)))


def number(x: float) -> str:
    """A number with six digits, as Python writes it."""
    return repr(float(f"{x:.6g}")) if isinstance(x, float) else repr(x)
