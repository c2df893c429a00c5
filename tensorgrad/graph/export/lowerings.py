"""How ops are written in each language: tables op -> rule, which are asked while a graph is exported.

NumPy needs few rules, for an op without one is written as what its forward does. A rule stands in for the
forward: it takes the same arguments, of which some are `Traced`, and gives what computes the same bits.

Another language has a table of its own here, with the same keys: the rule for an op in C will stand in
``c_rules`` and in a table ``C``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TypeAlias

from tensorgrad.core import Op
from tensorgrad.core.engine import lowering
from tensorgrad.graph.export import numpy_rules
from tensorgrad.graph.export.trace import script_of

#: ``(*arrays, **params) -> Traced``, as the op's forward.
Rule: TypeAlias = Callable[..., Any]

NUMPY: Mapping[str, Rule] = {
    "astype": numpy_rules.astype,
    "avg_pool": numpy_rules.avg_pool,
    "avg_pool_images": numpy_rules.avg_pool_images,
    "broadcast_to": numpy_rules.broadcast_to,
    "conv2d": numpy_rules.conv2d,
    "conv2d_filters": numpy_rules.conv2d_filters,
    "conv2d_images": numpy_rules.conv2d_images,
    "gate": numpy_rules.gate,
    "gather_windows": numpy_rules.gather_windows,
    "max_pool": numpy_rules.max_pool,
    "max_pool_images": numpy_rules.max_pool_images,
    "reshape": numpy_rules.reshape,
    "scatter_add": numpy_rules.scatter_add,
    "scatter_windows": numpy_rules.scatter_windows,
    "sum_to": numpy_rules.sum_to,
}


def lower(op: Op[Any], *args: Any, **params: Any) -> Any:
    """Carry out a call of an op: by its rule, if it has one and an argument is traced, or by its forward."""
    rule = NUMPY.get(op.name) if script_of(args) else None
    return (rule or op.forward)(*args, **params)


@contextmanager
def lower_ops() -> Iterator[None]:
    """Let `lower` carry out the ops that this thread calls without Tensors, as formulas do."""
    thread = get_ident()
    outer = lowering.get(thread)
    lowering[thread] = lower
    try:
        yield
    finally:
        if outer is None:
            del lowering[thread]
        else:
            lowering[thread] = outer
