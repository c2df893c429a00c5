"""What NumPy refuses is refused, and what it takes is taken: random calls of all functions and methods.

Shapes and options are odd on purpose. Where NumPy raises, so must we; where it gives values, ours are the
same, and the gradient is that of a difference quotient along a random direction. What we refuse on purpose
stands in `REFUSED`, with the reason.

    python tests/ops/test_like_numpy.py 300 [NAME]

prints what differs in so many calls a function, one line for each kind of difference.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import NUMPY

#: Calls of a function in the ordinary suite, and in the slow part of it.
SOME, MANY = 30, 2000

#: What we refuse and NumPy takes: words of our errors, and why.
REFUSED = {
    # The options of ufuncs are about memory and casts; those of functions, about memory.
    "cannot be used with a Tensor": "an op makes a new tensor of its own dtype",
    # What has no derivative, or none that a choice could be made for
    "counts elements and has no derivative rule": "norm with ord=0 counts",
    "has no derivative for shape": "further columns of U and Q are no functions of the matrix",
    "a derivative needs a floating result": "a cast to integers has no derivative",
    "expected a floating dtype": "nor has a mean or a distance in integers",
    # Where NumPy gives NaN with a warning
    "expected at least one element": "the mean and the median of nothing",
    "elements in every slice": "a variance of fewer elements than ddof",
    "elements that are not NaN in every slice": "and where all are NaN",
    "expected more elements than ddof": "a variance of fewer elements than ddof",
    "Singular matrix": "cond by an inverse that does not exist, where NumPy gives infinity",
    "order must be 'C' or 'F'": "K is no order of reshape, which NumPy does not see if the shape is None",
    # What must not happen in silence
    "would silently become": "a float32 tensor beside numbers in float64",
    # What NumPy itself advises against
    "expected vectors of 3 elements": "cross of vectors in the plane is deprecated",
    "expected where to be an array of booleans": "mean takes integers as a mask, sum does not",
    "Cannot cast": "take truncates a list of floats to indices, and refuses an array of them",
}

# Arguments, by their names

Draw = Callable[[np.random.Generator], Any]


def one_of(*values: Any) -> Draw:
    return lambda rng: values[rng.integers(len(values))]


SHAPES = (
    (), (1,), (2,), (3,), (4,), (0,), (1, 1), (1, 3), (3, 1), (2, 3), (3, 2), (2, 2), (3, 3), (4, 4), (0, 3),
    (3, 0), (2, 1, 3), (2, 2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 3, 2),
)  # fmt: skip

AXIS = one_of(
    0, 1, 2, 3, -1, -2, -4, None, (), (0,), (0, 1), (-1, 0), (0, 0), (1, 5), [0], np.int64(1), np.array(0),
    0.0, True, "0",
)  # fmt: skip
INTEGER = one_of(0, 1, 2, 3, -1, -2, 5, np.int64(1), 1.0, None, "1", True)
DTYPE = one_of("float32", "int64", "uint8", "bool")
FLAG = one_of(True, False, 1, 0)
MASK = one_of(True, False, [True, False, True], np.array([[True], [False]]), np.array(True), [1, 0, 1])
NUMBER = one_of(0.0, 0.3, -1.0, 2, None, [0.5])

OPTIONS: dict[str, Draw] = {
    # places
    **dict.fromkeys(("axis", "axis1", "axis2", "axisa", "axisb", "axisc", "start"), INTEGER),
    "axis": AXIS,
    "axes": one_of(
        None, 0, 1, 2, (0, 1), (1, 0), (-1, 0), (0, 0), ([0], [1]), ([1], [0]), ([0, 1], [1, 0]), (0, 1, 2),
        (2, 0, 1), (), 3, (0,), [1, 0], "ij",
    ),
    "source": one_of(0, 1, -1, (0, 1), (0,), (0, 0), 4, True),
    "destination": one_of(0, -1, 1, (1, 0), (0,), 4),
    # shapes
    "shape": one_of(
        (2, 3), (-1,), 6, (3, 2), (1, -1), (-1, -1), (), (0,), (2, 2, 3), (4,), -1, (2.0, 3), None,
        np.int64(6), [3, 2],
    ),
    "new_shape": one_of((2, 3), 6, (), (0,), (5,), (-1,), (2, 2, 2)),
    "order": one_of("C", "F", "A", "K", "X", "c", None),
    "reps": one_of(0, 1, 2, (2, 1), (1, 2), (), (2, 2, 2), -1, 2.0, (0, 1)),
    "pad_width": one_of(
        0, 1, (1, 2), ((1, 0), (0, 1)), ((1, 2),), -1, ((1, 2, 3),), 1.0, ((0, 1), (1, 0), (1, 1)), [1],
        {0: 1},
    ),
    "indices_or_sections": one_of(1, 2, 3, [1], [1, 2], [], 0, -1, [5], (1,), [2, 1], 2.0),
    # numbers
    **dict.fromkeys(("offset", "k", "n", "decimals"), INTEGER),
    "repeats": one_of(0, 1, 2, -1, (1, 2), (2,), [0, 1, 2], 2.0, np.array([1, 2, 1]), ()),
    "shift": one_of(0, 1, -1, 5, (1, 1), (1,), 1.0),
    "indices": one_of(0, -1, [0, 1], [0, 5], [[0], [1]], np.array([0, 0]), np.array([[0, 1]]), [], 1.0),
    "obj": one_of(0, -1, [0, 1], slice(0, 2), 5, [True, False, True], [], 1.0),
    "kth": one_of(0, 1, -1, 7, [0, 1], (0, 1), 1.0),
    "ddof": one_of(0, 1, 2, 0.5, -1, 9),
    "linspace.start": one_of(0.0, -1, [1.0, 2.0, 3.0], np.array(0.5)),
    "num": one_of(0, 1, 2, 5, -1, 2.0),
    "edge_order": one_of(1, 2, 3),
    "ind": one_of(1, 2, 0, -1, 1.0),
    "ord": one_of(None, 2, 1, 3, -1, np.inf, -np.inf, "fro", "f", "nuc", 0.5, "x", 0, -2, 1.5, -0.5),
    "p": one_of(None, 2, -2, 1, "fro", np.inf, "x", "nuc", 3),
    **dict.fromkeys(("rcond", "rtol"), one_of(None, 1e-10, 0.5)),
    **dict.fromkeys(("a_min", "min"), one_of(None, 0.3, -1, [0.3, 0.4, 0.5], 5)),
    **dict.fromkeys(("a_max", "max"), one_of(None, 1.0, 0.5, -3, [0.4, 0.6])),
    **dict.fromkeys(("nan", "posinf", "neginf", "initial"), NUMBER),
    **dict.fromkeys(("prepend", "append"), one_of(0.0, [1.0], [[1.0], [2.0]])),
    "weights": one_of(None, [1.0, 2.0], [1.0, 2.0, 3.0], 2.0, [0.0, 0.0], [[1.0], [2.0]], np.ones((2, 3))),
    "constant_values": one_of(0.0, 1.0, (1, 2)),
    # masks and words
    "where": MASK,
    "condition": one_of([True, False], [True, False, True], [1, 0, 1], True, [[True], [False]], []),
    "mode": one_of(
        "raise", "wrap", "clip", "constant", "edge", "reflect", "symmetric", "none", "reduced", "complete",
        "r",
    ),
    "kind": one_of(None, "stable", "quicksort", "introselect", "x"),
    "stable": one_of(None, True, False),
    "indexing": one_of("ij", "xy", "x"),
    "UPLO": one_of("L", "U", "l", "X"),
    "dtype": one_of(None, "float64", "float32", float, "x", int),
    "casting": one_of("same_kind", "no", "unsafe", "x"),
    "default": one_of(0, 0.5, [1.0, 2.0, 3.0]),
    "condlist": one_of([], [[True]], [np.array([True, False, True])], [np.eye(3) > 0, np.array(False)]),
    **dict.fromkeys(
        ("keepdims", "returned", "sparse", "copy", "upper", "full_matrices", "compute_uv", "hermitian",
         "equal_nan", "endpoint", "retstep", "overwrite_input", "rowvar", "subok"),
        FLAG,
    ),
}  # fmt: skip

#: What takes an array, a list of arrays, and any number of arrays.
ARRAYS = {
    "x",
    "x1",
    "x2",
    "y",
    "a",
    "b",
    "A",
    "v",
    "m",
    "f",
    "arr",
    "ary",
    "array",
    "values",
    "val",
    "other",
    "stop",
}
LISTS = {"arrays", "tup", "choicelist"}
VARIADIC = {"arys", "xi", "args"}
SKIPPED = {"out", "signature", "device", "mean", "correction", "optimize", "like", "self"}

#: Keyword arguments that no signature tells.
HIDDEN = {
    "sum": ("keepdims", "initial", "where"), "prod": ("keepdims", "initial", "where"),
    "max": ("keepdims", "initial", "where"), "min": ("keepdims", "initial", "where"),
    "mean": ("keepdims", "where"), "std": ("keepdims", "where"), "var": ("keepdims", "where"),
    "pad": ("constant_values",),
}  # fmt: skip

#: What takes no array of floats, or gives memory that nobody has written to.
LEFT_OUT = {
    "einsum",
    "block",
    "can_cast",
    "result_type",
    "shares_memory",
    "may_share_memory",
    "empty_like",
    "copyto",
}


@dataclass
class Call:
    """A call of a NumPy function, or of a method by an array's attribute, and its arguments."""

    function: Callable[..., Any]
    name: str
    args: list[Any]
    options: dict[str, Any]

    def __call__(self, convert: Callable[[int, Any], Any] = lambda i, x: x) -> Any:
        """The result, or the error, with the floating arrays converted by their number."""
        numbers = count()
        args = [_convert(x, numbers, convert) for x in self.args]
        options = {name: _convert(x, numbers, convert) for name, x in self.options.items()}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return self.function(*args, **options)
            except Exception as error:
                return error

    def __str__(self) -> str:
        options = [f"{name}={_show(x)}" for name, x in self.options.items()]
        return f"{self.name}({', '.join([*map(_show, self.args), *options])})"


