"""Losses against PyTorch: values, first and second derivatives, over their options and at extreme logits."""

import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from hypothesis import strategies as st
from random_cases import many

import tensorgrad as tg

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
F = torch.nn.functional

reductions = st.sampled_from(["mean", "sum", "none"])
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize(("ours", "theirs"), [
    (tg.mse, F.mse_loss), (tg.mae, F.l1_loss), (tg.huber, F.huber_loss),
], ids=["mse", "mae", "huber"])  # fmt: skip
def test_losses_of_regression(ours, theirs):
    def check(rng, case):
        shape, reduction, delta = case
        options = {"delta": delta} if ours is tg.huber else {}
        p, t = 2 * rng.standard_normal(shape), 2 * rng.standard_normal(shape)
        assert_agrees_with_torch(
            lambda p, t: ours(p, t, reduction=reduction, **options),
            lambda p, t: theirs(p, t, reduction=reduction, **options), p, t,
        )  # fmt: skip

    assert many(check, st.tuples(shapes, reductions, st.floats(0.1, 3)), 40)


def test_cross_entropy_of_labels_with_all_options():
    """PyTorch has the classes on the second axis."""

    def check(rng, case):
        rows, classes, inner, reduction, smoothing, weighted, scale = case
        shape = (rows, *inner, classes)
        logits = scale * rng.standard_normal(shape)
        labels = rng.integers(0, classes, shape[:-1])
        class_weights = rng.uniform(0.1, 2, classes) if weighted else None
        assert_agrees_with_torch(
            lambda x: tg.cross_entropy(
                x, labels, class_weights=class_weights, label_smoothing=smoothing, reduction=reduction
            ),
            lambda x: F.cross_entropy(
                x.movedim(-1, 1), torch.tensor(labels), reduction=reduction, label_smoothing=smoothing,
                weight=None if class_weights is None else torch.tensor(class_weights),
            ), logits,
        )  # fmt: skip

    cases = st.tuples(
        st.integers(1, 4), st.integers(2, 5), st.sampled_from([(), (2,), (2, 1)]), reductions,
        st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.sampled_from([1.0, 30.0]),
    )  # fmt: skip
    assert many(check, cases, 80)


def test_cross_entropy_of_probabilities():
    """Without weights of classes, in whose mean PyTorch's one-hot targets are not its labels."""

    def check(rng, case):
        rows, classes, reduction, smoothing, weighted = case
        if weighted and reduction == "mean":
            reduction = "sum"
        logits, target = rng.standard_normal((rows, classes)), rng.dirichlet(np.ones(classes), rows)
        class_weights = rng.uniform(0.1, 2, classes) if weighted else None
        assert_agrees_with_torch(
            lambda x, t: tg.cross_entropy(
                x, t, label_smoothing=smoothing, reduction=reduction, class_weights=class_weights
            ),
            lambda x, t: F.cross_entropy(
                x, t, label_smoothing=smoothing, reduction=reduction,
                weight=None if class_weights is None else torch.tensor(class_weights),
            ), logits, target,
        )  # fmt: skip

    cases = st.tuples(
        st.integers(1, 4), st.integers(2, 5), reductions, st.sampled_from([0.0, 0.2]), st.booleans()
    )
    assert many(check, cases, 40)


def test_binary_cross_entropy():
    def check(rng, case):
        shape, reduction, kind, scale = case
        logits, target = scale * rng.standard_normal(shape), rng.uniform(0.05, 0.95, shape)
        weight = {"none": 1.0, "one": 2.5, "each": rng.uniform(0.1, 3, shape[-1])}[kind]
        assert_agrees_with_torch(
            lambda x, t: tg.binary_cross_entropy(x, t, positive_weight=weight, reduction=reduction),
            lambda x, t: F.binary_cross_entropy_with_logits(
                x, t, pos_weight=torch.tensor(weight, dtype=torch.float64), reduction=reduction
            ), logits, target,
        )  # fmt: skip

    cases = st.tuples(
        shapes, reductions, st.sampled_from(["none", "one", "each"]), st.sampled_from([1.0, 30.0])
    )
    assert many(check, cases, 60)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e2, 1e4, 3e37])
def test_extreme_logits(size, dtype):
    logits = np.array([[size, -size, 0], [-size, size, size], [size, size, size]], dtype)
    labels = np.array([1, 0, 2])
    answers = np.array([[0, 1, 1], [1, 0, 1], [0.5, 1, 0]], dtype)
    for ours, theirs, target in (
        (tg.cross_entropy, F.cross_entropy, labels),
        (tg.binary_cross_entropy, F.binary_cross_entropy_with_logits, answers),
    ):
        x = tg.Tensor(logits, requires_grad=True)
        y = torch.tensor(logits, requires_grad=True)
        found, truth = ours(x, target, reduction="none"), theirs(y, torch.tensor(target), reduction="none")
        assert np.isfinite(found.data).all()
        np.testing.assert_allclose(found.data, truth.detach().numpy(), rtol=1e-6, atol=1e-40)
        found.sum().backward()
        truth.sum().backward()
        assert x.grad.dtype == dtype
        np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=1e-6, atol=1e-12)
