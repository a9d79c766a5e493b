"""Tables of what ``bench ops`` and ``bench training`` measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.cases.case import CHANNELS_LAST, NORMAL
from benchmarks.limits import least_time

Record = dict[str, Any]

# The targets are for a machine with AMX. Where only AVX-512 is used, products have one of their own; the portable
# kernels, and the reference, are reported.
PRODUCTS, AVX512_TARGET = ("product", "convolution"), 1.15
BINDING = ("amx",)


def target_of(record: Record, backend: str, native: bool = True) -> float | None:
    """The ratio that this backend has to reach in this case, None where it is only reported.

    ``native``: the machine has the instruction set; one that is imitated on narrower registers has nothing to reach.
    """
    if record["target"] is None or not native:
        return None
    if backend == "avx512" and record["family"] in PRODUCTS:
        return AVX512_TARGET
    return float(record["target"]) if backend in BINDING else None


def judged(run: Record) -> Record:
    """The run of a backend with what follows from its numbers: rates, shares of the limit, targets met."""
    for record in run["records"]:
        binding = target_of(record, run["backend"], run["native"])
        record["binding_target"] = binding
        record["met"] = None if binding is None else record["ratio"] <= binding
        seconds = record["ours"] / 1e6
        record["gflops"], record["gbytes"] = record["flops"] / seconds / 1e9, record["bytes"] / seconds / 1e9
        least = run["limits"] and least_time(run["limits"], record["flops"], record["bytes"])
        record["of_limit"] = least / seconds if least else None
        record["of_limit_theirs"] = least / (record["theirs"] / 1e6) if least else None
    return run


def faults(run: Record) -> list[str]:
    """What makes the run a failure, in sentences."""
    found = [f"{failure['name']}: {failure['error']}" for failure in run["failures"]]
    for r in run["records"]:
        if r["met"] is False:
            found.append(f"{label(r)}: ratio {r['ratio']:.2f}, target {r['binding_target']:.2f}")
        if not r["accurate"]:
            found.append(f"{label(r)}: error {r['error_ours']:.1e} against float64, theirs {r['error_theirs']:.1e}")
        for who, share in (("ours", r["of_limit"]), ("torch", r["of_limit_theirs"])):
            if share is not None and share > 1:
                found.append(f"{label(r)}: {who} is at {share:.0%} of the limit, so the limit is not one")
    return found


def label(record: Record) -> str:
    return record["name"] + (" (channels last)" if record["layout"] == CHANNELS_LAST else "")


def verdict(record: Record) -> str:
    """The target with whether it was met; in brackets where it does not bind this backend."""
    if record["binding_target"] is not None:
        return f"{record['binding_target']:.2f} {'met' if record['met'] else 'MISSED'}"
    return "" if record["target"] is None else f"({record['target']:.2f})"


def by_pass(records: Iterable[Record]) -> dict[tuple[str, str], dict[str, Record]]:
    """Records by case and pass, and in these by layout."""
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        rows.setdefault((record["case"], record["step"]), {})[record["layout"]] = record
    return rows


HEAD = (
    f"{'case':<38} {'pass':<12} {'ours ms':>9} {'torch N':>9} {'ratio':>6} {'quartiles':>11} {'target':<12}"
    f" {'torch C':>9} {'ratio':>6} {'target':<12} {'GFLOP/s':>7} {'GB/s':>6} {'limit':>5}  {'error ours, torch':<17}"
    f" {'compile':>7}"
)


def line(layouts: dict[str, Record]) -> str:
    r, c = layouts[NORMAL], layouts.get(CHANNELS_LAST)
    few = "" if r["rounds"] >= 15 else f" {r['rounds']} rounds"
    beside = f"{c['theirs'] / 1e3:>9.3f} {c['ratio']:>6.2f} {verdict(c):<12}" if c else f"{'':>9} {'':>6} {'':<12}"
    errors = "" if r["error_ours"] is None else f"{r['error_ours']:.1e} {r['error_theirs']:.1e}"
    errors += "" if r["accurate"] else " INACCURATE"
    share = "" if r.get("of_limit") is None else f"{r['of_limit']:.0%}"
    return (
        f"{r['case']:<38} {r['step']:<12} {r['ours'] / 1e3:>9.3f} {r['theirs'] / 1e3:>9.3f} {r['ratio']:>6.2f} "
        f"{r['lowest']:>4.2f} - {r['highest']:<4.2f} {verdict(r):<12} {beside} "
        f"{rate(r['gflops'], 0):>7} {rate(r['gbytes'], 1):>6} {share:>5}  {errors:<17} "
        f"{r['compiling']:>6.1f}s{few}"
    ).rstrip()


def rate(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value else ""


def table(run: Record) -> str:
    """One backend: a line for each pass."""
    limits = run["limits"]
    lines = [f"kernels {run['backend']}: ours / torch, medians; N is PyTorch's default layout, C channels last"]
    if limits:
        most = limits["multiply_add"]
        memory = [f"{r / 1e9:.0f} on {int(n) / 2**20:g} MiB" for n, r in limits["bandwidth"].items()]
        peak = "not measured" if most is None else f"{most / 1e9:.0f} GFLOP/s"
        lines.append(f"limits: multiply-adds {peak}; GB/s of memory: {', '.join(memory)}")
    lines.append(HEAD)
    lines += [line(layouts) for layouts in by_pass(run["records"]).values()]
    return "\n".join(lines)


def summary(runs: list[Record]) -> str:
    """All backends: the ratios to PyTorch's default layout side by side; convolution by im2col has its own column."""
    columns: dict[str, dict[tuple[str, str], str]] = {}
    for run in runs:
        for (case, step), layouts in by_pass(run["records"]).items():
            column, row = run["backend"], (case, step)
            if step == "im2col":
                column, row = f"im2col, {run['backend']}", (case, "forward")
            columns.setdefault(column, {})[row] = f"{layouts[NORMAL]['ratio']:.2f}"
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    head = f"{'ours / torch (N)':<38} {'pass':<12}" + "".join(f" {name:>16}" for name in columns)
    lines = [f"{case:<38} {step:<12}" + "".join(f" {c.get((case, step), ''):>16}" for c in columns.values())
             for case, step in rows]  # fmt: skip
    return "\n".join([head, *lines])
