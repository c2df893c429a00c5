"""The package as a whole: what importing it costs, and what it exports."""

import ast
import builtins
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
PROJECT = Path(__file__).parents[1]  # beside which the package may be installed


def test_importing_costs_numpy_and_nothing_else():
    heavy = [
        "sklearn",
        "scipy",
        "graphviz",
        "matplotlib",
        "tqdm",
        "pooch",
        "torch",
        "pandas",
        "autograd",
        "onnx",
    ]
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


def body(facade):
    return ast.parse((PACKAGE / facade / "__init__.py").read_text(encoding="utf-8")).body


BODY = body(".")
AT_ONCE = [s for s in BODY if isinstance(s, ast.ImportFrom)]
(CHOICE,) = [s for s in BODY if isinstance(s, ast.If)]  # what type checkers read, else what runs
ABOVE = [s for s in CHOICE.body if s.module != "tensorgrad"]  # without the floors themselves


def offered(module):
    """What a module offers by name: its __all__, or all that is public in it and no module."""
    module = importlib.import_module(module)
    public = [n for n, x in vars(module).items() if n[0] != "_" and not isinstance(x, ModuleType)]
    return list(getattr(module, "__all__", public))


def handed_on(statement):
    """The names that an import statement of a facade hands on."""
    if [alias.name for alias in statement.names] == ["*"]:
        return offered(statement.module)
    assert all(alias.asname == alias.name for alias in statement.names), ast.unparse(statement)
    return [alias.name for alias in statement.names]


def test_the_front_page_is_a_list_of_public_names():
    assert BODY[1:] == [BODY[1], *AT_ONCE, CHOICE]
    names = [name for s in (*AT_ONCE, *ABOVE) for name in handed_on(s)]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"{twice} are in the __all__ of several modules"
    assert [name for name in names if name.startswith("_")] == ["__version__"]
    assert len(names) > 40
    assert set(names) - NOT_FOR_THE_FRONT_PAGE - {"__version__"} == set(tensorgrad.__all__)
    assert set(tensorgrad.__all__) <= set(dir(tensorgrad))


#: What a floor above offers under its own name alone, as in tensorgrad.nn.Buffer.
NOT_FOR_THE_FRONT_PAGE = {"Buffer"}


def test_upper_floors_are_imported_when_they_are_asked_for():
    listed = {floor: set(names.split()) for floor, names in tensorgrad._ON_DEMAND.items()}
    for statement in ABOVE:
        floor = ".".join(statement.module.split(".")[:2])
        assert listed.pop(floor) == set(handed_on(statement)) - NOT_FOR_THE_FRONT_PAGE, (
            f"_ON_DEMAND in tensorgrad/__init__.py does not list what {statement.module} offers"
        )
    assert not listed
    floors = {alias.name for s in CHOICE.body if s not in ABOVE for alias in s.names}
    assert {f"tensorgrad.{floor}" for floor in floors} == set(tensorgrad._ON_DEMAND)
    for name, module in tensorgrad._HOME.items():
        assert getattr(tensorgrad, name) is getattr(importlib.import_module(module), name)
    code = (
        "import sys, tensorgrad as tg;"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('tensorgrad.')});"
        "from tensorgrad import *; Dense, mse, tg.nn; assert sum is tg.sum and abs is tg.abs"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"core", "ops"}
    with pytest.raises(AttributeError, match="module 'tensorgrad' has no attribute 'dense'"):
        tensorgrad.dense  # noqa: B018 - asking for it is the test


def test_every_family_of_ops_is_handed_on():
    modules = [path for path in (PACKAGE / "ops").glob("[!_]*.py") if "__all__ = [" in path.read_text()]
    families = {f"tensorgrad.ops.{path.stem}" for path in modules}
    assert len(families) > 8
    for facade in (".", "ops"):
        starred = {s.module for s in body(facade) if isinstance(s, ast.ImportFrom) and s.names[0].name == "*"}
        missing = families - starred - {"tensorgrad.ops.linalg"}  # whose names are NumPy's: tensorgrad.linalg
        assert not missing, f"tensorgrad/{facade}/__init__.py does not import the names of {missing}"


@pytest.mark.parametrize("facade", [path.parent.name for path in PACKAGE.glob("*/__init__.py")] + ["."])
def test_a_facade_uses_no_builtin_that_its_names_shadow(facade):
    used = {x.id for s in body(facade) for x in ast.walk(s) if isinstance(x, ast.Name)}
    assert used & set(dir(builtins)) & set(tensorgrad.__all__) == set()


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
