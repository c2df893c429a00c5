"""Recorded: what is in a graph, who uses and who made what, and what to call it; and the facade of graph."""

import sys
import types

import numpy as np

import tensorgrad as tg
from tensorgrad.graph.recorded import Recorded, ancestors


def leaf(value, name=None):
    return tg.Tensor(value, requires_grad=True, name=name)


def same(found, expected):
    return [id(x) for x in found] == [id(x) for x in expected]


def test_ancestors_are_each_there_once_leaves_first_then_in_the_order_of_computation():
    x, y = leaf(2.0), leaf(3.0)
    a = x * y
    b = np.exp(a)
    out, other = a + b, np.sin(b)
    assert same(ancestors(out), [x, y, a, b, out])
    assert same(ancestors(other, out), [x, y, a, b, out, other])
    assert same(ancestors(x), [x])


def test_an_assigned_leaf_is_still_before_what_was_made_of_it():
    x = leaf(2.0)
    y = x * 3.0
    x.data = 5.0
    assert same(ancestors(y), [x, y])


def test_users_are_counted_by_place():
    x = leaf(2.0)
    y = x * x
    out = y + x
    graph = Recorded(out)
    assert same(graph.users[id(x)], [y, y, out])
    assert same(graph.users[id(y)], [out])
    assert graph.users[id(out)] == []
    assert same(graph.leaves, [x])
    assert same(graph.results, [y, out])


def test_names_have_numbers_where_they_are_shared():
    x, y = leaf(2.0), leaf(3.0, "y")
    graph = Recorded(np.sin(np.sin(x) * y))
    assert list(graph.names.values()) == ["input", "y", "sin_1", "multiply", "sin_2"]


def test_a_number_that_is_somebodys_name_is_left_out():
    x = leaf(2.0, "sin_1")
    assert list(Recorded(np.sin(np.sin(x))).names.values()) == ["sin_1", "sin_2", "sin_3"]


def test_in_layers_names_are_paths_in_drawings_steps_and_programs():
    network = tg.Network([tg.Dense(2, 3, rng=0), tg.Tanh(), tg.Dense(3, 1, rng=1)])
    loss = tg.mse(network(np.ones((4, 2), np.float32)), np.zeros((4, 1), np.float32))
    names = ["Dense0.matmul", "Dense0", "Tanh1", "Dense2.matmul", "Dense2", "mse"]
    assert [step.name for step in reversed(loss.backward_steps())] == names
    steps = "\n".join(map(str, loss.backward_steps()))
    assert "Dense2.weights: Tanh1.T @ g = " in steps
    assert "Tanh1: g @ Dense2.weights.T = " in steps
    assert "5. Dense0 (add): g = " in steps
    assert "6. Dense0.matmul: g = " in steps
    assert "Dense0.weights: input.T @ g = " in steps
    source = tg.to_numpy(loss).source
    assert "Dense0 = input @ Dense0_weights + Dense0_bias" in source
    assert "d_Dense2_weights = Tanh1.T @ d_Dense2" in source


def test_parameters_that_share_a_name_are_called_by_their_paths():
    network = tg.Network([tg.Dense(2, 2, rng=0), tg.Dense(2, 2, rng=1)])
    for parameter in network.parameters():
        parameter.name = "p"
    graph = Recorded(network(np.ones((1, 2), np.float32)))
    assert [graph.names[id(x)] for x in network.parameters()] == list(network.named_parameters())


class Twice(tg.Layer):
    def __init__(self):
        self.inner = tg.Dense(2, 2, rng=0)

    def forward(self, x):
        return self.inner(np.tanh(self.inner(x)))


def test_the_layer_of_a_node_is_the_innermost_that_made_it():
    layer = Twice()
    out = np.exp(layer(np.ones((1, 2), np.float32)))
    graph = Recorded(out)
    found = [(group.name, group.title) if (group := graph.layer_of(x)) else None for x in graph.results]
    assert found == [
        ("inner", "inner"),
        ("inner", "inner"),
        ("Twice", "Twice"),
        ("inner", "inner (call 2)"),
        ("inner", "inner (call 2)"),
        None,
    ]
    assert graph.layer_of(graph.results[0]).layer is layer.inner
    assert same(graph.layer_of(graph.results[0]).outputs, [graph.results[1]])
    assert graph.layer_of(graph.leaves[0]) is None


def test_the_layer_around_a_recorded_vjp():
    x = leaf(3.0, "x")
    np.sin(x).backward(create_graph=True)
    graph = Recorded(x.grad)
    assert [part.title for part in graph.clusters.parts] == ["vjp of sin for x"]
    assert all(graph.layer_of(node) is None for node in graph.results)


def test_what_graph_gives_are_functions_and_no_modules_of_the_same_name():
    for name in ("draw", "player", "to_numpy", "backward_steps"):
        assert isinstance(getattr(tg.graph, name), types.FunctionType), name
        assert f"tensorgrad.graph.{name}" not in sys.modules
