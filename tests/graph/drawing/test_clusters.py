"""Clusters: layers and vjps around what they made, their names and depth; and that they leak nothing."""

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
from dot_reader import read

import tensorgrad as tg

X = np.ones((4, 3), np.float32)


def drawn(thing, **options):
    return read(tg.draw(thing, **options).source)


def tensor(values=X, name="x"):
    return tg.Tensor(values, requires_grad=True, name=name)


ALIVE = []


@pytest.fixture(autouse=True)
def _let_go():
    yield
    ALIVE.clear()


class Residual(tg.Layer):
    def __init__(self):
        ALIVE.append(self)  # for layers that are gone have lost their paths
        self.block = tg.Network([tg.Dense(3, 8, rng=0), tg.ReLU(), tg.Dense(8, 3, rng=1)])

    def forward(self, x):
        return x + self.block(x)


def test_layers_are_nested_clusters_under_their_paths():
    graph = drawn(Residual()(tensor()))
    assert graph.clusters == [
        ("Residual",),
        ("Residual", "block"),
        ("Residual", "block", "Dense0 Dense(3, 8)"),
        ("Residual", "block", "ReLU1"),
        ("Residual", "block", "Dense2 Dense(8, 3)"),
    ]
    where = {(node.lines[0], node.within[-1] if node.within else "") for node in graph.nodes.values()}
    assert where == {
        ("x", ""),
        ("matmul", "Dense0 Dense(3, 8)"),
        ("add", "Dense0 Dense(3, 8)"),
        ("Dense0.weights", "Dense0 Dense(3, 8)"),
        ("Dense0.bias", "Dense0 Dense(3, 8)"),
        ("relu", "ReLU1"),
        ("matmul", "Dense2 Dense(8, 3)"),
        ("add", "Dense2 Dense(8, 3)"),
        ("Dense2.weights", "Dense2 Dense(8, 3)"),
        ("Dense2.bias", "Dense2 Dense(8, 3)"),
        ("add", "Residual"),
    }


def test_what_comes_after_the_layers_lies_outside():
    network = tg.Network([tg.Dense(3, 1, rng=0)])
    graph = drawn(tg.mse(network(X), np.zeros((4, 1), np.float32)))
    assert graph.named("mse").within == ()
    assert graph.named("target").within == ()


def test_a_layer_drawn_by_itself_names_its_parameters_by_path():
    graph = drawn(Residual(), input_shape=(3,))
    assert {"block.Dense0.weights", "block.Dense2.bias"} <= graph.kinds().keys()
    assert graph.named("input").lines[1] == "(N, 3) float32"


@pytest.mark.parametrize(
    ("depth", "boxes"),
    [
        (0, {"Residual": ["(4, 3) float32", "6 ops, 59 parameters"]}),
        (1, {"block": ["(4, 3) float32", "5 ops, 59 parameters"]}),
        (
            2,
            {
                "Dense0": ["Dense(3, 8)", "(4, 8) float32", "2 ops, 32 parameters"],
                "ReLU1": ["(4, 8) float32", "1 op"],
                "Dense2": ["Dense(8, 3)", "(4, 3) float32", "2 ops, 27 parameters"],
            },
        ),
        (3, {}),
    ],
)
def test_depth_folds_clusters_into_boxes(depth, boxes):
    graph = drawn(Residual()(tensor()), depth=depth)
    assert {node.lines[0]: node.lines[1:] for node in graph.nodes.values() if node.kind == "layer"} == boxes
    assert len(graph.clusters) == {0: 0, 1: 1, 2: 2, 3: 5}[depth]


def test_a_folded_graph_has_the_arrows_between_what_is_left():
    graph = drawn(Residual()(tensor()), depth=1)
    assert sorted(graph.pairs) == [("block", "add"), ("x", "add"), ("x", "block")]


def test_a_shared_layer_is_a_cluster_for_each_call_and_its_parameters_lie_around_them():
    dense = tg.Dense(3, 3, rng=0)
    network = tg.Network([dense, dense])
    graph = drawn(network(tensor()))
    assert graph.clusters == [
        ("Network",),
        ("Network", "Dense0 Dense(3, 3)"),
        ("Network", "Dense0 (call 2) Dense(3, 3)"),
    ]
    assert graph.named("Dense0.weights").within == ("Network",)


class Cell(tg.Layer):
    def __init__(self):
        ALIVE.append(self)
        self.inputs, self.state_ = tg.Dense(3, 4, rng=0), tg.Dense(4, 4, rng=1)

    def forward(self, pair):
        x, h = pair
        return np.tanh(self.inputs(x) + self.state_(h))


def test_parameters_of_one_name_are_told_apart_by_their_paths():
    cell, h = Cell(), tensor(np.zeros((4, 4), np.float32), "h")
    for _ in range(8):
        h = cell((X, h))
    graph = drawn(h)
    paths = {"inputs.weights", "inputs.bias", "state_.weights", "state_.bias"}
    assert {node.lines[0] for node in graph.nodes.values() if node.kind == "parameter"} == paths
    assert graph.clusters[0] == ("× 8 the first is shown",)
    assert [p.name for p in cell.parameters()] == ["weights", "bias"] * 2  # drawing renames nothing


