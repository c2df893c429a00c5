"""A program as plain JavaScript: loops over typed arrays, by the rules of C.

Without lanes rules write C of few forms, and each has one in JavaScript. They are read word by word; what is
not known is refused, so that nothing is taken for what it is not. Real numbers are double in JavaScript until
they are stored; in single precision the result of each op is rounded at once, so that what is compared, or
rounded to whole numbers, is what NumPy compares and rounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.alone import read_functions
from tensorgrad.graph.native.code import Term, Words
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.plan import Buffer, UnbatchableError, UnwritableError, Value, place_in_arena
from tensorgrad.graph.native.program import Elementwise, Program, Vectors, hold_array
from tensorgrad.graph.native.record import UncompilableError
from tensorgrad.graph.native.variant import record_graph


class _Rounded(Elementwise):
    """A rule of C, whose result is rounded to single precision before anything else is computed of it."""

    def __init__(self, rule: Elementwise) -> None:
        self._rule = rule

    def __call__(self, program: Program, value: Value, *arguments: Any, **options: Any) -> None:
        self._rule(program, value, *arguments, **options)

    def write(self, words: Words, *terms: Term, **options: Any) -> str:
        term: str = self._rule.write(words, *terms, **options)
        if words.kind != "f" or words.dtype != np.float32:
            return term
        return Term(f"fround({term})", False, "f", getattr(term, "origin", None))


def _round_to(words: Words, x: Term, decimals: int) -> str:
    """As C's rule, but what is rounded to a whole number is rounded to single precision first."""
    first, last = ("multiply", "divide") if decimals >= 0 else ("divide", "multiply")
    power = words.real(10.0 ** abs(decimals))
    scaled = Term(JAVASCRIPT_RULES[first].write(words, words.convert(x, "f"), power), False, "f")
    text: str = JAVASCRIPT_RULES[last].write(words, Term(words.call("rint", scaled), False, "f"), power)
    return text


class _TiledProgram(Program):
    """Engines of JavaScript read from arrays slowly: what is read should serve for several sums."""

    tile: ClassVar = (2, 4)


JAVASCRIPT_RULES: Mapping[str, Any] = {
    **{op: _Rounded(rule) if isinstance(rule, Elementwise) else rule for op, rule in C_RULES.items()},
    "round": Elementwise(_round_to, "f"),
}


def plan_plain(
    function: Callable[..., Any],
    arrays: Sequence[NDArray],
    names: Sequence[str] = (),
    differentiate: bool = True,
) -> Program:
    """The program of a function of arrays like these: what it gives, and the gradients of its first output.

    Raises
    ------
    UncompilableError
        If an op has no rule, or values leave the graph inside of the function.
    """
    names = [*names, *(f"x{i}" for i in range(len(names), len(arrays)))]
    return plan_graph(record_graph(function, arrays, names, differentiate, language="JavaScript"))


def plan_graph(graph: Expansion) -> Program:
    """The program of a graph in which every op has a rule."""
    try:
        return _TiledProgram(graph, JAVASCRIPT_RULES, None, Vectors(graph.dtype.itemsize, 1))
    except (UnbatchableError, UnwritableError) as error:
        raise UncompilableError(f"compile: there is no rule in JavaScript for this: {error}") from error


def hold(x: Tensor | NDArray, dtype: np.dtype[Any]) -> NDArray:
    """An array as a program reads it, in rows: real numbers of a dtype, or int32, of which true is -1."""
    return hold_array(x.data if isinstance(x, Tensor) else x, dtype, np.dtype(np.int32)).ravel()


def write_javascript(program: Program, name: str) -> str:
    """A program that was planned without lanes: ``const NAME = ...``, a function ``NAME(given, made)``.

    ``given`` are typed arrays in the order of ``program.arguments``: of the program's dtype, or Int32Array
    for integers and truth values, of which true is -1. ``made`` are those that it fills: outputs, then
    gradients, all in rows. It gives 0 or what went wrong, by the names in the prelude (see `read_prelude`):
    then what was made means nothing.
    """
    code = program.code(0, False)
    made, stores = [*program.outputs, *program.gradients], []
    for k, value in enumerate(made):
        of = program.point(program.need_dense(value), code)
        last = of.view.offset + math.prod(value.shape)
        stores.append(f"    made[{k}].set({of.name}.subarray({of.view.offset}, {last})); // {value.name}")
    for value, held in program.guards:
        condition = program.point(program.need(value), code).at()
        code.put(f"if ({condition} {'==' if held else '!='} 0) result = ANOTHER_BRANCH;")
    single, most = program.dtype == np.float32, repr(float(np.finfo(program.dtype).max))
    given = [(buffer.name, buffer.size) for buffer, _ in program.arguments]
    sizes = {
        "given": [math.prod(leaf.shape) for _, leaf in program.arguments],
        "made": [math.prod(value.shape) for value in made],
    }
    lines = [
        f"const {name} = (() => {{",
        *_reserve(code.buffers, single),
        *(f"  {_translate_table(text)}" for text in program.functions.values()),
        f"  return function {name}(given, made) {{",
        *(f'    requireSizes("{name}", "{what}", {what}, {each});' for what, each in sizes.items()),
        *[f"    const [{', '.join(name for name, _ in given)}] = given;"] * bool(given),
        "    result = STEPPED;",
        *(f"  {translate(line.replace('REAL_MAX', most))}" for line in code.lines),
        *stores,
        "    return result;",
        "  };",
        "})();",
    ]
    return "\n".join(lines) + "\n"


