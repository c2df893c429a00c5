"""checkpoint: forget what a function computed inside, and compute it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tensorgrad.core.backward import read_from_outside, walk
from tensorgrad.core.op import Op
from tensorgrad.core.recording import _clock, _paused
from tensorgrad.core.tensor import Array, Tensor


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, without the memory of its intermediate results: backward runs ``f`` once more to have them.

    Parameters
    ----------
    f : callable
        Gives one Tensor, and the same one whenever it is called: no random numbers, no side effects. Tensors
        that it reads without taking them as arguments, such as a layer's parameters, are found and get
        their gradients.

    Raises
    ------
    TypeError
        If the result is no Tensor.

    Notes
    -----
    Chen, Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost (2016).

    >>> w = tg.Parameter(3.0, name="w")
    >>> y = tg.checkpoint(lambda x: tg.tanh(w * x))(2.0)
    >>> y.op, y.inputs
    (<op recompute(inputs)>, (Parameter(3., dtype=float64, name='w', requires_grad=True),))
    """

    @wraps(f)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        start = next(_clock)
        out = f(*args, **kwargs)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"checkpoint of {f}: expected one Tensor as the result, got a {type(out).__name__}"
            )
        if not (out._requires_grad and not _paused.get()):
            return out
        return recompute(*read_from_outside([out], start), f=lambda: f(*args, **kwargs), value=out._data)

    return recomputed


def _value(*inputs: Array, f: Callable[[], Tensor], value: Array) -> Array:
    return value


# Not in the registry: nobody calls it but `checkpoint`, which knows what f reads.
recompute = Op(_value, "recompute", ("inputs",), elementwise=False, native=False)


def _recompute_vjp(
    g: Array, out: Array, *inputs: Array, f: Callable[[], Tensor], value: Array
) -> tuple[Array, ...]:
    start = next(_clock)
    nested = any(isinstance(x, Tensor) for x in inputs)  # then backward is recorded
    token = _paused.set(0)
    try:
        again = f()
        ends = read_from_outside([again], start)
        found = walk([(again, g)], create_graph=nested, since=start, ends=frozenset(x._serial for x in ends))
    finally:
        _paused.reset(token)
    cotangents = {x._serial: cotangent for x, cotangent in found}
    return tuple(cotangents[x._serial] for x in ends)


recompute.defvjp_joint(_recompute_vjp)
