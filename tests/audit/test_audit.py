"""The audit: it passes every op, finds a wrong one, and names one without samples."""

import numpy as np
import pytest
from helpers import few_ops, wrong_ops

import tensorgrad as tg
from tensorgrad import audit
from tensorgrad.audit import SAMPLES, Sample, sweep
from tensorgrad.audit.sample import of, positive
from tensorgrad.core import OPS


def audited(monkeypatch, **options):
    """The rows of the ops that the test made, and of a few of the package."""
    monkeypatch.setattr(sweep, "OPS", few_ops())
    return audit.run(**options)


@pytest.mark.parametrize(("name", "order", "dtype", "problem"), [
    ("doubled", 1, "float64", "1d: a derivative is wrong"),
    ("second_wrong", 2, "float64", "1d: a derivative is wrong"),
    ("widened", 1, "float32", "1d: TypeError: widened: the float32 tensor would silently become float64"),
])  # fmt: skip
def test_the_audit_finds_a_wrong_op(monkeypatch, name, order, dtype, problem):
    wrong_ops()
    monkeypatch.setitem(SAMPLES, name, (Sample("1d", of(positive(3))),))
    rows = audited(monkeypatch, dtypes=[dtype], orders=order)
    row = next(row for row in rows if (row.op, row.order) == (name, order))
    assert not row.ok
    assert row.problem.startswith(problem)
    assert row.worst > 1
    assert problem in audit.table([row])


def test_the_audit_names_an_op_without_samples(monkeypatch):
    wrong_ops()
    problems = {row.op: row.problem for row in audited(monkeypatch, orders=1) if not row.ok}
    assert problems["doubled"] == "no samples in tensorgrad.audit.SAMPLES"


@pytest.mark.parametrize(
    "orders", [1, pytest.param(2, marks=pytest.mark.slow)]
)  # 2 are in tests/ops/test_sweep.py
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_audit_passes_every_op(dtype, orders):
    rows = audit.run(orders, [dtype])
    assert {row.op for row in rows} == set(OPS)
    assert [row for row in rows if not row.ok] == []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_audit_finds_what_writes_into_what_it_was_given(monkeypatch, dtype):
    @tg.op
    def scribbled(x):
        return x * 2

    def formula(g, out, x):
        g *= 2
        return g

    @tg.op
    def overwritten(x):
        x *= 2
        return x + 0

    scribbled.defvjp(x=formula)
    overwritten.defvjp(x=lambda g, out, x: 2 * g)
    for name in ("scribbled", "overwritten"):
        monkeypatch.setitem(SAMPLES, name, (Sample("1d", of(positive(3))),))
    rows = audited(monkeypatch, dtypes=[dtype], orders=1)
    problems = {row.op: row.problem for row in rows if not row.ok}
    assert problems.keys() == {"scribbled", "overwritten"}
    assert problems["scribbled"].startswith(
        "1d: ValueError: the vjp of scribbled for x writes into its cotangent"
    )
    assert problems["overwritten"].startswith(
        "1d: ValueError: overwritten: the forward writes into its argument"
    )


@pytest.mark.parametrize(("forward", "problem"), [
    (lambda x: x * x / 2, "1d: integers give other numbers than floats"),
    (lambda x: np.sqrt(np.abs(x)), "1d: TypeError: expected float64 of bool, got float16"),
])  # fmt: skip
def test_the_audit_finds_an_op_that_computes_in_integers(monkeypatch, forward, problem):
    @tg.op
    def halved(x):
        return forward(x)

    halved.defvjp(x=lambda g, out, x: g)
    monkeypatch.setitem(SAMPLES, "halved", (Sample("1d", of(positive(3))),))
    rows = audited(monkeypatch, dtypes=["float64"], orders=1)
    row = next(row for row in rows if (row.op, row.dtype) == ("halved", "integers"))
    assert row.problem.startswith(problem)
