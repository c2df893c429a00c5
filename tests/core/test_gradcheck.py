"""gradcheck finds wrong formulas, says where, and refuses what it cannot check."""

import numpy as np
import pytest
from helpers import assert_refused, leaf, refused_calls

import tensorgrad as tg


def op_with(formula):
    @tg.op
    def cube(x):
        return x * x * x

    cube.defvjp(x=formula)
    return cube


def right(g, out, x):
    return g * 3 * x * x


def wrong_at_one(g, out, x):
    return g * 3 * x * x * np.array([1.0, 1.01, 1.0])


def treats_x_as_constant(g, out, x):
    return 3 * g * (x * x if isinstance(x, np.ndarray) else x.data * x.data)


X = np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_right_formula_passes(order):
    report = tg.gradcheck(op_with(right), X, order=order)
    assert report.ok
    assert report.mismatches == []
    assert 0 < report.worst < 0.1
    assert (report.name, report.order) == ("cube", order)


def test_a_wrong_formula_is_found_and_the_place_is_named():
    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(op_with(wrong_at_one), X)
    report = caught.value.report
    (mismatch,) = report.mismatches
    assert (mismatch.order, mismatch.argument, mismatch.index) == (1, 0, (1,))
    assert mismatch.vjp == pytest.approx(1.01 * mismatch.slopes.mean)
    assert not report.ok
    assert report.worst > 1000
    message = str(caught.value)
    assert message == str(report)
    assert message.startswith("gradcheck of cube, order 1: 3 derivatives checked, 1 disagree\n")
    for part in (
        "order 1, argument 0, index (1,)",
        f"vjp {mismatch.vjp:.10g}",
        f"finite difference {mismatch.slopes.mean:.10g}",
        f"step {mismatch.slopes.step:.2g}",
        f"tolerance {mismatch.slopes.tolerance:.2g}",
    ):
        assert part in message


@pytest.mark.parametrize("error", [
    1e-4, pytest.param(1e-5, id="hundred thousandth"), -1e-4,
])  # fmt: skip
def test_small_errors_are_found(error):
    assert not tg.gradcheck(op_with(lambda g, out, x: right(g, out, x) * (1 + error)), X, raises=False).ok


def test_a_wrong_second_derivative_shows_at_order_2_only():
    cube = op_with(treats_x_as_constant)
    assert tg.gradcheck(cube, X).ok
    with pytest.raises(tg.GradcheckError, match="order 2, argument 0"):
        tg.gradcheck(cube, X, order=2)


def test_the_argument_at_fault_is_named():
    @tg.op(elementwise=True)
    def product(x, y):
        return x * y

    product.defvjp(x=lambda g, out, x, y: g * y, y=lambda g, out, x, y: g * y)
    report = tg.gradcheck(product, np.ones((2, 1)), np.array([0.5, 2.0]), raises=False)
    assert {m.argument for m in report.mismatches} == {1}


def test_a_nan_is_a_mismatch():
    cube = op_with(lambda g, out, x: g * np.array([1.0, np.nan, 1.0]) * 3 * x * x)
    (mismatch,) = tg.gradcheck(cube, X, raises=False).mismatches
    assert mismatch.index == (1,)
    assert np.isnan(mismatch.vjp)


def test_a_gradient_that_is_silently_lost_is_found():
    assert not tg.gradcheck(lambda x: x * x.detach(), X, raises=False).ok


def test_a_long_report_is_cut():
    report = tg.gradcheck(op_with(lambda g, out, x: 0 * g), np.ones(30), raises=False)
    assert len(report.mismatches) == 30
    assert len(str(report).splitlines()) == 12
    assert str(report).endswith("  and 20 more")


def test_no_error_is_raised_if_not_asked_for():
    assert len(tg.gradcheck(op_with(wrong_at_one), X, raises=False).mismatches) == 1


def test_functions_of_several_outputs_are_checked_in_all():
    cube = op_with(wrong_at_one)
    assert tg.gradcheck(lambda x: (x, x * x), X, order=2).checked == 3 + 9
    assert not tg.gradcheck(lambda x: (x, cube(x)), X, raises=False).ok