def test_layers_that_return_their_input_leave_no_mark():
    class Same(tg.Layer):
        def forward(self, x):
            return x

    x = tensor()
    y = np.sin(x)
    assert Same()(y) is y
    assert drawn(np.cos(y)).clusters == []
    network = tg.Network([Same(), tg.ReLU(), Same()])
    graph = drawn(network(np.sin(x)))
    assert graph.clusters == [("Network",), ("Network", "ReLU1")]


def test_dropout_is_there_in_training_and_gone_in_inference():
    network = tg.Network([tg.Dense(3, 3, rng=0), tg.nn.Dropout(0.5, rng=0)])
    assert any("Dropout1" in path[-1] for path in drawn(network, input_shape=(3,)).clusters)
    network.eval()
    assert not any("Dropout1" in path[-1] for path in drawn(network, input_shape=(3,)).clusters)


def test_drawing_or_summarizing_a_network_leaves_it_as_it_is():
    network = tg.Network([tg.Dense(3, 3, rng=0), tg.nn.BatchNorm(3), tg.nn.Dropout(0.5, rng=0)])
    before = network.state()
    generators = [g.bit_generator.state for g in network.named_generators().values()]
    names = [parameter.name for parameter in network.parameters()]
    with tg.no_grad():
        assert len(drawn(network, input_shape=(3,)).clusters) == 4
        network.eval().summary((3,))
    assert not network.training
    assert all(np.array_equal(before[key], value) for key, value in network.state().items())
    assert [g.bit_generator.state for g in network.named_generators().values()] == generators
    assert [parameter.name for parameter in network.parameters()] == names


def test_a_layer_with_several_results_is_one_cluster():
    class Two(tg.Layer):
        def forward(self, x):
            return np.sin(x), np.cos(x)

    s, c = Two()(tensor())
    graph = drawn(s * c)
    assert graph.clusters == [("Two",)]
    assert graph.named("sin").within == graph.named("cos").within == ("Two",)
    assert graph.named("multiply").within == ()


def test_layers_in_other_threads_do_not_mix():
    layers = [Residual() for _ in range(4)]
    outputs = [None] * 4
    start = threading.Barrier(4)

    def work(i):
        start.wait()
        for _ in range(20):
            outputs[i] = layers[i](tensor())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = tg.draw(Residual()(tensor())).source
    assert {tg.draw(output).source for output in outputs} == {alone}
    together = drawn(sum(outputs[1:], outputs[0]), repeats=False)
    assert len(together.clusters) == 4 * 5
    assert len(together.nodes) == 4 * 11 + 3


def test_marks_keep_no_layer_and_no_graph_alive():
    gc.collect()
    gc.disable()
    try:
        layer = Residual()
        layer.last = None
        out = layer(tensor())
        layer.last = out  # a layer that keeps its result must not make a circle with it
        gone, dead = weakref.ref(out), weakref.ref(layer)
        graph = drawn(out)
        ALIVE.clear()
        del layer, out
        assert gone() is None
        assert dead() is None
        assert len(graph.clusters) == 5
    finally:
        gc.enable()


def test_a_graph_outlives_its_layers():
    out = Residual()(tensor())
    ALIVE.clear()
    assert ("Residual", "Network", "Dense") in drawn(out).clusters


def test_copies_of_parameters_and_layers_carry_no_marks():
    layer = Residual()
    out = layer(tensor())
    twin = copy.deepcopy(layer)
    assert tg.draw(twin(tensor())).source == tg.draw(out).source
    assert drawn(out.detach()).clusters == []


def test_unused_results_of_a_layer_are_not_drawn():
    class Wasteful(tg.Layer):
        def forward(self, x):
            np.exp(x)
            return np.sin(x)

    assert len(drawn(Wasteful()(tensor())).nodes) == 2


# The graph of a gradient


def test_a_recorded_gradient_shows_the_vjps_that_made_it():
    x = tg.Tensor(3.0, requires_grad=True, name="x")
    y = np.sin(x) * x
    y.backward(create_graph=True)
    graph = drawn(x.grad)
    assert sorted(graph.clusters) == [
        ("vjp of multiply_1 for sin g * x",),
        ("vjp of multiply_1 for x g * sin",),
        ("vjp of sin for x g * np.cos(x)",),
    ]
    assert graph.named("cos").within == ("vjp of sin for x g * np.cos(x)",)
    assert graph.named("sin").within == ()  # of the forward pass
    assert graph.named("add").within == ()  # the engine adds the two cotangents


def test_a_plain_backward_leaves_no_graph_to_draw():
    x = tensor(np.ones(2))
    np.sin(x).sum().backward()
    assert isinstance(x.grad, np.ndarray)
