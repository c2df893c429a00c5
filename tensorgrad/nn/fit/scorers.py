"""What scikit-learn's scorers are given in the place of a model: its input is a network's output."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit import outputs

__all__ = ["score"]


def score(
    scorer: Any, prediction: NDArray, target: NDArray, weights: NDArray | None, scale: outputs.Scale
) -> Any:
    """What a scorer gives for the outputs of a network."""
    model = Regression()
    if outputs.are_classes(prediction, target):
        model = Classes(prediction.shape[-1], scale)
    elif outputs.are_two_classes(prediction, target, scale):
        model = Classes(2, scale)
    options = {} if weights is None else {"sample_weight": weights}
    return scorer(model, prediction, outputs.true_values(prediction, target), **options)


class Regression:
    """A regressor whose predictions are what a network has computed."""

    kind = "regressor"

    def predict(self, x: NDArray) -> NDArray:
        """The values as they are."""
        return outputs.column(x)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=self.kind, target_tags=TargetTags(required=True))


class Classes(Regression):
    """A classifier of what a network has computed."""

    kind = "classifier"

    def __init__(self, count: int, scale: outputs.Scale) -> None:
        self.scale = scale
        self.classes_ = np.arange(count)

    def predict(self, x: NDArray) -> NDArray:
        """The label of each row."""
        if x.ndim == 1 or x.shape[-1] == 1:
            x = self.predict_proba(x)
        return x.argmax(axis=-1)  # type: ignore[no-any-return]

    def predict_proba(self, x: NDArray) -> NDArray:
        """The probabilities of the classes."""
        return outputs.probabilities("the scorer", x, self.scale)
