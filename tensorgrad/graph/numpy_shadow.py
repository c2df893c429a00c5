"""A recorded graph over again, of traced arrays: the engine's own walk over it dictates the program."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np

from tensorgrad.core import OPS, Op, Tensor
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.numpy_expressions import UnwritableError
from tensorgrad.graph.numpy_kernels import FORMULAS, FORWARDS
from tensorgrad.graph.numpy_leaves import Leaves
from tensorgrad.graph.numpy_names import Names, Owner
from tensorgrad.graph.numpy_steps import Step
from tensorgrad.graph.numpy_trace import Script, Traced, UntraceableError, script_of

_handing_over = threading.RLock()


def ancestors(output: Tensor) -> list[Tensor]:
    """``output`` and all it was made from, leaves first, then in the order of computation."""
    found = {id(output): output}
    stack = [output]
    while stack:
        for x in stack.pop()._inputs:
            if isinstance(x, Tensor) and id(x) not in found:
                found[id(x)] = x
                stack.append(x)
    return sorted(found.values(), key=lambda node: (node._op is not None, node._serial))


def shadow_of(
    node: Tensor, script: Script, leaves: Leaves, shadows: dict[int, Tensor], names: Names
) -> Tensor:
    """A Tensor like ``node`` whose array is traced, for the reverse walk to walk."""
    shadow = object.__new__(Tensor)
    shadow._requires_grad, shadow._serial, shadow.name = node._requires_grad, node._serial, node.name
    shadow._grad, shadow._op, shadow._inputs, shadow._params = None, None, (), {}
    op = node._op
    if op is None:
        shadow._array = cast("Any", leaves.by_tensor[id(node)])
        return shadow
    for x in node._inputs:
        if isinstance(x, Tensor) and x._serial > node._serial:
            raise RuntimeError(
                f"to_numpy: {x.label()} was assigned after {op.name} had read it; run forward again"
            )
    owner = names.owner(node)
    inputs, shadow._params = leaves.kept[id(node)]
    shadow._inputs = tuple(shadows[id(x)] if isinstance(x, Tensor) else x for x in inputs)
    args = [x._array if isinstance(x, Tensor) else x for x in shadow._inputs]
    script.begin("forward", owner)
    with _explaining(op.name):
        out = op.forward(*args, **shadow._params)
        if not isinstance(out, Traced):
            raise UntraceableError(
                f"its forward gives a {type(out).__name__} that depends on none of its arguments"
            )
    out.step.value = np.asarray(out.step.value)  # the node's, where NumPy gives scalars for arrays of no axes
    if not same_bits(out.step.value, node._array):
        raise TypeError(
            f"to_numpy: {op.name} computed again gives other values; "
            "its forward must be a function of its arguments alone"
        )
    shadow._array = cast("Any", out)
    shadow._op = cast("Any", _Dictated(op, len(node._inputs), script, shadow))
    return shadow


class _Dictated:
    """What the reverse walk asks of an op, with formulas that write down what they do."""

    def __init__(self, op: Op[Any], inputs: int, script: Script, node: Tensor) -> None:
        self.name, self.elementwise, self.variadic = op.name, op.elementwise, False
        self.owner, self.script, self.node = Owner(op.name), script, node
        self.multiply_adds = None  # formulas dictate one at a time
        self.joint = None if op.joint is None else self._dictating(op.joint, "")
        self.formulas = [
            formula and self._dictating(formula, argument)
            for formula, argument in zip(op.formulas_for(inputs), argument_names(op, inputs), strict=True)
        ]

    def _dictating(self, formula: Callable[..., Any], argument: str) -> Callable[..., Any]:
        def dictate(g: Any, out: Any, *args: Any, **params: Any) -> Any:
            self.script.begin("backward", self.owner)
            name_cotangent(g, step_of(self.node))
            written = FORMULAS.get((self.name, argument))
            with _explaining(self.name):
                if written is not None:
                    return written(self.script, g, out, *args, **params)
                return formula(g, out, *args, **params)

        return dictate


def name_cotangent(g: Any, x: Step) -> None:
    """Call ``g`` d_<name of x>, unless it has a name already."""
    if isinstance(g, Traced) and g.step.name is None and g.step.base is None and g.step.function is not None:
        g.step.name = x


@contextmanager
def _explaining(op: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        untraceable = isinstance(error, (UntraceableError, UnwritableError)) or isinstance(
            error.__cause__, UntraceableError
        )
        advice = (
            "write its forward and its formulas with NumPy functions that give new arrays"
            if untraceable
            else "its code does not take an array that is not of type ndarray"
        )
        raise TypeError(f"to_numpy: {op} cannot be written as plain NumPy: {error}; {advice}") from error


def step_of(tensor: Tensor) -> Step:
    return cast("Any", tensor._array).step  # type: ignore[no-any-return]


@contextmanager
def ops_handed_over() -> Iterator[None]:
    """While a script is written, ops with an entry in `FORWARDS` hand traced arrays over to it."""
    with _handing_over:
        forwards = {name: OPS[name].forward for name in FORWARDS if name in OPS}
        try:
            for name, forward in forwards.items():
                OPS[name].forward = partial(_handed_over, FORWARDS[name], forward)
            yield
        finally:
            for name, forward in forwards.items():
                OPS[name].forward = forward


def _handed_over(written: Any, forward: Any, *args: Any, **params: Any) -> Any:
    script = script_of(args)
    return forward(*args, **params) if script is None else written(script, *args, **params)


def same_bits(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays have equal elements to the last bit, signs of zero too; NaN is NaN."""
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return False
    if x.tobytes() == y.tobytes():
        return True
    missing = np.isnan(x)
    same: bool = np.array_equal(missing, np.isnan(y)) and x[~missing].tobytes() == y[~missing].tobytes()
    return same
