"""Settings of the whole process that training gains from. They are made on request only, and undone."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_GLIBC_DEFAULT = 128 * 1024


@contextmanager
def tuned_process(blas_threads: int = 1) -> Iterator[None]:
    """Context manager: keep freed memory in the process, and compute matrix products with so many threads.

    A training step frees and allocates the same large arrays again and again. By default glibc returns them
    to the system, and each page of the next one is a page fault; inside the block they stay. Where the C
    library is not glibc, memory is managed as ever.

    Threads of the BLAS library wait for one another in a busy loop. For products as small as those of a small
    network that gains little, and on a machine with other work to do it costs tens of milliseconds a product.

    Both settings hold for all threads of the process, so they are a program's choice: `Network.fit` and the
    command line make them while they train, your own loop may. At the end glibc's thresholds are its defaults
    again (though no longer adapted to the program, as they are before the first call), and free memory is
    returned.

    Parameters
    ----------
    blas_threads : int

    >>> with tg.tuned_process():
    ...     product = np.ones((64, 64)) @ np.ones((64, 64))
    """
    from threadpoolctl import threadpool_limits

    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        with threadpool_limits(blas_threads, user_api="blas"):
            yield
    finally:
        if libc is not None:
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