def _convert(x: Any, numbers: Iterator[int], convert: Callable[[int, Any], Any]) -> Any:
    if isinstance(x, list) and x and isinstance(x[0], Drawn):
        return [convert(next(numbers), item.view(np.ndarray)) for item in x]
    return convert(next(numbers), x.view(np.ndarray)) if isinstance(x, Drawn) else x


def _show(x: Any) -> str:
    if isinstance(x, list) and x and isinstance(x[0], Drawn):
        return f"[{', '.join(map(_show, x))}]"
    return f"<{x.dtype} {x.shape}>" if isinstance(x, Drawn) else re.sub(r"\s+", " ", repr(x))


# The calls


class Drawn(np.ndarray):
    """An array that becomes a tensor, as those among the options do not."""


def draw_array(rng: np.random.Generator, dtype: str) -> Drawn:
    """Numbers between 0 and 1, far from ties and from the ends, or integers."""
    x = np.asarray(rng.uniform(0.15, 0.85, SHAPES[rng.integers(len(SHAPES))]))
    return (x if dtype[0] == "f" else 10 * x if dtype[:2] != "bo" else x > 0.5).astype(dtype).view(Drawn)


def draw_call(name: str, function: Callable[..., Any], rng: np.random.Generator) -> Call:
    args: list[Any] = []
    options: dict[str, Any] = {}
    dtype = "float64" if rng.random() < 0.8 else DTYPE(rng)
    first, same = draw_array(rng, dtype), rng.random() < 0.5
    by_place = True  # until an argument is left out

    def another() -> Any:
        return first if same else draw_array(rng, dtype)

    for p in parameters(function):
        drawn = drawn_as(function, p)
        if (
            p.name in SKIPPED
            or p.kind is p.VAR_KEYWORD
            or (p.name == "where" and isinstance(function, np.ufunc))
        ):
            by_place = False
        elif p.kind is p.VAR_POSITIONAL and p.name in ("shape", "axes"):
            args += (rng.integers(-1, 4, rng.integers(4)).tolist(), [drawn(rng)])[rng.integers(2)]
        elif p.kind is p.VAR_POSITIONAL and p.name == "varargs":
            args += [one_of(1.0, 0.5, [0.0, 1.0, 3.0], [0.0, 2.0])(rng) for _ in range(rng.integers(3))]
        elif p.kind is p.VAR_POSITIONAL or p.name in VARIADIC:
            args += [first, *(another() for _ in range(rng.integers(3)))]
            by_place = False
        elif p.name in LISTS:
            args.append([first, *(another() for _ in range(rng.integers(3)))])
        elif p.name in ARRAYS and by_place:
            args.append(another() if args else first)
        elif p.default is p.empty and not drawn:
            args.append(draw_array(rng, dtype))
        elif drawn and (p.default is p.empty or rng.random() < 0.3):
            if by_place and p.kind is not p.KEYWORD_ONLY and (p.default is p.empty or rng.random() < 0.3):
                args.append(drawn(rng))
            else:
                options[p.name] = drawn(rng)
                by_place = False
        else:
            by_place = False
    if "nan" in name:
        for x in args:
            if isinstance(x, Drawn) and x.dtype.kind == "f" and x.size and rng.random() < 0.5:
                x.flat[rng.integers(x.size)] = np.nan
    return Call(function, name, args, options)


