"""The rules of C for ops on elements: each says how one element of the result is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.graph.native.code import Term, Words
from tensorgrad.graph.native.plan import UnwritableError, Value
from tensorgrad.graph.native.program import Elementwise, Program


def write_as(text: str, kinds: str = "f") -> Elementwise:
    """As a text with ``{}`` for the arguments, which are of the result's kind."""
    return Elementwise(lambda words, *terms: text.format(*terms), kinds)


def call(name: str) -> Elementwise:
    """As a function of the prelude, whose further arguments are the op's options in order."""
    return Elementwise(lambda words, *terms, **options: words.call(name, *terms, *options.values()), "f")


class Sum(Elementwise):
    """Of real numbers a text; of whole numbers a function of the prelude, which tells of too large ones."""

    def __init__(self, text: str, name: str) -> None:
        def write(words: Words, *terms: Term) -> str:
            if words.kind == "f":
                return text.format(*terms)
            return words.call_plainly(name, *(words.literal(0), *terms)[-2:])

        super().__init__(write, "fi")

    def __call__(self, program: Program, value: Value, *arguments: Any, **options: Any) -> None:
        require_wide(program, value)
        super().__call__(program, value, *arguments, **options)


class Cast(Elementwise):
    """As another kind of number."""

    def __init__(self) -> None:
        super().__init__(lambda words, x, dtype: words.convert(x, words.kind))

    def __call__(self, program: Program, value: Value, *arguments: Any, **options: Any) -> None:
        require_wide(program, value)
        super().__call__(program, value, *arguments, **options)


def require_wide(program: Program, value: Value) -> None:
    """UnwritableError for integers of fewer bits than the program's, or unsigned ones: NumPy's would wrap."""
    dtype = value.tensor.dtype
    if value.kind == "i" and (dtype.kind == "u" or dtype.itemsize < program.dtype.itemsize):
        raise UnwritableError(value.describe())


def compare(symbol: str) -> Elementwise:
    """As a comparison: -1 where it holds, in lanes and elsewhere, so that it is a mask of bits."""

    def write(words: Words, *terms: Term) -> str:
        kind = "f" if any(term.kind == "f" for term in terms) else "i"
        if kind == "f" and words.dtype == np.float32 and any(map(_is_whole, terms)):
            return compare_in_double(words, symbol, terms)
        x, y = (words.spread(words.convert(term, kind)) for term in terms)
        return f"({x} {symbol} {y})" if words.laned else f"(-({x} {symbol} {y}))"

    return Elementwise(write)


def _is_whole(term: Term) -> bool:
    return term.kind == "i" and term.origin is None


def compare_in_double(words: Words, symbol: str, terms: Sequence[Term]) -> str:
    """As NumPy compares whole numbers with real ones: not all of them are numbers in single precision."""
    numbers = [term if term.origin is None else Term(repr(float(term.origin)), False, "f") for term in terms]
    if not words.laned:
        return f"(-((double){numbers[0]} {symbol} (double){numbers[1]}))"
    doubles = (f"in_double({term})" if term.laned else f"(double){term}" for term in numbers)
    return f"__builtin_convertvector({f' {symbol} '.join(doubles)}, W)"


def choose(words: Words, condition: Term, x: Term, y: Term) -> str:
    mask, x, y = words.convert(condition, "b"), words.convert(x, words.kind), words.convert(y, words.kind)
    if words.kind == "f":
        return words.call_plainly("pick", mask, x, y)
    return f"(({words.spread(x)} & {mask}) | ({words.spread(y)} & ~{mask}))"


def gate(words: Words, x: Term, condition: Term) -> str:
    return words.call_plainly("keep", words.convert(condition, "b"), words.convert(x, "f"))


def is_finite(words: Words, x: Term) -> str:
    zero = Term(f"({x} - {x})", x.laned, x.kind)
    return ELEMENTWISE["equal"].write(words, zero, words.literal(0))


def gelu(words: Words, x: Term, approximate: str) -> str:
    return words.call("gelu_tanh" if approximate == "tanh" else "gelu", x)


def round_to(words: Words, x: Term, decimals: int) -> str:
    power = words.real(10.0 ** abs(decimals))
    scale, back = ("*", "/") if decimals >= 0 else ("/", "*")
    scaled = Term(f"({words.convert(x, 'f')} {scale} {power})", x.laned, "f")
    return f"({words.call('rint', scaled)} {back} {power})"


def ldexp(words: Words, x: Term, exponent: Term) -> str:
    return words.call_plainly("ldexp", words.convert(x, "f"), words.convert(exponent, "i"))


def nan_to_num(words: Words, x: Term, nan: float, posinf: Any, neginf: Any) -> str:
    most, least = Term("REAL_MAX", False, "f"), Term("(-REAL_MAX)", False, "f")
    return words.call(
        "finite", x, nan, most if posinf is None else posinf, least if neginf is None else neginf
    )


#: Functions of the prelude, and those that have another name there.
CALLED = (
    "cbrt ceil copysign cos cosh elu erf erfc exp exp2 expm1 floor floor_divide fmax fmin fmod heaviside "
    "hypot leaky_relu log log10 log1p log2 logaddexp logaddexp2 reciprocal relu remainder rint sigmoid sign "
    "silu sin sinc sinh softplus sqrt square tan tanh trunc"
)
RENAMED = {
    "absolute": "fabs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "deg2rad": "deg2rad", "degrees": "rad2deg",
    "fabs": "fabs", "maximum": "max", "minimum": "min", "power": "pow", "rad2deg": "rad2deg",
    "radians": "deg2rad",
}  # fmt: skip

ELEMENTWISE: dict[str, Elementwise] = {
    **{name: call(name) for name in CALLED.split()},
    **{op: call(name) for op, name in RENAMED.items()},
    "add": Sum("({} + {})", "add"), "subtract": Sum("({} - {})", "sub"),
    "multiply": write_as("({} * {})"), "divide": write_as("({} / {})"),
    "negative": Sum("(-{})", "sub"), "positive": write_as("{}", "fi"), "identity": write_as("{}", "fib"),
    "normalize": write_as("(({} - {}) * {} + {})"),
    "equal": compare("=="), "not_equal": compare("!="), "less": compare("<"), "less_equal": compare("<="),
    "greater": compare(">"), "greater_equal": compare(">="),
    "logical_and": write_as("({} & {})", "b"), "logical_or": write_as("({} | {})", "b"),
    "logical_xor": write_as("({} ^ {})", "b"), "logical_not": write_as("(~{})", "b"),
    "isnan": Elementwise(lambda words, x: ELEMENTWISE["not_equal"].write(words, x, x)),
    "isfinite": Elementwise(is_finite), "nan_to_num": Elementwise(nan_to_num, "f"),
    "astype": Cast(),
    "round": Elementwise(round_to, "f"), "ldexp": Elementwise(ldexp, "f"),
    "where": Elementwise(choose), "gate": Elementwise(gate, "f"), "gelu": Elementwise(gelu, "f"),
}  # fmt: skip