def _reserve(buffers: Mapping[Buffer, None], single: bool) -> Iterator[str]:
    """The memory of a program: names for parts of two arrays, whose places are used again."""
    for whole, memory in ((False, "reals"), (True, "wholes")):
        own = [b for b in buffers if b.role == "plain" and b.whole == whole]
        if own:
            size, kind = place_in_arena(own), "Int32" if whole else "Float32" if single else "Float64"
            yield f"  const {memory} = new {kind}Array({size});"
            for b in own:
                yield f"  const {b.name} = {memory}.subarray({b.offset}, {b.offset + b.size}); // {b.note}"


# From C

_WORDS = {"INFINITY": "Infinity", "NAN": "NaN", "REAL_MAX": "Number.MAX_VALUE"}
_MATH = (
    "acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh exp expm1 floor hypot log log10 log1p log2 "
    "sin sinh sqrt tan tanh trunc"
)
_UNKNOWN = "real whole int long unsigned float double const static V W goto"
_SIGNS = "+ - * / & | ^ ~ ! < > = ? : && || == != <= >= += -= *= &= |= ++ -! ( ) [ ] { } , ;"
_TOKEN = re.compile(
    r"(?P<same>//.*|\s+)|(?P<cast>\((?:real|double)\))"
    r"|(?P<declared>(?P<const>const )?(?:real|whole|int) (?=\w))|F\((?P<library>\w+)\)"
    r"|(?P<clear>memset\((?P<memory>\w+), 0, \d+ \* sizeof \*(?P=memory)\);)"
    r"|(?P<number>\d+(?:\.\d*)?(?:e[-+]?\d+)?)(?P<single>f?)(?![.\w])|(?P<called>[a-z]\w*)(?=\s?\()"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>[-+*/%&|^~!=<>]+|[^\w\s])"
)
_TABLE = re.compile(r"static const (int|real) (\w+)\[\d+\] = \{([-+.e\d, ]*)\};")
_FUNCTION = re.compile(r"static inline (?:real|whole) (\w+)\(([^)]*)\) (\{.*\})", re.DOTALL)


def translate(text: str) -> str:
    """Lines of C as rules write them, and functions of the prelude, in JavaScript."""
    at, inside, words = 0, 0, []
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            _refuse(text, at)
        inside += {"[": 1, "]": -1}.get(found[0], 0)
        word = None if inside and found[0] == "/" else _translate_token(found)  # a place is no fraction
        if word is None:
            _refuse(text, at)
        words.append(word)
        at = found.end()
    return "".join(words)


def _translate_token(found: re.Match[str]) -> str | None:
    """A word of C in JavaScript; None for one that is not known there."""
    token = found[0]
    if found["same"]:
        return token
    if found["cast"]:  # real numbers are what they are, and whole ones are as real
        return ""
    if found["declared"]:
        return found["const"] or "let "
    if found["clear"]:
        return f"{found['memory']}.fill(0);"
    if found["library"]:
        return f"Math.{found['library']}" if found["library"] in _MATH.split() else None
    if number := found["number"]:
        if found["single"]:
            return repr(float(np.float32(number)))
        return token if not number.isdigit() or int(number) < 2**31 else None
    if found["called"]:
        return token if token in _find_names() else None
    if found["word"]:
        return _WORDS.get(token, None if token in _UNKNOWN.split() else token)
    return token if token in _SIGNS.split() else None


def _refuse(text: str, at: int) -> NoReturn:
    line = text[text.rfind("\n", 0, at) + 1 :].partition("\n")[0].strip()
    raise UncompilableError(f"compile: there is no JavaScript for {text[at : at + 20]!r} in {line}")


def _translate_table(text: str) -> str:
    found = _TABLE.fullmatch(text)
    if found is None:
        _refuse(text, 0)
    kind, name, numbers = found.groups()
    return f"const {name} = {'Int32' if kind == 'int' else 'Float64'}Array.of({numbers});"


@cache
def _read_written() -> str:
    return Path(__file__).with_name("javascript.js").read_text(encoding="utf-8")


@cache
def _find_names() -> set[str]:
    """The functions that programs may call."""
    return {
        "for",
        "if",
        "return",
        "fround",
        *read_functions(),
        *re.findall(r"^function (\w+)", _read_written(), re.M),
    }


@cache
def read_prelude() -> str:
    """What programs call: ``javascript.js``, and the functions of numbers that are the same in C."""
    made = []
    for name, text in read_functions().items():
        if f"function {name}(" not in _read_written():
            found = _FUNCTION.fullmatch(text)
            assert found is not None, f"{name} is not written as the others in prelude.c"
            names = re.findall(r"(?:real|whole) (\w+)", found[2])
            made.append(f"function {name}({', '.join(names)}) {translate(found[3])}")
    return "\n".join([_read_written(), *made]) + "\n"
