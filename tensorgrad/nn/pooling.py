"""Pooling of images (N, H, W, C)."""

from __future__ import annotations

from typing import Any

from tensorgrad import ops
from tensorgrad.core import Array, Tensor
from tensorgrad.nn.checks import Pair, as_tensor, unusual
from tensorgrad.nn.layer import Layer


class _Pool2D(Layer):
    def __init__(self, size: Pair = 2, stride: Pair | None = None, padding: Any = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def __repr__(self) -> str:
        options = unusual(("stride", self.stride, None), ("padding", self.padding, 0))
        return f"{type(self).__name__}({self.size}{options})"


class MaxPool2D(_Pool2D):
    """Maximum over windows; see `tensorgrad.max_pool`. The stride is the window's size unless given.

    >>> tg.MaxPool2D(2)(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 13, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, OH, OW, C)."""
        return as_tensor(ops.max_pool(x, size=self.size, stride=self.stride, padding=self.padding))


class AvgPool2D(_Pool2D):
    """Mean over windows; see `tensorgrad.avg_pool`. The stride is the window's size unless given.

    >>> tg.AvgPool2D((2, 1))(np.zeros((4, 26, 26, 16), np.float32)).shape
    (4, 13, 26, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, OH, OW, C)."""
        return as_tensor(ops.avg_pool(x, size=self.size, stride=self.stride, padding=self.padding))


class GlobalAvgPool2D(Layer):
    """The mean of each channel of each image, (N, H, W, C) -> (N, C); see `tensorgrad.global_avg_pool`.

    >>> tg.GlobalAvgPool2D()(np.zeros((4, 7, 7, 16), np.float32)).shape
    (4, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, C)."""
        return as_tensor(ops.global_avg_pool(x))

    def __repr__(self) -> str:
        return "GlobalAvgPool2D()"


class GlobalMaxPool2D(Layer):
    """The maximum of each channel of each image, (N, H, W, C) -> (N, C); see `tensorgrad.global_max_pool`.

    >>> tg.GlobalMaxPool2D()(np.zeros((4, 7, 7, 16), np.float32)).shape
    (4, 16)
    """

    def forward(self, x: Array) -> Tensor:
        """(N, H, W, C) -> (N, C)."""
        return as_tensor(ops.global_max_pool(x))

    def __repr__(self) -> str:
        return "GlobalMaxPool2D()"
