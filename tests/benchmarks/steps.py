"""Training steps and inference of small networks: tensorgrad beside its peers, interleaved in one run.

    python tests/benchmarks/steps.py [FOLDER] [--only cnn,dense] [--who NAMES] [--rounds 12] [--quick]
        [--processor-time]

Prints tables of medians, quartiles and minima in ms, and of the ratio of tensorgrad's time to the peer's;
then the share of the machine's sgemm rate that a step reaches, the overhead of an op, the time of the import,
the peak memory of training, and all targets with what was measured. Writes steps.json to FOLDER (default:
benchmark-results), and training.png and inference.png if matplotlib is installed. Peers that are not
installed are named and left out.

Each competitor lives in a process of its own, so that allocator and threads of one do not touch another. They
take turns of a few steps in a row, so that a change of the machine's speed hits them all, with a pause before
each turn, for threads that wait for work in a busy loop to fall asleep. A whole run takes some 20 minutes.
With --quick everything is measured a little, and torch.compile, which takes minutes, is left out. With
--processor-time it is not the clock that is read, but how long processors computed: what takes one thread, of
which `--who "1 thread"` chooses the rows, can be measured on a busy machine so.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import time
from itertools import product
from pathlib import Path
from typing import Any

import machine
import overhead
import report
from networks import BATCHES, NETWORKS
from targets import targets
from workers import (
    AUTOGRAD,
    COMPETITORS,
    COMPILED,
    JAX,
    MYGRAD,
    PLAIN,
    TORCH,
    TORCH_LAST,
    TUNED,
    Case,
    Race,
    missing,
)  # fmt: skip

REMEMBERED = (PLAIN, TUNED, COMPILED, TORCH, TORCH_LAST, JAX, AUTOGRAD, MYGRAD)  # whose memory is measured


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, by name")
    parser.add_argument("--who", help="competitors, by parts of their names")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each competitor a case")
    parser.add_argument("--quick", action="store_true", help="2 rounds, no torch.compile, less of all else")
    parser.add_argument(
        "--processor-time", action="store_true", help="of all threads, instead of the clock's"
    )
    found = parser.parse_args()
    found.only = found.only.split(",")
    if unknown := set(found.only) - set(NETWORKS):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    absent = missing()
    found.labels = [
        label
        for label, competitor in COMPETITORS.items()
        if competitor.module not in absent
        and not (found.quick and label.startswith("PyTorch compiled"))
        and (found.who is None or any(part in label for part in found.who.split(",")))
    ]
    if found.quick:
        found.rounds = min(found.rounds, 2)
    return found


def sgemm(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    return machine.apart("sgemm_rates", *((1, 256) if chosen.quick else (15,)))


def write(folder: Path, result: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steps.json").write_text(json.dumps(result, indent=1))


def raced(
    chosen: argparse.Namespace,
    rows: list[dict[str, Any]],
    loads: list[float],
    rates: list[dict[str, dict[str, float]]],
) -> dict[str, str]:
    """Run and print all cases, with the machine's rate between them; returns who failed."""
    clock = time.process_time if chosen.processor_time else time.perf_counter
    with Race(chosen.labels, clock) as race:
        told: set[str] = set()
        for case in (Case(*parts) for parts in product(chosen.only, BATCHES, (True, False))):
            times = race.run(case, chosen.rounds)
            loads.append(os.getloadavg()[0])
            rates.append(sgemm(chosen))
            here = report.rows_of(case, times)
            rows += here
            report.show_case(case, here)
            for label in race.silent.keys() - told:
                print(f"  {label} left out from here on: {race.silent[label]}")
            told |= race.silent.keys()
        return race.silent


def main() -> None:
    chosen = options()
    print(f"not installed, left out: {', '.join(missing()) or 'none'}")
    result: dict[str, Any] = {"machine": machine.description(), "missing": missing()}
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))
    steps: list[dict[str, Any]] = []
    loads = [os.getloadavg()[0]]
    measured = [sgemm(chosen)]
    result["failed"] = raced(chosen, steps, loads, measured)
    rates = {
        threads: {key: max(found[threads][key] for found in measured) for key in of}
        for threads, of in measured[0].items()
    }
    result |= {"steps": steps, "sgemm": rates, "loads": loads}
    write(chosen.folder, result)  # should anything fail after the long part
    cases = [
        (f"{name} {batch}", NETWORKS[name].flops(batch), name, batch)
        for name, batch in product(chosen.only, BATCHES)
    ]
    flops = {key: count for key, count, _, _ in cases}
    result["shares"] = {
        key: report.shares_of(
            [row for row in steps if row["training"] and (row["network"], row["batch"]) == (name, batch)],
            count,
            rates,
        )
        for key, count, name, batch in cases
    }
    report.show_shares(result["shares"], rates, flops)
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # PyTorch stays out of this process
        result["overhead"] = pool.apply(overhead.measure, (30 if chosen.quick else 300,))
    print()
    overhead.show(result["overhead"])
    result["import"] = machine.import_times(1 if chosen.quick else 30)
    report.show_imports(result["import"])
    batches = BATCHES[:1] if chosen.quick else BATCHES
    result["memory"] = [
        {"network": name, "batch": batch, "who": who, **machine.apart("training_memory", who, name, batch)}
        for name, batch in product(chosen.only, batches)
        for who in REMEMBERED
        if who in chosen.labels and name in COMPETITORS[who].networks
    ]
    report.show_memory(result["memory"])
    found = targets(result)
    report.show_targets(found)
    print(f"\n{report.load_during(loads)} on {result['machine']['cores']} cores")
    result["targets"] = [target.as_row() for target in found]
    write(chosen.folder, result)
    if importlib.util.find_spec("matplotlib"):
        for kind, training in (("training step", True), ("inference", False)):
            rows = [row for row in steps if row["training"] is training]
            report.plot_steps(rows, chosen.folder / f"{kind.split()[0]}.png", kind.capitalize())
    else:
        print("matplotlib is not installed: no plots")


if __name__ == "__main__":
    main()
