"""The reverse walk: from an output back to the leaves, each node once, all its cotangents in hand."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tensorgrad.core.broadcast import sum_to
from tensorgrad.core.op import Op
from tensorgrad.core.tensor import Array, Tensor


def walk(
    outputs: Iterable[tuple[Tensor, Array]], *, create_graph: bool = False, since: int = 0
) -> list[tuple[Tensor, Array]]:
    """The cotangents of the leaves, as (leaf, cotangent) pairs, from those of some outputs.

    The formulas run on arrays, or on Tensors with ``create_graph``. Tensors older than the serial number
    ``since`` count as constants; a tensor whose inputs are all older counts as a leaf.
    """
    # Inputs are older than what was made of them, so the youngest node still waiting has received all its
    # cotangents: a heap of serial numbers yields a topological order with no pass to count uses.
    waiting: list[int] = []
    nodes: dict[int, Tensor] = {}
    cotangents: dict[int, Array] = {}
    for output, g in outputs:
        _add(output, g, waiting, nodes, cotangents)
    leaves = []
    while waiting:
        serial = -heappop(waiting)
        node = nodes.pop(serial)
        g = cotangents.pop(serial)
        op = node._op
        if op is None:
            leaves.append((node, g))
            continue
        inputs = node._inputs
        if create_graph:
            out: Array = node
            args = inputs
        else:
            out = node._data
            args = tuple([x._data if isinstance(x, Tensor) else x for x in inputs])
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
            if not x._requires_grad or older < since:
                continue
            reached = True
            formula = op.vjp(i)
            if formula is None:
                continue
            gx = formula(g, out, *args, **node._params)
            shape = x._data.shape
            if op.elementwise and gx.shape != shape:
                gx = sum_to(gx, shape=shape)
            if gx.shape != shape or gx.dtype != x._data.dtype:
                _refuse_cotangent(op, i, gx, x)
            _add(x, gx, waiting, nodes, cotangents)
        if since and not reached:
            leaves.append((node, g))
    return leaves


def _add(
    x: Tensor, g: Array, waiting: list[int], nodes: dict[int, Tensor], cotangents: dict[int, Array]
) -> None:
    serial = x._serial
    if serial in cotangents:
        cotangents[serial] = cotangents[serial] + g  # never in place: cotangents are shared
    else:
        cotangents[serial] = g
        nodes[serial] = x
        heappush(waiting, -serial)


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
            cotangent = np.array(cotangent) if cotangent.base is not None else np.asarray(cotangent)
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
    raise TypeError(
        f"the vjp of {op.name} for its argument {position} gave a cotangent {gx.dtype} {gx.shape}, "
        f"expected that of the argument, {x.dtype} {x.shape}"
    )
