"""What scikit-learn's scorers are given in the place of a model: its input is a network's output."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from tensorgrad.nn.fit.metrics import Scale, Values, probabilities


class Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of what a network has computed."""

    def __init__(self, count: int, scale: Scale) -> None:
        self.count = count
        self.scale = scale
        self.classes_ = np.arange(count)

    def predict(self, x: Values) -> Values:
        """The label of each row."""
        if x.ndim == 1 or x.shape[-1] == 1:
            x = probabilities("the scorer", x, self.scale)
        return x.argmax(axis=-1)  # type: ignore[no-any-return]

    def predict_proba(self, x: Values) -> Values:
        """The probabilities of the classes."""
        return probabilities("the scorer", x, self.scale)


class Regression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose predictions are what a network has computed."""

    def predict(self, x: Values) -> Values:
        """The values as they are."""
        return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
