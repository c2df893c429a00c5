"""The text of the module that `to_numpy` writes."""

from __future__ import annotations

import json
import textwrap

from tensorgrad.graph.numpy_layout import WIDTH
from tensorgrad.graph.numpy_names import CONSTANT
from tensorgrad.graph.numpy_program import Program
from tensorgrad.graph.numpy_steps import Step


def module(program: Program, name: str, out: Step, gradients: dict[Step, Step]) -> str:
    """A module with one function that takes the program's arguments and returns ``out`` and the gradients."""
    names = program.names
    loss = names[out]
    arguments = [(names[step], step.value) for step in program.arguments]
    lines = [f'"""Written by tensorgrad.to_numpy: {loss} and its gradients, in plain NumPy."""', ""]
    lines += ["import numpy as np", "", ""]
    for helper in program.helpers():
        lines += [*helper.strip().splitlines(), "", ""]
    lines += _signature(name, [argument for argument, _ in arguments])
    body = [
        f'"""Compute {loss} and its gradients.',
        "",
        "Arguments",
        "---------",
        *(f"{names[step]} : {_kind(step)}" for step in program.arguments),
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
        *program.body(),
        "",
        "gradients = {",
        *(f"    {json.dumps(names[x], ensure_ascii=False)}: {names[g]}," for x, g in gradients.items()),
        "}",
        f"return {loss}, gradients",
    ]
    lines += [f"    {line}".rstrip() for line in body]
    return "\n".join(lines) + "\n"


def _signature(name: str, arguments: list[str]) -> list[str]:
    line = f"def {name}({', '.join(arguments)}):"
    if len(line) <= WIDTH:
        return [line]
    rows = textwrap.wrap(", ".join(arguments) + ",", WIDTH - 4)
    return [f"def {name}(", *(f"    {row}" for row in rows), "):"]


def _kind(step: Step) -> str:
    kind = f"{step.value.dtype} {step.value.shape}"
    return f"{kind}, {CONSTANT.label}" if step.owner is CONSTANT else kind
