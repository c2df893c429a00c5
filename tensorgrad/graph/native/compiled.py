"""tg.compile: a function recorded once, written in C, and called with arrays from then on."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray, positive_integer, write_file
from tensorgrad.core.context import find_recorder, inferring, paused
from tensorgrad.core.parallel import pool
from tensorgrad.core.refusals import require_dense, require_values
from tensorgrad.graph.native.pullback import PullBack, attach, refuse_changed
from tensorgrad.graph.native.record import Recording, UncompilableError
from tensorgrad.graph.native.snapshot import Snapshot
from tensorgrad.graph.native.variant import BranchError, Update, Variant

__all__ = ["Compiled", "compile"]

#: So many recordings of one function are told of: it may never be called twice with the same shapes.
MANY = 16


class Stepper(Protocol):
    """An optimizer whose step can be compiled.

    ``begin_update`` is given the leaves that have a gradient, ``end_update`` told whether the step was made.
    """

    def begin_update(self, leaves: Sequence[Tensor]) -> Update: ...
    def end_update(self, stepped: bool) -> None: ...
    def zero_grad(self) -> None: ...
    def step(self) -> None: ...


class Compiled:
    """A function that computes in C what another computes; `compile` makes it.

    Attributes
    ----------
    recordings : int
        How often the function was recorded: once for each combination of shapes and dtypes, and anew when
        something that it reads has changed.
    """

    def __init__(
        self, function: Callable[..., Any], optimizer: Stepper | None = None, threads: int | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"compile: expected a function or a layer, got {function!r}")
        self.function, self.optimizer = function, optimizer
        self.threads = None if threads is None else positive_integer("compile", "threads", threads)
        self.recordings = 0
        self._variants: dict[Any, Variant] = {}
        self._snapshot: Snapshot | None = None
        self._names = _parameter_names(function)

    def __call__(self, *arrays: Any) -> Any:
        """What the function gives; of an optimizer's step the loss that it had before."""
        if self.optimizer is None and find_recorder() is not None:  # it is part of another function
            return self.function(*(x if isinstance(x, Tensor) else Tensor(x) for x in arrays))
        given = _read_arguments(arrays)
        variant = self.variant(given, self.optimizer is not None or not paused.get())
        drawn = variant.draw() if self.optimizer is None else None
        try:
            if self.optimizer is not None:
                return self._make_step(self.optimizer, variant, given)
            outputs, gradients = self.compute(variant, given, drawn)
        except BranchError:
            return self._call_function(arrays)
        results = [Tensor(x) for x in outputs]
        if gradients:
            leaves, values = zip(*gradients, strict=True)
            results[0] = attach(
                outputs[0], leaves, lambda g: values if g == 1 else [g.item() * x for x in values]
            )
        if variant.recording.later:
            compute = partial(self._pull_back, self._snapshot, inferring.get())
            PullBack(variant, given, drawn or [], compute).attach(results)
        return results[0] if len(results) == 1 else tuple(results)

    def compute(
        self, variant: Variant, arrays: Sequence[NDArray], others: Sequence[NDArray] | None = None
    ) -> tuple[list[NDArray], list[tuple[Tensor, NDArray]]]:
        """What the function gives, and the gradients of the leaves. `BranchError` as `Variant.run`."""
        outputs, gradients = variant.run(arrays, self.threads or pool.threads, others)
        leaves = [leaf for leaf, _ in variant.recording.gradients]
        return self._settle(variant.recording, outputs), [*zip(leaves, gradients, strict=True)]

    def _pull_back(
        self,
        before: Snapshot | None,
        inference: bool,
        cotangents: Sequence[NDArray | None],
        arrays: Sequence[NDArray],
        drawn: Sequence[NDArray],
    ) -> list[tuple[Tensor, NDArray]]:
        """The gradients of the leaves of a call that was made before, from cotangents of what it gave."""
        token = inferring.set(inference)
        try:
            variant = self.variant(arrays, True, cotangents)
            if self._snapshot is not before:
                refuse_changed()
            return self.compute(variant, arrays, [*drawn, *(g for g in cotangents if g is not None)])[1]
        except BranchError:
            refuse_changed()
        finally:
            inferring.reset(token)

    def make_step(
        self, optimizer: Stepper, variant: Variant, arrays: Sequence[NDArray]
    ) -> list[NDArray] | None:
        """What the function gives before the step; None where none is made: of what is not finite.

        `BranchError` as `Variant.update`.
        """
        update, stepped = optimizer.begin_update([leaf for leaf, _ in variant.recording.gradients]), False
        try:
            outputs, stepped = variant.update(arrays, self.threads or pool.threads, update)
        finally:
            optimizer.end_update(stepped)
        return self._settle(variant.recording, outputs) if stepped else None

    def _make_step(self, optimizer: Stepper, variant: Variant, arrays: Sequence[NDArray]) -> Tensor:
        loss = variant.recording.outputs[0]
        if loss.size != 1:
            raise UncompilableError(f"compile: expected a loss of one element, got shape {loss.shape}")
        outputs = self.make_step(optimizer, variant, arrays)
        if outputs is None:
            raise FloatingPointError(
                "compile: the loss or a gradient is not finite; the parameters are as before this step"
            )
        return Tensor(outputs[0])

    def _call_function(self, arrays: Sequence[Any]) -> Any:
        """A call, or a step, by NumPy: a decision by a value came out otherwise than it was recorded."""
        result = self.function(*arrays)
        if self.optimizer is not None:
            self.optimizer.zero_grad()
            (result[0] if isinstance(result, (tuple, list)) else result).backward()
            self.optimizer.step()
        return result

    def _settle(self, recording: Recording, outputs: list[NDArray]) -> list[NDArray]:
        """Hand on what layers want to know; the outputs of the function."""
        at = len(recording.outputs)
        for values, take in recording.reports:
            take(*outputs[at : at + len(values)])
            at += len(values)
        return outputs[: len(recording.outputs)]

    def variant(
        self, arrays: Sequence[NDArray], differentiate: bool, cotangents: Sequence[NDArray | None] = ()
    ) -> Variant:
        """The code for arguments like these, compiled if it is not yet there."""
        if self._snapshot is not None and not self._snapshot.holds():
            self._variants.clear()
            self._snapshot = None
        shapes = tuple((x.shape, x.dtype) for x in arrays)
        key = differentiate, inferring.get(), shapes, tuple(g is None for g in cotangents)
        variant = self._variants.get(key)
        if variant is None:
            names = [*self._names, *(f"x{i}" for i in range(len(self._names), len(arrays)))][: len(arrays)]
            given = [np.asarray(x) for x in arrays]
            variant = Variant(self.function, given, names, differentiate, cotangents)
            self._variants[key] = variant
            self._snapshot = self._snapshot or Snapshot(self.function)
            self._snapshot.note(variant.recording.read)
            self.recordings += 1
            if self.recordings == MANY:
                warnings.warn(
                    f"compile: recorded {MANY} times; is the function called with ever new shapes, or does "
                    "something that it reads change from call to call?",
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
        write_file(path, self.source.encode())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.optimizer, self.threads)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", None) or type(self.function).__name__
        return f"<compiled {name}, recorded {self.recordings} times>"


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
    except (TypeError, ValueError):
        return []


