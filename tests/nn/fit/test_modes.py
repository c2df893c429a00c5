"""Training and inference as a thread, a task or an owner sees them: nobody switches them for another."""

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.context import paused

QUIET = {"verbose": False, "seed": 0}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 6, 6, 1)).astype(np.float32)
Y = RNG.integers(0, 3, 48)


def made(*, norm=True):
    rng = np.random.default_rng(1)
    norms = [tg.BatchNorm(4)] if norm else []
    layers = [tg.Conv2D(1, 4, 3, rng=rng), *norms, tg.ReLU(), tg.Dropout(0.5, rng=rng), tg.Flatten()]
    network = tg.Network([*layers, tg.Dense(64, 3, rng=rng)])
    network.use(tg.cross_entropy)
    return network


def assert_same_state(one, other):
    for path, values in one.items():
        np.testing.assert_array_equal(values, other[path], err_msg=path)


def in_threads(f, count=8):
    """What ``f(i)`` gives in so many threads, which start at the same moment."""
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        return f(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# Threads


def test_threads_predict_as_one_does_and_leave_no_trace():
    network = made()
    network.fit(X, Y, 2, 0.1, 8, **QUIET)
    parts = [X[i : i + 12] for i in range(0, 48, 6)]
    expected, before = [network.predict(part) for part in parts], network.state()
    drawn = network.layers[3].generator.bit_generator.state
    found = in_threads(lambda i: [network.predict(parts[i % len(parts)], 1 + i) for _ in range(50)])
    for i, several in enumerate(found):
        alone = network.predict(parts[i % len(parts)], 1 + i)
        np.testing.assert_allclose(alone, expected[i % len(parts)], rtol=1e-4, atol=1e-6)
        for one in several:
            np.testing.assert_array_equal(one, alone)
    assert_same_state(network.state(), before)
    assert network.layers[3].generator.bit_generator.state == drawn
    assert all(layer.training for layer in network.named_layers().values())


def test_threads_evaluate_as_one_does():
    network = made()
    network.fit(X, Y, 1, 0.1, 8, **QUIET)
    expected, before = network.evaluate(X, Y, 16, metrics=["accuracy", "f1_macro"]), network.state()
    found = in_threads(
        lambda i: [network.evaluate(X, Y, 16, metrics=["accuracy", "f1_macro"]) for _ in range(5)]
    )
    assert all(each == expected for several in found for each in several)
    assert_same_state(network.state(), before)


def test_predictions_beside_a_training_do_not_change_it():
    alone, watched = made(), made()
    options = {"epochs": 6, "learning_rate": 0.1, "batch_size": 4, "validation": (X, Y), **QUIET}
    history = alone.fit(X, Y, **options)
    over = threading.Event()

    def work(i):
        if i == 0:
            try:
                return watched.fit(X, Y, **options)
            finally:
                over.set()
        count = 0
        while not over.is_set():
            watched.predict(X) if i % 2 else watched.evaluate(X, Y)
            count += 1
        return count

    found, *counts = in_threads(work, 4)
    assert min(counts) > 2
    assert {**found, "seconds": 0} == {**history, "seconds": 0}
    assert_same_state(watched.state(), alone.state())


def test_a_training_beside_predictions_does_not_change_them():
    network = made(norm=False)  # no running statistics, and a rate of 0: the network stays as it is
    expected = network.predict(X)
    over = threading.Event()

    def work(i):
        if i == 0:
            network.fit(X, Y, 10, 0.0, 4, **QUIET)
            over.set()
            return []
        found = []
        while not over.is_set():
            found.append(network.predict(X))
        return found

    for several in in_threads(work, 3)[1:]:
        assert several
        for one in several:
            np.testing.assert_array_equal(one, expected)


def test_networks_train_side_by_side_as_alone():
    alone = made()
    alone.fit(X, Y, 3, 0.1, 8, **QUIET)
    networks = [made() for _ in range(4)]
    in_threads(lambda i: networks[i].fit(X, Y, 3, 0.1, 8, **QUIET), 4)
    for network in networks:
        assert_same_state(network.state(), alone.state())


def test_a_task_predicts_while_another_trains_by_hand():
    network, other = made(), made()

    def step(network, i):
        rows = slice(8 * i, 8 * i + 8)
        loss = tg.cross_entropy(network(X[rows]), Y[rows])
        loss.backward()
        return loss.item()

    async def train(network):
        losses = []
        for i in range(6):
            losses.append(step(network, i))
            await asyncio.sleep(0)
        return losses

    async def predict():
        for _ in range(6):
            await asyncio.to_thread(network.predict, X)
            network.predict(X[:4])
            await asyncio.sleep(0)

    async def both():
        return (await asyncio.gather(train(network), predict()))[0]

    assert asyncio.run(both()) == asyncio.run(train(other))
    assert_same_state(network.state(), other.state())


# Interruptions


class Interrupted(tg.Layer):
    def __init__(self):
        self.armed = False

    def forward(self, x):
        if self.armed:
            raise KeyboardInterrupt
        return x * 1.0 if isinstance(x, tg.Tensor) else tg.Tensor(x)


@pytest.mark.parametrize("verb", ["predict(X)", "evaluate(X, Y)", "fit(X, Y, 1, 0.1, verbose=False)"])
def test_an_interruption_leaves_nothing_switched(verb):
    network = made()
    network.layers.insert(5, Interrupted())
    network.layers[1].eval()
    before, modes = network.state(), [x.training for x in network.layers]
    network.layers[5].armed = True
    with pytest.raises(KeyboardInterrupt):
        eval(f"network.{verb}", {"network": network, "X": X, "Y": Y})
    assert [x.training for x in network.layers] == modes
    assert_same_state(network.state(), before)
    network.layers[5].armed = False
    assert network(X).requires_grad
    assert not np.array_equal(network(X).data, network(X).data)  # dropout draws


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers on this system")
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_whenever_ctrl_c_comes_nothing_stays_switched(verb):
    network, rng, interrupted = made(), np.random.default_rng(0), 0
    work = {"predict": lambda: network.predict(X, 4), "evaluate": lambda: network.evaluate(X, Y, 4)}[verb]
    before = network.state()
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(2000):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 6e-3))
                for _ in range(100):
                    work()
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert network.training
            assert paused.get() == 0
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert interrupted > 1900
    assert_same_state(network.state(), before)


