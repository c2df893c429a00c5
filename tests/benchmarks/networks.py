"""The networks that are timed, their initial values, and the arithmetic that one training step needs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RATE = 1e-4

# Layers: ("conv", filters, size, padding), ("pool",) of 2x2, ("dense", outputs), ("relu",), ("sigmoid",).
_RELU, _SIGMOID, _POOL = ("relu",), ("sigmoid",), ("pool",)


@dataclass(frozen=True)
class Network:
    """Layers for images of a shape (H, W, C)."""

    shape: tuple[int, int, int]
    plan: tuple[tuple, ...]

    def layers(self) -> Iterator[tuple]:
        """The layers with the size of what goes into each: (kind, inputs, *options)."""
        height, width, channels = self.shape
        flat = 0
        for kind, *options in self.plan:
            if kind == "conv":
                filters, size, padding = options
                yield "conv", channels, filters, size, padding
                height, width = (n + 2 * padding - size + 1 for n in (height, width))
                channels = filters
            elif kind == "pool":
                yield ("pool",)
                height, width = height // 2, width // 2
            elif kind == "dense":
                if not flat:
                    yield "flatten", height, width, channels
                    flat = height * width * channels
                yield "dense", flat, options[0]
                flat = options[0]
            else:
                yield (kind,)

    def parameters(self, dtype: str = "float32") -> list[np.ndarray]:
        """Initial values, the same for every competitor: of each layer the weights, then the bias.

        Filters are (F, C, K, K); weights of dense layers (inputs, outputs), where the first one's inputs are
        the image's (H, W, C) in this order.
        """
        rng = np.random.default_rng(0)
        values = []
        for kind, *options in self.layers():
            if kind == "conv":
                channels, filters, size, _ = options
                weights = (filters, channels, size, size)
                inputs, outputs = channels * size * size, filters
            elif kind == "dense":
                weights = inputs, outputs = tuple(options)
            else:
                continue
            values.append(rng.uniform(-1, 1, weights) / np.sqrt(inputs))
            values.append(rng.uniform(-1, 1, outputs) / np.sqrt(inputs))
        return [value.astype(dtype) for value in values]

    def batch(self, size: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
        """Random images (N, H, W, C), and one-hot targets."""
        rng = np.random.default_rng(1)
        images = rng.random((size, *self.shape)).astype(dtype)
        return images, np.eye(10, dtype=dtype)[rng.integers(0, 10, size)]

    def flops(self, batch: int) -> int:
        """Additions and multiplications in the matrix products and convolutions of one training step.

        Forward, the gradient of the weights and that of the input; the first layer's input needs none.
        """
        height, width, _ = self.shape
        forward = []
        for kind, *options in self.layers():
            if kind == "conv":
                channels, filters, size, padding = options
                height, width = (n + 2 * padding - size + 1 for n in (height, width))
                forward.append(2 * batch * height * width * filters * channels * size * size)
            elif kind == "pool":
                height, width = height // 2, width // 2
            elif kind == "dense":
                inputs, outputs = options
                forward.append(2 * batch * inputs * outputs)
        return 3 * sum(forward) - forward[0]


NETWORKS = {
    "dense": Network(
        (28, 28, 1),
        (("dense", 256), _SIGMOID, ("dense", 256), _SIGMOID, ("dense", 10), _SIGMOID),
    ),
    "cnn": Network(
        (28, 28, 1),
        (
            *(("conv", 16, 3, 0), _POOL, ("conv", 32, 3, 0), _POOL),
            *(("dense", 128), _RELU, ("dense", 64), _RELU, ("dense", 10), _SIGMOID),
        ),
    ),
    "lenet5": Network(
        (28, 28, 1),
        (
            *(("conv", 6, 5, 2), _RELU, _POOL, ("conv", 16, 5, 0), _RELU, _POOL),
            *(("dense", 120), _RELU, ("dense", 84), _RELU, ("dense", 10), _SIGMOID),
        ),
    ),
    "wide": Network(
        (32, 32, 3),
        (
            *(part for filters in (32, 64, 128) for part in (("conv", filters, 3, 1), _RELU, _POOL)),
            *(("dense", 10), _SIGMOID),
        ),
    ),
}
NOTEBOOK = ("dense", "cnn")
CONVOLUTIONAL = ("cnn", "lenet5", "wide")
BATCHES = (32, 256)
