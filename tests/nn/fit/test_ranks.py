"""Ranks train together as one process does; where one of them fails, all are told. The ranks are threads."""

import os
import shutil

import communicators
import numpy as np
import pytest
from communicators import run

import tensorgrad as tg
from tensorgrad.data import Augment

RNG = np.random.default_rng(0)
ROWS = 25
X = RNG.standard_normal((ROWS, 6, 6, 1))
LABELS = RNG.integers(0, 3, ROWS)
WEIGHTS = np.arange(ROWS) % 4 / 2
HELD = RNG.standard_normal((11, 6, 6, 1)), RNG.integers(0, 3, 11)


def network(*, loss=tg.cross_entropy, dropout=0.4, norm=False, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    options = {"rng": rng, "dtype": dtype}
    norms = [tg.BatchNorm(3, dtype=dtype), tg.BatchNorm(3, dtype=dtype)] if norm else []
    layers = [tg.Conv2D(1, 3, 3, **options), *norms[1:], tg.ReLU(), tg.Flatten()]
    made = tg.Network([*layers, tg.Dropout(dropout, rng=rng), tg.Dense(48, 3, **options), *norms[:1]])
    made.use(loss)
    return made


def summed(prediction, target, weights=None):
    return tg.mse(prediction, target, weights, reduction="sum")


def neighbours(prediction, target):
    """A metric that depends on the order of the rows."""
    return float(np.abs(np.diff(prediction[:, 0]) - np.diff(target)).mean())


def stream(rng):
    """Batches of 7, 1 and 2 rows; whole parts of a batch weigh nothing."""
    order = rng.permutation(ROWS)
    for start, stop in ((0, 7), (7, 8), (8, 10), (10, 16)):
        rows = order[start:stop]
        weights = np.r_[np.zeros(len(rows) // 2), np.ones(len(rows) - len(rows) // 2)]
        yield X[rows], LABELS[rows], weights


ARRAYS = {"x": X, "y": LABELS}
CASES = {
    "short batches": {"batch_size": 8, "learning_rate": 0.1, "momentum": 0.9},
    "more ranks than rows": {"batch_size": 2, "learning_rate": 0.1},
    "weights": {
        "batch_size": 4, "optimizer": lambda p: tg.Adam(p, 0.01), "sample_weight": WEIGHTS,
        "class_weight": "balanced", "validation": (*HELD, np.arange(11.0)),
    },
    "a sum": {
        "batch_size": 8, "learning_rate": 0.01, "loss": summed, "y": np.eye(3)[LABELS],
        "sample_weight": WEIGHTS,
    },
    "clipping and a schedule": {
        "batch_size": 8, "optimizer": lambda p: tg.AdamW(p, 0.05, clip_norm=0.1, clip_value=0.05),
        "schedule": lambda o: tg.CosineDecay(o, 12), "schedule_every": "batch",
        "augment": Augment(shift=1, rotate=20),
    },
    "a plateau": {
        "batch_size": 8, "learning_rate": 0.3, "validation_split": 0.3, "metrics": ["accuracy", neighbours],
        "schedule": lambda o: tg.ReduceOnPlateau(o, patience=0),
        "callbacks": [tg.EarlyStopping("validation_loss", 3)], "epochs": 8,
    },
    "statistics of a batch": {
        "norm": True, "batch_size": 8, "learning_rate": 0.1, "validation": HELD,
        "x": X[1:], "y": LABELS[1:], "sample_weight": np.arange(1.0, ROWS) % 4 + 1,
    },
    "statistics of few rows": {
        "norm": True, "batch_size": 2, "learning_rate": 0.1, "x": X[1:], "y": LABELS[1:],
    },
    "statistics of a stream": {
        "norm": True, "x": lambda rng: [batch for batch in stream(rng) if len(batch[0]) > 1], "y": None,
        "learning_rate": 0.1,
    },
    "a stream": {"x": stream, "y": None, "learning_rate": 0.1, "validation": lambda rng: stream(rng)},
}  # fmt: skip


def fit(communicator=None, *, loss=tg.cross_entropy, norm=False, x=X, y=LABELS, **options):
    """The trained state and the history, but for the seconds."""
    made = network(loss=loss, norm=norm)
    options = {"epochs": 3, "seed": 1, "verbose": False, "compile": False, **options}
    history = made.fit(x, y, communicator=communicator, **options)
    return made.state(), {key: values for key, values in history.items() if key != "seconds"}


def assert_same(found, expected, tolerance=1e-11):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, values in other.items():
            np.testing.assert_allclose(one[key], values, rtol=tolerance, atol=tolerance, err_msg=key)


def assert_all(results, kind, message):
    """All ranks raised this kind of error."""
    for result in results:
        assert isinstance(result, kind), result
    assert any(message in str(result) for result in results), results


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_ranks_train_as_one_process_and_end_alike_bit_by_bit(options, size):
    first, *others = run(size, lambda communicator: fit(communicator, **options))
    assert_same(first, fit(**options))
    for other in others:
        assert_same(other, first, 0)


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="nothing here compiles C")
@pytest.mark.parametrize("name", ["weights", "a stream"])
def test_ranks_train_in_compiled_code_too(name):
    compiled = {**CASES[name], "compile": True}
    first, other = run(2, lambda communicator: fit(communicator, **compiled))
    assert_same(first, fit(**CASES[name]), 1e-9)
    assert_same(other, first, 0)


def test_rank_0_says_where_it_begins():
    """Networks, optimizers and seeds differ; those of rank 0 are what all train with."""

    def work(communicator):
        made = network(seed=communicator.rank)
        optimizer = tg.MiniBatchSGD(made.parameters(), 0.1, momentum=0.9)
        if not communicator.rank:
            made.fit(X, LABELS, 1, optimizer=optimizer, seed=5, verbose=False)  # there is momentum now
        before, state = made.state(), optimizer.state()
        seed = np.random.default_rng(communicator.rank)
        made.fit(X, LABELS, 1, optimizer=optimizer, seed=seed, verbose=False, communicator=communicator)
        return made.state(), before, state

    (first, before, momentum), (other, _, _) = run(2, work)
    assert_same([other], [first], 0)
    alone = network(dropout=0.4)
    alone.fit(X, LABELS, 1, 0.1, momentum=0.9, seed=5, verbose=False)  # whose dropout has drawn as much
    assert_same([alone.state()], [before], 0)
    optimizer = tg.MiniBatchSGD(alone.parameters(), 0.1, momentum=0.9)
    optimizer.load_state(momentum)
    alone.fit(X, LABELS, 1, optimizer=optimizer, seed=0, verbose=False)
    assert_same([alone.state()], [first])


def test_a_single_rank_is_one_process():
    (only,) = run(1, lambda communicator: fit(communicator, **CASES["weights"]))
    assert_same(only, fit(**CASES["weights"]), 0)


# Checkpoints


class BreakError(Exception):
    pass


class BreakAfter(tg.Callback):
    def __init__(self, step):
        self.step = step

    def on_batch_end(self, training):
        if training.step == self.step:
            raise BreakError


def in_two(path, first, second, **options):
    """A training that breaks off within its second epoch on so many ranks, and goes on on others."""
    options = {**CASES["short batches"], "metrics": [neighbours], **options}
    results = run(
        first, lambda c: fit(c, checkpoint=path, checkpoint_every=1, callbacks=[BreakAfter(6)], **options)
    )
    assert all(isinstance(each, BreakError) for each in results)
    # The callback is part of the training; this one never breaks it.
    again = {**options, "callbacks": [BreakAfter(0)]}
    if second == 1:
        return [fit(None, checkpoint=path, resume=True, **again)]
    return run(second, lambda c: fit(c, checkpoint=path, resume=True, **again))


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (3, 2)])
def test_a_checkpoint_goes_on_on_another_number_of_ranks(first, second, tmp_path):
    results = in_two(tmp_path / "run.npz", first, second)
    assert_same(results[0], fit(**CASES["short batches"], metrics=[neighbours]))


