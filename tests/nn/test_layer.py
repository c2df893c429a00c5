"""Layer: how parameters are found, in our own layers, nested ones and a user's."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.nn import Buffer


class Scale(tg.Layer):
    """A user's own layer, as in the documentation."""

    def __init__(self, factor=2.0):
        self.factor = tg.Parameter(factor, name="factor")

    def forward(self, x):
        return x * self.factor


class Holder(tg.Layer):
    """A layer with whatever attributes a test gives it."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def forward(self, x):
        return x


def same(found, expected):
    """Whether two lists hold the same objects in the same order; == would compare their values."""
    return [id(p) for p in found] == [id(p) for p in expected]


def test_a_layers_parameters_come_by_name_in_the_order_of_definition():
    layer = tg.Dense(2, 3)
    assert list(layer.named_parameters()) == ["weights", "bias"]
    assert same(layer.parameters(), [layer.weights, layer.bias])
    assert list(tg.Conv2D(1, 2, 3).named_parameters()) == ["filters", "bias"]
    assert tg.Flatten().parameters() == []


def test_nested_layers_and_lists_of_layers_are_searched():
    first, second, third = Scale(), Scale(), Scale()
    layer = Holder(head=first, body=[second, tg.ReLU(), (third,)[0]], size=3, title="x")
    named = layer.named_parameters()
    assert list(named) == ["head.factor", "body.0.factor", "body.2.factor"]
    assert same(named.values(), [first.factor, second.factor, third.factor])
    deep = Holder(inner=Holder(inner=(layer,)))
    assert next(iter(deep.named_parameters())) == "inner.inner.0.head.factor"
    assert same(deep.parameters(), layer.parameters())


@pytest.mark.parametrize(
    "container", [list, tuple, lambda items: dict(enumerate(items))], ids=["list", "tuple", "dict"]
)
@pytest.mark.parametrize("kind", ["layers", "parameters"])
def test_nothing_in_a_container_is_silently_left_untrained(container, kind):
    layers = [Scale(), Scale()]
    parameters = [layer.factor for layer in layers]
    layer = Holder(parts=container(layers if kind == "layers" else parameters))
    assert same(layer.parameters(), parameters)


def test_a_shared_layer_or_parameter_counts_once():
    shared = Scale()
    assert same(Holder(a=shared, b=shared, c=[shared]).parameters(), [shared.factor])
    twins = Holder(a=Scale(), b=Scale())
    twins.b.factor = twins.a.factor
    assert same(twins.parameters(), [twins.a.factor])
    network = tg.Network([tg.Dense(2, 2), tg.Tanh()])
    network.add(network.layers[0])
    assert list(network.named_parameters()) == ["Dense0.weights", "Dense0.bias"]


def test_a_parameter_under_two_names_of_one_layer_counts_once():
    tied = tg.Parameter(1.0)
    assert same(Holder(a=tied, b=tied).parameters(), [tied])


def test_no_parameter_is_lost_where_two_paths_coincide():
    layer = Holder(block=[Scale()], block0=Scale())
    assert same(
        sorted(layer.parameters(), key=id), sorted((layer.block[0].factor, layer.block0.factor), key=id)
    )


def test_two_parameters_of_one_path_are_refused():
    with pytest.raises(ValueError, match=r"Holder: two parameters are called part\.0\.factor"):
        Holder(part={0: Scale(), "0": Scale()}).parameters()


def test_gradients_reach_a_users_layer_and_sum_over_shared_uses():
    shared = Scale(3.0)
    network = tg.Network([shared, shared])
    network(np.array([2.0])).sum().backward()
    assert shared.factor.grad == pytest.approx(2 * 3.0 * 2.0)  # d/df f^2 x


def test_network_names_parameters_after_their_place():
    network = tg.Network([tg.Flatten(), tg.Dense(4, 3), tg.Network([tg.ReLU(), tg.Dense(3, 2)]), Scale()])
    names = [
        "Dense1.weights",
        "Dense1.bias",
        "Network2.Dense1.weights",
        "Network2.Dense1.bias",
        "Scale3.factor",
    ]
    assert list(network.named_parameters()) == names
    assert [p.name for p in network.parameters()] == names


def test_a_nested_network_computes_and_trains_as_the_flat_one():
    def layers():
        rng = np.random.default_rng(0)
        return [tg.Dense(3, 4, rng=rng), tg.Tanh(), tg.Dense(4, 1, rng=rng)]

    first, *rest = layers()
    nested, flat = tg.Network([first, tg.Network(rest)]), tg.Network(layers())
    x = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
    for network in (nested, flat):
        network.use(tg.mse)
        network.fit(x, x[:, :1], 3, 0.1, 8, seed=0, verbose=False)
    for a, b in zip(nested.parameters(), flat.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_layer_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Silent.*forward"):
        type("Silent", (tg.Layer,), {})()(np.ones(2))


# Modes


class Counter(tg.Layer):
    """A layer of all kinds of content: a parameter, a buffer, a generator."""

    def __init__(self, size=2):
        self.scale = tg.Parameter(np.ones(size, np.float32))
        self.calls = Buffer(np.zeros(size, np.int64), "calls")
        self.generator = np.random.default_rng(size)

    def forward(self, x):
        if self.training:
            self.calls.data = self.calls.data + 1
        return x * self.scale


def test_every_layer_starts_in_training_and_modes_reach_all_of_them():
    shared = Scale()
    layer = Holder(head=shared, body=[Holder(inner={"a": Scale()}), tg.Network([tg.ReLU()])], again=shared)
    every = list(layer.named_layers().values())
    assert len(every) == 6
    assert all(x.training for x in every)
    assert layer.eval() is layer
    assert not any(x.training for x in every)
    assert layer.train() is layer
    assert all(x.training for x in every)
    layer.body[0].eval()
    assert [x.training for x in every] == [True, True, False, False, True, True]
    layer.train(False)
    assert not any(x.training for x in every)


def test_the_mode_of_one_layer_is_not_another_ones():
    Scale().eval()
    assert Scale().training


@pytest.mark.parametrize("mode", [0, 1, "eval", None], ids=repr)
def test_a_mode_is_true_or_false(mode):
    with pytest.raises(TypeError, match="train: expected mode to be True or False, got"):
        Scale().train(mode)


def test_layers_that_hold_one_another_are_walked_once():
    first, second = Counter(), Counter()
    first.other, second.other = second, first
    assert list(first.named_layers()) == ["", "other"]
    assert list(first.named_parameters()) == ["scale", "other.scale"]
    assert not first.eval().other.training


def test_many_shared_layers_are_walked_in_no_time():
    layer = Scale()
    for _ in range(60):  # 2^60 paths
        layer = Holder(a=layer, b=layer)
    assert len(layer.named_layers()) == 61
    assert len(layer.parameters()) == 1


# State


def test_a_state_is_copies_of_parameters_then_buffers():
    layer = Holder(first=Counter(2), second=[Counter(3)])
    state = layer.state()
    assert list(state) == ["first.scale", "second.0.scale", "first.calls", "second.0.calls"]
    assert list(layer.named_buffers()) == ["first.calls", "second.0.calls"]
    assert list(layer.named_generators()) == ["first.generator", "second.0.generator"]
    assert layer.named_generators()["second.0.generator"] is layer.second[0].generator
    state["first.scale"][:] = 7
    assert (layer.first.scale.data == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        layer.named_buffers()["first.calls"][:] = 7


def test_a_buffer_is_not_trained():
    layer = Counter()
    assert same(layer.parameters(), [layer.scale])
    assert not layer.calls.requires_grad


def test_a_state_goes_from_one_layer_to_another_and_nothing_is_shared():
    source, target = Counter(), Counter()
    source(np.ones((1, 2), np.float32))
    source.scale.data = np.float32([3, 4])
    state = source.state()
    target.load_state(state)
    for path, values in target.state().items():
        np.testing.assert_array_equal(values, state[path])
        assert values.dtype == state[path].dtype
    state["calls"][:] = 100
    source.scale.data = np.float32([0, 0])
    np.testing.assert_array_equal(target.calls.data, [1, 1])
    np.testing.assert_array_equal(target.scale.data, [3, 4])


def test_a_state_survives_npz(tmp_path):
    source, target = Counter(), Counter()
    source(np.ones((1, 2), np.float32))
    np.savez(tmp_path / "state.npz", **source.state())
    with np.load(tmp_path / "state.npz") as file:
        target.load_state(dict(file))
    np.testing.assert_array_equal(target.calls.data, [1, 1])


def test_every_misfit_of_a_state_is_named_and_nothing_is_loaded():
    layer = Holder(a=Counter(), b=Counter())
    before = layer.state()
    state = {
        "a.scale": np.full(2, 5, np.float32),  # fits
        "b.scale": np.ones(3, np.float32),
        "a.calls": np.zeros(2),
        "c.scale": np.ones(2, np.float32),
        "b.calls": np.array(["x", "y"]),
    }
    with pytest.raises(ValueError, match="load_state: the state does not fit Holder") as caught:
        layer.load_state(state)
    assert str(caught.value).splitlines()[1:] == [
        "  b.scale: expected shape (2,), got (3,)",
        "  a.calls: expected int64, got float64",
        "  c.scale is not a parameter or buffer of the layer",
        "  b.calls: expected an array of real numbers, got dtype <U1",
    ]
    del state["b.scale"]
    with pytest.raises(ValueError, match=r"b\.scale is missing"):
        layer.load_state(state)
    for path, values in layer.state().items():
        np.testing.assert_array_equal(values, before[path])


@pytest.mark.parametrize("state", [None, [], "weights.npz"], ids=repr)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(TypeError, match="load_state: expected a dict of arrays by path, got a"):
        Counter().load_state(state)


def test_loading_between_forward_and_backward_is_noticed():
    layer = Counter()
    out = layer(np.ones((1, 2), np.float32)).sum()
    layer.load_state(layer.state())
    with pytest.raises(RuntimeError, match="was assigned after"):
        out.backward()


# What a layer keeps cannot get lost


class Parts(tg.Layer):
    def __init__(self):
        self.weights = tg.Parameter(np.ones(2, np.float32))
        self.mean = tg.nn.Buffer(np.zeros(2, np.float32))
        self.head = tg.Dense(2, 1, rng=0)
        self.blocks = [tg.ReLU(), tg.Dense(2, 2, rng=0)]
        self.table = {"w": tg.Parameter(np.ones(2)), "rate": 0.5}
        self.bias = None
        self.rate = 0.1


@refused_calls(
    (
        "set('weights', np.ones(2, np.float32))",
        TypeError,
        r"Parts.weights is a Parameter, and a ndarray .*write",
    ),
    ("set('weights', tg.Tensor(np.ones(2)))", TypeError, "and a Tensor in its place"),
    ("set('weights', tg.Tensor(np.ones(2), requires_grad=True))", TypeError, "and a Tensor in its place"),
    (
        "set('weights', layer.weights * 2)",
        TypeError,
        r"Parts.weights.data = \.\.\. for new values, or assign a Parameter",
    ),
    (
        "set('bias', tg.Tensor(np.ones(2), requires_grad=True))",
        TypeError,
        r"Parts.bias: a Tensor that requires grad is no Parameter .*write tg.Parameter\(values\)",
    ),
    ("set('weights', [1.0, 2.0])", TypeError, "and a float in its place"),
    ("set('weights', [])", TypeError, "and a list in its place"),
    ("set('weights', 3.0)", TypeError, "and a float in its place"),
    ("set('weights', False)", TypeError, "and a bool in its place"),
    ("set('mean', np.ones(2))", TypeError, "Parts.mean is a Buffer, and a ndarray"),
    (
        "set('head', lambda x: x)",
        TypeError,
        "Parts.head is a Layer, and a function in its place .*assign a Layer",
    ),
    ("set('head', tg.Dense)", TypeError, "and a type in its place"),
    ("set('blocks', np.ones(2))", TypeError, r"Parts.blocks\[0\] is a Layer, and a ndarray"),
    ("set('blocks', [tg.ReLU(), np.ones(2)])", TypeError, r"Parts.blocks\[1\] is a Layer"),
    ("set('table', {'w': np.ones(2), 'rate': 0.5})", TypeError, r"Parts.table\['w'\] is a Parameter"),
    ("setattr(tg.Dense(2, 1), 'bias', 0)", TypeError, "Dense.bias is a Parameter, and a int"),
    ("setattr(tg.BatchNorm(2), 'running_mean', np.ones(2))", TypeError, "BatchNorm.running_mean is a Buffer"),
    ("setattr(tg.Network([tg.ReLU()]), 'layers', [np.tanh])", TypeError, r"Network.layers\[0\] is a Layer"),
)
def test_what_a_layer_keeps_is_not_replaced_by_what_it_would_not_keep(call, error, message):
    layer = Parts()
    before, paths = layer.state(), list(layer.named_layers())
    assert_refused(call, error, message, layer=layer, set=lambda name, x: setattr(layer, name, x))
    assert list(layer.named_layers()) == paths
    assert layer.state().keys() == before.keys()


def test_what_a_layer_keeps_may_be_replaced_by_its_like_or_left_away():
    layer, shared = Parts(), tg.Parameter(np.zeros(2, np.float32))
    layer.weights = layer.weights
    layer.weights = shared
    layer.mean = tg.Parameter(np.zeros(2))
    layer.head = tg.Network([tg.Dense(2, 1, rng=1)])
    layer.blocks = [tg.Tanh()]
    layer.blocks = []
    layer.table = {"w": shared, "rate": 0.1}
    layer.rate, layer.bias = np.ones(2), 3.0
    layer.bias, layer.rate = tg.Tensor(np.ones(2)), layer.weights * 2  # a constant, and a result to look at
    assert list(layer.named_parameters()) == ["weights", "mean", "head.Dense0.weights", "head.Dense0.bias"]
    layer.weights = layer.table = layer.head = None
    del layer.mean
    assert not layer.parameters()
    with tg.no_grad():
        dense = tg.Dense(2, 1, rng=0)
        dense.weights *= 2
        dense.weights.data = np.ones((2, 1), np.float32)
    assert len(dense.parameters()) == 2


# By path


def test_a_parameter_is_found_by_its_path():
    network = tg.Network([tg.Flatten(), tg.Dense(4, 3)])
    assert network.parameter("Dense1.weights") is network.layers[1].weights
    with pytest.raises(KeyError, match=r"no parameter 'Dense0.weights'; there are Dense1.weights"):
        network.parameter("Dense0.weights")
    with pytest.raises(KeyError, match="there are none"):
        tg.ReLU().parameter("weights")


# Composition


class Residual(tg.Layer):
    def __init__(self, *layers):
        self.block = tg.Network(layers)

    def forward(self, x):
        return x + self.block(x)


def test_a_residual_layer_of_ones_own():
    layer = Residual(tg.Dense(3, 4, rng=0, dtype=float), tg.Tanh(), tg.Dense(4, 3, rng=1, dtype=float))
    first, second = layer.block.layers[0], layer.block.layers[2]
    x = np.random.default_rng(0).standard_normal((5, 3))
    expected = x + np.tanh(x @ first.weights.data) @ second.weights.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12)
    network = tg.Network([layer, tg.Dense(3, 1, rng=2, dtype=float)])
    assert next(iter(network.named_parameters())) == "Residual0.block.Dense0.weights"
    assert not network.eval().layers[0].block.layers[1].training
    loss = tg.mse(network(x), np.zeros((5, 1)))
    loss.backward()
    assert all(np.abs(p.grad).sum() > 0 for p in network.parameters())
