"""Samples of the ops of shape, indexing and joining."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad.audit.sample import Sample, normals


def _indexed() -> Iterator[tuple[str, tuple[int, ...], Any, tuple[int, ...]]]:
    """Index patterns: a label, the shape read from, the index, the shape of what is read."""
    yield "integer", (3, 2), 1, (2,)
    yield "one element", (3, 2), (-1, 0), ()
    yield "slices", (4, 5), (slice(1, None, 2), slice(None, None, -2)), (2, 3)
    yield "ellipsis and new axis", (2, 3, 2), (None, ..., 1), (1, 2, 3)
    yield "list with repeats", (3, 2), [0, 2, 0, 0], (4, 2)
    yield "pairs with repeats", (3, 2), (np.array([0, 2, 0]), np.array([1, 1, 1])), (3,)
    yield "negative integers", (2, 3), (slice(None), [-1, 2]), (2, 2)
    yield "mask", (2, 3), np.array([[True, False, True], [False, False, True]]), (3,)
    yield "mask of rows", (3, 2), np.array([True, False, True]), (2, 2)
    yield "slice and list", (3, 4), (slice(0, 2), [3, 3, 0]), (2, 3)


SAMPLES: dict[str, tuple[Sample, ...]] = {
    "broadcast_to": (
        Sample("new axis", normals((3,)), {"shape": (2, 3)}),
        Sample("unit axis", normals((2, 1)), {"shape": (2, 3)}),
        Sample("0d", normals(()), {"shape": 3}),
        Sample("same shape", normals((2, 3)), {"shape": (2, 3)}),
    ),
    "sum_to": (
        Sample("new axis", normals((2, 3)), {"shape": (3,)}),
        Sample("unit axes", normals((2, 3, 2)), {"shape": (3, 1)}),
        Sample("0d", normals((2, 3)), {"shape": ()}),
        Sample("same shape", normals((2, 3)), {"shape": (2, 3)}),
    ),
    "reshape": (
        Sample("2d", normals((2, 3)), {"shape": (3, 2)}),
        Sample("length left open", normals((2, 3, 2)), {"shape": (-1, 2)}),
        Sample("flat", normals((2, 3)), {"shape": 6}),
        Sample("to 0d", normals((1, 1)), {"shape": ()}),
        Sample("column-major", normals((2, 3, 2)), {"shape": (4, 3), "order": "F"}),
    ),
    "transpose": (
        Sample("reversed", normals((2, 3, 4))),
        Sample("permuted", normals((2, 3, 4)), {"axes": (1, 2, 0)}),
        Sample("negative axes", normals((2, 3, 1)), {"axes": (-1, 0, -2)}),
        Sample("0d", normals(())),
    ),
    "swapaxes": (
        Sample("2d", normals((2, 3)), {"axis1": 0, "axis2": 1}),
        Sample("negative axes", normals((2, 3, 4)), {"axis1": -1, "axis2": 0}),
    ),
    "getitem": tuple(
        Sample(label, normals(shape), {"index": index}) for label, shape, index, _ in _indexed()
    ),
    "scatter_add": tuple(
        Sample(label, normals(read), {"index": index, "shape": shape})
        for label, shape, index, read in _indexed()
    ),
    "roll": (
        Sample("flat", normals((2, 3)), {"shift": 2}),
        Sample("one axis", normals((2, 3)), {"shift": -4, "axis": 1}),
        Sample("two axes", normals((2, 3)), {"shift": (1, -1), "axis": (0, -1)}),
        Sample("one shift, two axes", normals((2, 3)), {"shift": 1, "axis": (1, 0)}),
    ),
    "concatenate_": (
        Sample("1d", normals((2,), (3,))),
        Sample("last axis", normals((2, 1), (2, 3), (2, 2)), {"axis": -1}),
        Sample("middle axis", normals((2, 1, 2), (2, 3, 2)), {"axis": 1}),
        Sample("one, and an empty one", normals((2,), (0,))),
    ),
    "stack_": (
        Sample("0d", normals((), (), ())),
        Sample("last axis", normals((2, 3), (2, 3)), {"axis": -1}),
        Sample("middle axis", normals((2, 3), (2, 3), (2, 3)), {"axis": 1}),
    ),
}
