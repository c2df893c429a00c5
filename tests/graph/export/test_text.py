"""The text that to_numpy writes: names, comments, arguments; what it refuses, and how."""

import keyword
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, leaf, refused_calls
from test_numpy_code import assert_computes, assert_same_bits

import tensorgrad as tg
from tensorgrad.core import OPS


def code_lines(code):
    """The statements of the function's body after the checks of its arguments, without comments."""
    body = code.source[code.source.index("# forward") :]
    lines = [line.split("  #")[0].strip() for line in body.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


# What is written


def test_every_line_tells_the_shape_of_what_it_computes():
    x, w = leaf(np.ones((4, 3)), name="x"), leaf(np.ones((3, 2)), name="w")
    h = tg.softmax(x @ w, axis=0)
    code = tg.to_numpy(tg.mse(h.T, np.zeros((2, 4))) + h[1:, 0].sum() + np.linalg.det(w.T @ w))
    told = re.findall(r"^    (\w+)\b.*  # (\(.*\))$", code.source, re.MULTILINE)
    source = code.source.replace("return loss, gradients", "return dict(locals())")
    namespace = {}
    exec(source, namespace)
    found = namespace["step"](**code.arguments)
    assert len(told) > 10
    assert [(name, str(np.shape(found[name]))) for name, _ in told] == told
    assert set(found) - set(code.arguments) - {"gradients"} == {name for name, _ in told}


def test_the_page_shows_what_is_written():
    page = (Path(__file__).resolve().parents[3] / "docs" / "to-numpy.md").read_text(encoding="utf-8")
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1].replace("print(code)", ""), namespace)
    assert re.search(r"```text\n(.*?)```", page, re.DOTALL)[1] in namespace["code"].source


def test_lengths_that_depend_on_values_are_not_told():
    code = tg.to_numpy(np.sum(tg.erf(leaf([0.1, 1.0, 5.0], name="x"))))
    told = re.findall(r"# (\(.*\))$", code.source, re.MULTILINE)
    assert set(told) == {"(3,)", "(k,)", "()"}


def test_what_nobody_needs_is_not_computed():
    x, y = leaf([1.0, 2.0], name="x"), leaf([3.0, 4.0], name="y")
    loss = np.sum(np.exp(x) * np.sin(y))
    both, only_x = tg.to_numpy(loss), tg.to_numpy(loss, wrt=x)
    assert "d_y" in both.source
    assert "np.cos" in both.source
    assert "d_y" not in only_x.source
    assert "np.cos" not in only_x.source
    assert list(only_x.compile()(**only_x.arguments)[1]) == ["x"]


def test_equal_calls_are_made_once():
    x = leaf([1.0, 2.0], name="x")
    code = tg.to_numpy(np.sum(np.sin(x) * np.sin(x) + np.cos(x)))
    assert code.source.count("np.sin(") == 1
    assert code.source.count("np.cos(") == 1  # of the forward, and of the formula of sin


def test_steps_are_in_the_order_of_the_engine():
    x = leaf([1.0, 2.0], name="x")
    with_diamond = np.tanh(x)
    loss = np.sum(np.exp(with_diamond) * np.sin(with_diamond) + with_diamond)
    names = [line.split(" = ")[0] for line in code_lines(tg.to_numpy(loss)) if " = " in line]
    forward = ["tanh", "exp", "sin", "multiply", "add", "loss"]
    assert [name for name in names if name in forward] == forward
    cotangents = [name for name in names if name.startswith("d_")]
    assert cotangents[0] == "d_loss"
    assert cotangents[-2:] == ["d_tanh", "d_x"]  # after all three ways through the diamond


def test_layers_lend_their_names():
    network = tg.Network([tg.Dense(3, 4, rng=0), tg.Tanh(), tg.Dense(4, 2, rng=1)])
    x = np.ones((5, 3), np.float32)
    code = tg.to_numpy(np.sum(network(x)), inputs={"x": x})
    assert "Dense0 = x @ Dense0_weights + Dense0_bias" in code_lines(code)
    assert "Tanh1 = np.tanh(Dense0)" in code_lines(code)
    assert "d_Dense0_weights = x.T @ d_Dense0" in code_lines(code)