def drawn_as(function: Callable[..., Any], p: inspect.Parameter) -> Draw | None:
    """What draws an option."""
    return OPTIONS.get(f"{function.__name__}.{p.name}", OPTIONS.get(p.name))


def parameters(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    try:
        told = inspect.signature(function).parameters
    except ValueError:  # of a function in C, until NumPy 2.4
        return
    yield from (p for p in told.values() if p.kind is not p.VAR_KEYWORD)
    for name in HIDDEN.get(function.__name__, ()):
        if name not in told:
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)


def functions() -> dict[str, Callable[..., Any]]:
    """NumPy's functions that take tensors, and the methods that tensors have in common with arrays."""
    found = {
        f"{f.__module__}.{f.__name__}": f for f in NUMPY if (f.__module__ or "numpy").startswith("numpy")
    }
    found = {name: f for name, f in found.items() if f.__name__ not in LEFT_OUT}
    for name in dir(tg.Tensor):
        method = getattr(np.ndarray, name, None) if hasattr(tg.Tensor, name) else None
        if not name.startswith("_") and callable(method) and name not in ("item", "tolist"):
            found[f"ndarray.{name}"] = as_function(name, method)
    return dict(sorted(found.items()))


def as_function(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def function(x: Any, *args: Any, **options: Any) -> Any:
        return getattr(x, name)(*args, **options)

    function.__name__ = name
    _, *others = parameters(method)
    first = inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)
    function.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return function


