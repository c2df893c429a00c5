"""Metrics where validation data lacks a class: computed if they can be, else NaN, and told once."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import f1_score, get_scorer_names, log_loss, roc_auc_score

import tensorgrad as tg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 4)).astype(np.float32)
Y = np.arange(24) % 3
QUIET = {"batch_size": 8, "seed": 0, "verbose": False}


def dense(outputs=3, loss="cross_entropy", inputs=4):
    network = tg.Network([tg.Dense(inputs, 6, rng=0), tg.Tanh(), tg.Dense(6, outputs, rng=1)])
    network.use(loss)
    return network


def trained(epochs=2, network=None, x=X, y=Y, **options):
    network = network or dense()
    network.fit(x, y, epochs, **QUIET | options)
    return network


def without(label):
    return X[label != Y], Y[label != Y]


@pytest.mark.parametrize("metric", ["neg_log_loss", "d2_log_loss_score", "top_k_accuracy", log_loss])
def test_a_metric_that_takes_labels_is_computed_where_a_class_is_missing(metric):
    network = dense()
    history = network.fit(X, Y, 2, 0.1, validation=without(2), metrics=[metric], **QUIET)
    name = getattr(metric, "__name__", metric)
    x, y = without(2)
    p = tg.softmax(network.predict(x).astype(float), axis=-1)
    expected = {
        "neg_log_loss": lambda: np.log(p[np.arange(len(y)), y]).mean(),
        "log_loss": lambda: -np.log(p[np.arange(len(y)), y]).mean(),
        "top_k_accuracy": lambda: np.mean(
            [label in np.argsort(row)[-2:] for label, row in zip(y, p, strict=True)]
        ),
    }
    if name in expected:
        assert history[f"validation_{name}"][-1] == pytest.approx(expected[name](), rel=1e-5)
    assert np.isfinite(history[f"validation_{name}"]).all()


@pytest.mark.parametrize("metric", ["roc_auc_ovr", "roc_auc_ovo_weighted"])
def test_a_metric_that_needs_every_class_is_nan_and_told_once(metric):
    with pytest.warns(RuntimeWarning, match=r"needs each class, and there is no row of 2; it is NaN") as told:
        history = dense().fit(X, Y, 3, 0.1, validation=without(2), metrics=[metric], **QUIET)
    assert len(told) == 1
    assert np.isnan(history[f"validation_{metric}"]).all()
    assert np.isfinite(history[metric]).all()
    with pytest.raises(ValueError, match=r"there is no row of 2$"):
        dense().evaluate(*without(2), metrics=[metric])


def test_so_it_is_for_one_output_and_for_functions():
    network = dense(1, "binary_cross_entropy")
    y = (Y == 0).astype(float).reshape(-1, 1)
    with pytest.warns(RuntimeWarning, match="there is no row of 1; it is NaN") as told:
        history = network.fit(
            X, y, 3, 0.1, validation=(X[Y > 0], y[Y > 0]), metrics=[roc_auc_score, "neg_log_loss"], **QUIET
        )
    assert len(told) == 1
    assert np.isfinite(history["validation_neg_log_loss"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", get_scorer_names())
def test_no_scorer_ends_a_training_for_the_sake_of_a_missing_class(name):
    whole, part = [], []
    for found, validation in ((whole, (X, Y)), (part, without(2))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found.append(dense().fit(X, Y, 2, 0.1, validation=validation, metrics=[name], **QUIET))
            except ValueError as error:
                found.append(str(error))
    assert isinstance(part[0], dict) == isinstance(whole[0], dict), part[0]


def test_metrics_that_do_not_fail_are_what_they_were():
    history = dense().fit(X, Y, 1, 0.1, validation=without(2), metrics=["f1_macro"], **QUIET)
    network = trained(1, learning_rate=0.1)
    x, y = without(2)
    expected = f1_score(y, network.predict(x).argmax(axis=1), average="macro")
    assert history["validation_f1_macro"] == [pytest.approx(expected)]
