"""NumPy's functions and operators take Tensors: they are ops, or say that they are not; none detaches."""

import operator

import numpy as np
import pytest
from helpers import assert_refused, evaluate, leaf, refused_calls

import tensorgrad as tg

A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(("call", "op"), [
    ("np.exp(x)", tg.exp),
    ("np.log(x)", tg.log),
    ("np.sqrt(x)", tg.sqrt),
    ("np.tanh(x)", tg.tanh),
    ("np.negative(x)", tg.negative),
    ("np.add(x, 2.0)", tg.add),
    ("np.subtract(2.0, x)", tg.subtract),
    ("np.multiply(x, x)", tg.multiply),
    ("np.divide(1.0, x)", tg.divide),
    ("np.true_divide(x, 2.0)", tg.divide),
    ("np.power(x, 2)", tg.power),
    ("np.maximum(x, 3.5)", tg.maximum),
    ("np.matmul(x, np.ones((3, 2)))", tg.matmul),
    ("np.sum(x)", tg.sum),
    ("np.sum(x, 0)", tg.sum),
    ("np.sum(x, axis=(0, 1))", tg.sum),
    ("np.sum(a=x, axis=0)", tg.sum),
    ("np.sum(axis=1, a=x, keepdims=True)", tg.sum),
    ("np.mean(x, 1)", tg.mean),
    ("np.mean(x, axis=-1, keepdims=True)", tg.mean),
    ("np.max(x, 0)", tg.max),
    ("np.max(x, axis=1)", tg.max),
    ("np.reshape(x, (3, 2))", tg.reshape),
    ("np.reshape(x, -1)", tg.reshape),
    ("np.transpose(x)", tg.transpose),
    ("np.transpose(x, (1, 0))", tg.transpose),
    ("np.transpose(x, axes=(1, 0))", tg.transpose),
    ("np.swapaxes(x, 0, 1)", tg.swapaxes),
    ("np.swapaxes(x, axis1=0, axis2=-1)", tg.swapaxes),
    ("np.broadcast_to(x, (2, 2, 3))", tg.broadcast_to),
    ("np.broadcast_to(x, shape=(2, 2, 3))", tg.broadcast_to),
    ("np.where(m, x, 0.0)", tg.where),
    ("np.where(m, 1.0, x)", tg.where),
])  # fmt: skip
def test_a_numpy_function_of_a_tensor_is_the_op_of_its_name(call, op):
    m = A > 2.5
    x = leaf(A)
    found = evaluate(call, x=x, m=m)
    assert isinstance(found, tg.Tensor)
    assert found.op is op
    np.testing.assert_array_equal(found.data, evaluate(call, x=A, m=m))
    found.backward(np.ones(found.shape))
    assert x.grad.shape == A.shape


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul]
SCALARS = (np.float64, float, int)


@pytest.mark.parametrize(("apply", "kind"), [
    pytest.param(apply, kind, id=f"{apply.__name__} {kind.__name__}")
    for apply in OPERATORS
    for kind in (tg.Tensor, np.asarray, list, *SCALARS)
    if not (apply is operator.matmul and kind in SCALARS)
])  # fmt: skip
def test_operators_take_anything_on_either_side(apply, kind):
    plain = np.array([[1.0, 2.0], [3.0, 4.0]])
    other, value = (kind(2), 2) if kind in SCALARS else (kind(plain.tolist()), plain)
    for left_is_ours in (True, False):
        x = leaf(plain)
        found = apply(x, other) if left_is_ours else apply(other, x)
        assert isinstance(found, tg.Tensor)
        expected = apply(plain, value) if left_is_ours else apply(value, plain)
        np.testing.assert_allclose(found.data, expected, rtol=1e-15)
        found.sum().backward()
        assert x.grad.shape == x.shape


