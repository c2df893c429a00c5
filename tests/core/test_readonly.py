"""The arrays that a Tensor shows of itself: nobody writes to them, and who tries is told what to write."""

import pickle

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg


@refused_calls(
    ("w.data.__isub__(1.0)", ValueError, r"-= would change .* t\.data = t\.data - \.\.\., or under tg"),
    ("w.data.__imul__(2.0)", ValueError, r"write t\.data = t\.data \* \.\.\."),
    ("w.data.__setitem__(0, 1.0)", ValueError, r"assigning elements .* a = t\.numpy\(\), change a,"),
    ("w.data[:1].__iadd__(1.0)", ValueError, r"\+= would change .* read-only"),
    ("w.data.fill(0.0)", ValueError, r"fill would change .* a = t\.numpy\(\)"),
    ("w.data.sort()", ValueError, "sort would change"),
    ("w.grad.__imul__(0.0)", ValueError, r"of a gradient t\.grad = \.\.\. or t\.zero_grad\(\)"),
    ("w.grad.__setitem__(slice(None), 0.0)", ValueError, r"t\.zero_grad\(\)"),
    ("w.grad.zero_()", AttributeError, r"did you mean t\.zero_grad\(\)\?"),
    ("w.data.copy_(w)", AttributeError, r"did you mean t\.data = \.\.\."),
    ("np.subtract(w.data, 1.0, out=w.data)", ValueError, "read-only"),
    ("np.copyto(w.data, 0.0)", ValueError, "read-only"),
)  # fmt: skip
def test_writing_to_what_a_tensor_shows_is_told_what_to_write(call, error, message):
    w = tg.Parameter([1.0, 2.0])
    (w * w).sum().backward()
    assert_refused(call, error, message, w=w)
    assert w.data.tolist() == [1.0, 2.0]
    assert w.grad.tolist() == [2.0, 4.0]


def test_what_is_advised_works():
    w = tg.Parameter([1.0, 2.0])
    w.data = w.data - 0.5
    with tg.no_grad():
        w -= 0.5
    a = w.numpy()
    a[0] = 7.0
    w.data = a
    assert w.data.tolist() == [7.0, 1.0]


FUNCTIONS = [
    np.exp, np.sum, np.mean, np.max, np.argmax, np.std, np.sort, np.linalg.norm, np.abs, np.median, np.cumsum,
    np.asarray, repr, str, lambda x: x * 2, lambda x: x + x, lambda x: x.sum(), lambda x: x == x,
    lambda x: np.concatenate([x.ravel(), x.ravel()]), lambda x: np.array([x, x]), lambda x: x.copy(),
    lambda x: np.where(x > 0, x, 0), lambda x: np.clip(x, 0, 1), lambda x: x.tolist(),
    lambda x: pickle.loads(pickle.dumps(x)),
]  # fmt: skip


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 3.0], [[1.0, -2.0], [0.5, 4.0]]])
def test_numpy_computes_from_it_what_it_computes_from_an_array(values):
    w = tg.Parameter(values)
    shown, array = w.data, np.array(values)
    for function in FUNCTIONS:
        found, expected = function(shown), function(array)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)


def test_an_array_made_like_it_can_be_written_to():
    w = tg.Parameter([1.0, 2.0])
    made = np.zeros_like(w.data)
    made += 1.0
    made[0] = 5.0
    made.sort()
    assert made.tolist() == [1.0, 5.0]
    assert w.data.tolist() == [1.0, 2.0]
