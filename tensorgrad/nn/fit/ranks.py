"""Ranks: processes that train one network together, by MPI. Each computes its rows of every batch.

All make the same steps at the same time: what one of them does, such as to stop, all must do. Whatever they
exchange begins with a meeting, at which each says that it is well and where it is. One that fails says so at
the next meeting, wherever the others are; so none waits for it in vain.
"""

from __future__ import annotations

import os
import platform
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tensorgrad.core import Tensor, no_grad
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import SharedRows, shared_rows
from tensorgrad.nn.fit.interrupts import Interrupts
from tensorgrad.nn.layers import BatchNorm
from tensorgrad.nn.sequential import ForwardState, Sequential, loss_of

__all__ = ["Part", "Ranks", "find_norms", "require_rows_apart"]

T = TypeVar("T")

_NEEDED = ("rank", "size", "Allreduce", "allgather", "bcast")
_KINDS = (FloatingPointError, KeyboardInterrupt, MemoryError, OSError, TypeError, ValueError)
_CLOSE = 1e-3  # relative to the largest: what computing rows apart may change, beside halves


@dataclass(frozen=True)
class Part:
    """What a rank computes of a batch.

    Attributes
    ----------
    rows : slice
        Never empty: where no row is left for a rank, it computes one that does not count.
    own : int
        Rows that count.
    y, weights : arrays
        Of the rows; the weights may be None.
    factor : float
        How much their loss and its gradients count in those of the batch.
    """

    rows: slice
    own: int
    y: NDArray
    weights: NDArray | None
    factor: float


