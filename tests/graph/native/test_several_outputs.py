"""Outputs that are no loss carry a gradient, too: the NumPy engine's, for any cotangent."""

import shutil

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.graph.native import toolchain, variant

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((20, 6))
G = RNG.standard_normal((20, 3))


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O0"))


def weights(*shape):
    return tg.Parameter(np.random.default_rng(1).standard_normal(shape), name="w")


def gradients_of(parameters, backward):
    """What ``backward`` adds to the gradients of parameters."""
    for p in parameters:
        p.zero_grad()
    backward()
    return [p.grad for p in parameters]


def assert_alike(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "cotangent", [G, -2.5 * G, np.zeros((20, 3)), np.eye(20, 3)], ids=["G", "scaled", "zeros", "eye"]
)
def test_a_network_is_differentiable_with_a_cotangent(cotangent):
    net = tg.Network([tg.Dense(6, 8, rng=0, dtype=float), tg.Tanh(), tg.Dense(8, 3, rng=1, dtype=float)])
    compiled = tg.compile(net)
    found, expected = compiled(ROWS), net(ROWS)
    assert np.allclose(found.data, expected.data, rtol=1e-12)
    parameters = net.parameters()
    assert_alike(
        gradients_of(parameters, lambda: found.backward(cotangent)),
        gradients_of(parameters, lambda: expected.backward(cotangent)),
    )


def test_every_output_carries_its_gradient():
    w, v = weights(6, 3), weights(3, 2)

    def outputs(x):
        h = tg.tanh(x @ w)
        return tg.mean(h), h, tg.sum(h @ v, axis=0), x * 2.0, h > 0

    found, expected = tg.compile(outputs)(ROWS), outputs(tg.Tensor(ROWS))
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a.data, np.asarray(b.data if isinstance(b, tg.Tensor) else b), rtol=1e-12)
    assert [y.requires_grad for y in found] == [True, True, True, False, False]
    for one in (
        lambda y: y[0].backward(), lambda y: y[1].backward(G), lambda y: y[2].backward(np.array([1.0, -2.0])),
        lambda y: (y[0] * tg.sum(y[1] * y[1]) + tg.sum(y[2])).backward(),
    ):  # fmt: skip
        assert_alike(
            gradients_of([w, v], lambda one=one: one(found)),
            gradients_of([w, v], lambda one=one: one(expected)),
        )


def test_masks_are_those_of_the_call_and_statistics_move_once():
    made = []
    for _ in range(2):
        net = tg.Network(
            [tg.Dense(6, 8, rng=0, dtype=float), tg.BatchNorm(8, dtype=float), tg.Dropout(0.5, rng=3)]
        )
        made.append(net)
    compiled, plain = tg.compile(made[0]), made[1]
    cotangent = RNG.standard_normal((20, 8))
    for _ in range(2):
        pairs = [(compiled(ROWS), plain(ROWS)) for _ in range(2)]
        for found, expected in reversed(pairs):
            assert np.allclose(found.data, expected.data, rtol=1e-10, atol=1e-12)
            assert_alike(
                gradients_of(made[0].parameters(), lambda y=found: y.backward(cotangent)),
                gradients_of(plain.parameters(), lambda y=expected: y.backward(cotangent)),
            )
    for a, b in zip(made[0].named_buffers().values(), plain.named_buffers().values(), strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def test_an_array_changed_after_the_call_changes_no_gradient():
    w, x = weights(6, 3), ROWS.copy()
    out = tg.compile(lambda x: tg.sin(x @ w))(x)
    x[:] = 0
    out.backward(G)
    assert np.allclose(w.grad, ROWS.T @ (G * np.cos(ROWS @ w.numpy())), rtol=1e-12)


def test_what_changed_before_backward_is_refused():
    w, scale, mask, offset = weights(6, 3), [2.0], np.ones((20, 6)), tg.Tensor(np.zeros(3), name="offset")
    compiled = tg.compile(lambda x: scale[0] * ((x * mask) @ w + offset))

    def change_parameter():
        w.data = w.data * 2

    def change_buffer():
        offset.data = np.ones(3)

    changes = [lambda: scale.__setitem__(0, 3.0), lambda: mask.__setitem__(0, 0.0), change_buffer]
    for change in changes:
        out = compiled(ROWS)
        change()
        with pytest.raises(RuntimeError, match="changed between its call and backward"):
            out.backward(G)
    out = compiled(ROWS)
    change_parameter()
    with pytest.raises(RuntimeError, match="w"):
        out.backward(G)


def test_a_step_needs_a_loss_and_second_derivatives_are_refused():
    w = weights(6, 3)
    with pytest.raises(tg.UncompilableError, match=r"expected a loss of one element, got shape \(20, 3\)"):
        tg.compile(lambda x: x @ w, optimizer=tg.MiniBatchSGD([w], learning_rate=0.1))(ROWS)
    with pytest.raises(NotImplementedError, match="second derivatives are not compiled"):
        tg.compile(lambda x: x @ w)(ROWS).backward(G, create_graph=True)


def test_without_gradients_nothing_more_is_compiled():
    w = weights(6, 3)
    compiled = tg.compile(lambda x: x @ w)
    with tg.no_grad():
        assert not compiled(ROWS).requires_grad
    assert compiled.recordings == 1
    out = compiled(ROWS)
    assert compiled.recordings == 2
    out.backward(G)
    out.backward(G)
    assert compiled.recordings == 3
    assert np.allclose(w.grad, 2 * ROWS.T @ G, rtol=1e-12)
