"""Compiled code against the NumPy engine: random networks and functions, values and gradients."""

import shutil

import numpy as np
import pytest
from random_programs import draw

import tensorgrad as tg
from tensorgrad.graph.native import toolchain, variant

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O0"))


def compare(seed, dtype, tolerance):
    program = draw(seed, dtype)
    compiled = tg.compile(program.loss, threads=1 + seed % 3)
    with np.errstate(all="ignore"):
        found = compiled(*program.arrays)
        expected = program.loss(*program.arrays)
        expected.backward()
        wanted = [p.grad for p in program.parameters]
        for p in program.parameters:
            p.zero_grad()
        found.backward()
    assert abs(found.item() - expected.item()) <= tolerance * (1 + abs(expected.item())), program.name
    scale = 1e-3 + max(np.abs(g).max(initial=0) for g in wanted if g is not None)
    for p, g in zip(program.parameters, wanted, strict=True):
        assert (p.grad is None) == (g is None), f"{p.name} of {program.name}"
        if g is not None:
            assert np.abs(p.grad - g).max(initial=0) <= tolerance * scale, f"{p.name} of {program.name}"


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed):
    compare(seed, np.float64, 1e-10)


@pytest.mark.parametrize("seed", range(1000, 1015))
def test_random_programs_in_float32(seed):
    compare(seed, np.float32, 2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_random_programs(part):
    for seed in range(100 + 40 * part, 140 + 40 * part):
        compare(seed, np.float64, 1e-10)
    for seed in range(2000 + 10 * part, 2010 + 10 * part):
        compare(seed, np.float32, 2e-4)
