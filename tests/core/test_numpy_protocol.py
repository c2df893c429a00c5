"""NumPy's functions and operators take Tensors: they are ops, or say that they are not; none detaches."""

import operator
import re

import numpy as np
import pytest
from helpers import assert_refused, evaluate, leaf, refused_calls

import tensorgrad as tg
from tensorgrad.core.refusals import METHODS

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


# SciPy's functions, and others


@pytest.mark.parametrize(("call", "op"), [
    ("special.erf(x)", tg.erf), ("special.erfc(x)", tg.erfc), ("special.expit(x)", tg.sigmoid),
    ("special.cbrt(x)", tg.cbrt), ("special.expm1(x)", tg.expm1), ("special.log1p(x)", tg.log1p),
    ("special.exp2(x)", tg.exp2), ("special.round(x)", tg.round),
])  # fmt: skip
def test_scipys_ufuncs_reach_the_ops_that_compute_the_same(call, op):
    special = pytest.importorskip("scipy.special")
    x = leaf(A)
    found = evaluate(call, x=x, special=special)
    assert found.op is op
    np.testing.assert_allclose(found.data, evaluate(call, x=A, special=special), rtol=1e-14)
    found.sum().backward()
    np.testing.assert_array_equal(x.grad, tg.grad(lambda x: op(x).sum())(A))


@refused_calls(
    ("special.softmax(x)", TypeError, r"scipy\.special\.softmax would .* use tg\.softmax, whose axis is -1"),
    (
        "special.log_softmax(x, axis=1)",
        TypeError,
        r"scipy\.special\.log_softmax would .* use tg\.log_softmax",
    ),
    ("special.logsumexp(x)", TypeError, r"scipy\.special\.logsumexp would .* use tg\.logsumexp;"),
    (
        "special.gammaln(x)",
        TypeError,
        r"scipy\.special\.gammaln has no .* tg\.differentiate\(scipy\.special\.g",
    ),
    ("special.xlogy(2.0, x)", TypeError, r"scipy\.special\.xlogy has no derivative rule"),
    ("special.erf(x, out=np.ones((2, 3)))", TypeError, r"scipy\.special\.erf: out cannot be used"),
    (
        "linalg.expm(x[:, :2])",
        TypeError,
        r"scipy\.linalg\.expm would .* write it in NumPy, or as an op of your",
    ),
    (
        "x.T @ sparse.eye(2, format='csr')",
        TypeError,
        r"matmul: expected a dense array, .* write \.toarray\(\)",
    ),
)
def test_scipys_other_functions_name_what_to_do(call, error, message):
    pytest.importorskip("scipy")
    import scipy.linalg
    import scipy.sparse
    import scipy.special

    known = {"special": scipy.special, "linalg": scipy.linalg, "sparse": scipy.sparse}
    assert_refused(call, error, message, x=leaf(A), **known)


def test_a_scipy_function_that_calls_us_is_not_to_blame():
    optimize = pytest.importorskip("scipy.optimize")
    with pytest.raises(TypeError, match=r"^conversion to a NumPy array would"):
        optimize.minimize(lambda x: float(np.asarray(leaf(x)).sum()), np.ones(2))


@pytest.mark.parametrize("call", [
    "np.modf(x)", "np.fft.fft(x)", "np.linalg.eig(x)", "np.unique(x)", "np.spacing(x)", "np.i0(x)",
    "np.lib.stride_tricks.sliding_window_view(x, 2)", "special.gammaln(x)", "special.j0(x)",
    "np.random.default_rng(0).permutation(x)", "np.polynomial.polynomial.polyval(2.0, x)",
])  # fmt: skip
def test_what_an_error_names_exists(call):
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError) as caught:
        evaluate(call, x=leaf(A), special=special)
    for name in re.findall(r"\b(?:np|scipy|tg)(?:\.\w+)+", str(caught.value)):
        assert eval(name.replace("scipy.special", "special"), {"np": np, "tg": tg, "special": special}), name


def test_a_ufunc_of_somebody_is_named_and_not_as_numpys():
    double = np.frompyfunc(lambda x: 2 * x, 1, 1)
    with pytest.raises(TypeError, match=r"^'<lambda> \(vectorized\)' has no derivative rule") as caught:
        double(leaf(A))
    assert "np." not in str(caught.value)


@refused_calls(
    ("np.add.reduce(x)", TypeError, r"np\.add\.reduce has no derivative rule; use np\.sum\(x, axis=0\)"),
    ("np.multiply.accumulate(x)", TypeError, r"use np\.cumprod\(x, axis=0\)"),
    ("np.logaddexp.reduce(x)", TypeError, r"use tg\.logsumexp\(x, axis=0\)"),
    ("np.subtract.reduce(x)", TypeError, "write it with functions of NumPy"),
)
def test_methods_of_ufuncs_name_the_function_that_does_the_same(call, error, message):
    assert_refused(call, error, message, x=leaf(A))


def test_what_is_named_for_a_method_of_a_ufunc_does_the_same():
    for method, instead in METHODS.items():
        ufunc, _, name = method.removeprefix("np.").partition(".")
        if name in ("reduce", "accumulate"):
            np.testing.assert_allclose(
                getattr(getattr(np, ufunc), name)(A), evaluate(instead, x=A), rtol=1e-14, err_msg=method
            )
    np.testing.assert_array_equal(np.multiply.outer(A, A), np.tensordot(A, A, 0))


# Options as NumPy takes them


