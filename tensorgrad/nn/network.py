"""Network: layers in a row, with the notebook's verbs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor, no_grad
from tensorgrad.core.tensor import as_numeric
from tensorgrad.data import minibatches
from tensorgrad.nn.layer import Layer
from tensorgrad.nn.optimizers import MiniBatchSGD
from tensorgrad.nn.process import tuned_process

Loss = Callable[[Tensor, Array], Tensor]
History = dict[str, list[float]]


class Network(Layer):
    """Layers applied one after the other.

    Parameters
    ----------
    layers : iterable of Layer

    Attributes
    ----------
    history : dict of lists
        What the last `fit` measured, an entry an epoch: ``loss`` (mean of the batches' losses, weighted by
        their rows), ``seconds``, and with validation data ``validation_loss`` and, for one-hot targets,
        ``validation_accuracy``.

    >>> rng = np.random.default_rng(0)
    >>> network = tg.Network([tg.Dense(2, 8, rng=rng), tg.Tanh()])
    >>> network.add(tg.Dense(8, 1, rng=rng))
    >>> network.use(tg.mse)
    >>> x = rng.standard_normal((200, 2)).astype(np.float32)
    >>> y = x[:, :1] * x[:, 1:]
    >>> history = network.fit(x, y, epochs=50, learning_rate=0.1, batch_size=20, seed=0, verbose=False)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    >>> network.predict(x).shape
    (200, 1)
    """

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        self.layers: list[Layer] = []
        self.loss: Loss | None = None
        self.history: History = {}
        self._batch_size = 256  # of the last fit
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Append a layer; its parameters are named after their place, such as ``Dense2.weights``."""
        if not isinstance(layer, Layer):
            raise TypeError(f"Network.add: expected a Layer, got {layer!r}")
        self.layers.append(layer)
        for name, parameter in self.named_parameters().items():
            parameter.name = name

    def use(self, loss: Loss) -> None:
        """Set the loss: a function (prediction, target) -> scalar Tensor, such as `tensorgrad.mse`."""
        if not callable(loss):
            raise TypeError(f"Network.use: expected a function (prediction, target) -> Tensor, got {loss!r}")
        self.loss = loss

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers with their names: class and place."""
        for i, layer in enumerate(self.layers):
            yield f"{type(layer).__name__}{i}", layer

    @property
    def dtype(self) -> np.dtype[Any]:
        """The one dtype of all parameters; float32 if there are none."""
        found = {p.dtype for p in self.parameters()} or {np.dtype(np.float32)}
        if len(found) > 1:
            raise TypeError(
                f"Network: expected layers of one dtype, got {', '.join(sorted(map(str, found)))}"
            )
        return found.pop()

    def forward(self, x: Array) -> Tensor:
        """Apply the layers in order. A layer's error is raised with the layer's place."""
        if not self.layers:
            raise ValueError("Network: there are no layers; add some")
        for i in range(len(self.layers)):
            x = self._apply(i, x)
        return x  # type: ignore[no-any-return]  # the last layer's Tensor

    def _apply(self, i: int, x: Array) -> Tensor:
        try:
            return self.layers[i](x)
        except (TypeError, ValueError) as error:
            place = f"layer {i} of {len(self.layers)}, {self.layers[i]}, given input of shape {np.shape(x)}"
            raise type(error)(f"{place}: {error}") from error

    def fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        learning_rate: float,
        batch_size: int = 32,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        validation: tuple[Array, Array] | None = None,
        seed: np.random.Generator | int | None = None,
        verbose: bool = True,
    ) -> History:
        """Train by mini-batch gradient descent; see `MiniBatchSGD` for the update.

        Parameters
        ----------
        x, y : array_like
            Inputs and targets, a row an example; cast to the network's dtype.
        epochs, batch_size : int
            Every epoch shuffles once and keeps the last, shorter batch.
        learning_rate, momentum, nesterov, weight_decay
            As in `MiniBatchSGD`.
        validation : (x, y), optional
            Held-out data, evaluated after each epoch.
        seed : numpy.random.Generator or int, optional
            Of the shuffling.
        verbose : bool
            Print a line an epoch; on a terminal, show a progress bar too if tqdm is installed.

        Returns
        -------
        dict of lists
            See ``history`` above. Interrupted by Ctrl-C, ``network.history`` holds the finished epochs.

        Raises
        ------
        ValueError, TypeError
            Before any training: if no loss is set, the lengths differ, the data is empty or not finite, a
            shape does not fit a layer or the loss, or a number is out of range.
        FloatingPointError
            If the loss of a batch is not finite.
        """
        _check_count("epochs", epochs)
        x, y = self._checked("fit", x, y)
        if validation is not None and (not isinstance(validation, (tuple, list)) or len(validation) != 2):
            raise TypeError("fit: expected validation to be a pair (x, y)")
        held_out = None if validation is None else self._checked("fit, validation", *validation)
        _check_count("batch_size", batch_size)
        rng = np.random.default_rng(seed)
        optimizer = MiniBatchSGD(
            self.parameters(), learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )
        history: History = {}
        self.history = history
        self._batch_size = batch_size
        with tuned_process():
            for epoch in range(1, epochs + 1):
                figures = self._epoch(optimizer, (x, y), batch_size, rng, f"epoch {epoch}/{epochs}", verbose)
                if held_out is not None:
                    measured = self._measure(*held_out, batch_size)
                    figures |= {f"validation_{key}": value for key, value in measured.items()}
                for key, value in figures.items():
                    history.setdefault(key, []).append(value)
                if verbose:
                    print(_epoch_line(f"epoch {epoch}/{epochs}", figures, len(x)), flush=True)
        return history

    def predict(self, x: Array, batch_size: int = 256) -> np.ndarray[Any, Any]:
        """The network's output for ``x``, computed in batches and without a graph."""
        _check_count("batch_size", batch_size)
        x = self._checked_array("predict, x", x)
        with no_grad():
            parts = [self(x[i : i + batch_size]).numpy() for i in range(0, len(x), batch_size)]
        return np.concatenate(parts)

    def evaluate(self, x: Array, y: Array, batch_size: int | None = None) -> dict[str, float]:
        """The mean of the batches' losses, as `fit` reports it, and the accuracy where ``y`` is one-hot.

        A loss that sums over the batch grows with ``batch_size``; by default it is that of the last `fit`.
        """
        batch_size = self._batch_size if batch_size is None else batch_size
        _check_count("batch_size", batch_size)
        return self._measure(*self._checked("evaluate", x, y), batch_size)

    def summary(self, input_shape: tuple[int, ...]) -> str:
        """A table of layers, output shapes and parameter counts, for inputs of ``input_shape`` (without N).

        >>> print(tg.Network([tg.Dense(2, 3, rng=0), tg.ReLU()]).summary((2,)))
        layer            output shape    parameters
        0  Dense(2, 3)   (N, 3)                   9
        1  ReLU()        (N, 3)                   0
        total                                     9
        """
        if not self.layers:
            raise ValueError("Network: there are no layers; add some")
        x: Array = np.zeros((1, *input_shape), self.dtype)
        rows = []
        digits = len(str(len(self.layers) - 1))
        with no_grad():
            for i, layer in enumerate(self.layers):
                x = self._apply(i, x)
                shape = f"(N, {', '.join(map(str, x.shape[1:]))})"
                rows.append((f"{i:<{digits}}  {layer}", shape, sum(p.size for p in layer.parameters())))
        width = max(len(row[0]) for row in rows) + 3
        lines = [f"{'layer':{width}}{'output shape':16}{'parameters':>10}"]
        lines += [f"{name:{width}}{shape:16}{count:>10,}" for name, shape, count in rows]
        lines.append(f"{'total':{width + 16}}{sum(p.size for p in self.parameters()):>10,}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Network([{', '.join(map(repr, self.layers))}])"

    def _epoch(
        self,
        optimizer: MiniBatchSGD,
        data: tuple[Array, Array],
        batch_size: int,
        rng: np.random.Generator,
        label: str,
        verbose: bool,
    ) -> dict[str, float]:
        """Train on every example once."""
        rows = len(data[0])
        start = time.perf_counter()
        total = 0.0
        # An overflow shows in the loss and in the parameters, which are checked.
        with (
            _progress_bar(label, -(-rows // batch_size), verbose) as bar,
            np.errstate(over="ignore", invalid="ignore"),
        ):
            for x, y in minibatches(*data, batch_size, rng):
                loss = self._train_step(optimizer, x, y, label)
                total += loss * len(x)
                if bar is not None:
                    bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
                    bar.update()
        wrong = [name for name, p in self.named_parameters().items() if not np.isfinite(p.data).all()]
        if wrong:
            raise FloatingPointError(
                f"fit: {', '.join(wrong)} became infinite or NaN in {label}; "
                "a smaller learning rate usually helps"
            )
        return {"loss": total / rows, "seconds": time.perf_counter() - start}

    def _train_step(self, optimizer: MiniBatchSGD, x: Array, y: Array, label: str) -> float:
        loss = self._loss_of(x, y)
        value = loss.item()
        if not np.isfinite(value):
            raise FloatingPointError(
                f"fit: the loss became {value} in {label}; the parameters are as before this batch. "
                "A smaller learning rate usually helps"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return value

    def _loss_of(self, x: Array, y: Array) -> Tensor:
        if self.loss is None:
            raise ValueError("Network: no loss is set; call use(loss), for example network.use(tg.mse)")
        return self.loss(self(x), y)

    @no_grad()
    def _measure(self, x: Array, y: Array, batch_size: int) -> dict[str, float]:
        one_hot = _is_one_hot(y)
        total = correct = 0.0
        for i in range(0, len(x), batch_size):
            rows = slice(i, i + batch_size)
            prediction = self(x[rows])
            total += self.loss(prediction, y[rows]).item() * len(x[rows])  # type: ignore[misc]  # checked
            if one_hot:
                correct += float(np.sum(prediction.data.argmax(axis=1) == y[rows].argmax(axis=1)))
        measured = {"loss": total / len(x)}
        if one_hot:
            measured["accuracy"] = correct / len(x)
        return measured

    def _checked_array(self, what: str, values: Array) -> np.ndarray[Any, Any]:
        array = values if isinstance(values, np.ndarray) else as_numeric(values, None, what)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
        if not array.ndim or not len(array):
            raise ValueError(f"{what}: expected at least one row, got shape {array.shape}")
        array = array.astype(self.dtype, copy=False)
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(
                f"{what}: expected finite numbers, got {array[row][~np.isfinite(array[row])][0]} in row {row}"
            )
        return array

    def _checked(self, what: str, x: Array, y: Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The data in the network's dtype, tried on one row so that a misfit shows before any training."""
        x, y = self._checked_array(f"{what}, x", x), self._checked_array(f"{what}, y", y)
        if len(x) != len(y):
            raise ValueError(f"{what}: expected as many targets as inputs, got {len(y)} for {len(x)}")
        try:
            with no_grad():
                loss = self._loss_of(x[:1], y[:1])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from error
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise ValueError(f"{what}: expected the loss to give a scalar Tensor, got {loss!r}")
        return x, y


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"expected {name} to be a positive integer, got {value!r}")


def _is_one_hot(y: np.ndarray[Any, Any]) -> bool:
    return y.ndim == 2 and y.shape[1] > 1 and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())


def _progress_bar(label: str, steps: int, verbose: bool) -> AbstractContextManager[Any]:
    """A bar on a terminal; elsewhere, or without tqdm, nothing: the line an epoch is the progress then."""
    if not verbose:
        return nullcontext()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return nullcontext()
    return tqdm(total=steps, desc=label, unit="step", leave=False, disable=None)  # type: ignore[no-any-return]


def _epoch_line(label: str, figures: dict[str, float], rows: int) -> str:
    shown = {key.replace("_", " "): value for key, value in figures.items() if key != "seconds"}
    values = "  ".join(f"{key} {value:.4f}" for key, value in shown.items())
    seconds = figures["seconds"]
    return f"{label}  {values}  {seconds:.1f} s, {rows / seconds:.0f} rows/s"
