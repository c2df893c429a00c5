"""Optimizers: they step parameters against their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.nn.in_place import Floats, Scratch
from tensorgrad.nn.optimizer import Optimizer
from tensorgrad.nn.options import Options, boolean, fraction, nonnegative, positive


def _pair_of_fractions(owner: str, name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{owner}: expected {name} to be a pair of numbers, got {value!r}")
    return fraction(owner, f"{name}[0]", value[0]), fraction(owner, f"{name}[1]", value[1])


class MiniBatchSGD(Optimizer):
    """Gradient descent on mini-batches, with momentum, weight decay and gradient clipping.

    With gradient g, decay d, momentum m, dampening c and rate r, each step is::

        g <- g + d p        v <- m v + (1 - c) g        p <- p - r v        (Nesterov: p <- p - r (g + m v))

    where the first v is g itself. This is PyTorch's form of Sutskever et al. 2013. The coupled decay adds
    ``d/2 |p|^2`` to the loss: what the notebook's ``lambda_reg`` was meant to do. The decoupled one leaves g
    as it is and first shrinks p <- (1 - r d) p (SGDW of Loshchilov and Hutter 2019).

    Parameters
    ----------
    parameters : iterable of Tensor, or of dicts
        Leaves that require grad; each once. A dict is a group with options of its own, such as
        ``{"parameters": [...], "learning_rate": 0.1}``: any of the following but the two for clipping.
    learning_rate : float
        Must be at least 0. May be assigned between steps.
    momentum : float
        In [0, 1).
    dampening : float
        In [0, 1). With ``dampening=momentum``, v is an average of the gradients. Needs a momentum.
    nesterov : bool
        Needs a momentum.
    weight_decay : float
        Must be at least 0.
    decoupled_weight_decay : bool
    clip_value : float, optional
        Elements of the gradients are clipped to [-clip_value, clip_value].
    clip_norm : float, optional
        Gradients are scaled by min(1, clip_norm / (n + 1e-6)), where n is the norm of all gradients together;
        after ``clip_value``, before the decay, as in PyTorch.

    Raises
    ------
    ValueError
        If there are no parameters, one comes twice, or a number is out of range.
    TypeError
        If a parameter is no leaf that requires grad, or an option is unknown or no number.

    Notes
    -----
    ONNX's ``Momentum`` of ``ai.onnx.preview.training`` has R = learning_rate, alpha = momentum,
    beta = 1 - dampening, norm_coefficient = weight_decay, T = the number of steps already made, and
    mode = "nesterov" or "standard".

    >>> w = tg.Parameter([1.0, 2.0], name="w")
    >>> optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0., 0.])
    """

    _kinds: ClassVar = {
        "learning_rate": nonnegative,
        "momentum": fraction,
        "dampening": fraction,
        "nesterov": boolean,
        "weight_decay": nonnegative,
        "decoupled_weight_decay": boolean,
    }
    _slot_names: ClassVar = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(parameters, options, clip_value, clip_norm)

    @classmethod
    def _check_together(cls, options: Options) -> None:
        for name in ("nesterov", "dampening"):
            if options[name] and not options["momentum"]:
                raise ValueError(f"{cls.__name__}: {name} needs a momentum above 0")

    def _slots_of(self, options: Options) -> tuple[str, ...]:
        return self._slot_names if options["momentum"] else ()

    def _decoupled(self, options: Options) -> bool:
        return options["decoupled_weight_decay"]  # type: ignore[no-any-return]  # checked to be a bool

    def _update(
        self,
        options: Options,
        x: Floats,
        g: Floats,
        slots: list[Floats],
        scratch: Scratch,
        first: bool,
    ) -> None:
        rate, momentum = options["learning_rate"], options["momentum"]
        out, decayed = scratch
        g = self._decay(options, x, g, decayed)
        if not momentum:
            x -= np.multiply(g, rate, out=out)
            return
        (v,) = slots
        v *= momentum
        v += g if first or not options["dampening"] else np.multiply(g, 1 - options["dampening"], out=out)
        if options["nesterov"]:
            step: Floats = np.multiply(v, momentum, out=out)
            step += g
            step *= rate
        else:
            step = np.multiply(v, rate, out=out)
        x -= step


class Adam(Optimizer):
    """Adam: steps along the mean of gradients, divided by the root of the mean of their squares.

    With gradient g, coupled decay d, rates b1 and b2, and t the number of the step, from 1::

        g <- g + d p        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
        p <- p - r  (m / (1 - b1^t))  /  (sqrt(v / (1 - b2^t)) + eps)

    which is PyTorch's form of Kingma and Ba 2015. With ``amsgrad`` the largest v so far stands under the root
    (Reddi et al. 2018). For decoupled decay see `AdamW`.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dicts
        As in `MiniBatchSGD`.
    learning_rate : float
        Must be at least 0. May be assigned between steps.
    betas : pair of float
        b1 and b2, each in [0, 1).
    eps : float
        Above 0, in the dtype of the parameters too.
    weight_decay : float
        Must be at least 0.
    amsgrad : bool
    clip_value, clip_norm : float, optional
        As in `MiniBatchSGD`.

    Raises
    ------
    ValueError, TypeError
        As in `MiniBatchSGD`.

    Notes
    -----
    ONNX's ``Adam`` of ``ai.onnx.preview.training`` adds its epsilon to sqrt(v), before the correction. It
    makes the same step with R = learning_rate, alpha and beta = betas, norm_coefficient = weight_decay,
    T = t and epsilon = eps sqrt(1 - b2^t). Its T = 0 makes no correction. Its norm_coefficient_post is a
    decay that comes after the step, not before it as in `AdamW`.

    >>> w = tg.Parameter([1.0, -2.0], name="w")
    >>> optimizer = tg.Adam([w], learning_rate=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.5, -1.5])
    """

    _kinds: ClassVar = {
        "learning_rate": nonnegative,
        "betas": _pair_of_fractions,
        "eps": positive,
        "weight_decay": nonnegative,
        "amsgrad": boolean,
    }
    _slot_names: ClassVar = ("mean", "square", "largest_square")
    _needed_slots: ClassVar = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
        }
        super().__init__(parameters, options, clip_value, clip_norm)

    def _check_dtype(self, options: Options, dtype: np.dtype[Any]) -> None:
        eps = options["eps"]
        if not dtype.type(eps) > 0:
            raise ValueError(f"{type(self).__name__}: eps {eps} is 0 in {dtype}; choose a larger one")

    def _slots_of(self, options: Options) -> tuple[str, ...]:
        return self._slot_names if options["amsgrad"] else self._needed_slots

    def _update(
        self,
        options: Options,
        x: Floats,
        g: Floats,
        slots: list[Floats],
        scratch: Scratch,
        first: bool,
    ) -> None:
        out, decayed = scratch
        mean, square, *largest = slots
        b1, b2 = options["betas"]
        g = self._decay(options, x, g, decayed)
        mean *= b1
        mean += np.multiply(g, 1 - b1, out=out)
        square *= b2
        squared: Floats = np.multiply(g, g, out=out)
        squared *= 1 - b2
        square += squared
        under = np.maximum(largest[0], square, out=largest[0]) if largest else square
        # Numerator and denominator times the root of 1 - b2^t, a number, which spares a pass over the array.
        root = (1 - b2**self.steps) ** 0.5
        step: Floats = np.sqrt(under, out=out)
        step += options["eps"] * root
        step = np.divide(mean, step, out=out)
        step *= options["learning_rate"] * root / (1 - b1**self.steps)
        x -= step


class AdamW(Adam):
    """`Adam` with decoupled weight decay: each step first shrinks p <- (1 - r d) p, and g stays as it is.

    The decay then does not depend on the size of the gradients (Loshchilov and Hutter 2019; PyTorch's form).

    Parameters
    ----------
    parameters, learning_rate, betas, eps, amsgrad, clip_value, clip_norm
        As in `Adam`.
    weight_decay : float
        d above. Must be at least 0.

    >>> w = tg.Parameter([1.0, -2.0], name="w")
    >>> optimizer = tg.AdamW([w], learning_rate=0.5, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.45, -1.4 ])
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            learning_rate,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _decoupled(self, options: Options) -> bool:
        return True
