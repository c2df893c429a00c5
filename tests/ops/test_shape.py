"""Reshaping, permuting, joining, splitting and moving, against NumPy, autograd and finite differences."""

from operator import attrgetter

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers import assert_agrees_with_autograd, assert_refused, cotangent_of, evaluate, leaf, refused_calls
from hypothesis import given
from hypothesis import strategies as st
from random_cases import many

import tensorgrad as tg

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def numbered(shape):
    """An array in which every element tells where it stands."""
    return np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


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


@refused_calls(
    ("tg.sum_to(x, shape=(2,))", ValueError, r"sum_to: \(2, 3\) is not a broadcast of \(2,\)"),
    ("tg.sum_to(x, shape=(1, 2, 3))", ValueError, r"sum_to: \(2, 3\) is not a broadcast of \(1, 2, 3\)"),
    ("tg.broadcast_to(x, shape=(3, 2))", ValueError, r"^broadcast_to: .*\(x float64 \(2, 3\)\)"),
    (
        "tg.reshape(x, shape=(4, -1))",
        ValueError,
        r"^reshape: cannot reshape array of size 6 .*\(x float64 \(2, 3\)\)",
    ),
    ("tg.reshape(x, shape=(-1, -1))", ValueError, r"^reshape: can only specify one unknown dimension"),
    ("tg.transpose(x, axes=(0, 0))", ValueError, r"^transpose: repeated axis.*\(x float64 \(2, 3\)\)"),
    ("tg.transpose(x, axes=(0,))", ValueError, r"^transpose: axes don't match array"),
    ("tg.swapaxes(x, axis1=0, axis2=2)", ValueError, r"^swapaxes: .*axis2: axis 2 is out of bounds"),
    ("tg.scatter_add(x, index=0, shape=(3, 4))", ValueError, r"^scatter_add: .*\(x float64 \(2, 3\)\)"),
)
def test_shapes_that_do_not_fit_are_named(call, error, message):
    assert_refused(call, error, message, x=leaf(np.ones((2, 3))))


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


# What is made of the ops. Each call is also its label; x is (2, 3), y (2, 3), v (4,), c (2, 3, 4), s ()


OPERANDS = {"x": (2, 3), "y": (2, 3), "v": (4,), "c": (2, 3, 4), "e": (0, 3), "s": ()}

