"""The benchmarks compare the same work: every competitor's loss and updates, and that the harness runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent / "benchmarks"
NAMES = ("dense", "cnn", "lenet5", "wide")
PEERS = {"with_torch": "torch", "with_jax": "jax", "with_autograd": "autograd", "with_mygrad": "mygrad"}
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def trained(make, name, batch=3, rate=0.5, dtype="float32", **options):
    """The output and loss before a step, and the gradients that it stepped along."""
    from networks import NETWORKS

    network = NETWORKS[name]
    made = make(network, *network.batch(batch, dtype), rate, **options)
    output = np.asarray(made.infer()).astype(float)
    loss = made.train().item()
    after = [np.asarray(value, float) for value in made.parameters()]
    before = network.parameters(dtype)
    return output, loss, [(b - a) / rate for b, a in zip(before, after, strict=True)]


def assert_same(found, expected, tolerance):
    assert found[1] == pytest.approx(expected[1], rel=tolerance)
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(np.abs(theirs).max(), 1e-3))


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_tensorgrad_and_loops_agree_in_float64(name):
    from competitors import with_tensorgrad
    from notebook_step import with_loops

    looped = trained(with_loops, name, dtype="float64")
    assert all(np.abs(g).max() > 1e-4 for g in looped[2])
    assert_same(trained(with_tensorgrad, name, dtype="float64"), looped, 1e-10)


def test_ranks_are_timed_on_the_networks_of_the_others():
    from networks import NETWORKS
    from ranks import build, estimate, time_exchange, time_steps

    for name in ("dense", "cnn"):
        shapes = [p.shape for p in build(name).parameters()]
        assert shapes == [values.shape for values in NETWORKS[name].parameters()]
    for median, least in (time_steps("dense", 2, False, None, 16), time_exchange(10, None, 3)):
        assert 0 < least <= median
    # 1,000 bytes to another rank and back at 1,000 bytes a second, and three messages of a second.
    assert estimate(2, 250, 1.0, 1e3) == pytest.approx(4.0, abs=1e-3)


def test_loops_without_the_backward_pass_of_convolution_leave_filters_alone():
    from notebook_step import with_loops

    partly = trained(with_loops, "cnn", dtype="float64", whole=False)[2]
    entirely = trained(with_loops, "cnn", dtype="float64")[2]
    assert all(not np.any(g) for g in partly[:4])
    assert all(np.array_equal(*pair) for pair in zip(partly[4:], entirely[4:], strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peer", PEERS)
def test_peers_take_the_same_step(peer, name):
    import competitors

    pytest.importorskip(PEERS[peer], reason="a peer that is not installed is left out of the benchmarks too")
    ours = trained(competitors.with_tensorgrad, name)
    forms = [{"channels_last": False}, {"channels_last": True}] if peer == "with_torch" else [{}]
    for options in forms:
        assert_same(trained(getattr(competitors, peer), name, **options), ours, 2e-4)


@needs_compiler
@pytest.mark.parametrize("options", [{}, {"own_loop": True, "threads": 1}, None])
def test_compiled_steps_are_those_of_numpy(options):
    import competitors

    ours = trained(competitors.with_tensorgrad, "dense")
    made = competitors.with_fit if options is None else competitors.with_compiled
    assert_same(trained(made, "dense", **(options or {})), ours, 2e-4)


@needs_compiler
def test_steps_of_fit_are_timed_one_by_one():
    from competitors import with_fit
    from networks import NETWORKS

    network = NETWORKS["dense"]
    times = with_fit(network, *network.batch(3)).time_steps(5)
    assert len(times) == 5
    assert all(0 < each < 1000 for each in times)


def test_flops_of_a_step_by_hand():
    from networks import NETWORKS

    dense = 2 * 32 * (784 * 256 + 256 * 256 + 256 * 10)
    assert NETWORKS["dense"].flops(32) == 3 * dense - 2 * 32 * 784 * 256
    products = [26 * 26 * 16 * 9, 11 * 11 * 32 * 16 * 9, 800 * 128, 128 * 64, 64 * 10]
    assert NETWORKS["cnn"].flops(32) == 2 * 32 * (3 * sum(products) - products[0])


def run(folder, *command):
    # On a busy machine the BLAS library's threads wait for one another for seconds.
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    quiet = [sys.executable, "-W", "error", str(HERE / command[0]), str(folder), *command[1:]]
    return subprocess.run(quiet, capture_output=True, text=True, check=True, env=one_thread).stdout


@needs_compiler
@pytest.mark.parametrize(("who", "some", "count"), [
    ("own loop", {"tensorgrad compiled, own loop"}, 1),
    pytest.param(
        "tensorgrad", {"tensorgrad", "tensorgrad tuned", "tensorgrad compiled"}, 7, marks=pytest.mark.slow
    ),
])  # fmt: skip
def test_the_harness_runs(tmp_path, who, some, count):
    printed = run(tmp_path, "steps.py", "--only", "dense", "--who", who, "--rounds", "1", "--quick")
    result = json.loads((tmp_path / "steps.json").read_text())
    assert {row["who"] for row in result["steps"]} >= some
    assert all(0 < row["minimum"] <= row["median"] for row in result["steps"])
    assert len(result["steps"]) == count * 2 * 2  # competitors, batches, training and inference
    assert "dense, batch 256, inference" in printed
    assert "not measured" in printed  # no peers


def test_the_profile_adds_up(tmp_path):
    printed = run(tmp_path, "profile_step.py", "--network", "lenet5", "--batch", "2", "--steps", "6")
    result = json.loads((tmp_path / "profile-lenet5-2.json").read_text())
    parts = {part["what"] for part in result["parts"]}
    assert {"conv2d forward", "conv2d vjp of w", "max_pool vjp of x", "update of the parameters"} <= parts
    assert sum(part["share"] for part in result["parts"]) == pytest.approx(1)
    assert "the rest" in printed


def test_the_profile_counts_the_flops_of_a_step():
    import profile_step
    from competitors import with_tensorgrad
    from networks import NETWORKS

    for name in NAMES:
        made = with_tensorgrad(NETWORKS[name], *NETWORKS[name].batch(2))
        with profile_step.Clocks(describe=True).running() as clocks:
            made.train()
        assert sum(call.flops for call in clocks.calls) == NETWORKS[name].flops(2)


def test_a_checkout_beside_itself():
    lines = run(HERE.parents[1], "against.py", "--rounds", "10", "--only", "relu", "import").splitlines()
    names = [line[:31].strip() for line in lines[1:]]
    assert names == ["relu, forward", "relu, forward and backward", "relu, chain of 50", "import after numpy"]
    assert all(float(line.split()[-2]) > 0 for line in lines[1:])
