"""Layer: a function with parameters."""

from __future__ import annotations

from collections.abc import Iterator

from tensorgrad.core import Array, Parameter, Tensor


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
        """The layers among the attributes, and in lists and tuples there, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, item in enumerate(value):
                    if isinstance(item, Layer):
                        yield f"{name}{i}", item

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter once, by its path such as ``Dense2.weights``; in the order of definition."""
        found = {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}
        for prefix, child in self.children():
            for name, parameter in child.named_parameters().items():
                if not any(parameter is known for known in found.values()):
                    found[f"{prefix}.{name}"] = parameter
        return found

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return list(self.named_parameters().values())
