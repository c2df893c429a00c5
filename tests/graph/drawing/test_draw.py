"""draw: what stands in the text, as a small reader of DOT sees it; Graphviz is not needed here."""

import os
import time

import numpy as np
import pytest
from dot_reader import read, shown
from helpers import assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.graph.recorded import Group, Recorded


def leaf(name=None, shape=(2,)):
    return tg.Tensor(np.full(shape, 3.0), requires_grad=True, name=name)


def drawn(thing, **options):
    return read(tg.draw(thing, **options).source)


def diamond():
    x = leaf("x")
    a = x * 3.0
    return np.exp(a) + a * x


def test_a_diamond_is_drawn_as_it_was_computed():
    graph = drawn(diamond())
    assert sorted(node.label for node in graph.nodes.values()) == [
        "3.0",
        "add\n(2,) float64",
        "exp\n(2,) float64",
        "multiply_1\n(2,) float64",
        "multiply_2\n(2,) float64",
        "x\n(2,) float64",
    ]
    assert sorted(graph.pairs) == [
        ("3.0", "multiply_1"),
        ("exp", "add"),
        ("multiply_1", "exp"),
        ("multiply_1", "multiply_2"),
        ("multiply_2", "add"),
        ("x", "multiply_1"),
        ("x", "multiply_2"),
    ]


def test_parameters_inputs_buffers_and_constants_are_told_apart_by_kind_and_by_shape():
    w = tg.Parameter(np.ones((2, 3)), name="w")
    h = np.ones((4, 2)) @ w + tg.nn.Buffer(np.ones(3), name="mean")
    graph = drawn(tg.mse(h * leaf("scale", ()) * 2.5, np.zeros((4, 3))))
    kinds = graph.kinds()
    assert kinds["w"] == "parameter"
    assert kinds["scale"] == "input"
    assert kinds["mean"] == "buffer"
    assert kinds["2.5"] == kinds["array"] == kinds["target"] == "constant"
    assert graph.named("w").lines == ["w", "(2, 3) float64", "6 parameters"]
    assert graph.named("target").label == "target\n(4, 3) float64"
    shapes = {node.kind: node.attributes["shape"] for node in graph.nodes.values()}
    styles = {node.attributes["style"] for node in graph.nodes.values() if node.attributes["shape"] == "box"}
    assert len({*shapes.values()} - {"box"}) == 3  # and the two kinds of boxes differ by their style
    assert styles == {"rounded,filled", "filled,dashed"}


def test_params_worth_seeing_are_those_that_are_not_usual():
    images = leaf("images", (1, 6, 6, 2))
    out = tg.conv2d(images, np.ones((1, 2, 3, 3)), stride=2, padding=1)
    assert drawn(out).named("conv2d").lines[1] == "stride=2, padding=1"
    assert drawn(tg.max_pool(images)).named("max_pool").lines[1] == "size=2"
    assert drawn(tg.sum(images, axis=(1, 2))).named("sum").lines[1] == "axis=(1, 2)"
    assert drawn(tg.sum(images)).named("sum").lines == ["sum", "() float64"]
    assert drawn(images[0, 1:, ::2, ...]).named("getitem").lines[1] == "index=(0, 1:, ::2, ...)"


def test_absent_arguments_are_left_out():
    graph = drawn(tg.conv2d(leaf("x", (1, 3, 3, 1)), np.ones((1, 1, 2, 2))))  # without a bias
    assert len(graph.nodes) == 3
    assert not any("None" in node.label for node in graph.nodes.values())


def test_the_drawn_tensor_stands_out_and_a_name_is_shown_with_its_op():
    y = leaf("x") * 2.0
    y.name = "twice"
    graph = drawn(np.sin(y))
    assert graph.named("sin").attributes["peripheries"] == "2"
    assert graph.named("multiply").lines == ["multiply", "twice", "(2,) float64"]
    assert [node.kind for node in graph.nodes.values() if "peripheries" in node.attributes] == ["op"]


