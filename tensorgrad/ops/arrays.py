"""What ops ask of their arrays: the values of a tensor, an array of a list, floats that hold a count."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from tensorgrad.core import Array, Tensor

F = TypeVar("F", bound=Callable[..., Any])

HALF, _SINGLE, _DOUBLE, _INTEGER = (np.dtype(x) for x in (np.float16, np.float32, np.float64, np.int64))


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


def like(x: Array, out: Array) -> Array:
    """A constant in the dtype of a result."""
    if not hasattr(x, "dtype"):
        return out.dtype.type(x)
    return x if x.dtype == out.dtype else x.astype(out.dtype)


# The dtype that a function computes in. Half precision holds no count and no sum above 65504, and no whole
# number above 2048 exactly.


def in_floats(f: F) -> F:
    """``f``, a forward or a formula, of positional arguments in one floating dtype.

    That is the widest of the floating arrays, or float64 if there are none; others, of integers too, are
    cast. Half precision is computed in float32, from which the result is cast back.
    """
    return _compute_in_one(f, "fiub")


def in_wide_floats(f: F) -> F:
    """The same, but integers and booleans are left alone: they are labels, or what comes out."""
    return _compute_in_one(f, "f")


def halves_in_single(f: F) -> F:
    """``f``, a forward that adds up: of half precision it is computed in single, and rounded."""

    @wraps(f)
    def computed(*args: Any, **params: Any) -> Any:
        dtypes = {x.dtype for x in args if hasattr(x, "dtype") and x.dtype.kind == "f"}
        if dtypes != {HALF}:
            return f(*args, **params)
        return f(
            *(x.astype(_SINGLE) if getattr(x, "dtype", None) == HALF else x for x in args), **params
        ).astype(HALF)

    return computed  # type: ignore[return-value]


def _compute_in_one(f: F, kinds: str) -> F:
    @wraps(f)
    def computed(*args: Any, **params: Any) -> Any:
        one: Any = None
        for x in args:
            dtype = getattr(x, "dtype", one)
            if dtype is not one and dtype.kind in kinds:
                if one is not None or (dtype is not _SINGLE and dtype is not _DOUBLE):
                    return _cast_and_compute(f, args, params, kinds)
                one = dtype
        return f(*args, **params)

    return computed  # type: ignore[return-value]


def _cast_and_compute(
    f: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any], kinds: str
) -> Any:
    floating = [x.dtype for x in args if getattr(x, "dtype", _INTEGER).kind == "f"]
    common = np.result_type(*floating) if floating else _DOUBLE
    within = _SINGLE if common == HALF else common

    def cast(x: Any) -> Any:
        if not hasattr(x, "dtype") or x.dtype.kind not in kinds or x.dtype == within:
            return x
        # A tensor of another dtype than the result's is for its op to refuse.
        return x if isinstance(x, Tensor) and x.requires_grad and x.dtype != common else x.astype(within)

    out = f(*map(cast, args), **params)
    return out if common == within else out.astype(common)
