"""The two networks of the notebook, and the second as one would write it today."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad.nn.initializers import Seed
from tensorgrad.nn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU, Sigmoid
from tensorgrad.nn.network import Network

__all__ = ["convolutional_network", "dense_network", "modern_network"]


def dense_network(
    image_shape: tuple[int, int, int], classes: int, *, dtype: DTypeLike = np.float32, rng: Seed = None
) -> Network:
    """The notebook's first network: pixels-256-256-classes, sigmoids throughout, its initial values.

    >>> print(tg.dense_network((28, 28, 1), 10, rng=0).summary((28, 28, 1)))
    layer                output shape   parameters   multiply-adds       kept
    0  Flatten()         (N, 784)                0               0        0 B
    1  Dense(784, 256)   (N, 256)          200,960         200,704   165.9 kB
    2  Sigmoid()         (N, 256)                0               0    32.8 kB
    3  Dense(256, 256)   (N, 256)           65,792          65,536    65.5 kB
    4  Sigmoid()         (N, 256)                0               0    32.8 kB
    5  Dense(256, 10)    (N, 10)             2,570           2,560     2.6 kB
    6  Sigmoid()         (N, 10)                 0               0     1.3 kB
    total                                  269,322         268,800   300.8 kB
    a step on 32 rows: 300.8 kB kept for backward + 1.1 MB parameters + 1.1 MB gradients = 2.5 MB
    """
    make = partial(
        Dense, init="notebook_dense", bias_init="notebook_dense", dtype=dtype, rng=np.random.default_rng(rng)
    )
    network = Network([Flatten()])
    for inputs, outputs in pairwise((math.prod(image_shape), 256, 256, classes)):
        network.add(make(inputs, outputs))
        network.add(Sigmoid())
    return network


def convolutional_network(
    image_shape: tuple[int, int, int], classes: int, *, dtype: DTypeLike = np.float32, rng: Seed = None
) -> Network:
    """The notebook's second network: two 3x3 convolutions with pooling, then 128-64-classes.

    Images too small for the notebook's unpadded convolutions (under 10 pixels a side) are padded by 1. The
    initial weights are Glorot's: from the notebook's own, training with every filter diverges at its rate.

    >>> print(tg.convolutional_network((28, 28, 1), 10, rng=0).summary((28, 28, 1)))
    layer                     output shape      parameters   multiply-adds       kept
    0   Conv2D(1, 16, 3x3)    (N, 26, 26, 16)          160          97,344     1.5 MB
    1   MaxPool2D(2)          (N, 13, 13, 16)            0               0   346.1 kB
    2   Conv2D(16, 32, 3x3)   (N, 11, 11, 32)        4,640         557,568   495.6 kB
    3   MaxPool2D(2)          (N, 5, 5, 32)              0               0   102.4 kB
    4   Flatten()             (N, 800)                   0               0   102.4 kB
    5   Dense(800, 128)       (N, 128)             102,528         102,400    32.8 kB
    6   ReLU()                (N, 128)                   0               0    16.4 kB
    7   Dense(128, 64)        (N, 64)                8,256           8,192    16.4 kB
    8   ReLU()                (N, 64)                    0               0     8.2 kB
    9   Dense(64, 10)         (N, 10)                  650             640     2.6 kB
    10  Sigmoid()             (N, 10)                    0               0     1.3 kB
    total                                          116,234         766,144     2.6 MB
    a step on 32 rows: 2.6 MB kept for backward + 464.9 kB parameters + 464.9 kB gradients = 3.5 MB
    """
    height, width, channels = image_shape
    padding = 1 if min(height, width) < 10 else 0
    rng = np.random.default_rng(rng)
    network = Network()
    for filters in (16, 32):
        network.add(Conv2D(channels, filters, 3, padding=padding, dtype=dtype, rng=rng))
        network.add(MaxPool2D(2))
        height, width, channels = (height + 2 * padding - 2) // 2, (width + 2 * padding - 2) // 2, filters
    network.add(Flatten())
    for inputs, outputs in pairwise((height * width * channels, 128, 64)):
        network.add(Dense(inputs, outputs, dtype=dtype, rng=rng))
        network.add(ReLU())
    network.add(Dense(64, classes, dtype=dtype, rng=rng))
    network.add(Sigmoid())
    return network


def modern_network(
    image_shape: tuple[int, int, int], classes: int, *, dtype: DTypeLike = np.float32, rng: Seed = None
) -> Network:
    """The notebook's second network as one would write it today, about as large, for `cross_entropy`.

    Two blocks of a padded 3x3 convolution, batch normalization (Ioffe and Szegedy 2015), ReLU and pooling,
    then dropout (Srivastava et al. 2014) and two dense layers. The outputs are logits.

    >>> print(tg.modern_network((28, 28, 1), 10, rng=0).summary((28, 28, 1)))
    layer                                            output shape      parameters   multiply-adds       kept
    0   Conv2D(1, 16, 3x3, padding=1, bias=False)    (N, 28, 28, 16)          144         112,896     1.7 MB
    1   BatchNorm(16)                                (N, 28, 28, 16)           32               0     1.6 MB
    2   ReLU()                                       (N, 28, 28, 16)            0               0     1.6 MB
    3   MaxPool2D(2)                                 (N, 14, 14, 16)            0               0   401.4 kB
    4   Conv2D(16, 32, 3x3, padding=1, bias=False)   (N, 14, 14, 32)        4,608         903,168   802.8 kB
    5   BatchNorm(32)                                (N, 14, 14, 32)           64               0   803.5 kB
    6   ReLU()                                       (N, 14, 14, 32)            0               0   802.8 kB
    7   MaxPool2D(2)                                 (N, 7, 7, 32)              0               0   200.7 kB
    8   Flatten()                                    (N, 1568)                  0               0   200.7 kB
    9   Dropout(0.25)                                (N, 1568)                  0               0   401.4 kB
    10  Dense(1568, 64)                              (N, 64)              100,416         100,352    16.4 kB
    11  ReLU()                                       (N, 64)                    0               0     8.2 kB
    12  Dense(64, 10)                                (N, 10)                  650             640     2.6 kB
    total                                                                 105,914       1,117,056     8.6 MB
    a step on 32 rows: 8.6 MB kept for backward + 423.7 kB parameters + 423.7 kB gradients = 9.4 MB
    """
    height, width, channels = image_shape
    rng = np.random.default_rng(rng)
    network = Network()
    for filters in (16, 32):
        network.add(
            Conv2D(channels, filters, 3, padding=1, bias=False, init="he_normal", dtype=dtype, rng=rng)
        )
        network.add(BatchNorm(filters, dtype=dtype))
        network.add(ReLU())
        network.add(MaxPool2D(2))
        height, width, channels = height // 2, width // 2, filters
    network.add(Flatten())
    network.add(Dropout(0.25, rng=int(rng.integers(1 << 62))))
    network.add(Dense(height * width * channels, 64, init="he_normal", dtype=dtype, rng=rng))
    network.add(ReLU())
    network.add(Dense(64, classes, dtype=dtype, rng=rng))
    return network
