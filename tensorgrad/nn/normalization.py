"""Layers that normalise: over the batch, and over the features of each example."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad import ops
from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.nn.checks import as_tensor, require_between, require_input, require_positive
from tensorgrad.nn.layer import Buffer, Layer


class BatchNorm(Layer):
    """Batch normalisation of each channel: (x - mean) / sqrt(variance + eps) scale + shift.

    In training, mean and variance are those of the batch, over all axes but the last; the variance is the
    biased one, sum((x - mean)^2) / n. Every call then moves the running statistics by

        running = (1 - momentum) running + momentum (that of the batch),

    where the variance of the batch is the unbiased one, with n - 1, as in PyTorch. In use (after
    `Layer.eval`) the running statistics take the place of the batch's, so that no example depends on its
    neighbours. A batch whose statistics are not finite leaves the running ones as they were.

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
    Under `tensorgrad.checkpoint` the layer is called twice in a step, and moves its running statistics twice.

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
        require_positive("BatchNorm", channels=channels)
        require_between("BatchNorm", 0, 1, momentum=momentum, eps=eps)
        self.channels, self.momentum, self.eps = channels, float(momentum), float(eps)
        self.scale = Parameter(np.ones(channels, dtype), "scale")
        self.shift = Parameter(np.zeros(channels, dtype), "shift")
        self.running_mean = Buffer(np.zeros(channels, dtype), "running_mean")
        self.running_variance = Buffer(np.ones(channels, dtype), "running_variance")

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input, (N, C) or (N, ..., C)."""
        require_input(self, x, ("N", "...", self.channels), self.scale.dtype)
        if not self.training:
            return self._normalized(x, self.running_mean, self.running_variance)
        axes = tuple(range(x.ndim - 1))
        count = x.size // self.channels
        if count < 2:
            raise ValueError(
                f"{self}: expected at least two values in each channel to train with, got shape {x.shape}; "
                "call eval() to use the running statistics"
            )
        mean, variance = as_tensor(ops.mean(x, axis=axes)), as_tensor(ops.var(x, axis=axes))
        out = self._normalized(x, mean, variance)
        if np.isfinite(mean.data).all() and np.isfinite(variance.data).all():
            self._move(self.running_mean, mean.data)
            self._move(self.running_variance, variance.data * (count / (count - 1)))
        return out

    def _normalized(self, x: Array, mean: Tensor, variance: Tensor) -> Tensor:
        gain = self.scale / ops.sqrt(variance + self.eps)
        return as_tensor(ops.normalize(x, mean, gain, self.shift))

    def _move(self, running: Buffer, batch: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> None:
        running.data = (1 - self.momentum) * running.data + self.momentum * batch

    def __repr__(self) -> str:
        return f"BatchNorm({self.channels})"


class LayerNorm(Layer):
    """Normalisation of each example by itself, over its last axes:
    (x - mean) / sqrt(variance + eps) scale + shift.

    The variance is the biased one, sum((x - mean)^2) / n. Training and use are the same.
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
        self.shape: tuple[int, ...] = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if not self.shape:
            raise ValueError("LayerNorm: expected the length of at least one axis, got none")
        for length in self.shape:
            require_positive("LayerNorm", shape=length)
        require_between("LayerNorm", 0, 1, eps=eps)
        self.eps = float(eps)
        self.scale = Parameter(np.ones(self.shape, dtype), "scale")
        self.shift = Parameter(np.zeros(self.shape, dtype), "shift")

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input, ``(N, ..., *shape)``."""
        require_input(self, x, ("N", "...", *self.shape), self.scale.dtype)
        axes = tuple(range(-len(self.shape), 0))
        mean, variance = ops.mean(x, axis=axes, keepdims=True), ops.var(x, axis=axes, keepdims=True)
        return as_tensor(ops.normalize(x, mean, self.scale / ops.sqrt(variance + self.eps), self.shift))

    def __repr__(self) -> str:
        return f"LayerNorm({self.shape[0] if len(self.shape) == 1 else self.shape})"
