"""Networks drawn at random, of all layers with all their options, also of layers that are composed of ops."""

import numpy as np

import tensorgrad as tg


class Residual(tg.Layer):
    """x + block(x), or the two side by side."""

    def __init__(self, *layers, joined=False):
        self.block, self.joined = tg.Network(layers), joined

    def forward(self, x):
        if self.joined:
            return np.concatenate([x, self.block(x)], axis=-1)
        return tg.relu(x + self.block(x))


class Odd(tg.Layer):
    """A few lines of NumPy, such as a user writes."""

    def __init__(self, kind, size, rng):
        self.kind = kind
        self.gain = tg.Parameter(rng.uniform(0.5, 1.5, size).astype(np.float32), "gain")

    def forward(self, x):
        if self.kind == "gate":
            return np.where(x > 0.1, x * self.gain, -0.3 * np.abs(x))
        if self.kind == "centre":
            return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 0.1)
        if self.kind == "flip":
            return np.flip(np.roll(x, 1, axis=-1), axis=1) * self.gain
        if self.kind == "attend":
            return x * tg.softmax(np.swapaxes(x, 1, -1), axis=1).swapaxes(1, -1)
        if self.kind == "clip":
            return np.clip(x, -0.7, 0.9) + np.minimum(x, self.gain)
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])[..., 1:-1] ** 2


ACTIVATIONS = (
    tg.ReLU, tg.Sigmoid, tg.Tanh, tg.Softplus, tg.SiLU, tg.GELU, tg.LogSoftmax, tg.Softmax,
    lambda: tg.GELU("tanh"), lambda: tg.LeakyReLU(0.2), lambda: tg.ELU(0.7), lambda: tg.Dropout(0.3, rng=0),
)  # fmt: skip


def draw_network(seed):
    """A network in float32 with running statistics that are not as they were made, and its input's shape."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.3:
        shape = (int(rng.integers(2, 9)),)
    else:
        shape = (*(int(n) for n in rng.integers(6, 13, 2)), int(rng.integers(1, 5)))
    network, now = tg.Network(), shape
    for _ in range(rng.integers(2, 7)):
        layer = _draw_layer(rng, now)
        network.add(layer)
        now = layer.eval()(np.zeros((2, *now), np.float32)).shape[1:]
        layer.train()
    if len(now) > 1:
        network.add(tg.Flatten() if rng.random() < 0.7 else tg.GlobalMaxPool2D())
        now = network.layers[-1](np.zeros((2, *now), np.float32)).shape[1:]
    network.add(tg.Dense(now[0], int(rng.integers(1, 6)), bias=bool(rng.random() < 0.8), rng=rng))
    for buffer in network.buffers():
        buffer.data = rng.uniform(0.5, 2, buffer.shape).astype(np.float32)
    return network, shape


def _draw_layer(rng, shape):
    kind, channels = rng.random(), shape[-1]
    if kind < 0.25:
        return ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()
    if kind < 0.35:
        odd = ("gate", "centre", "flip", "attend", "clip", "pad")
        return Odd(odd[rng.integers(len(odd))], channels, rng)
    if kind < 0.5:
        return (
            tg.BatchNorm(channels) if rng.random() < 0.6 else tg.LayerNorm(shape[rng.integers(len(shape)) :])
        )
    if len(shape) == 1:
        if kind < 0.65:
            return Residual(tg.Dense(channels, channels, rng=rng), tg.Tanh(), joined=bool(rng.random() < 0.5))
        return tg.Dense(channels, int(rng.integers(1, 9)), bias=bool(rng.random() < 0.7), rng=rng)
    return _draw_windows(rng, kind, shape)


def _draw_windows(rng, kind, shape):
    height, width, channels = shape
    if kind < 0.6:
        conv = tg.Conv2D(channels, channels, 3, padding="same", rng=rng)
        return Residual(conv, tg.BatchNorm(channels), joined=bool(rng.random() < 0.5))
    size = tuple(int(rng.integers(1, min(n, 3) + 1)) for n in (height, width))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    if kind < 0.75:
        pool = (tg.MaxPool2D, tg.AvgPool2D)[rng.integers(2)]
        padding = tuple((int(rng.integers(0, n)), int(rng.integers(0, n))) for n in size)
        return pool(size, stride, padding)
    if kind < 0.8:
        return Ceil(size, stride, bool(rng.random() < 0.5))
    groups = channels if rng.random() < 0.3 else 1
    filters = groups * int(rng.integers(1, 4))
    dilation = tuple(
        int(rng.integers(1, 3)) if 2 * n < m else 1 for n, m in zip(size, (height, width), strict=True)
    )
    padding = ("same", "valid", 1, ((0, 2), (1, 0)))[rng.integers(4)]
    options = {"dilation": dilation, "groups": groups, "bias": bool(rng.random() < 0.7)}
    return tg.Conv2D(channels, filters, size, stride, padding, rng=rng, **options)


class Ceil(tg.Layer):
    """Pooling with options that no layer has."""

    def __init__(self, size, stride, largest):
        self.size, self.stride, self.largest = size, stride, largest

    def forward(self, x):
        options = {"size": self.size, "stride": self.stride, "ceil_mode": True}
        if self.largest:
            return tg.max_pool(x, **options, dilation=1)
        return tg.avg_pool(x, **options, padding=tuple(n // 2 for n in self.size), count_include_pad=False)