def test_a_checkpoint_goes_on_on_as_many_ranks_bit_by_bit(tmp_path):
    results = in_two(tmp_path / "run.npz", 2, 2)
    whole = run(2, lambda c: fit(c, **CASES["short batches"], metrics=[neighbours]))
    for found, expected in zip(results, whole, strict=True):
        assert_same(found, expected, 0)


def test_rank_0_alone_writes(tmp_path, capsys):
    def work(communicator):
        path = tmp_path / f"{communicator.rank}.npz"
        fit(communicator, checkpoint=path, verbose=True, epochs=2, batch_size=8, learning_rate=0.1)

    assert run(2, work) == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]
    assert capsys.readouterr().out.count("epoch 2/2") == 1


# What all are told


def test_what_mixes_rows_is_refused():
    class Centred(tg.Layer):
        def forward(self, x):
            return x - tg.mean(x, axis=0, keepdims=True)

    class Noise(tg.Layer):
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def forward(self, x):
            return x + self.generator.standard_normal(x.shape)

    def penalized(prediction, target):
        return tg.cross_entropy(prediction, target, reduction="sum") + 3.0

    dense = lambda: tg.Dense(36, 3, rng=0, dtype=np.float64)
    for layers, loss, message in (
        ([dense(), Centred()], tg.cross_entropy, "depends on others"),
        ([dense(), Noise()], tg.cross_entropy, "draws at random"),
        ([dense()], penalized, "neither the mean nor the sum"),
    ):

        def work(communicator, layers=layers, loss=loss):
            made = tg.Network([tg.Flatten(), *layers])
            made.use(loss)
            made.fit(X, LABELS, 1, 0.1, verbose=False, communicator=communicator)

        for result in run(2, work):
            assert isinstance(result, ValueError)
            assert message in str(result)

    compiled = lambda communicator: fit(communicator, norm=True, learning_rate=0.1, compile=True)
    assert_all(run(2, compiled), ValueError, "BatchNorm on several ranks is not compiled")


