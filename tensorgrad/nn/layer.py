"""Layer: a function with parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.core.tree import leaves


class Layer:
    """Base of all layers. Write your own in a few lines: keep parameters and layers as attributes,
    and compose ops in `forward`.

    >>> class Scale(tg.Layer):
    ...     def __init__(self):
    ...         self.factor = tg.Parameter(2.0, name="factor")
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> layer = Scale()
    >>> layer(np.array([1.0, 2.0]))
    Tensor([2., 4.], dtype=float64, op=multiply)
    >>> layer.parameters()
    [Parameter(2., dtype=float64, name='factor', requires_grad=True)]
    """

    def forward(self, x: Array) -> Tensor:
        """Compute the output from the input. Every layer defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, x: Array) -> Tensor:
        return self.forward(x)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers among the attributes, in lists, tuples and dicts too, with their paths."""
        return ((path, x) for path, x in _members(self) if isinstance(x, Layer))

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter once, by its path such as ``Dense2.weights``; in the order of definition.

        Raises
        ------
        ValueError
            If two parameters have the same path.
        """
        named: dict[str, Parameter] = {}
        seen = set()
        for path, x in _parameters(self, "", ()):
            if id(x) in seen:
                continue
            if path in named:
                raise ValueError(f"{type(self).__name__}: two parameters are called {path}")
            seen.add(id(x))
            named[path] = x
        return named

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return list(self.named_parameters().values())


def _members(layer: Layer) -> Iterator[tuple[str, Any]]:
    for name, value in vars(layer).items():
        for path, x in leaves(value):
            yield name + re.sub(r"\[(.*?)\]", lambda found: "." + found[1].strip("'"), path), x


def _parameters(layer: Layer, prefix: str, outer: tuple[Layer, ...]) -> Iterator[tuple[str, Parameter]]:
    """The parameters of a layer and of the layers in it; one that holds an ``outer`` layer stops there."""
    for path, x in _members(layer):
        if isinstance(x, Parameter):
            yield prefix + path, x
    for path, child in layer.children():
        if child is not layer and all(child is not x for x in outer):
            yield from _parameters(child, f"{prefix}{path}.", (*outer, layer))
