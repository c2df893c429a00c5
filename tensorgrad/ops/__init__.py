"""The ops, one family a file. Forward and vjp stand side by side; `tensorgrad.core.OPS` lists them all."""

from tensorgrad.ops import linalg as linalg
from tensorgrad.ops.activations import *
from tensorgrad.ops.classification import *
from tensorgrad.ops.conv import *
from tensorgrad.ops.elementwise import *
from tensorgrad.ops.indexing import *
from tensorgrad.ops.losses import *
from tensorgrad.ops.pool import *
from tensorgrad.ops.products import *
from tensorgrad.ops.rearranging import *
from tensorgrad.ops.reduce import *
from tensorgrad.ops.shape import *
from tensorgrad.ops.statistics import *
