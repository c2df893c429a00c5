"""A layer on a batch of zeros, to see what it records: a copy of it, so that nothing in it changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.context import paused


@contextmanager
def rehearse(layer: Any, input_shape: tuple[int, ...], rows: int) -> Iterator[tuple[Any, Tensor]]:
    """Give a copy of a layer and zeros to apply it to; inside, ops record, also under `no_grad`.

    In the copy every parameter is named by its path. The layer itself would change: batch normalization its
    running statistics, dropout its generator. The zeros have the layer's dtype, and require grad so that
    every op on them is recorded.
    """
    twin = copy.deepcopy(layer)
    for path, parameter in twin.named_parameters().items():
        parameter.name = path
    pauses = paused.get()
    try:
        paused.set(0)
        with np.errstate(all="ignore"):  # zeros are no typical input
            yield twin, _make_zeros(twin, input_shape, rows)
    finally:
        paused.set(pauses)


def _make_zeros(layer: Any, input_shape: tuple[int, ...], rows: int) -> Tensor:
    dtypes = {parameter.dtype for parameter in layer.parameters()} or {np.dtype(np.float32)}
    if len(dtypes) > 1:
        raise TypeError(
            f"{type(layer).__name__}: expected layers of one dtype, got {', '.join(sorted(map(str, dtypes)))}"
        )
    return Tensor(np.zeros((rows, *input_shape), dtypes.pop()), requires_grad=True, name="input")
