"""For every test and doctest: the names that examples take for granted, and tables of ops that stay clean."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.operators import NUMPY, OPS

collect_ignore = [
    "docs/conf.py",  # it needs Sphinx
    "tests/types/program.py",  # a user's program, with an op of its own
]
if find_spec("onnx") is None:  # whose examples write files of it
    collect_ignore += ["tensorgrad/nn/onnx_export.py", "tensorgrad/nn/onnx_import.py"]
if find_spec("mpi4py") is None:
    collect_ignore += ["tests/nn/fit/ranked.py"]  # a program of ranks


@pytest.fixture
def in_an_example(doctest_namespace: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows the two names, and what it writes does not lie about in the project."""
    doctest_namespace.update(np=np, tg=tg)
    monkeypatch.chdir(tmp_path)


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.DoctestItem):
        item.fixturenames.append("in_an_example")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """What a test or an example registers is gone after it, so that no other sees it.

    A fixture would do it too, and take longer than many of the ten thousand tests.
    """
    before = [(table, dict(table)) for table in (OPS, NUMPY)]
    try:
        return (yield)
    finally:
        for table, entries in before:
            table.clear()
            table.update(entries)
