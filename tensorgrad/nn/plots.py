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
    from matplotlib.ticker import MaxNLocator

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
        _keep_within(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _keep_within(axes: Axes) -> None:
    """Let the axis end at 0 and 1 where no value is beyond: shares do not go on there."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    low, high = axes.get_ylim()
    bounds = (0.0 if low < 0 <= np.nanmin(values) else low, 1.0 if high > 1 >= np.nanmax(values) else high)
    if bounds != (low, high):
        axes.set_ylim(bounds)
        for line in axes.lines:
            line.set_clip_on(False)  # a marker on the border is shown whole


def plot_confusion(
    target: Array, predicted: Array, class_names: Sequence[str] | None = None, *, normalize: bool = False
) -> Figure:
    """Draw the confusion matrix: a row for each true class, a column for each predicted one.

    Colour marks the mistakes alone, by their share of the true class; the right ones, on the diagonal, are
    grey. Numbers stand in the cells of up to 30 classes.

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
    from matplotlib import colormaps

    for labels in (target, predicted):
        require_unmasked(labels, "plot_confusion")
    counts = _confusion(np.asarray(target), np.asarray(predicted), class_names)
    classes = len(counts)
    names = [str(i) for i in range(classes)] if class_names is None else [str(name) for name in class_names]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(classes, dtype=bool)
    mistakes = np.where(right, np.nan, shares)
    texts = np.vectorize(_share if normalize else _count, otypes=[object])(shares if normalize else counts)
    printed = classes <= 30
    cell = max(0.34, 0.09 * max(map(len, texts.flat)) + 0.06) if printed else 0.12
    side = max(3.2, cell * classes + 1.4)
    figure = figure_class(figsize=(side + 0.9, side + 0.3), layout="compressed")
    axes: Axes = figure.add_subplot(facecolor="0.88")
    # Shares, so that classes of unequal size can be compared; the largest mistake has the darkest colour.
    top = np.nanmax(mistakes, initial=0) or 1
    colours = colormaps["Oranges"].with_extremes(under="white")
    image = axes.imshow(np.where(mistakes, mistakes, -1), cmap=colours, vmin=0, vmax=top)
    figure.colorbar(image, ax=axes, label="mistakes, share of the true class", fraction=0.04, pad=0.02)
    wrong = int(counts[~right].sum())
    axes.set_title(f"{wrong:,} mistake{'s' * (wrong != 1)} in {counts.sum():,}", fontsize=11)
    axes.set(xlabel="predicted class", ylabel="true class")
    slanted = max(map(len, names)) > 2
    axes.set_xticks(range(classes), names, rotation=45 * slanted, ha="right" if slanted else "center")
    axes.set_yticks(range(classes), names)
    for i, j in np.argwhere(counts) if printed else ():
        dark = i != j and shares[i, j] > 0.75 * top
        text = axes.text(j, i, texts[i, j], ha="center", va="center", fontsize=9)
        text.set(color="white" if dark else "black", weight="bold" if i == j else "normal")
    return figure


def _count(n: int) -> str:
    return str(n) if n < 10_000 else f"{n:,}"


def _share(x: float) -> str:
    """Two digits of a share, or three of a small one."""
    if not 0 < x < 0.01:
        return f"{x:.2f}"
    return "<.001" if x < 0.0005 else f"{x:.3f}"[1:]


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
