"""Data sets and mini-batches: NumPy and the standard library, nothing else until a data set is asked for."""

from tensorgrad.data.augment import Augment
from tensorgrad.data.batches import minibatches
from tensorgrad.data.dataset import Dataset, load, one_hot
from tensorgrad.data.idx import DataError, read_idx

__all__ = ["Augment", "DataError", "Dataset", "load", "minibatches", "one_hot", "read_idx"]
