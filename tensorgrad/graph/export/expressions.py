"""Steps as NumPy expressions: operators with as few parentheses as they need, calls, indices, literals."""

from __future__ import annotations

import inspect
import json
import math
import operator
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.trace import Item, Method, Ratio, Step

#: An expression and how tightly it binds.
Text: TypeAlias = tuple[str, int]
Write: TypeAlias = Callable[[Step], Text]

ATOM, POWER, UNARY, TIMES, PLUS, AND, XOR, OR, COMPARE = 10, 8, 7, 6, 5, 4, 3, 2, 1
WIDTH = 92  # of a line of code, without its comment
SMALL = 8  # elements of an array that is written out

# NumPy's functions and Python's operators compute the same, but for powers, remainders and floor division,
# where an operator on scalars goes another way than the ufunc.
_OPERATORS: list[tuple[str, int, tuple[Any, ...]]] = [
    ("+", PLUS, (np.add, operator.add)),
    ("-", PLUS, (np.subtract, operator.sub)),
    ("*", TIMES, (np.multiply, operator.mul)),
    ("/", TIMES, (np.divide, operator.truediv)),
    ("@", TIMES, (np.matmul, operator.matmul)),
    ("//", TIMES, (operator.floordiv,)),
    ("%", TIMES, (operator.mod,)),
    ("&", AND, (operator.and_,)),
    ("^", XOR, (operator.xor,)),
    ("|", OR, (operator.or_,)),
    ("==", COMPARE, (operator.eq,)),
    ("!=", COMPARE, (operator.ne,)),
    ("<", COMPARE, (operator.lt,)),
    ("<=", COMPARE, (operator.le,)),
    (">", COMPARE, (operator.gt,)),
    (">=", COMPARE, (operator.ge,)),
]
_BINARY = {function: (symbol, binds) for symbol, binds, functions in _OPERATORS for function in functions}
_UNARY: dict[Any, str] = {np.negative: "-", operator.neg: "-", operator.pos: "+", operator.invert: "~"}

_SPELLED = {np.absolute: "np.abs", operator.abs: "np.abs"}
_DEFAULTS = {"keepdims": False, "axis": None, "out": None}  # of reductions, whose signatures hide them


class UnwritableError(TypeError):
    """There is no expression for something."""


def write_call(step: Step, write: Write) -> Text:
    """The call of a step; ``write`` gives the expressions of the steps that it reads."""
    function, args = step.function, step.args

    def operand(x: Any, least: int) -> str:
        text, binds = write(x) if isinstance(x, Step) else write_literal(x, write)
        return text if binds >= least else f"({text})"

    if isinstance(function, Item):
        return f"{operand(args[0], ATOM)}[{function.i}]", ATOM
    if isinstance(function, Method):
        start = f"{operand(args[0], ATOM)}.{function.name}"
        if function.name == "reshape" and isinstance(args[1], tuple) and args[1]:
            return f"{start}{write_literal(args[1], write)[0].replace(',)', ')')}", ATOM
        return (
            start + f"({_write_arguments(function, args[1:], step.kwargs, write)})"
            if function.call
            else start
        ), ATOM
    if function is operator.getitem:
        return f"{operand(args[0], ATOM)}[{write_index(args[1], write)}]", ATOM
    if function is operator.pow:
        base = operand(args[0], ATOM)
        of = getattr(args[0], "value", args[0])
        if isinstance(of, np.ndarray) and not of.ndim:
            base = f"np.asarray({base})"  # a power of an array, not of a scalar: the two round differently
        return f"{base} ** {operand(args[1], UNARY)}", POWER
    if function in _BINARY and len(args) == 2 and not step.kwargs:
        symbol, binds = _BINARY[function]
        left = operand(args[0], binds + (binds == COMPARE))
        return f"{left} {symbol} {operand(args[1], binds + 1)}", binds
    if function in _UNARY and not step.kwargs:
        return _UNARY[function] + operand(args[0], UNARY), UNARY
    return f"{_name_function(function)}({_write_arguments(function, args, step.kwargs, write)})", ATOM


def _write_arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], write: Write) -> str:
    """The arguments of a call, without those that are as they would be anyway."""
    defaults = _DEFAULTS if isinstance(function, Method) else {**_DEFAULTS, **_defaults_of(function)}
    texts = [write_literal(x, write)[0] for x in args]
    texts += [
        f"{key}={write_literal(x, write)[0]}"
        for key, x in kwargs.items()
        if not (key in defaults and type(x) is type(defaults[key]) and x == defaults[key])
    ]
    return ", ".join(texts)


@cache
def _defaults_of(function: Any) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty and np.isscalar(p.default)}


def _name_function(function: Any) -> str:
    """``np.linalg.inv`` and the like; UnwritableError if that is not how NumPy knows the function."""
    if function in _SPELLED:
        return _SPELLED[function]
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", None) or "numpy"
    if isinstance(getattr(function, "__self__", None), np.ufunc):  # np.multiply.outer
        return f"{_name_function(function.__self__)}.{name}"
    for path in ("numpy", module):
        if path.partition(".")[0] == "numpy" and _find(f"{path}.{name}") is function:
            return f"{path}.{name}".replace("numpy", "np", 1)
    raise UnwritableError(f"{getattr(function, '__qualname__', function)} is not a function of NumPy")


