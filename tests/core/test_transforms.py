"""grad, value_and_grad and vjp: derivatives as functions, of any order, nested in any way."""

import numpy as np
import pytest
from helpers import assert_refused, evaluate, leaf, refused_calls

import tensorgrad as tg

# What comes out


def test_gradients_of_arrays_are_plain_arrays():
    value, gradient = tg.value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    assert type(value) is type(gradient) is np.ndarray
    assert (value, value.shape, gradient.tolist()) == (5.0, (), [2.0, 4.0])


@pytest.mark.parametrize(
    "x", [2.0, np.float64(2), np.array(2.0), np.array([2.0]), tg.Tensor([2.0])], ids=repr
)
def test_arguments_are_numbers_arrays_and_tensors(x):
    gradient = tg.grad(lambda x: (x**3).sum())(x)
    assert type(gradient) is np.ndarray
    assert gradient.shape == np.shape(x.numpy() if isinstance(x, tg.Tensor) else x)
    assert gradient.item() == 12.0


def test_arguments_and_results_may_be_trees():
    model = {"w": np.array([1.0, 2.0]), "layers": [np.array(3.0), (np.array([4.0]),)]}

    def f(model):
        w, (b, (c,)) = model["w"], model["layers"]
        return {"loss": (w * w).sum() * b, "rest": [c * b]}

    value, pull_back = tg.vjp(f, model)
    assert value == {"loss": 15.0, "rest": [12.0]}
    (gradient,) = pull_back({"loss": 1.0, "rest": [np.array([10.0])]})
    np.testing.assert_equal(gradient, {"w": [6.0, 12.0], "layers": [45.0, ([30.0],)]})
    found = tg.grad(lambda model: f(model)["loss"])(model)
    np.testing.assert_equal(found, {"w": [6.0, 12.0], "layers": [5.0, ([0.0],)]})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_have_the_dtype_of_the_argument(dtype):
    value, gradient = tg.value_and_grad(lambda x: (x * x).sum())(np.ones(2, dtype))
    assert value.dtype == gradient.dtype == np.dtype(dtype)


def test_gradients_may_be_written_to_and_arguments_are_not():
    x = np.array([1.0, 2.0])
    x.flags.writeable = False
    gradient = tg.grad(lambda x: x.sum())(x)
    gradient += 1
    assert gradient.tolist() == [2.0, 2.0]


def test_no_leaf_is_touched():
    w = leaf([1.0, 2.0])
    tg.grad(lambda x: (x * w).sum())(np.ones(2))
    tg.grad(lambda w: (w * w).sum())(w)
    assert w.grad is None


def test_a_function_keeps_its_name_and_documentation():
    def energy(x):
        """E(x)"""
        return x * x

    for transformed in (tg.grad(energy), tg.value_and_grad(energy)):
        assert (transformed.__name__, transformed.__doc__) == ("energy", "E(x)")


def test_keyword_arguments_are_passed_on_and_not_differentiated():
    assert tg.grad(lambda x, *, p: x**p)(3.0, p=2) == 6.0


# argnums


@pytest.mark.parametrize(("argnums", "expected"), [
    (0, 12.0), (1, 8.0), (2, 6.0), (-1, 6.0), (-3, 12.0),
    ((0, 2), (12.0, 6.0)), ((2, 0), (6.0, 12.0)), ((-1,), (6.0,)), ((0, 1, 2), (12.0, 8.0, 6.0)), ((), ()),
], ids=repr)  # fmt: skip
def test_argnums_choose_and_order_the_gradients(argnums, expected):
    found = tg.grad(lambda x, y, z: x * y * z, argnums)(2.0, 3.0, 4.0)
    assert type(found) is (tuple if isinstance(argnums, tuple) else np.ndarray)
    assert found == expected


@pytest.mark.parametrize("argnums", [3, -4, (0, 3)], ids=repr)
def test_argnums_out_of_range_are_refused(argnums):
    def product(x, y, z):
        return x * y * z

    with pytest.raises(ValueError, match=r"grad of product: no positional argument -?\d, only 3 were given"):
        tg.grad(product, argnums)(1.0, 1.0, 1.0)


