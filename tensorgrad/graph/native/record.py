"""Recording a function for a compiler: all that it does to its arguments, and what else a call needs.

Everything that is made of an argument stays in the graph, truth values and integers too. Values that would
leave it unseen are refused; a decision by values becomes a guard, which every later call checks.

Hardly any values are computed: of most ops only the shape and the dtype are found. So a recording takes no
memory and little time. Where a decision or an op of somebody else's needs values, they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import find_recorder, recorded_by, unrecorded
from tensorgrad.core.engine import array_of, walk
from tensorgrad.graph.native.shapes import has_static_shape, infer, stand_in

__all__ = ["UncompilableError"]


OUTSIDE = "; compute with tensors, or leave it outside of the compiled function"
STAY = f", where they would stay as they are now{OUTSIDE}"


class UncompilableError(TypeError):
    """A function cannot be compiled; the message names the op or the line that stands in the way."""


class LazyTensor(Tensor):
    """What was made in a recording, or given to it: a shape, a dtype and a place in the graph.

    While a function is recorded, ops find an array that only stands in for the values, unless these are
    known. For anybody else the values are computed, as long as those that they are made of are kept.
    """

    __slots__ = ("_stand_in", "_values")
    _stand_in: NDArray

    def __init__(
        self, values: dict[int, NDArray], shape: Sequence[int], dtype: Any, name: str | None = None
    ) -> None:
        self._values = values
        super().__init__(np.zeros((), dtype), name=name)  # refuses what is no number
        self._stand_in = stand_in(shape, self._stand_in.dtype)

    @property
    def _array(self) -> NDArray:
        if find_recorder() is not None:
            return self._values.get(self.serial, self._stand_in)
        for node in sort_graph([self], self._values):
            if node.op is not None:
                out = _carry_out(node.op, node.inputs, node.params)
            elif isinstance(node, LazyTensor) or node.serial > self.serial:
                raise RuntimeError(
                    f"compile: the values of {self.label()}, which was recorded, were not kept"
                )
            else:
                out = node.data
            self._values[node.serial] = np.asarray(out, node.dtype)
        return self._values[self.serial]

    @_array.setter
    def _array(self, array: NDArray) -> None:
        self._stand_in = array

    shape, ndim, size, dtype = (
        property(attrgetter(f"_stand_in.{name}")) for name in ("shape", "ndim", "size", "dtype")
    )

    def label(self) -> str:
        return f"Tensor{f' {self.name!r}' * bool(self.name)} of shape {self.shape}, {self.dtype}"

    def __repr__(self) -> str:
        return f"<recorded {self.label()}>"

    def __format__(self, spec: str) -> str:
        return repr(self)


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
    read : dict of identity to (Tensor, int)
        Constants whose values left the graph, with their serial numbers: other values are other constants.
    cotangents : list of Tensor
        Of outputs, which are then inputs beside the arguments.
    later : dict of int to list of Tensor
        The outputs whose gradients are not among these, with the leaves that such a gradient reaches; it is
        asked for with a cotangent.
    checks : bool
        Whether a later call holds the guards against its values.
    values : dict of serial number to array
        Those that are known: of what is given, and what was computed.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    gradients: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    draws: list[tuple[Tensor, Callable[[], NDArray]]] = field(default_factory=list)
    reports: list[tuple[tuple[Tensor, ...], Callable[..., None]]] = field(default_factory=list)
    guards: list[tuple[Tensor, bool]] = field(default_factory=list)
    read: dict[int, tuple[Tensor, int]] = field(default_factory=dict)
    cotangents: list[Tensor] = field(default_factory=list)
    later: dict[int, list[Tensor]] = field(default_factory=dict)
    checks: bool = True
    values: dict[int, NDArray] = field(default_factory=dict)
    _refused: UncompilableError | None = None

    def give(self, array: NDArray, name: str) -> Tensor:
        """A tensor of values that each call brings."""
        tensor = LazyTensor(self.values, array.shape, array.dtype, name)
        self.values[tensor.serial] = np.array(array, tensor.dtype)
        return tensor

    def call(self, op: Op[Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """What an op gives: a tensor, or what is no array as it is."""
        options = {key: array_of(x) for key, x in params.items()}
        if is_shipped(op) and has_static_shape(op, options):
            with suppress(Exception), np.errstate(all="ignore"):  # of the values themselves it says more
                return LazyTensor(self.values, *infer(op, array_of(args), options))
        out = _carry_out(op, args, params)
        if isinstance(out, (tuple, list)) or _decides_on_shape(op, args, params, out):
            self._refuse_later(f"values that {op.name} is given decide on the shape of its result{STAY}")
        if isinstance(out, (tuple, list)):
            return out
        made = LazyTensor(self.values, np.shape(out), np.asarray(out).dtype)
        self.values[made.serial] = np.asarray(out, made.dtype)
        return made

    def decide(self, condition: Tensor) -> bool:
        """Note a decision by a value."""
        with unrecorded():
            outcome = bool(condition.data)
        if condition.op is not None or isinstance(condition, LazyTensor):
            self.guards.append((condition, outcome))
        else:
            self.read[id(condition)] = condition, condition.serial
        return outcome

    def draw(self, make: Callable[[], NDArray]) -> Tensor:
        """An input that ``make`` gives anew for each call."""
        tensor = self.give(make(), "drawn")
        self.draws.append((tensor, make))
        return tensor

    def report(self, values: tuple[Tensor, ...], take: Callable[..., None]) -> None:
        """Have ``take`` called with the values after each call."""
        self.reports.append((values, take))

    def refuse(self, tensor: Tensor, what: str) -> None:
        """Values must not leave the graph, where nobody could follow them."""
        if tensor.op is not None or isinstance(tensor, LazyTensor) or tensor.requires_grad:
            name = tensor.name or (tensor.op.name if tensor.op is not None else "an argument")
            raise self._refuse_later(f"{what} takes the values of {name} out of the graph{STAY}")
        self.read[id(tensor)] = tensor, tensor.serial

    def forbid(self, what: str) -> None:
        """No call of compiled code does to others what the function did to them."""
        raise self._refuse_later(f"{what} is done when the function is recorded, not in each call{OUTSIDE}")

    def _refuse_later(self, why: str) -> UncompilableError:
        """Refuse the function when it is done, should it go on; it may yet refuse its values itself."""
        self._refused = self._refused or UncompilableError(f"compile: {why}")
        return self._refused

    @contextmanager
    def record(self) -> Iterator[None]:
        """Let ops of the block be found."""
        with recorded_by(self):
            yield
        if self._refused is not None:
            raise self._refused

    def given(self) -> list[Tensor]:
        """What is new in each call: the arguments, what is drawn and cotangents."""
        return [*self.inputs, *(t for t, _ in self.draws), *self.cotangents]

    def told(self) -> list[Tensor]:
        """What a compiled call gives besides gradients: outputs, then what is reported."""
        return [*self.outputs, *(t for values, _ in self.reports for t in values)]

    def results(self) -> list[Tensor]:
        """Everything that a compiled call must compute."""
        return [*self.told(), *(g for _, g in self.gradients), *(t for t, _ in self.guards)]


def record(
    function: Callable[..., Any],
    arrays: Sequence[NDArray],
    names: Sequence[str],
    differentiate: bool,
    cotangents: Sequence[NDArray | None] = (),
    checks: bool = True,
) -> Recording:
    """Call a function with tensors of the arrays; with its gradients if it is to be differentiated.

    These are the gradients of its first output, if that has one element; or nothing but those of all outputs
    that have a cotangent.
    """
    recording = Recording(checks=checks)
    recording.inputs = [recording.give(x, name) for x, name in zip(arrays, names, strict=True)]
    with recording.record():
        result = function(*recording.inputs)
        given = list(result) if isinstance(result, (tuple, list)) and result else [result]
        if wrong := [type(y).__name__ for y in given if not isinstance(y, Tensor)]:
            raise UncompilableError(f"compile: expected the function to give tensors, got a {wrong[0]}")
        recording.outputs = given
        if differentiate:
            pairs = _choose_seeds(recording, cotangents)
            found = walk(pairs, create_graph=True) if pairs else []
            recording.gradients = [(leaf, g if isinstance(g, Tensor) else Tensor(g)) for leaf, g in found]
            for leaf, g in recording.gradients:
                if g.op is not None and g.name is None:
                    g.name = f"gradient of {leaf.name or 'a leaf'}"
    return recording


def _choose_seeds(recording: Recording, cotangents: Sequence[NDArray | None]) -> list[tuple[Tensor, Tensor]]:
    """The outputs whose gradients are recorded, each with its cotangent."""
    outputs = recording.outputs
    if cotangents:
        pairs = [
            (y, recording.give(g, f"cotangent{k}"))
            for k, (y, g) in enumerate(zip(outputs, cotangents, strict=True))
            if g is not None
        ]
        recording.cotangents = [g for _, g in pairs]
        recording.outputs, recording.reports = [], []  # which the call itself gave
        return pairs
    loss = outputs[0]
    for k, y in enumerate(outputs):
        if y.requires_grad and (k or y.size != 1):
            recording.later[k] = [t for t in sort_graph([y]) if t.op is None and t.requires_grad]
    one = Tensor(np.ones(loss.shape, loss.dtype), name="one")
    return [(loss, one)] if loss.requires_grad and loss.size == 1 else []


def _carry_out(op: Op[Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """What an op gives, of values."""
    with unrecorded():
        return op.forward(*array_of(args), **{key: array_of(x) for key, x in params.items()})


def _decides_on_shape(op: Op[Any], args: tuple[Any, ...], params: dict[str, Any], out: Any) -> bool:
    """Whether an op gives another shape of zeros or of ones."""

    def fill(x: Any, number: int) -> Any:
        if type(x) is tuple:
            return tuple([fill(part, number) for part in x])
        return np.full_like(x._stand_in, number) if isinstance(x, LazyTensor) else array_of(x)

    for k in (0, 1):
        with suppress(Exception), np.errstate(all="ignore"), unrecorded():
            other = op.forward(*(fill(x, k) for x in args), **{key: fill(x, k) for key, x in params.items()})
            if np.shape(other) != np.shape(out):
                return True
    return False


def is_shipped(op: Op[Any]) -> bool:
    """Whether an op is ours, or NumPy's as we know it: one of somebody else's may have the same name."""
    return str(op.__module__).partition(".")[0] in ("numpy", "tensorgrad")


def find_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensors that an op was given, in its options too."""
    options = tensor.params.values() if tensor.op is not None else ()
    parts = [part for x in options for part in (x if isinstance(x, (tuple, list)) else (x,))]
    return [x for x in (*tensor.inputs, *parts) if isinstance(x, Tensor)]


def sort_graph(outputs: Iterable[Tensor], known: Container[int] = ()) -> list[Tensor]:
    """The outputs and all they were made of, in the order of computation, without those ``known``.

    These are serial numbers. Nothing is looked for behind them.
    """
    found: dict[int, Tensor] = {}
    stack = list(outputs)
    while stack:
        tensor = stack.pop()
        if tensor.serial not in found and tensor.serial not in known:
            found[tensor.serial] = tensor
            stack += find_tensors(tensor)
    return sorted(found.values(), key=lambda t: (t.op is not None, t.serial))
