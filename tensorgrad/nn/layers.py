"""The layers of the notebook, composed from ops. Images are (N, H, W, C), filters (F, C, KH, KW)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad import ops
from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.nn.initializers import initialize
from tensorgrad.nn.layer import Layer

Seed: TypeAlias = np.random.Generator | int | None
Pair: TypeAlias = int | tuple[int, int]


def _check_input(layer: Layer, x: Array, shape: tuple[int | str, ...], dtype: np.dtype[Any]) -> None:
    """Refuse, naming ``layer``, an ``x`` of another shape (a str matches any length) or dtype."""
    if not isinstance(x, (np.ndarray, Tensor)):
        raise TypeError(f"{layer}: expected a {dtype} array or Tensor, got a {type(x).__name__}")
    x_shape, x_dtype = x.shape, x.dtype
    fits = len(x_shape) == len(shape) and all(
        isinstance(n, str) or n == m for n, m in zip(shape, x_shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(n) for n in shape)
        raise ValueError(f"{layer}: expected input of shape ({wanted}), got {x_shape}")
    if x_dtype != dtype:
        raise TypeError(
            f"{layer}: expected {dtype} input, got {x_dtype}; cast it with .astype({str(dtype)!r})"
        )


def _positive(layer: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{layer}: expected {name} to be a positive integer, got {size!r}")


class Dense(Layer):
    """Fully connected layer x @ weights + bias, (N, inputs) -> (N, outputs).

    Parameters
    ----------
    inputs, outputs : int
    init, bias_init : str
        Names of initializers; see `tensorgrad.nn.initializers.initialize`.
    dtype : dtype
    rng : numpy.random.Generator or int, optional
        Where the initial weights come from; fresh entropy when omitted.

    Raises
    ------
    ValueError, TypeError
        When called with an input of another shape or dtype.

    >>> tg.Dense(3, 2, rng=0)(np.ones((4, 3), np.float32)).shape
    (4, 2)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        init: str = "glorot_uniform",
        bias_init: str = "zeros",
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        _positive("Dense", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        rng = np.random.default_rng(rng)
        weights = initialize(init, rng, (inputs, outputs), inputs, outputs, dtype)
        bias = initialize(bias_init, rng, (outputs,), inputs, outputs, dtype)
        self.weights = Parameter(weights, "weights")
        self.bias = Parameter(bias, "bias")

    def forward(self, x: Array) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        _check_input(self, x, ("N", self.inputs), self.weights.dtype)
        return _tensor(x @ self.weights + self.bias)

    def __repr__(self) -> str:
        return f"Dense({self.inputs}, {self.outputs})"


class Conv2D(Layer):
    """Convolution of images with filters and a bias a filter; see `tensorgrad.conv2d`.

    Parameters
    ----------
    channels, filters : int
        Channels of the input and of the output.
    kernel_size : int or pair
    stride, padding : int or pair
        As in `tensorgrad.conv2d`.
    init, bias_init, dtype, rng
        As in `Dense`.

    >>> tg.Conv2D(1, 16, 3, rng=0)(np.zeros((4, 28, 28, 1), np.float32)).shape
    (4, 26, 26, 16)
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Any = 0,
        *,
        init: str = "glorot_uniform",
        bias_init: str = "zeros",
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        _positive("Conv2D", channels=channels, filters=filters)
        height, width = ops.windows.pair("Conv2D", "kernel_size", kernel_size, 1)
        self.channels, self.stride, self.padding = channels, stride, padding
        rng = np.random.default_rng(rng)
        fan_in, fan_out = channels * height * width, filters * height * width
        shape = (filters, channels, height, width)
        self.filters = Parameter(initialize(init, rng, shape, fan_in, fan_out, dtype), "filters")
        self.bias = Parameter(initialize(bias_init, rng, (filters,), fan_in, fan_out, dtype), "bias")

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, channels) -> (N, OH, OW, filters)."""
        _check_input(self, x, ("N", "H", "W", self.channels), self.filters.dtype)
        return _tensor(ops.conv2d(x, self.filters, self.bias, stride=self.stride, padding=self.padding))

    def __repr__(self) -> str:
        filters, channels, height, width = self.filters.shape
        options = "".join(
            f", {name}={value}"
            for name, value, usual in (("stride", self.stride, 1), ("padding", self.padding, 0))
            if value != usual
        )
        return f"Conv2D({channels}, {filters}, {height}x{width}{options})"


class _Pool2D(Layer):
    def __init__(self, size: Pair = 2, stride: Pair | None = None, padding: Any = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def __repr__(self) -> str:
        options = "".join(
            f", {name}={value}"
            for name, value, usual in (("stride", self.stride, None), ("padding", self.padding, 0))
            if value != usual
        )
        return f"{type(self).__name__}({self.size}{options})"


class MaxPool2D(_Pool2D):
    """Maximum over windows; see `tensorgrad.max_pool`. The stride is the window's size unless given.

    >>> tg.MaxPool2D(2)(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 13, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, OH, OW, C)."""
        return _tensor(ops.max_pool(x, size=self.size, stride=self.stride, padding=self.padding))


class AvgPool2D(_Pool2D):
    """Mean over windows; see `tensorgrad.avg_pool`. The stride is the window's size unless given.

    >>> tg.AvgPool2D((2, 1))(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 26, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, OH, OW, C)."""
        return _tensor(ops.avg_pool(x, size=self.size, stride=self.stride, padding=self.padding))


class Flatten(Layer):
    """All axes but the first made one, (N, ...) -> (N, M), the last axis varying fastest.

    >>> tg.Flatten()(np.zeros((4, 5, 5, 32))).shape
    (4, 800)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, ...) -> (N, M)."""
        if np.ndim(x) < 2:
            raise ValueError(f"Flatten(): expected input of shape (N, ...), got {np.shape(x)}")
        return _tensor(ops.reshape(x, shape=(np.shape(x)[0], -1)))

    def __repr__(self) -> str:
        return "Flatten()"


class _Activation(Layer):
    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Sigmoid(_Activation):
    """Logistic function, elementwise; see `tensorgrad.sigmoid`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return _tensor(ops.sigmoid(x))


class ReLU(_Activation):
    """max(x, 0), elementwise; see `tensorgrad.relu`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return _tensor(ops.relu(x))


class Tanh(_Activation):
    """Hyperbolic tangent, elementwise; see `tensorgrad.tanh`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return _tensor(ops.tanh(x))


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along the last axis; see `tensorgrad.softmax`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return _tensor(ops.softmax(x))


def _tensor(x: Array) -> Tensor:
    """A layer's result as a Tensor, also where the layer has no parameters and came first."""
    return x if isinstance(x, Tensor) else Tensor(x)
