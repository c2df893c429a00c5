"""Plots of a training and of what it makes: curves, the confusion matrix, images and filters.

They need matplotlib.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.refusals import hint_network, require_values
from tensorgrad.nn.fit.outputs import (
    are_classes,
    are_two_classes,
    column,
    output_scale,
    probabilities,
    true_values,
)  # fmt: skip
from tensorgrad.nn.layer import Layer
from tensorgrad.nn.layers import Conv2D
from tensorgrad.nn.network import Network

__all__ = ["plot_confusion", "plot_filters", "plot_history", "plot_images", "plot_mistakes"]

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
        kinds = ("", "training", "C0-"), ("validation_", "validation", "C1--"), ("test_", "test", "C2--")
        for prefix, label, style in kinds:
            if (name := prefix + key) in history:
                values = history[name]
                marker = "o" if len(values) < 20 else ""
                axes.plot(range(1, len(values) + 1), values, style + marker, label=label, markersize=4)
        axes.set_xlabel("epoch")
        axes.set_ylabel(_cut(key.replace("_", " ")), parse_math=False)
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
    values = values[np.isfinite(values)]
    low, high = axes.get_ylim()
    least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
    bounds = (0.0 if low < 0 <= least else low, 1.0 if high > 1 >= most else high)
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
    TypeError
        If a model is given instead of what it predicts.
    ValueError
        If the labels are not as above, or outside the names.
    ImportError
        If matplotlib is not installed.
    """
    figure_class = _figure_class("plot_confusion")
    from matplotlib import colormaps

    for labels in (target, predicted):
        require_values(labels, "plot_confusion")
        if hasattr(labels, "predict"):
            raise TypeError(
                f"plot_confusion: expected labels, got a {type(labels).__name__}; write plot_confusion(y, "
                "model.predict(x)), for a network with .argmax(axis=1)"
            )
    counts = _confusion(np.asarray(target), np.asarray(predicted), class_names)
    classes = len(counts)
    names = [_cut(name) for name in (range(classes) if class_names is None else class_names)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(classes, dtype=bool)
    mistakes = np.where(right, np.nan, shares)
    texts = np.vectorize(_share if normalize else _count, otypes=[object])(shares if normalize else counts)
    printed = classes <= 30
    cell = max(0.34, 0.09 * max(map(len, texts.flat)) + 0.06) if printed else 0.12
    side = min(max(3.2, cell * classes + 1.4), 30.0)
    longest = max(map(len, names))
    figure = figure_class(
        figsize=(side + 0.8 + 0.08 * longest, side + 0.2 + 0.06 * longest), layout="compressed"
    )
    axes: Axes = figure.add_subplot(facecolor="0.88")
    # Shares, so that classes of unequal size can be compared; the largest mistake has the darkest colour.
    top = np.nanmax(mistakes, initial=0) or 1
    colours = colormaps["Oranges"].with_extremes(under="white")
    image = axes.imshow(np.where(mistakes, mistakes, -1), cmap=colours, vmin=0, vmax=top)
    figure.colorbar(image, ax=axes, label="mistakes, share of the true class", fraction=0.04, pad=0.02)
    wrong = int(counts[~right].sum())
    axes.set_title(f"{wrong:,} mistake{'s' * (wrong != 1)} in {counts.sum():,}", fontsize=11)
    axes.set(xlabel="predicted class", ylabel="true class")
    few = slice(0, classes, -(-classes // 200))  # of a thousand names every fifth can be read
    style: dict[str, Any] = {"fontsize": 10 if printed else 6, "parse_math": False}
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if longest > 2 else {}
    axes.set_xticks(range(classes)[few], names[few], **turned, **style)
    axes.set_yticks(range(classes)[few], names[few], **style)
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


def plot_images(
    images: Array,
    labels: Array | Sequence[object] | None = None,
    predictions: Array | None = None,
    *,
    columns: int = 10,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw images in a grid, with what they are and what they were read as above them.

    Images of one channel are white at 0 and black at 1, or at 255 in bytes, or at their largest number. Where
    there are numbers below 0, as in gradients and feature maps, those are purple and others orange, on one
    scale for all images.

    Parameters
    ----------
    images : array (N, H, W) or (N, H, W, C)
        With 1 channel or 3; at most 400.
    labels : (N,), or one-hot (N, C), optional
        Labels of classes, or texts.
    predictions : array (N,) or (N, C), optional
        Labels, or outputs of a network: the largest counts. Where they are not the labels, the text is red.
    columns : int
        Images beside each other.
    class_names : list of str, optional
        By default the labels.

    Returns
    -------
    matplotlib.figure.Figure
        As of `plot_history`.

    Raises
    ------
    ValueError
        If there is no image, the shapes do not fit, or a number is not finite.
    ImportError
        If matplotlib is not installed.

    >>> images = tg.data.load("digits").x_test[:6]
    >>> figure = tg.plot_images(images, ["first"] * 6, columns=3)
    >>> [text.get_text() for text in figure.axes[0].texts][:2]
    ['first', 'first']
    """
    pixels = _take_images("plot_images", images)
    count = len(pixels)
    titles = None if labels is None else _name("plot_images, labels", labels, count, class_names)
    wrong = np.zeros(count, dtype=bool)
    if predictions is not None:
        read = _name("plot_images, predictions", predictions, count, class_names)
        wrong = np.array(titles or read) != read
        titles = [f"{a}, read as {b}" if a != b else a for a, b in zip(titles or read, read, strict=True)]
    return _draw_tiles("plot_images", pixels, titles or [""] * count, columns, wrong)


def plot_mistakes(
    network: Network,
    x: Array,
    y: Array,
    *,
    count: int = 12,
    columns: int = 6,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw the images that a network takes for another class, those first of which it is most certain.

    Under what an image is and what it was read as stands the probability of that; or the output, where it is
    not known to be one.

    Parameters
    ----------
    network : Network
    x : array (N, H, W) or (N, H, W, C)
        Images as the network takes them.
    y : array (N,), or one-hot (N, C)
        Their classes.
    count : int
        Mistakes to draw at most; the title says how many there are.
    columns, class_names
        As of `plot_images`.

    Returns
    -------
    matplotlib.figure.Figure
        As of `plot_history`.

    Raises
    ------
    TypeError
        If ``network`` is none.
    ValueError
        If the targets are no classes of the outputs, these are not finite, or ``x`` are no images.
    ImportError
        If matplotlib is not installed.

    >>> data = tg.data.load("digits")
    >>> network = tg.dense_network((8, 8, 1), 10, rng=0)
    >>> figure = tg.plot_mistakes(network, data.x_test, data.y_test, count=3)
    >>> len(figure.axes[0].images)
    3
    """
    positive_integer("plot_mistakes", "count", count)
    if not isinstance(network, Network):
        raise TypeError(f"plot_mistakes: expected a Network, got {network!r}{hint_network(network)}")
    outputs, target, scale = network.predict(x), np.asarray(y), output_scale(network)
    if not np.isfinite(outputs).all():
        raise ValueError("plot_mistakes: expected finite outputs of the network, got some that are not")
    if are_two_classes(outputs, target, scale):
        target = column(target).astype(int)
    kind = "output"
    with contextlib.suppress(ValueError):  # where it is not known to be a probability
        kind, outputs = "p", probabilities("plot_mistakes", outputs, scale)
    if outputs.ndim != 2 or not are_classes(outputs, target):
        raise ValueError(
            "plot_mistakes: expected outputs (N, C) and labels (N,) of their classes or one-hot rows, got "
            f"{outputs.shape} and {target.dtype} {target.shape}"
        )
    true, read = true_values(outputs, target), outputs.argmax(axis=1)
    wrong = np.flatnonzero(true != read)
    worst = wrong[np.argsort(-outputs[wrong, read[wrong]], kind="stable")][:count]
    named = [_name("plot_mistakes", each[worst], len(worst), class_names) for each in (true, read)]
    titles = [
        f"is {a}, read as {b}\n{kind} {p:.3f}"
        for a, b, p in zip(*named, outputs[worst, read[worst]], strict=True)
    ]
    pixels = _take_images("plot_mistakes", np.asarray(x)[worst if len(worst) else slice(1)])[: len(worst)]
    figure = _draw_tiles("plot_mistakes", pixels, titles, columns, np.zeros(len(worst), dtype=bool))
    first = f"the {len(worst)} most certain of " if len(worst) < len(wrong) else ""
    figure.suptitle(f"{first}{len(wrong):,} mistake{'s' * (len(wrong) != 1)} in {len(true):,}", fontsize=11)
    return figure


def plot_filters(filters: Any, *, columns: int = 16) -> Figure:
    """Draw the filters of a convolution: weights above 0 orange, those below purple, on one scale.

    A filter is a column, with its channels under one another. Filters of one channel fill row after row.

    Parameters
    ----------
    filters : Layer, or array (F, C, KH, KW), or dict of such
        A layer's own filters, or those of the first `Conv2D` in it. Of a dict each entry is drawn with its
        name, such as the filters before training and after.
    columns : int
        Filters beside each other, if they have one channel.

    Returns
    -------
    matplotlib.figure.Figure
        As of `plot_history`.

    Raises
    ------
    ValueError
        If there is no convolution in the layer, a number is not finite, or there are over 10,000 tiles.
    ImportError
        If matplotlib is not installed.

    >>> network = tg.convolutional_network((28, 28, 1), 10, rng=0)
    >>> figure = tg.plot_filters(network)
    >>> figure.axes[0].images[0].get_array().shape  # 16 filters of 3 x 3, with gaps of a pixel
    (3, 63)
    """
    figure_class = _figure_class("plot_filters")
    positive_integer("plot_filters", "columns", columns)
    given = filters if isinstance(filters, Mapping) else {"": filters}
    grids = {_cut(name): _grid(each, columns) for name, each in given.items()}
    if not grids:
        raise ValueError("plot_filters: expected filters, got an empty dict")
    limit = max(np.nanmax(np.abs(grid)) for grid in grids.values()) or 1
    high, wide = (max(grid.shape[i] for grid in grids.values()) for i in (0, 1))
    unit = min(0.14, 9 / wide, 8 / high)  # inches
    size = unit * wide + 2.2 + 0.07 * max(map(len, grids)), unit * high * len(grids) + 0.8
    figure = figure_class(figsize=size, layout="compressed")
    places = figure.subplots(len(grids), 1, squeeze=False)[:, 0]
    for axes, (name, grid) in zip(places, grids.items(), strict=True):
        image = axes.imshow(grid, cmap="PuOr_r", vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", parse_math=False)
    figure.colorbar(image, ax=places, label="weight", fraction=0.05, pad=0.02)
    return figure


def _grid(filters: Any, columns: int) -> NDArray:
    """Filters and channels as one image, with gaps of NaN between them."""
    if isinstance(filters, Layer):
        found = [each for each in filters.named_layers().values() if isinstance(each, Conv2D)]
        if not found:
            raise ValueError(f"plot_filters: expected a Conv2D or a layer with one in it, got {filters!r}")
        filters = found[0].filters
    weights = _take("plot_filters", filters, "filters (F, C, KH, KW)", lambda shape: len(shape) == 4)
    count, channels, height, width = weights.shape
    if count * channels > 10_000:
        raise ValueError(
            f"plot_filters: {count} filters of {channels} channels are too many to see; give some"
        )
    columns = min(columns, count) if channels == 1 else count
    tiles = np.full((-(-count // columns) * columns, channels, height + 1, width + 1), np.nan)
    tiles[:count, :, :height, :width] = weights
    rows = tiles.reshape(-1, columns, channels, height + 1, width + 1).transpose(0, 2, 3, 1, 4)
    return rows.reshape(-1, columns * (width + 1))[:-1, :-1]


def _take(what: str, given: Any, wanted: str, fits: Callable[[tuple[int, ...]], bool]) -> NDArray:
    """An array of finite numbers that can be seen."""
    require_values(given, what)
    values = np.asarray(given.data if isinstance(given, Tensor) else given)
    if not fits(values.shape) or not values.size or values.dtype.kind not in "fiub":
        raise ValueError(f"{what}: expected {wanted}, got {values.dtype} {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what}: expected finite numbers, got some that are not")
    return values.astype(float) / (255 if values.dtype == np.uint8 else 1)


def _take_images(what: str, images: Any) -> NDArray:
    """(N, H, W), or (N, H, W, 3) of colours."""
    wanted = "images (N, H, W) or (N, H, W, C) of 1 channel or 3"
    pixels = _take(what, images, wanted, lambda s: len(s) == 3 or (len(s) == 4 and s[3] in (1, 3)))
    if len(pixels) > 400:
        raise ValueError(f"{what}: {len(pixels):,} images are too many to see; give some, as images[:50]")
    if pixels.shape[3:] == (3,) and not 0 <= pixels.min() <= pixels.max() <= 1:
        raise ValueError(
            f"{what}: expected colours from 0 to 1, got {pixels.min():.4g} to {pixels.max():.4g}"
        )
    return pixels[..., 0] if pixels.shape[3:] == (1,) else pixels


def _name(what: str, labels: Any, count: int, names: Sequence[str] | None) -> list[str]:
    """The texts of labels, of outputs (N, C) or of what is text already."""
    labels = np.asarray(labels.data if isinstance(labels, Tensor) else labels)
    labels = labels.argmax(axis=1) if labels.ndim == 2 and labels.dtype.kind in "fiub" else labels
    if labels.shape != (count,):
        raise ValueError(f"{what}: expected one for each of {count} images, got {labels.shape}")
    if names is None or labels.dtype.kind not in "iu":
        return [_cut(label) for label in labels.tolist()]
    if count and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"{what}: got {len(names)} names, and labels from {labels.min()} to {labels.max()}")
    return [_cut(names[label]) for label in labels]


def _cut(text: Any) -> str:
    return str(text) if len(str(text)) <= 40 else str(text)[:39] + "…"


def _draw_tiles(
    what: str, pixels: NDArray, titles: Sequence[str], columns: int, wrong: Sequence[bool] | NDArray
) -> Figure:
    """Images in a grid, with titles above them, all measured in inches."""
    figure_class = _figure_class(what)
    columns = max(1, min(positive_integer(what, "columns", columns), len(pixels)))
    rows = max(1, -(-len(pixels) // columns))
    lines = [title.split("\n") for title in titles]
    wide = max([0.9, *(0.075 * len(line) for each in lines for line in each)])
    high = wide * pixels.shape[1] / pixels.shape[2]
    band = 0.1 + 0.16 * max([0, *(len(each) for each in lines if each != [""])])
    signed = pixels.min(initial=0) < 0
    top = np.abs(pixels).max(initial=0 if signed else 1)
    size = max(columns * (wide + 0.08) + 1.2 * signed, 3), rows * (high + band) + 0.5
    figure = figure_class(figsize=size, layout="compressed")
    axes: Axes = figure.add_subplot(xticks=[], yticks=[], frame_on=False)
    for place, (image, title) in enumerate(zip(pixels, titles, strict=True)):
        x, y = place % columns * (wide + 0.08), place // columns * (high + band) + band
        shown = axes.imshow(
            image, "PuOr_r" if signed else "gray_r", vmin=-top if signed else 0, vmax=top,
            extent=(x, x + wide, y + high, y), interpolation="nearest",
        )  # fmt: skip
        text = axes.text(x + wide / 2, y - 0.04, title, ha="center", va="bottom", fontsize=8)
        text.set(color="#b00020" if wrong[place] else "black", parse_math=False)
    axes.set(xlim=(0, columns * (wide + 0.08)), ylim=(rows * (high + band), 0))
    if signed:
        figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02)
    return figure


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
