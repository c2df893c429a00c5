"""A training step of the notebook's two networks: tensorgrad beside the notebook's way of computing it.

    python tests/benchmarks/notebook_step.py

The notebook's way is Python loops over filters and pixels in float64, each line working on the whole batch.
The notebook never finished the backward pass of its convolution and pooling; here it is, in the same style,
so that both sides do the same work. A second row leaves it out, as the notebook does, and trains the dense
layers alone. All take turns, so that a change of the machine's speed hits all.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from competitors import Made, with_tensorgrad
from networks import NETWORKS, NOTEBOOK, RATE, Network

BATCH = 32


class LoopedDense:
    """x w + b."""

    def __init__(self, w, b, rate):
        self.w, self.b, self.rate = w, b, rate

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, g):
        gx = g @ self.w.T
        self.w -= self.rate * self.x.T @ g
        self.b -= self.rate * g.sum(axis=0)
        return gx


class LoopedConv:
    """A filter at a time, a pixel of the output at a time."""

    def __init__(self, filters, bias, rate):
        self.filters, self.bias, self.rate = filters, bias, rate

    def forward(self, x):
        self.x = x
        count, _, size, _ = self.filters.shape
        out = np.zeros((len(x), x.shape[1] - size + 1, x.shape[2] - size + 1, count))
        for f in range(count):
            kernel = self.filters[f].transpose(1, 2, 0)
            for i in range(out.shape[1]):
                for j in range(out.shape[2]):
                    window = x[:, i : i + size, j : j + size]
                    out[:, i, j, f] = (window * kernel).sum(axis=(1, 2, 3)) + self.bias[f]
        return out

    def backward(self, g):
        size = self.filters.shape[-1]
        gx = np.zeros(self.x.shape)
        for f in range(len(self.filters)):
            kernel = self.filters[f].transpose(1, 2, 0)
            gw = np.zeros(kernel.shape)
            for i in range(g.shape[1]):
                for j in range(g.shape[2]):
                    slope = g[:, i, j, f][:, None, None, None]
                    gw += (slope * self.x[:, i : i + size, j : j + size]).sum(axis=0)
                    gx[:, i : i + size, j : j + size] += slope * kernel
            self.filters[f] -= self.rate * gw.transpose(2, 0, 1)
            self.bias[f] -= self.rate * g[..., f].sum()
        return gx


class LoopedPool:
    """The maximum of 2x2 pixels, one window at a time. Its gradient goes to the pixels equal to it."""

    def forward(self, x):
        self.x = x
        self.out = np.zeros((x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
        for i in range(self.out.shape[1]):
            for j in range(self.out.shape[2]):
                self.out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
        return self.out

    def backward(self, g):
        gx = np.zeros(self.x.shape)
        for i in range(g.shape[1]):
            for j in range(g.shape[2]):
                window = self.x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                largest = window == self.out[:, i, j][:, None, None]
                gx[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = largest * g[:, i, j][:, None, None]
        return gx


class Flat:
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, g):
        return g.reshape(self.shape)


class Relu:
    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, g):
        return g * (self.x > 0)


class Sigmoid:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, g):
        return g * self.out * (1 - self.out)


def with_loops(network: Network, x, y, rate: float = RATE, *, whole: bool = True) -> Made:
    """The step in loops; without ``whole`` the backward pass ends at the dense layers."""
    if any(kind == "conv" and options[3] for kind, *options in network.layers()):
        raise NotImplementedError("no padding in the loops")
    x, y = x.astype(np.float64), y.astype(np.float64)
    values = network.parameters("float64")
    rest = iter(values)
    make = {
        "conv": lambda *_: LoopedConv(next(rest), next(rest), rate),
        "pool": LoopedPool,
        "flatten": lambda *_: Flat(),
        "dense": lambda *_: LoopedDense(next(rest), next(rest), rate),
        "relu": Relu,
        "sigmoid": Sigmoid,
    }
    layers = [make[kind](*options) for kind, *options in network.layers()]
    first = next(i for i, layer in enumerate(layers) if isinstance(layer, Flat))

    def infer() -> np.ndarray:
        h = x
        for layer in layers:
            h = layer.forward(h)
        return h

    def train() -> np.float64:
        h = infer()
        loss = np.sum((h - y) ** 2)
        g = 2 * (h - y)
        for layer in reversed(layers if whole else layers[first:]):
            g = layer.backward(g)
        return loss

    return Made(train, infer, lambda: values)


def main() -> None:
    print(f"median (min - max) of a training step in ms, batch {BATCH}, random images 28x28")
    for name in NOTEBOOK:
        network = NETWORKS[name]
        x, y = network.batch(BATCH, "float64")
        steps: dict[str, Callable] = {
            "the notebook's way, float64": with_loops(network, x, y).train,
            "  its dense layers trained alone": with_loops(network, x, y, whole=False).train,
            "tensorgrad, float64": with_tensorgrad(network, x, y).train,
            "tensorgrad, float32": with_tensorgrad(network, *network.batch(BATCH)).train,
        }
        times: dict[str, list[float]] = {label: [] for label in steps}
        for turn in range(25):
            for label, step in steps.items():
                start = time.perf_counter()
                step()
                if turn >= 5:  # the first turns warm up
                    times[label].append(1e3 * (time.perf_counter() - start))
        reference = statistics.median(times["the notebook's way, float64"])
        for label, values in times.items():
            median = statistics.median(values)
            print(
                f"{name:6}{label:34}{median:9.2f}  ({min(values):.2f} - {max(values):.2f})"
                f"   {reference / median:6.1f} times as fast"
            )


if __name__ == "__main__":
    main()
