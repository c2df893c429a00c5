"""Metrics: what is measured beside the loss, on all predictions of an epoch at once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit.outputs import Scale, are_classes, are_two_classes, column, probabilities, true_values
from tensorgrad.nn.fit.scorers import score

__all__ = ["accuracy"]

Metric: TypeAlias = str | Callable[..., Any]
Measure: TypeAlias = Callable[[NDArray, NDArray], float]

# How scikit-learn's functions call their first two parameters.
_PREDICTED = {("y_true", "y_pred"), ("y1", "y2")}
_SCORED = {("y_true", "y_score"), ("y_true", "y_proba"), ("y_true", "y_prob")}
_LOG_LOSSES = {"log_loss", "d2_log_loss_score"}  # which called probabilities y_pred before version 1.8


def accuracy(prediction: Array, target: Array, *, threshold: float | None = None) -> float:
    """The share of the targets that are predicted.

    Parameters
    ----------
    prediction : array (N, ..., C), or (N, 1) or (N,) with a threshold
        The class of a row is that of its largest element, the first if there are several.
    target : array
        Labels (N, ...), integers; or one-hot rows of the prediction's shape. With a threshold 0 or 1, of the
        prediction's shape or (N,).
    threshold : float, optional
        For two classes with one output: predictions above it are class 1. Logits need 0, probabilities 0.5.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target is not as above.

    >>> tg.accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    >>> tg.accuracy(np.array([[-0.3], [1.2]]), np.array([[0], [1]]), threshold=0.0)
    1.0
    """
    p, y = _array(prediction), _array(target)
    if threshold is not None:
        found, true = _separate(p, y, threshold)
    elif are_classes(p, y):
        found, true = p.argmax(axis=-1), true_values(p, y)
    else:
        raise ValueError(
            "accuracy: expected a prediction (N, ..., C) with integer labels (N, ...) or one-hot targets of "
            f"its shape, or a threshold for one output; got {p.shape} and {y.dtype} targets {y.shape}"
        )
    return float(np.mean(found == true))


def measures(metrics: Iterable[Metric], scale: Scale) -> dict[str, Measure]:
    """For each metric its name and a function (prediction, target) -> float.

    A metric is "accuracy", the name of one of scikit-learn's scorers or metric functions, such a scorer or
    function itself, or a function of your own. Functions are told apart by the names of their parameters:

    - ``(y_true, y_pred)``, scikit-learn's: given labels where the targets are classes, else values;
    - ``(y_true, y_score)``, or ``y_proba`` or ``y_prob``: given probabilities, of class 1 if there are two;
    - ``(prediction, target)``, tensorgrad's: given the network's outputs and the targets as they are.
    """
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"metrics: expected a list of metrics, got {metrics!r}; put it into a list")
    found: dict[str, Measure] = {}
    for metric in metrics:
        name, measure = _make_measure(metric, scale)
        if name in found or name in ("loss", "seconds", "learning_rate"):
            raise ValueError(f"metrics: the name {name!r} is taken; rename the function")
        found[name] = measure
    return found


def _make_measure(metric: Metric, scale: Scale) -> tuple[str, Measure]:
    if metric == "accuracy" or metric is accuracy:
        return "accuracy", functools.partial(_accuracy, scale=scale)
    if isinstance(metric, str):
        return metric, _make_measure(_find_in_sklearn(metric), scale)[1]
    if not callable(metric):
        raise TypeError(f"metrics: expected names or functions, got {metric!r}")
    if hasattr(metric, "_score_func"):  # what make_scorer makes
        sign, scored = "neg_" if getattr(metric, "_sign", 1) < 0 else "", metric._score_func.__name__
        return sign + scored, lambda p, y: _to_number(scored, score(metric, p, y, scale))
    name = str(getattr(metric, "__name__", type(metric).__name__))
    parameters = tuple(inspect.signature(metric).parameters)[:2]
    if parameters == ("prediction", "target"):
        return name, lambda p, y: _to_number(name, metric(p, y))
    if parameters in _SCORED or (name in _LOG_LOSSES and metric.__module__.startswith("sklearn.")):
        return name, lambda p, y: _to_number(name, metric(true_values(p, y), _predict_score(name, p, scale)))
    if parameters in _PREDICTED:
        return name, lambda p, y: _to_number(name, metric(*_predict(p, y, scale)))
    raise TypeError(
        f"metrics: expected {name} to take (prediction, target), (y_true, y_pred) or (y_true, y_score), "
        f"got ({', '.join(parameters)}): the names say what it is given"
    )


def _find_in_sklearn(name: str) -> Callable[..., Any]:
    try:
        import sklearn.metrics
    except ImportError as error:
        raise ImportError(f"the metric {name!r} needs scikit-learn: pip install scikit-learn") from error
    if name in sklearn.metrics.get_scorer_names():
        return sklearn.metrics.get_scorer(name)  # type: ignore[no-any-return]
    if name in sklearn.metrics.__all__ and inspect.isfunction(getattr(sklearn.metrics, name)):
        return getattr(sklearn.metrics, name)  # type: ignore[no-any-return]
    raise ValueError(
        f"metrics: expected accuracy or the name of one of scikit-learn's scorers "
        f"(sklearn.metrics.get_scorer_names()) or metric functions, got {name!r}"
    )


def _accuracy(prediction: NDArray, target: NDArray, scale: Scale) -> float:
    one_output = prediction.ndim == 1 or prediction.shape[-1] == 1
    if not one_output:
        return accuracy(prediction, target)
    return accuracy(prediction, target, threshold=_threshold("accuracy", scale))


def _threshold(name: str, scale: Scale) -> float:
    if scale is None:
        raise ValueError(
            f"{name}: with one output, neither the loss (cross_entropy and binary_cross_entropy take logits) "
            "nor the last layer (Sigmoid) tells whether it is a logit or a probability; give a function "
            "(prediction, target), for example one that calls tg.accuracy with a threshold"
        )
    return 0.0 if scale == "logits" else 0.5


def _separate(p: NDArray, y: NDArray, threshold: float) -> tuple[NDArray, NDArray]:
    """The classes that one output predicts, and the true ones."""
    if column(p).ndim != 1 or y.shape not in (p.shape, p.shape[:1]):
        raise ValueError(
            f"accuracy: with a threshold, expected a prediction (N, 1) or (N,) and as many targets, got "
            f"{p.shape} and {y.shape}"
        )
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("accuracy: with a threshold, expected the targets 0 and 1")
    return column(p) > threshold, column(y) == 1


def _predict(prediction: NDArray, target: NDArray, scale: Scale) -> tuple[NDArray, NDArray]:
    """The true labels and the predicted ones; values where the targets are no classes."""
    true = true_values(prediction, target)
    if are_classes(prediction, target):
        return true, prediction.argmax(axis=-1)
    if are_two_classes(prediction, target, scale):
        found = column(prediction) > _threshold("metrics", scale)
        return true.astype(np.int64), found.astype(np.int64)
    return true, column(prediction)


def _predict_score(name: str, prediction: NDArray, scale: Scale) -> NDArray:
    found = probabilities(name, prediction, scale)
    return found[:, 1] if found.shape[1] == 2 else found


def _array(x: Array) -> NDArray:
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _to_number(name: str, value: Any) -> float:
    value = _array(value)
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise ValueError(f"metrics: expected {name} to give one number, got {value!r}")
    return float(value.reshape(()))