CALLS = """
np.reshape(c, (4, -1), order='F')
np.reshape(c, (4, 6), 'C')
np.ravel(c)
np.ravel(c, order='F')
np.matrix_transpose(c)
np.linalg.matrix_transpose(x)
np.moveaxis(c, 0, -1)
np.moveaxis(c, (0, 2), (1, 0))
np.moveaxis(c, [-1], [0])
np.rollaxis(c, 2)
np.rollaxis(c, 0, 3)
np.squeeze(x[:, :1])
np.squeeze(x[None, :, :1], axis=(0, -1))
np.expand_dims(x, 1)
np.expand_dims(x, (0, -1))
np.atleast_1d(s)
np.atleast_2d(v)
np.atleast_3d(v)
np.atleast_3d(x)
np.atleast_2d(s, v, x)
np.broadcast_arrays(x, v[:3], s)
np.broadcast_to(v[:3], (2, 2, 3))
np.meshgrid(v, x[0], s)
np.meshgrid(v, x[0], x[1], indexing='ij', sparse=True)
np.meshgrid(v)
np.tile(v, 2)
np.tile(x, (2, 1, 3))
np.tile(c, (2,))
np.tile(s, (2, 2))
np.tile(x, (0, 1))
np.concatenate([x, y])
np.concatenate((x, y, x), axis=1)
np.concatenate([x, c], axis=None)
np.concatenate([x, [[1.0, 2.0, 3.0]], e])
np.stack([x, y], axis=-1)
np.stack([s, 1.0, s])
np.hstack([x, y])
np.hstack([v, s])
np.vstack([v[:3], x])
np.dstack([x, y])
np.dstack([v, v])
np.column_stack([x, x[:, 0], y])
np.append(x, v)
np.append(x, y, axis=1)
np.block([[x, y], [np.ones((1, 6))]])
np.block([v, s, 2.0])
np.block([[[c]], [[c]]])
np.block(x)
tuple(np.split(v, 2))
tuple(np.split(c, [1, 3], axis=2))
tuple(np.split(c, [3, 1, -1], axis=-1))
tuple(np.array_split(v, 3))
tuple(np.array_split(x, 5, axis=1))
tuple(np.hsplit(v, [1]))
tuple(np.hsplit(x, 3))
tuple(np.vsplit(x, 2))
tuple(np.dsplit(c, [2]))
np.roll(x, 4)
np.roll(c, (1, -2), axis=(0, 2))
np.roll(x, np.array([1, 2]), (0, 1))
np.roll(x, 1, (1, 1))
np.flip(c)
np.flip(c, 1)
np.flip(c, (0, -1))
np.fliplr(x)
np.flipud(x)
np.rot90(x)
np.rot90(x, -1)
np.rot90(c, 2, (2, 0))
np.rot90(c, 4)
np.repeat(x, 2)
np.repeat(x, [1, 0, 3], axis=1)
np.repeat(c, 2, axis=-1)
np.repeat(x, [2, 1], axis=0)
np.repeat(s, 3)
np.resize(v, (2, 3))
np.resize(x, 10)
np.resize(e, 4)
np.pad(v, 1)
np.pad(x, ((1, 0), (2, 1)))
np.pad(x, (1, 2), constant_values=3.0)
np.pad(x, ((0, 1), (1, 0)), 'constant', constant_values=((1.0, 2.0), (3.0, 4.0)))
np.pad(x, 2, 'edge')
np.pad(x, ((0, 1), (2, 2)), 'reflect')
np.pad(x, (3, 5), mode='symmetric')
np.pad(v, (6, 1), 'wrap')
np.tril(x)
np.tril(c, -1)
np.tril(v)
np.triu(x, 1)
np.triu(c, -1)
np.diag(v)
np.diag(v, -2)
np.diag(x)
np.diag(x, 1)
np.diag(x, -5)
np.diag(x, 7)
np.diagflat(x, 1)
np.diagonal(x)
np.diagonal(c, 1)
np.diagonal(c, -1, 2, 1)
np.diagonal(c, axis1=0, axis2=2, offset=2)
np.linalg.diagonal(c, offset=1)
np.trace(x)
np.trace(c, 1, 1, 2)
np.linalg.trace(c, offset=-1)
""".strip().splitlines()


def operands_of(call, table=OPERANDS):
    """The names that a call reads, and arrays for them."""
    names = [name for name in table if name in compile(call, call, "eval").co_names]
    rng = np.random.default_rng(len(call))
    return names, [rng.standard_normal(table[name]) for name in names]


def pieces(out):
    return out if isinstance(out, (tuple, list)) else (out,)


@pytest.mark.parametrize("call", CALLS)
def test_values_and_signatures_are_numpys(call):
    names, arrays = operands_of(call)
    expected = evaluate(call, **dict(zip(names, arrays, strict=True)))
    found = evaluate(call, **{name: leaf(x) for name, x in zip(names, arrays, strict=True)})
    name = call.removeprefix("tuple(").split("(")[0].removeprefix("np.")
    # An op's metadata go by keyword; all else has NumPy's signature.
    mirrored = not isinstance(attrgetter(name)(tg), tg.Op)
    ours = evaluate(
        call.replace("np.", "tg.", 1) if mirrored else call, **dict(zip(names, arrays, strict=True))
    )
    assert len(pieces(found)) == len(pieces(expected)) == len(pieces(ours))
    for t, on_arrays, truth in zip(pieces(found), pieces(ours), pieces(expected), strict=True):
        np.testing.assert_array_equal(t.data if isinstance(t, tg.Tensor) else t, truth)
        np.testing.assert_array_equal(on_arrays, truth)
        assert t.dtype == truth.dtype


@pytest.mark.parametrize("call", CALLS)
def test_derivatives_by_finite_differences(call):
    names, arrays = operands_of(call)
    if call == "np.resize(e, 4)":
        return  # nothing of it depends on e
    f = lambda *xs: evaluate(call, **dict(zip(names, xs, strict=True)))
    tg.gradcheck(f, *arrays, order=2)


