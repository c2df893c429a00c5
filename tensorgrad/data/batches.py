"""Mini-batches: shuffled passes over arrays, and batches that someone else makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core.checks import NDArray, is_integer
from tensorgrad.core.refusals import require_values

__all__ = ["minibatches"]

Batch: TypeAlias = tuple[Any, ...]  #: (x, y) or (x, y, weights)


def minibatches(
    x: NDArray, y: NDArray, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray, NDArray]]:
    """One epoch of mini-batches: every example once, in an order that `rng` draws at the call.

    x and y are arrays (N, ...) of any dtype, memory-mapped ones too: only one batch is read at a time. Each
    batch is a pair of new C-contiguous arrays of `batch_size` examples; the last holds what is left.

    Raises
    ------
    TypeError
        At the call: x or y is not an array, or a masked one; batch_size not an int, rng not a
        numpy.random.Generator.
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
            how = "; write .toarray()" if hasattr(array, "toarray") else ""
            raise TypeError(f"minibatches: expected {name} to be an array (N, ...), got {array!r:.60}{how}")
        require_values(array, f"minibatches, {name}")
    if len(x) != len(y):
        raise ValueError(f"minibatches: x has {len(x)} examples, y has {len(y)}")
    if len(x) == 0:
        raise ValueError(f"minibatches: there are no examples (x {x.shape}, y {y.shape})")
    if not is_integer(batch_size):
        raise TypeError(f"minibatches: expected batch_size to be an int, got {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"minibatches: expected a batch_size of 1 or more, got {batch_size}")
    if not isinstance(rng, np.random.Generator):
        how = f"; write np.random.default_rng({rng})" if is_integer(rng) else ""
        raise TypeError(f"minibatches: expected rng to be a numpy.random.Generator, got {rng!r}{how}")
    return ArrayBatches((x, y), batch_size).epoch(rng)


class Rows:
    """Some rows of an array. They are read when they are asked for: of a memory map a batch at a time.

    ``order`` holds their numbers in ``array``.
    """

    def __init__(self, array: Any, rows: NDArray) -> None:
        if isinstance(array, Rows):
            array, rows = array.array, array.order[rows]
        self.array: Any = array
        self.order: NDArray = np.ascontiguousarray(rows, np.int64)
        self.dtype, self.ndim = array.dtype, array.ndim
        self.shape: tuple[int, ...] = (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: NDArray | slice) -> NDArray:
        found: NDArray = self.array[self.order[rows]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        # Indexing keeps the memory order of an array, which need not be C.
        return np.ascontiguousarray(self[:], dtype)


class ArrayBatches:
    """Arrays of N examples each, cut into batches in a new order every epoch.

    With ``lazy`` batches have `Rows` of the first array.
    """

    def __init__(self, arrays: tuple[Any, ...], batch_size: int, *, lazy: bool = False) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self._lazy = lazy
        self.steps: int | None = -(-len(arrays[0]) // batch_size)

    def epoch(
        self,
        rng: np.random.Generator,
        skip: int = 0,
        seen: int = 0,
        share: Callable[[int], slice] = lambda rows: slice(None),
    ) -> Iterator[Batch]:
        """The batches of an epoch after the first `skip`. The order is drawn at the call.

        Of the first array, those rows of so many alone that `share` says.
        """
        # Returned, not yielded: a generator function would draw nothing before the first next().
        order = rng.permutation(len(self.arrays[0]))
        starts = range(skip * self.batch_size, len(order), self.batch_size)
        batches = (order[start : start + self.batch_size] for start in starts)
        first, *others = self.arrays
        rows = ((Rows(first, batch[share(len(batch))]), batch) for batch in batches)
        return (
            (x if self._lazy else np.asarray(x), *(np.asarray(Rows(array, batch)) for array in others))
            for x, batch in rows
        )


class StreamedBatches:
    """Batches (x, y) or (x, y, weights) that someone else makes.

    Parameters
    ----------
    source : function, iterable or iterator
        A function (numpy.random.Generator) -> iterable is called for each epoch. What can be iterated over
        again is, for each epoch. An iterator is read on from epoch to epoch.
    steps : int, optional
        Batches of an epoch; if it is not given, an epoch ends with the iterable.
    """

    def __init__(
        self,
        source: Callable[[np.random.Generator], Iterable[Batch]] | Iterable[Batch],
        steps: int | None = None,
    ) -> None:
        self.source = source
        self.steps = steps
        self._drawn = 0  # from an iterator
        self._epochs = 0

    def epoch(self, rng: np.random.Generator, skip: int = 0, seen: int = 0) -> Iterator[Batch]:
        """The batches of an epoch after the first `skip`; `seen` are those of all epochs before and of this.

        The skipped are made and dropped at the call, so that `rng` is as if they had been used.
        """
        self._epochs += 1
        to_drop = skip
        if isinstance(self.source, Iterator):
            if self.steps is None and self._epochs > 1:
                raise ValueError(
                    "fit: an iterator can be read only once; give steps_per_epoch, or a function that makes "
                    "the batches of an epoch"
                )
            batches, to_drop = self.source, seen - self._drawn
        else:
            made = self.source(rng) if callable(self.source) else self.source
            try:
                batches = iter(made)
            except TypeError:
                raise TypeError(
                    f"fit: expected a function that gives an iterable of batches, got {made!r}"
                ) from None
        for _ in itertools.islice(batches, max(to_drop, 0)):
            self._drawn += 1
        return self._rest(batches, skip)

    def _rest(self, batches: Iterator[Batch], done: int) -> Iterator[Batch]:
        steps = self.steps
        while steps is None or done < steps:
            try:
                batch = next(batches)
            except StopIteration:
                if steps is not None:
                    raise ValueError(
                        f"fit: expected steps_per_epoch = {steps} batches, the source ended after {done}"
                    ) from None
                if not done:
                    raise ValueError("fit: the source gave no batch") from None
                return
            self._drawn += 1
            done += 1
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                raise TypeError(
                    f"fit: expected batches (x, y) or (x, y, weights), got a {type(batch).__name__}"
                    + (f" of {len(batch)}" if isinstance(batch, (tuple, list)) else "")
                )
            yield tuple(batch)