@pytest.mark.parametrize(
    "names",
    [
        ("lambda", "None", "np"),
        ("a.b", "a_b", "a b"),
        ("2x", "", "größe"),
        ("θ₁", "x²", "½"),
        ("ℒ", "L", "፩"),
        ("loss", "gradients", "step"),
        ("x", "x", "d_x"),
        (None, None, "sum"),
        ("exp", "multiply", "d_loss"),
    ],
)
def test_any_names_become_different_names_of_python(names):
    leaves = [tg.Tensor([1.0, k], requires_grad=True, name=name) for k, name in enumerate(names)]
    inner = np.exp(leaves[0])
    inner.name = names[1]
    loss = np.sum(inner * leaves[1] + np.exp(leaves[2]))
    code = tg.to_numpy(loss)
    assert len(code.arguments) == 3
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in code.arguments)
    loss.backward()
    value, gradients = code.compile()(**code.arguments)
    assert_same_bits(value, loss.numpy())
    for x, g in zip(leaves, gradients.values(), strict=True):
        assert_same_bits(g, x.grad)


def test_numbers_are_written_so_that_they_are_read_back_exactly():
    x = leaf([0.5, 2.0], name="x")
    loss = np.sum(x * 0.1 + x * -1e-300 + np.maximum(x, -np.inf) + x * np.float64(1 / 3)) ** -2
    code = tg.to_numpy(loss)
    assert_computes(code, loss, [x])
    assert "-np.inf" in code.source
    assert "np.float64(0.3333333333333333)" in code.source


def test_warnings_are_silenced_where_the_op_silences_them():
    x = leaf([[0.0, -np.inf], [-np.inf, -np.inf]], name="x")
    loss = np.sum(np.exp(tg.logsumexp(x, axis=1)))
    code = tg.to_numpy(loss)
    assert 'with np.errstate(divide="ignore"):' in code.source
    assert_computes(code, loss, [x])  # warnings are errors here


# Arguments


def test_inputs_are_found_by_value_and_in_other_shapes():
    w, x, y = leaf(np.ones(4), name="w"), np.arange(8.0).reshape(2, 2, 2), np.zeros(2)
    loss = tg.mse(tg.Tensor(x.reshape(2, 4)) @ w, y)
    code = tg.to_numpy(loss, inputs={"x": x, "target": y})
    assert list(code.arguments) == ["x", "target", "w"]
    assert "x_reshaped = x.reshape(2, 4)" in code_lines(code)
    value, _ = code.compile()(x + 1, y, w.numpy())
    assert_same_bits(value, tg.mse(tg.Tensor((x + 1).reshape(2, 4)) @ w, y).numpy())


def test_tensors_are_inputs_too():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    code = tg.to_numpy(np.sum(x * w), inputs={"weights": w})
    assert list(code.arguments) == ["weights", "input_1"]
    assert list(code.compile()(**code.arguments)[1]) == ["input_1", "weights"]


@refused_calls(
    (
        "tg.to_numpy(np.sum(w * np.ones(2)), inputs={'x': np.zeros(2)})",
        ValueError,
        "does not read the input 'x'.*leaves are w \\(2,\\).*requires_grad=True",
    ),
    (
        "tg.to_numpy(np.sum(w * np.ones(2)), inputs={'x': np.ones(2), 'y': np.ones(2)})",
        ValueError,
        "the inputs x, y have the same values",
    ),
)
def test_inputs_that_cannot_be_told_are_refused(call, error, message):
    assert_refused(call, error, message, w=leaf([1.0, 2.0], name="w"))


