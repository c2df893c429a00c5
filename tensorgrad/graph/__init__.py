"""What reads a recorded graph: pictures, the reverse walk op by op, plain NumPy."""

from tensorgrad.graph.drawing.draw import *
from tensorgrad.graph.drawing.player import *
from tensorgrad.graph.numpy_code import NumpyCode as NumpyCode
from tensorgrad.graph.numpy_code import to_numpy as to_numpy
from tensorgrad.graph.steps import *
