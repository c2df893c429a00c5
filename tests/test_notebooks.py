"""The notebooks run from top to bottom, offline and in silence, and print what stands in them.

``python docs/notebooks.py`` writes their outputs. Here they run again, and the texts are compared, not the
pictures: words and integers must be the same, and other numbers agree within `TOLERANCE`. Not compared are
numbers that the machine makes (`OF_THE_MACHINE`), and those of the lines that tell of an epoch.
"""

import itertools
import json
import os
import re
import runpy
import shutil
from pathlib import Path

import nbformat
import pytest

from tensorgrad.data import DataError, load

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[1] / "docs" / "notebooks.py"))
NOTEBOOKS, execute, tidy = TOOL["NOTEBOOKS"], TOOL["execute"], TOOL["tidy"]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAGS = ("parameters", "hide-input")  # the second for the site
# Beside a thousandth of the number. Training lets the rounding of sums grow, which libraries do differently.
# These two take the longest, and run with the slow tests.
TOLERANCE = {"2-dense": 0.1, "3-convolutional": 0.1}
OF_THE_MACHINE = re.compile(r" *[\d.]+(?= (?:s|ms|rows/s|bytes|lines)\b)|(?<=worst error )[\d.e-]+")
NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?|-?\d+e[+-]?\d+")
# The programs without which a notebook prints something else.
NEEDS = {"3-convolutional": "cc", "5-drawing-graphs": "dot"}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook, stream):
    return [o.text for o in outputs(notebook) if o.output_type == "stream" and o.name == stream]


def shown(notebook):
    """What the cells show beside what they print, by kind of data."""
    return [o.data for o in outputs(notebook) if o.output_type in ("display_data", "execute_result")]


def texts(notebook):
    """What each cell prints and shows as text, line by line."""
    return [
        [
            line.rstrip()
            for output in cell.outputs
            for line in (output.get("text") or output.data.get("text/plain", "")).splitlines()
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def agree(line: str, other: str, tolerance: float) -> bool:
    one, two = (OF_THE_MACHINE.sub(" #", text) for text in (line, other))
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", text)) for text in (one, two)]
    if words[0] != words[1]:
        return False
    if re.match(r"epoch \d+/\d+ ", one):
        return True
    pairs = zip(map(float, NUMBER.findall(one)), map(float, NUMBER.findall(two)), strict=True)
    return all(abs(x - y) <= tolerance + 0.001 * abs(x) for x, y in pairs)


def test_all_five_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "1-reverse-mode",
        "2-dense",
        "3-convolutional",
        "4-checking-gradients",
        "5-drawing-graphs",
    ]


@every_notebook
def test_a_notebook_is_committed_run_and_in_one_form(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)  # the first with cell ids
    assert notebook["metadata"] == METADATA
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in notebook["cells"]:
        assert cell["metadata"] == {} or (
            cell["metadata"].keys() == {"tags"} and cell["metadata"]["tags"][0] in TAGS
        )
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


@every_notebook
def test_the_outputs_of_a_notebook_are_small_and_of_no_machine(path):
    notebook = read(path)
    assert path.stat().st_size < 300_000
    assert printed(notebook, "stderr") == []  # no warning has reached the reader
    assert {kind for data in shown(notebook) for kind in data} <= {"image/png", "image/svg+xml", "text/plain"}
    assert len([data for data in shown(notebook) if "text/plain" not in data]) >= 5
    own = [
        line for cell in texts(notebook) for line in cell if re.search(r"(?<![\w.])(?:/\w|[A-Z]:\\)", line)
    ]
    assert own == [], "a path"


def test_texts_are_compared():
    assert agree("loop      7.13 ms", "loop     12.50 ms", 1e-3)
    assert agree("epoch 1/20  loss 0.95  0.2 s, 6561 rows/s", "epoch 1/20  loss 0.87  0.1 s, 99 rows/s", 1e-3)
    assert agree("test accuracy 0.941", "test accuracy 0.931", 0.1)
    assert not agree("test accuracy 0.941", "test accuracy 0.931", 1e-3)
    assert not agree("test accuracy 0.941", "training accuracy 0.941", 0.1)
    assert not agree("362 derivatives checked", "361 derivatives checked", 0.1)
    assert not agree("[0.5, 0.5]", "[0.5]", 0.1)


@every_notebook
def test_a_notebook_is_a_page_with_one_title_and_headings_in_order(path):
    texts = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert re.fullmatch(r"# .+", texts[0]), "the first cell is the title alone"
    levels = [len(found[1]) for text in texts for found in re.finditer(r"^(#+) ", text, re.MULTILINE)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert [text for text in texts if re.search(r"</?[a-z]+[ >/]", text)] == [], "raw HTML"


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in TOLERANCE else [])
    for path in NOTEBOOKS
])  # fmt: skip
def test_a_notebook_runs_and_prints_what_stands_in_it(path, tmp_path):
    expected, notebook = read(path), read(path)
    execute(notebook, tmp_path, timeout=60)
    assert printed(notebook, "stderr") == []
    # Where Graphviz is missing, a drawing shows its text.
    pictures = [
        data
        for data in shown(notebook)
        if {"image/png", "image/svg+xml"} & set(data) or data["text/plain"].startswith("digraph")
    ]
    assert len(pictures) >= 5
    needed = NEEDS.get(path.stem)
    if needed and shutil.which(needed) is None:
        pytest.skip(f"the texts need {needed}")
    tidy(notebook, METADATA)
    for before, now in zip(texts(expected), texts(notebook), strict=True):
        assert len(before) == len(now), "python docs/notebooks.py writes the outputs anew"
        for line, other in zip(before, now, strict=True):
            assert agree(line, other, TOLERANCE.get(path.stem, 1e-3)), f"{line!r} became {other!r}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("2-dense", 0.9), ("3-convolutional", 0.95)])
def test_the_experiments_run_on_mnist(name, accuracy, tmp_path):
    if not os.environ.get("TENSORGRAD_DATA_DIR"):
        pytest.skip("TENSORGRAD_DATA_DIR names no folder with MNIST")
    try:
        load("mnist")
    except DataError as error:
        pytest.skip(f"MNIST is not there: {error}")
    (path,) = [path for path in NOTEBOOKS if path.stem == name]
    notebook = read(path)
    (place,) = [i for i, c in enumerate(notebook.cells) if c.metadata.get("tags") == ["parameters"]]
    assert 'data_name = "digits"' in notebook.cells[place].source
    notebook.cells.insert(
        place + 1, nbformat.v4.new_code_cell('data_name = "mnist"\nepochs = 3\ncomparison_epochs = 1')
    )
    execute(notebook, tmp_path, timeout=1800)
    shown = re.search(r"test accuracy +(0\.\d+)", "".join(printed(notebook, "stdout")))
    assert shown is not None
    assert float(shown[1]) > accuracy
