"""What a training step keeps: as much as the graph holds until backward is done, and nothing after it."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import tensorgrad as tg


def small_network():
    rng = np.random.default_rng(0)
    network = tg.Network(
        [
            tg.Conv2D(1, 4, 3, rng=rng),
            tg.ReLU(),
            tg.MaxPool2D(2),
            tg.Flatten(),
            tg.Dense(36, 3, rng=rng),
            tg.Sigmoid(),
        ]
    )
    x = rng.random((4, 8, 8, 1), np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 4)]
    return network, tg.MiniBatchSGD(network.parameters(), 0.01, momentum=0.9), x, y


def run(steps, network, optimizer, x, y):
    for _ in range(steps):
        loss = tg.mse(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def tensors():
    """How many there are. Other objects are not asked for their class: some warn."""
    return sum(issubclass(type(x), tg.Tensor) for x in gc.get_objects())


def growth():
    """Of 10,000 steps: blocks that Python allocated, and resident bytes; None where there is no /proc."""

    def resident():
        statm = Path("/proc/self/statm")
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None

    everything = small_network()
    gc.collect()
    gc.disable()  # what a step leaves behind must go without it: no reference cycles
    run(2_000, *everything)  # Python's lists of free tuples fill
    blocks, memory = sys.getallocatedblocks(), resident()
    run(10_000, *everything)
    return sys.getallocatedblocks() - blocks, None if memory is None else resident() - memory


def test_no_growth_over_ten_thousand_steps_without_the_garbage_collector():
    # In a process of its own: the memory of one that has run other tests moves by itself.
    done = subprocess.run(
        [sys.executable, "-c", "import json, test_memory; print(json.dumps(test_memory.growth()))"],
        cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    blocks, resident = json.loads(done.stdout)
    assert blocks < 500  # one a step would be 10,000
    assert resident is None or resident < 1 << 20


def test_a_graph_is_freed_with_its_loss():
    network, _, x, y = small_network()
    tg.mse(network(x), y).backward()
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        loss = tg.mse(network(x), y)
        loss.backward()
        assert tensors() > before
        del loss
        assert tensors() == before
    finally:
        gc.enable()


def test_a_gradient_that_can_be_differentiated_lives_with_its_leaf_until_that_is_told():
    """A cycle: the leaf holds its gradient, which was made of the leaf. `zero_grad` opens it."""
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        x = tg.Tensor([1.0, 2.0], requires_grad=True)
        (x * x).sum().backward(create_graph=True)
        assert x.grad.requires_grad
        x.zero_grad()
        del x
        assert tensors() == before
        tg.hessian(lambda x: (x**3).sum())(np.ones(2))  # has no leaf that it could leave one at
        assert tensors() == before
    finally:
        gc.enable()
