"""Indexing in every form, updates as functions, and what is an index in disguise."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, assert_refused, evaluate, leaf, refused_calls
from hypothesis import given
from hypothesis import strategies as st
from random_cases import many

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


@st.composite
def indices(draw):
    """A shape and an index of it: basic, of integers, a mask, or mixed."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "integers":
        result = hnp.array_shapes(max_dims=2, max_side=4)
        return shape, draw(hnp.integer_array_indices(shape, result_shape=result))
    if kind == "mask":
        return shape, draw(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
    length = draw(st.integers(1, 4))
    parts = []
    for n in shape:
        place = st.integers(-n, n - 1)
        listed = st.lists(place, min_size=length, max_size=length)
        parts.append(draw(st.one_of(st.slices(n), place, listed, listed.map(np.array))))
    if draw(st.booleans()):
        parts[draw(st.integers(0, len(parts) - 1))] = ...
    return shape, tuple(parts)


def check_index(rng, case):
    shape, index = case
    x = rng.standard_normal(shape)
    assert_agrees_with_autograd(lambda numpy, x: x[index], x)
    value = rng.standard_normal(x[index].shape)
    # Autograd has no updates: here is what NumPy does in place, and the gradients by definition.
    added, put = x.copy(), x.copy()
    np.add.at(added, index, value)
    put[index] = value
    numbers = np.full(shape, -1)
    numbers[index] = np.arange(value.size).reshape(value.shape)
    v = rng.standard_normal(shape)
    for f, truth, of_x, of_value in (
        (tg.add_at, added, v, v[index]),
        (tg.set_at, put, np.where(numbers < 0, v, 0), None),
    ):
        a, b = leaf(x), leaf(value)
        out = f(a, index, b)
        np.testing.assert_allclose(out.data, truth, rtol=1e-12, atol=1e-12)
        out.backward(v)
        np.testing.assert_array_equal(a.grad, of_x)
        if b.grad is None:
            assert not value.size
            continue
        if of_value is None:  # the element that stayed has the gradient of its place, all others none
            of_value = np.zeros(value.size)
            of_value[numbers[numbers >= 0]] = v[numbers >= 0]
            of_value = of_value.reshape(value.shape)
        np.testing.assert_array_equal(b.grad, of_value)


def test_random_indices_agree():
    assert many(check_index, indices(), 100) == 100


@pytest.mark.slow
def test_thousands_of_random_indices_agree():
    print(f"\nindexing: {many(check_index, indices(), 3000)} cases")


def test_tensors_of_integers_are_indices():
    x, i = leaf([[1.0, 2.0], [3.0, 4.0]]), tg.Tensor([1, 0, 1])
    for index in (i, (i, slice(None)), (i, tg.Tensor([0, 0, 1])), tg.Tensor([[True, False], [True, True]])):
        parts = index if isinstance(index, tuple) else (index,)
        plain = tuple(np.asarray(part) if isinstance(part, tg.Tensor) else part for part in parts)
        x.zero_grad()
        out = x[index]
        np.testing.assert_array_equal(out.data, x.data[plain])
        out.sum().backward()
        counted = np.zeros((2, 2))
        np.add.at(counted, plain, 1)
        np.testing.assert_array_equal(x.grad, counted)
    for f in (tg.set_at, tg.add_at):
        np.testing.assert_array_equal(f(x, i, 0.5).data, f(x.data, [1, 0, 1], 0.5))
    np.testing.assert_array_equal(np.take(x, i, axis=0).data, x.data[[1, 0, 1]])
    np.testing.assert_array_equal(np.take_along_axis(x, tg.Tensor([[1], [0]]), 1).data, [[2.0], [3.0]])


# Updates as functions


@pytest.mark.parametrize("f", [tg.set_at, tg.add_at], ids=["set_at", "add_at"])
@pytest.mark.parametrize(("index", "value"), [
    (1, (3,)), ((slice(None), 1), ()), ([0, 0], (2, 3)), ([1, 1], (3,)), ((..., [2, 0]), (2, 1)),
    (np.array([[True, False, True], [False, False, True]]), (3,)), (np.zeros((2, 3), bool), ()),
    (slice(0, 0), (3,)), (..., (2, 3)), (None, (1, 2, 3)),
], ids=str)  # fmt: skip
def test_updates_by_finite_differences(f, index, value):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3)), rng.standard_normal(value)
    tg.gradcheck(lambda x, y: f(x, index, y * y), x, y, order=2)
    truth = x.copy()
    if f is tg.set_at:
        truth[index] = y
    else:
        np.add.at(truth, index, y)
    np.testing.assert_allclose(f(x, index, y), truth, rtol=1e-15)


