"""MiniBatchSGD against torch and against the recurrence of its docstring, and what it refuses."""

import numpy as np
import pytest

import tensorgrad as tg

GRID = [
    {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    for momentum, nesterov in ((0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True))
    for decay in (0.0, 0.01)
]
every_setting = pytest.mark.parametrize("setting", GRID, ids=lambda s: "-".join(str(v) for v in s.values()))


@every_setting
def test_300_steps_are_torchs(setting):
    torch = pytest.importorskip("torch", reason="torch, the oracle of these steps, is not installed")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    initial = [rng.standard_normal(shape) * 0.5 for shape in ((3, 5), (5,), (5, 2), (2,))]

    ours = [tg.Parameter(p) for p in initial]
    optimizer = tg.MiniBatchSGD(ours, 0.05, **setting)
    theirs = [torch.tensor(p, requires_grad=True) for p in initial]
    peer = torch.optim.SGD(theirs, lr=0.05, **setting)
    for step in range(300):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        optimizer.zero_grad()
        tg.mse(np.tanh(x[rows] @ ours[0] + ours[1]) @ ours[2] + ours[3], y[rows]).backward()
        optimizer.step()
        peer.zero_grad()
        hidden = torch.tanh(torch.tensor(x[rows]) @ theirs[0] + theirs[1])
        torch.nn.functional.mse_loss(hidden @ theirs[2] + theirs[3], torch.tensor(y[rows])).backward()
        peer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)


def stepped(p, gradient, rate, steps, momentum, nesterov, weight_decay):
    """The docstring's recurrence, one scalar at a time."""
    v = 0.0
    for _ in range(steps):
        g = gradient(p) + weight_decay * p
        v = momentum * v + g
        p = p - rate * ((g + momentum * v) if nesterov else v)
    return p


@every_setting
def test_300_steps_down_a_parabola_follow_the_recurrence(setting):
    curvatures = [0.3, 1.0, 4.0]
    w = tg.Parameter([1.0, -2.0, 3.0])
    optimizer = tg.MiniBatchSGD([w], 0.01, **setting)
    for _ in range(300):
        optimizer.zero_grad()
        (np.array(curvatures) * (w - 1) * (w - 1)).sum().backward()
        optimizer.step()
    for i, c in enumerate(curvatures):
        expected = stepped([1.0, -2.0, 3.0][i], lambda p, c=c: 2 * c * (p - 1), 0.01, 300, **setting)
        assert w.data[i] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@every_setting
def test_a_step_changes_neither_gradients_nor_the_other_parameters(setting):
    w, b, other = tg.Parameter([1.0, 2.0]), tg.Parameter(3.0), tg.Parameter([4.0])
    optimizer = tg.MiniBatchSGD([w, b], 0.1, **setting)
    (w * w * b * other).sum().backward()
    before = [p.grad.copy() for p in (w, b, other)]
    for _ in range(3):
        optimizer.step()
    for p, g in zip((w, b, other), before, strict=True):
        np.testing.assert_array_equal(p.grad, g)
    assert other.data == 4.0
    assert w.data[0] != 1.0
    assert b.data != 3.0


def test_a_rate_of_zero_moves_nothing_and_zero_grad_forgets():
    w = tg.Parameter([1.0, 2.0])
    optimizer = tg.MiniBatchSGD([w], 0.0)
    (w * w).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(w.data, [1.0, 2.0])
    optimizer.zero_grad()
    assert w.grad is None


def test_the_learning_rate_may_be_assigned_between_steps():
    w = tg.Parameter(0.0)
    optimizer = tg.MiniBatchSGD([w], 1.0, momentum=0.5)
    positions = []
    for rate in (1.0, 0.1, 0.0):
        optimizer.learning_rate = rate
        optimizer.zero_grad()
        (w * 1.0).backward()  # the gradient is 1, so the velocities are 1, 1.5, 1.75
        optimizer.step()
        positions.append(w.item())
    assert positions == pytest.approx([-1.0, -1.15, -1.15])


@pytest.mark.parametrize(
    "rate", [0.1, np.float64(0.1), np.float32(0.1), np.array(0.1)], ids=lambda r: type(r).__name__
)
def test_float32_parameters_stay_float32(rate):
    w = tg.Parameter([1.0, 2.0], dtype="float32")
    optimizer = tg.MiniBatchSGD(
        [w], rate, momentum=np.float64(0.9), nesterov=True, weight_decay=np.float64(0.1)
    )
    for _ in range(2):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    assert w.dtype == w.grad.dtype == np.float32
    assert w.data[0] != 1.0


def test_gradients_recorded_for_a_second_derivative_are_stepped_by_value():
    w = tg.Parameter([3.0])
    (w * w).sum().backward(create_graph=True)
    tg.MiniBatchSGD([w], 0.5).step()
    np.testing.assert_array_equal(w.data, [0.0])
    assert w.requires_grad
    assert w.op is None


def test_parameters_may_come_from_a_generator():
    layer = tg.Dense(2, 3, rng=0)
    assert len(tg.MiniBatchSGD((p for p in layer.parameters()), 0.1).parameters) == 2


w, x = tg.Parameter([1.0], name="w"), tg.Tensor([1.0], name="x")


@pytest.mark.parametrize(
    ("parameters", "options", "error", "part"),
    [
        ([], {}, ValueError, "no parameters"),
        ([w, w], {}, ValueError, "twice"),
        ([w, w * 2], {}, TypeError, "leaf"),
        ([w, x], {}, TypeError, "'x'"),
        ([np.ones(2)], {}, TypeError, "array"),
        ([w], {"learning_rate": -0.1}, ValueError, r"learning_rate.*-0\.1"),
        ([w], {"learning_rate": np.nan}, ValueError, "learning_rate.*nan"),
        ([w], {"learning_rate": np.inf}, ValueError, "learning_rate.*inf"),
        ([w], {"learning_rate": "0.1"}, (TypeError, ValueError), "learning_rate"),
        ([w], {"weight_decay": -1e-9}, ValueError, "weight_decay"),
        ([w], {"weight_decay": np.nan}, ValueError, "weight_decay"),
        ([w], {"momentum": -0.1}, ValueError, "momentum"),
        ([w], {"momentum": 1.0}, ValueError, "momentum"),
        ([w], {"momentum": np.nan}, ValueError, "momentum"),
        ([w], {"nesterov": True}, ValueError, "momentum"),
    ],
)
def test_refusals_say_what_is_wrong(parameters, options, error, part):
    with pytest.raises(error, match=rf"MiniBatchSGD: .*{part}"):
        tg.MiniBatchSGD(parameters, **{"learning_rate": 0.1, **options})


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_missing_gradient_is_named_and_nothing_moves(momentum):
    a, b, c, d = (tg.Parameter([1.0], name=name) for name in ("a", "b", "c", None))
    optimizer = tg.MiniBatchSGD([a, b, c, d], 0.1, momentum=momentum)
    (a * c).sum().backward()
    with pytest.raises(RuntimeError, match=r"no gradient for b, number 3;"):
        optimizer.step()
    assert [p.item() for p in (a, b, c, d)] == [1.0] * 4
    (b * d).sum().backward()
    optimizer.step()  # with no trace of the refused step in the velocities
    assert [p.item() for p in (a, b, c, d)] == pytest.approx([0.9] * 4)


def test_a_step_between_forward_and_backward_makes_backward_raise():
    w = tg.Parameter([2.0], name="w")
    optimizer = tg.MiniBatchSGD([w], 0.1)
    first, second = (w * w).sum(), (w * w).sum()
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"'w'.*assigned after multiply"):
        second.backward()
