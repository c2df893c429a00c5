"""Examples on their way into a network: checked, cast to what it computes with, and cut into batches."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tensorgrad.core import Array, Tensor, no_grad
from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.context import paused
from tensorgrad.core.engine import as_numeric
from tensorgrad.core.refusals import require_values
from tensorgrad.data.batches import Rows, StreamedBatches
from tensorgrad.nn.fit.metrics import Measure
from tensorgrad.nn.fit.outputs import bare_loss, require_no_softmax
from tensorgrad.nn.layer import infer
from tensorgrad.nn.layers import Embedding
from tensorgrad.nn.sequential import BatchReduction, Sequential, loss_of
from tensorgrad.ops import cross_entropy

__all__ = [
    "EVALUATED", "PROBED", "Data", "Examples", "Intake", "fill_up", "take_rows", "take_training",
    "take_validation",
]  # fmt: skip

#: x, y and weights. x and y are arrays, or `Rows` of arrays, as they were given.
Examples: TypeAlias = tuple[Any, Any, NDArray | None]
Data: TypeAlias = Examples | StreamedBatches
T = TypeVar("T")

PROBED = 8  # rows on which a loss is tried
_CLOSE = 1e-3  # float32 losses of one row and of two agree better than this
EVALUATED = 256  # rows at once in validation
_CHECKED_BYTES = 1 << 22  # of an array at once


class Intake:
    """Checks examples for a network with a loss, and finds out what the loss wants.

    `take` leaves inputs and targets as they are, for they may be memory maps; `cast` gives a batch of them
    the network's dtype, but for labels: integer targets with one axis less than the network's output.

    Parameters
    ----------
    network : Sequential
    measures : dict, optional
        Metrics that will be measured. One that takes no weights is refused where examples have some.

    Attributes
    ----------
    reduction : "mean" or "sum"
        Of the loss; known after the first `take`.
    output : tuple of int, or None
        The shape of what the network gives for one row; known after the first `take`.
    """

    def __init__(self, network: Sequential, measures: Mapping[str, Measure] | None = None) -> None:
        self.network = network
        self._unweighted = [name for name, measure in (measures or {}).items() if not measure.weighted]
        self.reduction: BatchReduction | None = network.reduction
        self.output: tuple[int, ...] | None = None

    def take(self, what: str, x: Array, y: Array, weights: Array | None, *, try_row: bool = True) -> Examples:
        """x, y and weights, checked. With ``try_row`` the first row is tried on network and loss."""
        x = self.take_inputs(f"{what}, x", x)
        y = take_rows(f"{what}, y", y, self.dtype)
        if len(x) != len(y):
            raise ValueError(f"{what}: expected as many targets as inputs, got {len(y)} for {len(x)}")
        weights = None if weights is None else self._take_weights(what, weights, len(x))
        try_row = try_row or self.output is None
        if try_row:
            self.output = self._try(what, lambda: self._try_network(x))
        y = self._take_targets(what, y)
        if try_row:
            self._try(what, lambda: self._try_loss(x, y))
        if weights is not None:
            self.try_weights(what, x, y, try_row=try_row)
        return x, y, weights

    def take_inputs(self, what: str, x: Array) -> Any:
        """The inputs, checked."""
        return take_rows(what, x, self.dtype)

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """That of the network."""
        return self.network.dtype

    @functools.cached_property
    def _looks_up(self) -> bool:
        return any(isinstance(layer, Embedding) for layer in self.network.named_layers().values())

    def cast_inputs(self, x: NDArray) -> NDArray:
        """A batch in the network's dtype; integers stay as they are if the network has an `Embedding`."""
        return np.asarray(x, None if x.dtype.kind in "iu" and self._looks_up else self.dtype)

    def cast(self, x: NDArray, y: NDArray, weights: NDArray | None) -> Examples:
        """A batch as the network and the loss want it."""
        y = np.asarray(y, None if self._are_labels(y) else self.dtype)
        return self.cast_inputs(x), y, None if weights is None else np.asarray(weights)

    def _are_labels(self, y: Any) -> bool:
        assert self.output is not None
        return y.dtype.kind in "iu" and y.ndim == len(self.output) - 1

    def _try_network(self, x: Any) -> tuple[int, ...]:
        paused.set(0)  # in the trial's own context
        prediction = self.network(self.cast_inputs(x[:1]))
        require_no_softmax(bare_loss(self.network), prediction)
        return prediction.shape

    def _try_loss(self, x: Any, y: Any) -> None:
        loss = loss_of(self.network)
        x, y, _ = self.cast(x[:PROBED], y[:PROBED], None)
        require_no_softmax(bare_loss(self.network), self.network(x))
        found = loss(self.network(x[:1]), y[:1], None)
        if not isinstance(found, Tensor) or found.size != 1:
            raise ValueError(f"expected the loss to give a scalar Tensor, got {found!r}")
        self._refuse_broadcast(loss, self.network(x), y)
        if self.reduction is None:
            self.reduction = _find_reduction(loss, self.network(x), y)

    def _refuse_broadcast(self, loss: Callable[..., Tensor], p: Tensor, y: NDArray) -> None:
        """ValueError if a loss computes with (N,) and (N, 1) what broadcasts to (N, N).

        Such a loss is neither the mean nor the sum of those of the rows, but is with the other shape of y.
        """
        if p.ndim != 2 or p.shape[1] != 1 or y.shape not in (p.shape, p.shape[:1]):
            return
        other = y.reshape(p.shape if y.ndim == 1 else -1)
        if not _goes_by_rows(loss, p, y) and _goes_by_rows(loss, p, other):
            raise ValueError(
                f"the loss broadcasts predictions {p.shape} and targets {y.shape} against one another; "
                f"write y.{'reshape(-1, 1)' if y.ndim == 1 else 'ravel()'}"
            )

    def try_weights(self, what: str, x: Any, y: Any, *, try_row: bool = True) -> None:
        """Refuse metrics and a loss that take no weights; with the loss it is found out on the first row."""
        if self._unweighted:
            raise TypeError(
                f"{what}: the examples have weights, which the metric {self._unweighted[0]} does not take; "
                "give a function (prediction, target, weights) instead, or leave it away"
            )
        if try_row:
            self._try(what, lambda: self._try_weighted_loss(x, y))

    def _try_weighted_loss(self, x: Any, y: Any) -> None:
        x, y, _ = self.cast(x[:1], y[:1], None)
        loss, prediction = loss_of(self.network), self.network(x)
        try:
            loss(prediction, y, np.ones(1, prediction.dtype))
        except TypeError as error:
            raise TypeError(
                "weights of examples or classes need a loss that takes the keyword weights, as "
                f"tensorgrad's do; got {self.network.loss!r}: {error}"
            ) from error

    def _try(self, what: str, f: Callable[[], T]) -> T:
        """``f()`` in inference mode, without a graph and in silence; say in errors what does not fit."""
        try:
            with np.errstate(all="ignore"):
                return infer(f)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from error

    def _take_targets(self, what: str, y: Any) -> Any:
        """The targets; labels for `cross_entropy` as integers (N, ...), whatever their form."""
        assert self.output is not None
        classes = self.output[-1]
        if bare_loss(self.network) is not cross_entropy or classes < 2:
            return y
        if y.shape[1:] == (*self.output[1:-1], 1):
            y = y[:].reshape(y.shape[:-1])
        if y.ndim != len(self.output) - 1:
            return y
        y = y[:]
        if y.dtype.kind in "bf" and (y == np.rint(y)).all():
            y = y.astype(np.intp)
        elif y.dtype.kind == "f":
            place = tuple(np.argwhere(y != np.rint(y))[0])
            raise ValueError(f"{what}, y: expected labels, whole numbers, got {y[place]} in {_name(place)}")
        if y.min() < 0 or y.max() >= classes:
            place = tuple(np.argwhere((y < 0) | (y >= classes))[0])
            hint = "; they count from 1, write y - 1" if y.min() == 1 and y.max() == classes else ""
            raise ValueError(
                f"{what}, y: expected labels from 0 to {classes - 1}, for {classes} outputs, "
                f"got {y[place]} in {_name(place)}{hint}"
            )
        return y

    def _take_weights(self, what: str, weights: Array, rows: int) -> NDArray:
        w = np.asarray(take_rows(f"{what}, weights", weights, self.dtype), self.dtype)
        if w.shape != (rows,):
            raise ValueError(f"{what}, weights: expected one for each of {rows} rows, got {w.shape}")
        if (w < 0).any():
            row = int(np.argmax(w < 0))
            raise ValueError(f"{what}, weights: expected 0 or more, got {w[row]} for row {row}")
        if not w.any():
            raise ValueError(f"{what}, weights: all are 0")
        return w


