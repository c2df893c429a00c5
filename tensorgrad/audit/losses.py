"""Samples of the losses."""

from __future__ import annotations

import numpy as np

from tensorgrad.audit.sample import Draw, Draws, Sample, apart, normal, normals, of, positive


def labels(*shape: int) -> Draw:
    """Integers from 0 to 2."""
    return lambda rng: rng.integers(0, 3, shape)


def fractions(*shape: int) -> Draw:
    """Between 0.1 and 0.9."""
    return lambda rng: np.asarray(rng.uniform(0.1, 0.9, shape))


def probabilities(*shape: int) -> Draw:
    """Positive numbers that sum to 1 along the last axis."""
    return lambda rng: np.asarray(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))


def _apart_and_weighted(*shape: int) -> Draws:
    """Predictions and targets apart, and weights of rows."""
    return lambda rng: (*apart(shape, shape)(rng), *of(positive(shape[0]))(rng))


_CLASS_WEIGHTS = np.array([0.5, 1.0, 2.0])

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "mse": (
        Sample("mean", normals((2, 3), (2, 3))),
        Sample("sum", normals((4,), (4,)), {"reduction": "sum"}),
        Sample("none", normals((2, 1, 2), (2, 1, 2)), {"reduction": "none"}),
        Sample("0d", normals((), ())),
        Sample("weighted mean", of(normal(3, 2), normal(3, 2), positive(3))),
        Sample("weighted sum", of(normal(3, 2), normal(3, 2), positive(3)), {"reduction": "sum"}),
        Sample("weighted, none", of(normal(3, 2, 1), normal(3, 2, 1), positive(3)), {"reduction": "none"}),
    ),
    "mae": (
        Sample("mean", apart((2, 3), (2, 3))),
        Sample("0d", apart((), ()), {"reduction": "sum"}),
        Sample("weighted mean", _apart_and_weighted(3, 2)),
        Sample("weighted, none", _apart_and_weighted(3), {"reduction": "none"}),
    ),
    "huber": (
        Sample("mean", apart((2, 3), (2, 3)), {"delta": 0.5}),
        Sample("0d", apart((), ()), {"reduction": "sum"}),
        Sample("weighted mean", _apart_and_weighted(3, 2), {"delta": 0.5}),
        Sample("weighted, none", _apart_and_weighted(3), {"reduction": "none"}),
    ),
    "l2": (
        Sample("one", normals((2, 3)), {"strength": 0.1}),
        Sample("three", normals((2,), (), (1, 3)), {"strength": 2}),
    ),
    "cross_entropy": (
        Sample("labels", of(normal(4, 3), labels(4))),
        Sample("labels, none", of(normal(4, 3), labels(4)), {"reduction": "none"}),
        Sample("weighted labels", of(normal(4, 3), labels(4), positive(4))),
        Sample(
            "smoothed labels, weighted classes",
            of(normal(4, 3), labels(4)),
            {"label_smoothing": 0.1, "class_weights": _CLASS_WEIGHTS},
        ),
        Sample(
            "labels of pixels, weighted", of(normal(2, 2, 3), labels(2, 2), positive(2)), {"reduction": "sum"}
        ),
        Sample("probabilities", of(normal(4, 3), probabilities(4, 3))),
        Sample(
            "probabilities, everything weighted",
            of(normal(4, 3), probabilities(4, 3), positive(4)),
            {"label_smoothing": 0.2, "class_weights": _CLASS_WEIGHTS},
        ),
        Sample(
            "probabilities of pixels, everything weighted, none",
            of(normal(2, 2, 3), probabilities(2, 2, 3), positive(2)),
            {"reduction": "none", "class_weights": _CLASS_WEIGHTS},
        ),
    ),
    "binary_cross_entropy": (
        Sample("mean", of(normal(2, 3), fractions(2, 3))),
        Sample("0d, sum", of(normal(), fractions()), {"reduction": "sum"}),
        Sample("weighted mean", of(normal(3, 2), fractions(3, 2), positive(3)), {"positive_weight": 3.0}),
        Sample(
            "weighted, none",
            of(normal(2, 1, 3), fractions(2, 1, 3), positive(2)),
            {"positive_weight": _CLASS_WEIGHTS, "reduction": "none"},
        ),
    ),
}
