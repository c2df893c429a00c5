"""The text of the module that `to_numpy` writes: a function with a program's lines, each with its shape."""

from __future__ import annotations

import json
import operator
import re
import textwrap

import numpy as np

from tensorgrad.graph.export.expressions import ATOM, WIDTH, Text, write_call, write_index, write_literal
from tensorgrad.graph.export.names import CONSTANT
from tensorgrad.graph.export.program import Program, has_several
from tensorgrad.graph.export.trace import Check, Item, Lines, SetItem, Step, steps_in

COLUMN = 80  # comments of neighbouring lines are lined up, no further to the right than this


def write_module(program: Program, name: str, out: Step, gradients: dict[Step, Step]) -> str:
    """A module with one function that takes the program's arguments and returns ``out`` and the gradients."""
    names = program.names
    loss = names[out]
    arguments = [(names[step], step.value) for step in program.arguments]
    lines = [f'"""Written by tensorgrad.to_numpy: {loss} and its gradients, in plain NumPy."""', ""]
    lines += ["import numpy as np", "", ""]
    for helper in program.helpers():
        lines += [*helper.strip().splitlines(), "", ""]
    lines += _write_signature(name, [argument for argument, _ in arguments])
    body = [
        f'"""Compute {loss} and its gradients.',
        "",
        "Arguments",
        "---------",
        *(f"{names[step]} : {_kind_of(step)}" for step in program.arguments),
        "",
        "Returns",
        "-------",
        f"{loss} : {out.value.dtype} {out.value.shape}",
        "gradients : dict",
        "    The gradient with respect to each argument that it names.",
        '"""',
        *(
            f"assert {argument}.shape == {value.shape} and {argument}.dtype == np.{value.dtype.name}"
            for argument, value in arguments
        ),
        *_write_body(program),
        "",
        "gradients = {",
        *(f"    {json.dumps(names[x], ensure_ascii=False)}: {names[g]}," for x, g in gradients.items()),
        "}",
        f"return {loss}, gradients",
    ]
    lines += [f"    {line}".rstrip() for line in body]
    return "\n".join(lines) + "\n"


def _write_signature(name: str, arguments: list[str]) -> list[str]:
    line = f"def {name}({', '.join(arguments)}):"
    if len(line) <= WIDTH:
        return [line]
    rows = textwrap.wrap(", ".join(arguments) + ",", WIDTH - 4)
    return [f"def {name}(", *(f"    {row}" for row in rows), "):"]


def _kind_of(step: Step) -> str:
    kind = f"{step.value.dtype} {step.value.shape}"
    return f"{kind}, {CONSTANT.label}" if step.owner is CONSTANT else kind


# The body


def _write_body(program: Program) -> list[str]:
    """The lines of the function's body, a comment with the shape after each."""
    shapes = _shapes_of(program.live)
    sections: list[tuple[str, list[tuple[list[str], str]]]] = []
    for step in program.live:
        if step not in program.lines or (isinstance(step.function, Item) and step.args[0] in program.lines):
            continue  # an item is set together with the others
        if not sections or sections[-1][0] != step.section:
            sections.append((step.section, []))
        shape = "" if isinstance(step.function, Check) else shapes[step]
        sections[-1][1].append((_write_step(program, step), shape))
    text: list[str] = []
    for section, entries in sections:
        text += ["", f"# {section}"] if section else [""]
        column = min(max(len(code[-1]) for code, _ in entries), COLUMN)
        for code, shape in entries:
            last = f"{code[-1]:{column}}  # {shape}" if shape else code[-1]
            text += [*code[:-1], last]
    return text


def _shapes_of(steps: list[Step]) -> dict[Step, str]:
    """The shapes of results as they are told: k for a length that depends on values, since a mask is read."""
    shapes: dict[Step, str] = {}
    for step in steps:
        results = step.value if has_several(step) else [step.value]
        shapes[step] = ", ".join(str(np.shape(x)) for x in results)
        masked = step.function is operator.getitem and any(
            x.value.dtype == bool for x in steps_in(step.args[1:])
        )
        counted = any(shapes[source].startswith("(k") for source in step.arguments())
        if (masked or counted) and not isinstance(step.function, SetItem) and np.ndim(step.value):
            shapes[step] = re.sub(r"\d+", "k", shapes[step], count=1)
    return shapes


def _write_step(program: Program, step: Step) -> list[str]:
    """The lines of code of a step."""
    function, names = step.function, program.names

    def write(source: Step) -> Text:
        if source.function is None or source in program.lines:
            return names[source], ATOM
        return write_call(source, write)

    if isinstance(function, Check):
        condition, binds = write(step.args[0])
        if function.outcome:
            condition = f"not {condition if binds == ATOM else f'({condition})'}"
        label = getattr(step.owner, "label", "step")
        refusal = f"{label}: these values ask for other steps; write this function anew for them"
        return [f"if {condition}:", f"    raise ValueError({json.dumps(refusal)})"]
    if isinstance(function, SetItem):
        before, place, value = step.args
        old, new = names[before], names[step]
        copy = "" if program.uses[before] == 1 else '.copy(order="K")'
        code = [] if old == new else [f"{new} = {old}{copy}"]
        code += [f"{new}[{write_index(place, write)}] = {write_literal(value, write)[0]}"]
    elif isinstance(function, Lines):
        texts = [write_literal(x, write) for x in step.args]
        places = [text if binds == ATOM else f"({text})" for text, binds in texts]
        indices = [write_index(x, write) for x in step.args]
        code = function.fill(names[step], places, [text for text, _ in texts], indices)
    else:
        code = [f"{_target_of(program, step)} = {write_call(step, write)[0]}"]
    code = [part for line in code for part in _wrap(line)]
    if step.errors:
        settings = ", ".join(f"{key}={json.dumps(value)}" for key, value in step.errors)
        code = [f"with np.errstate({settings}):", *(f"    {line}" for line in code)]
    return code


def _target_of(program: Program, step: Step) -> str:
    """The name that is assigned to, or one for each of several results."""
    if not has_several(step):
        return program.names[step]
    names = {item.function.i: program.names[item] for item in program.items[step]}  # type: ignore[union-attr]
    return ", ".join(names.get(i, "_") for i in range(len(step.value)))


# Lines that are too long


def _wrap(line: str) -> list[str]:
    """A line that is too long, broken inside the call or the list at its end."""
    found = re.match(r"(\s*)(.*)", line)
    assert found is not None
    indent, text = found.groups()
    start = _find_opening(text)
    if len(line) <= WIDTH or start is None:
        return [line]
    rows: list[str] = []
    for part in _split(text[start + 1 : -1]):
        if rows and len(indent) + 4 + len(rows[-1]) + len(part) + 2 < WIDTH and "\n" not in part:
            rows[-1] += f" {part},"
        else:
            rows.append(f"{part},")
    inner: list[str] = []
    for row in rows:
        *before, last = _wrap(f"{indent}    {row[:-1]}")
        inner += [*before, f"{last},"]
    return [f"{indent}{text[: start + 1]}", *inner, f"{indent}{text[-1]}"]


def _find_opening(text: str) -> int | None:
    """Where the call or list that ends a text opens; None if it ends with something else."""
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += (text[i] in ")]}") - (text[i] in "([{")
        if not depth:
            call = text[i] == "(" and i and (text[i - 1].isalnum() or text[i - 1] == "_")
            return i if text[-1] in ")]" and (call or (text[i] == "[" and not i)) else None
    return None


def _split(text: str) -> list[str]:
    """What stands between the commas of a text that are in no brackets."""
    parts, start, depth = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts
