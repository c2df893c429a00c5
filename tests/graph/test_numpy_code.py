"""to_numpy: the code computes the engine's bits, and reads as it should."""

import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import SHIPPED, floating

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
    """The arguments of a sample, leaves from one seed, all else always from the same."""
    fixed = sample.args(np.random.default_rng(0))
    args = floating(lambda x: x.astype(dtype), sample.args(np.random.default_rng(seed)))
    args = [
        new if isinstance(new, np.ndarray) and new.dtype.kind == "f" else old
        for new, old in zip(args, fixed, strict=True)
    ]
    leaves = [
        tg.Tensor(x, requires_grad=True, name=f"x{i}")
        for i, x in enumerate(floating(lambda x: x, args))
        if isinstance(x, np.ndarray) and x.dtype.kind == "f"
    ]
    rest = iter(leaves)
    return [next(rest) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in args], leaves


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
