"""to_c against Network.predict: what a C program that calls the file computes, and what is refused."""

import shutil
import subprocess

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import OPS
from tensorgrad.graph.export.c_elementwise import ELEMENTWISE

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wmissing-prototypes"]
compiled = pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")

# Reads as many samples as its argument says, and writes what the function gives and its results.
CALLER = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
static INPUT x[20 * PREDICT_INPUTS];
static OUTPUT y[20 * PREDICT_OUTPUTS];
int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 0;
  size_t read = fread(x, sizeof *x * PREDICT_INPUTS, count, stdin);
  printf("%d\\n", predict(x, y, (int)read));
  fwrite(y, sizeof *y * PREDICT_OUTPUTS, count, stdout);
  return 0;
}
"""


def build(folder, network, shape, dtype, *, whole=False, compiler=None):
    """A function that runs a C program on samples: what ``predict`` gave there, and its results."""
    tg.to_c(network, shape, folder / "net.c", dtype=f"i{np.dtype(dtype).itemsize}" if whole else dtype)
    real = "float" if dtype == np.float32 else "double"
    kinds = [f"-DINPUT={f'int{8 * np.dtype(dtype).itemsize}_t' if whole else real}", f"-DOUTPUT={real}"]
    (folder / "main.c").write_text(CALLER)
    for command in (
        [*STRICT, "-O1", "-c", "net.c"],
        ["-std=c99", *kinds, "main.c", "net.o", "-lm", "-o", "main"],
    ):
        command = [compiler or COMPILERS[0], *command]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(x):
        given = x.astype(f"i{np.dtype(dtype).itemsize}" if whole else dtype)
        done = subprocess.run([folder / "main", str(len(x))], input=given.tobytes(), capture_output=True)
        status, _, rest = done.stdout.partition(b"\n")
        return int(status), np.frombuffer(rest, dtype).reshape(len(x), -1)

    return run


def train_a_little(network, x):
    """Running statistics that are not those of a new network."""
    for _ in range(3):
        network(x * 1.5 + 0.3)
    return network


def dense(dtype, rng):
    return tg.dense_network((8, 8, 1), 10, dtype=dtype, rng=rng), (8, 8, 1)


def notebook_cnn(dtype, rng):
    return tg.convolutional_network((12, 12, 1), 10, dtype=dtype, rng=rng), (12, 12, 1)


def lenet5(dtype, rng):
    layers = [
        tg.Conv2D(1, 6, 5, padding=2, dtype=dtype, rng=rng), tg.Tanh(), tg.AvgPool2D(2),
        tg.Conv2D(6, 16, 5, dtype=dtype, rng=rng), tg.Tanh(), tg.AvgPool2D(2), tg.Flatten(),
        tg.Dense(400, 120, dtype=dtype, rng=rng), tg.Tanh(), tg.Dense(120, 84, dtype=dtype, rng=rng),
        tg.Tanh(), tg.Dense(84, 10, dtype=dtype, rng=rng), tg.Softmax(),
    ]  # fmt: skip
    return tg.Network(layers), (28, 28, 1)


def modern(dtype, rng):
    network = tg.modern_network((12, 12, 3), 5, dtype=dtype, rng=rng)
    return train_a_little(network, rng.standard_normal((9, 12, 12, 3)).astype(dtype)), (12, 12, 3)


def norms_and_pools(dtype, rng):
    strides = {"stride": (1, 2), "dilation": (2, 1)}
    layers = [
        tg.Conv2D(2, 8, (2, 3), padding=((0, 1), (2, 0)), **strides, groups=2, dtype=dtype, rng=rng),
        tg.BatchNorm(8, dtype=dtype), tg.GELU(), tg.MaxPool2D(3, stride=2, padding=1),
        tg.LeakyReLU(), tg.AvgPool2D((2, 3), stride=1, padding=1), tg.ELU(), tg.Flatten(),
        tg.Dense(192, 17, dtype=dtype, rng=rng), tg.LayerNorm(17, dtype=dtype), tg.SiLU(), tg.Dropout(0.5),
        tg.Dense(17, 4, dtype=dtype, rng=rng), tg.GELU(approximate="tanh"),
    ]  # fmt: skip
    network = tg.Network(layers)
    return train_a_little(network, rng.standard_normal((9, 11, 13, 2)).astype(dtype)), (11, 13, 2)


def global_pools(dtype, rng):
    layers = [
        tg.Conv2D(1, 5, 3, padding="same", dtype=dtype, rng=rng), tg.Softplus(),
        tg.MaxPool2D(2, stride=1), Odd(lambda x: tg.avg_pool(x, size=2, ceil_mode=True)),
        tg.GlobalAvgPool2D(), tg.Dense(5, 3, dtype=dtype, rng=rng), tg.LogSoftmax(),
    ]  # fmt: skip
    return tg.Network(layers), (7, 6, 1)


MAKERS = [dense, notebook_cnn, lenet5, modern, norms_and_pools, global_pools]


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", MAKERS)
def test_a_c_program_predicts_what_the_network_does(tmp_path, make, dtype):
    rng = np.random.default_rng(0)
    network, shape = make(dtype, rng)
    run = build(tmp_path, network, shape, dtype)
    tolerance = 30 * np.finfo(dtype).eps
    for count in (1, 3, 17):
        x = rng.standard_normal((count, *shape)).astype(dtype)
        expected = network.predict(x)
        status, found = run(x)
        assert status == 0
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_embedding_reads_integers_and_refuses_those_outside(tmp_path, dtype):
    rng = np.random.default_rng(0)
    layers = [tg.Embedding(7, 3, dtype=dtype, rng=rng), tg.Flatten(), tg.Dense(12, 4, dtype=dtype, rng=rng)]
    network = tg.Network([*layers, tg.Sigmoid()])
    run = build(tmp_path, network, (4,), dtype, whole=True)
    for count in (1, 3, 17):
        x = rng.integers(0, 7, (count, 4))
        status, found = run(x)
        assert status == 0
        np.testing.assert_allclose(found, network.predict(x), rtol=0, atol=10 * np.finfo(dtype).eps)
    for wrong in (7, -1, 2**31 - 1, -(2**31)):
        x[5, 2] = wrong
        assert run(x)[0] == 6


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integers_are_added_and_too_large_ones_told_of(tmp_path, dtype):
    table = tg.Parameter(np.arange(12.0).reshape(6, 2).astype(dtype))
    function = lambda i: tg.sum(table[np.where(i > 3, True, i + 1) - 1], axis=1)
    run = build(tmp_path, function, (3,), dtype, whole=True)
    most = np.iinfo(f"i{np.dtype(dtype).itemsize}").max
    x = np.array([[0, 1, 2], [3, 4, most - 1]])
    assert run(x)[0] == 0
    np.testing.assert_array_equal(run(x)[1], function(x).data)
    assert run(np.array([[0, 1, most]]))[0] == 1


@compiled
def test_every_compiler_here_takes_the_file_without_a_warning(tmp_path):
    for compiler in COMPILERS:
        for make in MAKERS:
            folder = tmp_path / f"{compiler}_{make.__name__}"
            folder.mkdir()
            build(folder, *make(np.float32, np.random.default_rng(0)), np.float32, compiler=compiler)


@compiled
def test_values_that_are_not_finite_stay_so(tmp_path):
    network = tg.Network([tg.Dense(3, 4, rng=0), tg.ReLU(), tg.Softmax()])
    network.layers[0].bias.data = np.array([np.inf, 0, -np.inf, np.nan], np.float32)
    _, found = build(tmp_path, network, 3, np.float32)(np.ones((2, 3), np.float32))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found, network.predict(np.ones((2, 3), np.float32)))


@compiled
def test_a_function_of_arrays_is_written_too(tmp_path):
    table = np.array([[0.5, -1.0], [2.0, 0.25]])
    steps = tg.Parameter(np.array([1.0, 3.0]), name="int")  # a word of C

    def energy(x):
        gated = np.where(x > 0.1, x, -2 * x) * steps
        return tg.sum(np.hypot(gated @ table, 1.0), axis=1, keepdims=True) + x.shape[1]

    status, found = build(tmp_path, energy, 2, np.float64)(
        x := np.random.default_rng(0).standard_normal((5, 2))
    )
    assert status == 0
    np.testing.assert_allclose(found, energy(x).data, rtol=1e-14)


@compiled
def test_a_decision_by_values_is_not_taken_for_samples_that_decide_otherwise(tmp_path):
    def branch(x):
        return x * 2.0 if np.all(x > -100) else x * 3.0

    run = build(tmp_path, branch, 2, np.float32)
    assert run(np.array([[1, 2], [3, -200], [5, 6]]))[0] == 2
    assert run(np.array([[1, 2], [3, 4]]))[0] == 0


class Odd(tg.Layer):
    """A layer of a user's with an op that has no rule, and one whose samples meet."""

    def __init__(self, f):
        self.f = f

    def forward(self, x):
        return self.f(x)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.sort(x, axis=1), "argsort"),
        (lambda x: np.cumsum(x, axis=1), "no rule for cumsum in C"),
        (lambda x: x - tg.mean(x, axis=0), "depends on the other samples"),
        (lambda x: x * x.shape[0], "result depends on the other"),
        (lambda x: tg.sum(x), "a result for each of 11 samples"),
        (lambda x: (x, x), "one output, got 2"),
        (lambda x: x.numpy(), r"numpy\(\) takes the values of x"),
        (lambda x: x * np.random.default_rng().random(3).astype("f"), "drawn anew"),
        (lambda x: x > 0, "float32 or float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_a_file_is(tmp_path, f, words):
    with pytest.raises(tg.UncompilableError, match=f"^to_c: .*{words}"):
        tg.to_c(Odd(f), 3, tmp_path / "odd.c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["2nd", "a b", "", "naïve", "int", "main", "exp", "compute", "s_relu", "x y"]
)
def test_a_name_that_c_cannot_have_is_refused(tmp_path, name):
    network = tg.Network([tg.Dense(2, 2, rng=0), tg.ReLU()])
    with pytest.raises(ValueError, match="to_c: expected a name that C"):
        tg.to_c(network, 2, tmp_path / "a.c", name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_c_would_count_otherwise_in_is_refused():
    for dtype in (np.float16, np.uint8, bool, complex):
        with pytest.raises(
            TypeError, match="to_c: expected an input of float32, float64, int32 or int64, got"
        ):
            tg.to_c(tg.Network([tg.ReLU()]), 2, dtype=dtype)


@pytest.mark.parametrize(
    ("network", "shape", "error", "words"),
    [
        (tg.Tensor(1.0), 2, TypeError, "a network or a function of an array, got Tensor"),
        (tg.Network([tg.Dense(2, 2, rng=0)]), (2, 0), ValueError, "to be a positive integer, got 0"),
        (tg.Network([tg.Dense(2, 2, rng=0)]), 3, ValueError, r"expected input of shape \(N, 2\)"),
    ],
    ids=["tensor", "empty", "other shape"],
)
def test_what_is_no_network_or_does_not_fit_is_refused(network, shape, error, words):
    with pytest.raises(error, match=words):
        tg.to_c(network, shape)


def test_a_path_that_is_no_c_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.c, got '.*net\.txt'"):
        tg.to_c(tg.Network([tg.ReLU()]), 2, tmp_path / "net.txt")
    with pytest.raises(OSError, match="cannot write"):
        tg.to_c(tg.Network([tg.ReLU()]), 2, tmp_path / "missing" / "net.c")


@compiled
def test_names_of_users_become_names_of_c(tmp_path):
    first, second = tg.Dense(2, 2, rng=0), tg.Dense(2, 2, rng=1)
    first.weights.name, first.bias.name = "naïve *weights*/", "float"
    second.weights.name, second.bias.name = "2nd\\", "x"
    build(tmp_path, Odd(lambda x: second(first(x))), 2, np.float32)


def test_the_network_is_as_before(tmp_path):
    network = tg.modern_network((8, 8, 1), 3, rng=0)
    before = {name: x.copy() for name, x in network.named_buffers().items()}
    x = np.random.default_rng(1).random((4, 8, 8, 1), dtype=np.float32)
    (dropout,) = [layer for layer in network.layers if isinstance(layer, tg.Dropout)]
    state = dropout.generator.bit_generator.state
    code = tg.to_c(network, (8, 8, 1), tmp_path / "net.c")
    assert all(np.array_equal(before[name], x) for name, x in network.named_buffers().items())
    assert dropout.generator.bit_generator.state == state
    assert network.training
    assert (tmp_path / "net.c").read_text() == code.source == str(code)
    assert (tmp_path / "net.h").read_text() == code.header
    assert np.isfinite(network.predict(x)).all()


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_op_on_elements_is_written_in_plain_c(tmp_path, dtype):
    ops = [OPS[name] for name in ELEMENTWISE if name in OPS]
    unary = [op for op in ops if len(op.arrays) == 1 and op.name not in ("astype", "arccosh", "logical_not")]
    binary = [
        op
        for op in ops
        if len(op.arrays) == 2 and op.name not in ("gate", "ldexp") and "logical" not in op.name
    ]
    assert len(unary) > 30
    assert len(binary) > 10

    def everything(x):
        a, b = x[:, :3], x[:, 3:]
        parts = [*(op(a) for op in unary), np.arccosh(a + 1), *(op(a, b) for op in binary)]
        return np.concatenate([part for part in parts if part.dtype == dtype], axis=1)

    x = np.random.default_rng(0).uniform(0.1, 0.9, (7, 6)).astype(dtype)
    status, found = build(tmp_path, everything, 6, dtype)(x)
    assert status == 0
    np.testing.assert_allclose(found, everything(tg.Tensor(x)).data, rtol=40 * np.finfo(dtype).eps)
