"""Tensor: what it is made of, what it refuses, what it shows, and the ways out of the graph."""

import copy
import math
import operator
import pickle

import numpy as np
import pytest
from helpers import assert_refused, leaf, refused_calls

import tensorgrad as tg


@pytest.fixture
def x():
    return leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="x")


# Making one


@pytest.mark.parametrize(("data", "dtype", "expected"), [
    (1.0, None, "float64"),
    (1, None, "int64"),
    (True, None, "bool"),
    ([1, 2], float, "float64"),
    ([[1.0], [2.0]], np.float32, "float32"),
    ((1.0, 2.0), "float16", "float16"),
    (np.zeros(3, np.float32), None, "float32"),
    (np.float32(1), None, "float32"),
    (range(3), float, "float64"),
    ([np.float32(1), np.float32(2)], None, "float32"),
    (np.zeros((0, 3)), None, "float64"),
    ([], None, "float64"),
    (tg.Tensor([1.0], dtype="float32"), None, "float32"),
])  # fmt: skip
def test_dtype_and_shape_are_those_of_numpy(data, dtype, expected):
    t = tg.Tensor(data, dtype=dtype)
    plain = np.array(data, dtype=dtype)
    assert (t.dtype, t.shape, t.ndim, t.size) == (np.dtype(expected), plain.shape, plain.ndim, plain.size)
    np.testing.assert_array_equal(t.data, plain)


@refused_calls(
    ("kind([[1.0], [1.0, 2.0]])", ValueError, "inhomogeneous shape"),
    ("kind('1.0')", TypeError, "got dtype <U3"),
    ("kind(['a', 'b'])", TypeError, "got dtype <U1"),
    ("kind(b'1')", TypeError, r"got dtype \|S1"),
    ("kind(None)", TypeError, "got dtype object"),
    ("kind([1.0, None])", TypeError, "got dtype object"),
    ("kind({'a': 1.0})", TypeError, "got dtype object"),
    ("kind(np.array([object()]))", TypeError, "got dtype object"),
    ("kind(1j)", TypeError, "got dtype complex128"),
    ("kind(np.array(['2020-01-01'], 'datetime64[D]'))", TypeError, r"got dtype datetime64\[D\]"),
)
@pytest.mark.parametrize("kind", [tg.Tensor, tg.Parameter])
def test_refuses_what_is_not_an_array_of_real_numbers(kind, call, error, message):
    start = f"^{kind.__name__}: expected an array of real numbers.*"
    assert_refused(call, error, start + message, kind=kind)


def test_an_impossible_dtype_is_refused_by_name():
    with pytest.raises(
        ValueError, match="Tensor: expected an array of real numbers; could not convert string"
    ):
        tg.Tensor("one", dtype=float)


@pytest.mark.parametrize("data", [1, [1, 2], True, np.zeros(2, np.int8), np.uint8(3)])
def test_only_floating_tensors_can_require_grad(data):
    dtype = np.asarray(data).dtype
    with pytest.raises(TypeError, match=f"only floating tensors can require grad, got {dtype}; pass floats"):
        tg.Tensor(data, requires_grad=True)
    with pytest.raises(TypeError, match="Parameter 'w': only floating tensors can require grad"):
        tg.Parameter(data, name="w")
    assert tg.Tensor(data, requires_grad=True, dtype=float).dtype == float


def test_a_tensor_that_requires_grad_is_not_silently_detached_by_wrapping(x):
    with pytest.raises(TypeError, match="detach"):
        tg.Tensor(x)
    with pytest.raises(TypeError, match="detach"):
        tg.Tensor([x, x])


def test_a_parameter_is_a_named_tensor_that_requires_grad():
    p = tg.Parameter([1.0, 2.0], name="p", dtype="float32")
    assert isinstance(p, tg.Tensor)
    assert (p.name, p.requires_grad, p.dtype, p.grad) == ("p", True, np.float32, None)


