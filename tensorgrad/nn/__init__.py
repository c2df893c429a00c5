"""Layers, optimizers, schedules, networks and their training, and files of them; built from ops alone."""

from tensorgrad.nn.absent import *
from tensorgrad.nn.architectures import *
from tensorgrad.nn.c_code import *
from tensorgrad.nn.files import *
from tensorgrad.nn.fit.callbacks import *
from tensorgrad.nn.fit.checkpoints import *
from tensorgrad.nn.fit.metrics import *
from tensorgrad.nn.fit.training import *
from tensorgrad.nn.layer import *
from tensorgrad.nn.layers import *
from tensorgrad.nn.live.playground import *
from tensorgrad.nn.network import *
from tensorgrad.nn.onnx_export import *
from tensorgrad.nn.onnx_import import *
from tensorgrad.nn.optimizers import *
from tensorgrad.nn.plots import *
from tensorgrad.nn.process import *
from tensorgrad.nn.pytorch_files import *
from tensorgrad.nn.saving import *
from tensorgrad.nn.schedules import *
