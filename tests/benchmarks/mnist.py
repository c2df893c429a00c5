"""The notebook's convolutional network trained on MNIST: tensorgrad compiled, in NumPy, and PyTorch.

    python tests/benchmarks/mnist.py FOLDER [--epochs 20] [--threads 1] [--only compiled,numpy,pytorch]

FOLDER holds the four files of MNIST. Each training runs in a process of its own, one after the other, on as
many threads; batches of 32, rate 0.01, the sum of squared errors, Glorot's initial weights. Prints the
accuracy on test images, seconds, and seconds of processor time, which others on the machine hardly change.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = ("compiled", "numpy", "pytorch")
BATCH, RATE = 32, 0.01


def sum_of_squares(prediction: Any, target: Any) -> Any:
    import tensorgrad as tg

    return tg.mse(prediction, target, reduction="sum")


def train_tensorgrad(data: Any, epochs: int, compiled: bool) -> np.ndarray:
    """Train; the outputs for the test images."""
    import tensorgrad as tg

    network = tg.convolutional_network(data.x_train.shape[1:], 10, rng=0)
    network.use(sum_of_squares)
    target = np.eye(10, dtype=np.float32)[data.y_train]
    network.fit(data.x_train, target, epochs, RATE, BATCH, seed=0, verbose=False, compile=compiled)
    return network.predict(data.x_test, compile=compiled)


def train_pytorch(data: Any, epochs: int, threads: int) -> np.ndarray:
    """The same, with images in channels_last, PyTorch's fastest layout here."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    convolutions = nn.Conv2d(1, 16, 3), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.MaxPool2d(2), nn.Flatten()
    dense = nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10), nn.Sigmoid()
    model = nn.Sequential(*convolutions, *dense)
    for part in model:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    model = model.to(memory_format=torch.channels_last)
    x, x_test = (
        torch.tensor(a.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
        for a in (data.x_train, data.x_test)
    )
    target, loss_of = torch.eye(10)[torch.tensor(data.y_train)], nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss_of(model(x[rows]), target[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return model(x_test).numpy()


def run(engine: str, folder: Path, epochs: int, threads: int) -> None:
    from tensorgrad.data import load

    data = load("mnist", folder)
    start, processor = time.perf_counter(), time.process_time()
    if engine == "pytorch":
        outputs = train_pytorch(data, epochs, threads)
    else:
        outputs = train_tensorgrad(data, epochs, engine == "compiled")
    took = time.perf_counter() - start, time.process_time() - processor
    accuracy = float(np.mean(outputs.argmax(axis=1) == data.y_test))
    print(f"{engine:9} accuracy {accuracy:.4f}  {took[0]:7.1f} s  processor {took[1]:7.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(ENGINES), help="engines, by name")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    chosen = parser.parse_args()
    for engine in chosen.only.split(","):
        if chosen.here:
            run(engine, chosen.folder, chosen.epochs, chosen.threads)
            continue
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        command = [sys.executable, __file__, *sys.argv[1:], "--only", engine, "--here"]
        subprocess.run(command, env=os.environ | dict.fromkeys(names, str(chosen.threads)), check=True)


if __name__ == "__main__":
    main()
