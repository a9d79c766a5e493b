"""One process for each choice of kernels: starts it, reads what it says, line by line, also when it ends badly."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

THREADS = 2
# What an instruction set needs, in LLVM's words.
NEEDS = {
    "generic": set(),
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "amx": {"amx-tile", "amx-bf16"},
}


@dataclass(frozen=True)
class Backend:
    """``kernels``: a choice of ``tn.use_kernels``; ``isa``: the instruction set that is forced, "" for none."""

    kernels: str
    isa: str = ""

    @property
    def name(self) -> str:
        return self.isa or self.kernels


def available() -> list[str]:
    """The instruction sets that the CPU kernels know and this machine has."""
    from tinygrad_notes.kernels.cpu.isa import machine

    return [isa for isa in machine.NAMES if NEEDS.get(isa, set()) <= machine.MACHINE.features]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks of kernels share."""
    parser.add_argument("--kernels", default="cpu", help="cpu, reference, or both: cpu,reference (default cpu)")
    parser.add_argument("--isa", help="instruction sets, by commas, a process each (default: all this machine has)")
    parser.add_argument("--only", metavar="PATTERN", default="", help="cases whose name matches this expression")
    parser.add_argument("--rounds", type=int, default=15, help="of ours and theirs in turns (default 15)")
    parser.add_argument("--quick", action="store_true", help="3 rounds and coarse limits: a look, not a figure")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON ('-' is standard output)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)


def chosen(options: argparse.Namespace) -> list[Backend]:
    """The backends that the options name, in the order in which they run."""
    backends = []
    for kernels in options.kernels.split(","):
        if kernels == "cpu":
            backends += [Backend("cpu", isa) for isa in (options.isa.split(",") if options.isa else available())]
        else:
            backends.append(Backend(kernels))
    return backends


def run(module: str, backend: Backend, arguments: list[str]) -> dict[str, Any]:
    """The module in a process of its own: what it printed, gathered by kind, and how it ended."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | {name: str(THREADS) for name in names}
    environment.pop("TINYGRAD_NOTES_ISA", None)
    if backend.isa:
        environment["TINYGRAD_NOTES_ISA"] = backend.isa
    command = [sys.executable, "-m", module, "--alone", "--kernels", backend.kernels, *arguments]
    native = not backend.isa or backend.isa in available()
    found: dict[str, Any] = {"backend": backend.name, "native": native, "limits": None, "records": [], "failures": []}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            kind, value = json.loads(line)
            if kind == "limits":
                found["limits"] = value
            else:
                found[kind].append(value)
    if process.returncode:
        last = found["records"][-1]["name"] if found["records"] else "the start"
        found["failures"].append({"name": "the process", "error": f"ended with {process.returncode} after {last}"})
    return found


def tell(kind: str, value: Any) -> None:
    """In the process of a backend: a line for the one that started it."""
    print(json.dumps([kind, value]), flush=True)


@contextmanager
def within(kernels: str) -> Iterator[Any]:
    """In the process of a backend: its kernels chosen, both libraries on two threads; gives torch."""
    import tinygrad_notes as tn
    from benchmarks.timing import require_torch

    torch = require_torch()
    torch.set_num_threads(THREADS)
    if kernels == "cpu":
        tn.set_num_threads(THREADS)
    with tn.use_kernels(kernels):
        yield torch


def measure_all(cases: Iterable[Any], only: str, measure: Callable[[Any, Any], list[Any]]) -> None:
    """In the process of a backend: every pass whose name matches, told to the starter and, in a line, to the user."""
    for case in cases:
        for one in case.passes:
            name = f"{case.name}, {one.name}"
            if not re.search(only, name):
                continue
            try:
                found = measure(case, one)
            except Exception as error:  # the other cases are still worth measuring
                tell("failures", {"name": name, "error": f"{type(error).__name__}: {error}"})
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            for r in found:
                tell("records", asdict(r) | {"accurate": r.accurate})
                times = f"{r.ours / 1e3:.3f} ms, torch {r.theirs / 1e3:.3f} ms, ratio {r.ratio:.2f}"
                print(f"{r.name} ({r.layout}): {times}", file=sys.stderr)


class CompileTime:
    """How many seconds Numba has compiled so far in this process."""

    def __init__(self) -> None:
        self.seconds: Callable[[], float] = lambda: 0.0
        if "numba" not in sys.modules:
            return
        from numba.core import event

        recorder = event.RecordingListener()
        event.register("numba:compile", recorder)

        def total() -> float:
            depth, begin, seconds = 0, 0.0, 0.0
            for at, one in recorder.buffer:  # kernels compile the kernels they call: count the outermost
                if one.is_start:
                    begin = at if depth == 0 else begin
                    depth += 1
                else:
                    depth -= 1
                    seconds += at - begin if depth == 0 else 0.0
            return seconds

        self.seconds = total
