"""What it costs to train on several ranks: whole steps, and what ranks exchange in each.

    OMP_NUM_THREADS=1 python tests/benchmarks/ranks.py steps         # one process; with 2, on two threads
    mpiexec -n 2 python -m mpi4py tests/benchmarks/ranks.py steps    # two, on the same batches
    mpiexec -n 2 python -m mpi4py tests/benchmarks/ranks.py exchange
    python tests/benchmarks/ranks.py model                           # computed, for up to 1,000 ranks

A step is one of `Network.fit`, with everything that it does; the rows of a batch are shared. An exchange is
the meeting of the ranks, and the sum of so many gradients. Times are medians, with the fastest in brackets;
of several ranks they are those of the slowest.
"""

import math
import statistics
import sys
import time

import numpy as np
from networks import BATCHES, NETWORKS

import tensorgrad as tg
from tensorgrad.nn.fit.ranks import Ranks

#: Seconds until the first byte is there, and bytes a second, as their makers say or as is usually measured.
NETS = {
    "InfiniBand HDR, 200 Gbit/s": (1.5e-6, 25e9),
    "Ethernet with TCP, 10 Gbit/s": (25e-6, 1.25e9),
}
#: Seconds of Python and of calls in an exchange: what one of 1,000 gradients takes within a machine.
CALLS = 25e-6


def communicator():
    """That of all ranks; None alone."""
    if "mpi4py.run" not in sys.modules:
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None


class Clock(tg.Callback):
    """Notes when each step ends."""

    def __init__(self):
        self.times = []

    def on_batch_end(self, training):
        self.times.append(time.perf_counter())


def build(name):
    """One of the benchmarks' networks with the squared error."""
    layers = []
    for kind, *options in NETWORKS[name].layers():
        if kind == "conv":
            channels, filters, size, padding = options
            layers.append(tg.Conv2D(channels, filters, size, padding=padding, rng=0))
        elif kind == "dense":
            layers.append(tg.Dense(*options, rng=0))
        else:
            make = {
                "pool": lambda: tg.MaxPool2D(2),
                "flatten": tg.Flatten,
                "relu": tg.ReLU,
                "sigmoid": tg.Sigmoid,
            }
            layers.append(make[kind]())
    network = tg.Network(layers)
    network.use(tg.mse)
    return network


def slowest(seconds, comm):
    """Median and minimum in ms, of the rank where they are the largest."""
    mine = 1e3 * statistics.median(seconds), 1e3 * min(seconds)
    each = [mine] if comm is None else comm.allgather(mine)
    return tuple(map(max, zip(*each, strict=True)))


def time_steps(name, batch, compiled, comm, count=60):
    """Of so many steps of a training."""
    x, y = NETWORKS[name].batch(batch * 4)
    network, clock = build(name), Clock()
    network.fit(
        x,
        y,
        count // 4,
        1e-4,
        batch,
        callbacks=clock,
        compile=compiled,
        communicator=comm,
        seed=0,
        verbose=False,
    )
    ends = np.array(clock.times)
    # Between the batches of an epoch; the first steps find memory.
    steps = np.diff(ends.reshape(-1, 4), axis=1)[2:].ravel()
    return slowest(steps.tolist(), comm)


def time_exchange(parameters, comm, count=100):
    """Of so many exchanges of as many gradients."""
    ranks = Ranks(comm)
    p = tg.Parameter(np.zeros(parameters, np.float32))
    p.grad = np.ones(parameters, np.float32)
    part = ranks.take(np.zeros(ranks.size), None, "mean")
    seconds = []
    for _ in range(count if parameters < 1e6 else count // 5):
        start = time.perf_counter()
        ranks.join("a batch", part, 1.0, None, [p])
        seconds.append(time.perf_counter() - start)
    return slowest(seconds, comm)


def estimate(ranks, parameters, latency, rate, copying=4e9):
    """Seconds of an exchange: a meeting, the sum of gradients by halving and doubling, and copies of them.

    A sum over p ranks takes 2 log2(p) messages, in which a rank sends 2 (p - 1) / p of its bytes. The
    meeting is a sum of a few numbers: log2(p) messages. Gradients are put into one array and taken out.
    """
    size, rounds = 4 * parameters, math.ceil(math.log2(ranks))
    meeting, wire = rounds * latency, 2 * (rounds * latency + (ranks - 1) / ranks * size / rate)
    return CALLS + meeting + wire + 2 * size / copying


def main(what):
    comm = communicator()
    tell = print if comm is None or not comm.rank else lambda *text: None
    ranks = 1 if comm is None else comm.size
    if what == "steps":
        for name in ("dense", "cnn"):
            for batch in BATCHES:
                for compiled in (False, True):
                    median, least = time_steps(name, batch, compiled, comm)
                    engine = "C" if compiled else "NumPy"
                    tell(f"{name:6} {batch:4} {engine:6} {ranks} ranks {median:7.2f} ({least:.2f}) ms")
    elif what == "exchange":
        for parameters in (1_000, 10_000, 100_000, 1_000_000):
            median, least = time_exchange(parameters, comm)
            tell(f"{parameters:9} parameters {ranks} ranks {median:8.3f} ({least:.3f}) ms")
    elif what == "model":
        for name, (latency, rate) in NETS.items():
            for network in ("cnn", "dense", "wide"):
                count = sum(p.size for p in NETWORKS[network].parameters())
                times = ", ".join(
                    f"{p}: {1e3 * estimate(p, count, latency, rate):.2f}" for p in (2, 8, 100, 1000)
                )
                tell(f"{name}, {network} with {count} parameters, ms by ranks: {times}")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
