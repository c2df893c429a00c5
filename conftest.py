"""For every test and doctest: the names that examples take for granted, and tables of ops that stay clean."""

from collections.abc import Iterator
from importlib.util import find_spec
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


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(np=np, tg=tg)


@pytest.fixture(autouse=True)
def _folder_of_its_own(request: pytest.FixtureRequest) -> None:
    """What an example writes does not lie about in the project."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture(autouse=True)
def _tables_of_ops() -> Iterator[None]:
    """What a test or an example registers is gone after it, so that no other sees it."""
    before = [(table, dict(table)) for table in (OPS, NUMPY)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)