@pytest.mark.parametrize("argnums", [(0, 0), (0, -1), (1, 0, 1)], ids=repr)
def test_argnums_given_twice_are_refused_or_right(argnums):
    def square(x, y=1.0):
        return x * x * y

    args = (3.0,) if argnums == (0, -1) else (3.0, 1.0)
    try:
        found = tg.grad(square, argnums)(*args)
    except ValueError:
        return
    assert found == tuple({0: 6.0, 1: 9.0}[i % len(args)] for i in argnums)


def test_an_argument_that_is_not_differentiated_may_be_anything():
    assert tg.grad(lambda x, name, n: x * len(name) * n)(2.0, "four", 3) == 12.0


# What is refused


@pytest.mark.parametrize("x", [2, np.arange(3), True, tg.Tensor([1]), [1.0, 2], {"n": 1}], ids=repr)
def test_integers_are_refused(x):
    def f(x):
        return 0.0

    with pytest.raises(
        TypeError, match=r"grad of f, argument 0.*: only floating tensors can require grad, got"
    ):
        tg.grad(f)(x)


@refused_calls(
    ("grad('a')", TypeError, "argument 0"),
    ("grad(None)", TypeError, "argument 0"),
    ("grad(1j)", TypeError, "argument 0"),
    ("grad(np.array([None]))", TypeError, "argument 0"),
    ("grad([1.0, 'a'])", TypeError, r"argument 0\[1\]"),
    ("grad({'w': (1.0, None)})", TypeError, r"argument 0\['w'\]\[1\]"),
)
def test_what_is_no_array_is_refused_by_its_place(call, error, message):
    grad = tg.grad(lambda x: x)
    assert_refused(call, error, f"grad of .*, {message}: expected an array of real numbers", grad=grad)


@refused_calls(
    ("tg.grad(lambda x: x * x)(np.ones(2))", ValueError, r"shape \(2,\)"),
    ("tg.grad(lambda x: (x.sum(), x.sum()))(np.ones(2))", ValueError, "a tuple"),
    ("tg.grad(lambda x: x[:0])(np.ones(2))", ValueError, r"shape \(0,\)"),
)
def test_grad_wants_a_scalar(call, error, message):
    assert_refused(call, error, f"expected a scalar result, got {message}")


def test_a_result_of_one_element_will_do():
    assert tg.grad(lambda x: x[:1] ** 2)(np.array([3.0, 4.0])).tolist() == [6.0, 0.0]


def test_a_result_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match="expected an array of real numbers"):
        tg.grad(lambda x: None)(1.0)
    with pytest.raises(ValueError, match="expected a scalar result, got a list"):
        tg.grad(lambda x: [x, x])(1.0)


# Functions that use less than all


@pytest.mark.parametrize("f", [
    lambda x: 3.0, lambda x: np.ones(()), lambda x: tg.Tensor(2.0), lambda x: x.detach().sum(),
    lambda x: x.item() if x.size == 1 else x.numpy().sum(), lambda x: leaf(1.0) * 2,
], ids=["number", "array", "Tensor", "detached", "values taken", "another leaf"])  # fmt: skip
def test_a_function_that_ignores_its_argument_has_gradient_zero(f):
    gradient = tg.grad(f)(np.array([1.0, 2.0], "float32"))
    assert gradient.dtype == np.float32
    assert gradient.tolist() == [0.0, 0.0]


def test_an_argument_that_is_not_used_has_gradient_zero():
    assert tg.grad(lambda x, y: x * x, argnums=(0, 1))(3.0, 4.0) == (6.0, 0.0)


def test_the_identity_has_gradient_one():
    assert tg.grad(lambda x: x)(3.0) == 1.0
    assert tg.grad(tg.grad(lambda x: x))(3.0) == 0.0


# Nesting


def nest(f, n):
    for _ in range(n):
        f = tg.grad(f)
    return f


