"""Op: a user's op is made as ours are, and every mistake in declaring or calling one is named."""

import doctest
import inspect

import numpy as np
import pytest
from helpers import assert_refused, leaf, refused_calls

import tensorgrad as tg
from tensorgrad.core import OPS
from tensorgrad.ops import activations

# A user's op


def test_a_users_op_computes_arrays_and_records_tensors():
    @tg.op
    def cube(x):
        """x^3"""
        return x * x * x

    cube.defvjp(x=lambda g, out, x: g * 3 * x * x)
    assert OPS["cube"] is cube
    assert (cube.name, cube.__doc__, cube.arrays, repr(cube)) == ("cube", "x^3", ("x",), "<op cube(x)>")
    assert type(cube(np.ones(2))) is np.ndarray
    x = leaf([1.0, 2.0])
    y = cube(x)
    assert (y.op, y.inputs) == (cube, (x,))
    tg.gradcheck(cube, x.data, order=3)


def test_metadata_reaches_formulas_with_defaults_filled_in():
    @tg.op
    def scaled(x, *, by=2.0, times=1):
        return x * by**times

    seen = []

    def formula(g, out, x, by, times):
        seen.append((by, times))
        return g * by**times

    scaled.defvjp(x=formula)
    x = leaf([1.0])
    for params in ({}, {"by": 3.0}, {"times": 2, "by": 1.0}):
        scaled(x, **params).backward()
    assert seen == [(2.0, 1), (3.0, 1), (1.0, 2)]
    assert scaled(x).params == {"by": 2.0, "times": 1}


def test_optional_array_arguments():
    @tg.op
    def affine(x, scale, shift=None):
        return x * scale if shift is None else x * scale + shift

    affine.defvjp(
        x=lambda g, out, x, scale, shift: g * scale,
        scale=lambda g, out, x, scale, shift: g * x,
        shift=lambda g, out, x, scale, shift: g,
    )
    x, scale, shift = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0, 6.0])
    assert affine(x, scale).inputs == (x, scale, None)
    affine(x, scale).backward(np.ones(2))
    assert shift.grad is None
    for y in (
        affine(x, scale, shift),
        affine(shift=shift, x=x, scale=scale),
        affine(x, scale=scale, shift=shift),
    ):
        assert y.inputs == (x, scale, shift)
        y.backward(np.ones(2))
    np.testing.assert_array_equal(shift.grad, [3.0, 3.0])
    np.testing.assert_array_equal(x.grad, 4 * scale.data)


def test_a_variadic_op_has_one_formula_for_all_its_arguments():
    @tg.op
    def total(*xs, scale=1.0):
        return scale * sum(xs)

    total.defvjp(xs=lambda i, g, out, *xs, scale: g * scale * (i + 1) / (i + 1))
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    out = total(x, np.array([5.0, 6.0]), y, x, scale=2.0)
    np.testing.assert_array_equal(out.data, [20.0, 28.0])
    out.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [4.0, 4.0])
    np.testing.assert_array_equal(y.grad, [2.0, 2.0])
    tg.gradcheck(total, np.ones(2), np.ones(2), np.ones(2), order=2)


def test_the_formula_of_a_variadic_op_knows_the_position():
    @tg.op
    def weighted(*xs):
        return sum(i * x for i, x in enumerate(xs))

    weighted.defvjp(xs=lambda i, g, out, *xs: g * i)
    np.testing.assert_array_equal(
        tg.grad(lambda *xs: weighted(*xs), argnums=(0, 1, 2))(1.0, 1.0, 1.0), [0.0, 1.0, 2.0]
    )


def test_a_formula_may_be_a_method_of_an_object_or_another_op():
    @tg.op
    def halved(x):
        return x / 2

    halved.defvjp(x=lambda g, out, x: halved(g))
    assert tg.grad(halved)(3.0) == 0.5


def test_the_right_hand_side_of_defvjp_may_be_redeclared():
    @tg.op
    def thing(x):
        return x * 1

    thing.defvjp(x=lambda g, out, x: 7 * g)
    thing.defvjp(x=lambda g, out, x: g)
    assert tg.grad(thing)(1.0) == 1.0


def test_a_numpy_function_becomes_differentiable_by_declaring_its_formulas():
    x = leaf([0.3, -0.2])
    with pytest.raises(TypeError, match=r"np\.i0 has no derivative rule"):
        np.i0(x)

    def slope(x):  # of the modified Bessel function of order 0, by its integral
        angle = np.linspace(0, np.pi, 200)
        return np.mean(np.exp(x[:, None] * np.cos(angle)) * np.cos(angle), axis=1)

    i0 = tg.differentiate(np.i0, x=lambda g, out, x: g * slope(x))
    assert np.i0(x).op is i0
    tg.gradcheck(np.i0, x.data, rtol=0.02)
    tg.gradcheck(i0, x.data, rtol=0.02)


def test_an_op_may_stand_in_for_a_numpy_function():
    @tg.op(numpy=np.flip)
    def flip(x, *, axis=None):
        return np.flip(x, axis)

    flip.defvjp(x=lambda g, out, x, axis: flip(g, axis=axis))
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    for found in (np.flip(x, 1), np.flip(m=x, axis=1), np.flip(x, axis=1), flip(x, axis=1)):
        assert found.op is flip
        np.testing.assert_array_equal(found.data, np.flip(x.data, 1))


def test_an_op_is_a_function_to_help_doctest_and_classes():
    @tg.op
    def quartic(x):
        """x^4

        >>> quartic(2.0)
        16.0
        """
        return x**4

    class Holder:
        f = quartic

        def __init__(self):
            self.value = 2.0

    assert inspect.isroutine(quartic)
    assert Holder.f is quartic
    assert "x^4" in inspect.getdoc(quartic)
    assert list(inspect.signature(quartic).parameters) == ["x"]


