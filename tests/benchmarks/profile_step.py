"""Where the time of one training step goes: each op forward and each of its vjps, in place in real steps.

    python tests/benchmarks/profile_step.py [FOLDER] [--network cnn] [--batch 32] [--steps 200] [--plain]

Prints a table sorted by time, beside two limits: the arithmetic of a product or convolution at the machine's
sgemm rate, and the bytes that the op must read and write once at the rate of copying arrays of that size. The
rates are measured first. What is left of a step is the graph: recording, the walk, the layers' checks. Writes
profile-NETWORK-BATCH.json to FOLDER (default: benchmark-results), and a plot if matplotlib is installed.

All figures are means over the quieter half of the steps with clocks, so that they add up to a step (medians
do not); what the clocks themselves cost is measured and left out. Steps without clocks take turns with them,
for comparison; they may take less, for with clocks the formulas of large products take turns instead of
running side by side. The process is tuned as `Network.fit` does it, unless --plain is given.
"""

import argparse
import dis
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
from competitors import with_tensorgrad
from networks import NETWORKS

import tensorgrad as tg
from tensorgrad.core import engine
from tensorgrad.core.operators import OPS
from tensorgrad.nn import tuned_process


@dataclass
class Part:
    """A piece of the step: an op's forward or the vjp of one argument, or what is beside the ops."""

    what: str
    shape: str
    ms: float
    share: float
    arithmetic_ms: float | None = None
    memory_ms: float | None = None


@dataclass(frozen=True)
class Call:
    """A call of an op's forward or of a formula in a step."""

    what: str
    shape: str
    flops: float
    moved: int  # bytes


class Clocks:
    """Puts clocks around forwards and formulas for the time of a block."""

    def __init__(self, describe: bool = False) -> None:
        self.describe = describe
        self.calls: list[Call] = []  # filled if they are to be described
        self.seconds: list[float] = []
        self.inside = False

    @contextmanager
    def running(self) -> Iterator["Clocks"]:
        before = [(op, op.forward, op.formulas, op.joint) for op in OPS.values()]
        together, engine.LARGE_PRODUCT = engine.LARGE_PRODUCT, sys.maxsize  # one clock at a time
        self.calls, self.seconds = [], []
        for op, forward, formulas, joint in before:
            op.forward = self.around(forward, op.name, f"{op.name} forward")
            vjps = zip(op.arrays, formulas, strict=True)
            op.formulas = [f and self.around(f, op.name, f"{op.name} vjp of {name}") for name, f in vjps]
            op.joint = joint and self.around(joint, op.name, f"{op.name} vjps")
        try:
            yield self
        finally:
            for op, forward, formulas, joint in before:
                op.forward, op.formulas, op.joint = forward, formulas, joint
            engine.LARGE_PRODUCT = together

    def around(self, function: Callable[..., Any], op: str, what: str) -> Callable[..., Any]:
        def clocked(*args: Any, **params: Any) -> Any:
            if self.inside:  # an op in a formula is part of the formula
                return function(*args, **params)
            self.inside = True
            start = time.perf_counter()
            try:
                out = function(*args, **params)
            finally:
                self.seconds.append(time.perf_counter() - start)
                self.inside = False
            if self.describe:
                self.calls.append(_described(function, op, what, args, out))
            return out

        return clocked

    def cost(self) -> float:
        """Seconds that one clock adds to a step, outside of what it measures."""
        clocked = self.around(lambda x: x, "", "nothing")
        many = 20000
        start = time.perf_counter()
        for _ in range(many):
            clocked(None)
        total = time.perf_counter() - start
        inside = sum(self.seconds[-many:])
        self.seconds = []
        return (total - inside) / many


def _described(function: Callable[..., Any], op: str, what: str, args: Any, out: Any) -> Call:
    if what.endswith("forward"):
        return Call(what, _shape(out), _flops(op, what, args, out), _moved(args, out))
    used = _read_by(function)
    read = [x for i, x in enumerate(args) if i in used]
    return Call(what, _shape(out), _flops(op, what, args[2:], args[1]), _moved(read, out))


def _read_by(formula: Callable[..., Any]) -> set[int]:
    """The positions of the arguments that a formula mentions: it need not read the others."""
    code = getattr(formula, "__code__", None)
    if code is None:
        return {0}
    names = code.co_varnames[: code.co_argcount]
    mentioned: set[Any] = set()
    for line in dis.get_instructions(code):
        if line.opname.startswith("LOAD_FAST"):
            mentioned.update(line.argval if isinstance(line.argval, tuple) else (line.argval,))
    return {i for i, name in enumerate(names) if name in mentioned}


def _arrays(values: Any) -> list[np.ndarray]:
    return [
        x for x in (values if isinstance(values, (tuple, list)) else (values,)) if isinstance(x, np.ndarray)
    ]


def _shape(out: Any) -> str:
    return " ".join(str(x.shape) for x in _arrays(out))


def _moved(read: Any, out: Any) -> int:
    """Bytes that must be read and written; none for a view."""
    arrays, results = _arrays(list(read)), _arrays(out)
    if any(np.may_share_memory(x, result) for x in arrays for result in results):
        return 0
    return sum(x.nbytes for x in arrays) + sum(x.nbytes for x in results)


