"""Arrays of others that NumPy would convert without a word: those on a device, and those not yet computed."""

import importlib.util

import numpy as np
import pytest

import tensorgrad as tg


class Foreign:
    """Whatever NumPy can convert."""

    def __array__(self, dtype=None, copy=None):
        return np.ones(3)


class Lazy(Foreign):
    def __init__(self, graph):
        self.graph = graph

    def __dask_graph__(self):
        return self.graph


class OnDevice(Foreign):
    def __init__(self, device):
        self.device = device

    def __dlpack_device__(self):
        if self.device is None:
            raise BufferError("in several parts")
        return self.device, 0


class Cuda(Foreign):
    __cuda_array_interface__ = {}  # noqa: RUF012 - a stand-in


class Jax(Foreign):
    pass


Jax.__module__ = "jaxlib._jax"

REFUSED = [
    (Lazy({"a": 1}), "Dask Lazy, yet to be computed; write .compute"),
    (Jax(), r"JAX's Jax; write np.asarray\(...\)"),
    (OnDevice(2), r"in the host's memory, got a \w+.OnDevice on another device; copy it, as .cpu\(\)"),
    (OnDevice(10), "another device"),
    (OnDevice(None), "another device"),
    (Cuda(), "another device"),
]
TAKEN = [Foreign(), Lazy(None), OnDevice(1), OnDevice(3)]


@pytest.mark.parametrize(("x", "message"), REFUSED)
def test_what_is_not_in_the_hosts_memory_is_refused_by_everybody(x, message):
    parameter = tg.Parameter(np.zeros(3))

    def assign():
        parameter.data = x

    def assign_gradient():
        parameter.grad = x

    calls = [
        lambda: tg.Tensor(x),
        lambda: tg.Tensor([x, x]),
        lambda: parameter * x,
        lambda: tg.mse(parameter, x),
        lambda: tg.grad(tg.sum)(x),
        lambda: tg.Dense(3, 1, rng=0)(x),
        assign,
        assign_gradient,
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize("x", TAKEN)
def test_what_is_in_the_hosts_memory_is_taken(x):
    assert tg.Tensor(x).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_tensors_of_pytorch():
    import torch

    assert tg.Tensor(torch.ones(2).numpy()).tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"got a torch.Tensor on another device; copy it, as .cpu\(\)"):
        tg.Tensor(torch.ones(2, device="meta"))


@pytest.mark.skipif(importlib.util.find_spec("dask") is None, reason="needs Dask")
def test_arrays_of_dask():
    import dask.array

    with pytest.raises(TypeError, match="Dask Array, yet to be computed"):
        tg.Tensor(dask.array.ones(3))