def _read_arguments(arguments: Sequence[Any]) -> list[NDArray]:
    """The arguments of a call as arrays; Python numbers have the dtype of the others, as in NumPy."""
    for x in arguments:
        require_values(x, "compile")
        require_dense(x, "compile")
        if isinstance(x, Tensor) and x.requires_grad:
            raise UncompilableError(
                f"compile: {x.label()} requires grad; arguments are data: let the function reach for it"
            )
    arrays = [x.data if isinstance(x, Tensor) else x for x in arguments]
    dtypes = {x.dtype for x in arrays if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    weak = np.result_type(*dtypes) if dtypes else None
    return [np.asarray(x, weak if type(x) in (int, float) else None) for x in arrays]


def compile(
    function: Callable[..., Any], *, optimizer: Stepper | None = None, threads: int | None = None
) -> Compiled:
    """A function that computes in C what ``function`` computes: it is compiled when it is first called.

    Parameters
    ----------
    function : function or Layer
        Of arrays, to a Tensor or several; it is called with tensors of its arguments. What else it reads,
        such as the layers of a network, may change between calls. Of an array of more than 65,536 elements
        that is not itself an operand, a sample of so many is looked at.
    optimizer : Optimizer, optional
        Then each call is a whole training step: the loss, its gradients, and the step that the optimizer
        makes of them. The gradients are not kept in ``.grad``.
    threads : int, optional
        By default as many as `tuned_process` or the variable OMP_NUM_THREADS say, else the number of cores.

    Returns
    -------
    Compiled
        It gives a Tensor, from which `Tensor.backward` goes on as ever. Of a loss the gradients come with
        the value; those of another output are compiled and computed when they are asked for.

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
