"""Where the time of a compiled training step goes: each op in place, on one thread, beside its arithmetic.

    python tests/benchmarks/profile_compiled.py [--network cnn] [--batch 32] [--steps 300]

The generated C is told to read its clock of processor time where an op begins; medians over steps. Beside
sums of products it prints the time that their arithmetic takes at the best rate of sgemm on one core.
"""

import argparse
import ctypes
import math
import re
import statistics

import machine
from competitors import with_compiled
from networks import NETWORKS

from tensorgrad.graph.native import toolchain, variant

CLOCK = """
double spent[MOST_PARTS];
static void tick(int next) {
  static int now;
  static double since;
  const double time = find_time(CLOCK_THREAD_CPUTIME_ID);
  spent[now] += time - since;
  since = time;
  now = next;
}
"""
OP, LOAD = re.compile(r" +// (\w+): (.*)"), re.compile(r" +(load|store)\((\w+)")
SUMS = re.compile(r"sums (?:of (\d+) products|over all samples)[^,]*, ([\dx ]+)")


def add_clocks(source: str) -> tuple[str, list[tuple[str, str]]]:
    """The source with a clock, and names and descriptions of what it tells apart; first all other time."""
    table = re.search(r"phases\[PHASES\] = \{(.*)\};", source)
    parts = [("outside", "")] + [
        (name, "") for name in re.findall(r"\{(\w+), \d+\}", table[1] if table else "")
    ]
    lines, inside = [], ""
    for line in source.splitlines():
        if found := re.match(r"static void (blocks_\d+|plain_\d+|\w+shared)\(", line):
            inside = found[1]
        op = (OP.match(line) or LOAD.match(line)) if inside else None
        if op:
            parts.append((op[1], op[2]))
            lines.append(f"  tick({len(parts) - 1});")
        if inside and line == "}":
            lines.append("  tick(0);")
            inside = ""
        lines.append(line)
    text = "\n".join(lines).replace("static void open_phase(", f"{CLOCK}\nstatic void open_phase(", 1)
    call = "phase->carry_out((int)unit, thread);"
    text = text.replace(call, f"{{ tick((int)(phase - phases) + 1); {call} tick(0); }}")
    return text.replace("MOST_PARTS", str(len(parts))), parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", default="cnn", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    parts: list[tuple[str, str]] = []
    built = []

    def build(source: str) -> toolchain.Built:
        text, parts[:] = add_clocks(source)
        built.append(toolchain.build(text))
        return built[-1]

    variant.build = build
    network = NETWORKS[chosen.network]
    made = with_compiled(network, *network.batch(chosen.batch), threads=1)
    made.train()
    spent = (ctypes.c_double * len(parts)).in_dll(built[0].functions, "spent")
    times = []
    for _ in range(chosen.steps):
        before = list(spent)
        made.train()
        times.append([1e3 * (b - a) for a, b in zip(before, spent, strict=True)])
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    rate = machine.apart("sgemm_rates", 15, 1024, "thread_time")["1 thread"]["best"]
    print(f"{chosen.network}, batch {chosen.batch}: ms of a step on one thread; sgemm {rate:.0f} GFLOP/s")
    for time, (name, what) in sorted(zip(medians[1:], parts[1:], strict=True), reverse=True):
        limit = ""
        if found := SUMS.match(what):
            each = math.prod(map(int, found[2].split("x")))
            limit = f"{2e-6 * each * int(found[1] or 1) * chosen.batch / rate:10.3f}"
        if time >= 0.002:
            print(f"  {time:8.3f}{limit:10}  {name}: {what}")
    print(f"  {sum(medians[1:]):8.3f}{network.flops(chosen.batch) / rate / 1e6:10.3f}  all")


if __name__ == "__main__":
    main()
