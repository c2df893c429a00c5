"""What both estimators do beyond scikit-learn's own checks."""

import copy
import functools
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from sample_modules import Builder, convolutional, linear
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import tensorgrad as tg
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor

# Most trainings here are short.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
QUICK = {"learning_rate": 0.02, "max_epochs": 20, "random_state": 0}
NESTEROV = functools.partial(tg.MiniBatchSGD, momentum=0.9, nesterov=True)


def linear_64(input_shape, outputs, rng):
    return tg.Network([tg.Dense(input_shape[0], outputs, bias=False, dtype=np.float64, rng=rng)])


def digits(rows=400):
    x, y = load_digits(return_X_y=True)
    return x[:rows], y[:rows]


def weights_of(model):
    return model.module_.state()


def same_weights(one, other):
    mine, its = weights_of(one), weights_of(other)
    return all(np.array_equal(mine[path], its[path]) for path in mine)


# Against scikit-learn's own models, which have closed or convex solutions


def test_a_linear_network_finds_the_regression_of_least_squares():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    y = x @ [[1.0, 2.0], [-3.0, 0.5], [0.0, 1.0]] + [0.3, -2.0] + 0.1 * rng.standard_normal((60, 2))
    module = tg.Network([tg.Dense(3, 2, dtype=np.float64, rng=0)])
    model = TensorgradRegressor(
        module, optimizer="sgd", learning_rate=0.2, max_epochs=150, batch_size=60, tol=None
    )
    expected = LinearRegression().fit(x, y)
    found = weights_of(model.fit(x, y))
    np.testing.assert_allclose(found["Dense0.weights"].T, expected.coef_, atol=1e-6)
    np.testing.assert_allclose(found["Dense0.bias"], expected.intercept_, atol=1e-6)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 2: 0.5}])
def test_a_linear_classifier_finds_the_logistic_regression_weighted_or_not(class_weight):
    sample_weight = np.linspace(0.0, 2.0, len(X))
    decay = 0.01  # of the mean loss; C is for the sum
    model = TensorgradClassifier(
        linear_64, optimizer=NESTEROV, learning_rate=1.0, weight_decay=decay, max_epochs=200, batch_size=200,
        tol=None, class_weight=class_weight, random_state=0,
    )  # fmt: skip
    model.fit(X, Y, sample_weight)
    # Its class weights do not know of sample weights, so balanced ones are given as numbers.
    rows, labels = sample_weight.copy(), Y
    if class_weight == "balanced":
        totals = np.array([sample_weight[labels == k].sum() for k in range(3)])
        rows *= (sample_weight.sum() / (3 * totals))[Y]
    elif class_weight:
        rows *= np.array([3.0, 1.0, 0.5])[Y]
    peer = LogisticRegression(C=1 / (decay * rows.sum()), fit_intercept=False, tol=1e-10, max_iter=5000)
    np.testing.assert_allclose(model.predict_proba(X), peer.fit(X, Y, rows).predict_proba(X), atol=1e-4)


# In scikit-learn's machinery


def test_a_convolutional_network_in_a_pipeline_and_a_grid_search_just_works():
    x, y = digits()
    names = np.array([f"digit {k}" for k in range(10)])[y]
    model = make_pipeline(
        MinMaxScaler(),
        TensorgradClassifier(
            Builder(), input_shape=(8, 8, 1), learning_rate=0.02, max_epochs=6, batch_size=32, random_state=0
        ),
    )
    grid = {
        "tensorgradclassifier__module__filters": [2, 8],
        "tensorgradclassifier__optimizer": ["adam", functools.partial(tg.MiniBatchSGD, momentum=0.9)],
    }
    search = GridSearchCV(model, grid, cv=2, n_jobs=2, error_score="raise", scoring="neg_log_loss")
    search.fit(x[:300], names[:300])
    assert search.best_params_["tensorgradclassifier__module__filters"] == 8
    assert search.best_estimator_.score(x[300:], names[300:]) > 0.85
    assert search.best_estimator_[-1].module_.parameter("Conv2D0.filters").shape[0] == 8


