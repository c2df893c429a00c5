"""What a user has of tg.compile: calls, steps, what is refused, what is noticed, threads and processes."""

import copy
import multiprocessing
import os
import pickle
import platform
import shutil
import threading

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.graph.native import toolchain, variant
from tensorgrad.graph.native.program import Vectors

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
RNG = np.random.default_rng(0)
X = RNG.random((83, 8, 8, 1), dtype=np.float32)
LABELS = RNG.integers(0, 3, 83)
ROWS = RNG.standard_normal((20, 6))
TABLE = tg.Embedding(7, 3, rng=0, dtype=float)


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O1"))


def network():
    return tg.Network(
        [
            tg.Conv2D(1, 6, 3, rng=0), tg.BatchNorm(6), tg.ReLU(), tg.MaxPool2D(2), tg.Flatten(),
            tg.Dense(54, 33, rng=1), tg.Tanh(), tg.Dense(33, 3, rng=2),
        ]
    )  # fmt: skip


def weights(*shape, name="w"):
    return tg.Parameter(np.random.default_rng(1).standard_normal(shape), name=name)


def test_a_compiled_loss_has_value_and_gradients():
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.mean(tg.tanh(x @ w)))
    out = loss(ROWS)
    out.backward()
    assert np.isclose(out.item(), np.tanh(ROWS @ w.numpy()).mean(), rtol=1e-13)
    expected = ROWS.T @ (1 - np.tanh(ROWS @ w.numpy()) ** 2) / 60
    assert np.allclose(w.grad, expected, rtol=1e-12)


def test_a_second_backward_adds_and_a_factor_scales():
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.sum(x @ w))
    (3 * loss(ROWS)).backward()
    loss(ROWS).backward()
    assert np.allclose(w.grad, 4 * ROWS.sum(axis=0)[:, None] * np.ones(3), rtol=1e-13)


def test_each_shape_and_dtype_is_recorded_once():
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.sum(x @ w))
    for rows in (20, 7, 20, 7, 1):
        assert np.isclose(loss(ROWS[:rows]).item(), (ROWS[:rows] @ w.numpy()).sum())
    assert loss.recordings == 3


