"""All checks of scikit-learn's own, with no expected failure."""

import functools

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import tensorgrad as tg
from tensorgrad.estimators import TensorgradClassifier, TensorgradRegressor

# Most trainings here are short.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([TensorgradClassifier(), TensorgradRegressor()])
def test_the_estimators_pass_every_check(estimator, check):
    check(estimator)


def narrow(input_shape, outputs, rng):
    # float64, since fitting on repeated rows is to give what weights of rows give, within 1e-7.
    return tg.Network(
        [
            tg.Dense(input_shape[0], 24, dtype=np.float64, rng=rng),
            tg.LayerNorm(24, dtype=np.float64),
            tg.GELU(),
            tg.Dense(24, outputs, dtype=np.float64, rng=rng),
        ]
    )


SGD = functools.partial(tg.MiniBatchSGD, momentum=0.9, nesterov=True)
CHANGES = [
    {"module": narrow, "learning_rate": 0.01, "max_epochs": 60},
    {"optimizer": SGD, "learning_rate": 0.05, "activation": "tanh", "hidden_layer_sizes": (30, 20)},
    {"optimizer": "adamw", "weight_decay": 0.01, "tol": None, "activation": "gelu"},
    {"dtype": "float64", "hidden_layer_sizes": 50, "activation": "sigmoid", "learning_rate": 0.02},
    {"hidden_layer_sizes": (), "learning_rate": 0.02, "metrics": []},
]
VARIANTS = [
    *(kind(**changes) for kind in (TensorgradClassifier, TensorgradRegressor) for changes in CHANGES),
    TensorgradClassifier(class_weight="balanced"),
    TensorgradRegressor(loss=tg.huber, learning_rate=0.01),
]


@pytest.mark.slow
@parametrize_with_checks(VARIANTS)
def test_so_they_do_with_other_options(estimator, check):
    check(estimator)
