"""backward_steps: the same walk as backward, told op by op; and the text of formulas."""

import linecache

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.graph.formulas import formula_text


def leaf(value, name=None):
    return tg.Tensor(value, requires_grad=True, name=name)


def names(steps):
    return [step.op.name for step in steps]


def test_a_walk_that_can_be_followed_by_hand():
    x, y = leaf(3.0, "x"), leaf(2.0, "y")
    a = x * y  # 6
    out = a * a + x  # 39
    steps = out.backward_steps()
    assert names(steps) == ["add", "multiply", "multiply"]
    assert [step.number for step in steps] == [1, 2, 3]
    assert [float(step.incoming) for step in steps] == [1.0, 1.0, 12.0]  # both uses of a have come
    assert [[float(g) for g in step.outgoing] for step in steps] == [[1, 1], [6, 6], [24, 36]]
    assert [step.name for step in steps] == ["add", "multiply_2", "multiply_1"]
    assert [step.formulas for step in steps] == [("g", "g"), ("g * multiply_1",) * 2, ("g * y", "g * x")]
    assert steps[2].inputs == (x, y)
    assert steps[2].arguments == ("x", "y")
    assert {leaf.name: float(g) for leaf, g in steps.gradients} == {"x": 25.0, "y": 36.0}


def test_what_waits_after_each_step():
    x = leaf(3.0, "x")
    steps = (tg.exp(x) * x).backward_steps()
    e3 = np.exp(3.0)
    waiting = [{t.name or t.op.name: float(g) for t, g in steps.waiting(k)} for k in range(3)]
    assert waiting[0] == {"multiply": 1.0}
    assert waiting[1] == pytest.approx({"exp": 3.0, "x": e3})
    assert waiting[2] == pytest.approx({"x": e3 + 3 * e3})
    with pytest.raises(ValueError, match="there are 2 steps, got step 3"):
        steps.waiting(3)


def network_loss():
    rng = np.random.default_rng(0)
    network = tg.Network(
        [tg.Conv2D(1, 3, 3, rng=0), tg.ReLU(), tg.MaxPool2D(2), tg.Flatten(), tg.Dense(12, 2, rng=0)]
    )
    loss = tg.mse(network(rng.random((5, 6, 6, 1)).astype(np.float32)), np.ones((5, 2), np.float32))
    return loss, network.parameters()


def stacked():
    x = leaf(np.arange(3.0))
    parts = [np.sin(x), x, np.floor(x) * x]
    out = np.sum(np.stack(parts) * np.linspace(0, 1, 9).reshape(3, 3))
    return out, [x]


def joint():
    x = leaf(np.array([[2.0, 1.0], [1.0, 3.0]]))
    return np.sum(np.linalg.solve(x, np.ones(2)) ** 2), [x]


def checkpointed():
    w, x = leaf(0.3), leaf(np.arange(3.0))
    return np.sum(tg.checkpoint(lambda x: np.tanh(w * x) * w)(x) * 2.0), [w, x]


@pytest.mark.parametrize("build", [network_loss, stacked, joint, checkpointed])
def test_the_gradients_are_those_of_backward_to_the_last_bit(build):
    loss, leaves = build()
    steps = loss.backward_steps()
    assert all(leaf.grad is None for leaf in leaves)  # looking changes nothing
    found = {id(leaf): g for leaf, g in steps.gradients}
    loss.backward()
    assert found.keys() == {id(leaf) for leaf in leaves}
    for leaf in leaves:
        np.testing.assert_array_equal(found[id(leaf)], leaf.grad)


@pytest.mark.parametrize("build", [network_loss, stacked, joint, checkpointed])
def test_the_steps_add_up(build):
    loss, _ = build()
    steps = loss.backward_steps()
    sent = {id(loss): steps.seed}
    visited = set()
    for step in steps:
        assert id(step.output) not in visited
        visited.add(id(step.output))
        np.testing.assert_allclose(step.incoming, sent[id(step.output)], rtol=1e-6)
        for x, g in zip(step.inputs, step.outgoing, strict=True):
            if g is not None:
                assert id(x) not in visited  # a tensor is taken after all that use it
                assert g.shape == x.shape
                sent[id(x)] = sent.get(id(x), 0) + g


