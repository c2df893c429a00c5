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
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import SHIPPED

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.audit.native import is_written
from tensorgrad.cli.arguments import parse
from tensorgrad.cli.train import choose_options
from tensorgrad.core import OPS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "README.es.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
BLOCK = re.compile(
    r"^( *)```(?:python|\{code-cell\} python(?:\n:.*)*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
PICTURES = runpy.run_path(str(DOCS / "pictures.py"))
ON_RANKS = DOCS / "how-to" / "several-machines.md"  # which tests/nn/fit/test_mpi.py runs on several
BY_HAND = DOCS / "tutorial" / "convolution-by-hand.md"
PEERS = (
    "torch",
    "keras",
    "onnx",
    "onnxruntime",
    "distributed",
    "optuna",
)  # what a page may ask for that may be missing


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, unindented, with the lines they start at."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), re.sub(f"^{found[1]}", "", found[2], flags=re.MULTILINE))
        for found in BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def needs_compiler(page: Path) -> bool:
    return any("tg.compile(" in source for _, source in blocks(page)) and COMPILER is None


TRANSLATIONS = {"README.es.md": "README.md", "docs/desde-el-cuaderno.md": "docs/from-the-notebook.md"}
# Not what runs on ranks, nor translations, whose code is the same. The workers of Dask take seconds to start.
RUN = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if page.name == "search.md" else [])
    for page in PAGES
    if blocks(page) and page != ON_RANKS and name_of(page) not in TRANSLATIONS
]


@pytest.mark.parametrize("page", RUN)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    sources = blocks(page)
    if needs_compiler(page):
        pytest.skip(f"the page {page.name} needs a C compiler")
    for peer in PEERS:
        needed = any(re.search(rf"^(?:import|from) {peer}\b", source, re.MULTILINE) for _, source in sources)
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


