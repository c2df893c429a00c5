"""A training step of the notebook's two networks: tensorgrad beside the notebook's way of computing it.

    python tests/benchmarks/notebook_step.py

The notebook's way is float64, with a Python loop over filters and pixels in convolution and over pixels in
pooling; convolution and pooling have no backward pass there, so its step ends at the dense layers.
tensorgrad's step trains every filter. The two take turns, so that a change of the machine's speed hits both.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

import tensorgrad as tg

BATCH = 32
RATE = 1e-4


class LoopedDense:
    """x w + b, and an update inside the backward pass."""

    def __init__(self, inputs, outputs, activation, rng):
        self.w = rng.uniform(-0.1, 0.1, (inputs, outputs))
        self.b = np.zeros((1, outputs))
        self.activation = activation

    def forward(self, x):
        self.x = x
        z = x @ self.w + self.b
        self.out = 1 / (1 + np.exp(-z)) if self.activation == "sigmoid" else np.maximum(z, 0)
        return self.out

    def backward(self, g):
        slope = self.out * (1 - self.out) if self.activation == "sigmoid" else self.out > 0
        g = g * slope
        gx = g @ self.w.T
        self.w -= RATE * self.x.T @ g
        self.b -= RATE * g.sum(axis=0, keepdims=True)
        return gx


def looped_conv(x, filters, bias):
    n, height, width, _ = x.shape
    count, _, size, _ = filters.shape
    out = np.zeros((n, height - size + 1, width - size + 1, count))
    for f in range(count):
        kernel = filters[f].transpose(1, 2, 0)
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                out[:, i, j, f] = (x[:, i : i + size, j : j + size] * kernel).sum(axis=(1, 2, 3)) + bias[f]
    return out


def looped_max_pool(x):
    out = np.zeros((x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return out


def notebook_step(kind: str, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    x, y = x.astype(np.float64), y.astype(np.float64)
    filters = [rng.standard_normal((16, 1, 3, 3)) / 9, rng.standard_normal((32, 16, 3, 3)) / 9]
    sizes, activations = {
        "dense": ((784, 256, 256, 10), ("sigmoid", "sigmoid", "sigmoid")),
        "cnn": ((800, 128, 64, 10), ("relu", "relu", "sigmoid")),
    }[kind]
    layers = [LoopedDense(i, o, f, rng) for i, o, f in zip(sizes[:-1], sizes[1:], activations, strict=True)]

    def step() -> None:
        h = x
        if kind == "cnn":
            for w in filters:
                h = looped_max_pool(looped_conv(h, w, np.zeros(len(w))))
        h = h.reshape(len(h), -1)
        for layer in layers:
            h = layer.forward(h)
        g = 2 * (h - y)
        for layer in reversed(layers):
            g = layer.backward(g)

    return step


def tensorgrad_step(kind: str, x: np.ndarray, y: np.ndarray, dtype: str) -> Callable[[], None]:
    build = {"dense": tg.dense_network, "cnn": tg.convolutional_network}[kind]
    network = build((28, 28, 1), 10, dtype=dtype, rng=0)
    optimizer = tg.MiniBatchSGD(network.parameters(), RATE)
    x, y = x.astype(dtype), y.astype(dtype)

    def step() -> None:
        loss = tg.mse(network(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((BATCH, 28, 28, 1)), np.eye(10)[rng.integers(0, 10, BATCH)]
    print(f"median (min - max) of a training step in ms, batch {BATCH}, random images 28x28")
    for kind in ("dense", "cnn"):
        steps = {
            "the notebook's way, float64": notebook_step(kind, x, y),
            "tensorgrad, float64": tensorgrad_step(kind, x, y, "float64"),
            "tensorgrad, float32": tensorgrad_step(kind, x, y, "float32"),
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(45):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if turn >= 5:  # the first turns warm up
                    times[name].append(1e3 * (time.perf_counter() - start))
        reference = statistics.median(times["the notebook's way, float64"])
        for name, values in times.items():
            median = statistics.median(values)
            print(
                f"{kind:6}{name:30}{median:9.2f}  ({min(values):.2f} - {max(values):.2f})"
                f"   {reference / median:6.1f} times as fast"
            )


if __name__ == "__main__":
    main()