def test_arrays_that_the_graph_keeps_are_arguments_and_said_to_be_constants():
    x = leaf([1.0, -2.0], name="x")
    code = tg.to_numpy(np.sum(np.where(x > 0, x, 0.0) * np.array([5.0, 6.0])))
    assert list(code.arguments) == ["x", "condition", "array"]
    assert "condition : bool (2,), a constant of the graph" in code.source
    _, gradients = code.compile()(x.numpy(), np.array([True, True]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradients["x"], [1, 2])
    assert np.sum(np.sort(x) * 2.0).requires_grad
    assert "getitem_index" in tg.to_numpy(np.sum(np.sort(x) * 2.0)).arguments


def test_two_conditions_that_happen_to_be_equal_are_two_arguments():
    x = leaf(2.0, name="x")
    code = tg.to_numpy(np.where(x > 0, x, 0.0) + np.where(x > 1, x, 0.0))
    assert list(code.arguments) == ["x", "condition_1", "condition_2"]


def test_large_arrays_that_a_formula_makes_follow_a_rule_or_are_arguments():
    x = leaf(np.eye(20) + 0.01, name="x")
    code = tg.to_numpy(np.sum(np.linalg.cholesky(x)))
    assert list(code.arguments) == ["x"]
    assert "np.tri(20) - 0.5 * np.eye(20)" in code.source


def test_other_shapes_and_dtypes_are_refused():
    x = leaf([1.0, 2.0], name="x")
    step = tg.to_numpy(tg.mse(x, [0.0, 0.0])).compile()
    with pytest.raises(AssertionError):
        step(np.ones(3), np.zeros(2))
    with pytest.raises(AssertionError):
        step(np.ones(2, np.float32), np.zeros(2))


def test_a_leaf_without_gradient_has_gradient_zero():
    x, y = leaf([1.0, 2.0], name="x"), leaf([3.0, 4.0], name="y")
    code = tg.to_numpy(np.sum(np.floor(x) * y), wrt=[x, y])
    np.testing.assert_array_equal(code.compile()(**code.arguments)[1]["x"], [0, 0])


# What it can write beyond the package's ops


def test_ops_of_users_are_written_too():
    @tg.op(elementwise=True)
    def bump(x, *, width=2.0):
        y = x * x  # changed in place below, as one does
        y /= -2 * width**2
        out = np.zeros_like(y)
        out[y > -8] = np.exp(y[y > -8])
        return out

    bump.defvjp(x=lambda g, out, x, width: -g * out * x / width**2)
    x = leaf([0.5, -3.0, 100.0], name="x")
    code = tg.to_numpy(np.sum(bump(x, width=0.7)))
    assert_computes(code, np.sum(bump(x, width=0.7)), [x])
    y = leaf([9.0, 0.1, -0.2], name="x")
    assert_computes(code, np.sum(bump(y, width=0.7)), [y])


def test_an_op_of_a_thousand_steps():
    @tg.op
    def series(x):
        total = x
        for k in range(1000):
            total = total * x + 1 / (k + 1)
        return total

    series.defvjp(x=lambda g, out, x: g * out)  # whatever it is, it is written
    x = leaf([0.5, -0.5], name="x")
    assert_computes(tg.to_numpy(np.sum(series(x))), np.sum(series(x)), [x])


def test_joint_vjps_and_several_results():
    @tg.op
    def product(x, y):
        return x * y

    product.defvjp_joint(lambda g, out, x, y: (g * y, g * x))
    x, y = leaf(np.eye(3) + 0.1, name="x"), leaf(np.ones((3, 3)), name="y")
    values, vectors = np.linalg.eigh(np.arange(3.0) * product(x, y))
    loss = np.sum(values * vectors[0])
    assert_computes(tg.to_numpy(loss), loss, [x, y])


def test_gradients_of_gradients():
    x = leaf([0.3, -0.4], name="x")
    slope = tg.grad(lambda x: np.sum(np.tanh(x) * x))(x)
    loss = np.sum(slope * slope)
    assert_computes(tg.to_numpy(loss), loss, [x])


def test_a_long_chain_is_written():
    x = y = leaf(0.5, name="x")
    for _ in range(2000):
        y = np.sin(y)
    assert_computes(tg.to_numpy(y), y, [x])


def test_what_values_decide_is_checked():
    x = leaf([2.0, 3.0], name="x")
    step = tg.to_numpy(np.prod(x)).compile()
    np.testing.assert_array_equal(step(np.array([4.0, 5.0]))[1]["x"], [5, 4])
    with pytest.raises(ValueError, match="prod: these values ask for other steps"):
        step(np.array([0.0, 5.0]))


def test_layers_of_all_kinds():
    rng = np.random.default_rng(0)
    network = tg.Network(
        [
            tg.Conv2D(2, 4, 3, padding="same", dtype="float64", rng=rng),
            tg.BatchNorm(4, dtype="float64"),
            tg.GELU(),
            tg.AvgPool2D(2),
            tg.Flatten(),
            tg.Dropout(0.5, rng=rng),
            tg.Dense(16, 3, dtype="float64", rng=rng),
            tg.LayerNorm(3, dtype="float64"),
        ]
    )
    x, labels = rng.standard_normal((5, 4, 4, 2)), rng.integers(0, 3, 5)
    loss = tg.cross_entropy(network(x), labels)
    code = tg.to_numpy(loss, inputs={"x": x, "labels": labels})
    value, gradients = code.compile()(**code.arguments)
    loss.backward()
    assert_same_bits(value, loss.numpy())
    for name, p in network.named_parameters().items():
        assert_same_bits(gradients[name.replace(".", "_")], p.grad)


# What it refuses


def decided_by_number(x):
    return x * float(np.max(x))


def into_a_plain_array(x):
    out = np.zeros(x.shape)
    out[...] = x
    return out


def random(x):
    return x * np.random.default_rng().random(x.shape)


def sees_a_change(x):
    y = x * 2
    part = y[:1]
    part += 1
    return y


@refused_calls(
    (
        "written(decided_by_number)",
        TypeError,
        "decided_by_number cannot be written.*Python number.*write its forward",
    ),
    (
        "written(into_a_plain_array)",
        TypeError,
        "into_a_plain_array cannot be written.*plain array.*write its forward",
    ),
    ("written(random)", TypeError, "random computed again gives other values"),
    ("written(sees_a_change)", TypeError, "sees_a_change cannot be written.*others see too"),
)
def test_ops_that_cannot_be_written_are_named(call, error, message):
    def written(forward):
        made = tg.op(forward)
        made.defvjp(x=lambda g, out, x: g)
        tg.to_numpy(np.sum(made(leaf([1.0, 2.0]))))

    assert_refused(call, error, message, written=written, **globals())


def test_a_formula_that_cannot_be_written_is_named():
    @tg.op
    def doubled(x):
        return 2 * x

    doubled.defvjp(x=lambda g, out, x: np.array([2.0 * float(v) for v in g]))
    with pytest.raises(TypeError, match="doubled cannot be written"):
        tg.to_numpy(np.sum(doubled(leaf([1.0, 2.0]))))


def test_checkpoints_are_named():
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="recompute cannot be written"):
        tg.to_numpy(np.sum(tg.checkpoint(np.exp)(x)))


