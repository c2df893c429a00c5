"""What reads a recorded graph."""

from tensorgrad.graph.dot import to_dot as to_dot
from tensorgrad.graph.numpy_code import NumpyCode as NumpyCode
from tensorgrad.graph.numpy_code import to_numpy as to_numpy
