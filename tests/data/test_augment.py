"""Augmentation: against scipy.ndimage, NumPy's exact turns, and loops over the images."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

from tensorgrad.data import Augment
from tensorgrad.data.augment import flip, rotate, shift

ndimage = pytest.importorskip("scipy.ndimage", reason="scipy, the oracle of rotation, is not installed")

RNG = np.random.default_rng(0)
SHAPES = [(5, 7, 7, 1), (3, 6, 9, 2), (2, 8, 4, 3), (1, 1, 1, 1), (4, 1, 5, 1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fill", [0.0, 0.7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rotation_is_scipys(shape, fill, dtype):
    images = RNG.standard_normal(shape).astype(dtype)
    degrees = RNG.uniform(-180, 180, len(images))
    found = rotate(images, degrees, fill=fill)
    assert found.dtype == dtype
    for image, angle, out in zip(images, degrees, found, strict=True):
        expected = ndimage.rotate(
            image.astype(float), angle, axes=(0, 1), reshape=False, order=1, mode="grid-constant", cval=fill
        )
        np.testing.assert_allclose(out, expected, atol=1e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_quarter_turns_are_exact_and_counter_clockwise(side, turns):
    images = RNG.random((2, side, side, 2))
    expected = np.rot90(images, turns, axes=(1, 2))
    np.testing.assert_allclose(rotate(images, np.full(2, 90.0 * turns)), expected, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shifts_are_loops_over_pixels(shape):
    images = RNG.random(shape)
    offsets = RNG.integers(-4, 5, (len(images), 2))
    found = shift(images, offsets, fill=-1.0)
    n, height, width, _ = shape
    for k in range(n):
        for i in range(height):
            for j in range(width):
                y, x = i - offsets[k, 0], j - offsets[k, 1]
                inside = 0 <= y < height and 0 <= x < width
                np.testing.assert_array_equal(found[k, i, j], images[k, y, x] if inside else -1.0)


def test_flips_mirror_those_chosen():
    images = RNG.random((3, 4, 5, 2))
    found = flip(images, np.array([True, False, True]))
    np.testing.assert_array_equal(found[1], images[1])
    np.testing.assert_array_equal(found[2], images[2][:, ::-1])


def test_each_image_is_changed_by_its_own_chance_and_the_input_is_left_alone():
    image = np.zeros((9, 9, 1), np.float32)
    image[2, 3] = 1
    images = np.repeat(image[None], 400, axis=0)
    kept = images.copy()
    found = Augment(shift=2, flip=True)(images, np.random.default_rng(0))
    np.testing.assert_array_equal(images, kept)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.sum(axis=(1, 2, 3)), 1)
    rows, columns = np.nonzero(found[..., 0])[1:]
    # 5 shifts down; 5 right of column 3 and, mirrored, 5 of column 5.
    assert set(rows) == set(range(5))
    assert set(columns) == set(range(1, 8))
    counts = np.bincount(rows, minlength=5)
    assert counts.min() > 50, "each shift of a row has a chance of 80 in 400"
    assert 0.4 < np.mean(columns > 4) + np.mean(columns == 4) / 2 < 0.6


def test_angles_are_drawn_within_the_bound():
    """A point right of the centre goes where its angle says."""
    images = np.zeros((300, 41, 41, 1))
    images[:, 20, 40] = 1
    found = Augment(rotate=30)(images, np.random.default_rng(0))[..., 0]
    weight = found.sum(axis=(1, 2))
    y = (found * (20 - np.arange(41))[:, None]).sum(axis=(1, 2)) / weight
    x = (found * (np.arange(41) - 20)).sum(axis=(1, 2)) / weight
    angles = np.degrees(np.arctan2(y, x))
    assert -31 < angles.min() < -27
    assert 27 < angles.max() < 31
    assert abs(angles.mean()) < 4


def test_the_generator_alone_decides():
    augment, images = Augment(shift=1, rotate=20, flip=True), RNG.random((6, 5, 5, 1))
    first, again, other = (augment(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@refused_calls(
    ("Augment()", ValueError, "nothing to do"),
    ("Augment(shift=-1)", ValueError, "whole number of pixels, got -1"),
    ("Augment(shift=0.5)", ValueError, "got 0.5"),
    ("Augment(shift=True)", ValueError, "got True"),
    ("Augment(rotate=181)", ValueError, "0 to 180 degrees, got 181"),
    ("Augment(rotate=float('nan'))", ValueError, "got nan"),
    ("Augment(flip=1)", TypeError, "True or False, got 1"),
    ("Augment(shift=1, fill=np.inf)", ValueError, "finite fill"),
)
def test_settings_that_make_no_sense_are_refused(call, error, message):
    assert_refused(call, error, message, Augment=Augment)


@pytest.mark.parametrize("images", [np.zeros((2, 5, 5)), np.zeros((2, 5, 5, 1), np.uint8), [[1.0]]])
def test_what_is_no_batch_of_images_is_refused(images):
    with pytest.raises(ValueError, match=r"expected floating images \(N, H, W, C\)"):
        Augment(flip=True)(images, np.random.default_rng(0))


@refused_calls(
    ("rotate(images, np.zeros(3))", ValueError, "2 angles"),
    ("shift(images, np.zeros((2, 2)))", ValueError, "2 pairs of integers"),
    ("flip(images, np.zeros(2, int))", ValueError, "2 booleans"),
)
def test_wrong_numbers_of_offsets_are_refused(call, error, message):
    images = np.zeros((2, 3, 3, 1))
    assert_refused(call, error, message, images=images, rotate=rotate, shift=shift, flip=flip)


@pytest.mark.parametrize(
    ("by", "height", "width"), [(4, 4, 9), (4, 9, 4), (5, 4, 4), (10**30, 4, 4), (1, 1, 1)]
)
def test_a_shift_as_large_as_the_images_is_refused(by, height, width):
    images = np.ones((2, height, width, 1))
    with pytest.raises(
        ValueError, match=f"Augment: a shift by {by} leaves nothing of images {height} x {width}"
    ):
        Augment(shift=by)(images, RNG)
    if min(height, width) > 1:
        Augment(shift=min(height, width) - 1)(images, RNG)
