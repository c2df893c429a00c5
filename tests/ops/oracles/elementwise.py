"""What the elementwise ops should compute: Python's math and fractions, element by element."""

import math
import operator
from fractions import Fraction

from oracles.loops import each


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def to_whole(x):
    """The nearest whole number, halves to even, from the definition."""
    below = math.floor(Fraction(x))
    rest = Fraction(x) - below
    return float(below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2)))


def round_to(x, *, decimals=0):
    return each(lambda v: to_whole(Fraction(v) * Fraction(10) ** decimals) / 10.0**decimals)(x)


def nan_to_num(x, *, nan=0.0, posinf=None, neginf=None):
    largest = (2 - 2.0**-52) * 2.0**1023

    def one(v):
        if math.isnan(v):
            return nan
        if math.isinf(v):
            return (
                (largest if posinf is None else posinf) if v > 0 else (-largest if neginf is None else neginf)
            )
        return v

    return each(one)(x)


def sign(x):
    return float((x > 0) - (x < 0))


def root_of_three(x):
    return math.copysign(abs(x) ** (1 / 3), x)


#: The oracle of each op, by its name.
ORACLES = {
    "identity": each(lambda x: x),
    "negative": each(operator.neg),
    "positive": each(lambda x: x),
    "square": each(lambda x: float(Fraction(x) ** 2)),
    "exp": each(math.exp),
    "exp2": each(lambda x: math.exp(x * math.log(2))),
    "expm1": each(math.expm1),
    "sigmoid": each(lambda x: 1 / (1 + math.exp(-x))),
    "sin": each(math.sin),
    "cos": each(math.cos),
    "tanh": each(math.tanh),
    "sinh": each(math.sinh),
    "cosh": each(math.cosh),
    "arctan": each(math.atan),
    "arcsinh": each(math.asinh),
    "sinc": each(lambda x: math.sin(math.pi * x) / (math.pi * x) if x else 1.0),
    "softplus": each(lambda x: math.log(1 + math.exp(x))),
    "silu": each(lambda x: x / (1 + math.exp(-x))),
    "erf": each(math.erf),
    "erfc": each(math.erfc),
    "deg2rad": each(math.radians),
    "rad2deg": each(math.degrees),
    "radians": each(math.radians),
    "degrees": each(math.degrees),
    "log": each(math.log),
    "log2": each(math.log2),
    "log10": each(math.log10),
    "log1p": each(math.log1p),
    "sqrt": each(math.sqrt),
    "tan": each(math.tan),
    "arcsin": each(math.asin),
    "arccos": each(math.acos),
    "arctanh": each(math.atanh),
    "relu": each(lambda x: x if x > 0 else 0.0),
    "absolute": each(abs),
    "fabs": each(math.fabs),
    "sign": each(sign),
    "reciprocal": each(lambda x: float(1 / Fraction(x))),
    "cbrt": each(root_of_three),
    "floor": each(math.floor),
    "ceil": each(math.ceil),
    "trunc": each(math.trunc),
    "rint": each(to_whole),
    "arccosh": each(math.acosh),
    "add": each(operator.add),
    "subtract": each(operator.sub),
    "multiply": each(operator.mul),
    "logaddexp": each(lambda x, y: math.log(math.exp(x) + math.exp(y))),
    "logaddexp2": each(lambda x, y: math.log2(2**x + 2**y)),
    "hypot": each(math.hypot),
    "arctan2": each(math.atan2),
    "copysign": each(math.copysign),
    "divide": each(operator.truediv),
    "heaviside": each(lambda x, h: h if x == 0 else float(x > 0)),
    "maximum": each(lambda x, y: x if x > y else y),
    "minimum": each(lambda x, y: x if x < y else y),
    "fmax": each(lambda x, y: x if x > y else y),
    "fmin": each(lambda x, y: x if x < y else y),
    "remainder": each(lambda x, y: float(Fraction(x) % Fraction(y))),
    "fmod": each(math.fmod),
    "floor_divide": each(lambda x, y: math.floor(Fraction(x) / Fraction(y))),
    "leaky_relu": lambda x, slope=0.01: each(lambda v: v if v > 0 else slope * v)(x),
    "elu": lambda x, alpha=1.0: each(lambda v: v if v > 0 else alpha * (math.exp(v) - 1))(x),
    "gelu": lambda x, approximate="none": each(gelu_tanh if approximate == "tanh" else gelu)(x),
    "astype": lambda x, dtype: each({"float64": float}[dtype])(x),
    "power": each(math.pow),
    "where": each(lambda condition, x, y: x if condition else y),
    "round": round_to,
    "ldexp": each(lambda x, i: float(Fraction(x) * Fraction(2) ** i)),
    "gate": each(lambda x, condition: x if condition else 0.0),
    "nan_to_num": nan_to_num,
}
