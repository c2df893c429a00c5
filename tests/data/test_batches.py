"""minibatches: one epoch, every example once."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

from tensorgrad.data import minibatches


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n", "batch_size", "sizes"), [
    (10, 5, [5, 5]),
    (10, 4, [4, 4, 2]),
    (10, 1, [1] * 10),
    (10, 10, [10]),
    (10, 99, [10]),
    (1, 1, [1]),
    (7, np.int64(6), [6, 1]),
])  # fmt: skip
def test_every_example_once_and_with_its_label(n, batch_size, sizes):
    x, y = np.arange(n)[:, None] * [1.0, 10.0], np.arange(n)
    batches = list(minibatches(x, y, batch_size, rng()))
    assert [len(y_batch) for _, y_batch in batches] == sizes
    assert sorted(np.concatenate([y_batch for _, y_batch in batches])) == list(range(n))
    for x_batch, y_batch in batches:
        np.testing.assert_array_equal(x_batch, y_batch[:, None] * [1.0, 10.0])


def labels(generator):
    x = np.arange(100)
    return [y for _, y_batch in minibatches(x, x, 32, generator) for y in y_batch]


def test_the_order_is_the_generators():
    assert labels(rng(1)) == labels(rng(1)) != labels(rng(2))
    kept = rng(1)
    first, second = labels(kept), labels(kept)
    assert first == labels(rng(1)) != second
    assert first != list(range(100))


def test_the_order_is_drawn_once_at_the_call():
    x = np.arange(100)
    ours, theirs = rng(), rng()
    epoch = minibatches(x, x, 10, ours)
    theirs.permutation(100)
    assert ours.bit_generator.state == theirs.bit_generator.state
    list(epoch)
    assert ours.bit_generator.state == theirs.bit_generator.state


@pytest.mark.parametrize("x", [
    np.zeros((6, 3, 4), np.float32),
    np.zeros((6, 3, 4), np.float32, order="F"),
    np.zeros((12, 6, 4), np.float32)[::2].transpose(0, 2, 1),
    np.zeros((4, 3, 6), np.float32).T,
])  # fmt: skip
def test_batches_are_new_contiguous_and_of_the_same_dtype(x):
    y = np.zeros(6, np.int64)
    for x_batch, y_batch in minibatches(x, y, 4, rng()):
        assert x_batch.flags.c_contiguous
        assert (x_batch.dtype, y_batch.dtype) == (x.dtype, y.dtype)
        x_batch += 1
        y_batch += 1
    assert not x.any()
    assert not y.any()


def test_batches_of_a_memory_mapped_file_are_arrays_of_their_own(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20.0).reshape(10, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    for x_batch, y_batch in minibatches(x, np.arange(10), 4, rng()):
        assert type(x_batch) is np.ndarray
        assert x_batch.flags.writeable
        np.testing.assert_array_equal(x_batch[:, 0], 2 * y_batch)


X, Y = np.zeros((4, 2)), np.zeros(4, np.int64)


@refused_calls(
    ("minibatches(X, Y[:3], 2, rng())", ValueError, "x has 4 examples, y has 3"),
    ("minibatches(X[:0], Y[:0], 2, rng())", ValueError, r"no examples \(x \(0, 2\), y \(0,\)\)"),
    ("minibatches(X, Y, 0, rng())", ValueError, "1 or more, got 0"),
    ("minibatches(X, Y, -1, rng())", ValueError, "1 or more, got -1"),
    ("minibatches(X, Y, 2.0, rng())", TypeError, "int, got 2.0"),
    ("minibatches(X, Y, True, rng())", TypeError, "int, got True"),
    ("minibatches(X, Y, None, rng())", TypeError, "int, got None"),
    ("minibatches(X.tolist(), Y, 2, rng())", TypeError, "x to be an array"),
    ("minibatches(X, Y.tolist(), 2, rng())", TypeError, "y to be an array"),
    ("minibatches(np.array(1.0), Y, 2, rng())", TypeError, "x to be an array"),
    ("minibatches(X, Y, 2, 0)", TypeError, "numpy.random.Generator, got 0"),
    ("minibatches(X, Y, 2, None)", TypeError, "numpy.random.Generator, got None"),
    ("minibatches(X, Y, 2, np.random)", TypeError, "numpy.random.Generator, got <module"),
)
def test_errors_are_raised_at_the_call(call, error, message):
    assert_refused(call, error, f"minibatches: .*{message}", minibatches=minibatches, X=X, Y=Y, rng=rng)
