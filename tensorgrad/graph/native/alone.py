"""A program of one sample as a C file that stands alone: C99 without threads or libraries, weights inside."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.code import WIDTH, read_template
from tensorgrad.graph.native.plan import Buffer, place_in_arena
from tensorgrad.graph.native.printer import name_type
from tensorgrad.graph.native.program import Program, hold_array

#: Of whole numbers, which are told of if they are too large; the prelude's are in C of GCC and Clang.
SUMS = {
    name: f"static inline whole {name}(whole x, whole y) {{\n  if (y < 0 ? {below} : {above}) "
    f"return x {sign} y;\n  result = TOO_LARGE;\n  return 0;\n}}"
    for name, sign, below, above in (
        ("s_add", "+", "x >= WHOLE_MIN - y", "x <= WHOLE_MAX - y"),
        ("s_sub", "-", "x <= WHOLE_MAX + y", "x >= WHOLE_MIN + y"),
    )
}
KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int "
    "long main register restrict return short signed sizeof static struct switch typedef union unsigned "
    "void volatile while"
)


def write_alone(program: Program, name: str, title: Iterable[str]) -> tuple[str, str]:
    """The text of a C file and of its header: a function ``name`` that computes a program, sample by sample.

    The program is of one sample, without lanes, and has one input and one output of real numbers.
    """
    (given,), (output,) = program.graph.recording.inputs, program.outputs
    single = program.dtype == np.float32
    real, whole = ("float", "int32_t") if single else ("double", "int64_t")
    words = {"real": real, "whole": whole, "REAL_MAX": "FLT_MAX" if single else "DBL_MAX"}
    words["SINGLE"] = str(int(single))
    words |= {f"WHOLE_{end}": f"INT{32 if single else 64}_{end}" for end in ("MIN", "MAX")}
    sizes = math.prod(given.shape), math.prod(output.shape)
    sample = "\n".join(_write_sample(program, given))
    helpers = "\n".join(_find_helpers(sample))
    checks = re.search(r"\bresult\b", sample + helpers) is not None
    said = [
        *title, "",
        f"x: count samples of {_write_shape(given.shape[1:])}, one behind the other",
        f"y: room for as many results of {_write_shape(output.shape[1:])}",
        "Gives 0" + ", or the number, from 1, of a sample with values that it cannot take" * checks,
        "One thread at a time: what is made on the way has one place in memory.",
    ]  # fmt: skip
    comment = "\n".join(f"// {line}".rstrip() for line in map(_clean, said))
    constants = [_write_constant(program, buffer, x) for buffer, x in program.arguments if x is not given]
    result = "enum { NO_SUCH_ROW = 1, ANOTHER_BRANCH, TOO_LARGE };\nstatic int result;  // of a sample"
    parts = [result * checks, *constants, *program.functions.values(), helpers, sample]
    text = re.sub(r"\bF\((\w+)\)", r"\1f" if single else r"\1", "\n\n".join(filter(None, parts)))
    text = re.sub(rf"\b({'|'.join(words)})\b", lambda word: words[word[0]], text)
    if name in (*KEYWORDS.split(), *dir(math)) or re.search(rf"\b{name}\b", text):
        raise ValueError(f"to_c: expected a name that C and the code have for nothing else, got {name!r}")
    declared = f"int {name}(const {real if given.dtype.kind == 'f' else whole} *x, {real} *y, int count)"
    loop = [
        "  for (int i = 0; i < count; i++) {",
        *["    result = 0;"] * checks,
        f"    compute(x + (long)i * {sizes[0]}, y + (long)i * {sizes[1]});",
        *["    if (result) return i + 1;"] * checks,
        "  }",
        "  return 0;",
    ]
    used = {"float.h": r"(FLT|DBL)_MAX", "math.h": "", "stdint.h": r"int\d\d_t", "string.h": ""}
    includes = [f"#include <{file}>" for file, word in used.items() if re.search(word, text + declared)]
    function = [f"{declared};  // as in the header", "", f"{declared} {{", *loop, "}"]
    source = [comment, "\n".join(includes), text, "\n".join(function)]
    return "\n\n".join(source) + "\n", _write_header(name, comment, declared, *sizes)


def _clean(text: str) -> str:
    """What can stand in a comment: no character that continues the line, in trigraphs neither."""
    return re.sub(r"[^\w .,:;()\[\]{}<>=+*/'-]", " ", text, flags=re.ASCII)


def _write_shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _write_header(name: str, said: str, declared: str, inputs: int, outputs: int) -> str:
    word = name.upper()
    lines = [
        f"#ifndef {word}_H", f"#define {word}_H", "#include <stdint.h>",
        f"#define {word}_INPUTS {inputs}  // numbers of a sample", f"#define {word}_OUTPUTS {outputs}", "",
        "#ifdef __cplusplus", 'extern "C"', "#endif", f"{declared};", "", "#endif",
    ]  # fmt: skip
    return "\n".join([said, *lines]) + "\n"


def _write_sample(program: Program, given: Tensor) -> Iterator[str]:
    """The function of one sample, and the memory of its intermediate values."""
    code, (output,) = program.code(0, False), program.outputs
    source = program.point(program.need_dense(output), code).plus()
    code.put(f"memcpy(output, {source}, {math.prod(output.shape)} * sizeof *output);")
    for value, held in program.guards:
        condition = program.point(program.need(value), code).at()
        code.put(f"if ({condition} {'==' if held else '!='} 0) result = ANOTHER_BRANCH;")
    names = []
    for whole, memory in ((False, "values"), (True, "whole_values")):
        buffers = [b for b in code.buffers if b.role == "plain" and b.whole == whole]
        if buffers:
            size, kind = place_in_arena(buffers), name_type(buffers[0])
            yield f"static {kind} {memory}[{size}];  // of what is made on the way, while it is needed"
            names += [f"  {kind} *const {b.name} = {memory} + {b.offset};  // {b.note}" for b in buffers]
    (argument,) = [buffer for buffer, leaf in program.arguments if leaf is given]
    yield f"\nstatic void compute(const {name_type(argument)} *const {argument.name}, real *const output) {{"
    yield from (*names, *[f"  (void){argument.name};"] * (argument not in code.buffers), *code.lines, "}")


def _write_constant(program: Program, buffer: Buffer, leaf: Tensor | NDArray) -> str:
    """Weights, and what else is the same for every sample."""
    x = hold_array(leaf.data if isinstance(leaf, Tensor) else leaf, program.dtype, program.whole)
    suffix = "f" * (program.dtype == np.float32 and not buffer.whole)
    named = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}
    texts = [named.get(text, text + suffix) for text in map(str, x.ravel())]
    lines = textwrap.wrap(", ".join(texts) or "0", WIDTH - 2, break_on_hyphens=False)
    head = f"static const {name_type(buffer)} {buffer.name}[{buffer.size}] = {{  // {buffer.note}"
    return "\n".join([head, *(f"  {line}" for line in lines), "};"])


@cache
def read_functions() -> dict[str, str]:
    """The functions of numbers in the prelude, by name, each behind those that it calls."""
    pattern = (
        r"LIBRARY(?P<two>_2)?\((?P<called>\w+)\)(?! INLINE)|^ALIKE\((?P<alike>\w+), (?P<formula>.*)\)$"
        r"|^INLINE (?P<text>(?:real|whole) (?P<name>s_\w+|find_row)\([^{]*\{(?:.*\}|[^}\n]*\n(?:.*\n)*?\}))$"
    )
    found = dict(SUMS)
    for part in (match.groupdict() for match in re.finditer(pattern, read_template("prelude"), re.MULTILINE)):
        name, text, y = part["name"], part["text"], bool(part["two"])
        if part["called"]:
            name = f"s_{part['called']}"
            text = f"real {name}(real x{', real y' * y}) {{ return F({part['called']})(x{', y' * y}); }}"
        elif part["alike"]:
            name = f"s_{part['alike']}"
            text = f"real {name}(real x) {{ return {part['formula']}; }}"
        found[name] = f"static inline {text}"
    return found


def _find_helpers(text: str) -> list[str]:
    """The functions of the prelude that a text calls, and those that these call."""
    functions = read_functions()
    needed: set[str] = set()
    while new := {*re.findall(r"\w+", text)} & functions.keys() - needed:
        needed |= new
        text = "\n".join(functions[name] for name in new)
    return [function for name, function in functions.items() if name in needed]