# Inside one another


class Asks(tg.Layer):
    """Adds what another network predicts."""

    def __init__(self, other):
        self.other = [other.predict]  # where no layer is looked for
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        told = self.other[0](x.data if isinstance(x, tg.Tensor) else x)
        self.modes.append(self.training)
        return x + told.mean(axis=1)[:, None, None, None]


def test_a_prediction_inside_a_training_and_inside_a_prediction():
    other = made()
    asks = Asks(other)
    network = tg.Network([asks, *made().layers])
    network.use(tg.cross_entropy)
    before = other.state()
    network.fit(X, Y, 1, 0.1, 16, **QUIET)
    assert asks.modes[-6:] == [True] * 6
    asks.modes.clear()
    network.predict(X)
    assert asks.modes == [False, False]
    assert_same_state(other.state(), before)


def test_a_callback_may_predict_and_evaluate():
    class Looks(tg.Callback):
        def on_batch_end(self, training):
            training.network.predict(X)
            training.network.evaluate(X, Y)
            assert training.network.training

    alone, watched = made(), made()
    alone.fit(X, Y, 2, 0.1, 8, **QUIET)
    watched.fit(X, Y, 2, 0.1, 8, callbacks=[Looks()], **QUIET)
    assert_same_state(watched.state(), alone.state())


def test_a_training_inside_a_prediction_trains():
    class Learns(tg.Layer):
        def __init__(self, learner):
            self.learner = learner

        def forward(self, x):
            self.learner.fit(X, Y, 1, 0.1, 8, **QUIET)
            return x * 1.0 if isinstance(x, tg.Tensor) else tg.Tensor(x)

    learner, alone = made(), made()
    alone.fit(X, Y, 1, 0.1, 8, **QUIET)
    with tg.no_grad():
        tg.Network([Learns(learner)]).predict(X[:1])
    assert_same_state(learner.state(), alone.state())


# What the owner chose