def test_cross_validation_is_the_same_in_other_processes():
    model = make_pipeline(
        StandardScaler(), TensorgradClassifier(hidden_layer_sizes=(16,), batch_size=16, **QUICK)
    )
    scores = cross_val_score(model, X, NAMES, cv=3, error_score="raise")
    assert scores.min() > 0.85
    np.testing.assert_array_equal(cross_val_score(model, X, NAMES, cv=3, n_jobs=2), scores)
    with joblib.parallel_backend("threading"):
        np.testing.assert_array_equal(cross_val_score(model, X, NAMES, cv=3, n_jobs=2), scores)


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_a_copy_predicts_the_same_and_trains_on_alike(how, tmp_path):
    model = TensorgradClassifier(convolutional, input_shape=(8, 8, 1), max_epochs=2, random_state=0)
    x, y = digits(150)
    model.fit(x, y)
    if how == "pickle":
        other = pickle.load(io.BytesIO(pickle.dumps(model)))
    elif how == "joblib":
        joblib.dump(model, tmp_path / "model.joblib")
        other = joblib.load(tmp_path / "model.joblib")
    else:
        other = copy.deepcopy(model)
    np.testing.assert_array_equal(other.predict_proba(x), model.predict_proba(x))
    assert same_weights(other.partial_fit(x, y), model.partial_fit(x, y))


def test_a_clone_has_the_parameters_and_nothing_learned():
    network = tg.Network([tg.Dense(4, 3, rng=0)])
    model = TensorgradClassifier(network, callbacks=[tg.EarlyStopping("loss")], **QUICK).fit(X, Y)
    fresh = clone(model)
    assert fresh.get_params().keys() == model.get_params().keys()
    assert isinstance(fresh.module, tg.Network)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


# The module


def test_a_network_is_copied_and_never_trained_itself():
    network = tg.Network(
        [tg.Dense(4, 8, rng=0), tg.BatchNorm(8), tg.Tanh(), tg.Dropout(0.2, rng=3), tg.Dense(8, 3, rng=1)]
    )
    before, draws = network.state(), network.layers[3].generator.bit_generator.state
    model = TensorgradClassifier(network, **QUICK).fit(X, Y)
    assert all(np.array_equal(before[path], value) for path, value in network.state().items())
    assert network.layers[3].generator.bit_generator.state == draws
    assert network.loss is None
    assert not same_weights(model, TensorgradClassifier(network, max_epochs=1, random_state=0).fit(X, Y))
    assert same_weights(model, clone(model).fit(X, Y))  # it starts where the network stands, again


def test_the_loss_of_a_network_is_used_unless_another_is_given():
    network = tg.Network([tg.Dense(4, 1, rng=0)])
    network.use(tg.mae)
    y = X[:, 0] * 2
    assert TensorgradRegressor(network, **QUICK).fit(X, y).module_.loss is tg.mae
    assert TensorgradRegressor(network, loss=tg.huber, **QUICK).fit(X, y).module_.loss is tg.huber
    assert network.loss is tg.mae


def test_options_of_the_dense_network_reach_it():
    model = TensorgradClassifier(hidden_layer_sizes=(5, 4), activation="elu", dropout=0.3, max_epochs=1)
    names = [type(layer).__name__ for layer in model.fit(X, Y).module_.layers]
    assert names == ["Dense", "ELU", "Dropout", "Dense", "ELU", "Dropout", "Dense"]
    assert [p.shape for p in model.module_.parameters()] == [(4, 5), (5,), (5, 4), (4,), (4, 3), (3,)]
    assert model.set_params(hidden_layer_sizes=7).fit(X, Y).module_.layers[0].outputs == 7


@pytest.mark.parametrize(
    ("given", "network"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("uint8", "float32"),
        ("int32", "float64"),
        ("bool", "float32"),
    ],
)
def test_the_dense_network_computes_in_the_smaller_dtype_that_holds_the_data(given, network):
    model = TensorgradRegressor(max_epochs=1, random_state=0).fit((X * 20 % 100).astype(given), X[:, 0])
    assert model.module_.dtype == network
    assert model.predict((X * 20 % 100).astype(given)).dtype == network
    assert TensorgradRegressor(max_epochs=1, dtype="float32").fit(X, X[:, 0]).module_.dtype == np.float32


def test_images_may_come_as_images():
    x, y = digits(200)
    images = x.reshape(-1, 8, 8, 1)
    model = TensorgradClassifier(convolutional, input_shape=(8, 8, 1), max_epochs=1, random_state=0).fit(
        images, y
    )
    assert model.n_features_in_ == 64
    np.testing.assert_array_equal(model.predict_proba(images), model.predict_proba(x))
    assert same_weights(model, clone(model).fit(x, y))