@pytest.mark.parametrize("call", [
    "np.divmod(x, 2)", "np.nextafter(x, 2)", "np.spacing(x)", "np.modf(x)", "np.quantile(x, 0.5)",
    "np.copyto(np.zeros((2, 3)), x)", "np.histogram(x)", "np.convolve(x[0], x[0])", "np.fft.fft(x)",
    "np.apply_along_axis(sum, 0, x)", "np.unique(x)", "np.i0(x)", "np.linalg.eig(x)",
])  # fmt: skip
def test_an_unknown_numpy_function_is_refused_by_name_and_says_what_to_do(call):
    name = call.split("(")[0].removeprefix("np.")
    for x in (leaf(A), tg.Tensor(A)):
        with pytest.raises(TypeError) as caught:
            evaluate(call, x=x)
        message = str(caught.value)
        assert f"np.{name} has no derivative rule" in message
        assert f"tg.differentiate(np.{name}" in message


@refused_calls(
    ("np.add.reduce(x)", TypeError, r"np\.add\.reduce"),
    ("np.add.accumulate(x)", TypeError, r"np\.add\.accumulate"),
    ("np.multiply.outer(x, x)", TypeError, r"np\.multiply\.outer"),
    ("np.add.at(np.zeros((2, 3)), 0, x)", TypeError, r"np\.add\.at"),
    ("np.exp(x, out=np.zeros((2, 3)))", TypeError, "np.exp: out"),
    ("np.exp(x, where=np.ones((2, 3), bool))", TypeError, "np.exp: where"),
    ("np.exp(x, dtype='float32')", TypeError, "np.exp: dtype"),
    ("np.add(1.0, x, out=np.zeros((2, 3)))", TypeError, "np.add: out"),
    ("np.exp(np.ones((2, 3)), out=x)", TypeError, "np.exp: out"),
    ("np.sum(x, out=np.zeros(()))", TypeError, "sum.*out"),
    ("np.sum(x, 0, None, np.zeros(3))", TypeError, "sum.*"),
)
def test_options_that_an_op_does_not_have_are_refused(call, error, message):
    assert_refused(call, error, message, x=leaf(A))


@pytest.mark.parametrize("call", [
    "np.isnan(x)", "np.isinf(x)", "np.isfinite(x)", "np.equal(x, 2.0)", "np.less(2.0, x)",
    "np.greater_equal(x, x)", "np.not_equal(x, 1)", "np.less_equal(x, 3)", "np.greater(x, a)",
])  # fmt: skip
def test_questions_are_answered_by_boolean_arrays(call):
    found = evaluate(call, x=leaf(A), a=A[::-1])
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, evaluate(call, x=A, a=A[::-1]))


@refused_calls(
    ("np.sum([x, x])", TypeError, "would silently cut Tensor .* off the graph"),
    ("np.exp([x])", TypeError, "would silently cut Tensor .* off the graph"),
    ("np.ones(2) * [x[0], x[1]]", TypeError, "would silently cut Tensor .* off the graph"),
    ("np.array([x[0], 1.0])", TypeError, "would silently cut Tensor .* off the graph"),
)
def test_a_tensor_hidden_in_a_list_does_not_slip_out(call, error, message):
    assert_refused(call, error, message, x=leaf([1.0, 2.0]))


def test_subclasses_of_tensor_take_part():
    p = tg.Parameter([1.0, 2.0], name="p")
    y = np.exp(p) + np.ones(2) * p
    assert type(y) is tg.Tensor
    y.sum().backward()
    np.testing.assert_allclose(p.grad, np.exp(p.data) + 1)


# implements


def test_a_composition_under_numpys_name():
    @tg.implements(np.polyval)
    def polyval(p, x):
        value = 0.0
        for coefficient in p:
            value = value * x + coefficient
        return value

    p, x = leaf([1.0, 2.0, 3.0]), leaf(2.0)
    y = np.polyval(p, x)
    assert y.item() == 11.0
    y.backward()
    assert (p.grad.tolist(), x.grad) == ([4.0, 2.0, 1.0], 6.0)
    assert polyval(p, x).item() == 11.0
    assert np.polyval([1.0, 2.0, 3.0], 2.0) == 11.0
    tg.gradcheck(np.polyval, p.data, x.data, order=2)


def test_the_last_composition_stands_and_none_remains_after_the_test():
    with pytest.raises(TypeError, match=r"np\.trapezoid has no derivative rule"):
        np.trapezoid(leaf([1.0, 2.0]))
    for factor in (1.0, 2.0):
        tg.implements(np.trapezoid)(lambda y, factor=factor: factor * np.sum(y))
    assert np.trapezoid(leaf([1.0, 2.0])).item() == 6.0
