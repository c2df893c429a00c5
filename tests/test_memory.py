"""What a training step keeps: as much as the graph holds until backward is done, and nothing after it."""

import gc
import sys

import numpy as np
import pytest

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


def resident_bytes():
    resource = pytest.importorskip("resource", reason="memory is read from /proc, which only Linux has")
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        pytest.skip("memory is read from /proc, which only Linux has")


def test_no_growth_over_ten_thousand_steps_without_the_garbage_collector():
    everything = small_network()
    gc.collect()
    gc.disable()  # what a step leaves behind must go without it: no reference cycles
    try:
        run(2_000, *everything)  # Python's lists of free tuples fill
        blocks, resident = sys.getallocatedblocks(), resident_bytes()
        run(10_000, *everything)
        assert sys.getallocatedblocks() - blocks < 500  # one a step would be 10,000
        assert resident_bytes() - resident < 1 << 20
    finally:
        gc.enable()


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