@pytest.mark.parametrize("thing", [tg.Tensor(3.0), tg.Tensor([1, 2]), leaf("x"), tg.Parameter([[1.0]])])
def test_a_leaf_alone_is_a_drawing_too(thing):
    assert len(drawn(thing).nodes) == 1


def test_the_text_is_a_pure_function_of_the_computation():
    first = tg.draw(diamond()).source
    _ = [leaf() * 2 for _ in range(10)]
    assert tg.draw(diamond()).source == first
    layer = type("Mine", (tg.Layer,), {"forward": lambda self, x: np.sin(x)})
    assert tg.draw(layer(), input_shape=(2,)).source == tg.draw(layer(), input_shape=(2,)).source


def test_assigning_a_leaf_does_not_reorder_the_drawing():
    x = leaf("x")
    y = np.exp(x)
    before = tg.draw(y).source
    x.data = np.zeros(2)
    assert tg.draw(y).source == before


def test_drawing_changes_nothing_and_works_after_backward():
    x = leaf("x")
    y = np.exp(x).sum()
    before = tg.draw(y).source
    tg.draw(y, gradients="norms", values=True, highlight=x, step=1)
    assert x.grad is None
    y.backward()
    assert np.array_equal(x.grad, np.exp(x.data))
    assert tg.draw(y).source == before


def test_every_tensor_is_one_node_however_often_it_is_read():
    x = leaf("x")
    for _ in range(40):
        x = x + x  # 2^40 paths
    graph = drawn(x, repeats=False)
    assert len(graph.nodes) == 41
    assert len(graph.edges) == 80


def test_values_are_printed_if_they_are_few():
    graph = drawn(leaf("x") * 2.0 + np.ones((10, 2)), values=True)
    assert graph.named("x").lines == ["x", "(2,) float64", "= [3.0, 3.0]"]
    assert "= [6.0, 6.0]" in graph.named("multiply").lines
    assert graph.named("add").lines == ["add", "(10, 2) float64", "norm 31.3"]  # 7 sqrt(20)
    assert "= 20.09" in drawn(np.exp(leaf("x", ())), values=True).named("exp").lines


# Names


def test_drawings_steps_the_player_and_programs_have_the_same_names():
    w, y, x = leaf("w", ()), leaf("y", ()), leaf("x", ())
    product = w * y
    loss = np.sin(product * x + product)
    names = ["multiply_1", "multiply_2", "add", "sin"]
    assert [step.name for step in reversed(loss.backward_steps())] == names
    assert set(names) <= {node.lines[0] for node in read(tg.draw(loss).source).nodes.values()}
    assert [name for name in names if f"{name} = " in tg.to_numpy(loss).source] == names[:-1]  # and the loss
    page = tg.player(loss).source
    assert all(f'"{name}"' in page for name in names)
    loss.backward(create_graph=True)
    titles = {node.title for node in Recorded(w.grad).clusters.parts if isinstance(node, Group)}
    assert "vjp of multiply_1 for w" in titles


# Gradients


def test_gradients_come_back_along_the_edges_that_need_them():
    x, c = leaf("x", ()), tg.Tensor(2.0, name="c")
    graph = drawn(np.exp(x * c) + np.exp(x), gradients="direction")
    back = {(graph.nodes[a].lines[0], graph.nodes[b].lines[0]) for a, b, at in graph.edges if "dir" in at}
    assert back == {
        ("x", "multiply"),
        ("x", "exp_2"),
        ("multiply", "exp_1"),
        ("exp_1", "add"),
        ("exp_2", "add"),
    }
    assert ("c", "multiply") in graph.pairs


def test_the_norms_are_those_of_each_use():
    x = leaf("x", (5,))  # all 3
    y = (x * x).sum() - 5 * x.sum()
    graph = drawn(y, gradients="norms")
    norms = [shown(at["label"]) for a, _, at in graph.edges if graph.nodes[a].lines[0] == "x"]
    # Both uses in x * x send 1 * x, of norm 3 sqrt 5; the sum of 5 x sends -5 [1, 1, 1, 1, 1].
    assert all(norm.startswith("norm ") for norm in norms)
    found = sorted(float(norm.removeprefix("norm ")) for norm in norms)
    assert found == pytest.approx([45**0.5, 45**0.5, 125**0.5], rel=1e-3)