def test_every_op_that_a_gradient_reaches_is_a_step_and_no_other():
    x = leaf(np.array([0.2, 0.7]), "x")
    nothing = tg.differentiate(np.spacing, x=None)  # a derivative that is zero everywhere
    y = np.sum(nothing(np.exp(x)) + np.sin(x))
    assert names(y.backward_steps()) == ["sum", "add", "sin", "spacing"]  # exp receives nothing
    assert y.backward_steps()[3].outgoing == (None,)
    assert y.backward_steps()[3].formulas == (None,)


def test_broadcast_inputs_receive_a_sum():
    x, b = leaf(np.ones((4, 3))), leaf(np.ones(3), "b")
    (step, *_) = (x + b).backward_steps(np.ones((4, 3)))
    np.testing.assert_array_equal(step.outgoing[1], [4, 4, 4])
    assert not step.was_broadcast(0)
    assert step.was_broadcast(1)
    assert "b: g, summed over what was broadcast = [4., 4., 4.]" in str(step)


def test_formulas_are_in_the_names_of_the_graph():
    w, y, x = leaf(2.0, "w"), leaf(3.0, "y"), leaf(5.0, "x")
    second, first = ((w * y) * x).backward_steps()
    assert str(second).splitlines()[1:] == ["   multiply_1: g * x = 5.0", "   x: g * multiply_1 = 6.0"]
    assert str(first).splitlines()[1:] == ["   w: g * y = 15.0", "   y: g * w = 10.0"]
    (step,) = (2.0**w).backward_steps()
    assert str(step) == "1. power: g = 1.0\n   w: g * power * np.log(2.0) = 2.77259"
    (step,) = (leaf(2.0, "two\nwords") * np.float64(-0.1234567)).backward_steps()
    assert str(step) == "1. multiply: g = 1.0\n   two words: g * -0.123457 = -0.123457"
    y = np.exp(w)
    y.name = "y"
    assert str(y.backward_steps()[0]).startswith("1. y (exp): g = 1.0\n")
    assert y.backward_steps()[0].formulas == ("g * y",)


def test_a_tensor_called_g_is_not_taken_for_the_cotangent():
    g, x = leaf(2.0, "g"), leaf(3.0, "x")
    (step,) = (g * x).backward_steps(5.0)
    assert (
        str(step) == "1. multiply: d_multiply = 5.0\n   g: d_multiply * x = 15.0\n   x: d_multiply * g = 10.0"
    )


def test_large_arrays_are_told_by_their_norm():
    (step,) = np.sum(leaf(np.ones((10, 10)))).backward_steps()
    assert str(step).splitlines()[1].endswith("= float64 (10, 10), norm 10")


def test_cotangents_cannot_be_written_to():
    steps = np.sum(np.exp(leaf(np.ones(3)))).backward_steps()
    arrays = [steps.seed, *(s.incoming for s in steps), *(g for s in steps for g in s.outgoing)]
    arrays += [g for _, g in steps.gradients]
    assert not any(array.flags.writeable for array in arrays)


def test_a_leaf_alone_has_no_steps():
    x = leaf(2.0)
    steps = x.backward_steps()
    assert len(steps) == 0
    assert [(t is x, float(g)) for t, g in steps.gradients] == [(True, 1.0)]


def test_errors_are_those_of_backward():
    with pytest.raises(ValueError, match=r"backward_steps: .* is not a scalar"):
        leaf([1.0, 2.0]).backward_steps()
    with pytest.raises(RuntimeError, match=r"backward_steps: .* does not depend on anything"):
        tg.Tensor(1.0).backward_steps()
    x = leaf(1.0, "x")
    y = np.exp(x)
    x.data = 2.0
    with pytest.raises(RuntimeError, match="assigned after exp had read it"):
        y.backward_steps()


def test_the_function_and_the_method_are_one():
    x = leaf([1.0, 2.0], "x")
    y = np.exp(x)
    ours, method = tg.backward_steps(y, tg.Tensor([1.0, 10.0])), y.backward_steps(np.array([1.0, 10.0]))
    assert [str(step) for step in ours] == [str(step) for step in method]
    assert type(ours) is type(method) is tg.BackwardSteps
    with pytest.raises(RuntimeError, match="backward_steps: a float does not depend on anything"):
        tg.backward_steps(1.0)