@pytest.mark.parametrize("order", range(6))
def test_derivatives_of_any_order(order):
    x, n = 1.3, 4
    assert nest(np.exp, order)(x) == pytest.approx(np.exp(x), rel=1e-12)
    falling = np.prod(np.arange(n, n - order, -1))
    assert nest(lambda x: x**n, order)(x) == pytest.approx(falling * x ** (n - order) if falling else 0.0)
    assert nest(np.tanh, 3)(x) == pytest.approx((4 * np.tanh(x) ** 2 - 2 / np.cosh(x) ** 2) / np.cosh(x) ** 2)


@pytest.mark.parametrize(("f", "expected"), [
    ("lambda x: x * grad(lambda y: x + y)(x)", 1.0),
    ("lambda x: x * grad(lambda y: x * y)(2.0)", 2 * 3.0),
    ("lambda x: x * grad(lambda y: x * y)(x)", 2 * 3.0),
    ("lambda x: grad(lambda y: x * y * y)(x)", 4 * 3.0),
    ("lambda x: grad(lambda y: grad(lambda z: x * y * z)(y))(x)", 1.0),
    ("lambda x: grad(lambda x: x * x)(x) * x", 4 * 3.0),
    ("lambda x: grad(lambda y: 3.0 * y)(x)", 0.0),
    ("lambda x: grad(lambda y: x * x)(1.0)", 0.0),
    ("lambda x: x * grad(lambda y: y * y)(5.0)", 10.0),
    ("lambda x: grad(lambda y: y**3 + x**2 * y)(x * x)", 2 * 3.0 + 6 * 9.0 * 2 * 3.0),
    ("lambda x: grad(lambda y, z: x * y * z, 1)(x, 1.0)", 2 * 3.0),
    ("lambda x: grad(lambda y: x.detach() * y)(x)", 0.0),
])  # fmt: skip
def test_an_inner_derivative_is_not_confused_with_the_outer_one(f, expected):
    assert tg.grad(evaluate(f, grad=tg.grad))(3.0) == pytest.approx(expected, abs=0)


def test_a_derivative_may_be_taken_at_a_tensor_of_the_graph():
    x = leaf(2.0)
    slope = tg.grad(lambda y: y**3)(x)
    assert isinstance(slope, tg.Tensor)
    (slope * x).backward()
    assert x.grad == 9 * 2.0**2


def test_a_derivative_depends_on_the_tensors_it_closes_over():
    w = leaf([1.0, 2.0])
    gradient = tg.grad(lambda x: (w * w * x * x).sum())(np.array([3.0, 4.0]))
    np.testing.assert_array_equal(gradient.data, 2 * w.data**2 * [3.0, 4.0])
    gradient.sum().backward()
    np.testing.assert_array_equal(w.grad, 4 * w.data * [3.0, 4.0])


def test_a_derivative_taken_twice_of_a_tensor_made_outside():
    x = leaf(3.0)
    y = x * x  # older than the differentiation, yet depends on x
    slope = tg.grad(lambda t: t * t * y)(x)  # 2 x y as a function of x
    slope.backward()
    assert x.grad == 2 * 9.0 + 2 * 3.0 * 6.0


def test_a_hessian_vector_product_by_two_nestings():
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    x, v = np.array([0.3, -0.4]), np.array([1.0, 2.0])

    def f(x):
        return np.exp(0.5 * (x @ (a @ x)))

    forward = tg.grad(lambda x: (tg.grad(f)(x) * v).sum())(x)
    ax, e = a @ x, np.exp(0.5 * x @ a @ x)
    np.testing.assert_allclose(forward, e * (a @ v + ax * (ax @ v)), rtol=1e-12)


# vjp


def test_vjp_of_several_outputs_and_arguments():
    def f(x, y):
        return x * y, x.sum(), y

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    values, pull_back = tg.vjp(f, x, y)
    for value, expected in zip(values, (x * y, 3.0, y), strict=True):
        assert type(value) is np.ndarray
        np.testing.assert_array_equal(value, expected)
    gx, gy = pull_back((np.array([1.0, 10.0]), 100.0, np.array([5.0, 6.0])))
    np.testing.assert_array_equal(gx, [103.0, 140.0])
    np.testing.assert_array_equal(gy, [6.0, 26.0])
    np.testing.assert_array_equal(pull_back((np.zeros(2), 1.0, np.zeros(2)))[0], [1.0, 1.0])