def test_a_part_that_its_owner_put_into_inference_stays_there_in_fit():
    network = made()
    norm, dropout = network.layers[1], network.layers[3]
    norm.running_mean.data = np.full(4, 0.5, np.float32)
    norm.eval()
    statistics, scale = norm.named_buffers(), norm.scale.numpy()
    drawn = dropout.generator.bit_generator.state
    network.fit(X, Y, 2, 0.1, 8, **QUIET)
    for name, values in norm.named_buffers().items():
        np.testing.assert_array_equal(values, statistics[name])
    assert not norm.training
    assert network.training
    assert not np.array_equal(norm.scale.data, scale), "its parameters are trained"
    assert dropout.generator.bit_generator.state != drawn

    # By hand it is the same.
    other = made()
    other.layers[1].running_mean.data = np.full(4, 0.5, np.float32)
    other.layers[1].eval()
    optimizer, rng = tg.MiniBatchSGD(other.parameters(), 0.1), np.random.default_rng(0)
    for _ in range(2):
        for x, y in tg.minibatches(X, Y, 8, rng):
            optimizer.zero_grad()
            tg.cross_entropy(other(x), y).backward()
            optimizer.step()
    assert_same_state(network.state(), other.state())


def test_a_frozen_norm_takes_a_batch_of_one():
    network = made()
    with pytest.raises(ValueError, match="leave a batch of one"):
        made_dense().fit(X[:9, :, 0, 0], Y[:9], 1, 0.1, 4, **QUIET)
    frozen = made_dense()
    frozen.layers[1].eval()
    frozen.fit(X[:9, :, 0, 0], Y[:9], 1, 0.1, 4, **QUIET)
    network.fit(X[:9], Y[:9], 1, 0.1, 4, **QUIET)  # an image has many values in each channel


def made_dense():
    network = tg.Network([tg.Dense(6, 3, rng=0), tg.BatchNorm(3), tg.Dense(3, 3, rng=1)])
    network.use(tg.cross_entropy)
    return network


def test_a_network_that_is_in_inference_as_a_whole_stays_so_and_is_told_of():
    network = made().eval()
    statistics = network.named_buffers()
    with pytest.warns(RuntimeWarning, match=r"fit: the network was put into inference.*Call train\(\) first"):
        network.fit(X, Y, 1, 0.1, **QUIET)
    for name, values in network.named_buffers().items():
        np.testing.assert_array_equal(values, statistics[name])
    assert not network.training
    plain = tg.Network([tg.Flatten(), tg.Dense(36, 3, rng=0)]).eval()  # which has nothing that differs
    plain.use(tg.cross_entropy)
    plain.fit(X, Y, 1, 0.1, **QUIET)


def test_a_mode_may_be_assigned_and_is_true_or_false():
    layer = tg.Dropout(0.5)
    layer.training = False
    assert not layer.training
    with pytest.raises(TypeError, match="Dropout: expected training to be True or False, got 'no'"):
        layer.training = "no"


def test_a_class_does_not_hide_the_mode():
    with pytest.raises(TypeError, match="Frozen: training is a property of every layer, got False"):

        class Frozen(tg.BatchNorm):
            training = False

    class Late(tg.BatchNorm):
        training: bool

        def __init__(self):
            super().__init__(3)
            self.training = False

    assert not Late().training


# Training some layers


def test_an_optimizer_of_some_parameters_trains_them_alone():
    network = made()
    before, head = network.state(), network.layers[-1]
    history = network.fit(
        X, Y, 9, optimizer=lambda _: tg.Adam(head.parameters(), 0.02, weight_decay=0.1), **QUIET
    )
    changed = {path for path, x in network.state().items() if not np.array_equal(x, before[path])}
    assert changed == {
        "Dense5.weights", "Dense5.bias", "BatchNorm1.running_mean", "BatchNorm1.running_variance"
    }  # fmt: skip
    assert history["loss"][-1] < history["loss"][0]
    with pytest.raises(ValueError, match="the optimizer has parameters of something else"):
        network.fit(X, Y, 1, optimizer=tg.Adam(made().parameters()), **QUIET)


def test_gradients_of_parameters_that_are_not_trained_do_not_add_up():
    network, frozen = made(norm=False), made(norm=False)
    options = {"epochs": 4, "batch_size": 48, **QUIET}
    network.fit(X, Y, optimizer=lambda p: tg.MiniBatchSGD(p, 0.0), **options)
    frozen.fit(X, Y, optimizer=lambda p: tg.MiniBatchSGD(p[-1:], 0.0), **options)
    for one, other in zip(network.parameters(), frozen.parameters(), strict=True):
        np.testing.assert_array_equal(one.grad, other.grad)
