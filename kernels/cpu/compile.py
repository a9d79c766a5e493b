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
from types import FunctionType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import event

from tinygrad_notes.kernels.cpu import threads
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
    """A function whose last argument is the number of threads, over which it splits its work by ``prange``.

    It is compiled twice: ``parallel`` runs on Numba's pool, ``serial`` is the same text with ``prange`` as a plain
    loop, which small inputs and processes without a usable pool take. Both give the same bits: a share is computed the
    same way, whoever does it.
    """

    def __init__(self, function: Callable[..., Any]):
        self.parallel = _compiled(function, parallel=True)
        # under another name, because Numba's cache knows a function by its name
        alone = FunctionType(function.__code__, function.__globals__, f"{function.__name__}_serial")
        alone.__qualname__ = alone.__name__
        self.serial = _compiled(alone, parallel=False)
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> Any:
        count = arguments[-1]
        if count == 1:
            return self.serial(*arguments)
        with threads.pool():
            return self.parallel(*arguments)


def parallel_kernel(function: Callable[..., Any]) -> ParallelKernel:
    """A function for many threads: see :class:`ParallelKernel`."""
    return ParallelKernel(function)


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
