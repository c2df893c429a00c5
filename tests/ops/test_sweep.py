"""Every op of the package held against its samples, its oracle and finite differences, by one table."""

from importlib import import_module

import helpers
import numpy as np
import pytest
from helpers import SHIPPED, cotangent_of, floating, gradients, is_floating, wrong_ops
from oracles import FAMILIES, ORACLES

import tensorgrad as tg
from tensorgrad.audit import SAMPLES, Sample
from tensorgrad.audit.sample import of, positive
from tensorgrad.core import NUMPY, OPS

CASES = [
    pytest.param(name, sample, id=f"{name}: {sample.label}")
    for name in SHIPPED
    for sample in SAMPLES.get(name, ())
]
each_case = pytest.mark.parametrize(("name", "sample"), CASES)


def call(name, sample):
    """The op as a function of its positional arguments alone."""

    def function(*args):
        return OPS[name](*args, **sample.params)

    function.__name__ = name
    return function


def drawn(sample, dtype="float64"):
    return floating(lambda x: x.astype(dtype), sample.args(np.random.default_rng(0)))


# What is missing is named


def without(ops, table):
    return [name for name in ops if not table.get(name)]


def undeclared(op):
    return [argument for argument in op.arrays if argument not in op.vjps]


SAMPLED = {family: import_module(f"tensorgrad.audit.{family}").SAMPLES for family in FAMILIES}


def family_of(name):
    """The name of the two files for an op's samples and its oracle: those of the ops of the same module."""
    home = OPS[name].__module__
    for family, samples in SAMPLED.items():
        if any(sampled in OPS and OPS[sampled].__module__ == home for sampled in samples):
            return family
    return home.rpartition(".")[2]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_op_has_samples(name):
    file = f"tensorgrad/audit/{family_of(name)}.py"
    assert not without([name], SAMPLES), f"{name} has no samples: give it a line in SAMPLES of {file}"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_op_has_an_oracle(name):
    file = f"tests/ops/oracles/{family_of(name)}.py"
    assert not without([name], ORACLES), f"{name} has no oracle: give it a line in ORACLES of {file}"


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_and_oracles_are_in_files_of_one_name(family):
    assert sorted(SAMPLED[family]) == sorted(FAMILIES[family])


#: Ops that other ops are made of; an underscore at the end of a name says the same.
INSIDE = {
    "gate", "conv2d_images", "conv2d_filters", "max_pool_images", "gather_windows", "scatter_windows",
    "avg_pool_images",
}  # fmt: skip


def test_every_op_and_composition_is_in_the_all_of_its_module():
    made = [OPS[name] for name in SHIPPED] + [f for f in NUMPY.values() if hasattr(f, "__name__")]
    for module, name in sorted({(f.__module__, f.__name__) for f in made}):
        if not module.startswith("tensorgrad.ops.") or name.endswith("_") or name in INSIDE:
            continue
        file = f"{module.replace('.', '/')}.py"
        hint = f"add it to __all__ of {file}, or to INSIDE here if it is for other ops alone"
        assert name in import_module(module).__all__, f"{name} is not handed out: {hint}"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_array_argument_has_a_declared_vjp(name):
    assert not undeclared(OPS[name]), f"{name} declares no vjp (not even None) for {undeclared(OPS[name])}"


def test_nothing_is_listed_that_does_not_exist():
    assert sorted({*SAMPLES, *ORACLES} - {*SHIPPED}) == []


# What every op does


@each_case
def test_forward_is_the_oracles(name, sample):
    args = drawn(sample)
    found, truth = call(name, sample)(*args), ORACLES[name](*args, **sample.params)
    assert np.shape(found) == np.shape(truth)
    np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-13)


@each_case
def test_first_and_second_derivatives(name, sample):
    tg.gradcheck(call(name, sample), *drawn(sample), order=2)


@each_case
def test_float32_stays_float32(name, sample):
    args = drawn(sample, "float32")
    out, found = gradients(call(name, sample), args)
    exact, truth = gradients(call(name, sample), floating(lambda x: x.astype(float), args))
    assert out.dtype == (sample.dtype or np.float32)
    assert [g.dtype for g in found] == [np.float32] * sum(map(is_floating, args))
    for single, double in zip([out, *found], [exact, *truth], strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)


