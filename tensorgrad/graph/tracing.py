"""A layer applied to a batch of zeros, to see what it records: a copy, so that nothing in it changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.engine import paused


def named_copy(layer: Any) -> Any:
    """A copy of a layer in which every parameter is named by its path.

    Running a layer may change it: batch normalization its running statistics, dropout its generator.
    """
    twin = copy.deepcopy(layer)
    for path, parameter in twin.named_parameters().items():
        parameter.name = path
    return twin


def zeros_for(layer: Any, input_shape: tuple[int, ...], rows: int) -> Tensor:
    """A batch of zeros in the layer's dtype, which requires grad so that every op on it is recorded."""
    dtypes = {parameter.dtype for parameter in layer.parameters()} or {np.dtype(np.float32)}
    if len(dtypes) > 1:
        raise TypeError(
            f"{type(layer).__name__}: expected layers of one dtype, got {', '.join(sorted(map(str, dtypes)))}"
        )
    return Tensor(np.zeros((rows, *input_shape), dtypes.pop()), requires_grad=True, name="input")


@contextmanager
def recording() -> Iterator[None]:
    """Ops record inside, also under `no_grad`."""
    token = paused.set(0)
    try:
        yield
    finally:
        paused.reset(token)
