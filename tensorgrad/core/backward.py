"""The reverse walk: from an output back to the leaves, each node once, all its cotangents in hand."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.core.broadcast import sum_to
from tensorgrad.core.op import Op, Vjp
from tensorgrad.core.parallel import share
from tensorgrad.core.recording import _clock, _watch
from tensorgrad.core.tensor import Array, Tensor, as_numeric

if TYPE_CHECKING:
    from tensorgrad.core.recording import Watch

#: The formulas of a call run side by side, on threads, if it took so many multiply-adds: each of them then
#: takes about a millisecond. To wake a thread, to give it what another core has in its cache and to share the
#: memory's bandwidth costs so much that shorter ones gain nothing.
SIDE_BY_SIDE = 1 << 25

_adding = threading.Lock()


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
    watch = _watch.get()
    if watch is None:
        return _walked(outputs, create_graph, since, ends, None)
    with watch.walking():
        return _walked(outputs, create_graph, since, ends, watch)


def _walked(
    outputs: Iterable[tuple[Tensor, Array]],
    create_graph: bool,
    since: int,
    ends: frozenset[int],
    watch: Watch | None,
) -> list[tuple[Tensor, Array]]:
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
    told = create_graph or watch is not None
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
            start = next(_clock)
        else:
            out = node._array
            args = tuple([x._array if isinstance(x, Tensor) else x for x in inputs])
        together: Sequence[Array | None] | None = None
        formulas = op.formulas_for(len(inputs)) if op.variadic else op.formulas
        if (
            op.multiply_adds is not None
            and not told
            and op.multiply_adds(out, *args, **params) >= SIDE_BY_SIDE
        ):
            wanted = [
                i
                for i, x in enumerate(inputs)
                if isinstance(x, Tensor) and x._requires_grad and (x._serial >= since or x._serial in ends)
            ]
            together = _side_by_side(formulas, wanted, g, out, args, params)
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
            if op.joint is not None and together is None:
                together = _jointly(op, g, out, args, params)
            if together is not None:
                gx = together[i]
                if gx is None:
                    continue
            elif (formula := formulas[i]) is not None:
                gx = formula(g, out, *args, **params)
            else:
                continue
            data = x._array
            shape = getattr(gx, "shape", None)
            if shape != data.shape:
                if not op.elementwise or shape != node._array.shape:
                    _refuse_cotangent(op, i, gx, x)
                gx = sum_to(gx, shape=data.shape)
            if gx.dtype is not data.dtype and gx.dtype != data.dtype:
                _refuse_cotangent(op, i, gx, x)
            if told:
                if create_graph and isinstance(gx, Tensor) and gx._serial > start:
                    gx._calls = (*getattr(gx, "_calls", ()), (start, op, i))  # for drawings
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
    found = walk([(output, seed(output, g, "backward"))], create_graph=create_graph)
    with _adding:  # of two threads that add to one leaf, both must find what the other added
        for leaf, cotangent in found:
            leaf._grad = _sum(leaf._grad, cotangent, create_graph)


def _sum(before: Array | None, cotangent: Array, create_graph: bool) -> Array:
    """A leaf's gradient with a cotangent added."""
    total = cotangent if before is None else before + cotangent
    if create_graph:
        return total if isinstance(total, Tensor) else Tensor(total)
    total = total._array if isinstance(total, Tensor) else np.asarray(total)
    # Two leaves may receive the same array, so nobody may write to it; a view could still change through its
    # base, so it becomes an array of its own.
    if total.base is not None:
        total = total.copy()
    total.flags.writeable = False
    return total


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


def seed(output: Tensor, g: Array | None, what: str) -> Array:
    """The cotangent that the walk starts with, checked against the output."""
    if g is None:
        if output.size != 1:
            raise ValueError(
                f"{what}: {output._label()} is not a scalar; pass the cotangent to contract it with"
            )
        g = np.ones_like(output._array)
    elif not isinstance(g, Tensor):
        g = as_numeric(g, None, what).astype(output.dtype)
    if isinstance(g, np.ndarray):
        g.flags.writeable = False  # a formula that writes into its cotangent is wrong, and is found out here
    if g.shape != output.shape or g.dtype != output.dtype:
        raise ValueError(
            f"{what}: expected a cotangent {output.dtype} {output.shape}, got {g.dtype} {g.shape}"
        )
    return g


def _side_by_side(
    formulas: Sequence[Vjp],
    wanted: Iterable[int],
    g: Array,
    out: Array,
    args: tuple[Any, ...],
    params: dict[str, Any],
) -> Sequence[Array | None]:
    """The cotangents of the ``wanted`` arguments of a call, each by its formula, at the same time."""
    found: list[Array | None] = [None] * len(args)

    def compute(i: int) -> None:
        formula = formulas[i]
        if formula is not None:
            found[i] = formula(g, out, *args, **params)

    share(compute, [*wanted])
    return found


def _jointly(
    op: Op[Any], g: Array, out: Array, args: tuple[Any, ...], params: dict[str, Any]
) -> tuple[Array | None, ...]:
    assert op.joint is not None
    together = op.joint(g, out, *args, **params)
    came = len(together) if hasattr(together, "__len__") else f"a {type(together).__name__}"
    if came != len(args):
        raise TypeError(f"the joint vjp of {op.name}: expected {len(args)} cotangents in a tuple, got {came}")
    return together


def _refuse_cotangent(op: Op[Any], position: int, gx: Array, x: Tensor) -> None:
    came = f"{gx.dtype} {gx.shape}" if hasattr(gx, "shape") else repr(gx)
    raise TypeError(
        f"the vjp of {op.name} for its argument {position}: expected a cotangent like the argument, "
        f"{x.dtype} {x.shape}, got {came}"
    )
