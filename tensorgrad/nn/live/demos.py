"""What `playground` shows by itself: spirals with a dense network, digits with a convolutional one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.data.dataset import load
from tensorgrad.nn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Tanh
from tensorgrad.nn.network import Network
from tensorgrad.nn.optimizers import Adam

__all__: list[str] = []


def make_spirals(count: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Points of two spirals around one another, (2 count, 2), and which each belongs to.

    >>> from tensorgrad.nn.live.demos import make_spirals
    >>> x, y = make_spirals()
    >>> x.shape, np.bincount(y)
    ((400, 2), array([200, 200]))
    """
    rng = np.random.default_rng(seed)
    turn = np.sqrt(np.linspace(0.02, 1, count))
    angle = np.concatenate([3.5 * np.pi * turn, 3.5 * np.pi * turn + np.pi])
    radius = np.concatenate([turn, turn]) * 5
    x = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    x += rng.normal(0, noise, x.shape)
    return x.astype(np.float32), np.repeat([0, 1], count)


def spirals() -> dict[str, Any]:
    """The arguments of `playground` for the spirals."""
    rng = np.random.default_rng(0)
    network = Network([Dense(2, 8, rng=rng), Tanh(), Dense(8, 8, rng=rng), Tanh(), Dense(8, 1, rng=rng)])
    network.use("binary_cross_entropy")
    x, y = make_spirals()
    return {
        "network": network, "x": x, "y": y.astype(np.float32)[:, np.newaxis], "classes": ("blue", "orange"),
        "optimizer": lambda parameters: Adam(parameters, 0.02), "title": "Two spirals",
    }  # fmt: skip


def digits() -> dict[str, Any]:
    """The arguments of `playground` for the digits."""
    data, rng = load("digits"), np.random.default_rng(0)
    network = Network([Conv2D(1, 8, 3, rng=rng), ReLU(), MaxPool2D(2), Flatten(), Dense(72, 10, rng=rng)])
    network.use("cross_entropy")
    return {
        "network": network, "x": data.x_train, "y": data.y_train, "validation": (data.x_test, data.y_test),
        "classes": data.class_names, "optimizer": lambda parameters: Adam(parameters, 0.005),
        "title": "Digits",
    }  # fmt: skip
