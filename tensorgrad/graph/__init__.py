"""What reads a recorded graph: pictures, the reverse walk op by op, plain NumPy."""

from tensorgrad.graph.drawing.draw import *
from tensorgrad.graph.drawing.player import *
from tensorgrad.graph.export import *
from tensorgrad.graph.native.compiled import *
from tensorgrad.graph.native.record import *
from tensorgrad.graph.native.toolchain import *
from tensorgrad.graph.steps import *
