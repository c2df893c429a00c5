"""Metrics: against scikit-learn on predictions made outside of the training."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics
from helpers import assert_refused, refused_calls
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

import tensorgrad as tg
from tensorgrad.nn.fit.metrics import better, measures

QUIET = {"verbose": False, "seed": 0}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0) * 1 + (X[:, 1] > 0.5) * 1
VALUES = (X[:, :1] - X[:, 1:2]).astype(np.float32)
BINARY = (X[:, :1] > 0).astype(np.float32)
COUNTS = np.random.default_rng(2).integers(0, 4, 60)  # weights


def network(outputs, loss, *last):
    rng = np.random.default_rng(1)
    made = tg.Network([tg.Dense(4, 8, rng=rng), tg.Tanh(), tg.Dense(8, outputs, rng=rng), *last])
    made.use(loss)
    return made


def measured(made, y, *metrics):
    """The metrics as `fit` reports them on validation data, after one epoch."""
    history = made.fit(X, y, 1, 0.3, 16, validation=(X, y), metrics=metrics, **QUIET)
    values = [history[key][0] for key in history if key not in ("loss", "seconds", "validation_loss")]
    assert len(values) == 2 * len(metrics)
    evaluated = made.evaluate(X, y, 7, metrics=metrics)
    found = values[len(metrics) :]
    assert list(evaluated.values())[1:] == pytest.approx(found)
    return found


# Accuracy


def test_accuracy_counts():
    prediction = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    assert tg.accuracy(prediction, np.array([1, 0, 0, 0])) == 0.75
    assert tg.accuracy(prediction, np.eye(2)[[1, 0, 0, 1]]) == 0.5
    assert tg.accuracy(tg.Tensor(prediction), np.array([1, 0, 1, 0], np.uint8)) == 1
    places = np.zeros((2, 3, 3, 4))
    places[..., 2] = 1
    assert tg.accuracy(places, np.full((2, 3, 3), 2)) == 1


def test_accuracy_of_one_output_needs_a_threshold():
    logits = np.array([[-1.0], [0.3], [2.0], [-0.1]])
    for target in (np.array([[0], [1], [1], [1]]), np.array([0.0, 1.0, 1.0, 1.0]), np.array([0, 1, 1, 1])):
        assert tg.accuracy(logits, target, threshold=0.0) == 0.75
        assert tg.accuracy(logits[:, 0], target.ravel(), threshold=0.5) == 0.5


@refused_calls(
    ("tg.accuracy(np.ones((4, 1)), np.ones(4, int))", ValueError, "or a threshold"),
    ("tg.accuracy(np.ones((4, 3)), np.ones(4))", ValueError, r"got \(4, 3\) and float64 targets \(4,\)"),
    ("tg.accuracy(np.ones((4, 3)), np.ones((4, 3)))", ValueError, "one-hot"),
    ("tg.accuracy(np.ones((4, 3)), np.ones(3, int))", ValueError, r"int64 targets \(3,\)"),
    (
        "tg.accuracy(np.ones((4, 2)), np.ones(4, int), threshold=0.0)",
        ValueError,
        r"expected a prediction \(N, 1\)",
    ),
    ("tg.accuracy(np.ones((4, 1)), np.full(4, 2), threshold=0.0)", ValueError, "the targets 0 and 1"),
)
def test_accuracy_refuses_what_has_none(call, error, message):
    assert_refused(call, error, message)


def test_training_metrics_are_of_the_predictions_made_in_training():
    seen = []

    def loss(prediction, target):
        if prediction.requires_grad:
            seen.append((prediction.numpy(), target))
        return tg.cross_entropy(prediction, target)

    history = network(3, loss).fit(X, LABELS, 1, 0.5, 16, metrics=["accuracy"], **QUIET)
    right = np.concatenate([p.argmax(1) == y for p, y in seen])
    assert len(right) == 60
    assert history["accuracy"] == [right.mean()]
    assert 0.1 < right.mean() < 1


@pytest.mark.parametrize("target", [LABELS, np.eye(3)[LABELS]], ids=["labels", "one-hot"])
@pytest.mark.parametrize("weights", [None, COUNTS], ids=["plain", "weighted"])
def test_with_validation_data_training_has_an_accuracy_too(target, weights):
    made = network(3, tg.cross_entropy)
    held_out = X[:7], target[:7]
    history = made.fit(X, target, 2, 0.0, 16, validation=held_out, sample_weight=weights, **QUIET)
    right = made.predict(X).argmax(axis=1) == LABELS  # at the rate 0 it stays as it is
    assert history["accuracy"] == [pytest.approx(np.average(right, weights=weights))] * 2
    assert history["validation_accuracy"] == [pytest.approx(right[:7].mean())] * 2
    assert list(history)[:2] == ["loss", "accuracy"]
    for options in ({}, {"validation": held_out, "metrics": []}):
        assert "accuracy" not in made.fit(X, target, 1, 0.1, **options, **QUIET)


def test_an_accuracy_of_places_counts_each_place():
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((10, 4, 4, 2)), rng.integers(0, 3, (10, 4, 4))
    made = tg.Network([tg.Conv2D(2, 3, 1, rng=0, dtype=np.float64)])
    made.use(tg.cross_entropy)
    history = made.fit(images, labels, 1, 0.0, 4, validation=(images[:3], labels[:3]), **QUIET)
    right = made.predict(images).argmax(axis=-1) == labels
    assert history["accuracy"] == [pytest.approx(right.mean())]


def test_a_figure_that_some_epochs_lack_is_nan_in_them():
    made = network(3, tg.mse)
    one_hot, values = np.eye(3)[LABELS], np.full((60, 3), 0.3)

    def batches(rng):  # classes in the second epoch alone
        batches.epoch += 1
        return [(X, one_hot if batches.epoch == 2 else values)]

    batches.epoch = 0
    history = made.fit(batches, epochs=3, learning_rate=0.0, validation=(X, one_hot), **QUIET)
    right = (made.predict(X).argmax(axis=1) == LABELS).mean()
    assert history["accuracy"] == pytest.approx([np.nan, right, np.nan], nan_ok=True)


def test_by_default_validation_has_an_accuracy_where_targets_are_classes():
    for y in (VALUES, BINARY):
        assert set(network(1, tg.mse).fit(X, y, 1, 0.1, validation=(X, y), **QUIET)) == {
            "loss", "seconds", "validation_loss",
        }  # fmt: skip
    assert set(network(3, tg.cross_entropy).evaluate(X, LABELS, metrics=[])) == {"loss"}


# scikit-learn's


@pytest.mark.parametrize("target", [LABELS, np.eye(3, dtype=np.float32)[LABELS]], ids=["labels", "one-hot"])
def test_figures_of_classes_by_logits_are_scikit_learns(target):
    made = network(3, tg.cross_entropy)
    found = measured(
        made, target, "accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr", "cohen_kappa_score",
        sklearn.metrics.matthews_corrcoef, "top_k_accuracy_score", sklearn.metrics.log_loss,
    )  # fmt: skip
    logits = made.predict(X).astype(float)
    labels, p = logits.argmax(1), scipy_softmax(logits, axis=1)
    assert found == pytest.approx(
        [
            np.mean(labels == LABELS),
            sklearn.metrics.f1_score(LABELS, labels, average="macro"),
            -sklearn.metrics.log_loss(LABELS, p),
            sklearn.metrics.roc_auc_score(LABELS, p, multi_class="ovr"),
            sklearn.metrics.cohen_kappa_score(LABELS, labels),
            sklearn.metrics.matthews_corrcoef(LABELS, labels),
            sklearn.metrics.top_k_accuracy_score(LABELS, p),
            sklearn.metrics.log_loss(LABELS, p),
        ]
        if len(found) == 8
        else None
    )


def test_classes_by_probabilities():
    made = network(3, tg.mse, tg.Softmax())
    y = np.eye(3)[LABELS]
    found = measured(made, y, "neg_log_loss", "balanced_accuracy")
    p = made.predict(X).astype(float)
    assert found == pytest.approx(
        [
            -sklearn.metrics.log_loss(LABELS, p / p.sum(1, keepdims=True)),
            sklearn.metrics.balanced_accuracy_score(LABELS, p.argmax(1)),
        ]
    )


@pytest.mark.parametrize("last", [(), (tg.Sigmoid(),)], ids=["logit", "probability"])
def test_two_classes_by_one_output(last):
    made = network(1, tg.mse if last else tg.binary_cross_entropy, *last)
    metrics = ("accuracy", "f1", "roc_auc", "neg_log_loss", sklearn.metrics.brier_score_loss)
    found = measured(made, BINARY, *metrics)
    p = made.predict(X)[:, 0].astype(float)
    p = p if last else expit(p)
    y = BINARY[:, 0].astype(int)
    assert found == pytest.approx(
        [
            np.mean((p > 0.5) == y),
            sklearn.metrics.f1_score(y, p > 0.5),
            sklearn.metrics.roc_auc_score(y, p),
            -sklearn.metrics.log_loss(y, p),
            sklearn.metrics.brier_score_loss(y, p),
        ]
    )


def test_figures_of_a_regression_are_scikit_learns():
    made = network(1, tg.mse)
    r2 = sklearn.metrics.make_scorer(sklearn.metrics.r2_score)
    found = measured(made, VALUES, "neg_mean_absolute_error", r2, "max_error", "mean_squared_error")
    p, y = made.predict(X)[:, 0].astype(float), VALUES[:, 0].astype(float)
    expected = [
        -abs(p - y).mean(),
        1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(),
        abs(p - y).max(),
        ((p - y) ** 2).mean(),
    ]
    assert found == pytest.approx(expected, rel=1e-5)


def test_functions_are_told_apart_by_their_parameters():
    def outputs(prediction, target):
        assert prediction.shape == (60, 3)
        assert target.shape == (60,)
        return tg.Tensor(prediction[0, 0])

    def labels(y_true, y_pred):
        assert y_pred.shape == y_true.shape == (60,)
        return (y_true == y_pred).sum()

    def scores(y_true, y_proba):
        return y_proba.sum()

    made = network(3, tg.cross_entropy)
    found = measured(made, LABELS, outputs, labels, scores, tg.accuracy)
    assert found == pytest.approx(
        [made.predict(X)[0, 0], 60 * found[3], 60, np.mean(made.predict(X).argmax(1) == LABELS)]
    )


# Refusals


@refused_calls(
    ("fit(metrics='accuracy')", TypeError, "expected a list"),
    ("fit(metrics=['acuracy'])", ValueError, "got 'acuracy'"),
    ("fit(metrics=[3])", TypeError, "expected names or functions, got 3"),
    ("fit(metrics=[lambda p, t: 1.0])", TypeError, r"got \(p, t\): the names say what it is given"),
    ("fit(metrics=['accuracy', 'accuracy'])", ValueError, "the name 'accuracy' is taken"),
    ("fit(metrics=[sklearn.metrics.confusion_matrix])", ValueError, "confusion_matrix to give one number"),
)
def test_what_is_no_metric_is_refused(call, error, message):
    def fit(metrics):
        network(3, tg.cross_entropy).fit(X, LABELS, 1, 0.1, metrics=metrics, **QUIET)

    assert_refused(call, error, message, fit=fit, sklearn=sklearn)


@pytest.mark.parametrize("metric", ["neg_log_loss", sklearn.metrics.log_loss, "roc_auc_ovr"])
def test_probabilities_are_not_guessed(metric):
    wrapped = network(3, lambda p, t: tg.cross_entropy(p, t))
    with pytest.raises(ValueError, match=r"needs probabilities.*neither the loss.*nor the last layer"):
        wrapped.evaluate(X, LABELS, metrics=[metric])
    sigmoids = network(3, tg.mse, tg.Sigmoid())
    with pytest.raises(ValueError, match="do not sum to 1"):
        sigmoids.evaluate(X, np.eye(3)[LABELS], metrics=[metric])


def test_a_threshold_is_not_guessed():
    with pytest.raises(ValueError, match="whether it is a logit or a probability"):
        network(1, tg.mse).evaluate(X, BINARY, metrics=["accuracy"])


def test_scikit_learn_is_imported_for_its_metrics_alone():
    program = (
        "import sys, numpy as np, tensorgrad as tg\n"
        "n = tg.Network([tg.Dense(2, 3, rng=0)]); n.use(tg.cross_entropy)\n"
        "x = np.ones((4, 2)); y = np.array([0, 1, 2, 0])\n"
        "n.fit(x, y, 1, 0.1, metrics=['accuracy'], validation=(x, y), verbose=False)\n"
        "assert not {'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Which way is better


@pytest.mark.parametrize("name", sklearn.metrics.get_scorer_names())
def test_of_every_scorer_the_higher_value_is_better(name):
    """scikit-learn's rule for scorers, which turn the sign of losses."""
    assert measures([name], "logits")[name].mode == "max"
    assert better(f"validation_{name}", measures([name], "logits")) == "max"


