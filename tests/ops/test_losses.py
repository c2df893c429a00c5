"""mse, mae, huber, l2, both cross-entropies: one rule for weights and reductions, and what each refuses."""

import functools

import numpy as np
import pytest
from helpers import assert_refused, leaf, refused_calls

import tensorgrad as tg

PREDICTION, TARGET = [[1.0, 2.0], [3.0, 5.0]], [[0.0, 4.0], [3.0, 2.0]]  # differences 1, -2, 0, 3


@pytest.mark.parametrize(("reduction", "value", "gradient"), [
    ("mean", 3.5, [[0.5, -1.0], [0.0, 1.5]]),
    ("sum", 14.0, [[2.0, -4.0], [0.0, 6.0]]),
    ("none", [[1.0, 4.0], [0.0, 9.0]], [[2.0, -4.0], [0.0, 6.0]]),
])  # fmt: skip
def test_mse_is_what_it_is_by_hand(reduction, value, gradient):
    p, t = leaf(PREDICTION), leaf(TARGET)
    loss = tg.mse(p, t, reduction=reduction)
    np.testing.assert_array_equal(loss.data, value)
    loss.backward(np.ones(loss.shape))
    np.testing.assert_array_equal(p.grad, gradient)
    np.testing.assert_array_equal(t.grad, np.negative(gradient))


def test_the_mean_is_over_all_elements_and_the_default():
    assert tg.mse(np.array(PREDICTION), np.array(TARGET)) == 3.5


@pytest.mark.parametrize("shapes", [
    ((4, 1), (4,)), ((4,), (4, 1)), ((4,), ()), ((), (1,)), ((2, 3), (3, 2)), ((2, 3), (1, 3)),
], ids=str)  # fmt: skip
def test_unequal_shapes_are_refused_instead_of_broadcast(shapes):
    """With (N, 1) and (N,), dezero and torch broadcast to (N, N), and give a number."""
    p, t = (np.ones(shape) for shape in shapes)
    for prediction in (p, leaf(p)):
        with pytest.raises(
            ValueError, match="mse: expected prediction and target of one shape, got"
        ) as caught:
            tg.mse(prediction, t)
        assert f"{shapes[0]} and {shapes[1]}" in str(caught.value)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="mse: expected the reduction mean, sum or none, got 'average'"):
        tg.mse(leaf([1.0]), [1.0], reduction="average")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_empty_batch_is_refused(reduction):
    with pytest.raises(ValueError, match="mse: expected at least one element, got an empty batch"):
        tg.mse(leaf(np.zeros((0, 3))), np.zeros((0, 3)), reduction=reduction)


@pytest.mark.parametrize("kind", [list, tuple, np.array, np.float32, tg.Tensor])
def test_targets_are_anything_array_like(kind):
    p = leaf([3.0, 3.0])
    tg.mse(p, kind([1, 2])).backward()
    np.testing.assert_array_equal(p.grad, [2.0, 1.0])


@pytest.mark.parametrize("prediction", [3.0, np.float64(3), np.array(3.0)], ids=repr)
def test_a_scalar_prediction_of_a_target_that_requires_grad(prediction):
    t = leaf(1.0)
    tg.mse(prediction, t).backward()
    assert t.grad == -4.0


def test_lists_alone_are_no_arrays():
    with pytest.raises(TypeError, match=r"mse: .*\(prediction list, target list, weights NoneType\)"):
        tg.mse([1.0, 2.0], [1.0, 4.0])


def test_a_nan_shows():
    p = leaf([1.0, np.nan])
    loss = tg.mse(p, np.zeros(2))
    loss.backward()
    assert np.isnan(loss.item())
    np.testing.assert_array_equal(p.grad, [1.0, np.nan])


# Every loss: weights, reductions, refusals

ELEMENTWISE = [tg.mse, tg.mae, tg.huber, tg.binary_cross_entropy]
each_elementwise = pytest.mark.parametrize("loss", ELEMENTWISE, ids=lambda loss: loss.name)
each_loss = pytest.mark.parametrize("loss", [*ELEMENTWISE, tg.cross_entropy], ids=lambda loss: loss.name)
ROWS, CLASSES = 5, 3


