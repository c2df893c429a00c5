"""NumPy functions that Tensors may be given to though they have no derivative: their results are booleans,
integers, or depend on the shape alone. They give plain arrays, so nothing that has a gradient is lost."""

import numpy as np

from tensorgrad.core import nondifferentiable

for _function in (
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.isfinite,
    np.isinf,
    np.isnan,
    np.isclose,
    np.allclose,
    np.array_equal,
    np.argmax,
    np.argmin,
    np.argsort,
    np.count_nonzero,
    np.shape,
    np.ndim,
    np.size,
    np.zeros_like,
    np.ones_like,
):
    nondifferentiable(_function)
