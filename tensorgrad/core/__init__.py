"""The engine: tensors, ops, the reverse walk and what is built on it. It knows no op but three of its own."""

from tensorgrad.core.context import *
from tensorgrad.core.detect_nan import *
from tensorgrad.core.engine import *
from tensorgrad.core.gradcheck import *
from tensorgrad.core.operators import *
from tensorgrad.core.recompute import *
from tensorgrad.core.transforms import *
from tensorgrad.core.version import *
