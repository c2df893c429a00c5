"""From the parameters of an estimator to its network, its loss and its optimizer."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Parameter
from tensorgrad.nn import (
    ELU,
    GELU,
    Adam,
    AdamW,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    MiniBatchSGD,
    Network,
    Optimizer,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tensorgrad.ops import cross_entropy

Module: TypeAlias = Network | Callable[..., Network] | None
Shape: TypeAlias = tuple[int, ...]

ACTIVATIONS: dict[str, type[Layer] | None] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "identity": None,
}
SATURATING = ("sigmoid", "tanh", "identity")  # for which Glorot's initial weights are made, He's for the rest
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": MiniBatchSGD}


def input_shape_of(name: str, input_shape: Any, features: int) -> Shape:
    """The shape of one row as the network wants it; checked against the number of features."""
    if input_shape is None:
        return (features,)
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: expected input_shape to be a tuple of sizes, got {input_shape!r}"
        ) from None
    if math.prod(shape) != features or min(shape) < 1:
        raise ValueError(
            f"{name}: input_shape {shape} has {math.prod(shape)} elements, but X has {features} features"
        )
    return shape


def dense(
    name: str,
    input_shape: Shape,
    outputs: int,
    hidden_layer_sizes: int | Sequence[int],
    activation: str,
    dropout: float,
    dtype: np.dtype[Any],
    rng: np.random.Generator,
) -> Network:
    """The network that is trained if no module is given."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"{name}: expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    single = isinstance(hidden_layer_sizes, (int, np.integer))
    widths: Sequence[int] = [hidden_layer_sizes] if single else list(hidden_layer_sizes)  # type: ignore[list-item,arg-type]
    init = "glorot_uniform" if activation in SATURATING else "he_uniform"
    kind = ACTIVATIONS[activation]
    network = Network([Flatten()] if len(input_shape) > 1 else [])
    inputs = math.prod(input_shape)
    for width in widths:
        network.add(Dense(inputs, width, init=init, dtype=dtype, rng=rng))
        if kind is not None:
            network.add(kind())
        if dropout:
            network.add(Dropout(dropout, rng=rng))
        inputs = width
    network.add(Dense(inputs, outputs, dtype=dtype, rng=rng))
    return network


def copied_or_built(
    name: str,
    module: Network | Callable[..., Network],
    input_shape: Shape,
    outputs: int,
    rng: np.random.Generator,
) -> Network:
    """A copy of the network, or what the function makes."""
    if isinstance(module, Network):
        return copy.deepcopy(module)
    if not callable(module) or isinstance(module, Layer):
        raise TypeError(
            f"{name}: expected module to be None, a Network or a function (input_shape, outputs, rng) -> "
            f"Network, got {module!r}"
        )
    made = module(input_shape, outputs, rng=rng)
    if not isinstance(made, Network):
        raise TypeError(f"{name}: expected module to make a Network, got {made!r}")
    return made


def require_outputs(name: str, network: Network, x: np.ndarray[Any, Any], outputs: int) -> None:
    """Refuse a network that does not give one number for each output, found out on the first row."""
    found = network.predict(x[:1]).shape
    if found != (1, outputs):
        raise ValueError(
            f"{name}: expected a module with {outputs} outputs, (N, {outputs}), got one that gives (N, "
            f"{', '.join(map(str, found[1:]))})"
        )


def require_logits(name: str, network: Network) -> None:
    """Refuse probabilities where the loss takes logits: it would train, but badly."""
    loss: Any = network.loss
    while isinstance(loss, functools.partial):
        loss = loss.func
    if loss is cross_entropy and network.layers and isinstance(network.layers[-1], (Softmax, Sigmoid)):
        raise ValueError(
            f"{name}: the module ends in {network.layers[-1]}, but cross_entropy takes logits; leave this "
            "layer away, or set another loss"
        )


def optimizer_of(
    name: str, optimizer: Any, learning_rate: float, weight_decay: float, parameters: list[Parameter]
) -> Optimizer:
    """The optimizer by its name, or as the function makes it."""
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        optimizer = OPTIMIZERS[optimizer]
    elif not callable(optimizer):
        raise ValueError(
            f"{name}: expected optimizer to be one of {', '.join(OPTIMIZERS)} or a function "
            f"(parameters, learning_rate, weight_decay) -> Optimizer, got {optimizer!r}"
        )
    made = optimizer(parameters, learning_rate=learning_rate, weight_decay=weight_decay)
    if not isinstance(made, Optimizer):
        raise TypeError(f"{name}: expected optimizer to make an Optimizer, got {made!r}")
    return made
