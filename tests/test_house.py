"""The house is in order, and its rules (``house.py``) find what is not, in small houses made up here."""

import re
from pathlib import Path

import house
import pytest

import tensorgrad

PACKAGE = Path(tensorgrad.__file__).parent


@pytest.fixture(scope="module")
def package():
    return house.House(PACKAGE)


@pytest.mark.parametrize("title", house.RULES)
def test_the_package_keeps_the_rule(package, title):
    if breaches := house.breaches(package, house.RULES[title]):
        pytest.fail("\n".join([title, *breaches]), pytrace=False)


def test_every_folder_of_the_package_is_known():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(house.UNDER)


def test_contributing_tells_the_same_rules():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+) \| (.+) \|$", text, re.MULTILINE)
    told = {folder: set(re.findall("`(.+?)`", used)) for folder, used in rows if folder[1:-1] in house.UNDER}
    below = {f"`{folder}`": used for folder, used in house.UNDER.items() if "" not in used}
    assert told == {**below, "`cli`": {"tensorgrad"}}  # which is all of them
    limits = {what: int(most.replace(",", "")) for what, most in rows if most.replace(",", "").isdigit()}
    of_larger = {f"`{place}`": most for place, most in house.LARGER.items()}
    assert limits == {
        "a function": house.FUNCTION, "a file": house.FILE, "the package": house.PACKAGE, **of_larger,
    }  # fmt: skip


@pytest.fixture
def built(tmp_path):
    """Build a package of files given by their text, and find what breaks a rule in it."""

    def build(rule, files):
        for place, text in files.items():
            path = tmp_path / "home" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return house.breaches(house.House(tmp_path / "home"), rule)

    return build


# Circles

UP, DOWN = "from home.core.b import B\n", "from home.core.a import A\n"
TYPES_ALONE = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {DOWN}"


@pytest.mark.parametrize("back", [
    DOWN, "import home.core.a\n", "from home.core import a\n", TYPES_ALONE, f"def f():\n    {DOWN}",
], ids=["from", "import", "the module", "TYPE_CHECKING", "inside a function"])  # fmt: skip
def test_a_circle_is_found_however_it_is_imported(built, back):
    (found,) = built(house.circles, {"core/a.py": UP, "core/b.py": back, "core/c.py": UP + DOWN})
    assert found.startswith("home/core/a.py:1: an import circle: home.core.a -> home.core.b -> home.core.a;")


def test_the_shortest_circle_through_a_file_is_told(built):
    first, second = built(house.circles, {
        "ops/a.py": "import home.ops.b\n", "ops/b.py": "import os\nimport home.ops.c\n",
        "ops/c.py": "import home.ops.a\nimport home.ops.d\n", "ops/d.py": "import home.ops.a\n",
    })  # fmt: skip
    assert "ops/a.py:1: an import circle: home.ops.a -> home.ops.b -> home.ops.c -> home.ops.a;" in first
    assert "ops/d.py:1: an import circle: home.ops.d -> home.ops.a -> home.ops.b -> home.ops.c ->" in second


def test_a_file_may_not_import_the_facade_that_imports_it(built):
    assert built(house.circles, {"core/__init__.py": "from home.core.a import *\n", "core/a.py": UP,
                                 "core/b.py": "from home.core import A\n"}) != []  # fmt: skip


def test_what_imports_others_alone_is_in_no_circle(built):
    files = {
        "core/__init__.py": "from home.core.a import *\n",
        "core/a.py": UP,
        "core/b.py": "import numpy\n",
    }
    assert built(house.circles, files) == []


# Floors


