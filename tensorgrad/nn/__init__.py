"""Layers, initializers, the optimizer and the network, built from ops alone."""

from tensorgrad.nn.architectures import convolutional_network as convolutional_network
from tensorgrad.nn.architectures import dense_network as dense_network
from tensorgrad.nn.layer import Buffer as Buffer
from tensorgrad.nn.layer import Layer as Layer
from tensorgrad.nn.layers import AvgPool2D as AvgPool2D
from tensorgrad.nn.layers import Conv2D as Conv2D
from tensorgrad.nn.layers import Dense as Dense
from tensorgrad.nn.layers import Flatten as Flatten
from tensorgrad.nn.layers import MaxPool2D as MaxPool2D
from tensorgrad.nn.layers import ReLU as ReLU
from tensorgrad.nn.layers import Sigmoid as Sigmoid
from tensorgrad.nn.layers import Softmax as Softmax
from tensorgrad.nn.layers import Tanh as Tanh
from tensorgrad.nn.network import Network as Network
from tensorgrad.nn.optimizer import Optimizer as Optimizer
from tensorgrad.nn.optimizers import Adam as Adam
from tensorgrad.nn.optimizers import AdamW as AdamW
from tensorgrad.nn.optimizers import MiniBatchSGD as MiniBatchSGD
from tensorgrad.nn.process import tuned_process as tuned_process
