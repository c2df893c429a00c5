"""Embedding: vectors looked up by number, and the numbers it refuses."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,), ()], ids=str)
def test_rows_of_the_weights_by_number(shape, dtype):
    layer = tg.Embedding(5, 3, rng=0)
    numbers = np.random.default_rng(1).integers(0, 5, shape).astype(dtype)
    for x in (numbers, tg.Tensor(numbers)):
        out = layer(x)
        assert out.shape == (*shape, 3)
        assert out.dtype == np.float32
        for place in np.ndindex(shape):
            np.testing.assert_array_equal(out.data[place], layer.weights.data[numbers[place]])


def test_a_row_receives_what_all_its_uses_receive():
    layer = tg.Embedding(4, 2, dtype=float, rng=0)
    out = layer(np.array([[1, 3], [1, 1]]))
    g = np.arange(8.0).reshape(2, 2, 2)
    out.backward(g)
    np.testing.assert_array_equal(layer.weights.grad, [[0, 0], [0 + 4 + 6, 1 + 5 + 7], [0, 0], [2, 3]])


def test_value_and_gradient_are_torchs():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    layer, numbers = tg.Embedding(6, 4, dtype=float, rng=0), np.array([[0, 5, 5], [2, 0, 1]])
    weights = torch.tensor(layer.weights.numpy(), requires_grad=True)
    (layer(numbers) ** 3).sum().backward()
    (torch.nn.functional.embedding(torch.tensor(numbers), weights) ** 3).sum().backward()
    np.testing.assert_allclose(layer.weights.grad, weights.grad.numpy(), rtol=1e-12)


@refused_calls(
    ("layer(np.array([0, 5]))", ValueError, "numbers from 0 to 4, got 5"),
    ("layer(np.array([0, -1]))", ValueError, "numbers from 0 to 4, got -1"),
    ("layer(np.array([0.0, 1.0]))", TypeError, "an array of integers, got float64"),
    ("layer(np.array([True, False]))", TypeError, "an array of integers, got bool"),
    ("layer([0, 1])", TypeError, "an array of integers, got a list"),
)
def test_what_is_no_number_of_a_vector_is_refused(call, error, message):
    assert_refused(call, error, rf"Embedding\(5, 3\): expected {message}", layer=tg.Embedding(5, 3))


def test_it_trains_to_tell_words_apart():
    rng = np.random.default_rng(0)
    layer = tg.Embedding(6, 2, rng=rng)
    optimizer = tg.MiniBatchSGD(layer.parameters(), learning_rate=1.0)
    numbers, labels = np.arange(6), np.array([0, 1, 0, 1, 1, 0])
    for _ in range(50):
        optimizer.zero_grad()
        tg.cross_entropy(layer(numbers), labels).backward()
        optimizer.step()
    np.testing.assert_array_equal(layer(numbers).data.argmax(axis=1), labels)
