"""to_numpy: a recorded graph, forward and backward, as a function in plain NumPy."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray, write_file
from tensorgrad.core.context import paused, watching
from tensorgrad.core.engine import require_recorded, seed
from tensorgrad.core.printed import Printed
from tensorgrad.graph.export.expressions import UnwritableError
from tensorgrad.graph.export.lowerings import NUMPY_RULES
from tensorgrad.graph.export.names import make_identifier
from tensorgrad.graph.export.page import write_module
from tensorgrad.graph.export.program import Program
from tensorgrad.graph.export.replay import Replay, have_same_bits
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.steps import BackwardSteps, backward_steps

__all__ = ["NumpyCode", "to_numpy"]


@dataclass(frozen=True, repr=False)
class NumpyCode(Printed):
    """A function in plain NumPy, as text: what `to_numpy` gives.

    Attributes
    ----------
    source : str
        The text of a module that imports NumPy alone and defines the function. ``print`` shows it.
    name : str
        The function's name.
    arguments : dict
        The values that its arguments had in the graph, by name.

    >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
    >>> code = tg.to_numpy(x * x, name="squared")
    >>> code
    NumpyCode(name='squared', arguments=['x'], lines=32)
    >>> squared = code.compile()
    >>> loss, gradients = squared(**code.arguments)
    >>> print(loss, gradients["x"])
    9.0 6.0
    """

    source: str
    name: str
    arguments: dict[str, NDArray]

    def __repr__(self) -> str:
        lines = self.source.count("\n")
        return f"{type(self).__name__}(name={self.name!r}, arguments={list(self.arguments)}, lines={lines})"

    def __str__(self) -> str:
        return self.source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the source to a file."""
        write_file(path, self.source.encode())

    def compile(self) -> Callable[..., Any]:
        """The function itself."""
        file = f"<to_numpy {self.name} {id(self)}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(keepends=True), file)
        namespace: dict[str, Any] = {"__name__": self.name}
        exec(compile(self.source, file, "exec"), namespace)
        return cast("Callable[..., Any]", namespace[self.name])


def to_numpy(
    loss: Tensor,
    name: str = "step",
    *,
    inputs: Mapping[str, Any] | None = None,
    wrt: Tensor | Iterable[Tensor] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> NumpyCode:
    """Write what computed ``loss``, and its backward pass, as a function of NumPy alone.

    The function computes bit for bit what the engine computed: `to_numpy` runs it on the values in the graph
    and compares, before it hands it out.

    Parameters
    ----------
    loss : Tensor
        Of one element.
    name : str
        The function's name.
    inputs : dict, optional
        Names for arrays and tensors that the graph read, such as ``{"x": x, "target": y}``. Arrays are found
        by their values.
    wrt : Tensor or iterable of Tensors, optional
        The leaves whose gradients to compute; by default all that require grad.
    path : path, optional
        Where to save the source as well.

    Returns
    -------
    NumpyCode
        The source; `NumpyCode.compile` makes it a function, of arrays, that returns the loss and a dict of
        gradients. Its arguments are the leaves of the graph and the arrays that it keeps as constants;
        numbers are written out.

    Raises
    ------
    RuntimeError
        If ``loss`` does not depend on anything that requires grad, or a leaf was assigned since.
    ValueError
        If ``loss`` has several elements, or the graph does not read an input or a leaf that is named.
    TypeError
        If an op cannot be written in NumPy. It can if its forward and formulas make new arrays by NumPy's
        functions, which is how ops are written; not if they read numbers out of arrays.

    Notes
    -----
    The function is for the shapes and dtypes in the graph, and refuses others. A graph does not know how its
    constants were made: the mask ``x > 0``, the order in a sort, what a Dropout left out. They are arguments
    for that reason, and it is for the caller to make them anew. Where values decide which steps an op or
    formula takes, the function checks that they still decide the same.

    >>> w = tg.Parameter([3.0, 4.0], name="w")
    >>> code = tg.to_numpy(tg.sum(w * np.tanh(w)))
    >>> print(code.source[code.source.index("    # forward"):])
        # forward
        tanh = np.tanh(w)        # (2,)
        multiply = w * tanh      # (2,)
        loss = np.sum(multiply)  # ()
    <BLANKLINE>
        # backward
        d_loss = np.ones_like(loss)                                                     # ()
        d_multiply = np.broadcast_to(d_loss, (2,))                                      # (2,)
        product = d_multiply * tanh                                                     # (2,)
        d_tanh = d_multiply * w                                                         # (2,)
        cosh = np.cosh(np.minimum(np.maximum(w, -709.782712893384), 709.782712893384))  # (2,)
        d_w = product + d_tanh / cosh / cosh                                            # (2,)
    <BLANKLINE>
        gradients = {
            "w": d_w,
        }
        return loss, gradients
    <BLANKLINE>
    >>> loss, gradients = code.compile()(np.array([3.0, 4.0]))
    """
    require_recorded(loss, "to_numpy")
    code = copy_context().run(_write, loss, make_identifier(name), dict(inputs or {}), wrt)
    if path is not None:
        code.save(path)
    return code


def _write(
    loss: Tensor, name: str, inputs: dict[str, Any], wrt: Tensor | Iterable[Tensor] | None
) -> NumpyCode:
    # In a context of its own, which no `no_grad` or `detect_nan` of the caller's reaches, and where errors of
    # floating point are not reported again: the engine did, and an op's own settings still stand out.
    paused.set(0)
    watching.set(None)
    np.seterr(all="call")
    np.seterrcall(lambda *_: None)
    replay = Replay(Recorded(loss), inputs, NUMPY_RULES)
    targets = replay.leaves.choose(wrt)
    replay.run_forward()
    steps = backward_steps(loss, seed(loss, None, "to_numpy"))
    replay.run_backward(steps)
    out = replay.step_of(loss)
    gradients = {replay.step_of(leaf): replay.gradient_of(leaf) for leaf in targets}
    try:
        program = Program(replay.script.steps, [out, *gradients.values()], replay.named, [name])
        source = write_module(program, name, out, gradients)
    except UnwritableError as error:
        raise TypeError(f"to_numpy: {error}") from error
    code = NumpyCode(source, name, {program.names[step]: step.value for step in program.arguments})
    _hold_against(steps, code, targets)
    return code


def _hold_against(steps: BackwardSteps, code: NumpyCode, targets: list[Tensor]) -> None:
    """RuntimeError unless the code gives the bits that the engine gave."""
    cotangents = {id(leaf): g for leaf, g in steps.gradients}
    value, gradients = code.compile()(**{name: x.copy(order="K") for name, x in code.arguments.items()})
    pairs = [(steps.output.data, value)]
    for leaf, g in zip(targets, gradients.values(), strict=True):
        pairs.append((cotangents.get(id(leaf), np.zeros_like(leaf.data, subok=False)), g))
    for ours, theirs in pairs:
        if not have_same_bits(ours, np.asarray(theirs)):
            raise RuntimeError(
                "to_numpy: the code gives other numbers than the engine, so it is not handed out; "
                "an op depends on something that is not its argument, or this is a defect of to_numpy"
            )