def test_leading_axes_of_length_one_may_be_too_many_as_in_an_assignment():
    for f in (tg.set_at, tg.add_at):
        np.testing.assert_array_equal(f(np.zeros(2), slice(2), np.ones((1, 1, 2))), [1.0, 1.0])
        np.testing.assert_array_equal(
            tg.grad(lambda y, f=f: f(np.zeros(2), 0, y).sum())(np.ones((1, 1))), [[1.0]]
        )


def test_the_last_value_wins_and_takes_the_gradient():
    y = leaf([1.0, 2.0, 3.0])
    out = tg.set_at(np.zeros(3), [0, 1, 0], y)
    np.testing.assert_array_equal(out.data, [3.0, 2.0, 0.0])
    out.backward([1.0, 10.0, 100.0])
    np.testing.assert_array_equal(y.grad, [0.0, 10.0, 1.0])


def test_updates_leave_their_arguments_alone():
    x, y = np.zeros(3), np.ones(2)
    for f in (tg.set_at, tg.add_at):
        for index in ([0, 1], slice(2), slice(0, 0)):
            out = f(x, index, y[: len(x[index])] if index != slice(0, 0) else 1.0)
            assert not np.shares_memory(out, x)
    np.testing.assert_array_equal(x, 0)
    np.testing.assert_array_equal(y, 1)


def test_updates_keep_float32():
    for value in (2.0, 1, np.float32(2), np.ones(2, "float32"), np.ones(2, "int8"), leaf(1.0, "float32")):
        for f in (tg.set_at, tg.add_at):
            x = leaf([1.0, 2.0, 3.0], "float32")
            out = f(x, slice(2), value)
            assert out.dtype == np.float32
            out.sum().backward()
            assert x.grad.dtype == np.float32


@pytest.mark.parametrize("name", ["set_at", "add_at"])
@refused_calls(
    ("update(x, 5, 1.0)", IndexError, r"index 5 is out of bounds.*\(x float64 \(2, 3\)\)"),
    ("update(x, 0.5, 1.0)", IndexError, r"\(x float64 \(2, 3\)\)"),
    (
        "update(x, 0, np.ones(2))",
        ValueError,
        r"the value does not fit .*\(x float64 \(2, 3\), x\[index\] \(3,\), value float64 \(2,\)\)",
    ),
    ("update(x, 0, np.ones((2, 3)))", ValueError, "the value does not fit"),
    ("update(tg.Tensor(np.ones(2, 'float32')), 0, x[0, 0])", TypeError, "would have to be cast"),
    (
        "update(np.zeros(3, int), 0, x[0, 0])",
        TypeError,
        r"cast \(x int64 \(3,\), x\[index\] \(\), value float64",
    ),
    ("update(np.zeros(3, 'float32'), 0, np.float64(1))", TypeError, "cast one side with .astype"),
    ("update(x, 0, tg.Tensor(1.0, dtype='float32'))", TypeError, "would have to be cast"),
)
def test_updates_that_do_not_fit_are_named(name, call, error, message):
    names = {"update": getattr(tg, name), "x": leaf(np.ones((2, 3)))}
    assert_refused(call, error, f"^{name}: .*{message}", **names)


# Indices in disguise. x is (2, 3), v (4,), c (2, 3, 4)

OPERANDS = {"x": (2, 3), "v": (4,), "c": (2, 3, 4), "s": ()}

