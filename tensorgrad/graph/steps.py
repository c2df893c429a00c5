"""backward_steps: the reverse walk, told op by op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np

from tensorgrad.core import Array, Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import Watch, forbid, watching
from tensorgrad.core.engine import require_recorded, seed, walk
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.recorded import Recorded, op_name
from tensorgrad.graph.values import short

__all__ = ["BackwardStep", "BackwardSteps", "backward_steps"]


def backward_steps(loss: Tensor, grad: Array | None = None) -> BackwardSteps:
    """What `Tensor.backward` does, op by op: a sequence of `BackwardStep`, in the order of the reverse walk.

    The walk is carried out when this is called, by the same code as `Tensor.backward`, and leaves every
    ``.grad`` as it is; ``.gradients`` of the result are what `Tensor.backward` would add. It keeps all
    cotangents, which `Tensor.backward` drops as it goes.

    Parameters
    ----------
    loss : Tensor
    grad : array_like, optional
        Cotangent of ``loss``; needed unless there is one element, as in `Tensor.backward`.

    Raises
    ------
    RuntimeError
        If nothing that ``loss`` was made of requires grad, or a leaf was assigned after an op had read it.
    ValueError
        If ``grad`` is missing for a tensor of several elements, or has another shape.

    >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
    >>> for step in tg.backward_steps(tg.exp(x) * x):
    ...     print(step)
    1. multiply: g = 1.0
       exp: g * x = 3.0
       x: g * exp = 20.0855
    2. exp: g = 3.0
       x: g * exp = 60.2566
    """
    require_recorded(loss, "backward_steps")
    forbid("backward_steps")
    start = seed(loss, grad.numpy() if isinstance(grad, Tensor) else grad, "backward_steps")
    watch = watching.get()
    recorder = _Recorder(watch)
    try:
        watching.set(recorder)
        found = walk([(loss, start)])
    finally:
        watching.set(watch)
    gradients = [(leaf, _protect(cotangent)) for leaf, cotangent in found]
    return BackwardSteps(loss, _protect(start), recorder.steps(loss, start), gradients)


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
    graph : Recorded
        The graph of the tensor that the walk began at, which has the names.
    """

    number: int
    output: Tensor
    incoming: NDArray
    outgoing: tuple[NDArray | None, ...]
    graph: Recorded

    @property
    def op(self) -> Op[...]:
        """The op."""
        return cast("Op[...]", self.output.op)  # steps are told of results of ops alone

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The op's inputs: tensors and constants."""
        return self.output.inputs

    @property
    def name(self) -> str:
        """What the output is called, here as in drawings and programs: its name, else its op and a number."""
        return self.graph.names[id(self.output)]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the op calls its inputs."""
        return argument_names(self.op, len(self.inputs))

    @property
    def formulas(self) -> tuple[str | None, ...]:
        """The formulas of ``outgoing``, in the names of the graph and ``g`` for ``incoming``."""
        return tuple(
            None if g is None else self.graph.write_vjp(self.output, i) for i, g in enumerate(self.outgoing)
        )

    def was_broadcast(self, i: int) -> bool:
        """Whether the op broadcast that input, so that the formula's result was summed to its shape."""
        return self.op.elementwise and tuple(np.shape(self.inputs[i])) != self.output.shape

    def __repr__(self) -> str:
        return f"<BackwardStep {self.number}: {self.op.name}; print it>"

    def __str__(self) -> str:
        name, op = self.name, op_name(self.output)
        if self.graph.title_of(self.output) != name.rpartition(".")[2]:
            name = f"{name} ({op})"
        g = self.graph.name_of_cotangent(self.output)
        lines = [f"{self.number}. {name}: {g} = {short(self.incoming)}"]
        for i, (formula, cotangent) in enumerate(zip(self.formulas, self.outgoing, strict=True)):
            if cotangent is not None:
                summed = ", summed over what was broadcast" if self.was_broadcast(i) else ""
                target = " ".join(self.graph.name_of_input(self.output, i).split())
                lines.append(f"   {target}: {formula}{summed} = {short(cotangent)}")
        return "\n".join(lines)


class BackwardSteps(Sequence[BackwardStep]):
    """The steps of one reverse walk, in order; see `backward_steps`.

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
        seed: NDArray,
        steps: list[BackwardStep],
        gradients: list[tuple[Tensor, NDArray]],
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

    def waiting(self, k: int) -> list[tuple[Tensor, NDArray]]:
        """The tensors that hold a cotangent after ``k`` steps, with what has come to them so far.

        >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
        >>> steps = tg.backward_steps(tg.exp(x) * x)
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
        return sorted(held.values(), key=lambda pair: pair[0].serial)


class _Recorder:
    """Keeps what the walk passes to `detect_nan`, and passes it on to one that is there."""

    def __init__(self, outer: Watch | None) -> None:
        self._outer = outer
        self._depth = 0  # of walks: a checkpoint's vjp has one of its own, whose steps are not told
        # By serial number: the nodes, what came to each, and what each sent to its inputs, by position.
        self._nodes: dict[int, Tensor] = {}
        self._came: dict[int, Array] = {}
        self._sent: dict[int, dict[int, Array]] = {}

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
            self._nodes[node.serial], self._came[node.serial] = node, g
            self._sent.setdefault(node.serial, {})[position] = gx

    def steps(self, output: Tensor, start: Array) -> list[BackwardStep]:
        """The steps of the walk that began at ``output`` with the cotangent ``start``."""
        nodes, came = {output.serial: output, **self._nodes}, {output.serial: start, **self._came}
        for serial, sent in self._sent.items():
            for position, gx in sent.items():
                x = nodes[serial].inputs[position]
                if x.op is not None and x.serial not in self._sent:  # its derivatives are zero everywhere
                    nodes[x.serial] = x
                    came[x.serial] = came[x.serial] + gx if x.serial in came else gx
        # The walk takes the youngest node that waits, and all that it finds from there is older.
        taken = sorted((k for k, node in nodes.items() if node.op is not None), reverse=True)
        graph = Recorded(output)
        return [_step(i, nodes[k], came[k], self._sent.get(k, {}), graph) for i, k in enumerate(taken, 1)]


def _step(number: int, node: Tensor, g: Array, given: dict[int, Array], graph: Recorded) -> BackwardStep:
    """The step that took ``node``, to which ``g`` came, and gave cotangents to inputs, by position."""
    outgoing = [_protect(given[i]) if i in given else None for i in range(len(node.inputs))]
    return BackwardStep(number, node, _protect(g), tuple(outgoing), graph)


def _protect(cotangent: Array) -> NDArray:
    """A view that cannot be written to: cotangents are shared."""
    view = np.asarray(cotangent).view()
    view.flags.writeable = False
    return view
