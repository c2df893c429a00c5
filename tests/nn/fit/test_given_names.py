"""Names given to `Network.fit` and `use` for optimizers, schedules and losses; wrong ones are told."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 4)).astype(np.float32)
Y = np.arange(24) % 3
QUIET = {"batch_size": 8, "seed": 0, "verbose": False}


def dense(outputs=3, loss="cross_entropy", inputs=4):
    network = tg.Network([tg.Dense(inputs, 6, rng=0), tg.Tanh(), tg.Dense(6, outputs, rng=1)])
    network.use(loss)
    return network


def trained(epochs=2, network=None, x=X, y=Y, **options):
    network = network or dense()
    network.fit(x, y, epochs, **QUIET | options)
    return network


def assert_same(one, other):
    for path, values in one.state().items():
        np.testing.assert_array_equal(values, other.state()[path], err_msg=path)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", tg.Adam, {}),
        ("adam", tg.Adam, {"learning_rate": 0.01, "weight_decay": 0.1}),
        ("adamw", tg.AdamW, {}),  # with its own decay of 0.01
        ("adamw", tg.AdamW, {"weight_decay": 0.0}),
        ("sgd", tg.MiniBatchSGD, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_an_optimizer_by_name_or_class_is_the_one_that_is_made_by_hand(name, kind, options):
    by_hand = trained(optimizer=lambda parameters: kind(parameters, **options))
    assert_same(trained(optimizer=name, **options), by_hand)
    assert_same(trained(optimizer=kind, **options), by_hand)


def rates(schedule, epochs=6, **options):
    return dense().fit(X, Y, epochs, 1.0, schedule=schedule, **QUIET | options)["learning_rate"]


BY_HAND = {
    "cosine": lambda o, n: tg.CosineDecay(o, n),
    "one_cycle": lambda o, n: tg.OneCycle(o, n),
    "exponential": lambda o, n: tg.ExponentialDecay(o, 0.01 ** (1 / n)),
    "step": lambda o, n: tg.StepDecay(o, n // 3),
    "warm_up": lambda o, n: tg.WarmUp(o, -(-n // 10), 1 / (1 + -(-n // 10))),
    "reduce_on_plateau": lambda o, n: tg.ReduceOnPlateau(o),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_a_schedule_by_name_spans_the_training(name, every):
    if (name, every) == ("reduce_on_plateau", "batch"):
        with pytest.raises(ValueError, match="watches a figure of an epoch"):
            rates(name, schedule_every=every)
        return
    total = 6 if every == "epoch" else 6 * 3
    expected = rates(lambda o: BY_HAND[name](o, total), schedule_every=every)
    assert rates(name, schedule_every=every) == pytest.approx(expected)


def test_a_schedule_by_name_knows_the_rows_that_are_held_out_and_batches_of_your_own():
    part = rates("exponential", epochs=2, schedule_every="batch", validation_split=1 / 3)
    assert part == pytest.approx([0.1, 0.01])  # 16 rows in batches of 8 make 4 steps
    batches = [(X[:8], Y[:8]), (X[8:], Y[8:])]
    history = dense().fit(
        batches, epochs=3, learning_rate=1.0, schedule="exponential", schedule_every="batch",
        steps_per_epoch=2, verbose=False,
    )  # fmt: skip
    assert history["learning_rate"] == pytest.approx([0.01 ** (n / 3) for n in (1, 2, 3)])


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "cross_entropy", "binary_cross_entropy"])
def test_a_loss_by_its_name(name):
    network = tg.Network()
    network.use(name)
    assert network.loss is getattr(tg, name)


def test_one_callback_or_none_stands_for_a_list():
    stopping = tg.EarlyStopping("loss", patience=1, min_delta=10.0)
    assert len(dense().fit(X, Y, 9, 0.1, callbacks=stopping, **QUIET)["loss"]) == 2
    assert len(dense().fit(X, Y, 2, 0.1, callbacks=None, **QUIET)["loss"]) == 2


def test_patience_may_be_infinite():
    stopping = tg.EarlyStopping("loss", patience=np.inf, min_delta=10.0)
    network = dense()
    assert len(network.fit(X, Y, 4, 0.1, callbacks=stopping, **QUIET)["loss"]) == 4
    assert stopping.best_epoch == 1  # whose weights are restored
    assert_same(network, trained(1, learning_rate=0.1))


def fit(x=X, y=Y, network=None, **options):
    options = {"epochs": 1, "verbose": False} | options
    if "optimizer" not in options:
        options = {"learning_rate": 0.1} | options
    return (network or dense()).fit(x, y, **options)


@refused_calls(
    ("fit(optimizer='Adam')", ValueError, r"adam, adamw, sgd or a function .*'Adam'; did you mean 'adam'\?"),
    ("fit(optimizer='rmsprop')", ValueError, r"did you mean 'adam'\?"),
    ("fit(optimizer='sgd')", ValueError, "expected a learning_rate for MiniBatchSGD"),
    ("fit(optimizer=tg.MiniBatchSGD)", ValueError, "expected a learning_rate for MiniBatchSGD"),
    ("fit(optimizer='adam', momentum=0.9)", ValueError, "Adam has no momentum=0.9"),
    ("fit(optimizer=3)", ValueError, "one of adam, adamw, sgd or a function .* got 3"),
    ("fit(schedule='cosin')", ValueError, r"one of cosine, .*_plateau or a function.*mean 'cosine'\?"),
    ("fit(schedule='ReduceLROnPlateau')", ValueError, r"did you mean 'reduce_on_plateau'\?"),
    ("fit(schedule='one_cycle')", ValueError, "OneCycle: expected total to be .* at least 2"),
    ("fit(schedule=tg.CosineDecay)", TypeError, r"missing .* 'total'; it takes \(optimizer, total"),
    ("fit([(X, Y)], None, schedule='cosine', schedule_every='batch')", ValueError, "needs steps_per_epoch"),
    ("fit(callbacks=[tg.EarlyStopping])", TypeError, r"to be Callbacks.*write EarlyStopping\(\.\.\.\)"),
    ("fit(callbacks=lambda t: None)", TypeError, "to be Callbacks, got <function"),
    ("fit(callbacks=tg.EarlyStopping('val_loss'))", ValueError, r"did you mean 'validation_loss'\?"),
    ("fit(metrics=['acc'])", ValueError, r"got 'acc'; did you mean 'accuracy'\?"),
    ("fit(metrics=['f1-macro'])", ValueError, r"did you mean 'f1_macro'\?"),
    ("tg.Network().use('categorical_crossentropy')", ValueError, r"did you mean 'cross_entropy'\?"),
    ("tg.Network().use('MSELoss')", ValueError, r"did you mean 'mse'\?"),
)  # fmt: skip
def test_a_wrong_name_is_told_the_right_ones(call, error, message):
    assert_refused(call, error, message, fit=fit, X=X, Y=Y)
