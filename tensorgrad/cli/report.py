"""What several commands print, and the files in the folder of ``tensorgrad train --out``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tensorgrad as tg
from tensorgrad.core.checks import NDArray
from tensorgrad.data import Dataset
from tensorgrad.nn.files.archive import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compute_outputs", "confusion_table", "show_path", "write_results"]


def compute_outputs(network: tg.Network, images: NDArray, compile: bool | None = None) -> NDArray:
    """The outputs of the network, which are finite; FloatingPointError otherwise."""
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = network.predict(images, compile=compile)
    wrong = outputs[~np.isfinite(outputs)]
    if wrong.size:
        raise FloatingPointError(f"the network has an output of {wrong[0]}: it is of no use")
    return outputs


def confusion_table(target: NDArray, predicted: NDArray, class_names: Sequence[str]) -> str:
    """The confusion matrix as text, and the names of classes that have some."""
    from sklearn.metrics import confusion_matrix

    lines = [str(confusion_matrix(target, predicted, labels=range(len(class_names))))]
    lines += [f"  {number}: {name}" for number, name in enumerate(class_names) if str(number) != name]
    return "\n".join(lines)


def show_path(path: Path) -> str:
    """The path in one field of one line, whatever its characters."""
    return str(path) if str(path).isprintable() else repr(str(path))


def write_results(
    folder: Path, network: tg.Network, data: Dataset, predicted: NDArray, report: dict[str, Any]
) -> None:
    """Write the network, the plots and, when all else is there, the report; each file whole or not at all."""
    notes = {
        "classes": [str(name) for name in data.class_names],
        "image_shape": list(data.x_train.shape[1:]),
        "pixel_maximum": data.pixel_maximum,
        "loss": report["options"]["loss"],
        **report,
    }
    tg.save_network(folder / "network.npz", network, notes)
    written = ["network.npz"]
    history = {key.replace("validation", "test"): values for key, values in network.history.items()}
    try:
        if history.get("loss"):
            _write_plot(folder / "learning-curve.png", tg.plot_history(history))
            written.append("learning-curve.png")
        _write_plot(folder / "confusion.png", tg.plot_confusion(data.y_test, predicted, data.class_names))
        written.append("confusion.png")
    except ImportError as error:
        print(f"tensorgrad: no plots: {error}", file=sys.stderr)
    text = json.dumps(_as_json({**report, "history": history}), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "report.json", lambda file: file.write(text.encode()))
    print(f"written to {show_path(folder)}: checkpoint.npz, {', '.join(written)}, report.json")


def _write_plot(path: Path, figure: Figure) -> None:
    write_atomically(path, partial(figure.savefig, format="png", dpi=150))


def _as_json(x: Any) -> Any:
    """``x`` with None for infinite numbers and NaN, which JSON does not have."""
    if isinstance(x, dict):
        return {key: _as_json(value) for key, value in x.items()}
    if isinstance(x, list):
        return [_as_json(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