def functions():
    every = {name: getattr(sklearn.metrics, name) for name in sklearn.metrics.__all__}
    return [name for name, f in every.items() if inspect.isfunction(f) and takes_predictions(f)]


def takes_predictions(f):
    return tuple(inspect.signature(f).parameters)[:2] in [
        ("y_true", predicted) for predicted in ("y_pred", "y_score", "y_proba")
    ]


@pytest.mark.parametrize("name", functions())
def test_of_a_function_its_scorer_says_what_is_better_and_never_its_name(name):
    """scikit-learn's rule of its functions: maximize a _score; minimize an _error, _loss or _deviance."""
    function = getattr(sklearn.metrics, name)
    found = measures([function], "logits")[name].mode
    assert found == measures([name], "logits")[name].mode
    scored = {sklearn.metrics.get_scorer(s)._score_func for s in sklearn.metrics.get_scorer_names()}
    if function not in scored:
        assert found is None
    elif name.endswith("_score"):
        assert found == "max"
    elif name.endswith(("_error", "_loss", "_deviance", "_percentage_error")):
        assert found == "min"


def test_a_scorer_of_ones_own_says_what_is_better():
    def my_loss(y_true, y_pred):
        return np.mean(abs(y_true - y_pred))

    lower = sklearn.metrics.make_scorer(my_loss, greater_is_better=False)
    assert better("validation_neg_my_loss", measures([lower], None)) == "max"
    assert better("validation_my_loss", measures([sklearn.metrics.make_scorer(my_loss)], None)) == "max"
    assert better("validation_my_loss", measures([my_loss], None)) is None
    assert [better(name, None) for name in ("loss", "validation_loss")] == ["min", "min"]
    assert [better(name, None) for name in ("accuracy", "validation_accuracy")] == ["max", "max"]


