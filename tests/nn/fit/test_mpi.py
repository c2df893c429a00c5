"""Trainings by MPI, in processes that mpiexec starts: what test_ranks.py cannot see in threads."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import cli

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
ROOT = Path(__file__).resolve().parents[3]
RANKED = Path(__file__).with_name("ranked.py")
pytestmark = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None, reason="there is no mpi4py, or no mpiexec: install [mpi]"
)


def start(*command, ranks=2):
    """Run a program on so many ranks, more of them than cores if need be, and by whoever runs the tests."""
    settings = (
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "OMPI_MCA_rmaps_base_oversubscribe",
    )
    return subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, command)],
        env={**os.environ, **dict.fromkeys(settings, "1")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def read(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_two_ranks_train_as_one_process_and_end_alike_bit_by_bit(tmp_path):
    done = start(RANKED, "whole", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = read(tmp_path)
    assert first == second
    (state, figures), (true_state, true_figures) = first["together"], first["alone"]
    for found, expected in ((state, true_state), (figures, true_figures)):
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, rtol=2e-6, atol=2e-6, err_msg=key)


def test_the_program_of_the_documentation_trains_on_two_ranks(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "how-to" / "several-machines.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "train.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = start("-m", "mpi4py", "train.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 3/3") == 1
    with np.load("weights.npz") as saved:
        assert {path for path in saved if path.endswith("weights")} == {"Dense1.weights", "Dense4.weights"}


def test_an_error_on_a_rank_ends_all_with_its_message(tmp_path):
    done = start(
        RANKED, "failing", tmp_path
    )  # without -m mpi4py: nothing but the training itself ends the others
    assert done.returncode
    assert "ValueError: rank 1 of 2 ended the training: ValueError: the second rank is unwell" in done.stderr
    assert not [*tmp_path.glob("*.json")]


def test_a_rank_that_is_killed_ends_all(tmp_path):
    done = start("-m", "mpi4py", RANKED, "killed", tmp_path)
    assert done.returncode
    assert "KILLED" in (done.stdout + done.stderr).upper()
    assert not [*tmp_path.glob("*.json")]


def test_ctrl_c_on_a_rank_ends_all_after_the_same_step(tmp_path):
    done = start(RANKED, "interrupted", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = read(tmp_path)
    assert first == second in (8, 9)  # Ctrl-C comes after step 8, and is told at the next meeting


def test_the_command_line_trains_on_ranks_and_one_process_goes_on(tmp_path, capsys):
    options = ["train", "modern", "--schedule", "constant", "--batch-size", "256", "--no-compile"]
    options += ["--dtype", "float64", "--out"]
    done = start("-m", "mpi4py", "-m", "tensorgrad", *options, tmp_path / "two", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/1") == done.stdout.count("train accuracy 0") == 1
    for folder, more in (("two", ["--resume"]), ("one", [])):
        assert cli.main([*options, str(tmp_path / folder), "--epochs", "2", *more]) == 0
    capsys.readouterr()
    found, expected = (
        tg.load_network(tmp_path / folder / "network.npz").state() for folder in ("two", "one")
    )
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7, atol=1e-7)


def test_ranks_that_would_train_each_by_itself_are_refused(tmp_path):
    done = start("-m", "tensorgrad", "train", "dense", "--epochs", "1")
    assert done.returncode
    assert "mpiexec -n 2 python -m mpi4py -m tensorgrad train" in done.stderr
