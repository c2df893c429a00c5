"""tensorgrad: a small reverse-mode autodiff framework on NumPy that raises rather than being silently wrong.

Start with `Tensor`, `grad` and `gradcheck`; with `op` and `differentiate` for ops of your own; with `Dense`,
`Conv2D`, `Network` and `MiniBatchSGD` for training. NumPy's functions work on tensors.

The engine and the ops are imported with the package. Layers, training and drawing are imported when a name of
theirs is first asked for, so that `import tensorgrad` takes little longer than `import numpy`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tensorgrad.core import BackwardStep as BackwardStep
from tensorgrad.core import BackwardSteps as BackwardSteps
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

if _TYPE_CHECKING:
    from tensorgrad.data import minibatches as minibatches
    from tensorgrad.estimators import *
    from tensorgrad.graph import *
    from tensorgrad.nn import *
else:
    _ON_DEMAND = {
        "tensorgrad.data": "minibatches",
        "tensorgrad.estimators": "TensorgradClassifier TensorgradRegressor",
        "tensorgrad.graph": "Drawing NumpyCode draw player to_numpy",
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