def test_statistics_that_are_frozen_are_asked_of_nobody():
    def work(communicator):
        made = network(norm=True)
        for layer in made.layers:
            if isinstance(layer, tg.BatchNorm):
                layer.eval()
        options = {"seed": 1, "verbose": False, "compile": False, "communicator": communicator}
        made.fit(X, LABELS, 2, 0.1, 8, **options)
        return made.state()

    first, other = run(2, work)
    assert_same([other], [first], 0)
    assert_same([first], [work(None)])


@pytest.mark.parametrize(("name", "other"), [
    ("epochs", 4), ("batch_size", 5), ("x", X + 1), ("metrics", ["accuracy"]), ("loss", summed),
    ("compile", None), ("callbacks", [tg.EarlyStopping("loss")]), ("validation", HELD),
])  # fmt: skip
def test_other_arguments_on_a_rank_are_refused_before_any_step(name, other):
    common = {"learning_rate": 0.1, "batch_size": 8, "y": np.eye(3)[LABELS]}
    differ = lambda c: fit(c, **{**common, name: other} if c.rank else common)
    results = run(2, differ)
    assert_all(results, ValueError, name)
    assert all("expected the same arguments on all ranks" in str(each) for each in results)


def test_an_argument_that_is_wrong_on_one_rank_is_told_to_all():
    results = run(3, lambda c: fit(c, learning_rate=0.1, y=LABELS[: ROWS - (c.rank == 1)]))
    assert_all(results, ValueError, "as many targets as inputs")
    assert str(results[0]).startswith("rank 1 of 3 ended the training: ValueError: fit: expected as many")


class Fail(tg.Callback):
    """Fails on rank 1, at an event."""

    def on_train_begin(self, training):
        if training.rank == 1:
            setattr(self, self.event, self.fail)

    def fail(self, training):
        raise BreakError("by rank 1")


@pytest.mark.parametrize(
    "event", ["on_epoch_begin", "on_gradients", "on_batch_end", "on_epoch_end", "on_train_end"]
)
def test_a_rank_that_fails_ends_all(event):
    def work(communicator):
        callback = Fail()
        callback.event = event
        fit(communicator, learning_rate=0.1, batch_size=8, callbacks=[callback], validation=HELD)

    first, second = run(2, work)
    assert isinstance(second, BreakError)
    assert isinstance(first, RuntimeError)
    assert "rank 1 of 2 ended the training: BreakError: by rank 1" in str(first)


def test_a_rank_that_fails_between_layers_that_exchange_statistics_ends_all():
    class Odd(tg.Layer):
        def forward(self, x):
            if self.training and len(x) == 4:
                raise BreakError("an even number of rows")
            return x

    def work(communicator):
        dense = tg.Dense(36, 3, rng=0, dtype=np.float64)
        norms = [tg.BatchNorm(3, dtype=np.float64) for _ in range(2)]
        made = tg.Network([tg.Flatten(), dense, norms[0], Odd(), norms[1]])
        made.use(tg.cross_entropy)
        made.fit(X[:7], LABELS[:7], 1, 0.1, seed=0, verbose=False, compile=False, communicator=communicator)

    first, second = run(2, work)  # of 3 and 4 rows
    assert isinstance(second, BreakError)
    assert "rank 1 of 2 ended the training: BreakError: an even number of rows" in str(first)