@pytest.mark.parametrize(("place", "statement"), [
    ("core/a.py", "from home.ops import add"), ("core/a.py", "import home"),
    ("core/a.py", "from home import ops"),
    ("ops/a.py", "import home.nn.layer"), ("data/a.py", "from home.core import Tensor"),
    ("data/a.py", "from home.core.engine import Tensor"), ("graph/draw/a.py", "from home.nn import Layer"),
    ("nn/a.py", "from home.cli import main"), ("nn/a.py", "from home.audit import run"),
    ("audit/a.py", "from home.nn import Layer"), ("estimators/a.py", "import home"),
    ("core/a.py", "def f():\n    from home.ops import add"), ("core/a.py", "from . import engine"),
    ("attic/a.py", "import numpy"),
])  # fmt: skip
def test_a_folder_that_reaches_above_itself_is_found(built, place, statement):
    (found,) = built(house.floors, {place: statement, "ops/__init__.py": ""})
    assert found.startswith(f"home/{place}:{statement.count(chr(10)) + 1}: ")


@pytest.mark.parametrize(("place", "statement"), [
    ("ops/a.py", "from home.core import Tensor"), ("ops/a.py", "from home.ops.b import add"),
    ("data/a.py", "from home.core.checks import pair"), ("data/a.py", "from home.core import checks"),
    ("graph/draw/a.py", "from home.graph.recorded import ancestors"), ("cli/a.py", "import home"),
    ("estimators/a.py", "from home.nn import Network"), ("core/a.py", "import homes.nn"),
    ("__init__.py", "from home.nn import *"), ("__main__.py", "from home.cli import main"),
])  # fmt: skip
def test_what_stands_under_a_folder_may_be_used(built, place, statement):
    assert built(house.floors, {place: statement, "core/checks.py": ""}) == []


# Imports inside functions


@pytest.mark.parametrize(
    "statement", ["import numpy", "from home.nn import Layer", "from importlib import metadata"]
)
def test_an_import_inside_a_function_is_found(built, statement):
    (found,) = built(house.late_imports, {"nn/a.py": f"class A:\n    def f(self):\n        {statement}\n"})
    assert found.startswith("home/nn/a.py:3: imports ")
    assert "inside f; import it at the top" in found


def test_optional_packages_and_names_on_demand_are_imported_late(built):
    on_demand = "def __getattr__(name):\n    from importlib import import_module\n"
    optional = "def f():\n    import sklearn.metrics\n    from matplotlib.figure import Figure\n"
    assert built(house.late_imports, {"__init__.py": on_demand, "nn/a.py": optional}) == []
    (found,) = built(house.late_imports, {"nn/__init__.py": on_demand})
    assert found.startswith("home/nn/__init__.py:2: ")


# Sizes


def test_lines_of_code_are_those_without_docstrings_comments_and_blank_lines(built, tmp_path):
    text = '''"""Of the module,

in three lines."""

import os  # one


class A:
    """Of the class."""

    x = """two
    three
    """

    def f(self):
        """Of the function."""
        # no code

        return (
            1
        )
'''
    built(house.sizes, {"a.py": text, "b.py": "'no docstring' + ''\n"})
    first, second = house.House(tmp_path / "home").files
    assert sorted(first.code) == [5, 8, 11, 12, 13, 15, 19, 20, 21]
    assert len(second.code) == 1


def test_what_is_too_long_is_found(built):
    def function(name, lines):
        return f'def {name}():\n    """Docs."""\n' + "    x = 1\n\n" * (lines - 1)

    files = {
        "nn/a.py": function("f", 60) + function("g", 61),
        "nn/b.py": "x = 1\n" * 351,
        "nn/c.py": "x = 1\n" * 350,
    }
    assert built(house.sizes, files) == [
        "home/nn/a.py:121: g has 61 lines of code, at most 60; divide it",
        "home/nn/b.py:1: 351 lines of code, at most 350; make two files of it",
    ]


def test_the_engine_may_be_larger_and_the_package_has_a_limit(built):
    assert built(house.sizes, {"core/engine.py": "x = 1\n" * 700}) == []
    (found,) = built(house.sizes, {"core/engine.py": "x = 1\n" * 701})
    assert found.startswith("home/core/engine.py:1: 701 lines of code, at most 700")
    files = {f"nn/{i}.py": "x = 1\n" * 350 for i in range(65)}
    assert built(house.sizes, {"core/engine.py": "", **files}) == [
        "home:0: 22750 lines of code, at most 22500; say things once"
    ]


# Private names


