"""MiniBatchSGD against torch and against the recurrence of its docstring, and what optimizers refuse.

How all optimizers agree with torch and with ONNX is in test_optimizers_against_peers.
"""

import copy
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from helpers import LAYOUTS, assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.nn.optimizer_step import global_norm

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


@refused_calls(
    ("sgd([])", ValueError, "no parameters"),
    ("sgd([w, w])", ValueError, "twice"),
    ("sgd([w, w * 2])", TypeError, "leaf"),
    ("sgd([w, x])", TypeError, "'x'"),
    ("sgd([np.ones(2)])", TypeError, "array"),
    ("sgd([w], learning_rate=-0.1)", ValueError, r"learning_rate.*-0\.1"),
    ("sgd([w], learning_rate=np.nan)", ValueError, "learning_rate.*nan"),
    ("sgd([w], learning_rate=np.inf)", ValueError, "learning_rate.*inf"),
    ("sgd([w], learning_rate='0.1')", TypeError, "learning_rate"),
    ("sgd([w], weight_decay=-1e-09)", ValueError, "weight_decay"),
    ("sgd([w], weight_decay=np.nan)", ValueError, "weight_decay"),
    ("sgd([w], momentum=-0.1)", ValueError, "momentum"),
    ("sgd([w], momentum=1.0)", ValueError, "momentum"),
    ("sgd([w], momentum=np.nan)", ValueError, "momentum"),
    ("sgd([w], nesterov=True)", ValueError, "momentum"),
    ("sgd([w], dampening=0.1)", ValueError, "dampening needs a momentum"),
    ("sgd([w], momentum=0.5, dampening=1.0)", ValueError, "dampening"),
    ("sgd([w], nesterov=1, momentum=0.5)", TypeError, "nesterov to be True or False"),
    ("sgd([w], clip_value=0.0)", ValueError, "clip_value.*above 0"),
    ("sgd([w], clip_norm=-1.0)", ValueError, "clip_norm.*above 0"),
    ("sgd([w], clip_norm=True)", TypeError, "clip_norm"),
    ("sgd(w)", TypeError, "list"),
    ("sgd({'parameters': [w]})", TypeError, "list"),
    ("sgd([{'parameters': [w]}, w])", TypeError, "both"),
    ("sgd([{'learning_rate': 0.1}])", TypeError, "group 0 has no 'parameters'"),
    ("sgd([{'parameters': w}])", TypeError, "list.*group 0"),
    ("sgd([{'parameters': []}])", ValueError, "no parameters in group 0"),
    ("sgd([{'parameters': [w]}, {'parameters': [w]}])", ValueError, "twice"),
    (
        "sgd([{'parameters': [w], 'rate': 0.1}])",
        TypeError,
        "no option 'rate'; a group has learning_rate, momentum",
    ),
    ("sgd([{'parameters': [w], 'learning_rate': -1.0}])", ValueError, "learning_rate"),
    ("sgd([{'parameters': [w], 'clip_norm': 1.0}])", TypeError, "clip_norm"),
)
def test_refusals_say_what_is_wrong(call, error, message):
    def sgd(parameters, learning_rate=0.1, **options):
        return tg.MiniBatchSGD(parameters, learning_rate, **options)

    assert_refused(call, error, rf"MiniBatchSGD: .*{message}", sgd=sgd, w=w, x=x)


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


adam = pytest.mark.parametrize("kind", [tg.Adam, tg.AdamW], ids=lambda kind: kind.__name__)


@adam
@refused_calls(
    ("kind([w], betas=(0.9,))", TypeError, "betas to be a pair"),
    ("kind([w], betas=0.9)", TypeError, "betas to be a pair"),
    ("kind([w], betas=(1.0, 0.9))", ValueError, r"betas\[0\].*below 1"),
    ("kind([w], betas=(0.9, -0.1))", ValueError, r"betas\[1\].*at least 0"),
    ("kind([w], eps=0.0)", ValueError, "eps.*above 0"),
    ("kind([w], eps=1e-60)", ValueError, "eps 1e-60 is 0 in float32"),
    ("kind([w], amsgrad='yes')", TypeError, "amsgrad"),
    ("kind([w], weight_decay=np.inf)", ValueError, "weight_decay"),
)
def test_adam_refuses_what_is_out_of_range(kind, call, error, message):
    names = {"kind": kind, "w": tg.Parameter([1.0], dtype="float32")}
    assert_refused(call, error, rf"{kind.__name__}: .*{message}", **names)