def test_nothing_but_the_declared_attributes_can_be_set(x):
    with pytest.raises(AttributeError):
        x.gradient = 1
    for attribute in ("requires_grad", "op", "inputs", "params", "shape", "dtype"):
        with pytest.raises(AttributeError):
            setattr(x, attribute, None)


# The recipe


def test_a_tensor_remembers_how_it_was_made(x):
    y = x.sum(axis=0)
    assert (y.op, y.inputs, y.params) == (tg.sum, (x,), {"axis": 0, "keepdims": False})
    z = y * 2.0
    assert (z.op, z.inputs, z.params) == (tg.multiply, (y, 2.0), {})
    assert (x.op, x.inputs, x.params) == (None, (), {})


def test_the_recipe_cannot_be_changed_from_outside(x):
    y = x.sum(axis=0)
    y.params["axis"] = 1
    assert y.params["axis"] == 0
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.ones((2, 3)))


# Showing one


@pytest.mark.parametrize(("make", "shown"), [
    (lambda: tg.Tensor([1.0, 2.0]), "Tensor([1., 2.], dtype=float64)"),
    (lambda: tg.Tensor(3), "Tensor(3, dtype=int64)"),
    (lambda: leaf([0.5], "float32"), "Tensor([0.5], dtype=float32, requires_grad=True)"),
    (lambda: tg.Tensor([1.0], name="x"), "Tensor([1.], dtype=float64, name='x')"),
    (lambda: leaf([1.0]) * 2, "Tensor([2.], dtype=float64, op=multiply)"),
    (lambda: leaf([1.0]).detach(), "Tensor([1.], dtype=float64)"),
    (lambda: tg.Parameter(1, "w", float), "Parameter(1., dtype=float64, name='w', requires_grad=True)"),
    (lambda: tg.Tensor(np.zeros((0, 2))), "Tensor([], dtype=float64)"),
])  # fmt: skip
def test_repr_shows_values_dtype_and_origin(make, shown):
    assert repr(make()) == shown


def test_repr_abbreviates_and_keeps_columns_aligned():
    assert len(repr(tg.Tensor(np.zeros((1000, 1000))))) < 500
    first, second = repr(tg.Tensor([[1.0], [2.0]])).splitlines()
    assert first.index("1") == second.index("2")


def test_format_of_one_element_takes_a_number_format():
    assert f"{leaf(1.23456):.2f}" == "1.23"
    assert f"{leaf([[2.0]]):.1e}" == "2.0e+00"
    assert f"{leaf(1.5)}" == "Tensor(1.5, dtype=float64, requires_grad=True)"
    with pytest.raises(ValueError, match="format"):
        f"{leaf([1.0, 2.0]):.2f}"


# The values


def test_data_is_a_read_only_view(x):
    with pytest.raises(ValueError, match="read-only"):
        x.data[0, 0] = 9.0
    with pytest.raises(ValueError, match="read-only"):
        x.data += 1
    assert x.data[0, 0] == 1.0


def test_numpy_is_a_copy_that_may_be_written_to(x):
    copy = x.numpy()
    copy[...] = 0
    assert x.data[0, 0] == 1.0


def test_item_needs_one_element(x):
    assert leaf([[3.0]]).item() == 3.0
    assert type(tg.Tensor(3).item()) is int
    with pytest.raises(ValueError, match=r"item: Tensor 'x' of shape \(2, 3\), float64 has 6 elements"):
        x.item()


def test_detach_is_a_constant_of_its_own(x):
    d = (x * 2).detach()
    assert (d.requires_grad, d.op) == (False, None)
    e = x.detach()
    with tg.no_grad():
        x += 1
    assert e.data[0, 0] == 1.0


