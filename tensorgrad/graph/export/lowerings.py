"""How ops are written: a table op -> rule, which is asked while a graph is exported.

NumPy needs few rules, for an op without one is written as what its forward does. A rule stands in for the
forward: it takes the same arguments, of which some are `Traced`, and gives what computes the same bits.

C needs a rule for everything that is not made of other ops. It is ``rule(program, value, *arguments,
**options)``, which writes the result of an op, ``value``, into a `Program`. To add one:

- for an op on elements write a line into the table of ``c_elementwise``: ``write_as("({0} / {1})")``, or
  ``call("softsign")`` and two C functions, of a number and of a vector, in ``graph/native/prelude.c``;
- for any other write a function: `Program.begin` makes room for the result and gives the code that writes
  it, with pointers to what is read; loops and lines are put into that code. ``c_windows.max_pool`` is a
  short example. A rule that cannot follow raises `UnbatchableError` (then there are no lanes) or
  `UnwritableError` (then no C);
- or write nothing: an op without a rule is written as what its forward is made of, if that is made of ops,
  or as ``graph/native/expansions.py`` says.

ONNX has its table in ``onnx_rules``, whose first lines say what a rule is, and there its own list of ops that
are written as others.

`lower` and `lower_ops` are given the table, so that one of another language can be asked in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any, TypeAlias

from tensorgrad.core import Op
from tensorgrad.core.context import lowering
from tensorgrad.graph.export import c_rules, c_windows, numpy_rules
from tensorgrad.graph.export.c_elementwise import ELEMENTWISE
from tensorgrad.graph.export.onnx_rules import ONNX_RULES as ONNX_RULES
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

C_RULES: Mapping[str, Rule] = {
    **ELEMENTWISE,
    "avg_pool": c_windows.avg_pool,
    "avg_pool_images": c_windows.avg_pool_images,
    "broadcast_to": c_rules.broadcast_to,
    "concatenate_": c_rules.concatenate,
    "conv2d": c_windows.conv2d,
    "conv2d_filters": c_windows.conv2d_filters,
    "conv2d_images": c_windows.conv2d_images,
    "einsum_": c_rules.einsum,
    "getitem": c_rules.getitem,
    "matmul": c_rules.matmul,
    "max": c_rules.largest,
    "max_pool": c_windows.max_pool,
    "max_pool_images": c_windows.max_pool_images,
    "min": c_rules.smallest,
    "reshape": c_rules.reshape,
    "roll": c_rules.roll,
    "scatter_add": c_rules.scatter_add,
    "sum": c_rules.add_up,
    "sum_to": c_rules.add_up,
    "swapaxes": c_rules.swapaxes,
    "transpose": c_rules.transpose,
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
