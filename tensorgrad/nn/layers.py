"""Layers, composed from ops. Images are (N, H, W, C), filters (F, C, KH, KW)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad import ops
from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.core.checks import NDArray, between, pair, positive_integer
from tensorgrad.core.context import tracing, unrecorded
from tensorgrad.core.engine import as_option
from tensorgrad.core.recompute import computing_again
from tensorgrad.nn.initializers import Seed, initialize
from tensorgrad.nn.layer import Buffer, Layer
from tensorgrad.nn.shared_batches import count_values, draw_rows, find_statistics

__all__ = [
    "ELU", "GELU", "AvgPool2D", "BatchNorm", "Conv2D", "Dense", "Dropout", "Embedding", "Flatten",
    "GlobalAvgPool2D", "GlobalMaxPool2D", "LayerNorm", "LeakyReLU", "LogSoftmax", "MaxPool2D", "ReLU", "SiLU",
    "Sigmoid", "Softmax", "Softplus", "Tanh",
]  # fmt: skip

Pair: TypeAlias = int | tuple[int, int]


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
        self.inputs = positive_integer("Dense", "inputs", inputs)
        self.outputs = positive_integer("Dense", "outputs", outputs)
        rng = np.random.default_rng(rng)
        draw = partial(initialize, rng=rng, fan_in=inputs, fan_out=outputs, dtype=dtype)
        self.weights = Parameter(draw(init, shape=(inputs, outputs)), "weights")
        self.bias = Parameter(draw(bias_init, shape=(outputs,)), "bias") if bias else None

    def forward(self, x: Array) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        _require_input(self, x, ("N", self.inputs), self.weights.dtype)
        out = x @ self.weights
        return _as_tensor(out if self.bias is None else out + self.bias)

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
        self.channels = positive_integer("Conv2D", "channels", channels)
        positive_integer("Conv2D", "filters", filters)
        self.groups = positive_integer("Conv2D", "groups", groups)
        if channels % groups or filters % groups:
            raise ValueError(
                f"Conv2D: expected channels and filters to be multiples of groups={groups}, "
                f"got {channels} and {filters}"
            )
        height, width = pair("Conv2D", "kernel_size", kernel_size, 1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        shape = (filters, channels // groups, height, width)
        fan_in, fan_out = channels // groups * height * width, filters // groups * height * width
        rng = np.random.default_rng(rng)
        draw = partial(initialize, rng=rng, fan_in=fan_in, fan_out=fan_out, dtype=dtype)
        self.filters = Parameter(draw(init, shape=shape), "filters")
        self.bias = Parameter(draw(bias_init, shape=(filters,)), "bias") if bias else None

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, channels) -> (N, OH, OW, filters)."""
        _require_input(self, x, ("N", "H", "W", self.channels), self.filters.dtype)
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        return _as_tensor(ops.conv2d(x, self.filters, self.bias, **options))

    def __repr__(self) -> str:
        filters, _, height, width = self.filters.shape
        options = _unusual(
            ("stride", self.stride, 1),
            ("padding", self.padding, 0),
            ("dilation", self.dilation, 1),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
        )
        return f"Conv2D({self.channels}, {filters}, {height}x{width}{options})"


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
        self.count = positive_integer("Embedding", "count", count)
        self.size = positive_integer("Embedding", "size", size)
        weights = initialize(init, np.random.default_rng(rng), (count, size), count, size, dtype)
        self.weights = Parameter(weights, "weights")

    def forward(self, x: Array) -> Tensor:
        """(N, ...) -> (N, ..., size)."""
        numbers = as_option(x)
        if not isinstance(numbers, (np.ndarray, Tensor)) or numbers.dtype.kind not in "iu":
            came = getattr(numbers, "dtype", f"a {type(numbers).__name__}")
            raise TypeError(f"{self}: expected an array of integers, got {came}")
        outside, recorder = (numbers < 0) | (numbers >= self.count), tracing.get()
        if (recorder is None or recorder.checks) and np.any(outside):
            with unrecorded():
                came = np.asarray(numbers)[np.asarray(outside)][0]
            raise ValueError(f"{self}: expected numbers from 0 to {self.count - 1}, got {came}")
        return _as_tensor(self.weights[numbers])

    def __repr__(self) -> str:
        return f"Embedding({self.count}, {self.size})"


