"""Intake: examples on their way into a network are checked, and cast to what it computes with."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor, no_grad
from tensorgrad.core.engine import as_numeric
from tensorgrad.nn.fit.metrics import Values
from tensorgrad.nn.fit.tally import BatchReduction, loss_of, mode, reduction_of
from tensorgrad.nn.layers import Embedding
from tensorgrad.ops import cross_entropy

if TYPE_CHECKING:
    from tensorgrad.nn.network import Network

Examples: TypeAlias = tuple[Values, Values, Values | None]  #: x, y, weights

_PROBED = 8  # rows among which one with a loss above 0 is looked for


class Intake:
    """Checks examples for a network with a loss, and finds out what the loss wants.

    Inputs and targets are cast to the network's dtype, but for labels: integer targets with one axis less
    than the network's output stay as they are.

    Attributes
    ----------
    reduction : "mean" or "sum"
        Of the loss; known after the first `take`.
    output : tuple of int, or None
        The shape of what the network gives for one row; known after the first `take`.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.reduction: BatchReduction | None = network.reduction
        self._looks_up = any(isinstance(layer, Embedding) for layer in network.named_layers().values())
        self.output: tuple[int, ...] | None = None

    def take(self, what: str, x: Array, y: Array, weights: Array | None, *, try_row: bool = True) -> Examples:
        """x, y and weights, checked. With ``try_row`` the first row is tried on network and loss."""
        x = self.inputs(f"{what}, x", x)
        y = checked_rows(f"{what}, y", y, None)
        if len(x) != len(y):
            raise ValueError(f"{what}: expected as many targets as inputs, got {len(y)} for {len(x)}")
        weights = None if weights is None else self._weights(what, weights, len(x))
        try_row = try_row or self.output is None
        if try_row:
            with self._trial(what):
                self.output = self.network(x[:1]).shape
        y = self._targets(what, y)
        if try_row:
            with self._trial(what):
                self._try_loss(x, y)
            if weights is not None:
                self.try_weights(x, y)
        return x, y, weights

    def inputs(self, what: str, x: Array) -> Values:
        """The inputs, checked and cast; integers stay as they are if the network has an `Embedding`."""
        given = checked_rows(what, x, None)
        if given.dtype.kind in "iu" and self._looks_up:
            return given
        return checked_rows(what, given, self.network.dtype)

    def _try_loss(self, x: Values, y: Values) -> None:
        loss = loss_of(self.network)
        found = loss(self.network(x[:1]), y[:1])
        if not isinstance(found, Tensor) or found.size != 1:
            raise ValueError(f"expected the loss to give a scalar Tensor, got {found!r}")
        if self.reduction is None:
            self.reduction = reduction_of(loss, self.network(x[:_PROBED]), y[:_PROBED])

    def try_weights(self, x: Values, y: Values) -> None:
        """Refuse a loss that takes no weights; found out on the first row."""
        loss = loss_of(self.network)
        with self._trial("fit"):
            prediction = self.network(x[:1])
            try:
                loss(prediction, y[:1], weights=np.ones(1, prediction.dtype))
            except TypeError as error:
                raise TypeError(
                    "weights of examples or classes need a loss that takes the keyword weights, as "
                    f"tensorgrad's do; got {loss!r}: {error}"
                ) from error

    @contextmanager
    def _trial(self, what: str) -> Iterator[None]:
        """Compute as in use, without a graph and in silence; say in errors what does not fit."""
        with no_grad(), mode(self.network, training=False), np.errstate(all="ignore"):
            try:
                yield
            except (TypeError, ValueError) as error:
                raise type(error)(f"{what}: {error}") from error

    def _targets(self, what: str, y: Values) -> Values:
        assert self.output is not None
        if y.dtype.kind not in "iu" or y.ndim != len(self.output) - 1:
            return checked_rows(f"{what}, y", y, self.network.dtype)
        loss = self.network.loss
        while isinstance(loss, functools.partial):
            loss = loss.func
        classes = self.output[-1]
        if loss is cross_entropy and (y.min() < 0 or y.max() >= classes):
            place = tuple(map(int, np.argwhere((y < 0) | (y >= classes))[0]))
            where = f"row {place[0]}" if len(place) == 1 else f"place {place}"
            raise ValueError(
                f"{what}, y: expected labels from 0 to {classes - 1}, for {classes} outputs, "
                f"got {y[place]} in {where}"
            )
        return y

    def _weights(self, what: str, weights: Array, rows: int) -> Values:
        w = checked_rows(f"{what}, weights", weights, self.network.dtype)
        if w.shape != (rows,):
            raise ValueError(f"{what}, weights: expected one for each of {rows} rows, got {w.shape}")
        if (w < 0).any():
            row = int(np.argmax(w < 0))
            raise ValueError(f"{what}, weights: expected 0 or more, got {w[row]} for row {row}")
        if not w.any():
            raise ValueError(f"{what}, weights: all are 0")
        return w


def checked_rows(what: str, values: Array, dtype: np.dtype[Any] | None) -> Values:
    """``values`` as an array of finite real numbers with at least one row, of that dtype if one is given."""
    array = values if isinstance(values, np.ndarray) else as_numeric(values, None, what)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
    if not array.ndim or not len(array):
        raise ValueError(f"{what}: expected at least one row, got shape {array.shape}")
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ValueError(
            f"{what}: expected finite numbers, got {array[row][~np.isfinite(array[row])][0]} in row {row}"
        )
    return array


def check_count(name: str, value: Any) -> None:
    """Refuse what is no positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"expected {name} to be a positive integer, got {value!r}")


def class_weights(what: str, given: Any, y: Values, classes: int) -> Values:
    """The weight of each row by its class.

    ``given`` is a dict label -> weight (1 for others), one weight a class, or "balanced": N / (C count).
    """
    labels = y.reshape(len(y)).astype(np.intp) if y.size == len(y) else y.argmax(axis=1)
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f"{what}: expected a dict, one weight a class, or balanced, got {given!r}")
        counts = np.bincount(labels, minlength=classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(given, dict):
        weights = np.ones(classes)
        for label, weight in given.items():
            if (
                isinstance(label, bool)
                or not isinstance(label, (int, np.integer))
                or not 0 <= label < classes
            ):
                raise ValueError(f"{what}: expected labels from 0 to {classes - 1}, got {label!r}")
            weights[label] = weight
    else:
        weights = checked_rows(what, given, np.dtype(np.float64))
        if weights.shape != (classes,):
            raise ValueError(f"{what}: expected {classes} weights, got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"{what}: expected finite weights of 0 or more, got {given!r}")
    found: Values = weights[labels]
    return found
