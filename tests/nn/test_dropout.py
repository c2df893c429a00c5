"""Dropout: its distribution, its modes, its randomness."""

import copy

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.context import SharedRows, shared_rows


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elements_are_0_or_scaled_at_the_rate(rate, dtype):
    x = np.random.default_rng(0).uniform(1, 2, (200, 500)).astype(dtype)
    out = tg.Dropout(rate, rng=0)(x)
    assert out.dtype == dtype
    kept = out.data != 0
    np.testing.assert_allclose(out.data[kept], x[kept] / (1 - rate), rtol=1e-6)
    # Within five standard errors, of all, of a row, of neighbours.
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * (rate * (1 - rate) / x.size) ** 0.5)
    assert np.abs(kept.mean(axis=0) - (1 - rate)).max() < 6 * (rate * (1 - rate) / 200) ** 0.5
    pairs = (kept[:, 1:] & kept[:, :-1]).mean()
    assert pairs == pytest.approx((1 - rate) ** 2, abs=0.01)
    assert out.data.mean() == pytest.approx(x.mean(), rel=0.03)


def test_the_gradient_has_the_mask_of_the_output():
    x = tg.Tensor(np.full((50, 4), 3.0), requires_grad=True)
    out = tg.Dropout(0.25, rng=0)(x)
    out.sum().backward()
    np.testing.assert_allclose(x.grad, out.data / 3)


def test_in_inference_and_at_rate_0_it_is_the_identity():
    x = np.random.default_rng(0).standard_normal((5, 4))
    for layer in (tg.Dropout(0.5, rng=0).eval(), tg.Dropout(0.0)):
        before = layer.generator.bit_generator.state
        np.testing.assert_array_equal(layer(x).data, x)
        assert layer.generator.bit_generator.state == before
    leaf = tg.Tensor(x, requires_grad=True)
    tg.Dropout(0.5).eval()(leaf).sum().backward()
    np.testing.assert_array_equal(leaf.grad, np.ones_like(x))


def test_every_call_draws_anew_and_a_seed_repeats_all():
    x = np.ones((20, 20))
    first, second = tg.Dropout(rng=7), tg.Dropout(rng=7)
    a, b = first(x).numpy(), first(x).numpy()
    assert (a != b).any()
    np.testing.assert_array_equal(second(x).data, a)
    np.testing.assert_array_equal(second(x).data, b)
    assert (tg.Dropout()(x).data != tg.Dropout()(x).data).any()


def test_masks_depend_neither_on_layout_nor_on_dtype():
    x = np.random.default_rng(0).uniform(1, 2, (6, 5, 4))
    masks = [tg.Dropout(rng=3)(y).data != 0 for y in (x, np.asfortranarray(x), x.astype(np.float32))]
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_the_result_lies_in_memory_as_the_input_does():
    """Convolution's images lie as (C, H, W, N); the layer after a dropout shall find them so."""
    x = np.ones((3, 4, 5, 2)).transpose(3, 1, 2, 0)
    assert tg.Dropout()(x).data.strides == x.strides


def test_of_a_generator_it_takes_a_child():
    """So a layer's masks, and the weights drawn after it, are the same whoever else draws."""
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    first, second = tg.Dropout(rng=rng), tg.Dropout(rng=rng)
    x = np.ones((20, 20))
    assert (first(x).data != second(x).data).any()
    assert rng.random() == same.random()


def test_its_generator_goes_on_from_a_stored_state():
    network = tg.Network([tg.Dense(4, 4, rng=0), tg.Dropout(rng=1)])
    x = np.ones((3, 4), np.float32)
    network(x)
    generators = network.named_generators()
    assert list(generators) == ["Dropout1.generator"]
    stored = copy.deepcopy(generators["Dropout1.generator"].bit_generator.state)
    after = network(x).numpy()
    network(x)
    generators["Dropout1.generator"].bit_generator.state = stored
    np.testing.assert_array_equal(network(x).data, after)
    np.testing.assert_array_equal(copy.deepcopy(network)(x).data, network(x).data)


def test_a_checkpoint_over_dropout_is_refused_rather_than_wrong():
    layer, w = tg.Dropout(0.5, rng=0), tg.Parameter(np.ones((30, 30)))
    out = tg.checkpoint(lambda x: layer(x * w))(np.ones((30, 30))).sum()
    with pytest.raises(RuntimeError, match="computed again it gave another result"):
        out.backward()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, 1.5, np.nan, "0.5", True, None], ids=repr)
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="Dropout: expected "):
        tg.Dropout(rate)


@pytest.mark.parametrize("x", [np.ones((2, 2), int), [[1.0, 2.0]], 1.0], ids=repr)
def test_what_is_not_floating_is_refused(x):
    with pytest.raises(TypeError, match=r"Dropout\(0.5\): expected floating input, got"):
        tg.Dropout()(x)


def test_of_nothing_it_is_nothing():
    assert tg.Dropout()(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "SFC64", "Philox"])
@pytest.mark.parametrize("already", [0, 1], ids=["whole", "half a number is left"])
def test_rows_that_ranks_share_have_the_masks_of_the_whole_batch(bits, already):
    """Each rank's rows, some of them cut up, and what it draws afterwards: all as if it had drawn for all."""

    def layer():
        generator = np.random.Generator(getattr(np.random, bits)(3))
        generator.random(already, np.float32)
        made = tg.Dropout(0.5, rng=0)
        made.generator = generator
        return made

    ones = np.ones((14, 3, 5), np.float32)  # 7 rows, each of which became two
    alone = layer()
    whole, later = alone(ones).data, alone(ones).data
    for start, stop in ((0, 3), (3, 4), (4, 7), (0, 7), (0, 1)):
        ours = layer()
        for expected in (whole, later):
            token = shared_rows.set(SharedRows(start, stop, 7))
            try:
                found = ours(ones[2 * start : 2 * stop]).data
            finally:
                shared_rows.reset(token)
            np.testing.assert_array_equal(found, expected[2 * start : 2 * stop])
        assert ours.generator.random() == copy.deepcopy(alone.generator).random()


def test_rows_that_are_not_on_the_first_axis_cannot_be_shared():
    token = shared_rows.set(SharedRows(0, 2, 4))
    try:
        with pytest.raises(ValueError, match=r"expected the 2 rows of a batch on the first axis, got 3"):
            tg.Dropout(0.5, rng=0)(np.ones((3, 2)))
    finally:
        shared_rows.reset(token)
