"""Sequential: layers in a row, and their loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np

from tensorgrad.core import Array, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import choose, explained, find_name
from tensorgrad.nn import layers
from tensorgrad.nn.layer import Layer
from tensorgrad.ops import binary_cross_entropy, cross_entropy, huber, mae, mse

__all__ = ["BatchReduction", "ForwardState", "History", "Sequential", "loss_of"]

BatchReduction: TypeAlias = Literal["mean", "sum"]
History: TypeAlias = dict[str, list[float]]
Loss: TypeAlias = Callable[..., Tensor]

#: Losses by their names.
LOSSES: dict[str, Loss] = {
    "mse": mse, "mae": mae, "huber": huber, "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}  # fmt: skip


class _Beside:
    """What a network has beside its state. A search for parameters does not look here: it may be much."""

    __slots__ = ("code", "engine", "history", "named")

    def __init__(self, history: History | None = None, engine: str = "") -> None:
        self.history: History = {} if history is None else history
        self.engine = engine
        self.code: dict[str, Any] = {}
        self.named: dict[
            int, Any
        ] = {}  # parameters that `add` has named, by identity; held, so that it lasts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.history, self.engine)  # the code is that of this network and this process


class Sequential(Layer):
    """Layers applied one after the other, with a loss: what a training knows of a `Network`."""

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        self.layers: list[Layer] = []
        self.loss: Loss | None = None
        self._beside = _Beside()
        self.reduction: BatchReduction | None = None
        if isinstance(layers, Layer):
            raise TypeError(f"Network: expected a list of layers, got one layer, {layers!r}")
        for layer in layers:
            self.add(layer)

    @property
    def history(self) -> History:
        """What the last `fit` measured."""
        return self._beside.history

    @history.setter
    def history(self, value: History) -> None:
        self._beside.history = value

    @property
    def engine(self) -> str:
        """What the last `fit` computed with, in a line."""
        return self._beside.engine

    @engine.setter
    def engine(self, value: str) -> None:
        self._beside.engine = value

    @property
    def code(self) -> dict[str, Any]:
        """What was compiled of the network, by what it computes; copies and pickles have none."""
        return self._beside.code

    def __getitem__(self, place: Any) -> NoReturn:
        raise TypeError(f"a Network has its layers in network.layers; write network.layers[{place!r}]")

    @explained
    def add(self, layer: Layer) -> None:
        """Append a layer; its parameters are named after their place, such as ``Dense2.weights``."""
        if not isinstance(layer, Layer):
            meant = find_name(str(getattr(layer, "__name__", layer)), layers.__all__)
            hint = f"; did you mean tg.{meant}(...)?" if meant else ""
            raise TypeError(f"Network.add: expected a Layer, got {layer!r}{hint}")
        place = f"{type(layer).__name__}{len(self.layers)}"
        self.layers.append(layer)
        for name, parameter in layer.named_parameters().items():
            if id(parameter) not in self._beside.named:  # else the layer came before
                self._beside.named[id(parameter)] = parameter
                parameter.name = f"{place}.{name}"

    @explained
    def use(self, loss: str | Loss, *, reduction: BatchReduction | None = None) -> None:
        """Set the loss: a function (prediction, target) -> scalar Tensor, such as `tensorgrad.mse`.

        Parameters
        ----------
        loss : function or str
            For weights of examples it takes a keyword ``weights`` too. One of tensorgrad's may be given by
            its name: "mse", "mae", "huber", "cross_entropy" or "binary_cross_entropy".
        reduction : "mean" or "sum", optional
            Whether the loss averages or sums over the rows of a batch. It is only reported by that, and need
            be said only of a loss that neither stays the same nor doubles when every row comes twice.
        """
        if isinstance(loss, str):
            others = " or a function (prediction, target) -> Tensor"
            loss = choose("Network.use: expected the loss", loss, LOSSES, others)
        if not callable(loss):
            raise TypeError(f"Network.use: expected a function (prediction, target) -> Tensor, got {loss!r}")
        if reduction not in (None, "mean", "sum"):
            raise ValueError(f"Network.use: expected the reduction mean or sum, got {reduction!r}")
        self.loss = loss
        self.reduction = reduction

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers with their names: class and place."""
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"Network: expected layers[{i}] to be a Layer, got {layer!r}")
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
        ((_, out),) = deque(self.run_layers(x), maxlen=1)
        return out

    def run_layers(self, x: Array) -> Iterator[tuple[Layer, Tensor]]:
        """Each layer and its output, from ``x`` on; a layer's error is raised with the layer's place."""
        if not self.layers:
            raise ValueError("Network: there are no layers; add some")
        for i, layer in enumerate(self.layers):
            try:
                x = layer(x)
            except (TypeError, ValueError, FloatingPointError) as error:
                place = f"layer {i} of {len(self.layers)}, {layer!r}, given input of shape {np.shape(x)}"
                if isinstance(error, FloatingPointError):
                    error.add_note(f"in {place}")
                    raise
                raise type(error)(f"{place}: {error}") from error
            yield layer, x


def loss_of(network: Sequential) -> Callable[[Tensor, NDArray, NDArray | None], Tensor]:
    """The loss that is set, as a function of prediction, target, and weights of rows or None."""
    loss = network.loss
    if loss is None:
        raise ValueError("Network: no loss is set; call use(loss), for example network.use(tg.mse)")
    return lambda prediction, y, weights: (
        loss(prediction, y) if weights is None else loss(prediction, y, weights=weights)
    )


class ForwardState:
    """What a forward pass changes in a layer, to be put back: its buffers and random generators."""

    def __init__(self, layer: Layer) -> None:
        self._buffers = layer.buffers()
        self._generators = list(layer.named_generators().values())
        self.save()

    def save(self) -> None:
        """Remember how things are."""
        self._values = [buffer.numpy() for buffer in self._buffers]
        self._states = [generator.bit_generator.state for generator in self._generators]

    def restore(self) -> None:
        """Let things be as they were when `save` was called."""
        for buffer, values in zip(self._buffers, self._values, strict=True):
            buffer.data = values
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.bit_generator.state = state
