"""Layer: how parameters are found, in our own layers, nested ones and a user's."""

import numpy as np
import pytest

import tensorgrad as tg


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