def test_vjp_is_linear_in_the_cotangent_and_can_be_differentiated_in_it():
    _, pull_back = tg.vjp(lambda x: x * x, np.array([1.0, 2.0]))
    v = leaf([1.0, 1.0])
    (g,) = pull_back(v)
    g.sum().backward()
    np.testing.assert_array_equal(v.grad, [2.0, 4.0])


def test_vjp_refuses_cotangents_that_do_not_fit():
    _, pull_back = tg.vjp(lambda x: (x, x), np.ones(2))
    with pytest.raises(ValueError, match="cotangent: expected 2 parts, got a ndarray"):
        pull_back(np.ones(2))
    with pytest.raises(ValueError, match=r"expected a cotangent .*\(2,\).*, got"):
        pull_back((np.ones(2), np.ones(3)))


def test_vjp_of_a_function_that_returns_an_output_twice():
    _, pull_back = tg.vjp(lambda x: (x, x), np.ones(2))
    np.testing.assert_array_equal(pull_back((np.array([1.0, 2.0]), np.array([10.0, 20.0])))[0], [11.0, 22.0])


def test_the_pull_back_remembers_the_point():
    x = np.array([1.0, 2.0])
    _, pull_back = tg.vjp(lambda x: x * x, x)
    x[:] = 0
    np.testing.assert_array_equal(pull_back(np.ones(2))[0], [2.0, 4.0])


def test_in_place_operators_inside_a_differentiated_function():
    """On a variable of the differentiation, += either makes a new value or says that it will not."""

    def f(x):
        y = x * 1.0
        y += x
        y *= x
        return y.sum()

    np.testing.assert_array_equal(tg.grad(f)(np.array([3.0])), [12.0])


# What the result does not depend on


def test_unused_arguments_have_zero_gradients_or_are_reported_on_request():
    def f(model, x):
        return (model["w"] * x).sum()

    model, x = {"w": np.ones(2), "b": [np.ones(3)]}, np.ones(2)
    gradient = tg.grad(f)(model, x)
    np.testing.assert_array_equal(gradient["b"][0], np.zeros(3))
    with pytest.raises(ValueError, match=r"grad of f: the result does not depend on argument 0\['b'\]\[0\]$"):
        tg.grad(f, allow_unused=False)(model, x)
    tg.grad(f, 1, allow_unused=False)(model, x)


def test_stop_gradient_makes_a_constant():
    assert tg.grad(lambda x: x * tg.stop_gradient(x * x))(3.0) == 9.0
    assert tg.grad(tg.grad(lambda x: x**3 + x * tg.stop_gradient(x)))(3.0) == 18.0
    assert tg.stop_gradient(2.0) == 2.0


@pytest.mark.parametrize("f", [
    lambda x: np.sum(x > 0), lambda x: np.count_nonzero(x), lambda x: np.argmax(x), lambda x: x[0] > 0,
    lambda x: 3, lambda x: True, lambda x: tg.Tensor([1, 2]).sum(), lambda x: np.any(x < 0),
], ids=["hits", "count", "place", "comparison", "integer", "bool", "tensor of integers", "any"])  # fmt: skip
@pytest.mark.parametrize("derivative", [
    lambda f, x: tg.grad(f)(x), lambda f, x: tg.value_and_grad(f)(x), lambda f, x: tg.vjp(f, x),
    lambda f, x: tg.jvp(f, (x,), (x,)), lambda f, x: tg.jacobian(f)(x), lambda f, x: tg.hessian(f)(x),
    lambda f, x: tg.hvp(f)(x, x),
], ids=["grad", "value_and_grad", "vjp", "jvp", "jacobian", "hessian", "hvp"])  # fmt: skip
def test_what_counts_or_compares_has_no_gradient(f, derivative):
    with pytest.raises(
        TypeError, match=r"the result is (bool|int64), and what counts or compares has no grad"
    ):
        derivative(f, np.array([1.0, -2.0]))
