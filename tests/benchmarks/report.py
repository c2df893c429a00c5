"""The tables and plots of `steps.py`."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from targets import Target
from workers import OURS, TUNED, Case


def rows_of(case: Case, times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """What is kept of the measurements of one case."""
    rows = []
    for who, values in times.items():
        low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        row = {"network": case.network, "batch": case.batch, "training": case.training, "who": who}
        figures = {"median": median, "quartiles": [low, high], "minimum": min(values), "steps": len(values)}
        rows.append(row | figures)
    return rows


def show_case(case: Case, rows: list[dict[str, Any]]) -> None:
    """A table of one case; the ratios are tensorgrad's time divided by this row's."""
    ours = {row["who"]: row for row in rows if row["who"] in OURS}
    best = min(ours.values(), key=lambda row: row["median"], default=None)
    print(f"\n{case}; ms" + (f"; the best of tensorgrad is: {best['who']}" if best else ""))
    heads = f"{'median':>10}{'quartiles':>20}{'minimum':>10}{'tuned/':>9}{'minima':>8}{'best/':>8}"
    print(f"  {'':46}{heads}")
    for row in sorted(rows, key=lambda row: row["median"]):
        spread = "{:.2f} - {:.2f}".format(*row["quartiles"])
        line = f"{row['median']:10.2f}{spread:>20}{row['minimum']:10.2f}"
        if TUNED in ours and best:
            line += f"{ours[TUNED]['median'] / row['median']:9.2f}"
            line += f"{ours[TUNED]['minimum'] / row['minimum']:8.2f}{best['median'] / row['median']:8.2f}"
        print(f"{'>' if row['who'] in OURS else ' '} {row['who']:46}{line}", flush=True)


def shares_of(rows: list[dict[str, Any]], flops: float, rates: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The share of the sgemm rate that tensorgrad's steps reach, of the medians and of the best of both.

    The rate is the highest that was measured between the cases, of one thread or of all.
    """
    rate = {key: max(found[key] for found in rates.values()) for key in ("median", "best")}
    return {
        row["who"]: {
            "median": flops / (1e6 * row["median"]) / rate["median"],
            "best": flops / (1e6 * row["minimum"]) / rate["best"],
        }
        for row in rows
        if row["who"] in OURS
    }


def show_shares(shares: dict[str, Any], rates: dict[str, dict[str, float]], flops: dict[str, int]) -> None:
    print("\nsgemm of 1024x1024 matrices, GFLOP/s, median (best):", end=" ")
    print("; ".join(f"{k} {v['median']:.0f} ({v['best']:.0f})" for k, v in rates.items()))
    print("share of it that a training step reaches: by the medians (fastest step at the best rate)")
    for key, found in shares.items():
        print(f"  {key}, {flops[key] / 1e6:.0f} Mflop")
        for who, share in found.items():
            print(f"    {who:40}{100 * share['median']:.0f} % ({100 * share['best']:.0f} %)")


def show_memory(rows: list[dict[str, Any]]) -> None:
    print(
        "\npeak memory of training, MiB: after the imports; after a step on one image; after 30 steps; growth"
    )
    for row in rows:
        numbers = f"{row['imported']:8.0f}{row['started']:8.0f}{row['peak']:8.0f}"
        growth = row["peak"] - row["imported"]
        print(f"  {row['network']:8}{row['batch']:4}  {row['who']:26}{numbers}{growth:8.0f}")


def show_imports(times: dict[str, dict[str, float]]) -> None:
    print("\nms of an import in a fresh interpreter: median, minimum")
    for what, found in times.items():
        print(f"  {what:34}{found['median']:8.1f}{found['minimum']:8.1f}")


def show_targets(found: list[Target]) -> None:
    print("\ntargets: ratios of medians of times, tensorgrad's to the peer's")
    for target in found:
        sign, unit = "<=" if target.at_most else ">=", target.unit
        figure = "-" if target.figure is None else f"{target.figure:.3g}{unit}"
        bound = f"{sign} {target.bound:.3g}{unit}"
        others = f"  ({target.others})" if target.others else ""
        print(f"  {target.what:82}{figure:>10}{bound:>13}  {target.verdict}{others}")
    counts = {verdict: sum(t.verdict == verdict for t in found) for verdict in ("met", "NOT MET")}
    print(f"  {counts['met']} met, {counts['NOT MET']} not met")


def plot_steps(rows: list[dict[str, Any]], path: Path, kind: str) -> None:
    """A panel for each network and batch: medians on a log axis, with quartiles, tensorgrad's bars marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    names = list(dict.fromkeys(row["network"] for row in rows))
    batches = sorted({row["batch"] for row in rows})
    tallest = max(sum((r["network"], r["batch"]) == (n, b) for r in rows) for n in names for b in batches)
    size = 7.5 * len(batches), (0.27 * tallest + 1.1) * len(names)
    figure, axes = plt.subplots(len(names), len(batches), figsize=size, squeeze=False)
    for name, line in zip(names, axes, strict=True):
        for batch, panel in zip(batches, line, strict=True):
            here = [row for row in rows if (row["network"], row["batch"]) == (name, batch)]
            here.sort(key=lambda row: row["median"])
            medians = np.array([row["median"] for row in here])
            low, high = np.array([row["quartiles"] for row in here]).reshape(-1, 2).T
            colors = ["tab:orange" if row["who"] in OURS else "tab:gray" for row in here]
            bars = panel.barh(
                [row["who"].strip() for row in here],
                medians,
                xerr=[medians - low, high - medians],
                color=colors,
                error_kw={"elinewidth": 1, "capsize": 2},
            )
            panel.bar_label(
                bars,
                [f" {value:.0f}" if value >= 100 else f" {value:.3g}" for value in medians],
                fontsize=7,
                padding=2,
            )
            for label, row in zip(panel.get_yticklabels(), here, strict=True):
                label.set(fontsize=8, fontweight="bold" if row["who"] in OURS else "normal")
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            if len(here):
                panel.set_xlim(0.5 * low.min(), 3 * high.max())
            panel.invert_yaxis()
            panel.set_title(f"{name}, batch {batch}", fontsize=10)
            panel.set_xlabel("ms (log scale)", fontsize=8)
    figure.suptitle(f"{kind}: median and quartiles; tensorgrad in orange", fontsize=12)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def load_during(loads: list[float]) -> str:
    """How busy the machine was."""
    return f"load {min(loads):.1f} - {max(loads):.1f}, median {statistics.median(loads):.1f}"