def test_results_do_not_depend_on_threads():
    net = network()
    losses, gradients = [], []
    for threads in (1, 2, 3, 5, 2):
        loss = tg.compile(lambda x, y: tg.cross_entropy(net(x), y), threads=threads)
        out = loss(X, LABELS)
        out.backward()
        losses.append(out.item())
        gradients.append([p.grad for p in net.parameters()])
        for p in net.parameters():
            p.zero_grad()
    assert len(set(losses)) == 1
    for one in gradients[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(one, gradients[0], strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_share_a_large_matrix_by_its_rows(dtype):
    x = RNG.standard_normal((19, 1024)).astype(dtype)
    found = []
    for threads in (None, 1, 2, 3):
        net = tg.Network(
            [tg.Dense(1024, 99, rng=0, dtype=dtype), tg.Tanh(), tg.Dense(99, 3, rng=1, dtype=dtype)]
        )
        optimizer = tg.MiniBatchSGD(net.parameters(), learning_rate=1e-3)
        loss = lambda x, net=net: tg.sum(tg.square(net(x)))
        step = tg.compile(loss, optimizer=optimizer, threads=threads)
        for _ in range(3):
            if threads is not None:
                step(x)
                continue
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()
        found.append([p.numpy() for p in net.parameters()])
    assert "sums of 256 products, of rows that a thread has" in step.source
    for plain, one, *others in zip(*found, strict=True):
        np.testing.assert_allclose(one, plain, atol=100 * np.finfo(dtype).eps * np.abs(plain).max())
        assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("vectors", [(64, 24), (32, 12), (16, 24), (16, 12)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_of_every_processor_compute_what_numpy_does(vectors, dtype, monkeypatch):
    monkeypatch.setattr(variant, "find_vectors", lambda: Vectors(*vectors))
    layers = [tg.Conv2D(1, 7, 3, rng=0, dtype=dtype), tg.Tanh(), tg.Conv2D(7, 5, (2, 3), rng=1, dtype=dtype)]
    net = tg.Network([*layers, tg.Flatten(), tg.Dense(100, 21, rng=2, dtype=dtype)])
    x = X.astype(dtype)

    def differentiate(loss):
        out = loss(x)
        out.backward()
        gradients = [p.grad for p in net.parameters()]
        for p in net.parameters():
            p.zero_grad()
        return [out.numpy(), *gradients]

    def plain(x):
        return tg.mean(tg.sigmoid(net(x)))

    found, expected = differentiate(tg.compile(plain)), differentiate(plain)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=np.finfo(dtype).eps ** 0.75 * np.abs(other).max())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of the processors are those of x86")
@pytest.mark.parametrize(("name", "size"), [("x86-64-v4", 64), ("haswell", 32), ("x86-64-v2", 16)])
def test_vectors_are_those_of_the_processor_that_is_named(name, size, monkeypatch):
    monkeypatch.setenv("CC", f"gcc -march={name}")
    assert variant.find_vectors().size == size


def test_rows_of_an_argument_may_be_sliced_and_turned_around():
    w = weights(3, 4)
    tg.compile(lambda x: tg.sum(tg.tanh(x[:, 5:0:-2] @ w)))(ROWS).backward()
    part = ROWS[:, 5:0:-2]
    assert np.allclose(w.grad, part.T @ (1 - np.tanh(part @ w.numpy()) ** 2), rtol=1e-12)


def test_of_a_step_that_is_made_there_is_no_gradient():
    w = tg.Parameter(np.ones((3, 2)))
    loss = tg.compile(lambda x: tg.sum(x @ w), optimizer=tg.MiniBatchSGD([w], 0.5))(np.ones((4, 3)))
    with pytest.raises(RuntimeError, match="by a compiled step, which then is made already"):
        loss.backward()


def test_steps_follow_parameters_whose_arrays_are_replaced():
    w = weights(6, 3)
    step = tg.compile(lambda x: tg.sum(x @ w), optimizer=tg.MiniBatchSGD([w], 0.5))
    seen = []
    for k in range(6):
        if k == 4:
            w.data = np.ones((6, 3))
        before = w.numpy()
        seen.append((w.data, before))  # who holds a view keeps the old values: the step makes a new array
        step(ROWS)
        assert np.allclose(w.numpy(), before - 0.5 * ROWS.sum(axis=0)[:, None], rtol=1e-12)
    assert all(np.array_equal(view, before) for view, before in seen)


def test_many_threads_may_call_one_function():
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.sum(tg.sigmoid(x @ w)), threads=2)
    expected = [loss(ROWS * k).item() for k in range(8)]
    wrong = []

    def call(k):
        wrong.extend(k for _ in range(30) if loss(ROWS * k).item() != expected[k])

    threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_a_forked_child_goes_on():
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.sum(x @ w), threads=2)
    expected = loss(ROWS).item()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: os._exit(loss(ROWS).item() != expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_what_is_read_from_outside_may_change():
    net = tg.Network([tg.Dense(6, 3, rng=0, dtype=float)])
    scale, mask = 2.0, np.ones(6)
    loss = tg.compile(lambda x: scale * tg.sum(net(x * mask)))

    def plain():
        return scale * tg.sum(net(ROWS * mask)).item()

    assert np.isclose(loss(ROWS).item(), plain())
    net.layers[0].weights.data = net.layers[0].weights.data * 3
    assert np.isclose(loss(ROWS).item(), plain())
    net.layers[0].weights = weights(6, 3)
    assert np.isclose(loss(ROWS).item(), plain())
    scale = 5.0
    assert np.isclose(loss(ROWS).item(), plain())
    mask[:3] = 0
    assert np.isclose(loss(ROWS).item(), plain())


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda w: lambda x: tg.sum(x @ w) * x.numpy().sum(), r"numpy\(\) takes the values of x"),
        (lambda w: lambda x: (), "expected the function to give tensors, got a tuple"),
        (lambda w: lambda x: x.numpy, "expected the function to give tensors, got a method"),
        (lambda w: lambda x: tg.sum(x @ w) * x.sum().item(), r"item\(\) takes the values of sum"),
        (lambda w: lambda x: tg.sum(x @ w) * float(x.sum()), "takes the values of sum"),
        (lambda w: lambda x: tg.sum(x @ w * w.data.sum()), "data takes the values of w"),
        (lambda w: lambda x: tg.sum((x * np.random.default_rng().random(6)) @ w), "drawn anew in each call"),
        (lambda w: lambda x: tg.sum(np.sort(x @ w)), "argsort"),
    ],
)  # fmt: skip
def test_values_that_leave_the_graph_are_refused(function, words):
    with pytest.raises(tg.UncompilableError, match=f"compile: .*{words}"):
        tg.compile(function(weights(6, 3)))(ROWS)


