"""The audit: it passes every op, finds a wrong one, and names one without samples."""

import pytest
from helpers import wrong_ops

from tensorgrad import audit
from tensorgrad.audit import SAMPLES, Sample
from tensorgrad.audit.sample import of, positive


@pytest.mark.parametrize(("name", "order", "dtype", "problem"), [
    ("doubled", 1, "float64", "1d: a derivative is wrong"),
    ("second_wrong", 2, "float64", "1d: a derivative is wrong"),
    ("widened", 1, "float32", "1d: TypeError: widened: the float32 tensor would silently become float64"),
])  # fmt: skip
def test_the_audit_finds_a_wrong_op(monkeypatch, name, order, dtype, problem):
    wrong_ops()
    monkeypatch.setitem(SAMPLES, name, (Sample("1d", of(positive(3))),))
    rows = audit.run(dtypes=[dtype], orders=order)
    row = next(row for row in rows if (row.op, row.order) == (name, order))
    assert not row.ok
    assert row.problem.startswith(problem)
    assert row.worst > 1
    assert problem in audit.table([row])


def test_the_audit_names_an_op_without_samples():
    wrong_ops()
    problems = {row.op: row.problem for row in audit.run(orders=1) if not row.ok}
    assert problems["doubled"] == "no samples in tensorgrad.audit.SAMPLES"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_audit_passes_every_op(dtype):
    assert [row for row in audit.run(dtypes=[dtype]) if not row.ok] == []
