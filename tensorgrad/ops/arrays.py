"""What ops ask of their arrays: the values of a tensor, an array of a list, floats that hold a count."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tensorgrad.core import Array, Tensor

_HALF = np.dtype(np.float16)
_USUAL = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


def plain(x: Array) -> Any:
    """The values of a Tensor; anything else as it is."""
    return np.asarray(x.data) if isinstance(x, Tensor) else x


def as_array(x: Array) -> Array:
    """A Tensor as it is; anything else as an array."""
    return x if isinstance(x, Tensor) else np.asarray(x)


def alike(*values: Any) -> list[Array]:
    """Tensors as they are, and all else as arrays of the dtype of all together, in which numbers are weak."""
    values = tuple(x if np.isscalar(x) or hasattr(x, "dtype") else np.asarray(x) for x in values)
    dtype = np.result_type(*(getattr(x, "dtype", x) for x in values))
    return [x if isinstance(x, Tensor) else np.asarray(x, dtype) for x in values]


def in_floats(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` of integers in float64; of half precision in float32, from which the result is cast back.

    Half precision holds no count and no sum above 65504. Only positional arguments are looked at.
    """

    @wraps(f)
    def computed(*args: Any, **params: Any) -> Any:
        dtypes = {x.dtype for x in args if hasattr(x, "dtype")}
        if dtypes <= _USUAL:
            return f(*args, **params)
        if _HALF in dtypes and dtypes.isdisjoint(_USUAL):
            wide = (x.astype(np.float32) if getattr(x, "dtype", None) == _HALF else x for x in args)
            return f(*wide, **params).astype(_HALF)
        if all(dtype.kind in "iub" for dtype in dtypes):
            args = tuple(x.astype(float) if hasattr(x, "dtype") else x for x in args)
        return f(*args, **params)

    return computed
