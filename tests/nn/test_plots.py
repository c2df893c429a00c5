"""Plots: what is drawn, read back from the figure, and that it can be written."""

import itertools
import sys

import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from scipy.special import softmax as scipy_softmax

import tensorgrad as tg
from tensorgrad.data import load

pytest.importorskip("matplotlib", reason="matplotlib, which draws, is not installed")

HISTORY = {
    "loss": [1.0, 0.5, 0.3],
    "accuracy": [0.5, 0.7, 0.8],
    "seconds": [1.0, 1.0, 1.0],
    "validation_loss": [1.1, 0.6, 0.5],
    "validation_accuracy": [0.4, 0.6, 0.7],
    "validation_f1": [0.1, 0.2, 0.3],
}


def test_a_panel_a_figure_with_training_and_validation():
    figure = tg.plot_history(HISTORY)
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == ["loss per example", "accuracy", "f1"]
    lines = {line.get_label(): line for line in panels["loss per example"].lines}
    assert list(lines["training"].get_xdata()) == [1, 2, 3]
    assert list(lines["training"].get_ydata()) == HISTORY["loss"]
    assert list(lines["validation"].get_ydata()) == HISTORY["validation_loss"]
    assert [line.get_label() for line in panels["f1"].lines] == ["validation"]


def test_held_out_data_may_be_test_data():
    history = {key.replace("validation_", "test_"): values for key, values in HISTORY.items()}
    panels = {axes.get_ylabel(): axes for axes in tg.plot_history(history).axes}
    assert list(panels) == ["loss per example", "accuracy", "f1"]
    lines = {line.get_label(): line for line in panels["accuracy"].lines}
    assert list(lines) == ["training", "test"]
    assert list(lines["test"].get_ydata()) == HISTORY["validation_accuracy"]


def test_figures_are_chosen_and_a_loss_may_be_logarithmic():
    figure = tg.plot_history(HISTORY, ["loss", "seconds"], log_loss=True)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss per example", "seconds"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_epochs_are_whole_and_a_share_ends_at_1():
    for epochs in (1, 2, 3, 40):
        shares = {"accuracy": [1.0] * epochs, "validation_accuracy": np.linspace(0.0, 1.0, epochs)}
        (axes,) = tg.plot_history(shares).axes
        left, right = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
        assert ticks == [round(tick) for tick in ticks] != []
        assert axes.get_ylim()[1] == 1.0
        assert axes.get_ylim()[0] >= 0.0
    assert len(tg.plot_history({"roc_auc": [np.nan, np.nan]}).axes) == 1
    (axes,) = tg.plot_history({"r2": [-0.5, 1.5]}).axes  # which no bound holds
    assert axes.get_ylim()[0] < -0.5
    assert axes.get_ylim()[1] > 1.5


def test_the_history_of_a_fit_can_be_written(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 3))
    network = tg.Network([tg.Dense(3, 2, rng=0)])
    network.use(tg.cross_entropy)
    history = network.fit(
        x, (x[:, 0] > 0) * 1, 4, 0.1, validation_split=0.3, metrics=["accuracy"], seed=0, verbose=False
    )
    for name in ("curve.png", "curve.svg"):
        tg.plot_history(history).savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


@refused_calls(
    ("tg.plot_history({})", ValueError, "no finished epoch"),
    ("tg.plot_history({'loss': []})", ValueError, "no finished epoch"),
    (
        "tg.plot_history(HISTORY, ['precision'])",
        ValueError,
        "expected some of loss, accuracy, seconds, f1, got 'precision'",
    ),
    ("tg.plot_history(HISTORY, [])", ValueError, "no finished epoch"),
)
def test_histories_without_the_figure_are_refused(call, error, message):
    assert_refused(call, error, message, HISTORY=HISTORY)


def cells(figure):
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in figure.axes[0].texts}


