"""What one op costs beside its arithmetic: forward and backward on one element, tensorgrad beside PyTorch.

    python tests/benchmarks/overhead.py

Chains of 50 ops are built and differentiated; the two take turns, and medians are compared. PyTorch runs in
its eager mode, in one thread.
"""

import statistics
import time

import numpy as np

import tensorgrad as tg

try:
    import torch
except ImportError:
    torch = None

LENGTH, ROUNDS = 50, 300
OPS = {
    "x * y": (lambda x, y: x * y, lambda x, y: x * y),
    "x * 2.0": (lambda x, y: x * 2.0, lambda x, y: x * 2.0),
    "x + y": (lambda x, y: x + y, lambda x, y: x + y),
    "exp": (lambda x, y: tg.exp(x), lambda x, y: torch.exp(x)),
    "tanh": (lambda x, y: tg.tanh(x), lambda x, y: torch.tanh(x)),
    "sigmoid": (lambda x, y: tg.sigmoid(x), lambda x, y: torch.sigmoid(x)),
    "relu": (lambda x, y: tg.relu(x), lambda x, y: torch.relu(x)),
    "reshape": (lambda x, y: x.reshape(1, 1)[0], lambda x, y: x.reshape(1, 1)[0]),
    "x @ y": (lambda x, y: x.reshape(1, 1) @ y.reshape(1, 1), lambda x, y: x.reshape(1, 1) @ y.reshape(1, 1)),
}


def chain(step, x):
    out = x
    for _ in range(LENGTH):
        out = step(out, x)
    return out.sum()


def timed(step, x):
    start = time.perf_counter()
    chain(step, x).backward()
    return 1e6 * (time.perf_counter() - start) / LENGTH


def main():
    if torch is None:
        raise SystemExit("overhead.py compares with PyTorch, which is not installed")
    torch.set_num_threads(1)
    ours, theirs = tg.Tensor([-0.01], requires_grad=True), torch.full((1,), -0.01, requires_grad=True)
    print(f"{'microseconds an op':20}{'tensorgrad':>11}{'PyTorch':>9}{'ratio':>7}")
    ratios = []
    for name, (step, torch_step) in OPS.items():
        pairs = [(timed(step, ours), timed(torch_step, theirs)) for _ in range(ROUNDS)]
        mine, other = (statistics.median(column) for column in zip(*pairs[20:], strict=True))
        ratios.append(mine / other)
        print(f"{name:20}{mine:11.2f}{other:9.2f}{ratios[-1]:7.2f}")
    print(f"{'geometric mean':20}{np.exp(np.mean(np.log(ratios))):27.2f}")


if __name__ == "__main__":
    with np.errstate(over="ignore"):
        main()