def test_what_is_not_floating_is_held_fixed():
    x, index, mask = np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), np.array([True, False, True])

    def f(x, index, n, mask, name):
        assert (index.dtype.kind, type(n), mask.dtype, name) == ("i", int, bool, "name")
        return np.where(mask, x[index] ** n, 0.0)

    assert tg.gradcheck(f, x, index, 3, mask, "name").checked == 3


@pytest.mark.parametrize("x", [
    1.5, [0.5, 1.5], np.float32(0.5), np.ones(2, "float16"), leaf([1.0, 2.0]), leaf([1.0], "float32"),
    tg.Tensor([[1.0]]),
], ids=repr)  # fmt: skip
def test_floating_arguments_of_every_kind_are_checked_in_float64(x):
    seen = set()

    def f(x):
        seen.add(x.dtype)
        return x * x

    assert tg.gradcheck(f, x, order=2).ok
    assert seen == {np.dtype("float64")}


def test_arguments_are_not_modified_and_no_gradient_accumulates():
    x, a = leaf(X), X.copy()
    tg.gradcheck(lambda x, a: x * a, x, a, order=2)
    assert x.grad is None
    np.testing.assert_array_equal(a, X)


def test_a_function_that_closes_over_a_parameter_can_be_checked():
    w = leaf([1.0, 2.0, 3.0])
    assert tg.gradcheck(lambda x: w * x * x, X, order=2).ok


def test_it_works_under_no_grad():
    with tg.no_grad():
        assert tg.gradcheck(op_with(right), X, order=2).ok


def test_the_random_cotangents_are_those_of_the_seed():
    f = op_with(wrong_at_one)
    first, second, other = (
        tg.gradcheck(f, X, raises=False, seed=seed).mismatches[0].vjp for seed in (1, 1, 2)
    )
    assert first == second != other


def test_tolerances_are_the_callers():
    nearly = op_with(lambda g, out, x: right(g, out, x) * (1 + 1e-4))
    assert tg.gradcheck(nearly, X, rtol=1e-3).ok
    assert not tg.gradcheck(nearly, X, atol=0.0, rtol=1e-5, raises=False).ok


@refused_calls(
    ("tg.gradcheck(np.exp, X, order=0)", ValueError, "order must be at least 1, got 0"),
    ("tg.gradcheck(lambda n: tg.Tensor(n), 3)", ValueError, "no floating argument to differentiate"),
    ("tg.gradcheck(lambda: tg.Tensor(1.0))", ValueError, "no floating argument to differentiate"),
    ("tg.gradcheck(lambda x: x * np.inf, X)", ValueError, "derivative 0 of <lambda> is not finite here"),
    ("tg.gradcheck(tg.identity, [np.nan])", ValueError, "derivative 0 of identity is not finite here"),
)
def test_what_cannot_be_checked_is_refused(call, error, message):
    assert_refused(call, error, message, X=X)


def test_a_first_derivative_that_is_not_finite_is_not_passed_over():
    with np.errstate(all="ignore"):
        report = tg.gradcheck(np.sqrt, [0.0, 1.0], raises=False)
        assert [m.index for m in report.mismatches] == [(0,)]
        with pytest.raises(ValueError, match="derivative 1 of sqrt is not finite here"):
            tg.gradcheck(np.sqrt, [0.0, 1.0], order=2, raises=False)


def test_nothing_checked_is_not_a_pass():
    with pytest.raises(tg.GradcheckError, match="0 derivatives checked"):
        tg.gradcheck(np.exp, np.zeros((0, 3)))


# Kinks and jumps


def kinked(slope_at_zero):
    """abs with a choice of its derivative at 0."""

    @tg.op
    def distance(x):
        return np.abs(x)

    distance.defvjp(x=lambda g, out, x: g * np.where(x == 0, slope_at_zero, np.sign(x)))
    return distance


@pytest.mark.parametrize("slope", [-1.0, -0.3, 0.0, 1.0])
def test_at_a_kink_the_vjp_may_be_any_slope_in_between(slope):
    report = tg.gradcheck(kinked(slope), np.array([0.0, 2.0]))
    # The mean of the slopes, 0, is what a central difference gives, and no closer look is taken.
    assert (report.checked, report.kinks) == (2, int(slope != 0))


@pytest.mark.parametrize("slope", [-1.01, 1.5, np.nan])
def test_at_a_kink_the_vjp_may_not_lie_outside(slope):
    with pytest.raises(tg.GradcheckError, match=r"index \(0,\): vjp .*, at a kink with slopes"):
        tg.gradcheck(kinked(slope), np.array([0.0, 2.0]))


