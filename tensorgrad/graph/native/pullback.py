"""Gradients that are asked for later: those of an output that is no loss, by a cotangent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.variant import Variant

#: Of the cotangents of a call's outputs, None but for one, the arguments and what was drawn for the call:
#: the leaves with their gradients.
Compute = Callable[[list[NDArray | None], list[NDArray], list[NDArray]], list[tuple[Tensor, NDArray]]]


class PullBack:
    """A call of a compiled function, kept for the cotangents of what it gave."""

    def __init__(
        self, variant: Variant, arrays: Sequence[NDArray], drawn: Sequence[NDArray], compute: Compute
    ) -> None:
        self._arrays, self._drawn = [x.copy() for x in arrays], list(drawn)
        self._compute, self._later = compute, variant.recording.later
        self._outputs = len(variant.recording.outputs)
        given = set(map(id, variant.recording.given()))
        read = [leaf for _, leaf in variant.program.arguments if id(leaf) not in given]
        self._tensors = [(x, x.serial) for x in read if isinstance(x, Tensor) and not x.requires_grad]
        self._constants = [(x, x.copy()) for x in read if isinstance(x, np.ndarray)]

    def attach(self, results: list[Tensor]) -> None:
        """Put tensors that carry a gradient in the place of those whose gradient is asked for later."""
        for k, leaves in self._later.items():
            results[k] = attach(results[k].data, leaves, partial(self.find_gradients, k))

    def find_gradients(self, output: int, g: NDArray) -> tuple[NDArray, ...]:
        """Those of the leaves of an output."""
        tensors = all(x.serial == serial for x, serial in self._tensors)
        if not tensors or not all(
            np.array_equal(x, copy, x.dtype.kind == "f") for x, copy in self._constants
        ):
            refuse_changed()
        cotangents = [g if k == output else None for k in range(self._outputs)]
        found = {id(leaf): x for leaf, x in self._compute(cotangents, self._arrays, self._drawn)}
        return tuple(found.get(id(p), np.zeros(p.shape, p.dtype)) for p in self._later[output])


def refuse_changed() -> NoReturn:
    """What was read in the forward pass would be read anew, and is another by now."""
    raise RuntimeError(
        "compile: something that the function reads was changed between its call and backward; call it again"
    )


def attach(value: NDArray, leaves: Sequence[Tensor], find: Callable[[NDArray], Sequence[NDArray]]) -> Tensor:
    """A tensor of a value; ``find`` gives the gradients of the leaves from a cotangent of it."""
    return _attached(*leaves, value=value, find=find)  # type: ignore[no-any-return]  # a tensor of tensors


def _give_value(*leaves: Any, value: NDArray, find: Callable[[NDArray], Sequence[NDArray]]) -> NDArray:
    return value


def _find_gradients(
    g: Any, out: Any, *leaves: Any, value: NDArray, find: Callable[[NDArray], Sequence[NDArray]]
) -> tuple[NDArray, ...]:
    if any(isinstance(x, Tensor) for x in leaves):
        raise NotImplementedError("compile: second derivatives are not compiled; call the function itself")
    return tuple(find(g))


_attached: Op[Any] = Op(_give_value, "compiled", ("leaves",), elementwise=False, native=False)
_attached.defvjp_joint(_find_gradients)
