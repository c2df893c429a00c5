"""Training steps and inference of small networks: tensorgrad beside its peers, interleaved in one run.

    python tests/benchmarks/steps.py [FOLDER] [--rounds 12] [--only cnn,dense]

Prints a table of medians, quartiles and minima in ms, the ratio of tensorgrad's median to the peer's, and
the overhead of one op and of the import. Writes steps.json to FOLDER (default: benchmark-results), and
steps.png if matplotlib is installed. Peers that are not installed are named and left out.

Each competitor lives in a process of its own, so that allocator and threads of one do not touch another. They
take turns of a few steps in a row, so that a change of the machine's speed hits them all, with a pause before
each turn, for threads that wait for work in a busy loop to fall asleep.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import notebook_step
import numpy as np

import tensorgrad as tg

RATE = 1e-4
Step = Callable[[], object]

# Layers: ("conv", filters, size, padding), ("pool",), ("dense", outputs), "relu", "sigmoid".
NETWORKS: dict[str, tuple[tuple[int, int, int], list]] = {
    "dense": (
        (28, 28, 1),
        [("dense", 256), "sigmoid", ("dense", 256), "sigmoid", ("dense", 10), "sigmoid"],
    ),
    "cnn": (
        (28, 28, 1),
        [
            *[("conv", 16, 3, 0), ("pool",), ("conv", 32, 3, 0), ("pool",)],
            *[("dense", 128), "relu", ("dense", 64), "relu", ("dense", 10), "sigmoid"],
        ],
    ),
    "lenet5": (
        (28, 28, 1),
        [
            *[("conv", 6, 5, 2), "relu", ("pool",), ("conv", 16, 5, 0), "relu", ("pool",)],
            *[("dense", 120), "relu", ("dense", 84), "relu", ("dense", 10), "sigmoid"],
        ],
    ),
    "wide": (
        (32, 32, 3),
        [part for f in (32, 64, 128) for part in (("conv", f, 3, 1), "relu", ("pool",))]
        + [("dense", 10), "sigmoid"],
    ),
}


def sizes(shape: tuple[int, int, int], layers: list) -> Iterator[tuple]:
    """The layers with what goes into each: (kind, inputs, *options)."""
    height, width, channels = shape
    flat = 0
    for layer in layers:
        if isinstance(layer, str):
            yield (layer,)
        elif layer[0] == "conv":
            _, filters, size, padding = layer
            yield "conv", channels, filters, size, padding
            height, width = (n + 2 * padding - size + 1 for n in (height, width))
            channels = filters
        elif layer[0] == "pool":
            yield ("pool",)
            height, width = height // 2, width // 2
        else:
            if not flat:
                yield ("flatten",)
                flat = height * width * channels
            yield "dense", flat, layer[1]
            flat = layer[1]


def with_tensorgrad(shape, layers, x, y) -> tuple[Step, Step]:
    make = {
        "relu": tg.ReLU,
        "sigmoid": tg.Sigmoid,
        "flatten": tg.Flatten,
        "pool": lambda: tg.MaxPool2D(2),
        "dense": lambda i, o: tg.Dense(i, o, rng=0),
        "conv": lambda c, f, k, p: tg.Conv2D(c, f, k, padding=p, rng=0),
    }
    network = tg.Network([make[kind](*options) for kind, *options in sizes(shape, layers)])
    optimizer = tg.MiniBatchSGD(network.parameters(), RATE)

    def train() -> None:
        loss = tg.mse(network(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @tg.no_grad()
    def infer() -> object:
        return network(x)

    return train, infer


def with_torch(shape, layers, x, y, threads: int, channels_last: bool) -> tuple[Step, Step]:
    import torch
    from torch import nn

    make = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "flatten": nn.Flatten,
        "pool": lambda: nn.MaxPool2d(2),
        "dense": nn.Linear,
        "conv": lambda c, f, k, p: nn.Conv2d(c, f, k, padding=p),
    }
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = nn.Sequential(*(make[kind](*options) for kind, *options in sizes(shape, layers)))
    network = network.to(memory_format=layout)
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).contiguous(memory_format=layout)
    target, loss_of = torch.from_numpy(y), nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(network.parameters(), RATE)

    torch.set_num_threads(threads)

    def train() -> None:
        optimizer.zero_grad()
        loss_of(network(images), target).backward()
        optimizer.step()

    def infer() -> object:
        with torch.no_grad():
            return network(images)

    return train, infer


def dense_parameters(shape, layers) -> list[np.ndarray]:
    rng, kinds = np.random.default_rng(0), list(sizes(shape, layers))
    if any(kind in ("conv", "pool") for kind, *_ in kinds):
        raise NotImplementedError("only dense networks")
    pairs = [options for kind, *options in kinds if kind == "dense"]
    return [
        a.astype(np.float32) for i, o in pairs for a in (rng.uniform(-1, 1, (i, o)) / np.sqrt(i), np.zeros(o))
    ]


def with_autograd(shape, layers, x, y) -> tuple[Step, Step]:
    import autograd
    import autograd.numpy as anp

    parameters, flat = dense_parameters(shape, layers), x.reshape(len(x), -1)

    def forward(parameters):
        h = flat
        for w, b in zip(parameters[::2], parameters[1::2], strict=True):
            h = 0.5 * anp.tanh(0.5 * (anp.dot(h, w) + b)) + 0.5
        return h

    gradient = autograd.grad(lambda p: anp.sum((forward(p) - y) ** 2))

    def train() -> None:
        for p, g in zip(parameters, gradient(parameters), strict=True):
            p -= np.float32(RATE) * g

    return train, lambda: forward(parameters)


def with_mygrad(shape, layers, x, y) -> tuple[Step, Step]:
    import mygrad

    parameters, flat = [mygrad.tensor(p) for p in dense_parameters(shape, layers)], x.reshape(len(x), -1)

    def forward():
        h = flat
        for w, b in zip(parameters[::2], parameters[1::2], strict=True):
            h = 0.5 * mygrad.tanh(0.5 * (mygrad.matmul(h, w) + b)) + 0.5
        return h

    def train() -> None:
        mygrad.sum((forward() - y) ** 2).backward()
        for p in parameters:
            p.data -= np.float32(RATE) * p.grad.astype(np.float32)

    def infer() -> object:
        with mygrad.no_autodiff:
            return forward()

    return train, infer


def with_loops(shape, layers, x, y) -> tuple[Step, None]:
    name = next(name for name, network in NETWORKS.items() if network == (shape, layers))
    if name not in ("dense", "cnn") or len(x) > 32:
        raise NotImplementedError("only the notebook's networks, in small batches")
    return notebook_step.notebook_step(name, x, y), None


def with_jax(shape, layers, x, y) -> tuple[Step, Step]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    rng, kinds = np.random.default_rng(0), list(sizes(shape, layers))
    scaled = {"dense": lambda i, o: (i, o), "conv": lambda c, f, k, p: (k, k, c, f)}
    shapes = [scaled[kind](*options) for kind, *options in kinds if kind in scaled]
    state = [
        [jnp.asarray(0.1 * rng.standard_normal(s), jnp.float32), jnp.zeros(s[-1], jnp.float32)]
        for s in shapes
    ]

    def forward(parameters):
        h, rest = jnp.asarray(x), iter(parameters)
        for kind, *options in kinds:
            if kind == "conv":
                w, b = next(rest)
                pads = [(options[3], options[3])] * 2
                h = (
                    lax.conv_general_dilated(h, w, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
                    + b
                )
            elif kind == "pool":
                h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            elif kind == "dense":
                w, b = next(rest)
                h = h @ w + b
            else:
                h = {
                    "relu": jax.nn.relu,
                    "sigmoid": jax.nn.sigmoid,
                    "flatten": lambda h: h.reshape(len(h), -1),
                }[kind](h)
        return h

    @jax.jit
    def update(parameters):
        gradients = jax.grad(lambda p: jnp.sum((forward(p) - y) ** 2))(parameters)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradients)

    def train() -> None:
        state[:] = jax.block_until_ready(update(state))

    infer = jax.jit(forward)
    return train, lambda: jax.block_until_ready(infer(state))


def competitors() -> dict[str, tuple[str, Callable]]:
    """For each competitor the module it needs, and what makes its training step and inference."""
    found: dict[str, tuple[str, Callable]] = {
        "tensorgrad (tuned)": ("tensorgrad", with_tensorgrad),
        "tensorgrad": ("tensorgrad", with_tensorgrad),
    }
    for threads in sorted({1, os.cpu_count() or 1}):
        for last in (False, True):
            label = f"PyTorch {'channels_last' if last else 'default'}, {threads} thread{'s' * (threads > 1)}"
            found[label] = "torch", partial(with_torch, threads=threads, channels_last=last)
    found |= {
        "JAX jit": ("jax", with_jax),
        "autograd": ("autograd", with_autograd),
        "MyGrad": ("mygrad", with_mygrad),
        "the notebook's loops, float64": ("numpy", with_loops),
    }
    return found


def serve(connection: Any, label: str) -> None:
    """Time the steps asked for, (network, batch, training or not) -> ms of each, or None if it cannot."""
    with tg.tuned_process() if "tuned" in label else nullcontext():
        made: dict[tuple[str, int], Any] = {}
        while (asked := connection.recv()) is not None:
            name, batch, training = asked
            if (name, batch) not in made:
                rng = np.random.default_rng(1)
                x = rng.random((batch, *NETWORKS[name][0]), np.float32)
                y = np.eye(10, dtype=np.float32)[rng.integers(0, 10, batch)]
                try:
                    made[name, batch] = competitors()[label][1](*NETWORKS[name], x, y)
                except NotImplementedError:
                    made[name, batch] = None, None
            pair = made[name, batch]
            connection.send(timed(pair[0 if training else 1]))


def timed(step: Step | None) -> list[float] | None:
    """Milliseconds of steps in a row, after two to warm up; of one alone if it is slow."""
    if step is None:
        return None
    times: list[float] = []
    while len(times) < 8 and not (times and times[0] > 150):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times[2:] or times


def measure(workers: dict[str, Any], asked: tuple[str, int, bool], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for label, connection in workers.items():
            time.sleep(0.05)
            connection.send(asked)
            values = connection.recv()
            if turn and values:  # the first turn imports and compiles
                times.setdefault(label, []).extend(values)
    return times


def overheads() -> dict[str, float]:
    x = tg.Tensor(1.0, requires_grad=True)
    many, y = 1000, x
    start = time.perf_counter()
    for _ in range(many):
        y = y * x
    y.backward()
    per_op = (time.perf_counter() - start) / many
    imports = {}
    for what in ("import numpy", "import tensorgrad"):
        code = f"import time; t = time.perf_counter(); {what}; print(time.perf_counter() - t)"
        runs = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
        imports[what] = statistics.median(runs)
    return {"op forward and backward, us": 1e6 * per_op} | {f"{k}, ms": 1e3 * v for k, v in imports.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", default=",".join(NETWORKS))
    options = parser.parse_args()
    missing = [m for m in ("torch", "jax", "autograd", "mygrad") if not importlib.util.find_spec(m)]
    print(f"not installed, left out: {', '.join(missing) or 'none'}; load {os.getloadavg()[0]:.1f}")
    context, workers = multiprocessing.get_context("spawn"), {}
    for label, (module, _) in competitors().items():
        if module not in missing:
            workers[label], theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, label), daemon=True).start()
    rows = []
    for name, batch, training in product(options.only.split(","), (32, 256), (True, False)):
        kind = "training step" if training else "inference"
        print(
            f"\n{name}, batch {batch}, {kind}: median (quartiles), minimum in ms; tensorgrad (tuned) / peer"
        )
        times = measure(workers, (name, batch, training), options.rounds)
        ours = statistics.median(times["tensorgrad (tuned)"])
        for label, values in times.items():
            low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
            numbers = f"{median:9.2f} ({low:.2f} - {high:.2f})".ljust(28) + f"{min(values):9.2f}"
            print(f"  {label:32}{numbers}{ours / median:8.2f}", flush=True)
            row = {"network": name, "batch": batch, "kind": kind, "who": label, "median": median}
            rows.append(row | {"quartiles": [low, high], "minimum": min(values)})
    for connection in workers.values():
        connection.send(None)
    figures = overheads()
    print("\n" + "\n".join(f"{what}: {value:.1f}" for what, value in figures.items()))
    options.folder.mkdir(parents=True, exist_ok=True)
    result = {"load": os.getloadavg(), "missing": missing, "figures": figures, "steps": rows}
    (options.folder / "steps.json").write_text(json.dumps(result, indent=1))
    if importlib.util.find_spec("matplotlib"):
        plot([row for row in rows if row["kind"] == "training step"], options.folder / "steps.png")


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.22 * len(rows) + 1))
    axes.barh([f"{r['network']} {r['batch']}: {r['who']}" for r in rows], [r["median"] for r in rows])
    axes.set_xscale("log")
    axes.set_xlabel("median training step, ms")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
