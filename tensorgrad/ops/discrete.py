"""NumPy functions that Tensors may be given to though they have no derivative: their results are booleans,
integers, or depend on the shape alone. They give plain arrays, so nothing that has a gradient is lost."""

import numpy as np

from tensorgrad.core import nondifferentiable

# np.unique, np.histogram, np.partition and their like also return values of their arguments: not these.
for _function in (
    # comparisons
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.isclose,
    np.allclose,
    np.array_equal,
    np.array_equiv,
    np.isin,
    # logic
    np.logical_and,
    np.logical_or,
    np.logical_xor,
    np.logical_not,
    np.any,
    np.all,
    # kinds of numbers
    np.isfinite,
    np.isinf,
    np.isnan,
    np.isposinf,
    np.isneginf,
    np.signbit,
    np.isreal,
    np.iscomplex,
    np.isrealobj,
    np.iscomplexobj,
    # places and counts
    np.argmax,
    np.argmin,
    np.nanargmax,
    np.nanargmin,
    np.argsort,
    np.argpartition,
    np.argwhere,
    np.nonzero,
    np.flatnonzero,
    np.count_nonzero,
    np.searchsorted,
    np.digitize,
    # shapes and dtypes
    np.shape,
    np.ndim,
    np.size,
    np.zeros_like,
    np.ones_like,
    np.empty_like,
    np.result_type,
    np.can_cast,
    np.shares_memory,
    np.may_share_memory,
):
    nondifferentiable(_function)
