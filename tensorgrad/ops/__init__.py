"""The ops, one family a file. Forward and vjp stand side by side; `tensorgrad.core.OPS` lists them all."""

from tensorgrad.ops.elementwise import add as add
from tensorgrad.ops.elementwise import astype as astype
from tensorgrad.ops.elementwise import divide as divide
from tensorgrad.ops.elementwise import exp as exp
from tensorgrad.ops.elementwise import log as log
from tensorgrad.ops.elementwise import maximum as maximum
from tensorgrad.ops.elementwise import multiply as multiply
from tensorgrad.ops.elementwise import negative as negative
from tensorgrad.ops.elementwise import power as power
from tensorgrad.ops.elementwise import relu as relu
from tensorgrad.ops.elementwise import sigmoid as sigmoid
from tensorgrad.ops.elementwise import sqrt as sqrt
from tensorgrad.ops.elementwise import subtract as subtract
from tensorgrad.ops.elementwise import tanh as tanh
from tensorgrad.ops.elementwise import where as where
from tensorgrad.ops.linalg import matmul as matmul
from tensorgrad.ops.losses import mse as mse
from tensorgrad.ops.reduce import max as max
from tensorgrad.ops.reduce import mean as mean
from tensorgrad.ops.reduce import softmax as softmax
from tensorgrad.ops.reduce import sum as sum
from tensorgrad.ops.shape import add_at as add_at
from tensorgrad.ops.shape import getitem as getitem
from tensorgrad.ops.shape import reshape as reshape
from tensorgrad.ops.shape import swapaxes as swapaxes
from tensorgrad.ops.shape import transpose as transpose
