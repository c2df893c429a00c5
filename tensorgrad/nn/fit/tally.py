"""From the losses of batches to that of an epoch: always per example, whether the loss sums or averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit.examples import Examples, Intake
from tensorgrad.nn.fit.metrics import Measure, right_shares
from tensorgrad.nn.fit.outputs import are_classes
from tensorgrad.nn.fit.ranks import Ranks
from tensorgrad.nn.layer import infer
from tensorgrad.nn.sequential import loss_of

__all__ = ["Tally", "evaluate"]

_KEPT = ("predictions", "targets", "weights")  # of an epoch, for its metrics


class Tally:
    """What the batches of an epoch add up to.

    Parameters
    ----------
    intake : Intake
        That has taken the batches, and knows whether their losses are sums.
    measures : dict of functions (prediction, target, weights) -> float, or None
        For each, an epoch's predictions, targets and weights are kept. None stands for the accuracy, if the
        targets turn out to be labels or one-hot; for it the right ones are counted, and nothing is kept.
    """

    def __init__(self, intake: Intake, measures: Mapping[str, Measure] | None) -> None:
        self.intake = intake
        self.measures = measures
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.total = self.weight = 0.0
        self.rows = 0
        self._right: float | None = 0.0 if self.measures is None else None  # weight of what was predicted
        self._kept: dict[str, list[NDArray]] = {name: [] for name in _KEPT}

    @property
    def predicts(self) -> bool:
        """Whether the predictions are needed."""
        return self._right is not None or bool(self.measures)

    def add(self, loss: float, prediction: Tensor | None, target: NDArray, weights: NDArray | None) -> float:
        """Count a batch; its loss per example. The prediction is needed for measures only."""
        rows = len(target)
        # As in the losses, a row of weight 2 counts as two rows.
        weight = float(rows if weights is None else np.sum(weights, dtype=np.float64))
        summed = self.intake.reduction == "sum"
        self.total += loss if summed else loss * weight
        self.weight += weight
        self.rows += rows
        if prediction is not None and self._right is not None:
            self._count(prediction.data, target, weights)
        elif prediction is not None and self.measures:
            self._keep(prediction.numpy(), target, weights)
        return loss / weight if summed else loss

    def _count(self, prediction: NDArray, target: NDArray, weights: NDArray | None) -> None:
        assert self._right is not None
        if not are_classes(prediction, target):
            self._right = None  # for all of the epoch
            return
        shares = right_shares(prediction, target)
        self._right += float(
            np.sum(shares) if weights is None else np.dot(shares, np.asarray(weights, float))
        )

    def _keep(self, prediction: NDArray, target: NDArray, weights: NDArray | None) -> None:
        before = sum(map(len, self._kept["targets"]))
        if weights is not None and not self._kept["weights"] and before:
            self._kept["weights"].append(np.ones(before))  # of the batches that had none
        if weights is None and self._kept["weights"]:
            weights = np.ones(len(target))
        for name, array in zip(_KEPT, (prediction, target, weights), strict=True):
            if array is not None:
                self._kept[name].append(array)

    def figures(self) -> dict[str, float]:
        """The loss per example, and the metrics."""
        figures = {"loss": self.total / self.weight}
        if self._right is not None:
            figures["accuracy"] = self._right / self.weight
        if self.measures and self._kept["predictions"]:
            kept = [np.concatenate(x) for x in self._kept.values() if x]
            figures |= {name: measure(*kept) for name, measure in self.measures.items()}
        return figures

    def state(self) -> dict[str, Any]:
        """For a checkpoint in the middle of an epoch."""
        return {
            "total": self.total,
            "weight": self.weight,
            "rows": self.rows,
            "right": self._right,
            **{name: [np.concatenate(arrays)] if arrays else [] for name, arrays in self._kept.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.total, self.weight, self.rows = state["total"], state["weight"], state["rows"]
        self._right = state["right"]
        self._kept = {name: list(state[name]) for name in _KEPT}


def evaluate(
    intake: Intake,
    batches: Iterable[Examples],
    measures: Mapping[str, Measure] | None,
    forward: Callable[[NDArray], Tensor],
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Loss per example and metrics over batches that the intake has taken, in inference mode.

    ``forward`` gives the network's prediction for a batch, of which each rank computes its part.
    """
    loss, ranks = loss_of(intake.network), ranks or Ranks(None)
    tally = Tally(intake, measures)

    def add(x: NDArray, y: NDArray, weights: NDArray | None) -> None:
        part = ranks.take(y, weights, intake.reduction)
        prediction = forward(x[part.rows])
        value = loss(prediction, part.y, part.weights).item()
        tally.add(
            *ranks.join("the validation", part, value, prediction if tally.predicts else None), y, weights
        )

    for batch in batches:
        infer(add, *batch)
    return tally.figures()
