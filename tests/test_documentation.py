"""The code blocks of README, CONTRIBUTING and docs run as they stand, each page in one fresh namespace.

And what can be asked of the site without building it: that links lead somewhere, that the reference is whole.
"""

import importlib
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import SHIPPED

import tensorgrad as tg

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
BLOCK = re.compile(
    r"^( *)```(?:python|\{code-cell\} python(?:\n:.*)*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PEERS = ("torch", "keras", "onnx", "onnxruntime")  # what a page may ask for that may be missing


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, unindented, with the lines they start at."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), re.sub(f"^{found[1]}", "", found[2], flags=re.MULTILINE))
        for found in BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    sources = blocks(page)
    for peer in PEERS:
        needed = any(re.search(rf"^import {peer}$", source, re.MULTILINE) for _, source in sources)
        if needed and find_spec(peer) is None:
            pytest.skip(f"the page {page.name} needs {peer}")
    monkeypatch.chdir(tmp_path)  # for what a page saves
    namespace: dict[str, object] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning
        )  # Keras
        for line, source in sources:
            code = compile("\n" * line + source, str(page), "exec")
            exec(code, namespace)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule: lower case, punctuation gone, spaces to hyphens."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_files_lead_somewhere(page):
    missing = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match("https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_the_readme_has_code_to_run():
    assert blocks(ROOT / "README.md")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_pictures_of_the_readme_are_what_its_code_draws(tmp_path):
    pytest.importorskip("matplotlib", reason="the learning curve needs matplotlib")
    runpy.run_path(str(DOCS / "pictures.py"))["write"](tmp_path)

    def words(folder):
        return re.findall(r"<text.*?>(.*?)</text>", (folder / "graph.svg").read_text(encoding="utf-8"))

    assert words(tmp_path) == words(DOCS)
    assert len(words(DOCS)) > 10
    assert (tmp_path / "learning-curve.svg").stat().st_size > 10_000


def test_the_page_of_the_command_line_has_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "tensorgrad", "--help"], capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^    (\w+)", done.stdout, re.MULTILINE)
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r'^show\("(\w+)"\)$', text, re.MULTILINE) == commands
    assert "train" in commands


def test_the_table_of_ops_lists_every_op_with_no_problem():
    lines = (DOCS / "ops.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1:-1] for line in lines if "|" in line]
    listed = [row[0].strip() for row in cells[2:]]
    assert listed == sorted(SHIPPED), "put what `tensorgrad audit` prints into docs/ops.md"
    assert {row[-1].strip() for row in cells[2:]} == {""}
    assert all(float(error) <= 1 for row in cells[2:] for error in row[2:-1])


def mixtures() -> list[tuple[str, str]]:
    """The calls in the table of dtypes, and what the page says that each gives."""
    page = (DOCS / "derivatives.md").read_text(encoding="utf-8")
    section = page[page.index("## float32 and float64") : page.index("## Check a gradient")]
    found = []
    for calls, gives in re.findall(r"^\| (`.*`) \| (.*) \|$", section, re.MULTILINE):
        names = re.findall("`(.*?)`", calls)
        results = gives.split(", ") if ", " in gives else [gives] * len(names)
        found += zip(names, results, strict=True)
    return found


@pytest.mark.parametrize(("call", "gives"), mixtures())
def test_the_table_of_dtypes_says_what_happens(call, gives):
    t, w, c = (
        tg.Tensor([1.0, 2.0], requires_grad=name != "c", dtype="float64" if name == "w" else "float32")
        for name in "twc"
    )
    known = {"np": np, "tg": tg, "t": t, "w": w, "c": c}
    if gives == "raises":
        with pytest.raises(
            (TypeError, ValueError), match=r"would silently become|float32.*float64|float64.*float32"
        ):
            eval(call, known)
    else:
        assert eval(call, known).dtype == gives


def test_the_table_of_dtypes_is_not_empty():
    assert len(mixtures()) > 30


def documented(pages: str = "*.rst") -> list[str]:
    """The full names that the pages of the reference document, with repetitions."""
    names = []
    for page in sorted((DOCS / "reference").glob(pages)):
        module = ""
        for directive, argument in re.findall(r"^\.\. (\w+):: (\S+)", page.read_text(), re.MULTILINE):
            if directive == "currentmodule":
                module = argument
            elif directive.startswith("auto"):
                names.append(f"{module}.{argument}")
    return names


def public(module: str) -> dict[str, object]:
    """What a module offers by name: functions, classes and ops, not the modules under it."""
    home = importlib.import_module(module)
    members = {name: getattr(home, name) for name in getattr(home, "__all__", vars(home))}
    return {name: x for name, x in members.items() if not name.startswith("_") and callable(x)}


def resolved(name: str) -> object:
    path = name.split(".")
    depth = next(i for i in range(len(path), 0, -1) if is_module(".".join(path[:i])))
    found = importlib.import_module(".".join(path[:depth]))
    for part in path[depth:]:
        found = getattr(found, part)
    return found


def page_for(name: str) -> str:
    """The page of the reference that has the most names of the module that ``name`` is from."""
    home = getattr(resolved(name), "__module__", None)

    def relatives(page: Path) -> int:
        return sum(getattr(resolved(other), "__module__", None) == home for other in documented(page.name))

    return name_of(max((DOCS / "reference").glob("*.rst"), key=relatives))


def is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def test_the_reference_has_every_public_name():
    wanted = {f"tensorgrad.{name}" for name in public("tensorgrad")}
    wanted |= {f"tensorgrad.linalg.{name}" for name in public("tensorgrad.ops.linalg")}
    missing = [f"{name} in {page_for(name)}" for name in sorted(wanted - set(documented()))]
    assert not missing, f"no line for {', '.join(missing)}"


@pytest.mark.parametrize("floor", ["data", "nn", "graph", "audit"])
def test_the_reference_has_what_a_floor_exports(floor):
    shown = {id(resolved(name)) for name in documented()}
    assert [name for name, x in public(f"tensorgrad.{floor}").items() if id(x) not in shown] == []


def test_the_reference_names_nothing_twice():
    names = documented()
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert len({id(resolved(name)) for name in names}) > 200