# What is wrong


def difference(call: Call, rng: np.random.Generator) -> str | None:
    """What is wrong with our answer to a call, or None."""
    truth, tensors = call(), {}

    def as_tensor(i: int, x: Any) -> Any:
        if tensors and rng.random() < 0.25:
            return x  # arrays among tensors
        tensors[i] = tg.Tensor(x, requires_grad=x.dtype.kind == "f")
        return tensors[i]

    ours = call(as_tensor)
    if not tensors:
        return None
    if isinstance(truth, Exception):
        refused = isinstance(ours, Exception)
        return None if refused else f"NumPy raises {type(truth).__name__}: {truth}; ours gives {ours!r:.60}"
    if isinstance(ours, Exception):
        on_purpose = any(words in str(ours) for words in REFUSED)
        return None if on_purpose else f"NumPy gives {truth!r:.60}; ours raises {type(ours).__name__}: {ours}"
    wrong = wrong_value(leaves(truth), leaves(ours), {t.dtype for t in tensors.values()})
    return wrong or wrong_gradient(call, tensors, leaves(ours))


def leaves(x: Any) -> list[Any]:
    return [leaf for item in x for leaf in leaves(item)] if isinstance(x, (tuple, list)) else [x]


def wrong_value(truth: list[Any], ours: list[Any], dtypes: set[Any]) -> str | None:
    single = np.dtype("float32") in dtypes
    if len(truth) != len(ours):
        return f"NumPy gives {len(truth)} results, ours {len(ours)}"
    for x, y in zip(truth, ours, strict=True):
        x, y = np.asarray(x), y.data if isinstance(y, tg.Tensor) else np.asarray(y)
        weak = single and (x.dtype, y.dtype) == ("float64", "float32")  # a Python number promotes nothing
        if x.shape != y.shape or (x.dtype != y.dtype and not weak):
            return f"NumPy gives {x.dtype} {x.shape}, ours {y.dtype} {y.shape}"
        tolerance = 1e-5 if single or x.dtype == "float32" else 1e-10
        if not np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"NumPy gives {x!r:.80}, ours {y!r:.80}"
    return None


