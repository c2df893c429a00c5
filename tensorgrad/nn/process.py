"""Settings of the whole process that training gains from. They are made on request only, and undone."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tensorgrad.core.parallel import pool

__all__ = ["tuned_process"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_GLIBC_DEFAULT = 128 * 1024


_lock = threading.Lock()
_inside = 0  # blocks of all threads
_undo = ExitStack()  # by whichever thread leaves last


@contextmanager
def tuned_process(*, blas_threads: int | None = 1, threads: int | None = None) -> Iterator[None]:
    """Context manager: keep freed memory in the process, and say how many threads compute.

    A training step frees and allocates the same large arrays again and again. By default glibc returns them
    to the system, and each page of the next one is a page fault; inside the block they stay. Where the C
    library is not glibc, memory is managed as ever.

    Threads of the BLAS library share every matrix product, and wait for one another in a busy loop. On a
    machine with nothing else to do that makes large dense layers faster; on one with other work it costs up
    to tens of milliseconds a product. tensorgrad has threads of its own, which do not wait so: they share
    the work of convolution and pooling, and run the formulas of large products side by side.

    The settings hold for all threads of the process, so they are a program's choice: `Network.fit` and the
    command line make them while they train, your own loop may. A block inside another, or beside that of
    another thread, changes nothing, so your choice around `Network.fit` holds. When the last has ended the
    numbers of threads are the former ones, glibc's thresholds are its defaults again (though no longer
    adapted to the program, as they are before the first call), and free memory is returned. docs/speed.md has
    measurements with and without.

    Parameters
    ----------
    blas_threads : int or None
        Of the BLAS library; None leaves them as they are.
    threads : int or None
        Of tensorgrad; None leaves them as they are: as many as the variable OMP_NUM_THREADS says, or the
        machine has cores.

    Raises
    ------
    ValueError
        If a number is below 1.

    >>> with tg.tuned_process():
    ...     product = np.ones((64, 64)) @ np.ones((64, 64))
    """
    global _inside
    for name, number in (("blas_threads", blas_threads), ("threads", threads)):
        if number is not None and number < 1:
            raise ValueError(f"tuned_process: expected {name} to be at least 1, got {number}")
    with _lock:
        if not _inside:
            _tune(blas_threads, threads)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _undo.close()


def _tune(blas_threads: int | None, threads: int | None) -> None:
    from threadpoolctl import threadpool_limits

    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        _undo.callback(_forget, libc)
    _undo.callback(setattr, pool, "threads", pool.threads)
    pool.threads = threads or pool.threads
    _undo.enter_context(threadpool_limits(blas_threads, user_api="blas"))


def _forget(libc: ctypes.CDLL) -> None:
    libc.mallopt(_MMAP_THRESHOLD, _GLIBC_DEFAULT)
    libc.mallopt(_TRIM_THRESHOLD, _GLIBC_DEFAULT)
    libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of the process if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError on Windows, where there is no such handle
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
