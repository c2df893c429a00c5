"""to_numpy: the code computes the engine's bits, and reads as it should."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import SHIPPED, is_floating

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.core import OPS


def assert_same_bits(found, truth):
    found, truth = np.asarray(found), np.asarray(truth)
    assert (found.shape, found.dtype) == (truth.shape, truth.dtype)
    np.testing.assert_array_equal(found, truth)
    assert found.tobytes() == truth.tobytes()


def assert_computes(code, loss, leaves):
    """Hold the code, run on the values of named leaves, against the engine's ``loss`` and its gradients."""
    for leaf in leaves:
        leaf.grad = None
    loss.backward()
    values = {name: x for name, x in code.arguments.items() if name not in {leaf.name for leaf in leaves}}
    value, gradients = code.compile()(**values, **{leaf.name: leaf.numpy() for leaf in leaves})
    assert_same_bits(value, loss.numpy())
    assert list(gradients) == [leaf.name for leaf in leaves]
    for leaf in leaves:
        assert_same_bits(gradients[leaf.name], np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad)


# Every op of the package


def drawn(sample, dtype, seed):
    """The arguments of a sample, and the leaves among them; all else is the same for all seeds."""
    args = list(sample.args(np.random.default_rng(0)))
    leaves = []
    for i, x in enumerate(sample.args(np.random.default_rng(seed))):
        if is_floating(x):
            args[i] = tg.Tensor(x, requires_grad=True, name=f"x{i}", dtype=dtype)
            leaves.append(args[i])
    return args, leaves


def contracted(name, sample, args):
    out = OPS[name](*args, **sample.params)
    cotangent = np.random.default_rng(9).standard_normal(out.shape)
    return tg.sum(out * np.asarray(cotangent).astype(out.dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_op_forward_and_backward(name, dtype):
    for sample in SAMPLES[name]:
        args, leaves = drawn(sample, dtype, 0)
        code = tg.to_numpy(contracted(name, sample, args))
        assert_computes(code, contracted(name, sample, args), leaves)
        # At other values too: nothing that was computed is among the constants.
        args, leaves = drawn(sample, dtype, 1)
        assert_computes(code, contracted(name, sample, args), leaves)


# The two networks of the notebook


def network_and_data(make, dtype="float64", images=8):
    rng = np.random.default_rng(0)
    network = make((28, 28, 1), 10, dtype=dtype, rng=0)
    x = rng.random((images, 28, 28, 1)).astype(dtype)
    target = np.eye(10)[rng.integers(0, 10, images)].astype(dtype)
    return network, x, target


def argument_of(name):
    return name.replace(".", "_")


both_networks = pytest.mark.parametrize("make", [tg.dense_network, tg.convolutional_network])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@both_networks
def test_training_by_the_code_is_training_by_the_engine(make, dtype):
    network, x, target = network_and_data(make, dtype)
    code = tg.to_numpy(tg.mse(network(x), target), inputs={"x": x, "target": target})
    step = code.compile()
    parameters = {argument_of(name): p.numpy() for name, p in network.named_parameters().items()}
    assert list(code.arguments) == ["x", "target", *parameters]
    for batch in range(3):
        x, target = np.roll(x, batch, axis=1), np.roll(target, batch, axis=0)
        value, gradients = step(x, target, **parameters)
        parameters = {name: p - 0.5 * gradients[name] for name, p in parameters.items()}
        loss = tg.mse(network(x), target)
        loss.backward()
        assert_same_bits(value, loss.numpy())
        for name, p in network.named_parameters().items():
            p.data = p.data - 0.5 * p.grad
            p.zero_grad()
            assert_same_bits(parameters[argument_of(name)], p.data)


@both_networks
def test_gradients_of_the_networks_are_what_finite_differences_say(make):
    network, x, target = network_and_data(make)
    code = tg.to_numpy(tg.mse(network(x), target), inputs={"x": x, "target": target})
    _, gradients = code.compile()(**code.arguments)
    rng = np.random.default_rng(1)
    for name, p in network.named_parameters().items():
        start, h = p.numpy(), 1e-8  # so small that hardly any maximum changes hands
        direction = rng.standard_normal(p.shape)
        losses = []
        for sign in (1, -1):
            p.data = start + sign * h * direction
            losses.append(tg.mse(network(x), target).item())
        p.data = start
        slope = (losses[0] - losses[1]) / (2 * h)
        np.testing.assert_allclose(
            np.sum(gradients[argument_of(name)] * direction), slope, rtol=1e-4, atol=1e-7
        )


@both_networks
def test_the_code_needs_nothing_but_numpy(make, tmp_path):
    network, x, target = network_and_data(make)
    loss = tg.mse(network(x), target)
    code = tg.to_numpy(loss, inputs={"x": x, "target": target}, path=tmp_path / "step.py")
    np.savez(tmp_path / "arguments.npz", **code.arguments)
    program = f"""
import sys
sys.modules["tensorgrad"] = None  # importing it raises
sys.path.insert(0, {str(tmp_path)!r})
before = set(sys.modules)
import numpy as np
with np.load({str(tmp_path / "arguments.npz")!r}) as file:
    arguments = dict(file)
new = set(sys.modules)
from step import step
assert set(sys.modules) - new <= {{"step", "__future__"}}, set(sys.modules) - new
loss, gradients = step(**arguments)
np.savez({str(tmp_path / "results.npz")!r}, loss=loss, **gradients)
"""
    subprocess.run([sys.executable, "-I", "-c", program], check=True, timeout=120)
    loss.backward()
    with np.load(tmp_path / "results.npz") as results:
        assert_same_bits(results["loss"], loss.numpy())
        for name, p in network.named_parameters().items():
            assert_same_bits(results[argument_of(name)], p.grad)
