"""What the second thread costs where it cannot help: compiled code beside a program that keeps a core busy.

    python tests/benchmarks/busy.py [--rounds 8] [--steps 150]

Prints, for some steps, the mean on two threads beside that on one, which take turns. The mean counts: a step
that waits for a helper without a processor is rare and long. Pinning the program needs Linux.
"""

import argparse
import os
import subprocess
import sys
import time

from competitors import with_compiled
from networks import NETWORKS

CASES = (("dense", 32, True), ("dense", 256, True), ("cnn", 32, True), ("cnn", 32, False))


def compare(name: str, batch: int, training: bool, rounds: int, steps: int) -> tuple[float, float]:
    """Mean ms on one thread and on two."""
    network, seconds = NETWORKS[name], [0.0, 0.0]
    made = [with_compiled(network, *network.batch(batch), threads=n) for n in (1, 2)]
    calls = [its.train if training else its.infer for its in made]
    for turn in range(rounds + 1):
        for k, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(steps):
                call()
            seconds[k] += (time.perf_counter() - start) * bool(turn)  # the first turn compiles
    alone, together = (1e3 * s / rounds / steps for s in seconds)
    return alone, together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    chosen = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    forever = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", forever]) as busy:
        try:
            for name, batch, training in CASES:
                alone, together = compare(name, batch, training, chosen.rounds, chosen.steps)
                what = f"{name}, batch {batch}, {'training step' if training else 'inference'}"
                print(
                    f"{what:30} 1 thread {alone:.3f} ms, 2 threads {together:.3f}: {together / alone:.2f}",
                    flush=True,
                )
        finally:
            busy.terminate()


if __name__ == "__main__":
    main()
