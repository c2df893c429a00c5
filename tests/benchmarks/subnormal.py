"""What steps with too small gradients cost: a dense network of sigmoids, the more certain its outputs are.

    python tests/benchmarks/subnormal.py

The network has 784, 30 and 10 units, a batch 32 rows of which none is of any class, and the logits are near
the number at the left. Medians in milliseconds of processor time: of steps by NumPy, from the squared error
of sigmoids; of the same steps compiled; and by NumPy, from the cross-entropy of logits. The share is that of
the numbers in the first layer's gradient that are subnormal, for the squared error.
"""

import statistics
import time

import numpy as np

import tensorgrad as tg


def network(logit, *last):
    layers = [tg.Dense(784, 30, rng=0), tg.Sigmoid(), tg.Dense(30, 10, rng=1), *last]
    layers[2].bias.data = np.full(10, logit, np.float32)
    return tg.Network(layers)


def milliseconds(step, steps=60):
    times = []
    for _ in range(steps):
        start = time.process_time()
        step()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times[steps // 6 :])


def measure(logit):
    x, none = np.random.default_rng(0).random((32, 784), np.float32), np.zeros((32, 10), np.float32)

    def by_numpy(trained, loss):
        optimizer = tg.MiniBatchSGD(trained.parameters(), 1e-6)

        def step():
            optimizer.zero_grad()
            loss(trained(x), none).backward()
            optimizer.step()

        return milliseconds(step)

    squared, logits = network(logit, tg.Sigmoid()), network(logit)
    first = by_numpy(squared, tg.mse)
    gradient = np.abs(squared.layers[0].weights.grad)
    share = np.mean((gradient > 0) & (gradient < np.finfo(np.float32).smallest_normal))
    optimizer = tg.MiniBatchSGD(squared.parameters(), 1e-6)
    compiled = tg.compile(lambda x, y: tg.mse(squared(x), y), optimizer=optimizer, threads=1)
    return share, first, milliseconds(lambda: compiled(x, none)), by_numpy(logits, tg.binary_cross_entropy)


if __name__ == "__main__":
    print(f"{'logits':>7}{'share':>8}{'NumPy':>8}{'compiled':>10}{'from logits':>13}")
    for logit in (0, -30, -40, -44, -46, -48, -50, -60):
        share, *times = measure(logit)
        print("{:7}{:8.0%}{:8.2f}{:10.2f}{:13.2f}".format(logit, share, *times))
