"""Plots: what is drawn, read back from the figure, and that it can be written."""

import sys

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

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


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r'plot_history needs matplotlib: pip install "tensorgrad-numpy\[plot\]"'
    ):
        tg.plot_history(HISTORY)