CALLS = """
np.take(x, [0, 5, 5])
np.take(x, 1, axis=1)
np.take(c, [[0, 2], [1, 1]], axis=1)
np.take(x, -1, 0)
np.take(v, [True, False])
np.take(v, [5, -6, 1], mode='wrap')
np.take(v, [5, -6, 1], mode='clip')
np.take_along_axis(x, np.array([[2, 0], [1, 1]]), axis=1)
np.take_along_axis(x, np.array([[1, 0, 0]]), 0)
np.take_along_axis(c, np.array([[[3]], [[0]]]), -1)
np.take_along_axis(x, np.array([5, 0, 5]), axis=None)
np.sort(v)
np.sort(x, 0)
np.sort(c, axis=1)
np.sort(c, axis=None)
np.sort(x, -1, 'heapsort')
np.sort(x, stable=False)
np.partition(v, 2)
np.partition(x, (0, 1), axis=0)
np.partition(x, 3, axis=None)
np.compress([True, False, True], x, axis=1)
np.compress([0, 1, 1, 0, 1], x)
np.extract(np.array([[1, 0, 0], [0, 1, 1]]), x)
np.delete(v, 1)
np.delete(v, -1)
np.delete(x, [0, 2], axis=1)
np.delete(x, slice(0, 2), axis=1)
np.delete(x, np.array([True, False, True]), 1)
np.delete(c, 3)
np.diff(v)
np.diff(v, 2)
np.diff(v, 0)
np.diff(v, 6)
np.diff(c, axis=0)
np.diff(c, 2, 1)
np.diff(v, prepend=0.0)
np.diff(v, prepend=v[:2], append=s)
np.diff(x, 1, 0, append=[[1.0, 2.0, 3.0]])
""".strip().splitlines()


def operands_of(call):
    names = [name for name in OPERANDS if name in compile(call, call, "eval").co_names]
    rng = np.random.default_rng(len(call))
    return names, [rng.standard_normal(OPERANDS[name]) for name in names]


@pytest.mark.parametrize("call", CALLS)
def test_values_are_numpys_and_derivatives_right(call):
    names, arrays = operands_of(call)
    f = lambda *xs: evaluate(call, **dict(zip(names, xs, strict=True)))
    found = f(*(leaf(x) for x in arrays))
    ours = evaluate(call.replace("np.", "tg.", 1), **dict(zip(names, arrays, strict=True)))
    for values in (found.data, ours):
        np.testing.assert_array_equal(values, f(*arrays))
    if found.size:
        tg.gradcheck(f, *arrays, order=2)
    single = [leaf(x, "float32") for x in arrays]
    if "[[1.0" not in call:
        out = f(*single)
        out.backward(np.ones(out.shape))
        assert [out.dtype, *(x.grad.dtype for x in single)] == [np.float32] * (1 + len(single))


def test_ties_keep_their_order_when_sorted():
    x = leaf([2.0, 1.0, 2.0, 1.0])
    for kind in (None, "quicksort", "stable"):
        x.zero_grad()
        np.sort(x, kind=kind).backward([1.0, 10.0, 100.0, 1000.0])
        np.testing.assert_array_equal(x.grad, [100.0, 1.0, 1000.0, 10.0])


def test_ties_each_keep_a_gradient_when_partitioned():
    x = leaf([2.0, 1.0, 2.0, 1.0])
    np.partition(x, 1).backward([1.0, 10.0, 100.0, 1000.0])
    assert sorted(x.grad[[1, 3]]) == [1.0, 10.0]
    assert sorted(x.grad[[0, 2]]) == [100.0, 1000.0]


