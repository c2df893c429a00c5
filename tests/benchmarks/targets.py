"""What tensorgrad set out to reach, beside what was measured."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from networks import BATCHES, CONVOLUTIONAL, NOTEBOOK
from workers import (
    ALONE,
    AUTOGRAD,
    COMPILED,
    COMPILED_ALONE,
    COMPILED_FIT,
    COMPILED_LOOP,
    JAX,
    LOOPS,
    MYGRAD,
    PLAIN,
    TORCH,
    TUNED,
)  # fmt: skip

#: Compiled steps to PyTorch's best, at batch 32 and 256; one thread to one at most `ALONE_MORE` above.
COMPILED_STEPS = {"cnn": (0.45, 0.55), "dense": (0.55, 0.8), "lenet5": (0.5, 0.6), "wide": (0.8, 0.9)}
COMPILED_INFERENCE = {"cnn": (0.5, 0.5), "lenet5": (0.5, 0.5)}
ALONE_MORE = 0.1


@dataclass(frozen=True)
class Target:
    """A figure and its bound; None where it was not measured. ``others`` does not count for the verdict."""

    what: str
    figure: float | None
    bound: float
    at_most: bool = True
    unit: str = ""
    others: str = ""

    @property
    def verdict(self) -> str:
        if self.figure is None:
            return "not measured"
        met = self.figure <= self.bound if self.at_most else self.figure >= self.bound
        return "met" if met else "NOT MET"

    def as_row(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


class Steps:
    """Times of training steps or of inference, by network, batch and competitor."""

    def __init__(self, rows: list[dict[str, Any]], training: bool = True) -> None:
        self.times: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
        for row in rows:
            if row["training"] is training:
                self.times.setdefault((row["network"], row["batch"]), {})[row["who"]] = row

    def ratio(self, name: str, batch: int, who: str, ours: str = TUNED, of: str = "median") -> float | None:
        rows = self.times.get((name, batch), {})
        return rows[ours][of] / rows[who][of] if ours in rows and who in rows else None

    def best_torch(self, name: str, batch: int) -> str:
        rows = self.times.get((name, batch), {})
        variants = [who for who in rows if who.startswith(TORCH)]
        return min(variants, key=lambda who: rows[who]["median"], default="of all")


def targets(result: dict[str, Any]) -> list[Target]:
    """All targets. Ratios are of medians, of tensorgrad tuned, which is what Network.fit does."""
    steps = Steps(result["steps"])
    return [
        *_ratios(steps),
        *_compiled(steps, Steps(result["steps"], training=False)),
        *_shares(result),
        *_memory(result),
        *_import(result),
    ]


def _ratios(steps: Steps) -> Iterator[Target]:
    def against(who: str, name: str, batch: int, bound: float, called: str = "") -> Target:
        plain, minima = steps.ratio(name, batch, who, PLAIN), steps.ratio(name, batch, who, of="minimum")
        others = "" if plain is None or minima is None else f"plain {plain:.2f}; minima {minima:.2f}"
        what = f"{name} {batch}: tensorgrad tuned / {called or who}"
        return Target(what, steps.ratio(name, batch, who), bound, others=others)

    yield against(TORCH, "cnn", 32, 0.5, "PyTorch default")
    yield against(TORCH, "dense", 32, 0.8, "PyTorch default")
    for name in NOTEBOOK:
        for batch in BATCHES:
            best = steps.best_torch(name, batch)
            yield against(best, name, batch, 1.0, f"PyTorch's best, {best.removeprefix('PyTorch ')}")
    for name, bound in (("cnn", 0.6), ("dense", 1.0)):
        for batch in BATCHES:
            yield against(JAX, name, batch, bound)
    for who in (AUTOGRAD, MYGRAD):
        for name in NOTEBOOK:
            for batch in BATCHES:
                yield against(who, name, batch, 0.25)
    for batch in BATCHES:  # the notebook's dense network has no loops
        yield against(LOOPS, "cnn", batch, 0.02)


def _compiled(steps: Steps, inference: Steps) -> Iterator[Target]:
    def against(of: Steps, name: str, batch: int, who: str, ours: str, bound: float, what: str) -> Target:
        minima = of.ratio(name, batch, who, ours, "minimum")
        others = "" if minima is None else f"minima {minima:.2f}"
        return Target(f"{name} {batch}: {what}", of.ratio(name, batch, who, ours), bound, others=others)

    for of, table, kind in (
        (steps, COMPILED_STEPS, "compiled"),
        (inference, COMPILED_INFERENCE, "inference"),
    ):
        for name, bounds in table.items():
            for batch, bound in zip(BATCHES, bounds, strict=True):
                best = of.best_torch(name, batch)
                what = f"{kind} / PyTorch's best, {best.removeprefix('PyTorch ')}"
                yield against(of, name, batch, best, COMPILED, bound, what)
                what = f"{kind}, 1 thread / PyTorch channels_last, 1 thread"
                yield against(of, name, batch, ALONE, COMPILED_ALONE, bound + ALONE_MORE, what)
    for name in COMPILED_STEPS:
        for batch in BATCHES:
            yield against(steps, name, batch, COMPILED, COMPILED_LOOP, 1.1, "compiled, own loop / bare call")
            rows = steps.times.get((name, batch), {})
            more = None
            if COMPILED in rows and COMPILED_FIT in rows:
                more = rows[COMPILED_FIT]["median"] - rows[COMPILED]["median"]
            yield Target(f"{name} {batch}: compiled, a step of fit - bare call", more, 0.1, unit=" ms")


def _shares(result: dict[str, Any]) -> Iterator[Target]:
    share = result["shares"].get("cnn 256", {}).get(COMPILED)
    others = f"fastest step, best rate: {100 * share['best']:.0f} %" if share else ""
    figure = 100 * share["median"] if share else None
    yield Target("cnn 256: compiled, share of the sgemm rate", figure, 45, False, " %", others)
    for name in CONVOLUTIONAL:
        for batch in BATCHES:
            share = result["shares"].get(f"{name} {batch}", {}).get(TUNED)
            others = f"fastest step, best rate: {100 * share['best']:.0f} %" if share else ""
            figure = 100 * share["median"] if share else None
            yield Target(f"{name} {batch}: share of the sgemm rate", figure, 35, False, " %", others)


def _memory(result: dict[str, Any]) -> Iterator[Target]:
    found = {(row["network"], row["batch"], row["who"]): row for row in result["memory"]}
    for name, batch in sorted({key[:2] for key in found}):
        ours, theirs = found.get((name, batch, COMPILED)), found.get((name, batch, PLAIN))
        if ours and theirs:
            others = f"NumPy {theirs['peak']:.0f} MiB"
            what = f"{name} {batch}: peak memory, compiled"
            yield Target(what, ours["peak"], theirs["peak"], True, " MiB", others)
        ours, theirs = found.get((name, batch, TUNED)), found.get((name, batch, TORCH))
        if ours and theirs:
            for label, start in (
                ("total", None),
                ("beyond imports", "imported"),
                ("beyond start", "started"),
            ):
                mine, other = (row["peak"] - (row[start] if start else 0) for row in (ours, theirs))
                others = f"PyTorch {other:.0f} MiB"
                yield Target(f"{name} {batch}: peak memory, {label}", mine, other, True, " MiB", others)


def _import(result: dict[str, Any]) -> Iterator[Target]:
    times = result["import"]
    if times:
        within = times["import tensorgrad after numpy"]
        difference = times["import tensorgrad - import numpy"]["median"]
        others = f"minimum {within['minimum']:.1f} ms; medians apart, subtracted: {difference:.1f} ms"
        yield Target("import after numpy's, in one process", within["median"], 30, True, " ms", others)
