"""The training of a network: examples, the loop, what it measures, and how an interrupted one goes on."""

from tensorgrad.nn.fit.callbacks import *
from tensorgrad.nn.fit.checkpoints import *
from tensorgrad.nn.fit.metrics import *
from tensorgrad.nn.fit.training import *