@each_case
def test_no_argument_is_modified(name, sample):
    args, same = drawn(sample), drawn(sample)
    call(name, sample)(*args)
    gradients(call(name, sample), args)
    for x, before in zip(args, same, strict=True):
        np.testing.assert_array_equal(x, before)


@each_case
def test_arrays_give_arrays_and_tensors_tensors(name, sample):
    f, args = call(name, sample), drawn(sample)
    on_arrays = f(*args)
    assert isinstance(on_arrays, (np.ndarray, np.generic))
    constant = f(*floating(tg.Tensor, args))
    assert isinstance(constant, tg.Tensor)
    assert (constant.requires_grad, constant.op, constant.inputs) == (False, None, ())
    recorded = f(*floating(lambda x: tg.Tensor(x, requires_grad=True), args))
    assert (recorded.requires_grad, recorded.op) == (True, OPS[name])
    for tensor in (constant, recorded):
        np.testing.assert_array_equal(tensor.data, on_arrays)


@each_case
def test_array_arguments_by_keyword(name, sample):
    op, args = OPS[name], drawn(sample)
    if op.variadic:
        pytest.skip("takes any number of arrays")

    def by_keyword(*args):
        return op(**dict(zip(op.arrays, args, strict=False)), **sample.params)

    for found, truth in zip(gradients(by_keyword, args), gradients(call(name, sample), args), strict=True):
        np.testing.assert_equal(found, truth)


@each_case
def test_layout_in_memory_makes_no_difference(name, sample):
    f, args = call(name, sample), drawn(sample)

    def value_and_gradients(others, lay_out):
        """Raw arrays stand beside each leaf as they are, and the cotangent is laid out too."""
        found = [f(*others)]
        for i in (i for i, x in enumerate(args) if is_floating(x)):
            x = tg.Tensor(others[i], requires_grad=True)
            out = f(*others[:i], x, *others[i + 1 :])
            out.backward(lay_out(cotangent_of(out)))
            found.append(x.grad)
        return found

    plain = value_and_gradients(args, np.copy)
    for layout, lay_out in helpers.LAYOUTS.items():
        laid_out = value_and_gradients(floating(lay_out, args), lay_out)
        for found, expected in zip(laid_out, plain, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15, err_msg=layout)


@each_case
def test_backward_twice_adds_the_same_twice(name, sample):
    args = floating(lambda x: tg.Tensor(x, requires_grad=True), drawn(sample))
    leaves = [x for x in args if isinstance(x, tg.Tensor)]
    out = call(name, sample)(*args)
    out.backward(cotangent_of(out))
    once = [x.grad.copy() for x in leaves]
    out.backward(cotangent_of(out))
    for x, g in zip(leaves, once, strict=True):
        np.testing.assert_array_equal(x.grad, 2 * g)


# The sweep itself can fail


@pytest.mark.parametrize(("name", "check", "error"), [
    ("doubled", test_first_and_second_derivatives, tg.GradcheckError),
    ("second_wrong", test_first_and_second_derivatives, tg.GradcheckError),
    ("widened", test_float32_stays_float32, TypeError),
    ("cleared", test_no_argument_is_modified, AssertionError),
    ("doubled", test_forward_is_the_oracles, AssertionError),
])  # fmt: skip
def test_the_sweep_finds_a_wrong_op(monkeypatch, name, check, error):
    wrong_ops()
    monkeypatch.setitem(ORACLES, name, lambda x: x)
    with pytest.raises(error):
        check(name, Sample("1d", of(positive(3))))


def test_the_sweep_names_what_is_missing():
    wrong_ops()
    assert without([*SHIPPED, "doubled"], {**SAMPLES, **dict.fromkeys(SHIPPED, "given")}) == ["doubled"]

    @tg.op
    def forgetful(x, y):
        return x * y

    forgetful.defvjp(x=lambda g, out, x, y: g * y)
    assert undeclared(forgetful) == ["y"]


def test_tables_of_ops_are_clean_of_other_tests():
    assert tuple(OPS) == SHIPPED
