"""The command ``tensorgrad audit``: the table, the exit status, and what it says of an op that is wrong."""

import subprocess
import sys

import helpers
import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import cli
from tensorgrad.audit import sweep
from tensorgrad.audit.sweep import SAMPLES
from tensorgrad.core import OPS


@pytest.fixture
def few_ops(monkeypatch):
    """Only a few ops are checked, for speed; gives the table of them, to add to."""
    few = helpers.few_ops()
    monkeypatch.setattr(sweep, "OPS", few)
    return few


@pytest.fixture
def command(capsys):
    def run(*arguments):
        try:
            status = cli.main(["audit", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def rows_of(out):
    """The lines of the table, each as a dict by the names of the columns."""
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.usefixtures("few_ops")
def test_the_table_goes_to_stdout_and_all_is_well(command):
    status, out, err = command()
    assert status == 0
    errors = [f"{dtype}, order {order}" for dtype in ("float64", "float32") for order in (1, 2)]
    assert [row["op"] for row in rows_of(out)] == ["exp", "matmul", "reshape"]
    for row in rows_of(out):
        assert list(row) == ["op", "samples", *errors, "integers", "C", "problem"]
        assert int(row["samples"]) > 0
        assert all(0 <= float(row[error]) <= 1 for error in (*errors, "integers"))
        assert row["problem"] == ""
    assert [row["C"] for row in rows_of(out)] == ["yes", "yes", "4 of 5"]  # of reshape not in columns
    assert out.splitlines()[-1] == "3 ops, 18 rows, 0 with a problem"
    assert "exp" in err  # the progress, which is then wiped
    assert err.endswith("\r" + " " * 40 + "\r")


@pytest.mark.usefixtures("few_ops")
@pytest.mark.parametrize("order", [1, 3])
def test_order_is_the_highest_derivative(command, order):
    status, out, _ = command("--order", order)
    assert status == 0
    columns = [name.removeprefix("float64, order ") for name in rows_of(out)[0] if "float64" in name]
    assert columns == [str(n + 1) for n in range(order)]


def test_an_op_with_a_wrong_vjp_is_named_and_the_exit_status_is_1(command, few_ops, monkeypatch):
    monkeypatch.setattr(OPS["exp"], "formulas", [lambda g, out, x: g * out * 1.001])
    status, out, _ = command("--order", 1)
    assert status == 1
    for row in rows_of(out):
        wrong = row["op"] == "exp"
        assert ("a derivative is wrong" in row["problem"]) == (float(row["float64, order 1"]) > 1) == wrong
        assert float(row["float32, order 1"]) <= 1  # it is held against float64, which is as wrong
    assert out.splitlines()[-1] == "3 ops, 12 rows, 1 with a problem"


def test_an_op_without_samples_that_raises_or_without_vjp_is_a_problem(command, few_ops, monkeypatch):
    @tg.op
    def unsampled(x):
        return x

    @tg.op
    def crashing(x):
        raise ValueError("crash")

    @tg.op
    def undeclared(x):
        return x * 2

    few_ops |= {op.name: op for op in (unsampled, crashing, undeclared)}
    for op in (crashing, undeclared):
        monkeypatch.setitem(SAMPLES, op.name, SAMPLES["exp"])
    status, out, _ = command("--order", 1)
    assert status == 1
    problems = {row["op"]: row["problem"] for row in rows_of(out)}
    assert "no samples in tensorgrad.audit.SAMPLES" in problems["unsampled"]
    assert "ValueError: crash" in problems["crashing"]
    assert "NotImplementedError: undeclared has no vjp with respect to x" in problems["undeclared"]
    assert problems["exp"] == problems["matmul"] == ""


def test_an_op_that_loses_the_dtype_is_a_problem(command, few_ops, monkeypatch):
    @tg.op
    def promoting(x):
        return np.asarray(x, float) * 2

    promoting.defvjp(x=lambda g, out, x: 2 * g)
    few_ops["promoting"] = promoting
    monkeypatch.setitem(SAMPLES, "promoting", SAMPLES["exp"])
    status, out, _ = command("--order", 1)
    assert status == 1
    row = next(row for row in rows_of(out) if row["op"] == "promoting")
    assert float(row["float64, order 1"]) <= 1
    assert "float32" in row["problem"]


@pytest.mark.parametrize("order", [0, -1])
def test_an_order_below_1_exits_with_2(command, order):
    status, out, err = command("--order", order)
    assert (status, out) == (2, "")
    assert f"argument --order: expected an integer of at least 1, got '{order}'" in err


@pytest.mark.parametrize(
    "arguments", [("--order", "two"), ("--order",), ("exp",), ("--dtype", "f4")], ids=" ".join
)
def test_wrong_usage_exits_with_2(command, arguments):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(("tensorgrad audit: error: ", "tensorgrad: error: "))
    assert err.count("\n") == 2


def test_an_order_that_would_take_years_exits_with_2(command):
    status, out, err = command("--order", 10**6)
    assert (status, out) == (2, "")
    assert "argument --order: expected an integer below 5, got '1000000'" in err


def test_every_op_of_the_package_has_samples():
    assert [name for name in helpers.SHIPPED if not SAMPLES.get(name)] == []


def test_python_m_tensorgrad_audit_tells_its_flags():
    done = subprocess.run(
        [sys.executable, "-m", "tensorgrad", "audit", "--help"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--order" in done.stdout
    assert "exit status is 1" in " ".join(done.stdout.split())
