"""Dataset, load("digits") and one_hot."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from sklearn.datasets import load_digits

from tensorgrad.data import load, one_hot


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_are_images_and_labels(digits):
    assert digits.name == "digits"
    assert digits.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert (digits.x_train.shape, digits.y_train.shape) == ((1437, 8, 8, 1), (1437,))
    assert (digits.x_test.shape, digits.y_test.shape) == ((360, 8, 8, 1), (360,))
    for x, y in ((digits.x_train, digits.y_train), (digits.x_test, digits.y_test)):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert x.flags.c_contiguous
        assert (x.min(), x.max()) == (0, 1)


def test_digits_are_scikit_learns_each_once_and_in_its_order(digits):
    data, target = load_digits(return_X_y=True)
    original = [(label, *row) for label, row in zip(target, data, strict=True)]
    assert len(set(original)) == 1797  # so an example can be told by its pixels
    position = {example: i for i, example in enumerate(original)}

    def positions(x, y):
        return [position[label, *row] for label, row in zip(y, 16 * x.reshape(-1, 64), strict=True)]

    train, test = positions(digits.x_train, digits.y_train), positions(digits.x_test, digits.y_test)
    assert sorted(train + test) == list(range(1797))
    assert train == sorted(train)
    assert test == sorted(test)


def test_digits_split_is_stratified_and_pinned(digits):
    # load_digits has 178 182 177 183 181 182 181 179 174 180 of each; a fifth of that, rounded either way
    assert np.bincount(digits.y_train).tolist() == [142, 146, 141, 147, 144, 146, 145, 143, 139, 144]
    assert np.bincount(digits.y_test).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    assert digits.y_test[:10].tolist() == [
        8,
        6,
        9,
        9,
        1,
        1,
        0,
        1,
        2,
        7,
    ]  # as shipped: every machine has this split
    again = load("digits")
    np.testing.assert_array_equal(again.x_test, digits.x_test)
    np.testing.assert_array_equal(again.y_train, digits.y_train)


def test_digits_split_follows_the_documented_rule(digits):
    data, target = load_digits(return_X_y=True)
    shuffled = np.random.default_rng(0).permutation(1797)
    by_class = [i for label in range(10) for i in shuffled if target[i] == label]
    tested = sorted(i for place, i in enumerate(by_class) if place % 5 == 0)
    np.testing.assert_array_equal(16 * digits.x_test.reshape(-1, 64), data[tested])


def test_dataset_is_frozen_and_says_what_it_holds(digits):
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.x_train = digits.x_test
    assert repr(digits) == "Dataset('digits': 1437 training and 360 test images (8, 8, 1), 10 classes)"
    assert digits != load("digits")  # compared by identity, and without NumPy's ambiguous truth value


@pytest.mark.parametrize("name", ["MNIST", "", "cifar10", None])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"'digits', 'mnist', 'fashion-mnist', got {name!r}"):
        load(name)


def test_one_hot_rows_have_a_one_at_the_label():
    rows = one_hot(np.array([1, 0, 3]), 4)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert one_hot([2], 3, np.float64).dtype == np.float64
    assert one_hot(np.array([2], np.uint64), 3).tolist() == [[0, 0, 1]]
    assert one_hot(np.array([2], np.int8), 300).argmax() == 2
    assert one_hot(np.array([], np.int64), 3).shape == (0, 3)


@refused_calls(
    ("one_hot([0.0, 1.0], 3)", TypeError, "integer labels, got float64"),
    ("one_hot([0, np.nan], 3)", TypeError, "integer labels, got float64"),
    ("one_hot([True, False], 3)", TypeError, "integer labels, got bool"),
    ("one_hot(['1'], 3)", TypeError, "integer labels, got <U1"),
    ("one_hot([1, None], 3)", TypeError, "integer labels, got object"),
    ("one_hot(1, 3)", ValueError, r"shape \(N,\), got \(\)"),
    ("one_hot([[1], [0]], 3)", ValueError, r"shape \(N,\), got \(2, 1\)"),
    ("one_hot([0, 3], 3)", ValueError, "from 0 to 2, got 3"),
    ("one_hot([0, -1], 3)", ValueError, "from 0 to 2, got -1"),
    ("one_hot(np.array([2**63], np.uint64), 3)", ValueError, "from 0 to 2, got 9223372036854775808"),
)
def test_one_hot_refuses_what_are_no_labels(call, error, message):
    assert_refused(call, error, f"one_hot: expected .*{message}", one_hot=one_hot)


def test_importing_data_costs_numpy_and_nothing_else():
    script = (
        "import sys, tensorgrad.data;"
        "print({'sklearn', 'scipy', 'pooch', 'requests', 'tqdm', 'pandas'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    out = subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True, env=os.environ)
    assert out == "set()\n"