class _OpLayer(Layer):
    """An op as a layer. The op's options, where it has any, are the layer's attributes."""

    _op: ClassVar[Callable[..., Any]]
    _options: ClassVar[tuple[str, ...]] = ()

    def forward(self, x: Array) -> Tensor:
        """The layer's op of ``x``."""
        return _as_tensor(self._op(x, **{name: getattr(self, name) for name in self._options}))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(getattr(self, name)) for name in self._options)})"


class Sigmoid(_OpLayer):
    """Logistic function, elementwise; see `tensorgrad.sigmoid`."""

    _op = staticmethod(ops.sigmoid)


class ReLU(_OpLayer):
    """max(x, 0), elementwise; see `tensorgrad.relu`."""

    _op = staticmethod(ops.relu)


class Tanh(_OpLayer):
    """Hyperbolic tangent, elementwise; see `tensorgrad.tanh`."""

    _op = staticmethod(ops.tanh)


class Softplus(_OpLayer):
    """log(1 + exp(x)), elementwise; see `tensorgrad.softplus`."""

    _op = staticmethod(ops.softplus)


class SiLU(_OpLayer):
    """x sigmoid(x), elementwise; see `tensorgrad.silu`."""

    _op = staticmethod(ops.silu)


class LeakyReLU(_OpLayer):
    """x where it is positive, ``slope`` x elsewhere; see `tensorgrad.leaky_relu`.

    >>> tg.LeakyReLU(0.5)(np.array([-2.0, 3.0]))
    Tensor([-1.,  3.], dtype=float64)
    """

    _op = staticmethod(ops.leaky_relu)
    _options = ("slope",)

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope


class ELU(_OpLayer):
    """x where it is positive, ``alpha`` (exp(x) - 1) elsewhere; see `tensorgrad.elu`.

    >>> tg.ELU()(np.array([-1.0, 3.0]))
    Tensor([-0.63212056,  3.        ], dtype=float64)
    """

    _op = staticmethod(ops.elu)
    _options = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha


class GELU(_OpLayer):
    """x times the normal distribution function of x; see `tensorgrad.gelu` for ``approximate``.

    >>> tg.GELU()(np.array([-1.0, 1.0]))
    Tensor([-0.15865525,  0.84134475], dtype=float64)
    """

    _op = staticmethod(ops.gelu)
    _options = ("approximate",)

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = approximate

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


class Softmax(_OpLayer):
    """exp(x) / sum(exp(x)) along the last axis; see `tensorgrad.softmax`."""

    _op = staticmethod(ops.softmax)


class LogSoftmax(_OpLayer):
    """x - log(sum(exp(x))) along the last axis; see `tensorgrad.log_softmax`.

    `tensorgrad.cross_entropy` takes logits: put nothing before it.
    """

    _op = staticmethod(ops.log_softmax)


