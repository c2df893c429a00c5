"""What one op costs beside its arithmetic: forward and backward on one element, tensorgrad beside PyTorch.

    python tests/benchmarks/overhead.py

Chains of 50 ops are built and differentiated; the two take turns, and medians are compared. PyTorch runs in
its eager mode, in one thread; where it is not installed, its column is empty.
"""

import statistics
import time

import numpy as np

import tensorgrad as tg

LENGTH = 50
OPS = {  # the first argument is the library
    "x * y": lambda lib, x, y: x * y,
    "x * 2.0": lambda lib, x, y: x * 2.0,
    "x + y": lambda lib, x, y: x + y,
    "exp": lambda lib, x, y: lib.exp(x),
    "tanh": lambda lib, x, y: lib.tanh(x),
    "sigmoid": lambda lib, x, y: lib.sigmoid(x),
    "relu": lambda lib, x, y: lib.relu(x),
    "reshape": lambda lib, x, y: x.reshape(1, 1)[0],
    "x @ y": lambda lib, x, y: x.reshape(1, 1) @ y.reshape(1, 1),
}


def timed(step, library, x):
    """Microseconds an op of the chain, forward and backward."""
    start = time.perf_counter()
    out = x
    for _ in range(LENGTH):
        out = step(library, out, x)
    out.sum().backward()
    return 1e6 * (time.perf_counter() - start) / LENGTH


def measure(rounds=300):
    """Medians in microseconds, by op and library."""
    sides = {"tensorgrad": (tg, tg.Tensor([-0.01], requires_grad=True))}
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(1)
        sides["PyTorch"] = torch, torch.full((1,), -0.01, requires_grad=True)
    found = {}
    with np.errstate(over="ignore"):
        for name, step in OPS.items():
            runs = [[timed(step, *side) for side in sides.values()] for _ in range(rounds)]
            columns = zip(*runs[rounds // 15 :], strict=True)
            found[name] = dict(zip(sides, map(statistics.median, columns), strict=True))
    return found


def show(found):
    print(f"{'microseconds an op':20}{'tensorgrad':>11}{'PyTorch':>9}{'ratio':>7}")
    ratios = []
    for name, row in found.items():
        if "PyTorch" in row:
            ratios.append(row["tensorgrad"] / row["PyTorch"])
            print(f"{name:20}{row['tensorgrad']:11.2f}{row['PyTorch']:9.2f}{ratios[-1]:7.2f}")
        else:
            print(f"{name:20}{row['tensorgrad']:11.2f}{'-':>9}{'-':>7}")
    if ratios:
        print(f"{'geometric mean':20}{np.exp(np.mean(np.log(ratios))):27.2f}")


if __name__ == "__main__":
    show(measure())
