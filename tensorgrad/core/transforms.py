"""Derivatives as functions: `vjp`, and on it `grad` and `value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tensorgrad.core.backward import seed, walk
from tensorgrad.core.broadcast import identity
from tensorgrad.core.recording import _recording
from tensorgrad.core.tensor import Array, Tensor, as_numeric, refuse_integers


def vjp(f: Callable[..., Any], *args: Array) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """The value of ``f`` at ``args``, and its vjp there: the function v -> v^T J.

    Parameters
    ----------
    f : callable
        Gives a Tensor, or a tuple of them.
    *args : array_like
        Floating arrays, all differentiated.

    Returns
    -------
    value : array or tuple of arrays
    pull_back : callable
        Takes one cotangent per output and gives one per argument, as a tuple.

    Notes
    -----
    Results are arrays. They are Tensors, and can be differentiated again, where an argument or cotangent was
    a Tensor that requires grad or ``f`` read one.

    >>> value, pull_back = tg.vjp(lambda x: x * x, np.array([1.0, 2.0]))
    >>> value
    array([1., 4.])
    >>> pull_back(np.array([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    name = getattr(f, "__name__", "f")
    outer = _recording.get()
    token = _recording.set(True)  # a derivative is asked for explicitly, even under no_grad
    try:
        variables = [_variable(x, f"vjp of {name}, argument {i}") for i, x in enumerate(args)]
        result = f(*variables)
    finally:
        _recording.reset(token)
    outputs = result if isinstance(result, tuple) else (result,)
    outputs = tuple(y if isinstance(y, Tensor) else Tensor(y) for y in outputs)
    since = variables[0]._serial if variables else 0
    nested = outer and _reads_older(outputs, since)

    def pull_back(*cotangents: Array) -> tuple[Any, ...]:
        if len(cotangents) != len(outputs):
            raise ValueError(f"vjp of {name}: expected {len(outputs)} cotangents, got {len(cotangents)}")
        record = nested or (outer and any(isinstance(v, Tensor) and v._requires_grad for v in cotangents))
        token = _recording.set(record)
        try:
            pairs = [(y, seed(y, v)) for y, v in zip(outputs, cotangents, strict=True) if y._requires_grad]
            leaves = walk(pairs, create_graph=record, since=since)
        finally:
            _recording.reset(token)
        found = {leaf._serial: g for leaf, g in leaves}
        return tuple(_given(found.get(x._serial, np.zeros_like(x._data)), record) for x in variables)

    values = tuple(_given(y, nested) for y in outputs)
    return values if isinstance(result, tuple) else values[0], pull_back


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The function ``(*args) -> (f(*args), gradient)``, for an ``f`` that gives a scalar.

    Parameters
    ----------
    f : callable
        Takes arrays positionally (and anything by keyword) and gives a scalar Tensor.
    argnums : int or tuple of int
        The positions to differentiate with respect to; a tuple gives a tuple of gradients.

    Raises
    ------
    TypeError
        If an argument to differentiate is not floating.
    ValueError
        If ``f`` does not give a scalar, or there is no such argument.

    Notes
    -----
    What the results are, arrays or Tensors, is as in `vjp`.

    >>> tg.value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(f)
    def derivative(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        name = getattr(f, "__name__", "f")
        for i in numbers:
            if not -len(args) <= i < len(args):
                raise ValueError(f"grad of {name}: no positional argument {i}, only {len(args)} were given")
        positions = [i % len(args) for i in numbers]

        def partial(*variables: Tensor) -> Any:
            full = list(args)
            for i, x in zip(positions, variables, strict=True):
                full[i] = x
            return f(*full, **kwargs)

        partial.__name__ = name
        value, pull_back = vjp(partial, *(args[i] for i in positions))
        if getattr(value, "size", 0) != 1:
            raise ValueError(f"grad of {name}: expected a scalar result, got {_shape(value)}")
        gradients = pull_back(np.ones(value.shape))
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return derivative


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function of the same arguments; see `value_and_grad`.

    >>> tg.grad(lambda x: x**3)(2.0)
    array(12.)
    >>> tg.grad(tg.grad(lambda x: x**3))(2.0)
    array(12.)
    """
    both = value_and_grad(f, argnums)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def _variable(x: Any, what: str) -> Tensor:
    """A new node for one differentiation: an outer derivative stays attached, yet is not confused with it."""
    if isinstance(x, Tensor) and x._requires_grad:
        node: Tensor = identity(x)
        return node
    array = as_numeric(x, None, what)
    refuse_integers(array.dtype, what)
    return Tensor(array, requires_grad=True)


def _reads_older(outputs: tuple[Tensor, ...], since: int) -> bool:
    """Whether a tensor that requires grad and is older than ``since`` was read on the way to ``outputs``."""
    stack = list(outputs)
    seen = set()
    while stack:
        node = stack.pop()
        if node._serial in seen or not node._requires_grad:
            continue
        seen.add(node._serial)
        if node._serial < since:
            return True
        stack.extend(x for x in node._inputs if isinstance(x, Tensor))
    return False


def _given(x: Array, record: bool) -> Array:
    """A result as the caller may keep it: a Tensor of the graph, or an array of the caller's own."""
    if record:
        return x if isinstance(x, Tensor) else Tensor(x)
    return x.numpy() if isinstance(x, Tensor) else np.array(x)


def _shape(value: Any) -> str:
    return f"{len(value)} outputs" if isinstance(value, tuple) else f"shape {value.shape}"
