"""Recording a function for a compiler: all that it does to its arguments, and what else a call needs.

Everything that is made of an argument stays in the graph, truth values and integers too. Values that would leave
it unseen are refused; a decision by values becomes a guard, which every later call checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.engine import tracing, walk
from tensorgrad.graph.native.expansions import EXPANSIONS
from tensorgrad.graph.native.program import find_tensors

__all__ = ["UncompilableError"]


class UncompilableError(TypeError):
    """A function cannot be compiled; the message names the op or the line that stands in the way."""


@dataclass(eq=False)
class Recording:
    """What a call of a function did.

    Attributes
    ----------
    inputs : list of Tensor
        The arguments.
    outputs : list of Tensor
        What the function gave.
    gradients : list of (Tensor, Tensor)
        The leaves that require grad, each with its gradient.
    draws : list of (Tensor, function)
        Arrays that a layer makes anew for each call, such as a Dropout's mask.
    reports : list of (tuple of Tensors, function)
        What a layer wants to know after each call, such as the statistics of a batch.
    guards : list of (Tensor, bool)
        Conditions that decided what the function did, and how they were.
    """

    inputs: list[Tensor]
    outputs: list[Tensor] = field(default_factory=list)
    gradients: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    draws: list[tuple[Tensor, Callable[[], NDArray]]] = field(default_factory=list)
    reports: list[tuple[tuple[Tensor, ...], Callable[..., None]]] = field(default_factory=list)
    guards: list[tuple[Tensor, bool]] = field(default_factory=list)

    def decide(self, condition: Tensor) -> bool:
        """Note a decision by a value."""
        outcome = bool(condition._array)
        if condition.op is not None:
            self.guards.append((condition, outcome))
        return outcome

    def draw(self, make: Callable[[], NDArray]) -> Tensor:
        """An input that ``make`` gives anew for each call."""
        tensor = Tensor(make(), name="drawn")
        self.draws.append((tensor, make))
        return tensor

    def report(self, values: tuple[Tensor, ...], take: Callable[..., None]) -> None:
        """Have ``take`` called with the values after each call."""
        self.reports.append((values, take))

    def refuse(self, tensor: Tensor, what: str) -> None:
        """Values must not leave the graph, where nobody could follow them."""
        if tensor.op is not None or any(tensor is x for x in self.inputs) or tensor.requires_grad:
            name = tensor.name or (tensor.op.name if tensor.op is not None else "an argument")
            raise UncompilableError(
                f"compile: {what} takes the values of {name} out of the graph, where they would stay as they "
                "are now; compute with tensors, or leave it outside of the compiled function"
            )

    def results(self) -> list[Tensor]:
        """Everything that a compiled call must compute."""
        gradients = [g for _, g in self.gradients]
        return [*self.outputs, *gradients, *(t for values, _ in self.reports for t in values), *(t for t, _ in self.guards)]


def record(function: Callable[..., Any], arrays: Sequence[NDArray], names: Sequence[str], differentiate: bool) -> Recording:
    """Call a function with tensors of the arrays; with its gradients if it is to be differentiated."""
    recording = Recording([Tensor(x, name=name) for x, name in zip(arrays, names, strict=True)])
    token = tracing.set(recording)
    try:
        result = function(*recording.inputs)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        for y in outputs:
            if not isinstance(y, Tensor):
                raise UncompilableError(f"compile: expected the function to give tensors, got a {type(y).__name__}")
        recording.outputs = outputs
        if differentiate:
            loss = outputs[0]
            if loss.size != 1:
                raise UncompilableError(f"compile: expected a loss of one element, got shape {loss.shape}")
            ones = Tensor(np.ones(loss.shape, loss.dtype), name="one")
            found = walk([(loss, ones)], create_graph=True) if loss.requires_grad else []
            recording.gradients = [(leaf, g if isinstance(g, Tensor) else Tensor(g)) for leaf, g in found]
    finally:
        tracing.reset(token)
    return recording


def sort_graph(outputs: Iterable[Tensor]) -> list[Tensor]:
    """The outputs and all they were made of, in the order of computation."""
    found: dict[int, Tensor] = {}
    stack = list(outputs)
    while stack:
        tensor = stack.pop()
        if id(tensor) not in found:
            found[id(tensor)] = tensor
            stack += find_tensors(tensor)
    return sorted(found.values(), key=lambda t: (t.op is not None, t.serial))


def compare(first: Recording, second: Recording) -> None:
    """Refuse what differs between recordings of different data: it is data in disguise."""
    inputs = {id(t) for r in (first, second) for t in (*r.inputs, *(t for t, _ in r.draws))}
    one, two = sort_graph(first.results()), sort_graph(second.results())
    if [(t.op, t.shape, t.dtype) for t in one if t.op] != [(t.op, t.shape, t.dtype) for t in two if t.op]:
        raise UncompilableError(
            "compile: with other values the function does other things, which no guard tells; is there a branch "
            "on values that left the graph?"
        )
    leaves = [([t for t in graph if t.op is None and id(t) not in inputs]) for graph in (one, two)]
    for a, b in zip(*leaves, strict=True):
        if a is not b and not np.array_equal(a._array, b._array, equal_nan=a.dtype.kind == "f"):
            refuse_disguise(a.name or "a tensor")
    for a, b in zip((t for t in one if t.op), (t for t in two if t.op), strict=True):
        given = [(x, y) for x, y in zip(a.inputs, b.inputs, strict=True)] + [(x, b.params[k]) for k, x in a.params.items()]
        if not all(are_equal(x, y) for x, y in given):
            assert a.op is not None
            refuse_disguise(f"what {a.op.name} is given")


def refuse_disguise(name: str) -> None:
    raise UncompilableError(
        f"compile: {name} is made of the arguments outside of the graph, or drawn anew in each call, and would stay "
        "as it is now; compute it with tensors, or pass it as an argument"
    )


def are_equal(x: Any, y: Any) -> bool:
    """Whether two things that ops were given are the same, whatever tensors are in them."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return isinstance(x, Tensor) and isinstance(y, Tensor)
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return x is y or np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f")
    if isinstance(x, (tuple, list)):
        return type(x) is type(y) and len(x) == len(y) and all(map(are_equal, x, y))
    return bool(x is y or x == y or (x != x and y != y))