MEASURED = {
    "classes": (3, tg.cross_entropy, LABELS),
    "two classes": (1, tg.binary_cross_entropy, BINARY),
    "values": (1, tg.mse, VALUES),
}


SOME = ["accuracy", "neg_log_loss", "neg_brier_score", "r2", "neg_max_error"]


@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.parametrize(
    "names", [SOME, pytest.param(sklearn.metrics.get_scorer_names(), marks=pytest.mark.slow)],
    ids=["some", "all"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_early_stopping_restores_the_best_epoch_by_its_scorer(names, kind):
    """A training that goes well, then badly: the weights that come back are those of the largest value."""
    outputs, loss, y = MEASURED[kind]
    tried = 0
    for name in names:
        try:
            network(outputs, loss).evaluate(X, y, metrics=[name])
        except (ValueError, TypeError, AttributeError):
            continue  # it is none of such targets
        tried += 1
        made, stopping = network(outputs, loss), tg.EarlyStopping(f"validation_{name}", 9)
        schedule = lambda o: Jumping(o)
        history = made.fit(
            X,
            y,
            6,
            0.3,
            60,
            validation=(X, y),
            metrics=[name],
            callbacks=[stopping],
            schedule=schedule,
            **QUIET,
        )
        values = history[f"validation_{name}"]
        assert stopping.best == max(values), name
        assert made.evaluate(X, y, metrics=[name])[name] == pytest.approx(max(values), rel=1e-6), name
    assert tried > (1 if names is SOME else 8)


class Jumping(tg.Schedule):
    """A small step forward, and then steps that are far too large."""

    def rate(self, base, steps):
        return base if steps < 3 else 30 * base


# Weights


def repeated(values):
    return np.repeat(values, COUNTS, axis=0)


@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_row_of_weight_two_counts_as_two_rows_in_every_metric(kind):
    outputs, loss, y = MEASURED[kind]
    made, tried = network(outputs, loss), []
    functions = [f for f in sklearn.metrics.__all__ if inspect.isfunction(getattr(sklearn.metrics, f))]
    for name in ["accuracy", *sklearn.metrics.get_scorer_names(), *functions]:
        try:
            expected = made.evaluate(repeated(X), repeated(y), metrics=[name])
        except (ValueError, TypeError, AttributeError):
            continue  # it is none of such targets
        if not measures([name], None)[name].weighted:
            with pytest.raises(TypeError, match=f"the metric {name} does not take"):
                made.evaluate(X, y, 7, metrics=[name], sample_weight=COUNTS)
            continue
        if "roc_auc_ovo" in name:
            continue  # scikit-learn has it for rows without weights alone
        found = made.evaluate(X, y, 7, metrics=[name], sample_weight=COUNTS)
        tried.append(name)
        assert found == pytest.approx(expected, rel=1e-4, nan_ok=True), name
    assert len(tried) > 8


def counted(prediction, target, weights=None):
    return np.average(prediction[:, 0], weights=weights)


def test_weights_count_in_training_validation_and_evaluate_alike():
    made = network(3, tg.cross_entropy)
    weights = np.where(COUNTS, COUNTS, 1)  # rows of weight 0 are left out of a training
    options = {"metrics": ["accuracy", "f1_macro", counted], **QUIET}
    history = made.fit(
        X, LABELS, 1, 0.0, 16, sample_weight=weights, validation=(X, LABELS, weights), **options
    )
    figures = {key: values[0] for key, values in history.items()}
    found = made.evaluate(X, LABELS, metrics=options["metrics"], sample_weight=weights)
    again = np.repeat(X, weights, axis=0), np.repeat(LABELS, weights, axis=0)
    expected = made.evaluate(*again, metrics=options["metrics"])
    plain = made.evaluate(X, LABELS, metrics=options["metrics"])
    assert list(expected) == ["loss", "accuracy", "f1_macro", "counted"]
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-5)
        assert figures[f"validation_{name}"] == found[name] == pytest.approx(value, rel=1e-5)
        assert plain[name] != pytest.approx(value, rel=1e-3)


def test_weights_of_classes_count_in_the_metrics_of_training():
    by_class, by_row = (network(3, tg.cross_entropy) for _ in range(2))
    weights = np.array([1.0, 5.0, 0.5])
    one = by_class.fit(X, LABELS, 1, 0.1, 16, class_weight=weights, metrics=["accuracy"], **QUIET)
    two = by_row.fit(X, LABELS, 1, 0.1, 16, sample_weight=weights[LABELS], metrics=["accuracy"], **QUIET)
    assert one["accuracy"] == two["accuracy"] == [pytest.approx(one["accuracy"][0])]


def test_batches_with_weights_and_without_go_together():
    made = network(3, tg.cross_entropy)
    batches = [(X[:20], LABELS[:20]), (X[20:40], LABELS[20:40], COUNTS[20:40]), (X[40:], LABELS[40:])]
    weights = np.concatenate([np.ones(20), COUNTS[20:40], np.ones(20)])
    history = made.fit(X, LABELS, 1, 0.0, validation=batches, metrics=["accuracy", counted], **QUIET)
    expected = made.evaluate(X, LABELS, metrics=["accuracy", counted], sample_weight=weights)
    for name in ("loss", "accuracy", "counted"):
        assert history[f"validation_{name}"][0] == pytest.approx(expected[name], rel=1e-6)


@refused_calls(
    ("fit(sample_weight=W)", TypeError, "fit: the examples have weights, which the metric own does not take"),
    ("fit(class_weight='balanced')", TypeError, "fit, class_weight: .*the metric own does not take"),
    ("fit(validation=(X, Y, W))", TypeError, "fit, validation: .*the metric own does not take"),
    ("evaluate(X, Y, metrics=[own], sample_weight=W)", TypeError, "evaluate: .*function .*weights. instead"),
)
def test_a_metric_that_takes_no_weights_is_refused_where_rows_have_some(call, error, message):
    def own(prediction, target):
        return 1.0

    made = network(3, tg.cross_entropy)
    before = made.state()
    fit = lambda **options: made.fit(X, LABELS, 1, 0.1, metrics=[own], **options, **QUIET)
    assert_refused(
        call, error, message, fit=fit, evaluate=made.evaluate, own=own, W=COUNTS + 1.0, X=X, Y=LABELS
    )
    assert made.state()["Dense0.weights"].tolist() == before["Dense0.weights"].tolist()
    with pytest.raises(TypeError, match=r"batch 1 of epoch 1: .*the metric own does not take"):
        made.fit([(X, LABELS, COUNTS)], epochs=1, learning_rate=0.1, metrics=[own], **QUIET)
    assert made.state()["Dense0.weights"].tolist() == before["Dense0.weights"].tolist()


def test_accuracy_weighs_rows():
    prediction, target = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 0, 0])
    assert tg.accuracy(prediction, target, np.array([1, 2, 1])) == 0.75
    assert tg.accuracy(prediction[:, :1], np.array([0, 1, 1]), [3, 0, 1], threshold=0.5) == 0.75
    places = np.zeros((2, 3, 2))
    places[..., 1] = 1
    labels = np.array([[1, 1, 0], [0, 0, 0]])
    assert tg.accuracy(places, labels, np.array([3, 1])) == 0.5
    for wrong in (np.ones(2), np.ones((3, 1)), -np.ones(3), np.zeros(3)):
        with pytest.raises(ValueError, match="accuracy: "):
            tg.accuracy(prediction, target, wrong)


def test_a_name_that_a_figure_has_is_taken():
    def validation_loss(prediction, target):
        return 1.0

    with pytest.raises(ValueError, match="the name 'validation_loss' is taken"):
        network(3, tg.cross_entropy).evaluate(X, LABELS, metrics=[validation_loss])