def test_len_iteration_and_membership(x):
    assert len(x) == 2
    rows = list(x)
    assert [row.op for row in rows] == [tg.getitem] * 2
    np.testing.assert_array_equal(rows[1].data, [4.0, 5.0, 6.0])
    with pytest.raises(TypeError, match="iteration over a Tensor without axes"):
        iter(leaf(1.0))
    with pytest.raises(TypeError):
        len(leaf(1.0))


def test_methods_are_the_ops_of_their_names(x):
    for found, expected in (
        (x.sum(axis=1), tg.sum(x, axis=1)),
        (x.mean(0, None, None, True), tg.mean(x, axis=0, keepdims=True)),
        (x.max(), tg.max(x)),
        (x.reshape(3, 2), tg.reshape(x, shape=(3, 2))),
        (x.reshape((3, 2)), tg.reshape(x, shape=(3, 2))),
        (x.reshape(-1), tg.reshape(x, shape=-1)),
        (x.transpose(), tg.transpose(x)),
        (x.transpose(1, 0), tg.transpose(x, axes=(1, 0))),
        (x.transpose((1, 0)), tg.transpose(x, axes=(1, 0))),
        (x.T, tg.transpose(x)),
        (x.astype("float64"), tg.astype(x, dtype="float64")),
        (x[1, ::2], tg.getitem(x, index=(1, slice(None, None, 2)))),
        (x @ x.T, tg.matmul(x, x.T)),
        (-x, tg.negative(x)),
    ):
        assert found.op is expected.op
        np.testing.assert_array_equal(found.data, expected.data)


# Setting


def test_assigning_data_keeps_shape_and_dtype():
    w = leaf([1.0, 2.0], "float32", name="w")
    w.data = np.array([3.0, 4.0])
    assert w.dtype == np.float32
    np.testing.assert_array_equal(w.data, [3.0, 4.0])
    w.data = tg.Tensor([5, 6])
    np.testing.assert_array_equal(w.data, [5.0, 6.0])


@refused_calls(
    (
        "setattr(w, 'data', [1.0, 2.0, 3.0])",
        ValueError,
        r"Tensor 'w' of shape \(2,\), float32: expected shape \(2,\), got \(3,\)",
    ),
    ("setattr(w, 'data', 1.0)", ValueError, r"expected shape \(2,\), got \(\)"),
    ("setattr(w, 'data', ['a', 'b'])", TypeError, "expected float32, got <U1"),
    ("setattr(w, 'data', [1j, 1j])", TypeError, "expected float32, got complex128"),
    ("setattr(w, 'data', [None, None])", TypeError, "expected float32, got object"),
)
def test_assigning_data_refuses_what_does_not_fit(call, error, message):
    w = leaf([1.0, 2.0], "float32", name="w")
    assert_refused(call, error, message, w=w)
    np.testing.assert_array_equal(w.data, [1.0, 2.0])


def test_only_leaves_can_be_assigned(x):
    y = x * 2
    with pytest.raises(TypeError, match=r"only a leaf can be assigned, and Tensor .* was made by multiply"):
        y.data = x.data


def test_elements_cannot_be_assigned(x):
    with pytest.raises(TypeError, match="elements cannot be assigned"):
        x[0] = 1.0
    with pytest.raises(TypeError, match="elements cannot be assigned"):
        x[0] += 1.0


def test_assigning_grad_copies_casts_and_checks():
    w = leaf([1.0, 2.0], "float32")
    g = np.array([3.0, 4.0])
    w.grad = g
    g[:] = 0
    assert w.grad.dtype == np.float32
    np.testing.assert_array_equal(w.grad, [3.0, 4.0])
    with pytest.raises(ValueError, match="read-only"):
        w.grad[0] = 0
    with pytest.raises(ValueError, match=r"grad of Tensor .*: expected shape \(2,\), got \(3,\)"):
        w.grad = np.zeros(3)
    w.grad = None
    assert w.grad is None


