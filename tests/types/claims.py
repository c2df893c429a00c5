"""What type checkers are told of calls. The test runs each line too, and compares what comes."""

from typing import Any, assert_type

import numpy as np

import tensorgrad as tg

NDArray = np.ndarray[Any, Any]

a: NDArray = np.array([[2.0, 1.0], [1.0, 3.0]])
c: NDArray = np.array([True, False])
t = tg.Tensor(a, requires_grad=True)
p = tg.Parameter(a)


def total(x: tg.Tensor) -> tg.Tensor:
    return tg.sum(x * x)


def energy(model: dict[str, tg.Tensor]) -> tg.Tensor:
    return tg.sum(model["w"] ** 2)


assert_type(tg.relu(t), tg.Tensor)
assert_type(tg.relu(p), tg.Tensor)
assert_type(tg.relu(a), NDArray)
assert_type(tg.exp(a), NDArray)
assert_type(tg.exp(t), tg.Tensor)
assert_type(tg.maximum(t, 0.0), tg.Tensor)
assert_type(tg.add(a, t), tg.Tensor)
assert_type(tg.add(2.0, t), tg.Tensor)
assert_type(tg.matmul(a, p), tg.Tensor)
assert_type(tg.where(c, a, t), tg.Tensor)
assert_type(tg.where(c, t, 0.0), tg.Tensor)
assert_type(tg.sum(t, axis=0), tg.Tensor)
assert_type(tg.mse(t, a, reduction="sum"), tg.Tensor)
assert_type(tg.softmax(a), NDArray)
assert_type(tg.linalg.inv(t), tg.Tensor)
assert_type(tg.stop_gradient(p), tg.Tensor)
assert_type(tg.stop_gradient(a), NDArray)
assert_type(t + a, tg.Tensor)
assert_type(1 - t, tg.Tensor)
assert_type(p @ t, tg.Tensor)
assert_type(-t, tg.Tensor)
assert_type(t[0], tg.Tensor)
assert_type(t.reshape(-1).T, tg.Tensor)
assert_type(t.mean(axis=0), tg.Tensor)
assert_type(t.numpy(), NDArray)
assert_type(tg.grad(total)(a), NDArray)
assert_type(tg.grad(total)(t), tg.Tensor)
assert_type(tg.grad(total)(2.0), NDArray)
assert_type(tg.grad(energy)({"w": a}), dict[str, NDArray])
assert_type(tg.grad(energy)({"w": 2.0}), dict[str, NDArray])
assert_type(tg.grad(total, (0,))(a), Any)
assert_type(tg.value_and_grad(total)(a), tuple[NDArray, NDArray])
assert_type(tg.value_and_grad(total)(t), tuple[tg.Tensor, tg.Tensor])
assert_type(tg.hessian(total)(a), NDArray)
assert_type(tg.hvp(total)(a, a), NDArray)
assert_type(tg.jacobian(tg.exp)(a), NDArray)

# What NumPy's own types say of tensors; `docs/how-to/types.md` tells it.
np.sin(t).detach()  # type: ignore[attr-defined]
np.sum(t).detach()
