"""Repeats: loops and equal layers are drawn once, and nothing else is."""

import numpy as np
import pytest
from dot_reader import read, shown

import tensorgrad as tg


def drawn(thing, **options):
    return read(tg.draw(thing, **options).source)


def leaf(name=None, shape=(4, 3)):
    return tg.Tensor(np.ones(shape), requires_grad=True, name=name)


def frames(graph):
    return [path[-1].split(" the")[0] for path in graph.clusters if path[-1].startswith("×")]


def rnn(rounds, inputs="constant"):
    w, b, h = tg.Parameter(np.ones((3, 3)), name="w"), tg.Parameter(np.ones(3), name="b"), leaf("h0")
    xs = leaf("xs", (4, rounds, 3))
    for t in range(rounds):
        h = np.tanh(h @ w + (xs[:, t] if inputs == "indexed" else 0.5) + b)
    return h


def test_an_unrolled_loop_is_one_round_with_an_arrow_back():
    graph = drawn(rnn(50))
    assert frames(graph) == ["× 50"]
    inside = sorted(node.lines[0] for node in graph.nodes.values() if node.within)
    assert inside == ["0.5", "add", "add", "matmul", "tanh"]
    back = [(graph.nodes[a].lines[0], graph.nodes[b].lines[0]) for a, b, at in graph.edges
            if at.get("style") == "dashed"]  # fmt: skip
    assert back == [("tanh", "matmul")]
    assert ("h0", "matmul") in graph.pairs
    assert graph.named("w").within == ()  # one for all rounds


def test_indices_may_go_on_from_round_to_round():
    graph = drawn(rnn(20, "indexed"))
    assert frames(graph) == ["× 20"]
    assert graph.named("getitem").lines[1] == "index=(:, 0)"
    assert graph.named("xs").within == ()


def test_equal_layers_with_parameters_of_their_own_are_one_with_parameters_inside():
    layers = [layer for i in range(6) for layer in (tg.Dense(3, 3, rng=i), tg.ReLU())]
    network = tg.Network([*layers, tg.Dense(3, 1, rng=0)])
    graph = drawn(network, input_shape=(3,))
    assert frames(graph) == ["× 6"]
    assert graph.named("Dense0.weights").within[:2] == ("Network", "× 6 the first is shown")
    assert "Dense2.weights" not in graph.kinds()
    assert graph.named("Dense12.weights").within[1] == "Dense12 Dense(3, 1)"
    folded = drawn(network, input_shape=(3,), depth=1)
    assert sorted(folded.pairs) == [
        ("Dense0", "ReLU1"),
        ("ReLU1", "Dense0"),
        ("ReLU1", "Dense12"),
        ("input", "Dense0"),
    ]


def test_loops_in_loops_are_frames_in_frames():
    x = leaf("x")
    for _ in range(5):
        for _ in range(12):
            x = np.sin(x)
        x = np.exp(x) + 1.0
    graph = drawn(x)
    assert graph.clusters == [
        ("× 5 the first is shown",),
        ("× 5 the first is shown", "× 12 the first is shown"),
    ]
    assert sorted(node.lines[0] for node in graph.nodes.values()) == ["1.0", "add", "exp", "sin", "x"]


def test_a_recurrence_over_two_rounds_is_a_repeat():
    a, b = leaf("a"), leaf("b")
    for _ in range(30):
        a, b = b, a + b
    graph = drawn(b)
    adds = [node for node in graph.nodes.values() if node.lines[0] == "add"]
    (frame,) = frames(graph)
    assert int(frame.removeprefix("× ")) * len(adds) == 30
    assert len(adds) <= 2  # a round may well be two ops
    assert ("a", "add") in graph.pairs
    assert ("b", "add") in graph.pairs


def test_rounds_whose_results_are_all_used_later_are_a_repeat_too():
    x = leaf("x")
    parts = [np.exp(np.sin(x) * 2.0) for _ in range(10)]
    graph = drawn(np.concatenate(parts))
    assert frames(graph) == ["× 10"]
    assert ("exp", "concatenate") in graph.pairs


@pytest.mark.parametrize(
    "build",
    [
        lambda x: [x := np.sin(x) for _ in range(4)][-1],  # short: nothing is won
        lambda x: [x := f(x) for f in [np.sin, np.cos, np.tanh] * 2][-1],
        lambda x: [x := np.sum(np.stack([x] * (i + 1)), axis=0) for i in range(12)][-1],  # each is different
    ],
    ids=["short", "long rounds", "growing"],
)
def test_what_is_short_or_different_is_drawn_in_full(build):
    assert frames(drawn(build(leaf("x")))) == []


def test_alike_ops_that_are_wired_differently_are_no_repeat():
    rng = np.random.default_rng(0)
    values = [leaf("x")]
    for _ in range(40):  # each from a place of its own
        values.append(np.sin(values[rng.integers(len(values))]))
    total = sum(values[1:], values[0])
    sines = [node for node in drawn(total, limit=200).nodes.values() if node.lines[0].startswith("sin_")]
    assert len(sines) >= 20


def test_a_parameter_that_is_used_elsewhere_too_is_not_folded_away():
    weights = [tg.Parameter(np.ones((3, 3)), name=f"w{i}") for i in range(12)]
    h = leaf("h")
    for w in weights:
        h = np.tanh(h @ w)
    graph = drawn(h @ weights[7])
    assert "w7" in graph.kinds()


def test_repeats_can_be_drawn_out():
    assert len(drawn(rnn(20), repeats=False).nodes) == 3 + 20 * 5
    assert frames(drawn(rnn(20), repeats=False)) == []


def test_the_norms_of_all_rounds_are_told_by_the_least_and_the_largest():
    x = leaf("x", ())
    y = x
    for _ in range(10):
        y = y * 2.0
    graph = drawn(y, gradients="norms")
    labels = [shown(at["label"]) for *_, at in graph.edges if "label" in at]
    # To x comes 2^10; to the rounds, from 2^9 down to 2.
    assert sorted(labels) == ["1024.0", "2.0 … 512.0"]


FUNCTIONS = [np.sin, np.cos, np.tanh, lambda x: x * 0.5, lambda x: x + x, np.arctan]


def program(rng, depth):
    """Functions by their number, and loops as (rounds, program)."""
    return [
        (int(rng.integers(2, 12)), program(rng, depth - 1)) if depth and rng.random() < 0.5 else rng.choice(6)
        for _ in range(rng.integers(1, 4))
    ]


def flattened(steps):
    for step in steps:
        if isinstance(step, tuple):
            yield from [*flattened(step[1])] * step[0]
        else:
            yield step


@pytest.mark.parametrize("seed", range(60))
def test_no_op_is_lost_or_invented(seed):
    """In random programs of loops in loops, each drawn op counts as often as its frames say."""
    x, ops = leaf("x"), [*flattened(program(np.random.default_rng(seed), 3))]
    for which in ops:
        x = FUNCTIONS[which](x)
    rounds = [
        int(np.prod([int(label.split()[1]) for label in node.within], initial=1))
        for node in drawn(x, limit=10_000).nodes.values()
        if node.kind == "op"
    ]
    assert sum(rounds) == len(ops)
