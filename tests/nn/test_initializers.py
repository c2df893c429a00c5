"""Initial values: their distribution in large draws, their seeds and their names."""

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.nn.initializers import INITIALIZERS, initialize

DENSE, FILTERS = (400, 600), (300, 200, 2, 3)
FANS = {DENSE: (400, 600), FILTERS: (200 * 6, 300 * 6)}

# Variances as in Glorot and Bengio 2010, eq. 12; He et al. 2015, eq. 10; LeCun et al. 1998, eq. 16.
# A uniform distribution has kurtosis 9/5, a normal one 3. The notebook: rand(...) - 0.5, randn(...) / K^2.
DISTRIBUTIONS = {
    "glorot_uniform": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), 1.8),
    "glorot_normal": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), 3),
    "he_uniform": (lambda fan_in, fan_out: 2 / fan_in, 1.8),
    "he_normal": (lambda fan_in, fan_out: 2 / fan_in, 3),
    "normal": (lambda fan_in, fan_out: 1, 3),
    "lecun_normal": (lambda fan_in, fan_out: 1 / fan_in, 3),
    "notebook_dense": (lambda fan_in, fan_out: 1 / 12, 1.8),
    "notebook_conv": (None, 3),
}


def test_every_initializer_is_tested_here():
    assert set(INITIALIZERS) == {*DISTRIBUTIONS, "zeros"}


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, FILTERS) for name in DISTRIBUTIONS]
    + [(name, DENSE) for name in DISTRIBUTIONS if name != "notebook_conv"],  # dense weights have no K
)
def test_mean_variance_and_kurtosis_in_a_large_draw(name, shape):
    variance, kurtosis = DISTRIBUTIONS[name]
    drawn = initialize(name, np.random.default_rng(7), shape, *FANS[shape], np.float64)
    expected = 1 / 6**2 if variance is None else variance(*FANS[shape])  # K^2 is 2 x 3 here
    n = drawn.size
    assert drawn.shape == shape
    # Within five standard errors: those of the mean, of the variance and of the kurtosis.
    assert abs(drawn.mean()) < 5 * (expected / n) ** 0.5
    assert drawn.var() == pytest.approx(expected, rel=5 * ((kurtosis - 1) / n) ** 0.5)
    assert (drawn**4).mean() / drawn.var() ** 2 == pytest.approx(kurtosis, abs=5 * (24 / n) ** 0.5)


@pytest.mark.parametrize("name", [name for name, (_, kurtosis) in DISTRIBUTIONS.items() if kurtosis == 1.8])
def test_uniform_draws_keep_to_their_limits(name):
    drawn = initialize(name, np.random.default_rng(7), DENSE, 400, 600, np.float64)
    limit = (3 * DISTRIBUTIONS[name][0](400, 600)) ** 0.5
    assert -limit <= drawn.min() < -0.999 * limit
    assert 0.999 * limit < drawn.max() <= limit


def test_the_notebooks_dense_values_are_its_own_expression():
    drawn = initialize("notebook_dense", np.random.default_rng(3), (5, 4), 5, 4, np.float64)
    np.testing.assert_array_equal(drawn, np.random.default_rng(3).random((5, 4)) - 0.5)


def test_the_notebooks_filters_are_its_own_expression():
    drawn = initialize("notebook_conv", np.random.default_rng(3), (8, 2, 3, 3), 18, 72, np.float64)
    np.testing.assert_allclose(
        drawn, np.random.default_rng(3).standard_normal((8, 2, 3, 3)) / 3**2, rtol=1e-15
    )


def test_zeros_are_zeros():
    assert not initialize("zeros", np.random.default_rng(0), (3, 2), 3, 2, np.float32).any()


@pytest.mark.parametrize(
    ("parameter", "variance"),
    [
        (tg.Dense(300, 900, rng=0).weights, 2 / 1200),
        (tg.Dense(300, 900, init="he_normal", rng=0).weights, 2 / 300),
        (tg.Conv2D(60, 90, (3, 5), init="he_normal", rng=0).filters, 2 / (60 * 15)),
        (tg.Conv2D(60, 90, (3, 5), rng=0).filters, 2 / (150 * 15)),
        (tg.Conv2D(60, 90, 3, init="notebook_conv", rng=0).filters, 1 / 9**2),
        (tg.Dense(2, 90_000, bias_init="notebook_dense", rng=0).bias, 1 / 12),
    ],
)
def test_layers_hand_their_fans_to_the_initializer(parameter, variance):
    assert parameter.data.var() == pytest.approx(variance, rel=0.02)


def test_biases_start_at_zero():
    assert not tg.Dense(3, 4, rng=0).bias.data.any()
    assert not tg.Conv2D(3, 4, 3, rng=0).bias.data.any()


@pytest.mark.parametrize(
    "make", [lambda **o: tg.Dense(6, 5, **o), lambda **o: tg.Conv2D(2, 3, 3, **o)], ids=["Dense", "Conv2D"]
)
def test_a_seed_fixes_the_values(make):
    def drawn(**options):
        return np.concatenate(
            [p.data.ravel() for p in make(bias_init="notebook_dense", **options).parameters()]
        )

    np.testing.assert_array_equal(drawn(rng=5), drawn(rng=5))
    np.testing.assert_array_equal(drawn(rng=5), drawn(rng=np.random.default_rng(5)))
    np.testing.assert_array_equal(drawn(rng=5), drawn(rng=5, dtype="float64").astype(np.float32))
    assert not np.isin(drawn(rng=5), drawn(rng=6)).any()
    assert not np.isin(drawn(), drawn()).any()


def test_layers_that_share_a_generator_differ():
    rng = np.random.default_rng(0)
    first, second = tg.Dense(3, 4, rng=rng), tg.Dense(3, 4, rng=rng)
    assert not np.isin(first.weights.data, second.weights.data).any()


@pytest.mark.parametrize("option", ["init", "bias_init"])
def test_an_unknown_name_is_refused_with_the_known_ones(option):
    with pytest.raises(ValueError, match=r"'he'.*glorot_uniform.*he_normal.*notebook_conv"):
        tg.Dense(3, 4, **{option: "he"})
