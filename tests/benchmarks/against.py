"""This checkout beside another one: the ratio of the times of ops, training steps and the import.

    python tests/benchmarks/against.py OTHER_CHECKOUT [--rounds 200] [--only NAME ...]

Prints a table of ratios, this checkout's time to the other's: the median over the rounds, the quartiles, and
the ratio of the minima, with these in milliseconds a turn. 1.00 is as fast, less is faster.

Each checkout lives in a process of its own, kept to one thread, where PYTHONPATH names it first. The two take
turns of a millisecond or so, the first of a round being now the one, now the other, so that a change of the
machine's speed hits both. Imports are timed in fresh processes, where NumPy has been imported before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve()
IMPORT = "import numpy, time; t = time.perf_counter(); import tensorgrad; print(time.perf_counter() - t)"
STEPS = {  # the first argument is the library
    "x * y": lambda lib, x, y: x * y,
    "x * 2.0": lambda lib, x, y: x * 2.0,
    "tanh": lambda lib, x, y: lib.tanh(x),
    "relu": lambda lib, x, y: lib.relu(x),
    "sum": lambda lib, x, y: x.sum(axis=0, keepdims=True),
    "x @ y": lambda lib, x, y: x @ y,
    "reshape": lambda lib, x, y: x.reshape(1, 1),
}


def cases() -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and how often in a turn; the library is the one that this process finds."""
    import numpy as np
    from competitors import with_tensorgrad
    from networks import NETWORKS, NOTEBOOK

    import tensorgrad as tg

    x, y = (tg.Tensor([[value]], requires_grad=True) for value in (-0.01, 0.02))

    def chain(step: Callable[..., tg.Tensor], length: int) -> None:
        out = x
        for _ in range(length):
            out = step(tg, out, y)
        out.backward()

    found: dict[str, tuple[Callable[[], object], int]] = {}
    for name, step in STEPS.items():
        found[f"{name}, forward"] = (lambda step=step: step(tg, x, y)), 50
        found[f"{name}, forward and backward"] = (lambda step=step: chain(step, 1)), 20
        found[f"{name}, chain of 50"] = (lambda step=step: chain(step, 50)), 2
    found["x * 2.0 of arrays"] = (lambda: tg.multiply(x.data, 2.0)), 50
    found["second derivative"] = (lambda: tg.grad(tg.grad(lambda x: x * np.exp(x)))(0.5)), 4
    for name in NOTEBOOK:
        made = with_tensorgrad(NETWORKS[name], *NETWORKS[name].batch(32))
        found[f"{name} network, training step"] = made.train, 1
        found[f"{name} network, inference"] = made.infer, 1
    return found


def serve() -> None:
    """Time the case of each line that comes, and answer with the seconds."""
    found = cases()
    print(json.dumps(list(found)), flush=True)
    for line in sys.stdin:
        run, count = found[line.strip()]
        start = time.perf_counter()
        for _ in range(count):
            run()
        print(time.perf_counter() - start, flush=True)


def show(name: str, measure: Callable[[int], float], rounds: int) -> None:
    """Let the two take turns, and print the ratios; the first rounds warm up."""
    turns = [{i: measure(i) for i in ((0, 1), (1, 0))[turn % 2]} for turn in range(rounds)][rounds // 10 :]
    low, median, high = statistics.quantiles([turn[0] / turn[1] for turn in turns], n=4)
    least = [min(turn[i] for turn in turns) for i in (0, 1)]
    row = f"{name:31}{median:7.3f}  ({low:.3f} - {high:.3f}){least[0] / least[1]:8.3f}"
    print(f"{row}{1e3 * least[0]:9.3f}{1e3 * least[1]:9.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="how the names begin")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        common = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        common |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        paths = (HERE.parents[2], chosen.other.resolve())
        environments = [os.environ | common | {"PYTHONPATH": str(path)} for path in paths]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, str(HERE), "--serve"]
        workers = [subprocess.Popen(command, env=each, **pipes) for each in environments]
        names, _ = (json.loads(worker.stdout.readline()) for worker in workers)

        def measure(name: str, i: int) -> float:
            if name not in names:
                return float(subprocess.check_output([sys.executable, "-c", IMPORT], env=environments[i]))
            print(name, file=workers[i].stdin, flush=True)
            return float(workers[i].stdout.readline())

        print(f"{'this / other':31}{'median':>7}  {'quartiles':15}{'minima':>8}{'ms':>9}{'ms':>9}")
        for name in [*names, "import after numpy"]:
            if name.startswith(tuple(chosen.only)):
                show(name, partial(measure, name), chosen.rounds if name in names else chosen.rounds // 5)
        for worker in workers:
            worker.communicate()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
