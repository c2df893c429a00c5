"""Work on large arrays in parts that threads share.

NumPy lets other Python threads run while it copies, computes and multiplies. So threads of our own can share
the parts of one op, and take the next part when they are done with one: where other programs keep the cores
busy, a thread that does not get to run takes none, and nobody waits for it. The threads of a BLAS library
share every product in equal parts, and wait for one another.

The parts depend on the sizes of the arrays alone: the number of threads does not change results.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

# What one part reads and writes at most. It stays in the level 3 cache, and each of NumPy's calls runs so
# long that threads seldom wait for the interpreter. To wake a thread takes 50 to 100 us: what is less than
# half of a part is not shared.
PART_BYTES = 1 << 22


def parts(length: int, each: int, least: int = 1) -> list[slice]:
    """Slices of an axis, of about equal length and ``PART_BYTES`` at most, if an index takes ``each`` bytes.

    None is shorter than ``least``; their number is even unless it is 1, or limited by the ``length``.
    """
    total = length * each
    count = 1 if 2 * total < PART_BYTES else 2 * -(-total // (2 * PART_BYTES))
    count = max(min(count, length // least), 1)
    bounds = [length * i // count for i in range(count + 1)]
    return [slice(low, high) for low, high in pairwise(bounds)]


class _Job:
    """A function and the items it is still to be called with; all threads that run it take from them."""

    def __init__(self, function: Callable[[Any], object], items: Sequence[Any]) -> None:
        self.function = function
        self.items = iter([*enumerate(items)])  # a list's iterator gives each item to one thread alone
        self.left = len(items)
        self.lock = threading.Lock()
        self.finished = threading.Lock()
        self.finished.acquire()
        self.errors: dict[int, BaseException] = {}

    def run(self) -> None:
        for i, item in self.items:
            try:
                self.function(item)
            except BaseException as error:  # raised again by the thread that waits
                self.errors[i] = error
            with self.lock:
                self.left -= 1
                if not self.left:
                    self.finished.release()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Threads that wait for jobs. They are started with the first job, and do not keep the process alive.

    ``threads`` counts the caller's too. It is what the variable OMP_NUM_THREADS says, by which programs that
    start many processes limit the threads of each; otherwise the number of cores. Where the system starts no
    more, it is what there are.
    """

    def __init__(self) -> None:
        wanted = os.environ.get("OMP_NUM_THREADS", "")
        self.threads = int(wanted) if wanted.isdecimal() and int(wanted) else cores()
        self.forget()

    def forget(self) -> None:
        """Start anew: in a forked process there are no threads but the one that forked."""
        self.started = 0
        self.jobs: SimpleQueue[tuple[Context, _Job]] = SimpleQueue()
        self.lock = threading.Lock()

    def submit(self, job: _Job, helpers: int) -> None:
        if self.started < self.threads - 1:
            with self.lock:
                self._start()
        for _ in range(min(helpers, self.started)):
            self.jobs.put((copy_context(), job))  # NumPy's errstate holds in a context

    def _start(self) -> None:
        while self.started < self.threads - 1:
            thread = threading.Thread(target=self._serve, args=(self.jobs,), name="tensorgrad", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more: go on with those there are
                self.threads = self.started + 1
                return
            self.started += 1

    @staticmethod
    def _serve(jobs: SimpleQueue[tuple[Context, _Job]]) -> None:
        while True:
            context, job = jobs.get()
            context.run(job.run)
            del context, job  # or their arrays would live until the next job


pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)


def share(function: Callable[[Any], object], items: Sequence[Any]) -> None:
    """Call ``function`` once with every item, on this thread and others at the same time.

    The calls must not depend on one another.
    """
    helpers = min(pool.threads, len(items)) - 1
    if helpers <= 0:
        for item in items:
            function(item)
        return
    job = _Job(function, items)
    pool.submit(job, helpers)
    job.run()
    job.finished.acquire()
    if job.errors:
        raise job.errors[min(job.errors)]  # the one that a single thread would have met