def test_the_c_on_the_page_of_compiling_is_what_is_written():
    written = runpy.run_path(str(DOCS / "compiled.py"))
    text = written["PAGE"].read_text(encoding="utf-8")
    assert len(written["excerpts"](text)) == 2
    assert written["write"](text) == text, "python docs/compiled.py puts the C there anew"


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_the_c_program_of_the_page_of_compiling_predicts(tmp_path, monkeypatch):
    page = DOCS / "compile.md"
    monkeypatch.chdir(tmp_path)
    namespace = {"tg": tg}
    exec(blocks(page)[-1][1], namespace)
    text = page.read_text(encoding="utf-8")
    Path("main.c").write_text(re.findall(r"^```c\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[-1])
    command = re.findall(r"^(cc .*)$", text, re.MULTILINE)[-1].split()
    subprocess.run([COMPILER, *command[1:]], check=True)
    images = np.random.default_rng(0).random((2, 8, 8, 1), dtype=np.float32)
    done = subprocess.run(["./digits"], input=images.tobytes(), capture_output=True, check=True)
    expected = namespace["network"].predict(images)
    np.testing.assert_allclose(np.array(done.stdout.split(), float), expected.ravel(), atol=2e-6)


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
        target = (page.parent / path).resolve() if path else page
        if target.is_relative_to(ROOT / "tensorgrad"):  # which may be installed elsewhere
            target = Path(tg.__file__).parents[1] / target.relative_to(ROOT)
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize(("spanish", "english"), TRANSLATIONS.items())
def test_a_translation_has_the_same_code_figures_and_links(spanish, english):
    """Words may differ, and comments."""

    def parts(name):
        text = (ROOT / name).read_text(encoding="utf-8")
        code = re.findall("^```(.*?)^```", text, re.MULTILINE | re.DOTALL)
        prose = re.sub("^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        links, own = LINK.findall(prose), [Path(page).name for page in (english, spanish)]
        return {
            "code": [re.sub(" *# .*", "", block) for block in code],
            "names": Counter(re.findall("`.*?`", prose)),
            "figures": Counter(re.findall(r"\d+(?:\.\d+)?", prose)),
            "headings": re.findall("^#+ ", prose, re.MULTILINE),
            "rows": [line.count("|") for line in prose.splitlines() if line.startswith("|")],
            "links": {TRANSLATIONS.get(x, x) for x in links if x not in own and x[0] != "#"},
        }

    assert parts(spanish) == parts(english)


def test_the_readme_has_code_to_run():
    assert blocks(ROOT / "README.md")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_pictures_of_the_readme_are_what_its_code_draws(tmp_path):
    pytest.importorskip("matplotlib", reason="the learning curve needs matplotlib")
    if needs_compiler(ROOT / "README.md"):
        pytest.skip("the README needs a C compiler")
    PICTURES["write_the_readmes"](tmp_path)

    def words(folder):
        return re.findall(r"<text.*?>(.*?)</text>", (folder / "graph.svg").read_text(encoding="utf-8"))

    assert words(tmp_path) == words(DOCS)
    assert len(words(DOCS)) > 10
    assert (tmp_path / "learning-curve.svg").stat().st_size > 10_000


def test_the_pictures_of_the_convolution_are_what_its_page_computes(tmp_path):
    PICTURES["write_convolution"](tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(re.findall(r"\]\(\.\./([\w-]+\.svg)\)", BY_HAND.read_text(encoding="utf-8")))
    for name in names:
        assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes(), "run python docs/pictures.py"


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_gallery_shows_what_its_code_draws_and_prints(tmp_path):
    pytest.importorskip("matplotlib", reason="the curves need matplotlib")
    made, texts = PICTURES["run_the_gallery"]()
    PICTURES["write_the_gallery"](tmp_path, made)
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    names = {path.name for path in (DOCS / "gallery").iterdir()}
    assert names == set(re.findall(r"\]\(gallery/([\w.-]+)\)", page))
    assert names - {path.name for path in tmp_path.iterdir()} <= {
        "player.png",
        "playground.png",
        "digits.png",
    }  # of a browser
    for name in ("graph.svg", "gradient.svg"):
        folders = tmp_path, DOCS / "gallery"
        words = [sorted(re.findall("<text.*?>(.*?)</text>", (f / name).read_text())) for f in folders]
        assert words[0] == words[1]
        assert len(words[0]) > 10
    shown = re.findall("^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == len(texts) == 4
    number = r"-?\d+\.\d+(?:e-?\d+)?"
    for now, before in zip(texts, shown, strict=True):  # the last digits of a rounding may differ
        assert re.sub(number, "#", now) == re.sub(number, "#", before), "run python docs/pictures.py"
        values = [np.array(re.findall(number, text), float) for text in (now, before)]
        np.testing.assert_allclose(*values, rtol=1e-4)


def test_the_lines_of_a_program_on_the_page_of_the_convolution_are_in_it():
    program = str(PICTURES["namespace_of"](BY_HAND)["code"]).splitlines()
    written = {re.sub(" +# .*", "", line) for line in program}
    quoted = re.findall("^```text\n(.*?)^```", BY_HAND.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in quoted for line in block.splitlines()]
    assert len(lines) >= 6
    assert [line for line in lines if line not in written] == []


def test_the_page_of_the_command_line_has_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "tensorgrad", "--help"], capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^    (\w+)", done.stdout, re.MULTILINE)
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r'^show\("(\w+)"\)$', text, re.MULTILINE) == commands
    assert "train" in commands


@pytest.mark.parametrize("network", ["dense", "cnn", "modern"])
def test_the_results_give_the_defaults_of_the_command(network):
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--([\w-]+)`.*? \| (.*) \| (.*) \|$", text, re.MULTILINE)
    used = choose_options(parse(["train", network]))
    told = {}
    for option, older, modern in rows:
        name = option.replace("-", "_")
        told[name] = type(used[name])(modern if network == "modern" else older)
    assert told == {name: value for name, value in used.items() if name not in ("network", "data", "flip")}


def test_the_table_of_ops_lists_every_op_with_no_problem():
    lines = (DOCS / "ops.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1:-1] for line in lines if "|" in line]
    listed = [row[0].strip() for row in cells[2:]]
    assert listed == sorted(SHIPPED), "put what `tensorgrad audit` prints into docs/ops.md"
    assert {row[-1].strip() for row in cells[2:]} == {""}
    assert all(float(error) <= 1 for row in cells[2:] for error in row[2:-2])


def test_the_table_of_ops_says_which_can_be_written_in_c():
    lines = (DOCS / "ops.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    place = rows[0].index("C")
    found = {row[0]: row[place] for row in rows[1:]}
    written = {name: sum(is_written(OPS[name], sample) for sample in SAMPLES[name]) for name in SHIPPED}
    words = {name: f"{n} of {len(SAMPLES[name])}" if n else "no" for name, n in written.items()}
    assert found == {name: "yes" if n == len(SAMPLES[name]) else words[name] for name, n in written.items()}


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


def test_the_index_of_the_reference_says_a_line_of_each_page():
    text = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    described = re.findall(r"^- \[[^\]]+\]\(([\w/.-]+)\): \S.*\.$", text, re.MULTILINE)
    pages = {page.name for page in (DOCS / "reference").iterdir()} - {"index.md"}
    assert sorted(described) == sorted(pages | {"../ops.md"})
    entries = re.findall("^```{toctree}\n(?::[^\n]*\n)*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [Path(page).with_suffix("").as_posix() for page in described] == "".join(entries).split()


def test_the_reference_names_nothing_twice():
    names = documented()
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert len({id(resolved(name)) for name in names}) > 200