def drawn(loss, rows=ROWS, dtype=float):
    """A prediction and a target: labels for cross_entropy, fractions otherwise."""
    rng = np.random.default_rng(0)
    prediction = rng.standard_normal((rows, CLASSES)).astype(dtype)
    if loss is tg.cross_entropy:
        return prediction, rng.integers(0, CLASSES, rows)
    return prediction, rng.random((rows, CLASSES)).astype(dtype)


@each_loss
def test_a_row_of_weight_2_counts_twice_and_one_of_weight_0_not_at_all(loss):
    p, t = drawn(loss)
    weights = np.array([1, 2, 0, 1, 2])
    repeated = np.repeat(np.arange(ROWS), weights)
    for reduction in ("mean", "sum"):
        x, y = leaf(p), leaf(p[repeated])
        weighted = loss(x, t, weights=weights, reduction=reduction)
        plain = loss(y, t[repeated], reduction=reduction)
        assert weighted.item() == pytest.approx(plain.item(), rel=1e-12)
        weighted.backward()
        plain.backward()
        gradient = np.zeros_like(p)
        np.add.at(gradient, repeated, y.grad)
        np.testing.assert_allclose(x.grad, gradient, rtol=1e-12, atol=1e-15)
    each = loss(p, t, reduction="none")
    by_row = weights.reshape(-1, *[1] * (each.ndim - 1))
    np.testing.assert_allclose(loss(p, t, weights=weights, reduction="none"), each * by_row, rtol=1e-12)


@each_loss
def test_only_ratios_of_weights_matter_to_the_mean(loss):
    p, t = drawn(loss)
    weights = np.random.default_rng(1).random(ROWS)
    truth = loss(p, t, weights=weights)
    assert loss(p, t, weights=1000 * weights) == pytest.approx(truth, rel=1e-12)
    assert loss(p, t, weights=np.full(ROWS, 0.3)) == pytest.approx(loss(p, t), rel=1e-12)


@each_loss
@pytest.mark.parametrize("kind", [np.int64, np.bool_, np.float32, list])
def test_weights_of_other_kinds_promote_nothing(loss, kind):
    p, t = drawn(loss, dtype=np.float32)
    weights = [1, 0, 1, 1, 0] if kind is list else np.array([1, 0, 1, 1, 0]).astype(kind)
    out = loss(leaf(p, np.float32), t, weights=weights)
    assert out.dtype == np.float32
    assert out.item() == pytest.approx(loss(p[[0, 2, 3]], t[[0, 2, 3]]).item(), rel=1e-5)
    assert loss(p, t, weights=weights).dtype == np.float32


@each_loss
@refused_calls(
    (
        "loss(p, t, weights=np.ones(4))",
        ValueError,
        r"one weight for each row of the prediction \(5, 3\), got weights of shape \(4,\)",
    ),
    ("loss(p, t, weights=np.ones((5, 1)))", ValueError, r"got weights of shape \(5, 1\)"),
    ("loss(p, t, weights=np.ones((5, 3)))", ValueError, r"got weights of shape \(5, 3\)"),
    ("loss(p, t, weights=2.0)", ValueError, r"got weights of shape \(\)"),
    (
        "loss(p, t, weights=np.array([1, 1, -0.5, 1, 1]))",
        ValueError,
        "weights of 0 or more, got -0.5 for row 2",
    ),
    (
        "loss(p, t, weights=np.array([1, np.nan, 1, 1, 1]))",
        ValueError,
        "weights of 0 or more, got nan for row 1",
    ),
    (
        "loss(p, t, weights=np.array([1, 1, 1, 1, np.inf]))",
        ValueError,
        "weights of 0 or more, got inf for row 4",
    ),
    ("loss(p, t, weights=np.zeros(5))", ValueError, "all weights are 0, so there is no mean"),
)
def test_weights_that_do_not_fit_are_refused(loss, call, error, message):
    p, t = drawn(loss)
    assert_refused(call, error, f"{loss.name}: .*{message}", loss=loss, p=leaf(p), t=t)


@each_loss
def test_the_sum_of_nothing_that_counts_is_0(loss):
    p, t = drawn(loss)
    x = leaf(p)
    out = loss(x, t, weights=np.zeros(ROWS), reduction="sum")
    out.backward()
    assert out.item() == 0
    np.testing.assert_array_equal(x.grad, np.zeros_like(p))