def _flops(op: str, what: str, inputs: Any, result: Any) -> float:
    """Of the products; a vjp with respect to an array argument needs as many as the forward."""
    if what.endswith("bias"):
        return 0.0
    if op == "conv2d":
        return 2.0 * result.size * inputs[1].size / len(inputs[1])
    if op == "matmul":
        return 2.0 * result.size * inputs[0].shape[-1]
    return 0.0


def profile(name: str, batch: int, steps: int) -> tuple[list[Part], dict[str, float]]:
    """The parts of a training step, and figures of the whole."""
    rate = max(found["median"] for found in machine.sgemm_rates(min(steps, 15)).values())
    copies = machine.copy_rates(30)
    network = NETWORKS[name]
    made = with_tensorgrad(network, *network.batch(batch))
    with Clocks(describe=True).running() as described:
        made.train()
    calls = described.calls
    clocks = Clocks()
    cost = clocks.cost()
    update = tg.MiniBatchSGD.step
    tg.MiniBatchSGD.step = clocks.around(update, "", "update")  # type: ignore[method-assign]
    bare, runs = [], []
    try:
        for turn in range(steps + 5):
            start = time.perf_counter()
            made.train()
            middle = time.perf_counter()
            with clocks.running():
                begin = time.perf_counter()
                made.train()
                total = time.perf_counter() - begin - cost * len(clocks.seconds)
            if turn >= 5:  # the first warm up
                bare.append(middle - start)
                runs.append([*clocks.seconds, total - sum(clocks.seconds)])
    finally:
        tg.MiniBatchSGD.step = update  # type: ignore[method-assign]
    size = sum(value.nbytes for value in made.parameters())
    calls += [
        Call("update of the parameters", "", 0.0, 3 * size),
        Call("the rest: graph and layers", "", 0.0, 0),
    ]
    quiet = sorted(runs, key=sum)[: (len(runs) + 1) // 2]
    seconds = [statistics.fmean(column) for column in zip(*quiet, strict=True)]
    parts = []
    for call, value in zip(calls, seconds, strict=True):
        arithmetic = call.flops / rate / 1e6 if call.flops else None
        memory = _copy_ms(call.moved, copies) if call.moved else None
        parts.append(Part(call.what, call.shape, 1e3 * value, value / sum(seconds), arithmetic, memory))
    parts.sort(key=lambda part: -part.ms)
    figures = {
        "step with clocks, ms": 1e3 * sum(seconds),
        "steps without: median": 1e3 * statistics.median(bare),
        "quieter half": 1e3 * statistics.fmean(sorted(bare)[: (len(bare) + 1) // 2]),
        "minimum": 1e3 * min(bare),
        "sgemm, GFLOP/s": rate,
        "arithmetic of the step at that rate, ms": network.flops(batch) / rate / 1e6,
    }
    return parts, figures


def _copy_ms(moved: int, rates: dict[int, float]) -> float:
    """At the rate measured for the nearest size."""
    nearest = min(rates, key=lambda size: abs(np.log(size / moved)))
    return moved / rates[nearest] / 1e6


def show(parts: list[Part], figures: dict[str, float]) -> None:
    print("  " + "; ".join(f"{key} {value:.3g}" for key, value in figures.items()))
    print(f"  {'':36}{'result':24}{'ms':>9}{'share':>8}{'arithmetic':>12}{'memory':>9}{'/ limit':>9}")
    for part in parts:
        limit = max(part.arithmetic_ms or 0, part.memory_ms or 0)
        line = f"  {part.what:36}{part.shape:24}{part.ms:9.4f}{100 * part.share:7.1f}%"
        line += f"{part.arithmetic_ms:12.4f}" if part.arithmetic_ms is not None else f"{'-':>12}"
        line += f"{part.memory_ms:9.4f}" if part.memory_ms is not None else f"{'-':>9}"
        print(line + (f"{part.ms / limit:9.1f}" if limit else f"{'-':>9}"))


def plot(parts: list[Part], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [part for part in parts if part.share >= 0.002]
    figure, axes = plt.subplots(figsize=(10, 0.28 * len(shown) + 1.3))
    places = np.arange(len(shown))
    axes.barh(places, [part.ms for part in shown], color="tab:orange", label="measured")
    limits = [("arithmetic_ms", "tab:blue", "arithmetic limit"), ("memory_ms", "black", "memory limit")]
    for field, color, label in limits:
        values = [getattr(part, field) or np.nan for part in shown]
        axes.plot(values, places, "|", color=color, markersize=13, markeredgewidth=2, label=label)
    axes.set_yticks(places, [f"{part.what}  {part.shape}".strip() for part in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--network", choices=NETWORKS, default="cnn")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--plain", action="store_true", help="do not tune the process")
    chosen = parser.parse_args()
    with nullcontext() if chosen.plain else tuned_process():
        parts, figures = profile(chosen.network, chosen.batch, chosen.steps)
    title = f"{chosen.network}, batch {chosen.batch}, {'plain' if chosen.plain else 'tuned'}"
    print(f"{title}: {chosen.steps} training steps")
    show(parts, figures)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    stem = f"profile-{chosen.network}-{chosen.batch}" + "-plain" * chosen.plain
    result = {"case": title, "figures": figures, "parts": [asdict(part) for part in parts]}
    (chosen.folder / f"{stem}.json").write_text(json.dumps(result, indent=1))
    if importlib.util.find_spec("matplotlib"):
        plot(
            parts,
            f"{title}: a training step of {figures['step with clocks, ms']:.3g} ms",
            chosen.folder / f"{stem}.png",
        )


if __name__ == "__main__":
    main()