def test_augmentation_sees_images_and_training_alone():
    seen = []

    def note(images, rng):
        assert isinstance(rng, np.random.Generator)
        seen.append(images.shape)
        return images

    x, y = digits(100)
    model = TensorgradClassifier(
        input_shape=(8, 8, 1), augment=note, max_epochs=2, batch_size=64, early_stopping=True, random_state=0
    )
    model.fit(x, y).predict(x)
    assert seen == [(64, 8, 8, 1), (26, 8, 8, 1)] * 2


# Training, again and on


def test_two_passes_of_partial_fit_are_two_epochs_of_fit():
    options = {"batch_size": 32, "tol": None, "max_epochs": 2, "random_state": 7}
    whole = TensorgradClassifier(**options).fit(X, Y)
    parts = TensorgradClassifier(**options)
    for _ in range(2):
        parts.partial_fit(X, Y, classes=[2, 0, 1])
    assert same_weights(parts, whole)
    assert parts.history_["loss"] == whole.history_["loss"]
    assert (parts.n_iter_, len(parts.history_["seconds"])) == (2, 2)


def test_partial_fit_wants_the_classes_first_and_no_others_later():
    model = TensorgradClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, NAMES)
    model.partial_fit(X[:50], NAMES[:50], classes=np.unique(NAMES))  # of one kind alone
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    model.partial_fit(X[50:], NAMES[50:])
    with pytest.raises(ValueError, match=r"classes .* differ"):
        model.partial_fit(X, NAMES, classes=["a", "b"])
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"expected y to hold the classes .*lily"):
        model.partial_fit(X[:1], ["lily"])
    assert all(np.array_equal(before[path], value) for path, value in weights_of(model).items())


@pytest.mark.parametrize(
    "options",
    [{"early_stopping": True}, {"schedule": lambda o: tg.StepDecay(o, 2, 0.5)}, {"class_weight": "balanced"}],
)
def test_partial_fit_is_not_there_where_all_rows_are_needed(options):
    model = TensorgradClassifier(**options)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        model.partial_fit(X, Y, classes=range(3))
    assert next(iter(options)) in str(caught.value.__cause__)


def test_warm_start_goes_on_and_a_plain_fit_begins_anew():
    warm = TensorgradClassifier(warm_start=True, **QUICK).fit(X, Y)
    first, weights = warm.module_, weights_of(warm)
    warm.set_params(max_epochs=5).fit(X, Y)
    assert warm.module_ is first
    assert (warm.n_iter_, len(warm.history_["loss"])) == (25, 25)
    assert warm.history_["loss"][20] < 1.5 * warm.history_["loss"][19] < warm.history_["loss"][0]
    assert not np.array_equal(weights["Dense0.weights"], weights_of(warm)["Dense0.weights"])
    with pytest.raises(ValueError, match="with warm_start the classes must stay"):
        warm.fit(X, NAMES)
    with pytest.raises(ValueError, match="features"):
        warm.fit(X[:, :2], Y)
    cold = warm.set_params(warm_start=False).fit(X, Y)
    assert cold.module_ is not first
    assert cold.n_iter_ == 5


