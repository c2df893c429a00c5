"""Data sets and mini-batches: NumPy and the standard library, nothing else until a data set is asked for."""

from tensorgrad.data.augment import *
from tensorgrad.data.batches import *
from tensorgrad.data.dataset import *
from tensorgrad.data.idx import *
