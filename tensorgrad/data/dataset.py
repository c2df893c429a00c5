"""Labelled images for classification, split into training and test examples."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorgrad.core.checks import NDArray
from tensorgrad.core.refusals import require_values
from tensorgrad.data.mnist import Split, read_mnist

__all__ = ["Dataset", "load", "one_hot"]

CLOTHES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
CLASS_NAMES = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion-mnist": tuple(CLOTHES.split(", ")),
}
PIXEL_MAXIMA = {"digits": 16, "mnist": 255, "fashion-mnist": 255}


@dataclass(frozen=True, eq=False)  # no ==, which arrays do not answer with one bool
class Dataset:
    """Images (N, H, W, C) float32 in [0, 1] and labels (N,) int64, which index `class_names`.

    In the files, pixels are whole numbers from 0 to `pixel_maximum`.

    >>> load("digits")
    Dataset('digits': 1437 training and 360 test images (8, 8, 1), 10 classes)
    """

    name: str
    x_train: NDArray
    y_train: NDArray
    x_test: NDArray
    y_test: NDArray
    class_names: tuple[str, ...]
    pixel_maximum: int = 255

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {len(self.x_train)} training and {len(self.x_test)} test images "
            f"{self.x_train.shape[1:]}, {len(self.class_names)} classes)"
        )


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The data set "digits", "mnist" or "fashion-mnist".

    Digits: 1797 images (8, 8, 1) that come with scikit-learn. Shuffled by ``np.random.default_rng(0)`` and
    then sorted by class, every fifth example, from the first on, goes to the test set: 1437 train, 360 test,
    both kept in the original order. Source: Alpaydin and Kaynak (1998), "Optical recognition of handwritten
    digits", UCI machine learning repository.

    MNIST and Fashion-MNIST: 60,000 training and 10,000 test images (28, 28, 1) in the original order, in four
    files, gzipped or not. With `data_dir`, or else the environment variable TENSORGRAD_DATA_DIR, they are
    read from that folder or its subfolder `name` and from nowhere else. With neither they are read from the
    cache (``~/.cache/tensorgrad``), into which missing ones are downloaded. Sources:
    ``tensorgrad.data.mnist``.

    Raises
    ------
    ValueError
        There is no data set of that name.
    DataError
        A file is missing, damaged or another one (the SHA-256 of its content tells), or cannot be downloaded.
    ImportError
        A download is needed and pooch is not installed.

    >>> digits = load("digits")
    >>> digits.x_train.shape, digits.x_train.dtype, digits.y_train.shape, digits.y_train.dtype
    ((1437, 8, 8, 1), dtype('float32'), (1437,), dtype('int64'))
    """
    if name not in CLASS_NAMES:
        raise ValueError(f"load: expected one of {', '.join(map(repr, CLASS_NAMES))}, got {name!r}")
    arrays = _digits() if name == "digits" else read_mnist(name, data_dir)
    return Dataset(name, *arrays, CLASS_NAMES[name], PIXEL_MAXIMA[name])


def _digits() -> Split:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[..., np.newaxis] / PIXEL_MAXIMA["digits"]).astype(np.float32)
    y = digits.target.astype(np.int64)
    shuffled = np.random.default_rng(0).permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    test = np.sort(by_class[::5])
    train = np.setdiff1d(by_class, test)
    return x[train], y[train], x[test], y[test]


def one_hot(labels: npt.ArrayLike, classes: int, dtype: npt.DTypeLike = np.float32) -> NDArray:
    """The array (N, classes) that is 1 at ``[n, labels[n]]`` and 0 elsewhere, for integer labels (N,).

    Raises
    ------
    TypeError
        The labels are not integers; floats (so NaN) and bools are refused.
    ValueError
        The labels are not of rank 1, or one is negative or not below `classes`.

    >>> one_hot([2, 0], classes=3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    require_values(labels, "one_hot")
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"one_hot: expected integer labels, got {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"one_hot: expected labels of shape (N,), got {labels.shape}")
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise ValueError(f"one_hot: expected labels from 0 to {classes - 1}, got {outside[0]}")
    rows = np.zeros((len(labels), classes), dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows
