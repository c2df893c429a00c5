"""Every op with a rule in C against NumPy, on all samples of the audit: many calls in one C file."""

import shutil
from collections import defaultdict
from contextlib import suppress

import numpy as np
import pytest
from helpers import SHIPPED

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.audit.native import bind
from tensorgrad.core import OPS
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native import toolchain, variant
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.plan import UnbatchableError, UnwritableError
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.record import UncompilableError, record

compiled = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def _little_optimization(monkeypatch):
    monkeypatch.setattr(variant, "build", lambda source: toolchain.build(source, optimize="-O0"))


def calls(dtype, laned):
    """The samples that can be written, in lanes or without: by the length of their batch axis, with names."""
    found = defaultdict(list)
    for name in SHIPPED:
        for sample in SAMPLES[name]:
            function, arrays = bind(OPS[name], sample, dtype)
            rows = next((x.shape[0] for x in arrays if x.ndim), None) if laned else None
            if laned and not rows:
                continue
            with suppress(UncompilableError, UnbatchableError, UnwritableError), np.errstate(all="ignore"):
                graph = Expansion(record(function, arrays, ["x"] * len(arrays), False), C_RULES)
                Program(graph, C_RULES, rows, variant.find_vectors())
                found[rows].append((f"{name}: {sample.label}", function, arrays))
    return found


def hold_against_numpy(several, dtype):
    """All calls in one function, and so in one C file."""

    def together(*arrays):
        rest = iter(arrays)
        return tuple(f(*(next(rest) for _ in given)) for _, f, given in several)

    arrays = [x for _, _, given in several for x in given]
    with tg.no_grad(), np.errstate(all="ignore"):
        outputs = tg.compile(together)(*arrays)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for (name, function, given), found in zip(several, outputs, strict=True):
            expected = np.asarray(function(*given))
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
            atol = 100 * np.finfo(dtype).eps * max(1.0, float(np.abs(expected).max(initial=0.0)))
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=atol, err_msg=name)


@compiled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ops_give_what_numpy_does(dtype, monkeypatch):
    several = calls(dtype, laned=False)[None]
    assert len({name.partition(":")[0] for name, _, _ in several}) >= len(C_RULES) - 10
    monkeypatch.setattr(variant, "Program", lambda graph, rules, _, n: Program(graph, rules, None, n))
    hold_against_numpy(several, dtype)


@compiled
@pytest.mark.parametrize("order", ["nijkl", "abpqs", "xwylt", "qpbax", "jiloy"])
def test_letters_of_einsum_mean_nothing_in_c(order):
    rng = np.random.default_rng(0)
    n, i, j, k, l = order  # noqa: E741
    several = []
    for subscripts, *shapes in (
        (f"{n}{i}{j},{n}{i}{k}->{j}{k}", (19, 3, 4), (19, 3, 5)),
        (f"{n}{i}{j},{i}{k}->{n}{j}{k}", (19, 3, 4), (3, 5)),
        (f"{n}{i}{j},{n}{k}{l}->{i}{j}{k}{l}", (19, 3, 4), (19, 2, 3)),
        (f"{n}{i},{n}{j}->{i}{j}", (19, 3), (19, 4)),
    ):
        arrays = [rng.standard_normal(shape) for shape in shapes]
        several.append((subscripts, lambda *x, s=subscripts: np.einsum(s, *x), arrays))
    hold_against_numpy(several, "float64")


@compiled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ops_in_lanes_give_what_numpy_does(dtype):
    for rows, several in calls(dtype, laned=True).items():
        if rows > 1:
            hold_against_numpy(several, dtype)
