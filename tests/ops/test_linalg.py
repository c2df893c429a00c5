"""matmul for all pairs of ranks, and what it refuses."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, leaf
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

# Vectors, matrices, and stacks of them that broadcast
operands = hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3)


@given(shapes=operands, seed=st.integers(0, 2**32 - 1))
def test_all_pairs_of_ranks_agree_with_autograd(shapes, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal(shape) for shape in shapes.input_shapes)
    assert_agrees_with_autograd(lambda numpy, x, y: x @ y, x, y)


@given(shapes=operands)
def test_gradients_have_the_shapes_of_the_operands(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes.input_shapes)
    out = x @ y
    assert out.shape == shapes.result_shape
    out.backward(np.ones(out.shape))
    assert (x.grad.shape, y.grad.shape) == (x.shape, y.shape)


@pytest.mark.parametrize(
    "shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((0, 2, 3), (3,))], ids=str
)
def test_empty_operands_have_gradients_of_their_shapes(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes)
    out = x @ y
    out.backward(np.ones(out.shape))
    for t in (x, y):
        assert t.grad.shape == t.shape
        assert t.grad.sum() == out.size * x.shape[-1]  # every product counts once


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((3,), (2,)), ((2, 3), ()), ((2, 2, 3), (3, 3, 2))], ids=str
)
def test_operands_that_do_not_fit_are_named_with_their_shapes(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes)
    with pytest.raises(ValueError, match=r"^matmul: ") as caught:
        x @ y
    for shape in shapes:
        assert f"float64 {shape}" in str(caught.value)


def test_third_derivatives():
    w = np.array([[0.5, -1.0], [2.0, 0.3]])
    tg.gradcheck(lambda x: x @ (w @ (x @ x)), np.array([[1.0, 0.2], [-0.4, 0.7]]), order=3)