@adam
@refused_calls(
    ("setattr(group, 'betas', (1.0, 0.9))", ValueError, r"betas\[0\].*below 1"),
    ("setattr(group, 'eps', 0.0)", ValueError, "eps.*above 0"),
    ("setattr(group, 'eps', 1e-60)", ValueError, "eps 1e-60 is 0 in float32"),
    ("setattr(group, 'amsgrad', 'yes')", TypeError, "amsgrad"),
    ("setattr(group, 'weight_decay', np.inf)", ValueError, "weight_decay"),
)
def test_an_adam_group_refuses_it_too(kind, call, error, message):
    (group,) = kind([tg.Parameter([1.0], dtype="float32")]).groups
    assert_refused(call, error, rf"{kind.__name__}: .*{message}", group=group, np=np)


# Groups


def test_options_of_a_group_hold_for_it_alone_and_are_checked_when_assigned():
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0])
    optimizer = tg.MiniBatchSGD(
        [{"parameters": [a]}, {"parameters": [b], "learning_rate": 0.5, "weight_decay": 1.0}], 0.1
    )
    (a + b).backward()
    optimizer.step()
    assert (a.item(), b.item()) == pytest.approx((1 - 0.1, 1 - 0.5 * (1 + 1)))
    first, second = optimizer.groups
    second.learning_rate = np.float32(0.25)
    assert second.options["learning_rate"] == 0.25
    assert type(second.learning_rate) is float
    for name, value, error in (
        ("learning_rate", -1.0, ValueError),
        ("nesterov", True, ValueError),  # without momentum
        ("rate", 1.0, TypeError),
        ("parameters", [b], TypeError),
    ):
        with pytest.raises(error, match="MiniBatchSGD"):
            setattr(first, name, value)
    with pytest.raises(AttributeError, match="no option 'betas'; there are learning_rate"):
        first.betas  # noqa: B018
    assert first.options == {**second.options, "learning_rate": 0.1, "weight_decay": 0.0}


def test_one_rate_for_all_is_read_and_set_only_where_there_is_one():
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0])
    optimizer = tg.MiniBatchSGD([{"parameters": [a]}, {"parameters": [b], "learning_rate": 0.5}], 0.1)
    with pytest.raises(ValueError, match=r"the groups have the rates 0\.1, 0\.5"):
        optimizer.learning_rate  # noqa: B018
    with pytest.raises(ValueError, match=r"the groups have the rates 0\.1, 0\.5"):
        optimizer.learning_rate = 0.2
    optimizer.groups[1].learning_rate = 0.1
    optimizer.learning_rate = 0.2
    assert [group.learning_rate for group in optimizer.groups] == [0.2, 0.2]


def test_momentum_may_be_switched_on_and_off_between_steps():
    w = tg.Parameter(0.0)
    optimizer = tg.MiniBatchSGD([w], 1.0)
    (w * 1.0).backward()
    moved = []
    for momentum in (0.0, 0.5, 0.5, 0.0):
        optimizer.groups[0].momentum = momentum
        before = w.item()
        optimizer.step()
        moved.append(before - w.item())
    assert moved == [1.0, 1.0, 1.5, 1.0]


def test_a_copied_and_a_pickled_optimizer_steps_its_own_copies():
    w = tg.Parameter([1.0, 2.0])
    optimizer = tg.Adam([w], 0.1)
    (w * w).sum().backward()
    optimizer.step()
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        (p,) = twin.parameters
        assert p is not w
        for each in (p, w):
            each.grad = [1.0, -1.0]
        twin.step()
        assert not np.array_equal(p.data, w.data)
        w.data, own = w.numpy(), w.numpy()
        control = copy.deepcopy(optimizer)
        control.step()
        np.testing.assert_array_equal(control.parameters[0].data, p.data)
        np.testing.assert_array_equal(w.data, own)


# Steps are whole


KINDS = {
    "SGD": lambda p, **o: tg.MiniBatchSGD(p, 0.1, **o),
    "momentum": lambda p, **o: tg.MiniBatchSGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1, **o),
    "Adam": lambda p, **o: tg.Adam(p, 0.1, amsgrad=True, weight_decay=0.1, **o),
    "AdamW": lambda p, **o: tg.AdamW(p, 0.1, **o),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def snapshot(optimizer):
    return [p.numpy() for p in optimizer.parameters], optimizer.state()