def test_a_tensor_assigned_as_grad_must_have_the_dtype_too():
    w = leaf([1.0, 2.0], "float32")
    with pytest.raises(TypeError, match="float32"):
        w.grad = tg.Tensor([1.0, 2.0], dtype="float64")


def test_zero_grad_forgets(x):
    x.sum().backward()
    x.zero_grad()
    assert x.grad is None


# In-place operators


IN_PLACE = [
    (operator.iadd, np.add),
    (operator.isub, np.subtract),
    (operator.imul, np.multiply),
    (operator.itruediv, np.divide),
]


@pytest.mark.parametrize(("update", "function"), IN_PLACE)
def test_in_place_operators_assign_a_leaf_under_no_grad(update, function):
    w = leaf([1.0, 2.0], "float32")
    before = w
    for other in (2.0, np.array([2.0, 4.0]), tg.Tensor([2.0, 4.0], dtype="float32")):
        expected = function(w.numpy(), np.asarray(other)).astype(np.float32)
        with tg.no_grad():
            w = update(w, other)
        assert w is before
        assert w.requires_grad
        np.testing.assert_array_equal(w.data, expected)


@pytest.mark.parametrize(("update", "function"), IN_PLACE)
def test_in_place_operators_refuse_a_leaf_while_recording(update, function):
    w = leaf([1.0, 2.0], name="w")
    with pytest.raises(TypeError, match=r"= would change Tensor 'w'.* tg.no_grad\(\), or write x = x"):
        update(w, 1.0)
    np.testing.assert_array_equal(w.data, [1.0, 2.0])


@pytest.mark.parametrize(("update", "function"), IN_PLACE)
def test_in_place_operators_elsewhere_make_a_new_value(update, function):
    x = leaf([1.0, 2.0])
    for before in (tg.Tensor([1.0, 2.0]), x * 1):
        after = update(before, x)
        assert after is not before
        assert after.requires_grad
        np.testing.assert_array_equal(before.data, [1.0, 2.0])
        np.testing.assert_array_equal(after.data, function([1.0, 2.0], [1.0, 2.0]))


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "seen through a view"])
@pytest.mark.parametrize(("update", "error"), [
    (lambda w: operator.iadd(w, np.ones((3, 2))), ValueError),
    (lambda w: operator.isub(w, [1.0, 2.0, 3.0]), ValueError),
    (lambda w: operator.imul(w, 1j), TypeError),
    (lambda w: operator.iadd(w, "a"), TypeError),
    (lambda w: setattr(w, "data", np.ones(3)), ValueError),
], ids=["larger", "longer", "complex", "string", "assigned"])  # fmt: skip
def test_an_update_that_fails_leaves_the_values_as_they_were(update, error, shared):
    w = leaf([1.0, 2.0])
    view = w.data if shared else None
    np.full(2, np.nan)  # leaves NaN in the memory that NumPy hands out next
    with tg.no_grad(), pytest.raises(error):
        update(w)
    np.testing.assert_array_equal(w.data, [1.0, 2.0])
    if shared:
        np.testing.assert_array_equal(view, [1.0, 2.0])


def test_an_update_that_fails_with_a_floating_point_error_is_not_read_by_an_older_graph():
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    with tg.no_grad(), np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        w /= 0.0
    if np.array_equal(w.data, [1.0, 2.0]):
        y.backward()
        np.testing.assert_array_equal(w.grad, [2.0, 4.0])
    else:
        with pytest.raises(RuntimeError, match="was assigned after"):
            y.backward()


# Copies


def through_pickle(t):
    return pickle.loads(pickle.dumps(t))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, through_pickle])