def test_a_branch_on_values_is_taken_as_the_values_are():
    w = weights(6, 3)
    compiled = tg.compile(lambda x: tg.sum(x @ w) if np.all(x > -10) else tg.mean(x @ w))
    assert np.isclose(compiled(ROWS).item(), (ROWS @ w.numpy()).sum())
    assert np.isclose(compiled(ROWS - 100).item(), ((ROWS - 100) @ w.numpy()).mean())
    assert np.isclose(compiled(ROWS * 0.5).item(), (0.5 * ROWS @ w.numpy()).sum())
    assert compiled.recordings == 1


@pytest.mark.parametrize("function", [np.mean, np.var, tg.logsumexp, tg.softmax, np.max])
def test_a_batch_may_be_empty(function):
    w = weights(6, 3)
    loss = tg.compile(lambda x: tg.sum(function(x @ w, axis=1)))
    for rows in (ROWS[:0], ROWS):
        w.zero_grad()
        out = loss(rows)
        out.backward()
        found = w.grad
        w.zero_grad()
        expected = tg.sum(function(tg.Tensor(rows) @ w, axis=1))
        expected.backward()
        assert np.isclose(out.item(), expected.item(), rtol=1e-12)
        np.testing.assert_allclose(found, w.grad, rtol=1e-10, atol=1e-13)


SHARES = np.full((20, 3), 1 / 3)


@pytest.mark.parametrize("known", [True, False], ids=["a later call", "the first call"])
@pytest.mark.parametrize(
    ("loss", "target", "row", "words"),
    [
        (tg.cross_entropy, np.zeros(20, int), 3, "labels from 0 to 2, got 3 in row 4"),
        (tg.cross_entropy, SHARES, [1.0, 0.5, 0.0], "sum to 1, got .* in row 4"),
        (tg.cross_entropy, SHARES, [1.5, -0.5, 0.0], "probabilities .* in row 4"),
        (lambda h, w: tg.cross_entropy(h, SHARES, w), np.ones(20), -1.0, "weights of 0 or more, got -1.0"),
        (lambda h, w: tg.cross_entropy(h, SHARES, w), np.eye(20)[4], 0.0, "all weights are 0"),
        (lambda h, w: tg.mse(h, SHARES, w), np.ones(20), np.nan, "weights of 0 or more, got nan"),
        (tg.binary_cross_entropy, SHARES, 1.5, r"targets from 0 to 1, got 1.5 at \(4, 0\)"),
        (lambda h, i: tg.sum(h * TABLE(i)), np.zeros(20, int), -1, "numbers from 0 to 6, got -1"),
    ],
)
def test_targets_and_weights_are_refused_as_by_numpy(loss, target, row, words, known):
    w, wrong = weights(6, 3), target.copy()
    wrong[4] = row
    compiled = tg.compile(lambda x, y: loss(x @ w, y))
    if known:
        assert np.isfinite(compiled(ROWS, target).item())
    with pytest.raises(ValueError, match=words):
        compiled(ROWS, wrong)


def test_running_statistics_and_masks_are_those_of_numpy():
    compiled, plain = network(), network()
    compiled.layers.insert(6, tg.Dropout(0.4, rng=5))
    plain.layers.insert(6, tg.Dropout(0.4, rng=5))
    loss = tg.compile(lambda x, y: tg.cross_entropy(compiled(x), y))
    for _ in range(3):
        found, expected = loss(X, LABELS), tg.cross_entropy(plain(X), LABELS)
        assert np.isclose(found.item(), expected.item(), rtol=1e-5)
    for one, other in zip(compiled.named_buffers().values(), plain.named_buffers().values(), strict=True):
        assert np.allclose(one, other, rtol=1e-4)


def test_copies_and_pickles_compile_anew():
    net = tg.Network([tg.Dense(6, 3, rng=0, dtype=float)])
    compiled = tg.compile(net)
    with tg.no_grad():
        expected = compiled(ROWS).numpy()
        for again in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
            assert np.array_equal(again(ROWS).numpy(), expected)


