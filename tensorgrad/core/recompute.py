"""checkpoint: forget what a function computed inside, and compute it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import Any

import numpy as np

from tensorgrad.core.context import paused, watching
from tensorgrad.core.engine import Op, Tensor, clock, find_outside, walk
from tensorgrad.core.operators import Array
from tensorgrad.core.trees import flatten, map_leaves

__all__ = ["checkpoint"]

#: Whether a part of the forward pass is being computed once more: what counts its calls must not count this.
computing_again: ContextVar[bool] = ContextVar("tensorgrad_computing_again", default=False)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, without the memory of its intermediate results: backward runs ``f`` once more to have them.

    Parameters
    ----------
    f : callable
        Gives one Tensor, and the same one whenever it is called: no random numbers, no side effects (but the
        running statistics of a `BatchNorm`, which move once). Tensors that it reads without taking them as
        arguments, such as a layer's parameters, are found and get their gradients.

    Raises
    ------
    TypeError
        If the result is not one Tensor.
    RuntimeError
        In the backward pass, if ``f`` computed again gives another result or reads other tensors.

    Notes
    -----
    Chen, Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost (2016).

    >>> w = tg.Parameter(3.0, name="w")
    >>> y = tg.checkpoint(lambda x: tg.tanh(w * x))(2.0)
    >>> y.op, y.inputs
    (<op recompute(inputs)>, (Parameter(3., dtype=float64, name='w', requires_grad=True),))
    """

    name = getattr(f, "__name__", type(f).__name__)

    @wraps(f)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        # What the caller changes later must not change what is computed again.
        args, kwargs = map_leaves(_copy_array, (args, kwargs))
        start = next(clock)
        out = f(*args, **kwargs)
        if not isinstance(out, Tensor):
            if not any(isinstance(x, Tensor) for _, x in flatten((args, kwargs))):
                return out  # arrays in, arrays out, as with any op
            came = type(out).__name__
            raise TypeError(f"checkpoint of {name}: expected one Tensor as the result, got a {came}")
        if not out.requires_grad or paused.get():
            return out
        reads = find_outside([out], start)
        serials = tuple(x.serial for x in reads)
        return recompute(*reads, f=lambda: f(*args, **kwargs), name=name, value=out.data, serials=serials)

    return recomputed


def _copy_array(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _recall(
    *inputs: Array, f: Callable[[], Tensor], name: str, value: Array, serials: tuple[int, ...]
) -> Array:
    return value


# Not in the table of ops: nobody calls it but `checkpoint`, which knows what f reads.
recompute = Op(_recall, "recompute", ("inputs",), elementwise=False, native=False)


def _recompute_vjp(
    g: Array,
    out: Array,
    *inputs: Array,
    f: Callable[[], Tensor],
    name: str,
    value: Array,
    serials: tuple[int, ...],
) -> tuple[Array | None, ...]:
    start = next(clock)
    nested = any(isinstance(x, Tensor) for x in inputs)  # then backward is recorded

    def compute_again() -> list[tuple[Tensor, Array]]:
        paused.set(0)
        computing_again.set(True)
        watch = watching.get()
        with watch.forward_again() if watch else nullcontext():
            again = f()
        ends = find_outside([again], start)
        same = np.array_equal(again.data, value, equal_nan=True)
        if not same or tuple(x.serial for x in ends) != serials:
            raise RuntimeError(
                f"checkpoint of {name}: computed again it gave another result, so its gradient is lost; "
                "it must not depend on random numbers, nor on anything that has changed since"
            )
        return walk([(again, g)], create_graph=nested, since=start, ends=frozenset(x.serial for x in ends))

    found = copy_context().run(compute_again)  # whenever Ctrl-C comes, nothing stays switched
    cotangents = {x.serial: cotangent for x, cotangent in found}
    return tuple(cotangents.get(serial) for serial in serials)


recompute.defvjp_joint(_recompute_vjp)
