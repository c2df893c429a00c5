"""Activations as layers; each is an op of its name, applied to every element."""

from __future__ import annotations

from typing import Literal

from tensorgrad import ops
from tensorgrad.core import Array, Tensor
from tensorgrad.nn.checks import as_tensor
from tensorgrad.nn.layer import Layer


class _Activation(Layer):
    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Sigmoid(_Activation):
    """Logistic function, elementwise; see `tensorgrad.sigmoid`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.sigmoid(x))


class ReLU(_Activation):
    """max(x, 0), elementwise; see `tensorgrad.relu`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.relu(x))


class Tanh(_Activation):
    """Hyperbolic tangent, elementwise; see `tensorgrad.tanh`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.tanh(x))


class Softplus(_Activation):
    """log(1 + exp(x)), elementwise; see `tensorgrad.softplus`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.softplus(x))


class SiLU(_Activation):
    """x sigmoid(x), elementwise; see `tensorgrad.silu`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.silu(x))


class LeakyReLU(Layer):
    """x where it is positive, ``slope`` x elsewhere; see `tensorgrad.leaky_relu`.

    >>> tg.LeakyReLU(0.5)(np.array([-2.0, 3.0]))
    Tensor([-1.,  3.], dtype=float64)
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.leaky_relu(x, slope=self.slope))

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope})"


class ELU(Layer):
    """x where it is positive, ``alpha`` (exp(x) - 1) elsewhere; see `tensorgrad.elu`.

    >>> tg.ELU()(np.array([-1.0, 3.0]))
    Tensor([-0.63212056,  3.        ], dtype=float64)
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.elu(x, alpha=self.alpha))

    def __repr__(self) -> str:
        return f"ELU({self.alpha})"


class GELU(Layer):
    """x times the normal distribution function of x; see `tensorgrad.gelu` for ``approximate``.

    >>> tg.GELU()(np.array([-1.0, 1.0]))
    Tensor([-0.15865525,  0.84134475], dtype=float64)
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.gelu(x, approximate=self.approximate))

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along the last axis; see `tensorgrad.softmax`."""

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.softmax(x))


class LogSoftmax(_Activation):
    """x - log(sum(exp(x))) along the last axis; see `tensorgrad.log_softmax`.

    `tensorgrad.cross_entropy` takes logits: put nothing before it.
    """

    def forward(self, x: Array) -> Tensor:
        """Same shape as the input."""
        return as_tensor(ops.log_softmax(x))
