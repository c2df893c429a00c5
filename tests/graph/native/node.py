"""Node: generated JavaScript is run there, many programs in one process."""

import base64
import json
import shutil
import subprocess
from typing import Any, NamedTuple

import numpy as np
import pytest

from tensorgrad.graph.native.javascript import hold, read_prelude, write_javascript

NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node to run JavaScript")

#: Arrays go there and back as the bytes they are, in base64.
RUN = """
const kinds = { f: Float32Array, d: Float64Array, i: Int32Array };
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const read = ([kind, text]) => new kinds[kind](bytes(text).buffer);
const write = (x) => {
  const bytes = new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
};
function run({ given, made, places, kind, options, steps }, program) {
  given = given.map(read);
  made = made.map(([kind, length]) => new kinds[kind](length));
  const parameters = places.map((place) => given[place]), optimizer = kind && makeOptimizer(kind, options);
  const losses = [];
  for (let step = 0; step < steps; step++) {
    const result = program(given, made);
    if (result) return { result };
    losses.push(made[0][0]);
    const gradients = made.slice(made.length - parameters.length);
    if (optimizer && !optimizer.step(parameters, gradients)) return { result: "stopped" };
  }
  return { result: 0, losses, arrays: (optimizer ? parameters : made).map(write) };
}
"""


class Job(NamedTuple):
    """A program, what stands for arguments, by identity, and how it is trained."""

    program: Any
    values: dict
    optimizer: str = ""
    options: Any = None
    steps: int = 1


class Answer(NamedTuple):
    """0 or what went wrong, the first output at each step, what was made or, in training, the parameters."""

    result: Any
    losses: list
    arrays: list


def run_jobs(jobs, evaluate=None):
    """The answers of several jobs, of Node or of what evaluates a script."""
    texts = [write_javascript(job.program, "step") for job in jobs]
    programs = ", ".join(f"(() => {{ {text}; return step; }})()" for text in texts)
    script = f"{read_prelude()}{RUN}const programs = [{programs}];\n"
    asked = json.dumps([_describe(job) for job in jobs])
    script += f"JSON.stringify({asked}.map((job, k) => run(job, programs[k])))"
    told = json.loads((evaluate or run_node)(script))
    return [_read(job, answer) for job, answer in zip(jobs, told, strict=True)]


def run_node(script):
    """The value of a script's last line."""
    *lines, last = script.splitlines()
    script = "\n".join([*lines, f"console.log({last.removesuffix(';')});"])
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _describe(job):
    leaves = [leaf for _, leaf in job.program.arguments]
    dtype, made = job.program.dtype, [*job.program.outputs, *job.program.gradients]
    given = [hold(job.values.get(id(leaf), leaf), dtype) for leaf in leaves]
    return {
        "given": [[x.dtype.char, base64.b64encode(x.tobytes()).decode()] for x in given],
        "made": [[dtype.char if v.kind == "f" else "i", int(np.prod(v.shape))] for v in made],
        "places": [next(i for i, x in enumerate(leaves) if x is p) for p in _trained(job)],
        "kind": job.optimizer,
        "options": job.options or {},
        "steps": job.steps,
    }


def _trained(job):
    return [leaf for leaf, _ in job.program.graph.recording.gradients] if job.optimizer else []


def _read(job, answer):
    if answer["result"]:
        return Answer(answer["result"], [], [])
    values, dtype = [*job.program.outputs, *job.program.gradients], job.program.dtype
    like = [(v.shape, v.tensor.dtype, v.kind) for v in values]
    like = [(p.shape, p.dtype, "f") for p in _trained(job)] or like
    arrays = []
    for text, (shape, wanted, kind) in zip(answer["arrays"], like, strict=True):
        x = np.frombuffer(base64.b64decode(text), dtype if kind == "f" else np.int32).reshape(shape)
        arrays.append(x.astype(wanted))
    return Answer(0, answer["losses"], arrays)
