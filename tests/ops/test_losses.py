"""mse: three reductions, and the shapes it refuses."""

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg

PREDICTION, TARGET = [[1.0, 2.0], [3.0, 5.0]], [[0.0, 4.0], [3.0, 2.0]]  # differences 1, -2, 0, 3


@pytest.mark.parametrize(("reduction", "value", "gradient"), [
    ("mean", 3.5, [[0.5, -1.0], [0.0, 1.5]]),
    ("sum", 14.0, [[2.0, -4.0], [0.0, 6.0]]),
    ("none", [[1.0, 4.0], [0.0, 9.0]], [[2.0, -4.0], [0.0, 6.0]]),
])  # fmt: skip
def test_by_hand(reduction, value, gradient):
    p, t = leaf(PREDICTION), leaf(TARGET)
    loss = tg.mse(p, t, reduction=reduction)
    np.testing.assert_array_equal(loss.data, value)
    loss.backward(np.ones(loss.shape))
    np.testing.assert_array_equal(p.grad, gradient)
    np.testing.assert_array_equal(t.grad, np.negative(gradient))


def test_the_mean_is_over_all_elements_and_the_default():
    assert tg.mse(np.array(PREDICTION), np.array(TARGET)) == 3.5


@pytest.mark.parametrize("shapes", [
    ((4, 1), (4,)), ((4,), (4, 1)), ((4,), ()), ((), (1,)), ((2, 3), (3, 2)), ((2, 3), (1, 3)),
], ids=str)  # fmt: skip
def test_unequal_shapes_are_refused_instead_of_broadcast(shapes):
    """With (N, 1) and (N,), dezero and torch broadcast to (N, N), and give a number."""
    p, t = (np.ones(shape) for shape in shapes)
    for prediction in (p, leaf(p)):
        with pytest.raises(
            ValueError, match="mse: expected prediction and target of one shape, got"
        ) as caught:
            tg.mse(prediction, t)
        assert f"{shapes[0]} and {shapes[1]}" in str(caught.value)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="mse: expected the reduction mean, sum or none, got 'average'"):
        tg.mse(leaf([1.0]), [1.0], reduction="average")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_empty_batch_is_refused(reduction):
    with pytest.raises(ValueError, match="mse: expected at least one element, got an empty batch"):
        tg.mse(leaf(np.zeros((0, 3))), np.zeros((0, 3)), reduction=reduction)


@pytest.mark.parametrize("kind", [list, tuple, np.array, np.float32, tg.Tensor])
def test_targets_are_anything_array_like(kind):
    p = leaf([3.0, 3.0])
    tg.mse(p, kind([1, 2])).backward()
    np.testing.assert_array_equal(p.grad, [2.0, 1.0])


@pytest.mark.parametrize("prediction", [3.0, np.float64(3), np.array(3.0)], ids=repr)
def test_a_scalar_prediction_of_a_target_that_requires_grad(prediction):
    t = leaf(1.0)
    tg.mse(prediction, t).backward()
    assert t.grad == -4.0


def test_lists_alone_are_no_arrays():
    with pytest.raises(TypeError, match=r"mse: .*\(prediction list, target list, weights NoneType\)"):
        tg.mse([1.0, 2.0], [1.0, 4.0])


def test_a_nan_shows():
    p = leaf([1.0, np.nan])
    loss = tg.mse(p, np.zeros(2))
    loss.backward()
    assert np.isnan(loss.item())
    np.testing.assert_array_equal(p.grad, [1.0, np.nan])
