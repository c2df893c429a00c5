"""The program of a walk: for other values of the leaves it gives what a new graph of them gives."""

import numpy as np
import pytest
from node import Job, needs_node, run_jobs

import tensorgrad as tg
from tensorgrad.graph.native.record import UncompilableError
from tensorgrad.graph.native.walk import Walk
from tensorgrad.graph.recorded import Recorded

NETWORK = tg.Network(
    [
        *[tg.Conv2D(1, 2, 3, rng=0), tg.ReLU(), tg.MaxPool2D(2), tg.BatchNorm(2), tg.Flatten()],
        *[tg.Dense(18, 3, rng=1), tg.LogSoftmax()],
    ]
)


def by_hand(x, y):
    a = x * 3.0
    return np.log(a) + a * y


def classify(x, scale):
    NETWORK.layers[3].scale.data = scale.data
    return tg.mean(tg.abs(NETWORK(x.data)))


GRAPHS = {  # a function, and two sets of arrays for it
    "by hand": (by_hand, [3.0, 2.0], [0.5, -1.0]),
    "a network": (
        classify,
        *([rng.standard_normal((2, 8, 8, 1)).astype("f"), rng.uniform(1, 2, 2).astype("f")]
          for rng in map(np.random.default_rng, (0, 1))),
    ),
    "kinks": (
        lambda x: tg.sum(tg.relu(x) * np.abs(x)) + tg.max(x),
        [np.array([1.0, -2.0])], [np.array([-1.0, 4.0])],
    ),
    "a gradient": (
        lambda x: tg.sum(tg.grad(lambda t: tg.sum(tg.tanh(t) ** 2))(x) ** 2),
        [np.array([1.0, -2.0])], [np.array([0.3, 4.0])],
    ),
}  # fmt: skip


def walk_through(function, arrays):
    """The graph, its steps and, by the keys of a `Walk`, all that they show."""
    loss = function(*(tg.Tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in arrays))
    graph, steps = Recorded(loss), tg.backward_steps(loss)
    shown, held = {(0, "in"): steps.seed}, {id(loss): steps.seed}
    for step in steps:
        shown[step.number, "in"] = step.incoming
        for i, g in enumerate(step.outgoing):
            if g is not None:
                x = id(step.inputs[i])
                held[x] = held[x] + g if x in held else g
                shown |= {(step.number, i): g, (step.number, i, "total"): held[x]}
    return graph, steps, shown


@needs_node
def test_other_values_of_the_leaves_give_another_walk():
    walks, others = [], []
    for function, first, second in GRAPHS.values():
        graph, steps, _ = walk_through(function, first)
        walks.append((graph, Walk(graph, steps)))
        others.append(walk_through(function, second))
    jobs = [
        Job(
            walk.program,
            {id(copy): new.data for (_, copy), new in zip(walk.leaves, other[0].leaves, strict=True)},
        )
        for (_, walk), other in zip(walks, others, strict=True)
    ]
    for (graph, walk), other, answer in zip(walks, others, run_jobs(jobs), strict=True):
        assert answer.result == 0
        expected = {id(x): new.data for x, new in zip(graph.nodes, other[0].nodes, strict=True)} | other[2]
        assert walk.outputs.keys() == expected.keys()
        for key, k in walk.outputs.items():
            np.testing.assert_allclose(answer.arrays[k], expected[key], rtol=1e-5, atol=1e-6)


def refuse(loss):
    return Walk(Recorded(loss), tg.backward_steps(loss))


def test_what_cannot_be_followed_is_refused_by_name():
    x = tg.Tensor(np.eye(2) + 1, requires_grad=True)
    with pytest.raises(UncompilableError, match="no rule for inv in JavaScript"):
        refuse(tg.sum(np.linalg.inv(x)))

    @tg.op
    def jitter(x):
        return x * np.random.default_rng().random()

    jitter.defvjp(x=lambda g, out, x: g)
    with pytest.raises(UncompilableError, match="jitter gives another result when it is called again"):
        refuse(tg.sum(jitter(x)))