def test_close_to_a_kink_the_derivative_is_that_of_the_side():
    assert tg.gradcheck(tg.relu, np.array([1e-6, -1e-6, 1e-5])).kinks == 0
    report = tg.gradcheck(kinked(0.0), np.array([1e-6]), raises=False)
    assert report.ok


def test_a_jump_has_no_derivative():
    @tg.op
    def step(x):
        return (x >= 0) * 1.0

    step.defvjp(x=lambda g, out, x: np.zeros_like(x))
    with pytest.raises(tg.GradcheckError, match=r"index \(1,\): vjp 0, but the function jumps there"):
        tg.gradcheck(step, np.array([1.0, 0.0]))


def test_the_second_derivative_at_a_kink_does_not_exist_and_is_said_so():
    with pytest.raises(tg.GradcheckError, match=r"order 2, argument 0, index \(0,\).*jumps"):
        tg.gradcheck(tg.relu, np.array([0.0, 1.0]), order=2)


def test_in_float32_gross_mistakes_are_found():
    assert tg.gradcheck(tg.tanh, np.array([0.3, -1.0]), dtype="float32", order=2).ok

    @tg.op
    def doubled(x):
        return x * 2

    doubled.defvjp(x=lambda g, out, x: g * 2.2)
    with pytest.raises(tg.GradcheckError):
        tg.gradcheck(doubled, np.array([0.3]), dtype="float32")
    with pytest.raises(ValueError, match="expected dtype float64 or float32, got 'int8'"):
        tg.gradcheck(tg.tanh, np.array([0.3]), dtype="int8")


# What writes into what it was given


def writes_into_its_cotangent(g, out, x):
    g *= 3 * x * x
    return g


def writes_into_the_output(g, out, x):
    out[...] = g * 3 * x * x
    return out


def writes_into_its_argument(g, out, x):
    np.multiply(x, x, out=x)
    return g * 3 * x


def sorts_its_cotangent(g, out, x):
    g.sort()
    return g * 3 * x * x


@pytest.mark.parametrize("formula", [
    writes_into_its_cotangent, writes_into_the_output, writes_into_its_argument, sorts_its_cotangent,
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_formula_that_writes_into_what_it_was_given_is_named(formula, dtype):
    """Also where its cotangent comes from another formula, which may have given it to others too."""
    cube = op_with(formula)
    for f in (cube, lambda x: np.exp(cube(np.exp(x)) + np.sin(x))):
        with pytest.raises(ValueError, match=r"^the vjp of cube for x writes into its cotangent or another"):
            tg.gradcheck(f, np.array([0.5, -0.3, 0.4]), dtype=dtype)


def test_a_joint_formula_that_writes_into_its_cotangent_is_named():
    @tg.op
    def product(x, y):
        return x * y

    def both(g, out, x, y):
        gx = g * y
        g *= x
        return gx, g

    product.defvjp_joint(both)
    with pytest.raises(ValueError, match=r"^the vjp of product for x writes into"):
        tg.gradcheck(lambda x: product(np.exp(x), x), np.ones(2))


@pytest.mark.parametrize("inside", [False, True])
def test_a_forward_that_writes_into_its_argument_is_named(inside):
    @tg.op
    def shifted(x):
        x += 1
        return 2 * x

    shifted.defvjp(x=lambda g, out, x: 2 * g)
    f = (lambda x: shifted(np.exp(x))) if inside else shifted
    with pytest.raises(ValueError, match=r"^shifted: the forward writes into its argument.*x float64 \(2,\)"):
        tg.gradcheck(f, np.array([0.5, -0.3]))


def test_a_formula_finds_its_arguments_as_they_were_after_a_gradcheck():
    """What is read-only is read-only for the check alone."""
    w = tg.Parameter([1.0, 2.0])
    assert tg.gradcheck(lambda x: (x * w).sum(), np.ones(2)).ok
    w.data = [3.0, 4.0]
    np.testing.assert_array_equal(w.data, [3.0, 4.0])


def test_an_error_of_a_formula_that_writes_nothing_is_its_own():
    def broken(g, out, x):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match=r"^no such thing$"):
        tg.gradcheck(op_with(broken), np.ones(3))
