"""The lines of losses: [w] stands for the weights of elements, [/n] divides by what the mean divides by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.graph.textbook.call import Call, Line


def _rows(prediction: NDArray) -> str:
    """The weights of rows, as they are multiplied with elements."""
    return "weights" + f"[:{', None' * (np.ndim(prediction) - 1)}]" * (np.ndim(prediction) > 1)


def _total(call: Call, each: int) -> str:
    """The sum of the weights of all elements, of which a row has ``each``."""
    return "np.sum(weights)" if each == 1 else f"({each} * np.sum(weights))"


def _loss(line: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        prediction, _, weights = call.inputs
        found = line.replace("[w]", "" if weights is None else f" * {_rows(prediction)}")
        total = str(np.size(prediction))
        if weights is not None:
            total = _total(call, np.size(prediction) // len(prediction))
        return found.replace("[/n]", f" / {total}" if call.params["reduction"] == "mean" else "")

    return write


def _loss_of_weights(line: str) -> Callable[[Call], str]:
    """From the losses of elements."""

    def write(call: Call) -> str:
        prediction = call.inputs[0]
        mean = bool(call.params["reduction"] == "mean")
        found = f"g * ({line} - out)" if mean else f"g * {line}"
        if np.ndim(prediction) > 1:
            found = f"np.sum({found}, axis={tuple(range(1, np.ndim(prediction)))})"
        each = np.size(prediction) // len(prediction)
        return found + f" / {_total(call, each)}" * mean

    return write


def _binary(call: Call) -> str:
    if np.all(np.equal(call.params["positive_weight"], 1)):
        return _loss("g[w] * (sigmoid(prediction) - target)[/n]")(call)
    yes = "positive_weight * target * sigmoid(-prediction)"
    return _loss(f"g[w] * ((1 - target) * sigmoid(prediction) - {yes})[/n]")(call)


def _binary_target(call: Call) -> str:
    if np.all(np.equal(call.params["positive_weight"], 1)):
        return _loss("-g[w] * prediction[/n]")(call)
    return _loss("g[w] * (positive_weight * softplus(-prediction) - softplus(prediction))[/n]")(call)


def _cross_entropy(line: str, plain: str) -> Callable[[Call], str]:
    """[t] is the target as shares of classes, smoothed, [k] the same with the weights of classes."""

    def write(call: Call) -> str:
        prediction, target, weights = call.inputs
        classes, params = np.shape(prediction)[-1], call.params
        labels, smooth = np.ndim(target) < np.ndim(prediction), bool(params["label_smoothing"])
        shares = "onehot(target)" if labels else "target"
        weighted = params["class_weights"] is not None
        counted, rows = f"class_weights * {shares}", _rows(prediction)
        smoothed = f"((1 - label_smoothing) * {shares} + label_smoothing / {classes})" if smooth else shares
        found = (line if weighted else plain).replace("[t]", smoothed)
        found = found.replace("[s]", "(1 - label_smoothing) * " * smooth)
        found = found.replace("[g]", "g" if params["reduction"] != "none" else "g[..., None]")
        found = found.replace("[w]", "" if weights is None else f" * {rows}")
        found = found.replace("[out]", " - out" if params["reduction"] == "mean" else "")
        total = str(math.prod(np.shape(prediction)[:-1]))
        if weights is not None:
            total = _total(call, np.size(prediction) // classes // len(prediction))
        if weighted:
            total = f"np.sum({counted}" + f" * {rows}" * (weights is not None) + ")"
        return found.replace("[/n]", f" / {total}" if params["reduction"] == "mean" else "")

    return write


def _cross_entropy_weights(call: Call) -> str:
    prediction, target, _ = call.inputs
    elements, params = np.ndim(prediction) - 1, call.params
    options = [f"{x}={x}, " for x in ("class_weights", "label_smoothing") if _is_given(params[x])]
    found = f'cross_entropy(prediction, target, {"".join(options)}reduction="none")'
    mean = bool(params["reduction"] == "mean")
    shares = "onehot(target)" if np.ndim(target) < np.ndim(prediction) else "target"
    weighted = params["class_weights"] is not None
    counts = f"np.sum(class_weights * {shares}, axis=-1)"
    found = f"g * ({found} - out{f' * {counts}' * weighted})" if mean else f"g * {found}"
    if elements > 1:
        found = f"np.sum({found}, axis={tuple(range(1, elements))})"
    each = np.size(prediction) // np.shape(prediction)[-1] // len(prediction)
    total = f"np.sum(class_weights * {shares} * {_rows(prediction)})" if weighted else _total(call, each)
    return found + f" / {total}" * mean


def _is_given(option: Any) -> bool:
    return option is not None and not (np.ndim(option) == 0 and option == 0)


LOSSES: dict[str, dict[str, Line]] = {
    "binary_cross_entropy": {
        "prediction": _binary,
        "target": _binary_target,
        "weights": _loss_of_weights(
            'binary_cross_entropy(prediction, target, positive_weight=positive_weight, reduction="none")'
        ),
    },
    "cross_entropy": {
        "prediction": _cross_entropy(
            "[g][w] * (softmax(prediction) * np.sum(class_weights * [t], axis=-1, keepdims=True)"
            " - class_weights * [t])[/n]",
            "[g][w] * (softmax(prediction) - [t])[/n]",
        ),
        "target": _cross_entropy(
            "[g][w] * class_weights * (-[s]log_softmax(prediction)[out])[/n]",
            "-[g][w] * [s]log_softmax(prediction)[/n]",
        ),
        "weights": _cross_entropy_weights,
    },
    "huber": {
        "prediction": _loss("g[w] * np.clip(prediction - target, -delta, delta)[/n]"),
        "target": _loss("g[w] * np.clip(target - prediction, -delta, delta)[/n]"),
        "weights": _loss_of_weights('huber(prediction, target, delta=delta, reduction="none")'),
    },
    "l2": {"parameters": lambda call: f"g * strength * parameters[{call.i}]"},
    "mae": {
        "prediction": _loss("g[w] * np.sign(prediction - target)[/n]"),
        "target": _loss("g[w] * np.sign(target - prediction)[/n]"),
        "weights": _loss_of_weights("np.abs(prediction - target)"),
    },
    "mse": {
        "prediction": _loss("2 * g[w] * (prediction - target)[/n]"),
        "target": _loss("2 * g[w] * (target - prediction)[/n]"),
        "weights": _loss_of_weights("(prediction - target)**2"),
    },
}