def wrong_gradient(call: Call, tensors: dict[int, tg.Tensor], out: list[Any]) -> str | None:
    """The gradient of a sum with random weights, along a random direction, against a difference quotient."""
    rng = np.random.default_rng(1)
    chosen = [
        i for i, y in enumerate(out) if isinstance(y, tg.Tensor) and y.requires_grad and y.dtype == float
    ]
    weights = [rng.uniform(0.5, 1, out[i].shape) for i in chosen]
    if not chosen:
        return None
    with np.errstate(all="ignore"):
        try:
            for i, w in zip(chosen, weights, strict=True):
                out[i].backward(w)
        except Exception as error:
            return f"backward raises {type(error).__name__}: {error}"
    moves = {i: rng.uniform(-1, 1, t.shape) for i, t in tensors.items()}
    ours = sum(np.sum(t.grad * moves[i]) for i, t in tensors.items() if t.grad is not None)

    def weighted(h: float) -> Any:
        result = leaves(call(lambda i, x: np.asarray(x + h * moves.get(i, 0))))
        return sum(np.sum(result[i] * w) for i, w in zip(chosen, weights, strict=True))

    with np.errstate(all="ignore"):
        slopes = [(weighted(h) - weighted(-h)) / (2 * h) for h in (1e-5, 1e-6)]
    tolerance = 1e-4 * (1 + abs(slopes[0]))
    if not abs(slopes[1] - slopes[0]) <= tolerance or abs(ours - slopes[0]) <= tolerance:
        return None  # at a kink or a singular point; or all is well
    return f"gradient {ours:.6g}, difference quotient {slopes[0]:.6g}"


def sweep(name: str, calls: int) -> list[str]:
    """What differs in so many calls of a function, once for each kind."""
    function = functions()[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found: dict[str, str] = {}
    for _ in range(calls):
        call = draw_call(name, function, rng)
        wrong = difference(call, rng)
        if wrong:
            kind = re.sub(r"[^a-z ]", "", wrong.split("; ours gives")[0].split("; ours raises")[-1].lower())
            found.setdefault(kind[:60], f"{call}: {wrong}")
    return list(found.values())


@pytest.mark.parametrize("name", functions())
def test_random_calls_are_answered_as_numpy_does(name: str) -> None:
    assert sweep(name, SOME) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", functions())
def test_many_random_calls_are_answered_as_numpy_does(name: str) -> None:
    assert sweep(name, MANY) == []


if __name__ == "__main__":
    for name in functions():
        if name.endswith(sys.argv[2] if len(sys.argv) > 2 else ""):
            for line in sweep(name, int(sys.argv[1])):
                print(re.sub(r"\s+", " ", line)[:300])
