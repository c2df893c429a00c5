"""What a recording holds: shapes and dtypes at once, values when they are asked for, hardly any memory."""

import gc
import shutil
import tracemalloc
import weakref
from contextlib import suppress

import numpy as np
import pytest
from helpers import SHIPPED

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.audit.native import bind
from tensorgrad.core import OPS
from tensorgrad.graph.native import toolchain, variant
from tensorgrad.graph.native.record import UncompilableError, record

compiled = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((20, 6))


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O0"))


def weights():
    return tg.Parameter(RNG.standard_normal((6, 3)), name="w")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shape_dtype_and_values_of_an_op_are_those_of_its_forward(name, dtype):
    for sample in SAMPLES[name]:
        function, arrays = bind(OPS[name], sample, dtype)
        with np.errstate(all="ignore"), suppress(UncompilableError):
            out = record(function, arrays, ["x"] * len(arrays), False).outputs[0]
            expected = np.asarray(function(*arrays))
            assert (out.shape, out.dtype) == (expected.shape, expected.dtype), sample.label
            np.testing.assert_array_equal(out.data, expected, err_msg=sample.label)


def network():
    return tg.Network(
        [
            tg.Conv2D(1, 8, 3, rng=0), tg.BatchNorm(8), tg.ReLU(), tg.MaxPool2D(2), tg.Flatten(),
            tg.Dense(1352, 10, rng=1),
        ]
    )  # fmt: skip


def peak_and_rest(call):
    """Bytes that a call takes at most, and that stay after it."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        gc.collect()
        rest, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak, rest


@compiled
def test_compiling_takes_less_memory_than_a_step_in_numpy_and_keeps_nearly_none():
    x, labels = RNG.random((400, 28, 28, 1), np.float32), RNG.integers(0, 10, 400)
    net = network()

    def loss(x, labels):
        return tg.cross_entropy(net(x), labels)

    step = tg.compile(loss, optimizer=tg.MiniBatchSGD(net.parameters(), 0.1))
    step(x[:1], labels[:1])  # what is imported and made once
    engine, _ = peak_and_rest(lambda: loss(tg.Tensor(x), labels).backward())
    peak, rest = peak_and_rest(lambda: step(x, labels))
    assert step.recordings == 2
    assert engine > 4 * 400 * 26 * 26 * 8 * 4  # the convolution's result and others like it
    assert peak < engine / 4
    assert rest < x.nbytes


@compiled
def test_values_of_what_was_recorded_are_not_shown_wrong():
    w, kept, shown = weights(), [], []

    def loss(x):
        kept.append(x @ w)
        shown.append(f"{kept[-1]!r} {tg.sum(kept[-1]):.3f}")
        return tg.sum(kept[-1])

    tg.compile(loss)(ROWS)
    assert all("0." not in text and "(20, 3)" in text for text in shown)
    for read in (lambda h: h.data, lambda h: h + 1.0, lambda h: h.numpy()):
        with pytest.raises(RuntimeError, match=r"values of Tensor of shape \(20, 3\), .* were not kept"):
            read(kept[0])


@compiled
@pytest.mark.parametrize("changed", [False, True])
def test_a_function_that_is_refused_leaves_values_behind(changed):
    w, kept = weights(), []

    def loss(x):
        kept.append(x @ w)
        return tg.sum(np.cumsum(kept[-1]))

    with pytest.raises(tg.UncompilableError, match="cumsum"):
        tg.compile(loss)(ROWS)
    if changed:
        w.data = w.data * 2
        with pytest.raises(RuntimeError, match="were not kept"):
            _ = kept[0].data
    else:
        np.testing.assert_array_equal(kept[0].data, ROWS @ w.numpy())


@compiled
def test_an_op_of_ones_own_is_given_the_values():
    w, seen = weights(), []

    def forward(x):
        seen.append(x if isinstance(x, np.ndarray) else None)
        return x * 3.0

    forward.__name__ = "watchful"
    own = tg.op(forward)
    own.defvjp(x=lambda g, out, x: g * 3.0)
    tg.compile(lambda x: tg.sum(own(tg.tanh(x @ w))))(ROWS)
    OPS.pop("watchful")
    np.testing.assert_array_equal(seen[0], np.tanh(ROWS @ w.numpy()))


@compiled
def test_an_argument_that_decides_is_looked_at_in_each_call():
    w = weights()
    loss = tg.compile(lambda x, total: tg.sum(x @ w) if total else tg.mean(x @ w))
    product = ROWS @ w.numpy()
    for total, expected in ((True, product.sum()), (False, product.mean()), (True, product.sum())):
        assert np.isclose(loss(ROWS, np.array(total)).item(), expected)


@compiled
@pytest.mark.parametrize("what", ["argument", "result"])
def test_a_function_that_keeps_what_it_made_for_the_next_call_is_refused(what):
    w, kept = weights(), []

    def loss(x):
        h = x if what == "argument" else tg.tanh(x)
        first = kept[0] if kept else h
        kept[:] = [h]
        return tg.sum(first @ w)

    with pytest.raises(tg.UncompilableError, match="with other values the function does other things"):
        tg.compile(loss)(ROWS)


@compiled
@pytest.mark.parametrize("shift", [0, 1])
def test_a_label_outside_of_the_classes_is_named_at_the_first_call(shift):
    w, labels = weights(), np.zeros(20, int)
    labels[4] = 3
    with pytest.raises(ValueError, match="labels from 0 to 2, got 3 in row 4"):
        tg.compile(lambda x, y: tg.cross_entropy(x @ w, y - shift))(ROWS, labels + shift)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: tg.sum_to(x, shape=(3, 6)), "is not a broadcast of"),  # 20 is looked at as 3
        (lambda x: np.argmax(x, axis=2), "out of bounds for array of dimension 2"),
        (lambda x: np.equal(x, np.ones(7)), "operands could not be broadcast together"),
    ],
)
def test_what_an_op_refuses_is_refused_in_its_words(function, error):
    for call in (lambda: function(tg.Tensor(ROWS)), lambda: record(function, [ROWS], ["x"], False)):
        with pytest.raises(ValueError, match=error):
            call()


@compiled
def test_a_function_that_takes_tensors_in_turns_is_refused():
    w, calls = weights(), iter(range(9))

    def loss(x, y):
        a, b = (x, y) if next(calls) % 2 else (y, x)
        return tg.sum(a @ w) / tg.sum(b @ w)

    with pytest.raises(tg.UncompilableError, match="with other values the function does other things"):
        tg.compile(loss)(ROWS, 2 * ROWS)


def test_a_recording_goes_without_the_garbage_collector():
    w = weights()
    gc.collect()
    gc.disable()
    try:
        recording = record(lambda x: tg.mean(tg.tanh(x @ w)), [ROWS], ["x"], True)
        ((_, g),) = recording.gradients
        loss, gradient = weakref.ref(recording.outputs[0]), weakref.ref(g)
        assert gradient().data.shape == (6, 3)  # computed, and kept with the recording
        del recording, g, _
        assert loss() is None
        assert gradient() is None
    finally:
        gc.enable()
