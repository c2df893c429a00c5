"""BatchNorm and LayerNorm: against their definition, PyTorch and finite differences; running statistics."""

import numpy as np
import pytest
from helpers import assert_refused, cotangent_of, refused_calls

import tensorgrad as tg

SHAPES = [(5, 3), (2, 1), (4, 6, 3), (3, 4, 5, 2), (1, 2, 2, 4)]


def made(kind, *arguments, rng, dtype="float64", **options):
    """A layer whose scale and shift are not 1 and 0."""
    layer = kind(*arguments, dtype=dtype, **options)
    layer.scale.data = rng.uniform(0.5, 2, layer.scale.shape).astype(dtype)
    layer.shift.data = rng.standard_normal(layer.shift.shape).astype(dtype)
    return layer


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_by_its_definition(shape):
    rng = np.random.default_rng(0)
    layer = made(tg.BatchNorm, shape[-1], rng=rng, momentum=0.3, eps=1e-3)
    x = 3 + 2 * rng.standard_normal(shape)
    out = layer(x).numpy()
    for c in range(shape[-1]):
        values = [x[place] for place in np.ndindex(shape) if place[-1] == c]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for place in np.ndindex(shape):
            if place[-1] == c:
                wanted = (x[place] - mean) / (variance + 1e-3) ** 0.5
                assert out[place] == pytest.approx(
                    wanted * layer.scale.data[c] + layer.shift.data[c], rel=1e-9
                )
        unbiased = variance * len(values) / (len(values) - 1)
        assert layer.running_mean.data[c] == pytest.approx(0.3 * mean)
        assert layer.running_variance.data[c] == pytest.approx(0.7 + 0.3 * unbiased)


@pytest.mark.parametrize("shape", [(6, 3), (3, 4, 5, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_is_torchs_over_steps_and_in_inference(shape, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    rng = np.random.default_rng(1)
    layer = made(tg.BatchNorm, shape[-1], rng=rng, dtype=dtype, momentum=0.2, eps=1e-4)
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    theirs = kind(shape[-1], momentum=0.2, eps=1e-4, dtype=getattr(torch, dtype))
    theirs.load_state_dict(
        {"weight": torch.tensor(layer.scale.data.copy()), "bias": torch.tensor(layer.shift.data.copy())},
        strict=False,
    )
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-10}
    for step in range(6):
        if step == 4:
            layer.eval()
            theirs.eval()
        values = (5 * rng.standard_normal(shape) + rng.standard_normal(shape[-1])).astype(dtype)
        x, y = (
            tg.Tensor(values, requires_grad=True),
            torch.tensor(np.moveaxis(values, -1, 1), requires_grad=True),
        )
        out, truth = layer(x), theirs(y).movedim(1, -1)
        g = cotangent_of(out, dtype)
        for p in layer.parameters():
            p.zero_grad()
        theirs.zero_grad()
        out.backward(g)
        truth.backward(torch.tensor(g))
        pairs = [
            (out.data, truth), (x.grad, y.grad.movedim(1, -1)), (layer.scale.grad, theirs.weight.grad),
            (layer.shift.grad, theirs.bias.grad), (layer.running_mean.data, theirs.running_mean),
            (layer.running_variance.data, theirs.running_var),
        ]  # fmt: skip
        for ours, other in pairs:
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, other.detach().numpy(), **close)


@pytest.mark.parametrize("kind", [tg.BatchNorm, tg.LayerNorm])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3, 3)], ids=str)
def test_derivatives_pass_gradcheck_to_second_order(kind, training, shape):
    rng = np.random.default_rng(2)
    layer = made(kind, shape[-1], rng=rng).train(training)
    if kind is tg.BatchNorm:
        layer.running_variance.data = rng.uniform(0.5, 2, shape[-1])

    def f(x, scale, shift):
        # The layer's own forward, with arguments for parameters.
        vars(layer).update(scale=scale, shift=shift)
        return layer(x)

    scale, shift = layer.scale.numpy(), layer.shift.numpy()
    tg.gradcheck(f, rng.standard_normal(shape), scale, shift, order=2)


@pytest.mark.parametrize(
    ("shape", "normalized"), [((5, 3), 3), ((2, 4, 3), 3), ((2, 4, 3), (4, 3)), ((0, 3), 3)]
)
def test_layer_norm_is_torchs(shape, normalized):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    rng = np.random.default_rng(3)
    layer = made(tg.LayerNorm, normalized, rng=rng)
    values = 3 + rng.standard_normal(shape)
    x, y = tg.Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    leaves = [torch.tensor(p.data.copy(), requires_grad=True) for p in (layer.scale, layer.shift)]
    out, truth = layer(x), torch.nn.functional.layer_norm(y, layer.shape, *leaves)
    g = cotangent_of(out)
    out.backward(g)
    truth.backward(torch.tensor(g))
    for ours, other in (
        (out.data, truth.detach()), (x.grad, y.grad), (layer.scale.grad, leaves[0].grad),
        (layer.shift.grad, leaves[1].grad),
    ):  # fmt: skip
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-9, atol=1e-10)


def test_in_inference_no_example_depends_on_its_neighbours_and_nothing_moves():
    rng = np.random.default_rng(4)
    layer = tg.BatchNorm(3, dtype=float)
    for _ in range(3):
        layer(rng.standard_normal((8, 3)))
    layer.eval()
    before, x = layer.state(), rng.standard_normal((8, 3))
    together = layer(x).numpy()
    for i in range(8):
        np.testing.assert_allclose(layer(x[i : i + 1]).data, together[i : i + 1], rtol=1e-12)
    assert layer(x[:0]).shape == (0, 3)
    for path, values in layer.state().items():
        np.testing.assert_array_equal(values, before[path])


