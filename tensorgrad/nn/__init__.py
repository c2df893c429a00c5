"""Layers, optimizers, schedules, networks and their training, and files of them; built from ops alone."""

from tensorgrad.nn.architectures import *
from tensorgrad.nn.files import *
from tensorgrad.nn.fit.callbacks import Callback as Callback
from tensorgrad.nn.fit.callbacks import EarlyStopping as EarlyStopping
from tensorgrad.nn.fit.checkpoints import CheckpointError as CheckpointError
from tensorgrad.nn.fit.metrics import accuracy as accuracy
from tensorgrad.nn.fit.training import Training as Training
from tensorgrad.nn.layer import *
from tensorgrad.nn.layers import *
from tensorgrad.nn.network import Network as Network
from tensorgrad.nn.optimizers import *
from tensorgrad.nn.plots import *
from tensorgrad.nn.process import tuned_process as tuned_process
from tensorgrad.nn.saving import *
from tensorgrad.nn.schedules import *