class _Pool2D(_OpLayer):
    _options = ("size", "stride", "padding")

    def __init__(self, size: Pair = 2, stride: Pair | None = None, padding: Any = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def __repr__(self) -> str:
        options = _unusual(("stride", self.stride, None), ("padding", self.padding, 0))
        return f"{type(self).__name__}({self.size}{options})"


class MaxPool2D(_Pool2D):
    """Maximum over windows, (N, H, W, C) -> (N, OH, OW, C); see `tensorgrad.max_pool`.

    The stride is the window's size unless given.

    >>> tg.MaxPool2D(2)(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 13, 16)
    """

    _op = staticmethod(ops.max_pool)


class AvgPool2D(_Pool2D):
    """Mean over windows, (N, H, W, C) -> (N, OH, OW, C); see `tensorgrad.avg_pool`.

    The stride is the window's size unless given.

    >>> tg.AvgPool2D((2, 1))(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 26, 16)
    """

    _op = staticmethod(ops.avg_pool)


class GlobalAvgPool2D(_OpLayer):
    """The mean of each channel of each image, (N, H, W, C) -> (N, C); see `tensorgrad.global_avg_pool`.

    >>> tg.GlobalAvgPool2D()(np.zeros((4, 7, 7, 16), np.float32)).shape
    (4, 16)
    """

    _op = staticmethod(ops.global_avg_pool)


class GlobalMaxPool2D(_OpLayer):
    """The maximum of each channel of each image, (N, H, W, C) -> (N, C); see `tensorgrad.global_max_pool`.

    >>> tg.GlobalMaxPool2D()(np.zeros((4, 7, 7, 16), np.float32)).shape
    (4, 16)
    """

    _op = staticmethod(ops.global_max_pool)


class BatchNorm(Layer):
    """Batch normalisation of each channel: (x - mean) / sqrt(variance + eps) scale + shift.

    In training, mean and variance are those of the batch, over all axes but the last; the variance is the
    biased one, sum((x - mean)^2) / n. Every call then moves the running statistics by

        running = (1 - momentum) running + momentum (that of the batch),

    where the variance of the batch is the unbiased one, with n - 1, as in PyTorch. At inference (after
    `Layer.eval`) the running statistics take the place of the batch's, so that no example depends on its
    neighbours. A batch whose statistics are not finite leaves the running ones as they were, and one that
    `tensorgrad.checkpoint` computes again moves them once.

    Source: Ioffe and Szegedy, Batch normalization (2015).

    Parameters
    ----------
    channels : int
        The length of the last axis, of (N, C) as of images (N, H, W, C).
    momentum : float
        From 0 to 1. Keras calls 1 - momentum so.
    eps : float
        Added to the variance.
    dtype : dtype

    Attributes
    ----------
    scale, shift : Parameter (C,)
        1 and 0 at first.
    running_mean, running_variance : Buffer (C,)
        0 and 1 at first.

    Raises
    ------
    ValueError
        When called with another number of channels, or in training with a single value in each channel, which
        has no variance.
    TypeError
        When called with another dtype.

    Notes
    -----
    >>> layer = tg.BatchNorm(2, dtype=float)
    >>> layer(np.array([[1.0, 10.0], [3.0, 30.0]]))
    Tensor([[-0.999995  , -0.99999995],
            [ 0.999995  ,  0.99999995]], dtype=float64, op=normalize)
    >>> layer.running_mean
    Buffer([0.2, 2. ], dtype=float64, name='running_mean')
    """

    def __init__(
        self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5, dtype: DTypeLike = np.float32
    ) -> None:
        self.channels = positive_integer("BatchNorm", "channels", channels)
        self.momentum = between("BatchNorm", "momentum", momentum, 0, 1)
        self.eps = between("BatchNorm", "eps", eps, 0, 1)
        self.scale = Parameter(np.ones(channels, dtype), "scale")
        self.shift = Parameter(np.zeros(channels, dtype), "shift")
        self.running_mean = Buffer(np.zeros(channels, dtype), "running_mean")
        self.running_variance = Buffer(np.ones(channels, dtype), "running_variance")

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input, (N, C) or (N, ..., C)."""
        _require_input(self, x, ("N", "...", self.channels), self.scale.dtype)
        if not self.training:
            return _normalize(x, self.running_mean, self.running_variance, self)
        count = count_values(x)
        if count < 2:
            raise ValueError(
                f"{self}: expected at least two values in each channel to train with, got shape {x.shape}; "
                "call eval() to use the running statistics"
            )
        mean, variance = map(_as_tensor, find_statistics(_widen(x)))
        out = _normalize(x, mean, variance, self)
        recorder = tracing.get()
        if recorder is None and not computing_again.get():
            self._move(count, mean.data, variance.data)
        elif recorder is not None:
            recorder.report((mean, variance), partial(self._move, count))
        return out

    def _move(self, count: int, mean: NDArray, variance: NDArray) -> None:
        """Move the running statistics towards those of a batch, if these are finite."""
        if np.isfinite(mean).all() and np.isfinite(variance).all():
            for running, batch in (
                (self.running_mean, mean),
                (self.running_variance, variance * (count / (count - 1))),
            ):
                moved = (1 - self.momentum) * running.data + self.momentum * batch
                if np.any(abs(moved) > np.finfo(running.dtype).max):
                    raise ValueError(
                        f"{self}: {running.dtype} cannot hold the {running.name}, {np.max(moved):.3g}; "
                        "scale the inputs, or compute in float32"
                    )
                running.data = moved.astype(running.dtype)

    def __repr__(self) -> str:
        return f"BatchNorm({self.channels})"


def _widen(x: Array) -> Array:
    """Halves in single precision: their variance may be more than a half can hold, their mean lose digits."""
    return ops.astype(x, dtype="float32") if x.dtype == np.float16 else x


def _normalize(x: Array, mean: Array, variance: Array, layer: BatchNorm | LayerNorm) -> Tensor:
    gain = _widen(layer.scale) / ops.sqrt(_widen(variance) + layer.eps)
    out = ops.normalize(_widen(x), _widen(mean), gain, _widen(layer.shift))
    return _as_tensor(out if out.dtype == x.dtype else ops.astype(out, dtype=x.dtype))


class LayerNorm(Layer):
    """Normalisation of each example by itself, over its last axes:
    (x - mean) / sqrt(variance + eps) scale + shift.

    The variance is the biased one, sum((x - mean)^2) / n. Training and inference are the same.
    Source: Ba, Kiros and Hinton, Layer normalization (2016).

    Parameters
    ----------
    shape : int or tuple of int
        The lengths of the last axes, over which mean and variance are taken.
    eps : float
        Added to the variance.
    dtype : dtype

    Attributes
    ----------
    scale, shift : Parameter
        Of that shape; 1 and 0 at first.

    Raises
    ------
    ValueError, TypeError
        When called with an input of other last axes or of another dtype.

    >>> tg.LayerNorm(2, dtype=float)(np.array([[1.0, 3.0], [10.0, 30.0]]))
    Tensor([[-0.999995  ,  0.999995  ],
            [-0.99999995,  0.99999995]], dtype=float64, op=normalize)
    """

    def __init__(
        self, shape: int | tuple[int, ...], *, eps: float = 1e-5, dtype: DTypeLike = np.float32
    ) -> None:
        lengths = shape if isinstance(shape, (tuple, list)) else (shape,)
        if not lengths:
            raise ValueError("LayerNorm: expected the length of at least one axis, got none")
        self.shape = tuple(positive_integer("LayerNorm", "shape", length) for length in lengths)
        self.eps = between("LayerNorm", "eps", eps, 0, 1)
        self.scale = Parameter(np.ones(self.shape, dtype), "scale")
        self.shift = Parameter(np.zeros(self.shape, dtype), "shift")

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input, ``(N, ..., *shape)``."""
        _require_input(self, x, ("N", "...", *self.shape), self.scale.dtype)
        axes = tuple(range(-len(self.shape), 0))
        wide = _widen(x)
        mean, variance = ops.mean(wide, axis=axes, keepdims=True), ops.var(wide, axis=axes, keepdims=True)
        return _normalize(x, mean, variance, self)

    def __repr__(self) -> str:
        return f"LayerNorm({self.shape[0] if len(self.shape) == 1 else self.shape})"


class Flatten(Layer):
    """All axes but the first made one, (N, ...) -> (N, M), the last axis varying fastest.

    >>> tg.Flatten()(np.zeros((4, 5, 5, 32))).shape
    (4, 800)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, ...) -> (N, M)."""
        if np.ndim(x) < 2:
            raise ValueError(f"Flatten(): expected input of shape (N, ...), got {np.shape(x)}")
        return _as_tensor(ops.reshape(x, shape=(np.shape(x)[0], -1)))

    def __repr__(self) -> str:
        return "Flatten()"


class Dropout(Layer):
    """In training an element is 0 with probability ``rate``, else divided by 1 - rate; at inference, itself.

    So the expected value is that of the input, and nothing needs to be scaled at inference.
    Source: Srivastava et al., Dropout (2014).

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
        self.rate = between("Dropout", "rate", rate, 0, 1)
        if self.rate == 1:
            raise ValueError("Dropout: expected a rate of less than 1, which would leave nothing")
        self.generator = (
            rng.spawn(1)[0] if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        )

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        if not self.training or not self.rate:
            return _as_tensor(x)
        if getattr(x, "dtype", np.dtype(int)).kind != "f":
            raise TypeError(f"{self}: expected floating input, got {getattr(x, 'dtype', type(x).__name__)}")
        # Drawn in the order of the axes, so that the mask is the same however x lies in memory; then laid out
        # like x, as the result will be: convolution has a layout of its own.
        recorder = tracing.get()
        if recorder is not None:
            state = self.generator.bit_generator.state  # each call of the compiled code draws, this does not
            mask = recorder.draw(partial(self._draw_new, x.shape, x.dtype))
            self.generator.bit_generator.state = state
            return _as_tensor(x * mask)
        like = np.empty_like(x.data if isinstance(x, Tensor) else x, subok=False)
        return _as_tensor(x * Tensor(self._draw(like), name="mask"))

    def _draw_new(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        return self._draw(np.empty(shape, dtype))  # new for each call and thread

    def _draw(self, mask: NDArray) -> NDArray:
        """Fill ``mask`` with 0 for what is left out, and 1 / (1 - rate)."""
        kept: NDArray = np.asarray(draw_rows(self.generator, mask.shape) >= self.rate)
        np.multiply(kept.astype(mask.dtype), 1 / (1 - self.rate), out=mask)
        return mask

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"


def _require_input(layer: object, x: Array, shape: tuple[int | str, ...], dtype: np.dtype[Any]) -> None:
    """Refuse, naming ``layer``, an ``x`` of another dtype or shape, where a str matches any length and "..."
    any number of axes."""
    if not isinstance(x, (np.ndarray, Tensor)):
        how = ".toarray()" if hasattr(x, "toarray") else f"np.asarray(x, {str(dtype)!r})"
        raise TypeError(f"{layer}: expected a {dtype} array or Tensor, got a {type(x).__name__}; write {how}")
    wanted = list(shape)
    if "..." in wanted:
        at = wanted.index("...")
        wanted[at : at + 1] = ["any"] * (x.ndim - len(shape) + 1)
    fits = x.ndim == len(wanted) and all(
        isinstance(n, str) or n == m for n, m in zip(wanted, x.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{layer}: expected input of shape ({', '.join(str(n) for n in shape)}), got {x.shape}"
            f"{_advise_on_shape(x.shape, shape)}"
        )
    if x.dtype != dtype:
        raise TypeError(
            f"{layer}: expected {dtype} input, got {x.dtype}; cast it with .astype({str(dtype)!r})"
        )


def _advise_on_shape(came: tuple[int, ...], wanted: tuple[int | str, ...]) -> str:
    """What to write for an input of a well-known wrong shape, as the end of a sentence."""
    *_, last = wanted
    if len(came) == len(wanted) - 1 and came[-1] == last:
        return "; write x[np.newaxis] for a batch of one"
    if len(wanted) == 4 == len(came) and came[1] == last:
        return "; images have their channels last here, write x.transpose(0, 2, 3, 1)"
    if len(wanted) == 4 == len(came) + 1 and last == 1:
        return "; write x[..., np.newaxis] for images of one channel"
    if len(wanted) == 2 < len(came) and math.prod(came[1:]) == last:
        return "; write x.reshape(len(x), -1), or put a Flatten() before it"
    return ""


def _as_tensor(x: Array) -> Tensor:
    """A layer's result as a Tensor, also where the layer has no parameters and came first."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _unusual(*options: tuple[str, Any, Any]) -> str:
    """Of the options (name, value, default) those that are not the default, for a repr."""
    return "".join(f", {name}={value}" for name, value, usual in options if value != usual)