def test_a_state_takes_the_running_statistics_along():
    rng = np.random.default_rng(5)
    layer, other = tg.BatchNorm(3), tg.BatchNorm(3)
    layer(rng.standard_normal((8, 3)).astype(np.float32))
    state = layer.state()
    assert list(state) == ["scale", "shift", "running_mean", "running_variance"]
    other.load_state(state)
    x = rng.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(layer.eval()(x).data, other.eval()(x).data)


def test_an_input_that_is_not_finite_leaves_the_running_statistics():
    layer = tg.BatchNorm(2, dtype=float)
    out = layer(np.array([[1.0, np.nan], [2.0, 3.0]]))
    assert np.isnan(out.data[:, 1]).all()
    np.testing.assert_array_equal(layer.running_mean.data, [0, 0])
    np.testing.assert_array_equal(layer.running_variance.data, [1, 1])


def test_large_offsets_cost_no_precision():
    """The variance is of differences: E[x^2] - E[x]^2 in float32 would be 0 or negative here."""
    x = (np.random.default_rng(6).standard_normal((64, 2)) + 1e4).astype(np.float32)
    out = tg.BatchNorm(2)(x).numpy().astype(float)
    exact = x.astype(float)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    np.testing.assert_allclose(out, exact, atol=2e-3)


def test_equal_values_give_the_shift():
    out = tg.BatchNorm(2, dtype=float)(np.full((4, 2), 7.0))
    np.testing.assert_array_equal(out.data, np.zeros((4, 2)))


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3), (0, 3)], ids=str)
def test_a_single_value_in_a_channel_is_refused_in_training(shape):
    layer = tg.BatchNorm(3)
    with pytest.raises(ValueError, match=r"BatchNorm\(3\): expected at least two values in each channel"):
        layer(np.ones(shape, np.float32))
    np.testing.assert_array_equal(layer.running_mean.data, np.zeros(3))


@refused_calls(
    ("tg.BatchNorm(3)(np.ones((4, 2), np.float32))", ValueError, r"\(N, ..., 3\), got \(4, 2\)"),
    ("tg.BatchNorm(3)(np.ones(3, np.float32))", ValueError, r"got \(3,\)"),
    ("tg.BatchNorm(3)(np.ones((4, 3)))", TypeError, "expected float32 input, got float64"),
    ("tg.BatchNorm(3)([[1.0, 2.0, 3.0]])", TypeError, "got a list"),
    ("tg.LayerNorm((2, 3))(np.ones((4, 3), np.float32))", ValueError, r"\(N, ..., 2, 3\), got \(4, 3\)"),
    ("tg.LayerNorm((2, 3))(np.ones((2, 3), np.float32))", ValueError, r"got \(2, 3\)"),
)
def test_inputs_that_do_not_fit_are_refused(call, error, message):
    assert_refused(call, error, message)


@refused_calls(
    ("tg.BatchNorm(0)", ValueError, "channels to be a positive integer, got 0"),
    ("tg.BatchNorm(2, momentum=1.5)", ValueError, "momentum from 0 to 1, got 1.5"),
    ("tg.BatchNorm(2, eps=-1e-05)", ValueError, "eps from 0 to 1, got -1e-05"),
    ("tg.LayerNorm(())", ValueError, "at least one axis"),
    ("tg.LayerNorm((2, 0))", ValueError, "shape to be a positive integer, got 0"),
    ("tg.LayerNorm(2, eps='x')", ValueError, "eps from 0 to 1, got 'x'"),
)
def test_arguments_out_of_range_are_refused(call, error, message):
    assert_refused(call, error, message)


def test_changing_a_running_statistic_before_backward_is_noticed():
    layer = tg.BatchNorm(2, dtype=float).eval()
    out = layer(np.ones((3, 2))).sum()
    layer.running_mean.data = np.array([2.0, 2.0])
    with pytest.raises(RuntimeError, match=r"running_mean.*was assigned after"):
        out.backward()


def test_training_then_use_of_a_network():
    """In use the network gives nearly what it gave in training once the statistics have settled."""
    rng = np.random.default_rng(7)
    network = tg.Network(
        [tg.Conv2D(1, 4, 3, bias=False, rng=0), tg.BatchNorm(4), tg.ReLU(), tg.GlobalAvgPool2D()]
    )
    x = rng.standard_normal((64, 8, 8, 1)).astype(np.float32)
    for _ in range(60):
        trained = network(x).numpy()
    used = network.eval()(x).numpy()
    np.testing.assert_allclose(used, trained, atol=5e-3)
    assert [p.name for p in network.parameters()] == [
        "Conv2D0.filters",
        "BatchNorm1.scale",
        "BatchNorm1.shift",
    ]


def test_under_checkpoint_the_running_statistics_move_once():
    x = np.random.default_rng(0).standard_normal((6, 3))
    plain, once, inside = (tg.BatchNorm(3, dtype="float64") for _ in range(3))
    nested = tg.checkpoint(lambda x: tg.checkpoint(inside)(x) * 2)
    for layer, f in ((plain, plain), (once, tg.checkpoint(once)), (inside, nested)):
        for _ in range(2):
            f(x).sum().backward()
        np.testing.assert_array_equal(layer.running_mean.data, plain.running_mean.data)
        np.testing.assert_array_equal(layer.running_variance.data, plain.running_variance.data)
    assert plain.running_mean.data.any()
    # A derivative of second order computes it again and again.
    before = once.running_mean.data.copy()
    once.scale.zero_grad()
    tg.grad(lambda x: tg.grad(lambda x: (tg.checkpoint(once)(x) ** 2).sum())(x).sum())(x)
    moved = 0.9 * before + 0.1 * x.mean(axis=0)
    np.testing.assert_allclose(once.running_mean.data, moved, rtol=1e-14)
