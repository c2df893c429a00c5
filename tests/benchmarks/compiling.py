"""What it takes to compile a training step: time when the C is in the cache, and memory beside NumPy's.

    python tests/benchmarks/compiling.py [--only cnn,wide]

The time is that of processors, in ms, from the first call of a function to its first step, which is told
apart; the least of several functions. The memory is the most that a process held in 30 steps, in MiB.
"""

import argparse
import time
from itertools import product

import machine
from competitors import with_compiled
from networks import BATCHES, NETWORKS
from workers import COMPILED, PLAIN

from tensorgrad.graph.native import variant

PARTS = {"recorded": "expand_alike", "planned": "plan_program", "written": "write_c", "loaded": "build"}


def time_parts(name: str, batch: int, repeats: int) -> dict[str, float]:
    """Milliseconds of each part of a first call, and of it all; the library has been compiled before."""
    network, least = NETWORKS[name], dict.fromkeys([*PARTS, "first step", "all"], float("inf"))
    given = network.batch(batch)
    with_compiled(network, *given, threads=1).train()
    own = {part: getattr(variant, function) for part, function in PARTS.items()}
    spent: dict[str, float] = {}

    def measured(part):
        def call(*args):
            start = time.process_time()
            result = own[part](*args)
            spent[part] = 1e3 * (time.process_time() - start)
            return result

        return call

    try:
        for part, function in PARTS.items():
            setattr(variant, function, measured(part))
        for _ in range(repeats):
            made = with_compiled(network, *given, threads=1)
            start = time.process_time()
            made.train()
            spent["all"] = 1e3 * (time.process_time() - start)
            spent["first step"] = spent["all"] - sum(spent[part] for part in PARTS)
            least = {part: min(before, spent[part]) for part, before in least.items()}
    finally:
        for part, function in PARTS.items():
            setattr(variant, function, own[part])
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, by name")
    for name, batch in product(parser.parse_args().only.split(","), BATCHES):
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in time_parts(name, batch, 7).items())
        print(f"{name}, batch {batch}, ms from the cache: {parts}")
        peaks = (
            f"{who} {machine.apart('training_memory', who, name, batch)['peak']:.0f}"
            for who in (PLAIN, COMPILED)
        )
        print(f"{name}, batch {batch}, MiB at the peak: {', '.join(peaks)}", flush=True)


if __name__ == "__main__":
    main()
