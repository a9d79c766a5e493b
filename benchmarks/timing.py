"""Fair timing on a shared machine: two libraries in one process, in turns, and the ratio inside each round."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Case:
    """One line of a table: medians in microseconds, and the median of ours / theirs inside a round."""

    name: str
    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float
    target: float | None = None
    threads: int = 1

    @property
    def met(self) -> bool:
        return self.target is None or self.ratio <= self.target


def interleaved(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    calls: int,
    target: float | None = None,
    rounds: int = 25,
) -> Case:
    """Blocks of ``calls`` of each in turn, ``rounds`` times, one unmeasured call before each block."""
    for function in (ours, theirs):
        for _ in range(3):
            function()
    times = in_turns((ours, theirs), (calls, calls), rounds)
    return case_of(name, times[0], times[1], target)


def in_turns(
    functions: Sequence[Callable[[], Any]], calls: Sequence[int], rounds: int, settle: float = 0.0
) -> list[list[float]]:
    """Microseconds a call, for each function and each round: a block of each in turn, as many calls as it is given.

    Before each block stands one unmeasured call, or as many as fill ``settle`` seconds: the threads of the library
    before wait for more work in a loop, for some milliseconds, and take time from this one until they sleep.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, count, measured in zip(functions, calls, times):
            begin = time.perf_counter()
            function()
            while time.perf_counter() - begin < settle:
                function()
            start = time.perf_counter_ns()
            for _ in range(count):
                function()
            measured.append((time.perf_counter_ns() - start) / count / 1e3)
    return times


def case_of(name: str, ours: list[float], theirs: list[float], target: float | None = None, threads: int = 1) -> Case:
    """A case from the times of each round."""
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
    return Case(
        name, statistics.median(ours), statistics.median(theirs), statistics.median(ratios), low, high, target, threads
    )


def table(cases: list[Case], title: str) -> str:
    """The cases as text."""
    lines = [title, f"{'case':<44} {'ours µs':>10} {'torch µs':>10} {'ratio':>6}  {'quartiles':>11}  target"]
    for c in cases:
        target = "" if c.target is None else f"{c.target:.2f} {'met' if c.met else 'MISSED'}"
        lines.append(
            f"{c.name:<44} {c.ours:>10.2f} {c.theirs:>10.2f} {c.ratio:>6.2f}  "
            f"{c.lowest:.2f} - {c.highest:.2f}  {target}".rstrip()
        )
    return "\n".join(lines)


# What decides how fast kernels can be.
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "amx_tile", "amx_bf16")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    """What git says of the checkout: nothing where there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """What was measured on, what, and when: processor, versions, commit, date."""
    processor = platform.processor()
    flags: list[str] = []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line]
        known = {name.strip(): value.strip() for name, value in reversed(lines)}
        processor = known.get("model name", processor)
        flags = [flag for flag in FLAGS if flag in known.get("flags", "").split()]
    torch = sys.modules.get("torch")
    return {
        "processor": processor,
        "instructions": flags,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": _version("numba"),
        "llvmlite": _version("llvmlite"),
        "tbb": _version("tbb"),
        "torch": getattr(torch, "__version__", None) or _version("torch"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def save(path: str | None, cases: list[Case], **more: Any) -> None:
    """Write the cases as JSON with the machine's description; ``-`` is standard output."""
    if path:
        text = json.dumps({"machine": machine(), **more, "cases": [asdict(c) for c in cases]}, indent=2)
        if path == "-":
            print(text)
        else:
            Path(path).write_text(text + "\n")


def require_torch() -> Any:
    """PyTorch in the version that the figures are compared with."""
    try:
        import torch
    except ImportError:
        raise SystemExit("this benchmark compares with PyTorch: pip install 'torch==2.13.0'") from None
    if torch.__version__.split("+")[0] != "2.13.0":
        print(f"note: PyTorch is {torch.__version__}, the targets were set against 2.13.0", file=sys.stderr)
    torch.set_float32_matmul_precision("highest")
    return torch


def torch_if_installed() -> Any:
    """The same, or None."""
    return require_torch() if importlib.util.find_spec("torch") is not None else None


def with_threads(threads: int, module: str, arguments: list[str]) -> None:
    """Start this benchmark again with that many threads: the libraries read the number when they are loaded."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    if any(os.environ.get(name) != str(threads) for name in names):
        environment = os.environ | {name: str(threads) for name in names}
        raise SystemExit(subprocess.run([sys.executable, "-m", module, *arguments], env=environment).returncode)
