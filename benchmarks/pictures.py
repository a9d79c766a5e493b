"""Pictures of what ``bench ops`` measured: the ratios to PyTorch, and the roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.cases.case import CHANNELS_LAST, NORMAL
from benchmarks.limits import bandwidth_for
from benchmarks.report import by_pass

OURS, THEIRS, LAST, MARK, GOOD, BAD = "#1f6fb4", "#e07b00", "#7b52ab", "0.35", "#2e7d32", "#c62828"
MARKERS = {
    "product": "o", "convolution": "s", "attention": "^", "recurrent": "D", "softmax": "v", "norm": "P",
    "elementwise": "X", "pooling": "<", "optimiser": ">",
}  # fmt: skip


def save(runs: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Two pictures for each backend that measured anything."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for run in runs:
        if run["records"]:
            saved.append(save_ratios(run, folder / f"ratios-{run['backend']}.png"))
            if run["limits"] and run["limits"]["multiply_add"]:
                saved.append(save_roofline(run, folder / f"roofline-{run['backend']}.png"))
    return saved


def save_ratios(run: dict[str, Any], path: Path) -> Path:
    """A line for each pass: ours / torch with its quartiles, on a logarithmic axis; a tick where the target is."""
    rows = list(by_pass(run["records"]).items())
    figure = Figure(figsize=(11, 1.6 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, layouts) in enumerate(rows):
        for layout, shift, colour in ((NORMAL, -0.15, OURS), (CHANNELS_LAST, 0.15, LAST)):
            r = layouts.get(layout)
            if r is None:
                continue
            error = [[max(r["ratio"] - r["lowest"], 0)], [max(r["highest"] - r["ratio"], 0)]]
            axes.errorbar(r["ratio"], y + shift, xerr=error, fmt="o", markersize=5, color=colour, linewidth=1.2)
            if r["target"] is not None:
                met = r["ratio"] <= r["target"]
                axes.plot(r["target"], y + shift, "|", color=GOOD if met else BAD, markersize=11, markeredgewidth=2.2)
    axes.axvline(1, color=MARK, linewidth=1)
    axes.set_xscale("log")
    shown = [r["ratio"] for r in run["records"]]
    low, high = min(0.15, *shown) / 1.15, max(2.0, *shown) * 1.15
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.minorticks_off()
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [f"{case}, {step}" for (case, step), _ in rows], fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    families = [next(iter(layouts.values()))["family"] for _, layouts in rows]
    for y in range(1, len(rows)):
        if families[y] != families[y - 1]:
            axes.axhline(y - 0.5, color="0.85", linewidth=0.8)
    axes.set_xlabel("time of ours / time of PyTorch (log scale; left of 1 is faster), median and quartiles of rounds")
    figure.suptitle(f"Ratios to PyTorch eager, two threads each: kernels {run['backend']}", fontsize=12)
    handles = [
        Line2D([], [], marker=marker, linestyle="", color=colour, label=text, markersize=size, markeredgewidth=width)
        for marker, colour, text, size, width in (
            ("o", OURS, "torch's default layout", 6, 1),
            ("o", LAST, "torch in channels last", 6, 1),
            ("|", GOOD, "target for AMX, met", 11, 2.2),
            ("|", BAD, "target for AMX, not met", 11, 2.2),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    return path


def save_roofline(run: dict[str, Any], path: Path) -> Path:
    """Left: GFLOP/s over FLOPs for each byte, under the machine's roof. Right: shares of the limit, also without FLOPs.

    The Roofline model: Williams, Waterman and Patterson 2009.
    """
    limits = run["limits"]
    records = [r for r in run["records"] if r["layout"] == NORMAL and r["step"] != "im2col" and r["of_limit"]]
    figure = Figure(figsize=(15, 2.5 + 0.14 * max(len(records), 30)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    peak = limits["multiply_add"] / 1e9
    slow, fast = (bandwidth_for(limits, size) / 1e9 for size in (float("inf"), 0.0))
    x = np.geomspace(0.1, 3000, 300)
    left.plot(x, np.minimum(peak, fast * x), color=MARK, linewidth=1, linestyle="--")
    left.plot(x, np.minimum(peak, slow * x), color=MARK, linewidth=1.5)
    for name, rate in (("caches", fast), ("memory", slow)):
        angle = np.degrees(np.arctan(rate))  # along the line
        left.text(
            0.13, 0.13 * rate * 1.25, f"{name}, {rate:.0f} GB/s", rotation=angle, rotation_mode="anchor",
            transform_rotates_text=True, fontsize=9, color=MARK,
        )  # fmt: skip
    left.text(2900, peak * 1.06, f"multiply-adds in registers, {peak:.0f} GFLOP/s", ha="right", fontsize=9, color=MARK)
    computing = [r for r in records if r["flops"]]
    for r in computing:
        marker, intensity = MARKERS.get(r["family"], "o"), r["flops"] / r["bytes"]
        theirs = r["flops"] / r["theirs"] / 1e3
        left.plot([intensity] * 2, [r["gflops"], theirs], color="0.8", linewidth=0.8, zorder=1)
        left.plot(intensity, theirs, marker, color=THEIRS, markersize=6, alpha=0.7)
        left.plot(intensity, r["gflops"], marker, color=OURS, markersize=6)
    lowest = min((min(r["gflops"], r["flops"] / r["theirs"] / 1e3) for r in computing), default=1.0)
    left.set(xscale="log", yscale="log", xlim=(0.1, 3000), ylim=(min(1.0, lowest / 1.3), 2 * peak))
    left.set_xlabel("FLOPs for each byte that must move")
    left.set_ylabel("GFLOP/s")
    left.grid(alpha=0.3)
    families = dict.fromkeys(r["family"] for r in computing)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=n) for c, n in ((OURS, "ours"), (THEIRS, "torch"))
    ]
    handles += [Line2D([], [], marker=MARKERS.get(f, "o"), linestyle="", color=MARK, label=f) for f in families]
    left.legend(handles=handles, loc="lower right", frameon=False, fontsize=9)
    names = [f"{r['case']}, {r['step']}" for r in records]
    y = np.arange(len(records))
    right.barh(y - 0.2, [100 * r["of_limit"] for r in records], 0.38, color=OURS, label="ours")
    right.barh(y + 0.2, [100 * r["of_limit_theirs"] for r in records], 0.38, color=THEIRS, alpha=0.75, label="torch")
    right.set_yticks(y, names, fontsize=7)
    right.set_ylim(len(records) - 0.4, -0.6)
    right.set_xlim(0, max(100, *(105 * max(r["of_limit"], r["of_limit_theirs"]) for r in records)))
    right.axvline(100, color=MARK, linewidth=1)
    right.set_xlabel("% of the limit: the longer of computing and moving what must be")
    right.grid(axis="x", alpha=0.3)
    right.legend(frameon=False, fontsize=9, loc="lower right")
    figure.suptitle(f"Roofline of this machine, float32, two threads: kernels {run['backend']}", fontsize=12)
    figure.savefig(path, dpi=110)
    return path