def test_the_examples_of_ops_are_found_by_doctest():
    found = {test.name.split(".")[-1] for test in doctest.DocTestFinder().find(activations) if test.examples}
    ours = {name for name, op in OPS.items() if op.__module__ == activations.__name__ and ">>>" in op.__doc__}
    assert "sigmoid" in ours
    assert ours <= found


# Mistakes in declaring


def test_a_name_is_taken_once():
    with pytest.raises(
        ValueError, match=r"an op named sigmoid exists already \(tensorgrad.ops.activations\)"
    ):

        @tg.op
        def sigmoid(x):
            return x

    assert OPS["sigmoid"] is tg.sigmoid


def test_defvjp_refuses_what_is_no_array_argument():
    @tg.op
    def f(x, y, *, axis=0):
        return x

    for wrong in ("z", "axis"):
        with pytest.raises(TypeError, match=f"f: no array argument {wrong}; it has x, y"):
            f.defvjp(**{wrong: lambda g, out, x, y, axis: g})


def test_other_arrays_before_a_variadic_argument_are_refused_or_right():
    try:

        @tg.op
        def first_and_rest(x, *rest):
            return 2 * x + sum(rest)

        first_and_rest.defvjp(x=lambda g, out, x, *rest: 2 * g, rest=lambda i, g, out, x, *rest: g)
    except TypeError:
        return
    tg.gradcheck(first_and_rest, np.ones(2), np.ones(2), np.ones(2))


def test_an_op_without_any_formula_says_how_to_declare_one():
    @tg.op
    def bare(x):
        return x * 2

    with pytest.raises(NotImplementedError, match="bare has no vjp with respect to x"):
        bare(leaf([1.0, 2.0])).sum().backward()


# Mistakes in calling


@refused_calls(
    ("tg.exp()", TypeError, "exp"),
    ("tg.mse(x)", TypeError, "mse: missing argument target"),
    ("tg.relu(x, 0)", TypeError, "relu"),
    ("tg.sum(x, axes=0)", TypeError, "sum.*axes"),
    ("tg.relu(x, y=x)", TypeError, "relu.*y"),
    ("tg.add(x, x, x)", TypeError, "add"),
    ("tg.sigmoid(x, x=x)", TypeError, "sigmoid.*x"),
    ("tg.exp(x, where=np.array([True, False]))", TypeError, "exp.*where"),
    ("x + np.ones(3)", ValueError, r"add: .*not be broadcast.*\(x float64 \(2,\), y float64 \(3,\)\)"),
    ("x @ np.ones((3, 2))", ValueError, r"matmul: .*\(x float64 \(2,\), y float64 \(3, 2\)\)"),
    ("x.sum(axis=1)", IndexError, "sum: axis 1 is out of bounds"),
    ("x[5]", IndexError, r"getitem: index 5 is out of bounds.*\(x float64 \(2,\)\)"),
    ("x.reshape(3)", ValueError, r"reshape: cannot reshape array of size 2 into shape \(3,\)"),
    ("x + 'a'", TypeError, "add"),
    ("x + None", TypeError, "add"),
    ("x + [[1.0], [1.0, 2.0]]", ValueError, "add: expected an array of real numbers"),
    ("x * 1j", TypeError, "multiply: .*complex128"),
)
def test_a_wrong_call_names_the_op(call, error, message):
    assert_refused(call, error, message, x=leaf([1.0, 2.0]))


@refused_calls(
    ("x * np.ones(2)", TypeError, r"x float32 \(2,\), y float64 \(2,\)"),
    ("np.ones(2) * x", TypeError, r"x float64 \(2,\), y float32 \(2,\)"),
    ("x + np.float64(1)", TypeError, r"x float32 \(2,\), y float64 \(\)"),
    ("np.float64(1) / x", TypeError, r"x float64 \(\), y float32 \(2,\)"),
    ("x * [1.0, 2.0]", TypeError, r"x float32 \(2,\), y float64 \(2,\)"),
    ("x - tg.Tensor([1.0, 2.0])", TypeError, r"x float32 \(2,\), y float64 \(2,\)"),
    ("x @ np.ones((2, 2))", TypeError, r"float32 \(2,\), y float64 \(2, 2\)"),
    ("x * np.arange(2, dtype='int64')", TypeError, r"x float32 \(2,\), y int64 \(2,\)"),
    ("tg.mse(x, np.ones(2))", TypeError, r"prediction float32 \(2,\), target float64 \(2,\)"),
    ("np.where(np.array([True, False]), x, np.ones(2))", TypeError, r"x float32 \(2,\), y float64 \(2,\)"),
)
def test_a_float32_tensor_never_silently_becomes_float64(call, error, message):
    told = assert_refused(call, error, message, x=leaf([1.0, 2.0], "float32"))
    assert "the float32 tensor would silently become float64" in told
    assert "astype" in told


def test_casting_to_integers_is_not_a_way_to_a_gradient():
    """round(x) has derivative 0; passing the cotangent through would be silently wrong."""
    x = leaf([1.5, 2.5])
    with pytest.raises(TypeError, match=r"astype.*int"):
        x.astype(int).sum().backward()
    assert x.grad is None


def test_an_error_carries_the_line_that_called_the_op():
    with pytest.raises(ValueError, match="add: ") as caught:
        leaf([1.0, 2.0]) + leaf([1.0, 2.0, 3.0])
    (note,) = caught.value.__notes__
    assert note.startswith(f"add was called at {__file__}:")
    assert "leaf([1.0, 2.0]) + leaf([1.0, 2.0, 3.0])" in note
