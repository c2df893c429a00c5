"""Metrics: what is measured beside the loss, on all predictions of an epoch at once."""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import advise_value
from tensorgrad.core.refusals import require_values
from tensorgrad.nn.fit.outputs import (
    Scale,
    are_classes,
    are_two_classes,
    column,
    name_labels,
    probabilities,
    true_values,
)
from tensorgrad.nn.fit.scorers import score
from tensorgrad.ops.losses import require_loss

__all__ = ["accuracy"]

Metric: TypeAlias = str | Callable[..., Any]
Mode: TypeAlias = Literal["min", "max"]
Call: TypeAlias = Callable[[NDArray, NDArray, dict[str, Any]], Any]  #: of prediction, target and options

# How scikit-learn's functions call their first two parameters.
_PREDICTED = {("y_true", "y_pred"), ("y1", "y2")}
_SCORED = {("y_true", "y_score"), ("y_true", "y_proba"), ("y_true", "y_prob")}
_LOG_LOSSES = {"log_loss", "d2_log_loss_score"}  # which called probabilities y_pred before version 1.8


@dataclass(frozen=True)
class Measure:
    """A metric as a training measures it.

    Attributes
    ----------
    metric : str or function
        As it was given.
    compute : function (prediction, target, weights or None) -> number
    mode : "min" or "max", or None
        Whether lower or higher values are better, where that is known.
    weighted : bool
        Whether it takes weights.
    """

    metric: Metric
    name: str
    compute: Callable[[NDArray, NDArray, NDArray | None], Any]
    mode: Mode | None = None
    weighted: bool = True

    def __call__(self, prediction: NDArray, target: NDArray, weights: NDArray | None = None) -> float:
        """The metric of all rows."""
        value = _array(self.compute(prediction, target, weights))
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise ValueError(f"metrics: expected {self.name} to give one number, got {value!r}")
        return float(value.reshape(()))


class MissingClassError(ValueError):
    """A metric cannot be computed, for of some class there is no row."""


def lenient(what: str, measure: Measure) -> Measure:
    """A measure that is NaN where a class is missing that it needs, and says so once."""
    told = False

    def compute(prediction: NDArray, target: NDArray, weights: NDArray | None) -> Any:
        nonlocal told
        try:
            return measure.compute(prediction, target, weights)
        except MissingClassError as error:
            if not told:
                warnings.warn(f"{what}: {error}; it is NaN", RuntimeWarning, stacklevel=2)
            told = True
            return float("nan")

    return replace(measure, compute=compute)


def better(figure: str, measures: Mapping[str, Measure] | None) -> Mode | None:
    """Whether lower or higher values of a figure of the history are better; None if that is not known."""
    if figure in ("loss", "validation_loss", "seconds"):
        return "min"
    name = figure.removeprefix("validation_")
    if measures is None:
        return "max" if name == "accuracy" else None
    return measures[name].mode if name in measures else None


def accuracy(
    prediction: Array, target: Array, weights: Array | None = None, *, threshold: float | None = None
) -> float:
    """The share of the targets that are predicted.

    Parameters
    ----------
    prediction : array (N, ..., C), or (N, 1) or (N,) with a threshold
        The class of a row is that of its largest element, the first if there are several.
    target : array
        Labels (N, ...), integers; or one-hot rows of the prediction's shape. With a threshold 0 or 1, of the
        prediction's shape or (N,).
    weights : array (N,), optional
        One for each row, none negative: a row of weight 2 counts as two rows, as in the losses.
    threshold : float, optional
        For two classes with one output: predictions above it are class 1. Logits need 0, probabilities 0.5.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target or the weights are not as above.

    >>> tg.accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    >>> tg.accuracy(np.array([[-0.3], [1.2]]), np.array([[0], [1]]), threshold=0.0)
    1.0
    """
    p, y = _array(prediction), _array(target)
    if threshold is not None:
        found, true = _separate(p, y, threshold)
        shares = _share_by_rows(found == true)
    elif are_classes(p, y):
        shares = right_shares(p, y)
    else:
        hint = "; write .ravel()" if y.shape == (*p.shape[:-1], 1) and p.shape[-1] > 1 else ""
        hint = "; write .astype(int)" if y.shape == p.shape[:-1] else hint
        raise ValueError(
            "accuracy: expected a prediction (N, ..., C) with integer labels (N, ...) or one-hot targets of "
            f"its shape, or a threshold for one output; got {p.shape} and {y.dtype} targets {y.shape}{hint}"
        )
    if weights is None:
        return float(np.mean(shares))
    require_loss("accuracy", p, weights, "mean")
    return float(np.average(shares, weights=_array(weights).astype(np.float64)))


def right_shares(prediction: NDArray, target: NDArray) -> NDArray:
    """For each row (N,) the share of its targets that are predicted, where targets are classes."""
    return _share_by_rows(prediction.argmax(axis=-1) == true_values(prediction, target))


def _share_by_rows(right: NDArray) -> NDArray:
    return right if right.ndim == 1 else right.reshape(len(right), -1).mean(axis=1)


