"""The notebooks run from top to bottom, offline and in silence, and are committed without outputs."""

import itertools
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tensorgrad.data import DataError, load

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def execute(notebook, folder, monkeypatch, *, timeout):
    """Run all cells in ``folder``, none longer than ``timeout`` seconds."""
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))  # nobody's own configuration
    monkeypatch.setenv("TENSORGRAD_DATA_DIR", os.environ.get("TENSORGRAD_DATA_DIR", str(folder / "no-data")))
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def printed(notebook, stream):
    return [
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == stream
    ]


def test_all_five_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "1-dense",
        "2-convolutional",
        "3-reverse-mode",
        "4-checking-gradients",
        "5-drawing-graphs",
    ]


@every_notebook
def test_a_notebook_is_committed_stripped_and_in_one_form(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)  # the first with cell ids
    assert notebook["metadata"] == METADATA
    for cell in notebook["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["parameters"]}, {"tags": ["hide-input"]})  # on the site
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


@every_notebook
def test_a_notebook_is_a_page_with_one_title_and_headings_in_order(path):
    texts = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert re.fullmatch(r"# .+", texts[0]), "the first cell is the title alone"
    levels = [len(found[1]) for text in texts for found in re.finditer(r"^(#+) ", text, re.MULTILINE)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert [text for text in texts if re.search(r"</?[a-z]+[ >/]", text)] == [], "raw HTML"


@every_notebook
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    notebook = read(path)
    execute(notebook, tmp_path, monkeypatch, timeout=60)
    assert printed(notebook, "stderr") == []  # no warning has reached the reader
    shown = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("display_data", "execute_result")
    ]
    # Where Graphviz is missing, a drawing shows its text.
    pictures = [
        data
        for data in shown
        if {"image/png", "image/svg+xml"} & set(data) or data["text/plain"].startswith("digraph")
    ]
    assert len(pictures) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("1-dense", 0.9), ("2-convolutional", 0.95)])
def test_the_experiments_run_on_mnist(name, accuracy, tmp_path, monkeypatch):
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
    execute(notebook, tmp_path, monkeypatch, timeout=1800)
    shown = re.search(r"test accuracy +(0\.\d+)", "".join(printed(notebook, "stdout")))
    assert shown is not None
    assert float(shown[1]) > accuracy
