"""The dtypes that ops compute in: integers at the door, halves, and constants beside tensors."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import NUMPY

INTEGERS = ("bool", "uint8", "int8", "int32", "int64")
HALF = np.float16


def extremes(dtype, shape=(4,)):
    low, high = (False, True) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.resize(np.array([high, 1, low, high // 2 + 1], dtype), shape)


# Integers at the door


#: Functions with a real result, of one array of four numbers.
REAL = {
    "sigmoid": tg.sigmoid,
    "softplus": tg.softplus,
    "silu": tg.silu,
    "elu": tg.elu,
    "leaky_relu": tg.leaky_relu,
    "gelu": tg.gelu,
    "gelu, tanh": lambda x: tg.gelu(x, approximate="tanh"),
    "erf": tg.erf,
    "erfc": tg.erfc,
    "softmax": tg.softmax,
    "log_softmax": tg.log_softmax,
    "logsumexp": tg.logsumexp,
    "mse": lambda x: tg.mse(x, x[::-1]),
    "mse, weighted": lambda x: tg.mse(x, x[::-1], np.arange(4)),
    "mae": lambda x: tg.mae(x, x[::-1]),
    "huber": lambda x: tg.huber(x, x[::-1]),
    "l2": lambda x: tg.l2(x, x, strength=0.5),
    "normalize": lambda x: tg.normalize(x, x[0], x[1], x[2]),
    "weights of cross_entropy": lambda x: tg.cross_entropy(np.eye(4), np.arange(4), abs(x / 2)),
    "float_power": lambda x: tg.float_power(x, 2),
    "sinc": tg.sinc,
    "mean": tg.mean,
    "var": tg.var,
    "std": tg.std,
    "median": tg.median,
    "average": lambda x: tg.average(x, weights=np.array([3, 1, 4, 1])),
    "weights of average": lambda x: tg.average(np.array([3, 1, 4, 1]), weights=x),
    "nanmean": tg.nanmean,
    "nanvar": tg.nanvar,
    "nanstd": tg.nanstd,
    "norm": tg.linalg.norm,
    "norm of order 1": lambda x: tg.linalg.norm(x, 1),
    "norm of order 3": lambda x: tg.linalg.norm(x, 3),
    "norm of order inf": lambda x: tg.linalg.norm(x, np.inf),
    "vector_norm": lambda x: tg.linalg.vector_norm(x, ord=np.inf),
    "matrix_norm": lambda x: tg.linalg.matrix_norm(x.reshape(2, 2), ord=1),
    "det": lambda x: tg.linalg.det(x.reshape(2, 2)),
    "cond": lambda x: tg.linalg.cond(x.reshape(2, 2), 1),
    "einsum with floats": lambda x: tg.einsum("ij,k->i", x.reshape(2, 2), np.array([0.5]), optimize=True),
}


@pytest.mark.parametrize("kind", [np.asarray, tg.Tensor])
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", REAL)
def test_a_real_result_of_integers_is_that_of_the_same_floats(name, dtype, kind):
    x = extremes(dtype)
    with np.errstate(all="ignore"):
        found, exact = REAL[name](kind(x)), REAL[name](x.astype(float))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.data if isinstance(found, tg.Tensor) else found, exact, rtol=1e-14)


#: Functions that would work for long at numbers as large, or leave an order open.
LEFT_OUT = {"tile", "repeat", "resize", "pad", "matrix_power", "meshgrid", "partition", "empty_like", "kron"}


def calls(dtype):
    square = extremes(dtype, (2, 2))
    x = extremes(dtype)
    return (x,), (square,), (x, x[::-1].copy()), (square, square.T.copy())


def as_arrays(result):
    if isinstance(result, (tuple, list)):
        return [x for part in result for x in as_arrays(part)]
    return [result.data if isinstance(result, tg.Tensor) else np.asarray(result)]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_numpys_functions_give_of_integer_tensors_what_numpy_gives(dtype):
    compared = set()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in NUMPY:
            if function.__name__ in LEFT_OUT or function is np.sinc:  # which we compute better
                continue
            for args in calls(dtype):
                try:
                    expected = as_arrays(function(*args))
                    found = as_arrays(function(*map(tg.Tensor, args)))
                except Exception:  # refused, by NumPy or by name
                    continue
                for ours, theirs in zip(found, expected, strict=True):
                    if theirs.dtype.kind == "f":
                        assert ours.dtype == theirs.dtype, f"{function.__name__} of {dtype}"
                        rtol = 2 * np.finfo(ours.dtype).eps + 1e-14
                        np.testing.assert_allclose(ours, theirs, rtol=rtol, err_msg=function.__name__)
                        compared.add(function)
    assert {np.exp, np.mean, np.linalg.norm, np.nanstd, np.divide, np.linalg.det} <= compared


@pytest.mark.parametrize(("call", "value"), [
    (lambda: np.linalg.norm(tg.Tensor(np.array([65536, 65536], np.int32))).item(), 65536 * 2**0.5),
    (lambda: tg.mse(np.array([0], np.uint8), np.array([20], np.uint8)), 400),
    (lambda: tg.mse(np.array([True]), np.array([False])), 1),
    (lambda: tg.softplus(np.array([3], np.uint8))[0], np.log1p(np.exp(3))),
    (lambda: tg.softmax(np.array([1, 1]))[0], 0.5),
    (lambda: tg.sigmoid(-40), 4.248354255291589e-18),
    (lambda: np.nanmax(tg.Tensor(np.array([2**53 + 1]))).item(), 2**53 + 1),
])  # fmt: skip
def test_integers_that_would_have_wrapped(call, value):
    assert call() == pytest.approx(value, rel=1e-15)


def test_integers_beside_floats_get_their_dtype():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, dtype=np.float32)
    for target in (np.array([3, 250], np.uint8), np.array([3, 250]), np.array([True, False])):
        loss = tg.mse(x, target, np.array([1, 1]))
        loss.backward()
        assert (loss.dtype, x.grad.dtype) == (np.float32, np.float32)
        np.testing.assert_allclose(x.grad, x.data - target, rtol=1e-6)
        x.zero_grad()


# Half precision

MANY = 70_000  # more than the largest half, 65504
rng = np.random.default_rng(0)
fives, ones, zeros, random = np.full(MANY, 5.0), np.ones(MANY), np.zeros(MANY), rng.standard_normal(MANY)
rows = rng.standard_normal((MANY, 3))
labels = rng.integers(0, 3, MANY)

HALVES = {
    "mean": (np.mean, ones),
    "var": (np.var, 8 * random),
    "std": (np.std, 8 * random),
    "max": (np.max, ones),
    "min": (np.min, ones),
    "median": (np.median, ones),
    "ptp": (np.ptp, np.concatenate([ones, zeros])),
    "average": (lambda a, w: np.average(a, weights=w), fives, ones),
    "nanmean": (np.nanmean, fives),
    "nanvar": (np.nanvar, random),
    "nanstd": (np.nanstd, random),
    "nanmax": (np.nanmax, ones),
    "sum over the first axis": (lambda x: np.sum(x, axis=0), np.ones((3000, 2))),
    "cumsum": (np.cumsum, np.ones(3000)),
    "a bias": (lambda x, b: x + b, np.zeros((3000, 2)), np.zeros(2)),
    "mse": (tg.mse, fives, zeros),
    "mae": (tg.mae, fives, zeros),
    "huber": (tg.huber, fives, zeros),
    "mse, weighted": (tg.mse, fives, zeros, ones),
    "mae, weighted": (tg.mae, fives, zeros, ones),
    "huber, weighted": (tg.huber, fives, zeros, ones),
    "binary_cross_entropy": (tg.binary_cross_entropy, random, 0.5 * ones),
    "binary_cross_entropy, weighted": (
        lambda x, w: tg.binary_cross_entropy(x, labels > 1, w, positive_weight=np.array(2.0)), random, ones,
    ),
    "cross_entropy": (lambda x: tg.cross_entropy(x, labels), rows),
    "cross_entropy, weighted": (lambda x, w: tg.cross_entropy(x, labels, w), rows, ones),
    "cross_entropy, weighted classes": (
        lambda x: tg.cross_entropy(x, labels, class_weights=np.array([1, 2, 3])), rows,
    ),
    "cross_entropy, smoothed": (lambda x: tg.cross_entropy(x, labels, label_smoothing=0.1), rows),
    "softmax": (tg.softmax, ones),
    "log_softmax": (lambda x: tg.log_softmax(x)[:1], ones),
    "logsumexp": (tg.logsumexp, ones),
    "avg_pool": (lambda x: tg.avg_pool(x, size=300), np.ones((1, 300, 300, 1))),
    "avg_pool of 2500": (lambda x: tg.avg_pool(x, size=50), np.ones((1, 50, 50, 1))),
    "global_avg_pool": (tg.global_avg_pool, np.ones((1, 300, 300, 2))),
    "global_max_pool": (tg.global_max_pool, np.ones((1, 300, 300, 2))),
    "conv2d": (tg.conv2d, rng.random((12, 60, 60, 1)) / 8, rng.random((2, 1, 3, 3)) / 8, np.zeros(2)),
    "conv2d, by twos": (
        lambda x, w: tg.conv2d(x, w, stride=2),
        rng.random((2, 80, 80, 1)) / 8, rng.random((1, 1, 40, 40)) / 8,
    ),
    "conv_transpose2d": (
        tg.conv_transpose2d, rng.random((2, 60, 60, 2)) / 8, rng.random((2, 1, 30, 30)) / 8,
    ),
    "max_pool, overlapping": (
        lambda x: tg.max_pool(x, size=30, stride=1) / 10,
        np.pad(np.ones((1, 1, 1, 1)), ((0, 0), (30, 29), (30, 29), (0, 0))),
    ),
    "norm": (np.linalg.norm, np.array([300.0, 400.0])),
    "norm of order 3": (lambda x: np.linalg.norm(x, 3), np.array([300.0, 400.0])),
    "einsum": (lambda x: np.einsum("ij,ij->j", x, x), np.ones((3000, 2))),
    "repeated indices": (lambda x: x[np.zeros(3000, int)], np.ones(2)),
    "repeat": (lambda x: np.repeat(x, 3000), np.ones(2)),
    "erf": (tg.erf, np.linspace(-5, 5, 50)),
    "sigmoid": (tg.sigmoid, np.linspace(-20, 20, 50)),
    "tanh": (tg.tanh, np.linspace(-20, 20, 50)),
    "gelu": (tg.gelu, np.linspace(-6, 6, 50)),
}  # fmt: skip


def value_and_gradients(function, args):
    leaves = [tg.Tensor(x, requires_grad=True) for x in args]
    out = function(*leaves)
    out.backward(np.ones(out.shape))
    return [out.data, *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("name", HALVES)
def test_halves_are_counted_and_averaged_right(name):
    function, *args = HALVES[name]
    args = [x.astype(HALF) for x in args]
    found = value_and_gradients(function, args)
    exact = value_and_gradients(function, [x.astype(float) for x in args])
    for half, double in zip(found, exact, strict=True):
        assert half.dtype == HALF
        np.testing.assert_allclose(half, double.astype(HALF), rtol=4e-3, atol=1.2e-7)


def test_weights_in_half_beside_a_double():
    assert tg.mse(fives, zeros, np.ones(MANY, HALF)) == 25
    assert np.average(tg.Tensor(fives), weights=np.ones(MANY, HALF)).item() == 5
    assert tg.binary_cross_entropy(zeros, zeros, np.ones(MANY, HALF)) == pytest.approx(np.log(2))
    assert tg.cross_entropy(np.zeros((MANY, 2)), labels // 2, np.ones(MANY, HALF)) == pytest.approx(np.log(2))


def test_second_derivatives_of_halves_stay_halves():
    x = tg.Tensor(np.linspace(-1, 1, 5), requires_grad=True, dtype=HALF)
    (slope,) = [tg.grad(lambda x: tg.mse(x, np.zeros(5, HALF)) + np.var(x) + tg.logsumexp(x))(x.data)]
    assert slope.dtype == HALF
    assert tg.hessian(lambda x: tg.mse(x, np.zeros(5, HALF)) + tg.logsumexp(x))(x.data).dtype == HALF


@pytest.mark.parametrize("layer", [tg.BatchNorm(2, dtype=HALF), tg.LayerNorm(MANY, dtype=HALF)], ids=repr)
def test_normalisation_of_halves(layer):
    x = rng.standard_normal((MANY, 2) if isinstance(layer, tg.BatchNorm) else (2, MANY)).astype(HALF)
    out = layer(x)
    axis = 0 if isinstance(layer, tg.BatchNorm) else 1
    double = x.astype(float)
    centred = (double - double.mean(axis, keepdims=True)) / double.std(axis, keepdims=True)
    np.testing.assert_allclose(out.data, centred, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(("layer", "low", "high"), [
    (tg.BatchNorm(2, dtype=HALF), 100, 101), (tg.LayerNorm(200, dtype=HALF), 0, 1000),
    (tg.LayerNorm(200, dtype=HALF), 100, 101), (tg.BatchNorm(2, dtype=HALF), 0, 500),
])  # fmt: skip
def test_normalisation_of_halves_whose_mean_or_variance_no_half_can_tell(layer, low, high):
    """A mean of 100.5 has steps of 1/16, and a variance of 83,000 is infinite."""
    shape = (2000, 2) if isinstance(layer, tg.BatchNorm) else (20, 200)
    x = rng.uniform(low, high, shape).astype(HALF)
    g = rng.standard_normal(shape).astype(HALF)
    double = (tg.BatchNorm if isinstance(layer, tg.BatchNorm) else tg.LayerNorm)(shape[1], dtype=float)
    found = []
    for f, values in ((layer, x), (double, x.astype(float))):
        leaf = tg.Tensor(values, requires_grad=True)
        out = f(leaf)
        out.backward(g.astype(out.dtype))
        found.append((out.data, leaf.grad))
    (half, half_slope), (exact, slope) = found
    assert half.dtype == half_slope.dtype == HALF
    np.testing.assert_allclose(half, exact, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(half_slope, slope, rtol=5e-3, atol=2e-3 * np.max(abs(slope)))


def test_running_statistics_that_no_half_can_hold_are_refused():
    x = (1000 * rng.standard_normal((100, 2))).astype(HALF)
    layer = tg.BatchNorm(2, momentum=1.0, dtype=HALF)
    with pytest.raises(ValueError, match=r"float16 cannot hold the running_variance.*compute in float32"):
        layer(x)


# A constant's dtype

DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
)  # fmt: skip


def constant(name, dtype):
    if dtype == "bool" or "target" in name or "weights" in name:
        return np.array([0.3, 0.0, 1.0] if dtype[0] == "f" else [1, 0, 1], dtype)
    numbers = {"u": [200, 3, 255], "i": [2, -128, 7], "f": [2.1, 0.3, 7.7]}[dtype[0]]
    return np.array(numbers, dtype)


#: Functions of a tensor and a constant of three numbers.
TWO = {
    **{
        f.__name__: f
        for f in (
            np.add, np.subtract, np.multiply, np.divide, np.power, np.float_power, np.logaddexp,
            np.logaddexp2, np.hypot, np.arctan2, np.remainder, np.fmod, np.floor_divide, np.maximum,
            np.minimum, np.fmax, np.fmin, np.copysign, np.heaviside, np.dot, np.inner, np.outer, np.vdot,
            np.vecdot, np.kron, np.cross, np.matmul, np.append,
        )
    },
    "mse": tg.mse,
    "mae": tg.mae,
    "huber": tg.huber,
    "where": lambda a, b: np.where([True, False, True], a, b),
    "clip": lambda a, b: np.clip(a, b, None),
    "weights of average": lambda a, b: np.average(a, weights=b),
    "einsum": lambda a, b: np.einsum("i,i->", a, b),
    "einsum, optimized": lambda a, b: np.einsum("i,j->j", a, b, optimize=True),
    "tensordot": lambda a, b: np.tensordot(a, b, 1),
    "mean of normalize": lambda a, b: tg.normalize(a, b, 1.0, 0.0),
    "gain of normalize": lambda a, b: tg.normalize(a, 1.0, b, 0.0),
    "concatenate": lambda a, b: np.concatenate([a, b]),
    "stack": lambda a, b: np.stack([a, b]),
    "target of binary_cross_entropy": lambda a, b: tg.binary_cross_entropy(a, b),
    "weights of mse": lambda a, b: tg.mse(a, 0 * a, b),
    "weights of binary_cross_entropy": lambda a, b: tg.binary_cross_entropy(a, np.ones(3, int), b),
    "weights of cross_entropy": lambda a, b: tg.cross_entropy(np.stack([a, 2 * a, a]), np.arange(3), b),
}  # fmt: skip


def derive(name, side, c, tensor):
    """Value and gradient of a function of a tensor and a constant, which is on one side of it."""
    x = tg.Tensor([1.5, 0.7, 2.2], requires_grad=True, dtype=tensor)
    out = TWO[name](x, c) if side == "left" else TWO[name](c, x)
    np.sum(out * out).backward()
    return out.data, x.grad


SIDES = [
    (name, side) for name in TWO for side in ("left", "right") if side == "left" or "entropy" not in name
]


@pytest.mark.parametrize(("name", "side"), SIDES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_constant_counts_as_cast_to_the_tensors_dtype(name, side):
    for tensor, dtype in itertools.product((np.float32, np.float64), DTYPES):
        c = constant(name, dtype)
        try:
            found = derive(name, side, c, tensor)
        except TypeError:
            if np.result_type(tensor, dtype) != tensor:  # it would promote float32
                continue
            raise
        exact = derive(name, side, c.astype(tensor), tensor)
        for ours, theirs in zip(found, exact, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=4 * np.finfo(tensor).eps, err_msg=dtype)


def test_a_power_of_small_integers():
    x = np.array([2, 3, 7], np.uint8)
    found = tg.grad(lambda t: np.sum(x**t))(np.ones(3))
    np.testing.assert_allclose(found, x * np.log(x.astype(float)), rtol=1e-15)
    y = np.array([-128, 0], np.int8)
    np.testing.assert_allclose(tg.grad(lambda t: np.sum(t**y))(np.array([0.9, 2.0])), [-128 * 0.9**-129, 0])