@pytest.mark.parametrize("call", [
    "np.sum(x, None, None, None)", "np.mean(x, 0, None, None, True)", "np.std(x, 1, None, None, 1)",
    "np.nansum(x, 0, None, None, True)", "np.nanvar(x, None, None, None, 1, True)",
    "np.max(x, 0, None, True)", "np.linalg.pinv(x, None, False)", "np.linalg.svd(x, False, True, False)[1]",
    "np.cumsum(x, 1, None, None)",
    "np.round(x, 1, None)", "np.add(x, x, where=True, casting='same_kind', subok=True, dtype=None)",
    "np.nan_to_num(x, True, 0.0)", "np.median(x, 0, None, False)", "np.concatenate((x, x), 0, None)",
    "np.take(x, [0], 0, None, 'clip')", "np.sort(x, -1, None, None)", "np.broadcast_to(x, (1, 2, 3), False)",
    "np.reshape(x, (3, 2), 'C', copy=None)", "np.dot(x, x.T, None)", "np.outer(x, x, None)",
    "np.trace(x, 0, 0, 1, None, None)", "np.ptp(x, 0, None)", "np.argmax(x, 0, None)",
])  # fmt: skip
def test_options_may_be_written_out_at_their_defaults(call):
    found, truth = evaluate(call, x=leaf(A)), evaluate(call, x=A)
    np.testing.assert_allclose(found.numpy() if isinstance(found, tg.Tensor) else found, truth, rtol=1e-14)


@refused_calls(
    ("np.sum(x, 0, axis=0)", TypeError, "axis"),
    ("np.linalg.svd(x, hermitian=True)", TypeError, r"np\.linalg\.svd: hermitian cannot be used"),
    ("np.std(x, mean=0.0)", TypeError, r"np\.std: mean cannot be used with a Tensor"),
    ("x.sum(0, None, None, False, dtype=float)", TypeError, "dtype"),
    ("x.max(dtype=float)", TypeError, r"np\.max: dtype cannot be used"),
    ("x.cumsum(0, None, None, 1)", TypeError, r"np\.cumsum: expected at most 4 arguments, got 5"),
)
def test_other_options_are_refused_by_name(call, error, message):
    assert_refused(call, error, message, x=leaf(A))


# Objects with a protocol of their own


class Labelled(np.lib.mixins.NDArrayOperatorsMixin):
    """An array with a name, as other libraries have them: operators and ufuncs give one again."""

    def __init__(self, values, name="labelled"):
        self.values, self.name = values, name

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return Labelled(ufunc(*(x.values if isinstance(x, Labelled) else x for x in inputs)))

    def __array_function__(self, function, types, args, kwargs):
        return Labelled("of a function")


class Opaque:
    """Opts out of ufuncs, as NumPy lets a class do."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "reflected"

    def __add__(self, other):
        return "its own"

    def __gt__(self, other):
        return "compared"


class Prior:
    """Of old: a priority and reflected operators, and no ufuncs."""

    __array_priority__ = 1000

    def __radd__(self, other):
        return "reflected"

    def __add__(self, other):
        return "its own"


@pytest.mark.parametrize("apply", [*OPERATORS, operator.mod, operator.floordiv, np.divide, np.hypot])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_what_brings_its_own_protocol_gets_the_call_in_both_orders(apply, requires_grad):
    x, other = tg.Tensor([3.0, 5.0], requires_grad=requires_grad), Labelled(np.array([1.0, 2.0]))
    for found, truth in (
        (apply(x, other), apply(x.data, other.values)),
        (apply(other, x), apply(other.values, x.data)),
    ):
        assert type(found) is Labelled
        assert isinstance(found.values, tg.Tensor)  # which it holds, gradient and all
        assert found.values.requires_grad == requires_grad
        np.testing.assert_array_equal(found.values.data, truth)


def test_numpys_functions_are_left_to_it_too():
    x, other = leaf([3.0, 5.0]), Labelled(np.array([1.0, 2.0]))
    assert np.stack([x, other]).values == np.where(np.ones(2, bool), other, x).values == "of a function"
    assert type(x < other) is Labelled
    with pytest.raises(TypeError, match="add: a Labelled brings its own operators and functions"):
        tg.add(x, other)


def test_what_wants_no_ufunc_gets_its_reflected_operator():
    x = leaf([3.0, 5.0])
    for kind in (Opaque, Prior):
        assert (x + kind(), kind() + x) == ("reflected", "its own")
    assert (x < Opaque()) == "compared"
    with pytest.raises(TypeError, match="unsupported operand"):
        x - Opaque()


def test_an_xarray_holds_a_tensor():
    xarray = pytest.importorskip("xarray")
    x, other = leaf([3.0, 5.0]), xarray.DataArray([1.0, 2.0], dims="t")
    for found in (x * other, other * x, np.multiply(x, other), np.multiply(other, x)):
        assert type(found) is xarray.DataArray
        assert found.dims == ("t",)
        found.data.sum().backward()
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])


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


@pytest.mark.parametrize("dtype", [int, "uint8", float])
def test_operators_of_truth_values_are_not_taken_for_those_of_bits(dtype):
    t, mask = tg.Tensor(np.array([6, 3], dtype)), tg.Tensor([True, False])
    for call in (lambda: ~t, lambda: t & 5, lambda: t | t, lambda: mask & 1, lambda: mask | np.array([1, 2])):
        with pytest.raises(TypeError, match="expected truth values, got"):
            call()
    for call in (lambda x: ~x, lambda x: x & True, lambda x: x | np.array([False, True])):
        np.testing.assert_array_equal(call(mask), call(mask.numpy()))