class Ranks:
    """The ranks of a communicator; without one, this process alone.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, or what has its methods; or None

    Attributes
    ----------
    rank, size : int
        Which this is, and how many there are.
    interrupts : Interrupts
        Of this process.
    """

    def __init__(self, communicator: Any) -> None:
        missing = [name for name in _NEEDED if communicator is not None and not hasattr(communicator, name)]
        if missing:
            raise TypeError(
                "fit: expected communicator to be one of mpi4py, such as MPI.COMM_WORLD, got "
                f"{communicator!r}, which has no {missing[0]}"
            )
        self.rank: int = 0 if communicator is None else communicator.rank
        self.size: int = 1 if communicator is None else communicator.size
        self.interrupts = Interrupts()
        self._communicator = communicator
        self._interrupted = self._exchanging = self._ended = False
        self._buffers: tuple[NDArray, NDArray] | None = None

    # Meetings

    @contextmanager
    def together(self) -> Iterator[None]:
        """Context manager: an error in the block ends it on all ranks."""
        try:
            yield
            self.meet("the end")
        except BaseException as error:
            if self.size > 1 and not self._ended:
                self._leave(error)
            raise

    def _leave(self, error: BaseException) -> None:
        if self._exchanging:  # the others wait for what can no longer come
            told = f"fit: rank {self.rank} of {self.size} ends all: {type(error).__name__}: {error}"
            print(told, file=sys.stderr, flush=True)
            self._communicator.Abort(1)
        self.meet("an error", error=error)

    def meet(
        self, where: str, alike: bytes = b"", *, value: float = 0.0, error: BaseException | None = None
    ) -> float:
        """Wait for all ranks; the sum of their values.

        Raises
        ------
        RuntimeError or the kind of error that another rank had
            If one has failed; if they are not all there, or not with the same bytes.
        """
        if self.size == 1:
            return value
        code = zlib.crc32(alike, zlib.crc32(where.encode()))
        halves = code >> 16, code & 0xFFFF  # all are the same if size sum(n^2) = sum(n)^2, in exact numbers
        told = [error is not None, self.interrupts.pending, value, *halves, *(n * n for n in halves)]
        total = np.empty(len(told))
        self._exchange(self._communicator.Allreduce, np.array(told, np.float64), total)
        failed, interrupted, value, *sums = total.tolist()
        apart = any(self.size * int(sums[i + 2]) != int(sums[i]) ** 2 for i in (0, 1))
        if failed or apart:
            self._part(where, error)
        self._interrupted = self._interrupted or interrupted > 0
        return float(value)

    def _part(self, where: str, error: BaseException | None) -> None:
        """Tell one another what is wrong; raise it, unless this rank has an error of its own."""
        self._ended = True
        mine = where, None if error is None else type(error).__name__, str(error)
        each = self._exchange(self._communicator.allgather, mine)
        if error is not None:
            return
        for rank, (_, kind, text) in enumerate(each):
            if kind is not None:
                known = next((its for its in _KINDS if its.__name__ == kind), RuntimeError)
                raise known(f"rank {rank} of {self.size} ended the training: {kind}: {text}")
        places = ", ".join(f"rank {rank} at {where}" for rank, (where, _, _) in enumerate(each))
        same = len({where for where, _, _ in each}) == 1
        raise RuntimeError(
            f"fit: the ranks came apart, {f'at {where}, which differ' if same else places}. All must be "
            "given the same data and batches and do the same with them; their callbacks too"
        )

    def _exchange(self, call: Callable[..., T], *arguments: Any) -> T:
        self._exchanging = True
        result = call(*arguments)
        self._exchanging = False  # not if the call is left by an error: then nothing is known of the others
        return result

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed, at the last meeting that all ranks had."""
        return self.interrupts.pending if self.size == 1 else self._interrupted

    def collect(self, where: str, value: T) -> list[T]:
        """The values of all ranks."""
        if self.size == 1:
            return [value]
        self.meet(where)
        found: list[T] = self._exchange(self._communicator.allgather, value)
        return found

    def broadcast(self, where: str, value: T) -> T:
        """The value of rank 0."""
        if self.size == 1:
            return value
        self.meet(where)
        found: T = self._exchange(self._communicator.bcast, value)
        return found

    def require_alike(self, described: Mapping[str, Any]) -> None:
        """ValueError with all in which a rank differs from rank 0."""
        first, *others = self.collect("the arguments", described)
        told = [
            f"{key}: {its.get(key)} on rank {rank}, {first.get(key)} on rank 0"
            for rank, its in enumerate(others, 1)
            for key in {**first, **its}
            if its.get(key) != first.get(key)
        ]
        if told:
            raise ValueError("fit: expected the same arguments on all ranks, got\n  " + "\n  ".join(told))

    def count_threads(self) -> int | None:
        """An equal share of the cores that the ranks of this machine may use; None if it is set already."""
        if self.size == 1:
            return None
        known = hasattr(os, "sched_getaffinity")
        mine = set(os.sched_getaffinity(0) if known else range(os.cpu_count() or 1))
        here = [
            its for name, its in self.collect("the cores", (platform.node(), mine)) if name == platform.node()
        ]
        if os.environ.get("OMP_NUM_THREADS"):
            return None
        return max(1, min(len(mine), len(set().union(*here)) // len(here)))

    # Batches

    def rows(self, count: int) -> slice:
        """The rows that this rank computes of so many; a row that does not count, where none is left."""
        start, stop = self._bounds(count)
        return slice(start, stop) if stop > start else slice(0, 1)

    def _bounds(self, count: int) -> tuple[int, int]:
        """Where this rank's rows of so many begin and end."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    @contextmanager
    def sharing(self, count: int, *, alone: bool = False) -> Iterator[None]:
        """Context manager: layers compute this rank's rows of so many; ``alone`` they ask no other rank."""
        rows, counts = self.rows(count), self._own(count) > 0
        shared = SharedRows(rows.start, rows.stop, count, counts, None if alone else self._add_up)
        token = shared_rows.set(shared if self.size > 1 else None)
        try:
            yield
        finally:
            shared_rows.reset(token)

    def _own(self, count: int) -> int:
        """How many rows of so many are this rank's."""
        start, stop = self._bounds(count)
        return stop - start

    def _add_up(self, x: NDArray) -> NDArray:
        """The sum over all ranks."""
        self.meet("the statistics of a batch")
        total = np.empty_like(x, order="C", subok=False)
        self._exchange(self._communicator.Allreduce, np.ascontiguousarray(x), total)
        return total

    def take(self, y: NDArray, weights: NDArray | None, reduction: str | None) -> Part:
        """This rank's part of a batch, given its targets and weights."""
        count = len(y)
        if self.size == 1:
            return Part(slice(None), count, y, weights, 1.0)
        rows = self.rows(count)
        own = self._own(count)
        its = None if weights is None else weights[rows]
        factor = find_factor(weights, count, rows, reduction) if own else 0.0
        if its is not None and not factor:
            its = np.ones_like(its)  # or the mean would be 0 / 0
        return Part(rows, own, y[rows], its, factor)

    def require_same_batch(self, what: str, *arrays: NDArray | None) -> None:
        """RuntimeError if the ranks were given different batches."""
        if self.size > 1:
            self.meet(what, b"".join(np.ascontiguousarray(x).tobytes() for x in arrays if x is not None))

    def join(
        self,
        where: str,
        part: Part,
        loss: float,
        prediction: Tensor | None,
        parameters: Sequence[Tensor] = (),
        factor: float = 1.0,
    ) -> tuple[float, Tensor | None]:
        """The loss of the whole batch, and its prediction if each rank has that of its part.

        The gradients of the parameters, times the factor, become those of the whole batch.
        """
        if self.size == 1:
            return loss, prediction
        loss = self.meet(where, value=part.factor * loss)
        if parameters:
            self._sum_gradients(parameters, factor)
        if prediction is not None:
            each = self._exchange(self._communicator.allgather, prediction.data[: part.own])
            prediction = Tensor(np.concatenate(each))
        return loss, prediction

    def _sum_gradients(self, parameters: Sequence[Tensor], factor: float) -> None:
        """Of all ranks, times their factors: in one array; its end tells which parameters have a gradient."""
        ends = np.cumsum([p.size for p in parameters])
        if self._buffers is None:  # halves are summed in single precision, which MPI knows
            dtype = np.result_type(np.float32, *(p.dtype for p in parameters))
            self._buffers = np.empty(ends[-1] + len(ends), dtype), np.empty(ends[-1] + len(ends), dtype)
        sent, total = self._buffers
        for i, (p, end) in enumerate(zip(parameters, ends, strict=True)):
            there = sent[ends[-1] + i] = p.grad is not None
            own = sent[end - p.size : end]
            if there:
                np.multiply(np.asarray(p.grad).reshape(-1), factor, out=own, dtype=own.dtype)
            else:
                own[...] = 0
        self._exchange(self._communicator.Allreduce, sent, total)
        for i, (p, end) in enumerate(zip(parameters, ends, strict=True)):
            p.grad = total[end - p.size : end].reshape(p.shape) if total[ends[-1] + i] else None


