"""Plots of a training: the learning curve and the confusion matrix. They need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from tensorgrad.core import Array
from tensorgrad.core.checks import NDArray
from tensorgrad.core.refusals import require_unmasked

__all__ = ["plot_confusion", "plot_history"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SECONDARY = ("seconds", "learning_rate")  # not plotted unless asked for


def plot_history(
    history: Mapping[str, Sequence[float]], keys: Sequence[str] | None = None, *, log_loss: bool = False
) -> Figure:
    """Draw the learning curves of a history: a panel for each figure, training and held-out data in one.

    Parameters
    ----------
    history : dict of lists
        As `Network.fit` gives it, or with ``test_`` in the place of ``validation_``, as ``tensorgrad train``
        reports it.
    keys : list of str, optional
        The figures to draw, without ``validation_`` or ``test_``. By default all but ``seconds`` and
        ``learning_rate``.
    log_loss : bool
        Draw the loss on a logarithmic scale.

    Returns
    -------
    matplotlib.figure.Figure
        Save it by ``figure.savefig(path)``; a notebook shows it. It is not kept open anywhere.

    Raises
    ------
    ValueError
        If there is no finished epoch, or no such figure.
    ImportError
        If matplotlib is not installed.
    """
    figure_class = _figure_class("plot_history")
    known = dict.fromkeys(key.removeprefix("validation_").removeprefix("test_") for key in history)
    if keys is None:
        keys = [key for key in known if key not in _SECONDARY]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(f"plot_history: expected some of {', '.join(known)}, got {unknown[0]!r}")
    if not keys or not any(len(values) for values in history.values()):
        raise ValueError("plot_history: the history has no finished epoch")
    figure = figure_class(figsize=(5.2 * len(keys), 3.6), layout="constrained")
    for place, key in enumerate(keys):
        axes: Axes = figure.add_subplot(1, len(keys), place + 1)
        for prefix, label, style in (
            ("", "training", "C0-"),
            ("validation_", "validation", "C1--"),
            ("test_", "test", "C2--"),
        ):
            if (name := prefix + key) in history:
                values = history[name]
                marker = "o" if len(values) < 20 else ""
                axes.plot(range(1, len(values) + 1), values, style + marker, label=label, markersize=4)
        axes.set(xlabel="epoch", ylabel=key.replace("_", " "))
        if key == "loss":
            axes.set_ylabel("loss per example")
            axes.set_yscale("log" if log_loss else "linear")
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_confusion(
    target: Array, predicted: Array, class_names: Sequence[str] | None = None, *, normalize: bool = False
) -> Figure:
    """Draw the confusion matrix: a row for each true class, a column for each predicted one.

    Parameters
    ----------
    target, predicted : array (N,) of integers
        Labels from 0.
    class_names : list of str, optional
        By default the labels.
    normalize : bool
        Show the share of each row instead of counts.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the labels are not as above, or outside the names.
    ImportError
        If matplotlib is not installed.
    """
    figure_class = _figure_class("plot_confusion")
    for labels in (target, predicted):
        require_unmasked(labels, "plot_confusion")
    counts = _confusion(np.asarray(target), np.asarray(predicted), class_names)
    classes = len(counts)
    names = [str(i) for i in range(classes)] if class_names is None else [str(name) for name in class_names]
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = max(3.6, 0.5 * classes + 1.6)
    figure = figure_class(figsize=(side + 0.8, side), layout="constrained")
    axes: Axes = figure.add_subplot()
    # The colours are shares in both cases, so that classes of unequal size can be compared.
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class")
    slanted = max(map(len, names)) > 2
    axes.set_xticks(range(classes), names, rotation=45 * slanted, ha="right" if slanted else "center")
    axes.set_yticks(range(classes), names)
    if classes <= 30:
        for i, j in np.argwhere(counts):
            text = f"{shares[i, j]:.2f}" if normalize else f"{counts[i, j]:,}"
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


def _confusion(target: NDArray, predicted: NDArray, names: Sequence[str] | None) -> NDArray:
    for name, labels in (("target", target), ("predicted", predicted)):
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
            raise ValueError(
                f"plot_confusion: expected {name} to be labels (N,), integers from 0, got {labels.dtype} "
                f"{labels.shape}"
            )
    if len(target) != len(predicted):
        raise ValueError(f"plot_confusion: got {len(target)} targets and {len(predicted)} predictions")
    top = int(max(target.max(), predicted.max())) + 1
    classes = top if names is None else len(names)
    if classes < top:
        raise ValueError(f"plot_confusion: got {classes} names and the label {top - 1}")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (target, predicted), 1)
    return counts


def _figure_class(name: str) -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{name} needs matplotlib: pip install "tensorgrad-numpy[plot]"') from error

    class ShownFigure(Figure):
        """A figure that a notebook shows also where pyplot was never imported."""

        def _repr_png_(self) -> bytes:
            picture = BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    return ShownFigure
