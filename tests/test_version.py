"""The version, and the other package of the same name."""

import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import tensorgrad as tg
from tensorgrad.core.version import find_intruders, warn_of_intruders

PACKAGE = Path(tg.__file__).parent
PROJECT = Path(__file__).parents[1]  # beside which the package may be installed


def test_the_version_stands_in_one_place():
    citation = PROJECT / "CITATION.cff"
    assert f"\nversion: {tg.__version__}\n" in citation.read_text(encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    path = project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{tg.__version__}"' in (PACKAGE.parent / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"__init__.py", "__main__.py", "py.typed"}, []),
        ({"__init__.py", "__main__.py", "tensor.py"}, ["tensor.py"]),
        ({"__main__.py"}, ["__init__.py"]),  # the other was removed, and took it
        ({"elsewhere.txt"}, []),  # no sources lie here, as in an application that was frozen
    ],
)
def test_files_of_another_package_are_found(tmp_path, files, found):
    for name in files:
        (tmp_path / name).touch()
    assert find_intruders(str(tmp_path)) == found
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_intruders(str(tmp_path))
    assert [found[0] in str(each.message) for each in told] == [True] * bool(found)


@pytest.mark.parametrize(
    ("overwritten", "code"), [(False, "import tensorgrad"), (True, "import tensorgrad.cli")]
)
def test_importing_tells_of_a_mixture(tmp_path, overwritten, code):
    shutil.copytree(PACKAGE, tmp_path / "tensorgrad", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tensorgrad" / "functions.py").touch()
    if overwritten:
        (tmp_path / "tensorgrad" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.count("RuntimeWarning: tensorgrad: another package of this name") == 1, done.stderr
    assert "functions.py" in done.stderr
