"""What scikit-learn's scorers are given in the place of a model: its input is a network's output."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit import outputs

__all__ = ["score"]


def score(
    scorer: Any,
    prediction: NDArray,
    target: NDArray,
    options: dict[str, Any],
    scale: outputs.Scale,
    classes: NDArray | None,
) -> Any:
    """What a scorer gives for the outputs of a network. The option ``labels`` is for what it calls."""
    model = Regression()
    if outputs.are_classes(prediction, target):
        model = Classes(np.arange(prediction.shape[-1]) if classes is None else classes, scale)
    elif outputs.are_two_classes(prediction, target, scale):
        model = Classes(np.arange(2), scale)
    if "labels" in options:
        scorer, options = copy.copy(scorer), dict(options)
        scorer._score_func = functools.partial(scorer._score_func, labels=options.pop("labels"))
    true = outputs.name_labels(outputs.true_values(prediction, target), prediction, target, classes)
    return scorer(model, prediction, true, **options)


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

    def __init__(self, classes: NDArray, scale: outputs.Scale) -> None:
        self.scale = scale
        self.classes_ = classes

    def predict(self, x: NDArray) -> NDArray:
        """The label of each row."""
        if x.ndim == 1 or x.shape[-1] == 1:
            x = self.predict_proba(x)
        return self.classes_[x.argmax(axis=-1)]  # type: ignore[no-any-return]

    def predict_proba(self, x: NDArray) -> NDArray:
        """The probabilities of the classes."""
        return outputs.probabilities("the scorer", x, self.scale)