@pytest.mark.parametrize("text", [
    "from home.core.engine import _clock", "import home.core._engine", "from home.core import _engine",
    "x._serial", "f(x)[0]._op.name", "x._array = 1", "self.layer._buffers", "engine._clock()", "np._core",
    "class A:\n    def f(self, other):\n        return self._x + other._y",
])  # fmt: skip
def test_a_private_name_of_another_file_is_found(built, text):
    (found,) = built(house.private_names, {"nn/a.py": text})
    assert found.startswith(f"home/nn/a.py:{text.count(chr(10)) + 1}: ")
    assert "public name" in found


@pytest.mark.parametrize("text", [
    "from home.core.engine import clock", "x.__class__", "row._replace(a=1)", "self._x", "cls._x",
    "super()._x()",
    "class A:\n    def __init__(self, other):\n        self._x = other._x",
    "class A:\n    __slots__ = ('_x',)\ndef f(a):\n    return a._x", "def _f(): ...\nmodule._f()",
    "class A:\n    _x: int\n    def f(self, other):\n        return other._x", "figure._repr_svg_()",
    "from numpy import _core",
])  # fmt: skip
def test_private_names_of_ones_own_are_free(built, text):
    assert built(house.private_names, {"nn/a.py": text}) == []


# Facades

FACADE = '"""Docs."""\n\nfrom home.nn.a import *\nfrom home.nn.b import *\n'
A, B = '__all__ = ["A"]\nclass A: ...\n', '__all__ = ["B", "b"]\nb: int = 1\nif b:\n    B = 2\n'


def test_a_facade_of_star_imports_with_each_name_once_is_in_order(built):
    root = (
        '"""Docs."""\nfrom typing import TYPE_CHECKING\nfrom home.nn.c import hook as _hook\n'
        "if TYPE_CHECKING:\n    from home.nn import *\n"
        "else:\n    __all__ = sorted(globals())\n    def __getattr__(name): ...\n"
    )
    files = {"nn/__init__.py": FACADE + "from home.nn import c as c\n", "nn/a.py": A, "nn/b.py": B}
    namespace = {"nn/c.py": "from home.nn.a import A\n__all__ = ['A']", "cli/__init__.py": "def main(): ..."}
    assert built(house.facades, {"__init__.py": root, **files, **namespace}) == []


@pytest.mark.parametrize(("place", "line", "words", "files"), [
    ("nn/__init__.py", 2, "star imports alone", {"nn/__init__.py": '"Docs."\nfrom home.nn.a import A as A'}),
    ("nn/__init__.py", 1, "star imports alone", {"nn/__init__.py": "from numpy import *"}),
    ("nn/__init__.py", 5, "star imports alone", {"nn/__init__.py": FACADE + "__all__ = ['A']"}),
    ("__init__.py", 2, "star imports alone", {"__init__.py": "if True:\n    from home.nn import A as A"}),
    ("nn/a.py", 1, "no `__all__`, a literal list; nn/__init__.py stars", {"nn/a.py": "class A: ..."}),
    ("nn/a.py", 1, "no `__all__`, a literal list", {"nn/a.py": "__all__ = sorted(globals())"}),
    ("nn/__init__.py", 4, "A stands in home.nn.a and in home.nn.b; keep one", {"nn/b.py": A}),
    ("__init__.py", 2, "A stands in home.nn.a and in home.core.a",
     {"__init__.py": "from home.nn import *\nfrom home.core.a import *\n", "core/a.py": A}),
    ("nn/a.py", 2, "A is in `__all__` and not defined here",
     {"nn/a.py": "from home.nn.c import A\n__all__ = ['A']"}),
    ("nn/a.py", 1, "A is in `__all__` twice", {"nn/a.py": "__all__ = ['A', 'A']\nA = 1"}),
], ids=range(10))  # fmt: skip
def test_what_a_facade_should_not_be_is_found(built, place, line, words, files):
    found = built(house.facades, {"nn/__init__.py": FACADE, "nn/a.py": A, "nn/b.py": B, **files})
    assert any(one.startswith(f"home/{place}:{line}: ") and words in one for one in found), found
    assert len(set(found)) == 1
