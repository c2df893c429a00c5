"""From the losses of batches to that of an epoch: always per example, whether the loss sums or averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tensorgrad.core import Tensor, no_grad
from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit.examples import Examples, Intake
from tensorgrad.nn.fit.metrics import Measure, accuracy
from tensorgrad.nn.fit.outputs import are_classes
from tensorgrad.nn.sequential import loss_of, mode

__all__ = ["Tally", "evaluate"]


class Tally:
    """What the batches of an epoch add up to.

    Parameters
    ----------
    intake : Intake
        That has taken the batches, and knows whether their losses are sums.
    measures : dict of functions (prediction, target) -> float, or None
        For each, an epoch's predictions and targets are kept. None stands for the accuracy, if the targets
        turn out to be labels or one-hot.
    """

    def __init__(self, intake: Intake, measures: Mapping[str, Measure] | None) -> None:
        self.intake = intake
        self.measures = measures
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.total = self.weight = 0.0
        self.rows = 0
        self._predictions: list[NDArray] = []
        self._targets: list[NDArray] = []

    def add(self, loss: float, prediction: Tensor | None, target: NDArray, weights: NDArray | None) -> float:
        """Count a batch; its loss per example. The prediction is needed for measures only."""
        rows = len(target)
        # As in the losses, a row of weight 2 counts as two rows.
        weight = float(rows if weights is None else np.sum(weights, dtype=np.float64))
        summed = self.intake.reduction == "sum"
        self.total += loss if summed else loss * weight
        self.weight += weight
        self.rows += rows
        if prediction is not None and (self.measures is None or self.measures):
            self._predictions.append(prediction.numpy())
            self._targets.append(target)
        return loss / weight if summed else loss

    def figures(self) -> dict[str, float]:
        """The loss per example, and the metrics."""
        figures = {"loss": self.total / self.weight}
        if self._predictions:
            prediction, target = np.concatenate(self._predictions), np.concatenate(self._targets)
            measures = self.measures
            if measures is None:
                measures = {"accuracy": accuracy} if are_classes(prediction, target) else {}
            figures |= {name: measure(prediction, target) for name, measure in measures.items()}
        return figures

    def state(self) -> dict[str, Any]:
        """For a checkpoint in the middle of an epoch."""
        return {
            "total": self.total,
            "weight": self.weight,
            "rows": self.rows,
            "predictions": [np.concatenate(self._predictions)] if self._predictions else [],
            "targets": [np.concatenate(self._targets)] if self._targets else [],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.total, self.weight, self.rows = state["total"], state["weight"], state["rows"]
        self._predictions, self._targets = list(state["predictions"]), list(state["targets"])


@no_grad()
def evaluate(
    intake: Intake,
    batches: Iterable[Examples],
    measures: Mapping[str, Measure] | None,
    forward: Callable[[NDArray], Tensor],
) -> dict[str, float]:
    """Loss per example and metrics over batches that the intake has taken, in inference mode.

    ``forward`` gives the network's prediction for a batch.
    """
    loss = loss_of(intake.network)
    tally = Tally(intake, measures)
    with mode(intake.network, training=False):
        for x, y, weights in batches:
            prediction = forward(x)
            tally.add(loss(prediction, y, weights).item(), prediction, y, weights)
    return tally.figures()
