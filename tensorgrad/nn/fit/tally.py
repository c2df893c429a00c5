"""From the losses of batches to that of an epoch: always per example, whether the loss sums or averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tensorgrad.core import Tensor, no_grad
from tensorgrad.data.batches import Batch
from tensorgrad.nn.fit.metrics import Measure, Values, accuracy, are_classes
from tensorgrad.nn.layer import Layer

if TYPE_CHECKING:
    from tensorgrad.nn.fit.examples import Intake
    from tensorgrad.nn.network import Network

BatchReduction: TypeAlias = Literal["mean", "sum"]

_CLOSE = 1e-3  # float32 losses of one row and of two agree better than this


@no_grad()
def reduction_of(loss: Callable[..., Tensor], prediction: Tensor, target: Values) -> BatchReduction:
    """Whether a loss sums over the rows of a batch or averages, found by giving it a row once and twice.

    A loss that doubles is a sum. Any other counts as a mean: one that stays, and one that does neither, such
    as a sum with a penalty that does not depend on the rows.
    """
    for i in range(len(prediction)):
        once, twice = (loss(prediction[rows], target[rows]).item() for rows in ([i], [i, i]))
        if once and np.isfinite(once):
            return "sum" if abs(twice - 2 * once) <= _CLOSE * abs(twice) else "mean"
    return "mean"


class Tally:
    """What the batches of an epoch add up to.

    Parameters
    ----------
    measures : dict of functions (prediction, target) -> float, or None
        For each, an epoch's predictions and targets are kept. None stands for the accuracy, if the targets
        turn out to be labels or one-hot.
    """

    def __init__(self, measures: Mapping[str, Measure] | None) -> None:
        self.measures = measures
        self.total = self.weight = 0.0
        self.rows = 0
        self._predictions: list[Values] = []
        self._targets: list[Values] = []

    def add(
        self,
        loss: float,
        reduction: BatchReduction,
        prediction: Tensor,
        target: Values,
        weights: Values | None,
    ) -> float:
        """Count a batch; its loss per example."""
        rows = len(target)
        # As in the losses, a row of weight 2 counts as two rows.
        weight = float(rows if weights is None else np.sum(weights, dtype=np.float64))
        self.total += loss if reduction == "sum" else loss * weight
        self.weight += weight
        self.rows += rows
        if self.measures is None or self.measures:
            self._predictions.append(prediction.numpy())
            self._targets.append(target)
        return loss / weight if reduction == "sum" else loss

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
def measured(
    network: Network, batches: Iterable[Batch], intake: Intake, measures: Mapping[str, Measure] | None
) -> dict[str, float]:
    """Loss per example and metrics over batches (x, y, weights) that the intake has taken, in use."""
    loss = loss_of(network)
    tally = Tally(measures)
    with mode(network, training=False):
        for x, y, weights in batches:
            prediction = network(x)
            value = loss(prediction, y) if weights is None else loss(prediction, y, weights=weights)
            assert intake.reduction is not None
            tally.add(value.item(), intake.reduction, prediction, y, weights)
    return tally.figures()


def loss_of(network: Network) -> Callable[..., Tensor]:
    """The loss that is set."""
    if network.loss is None:
        raise ValueError("Network: no loss is set; call use(loss), for example network.use(tg.mse)")
    return network.loss


@contextmanager
def mode(layer: Layer, *, training: bool) -> Iterator[None]:
    """Context manager: put a layer and all in it into a mode; at the end each has its own again."""
    before = [(each, each.training) for each in layer.named_layers().values()]
    layer.train(training)
    try:
        yield
    finally:
        for each, was in before:
            each.training = was
