"""Metrics: what is measured beside the loss, on all predictions of an epoch at once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.nn.layers import LogSoftmax, Sigmoid, Softmax
from tensorgrad.ops import binary_cross_entropy, cross_entropy, sigmoid, softmax

if TYPE_CHECKING:
    from tensorgrad.nn.network import Network

Values: TypeAlias = np.ndarray[Any, Any]
Scale: TypeAlias = Literal["logits", "probabilities"] | None
Metric: TypeAlias = str | Callable[..., Any]
Measure: TypeAlias = Callable[[Values, Values], float]

TOLERANCE = 1e-3  # of probabilities, whose sums are rounded

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
    p, y = _values(prediction), _values(target)
    if threshold is not None:
        found, true = _two_classes(p, y, threshold)
    elif are_classes(p, y):
        found, true = p.argmax(axis=-1), _labels(p, y)
    else:
        raise ValueError(
            "accuracy: expected a prediction (N, ..., C) with integer labels (N, ...) or one-hot targets of "
            f"its shape, or a threshold for one output; got {p.shape} and {y.dtype} targets {y.shape}"
        )
    return float(np.mean(found == true))


def are_classes(prediction: Values, target: Values) -> bool:
    """Whether the targets are labels or one-hot rows for these predictions."""
    if prediction.ndim < 2 or prediction.shape[-1] < 2:
        return False
    if target.shape == prediction.shape[:-1]:
        return target.dtype.kind in "iu"
    return target.shape == prediction.shape and is_one_hot(target)


def is_one_hot(target: Values) -> bool:
    """Whether each row on the last axis, of two or more, is a single 1 among 0."""
    if target.ndim < 2 or target.shape[-1] < 2:
        return False
    return bool(((target == 0) | (target == 1)).all() and (target.sum(axis=-1) == 1).all())


def output_scale(network: Network) -> Scale:
    """What the network's outputs are, as far as its loss or its last layer tells."""
    loss, last = network.loss, network.layers[-1] if network.layers else None
    while isinstance(loss, functools.partial):
        loss = loss.func
    if loss is cross_entropy or loss is binary_cross_entropy or isinstance(last, LogSoftmax):
        return "logits"
    return "probabilities" if isinstance(last, (Softmax, Sigmoid)) else None


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
        name, measure = _measure(metric, scale)
        if name in found or name in ("loss", "seconds", "learning_rate"):
            raise ValueError(f"metrics: the name {name!r} is taken; rename the function")
        found[name] = measure
    return found


def _measure(metric: Metric, scale: Scale) -> tuple[str, Measure]:
    if metric == "accuracy" or metric is accuracy:
        return "accuracy", functools.partial(_accuracy, scale=scale)
    if isinstance(metric, str):
        return metric, _measure(_sklearn_metric(metric), scale)[1]
    if not callable(metric):
        raise TypeError(f"metrics: expected names or functions, got {metric!r}")
    if hasattr(metric, "_score_func"):  # what make_scorer makes
        sign = "neg_" if getattr(metric, "_sign", 1) < 0 else ""
        return sign + metric._score_func.__name__, functools.partial(_score, metric, scale=scale)
    name = str(getattr(metric, "__name__", type(metric).__name__))
    parameters = tuple(inspect.signature(metric).parameters)[:2]
    if parameters == ("prediction", "target"):
        return name, lambda prediction, target: _number(name, metric(prediction, target))
    if parameters in _SCORED or (name in _LOG_LOSSES and metric.__module__.startswith("sklearn.")):
        return name, lambda p, y: _number(name, metric(_targets(p, y), _for_score(name, p, scale)))
    if parameters in _PREDICTED:
        return name, lambda p, y: _number(name, metric(*_true_and_predicted(p, y, scale)))
    raise TypeError(
        f"metrics: expected {name} to take (prediction, target), (y_true, y_pred) or (y_true, y_score), "
        f"got ({', '.join(parameters)}): the names say what it is given"
    )


def _sklearn_metric(name: str) -> Callable[..., Any]:
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


