"""tensorgrad: a small reverse-mode autodiff framework on NumPy that raises rather than being silently wrong.

Start with `Tensor`, `grad` and `gradcheck`; with `op` and `differentiate` for ops of your own; with `Dense`,
`Conv2D`, `Network` and `MiniBatchSGD` for training. NumPy's functions work on tensors.

The engine and the ops are imported with the package. Layers, training and drawing are imported when a name of
theirs is first asked for, so that `import tensorgrad` takes little longer than `import numpy`.
"""

import typing as _typing

from tensorgrad.core.context import *
from tensorgrad.core.detect_nan import *
from tensorgrad.core.engine import *
from tensorgrad.core.gradcheck import *
from tensorgrad.core.recompute import *
from tensorgrad.core.transforms import *
from tensorgrad.core.version import *
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

if _typing.TYPE_CHECKING:  # under this name type checkers know it, and report a name that is not there
    from tensorgrad import data as data
    from tensorgrad import estimators as estimators
    from tensorgrad import graph as graph
    from tensorgrad import nn as nn
    from tensorgrad.data.batches import *
    from tensorgrad.estimators import *
    from tensorgrad.graph import *
    from tensorgrad.nn import *
else:
    from tensorgrad.core.elsewhere import advise_name as _advise_name
    from tensorgrad.core.operators import READERS as _READERS

    _ON_DEMAND = {
        "tensorgrad.data": "minibatches",
        "tensorgrad.estimators": "TensorgradClassifier TensorgradRegressor",
        "tensorgrad.graph": (
            "BackwardStep BackwardSteps Compiled Drawing NoCompilerError NumpyCode Player "
            "UncompilableError backward_steps compile draw draw_steps player to_numpy"
        ),
        "tensorgrad.nn": (
            "Adam AdamW AvgPool2D BatchNorm CCode Callback CheckpointError Conv2D CosineDecay Dense Dropout "
            "ELU EarlyStopping Embedding ExponentialDecay Flatten GELU GlobalAvgPool2D GlobalMaxPool2D Layer "
            "LayerNorm LeakyReLU LogSoftmax MaxPool2D MiniBatchSGD Network OneCycle OnnxLayer Optimizer "
            "Playground ReLU ReduceOnPlateau SavedFileError Schedule SiLU Sigmoid Softmax Softplus StepDecay "
            "Tanh Training WarmUp accuracy convolutional_network dense_network from_onnx generator_state "
            "load_checkpoint load_network load_notes load_pytorch load_weights modern_network playground "
            "plot_confusion plot_filters plot_history plot_images plot_mistakes save_checkpoint save_network "
            "save_pytorch save_weights set_generator_state to_c to_onnx tuned_process"
        ),
    }
    _HOME = {name: floor for floor, names in _ON_DEMAND.items() for name in names.split()}
    __all__ = [*(name for name in globals() if name[0] != "_" and name not in ("core", "ops")), *_HOME]

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if f"tensorgrad.{name}" in _ON_DEMAND:
            return import_module(f"tensorgrad.{name}")
        if name not in _HOME:
            advice = _advise_name(name, __all__)
            raise AttributeError(
                f"module 'tensorgrad' has no attribute {name!r}{advice}", name=name, obj=None
            )
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

    # The method of Tensor that stands above the engine.
    _READERS["backward_steps"] = lambda loss, grad=None: __getattr__("backward_steps")(loss, grad)
