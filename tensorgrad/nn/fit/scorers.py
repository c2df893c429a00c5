"""What scikit-learn's scorers are given in the place of a model: its input is a network's output."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit.outputs import (
    Scale,
    are_classes,
    are_two_classes,
    column,
    probabilities,
    true_values,
)

__all__ = ["score"]


def score(scorer: Any, prediction: NDArray, target: NDArray, scale: Scale) -> Any:
    """What a scorer gives for the outputs of a network."""
    model: _Classes | _Values
    if are_classes(prediction, target):
        model = _Classes(prediction.shape[-1], scale)
    elif are_two_classes(prediction, target, scale):
        model = _Classes(2, scale)
    else:
        model = _Values()
    return scorer(model, prediction, true_values(prediction, target))


class _Classes:
    """A classifier of what a network has computed."""

    def __init__(self, count: int, scale: Scale) -> None:
        self.scale = scale
        self.classes_ = np.arange(count)

    def predict(self, x: NDArray) -> NDArray:
        """The label of each row."""
        if x.ndim == 1 or x.shape[-1] == 1:
            x = self.predict_proba(x)
        return x.argmax(axis=-1)  # type: ignore[no-any-return]

    def predict_proba(self, x: NDArray) -> NDArray:
        """The probabilities of the classes."""
        return probabilities("the scorer", x, self.scale)

    def __sklearn_tags__(self) -> Any:
        return _tags("classifier")


class _Values:
    """A regressor whose predictions are what a network has computed."""

    def predict(self, x: NDArray) -> NDArray:
        """The values as they are."""
        return column(x)

    def __sklearn_tags__(self) -> Any:
        return _tags("regressor")


def _tags(kind: str) -> Any:
    from sklearn.utils import Tags, TargetTags

    return Tags(estimator_type=kind, target_tags=TargetTags(required=True))
