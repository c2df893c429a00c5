"""What type checkers are told: a program passes strictly, and what they are told of a call is what comes."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorgrad as tg

HERE = Path(__file__).parent / "types"
SOURCES = Path(tg.__file__).parents[1]


def check(*files, cwd):
    """Mypy's report of files, as a user of the installed package sees it."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--config-file=",
        *map(str, files),
    ]
    # Mypy finds an installed package by itself, and wants no path to it.
    path = {} if SOURCES.name == "site-packages" else {"MYPYPATH": str(SOURCES)}
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"} | path
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith(str(SOURCES / "tensorgrad"))]


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_a_program_passes_strictly_and_mistakes_in_one_are_found(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorgrad as tg\n"
        "t = tg.Tensor(1.0)\n"
        "tg.mse(t, t, reductin='sum')\n"
        "tg.relu(t).backwards()\n"
        "n: int = tg.grad(tg.sum)(t)\n"
    )
    found = [
        line
        for line in check(HERE / "program.py", HERE / "claims.py", wrong, cwd=tmp_path)
        if "error:" in line
    ]
    assert {line.split(":")[1] for line in found} == {"3", "4", "5"}, found
    assert all(line.startswith(("wrong.py", str(wrong))) for line in found), found
    assert "cast" not in (HERE / "program.py").read_text().replace("without a cast", "")


def test_the_program_runs():
    subprocess.run([sys.executable, str(HERE / "program.py")], check=True, capture_output=True)


CLAIMS = [
    node.value.args
    for node in ast.parse((HERE / "claims.py").read_text()).body
    if isinstance(node, ast.Expr) and ast.unparse(node).startswith("assert_type(")
]


def fits(value, kind):
    """Whether a value is of a type, as `claims.py` writes it."""
    if isinstance(kind, ast.Subscript):
        inner = kind.slice.elts
        if kind.value.id == "dict":
            return all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
        return len(value) == len(inner) and all(map(fits, value, inner))
    return isinstance(
        value, {"NDArray": np.ndarray, "tg.Tensor": tg.Tensor, "str": str, "Any": object}[ast.unparse(kind)]
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: ast.unparse(claim[0]))
def test_what_type_checkers_are_told_is_what_comes(claim):
    expression, kind = claim
    names = {}
    exec((HERE / "claims.py").read_text(), names)
    value = eval(ast.unparse(expression), names)
    assert fits(value, kind), type(value)
