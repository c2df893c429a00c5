"""defvjp_joint: one formula for all cotangents."""

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg

X, Y = np.array([1.0, 2.0]), np.array([3.0, 5.0])


def product(formula, **options):
    @tg.op(**options)
    def product(x, y):
        return x * y

    product.defvjp_joint(formula)
    return product


def usual(g, out, x, y):
    return g * y, g * x


def test_derivatives_of_every_order():
    op = product(usual)
    tg.gradcheck(op, X, Y, order=3)
    assert tg.grad(tg.grad(lambda x: op(op(x, x), x)))(2.0) == 12.0
    assert tg.jvp(op, (X, Y), (Y, X))[1].tolist() == (X * X + Y * Y).tolist()


def test_a_list_will_do_and_so_will_an_array_of_them():
    for formula in (lambda g, out, x, y: [g * y, g * x], lambda g, out, x, y: np.stack([g * y, g * x])):
        x, y = leaf(X), leaf(Y)
        op = product(formula)
        op(x, y).sum().backward()
        assert (x.grad.tolist(), y.grad.tolist()) == (Y.tolist(), X.tolist())
        tg.core.OPS.pop("product")


def test_it_runs_once_for_each_call_and_only_where_gradients_are_wanted():
    runs = []

    def formula(g, out, x, y):
        runs.append(1)
        return g * y, g * x

    op, x, y = product(formula), leaf(X), leaf(Y)
    z = op(x, y)
    z.sum().backward()
    assert len(runs) == 1
    x.zero_grad()
    op(x, Y).sum().backward()
    assert (len(runs), x.grad.tolist()) == (2, Y.tolist())
    op(X, Y)
    op(tg.Tensor(X), Y)
    assert len(runs) == 2


def test_elementwise_cotangents_are_summed_to_the_shapes():
    op, x, y = product(usual, elementwise=True), leaf(np.ones((3, 2))), leaf(X)
    op(x, y).sum().backward()
    assert y.grad.tolist() == [3.0, 3.0]
    tg.core.OPS.pop("product")
    op = product(usual)
    with pytest.raises(TypeError, match="the vjp of product for its argument 1: expected a cotangent like"):
        op(x, y).sum().backward()


def test_variadic_and_keyword_arguments():
    @tg.op
    def weighted(*xs, power=1):
        return sum(x**power for x in xs)

    weighted.defvjp_joint(lambda g, out, *xs, power: tuple(g * power * x ** (power - 1) for x in xs))
    tg.gradcheck(lambda *xs: weighted(*xs, power=3), X, Y, X + Y, order=2)


def test_a_cotangent_of_another_shape_or_dtype_is_refused():
    for formula, got in (
        (lambda g, out, x, y: (g * y, (g * x).sum()), r"argument 1.*got float64 \(\)"),
        (lambda g, out, x, y: (g.astype("f4"), g * x), "argument 0.*got float32"),
    ):
        x, y = leaf(X), leaf(Y)
        with pytest.raises(TypeError, match=f"the vjp of product for its {got}"):
            product(formula)(x, y).sum().backward()
        assert x.grad is y.grad is None
        tg.core.OPS.pop("product")


def test_none_says_that_a_derivative_is_zero():
    x, y = leaf(X), leaf(Y)
    product(lambda g, out, x, y: (g * y, None))(x, y).sum().backward()
    assert (x.grad.tolist(), y.grad) == (Y.tolist(), None)


@pytest.mark.parametrize(
    "formula",
    [lambda g, out, x, y: (g * y,), lambda g, out, x, y: (g * y, g * x, g), lambda g, out, x, y: ()],
    ids=["too few", "too many", "none"],
)
def test_the_wrong_number_of_cotangents_is_named(formula):
    x, y = leaf(X), leaf(Y)
    with pytest.raises(TypeError, match="vjp of product: expected 2 cotangents"):
        product(formula)(x, y).sum().backward()


@pytest.mark.parametrize("formula", [lambda g, out, x, y: g * y[:0], lambda g, out, x, y: iter([g, g])],
                         ids=["array", "iterator"])  # fmt: skip
def test_what_is_no_tuple_of_cotangents_raises(formula):
    x, y = leaf(X), leaf(Y)
    with pytest.raises((TypeError, IndexError, ValueError)):
        product(formula)(x, y).sum().backward()
    assert x.grad is y.grad is None