def test_the_source_is_shown_and_saved(tmp_path):
    w = weights(6, 3, name="slopes")
    loss = tg.compile(lambda x: tg.sum(x @ w))
    with pytest.raises(RuntimeError, match="nothing is recorded yet"):
        _ = loss.source
    loss(ROWS)
    loss.save(tmp_path / "loss.c")
    text = (tmp_path / "loss.c").read_text()
    assert text == loss.source
    assert "slopes" in text
    assert "20 x 6" in text


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("size", [1e-25, 1e-3, 1e20, 1e30])
def test_gradients_whose_squares_leave_single_precision_are_finite(size, clip):
    c = (size * np.linspace(1, 2, 37)).astype(np.float32)
    options = {"learning_rate": 1 / size if size > 1 else 1.0, "clip_norm": clip and clip * size}
    plain, compiled = (tg.Parameter(np.zeros(37, np.float32)) for _ in range(2))
    optimizers = [tg.MiniBatchSGD([p], **options) for p in (plain, compiled)]
    (plain * c).sum().backward()
    optimizers[0].step()
    tg.compile(lambda x: (compiled * x).sum(), optimizer=optimizers[1])(c)
    np.testing.assert_allclose(compiled.data, plain.data, rtol=1e-6, atol=2e-38)  # below that steps have 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_by_powers_and_rounding_are_exact(dtype):
    numbers = [0.0, -0.0, 1.5, -2.5, 1e-30, 123.455, 1e30, np.inf, np.nan]
    exponents = [-5000, -1100, -150, -3, 0, 1, 127, 1030, 99999]
    x, n = (grid.ravel() for grid in np.meshgrid(np.array(numbers, dtype), exponents))
    with tg.no_grad(), np.errstate(all="ignore"):
        np.testing.assert_array_equal(tg.compile(lambda x, n: np.ldexp(x, n))(x, n).data, np.ldexp(x, n))
        for decimals in (-2, -1, 0, 1, 3):
            rounded = tg.compile(lambda x, d=decimals: tg.round(x, decimals=d))(x).data
            np.testing.assert_array_equal(rounded, np.round(x, decimals))


@pytest.mark.parametrize("threads", [1, 3])
def test_steps_take_numbers_below_the_smallest_normal_one_for_zero_and_gradients_do_not(threads):
    tiny = np.full((40, 3), 1e-40, np.float32)
    p = tg.Parameter(np.zeros(3, np.float32))

    def loss(x):
        return (p * x).sum()

    tg.compile(loss, threads=threads)(tiny).backward()
    np.testing.assert_allclose(p.grad, 40e-40, rtol=1e-4)
    step = tg.compile(loss, optimizer=tg.MiniBatchSGD([p], learning_rate=1.0), threads=threads)
    step(tiny)
    np.testing.assert_array_equal(p.data, 0)
    assert np.float32(1e-40) * np.float32(1) > 0  # as before in this thread
    step(tiny * np.float32(1e30))
    np.testing.assert_allclose(p.data, -40e-10, rtol=1e-4)


def make_steps(compiled, make, steps=3, scale=1.0, threads=2):
    """Losses and parameters of a loop of one's own, and who made the steps."""
    w, b = weights(6, 3), weights(3, name="b")
    w.data, b.data = w.numpy() * scale, b.numpy() * scale
    optimizer = make([w, b])
    loss = lambda x: tg.sum(tg.square(tg.tanh(x @ w) + b))
    loss = tg.compile(loss, threads=threads) if compiled else loss
    in_numpy, update = [], optimizer._update
    optimizer._update = lambda *arguments: (in_numpy.append(1), update(*arguments))[1]
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        out = loss(ROWS)
        out.backward()
        losses.append(out.item())
        optimizer.step()
    return losses, [w.numpy(), b.numpy(), *optimizer.state()["slots"]], len(in_numpy), optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: tg.MiniBatchSGD(ps, learning_rate=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda ps: tg.Adam(ps, learning_rate=0.01, clip_norm=0.5),
        lambda ps: tg.MiniBatchSGD(ps[:1], learning_rate=0.01),  # of some of the parameters
    ],
    ids=["momentum", "Adam", "some"],
)
def test_the_code_that_gave_the_gradients_makes_the_optimizers_step(make):
    (losses, found, in_numpy, _), (expected, others, steps, _) = (make_steps(c, make) for c in (True, False))
    assert in_numpy == 0 < steps
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    for one, other in zip(found, others, strict=True):
        for x, y in zip(*([d.values() if isinstance(d, dict) else [d] for d in (one, other)]), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)
    again = make_steps(True, make, threads=1)
    assert all(np.array_equal(x, y) for x, y in zip(found[:2], again[1][:2], strict=True))


