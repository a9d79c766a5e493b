"""Write the tables in ``README.md`` here anew from the JSON files in ``results/``, which the other benchmarks wrote."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cases.case import CHANNELS_LAST, NORMAL

FOLDER = Path(__file__).parent
START, END = "<!-- the results: written by tinygrad-notes bench results -->", "<!-- end of the results -->"
Record = dict[str, Any]


def page(folder: Path) -> str:
    """All results of a folder as Markdown; what was not measured is left out."""
    parts = [write(json.loads(file.read_text())) for name, write in WRITERS.items() if (file := folder / name).exists()]
    return "\n\n".join([START, *parts, END])


def of_ops(found: Record) -> str:
    return "\n\n".join(["### `ops`", where(found["machine"]), *map(_ops_of, found["runs"])])


def _ops_of(run: Record) -> str:
    """One instruction set: a line for each pass."""
    limits, rows = run["limits"], []
    for layouts in report.by_pass(run["records"]).values():
        r, c = layouts[NORMAL], layouts.get(CHANNELS_LAST)
        rows.append(
            (
                r["case"], r["step"], f"{r['ratio']:.2f}", f"{r['lowest']:.2f}–{r['highest']:.2f}", report.verdict(r),
                f"{c['ratio']:.2f}" if c else "", report.verdict(c) if c else "", report.rate(r["gflops"], 0),
                report.rate(r["gbytes"], 1), "" if r["of_limit"] is None else f"{r['of_limit']:.0%}", _errors(r),
            )
        )  # fmt: skip
    head = ("case", "pass", "ours / torch N", "quartiles", "target", "ours / torch C", "target", "GFLOP/s", "GB/s",
            "of limit", "error ours, torch")  # fmt: skip
    measured = f"Instruction set `{run['backend']}`."
    if limits and limits["multiply_add"]:
        measured += f" Limits: {limits['multiply_add'] / 1e9:.0f} GFLOP/s; memory " + ", ".join(
            f"{rate / 1e9:.0f} GB/s on {int(size) / 2**20:g} MiB" for size, rate in limits["bandwidth"].items()
        )
    return f"{measured}\n\n{markdown(head, rows)}"


def _errors(record: Record) -> str:
    if record["error_ours"] is None:
        return ""
    beyond = "" if record["accurate"] else " beyond"
    return f"{record['error_ours']:.1e}, {record['error_theirs']:.1e}{beyond}"


def of_training(found: Record) -> str:
    parts = ["### `training`", where(found["machine"])]
    for run in found["runs"]:
        rows = [
            (
                r["case"], f"{r['ours'] / 1e3:.1f}", f"{r['theirs'] / 1e3:.1f}", f"{r['ratio']:.2f}",
                f"{r['lowest']:.2f}–{r['highest']:.2f}", report.verdict(r),
            )
            for r in run["records"]
        ]  # fmt: skip
        head = (f"step, `{run['backend']}`", "ours ms", "torch ms", "ours / torch", "quartiles", "target")
        parts.append(markdown(head, rows))
    return "\n\n".join(parts)


ERRORS = [("float64", 0), ("float64", 1), ("float32", 0), ("float32", 1), ("float32", 2)]


def of_notes(found: Record) -> str:
    parts = ["### `notes`", where(found["machine"])]
    for run in found["runs"]:
        rows = [
            (
                r["case"], *(f"{r['errors'][dtype][i]:.1e}" for dtype, i in ERRORS),
                r["shape"], f"{r['ours'] / 1e3:.2f}", f"{r['theirs'] / 1e3:.2f}", f"{r['ratio']:.2f}",
                f"{r['lowest']:.2f}–{r['highest']:.2f}",
            )
            for r in run["records"]
        ]  # fmt: skip
        head = (f"network, `{run['backend']}`", "float64: output", "gradients", "float32: output", "gradients",
                "torch's own", "step of", "ours ms", "torch ms", "ours / torch", "quartiles")  # fmt: skip
        parts.append(markdown(head, rows))
    return "\n\n".join(parts)


def of_cold(found: Record) -> str:
    rows = [
        (name, len(found["starts"][name]), *(f"{one[part]:.2f}" for part in ("import", "step", "total")),
         f"{found['targets'][name]:g} {'met' if found['met'][name] else 'MISSED'}")
        for name, one in found["medians"].items()
    ]  # fmt: skip
    table = markdown(("cache", "starts", "import s", "step s", "total s", "target"), rows)
    return f"### `cold`\n\n{where(found['machine'])}\n\n{table}"


def of_tape(found: Record) -> str:
    rows = [
        (c["name"], f"{c['ours']:.2f}", f"{c['theirs']:.2f}", f"{c['ratio']:.2f}",
         f"{c['lowest']:.2f}–{c['highest']:.2f}", "" if c["target"] is None else f"{c['target']:.2f}")
        for c in found["cases"]
    ]  # fmt: skip
    table = markdown(("case", "ours µs", "torch µs", "ours / torch", "quartiles", "target"), rows)
    return f"### `tape`\n\n{where(found['machine'])}\n\n{table}"


def of_memory(found: Record) -> str:
    ours, theirs = (f"{result['growth_bytes'] / 2**20:.0f} MiB" for result in found["results"])
    text = f"A step of the small ResNet takes {ours}, PyTorch {theirs}: ratio {found['ratio']:.2f}."
    return f"### `memory`\n\n{where(found['machine'])}\n\n{text}"


WRITERS = {
    "ops.json": of_ops, "training.json": of_training, "notes.json": of_notes, "cold.json": of_cold,
    "tape.json": of_tape, "memory.json": of_memory,
}  # fmt: skip


def where(machine: Record) -> str:
    """The sentence that says what was measured on."""
    versions = [f"{name} {machine[name]}" for name in ("python", "numpy", "numba", "torch") if machine.get(name)]
    cores = f"{machine['cores']} cores"
    if machine.get("instructions"):
        cores += f" ({' '.join(machine['instructions'])})"
    of = ", ".join([f"commit {machine['commit']}", *([machine["date"]] if "date" in machine else [])])
    return ", ".join([machine["processor"], cores, *versions]) + f"; {of}."


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> int:
    argparse.ArgumentParser(prog="tinygrad-notes bench results", description=__doc__).parse_args()
    readme = FOLDER / "README.md"
    text = readme.read_text()
    before, after = text.index(START), text.index(END) + len(END)
    readme.write_text(text[:before] + page(FOLDER / "results") + text[after:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