def _find(path: str) -> Any:
    found: Any = np
    for part in path.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def write_index(x: Any, write: Write) -> str:
    """What stands between the brackets of an index."""
    if isinstance(x, tuple) and x:
        return ", ".join(_write_part(part, write) for part in x) + ("," if len(x) == 1 else "")
    return _write_part(x, write)


def _write_part(x: Any, write: Write) -> str:
    if isinstance(x, slice):
        start, stop, step = (
            "" if end is None else write_literal(end, write)[0] for end in (x.start, x.stop, x.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return write_literal(x, write)[0]


def write_literal(x: Any, write: Write) -> Text:
    """A value as it is written in Python; UnwritableError if it is no value of NumPy's or Python's own."""
    if isinstance(x, Step):
        return write(x)
    if isinstance(x, Ratio):
        return x.text, ATOM
    if x is Ellipsis:
        return "...", ATOM
    if x is None or isinstance(x, bool):
        return repr(x), ATOM
    if isinstance(x, str):
        return json.dumps(x, ensure_ascii=False), ATOM
    if isinstance(x, np.generic):
        return f"np.{x.dtype}({_write_number(x.item())[0]})" if x.dtype != bool else f"np.bool({x})", ATOM
    if isinstance(x, (int, float)):
        return _write_number(x)
    if isinstance(x, np.dtype):
        return f"np.{x.name}", ATOM
    if isinstance(x, type) and issubclass(x, (np.generic, int, float)):
        return (f"np.{np.dtype(x).name}" if issubclass(x, np.generic) else x.__name__), ATOM
    if isinstance(x, slice):
        return f"slice({', '.join(write_literal(end, write)[0] for end in (x.start, x.stop, x.step))})", ATOM
    if isinstance(x, tuple):
        inner = ", ".join(write_literal(item, write)[0] for item in x)
        return f"({inner}{',' if len(x) == 1 else ''})", ATOM
    if isinstance(x, list):
        return f"[{', '.join(write_literal(item, write)[0] for item in x)}]", ATOM
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k!r}: {write_literal(v, write)[0]}" for k, v in x.items()) + "}", ATOM
    if isinstance(x, np.ndarray):
        return write_array(x), ATOM
    raise UnwritableError(f"there is no text for a {type(x).__name__}")


def _write_number(x: int | float) -> Text:
    if isinstance(x, bool):
        return repr(x), ATOM
    if isinstance(x, float) and not math.isfinite(x):
        text = "np.nan" if math.isnan(x) else ("np.inf" if x > 0 else "-np.inf")
    else:
        text = repr(float(x) if isinstance(x, float) else int(x))
    return text, UNARY if text.startswith("-") else ATOM


def write_array(x: NDArray) -> str:
    """A small array by its elements, a large one by a rule if it follows one; UnwritableError otherwise."""
    dtype = "" if x.dtype in (np.dtype(float), np.dtype(int), np.dtype(bool)) else f", np.{x.dtype.name}"
    of_type = "" if x.dtype == float else f", dtype=np.{x.dtype.name}"
    if not x.size:
        return f"np.zeros({x.shape}{of_type})"
    first = x.flat[0].item()
    if x.ndim and x.size > 1 and _are_same(x, np.full(x.shape, first, x.dtype)):
        value = _write_number(first)[0]
        name = {"0": "zeros", "False": "zeros", "1": "ones", "True": "ones"}.get(value.removesuffix(".0"))
        return f"np.{name}({x.shape}{of_type})" if name else f"np.full({x.shape}, {value}{dtype})"
    if x.ndim == 1 and x.size > 2 and x.dtype != bool and _are_same(x, np.arange(x.size, dtype=x.dtype)):
        return f"np.arange({x.size}{'' if x.dtype == int else of_type or ', dtype=float'})"
    if x.ndim == 2 and x.shape[0] == x.shape[1] and x.size > 1:
        n = x.shape[0]
        if _are_same(x, np.eye(n, dtype=x.dtype)):
            return f"np.eye({n}{of_type})"
        if _are_same(x, np.tri(n, dtype=x.dtype)):
            return f"np.tri({n}{of_type})"
        if x.dtype.kind == "f" and _are_same(x, np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype)):
            return f"(np.tri({n}{of_type}) - 0.5 * np.eye({n}{of_type}))"
    if x.size > SMALL:
        raise UnwritableError(f"an array of {x.size} elements is too large to be written out")
    return f"np.array({_write_nested(x.tolist())}{dtype})"


def _write_nested(x: Any) -> str:
    return f"[{', '.join(map(_write_nested, x))}]" if isinstance(x, list) else _write_number(x)[0]


def _are_same(x: NDArray, y: NDArray) -> bool:
    return x.tobytes() == y.tobytes()