def test_a_loss_that_is_not_finite_on_one_rank_leaves_all_as_they_were():
    def work(communicator):
        made = network(dropout=0.0, loss=tg.mse)
        before = made.state()
        x = X.copy()
        x[-1] = 1e308  # in the part of the last rank
        with pytest.raises(FloatingPointError, match="the loss became") as caught:
            made.fit(
                lambda rng: [(x, np.eye(3)[LABELS])], None, 1, 0.1, verbose=False, communicator=communicator
            )
        assert_same([made.state()], [before], 0)
        return str(caught.value)

    first, second = run(2, work)
    assert first == f"rank 1 of 2 ended the training: FloatingPointError: {second}"


def test_other_batches_on_a_rank_are_refused():
    def work(communicator):
        batches = [(X[rows], LABELS[rows]) for rows in (slice(0, 8), slice(8, 16 - communicator.rank))]
        fit(communicator, x=batches, y=None, learning_rate=0.1)

    assert_all(run(2, work), RuntimeError, "came apart, at fit, batch 2 of epoch 1, which differ")
    shorter = lambda c: fit(c, x=[(X[:8], LABELS[:8])] * (2 - c.rank), y=None, learning_rate=0.1)
    assert_all(run(2, shorter), RuntimeError, "rank 0 at fit, batch 2 of epoch 1, rank 1 at the figures")


def test_networks_that_come_apart_are_refused():
    class Noise(tg.Callback):
        def on_gradients(self, training):
            for p in training.optimizer.parameters:
                p.grad = p.grad + training.rank

    results = run(2, lambda c: fit(c, learning_rate=0.1, callbacks=[Noise()]))
    assert_all(results, RuntimeError, "the parameters after epoch 1, which differ")


def test_gradients_are_those_of_the_whole_batch_where_a_callback_gets_them():
    seen = {}

    class Keep(tg.Callback):
        def on_gradients(self, training):
            seen.setdefault(training.ranks, []).append([p.grad.copy() for p in training.optimizer.parameters])

    for size in (1, 2):
        run(size, lambda c: fit(c, learning_rate=0.1, batch_size=8, callbacks=[Keep()], epochs=1))
    steps, twice = seen[1], seen[2]
    assert len(twice) == 2 * len(steps)
    for found, expected in zip(twice, np.repeat(range(len(steps)), 2), strict=True):
        for g, true in zip(found, steps[expected], strict=True):
            np.testing.assert_allclose(g, true, rtol=1e-11, atol=1e-13)


def test_a_rank_that_stops_stops_all():
    class Stop(tg.Callback):
        def on_batch_end(self, training):
            if training.rank == 1 and training.step == 5:
                training.stop("its time is up")

    results = run(2, lambda c: fit(c, learning_rate=0.1, batch_size=8, callbacks=[Stop()], epochs=9))
    assert [len(history["loss"]) for _, history in results] == [2, 2]


def test_an_error_in_the_middle_of_an_exchange_aborts(capsys):
    class Broken(communicators.Communicator):
        def Allreduce(self, send, receive):  # noqa: N802
            if send.size > 100 and self.rank:
                raise MemoryError("none left")
            super().Allreduce(send, receive)

    run_one = lambda c: fit(Broken(c.meeting, c.rank), learning_rate=0.1)
    results = run(2, run_one)
    assert all(isinstance(each, BaseException) for each in results)
    assert "fit: rank 1 of 2 ends all: MemoryError: none left" in capsys.readouterr().err


def test_halves_are_summed_in_single_precision():
    def work(communicator):
        made = network(dtype=np.float16, dropout=0.0)
        made.fit(X, LABELS, 2, 0.1, batch_size=8, seed=0, verbose=False, communicator=communicator)
        return made.state()

    (alone,), (first, other) = run(1, work), run(2, work)
    assert_same([other], [first], 0)
    assert_same([first], [alone], 5e-3)


def test_what_is_no_communicator_is_refused():
    with pytest.raises(
        TypeError, match=r"expected communicator to be one of mpi4py, .* got 2, which has no rank"
    ):
        fit(2, learning_rate=0.1)


def test_ranks_of_a_machine_share_its_cores(monkeypatch):
    from tensorgrad.core.parallel import pool

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    seen = []

    class Look(tg.Callback):
        def on_batch_end(self, training):
            seen.append(pool.threads)

    run(3, lambda c: fit(c, learning_rate=0.1, callbacks=[Look()], epochs=1))
    assert set(seen) == {2}
