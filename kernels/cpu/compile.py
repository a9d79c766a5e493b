"""``@kernel`` and ``@parallel_kernel``: Numba's compiler with the project's options, and a cache that notices edits.

Numba looks for edits in the one file of a function. Kernels call micro-kernels of other files, so the folder of
compiled code is named by a hash of all sources here, of the versions of Numba, LLVM and NumPy, and of the machine.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba import prange
from numba.core import event

from tinygrad_notes.kernels.cpu import entries, threads
from tinygrad_notes.kernels.cpu.buffers import address, aligned
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE

HERE = Path(__file__).parent
config: Any = numba.config


def sources_hash() -> str:
    """A name for all that the machine code depends on."""
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes() + b"\0")
    digest.update(repr((numba.__version__, llvmlite.__version__, np.__version__, MACHINE.key())).encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled code is kept: in ``TINYGRAD_NOTES_CACHE``, else in the user's cache folder."""
    given = os.environ.get("TINYGRAD_NOTES_CACHE")
    if given:
        return Path(given) / sources_hash()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tinygrad-notes" / "kernels" / sources_hash()


FOLDER = cache_folder()
if "avx512f" in MACHINE.features:  # LLVM would rather use half of each register; read when Numba first compiles
    config.CPU_NAME = llvm.get_host_cpu_name()
    config.CPU_FEATURES = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"


def kernel(function: Callable[..., Any]) -> Any:
    """A function for one thread, compiled at its first call, which other kernels may call too."""
    return _compiled(function, parallel=False)


class ParallelKernel:
    """A function whose last arguments are ``thread`` and ``threads``: the share of the work of one of so many threads.

    It is called with all arguments but ``thread``, and runs once for each thread: on Numba's pool, or one after the
    other where one thread is asked for or no pool is usable. All shares are the same machine code, compiled once, so
    the number of threads changes no bit but through the cut of the work.

    Arguments are integers, scalars of a dtype, tuples of them, always as long, and small contiguous arrays. They are
    written into a block of 8-byte slots, which an *entry*, a few instructions long, reads and passes on. What
    Numba compiles of ``prange`` is in ``run`` alone, for all kernels; for each it would take longer than the kernel.
    """

    def __init__(self, function: Callable[..., Any]):
        self.share = _compiled(function, parallel=False)
        self.plans: dict[type, tuple[Callable[..., None], int]] = {}
        self.telling: int | None = None  # the place of a scalar of the dtype, on which alone other kinds depend
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> None:
        if self.telling is None:
            scalars = (i for i, argument in enumerate(arguments) if isinstance(argument, np.floating))
            self.telling = next(scalars, 0)
        kind = type(arguments[self.telling])
        plan = self.plans.get(kind)
        if plan is None:
            plan = self.plans[kind] = entries.plan(self.share, arguments)
        write, entry = plan
        buffer, block = _block()
        write(buffer, 0, *arguments)
        shares = arguments[-1]
        if shares == 1 or not threads.usable():
            run_alone(entry, block, shares)
        else:
            with threads.pool():
                run(entry, block, shares)


def parallel_kernel(function: Callable[..., Any]) -> ParallelKernel:
    """A function for many threads: see :class:`ParallelKernel`."""
    return ParallelKernel(function)


_mine = threading.local()


def _block() -> tuple[Any, int]:
    """Room for the arguments of this Python thread's call, and its address."""
    try:
        return _mine.block
    except AttributeError:
        buffer = aligned(entries.BLOCK_BYTES)
        _mine.block = buffer, address(buffer)
        return _mine.block


def _compiled(function: Callable[..., Any], parallel: bool) -> Any:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(FOLDER)  # read when the decorator runs; other people's functions keep their own
    try:
        return numba.njit(function, parallel=parallel, nogil=True, cache=True, error_model="numpy")
    finally:
        config.CACHE_DIR = before


class _Notice(event.Listener):
    """Says once, on the terminal, why a first call takes its time."""

    def __init__(self) -> None:
        self.timer: threading.Timer | None = None
        self.depth = 0
        self.said = False

    def on_start(self, event: Any) -> None:
        self.depth += 1
        if self.depth == 1 and not self.said:
            self.timer = threading.Timer(1.0, self._say)
            self.timer.daemon = True
            self.timer.start()

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _say(self) -> None:
        self.said = True
        print(f"tinygrad-notes: compiling kernels for this machine, once; they are kept in {FOLDER}", file=sys.stderr)


event.register("numba:compile", _Notice())


# ---------------------------------------------------------------------- the only loop over threads


def _run(entry, block, shares):
    for thread in prange(shares):
        entries.enter(entry, block, thread)


def _run_alone(entry, block, shares):
    for thread in range(shares):
        entries.enter(entry, block, thread)


run, run_alone = _compiled(_run, parallel=True), _compiled(_run_alone, parallel=False)
