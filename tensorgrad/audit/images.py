"""Samples of convolution and pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator

from tensorgrad.audit.sample import Draws, Sample, apart, normals
from tensorgrad.ops.pool import max_pool

Shape = tuple[int, ...]

#: label, images, filters, options, output: convolution and its two adjoints are sampled alike.
_CONVOLUTIONS: tuple[tuple[str, Shape, Shape, dict[str, Any], Shape], ...] = (
    ("plain", (2, 4, 4, 2), (3, 2, 3, 3), {}, (2, 2, 2, 3)),
    ("rectangles", (1, 3, 5, 1), (2, 1, 2, 3), {"stride": (1, 2)}, (1, 2, 2, 2)),
    ("padded on each side", (1, 3, 2, 1), (1, 1, 2, 2), {"padding": ((1, 0), (2, 1))}, (1, 3, 4, 1)),
    ("same, with stride", (1, 5, 4, 1), (1, 1, 3, 3), {"padding": "same", "stride": 2}, (1, 3, 2, 1)),
    ("dilated", (1, 5, 3, 1), (1, 1, 2, 2), {"dilation": (3, 1), "padding": (0, 1)}, (1, 2, 4, 1)),
    ("depthwise", (1, 3, 3, 2), (4, 1, 2, 2), {"groups": 2, "stride": 2, "padding": 1}, (1, 2, 2, 4)),
)

_POOLS: tuple[tuple[str, Shape, dict[str, Any], Shape], ...] = (
    ("tiling", (2, 4, 4, 2), {}, (2, 2, 2, 2)),
    ("overlapping rectangles", (1, 4, 5, 1), {"size": (2, 3), "stride": (1, 2)}, (1, 3, 2, 1)),
    ("padded", (1, 3, 3, 2), {"size": 3, "stride": 2, "padding": 1}, (1, 2, 2, 2)),
    ("ceil mode", (1, 5, 4, 1), {"size": 2, "ceil_mode": True}, (1, 3, 2, 1)),
)


def _index(*shape: int) -> Any:
    """Numbers of taps that every window here has, the last one inside the image for all."""
    return lambda rng: rng.integers(0, 2, shape)


def _with_index(y: Shape, index: Shape) -> Draws:
    def draw(rng: Generator) -> tuple[Any, ...]:
        return np.asarray(rng.standard_normal(y)), _index(*index)(rng)

    return draw


def _at(x: Shape, options: dict[str, Any]) -> dict[str, Any]:
    """Images, no two values of which are equal, and their maxima: what `max_pool_images` is linear at."""
    images = np.random.default_rng(2).permutation(math.prod(x)).reshape(x) * 0.1
    return {"images": images, "maxima": max_pool(images, **options), **options}


SAMPLES: dict[str, tuple[Sample, ...]] = {
    "conv2d": (
        *(Sample(label, normals(x, w), options) for label, x, w, options, _ in _CONVOLUTIONS),
        Sample("with bias", normals((2, 3, 3, 2), (3, 2, 2, 2), (3,))),
    ),
    "conv2d_images": tuple(
        Sample(label, normals(y, w), {"shape": x, **options}) for label, x, w, options, y in _CONVOLUTIONS
    ),
    "conv2d_filters": tuple(
        Sample(label, normals(x, y), {"shape": w, **options}) for label, x, w, options, y in _CONVOLUTIONS
    ),
    "max_pool": (
        *(Sample(label, apart(x), options) for label, x, options, _ in _POOLS),
        Sample("dilated", apart((1, 4, 4, 1)), {"size": 2, "stride": 1, "dilation": 2}),
    ),
    "max_pool_images": tuple(Sample(label, normals(y), _at(x, options)) for label, x, options, y in _POOLS),
    "gather_windows": tuple(Sample(label, _with_index(x, y), options) for label, x, options, y in _POOLS),
    "scatter_windows": tuple(
        Sample(label, _with_index(y, y), {"shape": x, **options}) for label, x, options, y in _POOLS
    ),
    "avg_pool": (
        *(Sample(label, normals(x), options) for label, x, options, _ in _POOLS),
        Sample(
            "padding not counted",
            normals((1, 3, 3, 1)),
            {"size": 2, "padding": 1, "count_include_pad": False},
        ),
    ),
    "avg_pool_images": tuple(
        Sample(label, normals(y), {"shape": x, **options}) for label, x, options, y in _POOLS
    ),
}
