"""Layers, composed from ops. Images are (N, H, W, C), filters (F, C, KH, KW)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad import ops
from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.core.checks import pair
from tensorgrad.nn.checks import (
    Pair,
    Seed,
    as_tensor,
    require_between,
    require_input,
    require_positive,
    unusual,
)
from tensorgrad.nn.initializers import initialize
from tensorgrad.nn.layer import Layer


class Dense(Layer):
    """Fully connected layer x @ weights + bias, (N, inputs) -> (N, outputs).

    Parameters
    ----------
    inputs, outputs : int
    bias : bool
        Whether there is one; a `BatchNorm` that follows has its own.
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
        bias: bool = True,
        init: str = "glorot_uniform",
        bias_init: str = "zeros",
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        require_positive("Dense", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        rng = np.random.default_rng(rng)
        weights = initialize(init, rng, (inputs, outputs), inputs, outputs, dtype)
        self.weights = Parameter(weights, "weights")
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(initialize(bias_init, rng, (outputs,), inputs, outputs, dtype), "bias")

    def forward(self, x: Array) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        require_input(self, x, ("N", self.inputs), self.weights.dtype)
        out = x @ self.weights
        return as_tensor(out if self.bias is None else out + self.bias)

    def __repr__(self) -> str:
        return f"Dense({self.inputs}, {self.outputs}{'' if self.bias is not None else ', bias=False'})"


class Conv2D(Layer):
    """Convolution of images with filters and a bias a filter; see `tensorgrad.conv2d`.

    Parameters
    ----------
    channels, filters : int
        Channels of the input and of the output.
    kernel_size : int or pair
    stride, padding, dilation, groups
        As in `tensorgrad.conv2d`.
    bias : bool
        Whether there is one; a `BatchNorm` that follows has its own.
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
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: str = "glorot_uniform",
        bias_init: str = "zeros",
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        require_positive("Conv2D", channels=channels, filters=filters, groups=groups)
        if channels % groups or filters % groups:
            raise ValueError(
                f"Conv2D: expected channels and filters to be multiples of groups={groups}, "
                f"got {channels} and {filters}"
            )
        height, width = pair("Conv2D", "kernel_size", kernel_size, 1)
        self.channels, self.stride, self.padding = channels, stride, padding
        self.dilation, self.groups = dilation, groups
        rng = np.random.default_rng(rng)
        fan_in, fan_out = channels // groups * height * width, filters // groups * height * width
        shape = (filters, channels // groups, height, width)
        self.filters = Parameter(initialize(init, rng, shape, fan_in, fan_out, dtype), "filters")
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(initialize(bias_init, rng, (filters,), fan_in, fan_out, dtype), "bias")

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, channels) -> (N, OH, OW, filters)."""
        require_input(self, x, ("N", "H", "W", self.channels), self.filters.dtype)
        options: dict[str, Any] = {"dilation": self.dilation, "groups": self.groups}
        return as_tensor(
            ops.conv2d(x, self.filters, self.bias, stride=self.stride, padding=self.padding, **options)
        )

    def __repr__(self) -> str:
        filters, _, height, width = self.filters.shape
        options = unusual(
            ("stride", self.stride, 1),
            ("padding", self.padding, 0),
            ("dilation", self.dilation, 1),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
        )
        return f"Conv2D({self.channels}, {filters}, {height}x{width}{options})"


class Flatten(Layer):
    """All axes but the first made one, (N, ...) -> (N, M), the last axis varying fastest.

    >>> tg.Flatten()(np.zeros((4, 5, 5, 32))).shape
    (4, 800)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, ...) -> (N, M)."""
        if np.ndim(x) < 2:
            raise ValueError(f"Flatten(): expected input of shape (N, ...), got {np.shape(x)}")
        return as_tensor(ops.reshape(x, shape=(np.shape(x)[0], -1)))

    def __repr__(self) -> str:
        return "Flatten()"


class Dropout(Layer):
    """In training an element is 0 with probability ``rate``, else divided by 1 - rate; in use, itself.

    So the expected value is that of the input, and nothing needs to be scaled in use. Source: Srivastava et
    al., Dropout (2014).

    Parameters
    ----------
    rate : float
        From 0 to less than 1.
    rng : numpy.random.Generator or int, optional
        Seeds the layer's own ``generator``; fresh entropy when omitted. Of a Generator the layer takes a
        child (see `numpy.random.Generator.spawn`), so that its masks do not depend on who else draws from it.

    Raises
    ------
    ValueError
        If the rate is out of range.
    TypeError
        When called in training with what is not floating.

    >>> tg.Dropout(0.5, rng=0)(np.ones((2, 4)))
    Tensor([[2., 2., 2., 0.],
            [0., 0., 0., 0.]], dtype=float64)
    """

    def __init__(self, rate: float = 0.5, *, rng: Seed = None) -> None:
        require_between("Dropout", 0, 1, rate=rate)
        if rate == 1:
            raise ValueError("Dropout: expected a rate of less than 1, which would leave nothing")
        self.rate = float(rate)
        self.generator = (
            rng.spawn(1)[0] if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        )

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        if not self.training or not self.rate:
            return as_tensor(x)
        if getattr(x, "dtype", np.dtype(int)).kind != "f":
            raise TypeError(f"{self}: expected floating input, got {getattr(x, 'dtype', type(x).__name__)}")
        # Drawn in the order of the axes, so that the mask is the same however x lies in memory; then laid out
        # like x, as the result will be: convolution has a layout of its own.
        mask = np.empty_like(x.data if isinstance(x, Tensor) else x)
        kept = self.generator.random(x.shape, np.float32) >= self.rate
        np.multiply(kept.astype(mask.dtype), 1 / (1 - self.rate), out=mask)
        return as_tensor(x * Tensor(mask))

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"


class Embedding(Layer):
    """A vector for each of ``count`` things, looked up by number: integers (N, ...) -> (N, ..., size).

    Parameters
    ----------
    count, size : int
        How many vectors there are, and how long each is.
    init : str
        Name of an initializer, by default N(0, 1).
    dtype, rng
        As in `Dense`.

    Raises
    ------
    TypeError
        When called with what is not an array of integers.
    ValueError
        When called with a number outside 0 to count - 1.

    >>> tg.Embedding(10, 4, rng=0)(np.array([[1, 2, 3], [7, 7, 0]])).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        count: int,
        size: int,
        *,
        init: str = "normal",
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        require_positive("Embedding", count=count, size=size)
        self.count, self.size = count, size
        weights = initialize(init, np.random.default_rng(rng), (count, size), count, size, dtype)
        self.weights = Parameter(weights, "weights")

    def forward(self, x: Array) -> Tensor:
        """(N, ...) -> (N, ..., size)."""
        numbers = x.data if isinstance(x, Tensor) else x
        if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "iu":
            came = getattr(numbers, "dtype", f"a {type(numbers).__name__}")
            raise TypeError(f"{self}: expected an array of integers, got {came}")
        outside = (numbers < 0) | (numbers >= self.count)
        if outside.any():
            raise ValueError(
                f"{self}: expected numbers from 0 to {self.count - 1}, got {numbers[outside][0]}"
            )
        return as_tensor(self.weights[numbers])

    def __repr__(self) -> str:
        return f"Embedding({self.count}, {self.size})"
