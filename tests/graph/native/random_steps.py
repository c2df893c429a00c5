"""Steps of random functions: every op that has a rule in C, on rows of any numbers.

A step is a function of rows ``h`` (N, width) and of the parameters ``b`` (width,), ``s`` () and ``m``
(width, width), which gives such rows again. What an op cannot take is bent into its domain first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg

Step = Callable[[Any, Any, Any, Any], Any]


def inside(h: Any) -> Any:
    """Between -0.9 and 0.9."""
    return 0.9 * np.tanh(h)


def positive(h: Any) -> Any:
    """Between 0.5 and 1.4."""
    return 0.5 + np.square(inside(h))


def above(h: Any) -> Any:
    """Between 1.1 and 2.9."""
    return 2.0 + inside(h)


EVERYWHERE = [
    tg.absolute, tg.arcsinh, tg.arctan, tg.cos, tg.deg2rad, tg.elu, tg.erf, tg.erfc, tg.fabs, tg.gelu,
    tg.identity,
    tg.leaky_relu, tg.nan_to_num, tg.negative, tg.positive, tg.radians, tg.relu, tg.sigmoid, tg.silu, tg.sin,
    tg.sinc, tg.softplus, tg.tanh,
]  # fmt: skip
INSIDE = [
    tg.arccos, tg.arcsin, tg.arctanh, tg.cosh, tg.degrees, tg.exp, tg.exp2, tg.expm1, tg.rad2deg, tg.sinh,
    tg.square, tg.tan,
]  # fmt: skip
POSITIVE = [tg.cbrt, tg.log, tg.log10, tg.log1p, tg.log2, tg.reciprocal, tg.sqrt]
PAIRS = [
    tg.add, tg.arctan2, tg.copysign, tg.fmax, tg.fmin, tg.hypot, tg.logaddexp, tg.logaddexp2, tg.maximum,
    tg.minimum, tg.multiply, tg.subtract,
]  # fmt: skip
ROUNDED = [tg.ceil, tg.floor, tg.rint, tg.sign, tg.trunc]

UNARY: dict[str, Callable[[Any], Any]] = {
    **{f.__name__: f for f in EVERYWHERE},
    **{f.__name__: lambda h, f=f: f(inside(h)) for f in INSIDE},
    **{f.__name__: lambda h, f=f: f(positive(h)) for f in POSITIVE},
    **{f.__name__: lambda h, f=f: h + 0.1 * f(3 * h) for f in ROUNDED},
    "arccosh": lambda h: tg.arccosh(above(h)),
    "elu, deep": lambda h: tg.elu(h, alpha=1.7),
    "leaky_relu, steep": lambda h: tg.leaky_relu(h, slope=0.3),
    "gelu, tanh": lambda h: tg.gelu(h, approximate="tanh"),
    "square of a bell": lambda h: np.square(np.exp(-h * h)),
    "a power": lambda h: positive(h) ** 1.7 + h**3 / (1 + h * h),
    "a root": lambda h: positive(h) ** -0.5,
    "nan_to_num": lambda h: np.nan_to_num(np.where(h > 2, np.inf, h), posinf=2.0),
    "clip": lambda h: np.clip(h, -1.0, 1.5),
    "product with a comparison": lambda h: h * (h > 0),
    "fraction": lambda h: h / (1.5 + np.cos(h)),
    "halves": lambda h: np.where(h >= 0.2, h, 0.3 * h) + np.where(h <= -0.2, 0.5 * h, 0.0),
    "zeros": lambda h: h + np.zeros_like(h),
}  # fmt: skip

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **{f.__name__: f for f in PAIRS},
    "divide": lambda h, b: h / above(b),
    "power": lambda h, b: np.power(positive(h), b),
    "remainder": lambda h, b: np.remainder(h, above(b)),
    "fmod": lambda h, b: np.fmod(h, above(b)),
    "floor_divide": lambda h, b: h + 0.1 * (h // above(b)),
    "heaviside": lambda h, b: h * np.heaviside(h, b),
    "where": lambda h, b: np.where(h > b, h, b * h),
    "select": lambda h, b: np.select([h > 1, h < b], [0.5 * h, b], h),
    "clip": lambda h, b: np.clip(h, b - 1, b + 1),
    "logic": lambda h, b: np.where((h > 0) & (h < 1) | ~(h != b), h, 0.5 * b),
    "more logic": lambda h, b: np.where(np.logical_xor(h > b, np.isfinite(h)) == np.isnan(b), h, b),
    "normalize": lambda h, b: tg.normalize(h, tg.mean(h, axis=0), b, b * 0.5),
}  # fmt: skip

#: Each gives one number a row, or one for all, with ``axis`` and ``keepdims=True``.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda h, **k: 0.2 * tg.sum(h, **k),
    "mean": tg.mean,
    "var": tg.var,
    "unbiased var": lambda h, **k: tg.var(h, **k, ddof=0.5),
    "std": lambda h, **k: np.sqrt(tg.var(h, **k) + 0.1),
    "max": tg.max,
    "min": tg.min,
    "logsumexp": tg.logsumexp,
    "norm": lambda h, **k: np.sqrt(0.1 + tg.sum(h * h, **k)),
    "count": lambda h, **k: 0.1 * tg.mean(np.where(h > 0, h, 0.0), **k),
    "all": lambda h, **k: tg.mean(h, **k) * np.all(h > -1, **k),
    "any": lambda h, **k: tg.mean(h, **k) * np.any(h > 1, **k),
}


def draw_step(rng: np.random.Generator, width: int) -> tuple[str, Step]:
    """A step and what it is called."""
    kind = rng.choice(["unary", "binary", "reduction", "move", "product"], p=[0.35, 0.2, 0.15, 0.18, 0.12])
    if kind == "unary":
        name, f = choose(rng, UNARY)
        return name, lambda h, b, s, m: f(h)
    if kind == "binary":
        name, g = choose(rng, BINARY)
        if rng.random() < 0.3:
            return f"{name} of two", lambda h, b, s, m: g(h, s * np.sin(h))
        return name, (lambda h, b, s, m: g(h, s)) if rng.random() < 0.3 else lambda h, b, s, m: g(h, b)
    if kind == "reduction":
        name, reduce = choose(rng, REDUCTIONS)
        axes: list[Any] = [1, -1, None, (0, 1), 0]
        axis = axes[rng.choice(5, p=[0.4, 0.2, 0.15, 0.1, 0.15])]
        return f"{name} over {axis}", lambda h, b, s, m: h - reduce(h, axis=axis, keepdims=True)
    k = int(rng.integers(1, width + 1))
    return choose(rng, move_by(k, width, rng) if kind == "move" else multiply_by(width))


def choose(rng: np.random.Generator, table: dict[str, Any]) -> tuple[str, Any]:
    name = list(table)[rng.integers(len(table))]
    return name, table[name]


def move_by(k: int, width: int, rng: np.random.Generator) -> dict[str, Step]:
    order, few = rng.permutation(width), rng.integers(0, width, 2)
    return {
        "flip": lambda h, b, s, m: np.flip(h, axis=1) + b,
        "concatenate": lambda h, b, s, m: np.concatenate([h[:, k:], h[:, :k]], axis=1),
        "roll": lambda h, b, s, m: np.roll(h, k, axis=1) * 0.9,
        "stack": lambda h, b, s, m: tg.sum(np.stack([h, np.sin(h)], axis=1), axis=1),
        "stack behind": lambda h, b, s, m: tg.max(np.stack([h, b * h], axis=-1), axis=-1),
        "pad": lambda h, b, s, m: np.pad(h[:, :k], ((0, 0), (0, width - k))) + h,
        "transpose": lambda h, b, s, m: h.reshape(-1, 1, width).transpose(0, 2, 1).reshape(h.shape),
        "swapaxes": lambda h, b, s, m: np.swapaxes(h[:, :, None] * b, 1, 2)[:, 0] + h,
        "moveaxis": lambda h, b, s, m: np.moveaxis(h[:, None, :] * m, 2, 1)[:, :, 0],
        "an index": lambda h, b, s, m: h[:, order] * b[order],
        "an index of the parameter": lambda h, b, s, m: h + m[few[0], few[1]] * tg.sum(m[few], axis=0),
        "every other": lambda h, b, s, m: np.concatenate([h[:, ::2], h[:, 1::2]], axis=1),
        "backwards": lambda h, b, s, m: h[:, ::-1] * s,
        "a column": lambda h, b, s, m: h - h[:, k - 1 : k],
        "one column": lambda h, b, s, m: h + 0.3 * h[:, k - 1][:, None],
        "broadcast": lambda h, b, s, m: h + np.broadcast_to(b[None], h.shape) * np.broadcast_to(s, (width,)),
        "expand and squeeze": lambda h, b, s, m: np.squeeze(np.expand_dims(h, 1) * s, 1),
        "softmax": lambda h, b, s, m: tg.softmax(h, axis=1) * width + b,
        "log_softmax": lambda h, b, s, m: 0.3 * tg.log_softmax(h, axis=-1),
    }  # fmt: skip


def multiply_by(width: int) -> dict[str, Step]:
    return {
        "matmul": lambda h, b, s, m: h @ m,
        "matmul with a turned one": lambda h, b, s, m: np.tanh(h) @ m.T + b,
        "product of parameters": lambda h, b, s, m: np.tanh(h @ (m @ m)),
        "vector": lambda h, b, s, m: h + 0.3 * (h @ b)[:, None],
        "stacks": lambda h, b, s, m: ((h[:, None, :] * b) @ m[None])[:, 0],
        "outer": lambda h, b, s, m: (np.tanh(h)[:, :, None] @ (h * b)[:, None, :])[:, 0] * 0.5,
        "einsum": lambda h, b, s, m: np.einsum("ni,ij->nj", h, m),
        "einsum of rows": lambda h, b, s, m: np.einsum("ni,nj->nij", np.tanh(h), b + h)[:, 0, :] * 0.5,
        "einsum, turned": lambda h, b, s, m: np.einsum("ji,nj->ni", m, h),
        "gram": lambda h, b, s, m: h @ (np.tanh(h).T @ h) / (1 + len(h)),
        "tensordot": lambda h, b, s, m: np.tensordot(h, m, 1),
    }  # fmt: skip
