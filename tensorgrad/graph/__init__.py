"""What reads a recorded graph."""

from tensorgrad.graph.drawing import Drawing as Drawing
from tensorgrad.graph.drawing import draw as draw
from tensorgrad.graph.export import NumpyCode as NumpyCode
from tensorgrad.graph.export import to_numpy as to_numpy
from tensorgrad.graph.player import player as player
from tensorgrad.graph.steps import BackwardStep as BackwardStep
from tensorgrad.graph.steps import BackwardSteps as BackwardSteps
from tensorgrad.graph.steps import backward_steps as backward_steps