def find_factor(weights: NDArray | None, count: int, rows: slice, reduction: str | None) -> float:
    """How much the loss of some rows counts in that of a batch of so many."""
    if weights is not None:
        own, whole = (float(np.sum(w, dtype=np.float64)) for w in (weights[rows], weights))
    else:
        own, whole = rows.stop - rows.start, count
    return float(own > 0) if reduction == "sum" else own / whole


def find_norms(network: Sequential) -> list[BatchNorm]:
    """The layers that take statistics of a batch: of all ranks, which compiled code cannot ask."""
    return [each for each in network.named_layers().values() if isinstance(each, BatchNorm) and each.training]


def require_rows_apart(
    network: Sequential, reduction: str | None, x: NDArray, y: NDArray, weights: NDArray | None
) -> None:
    """ValueError unless a network in training, and its loss, give for a batch what they give for two parts.

    They do not if rows depend on one another, or a layer draws at random for a batch as it comes.
    """
    count, before = len(y), ForwardState(network)
    if count < 2:
        return
    parts = slice(0, -(-count * 5 // 8)), slice(-(-count * 5 // 8), count)

    def predict(rows: slice) -> NDArray:
        token = shared_rows.set(SharedRows(rows.start, rows.stop, count))
        norms = find_norms(network)  # which exchange their statistics, as yet with nobody
        try:
            for norm in norms:
                norm.training = False
            return network(x[rows]).numpy()
        finally:
            for norm in norms:
                norm.training = True
            shared_rows.reset(token)
            before.restore()

    with no_grad(), np.errstate(all="ignore"):
        whole = predict(slice(0, count))
        apart = np.concatenate([predict(rows) for rows in parts])
        near = max(_CLOSE, 32 * float(np.finfo(whole.dtype).eps))
        if abs(apart - whole).max() > near * abs(whole).max():
            raise ValueError(
                "fit: with a communicator each rank computes its rows of a batch alone, but what this "
                "network gives for a row depends on others, or a layer other than Dropout draws at random"
            )
        loss = loss_of(network)
        value = loss(Tensor(whole), y, weights).item()
        each = [
            find_factor(weights, count, rows, reduction)
            * loss(Tensor(whole[rows]), y[rows], None if weights is None else weights[rows]).item()
            for rows in parts
            if weights is None or weights[rows].any()
        ]
    if abs(sum(each) - value) > near * max(map(abs, each)):
        raise ValueError(
            "fit: with a communicator each rank computes its rows of a batch alone, but the loss of a batch "
            "is neither the mean nor the sum of those of its rows; a mean may have a penalty added, a sum not"
        )
