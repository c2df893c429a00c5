"""What users of scikit-learn expect of an estimator: its warnings, errors in their own classes, its names."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from helpers import assert_refused, refused_calls
from sample_modules import linear
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import f1_score, make_scorer
from sklearn.neural_network import MLPClassifier

import tensorgrad as tg
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
BIRDS = np.array(["bird", "cat", "dog"])[np.arange(60) % 3]
SMALL = {"hidden_layer_sizes": (4,), "random_state": 0}


def fit(X=X, y=BIRDS, fitting=None, **options):
    options = {"max_epochs": 2, "tol": None, **SMALL, **options}
    return TensorgradClassifier(**options).fit(X, y, **(fitting or {}))


# ConvergenceWarning, where MLPClassifier gives it


def warned(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, BIRDS if hasattr(model, "predict_proba") else X[:, 0])
    return [str(each.message) for each in caught if each.category is ConvergenceWarning]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"early_stopping": True}, True),
        ({"n_iter_no_change": np.inf}, True),
        ({"tol": 10.0, "n_iter_no_change": 2}, False),  # stops in the third epoch
        ({"tol": 10.0, "n_iter_no_change": 2, "early_stopping": True}, False),
    ],
    ids=["tol", "early stopping", "never", "stopped", "stopped early"],
)
def test_a_warning_says_that_the_last_epoch_was_reached_as_that_of_scikit_learn(options, expected):
    theirs = MLPClassifier((4,), max_iter=5, random_state=0, **options)
    for kind in (TensorgradClassifier, TensorgradRegressor):
        told = warned(kind(max_epochs=5, **SMALL, **options))
        assert len(told) == len(warned(theirs)) == expected
        assert all(
            "Maximum iterations (5) reached and the optimization hasn't converged yet" in m for m in told
        )


@pytest.mark.parametrize("options", [{"tol": None}, {"tol": None, "callbacks": tg.EarlyStopping("loss")}])
def test_no_warning_where_all_epochs_were_asked_for(options):
    assert warned(TensorgradClassifier(max_epochs=5, **SMALL, **options)) == []


def test_no_warning_where_a_callback_stopped_the_training():
    stopping = tg.EarlyStopping("loss", patience=2, min_delta=10.0)
    assert warned(TensorgradClassifier(max_epochs=5, callbacks=stopping, **SMALL)) == []


def test_partial_fit_does_not_warn():
    model = TensorgradClassifier(**SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X, BIRDS, classes=np.unique(BIRDS))


def test_as_an_error_the_warning_leaves_a_fitted_model():
    model = TensorgradClassifier(max_epochs=2, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="TensorgradClassifier: Maximum iterations"):
            model.fit(X, BIRDS)
    assert model.n_iter_ == 2
    assert set(model.predict(X)) <= set(BIRDS)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_with_infinite_patience_all_epochs_are_trained(early_stopping):
    model = TensorgradClassifier(
        max_epochs=7, tol=10.0, n_iter_no_change=np.inf, early_stopping=early_stopping, **SMALL
    )
    assert warned(model)
    assert model.n_iter_ == 7


# The user's classes


def f1_of(name):
    return make_scorer(f1_score, pos_label=name)


RARE = np.where(np.arange(60) == 0, "bird", "cat")


@refused_calls(
    ("fit(y=RARE, early_stopping=True)", ValueError, r"early_stopping is to hold .*\['bird'\]"),
    ("fit(fitting={'X_val': X, 'y_val': FISH})", ValueError, r"'cat' 'dog'\], got \['fish'\] too"),
    ("fit(y=np.full(60, 'bird'))", ValueError, "there is only one class, 'bird'$"),
    ("fit(y=np.full(60, 7))", ValueError, r"there is only one class, 7$"),
    ("fit(class_weight={'fish': 2.0})", ValueError, "class_weight names 'fish', but the classes are"),
    ("fit(metrics=[f1('fish')], y=RARE)", ValueError, r"pos_label=fish is not a valid .*'bird' 'cat'"),
)  # fmt: skip
def test_errors_name_the_users_class(call, error, message):
    names = {"fit": fit, "X": X, "RARE": RARE, "FISH": np.where(BIRDS == "dog", "fish", BIRDS)}
    assert_refused(call, error, message, **names, f1=f1_of)


def test_a_class_that_is_missing_from_validation_data_is_named():
    rows = BIRDS != "bird"
    with pytest.warns(RuntimeWarning, match=r"needs each class, and there is no row of 'bird'") as told:
        model = fit(metrics=["roc_auc_ovr", "neg_log_loss"], fitting={"X_val": X[rows], "y_val": BIRDS[rows]})
    assert len(told) == 1
    assert np.isfinite(model.history_["validation_neg_log_loss"]).all()


def test_metrics_are_given_the_users_classes():
    for name in ("bird", "cat"):
        model = fit(y=RARE, metrics=[f1_of(name)], fitting={"X_val": X, "y_val": RARE}, learning_rate=0.1)
        expected = f1_score(RARE, model.predict(X), pos_label=name)
        assert model.history_["validation_f1_score"][-1] == pytest.approx(expected)
    seen = []

    def share(y_true, y_pred):
        seen.append((set(y_true), set(y_pred)))
        return float(np.mean(y_true == y_pred))

    fit(metrics=[share])
    assert seen[0][0] == set(BIRDS)
    assert seen[0][1] <= set(BIRDS)


# Strings, and names of other libraries


def test_schedule_and_loss_may_be_given_by_name_and_one_callback_alone():
    by_name = fit(schedule="cosine", loss="cross_entropy", max_epochs=4)
    by_hand = fit(schedule=lambda o: tg.CosineDecay(o, 4), loss=tg.cross_entropy, max_epochs=4)
    assert by_name.history_["learning_rate"] == by_hand.history_["learning_rate"]
    np.testing.assert_array_equal(by_name.predict_proba(X), by_hand.predict_proba(X))
    stopped = fit(callbacks=tg.EarlyStopping("loss", patience=1, min_delta=10.0), max_epochs=9)
    assert stopped.n_iter_ == 2
    assert stopped.callbacks_[0].best_epoch == 1


@refused_calls(
    ("TensorgradClassifier(max_iter=5)", TypeError, r"Classifier: .*'max_iter'; did you mean max_epochs\?"),
    ("TensorgradClassifier(solver='adam')", TypeError, r"did you mean optimizer\?"),
    ("TensorgradClassifier(learning_rate_init=0.1)", TypeError, r"did you mean learning_rate\?"),
    ("TensorgradRegressor(alpha=0.1)", TypeError, r"TensorgradRegressor: .*did you mean weight_decay\?"),
    ("TensorgradRegressor(hidden_layer_size=5)", TypeError, r"did you mean hidden_layer_sizes\?"),
    ("fit(fitting={'eval_set': (X, X)})", TypeError, r"TensorgradClassifier\.fit: .*did you mean X_val\?"),
    ("TensorgradClassifier().fit(X)", TypeError, r"fit: missing .* 'y'; it takes \(X, y, sample_weight=None"),
    ("fit().loss_curve_", AttributeError, r"did you mean model\.history_\[\"loss\"\]\?"),
    ("fit().coefs_", AttributeError, r"did you mean model\.module_\.parameters\(\)\?"),
    ("fit().decision_function(X)", AttributeError, r"did you mean model\.predict_proba\(X\)\?"),
    ("fit(optimizer='Adam')", ValueError, r"one of adam, adamw, sgd .*did you mean 'adam'\?"),
    ("fit(activation='logistic')", ValueError, r"did you mean 'sigmoid'\?"),
    ("fit(activation=tg.ReLU)", ValueError, r"did you mean 'relu'\?"),
    ("fit(schedule='cosin')", ValueError, r"did you mean 'cosine'\?"),
    ("fit(loss='log_loss')", ValueError, r"did you mean 'cross_entropy'\?"),
    ("fit(max_epochs=0)", ValueError, "Classifier: expected max_epochs to be a positive .*got 0"),
    ("fit(batch_size='auto')", ValueError, "expected batch_size to be a positive integer, got 'auto'"),
    ("fit(n_iter_no_change=0)", ValueError, "expected n_iter_no_change to be a positive integer, got 0"),
    ("fit(tol=-1)", ValueError, "expected tol to be finite and at least 0, got -1"),
    ("fit(hidden_layer_sizes=10.0)", ValueError, "each of hidden_layer_sizes .* got 10.0"),
    ("fit(hidden_layer_sizes=(0,))", ValueError, "each of hidden_layer_sizes .* got 0"),
    ("fit(hidden_layer_sizes='100')", ValueError, "each of hidden_layer_sizes .* got '100'"),
    ("fit(module=tg.Network)", TypeError, r"module\(input_shape, outputs, rng=generator\)"),
    ("fit(X.reshape(60, 2, 2, 1))", ValueError, r"for such rows give input_shape=\(2, 2, 1\)"),
    ("fit(X.reshape(60, 2, 2, 1), input_shape=(1, 2, 2))", ValueError, r"give input_shape=\(2, 2, 1\)"),
    ("fit(sparse(X))", TypeError, r"\.toarray\(\)"),
    ("fit().predict(sparse(X))", TypeError, r"\.toarray\(\)"),
    ("TensorgradRegressor().fit(X, BIRDS)", TypeError, r"dtype <U4; number the classes"),
)  # fmt: skip
def test_what_users_of_other_libraries_type_is_told(call, error, message):
    names = {"TensorgradClassifier": TensorgradClassifier, "TensorgradRegressor": TensorgradRegressor}
    assert_refused(call, error, message, fit=fit, X=X, BIRDS=BIRDS, sparse=scipy.sparse.csr_matrix, **names)


def test_a_module_is_called_as_documented():
    assert fit(module=linear).module_.layers[-1].outputs == 3