def _name(place: tuple[Any, ...]) -> str:
    """Where an element is."""
    return f"row {place[0]}" if len(place) == 1 else f"place {tuple(map(int, place))}"


def take_rows(what: str, values: Array, dtype: np.dtype[Any]) -> Any:
    """``values``, not yet cast, as an array of real numbers, finite in that dtype, with at least one row."""
    require_values(values, what)
    try:
        array: Any = values if isinstance(values, (np.ndarray, Rows)) else as_numeric(values, None, what)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
    except TypeError as error:
        if what.endswith(", y") and "got dtype" in str(error):
            hint = "number the classes, as np.unique(y, return_inverse=True) does"
            raise TypeError(f"{error}; {hint}") from None
        raise
    if not array.ndim or not len(array):
        raise ValueError(f"{what}: expected at least one row, got shape {array.shape}")
    if array.dtype.kind == "f" or dtype.itemsize < 4:
        _require_finite(what, array, dtype)
    return array


def _require_finite(what: str, array: Any, dtype: np.dtype[Any]) -> None:
    step = max(1, _CHECKED_BYTES // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
    for start in range(0, len(array), step):
        with np.errstate(over="ignore"):
            part = array[start : start + step].astype(dtype, copy=False)
        finite = np.isfinite(part)
        if not finite.all():
            place = tuple(np.argwhere(~finite)[0])
            raise ValueError(
                f"{what}: expected finite numbers, got {part[place]} in row {start + int(place[0])}"
            )


def _goes_by_rows(loss: Callable[..., Tensor], p: Tensor, y: NDArray) -> bool:
    """Whether the loss of some rows is the mean or the sum of those of each; no loss at all is none."""
    try:
        whole = loss(p, y, None).item()
        each = [loss(p[[i]], y[[i]], None).item() for i in range(len(y))]
    except (TypeError, ValueError):
        return False
    return any(abs(whole - total) <= _CLOSE * abs(total) for total in (sum(each), sum(each) / len(each)))


@no_grad()
def _find_reduction(loss: Callable[..., Tensor], prediction: Tensor, target: NDArray) -> BatchReduction:
    """Whether a loss sums over the rows of a batch or averages, found by giving it a row once and twice.

    A loss that doubles is a sum. Any other counts as a mean: one that stays, and one that does neither, such
    as a sum with a penalty that does not depend on the rows.
    """
    for i in range(len(prediction)):
        once, twice = (loss(prediction[rows], target[rows], None).item() for rows in ([i], [i, i]))
        if once and np.isfinite(once):
            return "sum" if abs(twice - 2 * once) <= _CLOSE * abs(twice) else "mean"
    return "mean"


# From the arguments of fit to examples


def take_training(
    intake: Intake, x: Any, y: Array | None, sample_weight: Array | None, steps_per_epoch: int | None
) -> Data:
    """What is trained on, checked as far as that is possible before the training."""
    if y is not None:
        if steps_per_epoch is not None:
            raise ValueError("fit: steps_per_epoch is for batches of your own; arrays know their length")
        return intake.take("fit", x, y, sample_weight)
    if not _gives_batches(x):
        raise TypeError(f"fit: expected y, or batches (x, y) alone, got only {type(x).__name__}")
    if sample_weight is not None:
        raise ValueError("fit: expected batches (x, y, weights) instead of sample_weight")
    if steps_per_epoch is not None:
        positive_integer("", "steps_per_epoch", steps_per_epoch)
    return StreamedBatches(x, steps_per_epoch)


def take_validation(intake: Intake, validation: Any) -> Data | None:
    """What is held out, checked likewise."""
    if validation is None:
        return None
    expected = "fit: expected validation to be a pair (x, y), with weights or not, or batches"
    if isinstance(validation, (tuple, list)) and not all(isinstance(part, tuple) for part in validation):
        if len(validation) not in (2, 3):
            raise TypeError(f"{expected}, got {len(validation)} things")
        return intake.take("fit, validation", *fill_up(validation))
    if not _gives_batches(validation):
        raise TypeError(f"{expected}, got a {type(validation).__name__}")
    if isinstance(validation, Iterator):
        raise TypeError(f"{expected} that can be read again, got an iterator")
    return StreamedBatches(validation)


def _gives_batches(x: Any) -> bool:
    return not isinstance(x, (np.ndarray, Rows)) and (callable(x) or isinstance(x, Iterable))


def fill_up(batch: Sequence[Any]) -> tuple[Any, Any, Any]:
    """x, y and weights, which are None where there are none."""
    x, y, *weights = batch
    return x, y, weights[0] if weights else None