@each_loss
def test_unknown_reductions_empty_batches_and_other_shapes_are_refused(loss):
    p, t = drawn(loss)
    with pytest.raises(ValueError, match=f"{loss.name}: expected the reduction mean, sum or none, got 'avg'"):
        loss(p, t, reduction="avg")
    with pytest.raises(ValueError, match=f"{loss.name}: expected at least one element"):
        loss(leaf(p[:0]), t[:0])
    for wrong in (t[:-1], t[:, None], np.append(t, t)):
        with pytest.raises(ValueError, match=f"{loss.name}: expected .*got"):
            loss(leaf(p), wrong)


@each_loss
def test_a_nan_in_the_prediction_shows(loss):
    p, t = drawn(loss)
    p[1, 1] = np.nan
    x = leaf(p)
    for reduction in ("mean", "sum"):
        assert np.isnan(loss(x, t, reduction=reduction).item())
    each = loss(x, t, reduction="none")
    each.backward(np.ones(each.shape))
    assert np.isnan(each.data[1]).any()
    assert np.isfinite(each.data[[0, 2, 3, 4]]).all()
    assert np.isnan(x.grad[1]).any()
    assert np.isfinite(x.grad[[0, 2, 3, 4]]).all()


@each_elementwise
def test_a_nan_in_the_target_shows(loss):
    p, t = drawn(loss)
    t[1, 1] = np.nan
    assert np.isnan(loss(p, t))


@each_loss
def test_layout_in_memory_makes_no_difference(loss):
    p, t = drawn(loss)
    wide = np.zeros((2 * ROWS, CLASSES))
    wide[::2] = p
    for view in (np.asfortranarray(p), wide[::2]):
        assert loss(leaf(view), t).item() == pytest.approx(loss(p, t).item(), rel=1e-14)


@each_loss
def test_a_batch_of_one(loss):
    p, t = drawn(loss, rows=1)
    assert loss(p, t) == pytest.approx(np.mean(loss(p, t, reduction="none")))


# huber


@pytest.mark.parametrize("delta", [0, -1, np.inf, np.nan, "1", True, None], ids=repr)
def test_huber_refuses_a_delta_that_is_not_positive(delta):
    with pytest.raises(ValueError, match="huber: expected delta to be a positive number, got"):
        tg.huber(np.ones(2), np.ones(2), delta=delta)


def test_huber_is_half_of_mse_with_a_large_delta_and_nears_mae_with_a_small():
    p, t = drawn(tg.huber)
    assert tg.huber(p, t, delta=100) == pytest.approx(tg.mse(p, t) / 2, rel=1e-12)
    assert tg.huber(p, t, delta=1e-9) / 1e-9 == pytest.approx(tg.mae(p, t), rel=1e-6)


def test_huber_promotes_nothing():
    p, t = drawn(tg.huber, dtype=np.float32)
    x = leaf(p, np.float32)
    tg.huber(x, t, delta=np.float64(0.3)).backward()
    assert x.grad.dtype == np.float32


# l2


def test_l2_by_hand_and_its_gradient_is_weight_decay():
    a, b = leaf([[1.0, 2.0]]), leaf(3.0)
    penalty = tg.l2(a, b, strength=0.5)
    penalty.backward()
    assert penalty.item() == 0.25 * (1 + 4 + 9)
    np.testing.assert_array_equal(a.grad, [[0.5, 1.0]])
    assert b.grad == 1.5


@pytest.mark.parametrize("strength", [-0.1, np.nan, np.inf, "0.1", None], ids=repr)
def test_l2_refuses_a_strength_below_0(strength):
    with pytest.raises(ValueError, match="l2: expected a strength of 0 or more, got"):
        tg.l2(leaf([1.0]), strength=strength)


def test_l2_of_nothing_and_of_two_dtypes_is_refused():
    with pytest.raises(ValueError, match="l2: expected at least one parameter, got none"):
        tg.l2(strength=0.1)
    with pytest.raises(TypeError, match="l2: expected the parameters one by one"):
        tg.l2([leaf([1.0])], strength=0.1)
    with pytest.raises(TypeError, match="l2: the float32 tensor would silently become float64"):
        tg.l2(leaf([1.0], "float32"), leaf([1.0]), strength=0.1)
    assert tg.l2(leaf([1.0], "float32"), strength=np.float64(0.1)).dtype == np.float32