def assert_same(one, other):
    """Whether two trees hold the same values and types."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@every_kind
def test_whatever_a_step_raises_parameters_and_state_stay(make):
    a, b = tg.Parameter([1.0, 2.0], name="a"), tg.Parameter([[3.0]], name="b")
    optimizer = make([a, b], clip_norm=1.0)
    a.grad, b.grad = [1.0, -1.0], [[2.0]]
    optimizer.step()
    before = snapshot(optimizer)
    b.grad = None
    with pytest.raises(RuntimeError, match="no gradient for b"):
        optimizer.step()
    assert_same(before, snapshot(optimizer))
    for wrong in (np.nan, np.inf, -np.inf):
        b.grad = [[wrong]]
        with pytest.raises(FloatingPointError, match="the gradient of b is not finite"):
            optimizer.step()
        assert_same(before, snapshot(optimizer))


@every_kind
def test_a_lack_of_memory_in_a_step_leaves_everything_as_it_was(make, monkeypatch):
    a, b = tg.Parameter(np.ones(3)), tg.Parameter(np.ones(4))
    optimizer = make([a, b])
    a.grad, b.grad = np.ones(3), np.ones(4)
    seen = b.data  # so that a step needs a new array for b

    def no_memory(*args, **kwargs):
        raise MemoryError

    before = snapshot(optimizer)
    monkeypatch.setattr(np, "empty_like", no_memory)
    with pytest.raises(MemoryError):
        optimizer.step()
    monkeypatch.undo()
    assert_same(before, snapshot(optimizer))
    np.testing.assert_array_equal(seen, np.ones(4))
    optimizer.step()
    np.testing.assert_array_equal(seen, np.ones(4))
    assert (b.data < 1).all()


@every_kind
@pytest.mark.parametrize("setting", ["raise", "warn", "ignore"])
def test_an_overflow_is_reported_as_numpy_is_set_to_but_after_the_whole_step(make, setting):
    a, b = (tg.Parameter([1e38, 1.0], dtype="float32") for _ in range(2))
    calm = tg.Parameter([1.0], dtype="float32")
    optimizer = make([a, b, calm])
    for group in optimizer.groups:
        group.learning_rate = 1e39 if isinstance(optimizer, tg.Adam) else 10.0
    a.grad = b.grad = np.array([-3e38, 1.0])
    calm.grad = [1.0]
    with np.errstate(over=setting, invalid=setting):
        if setting == "raise":
            with pytest.raises(FloatingPointError, match=r"overflow in step 1 of \w+, which is finished"):
                optimizer.step()
        elif setting == "warn":
            with pytest.warns(RuntimeWarning, match=r"in step 1 of \w+, which is finished"):
                optimizer.step()
        else:
            optimizer.step()
    assert optimizer.steps == 1
    assert calm.item() != 1.0
    np.testing.assert_array_equal(a.data, b.data)


@every_kind
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_step_is_elementwise_whatever_the_size_and_the_layout(make, layout, dtype, monkeypatch):
    """Large arrays are gone through in parts: an element must move as it does in an array of its own."""
    monkeypatch.setattr("tensorgrad.nn.optimizer_step._PART_BYTES", 4096)
    rng = np.random.default_rng(0)
    shape = (3, 7, 1001)
    values, grads = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    options = {"eps": 1e-4} if make in (KINDS["Adam"], KINDS["AdamW"]) else {}
    whole = tg.Parameter(LAYOUTS[layout](values))
    places = [(0, 0, 0), (2, 6, 1000), (1, 3, 500), (0, 0, 511), (0, 0, 512), (0, 2, 46), (0, 2, 47)]
    single = [tg.Parameter(values[place]) for place in places]
    optimizers = [kind_with(make, [whole], options), kind_with(make, single, options)]
    for _ in range(3):
        whole.grad = grads
        for p, place in zip(single, places, strict=True):
            p.grad = grads[place]
        for optimizer in optimizers:
            optimizer.step()
    assert [whole.data[place] for place in places] == [p.data[()] for p in single]
    assert whole.dtype == dtype


@every_kind
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 500.0, 3e4])
def test_halves_step_as_float64_does_whatever_the_size_of_gradients(make, size):
    rng = np.random.default_rng(0)
    half, double = (tg.Parameter(np.ones(64, dtype)) for dtype in (np.float16, np.float64))
    optimizers = [make([half]), make([double])]
    for _ in range(5):
        g = (size * rng.uniform(0.5, 2, 64)).astype(np.float16)
        half.grad, double.grad = g, g
        with np.errstate(over="ignore"):
            for optimizer in optimizers:
                optimizer.step()
        with np.errstate(over="ignore"):
            expected = double.data.astype(np.float16)
        np.testing.assert_allclose(half.data, expected, rtol=5e-3, atol=5e-3)
        double.data = half.data.astype(np.float64)  # what rounds away in the weights is no fault


def kind_with(make, parameters, options):
    """An optimizer with an eps that float16 can hold."""
    if not options:
        return make(parameters)
    kind = tg.Adam if make is KINDS["Adam"] else tg.AdamW
    return kind(parameters, 0.1, amsgrad=kind is tg.Adam, **options)


def test_views_and_graphs_keep_the_values_they_saw():
    w = tg.Parameter([1.0, 2.0], name="w")
    seen, y = w.data, w.reshape(2)
    loss = (y * y).sum()
    w.grad = [1.0, 1.0]
    tg.Adam([w], 0.1).step()
    np.testing.assert_array_equal(seen, [1.0, 2.0])
    np.testing.assert_array_equal(y.data, [1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"'w'.*assigned"):
        loss.backward()


# Clipping


def test_the_norm_is_the_one_of_all_gradients_together_also_where_squares_leave_the_range():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 4), (5,), ())]
    expected = math.sqrt(math.fsum(float(x) ** 2 for array in arrays for x in array.flat))
    assert global_norm(arrays) == pytest.approx(expected, rel=1e-14)
    for dtype, scales in (("float32", (1e-30, 1.0, 1e30)), ("float64", (1e-250, 1e-170, 1.0, 1e170, 1e250))):
        for scale in scales:
            scaled = [(array * scale).astype(dtype) for array in arrays]
            assert global_norm(scaled) == pytest.approx(expected * scale, rel=1e-6)
    assert global_norm([np.full(9, 300.0, np.float16)]) == 900.0
    assert global_norm([np.array([1e-200, 1e200]), np.array([3e200])]) == pytest.approx(math.sqrt(10) * 1e200)
    assert global_norm([np.zeros(3), np.zeros((0, 2))]) == 0.0
    assert global_norm([np.ones(4).reshape(2, 2).T * 3]) == 6.0


def test_gradients_are_clipped_by_value_then_by_norm_and_stay_themselves():
    a, b = tg.Parameter([0.0, 0.0]), tg.Parameter(0.0)
    a.grad, b.grad = [30.0, -0.4], 40.0
    optimizer = tg.MiniBatchSGD([a, b], 1.0, clip_value=3.0, clip_norm=2.5)
    optimizer.step()
    clipped = np.array([3.0, -0.4, 3.0])
    np.testing.assert_allclose(
        [*a.data, b.item()], -clipped * 2.5 / (np.sqrt(np.sum(clipped**2)) + 1e-6), rtol=1e-14
    )
    assert (a.grad.tolist(), b.grad) == ([30.0, -0.4], 40.0)
    optimizer.clip_value = optimizer.clip_norm = None
    optimizer.step()
    assert b.item() == pytest.approx(-40 - clipped[2] * 2.5 / np.sqrt(np.sum(clipped**2)), rel=1e-6)


def test_small_gradients_are_not_scaled_up():
    w = tg.Parameter([0.0])
    w.grad = [0.5]
    tg.MiniBatchSGD([w], 1.0, clip_norm=100.0).step()
    assert w.item() == -0.5


# State


def train(optimizer, steps, seed):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in optimizer.parameters:
            p.grad = rng.standard_normal(p.shape)
        optimizer.step()


@every_kind
def test_a_state_continues_as_if_there_had_been_no_break(make):
    whole = [tg.Parameter(np.ones((2, 3))), tg.Parameter(1.0)]
    straight = make(whole, clip_norm=1.0)
    train(straight, 5, 0)
    state = straight.state()
    for array in state["slots"][0].values():
        array += 0.0  # the state's own
    parts = [tg.Parameter(p.data) for p in whole]
    resumed = make(parts)
    for group in resumed.groups:
        group.learning_rate = 7.0  # the state's rate comes back
    resumed.load_state(state)
    for array in state["slots"][0].values():
        array += 1e9  # the state is the caller's again
    train(straight, 5, 1)
    train(resumed, 5, 1)
    for p, q in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert_same(straight.state(), resumed.state())


def test_a_state_survives_the_checkpoint_file(tmp_path):
    w = tg.Parameter(np.ones((2, 3), np.float32))
    optimizer = tg.AdamW([w], amsgrad=True, clip_value=2.0)
    train(optimizer, 3, 0)
    tg.save_checkpoint(tmp_path / "state.npz", optimizer.state())
    twin = tg.AdamW([tg.Parameter(w.data)], 1.0)
    twin.load_state(tg.load_checkpoint(tmp_path / "state.npz"))
    assert_same(twin.state(), optimizer.state())


def changed(state, path, value):
    """The state with another value at a path of keys; ``...`` deletes."""
    state = copy.deepcopy(state)
    *outer, last = path
    inner = state
    for key in outer:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return state


@refused_calls(
    ("load(['optimizer'], 'AdamW')", ValueError, "one of AdamW"),
    ("load(['optimizer'], ...)", ValueError, "no entry 'optimizer'"),
    ("load(['steps'], -1)", ValueError, "steps"),
    ("load(['steps'], True)", ValueError, "steps"),
    ("load(['steps'], 2.0)", ValueError, "steps"),
    ("load(['clip_norm'], 'x')", ValueError, "clip_norm"),
    ("load(['clip_norm'], ...)", ValueError, "no entry 'clip_norm'"),
    ("load(['groups'], [])", ValueError, r"groups of \[1, 1\] parameters, got groups of \[\]"),
    ("load(['groups'], None)", ValueError, ""),
    ("load(['groups'], 5)", ValueError, ""),
    ("load(['groups', 1], None)", ValueError, ""),
    ("load(['groups', 0, 'parameters'], 2)", ValueError, "groups of"),
    ("load(['groups', 0, 'learning_rate'], -1.0)", ValueError, "learning_rate"),
    ("load(['groups', 1, 'betas'], [0.9, 2.0])", ValueError, "betas"),
    ("load(['groups', 1, 'eps'], ...)", ValueError, "the option 'eps' is missing"),
    ("load(['groups', 1, 'momentum'], 0.5)", ValueError, "no option 'momentum'"),
    ("load(['slots'], [{}])", ValueError, "slots of 2 parameters, got 1"),
    ("load(['slots'], None)", ValueError, ""),
    ("load(['slots', 1], [1, 2])", ValueError, ""),
    ("load(['slots', 1, 'mean'], ...)", ValueError, "mean of b is missing"),
    (
        "load(['slots', 1, 'mean'], np.zeros(3))",
        ValueError,
        r"mean of b: expected float64 \(2,\), got float64 \(3,\)",
    ),
    ("load(['slots', 1, 'mean'], np.zeros(2, np.float32))", ValueError, "got float32"),
    ("load(['slots', 1, 'mean'], [0.0, 0.0])", ValueError, "mean of b: expected float64"),
    ("load(['slots', 0, 'velocity'], np.zeros(1))", ValueError, "velocity of parameter 0 is not known"),
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(call, error, message):
    a, b = tg.Parameter([1.0]), tg.Parameter([1.0, 2.0], name="b")
    optimizer = tg.Adam([{"parameters": [a]}, {"parameters": [b], "learning_rate": 0.5}])
    train(optimizer, 2, 0)
    before = snapshot(optimizer)
    other = changed(optimizer.state(), ["groups", 0, "learning_rate"], 123.0)

    def load(path, value):
        optimizer.load_state(changed(other, path, value))

    assert_refused(call, error, rf"Adam.load_state: .*{message}", load=load)
    assert_same(before, snapshot(optimizer))
    optimizer.load_state(other)
    assert optimizer.groups[0].learning_rate == 123.0


@pytest.mark.parametrize("state", [None, [], 3, "Adam"], ids=str)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match=r"Adam\.load_state: expected a dict, got a"):
        tg.Adam([tg.Parameter(1.0)]).load_state(state)


def test_many_steps_do_not_grow_in_memory():
    w = tg.Parameter(np.ones(10))
    w.grad = np.zeros(10)
    optimizer = tg.Adam([w], clip_norm=1.0)
    optimizer.step()
    tracemalloc.start()
    try:
        for _ in range(1_000):
            optimizer.step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5_000):
            optimizer.step()
        assert tracemalloc.get_traced_memory()[0] - before < 2_000
    finally:
        tracemalloc.stop()
