"""Compiled code against the NumPy engine: random networks and functions, values, gradients and training.

What they may differ by is not a number of its own: NumPy's float32 differs from its float64 by what rounding
does to this very program, and so may compiled code, of either dtype, in units of that dtype.
"""

import ctypes
import itertools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_programs import compare, draw, draw_optimizer

import tensorgrad as tg
from tensorgrad.graph.native import toolchain, variant

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)

STEPS = 3


def make_builder(folder, *flags):
    """A compiler that is asked once, and to hurry: nothing is tested apart from what is tested here."""
    numbers, made = itertools.count(), {}

    def build(source):
        if source not in made:
            path = Path(folder, f"{next(numbers)}.so")
            command = [
                shutil.which("cc") or "clang",
                *toolchain.FLAGS,
                "-march=native",
                "-Wno-psabi",
                "-shared",
                *flags,
            ]
            subprocess.run([*command, "-xc", "-", "-o", path, "-lm"], input=source.encode(), check=True)
            made.clear()
            made[source] = toolchain.Built(ctypes.CDLL(str(path)), "cc", 0.0, False, path, "")
            path.unlink()
        return made[source]

    return build


@pytest.fixture(scope="module", autouse=True)
def _little_optimization(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "build", make_builder(tmp_path_factory.mktemp("programs"), "-O0"))
        yield


def differentiate(program, loss):
    """The value and the gradients of all parameters."""
    out = loss(*program.arrays)
    out.backward()
    return [out.data, *(np.zeros_like(p.data) if p.grad is None else p.grad for p in program.parameters)]


def train(program, seed, compiled, threads=1):
    """The losses of some steps, and the parameters after them."""
    _, optimizer = draw_optimizer(seed, program.parameters)
    if compiled:
        step = tg.compile(program.loss, optimizer=optimizer, threads=threads)
    else:

        def step(*arrays):
            out = program.loss(*arrays)
            optimizer.zero_grad()
            out.backward()
            optimizer.step()
            return out

    losses = [step(*program.arrays).data for _ in range(STEPS)]
    return [np.array(losses), *(p.data for p in program.parameters)]


def check(seed):
    """Compare value and gradients, then training, of the program of a seed."""
    dtype = np.dtype((np.float32, np.float64)[seed % 2])
    threads = 1 + seed % 3
    programs = [draw(seed, dtype), draw(seed, np.float32), draw(seed, np.float64)]
    found, *exact = (
        differentiate(p, tg.compile(p.loss, threads=threads) if k == 0 else p.loss)
        for k, p in enumerate(programs)
    )
    compare(f"seed {seed}: {programs[0].name}", dtype, found, *exact)
    reached = [p.grad is not None for p in programs[1].parameters]
    assert [p.grad is not None for p in programs[0].parameters] == reached, programs[0].name
    programs = [draw(seed, dtype), draw(seed, np.float32), draw(seed, np.float64)]
    programs = [p._replace(parameters=list(itertools.compress(p.parameters, reached))) for p in programs]
    exact = [train(p, seed, False) for p in programs[1:]]
    if not all(np.isfinite(x).all() for xs in exact for x in xs):
        return  # the steps go too far, and there is nothing to compare
    found = train(programs[0], seed, True, threads)
    name = draw_optimizer(seed, programs[0].parameters)[0]
    compare(f"seed {seed}, trained by {name}: {programs[0].name}", dtype, found, *exact)


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed):
    with np.errstate(all="ignore"):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_random_programs(part):
    with np.errstate(all="ignore"):
        for seed in [*range(20, 40), *range(100, 600)][part::10]:
            check(seed)


def run_sanitized(what, folder):
    library = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if platform.system() != "Linux" or not os.path.isabs(library):
        pytest.skip("there is no AddressSanitizer")
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    env = os.environ | {"LD_PRELOAD": library, "ASAN_OPTIONS": options, "PYTHONMALLOC": "malloc"}
    command = [sys.executable, Path(__file__).with_name("sanitized.py"), what, folder]
    return subprocess.run(command, capture_output=True, text=True, env=env)


@pytest.mark.slow
def test_no_program_leaves_its_memory_or_relies_on_undefined_arithmetic(tmp_path):
    done = run_sanitized("100", tmp_path)
    assert done.stdout == "100 programs\n", done.stderr[-3000:]


@pytest.mark.slow
def test_a_program_that_reads_behind_an_array_is_found(tmp_path):
    assert "heap-buffer-overflow" in run_sanitized("overrun", tmp_path).stderr
