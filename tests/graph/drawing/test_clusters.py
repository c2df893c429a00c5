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


# What layers are given, and what they have


def dropped():
    return tg.Network([tg.Dense(3, 3, rng=0), tg.nn.Dropout(0.5, rng=0), tg.Dense(3, 2, rng=1)])


@pytest.mark.parametrize("x", [X, tg.Tensor(X), tensor(name=None)], ids=["array", "constant", "variable"])
def test_the_input_is_what_the_network_was_given_and_the_mask_is_a_constant_of_dropout(x):
    ALIVE.append(network := dropped())
    out = network(x)
    graph = drawn(out, depth=1)
    assert sorted(graph.pairs) == [("Dense0", "Dropout1"), ("Dropout1", "Dense2"), ("input", "Dense0")]
    assert graph.named("input").within == ()
    assert graph.kinds()["input"] == "input"
    graph = drawn(out)
    assert ("input", "matmul") in graph.pairs
    assert graph.named("mask").kind == "constant"
    assert graph.named("mask").within[-1] == "Dropout1 Dropout(0.5)"
    assert drawn(dropped(), input_shape=(3,), depth=1).kinds()["input"] == "input"


def test_the_input_is_found_when_its_array_is_gone():
    ALIVE.append(network := dropped())
    out = network(X + 1.0)
    assert drawn(out, depth=1).pairs[0] == ("input", "Dense0")


def test_what_layers_compute_of_an_array_without_recording_it_is_the_input_of_the_next():
    network = tg.Network([tg.Flatten(), tg.Dense(4, 2, rng=0)])
    x = np.ones((5, 2, 2), np.float32)
    for given in (x, tg.Tensor(x)):
        graph = drawn(network(given), depth=1)
        assert graph.pairs == [("input", "Dense1")]
        assert graph.named("input").lines == ["input", "(5, 4) float32"]


def test_an_array_that_is_read_twice_is_one_input():
    class Gated(tg.Layer):
        def __init__(self):
            self.a, self.b = tg.Dense(3, 2, rng=0), tg.Dense(3, 2, rng=1)

        def forward(self, x):
            return self.a(x) * self.b(x)

    layer = Gated()
    assert sorted(drawn(layer(X), depth=1).pairs) == [
        ("a", "multiply"),
        ("b", "multiply"),
        ("input", "a"),
        ("input", "b"),
    ]


def test_layers_can_be_given_several_arrays():
    ALIVE.append(cell := Cell())
    graph = drawn(cell((X, np.zeros((4, 4), np.float32))), depth=1)
    assert sorted(graph.pairs) == [
        ("add", "tanh"),
        ("input_1", "inputs"),
        ("input_2", "state_"),
        ("inputs", "add"),
        ("state_", "add"),
    ]


class Shifted(tg.Layer):
    """Reads what it is given, and an array and a tensor of its own of the same shape."""

    def __init__(self):
        ALIVE.append(self)
        self.scale = tg.Parameter(np.ones((4, 3), np.float32), "scale")
        self.array, self.tensor = X + 1.0, tg.Tensor(X + 2.0)

    def forward(self, x):
        return self.scale * x + self.array + self.tensor


def test_what_a_layer_has_of_its_own_is_a_constant():
    graph = drawn(Shifted()(X))  # which is alive, so that its values tell
    assert sorted(node.kind for node in graph.nodes.values()) == [
        *("constant", "constant", "input", "op", "op", "op", "parameter")
    ]
    assert ("input", "multiply") in graph.pairs
    graph = drawn(Shifted()(tg.Tensor(X)))
    assert ("input", "multiply") in graph.pairs
    assert [node.kind for node in graph.nodes.values()].count("constant") == 2


def test_where_it_is_not_known_which_array_was_given_none_is_called_the_input():
    out = Shifted()(X + 5.0)
    assert "input" not in drawn(out).kinds()


def test_batches_are_of_n_rows():
    class Both(tg.Layer):
        def __init__(self):
            self.dense = tg.Dense(3, 2, rng=0)

        def forward(self, x):
            rows = self.dense(np.reshape(x, (-1, 3)))  # five for each example
            return np.concatenate([rows, np.ones((1, 2), np.float32)])

    graph = drawn(Both(), input_shape=(5, 3))
    shapes = {node.lines[0]: node.lines[-1] for node in graph.nodes.values()}
    assert shapes["input"] == "(N, 5, 3) float32"
    assert shapes["matmul"] == shapes["add"] == "(5N, 2) float32"
    assert shapes["concatenate"] == "(5N + 1, 2) float32"
    assert shapes["dense.weights"] == "6 parameters"
    assert graph.named("dense.weights").lines[1] == "(3, 2) float32"
    boxes = drawn(tg.Network([tg.Dense(3, 2, rng=0)]), input_shape=(3,), depth=0)
    assert boxes.named("Network").lines[1] == "(N, 2) float32"


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