def test_up_to_four_gradients_are_shown_with_their_signs():
    w, x = leaf("w", ()), leaf("x", (2,))
    graph = drawn(np.sum(w * -x), gradients="norms")
    labels = {graph.nodes[a].lines[0]: shown(at["label"]) for a, _, at in graph.edges}
    assert labels == {"w": "-6.0", "x": "[-3.0, -3.0]", "negative": "[3.0, 3.0]", "multiply": "[1.0, 1.0]"}


def test_data_and_gradient_stand_side_by_side_as_in_micrograd():
    w, x, big = leaf("w", ()), leaf("x", (2,)), leaf("big", (5,))
    c = tg.Tensor(1.0, name="c")
    graph = drawn(np.sum(w * -x) + np.sum(big) * c, gradients="values")
    assert graph.named("w").lines[-1] == "data 3.0 | grad -6.0"
    assert graph.named("x").lines[-1] == "data [3.0, 3.0] | grad [-3.0, -3.0]"
    assert graph.named("big").lines[-1] == "data norm 6.708 | grad norm 2.236"
    assert graph.named("add").lines[-1] == "data -3.0 | grad 1.0"
    assert graph.named("c").lines[-1] == "= 1.0"  # no gradient is wanted
    assert w.grad is None


def test_highlight_shows_all_that_depends_on_a_tensor_and_nothing_else():
    x, y, z = leaf("x"), leaf("y"), leaf("z")
    a = np.sin(x)
    out = np.exp(a) * np.cos(y) + np.tan(z)
    for wanted in ("x", x):
        graph = drawn(out, highlight=wanted)
        bold = [node.lines[0] for node in graph.nodes.values() if node.attributes.get("penwidth") == "3"]
        assert sorted(bold) == ["add", "exp", "multiply", "sin", "x"]
        lit = {
            (graph.nodes[p].lines[0], graph.nodes[q].lines[0])
            for p, q, at in graph.edges
            if at["penwidth"] == "2.4"
        }
        assert lit == {("x", "sin"), ("sin", "exp"), ("exp", "multiply"), ("multiply", "add")}


def test_highlight_takes_a_parameter_of_the_network_itself():
    network = tg.Network([tg.Dense(2, 3, rng=0), tg.ReLU(), tg.Dense(3, 1, rng=0)])
    sources = {
        tg.draw(network, input_shape=(2,), highlight=which).source
        for which in (network.parameter("Dense2.bias"), "Dense2.bias")
    }
    assert len(sources) == 1
    graph = read(sources.pop())
    assert [n.lines[0] for n in graph.nodes.values() if n.attributes.get("penwidth") == "3"] == [
        "Dense2.bias",
        "add",
    ]


# Steps


def test_the_state_after_some_steps():
    x, y = leaf("x", ()), tg.Tensor(2.0, requires_grad=True, name="y")
    a = x * 3.0  # 9
    out = np.log(a) + a * y  # the walk: add, multiply, log, multiply

    def state(k):
        graph = drawn(out, step=k)
        return {node.lines[0]: node.lines[-1] for node in graph.nodes.values() if "g =" in node.label}

    assert state(0) == {"add": "g = 1.0"}
    assert state(1) == {"add": "step 1: g = 1.0", "multiply_2": "g = 1.0", "log": "g = 1.0"}
    assert state(2)["y"] == "g = 9.0"
    assert state(4)["x"] == "g = 6.333"  # 3 (1/9 + 2)
    with pytest.raises(ValueError, match="from 0 to 4, got 5"):
        drawn(out, step=5)


# Many nodes


def test_a_chain_of_100_000_ops_is_folded_within_seconds():
    x = leaf("x")
    for _ in range(100_000):
        x = -x
    start = time.perf_counter()
    graph = drawn(x)
    assert time.perf_counter() - start < 20
    assert graph.clusters == [("× 100000 the first is shown",)]
    assert sorted(graph.pairs) == [("negative", "negative"), ("x", "negative")]


