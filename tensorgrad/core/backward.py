"""The reverse walk: from an output back to the leaves, each node once, all its cotangents in hand."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tensorgrad.core.broadcast import sum_to
from tensorgrad.core.op import Op
from tensorgrad.core.recording import _watch
from tensorgrad.core.tensor import Array, Tensor


def walk(
    outputs: Iterable[tuple[Tensor, Array]],
    *,
    create_graph: bool = False,
    since: int = 0,
    ends: frozenset[int] = frozenset(),
) -> list[tuple[Tensor, Array]]:
    """The cotangents of the leaves, as (leaf, cotangent) pairs, from those of some outputs.

    The formulas run on arrays, or on Tensors with ``create_graph``. Tensors older than the serial number
    ``since`` count as constants, but for those whose serial numbers are in ``ends``: these, and tensors all
    of whose inputs are older, count as leaves.
    """
    # Inputs are older than what was made of them, so the youngest node still waiting has received all its
    # cotangents: a heap of serial numbers yields a topological order with no pass to count uses.
    waiting: list[int] = []
    pending: dict[int, tuple[Tensor, Array]] = {}
    for output, g in outputs:
        if output._serial in pending:
            g = pending[output._serial][1] + g
        else:
            heappush(waiting, -output._serial)
        pending[output._serial] = (output, g)
    leaves = []
    watch = _watch.get()
    while waiting:
        serial = -heappop(waiting)
        node, g = pending.pop(serial)
        op = node._op
        if op is None or serial < since:
            leaves.append((node, g))
            continue
        inputs = node._inputs
        params = node._params
        if create_graph:
            out: Array = node
            args = inputs
        else:
            out = node._data
            args = tuple([x._data if isinstance(x, Tensor) else x for x in inputs])
        together = op.joint(g, out, *args, **params) if op.joint else None
        formulas = op.formulas_for(len(inputs)) if op.variadic else op.formulas
        reached = False
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                continue
            older = x._serial
            if older > serial:
                raise RuntimeError(
                    f"backward through {op.name}: {x._label()} was assigned after {op.name} had read it, "
                    "so its gradient is lost; run forward again first"
                )
            if not x._requires_grad or (older < since and older not in ends):
                continue
            reached = True
            if together is not None:
                gx = together[i]
            elif (formula := formulas[i]) is not None:
                gx = formula(g, out, *args, **params)
            else:
                continue
            data = x._data
            shape = getattr(gx, "shape", None)
            if shape != data.shape:
                if not op.elementwise or shape != node._data.shape:
                    _refuse_cotangent(op, i, gx, x)
                gx = sum_to(gx, shape=data.shape)
            if gx.dtype is not data.dtype and gx.dtype != data.dtype:
                _refuse_cotangent(op, i, gx, x)
            if watch is not None:
                watch.after_vjp(node, i, g, gx)
            if older in pending:
                gx = pending[older][1] + gx  # never in place: cotangents are shared
            else:
                heappush(waiting, -older)
            pending[older] = (x, gx)
        if since and not reached:
            leaves.append((node, g))
    return leaves


def accumulate(output: Tensor, g: Array | None, *, create_graph: bool) -> None:
    """Carry out `Tensor.backward`: walk, then add what came to each leaf's ``.grad``."""
    require_recorded(output, "backward")
    for leaf, cotangent in walk([(output, seed(output, g))], create_graph=create_graph):
        if leaf._grad is not None:
            cotangent = leaf._grad + cotangent
        if create_graph:
            cotangent = cotangent if isinstance(cotangent, Tensor) else Tensor(cotangent)
        else:
            # Two leaves may receive the same array, so nobody may write to it; a view could still change
            # through its base, so it becomes an array of its own.
            cotangent = cotangent._data if isinstance(cotangent, Tensor) else np.asarray(cotangent)
            if cotangent.base is not None:
                cotangent = cotangent.copy()
            cotangent.flags.writeable = False
        leaf._grad = cotangent


def require_recorded(output: Any, what: str) -> None:
    """RuntimeError unless a gradient can flow from ``output``."""
    if not isinstance(output, Tensor) or not output._requires_grad:
        kind = output._label() if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise RuntimeError(
            f"{what}: {kind} does not depend on anything that requires grad "
            "(was it made under no_grad, or of plain arrays?)"
        )


def read_from_outside(outputs: Iterable[Tensor], start: int) -> list[Tensor]:
    """The tensors older than ``start`` (a serial number) that require grad and led to ``outputs``, by age."""
    stack = list(outputs)
    found, seen = {}, set()
    while stack:
        node = stack.pop()
        if node._serial in seen or not node._requires_grad:
            continue
        seen.add(node._serial)
        if node._serial < start:
            found[node._serial] = node
        else:
            stack.extend(x for x in node._inputs if isinstance(x, Tensor))
    return [found[serial] for serial in sorted(found)]


def seed(output: Tensor, g: Array | None) -> Array:
    """The cotangent that the walk starts with, checked against the output."""
    if g is None:
        if output.size != 1:
            raise ValueError(
                f"backward: {output._label()} is not a scalar; pass the cotangent to contract it with"
            )
        return np.ones_like(output._data)
    if not isinstance(g, Tensor):
        g = np.array(g, dtype=output.dtype)
    if g.shape != output.shape or g.dtype != output.dtype:
        raise ValueError(
            f"backward: expected a cotangent {output.dtype} {output.shape}, got {g.dtype} {g.shape}"
        )
    return g


def _refuse_cotangent(op: Op[Any], position: int, gx: Array, x: Tensor) -> None:
    came = f"{gx.dtype} {gx.shape}" if hasattr(gx, "shape") else repr(gx)
    raise TypeError(
        f"the vjp of {op.name} for its argument {position}: expected a cotangent like the argument, "
        f"{x.dtype} {x.shape}, got {came}"
    )
