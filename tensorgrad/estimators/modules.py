"""From the parameters of an estimator to its network, its loss and its optimizer."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from tensorgrad import nn
from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.elsewhere import choose
from tensorgrad.nn.fit.prepare import make_optimizer as make_by_name

__all__ = [
    "Module", "Shape", "build_network", "make_optimizer", "read_input_shape", "require_outputs",
]  # fmt: skip

Module: TypeAlias = nn.Network | Callable[..., nn.Network] | None
Shape: TypeAlias = tuple[int, ...]

ACTIVATIONS: dict[str, type[nn.Layer] | None] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": None,
}
SATURATING = ("sigmoid", "tanh", "identity")  # for which Glorot's initial weights are made, He's for the rest


def read_input_shape(name: str, input_shape: Any, features: int) -> Shape:
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


def build_network(model: Any, x: NDArray, outputs: int, rng: np.random.Generator) -> nn.Network:
    """A network for the rows: a copy of the estimator's module, what it makes, or a dense one."""
    name, module = type(model).__name__, model.module
    if module is None:
        return _build_dense(model, x, outputs, rng)
    if isinstance(module, nn.Network):
        return copy.deepcopy(module)
    if not callable(module) or isinstance(module, nn.Layer):
        raise TypeError(
            f"{name}: expected module to be None, a Network or a function (input_shape, outputs, rng) -> "
            f"Network, got {module!r}"
        )
    try:
        inspect.signature(module).bind(x.shape[1:], outputs, rng=rng)
    except TypeError as error:
        how = "module(input_shape, outputs, rng=generator)"
        raise TypeError(f"{name}: expected module to be called as {how}: {error}") from None
    made = module(x.shape[1:], outputs, rng=rng)
    if not isinstance(made, nn.Network):
        raise TypeError(f"{name}: expected module to make a Network, got {made!r}")
    return made


def _build_dense(model: Any, x: NDArray, outputs: int, rng: np.random.Generator) -> nn.Network:
    activation, widths = model.activation, model.hidden_layer_sizes
    # The smaller of the two that holds the values exactly.
    smaller = np.float32 if np.result_type(x, np.float32) == np.float32 else np.float64
    dtype = np.dtype(smaller if model.dtype is None else model.dtype)
    widths = widths if isinstance(widths, Iterable) and not isinstance(widths, str) else [widths]
    for width in widths:
        positive_integer(type(model).__name__, "each of hidden_layer_sizes", width)
    init = "glorot_uniform" if activation in SATURATING else "he_uniform"
    kind = choose(f"{type(model).__name__}: expected activation", activation, ACTIVATIONS)
    network = nn.Network([nn.Flatten()] if x.ndim > 2 else [])
    inputs = math.prod(x.shape[1:])
    for width in widths:
        network.add(nn.Dense(inputs, width, init=init, dtype=dtype, rng=rng))
        if kind is not None:
            network.add(kind())
        if model.dropout:
            network.add(nn.Dropout(model.dropout, rng=rng))
        inputs = width
    network.add(nn.Dense(inputs, outputs, dtype=dtype, rng=rng))
    return network


def require_outputs(name: str, network: nn.Network, x: NDArray, outputs: int) -> None:
    """Refuse a network that does not give one number for each output, found out on the first row."""
    found = network.predict(x[:1]).shape
    if found != (1, outputs):
        raise ValueError(
            f"{name}: expected a module with {outputs} outputs, (N, {outputs}), got one that gives (N, "
            f"{', '.join(map(str, found[1:]))})"
        )


def make_optimizer(model: Any, network: nn.Network) -> nn.Optimizer:
    """The optimizer by its name, or as the function makes it."""
    options = {"learning_rate": model.learning_rate, "weight_decay": model.weight_decay}
    return make_by_name(type(model).__name__, model.optimizer, network.parameters(), **options)