# cross_entropy

LOGITS, LABELS = drawn(tg.cross_entropy)
ONE_HOT = np.eye(CLASSES)[LABELS]


@pytest.mark.parametrize("options", [
    {}, {"label_smoothing": 0.3}, {"class_weights": [0.2, 1, 3]},
    {"label_smoothing": 0.3, "class_weights": [0.2, 1, 3], "weights": np.arange(5)},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_one_hot_target_gives_what_its_label_gives(options, reduction):
    found, truth = leaf(LOGITS), leaf(LOGITS)
    a = tg.cross_entropy(found, ONE_HOT, reduction=reduction, **options)
    b = tg.cross_entropy(truth, LABELS, reduction=reduction, **options)
    np.testing.assert_allclose(a.data, b.data, rtol=1e-14)
    a.backward(np.ones(a.shape))
    b.backward(np.ones(b.shape))
    np.testing.assert_allclose(found.grad, truth.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float32])
def test_one_hot_targets_of_other_dtypes_promote_nothing(dtype):
    x = leaf(LOGITS, np.float32)
    loss = tg.cross_entropy(x, ONE_HOT.astype(dtype))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.float32
    assert loss.item() == pytest.approx(tg.cross_entropy(LOGITS, LABELS), rel=1e-6)


def test_a_float64_one_hot_target_of_float32_logits_is_refused():
    with pytest.raises(TypeError, match="cross_entropy: the float32 tensor would silently become float64"):
        tg.cross_entropy(leaf(LOGITS, np.float32), ONE_HOT)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("kind", [np.array, tg.Tensor, list])
def test_labels_are_any_integers(dtype, kind):
    labels = kind(LABELS.astype(dtype))
    assert tg.cross_entropy(leaf(LOGITS), labels).item() == tg.cross_entropy(LOGITS, LABELS)


@pytest.mark.parametrize(("label", "row"), [(-1, 2), (3, 4), (2**40, 0)])
def test_a_label_outside_the_classes_is_named_with_its_row(label, row):
    labels = LABELS.copy()
    labels[row] = label
    with pytest.raises(ValueError, match=f"expected labels from 0 to 2, got {label} in row {row}"):
        tg.cross_entropy(leaf(LOGITS), labels)


@refused_calls(
    ("loss(LOGITS, LABELS.astype(float))", TypeError, "expected integer labels, got float64"),
    ("loss(LOGITS, LABELS > 1)", TypeError, "expected integer labels, got bool"),
    (
        "loss(LOGITS, LABELS[:, None])",
        ValueError,
        r"expected labels \(5,\) or probabilities \(5, 3\) .* \(5, 1\)",
    ),
    ("loss(LOGITS, ONE_HOT.T)", ValueError, r"got targets \(3, 5\)"),
    ("loss(LOGITS, 2 * ONE_HOT)", ValueError, r"probabilities and sum to 1, got \[.*\] in row 0"),
    ("loss(LOGITS, np.tile([1.5, -0.5, 0.0], (5, 1)))", ValueError, "probabilities and sum to 1"),
    ("loss(LOGITS[:, :1], LABELS[:, None])", ValueError, "two classes or more .binary_cross_entropy"),
    ("loss(LOGITS[0], LABELS[0])", ValueError, r"expected logits \(N, C\)"),
    ("loss(LOGITS.round().astype(int), LABELS)", TypeError, "floating array of logits, got int64"),
    ("loss([[1.0, 2.0]], np.array([0]))", TypeError, "floating array of logits, got a list"),
)
def test_what_cross_entropy_cannot_be_of_is_refused(call, error, message):
    assert_refused(call, error, f"cross_entropy: .*{message}", loss=tg.cross_entropy, **globals())


@refused_calls(
    ("loss(class_weights=np.ones(2))", ValueError, r"expected 3 class_weights, .* shape \(2,\)"),
    ("loss(class_weights=[1, -1, 1])", ValueError, "class_weights of 0 or more"),
    ("loss(class_weights=[1, np.nan, 1])", ValueError, "class_weights of 0 or more"),
    ("loss(class_weights=leaf(np.ones(3)))", TypeError, "class_weights are constants"),
    ("loss(class_weights=np.zeros(3))", ValueError, "all weights are 0"),
    ("loss(label_smoothing=1.5)", ValueError, "label_smoothing from 0 to 1, got 1.5"),
    ("loss(label_smoothing=np.nan)", ValueError, "label_smoothing from 0 to 1, got nan"),
    ("loss(label_smoothing='0.1')", ValueError, "label_smoothing from 0 to 1, got '0.1'"),
)
def test_options_that_do_not_fit_are_refused(call, error, message):
    loss = functools.partial(tg.cross_entropy, leaf(LOGITS), LABELS)
    assert_refused(call, error, f"cross_entropy: .*{message}", loss=loss, leaf=leaf)


def test_a_class_masked_by_minus_infinity_costs_nothing_where_it_is_no_target():
    x = leaf([[0.0, 0.0, -np.inf], [0.0, -np.inf, -np.inf]])
    for target in (np.array([1, 0]), np.array([[0.0, 1, 0], [1, 0, 0]])):
        x.zero_grad()
        loss = tg.cross_entropy(x, target, reduction="none")
        np.testing.assert_allclose(loss.data, [np.log(2), 0], atol=1e-15)
        loss.backward(np.ones(2))
        np.testing.assert_allclose(x.grad, [[0.5, -0.5, 0], [0, 0, 0]], atol=1e-15)
    assert tg.cross_entropy(x, np.array([2, 0])).item() == np.inf


def test_a_change_of_labels_after_the_call_does_not_reach_the_graph():
    labels, x, y = LABELS.copy(), leaf(LOGITS), leaf(LOGITS)
    loss = tg.cross_entropy(x, labels)
    labels[:] = 0
    loss.backward()
    tg.cross_entropy(y, LABELS).backward()
    np.testing.assert_array_equal(x.grad, y.grad)


# binary_cross_entropy


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8, np.float32])
def test_yes_and_no_of_any_dtype(dtype):
    x = leaf(LOGITS, np.float32)
    loss = tg.binary_cross_entropy(x, ONE_HOT.astype(dtype))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.float32
    truth = -(ONE_HOT * np.log(1 / (1 + np.exp(-LOGITS))) + (1 - ONE_HOT) * np.log(1 / (1 + np.exp(LOGITS))))
    assert loss.item() == pytest.approx(truth.mean(), rel=1e-6)