def test_numpy_makes_steps_of_other_gradients_and_of_those_that_are_clipped_by_value():
    make = lambda ps: tg.MiniBatchSGD(ps, learning_rate=0.01, clip_value=0.1)
    assert make_steps(True, make)[2] == 6
    w = weights(6, 3)
    optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    loss = tg.compile(lambda x: tg.sum(x @ w))
    for change in (
        lambda: loss(ROWS).backward(),  # a second time: they add up
        lambda: setattr(w, "grad", w.grad * 2),
        lambda: setattr(w, "grad", np.asarray(w.grad)[::-1]),  # the same memory, in another order
    ):
        optimizer.zero_grad()
        loss(ROWS).backward()
        change()
        expected = w.numpy() - 0.5 * np.asarray(w.grad)
        optimizer.step()
        np.testing.assert_allclose(w.numpy(), expected, rtol=1e-15)


def test_compiled_steps_tell_of_overflow_and_leave_infinite_gradients_to_numpy():
    with pytest.warns(RuntimeWarning, match="overflow in step 1 of MiniBatchSGD, which is finished"):
        *_, in_numpy, optimizer = make_steps(True, lambda ps: tg.MiniBatchSGD(ps, learning_rate=1e308), 1)
    assert (in_numpy, optimizer.steps) == (0, 1)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow in step 1 of"):
        make_steps(True, lambda ps: tg.MiniBatchSGD(ps, learning_rate=1e308), 1)
    w = weights(3)
    optimizer = tg.MiniBatchSGD([w], learning_rate=1.0, clip_norm=1.0)
    loss = tg.compile(lambda x: tg.sum(x * w))
    before = w.numpy()
    loss(np.array([1.0, np.inf, 1.0])).backward()
    with pytest.raises(FloatingPointError, match="is not finite, so that it has no norm"):
        optimizer.step()
    assert np.array_equal(w.numpy(), before)
    assert optimizer.steps == 0


def test_a_step_is_made_of_the_gradients_that_a_parameter_has():
    w, other = weights(6, 3), weights(4, name="other")
    optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    loss = tg.compile(lambda x: tg.sum(x @ w) + tg.sum(other * other))
    begin = optimizer.begin_update
    for start in (
        lambda leaves: (loss(2 * ROWS), begin(leaves))[1],  # as another thread may call it meanwhile
        lambda leaves: (setattr(other, "grad", None), begin(leaves))[1],  # whose memory is no more
    ):
        optimizer.begin_update = start
        loss(ROWS).backward()
        expected = w.numpy() - 0.5 * ROWS.sum(axis=0)[:, None]
        optimizer.step()
        optimizer.zero_grad()
        np.testing.assert_allclose(w.numpy(), expected, rtol=1e-13)


def test_a_gradient_that_was_recorded_is_left_to_numpy():
    w = weights(6, 3)
    optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    loss = tg.compile(lambda x: tg.sum(x @ w))
    _held = loss(ROWS)
    tg.sum(w * w).backward(create_graph=True)
    optimizer.step()
    np.testing.assert_allclose(w.numpy(), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_after_a_compiled_loss_keeps_the_smallest_numbers(dtype):
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, 3, 1000], dtype)
    w = tg.Parameter(tiny, name="w")
    loss = tg.compile(lambda x: tg.sum(x * w))
    loss(np.zeros(3, dtype)).backward()
    tg.MiniBatchSGD([w], learning_rate=1.0).step()
    np.testing.assert_array_equal(w.numpy(), tiny)


@pytest.mark.parametrize("shape", [(0, 6), (6, 0), (2, 0, 3)])
@pytest.mark.parametrize("whole", [False, True])
def test_parameters_without_elements_have_gradients_and_are_stepped(shape, whole):
    w, empty = weights(6), tg.Parameter(np.zeros(shape), name="empty")
    optimizer = tg.Adam([empty, w], learning_rate=0.5, clip_norm=1.0)

    def loss(x):
        return tg.sum(x * w) + tg.sum(empty * 2.0)

    loss = tg.compile(loss, optimizer=optimizer if whole else None, threads=2)
    out = loss(ROWS)
    if not whole:
        out.backward()
        assert empty.grad.shape == shape
        optimizer.step()
    expected = weights(6).numpy() - 0.5 * np.sign(ROWS.sum(axis=0))
    np.testing.assert_allclose(w.numpy(), expected, atol=1e-4)  # but for eps