class Expansion:
    """A graph in which every op has a rule: others are written as what their forward is made of."""

    def __init__(self, outputs: Sequence[Tensor], rules: Mapping[str, Any]) -> None:
        self.rules = rules
        self.order: list[Tensor] = []
        self._known: set[int] = set()
        self._made: dict[Any, Tensor] = {}
        self._replaced: dict[int, Tensor] = {}
        self._held: list[Any] = []  # identities must stay taken
        for tensor in sort_graph(outputs):
            self._visit(tensor)
        self.outputs = [self.find(t) for t in outputs]

    def find(self, tensor: Tensor) -> Tensor:
        """What stands for a tensor of the graph."""
        while id(tensor) in self._replaced:
            tensor = self._replaced[id(tensor)]
        return tensor

    def _enter(self, tensor: Tensor) -> None:
        if id(tensor) in self._known:
            return
        key = self._key(tensor)
        if key in self._made:  # computed before: once is enough
            self._replaced[id(tensor)] = self._made[key]
            self._held.append(tensor)
            return
        self._made[key] = tensor
        self._known.add(id(tensor))
        self._held.append(tensor)
        self.order.append(tensor)

    def _key(self, tensor: Tensor) -> Any:
        if tensor.op is None:
            return id(tensor)
        parts = [*tensor.inputs, *(part for item in sorted(tensor.params.items()) for part in item)]
        return tensor.op.name, tuple(self._part(x) for x in parts)

    def _part(self, x: Any) -> Any:
        if isinstance(x, (tuple, list)):
            return tuple(map(self._part, x))
        if isinstance(x, (Tensor, np.ndarray)):
            return "array", id(x)
        return type(x).__name__, repr(x)

    def _visit(self, tensor: Tensor) -> None:
        if id(tensor) in self._known or id(tensor) in self._replaced:
            return
        self._held.append(tensor)
        op = tensor.op
        if op is None:
            self._enter(tensor)
            return
        inputs = tuple(self.find(x) if isinstance(x, Tensor) else x for x in tensor.inputs)
        params = {key: self._swap(value) for key, value in tensor.params.items()}
        if op.name in self.rules:
            changed = any(a is not b for a, b in zip(inputs, tensor.inputs, strict=True))
            if changed or any(params[key] is not value for key, value in tensor.params.items()):
                self._replaced[id(tensor)] = new = remake(tensor, inputs, params)
                self._held.append(new)
                self._enter(new)
            else:
                self._enter(tensor)
            return
        token = tracing.set(Recording([]))
        try:
            out = EXPANSIONS.get(op.name, op.forward)(*inputs, **params)
        except UncompilableError:
            raise
        except Exception as error:
            raise UncompilableError(f"compile: there is no rule for {op.name} in C") from error
        finally:
            tracing.reset(token)
        if not isinstance(out, Tensor) or (out.op is op and out.inputs == inputs):
            raise UncompilableError(f"compile: there is no rule for {op.name} in C")
        for inside in sort_graph([out]):
            self._visit(inside)
        self._replaced[id(tensor)] = out

    def _swap(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.find(value)
        if isinstance(value, tuple) and any(isinstance(x, Tensor) for x in value):
            return tuple(map(self._swap, value))
        return value


def remake(tensor: Tensor, inputs: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    """A tensor like another, made of other inputs."""
    new = Tensor(tensor._array, name=tensor.name)
    new._op, new._inputs, new._params, new._serial = tensor.op, inputs, params, tensor.serial
    return new
