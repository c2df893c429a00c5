"""The package as a whole: what importing it costs, and what it exports."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import tensorgrad

PACKAGE = Path(tensorgrad.__file__).parent
PROJECT = PACKAGE.parent


def test_importing_costs_numpy_and_nothing_else():
    heavy = ["sklearn", "scipy", "graphviz", "matplotlib", "tqdm", "pooch", "torch", "pandas", "autograd"]
    code = f"import sys, tensorgrad, tensorgrad.cli; print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_all_it_imports_from_outside_is_numpy():
    code = (
        "import numpy.random, sys; before = set(sys.modules); import tensorgrad;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - sys.stdlib_module_names - {'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tensorgrad"]


BODY = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
AT_ONCE = [s for s in BODY if isinstance(s, ast.ImportFrom) and s.module != "typing"]
(CHOICE,) = [s for s in BODY if isinstance(s, ast.If)]  # what type checkers read, else what runs


def exports(statements):
    """The names that import statements of tensorgrad/__init__.py re-export, with their modules."""
    return {alias.asname: s.module for s in statements for alias in s.names if alias.asname == alias.name}


def test_the_front_page_is_a_list_of_public_names():
    assert BODY[1:] == [BODY[1], *AT_ONCE, CHOICE]
    listed = [alias for s in (*AT_ONCE, *CHOICE.body) for alias in s.names]
    names = [alias.asname for alias in listed]
    assert names == [alias.name for alias in listed]
    assert not [name for name in names if name.startswith("_") or name == "*"]
    assert len(set(names)) == len(names) > 40
    assert set(names) == set(tensorgrad.__all__) == {n for n in dir(tensorgrad) if n in names}


def test_upper_floors_are_imported_when_they_are_asked_for():
    assert exports(CHOICE.body) == tensorgrad._HOME
    for name, module in tensorgrad._HOME.items():
        assert getattr(tensorgrad, name) is getattr(importlib.import_module(module), name)
    code = (
        "import sys, tensorgrad as tg;"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('tensorgrad.')});"
        "from tensorgrad import *; Dense, mse, tg.nn"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"core", "ops"}
    with pytest.raises(AttributeError, match="module 'tensorgrad' has no attribute 'dense'"):
        tensorgrad.dense  # noqa: B018 - asking for it is the test


def test_nothing_else_is_visible_but_the_floors():
    visible = {name for name in dir(tensorgrad) if not name.startswith("_")}
    others = visible - set(tensorgrad.__all__)
    assert all(isinstance(getattr(tensorgrad, name), ModuleType) for name in others)
    assert all(getattr(tensorgrad, name).__name__ == f"tensorgrad.{name}" for name in others)


@pytest.mark.parametrize("name", sorted(tensorgrad.__all__))
def test_every_public_name_has_a_docstring(name):
    doc = inspect.getdoc(getattr(tensorgrad, name))
    assert doc
    assert len(doc) > 20


def test_the_layers_the_optimizer_and_the_network_of_the_notebook_are_at_hand():
    wanted = (
        "Tensor Parameter op no_grad grad value_and_grad gradcheck exp log sqrt tanh sigmoid relu maximum "
        "sum mean max reshape transpose getitem broadcast_to matmul conv2d max_pool avg_pool mse Dense "
        "Conv2D MaxPool2D AvgPool2D Flatten Sigmoid ReLU Tanh Softmax MiniBatchSGD Network minibatches draw"
    )
    assert [name for name in wanted.split() if not hasattr(tensorgrad, name)] == []


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["tensorgrad"]
