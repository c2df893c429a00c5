"""Memory maps are read and cast a batch at a time: in `fit`, `predict`, `evaluate` and the estimators."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor

ROWS, COLUMNS = 120_000, 500  # 60 MB of uint8, 240 MB as float32; all of it a hole in the file
ROOM = 20_000_000


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "pixels.dat"
    return np.memmap(path, np.uint8, "w+", shape=(ROWS, COLUMNS))


@contextmanager
def little_memory(room=ROOM):
    """Fails if what NumPy has allocated inside at once is more than so many bytes."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < room, f"{most / 1e6:.0f} MB"


def network(outputs=2, loss="cross_entropy"):
    made = tg.Network([tg.Dense(COLUMNS, 2, rng=0), tg.Tanh(), tg.Dense(2, outputs, rng=1)])
    made.use(loss)
    return made


FEW = {"batch_size": 1024, "verbose": False}
LABELS = np.arange(ROWS, dtype=np.uint8) % 2


@pytest.mark.parametrize("options", [
    {}, {"validation_split": 0.5}, {"sample_weight": LABELS + 0.0}, {"class_weight": "balanced"},
], ids=["plain", "split", "weights", "classes"])  # fmt: skip
def test_fit_reads_a_batch_at_a_time(pixels, options):
    with little_memory():
        network().fit(pixels, LABELS, 1, 0.1, **FEW, **options)


def test_so_it_is_for_validation_data_and_for_targets_like_the_inputs(pixels):
    with little_memory():
        network().fit(np.zeros((8, COLUMNS)), LABELS[:8], 1, 0.1, validation=(pixels, LABELS), verbose=False)
    copies = tg.Network([tg.Dense(COLUMNS, COLUMNS, rng=0)])
    copies.use("mse")
    with little_memory():
        copies.fit(pixels, pixels, 1, 0.1, **FEW)


def test_a_checkpoint_does_not_read_it_all_at_once(pixels, tmp_path):
    with little_memory():
        network().fit(pixels, LABELS, 1, 0.1, checkpoint=tmp_path / "c.npz", **FEW)


def test_predict_and_evaluate_read_a_batch_at_a_time(pixels):
    with little_memory():
        assert network().predict(pixels).shape == (ROWS, 2)
    with little_memory():
        network().evaluate(pixels, LABELS)


def test_floats_are_looked_through_in_parts_and_cast_so(tmp_path):
    wide = np.memmap(tmp_path / "wide.dat", np.float64, "w+", shape=(ROWS // 4, COLUMNS))
    with little_memory():
        network().fit(wide, LABELS[: ROWS // 4], 1, 0.1, **FEW)
    with little_memory():
        network().predict(wide)
    wide[20_000, 7] = np.nan
    with (
        little_memory(),
        pytest.raises(ValueError, match=r"fit, x: expected finite .*, got nan in row 20000"),
    ):
        network().fit(wide, LABELS[: ROWS // 4], 1, 0.1, **FEW)
    wide[20_000, 7] = 1e300
    with pytest.raises(ValueError, match="predict, x: expected finite numbers, got inf in row 20000"):
        network().predict(wide)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", [TensorgradClassifier, TensorgradRegressor])
def test_estimators_read_a_batch_at_a_time(pixels, kind, early_stopping):
    model = kind(hidden_layer_sizes=(2,), max_epochs=1, batch_size=1024, early_stopping=early_stopping)
    with little_memory():
        model.fit(pixels, LABELS)
    with little_memory():
        model.predict(pixels)


# The numbers are those of an array that is cast at once


RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (50, COLUMNS), np.uint8), RNG.integers(0, 2, 50)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, bool])
@pytest.mark.parametrize("options", [
    {}, {"validation_split": 0.3, "seed": 1}, {"sample_weight": Y + 0.0}, {"validation": (X, Y)},
], ids=["plain", "split", "weights", "validation"])  # fmt: skip
def test_a_network_learns_the_same_from_any_dtype(dtype, options):
    x = (X > 100 if dtype is bool else X).astype(dtype)
    trained = []
    for inputs in (x, x.astype(np.float32)):
        made = network()
        made.fit(inputs, Y, 2, 0.01, **{"batch_size": 8, "seed": 0, "verbose": False} | options)
        trained.append(made)
    one, other = trained
    for path, values in one.state().items():
        np.testing.assert_array_equal(values, other.state()[path])
    assert {**one.history, "seconds": 0} == {**other.history, "seconds": 0}
    np.testing.assert_array_equal(one.predict(x), one.predict(x.astype(np.float32)))
    assert one.evaluate(x, Y) == one.evaluate(x.astype(np.float32), Y)


def test_an_interrupted_training_on_integers_ends_the_same(tmp_path):
    class Stop(tg.Callback):
        def on_batch_end(self, training):
            if training.step == 9:
                raise RuntimeError("killed")

    options = {"batch_size": 8, "seed": 0, "verbose": False, "validation_split": 0.2}
    whole, parts = network(), network()
    whole.fit(X, Y, 3, 0.01, **options)
    checkpoint = {"checkpoint": tmp_path / "c.npz", "checkpoint_every": 1}
    with pytest.raises(RuntimeError, match="killed"):
        network().fit(X, Y, 3, 0.01, callbacks=Stop(), **options, **checkpoint)
    going_on = type("Stop", (tg.Callback,), {})()
    with pytest.raises(ValueError, match="callbacks"):
        parts.fit(X, Y, 3, 0.01, resume=True, **options, **checkpoint)
    parts.fit(X, Y, 3, 0.01, resume=True, callbacks=going_on, **options, **checkpoint)
    for path, values in whole.state().items():
        np.testing.assert_array_equal(values, parts.state()[path])
