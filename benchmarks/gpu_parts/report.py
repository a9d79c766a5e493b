"""What ``bench gpu`` found, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.targets import TARGETS, Verdict, ceilings, judged, limit, verdicts

Found = dict[str, Any]
AGAIN = "ours / ours again"  # the same graph in two places of a round: what differs is the measurement's own spread
GOOD, BAD, PLAIN = "#2e7d32", "#c62828", "#1f6fb4"
HEAD = (
    f"{'line':<58} {'ours µs':>9} {'torch µs':>9} {'ratio':>6} {'quartiles':>9} {'A/A':>11}  {'target':<12} "
    "of the ceiling"
)


def line(one: Found) -> str:
    """How a part ended."""
    said = f"{one['part']:<32} ended {one['ended']:<10} {one['seconds']:>6} s"
    if clock := one.get("clocks", {}).get("SM MHz"):
        said += f"  SM {clock[0]:.0f} to {clock[2]:.0f} MHz"
    return said if one["ended"] == "well" or not one["tail"] else f"{said}   {one['tail'].splitlines()[-1][:100]}"


def table(found: list[Found]) -> str:
    """How the parts ended, the ceilings, a line for everything measured, and what is not as it should be."""
    rates, lines = ceilings(found), [line(one) for one in found]
    records = [r for one in found for r in one["records"]]
    lines += ["", *(f"{r['name']:<58} {r['value']:>9.1f} {r['unit']}" for r in records if "value" in r)]
    lines += ["", HEAD]
    for r in (r for r in records if "times" in r):
        lines += step_rows(r) if "ours captured" in r["times"] or "ours eager" in r["times"] else [row(r, rates)]
    failed = [f"{r['name']}: {r['error']}" for r in records if "error" in r]
    return "\n".join([*lines, "", *failed, *(answer(*one) for one in judged(found).items())])


def answer(target: str, lines: list[tuple[str, Verdict]]) -> str:
    """Whether a target is met: by all lines that name it."""
    said = f"target {TARGETS[target]:.2f}, {target}: "
    if not lines:
        return said + "not measured"
    met = sum(verdict.met is True for _, verdict in lines)
    name, worst = max(lines, key=lambda one: one[1].ratio["ratio"])
    verdict = "met" if met == len(lines) else "MISSED"
    return f"{said}{verdict}, {met} of {len(lines)} lines reach it, worst {worst.ratio['ratio']:.2f} ({name})"


def row(r: Found, rates: dict[str, float]) -> str:
    """A kernel: the faster of PyTorch's layouts, the ratio and its quartiles, and how near the ceiling it is."""
    theirs = min((us for who, us in r["times"].items() if who.startswith("torch")), default=None)
    by_name = {verdict.name: verdict for verdict in verdicts(r)}
    again, nearest = by_name.pop(AGAIN, None), limit(r, rates)
    verdict = next(iter(by_name.values()), None)
    cells = [f"{r['name']:<58} {r['times']['ours']:>9.1f}", " " * 9 if theirs is None else f"{theirs:>9.1f}"]
    cells.append(ratio(verdict) if verdict else " " * 16)
    cells.append(f"{again.ratio['lowest']:.3f}-{again.ratio['highest']:.3f}" if again else " " * 11)
    cells.append(f" {goal(verdict):<12}")
    if nearest:
        share = nearest.reached / nearest.rate
        cells.append(f"{nearest.reached:.0f} of {nearest.rate:.0f} {nearest.unit} ({share:.0%} of {nearest.ceiling})")
    eager = [f"{who} {how}" for who, how in r["how"].items() if how != "graph"]
    return " ".join([*cells, *eager]).rstrip()


def step_rows(r: Found) -> list[str]:
    """A training step: the time of each side, then a line for each ratio."""
    times = "  ".join(f"{who} {us:.0f} µs" for who, us in r["times"].items())
    rows = [f"{r['name']}: {times}"]
    return rows + [f"  {v.name:<76} {ratio(v)} {'':>11}  {goal(v)}".rstrip() for v in verdicts(r)]


def ratio(verdict: Verdict) -> str:
    one = verdict.ratio
    return f"{one['ratio']:>6.2f} {one['lowest']:.2f}-{one['highest']:.2f}"


def goal(verdict: Verdict | None) -> str:
    if verdict is None or verdict.target is None:
        return ""
    return f"{verdict.target:.2f} {'met' if verdict.met else 'MISSED'}"


def draw(found: list[Found], folder: Path) -> Path | None:
    """A picture of all ratios with their quartiles and targets, on a logarithmic axis."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows, ends = [], []
    for one in found:
        rows += [(r["name"], v) for r in one["records"] for v in verdicts(r) if v.name != AGAIN]
        ends.append(len(rows))
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 1.6 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, v) in enumerate(rows):
        ratios, colour = v.ratio, PLAIN if v.met is None else GOOD if v.met else BAD
        error = [[ratios["ratio"] - ratios["lowest"]], [ratios["highest"] - ratios["ratio"]]]
        axes.errorbar(ratios["ratio"], y, xerr=error, fmt="o", markersize=5, color=colour, linewidth=1.2)
        if v.target is not None:
            axes.plot(v.target, y, "|", color=colour, markersize=11, markeredgewidth=2.2)
    for end in {*ends} - {0, len(rows)}:  # between the parts
        axes.axhline(end - 0.5, color="0.85", linewidth=0.8)
    axes.axvline(1, color="0.35", linewidth=1)
    axes.set_xscale("log")
    shown = [x for _, v in rows for x in (v.ratio["lowest"], v.ratio["highest"], v.target or 1)]
    low, high = min(shown) / 1.15, max(shown) * 1.15
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.minorticks_off()
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    names = [name if v.name == "ours / torch" else f"{name}: {v.name}" for name, v in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ratio of times (log scale; left of 1 is faster), median and quartiles of rounds")
    figure.suptitle("Ours beside PyTorch, graphs of both; training steps by their names", fontsize=12)
    handles = [
        Line2D([], [], marker=marker, linestyle="", color=colour, label=text, markersize=size, markeredgewidth=width)
        for marker, colour, text, size, width in (
            ("o", GOOD, "target met", 6, 1), ("o", BAD, "target missed", 6, 1), ("o", PLAIN, "without a target", 6, 1),
            ("|", "0.35", "the target", 11, 2.2),
        )
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(folder / "gpu.png", dpi=110)
    return folder / "gpu.png"