def wider(shape, outputs, rng):
    return tg.Network([tg.Dense(shape[0], 8, rng=rng), tg.Dense(8, outputs, rng=rng)])


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ({}, {"hidden_layer_sizes": (50,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": [20]}, {"hidden_layer_sizes": [20, 20]}, "hidden_layer_sizes"),
        ({}, {"activation": "tanh"}, "activation"),
        ({}, {"dropout": 0.5}, "dropout"),
        ({}, {"dtype": "float32"}, "dtype"),
        ({}, {"input_shape": (2, 2)}, "input_shape"),
        ({}, {"loss": functools.partial(tg.cross_entropy, label_smoothing=0.1)}, "loss"),
        ({"module": linear}, {"module": None}, "module"),
        ({"module": linear}, {"module": wider}, "module"),
        ({"module": Builder(4), "input_shape": (2, 2, 1)}, {"module": Builder(5)}, "module"),
        (
            {"module": tg.Network([tg.Dense(4, 3, rng=0)])},
            {"module": tg.Network([tg.Dense(4, 4, rng=0), tg.Dense(4, 3, rng=0)])},
            "module",
        ),
    ],
)
def test_warm_start_and_partial_fit_refuse_another_architecture(first, second, name):
    model = TensorgradClassifier(max_epochs=1, warm_start=True, random_state=0, **first).fit(X, Y)
    before, as_it_was = weights_of(model), model.get_params(deep=False)
    model.set_params(**second)
    with pytest.raises(ValueError, match=f"with warm_start {name} must stay .*; a fit with warm_start=False"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match=f"in partial_fit {name} must stay"):
        model.partial_fit(X, Y)
    assert all(np.array_equal(before[path], value) for path, value in weights_of(model).items())
    assert model.set_params(**as_it_was).fit(X, Y).n_iter_ == 2
    if name != "input_shape":
        assert model.set_params(warm_start=False, **second).fit(X, Y).n_iter_ == 1


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 0.1}, {"weight_decay": 0.1}, {"optimizer": "sgd"}],
    ids=lambda change: next(iter(change)),
)
def test_partial_fit_refuses_what_would_not_reach_its_optimizer(change):
    model = TensorgradClassifier(random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
    model.set_params(batch_size=20).partial_fit(X, Y)
    with pytest.raises(ValueError, match=f"in partial_fit {next(iter(change))} must stay"):
        model.set_params(**change).partial_fit(X, Y)
    warm = TensorgradClassifier(random_state=0, max_epochs=1, warm_start=True).fit(X, Y)
    assert warm.set_params(**change).fit(X, Y).n_iter_ == 2  # each fit has a new optimizer


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_a_copy_knows_how_it_was_made(how):
    model = TensorgradClassifier(linear, max_epochs=1, warm_start=True, random_state=0).fit(X, Y)
    other = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    assert other.fit(X, Y).n_iter_ == 2
    with pytest.raises(ValueError, match="module must stay"):
        other.set_params(module=wider).fit(X, Y)


def test_threads_predict_as_one_does():
    network = tg.Network([tg.Dense(4, 8, rng=0), tg.BatchNorm(8), tg.Dropout(0.5), tg.Dense(8, 3, rng=1)])
    model = TensorgradClassifier(network, max_epochs=2, random_state=0).fit(X, Y)
    expected, before = model.predict_proba(X), weights_of(model)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda i: model.predict_proba(X), range(100)):
            np.testing.assert_array_equal(found, expected)
    assert all(np.array_equal(before[path], value) for path, value in weights_of(model).items())


def test_a_frozen_part_of_a_module_stays_frozen():
    network = tg.Network([tg.Dense(4, 8, rng=0), tg.BatchNorm(8), tg.Dense(8, 3, rng=1)])
    network.layers[1].eval()
    model = TensorgradClassifier(network, max_epochs=2, warm_start=True, random_state=0)
    for _ in range(2):
        model.fit(X, Y)
        np.testing.assert_array_equal(model.module_.named_buffers()["BatchNorm1.running_mean"], np.zeros(8))


def test_a_history_has_gaps_where_a_figure_was_not_measured():
    model = TensorgradClassifier(warm_start=True, max_epochs=2, random_state=0).fit(X, Y, X_val=X, y_val=Y)
    model.fit(X, Y)
    assert len(model.history_["validation_loss"]) == len(model.history_["loss"]) == 4
    assert np.isnan(model.history_["validation_loss"]).tolist() == [False, False, True, True]


def test_early_stopping_restores_the_best_weights_of_the_share_held_out():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 20)), rng.integers(0, 2, 60)  # nothing to learn but by heart
    model = TensorgradClassifier(
        early_stopping=True, validation_fraction=0.25, n_iter_no_change=4, tol=0.0, learning_rate=0.02,
        max_epochs=200, random_state=1,
    )  # fmt: skip
    model.fit(x, y)
    losses = model.history_["validation_loss"]
    assert model.n_iter_ == len(losses) == int(np.argmin(losses)) + 1 + 4
    at_best = clone(model).set_params(max_epochs=int(np.argmin(losses)) + 1).fit(x, y)
    assert same_weights(model, at_best)


def test_validation_data_of_ones_own_is_used_and_no_row_is_held_out():
    model = TensorgradClassifier(early_stopping=True, batch_size=10, **QUICK)
    model.fit(X[::2], NAMES[::2], X_val=X[1::2], y_val=NAMES[1::2], sample_weight_val=np.ones(75))
    best = int(np.argmin(model.history_["validation_loss"]))
    found = model.module_.evaluate(X[1::2].astype(model.module_.dtype), Y[1::2])
    assert np.isclose(found["loss"], model.history_["validation_loss"][best])
    assert model.optimizer_.steps == 8 * model.n_iter_
    with pytest.raises(ValueError, match="need X_val"):
        model.fit(X, NAMES, y_val=NAMES)
    with pytest.raises(ValueError, match="expected y to hold the classes"):
        model.fit(X[:100], NAMES[:100], X_val=X, y_val=NAMES)