def test_small_losses_are_not_rounded_to_0():
    """log(1 + exp(-50)) is 1.9e-22; x - x + that, as often written, is 0."""
    for x, t in ((50.0, 1.0), (-50.0, 0.0)):
        assert tg.binary_cross_entropy(np.array([x]), np.array([t])) == pytest.approx(np.exp(-50), rel=1e-12)


@refused_calls(
    ("loss(LOGITS, 2 * ONE_HOT - 1)", ValueError, r"targets from 0 to 1, got -1.0 at \(0, "),
    ("loss(LOGITS[:, 0], LABELS)", ValueError, "targets from 0 to 1, got 2"),
    ("loss(LOGITS.round().astype(int), ONE_HOT)", TypeError, "floating array of logits, got int64"),
    ("loss(LOGITS, ONE_HOT, positive_weight=0)", ValueError, "positive_weight above 0, got 0"),
    ("loss(LOGITS, ONE_HOT, positive_weight=[1, -1, 1])", ValueError, "positive_weight above 0"),
    ("loss(LOGITS, ONE_HOT, positive_weight=np.ones(5))", ValueError, r"for each place .* shape \(5,\)"),
    ("loss(LOGITS, ONE_HOT, positive_weight=leaf(2.0))", TypeError, "positive_weight is a constant"),
)
def test_what_binary_cross_entropy_cannot_be_of_is_refused(call, error, message):
    assert_refused(
        call, error, f"binary_cross_entropy: .*{message}", loss=tg.binary_cross_entropy, **globals()
    )


def test_what_to_write_for_a_target_with_an_axis_too_many():
    for shape, hint in (((3,), "target.ravel()"), ((3, 1), "target[..., 0]"), ((3, 2), "target[..., 0]")):
        target = np.ones((*shape, 1))
        with pytest.raises(ValueError, match="expected prediction and target of one shape") as caught:
            tg.mse(np.ones(shape), target)
        assert str(caught.value).endswith(f"write {hint}")
        assert eval(hint, {"target": target}).shape == shape
