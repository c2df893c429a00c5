"""Random functions and networks, drawn by a seed, for holding compiled code against the NumPy engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg


class Program(NamedTuple):
    """A loss of arrays, the parameters that it reads, and arguments for it."""

    name: str
    loss: Callable[..., tg.Tensor]
    parameters: list[tg.Parameter]
    arrays: tuple[np.ndarray, ...]


ACTIVATIONS = [
    tg.sigmoid, tg.tanh, tg.relu, tg.softplus, tg.silu, tg.gelu, tg.elu, tg.leaky_relu, tg.arctan, tg.sin,
    lambda x: tg.gelu(x, approximate="tanh"), lambda x: tg.exp(-x * x), lambda x: np.log1p(np.square(x)),
    lambda x: np.sqrt(1 + x * x), lambda x: np.maximum(x, 0.1 * x), lambda x: np.where(x > 0.2, x, 0.3 * x),
    lambda x: np.clip(x, -1.0, 1.5), lambda x: np.abs(x) ** 1.5, lambda x: x * (x > 0),
    lambda x: np.hypot(x, 0.7),
    lambda x: tg.erf(x), lambda x: np.arctan2(x, 1.3), lambda x: np.cbrt(x + 2.7), lambda x: np.logaddexp(x,
    0.3),
    lambda x: np.minimum(x, 0.9) - np.fmax(x, -0.8), lambda x: x**3 - 0.5 * x,
    lambda x: x / (1.5 + np.cos(x)),
]  # fmt: skip


def draw(seed: int, dtype: Any) -> Program:
    """A program: a network of layers, or a function of arrays."""
    rng = np.random.default_rng(seed)
    make = (draw_images, draw_rows, draw_function, draw_sequence)[rng.choice(4, p=[0.35, 0.3, 0.25, 0.1])]
    return make(rng, np.dtype(dtype))


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def rows_of(rng: np.random.Generator) -> int:
    return int(pick(rng, 1, 2, 3, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 40))


def activation(rng: np.random.Generator) -> tg.Layer:
    return pick(rng, tg.ReLU, tg.Sigmoid, tg.Tanh, tg.Softplus, tg.SiLU, tg.GELU, tg.ELU, tg.LeakyReLU)()


def ending(
    rng: np.random.Generator, rows: int, width: int, dtype: Any
) -> tuple[Callable[..., tg.Tensor], tuple[np.ndarray, ...], str]:
    """A loss of predictions (rows, width), and what it takes beside them."""
    reduction = pick(rng, "mean", "sum")
    weights = (rng.uniform(0.2, 2, rows).astype(dtype),) if rng.random() < 0.3 else ()
    kind = pick(rng, "mse", "mae", "huber", "cross_entropy", "probabilities", "binary")
    options: dict[str, Any] = {"reduction": reduction}
    if kind in ("cross_entropy", "probabilities") and width < 2:
        kind = "mse"
    if kind == "cross_entropy":
        target = rng.integers(0, width, rows)
    elif kind == "probabilities":
        target = rng.dirichlet(np.ones(width), rows).astype(dtype)
    elif kind == "binary":
        target = rng.integers(0, 2, (rows, width)).astype(dtype)
    else:
        target = rng.standard_normal((rows, width)).astype(dtype)
    if kind in ("cross_entropy", "probabilities"):
        if rng.random() < 0.3:
            options["label_smoothing"] = 0.1
        if rng.random() < 0.3:
            options["class_weights"] = rng.uniform(0.5, 2, width).astype(dtype)
    names = {
        "cross_entropy": tg.cross_entropy,
        "probabilities": tg.cross_entropy,
        "binary": tg.binary_cross_entropy,
    }
    of = names.get(kind) or getattr(tg, kind)

    def loss(prediction: tg.Tensor, target: Any, *weights: Any) -> tg.Tensor:
        return of(prediction, target, *weights, **options)

    return loss, (target, *weights), f"{kind} {options}{' weighted' if weights else ''}"


def draw_images(rng: np.random.Generator, dtype: Any) -> Program:
    """Images through convolutions, poolings, norms and activations, then a dense layer."""
    rows = rows_of(rng)
    start = shape = (int(rng.integers(1, 12)), int(rng.integers(1, 12)), int(rng.integers(1, 4)))
    seeds = iter(rng.integers(0, 1 << 30, 50).tolist())
    layers: list[tg.Layer] = []
    for _ in range(rng.integers(1, 4)):
        for layer in (
            draw_image_layer(rng, shape[2], rows, dtype, next(seeds)),
            *([activation(rng)] if rng.random() < 0.4 else []),
        ):
            try:
                shape = layer(np.zeros((2, *shape), dtype)).shape[1:]
            except ValueError:  # a window is larger than what is left
                continue
            layers.append(layer)
    layers.append(pick(rng, tg.Flatten, tg.Flatten, tg.GlobalAvgPool2D, tg.GlobalMaxPool2D)())
    flat = layers[-1](np.zeros((2, *shape), dtype)).shape[1]
    outputs = int(rng.integers(1, 12))
    layers.append(tg.Dense(flat, outputs, dtype=dtype, rng=next(seeds)))
    return network_program(rng, layers, (rng.standard_normal((rows, *start)).astype(dtype)), outputs, dtype)


def draw_image_layer(rng: np.random.Generator, channels: int, rows: int, dtype: Any, seed: int) -> tg.Layer:
    kind = rng.random()
    if kind < 0.55:
        groups = pick(rng, 1, 1, 1, channels)
        return tg.Conv2D(
            channels, groups * int(rng.integers(1, 9)), (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
            groups=groups, bias=bool(rng.integers(2)), dtype=dtype, rng=seed, stride=pick(rng, 1, 1, 2, (1,
            2)),
            padding=pick(rng, 0, "same", 1, ((1, 0), (0, 2)), 2), dilation=pick(rng, 1, 1, 2),
        )  # fmt: skip
    if kind < 0.75:
        return tg.MaxPool2D(pick(rng, 2, 3, (1, 2)), stride=pick(rng, None, 1, 2), padding=pick(rng, 0, 0, 1))
    if kind < 0.87:
        return tg.AvgPool2D(pick(rng, 2, 3), stride=pick(rng, None, 1), padding=pick(rng, 0, 1))
    return tg.BatchNorm(channels, dtype=dtype) if rows > 1 else activation(rng)


def draw_rows(rng: np.random.Generator, dtype: Any) -> Program:
    """Rows through dense layers, norms and activations."""
    rows, width = rows_of(rng), int(rng.integers(1, 40))
    x = rng.standard_normal((rows, width)).astype(dtype)
    layers: list[tg.Layer] = []
    for _ in range(rng.integers(1, 4)):
        outputs = int(rng.integers(1, 40))
        layers.append(
            tg.Dense(width, outputs, bias=bool(rng.integers(2)), dtype=dtype, rng=int(rng.integers(1 << 30)))
        )
        width = outputs
        kind = rng.random()
        if kind < 0.2 and rows > 1:
            layers.append(tg.BatchNorm(width, dtype=dtype))
        elif kind < 0.4 and width > 1:
            layers.append(tg.LayerNorm(width, dtype=dtype))
        layers.append(activation(rng))
    layers.append(
        tg.Dense(width, outputs := int(rng.integers(1, 12)), dtype=dtype, rng=int(rng.integers(1 << 30)))
    )
    return network_program(rng, layers, x, outputs, dtype)


def network_program(
    rng: np.random.Generator, layers: list[tg.Layer], x: np.ndarray, outputs: int, dtype: Any
) -> Program:
    network = tg.Network(layers)
    of, targets, name = ending(rng, len(x), outputs, dtype)
    return Program(
        f"{len(x)} x {x.shape[1:]}: {layers} {name}",
        lambda x, *rest: of(network(x), *rest),
        network.parameters(),
        (x, *targets),
    )


def draw_function(rng: np.random.Generator, dtype: Any) -> Program:
    """A function of ops: products, activations, sums, moves."""
    rows, width, inner = rows_of(rng), int(rng.integers(2, 9)), int(rng.integers(2, 9))
    x = rng.standard_normal((rows, width)).astype(dtype)
    w = tg.Parameter(rng.uniform(-1, 1, (width, inner)), name="w", dtype=dtype)
    b = tg.Parameter(rng.uniform(-1, 1, inner), name="b", dtype=dtype)
    s = tg.Parameter(rng.uniform(0.5, 1.5), name="s", dtype=dtype)
    steps = [draw_step(rng, inner) for _ in range(rng.integers(1, 5))]
    axis, keep = pick(rng, 1, -1, None), bool(rng.integers(2))

    def loss(x: Any) -> tg.Tensor:
        h = x @ w + b
        for step in steps:
            h = step(h, b, s)
        return tg.mean(np.square(tg.mean(h, axis=axis, keepdims=keep))) + 0.01 * tg.sum(w * w)

    return Program(f"function of {steps} on {x.shape}", loss, [w, b, s], (x,))


def draw_step(rng: np.random.Generator, width: int) -> Callable[..., Any]:
    f, k = pick(rng, *ACTIVATIONS), int(rng.integers(1, width + 1))
    return pick(
        rng,
        lambda h, b, s: f(h),
        lambda h, b, s: f(h) * s,
        lambda h, b, s: h - tg.mean(h, axis=1, keepdims=True),
        lambda h, b, s: h / (1 + tg.max(np.abs(h), axis=1, keepdims=True)),
        lambda h, b, s: tg.softmax(h, axis=1) * width,
        lambda h, b, s: np.flip(h, axis=1) + b,
        lambda h, b, s: np.concatenate([h[:, k:], h[:, :k]], axis=1),
        lambda h, b, s: np.roll(h, k, axis=1) * 0.9,
        lambda h, b, s: tg.sum(np.stack([h, f(h)], axis=1), axis=1),
        lambda h, b, s: np.pad(h[:, :k], ((0, 0), (0, width - k))) + h,
        lambda h, b, s: h.reshape(h.shape[0], 1, width).transpose(0, 2, 1).reshape(h.shape),
        lambda h, b, s: np.einsum("ni,nj->nij", h, b + h)[:, 0, :] * 0.5,
        lambda h, b, s: h - tg.mean(h, axis=0),
        lambda h, b, s: tg.log_softmax(h, axis=-1),
    )


def draw_sequence(rng: np.random.Generator, dtype: Any) -> Program:
    """Numbers looked up, and attention over them."""
    rows, length, count, size = (
        rows_of(rng),
        int(rng.integers(1, 6)),
        int(rng.integers(2, 9)),
        int(rng.integers(1, 7)),
    )
    numbers = rng.integers(0, count, (rows, length))
    table = tg.Embedding(count, size, dtype=dtype, rng=int(rng.integers(1 << 30)))
    q = tg.Parameter(rng.uniform(-1, 1, (size, size)), name="q", dtype=dtype)
    w = tg.Parameter(
        rng.uniform(-1, 1, (length * size, outputs := int(rng.integers(1, 5)))), name="out", dtype=dtype
    )
    of, targets, name = ending(rng, rows, outputs, dtype)

    def loss(numbers: Any, *rest: Any) -> tg.Tensor:
        h = table(numbers)
        h = tg.softmax((h @ q) @ np.swapaxes(h, 1, 2)) @ h
        return of(h.reshape(h.shape[0], -1) @ w, *rest)

    return Program(
        f"attention {rows} x {length} x {size}, {name}",
        loss,
        [*table.parameters(), q, w],
        (numbers, *targets),
    )