@pytest.mark.parametrize("kind", ["constant", "leaf", "parameter"])
def test_leaves_can_be_copied_and_pickled(copied, kind):
    t = {
        "constant": tg.Tensor([1, 2], name="n"),
        "leaf": leaf([1.0, 2.0], "float32"),
        "parameter": tg.Parameter([[1.0]], name="w"),
    }[kind]
    if t.requires_grad:
        t.grad = np.ones(t.shape)
    c = copied(t)
    assert type(c) is type(t)
    assert (c.name, c.dtype, c.requires_grad, c.op) == (t.name, t.dtype, t.requires_grad, None)
    np.testing.assert_array_equal(c.data, t.data)
    np.testing.assert_equal(c.grad, t.grad)
    before = c.numpy()
    t.data = np.zeros(t.shape, t.dtype)
    np.testing.assert_array_equal(c.data, before)
    if t.requires_grad:
        (c * 2).sum().backward()
        np.testing.assert_array_equal(c.grad, t.grad + 2)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_an_op_made_cannot_be_copied(copied, x):
    with pytest.raises(TypeError, match=r"only a leaf can be copied or pickled; take .detach\(\) of Tensor"):
        copied(x * 2)


# Ways out of the graph that Python and NumPy take by themselves


def fill(t):
    array = np.zeros(1)
    array[0] = t
    return array[0]


WAYS_OUT = {
    "float(t)": float,
    "int(t)": int,
    "complex(t)": complex,
    "math.sin(t)": math.sin,
    "np.asarray(t)": np.asarray,
    "np.array(t)": np.array,
    "np.array([t])": lambda t: np.array([t])[0],
    "np.array(t, dtype)": lambda t: np.array(t, dtype=np.float32),
    "array[0] = t": fill,
    "np.float64(t)": np.float64,
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_tensor_that_requires_grad_does_not_leave_the_graph_silently(way):
    for t in (leaf(2.0), leaf(1.0) * 2):
        with pytest.raises((TypeError, ValueError)) as caught:
            WAYS_OUT[way](t)
        cause = caught.value.__cause__ or caught.value  # an assignment to an element wraps the refusal
        assert "would silently cut Tensor" in str(cause)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_constant_may_leave(way):
    convert = WAYS_OUT[way]
    assert convert(tg.Tensor(2.0)) == convert(2.0)


@pytest.mark.parametrize("requires_grad", [True, False])
def test_an_array_is_never_updated_in_place_by_a_tensor(requires_grad):
    t, array = tg.Tensor([2.0], requires_grad), np.zeros(1)
    with pytest.raises(TypeError, match=r"np\.add: out cannot be used with a Tensor"):
        array += t
    assert array == 0


def test_conversion_gives_an_array_of_its_own():
    t = tg.Tensor([1.0, 2.0])
    np.asarray(t)[0] = 9.0
    assert t.data[0] == 1.0


def test_bool_and_branching_on_values_are_allowed():
    assert bool(leaf(1.0))
    assert not leaf(0.0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf([1.0, 2.0]))


def test_a_tensor_is_no_index_and_no_complex_power():
    with pytest.raises(TypeError):
        [1, 2, 3][leaf(1.0)]
    with pytest.raises(TypeError):
        operator.index(tg.Tensor(1.0))


# Comparisons, equality, hash


@pytest.mark.parametrize(
    "compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
def test_comparisons_give_boolean_arrays(compare):
    values, others = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for left, right in (
        (leaf(values), others),
        (values, leaf(others)),
        (leaf(values), leaf(others)),
        (leaf(values), 2.0),
    ):
        found = compare(left, right)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, compare(values, others))


def test_hash_is_identity_and_unhashable_values_do_not_matter(x):
    y = leaf(x.data)
    assert len({x, y, x}) == 2
    assert hash(x) != hash(y)
    assert {x: 1}[x] == 1


def test_an_update_that_would_change_the_shape_of_what_an_op_made_is_refused():
    h = leaf([1.0]) * 2
    with pytest.raises(ValueError, match=r"\+= would change Tensor of shape \(1,\).* to shape \(3,\)"):
        h += np.ones(3)
    total = leaf(1.0) * 2
    total += np.ones(3)  # of a number any sum may be made
    assert total.shape == (3,)
