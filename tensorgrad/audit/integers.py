"""Integers and booleans, at their extremes, against the same numbers as float64."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.audit.sample import Sample, is_floating
from tensorgrad.core import NUMPY, Op, Tensor
from tensorgrad.core.checks import NDArray

DTYPES = ("bool", "uint8", "int8", "int32", "int64")
TOLERANCE = 16  # units in the last place


def integer_error(op: Op[Any], sample: Sample) -> float:
    """The largest error of a call with integers, as a multiple of its tolerance; TypeError for a wrong dtype.

    All floating arguments become integers, and each of them alone, as arrays and as tensors. What is refused
    with a TypeError, or by NumPy, is no error, nor is what gives integers.
    """
    worst = 0.0
    numpys = getattr(np, op.name, None) in NUMPY
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype, args, doubles in _with_integers(sample):
            try:
                exact = op(*doubles, **sample.params)
            except ValueError:  # of numbers that the op does not take, whatever their dtype
                continue
            for kind in (np.asarray, Tensor):
                try:
                    found = op(*(kind(x) if isinstance(x, np.ndarray) else x for x in args), **sample.params)
                except TypeError:
                    continue
                except (ValueError, OverflowError):
                    if numpys:
                        continue
                    raise
                found = found.data if isinstance(found, Tensor) else np.asarray(found)
                if found.dtype.kind != "f":
                    continue
                if found.dtype != np.float64 and not numpys:
                    raise TypeError(f"expected float64 of {dtype}, got {found.dtype}")
                worst = max(worst, _error(found, np.asarray(exact)))
    return worst


def _with_integers(sample: Sample) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """The arguments with all floating arrays, and each of them, replaced by integers; and as float64."""
    args = list(sample.args(np.random.default_rng(0)))
    places = [i for i, x in enumerate(args) if is_floating(x)]
    for dtype in DTYPES:
        for chosen in [places, *([i] for i in places if len(places) > 1)]:
            mixed = [_extremes(x.shape, dtype) if i in chosen else x for i, x in enumerate(args)]
            yield dtype, mixed, [x.astype(float) if i in chosen else x for i, x in enumerate(mixed)]


def _extremes(shape: tuple[int, ...], dtype: str) -> NDArray:
    low, high = (False, True) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.resize(np.array([high, 1, low, 0, high // 2 + 1], dtype), shape)


def _error(found: NDArray, exact: NDArray) -> float:
    exact = exact.astype(found.dtype)
    same = (found == exact) | (np.isnan(found) & np.isnan(exact))
    units = np.abs(found - exact) / np.spacing(np.abs(exact))
    return float(np.max(np.where(same, 0, np.nan_to_num(units, nan=np.inf)), initial=0)) / TOLERANCE