def test_confusion_counts_rows_by_true_class():
    target, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 0])
    assert cells(tg.plot_confusion(target, predicted)) == {
        (0, 0): "2", (0, 1): "1", (1, 1): "1", (2, 2): "1", (2, 0): "1",
    }  # fmt: skip
    shown = cells(tg.plot_confusion(target, predicted, normalize=True))
    assert shown[0, 0] == "0.67"
    assert shown[2, 0] == "0.50"
    axes = tg.plot_confusion(target, predicted, ["cat", "dog", "hen", "owl"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "hen", "owl"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_confusion_colours_mistakes_by_their_share_and_no_right_answer():
    target = np.repeat([0, 1, 2], [1000, 100, 10])
    predicted = target.copy()
    predicted[:5], predicted[1000:1002] = 1, 2  # 5 of 1000 and 2 of 100
    axes = tg.plot_confusion(target, predicted).axes[0]
    (image,) = axes.images
    colours = image.cmap(image.norm(image.get_array()))[..., :3]
    assert np.ma.getmaskarray(image.get_array()).diagonal().all()
    darkness = 1 - colours.mean(axis=-1)
    assert darkness[1, 2] > darkness[0, 1] > darkness[0, 2] == 0
    assert axes.get_title() == "7 mistakes in 1,110"
    right = tg.plot_confusion([0, 1], [0, 1])
    assert right.axes[0].get_title() == "0 mistakes in 2"
    assert len(tg.plot_confusion(np.arange(40), np.arange(40)).axes[0].texts) == 0


def test_small_shares_are_no_zeros():
    target, predicted = np.zeros(10_000, int), np.zeros(10_000, int)
    predicted[:35], predicted[-1] = 1, 2
    shown = cells(tg.plot_confusion(target, predicted, normalize=True))
    assert shown == {(0, 0): "1.00", (0, 1): ".004", (0, 2): "<.001"}


@pytest.mark.parametrize("name", ["$\\frac{$ </text> & _^", "a\nb", "x" * 1000, "\u202e", ""])
def test_names_are_shown_as_they_are(name):
    images, labels = np.zeros((2, 3, 3)), np.array([0, 1])
    network = tg.Network([tg.Flatten(), tg.Dense(9, 2, rng=0)])
    network.use(tg.cross_entropy)
    for figure, found in (
        (tg.plot_images(images, labels, class_names=[name, "b"]), lambda axes: axes.texts[0]),
        (tg.plot_mistakes(network, images, labels, class_names=[name, name]), lambda axes: axes.texts[0]),
        (tg.plot_filters({name: np.ones((1, 1, 2, 2))}), lambda axes: axes.yaxis.label),
        (tg.plot_history({"loss": [1.0], name: [1.0]}), lambda axes: axes.figure.axes[1].yaxis.label),
        (tg.plot_confusion(labels, labels, [name, "b"]), lambda axes: axes.get_xticklabels()[0]),
    ):
        assert figure._repr_png_()
        shown = found(figure.axes[0]).get_text().replace("_", " ")
        assert name[:39].replace("_", " ") in shown
        assert len(shown) < 200


def test_a_thousand_classes_are_drawn_small():
    classes = np.arange(1000)
    figure = tg.plot_confusion(classes, np.roll(classes, 1))
    assert max(figure.get_size_inches()) < 40
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize("classes", [2, 10, 26])
def test_counts_of_four_digits_fit_into_their_cells(classes):
    target = np.repeat(np.arange(classes), 1234)
    figure = tg.plot_confusion(target, (target + 1) % classes)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.transData.transform([(0, 0), (1, 1)])
    width, height = np.abs(cell[1] - cell[0])
    for text in axes.texts:
        assert text.get_text() == "1234"
        assert text.get_window_extent().width < width
        assert text.get_window_extent().height < height


@refused_calls(
    ("tg.plot_confusion([0.0, 1.0], [0, 1])", ValueError, "target to be labels"),
    ("tg.plot_confusion([0, 1], [[0, 1]])", ValueError, "predicted to be labels"),
    ("tg.plot_confusion([0, -1], [0, 1])", ValueError, "target to be labels"),
    ("tg.plot_confusion([], [])", ValueError, "target to be labels"),
    ("tg.plot_confusion([0, 1, 1], [0, 1])", ValueError, "3 targets and 2 predictions"),
    ("tg.plot_confusion([0, 2], [0, 1], ['a', 'b'])", ValueError, "2 names and the label 2"),
)
def test_confusion_refuses_what_are_no_labels(call, error, message):
    assert_refused(call, error, message)


# Images and filters

DIGITS = load("digits")
NAMES = [f"class {i}" for i in range(10)]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_images_stand_in_rows_under_their_titles():
    images = DIGITS.x_test[:5]
    figure = tg.plot_images(images, DIGITS.y_test[:5], columns=3, class_names=NAMES)
    axes = figure.axes[0]
    assert texts(figure) == [f"class {y}" for y in DIGITS.y_test[:5]]
    places = []
    for shown, title, image in zip(axes.images, axes.texts, images, strict=True):
        np.testing.assert_allclose(shown.get_array(), image[..., 0])
        assert (shown.norm.vmin, shown.norm.vmax) == (0, 1)
        left, right, bottom, top = shown.get_extent()
        x, y = title.get_position()
        assert left < x < right
        assert y < top < bottom  # downwards
        places.append((left, top))
    assert places[0][1] == places[1][1] == places[2][1] < places[3][1] == places[4][1]
    assert places[0][0] == places[3][0] < places[1][0] == places[4][0] < places[2][0]


def test_images_may_have_other_forms():
    grey = DIGITS.x_test[:2]
    for form in (grey[..., 0], tg.Tensor(grey), np.round(255 * grey).astype(np.uint8)):
        for shown, image in zip(tg.plot_images(form).axes[0].images, grey, strict=True):
            np.testing.assert_allclose(shown.get_array(), image[..., 0], atol=1 / 500)
    colours = np.random.default_rng(0).random((2, 4, 5, 3))
    np.testing.assert_array_equal(tg.plot_images(colours).axes[0].images[1].get_array(), colours[1])


def test_images_with_negative_numbers_have_one_scale_with_white_at_0():
    images = np.zeros((2, 3, 3))
    images[0, 0, 0], images[1, 1, 1] = -4.0, 2.0
    axes = tg.plot_images(images).axes[0]
    colours = [shown.cmap(shown.norm(shown.get_array()))[..., :3] for shown in axes.images]
    assert colours[0][2, 2].min() > 0.95
    assert colours[0][0, 0].sum() < colours[1][1, 1].sum() < colours[1][0, 0].sum()


def test_a_wrong_prediction_is_told_in_words_and_in_red():
    images, labels = DIGITS.x_test[:3], np.array([1, 2, 3])
    outputs = np.eye(10)[[1, 7, 3]] - 0.5
    for read in (outputs, outputs.argmax(axis=1)):
        figure = tg.plot_images(images, labels, read)
        assert texts(figure) == ["1", "2, read as 7", "3"]
        colours = [text.get_color() for text in figure.axes[0].texts]
        assert colours[0] == colours[2] != colours[1]
    assert texts(tg.plot_images(images, predictions=outputs, class_names=NAMES)) == [
        "class 1", "class 7", "class 3",
    ]  # fmt: skip


def classifier(loss, *last):
    network = tg.Network([tg.Flatten(), tg.Dense(64, 10, rng=0, dtype=np.float64), *last])
    network.use(loss)
    return network


@pytest.mark.parametrize(
    ("network", "kind", "certainty"),
    [
        (classifier(tg.cross_entropy), "p", lambda z: scipy_softmax(z, axis=1)),
        (classifier(tg.mse, tg.Softmax()), "p", lambda p: p),
        (classifier(tg.mse, tg.Sigmoid()), "output", lambda p: p),
        (classifier(tg.mse), "output", lambda z: z),
    ],
    ids=["logits", "softmax", "sigmoid", "values"],
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_mistakes_are_those_the_network_is_most_certain_of(network, kind, certainty, one_hot):
    x, y = DIGITS.x_test, DIGITS.y_test
    scores = certainty(network.predict(x))
    mistakes = []
    for i, row in enumerate(scores):
        read = int(np.argmax(row))
        if read != y[i]:
            mistakes.append((-row[read], i, f"is {y[i]}, read as {read}\n{kind} {row[read]:.3f}"))
    mistakes.sort()
    figure = tg.plot_mistakes(network, x, np.eye(10)[y] if one_hot else y, count=5)
    assert texts(figure) == [text for _, _, text in mistakes[:5]]
    for shown, (_, i, _) in zip(figure.axes[0].images, mistakes, strict=False):
        np.testing.assert_allclose(shown.get_array(), x[i, ..., 0])
    assert figure.get_suptitle() == f"the 5 most certain of {len(mistakes)} mistakes in 360"


def test_mistakes_of_one_output_and_of_none():
    network = tg.Network([tg.Flatten(), tg.Dense(64, 1, rng=0)])
    network.use(tg.binary_cross_entropy)
    x = DIGITS.x_test[:4]
    p = 1 / (1 + np.exp(-network.predict(x)[:, 0]))
    wrong = (p < 0.5) * 1
    figure = tg.plot_mistakes(network, x, wrong[:, None].astype(np.float32), class_names=["no", "yes"])
    certain = np.argsort(-np.maximum(p, 1 - p), kind="stable")
    names = ["no", "yes"]
    assert texts(figure) == [
        f"is {names[wrong[i]]}, read as {names[1 - wrong[i]]}\np {max(p[i], 1 - p[i]):.3f}" for i in certain
    ]
    figure = tg.plot_mistakes(network, x, 1 - wrong)
    assert (texts(figure), figure.get_suptitle()) == ([], "0 mistakes in 4")


def tiles(image, height, width):
    """The tiles of an image by row and column, and the gaps between them."""
    values = np.asarray(np.ma.filled(image.get_array(), np.nan))
    rows, columns = (values.shape[0] + 1) // (height + 1), (values.shape[1] + 1) // (width + 1)
    gaps = np.delete(np.delete(values, np.s_[height :: height + 1], 0), np.s_[width :: width + 1], 1)
    assert gaps.size == rows * columns * height * width
    cut = lambda i, n: slice(i * (n + 1), i * (n + 1) + n)
    return [[values[cut(i, height), cut(j, width)] for j in range(columns)] for i in range(rows)]


def test_filters_are_tiles_on_one_scale():
    network = tg.convolutional_network((28, 28, 1), 10, rng=0)
    first, second = network.layers[0].filters.data, network.layers[2].filters.data
    (image,) = tg.plot_filters(network, columns=6).axes[0].images
    found = tiles(image, 3, 3)
    assert [len(row) for row in found] == [6, 6, 6]
    for f in range(16):
        np.testing.assert_allclose(found[f // 6][f % 6], first[f, 0])
    assert np.isnan(found[2][4:]).all()
    assert -image.norm.vmin == image.norm.vmax == np.abs(first).max()
    (image,) = tg.plot_filters(network.layers[2]).axes[0].images
    found = tiles(image, 3, 3)
    for f, channel in np.ndindex(32, 16):
        np.testing.assert_allclose(found[channel][f], second[f, channel])


def test_filters_of_several_times_stand_under_one_another():
    before = np.random.default_rng(0).standard_normal((4, 1, 2, 3))
    *panels, _ = tg.plot_filters({"before": before, "after": 2 * before}).axes
    assert [axes.get_ylabel() for axes in panels] == ["before", "after"]
    for axes, factor in zip(panels, (1, 2), strict=True):
        (image,) = axes.images
        np.testing.assert_allclose(tiles(image, 2, 3)[0][3], factor * before[3, 0])
        assert image.norm.vmax == 2 * np.abs(before).max()


@refused_calls(
    (
        "tg.plot_images(np.zeros((0, 4, 4)))",
        ValueError,
        r"expected images .N, H, W. or .*, got float64 \(0, 4, 4\)",
    ),
    ("tg.plot_images(np.zeros((4, 4)))", ValueError, r"got float64 \(4, 4\)"),
    ("tg.plot_images(np.zeros((2, 4, 4, 2)))", ValueError, "of 1 channel or 3"),
    ("tg.plot_images(np.full((1, 2, 2), np.nan))", ValueError, "finite"),
    ("tg.plot_images(np.zeros((401, 2, 2)))", ValueError, r"401 images are too many to see; give some"),
    ("tg.plot_images(np.full((1, 2, 2, 3), 7.0))", ValueError, "colours from 0 to 1, got 7 to 7"),
    ("tg.plot_images(IMAGES, [1])", ValueError, "labels: expected one for each of 2 images"),
    ("tg.plot_images(IMAGES, predictions=[1, 2, 3])", ValueError, "predictions: expected one for each"),
    ("tg.plot_images(IMAGES, [0, 2], class_names=['a'])", ValueError, "1 names, and labels from 0 to 2"),
    ("tg.plot_images(IMAGES, columns=0)", ValueError, "plot_images.*columns"),
    ("tg.plot_images(np.ma.masked_equal(IMAGES, 0))", Exception, "plot_images"),
    ("tg.plot_mistakes(BROKEN, X, [1] * 6)", ValueError, "expected finite outputs"),
    ("tg.plot_mistakes(NETWORK, X, X)", ValueError, r"labels \(N,\) of their classes"),
    ("tg.plot_mistakes(NETWORK, X, X[:, 0, 0, 0] > 0)", ValueError, "bool"),
    ("tg.plot_filters(tg.Dense(2, 2))", ValueError, r"a layer with one in it, got Dense\(2, 2\)"),
    ("tg.plot_filters(IMAGES)", ValueError, r"filters \(F, C, KH, KW\), got float64 \(2, 3, 3\)"),
    ("tg.plot_filters(np.zeros((512, 512, 3, 3)))", ValueError, "too many to see"),
    ("tg.plot_filters({})", ValueError, "empty dict"),
)
def test_what_cannot_be_seen_is_refused(call, error, message):
    network, broken = classifier(tg.cross_entropy), classifier(tg.cross_entropy)
    broken.layers[1].bias.data = np.full(10, np.nan)
    names = {"IMAGES": np.zeros((2, 3, 3)), "NETWORK": network, "BROKEN": broken, "X": DIGITS.x_test[:6]}
    assert_refused(call, error, message, **names)


@pytest.mark.parametrize(
    "name", ["plot_history", "plot_confusion", "plot_images", "plot_mistakes", "plot_filters"]
)
def test_a_notebook_shows_every_figure(name):
    network = tg.convolutional_network((8, 8, 1), 10, rng=0)
    arguments = {
        "plot_history": [HISTORY],
        "plot_confusion": [[0, 1], [0, 1]],
        "plot_images": [DIGITS.x_test[:2]],
        "plot_mistakes": [network, DIGITS.x_test[:9], DIGITS.y_test[:9]],
        "plot_filters": [network],
    }
    picture = getattr(tg, name)(*arguments[name])._repr_png_()
    assert picture.startswith(b"\x89PNG")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r'plot_history needs matplotlib: pip install "tensorgrad-numpy\[plot\]"'
    ):
        tg.plot_history(HISTORY)
