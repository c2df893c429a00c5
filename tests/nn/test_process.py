"""Settings of the process are made inside the block only, and the outer block's hold."""

import ctypes
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tensorgrad as tg
from tensorgrad.core.parallel import pool


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_threads_inside_and_after():
    with threadpool_limits(2, user_api="blas"):
        before = pool.threads
        with tg.tuned_process(threads=5):
            assert blas_threads() == {1}
            assert pool.threads == 5
        assert (blas_threads(), pool.threads) == ({2}, before)
        with tg.tuned_process(blas_threads=None):
            assert (blas_threads(), pool.threads) == ({2}, before)


def test_settings_are_undone_after_an_error():
    before = pool.threads, blas_threads()
    with pytest.raises(KeyError), tg.tuned_process(threads=7):
        raise KeyError
    assert (pool.threads, blas_threads()) == before


def test_the_outer_block_holds():
    with tg.tuned_process(blas_threads=2, threads=3):
        with tg.tuned_process():
            assert (blas_threads(), pool.threads) == ({2}, 3)
        assert (blas_threads(), pool.threads) == ({2}, 3)


def test_blocks_of_two_threads_that_overlap_leave_all_as_it_was():
    before = pool.threads, blas_threads()
    entered, left = threading.Event(), threading.Event()

    def other():
        with tg.tuned_process(threads=3):
            entered.set()
            left.wait()
            assert pool.threads == 6, "the first block's, while one is open"

    thread = threading.Thread(target=other)
    with tg.tuned_process(threads=6):
        thread.start()
        entered.wait()
    assert pool.threads == 6
    left.set()
    thread.join()
    assert (pool.threads, blas_threads()) == before


@pytest.mark.parametrize("options", [{"threads": 0}, {"blas_threads": -1}])
def test_no_threads_are_refused(options):
    with pytest.raises(ValueError, match=r"tuned_process: expected .*threads to be at least 1, got"):
        tg.tuned_process(**options).__enter__()


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)
def test_freed_memory_is_kept():
    resource = pytest.importorskip("resource", reason="page faults are counted on Unix only")

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.empty(1 << 23, np.uint8).fill(1)  # 2,048 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with tg.tuned_process():
        faults()  # the first pages
        inside = faults()
    assert inside < 100
    assert faults() > 10 * max(inside, 1)