def test_without_early_stopping_the_training_loss_ends_the_training_unless_tol_is_none():
    options = {"learning_rate": 1e-7, "n_iter_no_change": 3, "max_epochs": 9, "random_state": 0}
    assert TensorgradClassifier(**options).fit(X, Y).n_iter_ == 4
    assert TensorgradClassifier(tol=None, **options).fit(X, Y).n_iter_ == 9


def test_random_states_are_taken_as_by_scikit_learn():
    def fitted(state):
        return TensorgradClassifier(
            hidden_layer_sizes=(4,), dropout=0.2, max_epochs=2, random_state=state
        ).fit(X, Y)

    assert same_weights(fitted(3), fitted(3))
    assert not same_weights(fitted(3), fitted(4))
    state = np.random.RandomState(3)
    once, again = fitted(state), fitted(state)
    assert same_weights(once, fitted(3))
    assert not same_weights(once, again)
    np.random.seed(3)  # noqa: NPY002 - what None stands for in scikit-learn
    assert same_weights(fitted(None), once)


def test_callbacks_are_copied():
    stopping = tg.EarlyStopping("loss", 1, min_delta=100.0)
    model = TensorgradClassifier(callbacks=[stopping], **QUICK).fit(X, Y)
    assert model.n_iter_ == 2
    assert stopping.best is None
    assert model.callbacks_[0].best_epoch == 1


def test_schedules_and_metrics_are_those_of_network_fit():
    model = TensorgradClassifier(
        schedule=lambda optimizer: tg.StepDecay(optimizer, 1, 0.5), metrics=["accuracy"], max_epochs=3,
        learning_rate=0.04, random_state=0,
    ).fit(X, Y)  # fmt: skip
    assert model.history_["learning_rate"] == [0.04, 0.02, 0.01]
    assert len(model.history_["accuracy"]) == 3
    assert model.loss_ == model.history_["loss"][-1]


def test_verbose_prints_a_line_an_epoch(capsys):
    TensorgradClassifier(max_epochs=2, verbose=True).fit(X, Y)
    assert len(capsys.readouterr().out.splitlines()) == 2
    TensorgradClassifier(max_epochs=2).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_after_ctrl_c_the_finished_epochs_are_kept():
    class Interrupt(tg.Callback):
        def on_epoch_begin(self, training):
            if training.epoch == 3:
                raise KeyboardInterrupt

    model = TensorgradClassifier(callbacks=[Interrupt()], max_epochs=10, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.n_iter_ == 2
    assert same_weights(model, TensorgradClassifier(max_epochs=2, random_state=0).fit(X, Y))


# Targets and outputs


def test_labels_may_be_strings_and_probabilities_follow_the_classes():
    model = TensorgradClassifier(**QUICK).fit(X, NAMES)
    found = model.predict_proba(X)
    assert (found.shape, found.dtype) == ((150, 3), np.float64)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    logits = model.module_.predict(X)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert (model.classes_[found.argmax(axis=1)] == model.predict(X)).all()
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), found)
    assert model.score(X, NAMES) == np.mean(model.predict(X) == NAMES) > 0.9


@pytest.mark.parametrize("shape", [(150,), (150, 1), (150, 3)])
def test_predictions_of_a_regressor_have_the_shape_of_y(shape):
    y = np.resize(X, shape)
    model = TensorgradRegressor(max_epochs=2, random_state=0).fit(X, y)
    assert model.predict(X).shape == shape
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="expected y with"):
        model.partial_fit(X, np.ones((150, 4)))


def test_a_row_of_weight_zero_counts_as_none():
    weights = (np.arange(150) % 3 > 0).astype(float)
    weighted = TensorgradRegressor(linear, max_epochs=5, batch_size=200, random_state=0)
    without = clone(weighted).fit(X[weights > 0], Y[weights > 0])
    np.testing.assert_allclose(
        weighted.fit(X, Y, weights).predict(X), without.predict(X), rtol=1e-4, atol=1e-6
    )


# What is refused


