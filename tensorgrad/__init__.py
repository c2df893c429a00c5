"""tensorgrad: a small reverse-mode autodiff framework on NumPy that raises rather than being silently wrong.

Start with `Tensor`, `grad` and `gradcheck`; with `op` and `differentiate` for ops of your own; with `Dense`,
`Conv2D`, `Network` and `MiniBatchSGD` for training. NumPy's functions work on tensors.

The engine and the ops are imported with the package. Layers, training and drawing are imported when a name of
theirs is first asked for, so that `import tensorgrad` takes little longer than `import numpy`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tensorgrad.core import GradcheckError as GradcheckError
from tensorgrad.core import GradcheckReport as GradcheckReport
from tensorgrad.core import Op as Op
from tensorgrad.core import Parameter as Parameter
from tensorgrad.core import Tensor as Tensor
from tensorgrad.core import broadcast_to as broadcast_to
from tensorgrad.core import checkpoint as checkpoint
from tensorgrad.core import detect_nan as detect_nan
from tensorgrad.core import differentiate as differentiate
from tensorgrad.core import grad as grad
from tensorgrad.core import gradcheck as gradcheck
from tensorgrad.core import hessian as hessian
from tensorgrad.core import hvp as hvp
from tensorgrad.core import identity as identity
from tensorgrad.core import implements as implements
from tensorgrad.core import jacobian as jacobian
from tensorgrad.core import jvp as jvp
from tensorgrad.core import no_grad as no_grad
from tensorgrad.core import nondifferentiable as nondifferentiable
from tensorgrad.core import op as op
from tensorgrad.core import stop_gradient as stop_gradient
from tensorgrad.core import sum_to as sum_to
from tensorgrad.core import value_and_grad as value_and_grad
from tensorgrad.core import vjp as vjp
from tensorgrad.ops import abs as abs
from tensorgrad.ops import absolute as absolute
from tensorgrad.ops import acos as acos
from tensorgrad.ops import acosh as acosh
from tensorgrad.ops import add as add
from tensorgrad.ops import add_at as add_at
from tensorgrad.ops import amax as amax
from tensorgrad.ops import amin as amin
from tensorgrad.ops import append as append
from tensorgrad.ops import arccos as arccos
from tensorgrad.ops import arccosh as arccosh
from tensorgrad.ops import arcsin as arcsin
from tensorgrad.ops import arcsinh as arcsinh
from tensorgrad.ops import arctan as arctan
from tensorgrad.ops import arctan2 as arctan2
from tensorgrad.ops import arctanh as arctanh
from tensorgrad.ops import around as around
from tensorgrad.ops import array_split as array_split
from tensorgrad.ops import asin as asin
from tensorgrad.ops import asinh as asinh
from tensorgrad.ops import astype as astype
from tensorgrad.ops import atan as atan
from tensorgrad.ops import atan2 as atan2
from tensorgrad.ops import atanh as atanh
from tensorgrad.ops import atleast_1d as atleast_1d
from tensorgrad.ops import atleast_2d as atleast_2d
from tensorgrad.ops import atleast_3d as atleast_3d
from tensorgrad.ops import average as average
from tensorgrad.ops import avg_pool as avg_pool
from tensorgrad.ops import binary_cross_entropy as binary_cross_entropy
from tensorgrad.ops import block as block
from tensorgrad.ops import broadcast_arrays as broadcast_arrays
from tensorgrad.ops import cbrt as cbrt
from tensorgrad.ops import ceil as ceil
from tensorgrad.ops import clip as clip
from tensorgrad.ops import column_stack as column_stack
from tensorgrad.ops import compress as compress
from tensorgrad.ops import concatenate as concatenate
from tensorgrad.ops import conv1d as conv1d
from tensorgrad.ops import conv2d as conv2d
from tensorgrad.ops import conv_transpose2d as conv_transpose2d
from tensorgrad.ops import copysign as copysign
from tensorgrad.ops import cos as cos
from tensorgrad.ops import cosh as cosh
from tensorgrad.ops import cross as cross
from tensorgrad.ops import cross_entropy as cross_entropy
from tensorgrad.ops import cumprod as cumprod
from tensorgrad.ops import cumsum as cumsum
from tensorgrad.ops import deg2rad as deg2rad
from tensorgrad.ops import degrees as degrees
from tensorgrad.ops import delete as delete
from tensorgrad.ops import diag as diag
from tensorgrad.ops import diagflat as diagflat
from tensorgrad.ops import diagonal as diagonal
from tensorgrad.ops import diff as diff
from tensorgrad.ops import divide as divide
from tensorgrad.ops import dot as dot
from tensorgrad.ops import dsplit as dsplit
from tensorgrad.ops import dstack as dstack
from tensorgrad.ops import einsum as einsum
from tensorgrad.ops import elu as elu
from tensorgrad.ops import erf as erf
from tensorgrad.ops import erfc as erfc
from tensorgrad.ops import exp as exp
from tensorgrad.ops import exp2 as exp2
from tensorgrad.ops import expand_dims as expand_dims
from tensorgrad.ops import expm1 as expm1
from tensorgrad.ops import extract as extract
from tensorgrad.ops import fabs as fabs
from tensorgrad.ops import flip as flip
from tensorgrad.ops import fliplr as fliplr
from tensorgrad.ops import flipud as flipud
from tensorgrad.ops import float_power as float_power
from tensorgrad.ops import floor as floor
from tensorgrad.ops import floor_divide as floor_divide
from tensorgrad.ops import fmax as fmax
from tensorgrad.ops import fmin as fmin
from tensorgrad.ops import fmod as fmod
from tensorgrad.ops import gelu as gelu
from tensorgrad.ops import getitem as getitem
from tensorgrad.ops import global_avg_pool as global_avg_pool
from tensorgrad.ops import global_max_pool as global_max_pool
from tensorgrad.ops import heaviside as heaviside
from tensorgrad.ops import hsplit as hsplit
from tensorgrad.ops import hstack as hstack
from tensorgrad.ops import huber as huber
from tensorgrad.ops import hypot as hypot
from tensorgrad.ops import inner as inner
from tensorgrad.ops import kron as kron
from tensorgrad.ops import l2 as l2
from tensorgrad.ops import ldexp as ldexp
from tensorgrad.ops import leaky_relu as leaky_relu
from tensorgrad.ops import linalg as linalg
from tensorgrad.ops import log as log
from tensorgrad.ops import log1p as log1p
from tensorgrad.ops import log2 as log2
from tensorgrad.ops import log10 as log10
from tensorgrad.ops import log_softmax as log_softmax
from tensorgrad.ops import logaddexp as logaddexp
from tensorgrad.ops import logaddexp2 as logaddexp2
from tensorgrad.ops import logsumexp as logsumexp
from tensorgrad.ops import mae as mae
from tensorgrad.ops import matmul as matmul
from tensorgrad.ops import matrix_transpose as matrix_transpose
from tensorgrad.ops import max as max
from tensorgrad.ops import max_pool as max_pool
from tensorgrad.ops import maximum as maximum
from tensorgrad.ops import mean as mean
from tensorgrad.ops import median as median
from tensorgrad.ops import meshgrid as meshgrid
from tensorgrad.ops import min as min
from tensorgrad.ops import minimum as minimum
from tensorgrad.ops import mod as mod
from tensorgrad.ops import moveaxis as moveaxis
from tensorgrad.ops import mse as mse
from tensorgrad.ops import multiply as multiply
from tensorgrad.ops import nan_to_num as nan_to_num
from tensorgrad.ops import nanmax as nanmax
from tensorgrad.ops import nanmean as nanmean
from tensorgrad.ops import nanmin as nanmin
from tensorgrad.ops import nanprod as nanprod
from tensorgrad.ops import nanstd as nanstd
from tensorgrad.ops import nansum as nansum
from tensorgrad.ops import nanvar as nanvar
from tensorgrad.ops import negative as negative
from tensorgrad.ops import normalize as normalize
from tensorgrad.ops import outer as outer
from tensorgrad.ops import pad as pad
from tensorgrad.ops import partition as partition
from tensorgrad.ops import positive as positive
from tensorgrad.ops import power as power
from tensorgrad.ops import prod as prod
from tensorgrad.ops import ptp as ptp
from tensorgrad.ops import rad2deg as rad2deg
from tensorgrad.ops import radians as radians
from tensorgrad.ops import ravel as ravel
from tensorgrad.ops import reciprocal as reciprocal
from tensorgrad.ops import relu as relu
from tensorgrad.ops import remainder as remainder
from tensorgrad.ops import repeat as repeat
from tensorgrad.ops import reshape as reshape
from tensorgrad.ops import resize as resize
from tensorgrad.ops import rint as rint
from tensorgrad.ops import roll as roll
from tensorgrad.ops import rollaxis as rollaxis
from tensorgrad.ops import rot90 as rot90
from tensorgrad.ops import round as round
from tensorgrad.ops import scatter_add as scatter_add
from tensorgrad.ops import set_at as set_at
from tensorgrad.ops import sigmoid as sigmoid
from tensorgrad.ops import sign as sign
from tensorgrad.ops import silu as silu
from tensorgrad.ops import sin as sin
from tensorgrad.ops import sinc as sinc
from tensorgrad.ops import sinh as sinh
from tensorgrad.ops import softmax as softmax
from tensorgrad.ops import softplus as softplus
from tensorgrad.ops import sort as sort
from tensorgrad.ops import split as split
from tensorgrad.ops import sqrt as sqrt
from tensorgrad.ops import square as square
from tensorgrad.ops import squeeze as squeeze
from tensorgrad.ops import stack as stack
from tensorgrad.ops import std as std
from tensorgrad.ops import subtract as subtract
from tensorgrad.ops import sum as sum
from tensorgrad.ops import swapaxes as swapaxes
from tensorgrad.ops import take as take
from tensorgrad.ops import take_along_axis as take_along_axis
from tensorgrad.ops import tan as tan
from tensorgrad.ops import tanh as tanh
from tensorgrad.ops import tensordot as tensordot
from tensorgrad.ops import tile as tile
from tensorgrad.ops import trace as trace
from tensorgrad.ops import transpose as transpose
from tensorgrad.ops import tril as tril
from tensorgrad.ops import triu as triu
from tensorgrad.ops import trunc as trunc
from tensorgrad.ops import var as var
from tensorgrad.ops import vdot as vdot
from tensorgrad.ops import vecdot as vecdot
from tensorgrad.ops import vsplit as vsplit
from tensorgrad.ops import vstack as vstack
from tensorgrad.ops import where as where

if _TYPE_CHECKING:
    from tensorgrad.data import minibatches as minibatches
    from tensorgrad.estimators import TensorgradClassifier as TensorgradClassifier
    from tensorgrad.estimators import TensorgradRegressor as TensorgradRegressor
    from tensorgrad.graph import BackwardStep as BackwardStep
    from tensorgrad.graph import BackwardSteps as BackwardSteps
    from tensorgrad.graph import Drawing as Drawing
    from tensorgrad.graph import NumpyCode as NumpyCode
    from tensorgrad.graph import backward_steps as backward_steps
    from tensorgrad.graph import draw as draw
    from tensorgrad.graph import player as player
    from tensorgrad.graph import to_numpy as to_numpy
    from tensorgrad.nn import ELU as ELU
    from tensorgrad.nn import GELU as GELU
    from tensorgrad.nn import Adam as Adam
    from tensorgrad.nn import AdamW as AdamW
    from tensorgrad.nn import AvgPool2D as AvgPool2D
    from tensorgrad.nn import BatchNorm as BatchNorm
    from tensorgrad.nn import Callback as Callback
    from tensorgrad.nn import CheckpointError as CheckpointError
    from tensorgrad.nn import Conv2D as Conv2D
    from tensorgrad.nn import CosineDecay as CosineDecay
    from tensorgrad.nn import Dense as Dense
    from tensorgrad.nn import Dropout as Dropout
    from tensorgrad.nn import EarlyStopping as EarlyStopping
    from tensorgrad.nn import Embedding as Embedding
    from tensorgrad.nn import ExponentialDecay as ExponentialDecay
    from tensorgrad.nn import Flatten as Flatten
    from tensorgrad.nn import GlobalAvgPool2D as GlobalAvgPool2D
    from tensorgrad.nn import GlobalMaxPool2D as GlobalMaxPool2D
    from tensorgrad.nn import Layer as Layer
    from tensorgrad.nn import LayerNorm as LayerNorm
    from tensorgrad.nn import LeakyReLU as LeakyReLU
    from tensorgrad.nn import LogSoftmax as LogSoftmax
    from tensorgrad.nn import MaxPool2D as MaxPool2D
    from tensorgrad.nn import MiniBatchSGD as MiniBatchSGD
    from tensorgrad.nn import Network as Network
    from tensorgrad.nn import OneCycle as OneCycle
    from tensorgrad.nn import Optimizer as Optimizer
    from tensorgrad.nn import ReduceOnPlateau as ReduceOnPlateau
    from tensorgrad.nn import ReLU as ReLU
    from tensorgrad.nn import SavedFileError as SavedFileError
    from tensorgrad.nn import Schedule as Schedule
    from tensorgrad.nn import Sigmoid as Sigmoid
    from tensorgrad.nn import SiLU as SiLU
    from tensorgrad.nn import Softmax as Softmax
    from tensorgrad.nn import Softplus as Softplus
    from tensorgrad.nn import StepDecay as StepDecay
    from tensorgrad.nn import Tanh as Tanh
    from tensorgrad.nn import Training as Training
    from tensorgrad.nn import WarmUp as WarmUp
    from tensorgrad.nn import accuracy as accuracy
    from tensorgrad.nn import convolutional_network as convolutional_network
    from tensorgrad.nn import dense_network as dense_network
    from tensorgrad.nn import generator_state as generator_state
    from tensorgrad.nn import load_checkpoint as load_checkpoint
    from tensorgrad.nn import load_network as load_network
    from tensorgrad.nn import load_notes as load_notes
    from tensorgrad.nn import load_weights as load_weights
    from tensorgrad.nn import modern_network as modern_network
    from tensorgrad.nn import plot_confusion as plot_confusion
    from tensorgrad.nn import plot_history as plot_history
    from tensorgrad.nn import save_checkpoint as save_checkpoint
    from tensorgrad.nn import save_network as save_network
    from tensorgrad.nn import save_weights as save_weights
    from tensorgrad.nn import set_generator_state as set_generator_state
    from tensorgrad.nn import tuned_process as tuned_process
else:
    _ON_DEMAND = {
        "tensorgrad.data": ("minibatches"),
        "tensorgrad.estimators": ("TensorgradClassifier TensorgradRegressor"),
        "tensorgrad.graph": (
            "BackwardStep BackwardSteps Drawing NumpyCode backward_steps draw player to_numpy"
        ),
        "tensorgrad.nn": (
            "Adam AdamW AvgPool2D BatchNorm Callback CheckpointError Conv2D CosineDecay Dense Dropout ELU "
            "EarlyStopping Embedding ExponentialDecay Flatten GELU GlobalAvgPool2D GlobalMaxPool2D Layer "
            "LayerNorm LeakyReLU LogSoftmax MaxPool2D MiniBatchSGD Network OneCycle Optimizer ReLU "
            "ReduceOnPlateau SavedFileError Schedule SiLU Sigmoid Softmax Softplus StepDecay Tanh Training "
            "WarmUp accuracy convolutional_network dense_network generator_state load_checkpoint "
            "load_network load_notes load_weights modern_network plot_confusion plot_history "
            "save_checkpoint save_network save_weights set_generator_state tuned_process"
        ),
    }
    _HOME = {name: floor for floor, names in _ON_DEMAND.items() for name in names.split()}
    __all__ = [*(name for name in globals() if name[0] != "_" and name not in ("core", "ops")), *_HOME]

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if f"tensorgrad.{name}" in _ON_DEMAND:
            return import_module(f"tensorgrad.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'tensorgrad' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
