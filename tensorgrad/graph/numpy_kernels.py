"""Ops whose forward does not dictate well: what the program has in place of their calls.

Each entry takes Traced arrays and the parameters of the op, and records what computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core import OPS
from tensorgrad.graph import numpy_conv, numpy_pool
from tensorgrad.graph.numpy_steps import Lines, Method
from tensorgrad.graph.numpy_trace import Script, Traced

Written = Callable[..., Any]


def _astype(script: Script, x: Any, *, dtype: Any) -> Any:
    return script.record(Method("astype"), x, np.dtype(dtype).type)


def _sum_to(script: Script, x: Any, *, shape: tuple[int, ...]) -> Any:
    """As `sum_to` does, without axes of length 1 kept only to be dropped."""
    new = x.ndim - len(shape)
    unit = tuple(i + new for i, n in enumerate(shape) if n == 1 != x.shape[i + new])
    axes = (*range(new), *unit)
    if new and unit:
        return np.sum(x, axis=axes, keepdims=True).reshape(shape)
    axis = None if len(axes) == x.ndim else axes[0] if len(axes) == 1 else axes
    return np.sum(x, axis=axis, keepdims=bool(unit) or not axes)


def _reshape(script: Script, x: Any, *, shape: Any, order: Any = "C") -> Any:
    if order != "C":
        return np.reshape(x, shape, order)
    return x.reshape(np.empty(x.shape, bool).reshape(shape).shape)


def _broadcast_to(script: Script, x: Any, *, shape: tuple[int, ...]) -> Any:
    """As `broadcast_to` does, without axes of length 1 given first to what has none."""
    step = x.step
    if isinstance(step.function, Method) and step.function.name == "reshape" and not step.args[0].value.ndim:
        x = Traced(script, step.args[0])
    return np.broadcast_to(x, shape)


def _gate(script: Script, x: Any, condition: Any) -> Any:
    return script.record(np.where, condition, x, 0)


def _scatter_add(script: Script, x: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
    dtype = "" if x.dtype == float else f", dtype=np.{x.dtype.name}"
    zeros = f"{{out}} = np.zeros({tuple(shape)}{dtype})"
    add = "{out}[{i1}] = {0}" if _reads_once(index) else "np.add.at({out}, {1}, {0})"
    lines = Lines(
        "scattered", lambda x, index: OPS["scatter_add"].forward(x, index=index, shape=shape), zeros, add
    )
    return script.record(lines, x, index)


def _reads_once(index: Any) -> bool:
    if isinstance(index, (np.ndarray, Traced)):
        return bool(index.dtype == bool)
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts
    )


#: By the name of the op: ``(script, *arrays, **params) -> Traced``.
FORWARDS: dict[str, Written] = {
    "astype": _astype,
    "gate": _gate,
    "broadcast_to": _broadcast_to,
    "reshape": _reshape,
    "sum_to": _sum_to,
    "scatter_add": _scatter_add,
    "max_pool": numpy_pool.max_pool,
    "max_pool_images": numpy_pool.max_pool_images,
    "gather_windows": numpy_pool.gather_windows,
    "scatter_windows": numpy_pool.scatter_windows,
    "avg_pool": numpy_pool.avg_pool,
    "avg_pool_images": numpy_pool.avg_pool_images,
    **numpy_conv.FORWARDS,
}

#: By the names of the op and of its argument: ``(script, g, out, *arrays, **params) -> Traced``.
FORMULAS: dict[tuple[str, str], Written] = {("max_pool", "x"): numpy_pool.max_pool_vjp}