@refused_calls(
    ("fit(module='cnn')", TypeError, "expected module to be None, a Network or a function"),
    (
        "fit(module=tg.Dense(4, 3, rng=0))",
        TypeError,
        "expected module to be None, a Network or a function",
    ),
    (
        "fit(module=lambda shape, outputs, rng: None)",
        TypeError,
        "expected module to make a Network",
    ),
    (
        "fit(module=tg.Network([tg.Dense(4, 10, rng=0)]))",
        ValueError,
        "expected a module with 3 outputs",
    ),
    (
        "fit(module=tg.Network([tg.Dense(4, 3, rng=0), tg.Softmax()]))",
        ValueError,
        "cross_entropy takes logits",
    ),
    ("fit(input_shape=(3, 3))", ValueError, "9 elements, but X has 4 features"),
    ("fit(input_shape=4.5)", ValueError, "expected input_shape to be a tuple"),
    ("fit(activation='swish')", ValueError, "expected activation to be one of relu"),
    ("fit(hidden_layer_sizes=(3, -1))", ValueError, "positive integer"),
    ("fit(dtype='int32')", TypeError, "float"),
    ("fit(optimizer='lbfgs')", ValueError, "expected optimizer to be one of adam"),
    (
        "fit(optimizer=lambda p, **options: None)",
        TypeError,
        "expected optimizer to give an Optimizer",
    ),
    ("fit(learning_rate=-1.0)", ValueError, "learning_rate"),
    ("fit(max_epochs=0)", ValueError, "epochs"),
    ("fit(batch_size='auto')", ValueError, "batch_size"),
    ("fit(class_weight='even')", ValueError, "expected class_weight to be a dict or 'balanced'"),
    ("fit(class_weight={7: 1.0})", ValueError, "class_weight names 7"),
    ("fit(class_weight={0: -1.0})", ValueError, "finite class weights of 0 or more"),
    ("fit(early_stopping=True, validation_fraction=2.0)", ValueError, "test_size"),
)
def test_wrong_options_are_refused_in_fit_and_named(call, error, message):
    models = []

    def fit(max_epochs=1, **options):
        models.append(TensorgradClassifier(max_epochs=max_epochs, **options))
        models[0].fit(X, Y)

    assert_refused(call, error, message, fit=fit)
    assert not hasattr(models[0], "module_")


@refused_calls(
    ("fit(X, X[:, 0])", ValueError, "continuous"),
    ("fit(X, np.zeros(150))", ValueError, "only one class"),
    ("fit(X, Y[:9])", ValueError, "inconsistent"),
    ("fit(X, Y, -np.ones(150))", ValueError, "0 or more"),
    ("fit(X, Y, np.zeros(150))", ValueError, "zero"),
    ("fit(X, Y, np.ones((150, 2)))", ValueError, "shape"),
)
def test_wrong_data_is_refused(call, error, message):
    model = TensorgradClassifier(max_epochs=1)
    assert_refused(call, error, message, fit=model.fit, X=X, Y=Y)
    assert not hasattr(model, "module_")


def test_probabilities_are_not_guessed_from_outputs_of_a_loss_of_ones_own():
    def squared(prediction, target, *, weights=None):
        return tg.mse(prediction, np.eye(3, dtype=np.float32)[target], weights=weights)

    model = TensorgradClassifier(linear, loss=squared, **QUICK).fit(X, Y)
    assert model.score(X, Y) > 0.7
    with pytest.raises(ValueError, match="predict_proba needs probabilities"):
        model.predict_proba(X)


def test_a_training_that_diverges_stops_with_its_reason():
    model = TensorgradRegressor(optimizer="sgd", learning_rate=1e30, max_epochs=3, random_state=0)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        model.fit(1e10 * X, Y)


@refused_calls(
    ("tg.save_network('model.npz', model)", TypeError, r"save_network: expected a Layer, got .*\.module_"),
    (
        "tg.draw(model)",
        TypeError,
        r"draw: expected a Tensor or a Layer, got a TensorgradClassifier; .*\.module_",
    ),
    ("tg.plot_mistakes(model, X, Y)", TypeError, r"plot_mistakes: expected a Network, got .*\.module_"),
    (
        "tg.plot_confusion(model, Y)",
        TypeError,
        r"expected labels, got a Tensor.*plot_confusion\(y, model\.predict",
    ),
)
def test_where_a_network_is_needed_an_estimator_is_told_where_its_own_is(call, error, message):
    pytest.importorskip("matplotlib", reason="matplotlib, which draws, is not installed")
    assert_refused(call, error, message, model=TensorgradClassifier(**QUICK).fit(X, Y), X=X, Y=Y)
