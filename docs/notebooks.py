"""Outputs of the notebooks: `python docs/notebooks.py [NAME ...]` runs them and writes them."""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
PICTURES = ("image/svg+xml", "image/png")


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int = 300) -> None:
    """Run all cells in ``folder``, none longer than ``timeout`` seconds."""
    data = os.environ.get("TENSORGRAD_DATA_DIR", str(folder / "no-data"))
    own = {"IPYTHONDIR": str(folder / "ipython"), "TENSORGRAD_DATA_DIR": data}  # nobody's own configuration
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env={**os.environ, **own})


def tidy(notebook: nbformat.NotebookNode, metadata: dict[str, object]) -> None:
    """Keep of the outputs what a reader sees who runs nothing: text, and pictures in one form."""
    notebook.metadata = nbformat.from_dict(metadata)  # without the versions of this machine
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = merge([output for output in cell.outputs if shown(output)])
            for output in cell.outputs:
                if "data" in output:
                    kind = next((kind for kind in PICTURES if kind in output.data), "text/plain")
                    found = output.data[kind]
                    output.data = nbformat.from_dict({kind: small(found) if kind == "image/png" else found})
                    output.metadata = nbformat.from_dict({})


def shown(output: nbformat.NotebookNode) -> bool:
    """Not so a progress bar, which is a widget and nothing without its script."""
    return "application/vnd.jupyter.widget-view+json" not in output.get("data", ())


def small(png: str) -> str:
    """The picture in 64 colours, which takes a quarter of the room and is hardly told from the plot."""
    from PIL import Image

    written = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(64).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def merge(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """What was printed in several pieces is one."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if merged and "name" in output and output.name == merged[-1].get("name"):
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook at a path with its outputs made anew."""
    notebook = nbformat.read(path, as_version=4)
    metadata = dict(notebook.metadata)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    tidy(notebook, metadata)
    return notebook


if __name__ == "__main__":
    for path in NOTEBOOKS:
        if path.stem in (sys.argv[1:] or [path.stem]):
            nbformat.write(run(path), path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
