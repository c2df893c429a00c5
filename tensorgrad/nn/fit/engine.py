"""The engine of a training: compiled code makes its steps where that pays and can be, NumPy the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.variant import BranchError, Variant
from tensorgrad.nn.fit.compiling import WORTH, WORTH_FORWARD, Choice, Code, Cost, Forward, Step
from tensorgrad.nn.fit.examples import EVALUATED, Examples
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.sequential import ForwardState, Sequential

__all__ = ["Engine"]


class Engine:
    """Makes the steps of a training and its predictions at inference in compiled code, as far as that pays.

    Parameters
    ----------
    network : Sequential
    optimizer : Optimizer
    choice : bool or None
        Whether to compile.
    state : ForwardState
        That is saved before each step.
    epochs : int
    batches : int or None
        Of an epoch, if that is known.
    held_out : int or None
        Rows of the validation, if that is known.
    predicts : bool
        Whether the predictions of the steps are wanted.
    splits : bool
        Whether gradients are wanted between the backward pass and the step.
    verbose : bool
        Whether to print a line when something was compiled, or could not be.

    Attributes
    ----------
    forward : Forward
        Gives the predictions at inference.
    steps : bool
        Whether a compiled step is a whole one. Else it leaves the gradients in the parameters, and the
        optimizer is yet to step.
    """

    def __init__(
        self,
        network: Sequential,
        optimizer: Optimizer,
        choice: Choice,
        state: ForwardState,
        *,
        epochs: int,
        batches: int | None,
        held_out: int | None,
        predicts: bool,
        splits: bool,
        verbose: bool,
    ) -> None:
        self.steps = optimizer.has_compiled_step and not splits
        self._network, self._optimizer, self._state = network, optimizer, state
        self._epochs, self._predicts, self._verbose = epochs, predicts, verbose
        self._steps = None if batches is None else epochs * batches
        self._function = Step(network, predicts=predicts)
        self._code: Code | None = None
        if choice is not False:
            name = "loss and prediction" if predicts else "loss"
            check = self._function.check
            self._code = Code(network, name, self._function, choice, check, differentiates=True)
        predictions = 0 if held_out is None else epochs * held_out
        self.forward = Forward(
            network, choice, held_out, EVALUATED, lambda: self._predictions_pay(predictions)
        )
        self._cost: Cost | None = None
        self._reason = self._told = ""

    # What is said of it

    def __str__(self) -> str:
        """What computes, in a line: C and who compiled it; or NumPy and, where there is a reason, why."""
        codes = self._codes()
        reasons = [self._reason, *(code.reason for code in codes)]
        numpy = ": ".join(["NumPy", *filter(None, reasons)][:2])
        compilers = [code.compiler for code in codes if code.compiler]
        if not compilers:
            return numpy
        seconds = sum(code.seconds for code in codes)
        text = f"C, compiled {f'in {seconds:.1f} s' if seconds else 'before'} by {compilers[0]}"
        return text if numpy == "NumPy" else f"{text}; in part {numpy}"

    def tell(self) -> None:
        """Print what is new, and note it in the network."""
        text = str(self)
        if text == self._told:
            return
        if text[0] == "C":
            self._optimizer.zero_grad()  # which compiled steps do not keep
        self._told = self._network.engine = text
        if self._verbose and text != "NumPy":
            print(text.removeprefix("C, ").replace("NumPy: ", "not compiled: "), flush=True)

    def _codes(self) -> list[Code]:
        return [code for code in (self._code, self.forward.code) if code is not None]

    # What pays

    def prepare(self, samples: Iterable[tuple[Examples, Examples, int]]) -> None:
        """Compile what pays before the training begins.

        Of each shape of batches it is given one, another one and how many there are; nothing of batches that
        are not known before they come.
        """
        for batch, other, times in samples:
            self._decide(_drop_none(batch), _drop_none(other), times)

    def _decide(self, arrays: list[NDArray], others: list[NDArray], times: int) -> None:
        if self._code is not None:
            self._code.find(arrays, lambda: self._steps_pay(arrays, times), others)

    def _steps_pay(self, arrays: list[NDArray], times: int | None) -> bool:
        if times is None:
            return False
        self._cost = Cost(self._network, arrays[0][:1])
        return self._cost.of_steps(times, len(arrays[0])) >= WORTH

    def _predictions_pay(self, rows: int) -> bool:
        compiles = self._code is not None and self._code.compiler
        return bool(compiles and self._cost and self._cost.of_predictions(rows) >= WORTH_FORWARD)

    # Steps

    def step(self, batch: Examples) -> tuple[float, Tensor | None] | None:
        """Make a step: the loss and the prediction. None, with nothing changed, where NumPy is to make it.

        Without ``steps``, all but the optimizer's part of it.
        """
        code = self._code
        if code is None:
            return None
        arrays = _drop_none(batch)
        known = len(code.libraries)
        variant = code.find(arrays, lambda: self._steps_pay(arrays, None if known else self._steps))
        if len(code.libraries) != known:
            self.tell()
        if variant is None:
            return None
        outputs = self._compute(code, variant, arrays)
        if outputs is None:
            self._state.restore()
            return None
        return outputs[0].item(), Tensor(outputs[1]) if self._predicts else None

    def _compute(self, code: Code, variant: Variant, arrays: list[NDArray]) -> list[NDArray] | None:
        """What the function gives before the step; None if none is made: then NumPy makes it or says why."""
        try:
            if self.steps:
                return code.compiled.make_step(self._optimizer, variant, arrays)
            outputs, gradients = code.compiled.compute(variant, arrays)
        except (BranchError, IndexError, OverflowError):
            return None
        if not all(np.isfinite(x).all() for x in (outputs[0], *(g for _, g in gradients))):
            return None
        self._optimizer.zero_grad()
        for leaf, g in gradients:
            leaf.grad = g
        return outputs

    # For checkpoints

    def state(self) -> dict[str, Any]:
        """What was chosen, and what computes batches of each shape."""
        libraries = {key: value for code in self._codes() for key, value in code.libraries.items()}
        return {"choice": False if self._code is None else self._code.choice, "libraries": libraries}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Compute as the training did before, or refuse to. Called before anything is compiled."""
        for code in self._codes():
            code.remembered = state["libraries"]
            if code.choice is None:
                code.choice = state["choice"]
        if self._code is None and any(library != "NumPy" for library in state["libraries"].values()):
            self._reason = "compile=False, though the training began in compiled code"


def _drop_none(batch: Examples) -> list[NDArray]:
    x, y, weights = batch
    return [x, y] if weights is None else [x, y, weights]
