"""Everything that needs a GPU, in less than ten minutes: ceilings, tests, compute-sanitizer, kernels, training steps.

Each part is a process of its own with a limit of time, and what it said is kept when it hangs or crashes. ``--json``
is written anew after every part. Kernels and steps are compared with PyTorch by CUDA graphs on both sides. The exit
code is 0 when every part ended well, 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import machine

FAMILIES = ("product", "convolution", "attention", "recurrent", "softmax", "norm", "elementwise", "pooling")
NETWORKS = ("LeNet", "ResNet", "LSTM", "Transformer")  # how the cases of bench training begin
SANITIZER = "compute-sanitizer"
TAIL = 3000  # characters of a part's last output that are kept
Found = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A command with its limit in seconds; ``needs``: what has to be there, a module or a command."""

    name: str
    seconds: float
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def parts() -> list[Part]:
    """In the order of their worth, should the time run out."""
    small = python("tests.gpu.small")
    tests = python("pytest", "-q", "-p", "no:cacheprovider", "--maxfail=20", "--tb=short", "tests/gpu")
    found = [
        Part("ceilings", 40, python("benchmarks.gpu_parts.ceilings")),
        Part("tests", 180, tests),
    ]
    for tool in ("memcheck", "racecheck"):
        checked = (SANITIZER, "--tool", tool, "--error-exitcode", "99", "--print-limit", "5", *small)
        found.append(Part(tool, 60, checked, (SANITIZER,)))
    found += [
        Part(f"kernels: {family}", 40, python("benchmarks.gpu_parts.kernels", family), ("torch",))
        for family in FAMILIES
    ]
    found += [Part(f"step: {name}", 40, python("benchmarks.gpu_parts.steps", name), ("torch",)) for name in NETWORKS]
    return found


def missing() -> str | None:
    """What is missing here, in one sentence; None where there is a GPU."""
    from tinygrad_notes.errors import DeviceError
    from tinygrad_notes.tensor import cuda_array_module

    try:
        cuda_array_module()
    except DeviceError as error:
        return f"bench gpu needs a GPU: {error}."
    return None


def lacks(part: Part) -> str | None:
    """What the part needs and this machine has not."""
    for name in part.needs:
        if importlib.util.find_spec(name) is None if name == "torch" else shutil.which(name) is None:
            return name
    return None


def run(part: Part, limit: float) -> Found:
    """One part in a process group of its own: its records, how it ended, and its last output."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    start = time.monotonic()
    process = subprocess.Popen(
        part.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
        start_new_session=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    hung = False
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)  # the session that was started here, with what it started itself
        output, _ = process.communicate()
    records, others = [], []
    for line in output.splitlines():
        record = parsed(line)
        records.append(record) if record is not None else others.append(line)
    return {
        "part": part.name,
        "ended": "hung" if hung else "well" if process.returncode == 0 else f"with {process.returncode}",
        "seconds": round(time.monotonic() - start, 1),
        "records": records,
        "tail": "\n".join(others)[-TAIL:],
    }


def parsed(line: str) -> Found | None:
    """The record that a part printed on a line of its own."""
    if not line.startswith('{"'):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def run_all(chosen: Sequence[Part], budget: float, path: Path | None) -> list[Found]:
    """All parts, until the budget in seconds is spent; the file is written after each."""
    end, found = time.monotonic() + budget, []
    for part in chosen:
        left, lack = end - time.monotonic(), lacks(part)
        if lack is not None:
            found.append({"part": part.name, "ended": f"{lack} is missing", "seconds": 0, "records": [], "tail": ""})
        elif left < 5:
            found.append({"part": part.name, "ended": "no time left", "seconds": 0, "records": [], "tail": ""})
        else:
            found.append(run(part, min(part.seconds, left)))
        print(line(found[-1]), flush=True, file=sys.stderr)
        save(found, path)
    return found


def save(found: list[Found], path: Path | None) -> None:
    """The whole file or the one before: a reader never sees half of it."""
    if path is not None:
        half = path.with_name(path.name + ".half")
        half.write_text(json.dumps({"machine": machine(), "parts": found}, indent=1) + "\n")
        os.replace(half, path)


def line(one: Found) -> str:
    said = f"{one['part']:<24} ended {one['ended']:<10} {one['seconds']:>6} s"
    return said if one["ended"] == "well" or not one["tail"] else f"{said}   {one['tail'].splitlines()[-1][:100]}"


def table(found: list[Found]) -> str:
    """How the parts ended, and what they measured."""
    lines = [line(one) for one in found]
    for one in found:
        for r in one["records"]:
            if "value" in r:
                lines.append(f"{r['name']:<44} {r['value']:>10.1f} {r['unit']}")
            elif "error" in r:
                lines.append(f"{r['name']:<44} failed: {r['error']}")
            else:
                times = "  ".join(f"{who} {us:.1f} ({r['how'][who]})" for who, us in r["times"].items())
                ratio = f"ratio {r['ratio']:.2f}" if r.get("ratio") else ""
                lines.append(f"{r['name']:<44} {ratio:<12} µs: {times}")
    return "\n".join(lines)


def draw(found: list[Found], folder: Path) -> Path | None:
    """A picture of the ratios to PyTorch, on a logarithmic axis."""
    from matplotlib.figure import Figure

    rows = [r for one in found for r in one["records"] if r.get("ratio")]
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 1.4 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh([r["name"] for r in rows], [r["ratio"] - 1 for r in rows], left=1,
              color=["#2e7d32" if r["ratio"] <= 1 else "#c62828" for r in rows])  # fmt: skip
    axes.set_xscale("log")
    axes.axvline(1, color="0.35", linewidth=1)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("time of ours / time of PyTorch, graphs of both")
    figure.savefig(folder / "gpu.png", dpi=120)
    return folder / "gpu.png"


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench gpu", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON, anew after every part")
    parser.add_argument("--only", metavar="PATTERN", default="", help="parts whose name matches this expression")
    parser.add_argument("--budget", type=float, default=560.0, help="seconds for all parts (default 560)")
    parser.add_argument("--pictures", metavar="FOLDER", help="save a picture of the ratios there")
    parser.add_argument("--read", metavar="FILE", help="measure nothing: table and picture of a JSON file")
    options = parser.parse_args(given)
    if options.read:
        found = json.loads(Path(options.read).read_text())["parts"]
    else:
        lack = missing()
        if lack is not None:
            print(lack, file=sys.stderr)
            return 2
        chosen = [part for part in parts() if re.search(options.only, part.name)]
        found = run_all(chosen, options.budget, Path(options.json) if options.json not in (None, "-") else None)
    print(table(found), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json == "-":
        print(json.dumps({"machine": machine(), "parts": found}, indent=1))
    if options.pictures and (picture := draw(found, Path(options.pictures))):
        print(f"picture: {picture}")
    return 0 if all(one["ended"] == "well" or one["ended"].endswith("is missing") for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
