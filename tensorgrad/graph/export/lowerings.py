"""How ops are written: a table op -> rule, which is asked while a graph is exported.

NumPy needs few rules, for an op without one is written as what its forward does. A rule stands in for the
forward: it takes the same arguments, of which some are `Traced`, and gives what computes the same bits.

`lower` and `lower_ops` are given the table, so that one of another language can be asked in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any, TypeAlias

from tensorgrad.core import Op
from tensorgrad.core.engine import lowering
from tensorgrad.graph.export import numpy_rules
from tensorgrad.graph.export.trace import script_of

#: ``(*arrays, **params) -> Traced``, as the op's forward.
Rule: TypeAlias = Callable[..., Any]

#: The rules of a language, by the names of ops.
Rules: TypeAlias = Mapping[str, Rule]

NUMPY_RULES: Rules = {
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


def lower(rules: Rules, op: Op[Any], /, *args: Any, **params: Any) -> Any:
    """Carry out a call of an op: by its rule, if it has one and an argument is traced, or by its forward."""
    rule = rules.get(op.name) if script_of(args) else None
    return (rule or op.forward)(*args, **params)


@contextmanager
def lower_ops(rules: Rules) -> Iterator[None]:
    """Let `lower` carry out the ops that this thread calls without Tensors, as formulas do."""
    thread = get_ident()
    outer = lowering.get(thread)
    lowering[thread] = partial(lower, rules)
    try:
        yield
    finally:
        if outer is None:
            del lowering[thread]
        else:
            lowering[thread] = outer