@pytest.mark.parametrize("call", CALLS)
def test_float32_stays_float32(call):
    names, arrays = operands_of(call)
    if "e" in names or "[1.0, 2.0, 3.0]" in call:
        return
    leaves = {name: leaf(x, "float32") for name, x in zip(names, arrays, strict=True)}
    call = call.replace("np.ones((1, 6))", "np.ones((1, 6), 'float32')").replace("1.0, s])", "s, s])")
    for out in pieces(evaluate(call.replace(", 2.0])", "])"), **leaves)):
        assert out.dtype == np.float32
        out.backward(np.ones(out.shape))
    assert {x.grad.dtype for x in leaves.values()} == {np.dtype("float32")}


def assert_agrees_with_its_matrix(f, x):
    """A linear f has the matrix whose columns NumPy makes of unit vectors, and from it all derivatives."""
    basis = np.eye(x.size).reshape(x.size, *x.shape)
    matrix = np.stack([np.ravel(f(e)) for e in basis], axis=-1) if x.size else np.zeros((np.size(f(x)), 0))
    v, d = cotangent_of(f(x)), np.cos(x)
    scalar = lambda x: np.sum(f(x) * v + f(x) * f(x))
    first, second = tg.grad(scalar)(x), tg.hvp(scalar)(x, d)
    y = matrix @ x.ravel()
    np.testing.assert_allclose(y, np.ravel(f(x)), atol=1e-12)
    np.testing.assert_allclose(first.ravel(), matrix.T @ (v.ravel() + 2 * y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(second.ravel(), matrix.T @ (2 * matrix @ d.ravel()), rtol=1e-9, atol=1e-9)


@st.composite
def movements(draw):
    """A linear NumPy function with random metadata, and the shape of what it takes."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    n = len(shape)
    axis = draw(st.integers(-n, n - 1))
    axes = draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True).map(tuple))
    small = st.integers(-3, 3)
    width = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=n, max_size=n))
    cuts = draw(st.lists(st.integers(-4, 5), max_size=3))
    k, counts = draw(small), draw(st.lists(st.integers(0, 3), min_size=shape[axis], max_size=shape[axis]))
    mode = draw(st.sampled_from(["edge", "symmetric", "wrap", "reflect"]))
    wide = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=n + 1)))
    choices = {
        "reshape": lambda np, x: np.reshape(np.reshape(x, -1), shape[::-1]),
        "ravel": lambda np, x: np.ravel(x, "F"),
        "moveaxis": lambda np, x: np.moveaxis(x, axis, draw_axis),
        "rollaxis": lambda np, x: np.rollaxis(x, axis, abs(draw_axis)),
        "expand_dims": lambda np, x: np.squeeze(np.expand_dims(x, axis), axis),
        "atleast_3d": lambda np, x: np.atleast_3d(x),
        "broadcast_to": lambda np, x: np.broadcast_to(x, (2, *shape)),
        "tile": lambda np, x: np.tile(x, wide),
        "concatenate": lambda np, x: np.concatenate([x, 2 * x, x], axis),
        "stack": lambda np, x: np.stack([x, -x], axis),
        "hstack": lambda np, x: np.hstack([x, x]),
        "vstack": lambda np, x: np.vstack([x, 3 * x]),
        "dstack": lambda np, x: np.dstack([x, x]),
        "append": lambda np, x: np.append(x, x, axis),
        "split": lambda np, x: np.concatenate(np.split(x, cuts, axis)[::-1], axis),
        "array_split": lambda np, x: np.concatenate(np.array_split(x, abs(k) + 1, axis)[::2], axis),
        "roll": lambda np, x: np.roll(x, k, axes),
        "flip": lambda np, x: np.flip(x, axes),
        "rot90": lambda np, x: np.rot90(x, k, (axis % n, (axis - 1) % n)) if n > 1 else np.rot90(x[None], k),
        "repeat": lambda np, x: np.repeat(x, counts, axis),
        "resize": lambda np, x: np.resize(x, wide),
        "pad": lambda np, x: np.pad(x, width, "constant"),
        "pad by its own": lambda np, x: np.pad(x, width, mode),
        "tril": lambda np, x: np.tril(x, k),
        "triu": lambda np, x: np.triu(x, k),
        "diag": lambda np, x: np.diag(np.ravel(x), k),
        "diagonal": lambda np, x: np.diagonal(x[None], k, axis, axis - 1),
        "trace": lambda np, x: np.trace(x[None], k, axis, axis - 1),
        "diff": lambda np, x: np.diff(x, min(abs(k), shape[axis] - 1), axis),
        "delete": lambda np, x: np.delete(x, axis % shape[axis], axis),
    }
    draw_axis = draw(st.integers(-n, n - 1))
    name = draw(st.sampled_from(sorted(choices)))
    return name, choices[name], shape


#: what autograd has no vjp for, or takes other arguments for
NOT_IN_AUTOGRAD = {
    "append", "array_split", "broadcast_to", "delete", "diagonal", "flip", "pad by its own", "resize",
    "repeat", "rot90", "tile", "trace", "ravel", "rollaxis", "roll", "dstack", "vstack", "split",
}  # fmt: skip


def check_movement(rng, case):
    name, f, shape = case
    x = rng.standard_normal(shape)
    assert_agrees_with_its_matrix(lambda x: f(np, x), x)
    if name not in NOT_IN_AUTOGRAD and (name not in ("tril", "triu") or len(shape) > 1):
        assert_agrees_with_autograd(f, x)


def test_random_movements_agree():
    assert many(check_movement, movements(), 100) == 100


@pytest.mark.slow
def test_thousands_of_random_movements_agree():
    print(f"\nshape: {many(check_movement, movements(), 4000)} cases")


@refused_calls(
    ("np.concatenate([x, v])", ValueError, r"^concatenate_: .*\(arrays\[0\] float64"),
    ("np.concatenate([x, x], axis=5)", ValueError, "^concatenate_: axis 5 is out of bounds"),
    ("np.concatenate([x, x], out=v)", TypeError, "concatenate.*out"),
    ("np.stack([x, v])", ValueError, "^stack_: "),
    ("np.split(v, 3)", ValueError, "equal division"),
    ("np.vsplit(v, 2)", ValueError, r"vsplit: expected at least 2 axes, got shape \(4,\)"),
    ("np.dsplit(x, 2)", ValueError, r"dsplit: expected at least 3 axes, got shape \(2, 3\)"),
    ("np.block([x, [x]])", ValueError, "block: .*different depths"),
    ("np.block([[x], []])", ValueError, "block: .*empty"),
    ("np.reshape(x, 6, order='K')", TypeError, "reshape: order must be 'C' or 'F', got 'K'"),
    ("np.stack([x, x], dtype='float32', casting='no')", TypeError, "cannot be cast to float32"),
    ("np.reshape(x, 6, copy=True)", TypeError, "reshape.*copy"),
    ("np.squeeze(x, 0)", ValueError, "size not equal to one"),
    ("np.moveaxis(x, 0, 2)", ValueError, "out of bounds"),
    ("np.flip(x, 2)", ValueError, "out of bounds"),
    ("np.broadcast_to(x, (2, 3), subok=True)", TypeError, "broadcast_to.*subok"),
    ("np.broadcast_arrays(x, x, subok=True)", TypeError, "broadcast_arrays.*subok"),
    ("np.broadcast_arrays(x, v)", ValueError, "shape mismatch"),
    ("np.meshgrid(v, v, indexing='yx')", ValueError, "meshgrid: indexing"),
    ("np.pad(x, 1, 'mean')", TypeError, "pad: mode 'mean' has no derivative rule"),
    ("np.pad(x, 1, lambda *args: None)", TypeError, "pad: mode .* has no derivative rule"),
    ("np.pad(x, 1, 'reflect', reflect_type='odd')", TypeError, "pad.*reflect_type"),
    ("np.pad(x, 1, 'edge', constant_values=1)", TypeError, "pad: mode 'edge' has no option constant_values"),
    ("np.diag(c)", ValueError, r"diag: expected one axis or two, got shape \(2, 3, 4\)"),
    ("np.repeat(x, [1, 2], axis=1)", ValueError, "broadcast"),
)
def test_what_does_not_fit_or_is_not_supported_is_named(call, error, message):
    assert_refused(call, error, message, **{name: leaf(np.ones(shape)) for name, shape in OPERANDS.items()})


def test_joining_many_pieces_gives_each_its_part():
    pieces = [leaf(np.full(i % 3, float(i))) for i in range(50)]
    joined = np.concatenate(pieces)
    joined.backward(np.arange(joined.size))
    np.testing.assert_array_equal(np.concatenate([x.grad for x in pieces]), np.arange(joined.size))


def test_a_piece_that_is_joined_twice_gets_both_gradients():
    x = leaf([1.0, 2.0])
    np.stack([x, x, 3 * x]).sum().backward()
    np.testing.assert_array_equal(x.grad, [5.0, 5.0])


def test_plain_arrays_may_stand_beside_tensors():
    x = leaf([1.0, 2.0])
    out = np.concatenate([x, np.zeros(1), [5.0]])
    assert out.inputs[0] is x
    out.backward([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(x.grad, [1.0, 2.0])


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("shape", ["rows", "(N, -1)", "(N, all)", "elsewhere"])
def test_images_with_the_batch_innermost_in_memory_are_flattened_in_row_major_order(batch, shape):
    values = np.arange(batch * 24.0).reshape(batch, 3, 4, 2)
    images = values.swapaxes(0, 3).copy().swapaxes(0, 3)
    new = {"rows": (-1, 4), "(N, -1)": (batch, -1), "(N, all)": (batch, 24), "elsewhere": (batch * 3, 8)}[
        shape
    ]
    np.testing.assert_array_equal(tg.reshape(images, shape=new), values.reshape(new))
    x = tg.Tensor(images, requires_grad=True)
    out = tg.reshape(x, shape=new)
    out.backward(np.arange(out.size * 1.0).reshape(out.shape))
    np.testing.assert_array_equal(x.grad, values)


# What NumPy takes


@pytest.mark.parametrize("axes", [0, -1, np.int64(0), (0,), [0], None], ids=repr)
def test_one_axis_may_be_transposed(axes):
    x = leaf([1.0, 2.0])
    for found in (np.transpose(x, axes), x.transpose(axes)):
        x.zero_grad()
        (found * [3.0, 4.0]).sum().backward()
        np.testing.assert_array_equal(x.grad, [3.0, 4.0])


@pytest.mark.parametrize("order", ["C", "F", "A", "K", "a", "k", None])
@pytest.mark.parametrize("layout", ["C", "F", "K"])
def test_orders_of_memory(order, layout):
    x = np.arange(24.0).reshape(2, 3, 4)
    x = np.asarray(x.transpose(1, 2, 0) if layout == "K" else x, order=layout)
    weights = np.arange(24.0)
    calls = [lambda x: np.ravel(x, order), lambda x: x.flatten(order), lambda x: x.ravel(order)]
    if order not in ("K", "k"):
        calls += [lambda x: np.reshape(x, (4, 6), order), lambda x: x.reshape(4, 6, order=order)]
    for call in calls:
        t = tg.Tensor(x, requires_grad=True)
        assert t.data.strides == x.strides
        found = call(t)
        np.testing.assert_array_equal(found.data, call(x))
        (np.ravel(found) * weights).sum().backward()
        # What went to a place takes the weight of the place.
        expected = np.empty(24)
        expected[np.ravel(call(x)).astype(int)] = weights
        np.testing.assert_array_equal(t.grad, expected[x.astype(int)])


@pytest.mark.parametrize("call", [
    "np.concatenate([t, w], dtype='float64')", "np.stack([t, w], 1, dtype='float32')",
    "np.hstack([t, w], dtype='float32', casting='same_kind')", "np.vstack((w, t), dtype='float64')",
    "np.concatenate((t, [1.0, 2.0]), None, dtype='float32')",
])  # fmt: skip
def test_what_is_joined_may_be_cast(call):
    t, w = leaf([1.0, 2.0], "float32"), leaf([3.0, 4.0])
    found, truth = evaluate(call, t=t, w=w), evaluate(call, t=t.data, w=w.data)
    assert found.dtype == truth.dtype
    np.testing.assert_array_equal(found.data, truth)
    found.sum().backward()
    assert t.grad.tolist() == [1.0, 1.0]
    assert (t.grad.dtype, w.dtype) == ("float32", "float64")


@pytest.mark.parametrize("call", [
    "t.astype('float32')", "t.astype('float32', copy=False)",
    "t.astype(np.float32, 'K', 'same_kind', True, True)",
    "t.astype(None)", "t.astype(float, casting='no')", "np.real(t)", "np.conj(t)", "np.conjugate(t)",
    "np.real_if_close(t)", "np.real_if_close(t, 1000)",
])  # fmt: skip
def test_casts_and_the_real_parts_of_what_is_real(call):
    t = leaf([1.0, 2.0])
    found, truth = evaluate(call, t=t), evaluate(call, t=t.data)
    assert (found.dtype, found.requires_grad) == (truth.dtype, True)
    np.testing.assert_array_equal(found.data, truth)
    found.backward([3.0, 4.0])
    np.testing.assert_array_equal(t.grad, [3.0, 4.0])


def test_the_imaginary_part_is_an_array_of_zeros():
    assert type(np.imag(leaf([1.0, 2.0]))) is np.ndarray
    assert np.imag(leaf([1.0, 2.0])).tolist() == [0.0, 0.0]
    assert tg.real(np.array([1 + 2j])).tolist() == [1.0]
    assert tg.imag(np.array([1 + 2j])).tolist() == [2.0]


@refused_calls(
    ("t.astype('float32', casting='no')", TypeError, "float64 cannot be cast to float32 by 'no'"),
    ("t.astype(int, casting='same_kind')", TypeError, "cannot be cast to int64"),
    ("t.astype(int)", TypeError, "astype: a derivative needs a floating result, got int64"),
    ("t.astype(float, order='X')", ValueError, "order"),
    ("np.array([t, t])", TypeError, "would silently cut Tensor .* np.stack or np.concatenate"),
    ("np.r_[t, t]", TypeError, "would silently cut Tensor .* np.stack or np.concatenate"),
    ("np.c_[t, t]", TypeError, "would silently cut Tensor .* np.stack or np.concatenate"),
)
def test_what_has_no_answer_says_what_to_write(call, error, message):
    assert_refused(call, error, message, t=leaf([1.0, 2.0]))


@pytest.mark.parametrize("call", [
    "np.linspace(x, y, 5)", "np.linspace(x, 2.0, 4, endpoint=False)", "np.linspace(0.0, y, 3, axis=-1)",
    "np.linspace(x, y, 1)", "np.linspace(x, y, 5, True, True)[0]", "np.linspace(x, y, 5, retstep=True)[1]",
    "np.linspace(x[0], y, 3)", "np.linspace(0, x, 0)",
])  # fmt: skip
def test_linspace_is_numpys(call):
    x, y = np.array([1.0, -2.0]), np.array([[3.0, 4.0], [0.5, 7.0]])
    found, truth = evaluate(call, x=leaf(x), y=leaf(y)), evaluate(call, x=x, y=y)
    np.testing.assert_allclose(found.data, truth, rtol=1e-15, atol=1e-15)
    if truth.size:
        tg.gradcheck(lambda x, y: evaluate(call, x=x, y=y), x, y, order=2)
    assert np.linspace(leaf(0.1, "float32"), 0.7, 9).dtype == np.float32


def test_linspace_ends_where_it_should():
    start, stop = leaf(0.1), leaf(0.7)
    for num in range(2, 50):
        ends = np.linspace(start, stop, num).data[[0, -1]]
        assert ends.tolist() == [0.1, 0.7]


def test_select_is_numpys():
    x, y = np.array([-2.0, 0.5, 3.0]), np.array([[1.0], [2.0]])
    for default in (0, 0.5, np.array([7.0, 8.0, 9.0])):
        conditions = [x < 0, np.array([[True], [False]])]
        found = np.select(conditions, [leaf(x), leaf(y)], default)
        np.testing.assert_array_equal(found.data, np.select(conditions, [x, y], default))
        tg.gradcheck(lambda x, y, c=conditions, d=default: np.select(c, [x * x, x * y], d), x, y, order=2)
    assert np.select([x > 0], [leaf(x, "float32")]).dtype == np.float32
    assert np.select([leaf(x) > 0, x < -1], [leaf(x), 1.0]).data.tolist() == [1.0, 0.5, 3.0]


@refused_calls(
    ("tg.select([], [], t)", ValueError, "select: expected a choice a condition, got 0 and 0"),
    ("np.select([t > 0], [t, t])", ValueError, "select: expected a choice a condition, got 2 and 1"),
    ("np.select([t], [t])", TypeError, "select: expected conditions that are arrays of booleans"),
)
def test_select_refuses_what_does_not_fit(call, error, message):
    assert_refused(call, error, message, t=leaf([1.0, 2.0]))
