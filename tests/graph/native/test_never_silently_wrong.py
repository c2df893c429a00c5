"""What a compiled function reads and what changes is seen; what C cannot count is refused, by its name."""

import array
import contextvars
import itertools
import os
import shutil
import signal
import threading

import numpy as np
import pytest
import settings

import tensorgrad as tg
from tensorgrad.core import Op
from tensorgrad.core.operators import OPS
from tensorgrad.graph.native import printer, toolchain, variant

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((20, 6))
FACTOR, TABLE, LARGE, EXTRA = 2.0, np.arange(6.0), np.ones((400, 300)), [1.0]


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O0"))


def numbered(cases):
    """Cases with their numbers as names."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), id=str(k))
        for k, case in enumerate(cases)
    ]


# What is read


def factor():
    return FACTOR


class Base(tg.Layer):
    power = 1.0

    def bend(self, x):
        return x * FACTOR


class Bend(Base):
    """It reads whatever a layer can read."""

    __slots__ = ("__hidden",)

    def __init__(self):
        self.scale, self.table, self.buffer = 2.0, np.ones(6), tg.nn.Buffer(np.array(3.0))
        self.options = {"shift": 1.0}
        self.__hidden = 1.5

    @property
    def doubled(self):
        return 2 * self.scale

    @staticmethod
    def add(x):
        return x + TABLE.sum()

    def hide(self, number):
        self.__hidden = number

    def forward(self, x, *, extra=EXTRA):
        x = self.bend(x) * self.doubled + float(self.table.sum()) + self.options["shift"] * self.power
        x = self.add(x) * self.buffer.item() + extra[0] + LARGE.mean() + self.__hidden
        return x * settings.scale * factor()


def change_buffer(layer):
    layer.buffer.data = np.array(5.0)


CHANGES = {
    "a number": lambda layer, patch: setattr(layer, "scale", 3.0),
    "an array in place": lambda layer, patch: layer.table.__setitem__(0, 7.0),
    "another array": lambda layer, patch: setattr(layer, "table", np.zeros(6)),
    "an item of a dict": lambda layer, patch: layer.options.update(shift=4.0),
    "a buffer": lambda layer, patch: change_buffer(layer),
    "a slot": lambda layer, patch: layer.hide(2.5),
    "a number of the class": lambda layer, patch: patch.setattr(Base, "power", 3.0),
    "a method": lambda layer, patch: patch.setattr(Base, "bend", lambda self, x: x - 1.0),
    "a default": lambda layer, patch: patch.setitem(Bend.forward.__kwdefaults__, "extra", [2.0]),
    "an item of a default": lambda layer, patch: EXTRA.__setitem__(0, EXTRA[0] + 8.0),
    "a global number": lambda layer, patch: patch.setitem(globals(), "FACTOR", 4.0),
    "a global array": lambda layer, patch: patch.setitem(globals(), "TABLE", np.ones(6)),
    "a large array in place": lambda layer, patch: LARGE.__iadd__(1.0),
    "a global function": lambda layer, patch: patch.setitem(globals(), "factor", lambda: 5.0),
    "a number of a module": lambda layer, patch: patch.setattr(settings, "scale", 6.0),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("inside", [False, True], ids=["layer", "network"])
def test_a_change_of_what_a_forward_reads_is_seen(kind, inside, monkeypatch):
    layer = Bend()
    function = tg.Network([layer, tg.Tanh()]) if inside else layer
    compiled = tg.compile(function)
    before = function(ROWS).data
    for _ in range(2):
        assert np.allclose(compiled(ROWS).data, before, rtol=1e-12)
    assert compiled.recordings == 1
    CHANGES[kind](layer, monkeypatch)
    assert np.allclose(compiled(ROWS).data, function(ROWS).data, rtol=1e-12)
    assert inside or not np.allclose(function(ROWS).data, before, rtol=1e-3)
    assert compiled.recordings == 2


@pytest.mark.parametrize(
    "make",
    [bytearray, lambda x: memoryview(bytearray(x)), lambda x: array.array("b", x)],
    ids=["bytearray", "memoryview", "array"],
)
def test_a_change_of_bytes_and_of_a_context_variable_is_seen(make):
    numbers, variable = make(b"\x03\x02"), contextvars.ContextVar("factor", default=1.0)
    loss = tg.compile(lambda x: tg.sum(x) * numbers[1] * variable.get())
    for k in range(1, 4):
        for change in (lambda k=k: numbers.__setitem__(1, k), lambda k=k: variable.set(k / 2.0)):
            change()
            assert np.isclose(loss(ROWS).item(), ROWS.sum() * numbers[1] * variable.get(), rtol=1e-12)


def test_a_compiled_function_is_a_part_of_another():
    w = tg.Parameter(RNG.standard_normal(6), name="w")
    inner = tg.compile(lambda x: tg.tanh(x @ w))
    outer = tg.compile(lambda x: tg.sum(inner(x)) + tg.sum(inner(np.ones((2, 6)))))
    for scale in (1.0, 2.0):
        out = outer(ROWS * scale)
        inner(ROWS[: int(scale)])  # which compiles it for other shapes
        w.zero_grad()
        out.backward()
        h, ones = np.tanh(ROWS * scale @ w.numpy()), np.tanh(w.numpy().sum())
        assert np.isclose(out.item(), h.sum() + 2 * ones, rtol=1e-12)
        assert np.allclose(w.grad, scale * ROWS.T @ (1 - h**2) + 2 * (1 - ones**2), rtol=1e-10)
    assert outer.recordings == 1


def test_training_changes_nothing_that_is_recorded_anew():
    net = tg.Network(
        [tg.Dense(6, 4, rng=0, dtype=float), tg.BatchNorm(4, dtype=float), tg.Dropout(0.5, rng=1)]
    )
    step = tg.compile(lambda x: tg.mean(net(x) ** 2), optimizer=tg.Adam(net.parameters()))
    for _ in range(3):
        step(ROWS)
    assert step.recordings == 1


def test_an_optimizer_beside_the_network_counts_and_is_not_recorded_anew():
    class Trainer:
        def __init__(self):
            self.net = tg.Network([tg.Dense(6, 4, rng=0, dtype=float)])
            self.optimizer = tg.Adam(self.net.parameters())

        def loss(self, x):
            return tg.mean(self.net(x) ** 2) * (1 + self.optimizer.learning_rate)

    trainer = Trainer()
    loss = tg.compile(trainer.loss)
    for _ in range(3):
        trainer.optimizer.zero_grad()
        loss(ROWS).backward()
        trainer.optimizer.step()
    assert loss.recordings == 1
    trainer.optimizer.learning_rate = 0.5
    assert np.isclose(loss(ROWS).item(), trainer.loss(ROWS).item(), rtol=1e-12)
    assert loss.recordings == 2


# Whole numbers


NUMBERS = np.arange(20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "function",
    numbered(
        [
            lambda i, x: i + i - 3,
            lambda i, x: -i,
            lambda i, x: x.astype(int),
            lambda i, x: np.where(i > 0.5, x, 0.0),
            lambda i, x: np.where(i == 2.0, x, 0.0),
            lambda i, x: np.where(i + 16777200 == 16777217.0, 1.0, x),
            lambda i, x: np.where(i + 16777200 < x + 16777209, 1.0, x),
            lambda i, x: x * np.zeros_like(x) + np.zeros_like(i).astype(x.dtype),
            lambda i, x: tg.sum(x) * np.sum(x > 0).astype(x.dtype),
        ]
    ),
)
def test_whole_numbers_are_those_of_numpy(function, dtype):
    x = ROWS[:, 0].astype(dtype)
    with tg.no_grad():
        found, _ = tg.compile(lambda i, x: (function(i, x), x * 2.0))(NUMBERS, x)
    expected = function(tg.Tensor(NUMBERS), tg.Tensor(x))
    expected = np.asarray(expected.data if isinstance(expected, tg.Tensor) else expected)
    assert found.dtype == expected.dtype
    assert np.allclose(found.data, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(
    ("function", "numbers"),
    numbered(
        [
            (lambda i, x: i + i, NUMBERS * 200_000_000),
            (lambda i, x: i - 3, NUMBERS - 2**31),
            (lambda i, x: -i, NUMBERS - 2**31),
            (lambda i, x: i + 1, NUMBERS + 2**31),
            (lambda i, x: (x * 1e9 + 1e10).astype(int), NUMBERS),
            (lambda i, x: i + 1, np.full(20, 2**32 - 1, np.uint32)),
        ]
    ),
)
def test_whole_numbers_that_do_not_fit_are_refused(function, numbers):
    x = ROWS[:, 0].astype(np.float32)
    with pytest.raises(OverflowError, match="expected integers that fit int32"):
        tg.compile(lambda i, x: (function(i if i.dtype == int else i == 1, x), x * 2.0, i))(numbers, x)


@pytest.mark.parametrize(
    ("function", "words"),
    numbered(
        [
            (lambda i, x: i.astype(np.uint8) + i.astype(np.uint8), "uint8"),
            (lambda i, x: i.astype(np.int16) - 1, "int16"),
            (lambda i, x: i + 2**40, "1099511627776, which has more bits than float32"),
            (lambda i, x: np.sum(i), "sum of int64"),
            (lambda i, x: np.where(np.allclose(x, 1.0), x, i), "allclose"),
            (lambda i, x: x.reshape(10, 2)[i - i, i - i], "several parts"),
            (lambda i, x: i @ i, "matmul of int64"),
            (lambda i, x: np.concatenate([i, x > 0]), "concatenate of int64 of int64 and bool"),
            (lambda i, x: tg.median(x, axis=0), "median"),
            (lambda i, x: tg.prod(x, axis=0), "prod"),
        ]
    ),
)
def test_what_has_no_rule_is_refused_by_its_name(function, words):
    with pytest.raises(tg.UncompilableError, match=f"compile: there is no rule .*{words}"):
        tg.compile(lambda i, x: (function(i, x), x * 2.0))(NUMBERS, ROWS[:, 0].astype(np.float32))


def catch(function):
    try:
        return function()
    except TypeError:
        return 1.0


def own_op(forward, name):
    forward.__name__ = name
    own = Op(forward, name, ("x",), elementwise=False, native=False)
    own.defvjp(x=lambda g, out, x: g * np.ones_like(x))
    return own


kept = own_op(lambda x: x[x > 0.5], "kept")
one_number = own_op(lambda x: float(x.sum()), "one_number")
trimmed = Op(np.trim_zeros, "trim_zeros", ("filt",), elementwise=False, native=True)
trimmed.__module__ = __name__  # as `differentiate` has it
trimmed.defvjp(filt=lambda g, out, filt: g)


@pytest.mark.parametrize(
    ("function", "words"),
    numbered(
        [
            (lambda x: len(x[x > 0]), "values that getitem is given decide on the shape"),
            (lambda x: x[x > 9.0].size, "values that getitem is given decide on the shape"),
            (lambda x: len(np.flatnonzero(x > 0)), "values that flatnonzero is given decide on the shape"),
            (lambda x: len(np.where(x > 0)[0]), "values that nonzero is given decide on the shape"),
            (lambda x: kept(x).size, "values that kept is given decide on the shape"),
            (lambda x: len(trimmed(x[:, 0])), "values that trim_zeros is given decide on the shape"),
            (lambda x: 2.0 if np.allclose(x, 1.0) else 1.0, "no rule for allclose"),
            (lambda x: 2.0 if np.array_equal(x, np.ones((20, 6))) else 1.0, "no rule for array_equal"),
            (lambda x: one_number(x), "no rule for one_number"),
            (lambda x: catch(lambda: float(x[0, 0])), "takes the values of getitem out of the graph"),
            (lambda x: catch(lambda: x[x > 0].size), "decide on the shape"),
        ]
    ),
)
def test_numbers_that_values_decide_on_do_not_stay_what_they_were(function, words):
    w = tg.Parameter(RNG.standard_normal(6), name="w")
    with pytest.raises(tg.UncompilableError, match=words):
        tg.compile(lambda x: tg.sum(x @ w) * function(x))(ROWS)


def decay(w):
    with tg.no_grad():
        w *= 0.9


def keep_mean(w, x):
    BUFFER.data = tg.mean(x, axis=0)


BUFFER = tg.Tensor(np.zeros(6), name="buffer")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda w, x: tg.sum(x * w).backward(), "backward is done when the function is recorded"),
        (lambda w, x: tg.sum(x * w).backward_steps(), "backward_steps is done when the function is recorded"),
        (lambda w, x: decay(w), "assigning to Parameter 'w' .* is done when the function is recorded"),
        (keep_mean, "assigning to Tensor 'buffer' .* is done when the function is recorded"),
    ],
    ids=["backward", "steps", "a parameter", "a buffer"],
)
def test_what_a_function_does_to_others_is_refused_and_not_done(act, words):
    w = tg.Parameter(np.ones(6), name="w")
    with pytest.raises(tg.UncompilableError, match=words):
        tg.compile(lambda x: (act(w, x), tg.sum(x * w))[1])(ROWS)
    assert w.grad is None
    np.testing.assert_array_equal(w.numpy(), 1)
    np.testing.assert_array_equal(BUFFER.numpy(), 0)


def test_a_gradient_without_a_graph_is_refused_inside_of_a_function():
    w = tg.Parameter(RNG.standard_normal(6), name="w")

    def loss(x):
        with tg.no_grad():
            g = tg.grad(lambda v: tg.sum(tg.tanh(x * v)))(np.ones(6))
        return tg.sum(x @ w) * np.sum(g)

    with pytest.raises(tg.UncompilableError, match="out of the graph"):
        tg.compile(loss)(ROWS)


def test_what_shapes_and_dtypes_decide_on_is_compiled():
    w = tg.Parameter(RNG.standard_normal(6), name="w")

    def loss(x):
        factor = 2.0 if np.result_type(x, np.float32) == np.float64 and not np.iscomplexobj(x) else 1.0
        return tg.sum(x @ w) * factor * np.size(x)

    assert np.isclose(tg.compile(loss)(ROWS).item(), (ROWS @ w.numpy()).sum() * 240, rtol=1e-12)


def test_an_op_of_ones_own_is_named_that_is_made_of_one_without_a_rule():
    spread = tg.op(lambda x: np.sort(x, axis=1)[:, -1] - np.sort(x, axis=1)[:, 0])
    spread.name = "spread"
    with pytest.raises(tg.UncompilableError, match=r"no rule for spread in C, .*argsort"):
        tg.compile(lambda x: tg.sum(spread(x)))(ROWS)


MANY = RNG.integers(-5, 6, (20, 3))
W = tg.Parameter(RNG.standard_normal((3, 2)), name="w")


@pytest.mark.parametrize(
    "function",
    numbered(
        [
            lambda i, x: i @ W,
            lambda i, x: (x > 0) @ W,
            lambda i, x: (x > 0).T @ (x @ W),
            lambda i, x: np.arange(40).reshape(2, 20) @ (x @ W),
            lambda i, x: np.einsum("ni,ij->nj", i, W),
            lambda i, x: np.einsum("ni,ij->nj", x > 1, W),
            lambda i, x: np.concatenate([i, x], axis=1) @ np.concatenate([W, W]),
            lambda i, x: tg.sum(np.stack([x, i], axis=1), axis=1) @ W,
            lambda i, x: np.where(x > 0, i, x) @ W,
            lambda i, x: np.pad(i, ((0, 0), (1, 1)))[:, 1:-1] @ W,
            lambda i, x: (i + i)[:, ::-1] @ W,
            lambda i, x: W[np.where(i > 0, i - i, i - i - 1)],
            lambda i, x: np.exp(0.1 * i) @ W,
            lambda i, x: W[np.where(i[:, 1:] > 0, i[:, 1:] - i[:, 1:] + 1, -1)],
            lambda i, x: W[(i - i)[2:]],
            lambda i, x: W[(i - i).T[::-1]],
        ]
    ),
)
def test_products_of_whole_numbers_and_truth_values_are_those_of_numpy(function):
    x = RNG.standard_normal((20, 3))
    found, expected = tg.compile(function)(MANY, x), function(tg.Tensor(MANY), tg.Tensor(x))
    assert np.allclose(found.data, expected.data, rtol=1e-12, atol=1e-12)
    cotangent, gradients = np.cos(np.arange(found.size).reshape(found.shape)), []
    for out in (found, expected):
        W.zero_grad()
        out.backward(cotangent)
        gradients.append(W.grad)
    assert np.allclose(*gradients, rtol=1e-12, atol=1e-12)


def test_a_mask_of_an_argument_is_not_lost():
    compiled = tg.compile(lambda x: x @ W)
    x = ROWS[:, :3]
    compiled(x)
    with pytest.raises(TypeError, match="compile: a masked array would lose its mask"):
        compiled(np.ma.array(x, mask=x > 1))


# Ops of one's own


def make_op(name, forward, slope):
    """An op whose derivative is a number."""
    forward.__name__ = name
    made = tg.op(forward)
    made.defvjp(x=lambda g, out, x: g * slope)
    return made


@pytest.mark.parametrize("name", ["all", "isnan", "less", "zeros_like"])
def test_an_op_of_ones_own_with_the_name_of_a_rule_is_computed_as_it_is(name):
    own = make_op(name, lambda x: x * 3.0, 3.0)
    out = tg.compile(lambda x: own(x @ W))(ROWS[:, :3])
    W.zero_grad()
    out.backward(np.ones(out.shape))
    assert np.allclose(out.data, 3 * ROWS[:, :3] @ W.numpy(), rtol=1e-12)
    assert np.allclose(W.grad, 3 * ROWS[:, :3].sum(axis=0)[:, None] * np.ones(2), rtol=1e-12)


def test_an_op_that_draws_or_counts_is_refused():
    numbers = itertools.count(1)
    for forward in (lambda x: x * np.random.default_rng().random(), lambda x: x * float(next(numbers))):
        own = make_op("restless", forward, 1.0)
        with pytest.raises(tg.UncompilableError, match="drawn anew in each call"):
            tg.compile(lambda x, own=own: own(x @ W))(ROWS[:, :3])
        OPS.pop("restless")


def test_what_the_forward_of_an_op_reads_is_seen(monkeypatch):
    own = make_op("scaled_by_factor", lambda x: x * FACTOR, 1.0)
    compiled = tg.compile(lambda x: own(x @ W))
    for factor in (FACTOR, 7.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        assert np.allclose(compiled(ROWS[:, :3]).data, factor * ROWS[:, :3] @ W.numpy(), rtol=1e-12)


# Memory and processes


def test_more_memory_than_a_library_can_have_is_refused(monkeypatch):
    monkeypatch.setattr(printer, "MOST_MEMORY", 1000)
    w = tg.Parameter(np.ones((6, 3)), name="w")
    with pytest.raises(tg.UncompilableError, match="compiled code has 2 at most; use smaller batches"):
        tg.compile(lambda x: tg.sum((x @ w) ** 2))(ROWS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_a_child_forked_during_a_call_goes_on():
    """The lock is held by a thread that the child does not have."""
    w = tg.Parameter(np.ones((6, 3)), name="w")
    loss = tg.compile(lambda x: tg.sum(x @ w), threads=2)
    expected = loss(ROWS).item()
    held, done = threading.Event(), threading.Event()
    (own,) = loss._variants.values()

    def hold():
        with variant._locks[own.built.path]:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # which ends it
        os._exit(loss(ROWS).item() != expected)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