@given(shape=hnp.array_shapes(max_dims=3, max_side=5), data=st.data())
def test_sort_agrees_with_autograd(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    assert_agrees_with_autograd(lambda numpy, x: numpy.sort(numpy.ravel(x)), numbered(shape))
    x = numbered(shape)
    order = np.argsort(x, axis)
    v = np.cos(x)
    a = leaf(x)
    np.sort(a, axis).backward(v)
    expected = np.empty(shape)
    np.put_along_axis(expected, order, v, axis)
    np.testing.assert_array_equal(a.grad, expected)


@refused_calls(
    ("np.take(x, 0.5)", TypeError, "Cannot cast"),
    ("np.take(x, 9)", IndexError, "getitem: index 9 is out of bounds"),
    ("np.take(x, 0, mode='warp')", ValueError, "take: mode must be"),
    ("np.take(x, 0, out=np.zeros(()))", TypeError, "take: out cannot be used"),
    ("np.take_along_axis(x, np.array([0, 1]), 0)", ValueError, "take_along_axis: expected integers"),
    ("np.take_along_axis(x, np.ones((2, 3)), 0)", ValueError, "take_along_axis: expected integers"),
    ("np.sort(x, order='f')", TypeError, "sort.*order"),
    ("np.sort(x, axis=2)", ValueError, "out of bounds"),
    ("np.partition(x, 7)", ValueError, "kth"),
    ("np.partition(x, 0, order='f')", TypeError, "partition.*order"),
    ("np.compress([True], x, 0, out=np.zeros(3))", TypeError, "compress.*"),
    ("np.diff(x, -1)", ValueError, "diff: order must be non-negative, got -1"),
    ("x[1.5]", IndexError, "getitem: "),
    ("np.put_along_axis(x, np.array([[0]]), 0.0, 0)", TypeError, "put_along_axis has no derivative rule"),
)
def test_what_does_not_fit_or_is_not_supported_is_named(call, error, message):
    assert_refused(call, error, message, x=leaf(np.ones((2, 3))))


# gradient


@pytest.mark.parametrize(("call", "shape"), [
    ("np.gradient(x)", (5,)), ("np.gradient(x, edge_order=2)", (5,)), ("np.gradient(x, 0.5)", (2,)),
    ("np.gradient(x, [0.0, 1.0, 1.5, 4.0], edge_order=2)", (4,)), ("np.gradient(x, axis=1)", (3, 4)),
    ("np.gradient(x, 2.0, [0.0, 1.0, 4.0])[1]", (4, 3)), ("np.gradient(x, 2.0, axis=(-1, 0))[0]", (3, 3)),
    ("np.gradient(x)[2]", (2, 3, 2)), ("np.gradient(x, -1.0, edge_order=2)", (3,)),
])  # fmt: skip
def test_gradient_is_numpys(call, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(evaluate(call, x=leaf(x)).data, evaluate(call, x=x), rtol=1e-12, atol=1e-14)
    tg.gradcheck(lambda x: evaluate(call, x=x), x, order=2)


@refused_calls(
    ("np.gradient(x, 1.0, 2.0, 3.0)", TypeError, "gradient: expected a spacing for each of 2 axes, got 3"),
    ("np.gradient(x, [0.0, 1.0])", TypeError, "gradient: expected a spacing"),
    ("np.gradient(x, 1.0, [0.0, 1.0])", ValueError, "gradient: expected a number or 3 places for axis 1"),
    (
        "np.gradient(x, axis=0, edge_order=2)",
        ValueError,
        "gradient: expected more than 2 elements along axis 0",
    ),
    ("np.gradient(x, edge_order=3)", ValueError, "gradient: expected edge_order 1 or 2, got 3"),
    ("np.gradient(x > 0)", TypeError, "boolean"),
)
def test_gradient_refuses_what_has_no_neighbours(call, error, message):
    assert_refused(call, error, message, x=leaf(np.ones((2, 3))))


def test_the_elements_of_a_tensor_without_axes():
    t = leaf(3.0)
    for found in (np.repeat(t, 3, axis=0), np.take(t, [0, 0, 0], axis=-1), np.tile(t, 3)):
        assert found.shape == (3,)
    np.repeat(t, 3, axis=0).sum().backward()
    assert t.grad == 3


def test_where_of_a_condition_alone_gives_places():
    x = leaf([[0.0, 2.0], [3.0, 0.0]])
    for found, truth in zip(np.where(x), np.where(x.data), strict=True):
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, truth)
    with pytest.raises(TypeError, match="where: missing argument y"):
        np.where(x > 0, x)


def test_gradient_by_its_places_and_by_its_step():
    """Against the same in float64 of places that are moved; constants of them would have no gradient."""
    f, places, step = np.array([[1.0, 2.0, 5.0], [0.0, 7.0, 1.0]]), np.array([0.0, 1.0, 3.5]), np.array(0.7)
    for order in (1, 2):
        slopes = lambda f, places, order=order: np.gradient(f, places, axis=1, edge_order=order)
        tg.gradcheck(slopes, f, places, order=2)
        tg.gradcheck(slopes, f, step, order=2)
    moved = [np.gradient(f[1], places + h * np.array([0, 1, 0])).sum() for h in (1e-6, -1e-6)]
    found = tg.grad(lambda places: np.sum(np.gradient(f[1], places)))(places)
    np.testing.assert_allclose(found[1], (moved[0] - moved[1]) / 2e-6, rtol=1e-8)
