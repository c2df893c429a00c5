"""Random functions and networks, drawn by a seed, for holding compiled code against the NumPy engine.

A seed draws the same program in every dtype: all numbers are rounded to float32 first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from random_steps import UNARY, choose, draw_step

import tensorgrad as tg

#: Of NumPy's own error, and of the units that the largest number of all has in the last place.
TIMES, UNITS = 16, 64


class Program(NamedTuple):
    """A loss of arrays, the parameters that it reads, and arguments for it."""

    name: str
    loss: Callable[..., tg.Tensor]
    parameters: list[tg.Parameter]
    arrays: tuple[np.ndarray, ...]


def draw(seed: int, dtype: Any) -> Program:
    """A program: a network of layers, or a function of arrays."""
    rng = np.random.default_rng(seed)
    kinds = (draw_images, draw_rows, draw_function, draw_sequence, draw_windows)
    return kinds[rng.choice(len(kinds), p=[0.3, 0.2, 0.3, 0.1, 0.1])](rng, np.dtype(dtype))


def draw_optimizer(seed: int, parameters: Sequence[tg.Parameter]) -> tuple[str, Any]:
    """An optimizer with options of its own. Adam's eps is large: it divides by what is hardly 0 otherwise."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"learning_rate": pick(rng, 0.003, 0.03)}
    if rng.random() < 0.3:
        options["weight_decay"] = 0.05
    if rng.random() < 0.2:
        options["clip_value"] = 0.3
    if rng.random() < 0.2:
        options["clip_norm"] = 0.7
    make = pick(rng, tg.MiniBatchSGD, tg.MiniBatchSGD, tg.Adam, tg.AdamW)
    if make is not tg.MiniBatchSGD:
        options |= {
            "eps": 0.01,
            "betas": pick(rng, (0.9, 0.999), (0.5, 0.9)),
            "amsgrad": pick(rng, False, True),
        }
    elif rng.random() < 0.6:
        options |= {"momentum": 0.9, **pick(rng, {}, {"nesterov": True}, {"dampening": 0.3})}
        options["decoupled_weight_decay"] = pick(rng, False, True)
    groups: Any = parameters
    if len(parameters) > 1 and rng.random() < 0.2:
        groups = [{"parameters": parameters[:1], "learning_rate": 0.05}, {"parameters": parameters[1:]}]
    return f"{make.__name__} {options}", make(groups, **options)


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def compare(
    name: str, dtype: Any, found: Sequence[Any], single: Sequence[Any], double: Sequence[Any]
) -> None:
    """All of one dtype against what float64 gives, in units of what float32 loses."""
    size = max(float(np.abs(x).max(initial=0)) for x in double)
    assert np.isfinite(size), f"{name}: nothing is compared"
    off, lost = (
        max(float(np.abs(x.astype(float) - y).max(initial=0)) for x, y in zip(xs, double, strict=True))
        for xs in (found, single)
    )
    eps, allowed = float(np.finfo(dtype).eps), TIMES * lost / float(np.finfo(np.float32).eps) + UNITS * size
    assert off <= eps * allowed, f"{name}: off by {off / eps:.3g} units, allowed {allowed:.3g}"


def real(x: Any, dtype: Any) -> np.ndarray:
    """Numbers that are the same in every dtype."""
    return np.asarray(x, np.float32).astype(dtype)


