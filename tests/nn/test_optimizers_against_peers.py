"""1,000 steps of every optimizer against PyTorch, and steps against the operators of ONNX.

The gradients that all of them step against come from formulas written out here, not from tensorgrad.
"""

import itertools

import numpy as np
import pytest

import tensorgrad as tg

STEPS = 1_000


def problem():
    """Two parameters of each kind, and a function that gives their gradients: a curved valley, with noise."""
    rng = np.random.default_rng(0)
    initial = [rng.standard_normal((3, 2)), rng.standard_normal(4)]
    curvature = [np.exp(rng.uniform(-3, 1, p.shape)) for p in initial]
    noise = [rng.standard_normal((STEPS, *p.shape)) for p in initial]

    def gradients(values, step):
        # of sum(c x^2 / 2 + cos(x)) plus noise, which is now and then large
        size = 30.0 if step % 50 == 0 else 0.3
        return [c * x - np.sin(x) + size * e[step] for c, x, e in zip(curvature, values, noise, strict=True)]

    return initial, gradients


def options(**choices):
    """Every combination."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def label(setting):
    return "-".join(f"{k}={v}" for k, v in setting.items() if v not in (0, False, None)) or "plain"


SGD = [
    {**momentum, **rest}
    for momentum in (
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
    )
    for rest in options(
        weight_decay=(0.0, 0.05),
        decoupled_weight_decay=(False, True),
        clip_value=(None, 1.5),
        clip_norm=(None, 1.0),
    )
]
ADAM = options(
    betas=((0.9, 0.999), (0.5, 0.9)),
    eps=(1e-8, 1e-3),
    weight_decay=(0.0, 0.05),
    amsgrad=(False, True),
    clip_value=(None, 1.5),
    clip_norm=(None, 1.0),
)
ALL = [
    (kind, setting)
    for kind, settings in (("MiniBatchSGD", SGD), ("Adam", ADAM), ("AdamW", ADAM))
    for setting in settings
]
# Every seventh in the quick run: 7 divides no number of choices, so that each choice comes up.
CASES = [
    pytest.param(kind, setting, id=f"{kind}-{label(setting)}", marks=[] if i % 7 == 0 else [pytest.mark.slow])
    for i, (kind, setting) in enumerate(ALL)
]


@pytest.mark.parametrize(("kind", "setting"), CASES)
def test_1000_steps_are_torchs(kind, setting):
    torch = pytest.importorskip("torch", reason="torch, the oracle of these steps, is not installed")
    rate = 0.02
    initial, gradients = problem()
    ours = [tg.Parameter(p) for p in initial]
    optimizer = getattr(tg, kind)(ours, rate, **setting)

    theirs = [torch.tensor(p, requires_grad=True) for p in initial]
    rest = dict(setting)
    clip_value, clip_norm = rest.pop("clip_value"), rest.pop("clip_norm")
    decoupled = 0.0
    if rest.pop(
        "decoupled_weight_decay", False
    ):  # torch's SGD has none: p <- (1 - rate decay) p, as its AdamW
        decoupled = rest.pop("weight_decay")
    name = "SGD" if kind == "MiniBatchSGD" else kind
    peer = getattr(torch.optim, name)(theirs, lr=rate, foreach=False, **rest)
    for step in range(STEPS):
        for p, g in zip(ours, gradients([p.numpy() for p in ours], step), strict=True):
            p.grad = g
        optimizer.step()
        for p, g in zip(theirs, gradients([p.detach().numpy() for p in theirs], step), strict=True):
            p.grad = torch.tensor(g)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(theirs, clip_value)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs, clip_norm)
        with torch.no_grad():
            for p in theirs:
                p.mul_(1 - rate * decoupled)
        peer.step()
    for start, p, q in zip(initial, ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-11, atol=1e-12)
        assert not np.allclose(p.data, start)


def test_groups_step_as_torchs_param_groups():
    torch = pytest.importorskip("torch", reason="torch, the oracle of these steps, is not installed")
    initial, gradients = problem()
    ours = [tg.Parameter(p) for p in initial]
    theirs = [torch.tensor(p, requires_grad=True) for p in initial]
    optimizer = tg.Adam(
        [{"parameters": ours[:1]}, {"parameters": ours[1:], "learning_rate": 0.05, "weight_decay": 0.1}], 0.01
    )
    peer = torch.optim.Adam(
        [{"params": theirs[:1]}, {"params": theirs[1:], "lr": 0.05, "weight_decay": 0.1}], lr=0.01
    )
    for step in range(STEPS):
        for p, q, g, h in zip(
            ours,
            theirs,
            gradients([p.numpy() for p in ours], step),
            gradients([q.detach().numpy() for q in theirs], step),
            strict=True,
        ):
            p.grad, q.grad = g, torch.tensor(h)
        optimizer.step()
        peer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-11, atol=1e-12)


# ONNX, ai.onnx.preview.training, version 1: the pseudo code of its operators.


def onnx_momentum(r, t, x, g, v, *, alpha, beta, norm_coefficient, mode):
    g_regularized = norm_coefficient * x + g
    beta_adjusted = beta if t > 0 else 1
    v_new = alpha * v + beta_adjusted * g_regularized
    x_new = x - r * (v_new if mode == "standard" else g_regularized + alpha * v_new)
    return x_new, v_new


def onnx_adam(r, t, x, g, v, h, *, alpha, beta, epsilon, norm_coefficient, norm_coefficient_post):
    g_regularized = norm_coefficient * x + g
    v_new = alpha * v + (1 - alpha) * g_regularized
    h_new = beta * h + (1 - beta) * g_regularized * g_regularized
    h_sqrt = np.sqrt(h_new) + epsilon
    r_adjusted = r * np.sqrt(1 - beta**t) / (1 - alpha**t) if t > 0 else r
    x_new = x - r_adjusted * v_new / h_sqrt
    return (1 - norm_coefficient_post) * x_new, v_new, h_new


def test_the_operators_as_written_here_are_those_of_onnx():
    onnx = pytest.importorskip("onnx", reason="onnx, whose operators these are, is not installed")
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(0)
    x, g, v, h = rng.random((4, 5))
    r, t = np.array(0.1), np.array(3)

    def evaluated(kind, inputs, attributes, outputs):
        node = onnx.helper.make_node(
            kind, list(inputs), outputs, domain="ai.onnx.preview.training", **attributes
        )
        info = onnx.helper.make_tensor_value_info
        double, integer = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
        graph = onnx.helper.make_graph(
            [node],
            "step",
            [info(name, integer if name == "T" else double, None) for name in inputs],
            [info(name, double, None) for name in outputs],
        )
        domains = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("ai.onnx.preview.training", 1)]
        return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=domains)).run(None, inputs)

    for mode in ("standard", "nesterov"):
        attributes = {"alpha": 0.75, "beta": 0.5, "norm_coefficient": 0.25, "mode": mode}
        theirs = evaluated("Momentum", {"R": r, "T": t, "X": x, "G": g, "V": v}, attributes, ["Y", "W"])
        ours = onnx_momentum(r, t, x, g, v, **attributes)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    attributes = {
        "alpha": 0.5, "beta": 0.75, "epsilon": 0.125, "norm_coefficient": 0.25, "norm_coefficient_post": 0.5,
    }  # fmt: skip
    inputs = {"R": r, "T": t, "X": x, "G": g, "V": v, "H": h}
    theirs = evaluated("Adam", inputs, attributes, ["Y", "W", "K"])
    for a, b in zip(onnx_adam(*inputs.values(), **attributes), theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("mode", ["standard", "nesterov"])
@pytest.mark.parametrize("beta", [1.0, 0.25])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_is_onnxs_momentum(mode, beta, decay):
    initial, gradients = problem()
    ours = [tg.Parameter(p) for p in initial]
    optimizer = tg.MiniBatchSGD(
        ours, 0.02, momentum=0.9, dampening=1 - beta, weight_decay=decay, nesterov=mode == "nesterov"
    )
    theirs = [(x, np.zeros_like(x)) for x in initial]
    for step in range(STEPS):
        for p, g in zip(ours, gradients([p.numpy() for p in ours], step), strict=True):
            p.grad = g
        optimizer.step()
        settings = {"alpha": 0.9, "beta": beta, "norm_coefficient": decay, "mode": mode}
        theirs = [
            onnx_momentum(0.02, step, x, g, v, **settings)
            for (x, v), g in zip(theirs, gradients([x for x, _ in theirs], step), strict=True)
        ]
    for p, slots, (x, v) in zip(ours, optimizer.state()["slots"], theirs, strict=True):
        np.testing.assert_allclose(p.data, x, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(slots["velocity"], v, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_onnxs_adam_with_the_epsilon_of_the_docstring(decay):
    initial, gradients = problem()
    ours = [tg.Parameter(p) for p in initial]
    optimizer = tg.Adam(ours, 0.02, betas=(0.8, 0.95), eps=1e-2, weight_decay=decay)
    theirs = [(x, np.zeros_like(x), np.zeros_like(x)) for x in initial]
    for t in range(1, STEPS + 1):
        for p, g in zip(ours, gradients([p.numpy() for p in ours], t - 1), strict=True):
            p.grad = g
        optimizer.step()
        settings = {
            "alpha": 0.8, "beta": 0.95, "epsilon": 1e-2 * np.sqrt(1 - 0.95**t),
            "norm_coefficient": decay, "norm_coefficient_post": 0.0,
        }  # fmt: skip
        theirs = [
            onnx_adam(0.02, t, *state, **settings)
            for state in (
                (x, g, v, h)
                for (x, v, h), g in zip(theirs, gradients([x for x, *_ in theirs], t - 1), strict=True)
            )
        ]
    for p, slots, (x, v, h) in zip(ours, optimizer.state()["slots"], theirs, strict=True):
        np.testing.assert_allclose(p.data, x, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(slots["mean"], v, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(slots["square"], h, rtol=1e-11, atol=1e-12)


def test_onnxs_post_decay_is_that_of_adamw_taken_after_the_step_instead_of_before():
    """With gradients that do not depend on the parameters, ONNX's x is ours times the coming step's decay."""
    rng = np.random.default_rng(0)
    w = tg.Parameter(rng.standard_normal(3))
    rate, decay, betas, eps = 0.05, 0.4, (0.8, 0.95), 1e-8
    optimizer = tg.AdamW([w], rate, betas=betas, eps=eps, weight_decay=decay)
    shrink = rate * decay
    x, v, h = (1 - shrink) * w.numpy(), np.zeros(3), np.zeros(3)
    for t in range(1, 200):
        w.grad = rng.standard_normal(3)
        optimizer.step()
        x, v, h = onnx_adam(
            rate, t, x, w.grad, v, h, alpha=betas[0], beta=betas[1], epsilon=eps * np.sqrt(1 - betas[1] ** t),
            norm_coefficient=0.0, norm_coefficient_post=shrink,
        )  # fmt: skip
    np.testing.assert_allclose((1 - shrink) * w.data, x, rtol=1e-11)