def _accuracy(prediction: Values, target: Values, scale: Scale) -> float:
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


def _two_classes(p: Values, y: Values, threshold: float) -> tuple[Values, Values]:
    shape = p.shape[:1] if p.ndim == 2 and p.shape[1] == 1 else p.shape
    if len(shape) != 1 or y.shape not in (p.shape, shape):
        raise ValueError(
            f"accuracy: with a threshold, expected a prediction (N, 1) or (N,) and as many targets, got "
            f"{p.shape} and {y.shape}"
        )
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("accuracy: with a threshold, expected the targets 0 and 1")
    return p.reshape(shape) > threshold, y.reshape(shape) == 1


def _labels(prediction: Values, target: Values) -> Values:
    return target if target.ndim < prediction.ndim else target.argmax(axis=-1)


def _targets(prediction: Values, target: Values) -> Values:
    """The targets as scikit-learn wants them: labels of classes, or values."""
    if are_classes(prediction, target):
        return _labels(prediction, target)
    if prediction.ndim == 2 and prediction.shape[1] == 1 and target.shape == prediction.shape:
        target = target[:, 0]
    return target


def _is_binary(prediction: Values, target: Values, scale: Scale) -> bool:
    """Whether one output tells two classes apart."""
    one_output = prediction.ndim == 1 or (prediction.ndim == 2 and prediction.shape[1] == 1)
    return one_output and scale is not None and bool(((target == 0) | (target == 1)).all())


def _true_and_predicted(p: Values, y: Values, scale: Scale) -> tuple[Values, Values]:
    true = _targets(p, y)
    if are_classes(p, y):
        return true, p.argmax(axis=-1)
    if _is_binary(p, y, scale):
        return true.astype(np.int64), (p.reshape(len(p)) > _threshold("metrics", scale)).astype(np.int64)
    return true, p[:, 0] if p.ndim == 2 and p.shape[1] == 1 else p


def probabilities(name: str, prediction: Values, scale: Scale) -> Values:
    """(N, C) probabilities of the classes; two columns for one output.

    Raises
    ------
    ValueError
        If it is not known what the outputs are, or they are no probabilities of exclusive classes.
    """
    if scale is None:
        raise ValueError(
            f"{name} needs probabilities, and neither the loss (cross_entropy and binary_cross_entropy take "
            "logits) nor the last layer (Softmax, Sigmoid) tells what the outputs are; give a function "
            "(prediction, target) instead"
        )
    p = prediction.astype(np.float64)
    if p.ndim == 1 or p.shape[-1] == 1:
        p = p.reshape(len(p), 1)
        p = sigmoid(p) if scale == "logits" else p
        return np.concatenate([1 - p, p], axis=1)
    if scale == "logits":
        return softmax(p, axis=-1)  # type: ignore[no-any-return]
    if (abs(p.sum(axis=-1) - 1) > TOLERANCE).any():
        raise ValueError(
            f"{name} needs probabilities of exclusive classes, and the rows of the outputs do not sum to 1: "
            "use Softmax as the last layer or tg.cross_entropy as the loss"
        )
    return p / p.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def _for_score(name: str, prediction: Values, scale: Scale) -> Values:
    found = probabilities(name, prediction, scale)
    return found[:, 1] if found.shape[1] == 2 else found


def _score(scorer: Any, prediction: Values, target: Values, scale: Scale) -> float:
    from tensorgrad.nn.fit.scorers import Classes, Regression

    name = scorer._score_func.__name__
    if are_classes(prediction, target):
        model: Any = Classes(prediction.shape[-1], scale)
    elif _is_binary(prediction, target, scale):
        model = Classes(2, scale)
    else:
        model = Regression()
    return _number(name, scorer(model, prediction, _targets(prediction, target)))


def _values(x: Array) -> Values:
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _number(name: str, value: Any) -> float:
    value = _values(value)
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise ValueError(f"metrics: expected {name} to give one number, got {value!r}")
    return float(value.reshape(()))