def seed_of(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def rows_of(rng: np.random.Generator) -> int:
    return int(pick(rng, 1, 2, 3, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 40))


def activation(rng: np.random.Generator) -> tg.Layer:
    return pick(
        rng, tg.ReLU, tg.Sigmoid, tg.Tanh, tg.Softplus, tg.SiLU, tg.GELU, tg.ELU, tg.LeakyReLU,
        lambda: tg.LeakyReLU(0.2), lambda: tg.ELU(0.7), lambda: tg.GELU("tanh"),
        lambda: tg.Dropout(0.4, rng=seed_of(rng)),
    )()  # fmt: skip


def ending(
    rng: np.random.Generator, rows: int, width: int, dtype: Any
) -> tuple[Callable[..., tg.Tensor], tuple[np.ndarray, ...], str]:
    """A loss of predictions (rows, width), and what it takes beside them."""
    reduction = pick(rng, "mean", "mean", "sum", "none")
    weights = (real(rng.uniform(0.2, 2, rows), dtype),) if rng.random() < 0.3 else ()
    kinds = ("mse", "mae", "huber", "binary") if width < 2 else ("mse", "mae", "huber", "binary", *ENTROPIES)
    kind = pick(rng, *kinds)
    options: dict[str, Any] = {"reduction": reduction}
    if kind == "labels":
        target = rng.integers(0, width, rows)
    elif kind == "shares":
        target = real(rng.dirichlet(np.ones(width), rows), dtype)
        target = target / target.sum(axis=1, keepdims=True)
    elif kind == "binary":
        target = pick(rng, rng.integers(0, 2, (rows, width)), real(rng.uniform(0, 1, (rows, width)), dtype))
        if rng.random() < 0.3:
            options["positive_weight"] = pick(rng, 2.5, real(rng.uniform(0.5, 2, width), dtype))
    else:
        target = real(rng.standard_normal((rows, width)), dtype)
        options |= {"delta": pick(rng, 1.0, 0.4)} if kind == "huber" else {}
    if kind in ENTROPIES:
        options |= {"label_smoothing": 0.1} if rng.random() < 0.3 else {}
        options |= {"class_weights": real(rng.uniform(0.5, 2, width), dtype)} if rng.random() < 0.3 else {}
    of = LOSSES.get(kind) or getattr(tg, kind)

    def loss(prediction: tg.Tensor, target: Any, *weights: Any) -> tg.Tensor:
        out = of(prediction, target, *weights, **options)
        return out if reduction != "none" else tg.mean(np.hypot(out, 1.0))

    return loss, (target, *weights), f"{kind} {options}{' weighted' if weights else ''}"


ENTROPIES = ("labels", "shares")
LOSSES = {"labels": tg.cross_entropy, "shares": tg.cross_entropy, "binary": tg.binary_cross_entropy}


def draw_images(rng: np.random.Generator, dtype: Any) -> Program:
    """Images through convolutions, poolings, norms and activations, then a dense layer."""
    rows = rows_of(rng)
    start = shape = (int(rng.integers(1, 12)), int(rng.integers(1, 12)), int(rng.integers(1, 5)))
    layers: list[tg.Layer] = []
    for _ in range(rng.integers(1, 4)):
        for layer in (
            draw_image_layer(rng, shape[2], rows, dtype),
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
    layers.append(tg.Dense(flat, outputs, dtype=dtype, rng=0))
    return network_program(rng, layers, rng.standard_normal((rows, *start)), outputs, dtype)


def draw_image_layer(rng: np.random.Generator, channels: int, rows: int, dtype: Any) -> tg.Layer:
    kind = rng.random()
    if kind < 0.55:
        groups = pick(rng, 1, 1, 1, channels, 2 if channels % 2 == 0 else 1)
        return tg.Conv2D(
            channels, groups * int(rng.integers(1, 9)), (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
            groups=groups, bias=bool(rng.integers(2)), dtype=dtype, rng=0,
            stride=pick(rng, 1, 1, 2, (1, 2), 3), dilation=pick(rng, 1, 1, 2, (2, 1)),
            padding=pick(rng, 0, "same", 1, ((1, 0), (0, 2)), 2, "valid"),
        )  # fmt: skip
    if kind < 0.73:
        return tg.MaxPool2D(pick(rng, 2, 3, (1, 2)), stride=pick(rng, None, 1, 2), padding=pick(rng, 0, 0, 1))
    if kind < 0.85:
        return tg.AvgPool2D(pick(rng, 2, 3), stride=pick(rng, None, 1), padding=pick(rng, 0, 1))
    if kind < 0.93:
        return tg.LayerNorm(channels, dtype=dtype) if channels > 1 else activation(rng)
    return tg.BatchNorm(channels, eps=pick(rng, 1e-2, 1e-5), dtype=dtype) if rows > 1 else activation(rng)


def draw_rows(rng: np.random.Generator, dtype: Any) -> Program:
    """Rows through dense layers, norms and activations."""
    rows, width = rows_of(rng), int(rng.integers(1, 40))
    x = rng.standard_normal((rows, width))
    layers: list[tg.Layer] = []
    for _ in range(rng.integers(1, 4)):
        outputs = int(rng.integers(1, 40))
        layers.append(tg.Dense(width, outputs, bias=bool(rng.integers(2)), dtype=dtype, rng=0))
        width = outputs
        kind = rng.random()
        if kind < 0.2 and rows > 1:
            layers.append(tg.BatchNorm(width, eps=pick(rng, 1e-2, 1e-5), dtype=dtype))
        elif kind < 0.4 and width > 1:
            layers.append(tg.LayerNorm(width, eps=pick(rng, 1e-2, 1e-5), dtype=dtype))
        layers.append(activation(rng))
    layers.append(tg.Dense(width, outputs := int(rng.integers(1, 12)), dtype=dtype, rng=0))
    if rng.random() < 0.15:
        layers.append(pick(rng, tg.Softmax, tg.LogSoftmax)())
    return network_program(rng, layers, x, outputs, dtype)


def network_program(
    rng: np.random.Generator, layers: list[tg.Layer], x: np.ndarray, outputs: int, dtype: Any
) -> Program:
    network = tg.Network(layers)
    for p in network.parameters():  # of any sign and size, biases and scales too
        p.data = real(
            rng.standard_normal(p.shape) / np.sqrt(p.size / max(p.shape)) + (p.name == "scale"), dtype
        )
    of, targets, name = ending(rng, len(x), outputs, dtype)
    return Program(
        f"{len(x)} x {x.shape[1:]}: {layers} {name}",
        lambda x, *rest: of(network(x), *rest),
        network.parameters(),
        (real(x, dtype), *targets),
    )


def parameter(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: Any) -> tg.Parameter:
    return tg.Parameter(real(rng.uniform(-1, 1, shape), dtype), name=name)


def draw_function(rng: np.random.Generator, dtype: Any) -> Program:
    """A function of ops: products, activations, sums, moves."""
    rows, width, inner = rows_of(rng), int(rng.integers(2, 9)), int(rng.integers(2, 9))
    x = real(rng.standard_normal((rows, width)), dtype)
    w, m = parameter(rng, "w", (width, inner), dtype), parameter(rng, "m", (inner, inner), dtype)
    b, s = parameter(rng, "b", (inner,), dtype), tg.Parameter(real(rng.uniform(0.5, 1.5), dtype), name="s")
    steps = [draw_step(rng, inner) for _ in range(rng.integers(1, 6))]
    axis, keep = pick(rng, 1, -1, None), bool(rng.integers(2))

    def loss(x: Any) -> tg.Tensor:
        h = x @ w + b
        for _, step in steps:
            h = step(h, b, s, m)
        rest = tg.sum(w * w) + s * tg.sum(np.square(m)) + np.linalg.norm(b)
        return tg.mean(np.square(tg.mean(h, axis=axis, keepdims=keep))) + 0.1 * rest

    return Program(f"{[name for name, _ in steps]} on {x.shape} of {inner}", loss, [w, b, s, m], (x,))


def draw_sequence(rng: np.random.Generator, dtype: Any) -> Program:
    """Numbers looked up, and attention over them."""
    rows, length = rows_of(rng), int(rng.integers(1, 6))
    count, size = int(rng.integers(2, 9)), int(rng.integers(2, 7))
    negative = bool(rng.integers(2))  # which count from the end, where no layer refuses them
    cut = int(rng.integers(0, 3))  # of the numbers that come with a row, which are not looked up
    numbers = rng.integers(-count if negative else 0, count, (rows, cut + length))
    table = tg.Embedding(count, size, dtype=dtype, rng=0)
    table.parameters()[0].data = real(rng.standard_normal((count, size)), dtype)
    norm = tg.LayerNorm(size, eps=1e-2, dtype=dtype)
    q, outputs = parameter(rng, "q", (size, size), dtype), int(rng.integers(1, 5))
    w = parameter(rng, "out", (length * size, outputs), dtype)
    of, targets, name = ending(rng, rows, outputs, dtype)
    masked, summed, normed = (bool(rng.integers(2)) for _ in range(3))
    future = np.triu(np.ones((length, length), bool), 1)

    def loss(numbers: Any, *rest: Any) -> tg.Tensor:
        numbers = numbers[:, cut:]
        h = table.parameters()[0][numbers] if negative else table(numbers)
        h = norm(h) if normed else h
        scores = np.einsum("nld,nmd->nlm", h @ q, h) if summed else (h @ q) @ np.swapaxes(h, 1, 2)
        scores = np.where(future, -1e9, scores) if masked else scores
        h = tg.softmax(scores * size**-0.5) @ h + h
        return of(h.reshape(h.shape[0], -1) @ w, *rest)

    parameters = [*table.parameters(), q, w, *(norm.parameters() if normed else [])]
    what = f"attention {rows} x {length} x {size}{' masked' * masked}{' einsum' * summed}{' norm' * normed}"
    return Program(f"{what}, {name}", loss, parameters, (numbers, *targets))


def draw_windows(rng: np.random.Generator, dtype: Any) -> Program:
    """Ops on images with the options that layers do not have, and steps on elements between them."""
    rows, channels = rows_of(rng), int(rng.integers(1, 4))
    height, width = int(rng.integers(4, 10)), int(rng.integers(4, 10))
    x = real(rng.standard_normal((rows, height, width, channels)), dtype)
    w = parameter(rng, "w", (int(rng.integers(1, 6)), channels, int(rng.integers(1, 3)), 2), dtype)
    b, s = parameter(rng, "b", (w.shape[0],), dtype), parameter(rng, "s", (height, width, 1), dtype)
    size = pick(rng, 2, 3, (2, 1), (3, 2))
    how: dict[str, Any] = {
        "size": size,
        "stride": pick(rng, None, 1, 2, (2, 1)),
        "ceil_mode": pick(rng, False, True),
    }
    how["padding"] = pick(rng, 0, 0, 1 if size in (2, 3, (3, 2)) and size != (2, 1) else 0)
    if rng.random() < 0.5:
        pool, how["dilation"] = tg.max_pool, pick(rng, 1, 1, (1, 2))
    else:
        pool, how["count_include_pad"] = tg.avg_pool, pick(rng, False, True)
    options = {"stride": pick(rng, 1, 1, (2, 1)), "padding": pick(rng, 0, 1, "same")}
    name, bend = choose(rng, UNARY)
    biased, first = bool(rng.integers(2)), bool(rng.integers(2))

    def loss(x: Any) -> tg.Tensor:
        h = x * s
        if first:
            h = pool(bend(h), **how)
        h = tg.conv2d(h, w, b, **options) if biased else tg.conv2d(h, w, **options) + b
        h = bend(h)
        h = h if first or min(h.shape[1:3]) < 4 else pool(h, **how)
        return tg.mean(np.square(tg.mean(h, axis=(1, 2)) - 0.3)) + tg.mean(np.tanh(h))

    try:
        loss(x)
    except ValueError:  # a window is larger than what is left
        return draw_windows(rng, dtype)
    what = f"{pool.__name__} {how} {'before' if first else 'after'} conv2d {w.shape} {options}"
    return Program(f"{what}, {name}, {x.shape}", loss, [w, b, s], (x,))
