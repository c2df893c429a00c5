"""Optimizers: they step parameters against their gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgrad.core import Tensor, no_grad


class MiniBatchSGD:
    """Gradient descent on mini-batches, with momentum and weight decay.

    With gradient g, decay d, momentum m and rate r, each step is::

        g <- g + d p        v <- m v + g        p <- p - r v        (Nesterov: p <- p - r (g + m v))

    which is PyTorch's form of Sutskever et al. 2013. The decay adds d/2 |p|^2 to the loss: what the
    notebook's ``lambda_reg`` was meant to do.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves that require grad; each once.
    learning_rate : float
        Must be at least 0. May be assigned between steps.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs a momentum.
    weight_decay : float
        Must be at least 0.

    Raises
    ------
    ValueError
        If there are no parameters, one comes twice, or a number is out of range.
    TypeError
        If a parameter is no leaf that requires grad.

    >>> w = tg.Parameter([1.0, 2.0], name="w")
    >>> optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0., 0.])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("MiniBatchSGD: expected a list of parameters, got one Tensor; put it into a list")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("MiniBatchSGD: no parameters to optimize")
        for p in self.parameters:
            if not isinstance(p, Tensor) or p.op is not None or not p.requires_grad:
                raise TypeError(f"MiniBatchSGD: expected leaf tensors that require grad, got {p!r}")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("MiniBatchSGD: a parameter was given twice, and would be stepped twice")
        self.learning_rate = learning_rate
        self.momentum = _number("momentum", momentum)
        self.weight_decay = _number("weight_decay", weight_decay)
        if self.momentum >= 1:
            raise ValueError(f"MiniBatchSGD: expected momentum in [0, 1), got {momentum}")
        if nesterov and not momentum:
            raise ValueError("MiniBatchSGD: nesterov needs a momentum above 0")
        self.nesterov = nesterov
        self._velocities = [np.zeros_like(p.data) for p in self.parameters] if momentum else []

    @property
    def learning_rate(self) -> float:
        """The step's length per gradient; may be assigned between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _number("learning_rate", value)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.zero_grad()

    @no_grad()
    def step(self) -> None:
        """Move every parameter once.

        Raises
        ------
        RuntimeError
            If a parameter has no gradient; then none is moved.
        """
        missing = [p.name or f"number {i}" for i, p in enumerate(self.parameters) if p.grad is None]
        if missing:
            raise RuntimeError(
                f"MiniBatchSGD: no gradient for {', '.join(missing)}; "
                "was backward called, and does the loss depend on every parameter?"
            )
        for i, p in enumerate(self.parameters):
            p -= self._learning_rate * self._direction(i, p)

    def _direction(self, i: int, p: Tensor) -> np.ndarray[Any, Any]:
        g = p.grad.data if isinstance(p.grad, Tensor) else p.grad
        if self.weight_decay:
            g = g + self.weight_decay * p.data
        if not self.momentum:
            return g
        v = self._velocities[i]
        v *= self.momentum
        v += g
        return g + self.momentum * v if self.nesterov else v


def _number(name: str, value: float) -> float:
    """``value`` as a Python number, which promotes no float32; refused if it is negative or not finite."""
    if isinstance(value, bool) or np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
        raise TypeError(f"MiniBatchSGD: expected {name} to be a number, got {value!r}")
    number = float(value)
    if not (np.isfinite(number) and number >= 0):
        raise ValueError(f"MiniBatchSGD: expected {name} to be finite and at least 0, got {value}")
    return number
