"""write_vjp: what drawings and steps print for a vjp."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tensorgrad.core import Op
from tensorgrad.graph.formulas import argument_names, formula_text, rename
from tensorgrad.graph.textbook.call import Call
from tensorgrad.graph.textbook.lines import LINES


def write_vjp(
    op: Op[...],
    i: int,
    arguments: tuple[Any, ...] = (),
    params: Mapping[str, Any] | None = None,
    called: Sequence[str] = (),
) -> str:
    """The vjp of an op for its argument ``i``: as a textbook prints it, or as it stands in the source.

    ``arguments`` are g, out and the op's arrays, and ``called`` what to call them. Without arguments, a line
    that depends on them is empty.

    >>> from tensorgrad.graph.textbook.write import write_vjp
    >>> write_vjp(tg.tanh, 0, called=["g", "y", "x"])
    'g * (1 - y ** 2)'
    """
    params = params or {}
    count = max(len(arguments) - 2, len(op.arrays), i + 1)
    formula = op.joint or op.formulas_for(count)[i]
    if formula is None:
        return "0"
    line = LINES.get(op.name, {}).get(op.arrays[min(i, len(op.arrays) - 1)])
    if not _is_ours(formula):
        line = None
    if callable(line):
        g, out, *inputs = arguments or (None, None)
        if not inputs:
            return ""
        line = line(Call(op, i, g, out, tuple(inputs), params))
    if line is None:
        return formula_text(formula, arguments, params, called)
    known = {x: repr(value) for x, value in params.items() if isinstance(value, _PLAIN) and x != "index"}
    known |= {"f": str(params["name"])} if op.name == "recompute" else {}
    names = ("g", "out", *argument_names(op, count))
    return rename(line, known | dict(zip(names, called or names, strict=False)))


_PLAIN = (int, float, str, tuple, type(None))


def _is_ours(formula: Any) -> bool:
    while isinstance(formula, partial):
        formula = formula.func
    return str(getattr(inspect.unwrap(formula), "__module__", "")).startswith("tensorgrad.")
