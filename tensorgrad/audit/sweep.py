"""The sweep: every op held against its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tensorgrad.audit import elementwise, images, linalg, losses, reduce, shape
from tensorgrad.audit.integers import integer_error
from tensorgrad.audit.native import is_written
from tensorgrad.audit.sample import Sample, is_floating
from tensorgrad.core import OPS, Array, Op, Tensor, gradcheck, vjp
from tensorgrad.core.gradcheck import apply_vjp
from tensorgrad.core.printed import Printed, Text

__all__ = ["SAMPLES", "Row", "run", "table"]

#: The sample calls of every op, by its name.
SAMPLES: dict[str, tuple[Sample, ...]] = {
    name: samples
    for family in (elementwise, reduce, shape, linalg, losses, images)
    for name, samples in family.SAMPLES.items()
}


@dataclass(frozen=True)
class Row:
    """What the audit found for one op, dtype and order of derivative.

    Attributes
    ----------
    samples : int
        On how many it was checked; of the row for C, how many of them can be written in C.
    worst : float
        The largest error over all samples, as a multiple of its tolerance; at most 1 if all is well.
    problem : str
        What is wrong; empty if nothing is.
    """

    op: str
    dtype: str
    order: int
    samples: int
    worst: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


class Rows(list[Row], Printed):
    """The rows of an audit. Printed, and in a notebook, they are the `table`."""

    def __repr__(self) -> str:
        return table(self)


def run(
    orders: int = 2,
    dtypes: Sequence[str] = ("float64", "float32"),
    progress: Callable[[str], Any] = lambda op: None,
) -> Rows:
    """Check every registered op against its samples.

    In float64 the vjps are held against finite differences by `gradcheck`. In every other dtype the
    derivatives are held against those in float64, and must have the dtype of the arguments. Real results of
    integers and booleans at their extremes must be those of the same numbers as float64.

    Parameters
    ----------
    orders : int
        The highest derivative to check.
    dtypes : sequence of str
        Floating dtypes.
    progress : callable
        Called with the name of each op before it is checked.

    Returns
    -------
    list of Row, which prints as `table`
        One for each op, dtype and order, and two of order 0: of the dtype "integers", and of the dtype "C",
        which says how many samples `tensorgrad.compile` can write. An op without samples, or that raises, has
        a row that says so.

    >>> {"exp", "matmul"} <= {row.op for row in run(orders=1, dtypes=["float64"]) if row.ok}
    True
    """
    rows = Rows()
    for op in sorted(OPS.values(), key=lambda op: op.name):
        progress(op.name)
        checks = [(dtype, order) for dtype in dtypes for order in range(1, orders + 1)]
        rows += [_row(op, dtype, order) for dtype, order in [*checks, ("integers", 0), ("C", 0)]]
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: an op a line, a column for each dtype and order, and what is wrong.

    >>> print(table([Row("exp", "float64", 1, 3, 0.0123), Row("exp", "float64", 2, 3, 7.5, "0d: too large")]))
    | op  | samples | float64, order 1 | float64, order 2 | problem       |
    |-----|---------|------------------|------------------|---------------|
    | exp | 3       | 0.012            | 7.5              | 0d: too large |
    """
    columns = list(dict.fromkeys((row.dtype, row.order) for row in rows))
    cells = [("op", "samples", *(f"{dtype}, order {n}" if n else dtype for dtype, n in columns), "problem")]
    for op in dict.fromkeys(row.op for row in rows):
        found = {(row.dtype, row.order): row for row in rows if row.op == op}
        first = next(iter(found.values()))
        errors = [_cell(found[column], first.samples) if column in found else "" for column in columns]
        problem = next((row.problem for row in found.values() if row.problem), "")
        cells.append((op, str(first.samples), *errors, problem))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (n + 2) for n in widths) + "|"
    return Text("\n".join([lines[0], rule, *lines[1:]]))


def _cell(row: Row, samples: int) -> str:
    if row.dtype != "C":
        return f"{row.worst:.2g}"
    return "yes" if row.samples == samples else f"{row.samples} of {samples}" if row.samples else "no"


def _row(op: Op[Any], dtype: str, order: int) -> Row:
    samples, written = SAMPLES.get(op.name, ()), 0
    worst, problem = 0.0, "" if samples else "no samples in tensorgrad.audit.SAMPLES"
    for sample in samples:
        error, wrong = 0.0, "a derivative is wrong" if order else "integers give other numbers than floats"
        try:
            if dtype == "C":
                written += is_written(op, sample)
            else:
                error = _error(op, sample, dtype, order) if order else integer_error(op, sample)
            found = "" if error <= 1 else wrong
        except Exception as exception:  # a crash is a finding, and the other ops are still to be checked
            error, found = np.inf, f"{type(exception).__name__}: {exception}".splitlines()[0]
        worst = max(worst, error)
        problem = problem or (found and f"{sample.label}: {found}")
    return Row(op.name, dtype, order, written if dtype == "C" else len(samples), worst, problem)


def _error(op: Op[Any], sample: Sample, dtype: str, order: int) -> float:
    """The largest error of one sample, as a multiple of its tolerance; TypeError if a dtype is wrong."""

    def call(*args: Array) -> Any:
        return op(*args, **sample.params)

    exact = [_cast(x, dtype) for x in sample.args(np.random.default_rng(0))]
    result = call(*(Tensor(x, requires_grad=True) if is_floating(x) else x for x in exact))
    if result.dtype != (sample.dtype or dtype):
        raise TypeError(f"expected a result of {sample.dtype or dtype}, got {result.dtype}")
    if dtype == "float64":
        return gradcheck(call, *exact, order=order, raises=False).worst
    found = _derivatives(call, exact, order)
    truth = _derivatives(call, [_cast(x, "float64") for x in exact], order)
    tolerance = 1000 * float(np.finfo(dtype).eps)
    return max(
        float(np.max(abs(x - y), initial=0.0)) / (tolerance * float(np.max(abs(y), initial=1.0)))
        for x, y in zip(found, truth, strict=True)
    )


def _derivatives(f: Callable[..., Any], args: Sequence[Any], order: int) -> tuple[Any, ...]:
    """The vjp of the vjp of ... of ``f``, contracted each time with random cotangents."""
    rng = np.random.default_rng(1)
    given = [None if is_floating(x) else x for x in args]
    variables = [x for x in args if is_floating(x)]

    def function(*variables: Any) -> Any:
        rest = iter(variables)
        return (f(*(next(rest) if x is None else x for x in given)),)

    for _ in range(order):
        value, pull_back = vjp(function, *variables)
        cotangents = [rng.standard_normal(y.shape).astype(y.dtype) for y in value]
        gradients = pull_back(tuple(cotangents))
        function = partial(apply_vjp, function, len(variables))
        variables = [*variables, *cotangents]
    return gradients


def _cast(x: Any, dtype: str) -> Any:
    return x.astype(dtype) if is_floating(x) else x
