"""Ops that move elements, for every index pattern, shape and permutation."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, evaluate, leaf
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def numbered(shape):
    """An array in which every element tells where it stands."""
    return np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


@given(shape=shapes, data=st.data())
def test_basic_indices_agree_with_autograd(shape, data):
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    assert_agrees_with_autograd(lambda numpy, x: x[index], numbered(shape))


@given(shape=shapes, data=st.data())
def test_integer_arrays_with_repeats_agree_with_autograd(shape, data):
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
    assert_agrees_with_autograd(lambda numpy, x: x[index], numbered(shape))


@given(shape=shapes, data=st.data())
def test_masks_agree_with_autograd(shape, data):
    rank = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[:rank]))
    assert_agrees_with_autograd(lambda numpy, x: x[mask], numbered(shape))


@given(data=st.data())
def test_slices_integers_and_lists_mixed_agree_with_autograd(data):
    shape = (3, 4, 2)
    part = st.one_of(
        st.slices(2),
        st.integers(-2, 1),
        st.lists(st.integers(-2, 1), min_size=3, max_size=3),
        st.just(Ellipsis),
    )
    index = data.draw(st.tuples(part, part, part).filter(lambda index: sum(i is ... for i in index) <= 1))
    assert_agrees_with_autograd(lambda numpy, x: x[index], numbered(shape))


@pytest.mark.parametrize(("index", "expected"), [
    ([0, 0, 0], [3, 0, 0]),
    (np.array([2, 2, 0]), [1, 0, 2]),
    ([[0, 1], [1, 1]], [1, 3, 0]),
    ([-1, 2], [0, 0, 2]),
    ([True, False, True], [1, 0, 1]),
    (np.array([], int), [0, 0, 0]),
    (slice(None, None, -1), [1, 1, 1]),
    (True, [1, 1, 1]),
    (False, [0, 0, 0]),
    (np.True_, [1, 1, 1]),
    (np.int64(1), [0, 1, 0]),
    (..., [1, 1, 1]),
    ((), [1, 1, 1]),
    (None, [1, 1, 1]),
    ((np.array([0, 0]), None), [2, 0, 0]),
    (tg.Tensor([1, 1]), [0, 2, 0]),
], ids=repr)  # fmt: skip
def test_each_reading_of_an_element_adds_to_its_gradient(index, expected):
    """``grad[index] += g`` would count a repeat once."""
    x = leaf([1.0, 2.0, 3.0])
    x[index].sum().backward()
    np.testing.assert_array_equal(x.grad, expected)


@pytest.mark.parametrize(("index", "error"), [
    (3, IndexError), (1.0, IndexError), ("a", IndexError), ((0, 0), IndexError), ([True, False], IndexError),
    ((0, ..., ...), IndexError), (tg.Tensor(1.0), IndexError),
], ids=str)  # fmt: skip
def test_impossible_indices_are_refused_by_the_op(index, error):
    with pytest.raises(error, match=r"^getitem: .*\(x float64 \(3,\)\)"):
        leaf([1.0, 2.0, 3.0])[index]


@given(shape=shapes, data=st.data())
def test_reshape_agrees_with_autograd(shape, data):
    size = int(np.prod(shape))
    first = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    new = data.draw(st.sampled_from([(first, size // first), (first, -1), (-1, first, 1), -1, (size,)]))
    assert_agrees_with_autograd(lambda numpy, x: numpy.reshape(x, new), numbered(shape))


@given(shape=hnp.array_shapes(min_dims=0, max_dims=4, max_side=3), data=st.data())
def test_transpose_agrees_with_autograd(shape, data):
    n = len(shape)
    axes = tuple(data.draw(st.permutations(range(n))))
    assert_agrees_with_autograd(lambda numpy, x: numpy.transpose(x, axes), numbered(shape))
    assert_agrees_with_autograd(lambda numpy, x: numpy.transpose(x), numbered(shape))
    if n:
        pair = data.draw(st.tuples(*[st.integers(-n, n - 1)] * 2))
        assert_agrees_with_autograd(lambda numpy, x: numpy.swapaxes(x, *pair), numbered(shape))


@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0))
def test_sum_to_and_broadcast_to_are_adjoint(shapes):
    small, large = shapes.input_shapes[0], shapes.result_shape
    x, y = numbered(small), numbered(large)
    widened, narrowed = tg.broadcast_to(x, shape=large), tg.sum_to(y, shape=small)
    assert (widened.shape, narrowed.shape) == (large, small)
    np.testing.assert_allclose(np.vdot(widened, y), np.vdot(x, narrowed), atol=1e-12)
    np.testing.assert_array_equal(widened, np.ones(large) * x)


@pytest.mark.parametrize(("call", "message"), [
    ("tg.sum_to(x, shape=(2,))", r"sum_to: \(2, 3\) is not a broadcast of \(2,\)"),
    ("tg.sum_to(x, shape=(1, 2, 3))", r"sum_to: \(2, 3\) is not a broadcast of \(1, 2, 3\)"),
    ("tg.broadcast_to(x, shape=(3, 2))", r"^broadcast_to: .*\(x float64 \(2, 3\)\)"),
    ("tg.reshape(x, shape=(4, -1))", r"^reshape: cannot reshape array of size 6 .*\(x float64 \(2, 3\)\)"),
    ("tg.reshape(x, shape=(-1, -1))", r"^reshape: can only specify one unknown dimension"),
    ("tg.transpose(x, axes=(0, 0))", r"^transpose: repeated axis.*\(x float64 \(2, 3\)\)"),
    ("tg.transpose(x, axes=(0,))", r"^transpose: axes don't match array"),
    ("tg.swapaxes(x, axis1=0, axis2=2)", r"^swapaxes: .*axis2: axis 2 is out of bounds"),
    ("tg.add_at(x, index=0, shape=(3, 4))", r"^add_at: .*\(x float64 \(2, 3\)\)"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises((ValueError, IndexError), match=message):
        evaluate(call, x=leaf(np.ones((2, 3))))


@pytest.mark.parametrize("axes", [(np.int64(1), np.int64(0)), [1, 0], (-1, -2)], ids=repr)
def test_axes_of_transpose_are_anything_that_numpy_takes(axes):
    x, v = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.arange(6.0).reshape(3, 2)
    for y in (np.transpose(x, axes), x.transpose(axes), x.transpose(*axes)):
        x.zero_grad()
        y.backward(v)
        np.testing.assert_array_equal(x.grad, v.T)


@pytest.mark.parametrize("shape", [[3, 2], np.array([3, 2]), (np.int64(3), -1), np.int64(6)], ids=repr)
def test_a_shape_is_anything_that_numpy_takes(shape):
    x = leaf(np.arange(6.0).reshape(2, 3))
    y = np.reshape(x, shape)
    y.backward(y.data)
    np.testing.assert_array_equal(x.grad, x.data)