def test_100_000_different_ops_are_refused_with_advice_within_seconds():
    ops = [np.sin, np.cos, np.arctan, np.tanh, np.negative]
    x = leaf("x", ())
    for i in np.random.default_rng(0).integers(0, 5, 100_000):
        x = ops[i](x)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"draw: [\d,]+ nodes are too many .*500.*depth.*limit"):
        tg.draw(x)
    assert time.perf_counter() - start < 30


def test_the_limit_can_be_moved():
    y = diamond()
    with pytest.raises(ValueError, match="6 nodes are too many"):
        tg.draw(y, limit=5)
    assert len(read(tg.draw(y, limit=6).source).nodes) == 6


# Names that could break the text

NAMES = [
    'say "x"',
    "back\\slash",
    "two\nlines",
    'all \\" of\\n them\\',
    "\\",
    '"',
    "\\N \\G",
    "<b>&amp;</b>",
    "größe ∂",
    "{a|b}<c>:d",
    "]]> --> </TABLE>",
    "a > b; } digraph {",
    "😀",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_through(name):
    graph = drawn(leaf(name) * 2.0)
    assert [node.label for node in graph.nodes.values() if node.kind == "input"] == [f"{name}\n(2,) float64"]
    assert len(graph.nodes) == 3


def test_characters_without_a_picture_are_spelled_out():
    assert drawn(leaf("a\x00b\x1b\ud800\ufffe") * 2.0).named("a\\x00b\\x1b\\ud800\\ufffe").kind == "input"


# Refusals


@pytest.mark.parametrize("thing", [np.ones(2), 3.0, None, [leaf()]], ids=lambda t: type(t).__name__)
def test_only_tensors_and_layers_can_be_drawn(thing):
    with pytest.raises(TypeError, match=rf"draw: expected a Tensor or a Layer, got a {type(thing).__name__}"):
        tg.draw(thing)


@refused_calls(
    ("tg.draw(x * 2.0, depth=-1)", ValueError, "depth to be an integer of at least 0, got -1"),
    ("tg.draw(x * 2.0, depth=True)", ValueError, "depth to be an integer"),
    ("tg.draw(x * 2.0, rankdir='up')", ValueError, "rankdir to be TB, LR, BT or RL, got 'up'"),
    ("tg.draw(x * 2.0, gradients=True)", ValueError, "direction"),
    ("tg.draw(x * 2.0, highlight='q')", ValueError, "'q' is not in the graph; the named tensors there are x"),
    (
        "tg.draw(x * 2.0, highlight=tg.Tensor(1.0, name='other'))",
        ValueError,
        "Tensor 'other' .* is not in the graph",
    ),
    ("tg.draw(x * 2.0, input_shape=(2,))", ValueError, "input_shape is for a layer"),
)
def test_options_that_do_not_fit_are_refused(call, error, message):
    assert_refused(call, error, f"draw: .*{message}", x=leaf("x"))


def test_a_walk_back_needs_a_scalar_that_requires_grad():
    with pytest.raises(ValueError, match="not a scalar"):
        tg.draw(leaf("x") * 2.0, gradients="norms")
    with pytest.raises(RuntimeError, match="does not depend on anything that requires grad"):
        tg.draw(tg.Tensor(1.0), step=0)


def test_a_layer_needs_the_shape_of_its_input():
    with pytest.raises(ValueError, match="a Dense needs input_shape"):
        tg.draw(tg.Dense(2, 1, rng=0))


def test_a_pipe_is_no_file_to_write(tmp_path):
    """Whoever opens one to write waits for a reader."""
    loss = tg.sum(tg.Parameter([1.0, 2.0], name="w") * 2)
    for suffix, write in ((".dot", tg.draw(loss).render), (".py", tg.to_numpy(loss).save)):
        path = tmp_path / f"pipe{suffix}"
        os.mkfifo(path)
        with pytest.raises(OSError, match="expected a regular file, got a pipe or a device"):
            write(path)
        write(tmp_path / f"file{suffix}")
        write(tmp_path / f"file{suffix}")  # over the first
        assert (tmp_path / f"file{suffix}").stat().st_size > 100