def measures(
    metrics: Iterable[Metric | Measure], scale: Scale, classes: NDArray | None = None
) -> dict[str, Measure]:
    """For each metric its name and a function (prediction, target, weights) -> float.

    A metric is "accuracy", the name of one of scikit-learn's scorers or metric functions, such a scorer or
    function itself, or a function of your own. Functions are told apart by the names of their parameters:

    - ``(y_true, y_pred)``, scikit-learn's: given labels where the targets are classes, else values;
    - ``(y_true, y_score)``, or ``y_proba`` or ``y_prob``: given probabilities, of class 1 if there are two;
    - ``(prediction, target)``, tensorgrad's: given the network's outputs and the targets as they are.

    Weights of rows count as in the losses: a function is given them as ``sample_weight``, one of tensorgrad's
    kind as ``weights``. Where rows have weights, a metric without such a parameter is refused.

    ``classes`` are what the labels 0, 1, ... stand for: what scikit-learn's functions are given then.
    """
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"metrics: expected a list of metrics, got {metrics!r}; put it into a list")
    found: dict[str, Measure] = {}
    for metric in metrics:
        measure = metric if isinstance(metric, Measure) else _make_measure(metric, scale, classes)
        name = measure.name
        if name in found or name in ("loss", "seconds", "learning_rate") or name.startswith("validation_"):
            raise ValueError(f"metrics: the name {name!r} is taken; rename the function")
        found[name] = measure
    return found


def _make_measure(metric: Metric, scale: Scale, classes: NDArray | None) -> Measure:
    if metric == "accuracy" or metric is accuracy:
        return Measure(metric, "accuracy", functools.partial(_accuracy, scale=scale), "max")
    if isinstance(metric, str):
        return replace(_make_measure(_find_in_sklearn(metric), scale, classes), metric=metric, name=metric)
    if not callable(metric):
        raise TypeError(f"metrics: expected names or functions, got {metric!r}")
    if hasattr(metric, "_score_func"):  # what make_scorer makes
        name = ("neg_" if getattr(metric, "_sign", 1) < 0 else "") + metric._score_func.__name__
        takes = inspect.signature(metric._score_func).parameters
        call: Call = lambda p, y, options: score(metric, p, y, options, scale, classes)
        compute = _complete(name, call, "labels" in takes, scale, classes)
        return Measure(metric, name, compute, "max", "sample_weight" in takes)
    name = str(getattr(metric, "__name__", type(metric).__name__))
    names = tuple(inspect.signature(metric).parameters)
    ours = names[:2] == ("prediction", "target")
    own = getattr(metric, "__module__", None) or ""
    mode = _find_mode(metric) if own.startswith("sklearn.") else None
    if ours:
        plain = lambda p, y, w: metric(p, y) if w is None else metric(p, y, weights=w)
        return Measure(metric, name, plain, mode, "weights" in names)
    take: Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]
    if names[:2] in _SCORED or (name in _LOG_LOSSES and own.startswith("sklearn.")):
        take = lambda p, y: (name_labels(true_values(p, y), p, y, classes), _predict_score(name, p, scale))
    elif names[:2] in _PREDICTED:
        take = lambda p, y: _predict(p, y, scale, classes)
    else:
        raise TypeError(
            f"metrics: expected {name} to take (prediction, target), (y_true, y_pred) or (y_true, y_score), "
            f"got ({', '.join(names[:2])}): the names say what it is given"
        )
    compute = _complete(
        name, lambda p, y, options: metric(*take(p, y), **options), "labels" in names, scale, classes
    )
    return Measure(metric, name, compute, mode, "sample_weight" in names)


def _complete(
    name: str, call: Call, takes_labels: bool, scale: Scale, classes: NDArray | None
) -> Callable[[NDArray, NDArray, NDArray | None], Any]:
    """A function of scikit-learn that fails where a class is missing is told of all, if it takes them."""

    def compute(p: NDArray, y: NDArray, w: NDArray | None) -> Any:
        options = {} if w is None else {"sample_weight": w}
        count = p.shape[-1] if are_classes(p, y) else 2 if are_two_classes(p, y, scale) else 0
        missing = np.setdiff1d(np.arange(count), true_values(p, y))
        if not missing.size:
            return call(p, y, options)
        labels = np.arange(count) if classes is None else classes
        try:
            if "roc_auc" not in name:  # which would be NaN, with a warning each time
                return call(p, y, options)
        except ValueError:
            if takes_labels:
                with contextlib.suppress(ValueError):
                    return call(p, y, {**options, "labels": labels})
        told = ", ".join(map(repr, labels[missing].tolist()))
        raise MissingClassError(f"{name} needs each class, and there is no row of {told}")

    return compute


def _find_mode(function: Callable[..., Any]) -> Mode | None:
    """What scikit-learn's scorer of a function says; None if it has none."""
    from sklearn.metrics import get_scorer, get_scorer_names

    for scorer in map(get_scorer, get_scorer_names()):
        if scorer._score_func is function:
            return "max" if getattr(scorer, "_sign", 1) > 0 else "min"
    return None


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
        + advise_value(name, ["accuracy", *sklearn.metrics.get_scorer_names()])
    )


def _accuracy(prediction: NDArray, target: NDArray, weights: NDArray | None, scale: Scale) -> float:
    one_output = prediction.ndim == 1 or prediction.shape[-1] == 1
    if not one_output:
        return accuracy(prediction, target, weights)
    return accuracy(prediction, target, weights, threshold=_threshold("accuracy", scale))


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


def _predict(
    prediction: NDArray, target: NDArray, scale: Scale, classes: NDArray | None
) -> tuple[NDArray, NDArray]:
    """The true labels and the predicted ones; values where the targets are no classes."""
    true = name_labels(true_values(prediction, target), prediction, target, classes)
    if are_classes(prediction, target):
        return true, name_labels(prediction.argmax(axis=-1), prediction, target, classes)
    if are_two_classes(prediction, target, scale):
        found = column(prediction) > _threshold("metrics", scale)
        return true.astype(np.int64), found.astype(np.int64)
    return true, column(prediction)


def _predict_score(name: str, prediction: NDArray, scale: Scale) -> NDArray:
    found = probabilities(name, prediction, scale)
    return found[:, 1] if found.shape[1] == 2 else found


def _array(x: Array) -> NDArray:
    require_values(x, "metrics")
    return x.data if isinstance(x, Tensor) else np.asarray(x)