def test_detect_nan_watches_here_too():
    x = leaf([0.0, 1.0], "x")
    with tg.detect_nan():
        y = np.sum(np.where(x > 0, np.sqrt(x), 0.0))
        with pytest.raises(FloatingPointError, match="the vjp of sqrt"):
            y.backward_steps()
    np.exp(leaf(1.0)).backward_steps()  # and is gone afterwards


def test_a_long_chain_of_ops():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = -y
    assert len(y.backward_steps()) == 20_000


# The text of formulas


def text(formula, *arguments, **params):
    return formula_text(formula, arguments, params)


def test_lambdas_are_read_where_they_stand():
    first, second = lambda g, out, x: g * x, lambda g, out, x: -g * (lambda z: z)(x)
    assert text(first) == "g * x"
    assert text(second) == "-g * (lambda z: z)(x)"
    long = lambda g, out, x: (
        g  # the cotangent
        * x
    )
    assert text(long) == "g * x"
    assert text(lambda g, out, x: g if x.ndim else -g) == "g if x.ndim else -g"


def branching(g, out, x):
    """Either way."""
    if x.ndim == 2:
        return g @ x.T
    if x.ndim == 1:
        return g * x
    y = g + x
    return y  # noqa: RET504 - more than a return


def test_of_a_function_the_return_of_this_call():
    assert text(branching, 1.0, 1.0, np.ones((2, 2))) == "g @ x.T"
    assert text(branching, 1.0, 1.0, np.ones(2)) == "g * x"
    assert text(branching, 1.0, 1.0, np.ones((1, 1, 1))) == "branching(g, out, x)"
    assert text(branching) == "branching(g, out, x)"  # the condition cannot be evaluated


def test_matmul_tells_the_formula_for_matrices():
    x, y = leaf(np.ones((2, 3)), "x"), leaf(np.ones((3, 4)), "y")
    (step,) = [s for s in (x @ y).backward_steps(np.ones((2, 4))) if s.op.name == "matmul"]
    assert step.formulas == ("g @ y.T", "x.T @ g")


def test_a_formula_without_its_source_has_a_name():
    names = {}
    exec("def hidden(g, out, x):\n    return g\nnameless = lambda g, out, x: g", names)
    assert text(names["hidden"]) == "hidden(g, out, x)"
    assert text(names["nameless"]) == "a lambda"
    assert text(np.sin) == "sin(...)"


def test_source_that_has_changed_is_not_believed():
    file = "<a cell>"
    code = "formula = lambda g, out, x: g * x\n"
    linecache.cache[file] = (len(code), None, [code], file)
    names, again = {}, {}
    exec(compile(code, file, "exec"), names)
    assert text(names["formula"]) == "g * x"
    exec(compile(2 * "\n" + code, file, "exec"), again)
    other = "%magic\nformula = lambda g, out, x: x + g + x\n"
    linecache.cache[file] = (len(other), None, other.splitlines(True), file)
    assert text(again["formula"]) == "a lambda"


def test_variadic_ops_put_in_the_place():
    parts = [leaf(np.ones(1)), leaf(np.ones(2))]
    step = np.concatenate(parts).backward_steps(np.ones(3))[0]
    assert step.arguments == ("arrays[0]", "arrays[1]")
    assert step.formulas == ("g[0:1]", "g[1:3]")

    @tg.op
    def own_total(*parts):
        return sum(np.sum(x) for x in parts)

    own_total.defvjp(parts=lambda i, g, out, *parts: g * np.ones(i) if i > 1 else g + 0 * parts[i] + i)
    step = own_total(*parts).backward_steps()[0]
    del tg.core.OPS["own_total"]
    assert step.formulas[1] == "g * np.ones(1) if 1 > 1 else g + 0 * input_2 + 1"


def test_every_formula_of_the_package_has_a_text():
    for op in tg.core.OPS.values():
        for formula in [*op.vjps.values(), op.joint]:
            if formula is not None:
                assert text(formula) not in ("", "a lambda"), op