@refused_calls(
    ("tg.to_numpy(x * 2)", ValueError, "not a scalar"),
    ("tg.to_numpy(tg.Tensor(1.0))", RuntimeError, "does not depend on anything"),
    ("tg.to_numpy(np.sum(x), wrt=leaf([1.0]))", ValueError, "in wrt is no leaf"),
)
def test_what_is_no_loss_of_its_leaves_is_refused(call, error, message):
    assert_refused(call, error, message, x=leaf([1.0, 2.0], name="x"), leaf=leaf)


def test_a_leaf_assigned_since_is_noticed():
    x = leaf([1.0, 2.0], name="x")
    loss = np.sum(x * x)
    x.data = [3.0, 4.0]
    with pytest.raises(RuntimeError, match="assigned after multiply had read it"):
        tg.to_numpy(loss)


# What it leaves behind


def test_writing_changes_no_op_and_no_leaf():
    x = leaf([1.0, 2.0], name="x")
    before = {name: op.forward for name, op in OPS.items()}
    loss = np.sum(tg.max_pool(x.reshape(1, 1, 2, 1), size=(1, 2)) * x[[0, 0]])
    with tg.no_grad(), tg.detect_nan():
        tg.to_numpy(loss)
    with pytest.raises(ValueError, match="not a scalar"):
        tg.to_numpy(x * 2)
    assert {name: op.forward for name, op in OPS.items()} == before
    assert x.grad is None
    loss.backward()
    assert x.grad is not None


def test_threads_do_not_disturb_one_another():
    x = leaf(np.arange(6.0), name="x")

    def loss():
        return np.sum(np.tanh(x[[0, 0, 3]]) * x[1:4])

    expected, found = tg.to_numpy(loss()).source, []
    threads = [threading.Thread(target=lambda: found.append(tg.to_numpy(loss()).source)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        loss().backward()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_the_source_can_be_saved(tmp_path):
    code = tg.to_numpy(np.sum(leaf([1.0], name="x")), name="my step")
    code.save(tmp_path / "code.py")
    assert (tmp_path / "code.py").read_text() == code.source == str(code)
    assert code.compile().__name__ == code.name == "my_step"
