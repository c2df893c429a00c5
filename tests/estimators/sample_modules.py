"""Networks for the tests. They live in a module, so that other processes find them by name."""

from sklearn.base import BaseEstimator

import tensorgrad as tg


def convolutional(input_shape, outputs, rng, filters=4):
    height, width, channels = input_shape
    return tg.Network(
        [
            tg.Conv2D(channels, filters, 3, padding="same", rng=rng),
            tg.BatchNorm(filters),
            tg.ReLU(),
            tg.MaxPool2D(2),
            tg.Flatten(),
            tg.Dropout(0.1, rng=rng),
            tg.Dense(filters * (height // 2) * (width // 2), outputs, rng=rng),
        ]
    )


class Builder(BaseEstimator):
    """A builder with parameters that scikit-learn can set."""

    def __init__(self, filters=4):
        self.filters = filters

    def __call__(self, input_shape, outputs, rng):
        return convolutional(input_shape, outputs, rng, self.filters)


def linear(input_shape, outputs, rng):
    return tg.Network([tg.Dense(input_shape[0], outputs, rng=rng)])
