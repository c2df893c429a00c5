"""Mini-batches: one shuffled pass over the examples."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def minibatches(
    x: Array, y: Array, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """One epoch of mini-batches: every example once, in an order that `rng` draws at the call.

    x and y are arrays (N, ...) of any dtype, memory-mapped ones too: only one batch is read at a time. Each
    batch is a pair of new C-contiguous arrays of `batch_size` examples; the last holds what is left.

    Raises
    ------
    TypeError
        At the call: x or y is not an array, batch_size not an int, rng not a numpy.random.Generator.
    ValueError
        At the call: x and y of unequal length, no examples, batch_size below 1.

    >>> x, y = np.arange(5) / 10, np.arange(5)
    >>> for x_batch, y_batch in minibatches(x, y, batch_size=2, rng=np.random.default_rng(0)):
    ...     print(x_batch, y_batch)
    [0.2 0.4] [2 4]
    [0.3 0. ] [3 0]
    [0.1] [1]
    """
    for name, array in (("x", x), ("y", y)):
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise TypeError(f"minibatches: expected {name} to be an array (N, ...), got {array!r:.60}")
    if len(x) != len(y):
        raise ValueError(f"minibatches: x has {len(x)} examples, y has {len(y)}")
    if len(x) == 0:
        raise ValueError(f"minibatches: there are no examples (x {x.shape}, y {y.shape})")
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
        raise TypeError(f"minibatches: expected batch_size to be an int, got {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"minibatches: expected a batch_size of 1 or more, got {batch_size}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"minibatches: expected rng to be a numpy.random.Generator, got {rng!r}")
    # Returned, not yielded: a generator function would check nothing before the first next().
    order = rng.permutation(len(x))
    batches = (order[start : start + batch_size] for start in range(0, len(x), batch_size))
    # Indexing keeps the memory order of x, which need not be C.
    return ((np.ascontiguousarray(x[batch]), np.ascontiguousarray(y[batch])) for batch in batches)
