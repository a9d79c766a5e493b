"""Everything that needs a GPU, in less than ten minutes: ceilings, tests, compute-sanitizer, kernels, training steps.

Each part is a process of its own with a limit of time, and what it said is kept when it hangs or crashes. ``--json``
is written anew after every part. Kernels and steps are compared with PyTorch by CUDA graphs on both sides. The exit
code is 0 when every part ended well and every target that was measured is met, 2 where there is no GPU.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import report
from benchmarks.gpu_parts.clocks import watched
from benchmarks.gpu_parts.lines import LINES
from benchmarks.gpu_parts.targets import TARGETS, judged
from benchmarks.timing import machine

NETWORKS = ("LeNet", "Transformer", "ResNet", "LSTM")  # how the cases of bench training begin
SANITIZER = "compute-sanitizer"
SHARDS = 4  # processes that share the tests
LEAST = 5.0  # seconds without which a part is not begun
TAIL = 3000  # characters of a part's last output that are kept
Found = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A command with its limit in seconds. ``needs``: a module or command; ``set``: variables of its environment."""

    name: str
    seconds: float
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    set: dict[str, str] = field(default_factory=dict)


Group = tuple[Part, ...]  # parts that run at the same time: what only checks or compiles, and measures nothing


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def groups() -> list[Group]:
    """In the order of their worth, should the time run out."""
    ceilings = Part("ceilings", 60, python("benchmarks.gpu_parts.ceilings"))
    ready = Part("compile", 120, python("benchmarks.gpu_parts.compile"))
    # a warning of another version of NumPy or CuPy is no fault of a kernel
    tests = python("pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "--maxfail=20", "--tb=short", "tests/gpu")
    checks = [
        Part(f"tests {i + 1} of {SHARDS}", 150, tests, set={"TINYGRAD_NOTES_SHARD": f"{i}/{SHARDS}"})
        for i in range(SHARDS)
    ]
    for tool in ("memcheck", "racecheck"):
        command = (SANITIZER, "--tool", tool, "--error-exitcode", "99", "--print-limit", "5")
        checks.append(Part(tool, 150, (*command, *python("tests.gpu.small")), (SANITIZER,)))
    checks.append(Part("kernels of the CPU", 150, python("benchmarks.gpu_parts.steps", "compile")))
    measured = {name: Part(f"kernels: {name}", 60, python("benchmarks.gpu_parts.kernels", name)) for name in LINES}
    steps = [Part(f"step: {name}", 45, python("benchmarks.gpu_parts.steps", name)) for name in NETWORKS]
    rest = measured.pop("the rest")
    return [(ceilings,), (ready,), tuple(checks), *((one,) for one in (*measured.values(), *steps, rest))]


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
        if shutil.which(name) is None and importlib.util.find_spec(name) is None:
            return name
    return None


def run(part: Part, limit: float) -> Found:
    """One part in a process group of its own: its records, how it ended, and its last output."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | part.set
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
    ended = "hung" if hung else "well" if process.returncode == 0 else f"with {process.returncode}"
    return not_run(part, ended) | {
        "seconds": round(time.monotonic() - start, 1), "records": records, "tail": "\n".join(others)[-TAIL:]
    }  # fmt: skip


def not_run(part: Part, why: str) -> Found:
    return {"part": part.name, "ended": why, "seconds": 0, "records": [], "tail": "", "clocks": {}}


def parsed(line: str) -> Found | None:
    """The record that a part printed on a line of its own."""
    if not line.startswith('{"'):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def run_all(chosen: Sequence[Group], budget: float, path: Path | None) -> list[Found]:
    """All parts, until the budget in seconds is spent; the file is written after each group."""
    end, found = time.monotonic() + budget, []
    for group in chosen:
        left = end - time.monotonic()
        with watched() as clocks, ThreadPoolExecutor(len(group)) as threads:
            now = list(threads.map(run_within, group, [left] * len(group)))
        for one in now:
            if one["seconds"]:
                one["clocks"] = clocks()
            print(report.line(one), flush=True, file=sys.stderr)
        found += now
        save(found, path)
    return found


def run_within(part: Part, left: float) -> Found:
    """The part, if it can run here in the seconds that are left."""
    lack = lacks(part)
    if lack is not None:
        return not_run(part, f"{lack} is missing")
    return run(part, min(part.seconds, left)) if left >= LEAST else not_run(part, "no time left")


def result(found: list[Found]) -> Found:
    return {"machine": machine(), "targets": TARGETS, "parts": found}


def save(found: list[Found], path: Path | None) -> None:
    """The whole file or the one before: a reader never sees half of it."""
    if path is not None:
        half = path.with_name(path.name + ".half")
        half.write_text(json.dumps(result(found), indent=1) + "\n")
        os.replace(half, path)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench gpu", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON, anew after every part")
    parser.add_argument("--only", metavar="PATTERN", default="", help="parts whose name matches this expression")
    parser.add_argument("--budget", type=float, default=570.0, help="seconds for all parts (default 570)")
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
        named = [tuple(part for part in group if re.search(options.only, part.name)) for group in groups()]
        path = Path(options.json) if options.json not in (None, "-") else None
        found = run_all([group for group in named if group], options.budget, path)
    print(report.table(found), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json == "-":
        print(json.dumps(result(found), indent=1))
    if options.pictures and (picture := report.draw(found, Path(options.pictures))):
        print(f"picture: {picture}")
    well = all(one["ended"] == "well" or one["ended"].endswith("is missing") for one in found)
    missed = any(verdict.met is False for lines in judged(found).values() for _, verdict in lines)
    return 0 if well and not missed else 1


if __name__ == "__main__":
    raise SystemExit(main())
