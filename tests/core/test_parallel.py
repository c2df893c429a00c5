"""Parts shared among threads: the same results whatever the number of threads, errors raised, forks
survived."""

import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import parallel
from tensorgrad.ops.conv import conv2d, conv2d_filters, conv2d_images


@pytest.mark.parametrize(
    ("length", "each", "least"), [(11, 1 << 20, 1), (7, 10, 1), (9, 1 << 22, 4), (1, 9, 1)]
)
def test_parts_cover_the_axis_once_and_in_order(length, each, least):
    slices = parallel.parts(length, each, least)
    assert [i for some in slices for i in range(some.start, some.stop)] == list(range(length))
    assert min(some.stop - some.start for some in slices) >= least
    assert len(slices) in (1, length) or len(slices) % 2 == 0 or least > 1
    assert (len(slices) > 1) == (2 * length * each >= parallel.PART_BYTES and length >= 2 * least)


def test_threads_do_not_change_results(monkeypatch):
    monkeypatch.setattr(parallel, "PART_BYTES", 1 << 12)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 12, 13, 8)), rng.standard_normal((6, 8, 3, 3))
    y = rng.standard_normal((8, 10, 11, 6))

    def results(threads):
        monkeypatch.setattr(parallel.pool, "threads", threads)
        t = tg.Tensor(x, requires_grad=True)
        (tg.max_pool(t, size=3, stride=2, padding=1).sum() + tg.max_pool(t).sum()).backward()
        convolved = [
            conv2d(x, w),
            conv2d(x, w, stride=2, dilation=2),
            conv2d_images(y, w, shape=x.shape),
            conv2d_filters(x, y, shape=w.shape),
            conv2d_filters(x[..., :2], y[..., :3], shape=(3, 2, 3, 3)),
        ]
        return [*convolved, tg.max_pool(x), tg.avg_pool(x, size=3), t.grad]

    alone = results(1)
    for threads in (2, 5):
        for a, b in zip(alone, results(threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_item_once_and_on_several_threads(monkeypatch):
    monkeypatch.setattr(parallel.pool, "threads", 3)
    seen, threads = [], set()

    def note(item):
        time.sleep(0.01)
        seen.append(item)
        threads.add(threading.get_ident())

    parallel.share(note, range(30))
    assert sorted(seen) == list(range(30))
    assert len(threads) > 1


@pytest.mark.parametrize("there_are", [0, 1, 2])
def test_where_no_thread_can_be_started_those_there_are_go_on(monkeypatch, there_are):
    started = []

    class Thread(threading.Thread):
        def start(self):
            if len(started) == there_are:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(threading, "Thread", Thread)
    monkeypatch.setattr(parallel, "pool", pool := parallel.Pool())
    pool.threads = 6
    for _ in range(3):
        seen = []
        parallel.share(lambda item, seen=seen: seen.append(item), range(40))
        assert sorted(seen) == list(range(40))
    assert pool.threads == there_are + 1
    assert len(started) == there_are
    assert there_are or pool.jobs.empty()  # a job that nobody takes would keep its arrays


def test_a_real_limit_on_the_number_of_threads_is_no_error():
    pytest.importorskip("resource", reason="this system has no limit on the number of threads")
    script = """
import os, resource, numpy as np, tensorgrad as tg
from tensorgrad.core import parallel
parallel.pool.threads = 4
parallel.PART_BYTES = 1 << 12
x, w = np.ones((8, 16, 16, 4)), np.ones((4, 4, 3, 3))
if os.getuid() == 0:  # for whom the limit does not hold
    try:
        os.setuid(65534)
    except OSError:
        raise SystemExit(0)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
expected = 36 * np.ones((8, 14, 14, 4))
assert np.array_equal(tg.conv2d(x, w), expected)
assert parallel.pool.threads == 1, parallel.pool.threads
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_error_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(parallel.pool, "threads", 2)

    def fail(item):
        time.sleep(0.005)
        if item == 7:
            raise ValueError("seven")

    with pytest.raises(ValueError, match="seven"):
        parallel.share(fail, range(20))
    parallel.share(lambda item: None, range(20))  # and the threads go on


def test_numpy_warns_on_other_threads_as_on_this_one(monkeypatch):
    monkeypatch.setattr(parallel.pool, "threads", 2)

    def overflow(item):
        time.sleep(0.005)
        np.exp(np.array([1e3]))

    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel.share(overflow, range(10))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        parallel.share(overflow, range(10))


def test_several_callers_at_once(monkeypatch):
    monkeypatch.setattr(parallel.pool, "threads", 2)
    monkeypatch.setattr(parallel, "PART_BYTES", 1 << 12)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 16, 16, 4)), rng.standard_normal((4, 4, 3, 3))
    expected, wrong = conv2d(x, w), []

    def call():
        wrong.extend(i for i in range(20) if not np.array_equal(conv2d(x, w), expected))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system cannot fork")
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, warnings, numpy as np, tensorgrad as tg
from tensorgrad.core import parallel
warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads
parallel.pool.threads = 2
parallel.PART_BYTES = 1 << 12
x, w = np.ones((8, 16, 16, 4)), np.ones((4, 4, 3, 3))
expected = tg.conv2d(x, w)
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(tg.conv2d(x, w), expected) and parallel.pool.started else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("1", 1), ("", None), ("many", None), ("0", None)])
def test_the_number_of_threads_is_the_usual_variable(monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    cores = parallel.cores()
    assert parallel.Pool().threads == (threads or cores)
