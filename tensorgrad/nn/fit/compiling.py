"""C of a network, for its steps and predictions: whether it pays, for which batches, and if it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeAlias
from weakref import WeakSet

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import paused, watching
from tensorgrad.core.engine import seed, walk
from tensorgrad.graph.native.compiled import Compiled
from tensorgrad.graph.native.record import UncompilableError
from tensorgrad.graph.native.variant import BranchError, Variant
from tensorgrad.graph.recorded import ancestors
from tensorgrad.nn.fit.examples import Intake
from tensorgrad.nn.fit.outputs import require_logits
from tensorgrad.nn.layer import infer
from tensorgrad.nn.sequential import ForwardState, Sequential, loss_of
from tensorgrad.nn.summary import multiply_adds

__all__ = [
    "WORTH", "WORTH_FORWARD", "Choice", "Code", "Cost", "Forward", "Step", "choose_forward", "take_choice",
]  # fmt: skip

#: Whether to compile: True, False, or None for where it pays.
Choice: TypeAlias = bool | None

# Seconds that NumPy takes for an op of a training step and its formulas, for a multiply-add and an element of
# a row. Machines differ, but hardly by so much that it matters.
_AN_OP, _A_MULTIPLY_ADD, _AN_ELEMENT = 30e-6, 1.5e-10, 1e-8
#: So many seconds in NumPy, of training or of predictions, are worth a compilation: it takes a fifth of them.
WORTH, WORTH_FORWARD = 10.0, 4.0
_FORWARD = 1 / 3  # of a step
_MANY = 1024  # rows; to predict fewer hardly takes so long

_NUMPY = "NumPy"  # in the place of a library
_BLOCK = 16  # rows that compiled code takes at once

_checked: WeakSet[Variant] = WeakSet()  # against NumPy


def take_choice(what: str, choice: Any) -> Choice:
    """The argument ``compile`` of `Network.fit` and others, checked."""
    if choice is not None and not isinstance(choice, (bool, np.bool_)):
        raise TypeError(f"{what}: expected compile to be True, False or None, got {choice!r}")
    return None if choice is None else bool(choice)


class Cost:
    """The seconds that NumPy takes, estimated from a forward pass: its ops, products and elements."""

    def __init__(self, network: Sequential, row: NDArray) -> None:
        nodes = [node for node in infer(_record, network, row) if node.op is not None]
        self._step = _AN_OP * len(nodes)
        self._row = _A_MULTIPLY_ADD * sum(map(multiply_adds, nodes))
        self._row += _AN_ELEMENT * sum(node.size for node in nodes)

    def of_steps(self, steps: int, rows: int) -> float:
        """For so many training steps on so many rows each."""
        return steps * (self._step + self._row * rows)

    def of_predictions(self, rows: int) -> float:
        """For the predictions of so many rows."""
        return _FORWARD * self._row * rows


def _record(network: Sequential, x: NDArray) -> list[Tensor]:
    """What a forward pass makes, inside of `infer`, which does not record by itself."""
    paused.set(0)
    with np.errstate(all="ignore"):
        return ancestors(network(x))


class Code:
    """What a compiler makes of a function of a network, for each shape of batch. NumPy computes the others.

    Parameters
    ----------
    network : Sequential
        It keeps the code, for the next training.
    name : str
        Of what the function computes.
    function : function of arrays
    choice : bool or None
    check : function (variant, arrays) -> None
        It raises if the code does not compute what NumPy does.
    differentiates : bool

    Attributes
    ----------
    libraries : dict
        For each shape of batch what computes it: a hash of the library, or "NumPy".
    remembered : dict
        The same of a training that is resumed.
    seconds : float
        That the compiler took; none for what it had compiled before.
    compiler : str
        That did it.
    reason : str
        Why something was not compiled.
    """

    def __init__(
        self,
        network: Sequential,
        name: str,
        function: Callable[..., Any],
        choice: Choice,
        check: Callable[[Variant, list[NDArray]], None],
        *,
        differentiates: bool,
    ) -> None:
        self.choice = choice
        self.libraries: dict[str, str] = {}
        self.remembered: Mapping[str, str] = {}
        self.seconds, self.compiler, self.reason = 0.0, "", ""
        self._network, self._name, self._function = network, name, function
        self._check, self._differentiates = check, differentiates
        self._found: dict[Any, Variant | None] = {}

    @cached_property
    def compiled(self) -> Compiled:
        """The function; the network keeps it from training to training, with the code that it has."""
        code: dict[str, Compiled] = self._network.code
        return code.get(self._name) or code.setdefault(self._name, Compiled(self._function))

    def find(
        self, arrays: list[NDArray], pays: Callable[[], bool], other: list[NDArray] | None = None
    ) -> Variant | None:
        """The code for arrays like these; None where NumPy is to compute.

        ``pays`` is asked whether it is worth to compile. The code is tried out on the ``other`` arrays if
        there are some: what only looks constant shows then.
        """
        key = tuple([(x.shape, x.dtype.char) for x in arrays])
        found = self._found.get(key)
        if found is None and key in self._found:
            return None
        try:
            if found is None and not self._is_wanted(self._label(arrays), pays):
                variant = None
            else:
                recordings = self.compiled.recordings
                with np.errstate(all="ignore"):
                    variant = self.compiled.variant(arrays, self._differentiates)
                if variant is not found and self.compiled.recordings > recordings:
                    self.seconds += 0.0 if variant.built.cached else variant.built.seconds
            if variant is not found or variant is None:
                self._enter(variant, arrays, other or [np.asarray(x) for x in arrays])
        except Exception as error:
            self._give_up(self._label(arrays), error)
            variant = None
        self._found[key] = variant
        return variant

    def _label(self, arrays: list[NDArray]) -> str:
        return f"{self._name} {', '.join(f'{x.dtype} {x.shape}' for x in arrays)}"

    def _is_wanted(self, label: str, pays: Callable[[], bool]) -> bool:
        if self.choice is False:
            return False
        if self.choice is None:
            before = self.remembered.get(label)
            if not (pays() if before is None else before != _NUMPY):
                return False
        if watching.get() is not None:
            raise UncompilableError("compile: detect_nan looks at every op, and compiled code calls none")
        return True

    def _enter(self, variant: Variant | None, arrays: list[NDArray], other: list[NDArray]) -> None:
        """Note what computes arrays like these, after it was tried out."""
        label, library = self._label(arrays), _NUMPY
        if variant is not None:
            built = variant.built
            library = built.path.stem.rpartition("-")[2]
            if self.remembered.get(label, _NUMPY) not in (library, _NUMPY):
                raise ValueError(
                    f"what {built.compiler} makes here is other code, of another compiler, processor or "
                    "release, and would give other bits"
                )
            if variant not in _checked:
                self._check(variant, other)
                _checked.add(variant)
            self.compiler = built.compiler
        self.libraries[label] = library

    def _give_up(self, label: str, error: Exception) -> None:
        """Let NumPy go on, or raise where that may not be."""
        if self.remembered.get(label, _NUMPY) != _NUMPY:
            raise ValueError(
                "fit, resume: the training began in compiled code and cannot go on in it bit by bit: "
                f"{error}. With compile=False it goes on in NumPy"
            ) from error
        if self.choice:
            raise error
        self.reason = str(error)
        self.libraries[label] = _NUMPY


def are_close(found: NDArray, expected: NDArray, size: float) -> bool:
    """Whether compiled and NumPy results, of about that size, differ by no more than rounding explains."""
    eps = float(np.finfo(expected.dtype).eps) ** 0.5
    return bool(np.abs(found - expected).max(initial=0.0) <= eps * (100 * size + 1))


class Step:
    """The loss of a network on a batch, and its prediction if that is wanted: what training compiles."""

    def __init__(self, network: Sequential, *, predicts: bool) -> None:
        self.network, self.predicts = network, predicts

    def __call__(self, x: Any, y: Any, weights: Any = None) -> Any:
        prediction = self.network(x)
        loss = loss_of(self.network)(prediction, y, weights)
        return (loss, prediction) if self.predicts else loss

    def check(self, variant: Variant, arrays: list[NDArray]) -> None:
        """Raise if the code and NumPy do not agree on the loss and its gradients, where these are finite."""
        before = ForwardState(self.network)
        try:
            outputs, gradients = variant.run(arrays, 1)
            before.restore()
            with np.errstate(all="ignore"):
                result = self(*arrays)
                loss = result[0] if self.predicts else result
                require_logits(loss)
                expected = {id(leaf): np.asarray(g) for leaf, g in walk([(loss, seed(loss, None, "fit"))])}
        finally:
            before.restore()
        size = max((float(np.abs(g).max(initial=0.0)) for g in expected.values()), default=0.0)
        value = loss.item()
        if not np.isfinite(value + size):
            return
        found = {id(leaf): g for (leaf, _), g in zip(variant.recording.gradients, gradients, strict=True)}
        right = are_close(outputs[0], np.asarray(value, outputs[0].dtype), abs(value))
        right = right and all(k in found and are_close(found[k], g, size) for k, g in expected.items())
        if not right:
            raise UncompilableError(
                f"compile: the loss of a batch is {outputs[0].item():.6g} in compiled code and {value:.6g} "
                "in NumPy, or their gradients differ; does the loss or a layer tell tensors from arrays?"
            )


class Forward:
    """The predictions of a network, at inference: by compiled code where it pays.

    Parameters
    ----------
    network : Sequential
    choice : bool or None
    rows : int or None
        How many there are to predict, if that is known.
    batch_size : int
        Of batches, at most.
    pays : function () -> bool
        Asked whether it is worth to compile.
    """

    def __init__(
        self,
        network: Sequential,
        choice: Choice,
        rows: int | None,
        batch_size: int,
        pays: Callable[[], bool],
    ) -> None:
        self.network, self._pays = network, pays
        self.code: Code | None = None
        if choice is not False:
            self.code = Code(network, "prediction", network, choice, self._check, differentiates=False)
        self._full = None if rows is None else batch_size
        if rows is not None and rows < batch_size:  # not a shape for every number of rows
            self._full = min(batch_size, _BLOCK << (-(-rows // _BLOCK) - 1).bit_length())

    def __call__(self, x: NDArray) -> Tensor:
        """The prediction for a batch."""
        if self.code is not None:
            given, variant = self._find(self.code, x)
            if variant is not None:
                with suppress(BranchError, IndexError, OverflowError):
                    (output,), _ = self.code.compiled.compute(variant, [given])
                    return Tensor(output[: len(x)])
        return self.network(x)

    def prepare(self, x: NDArray) -> None:
        """Compile what batches like this need, if it pays."""
        if self.code is not None:
            self._find(self.code, x)

    def _find(self, code: Code, x: NDArray) -> tuple[NDArray, Variant | None]:
        """The code for a batch, and the batch as it is to be given to it."""
        given = self._fill(x)
        variant = code.find([given], self._pays)
        if variant is not None and given is not x and not variant.keeps_rows_apart:
            return x, code.find([x], lambda: False)
        return given, variant

    def _fill(self, x: NDArray) -> NDArray:
        """A last, shorter batch with copies of its last row, so that it has the shape of the others."""
        missing = 0 if self._full is None else self._full - len(x)
        return x if missing <= 0 else np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])

    def _check(self, variant: Variant, arrays: list[NDArray]) -> None:
        """Raise if the code and NumPy do not agree on a batch."""
        with np.errstate(all="ignore"):
            expected = self.network(*arrays).data
        (found, *_), _ = variant.run(arrays, 1)
        size = float(np.abs(expected).max(initial=0.0))
        if np.isfinite(size) and not are_close(found, expected, size):
            raise UncompilableError("compile: compiled code and NumPy predict different numbers")


def choose_forward(
    intake: Intake, choice: Choice, x: NDArray, batch_size: int
) -> Callable[[NDArray], Tensor]:
    """What gives the predictions for the batches of ``x``."""
    network, wanted = intake.network, choice
    if choice is None:
        wanted = (
            len(x) >= _MANY
            and Cost(network, intake.cast_inputs(x[:1])).of_predictions(len(x)) >= WORTH_FORWARD
        )
    return Forward(network, choice, len(x), batch_size, lambda: True) if wanted else network
