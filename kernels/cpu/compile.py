"""``@kernel`` and ``@parallel_kernel``: Numba's compiler with the project's options, and a cache that notices edits.

Numba looks for edits in the one file of a function. Kernels call micro-kernels of other files, so the folder of
compiled code is named by a hash of all sources here, of the versions of Numba, LLVM and NumPy, of Numba's options, and
of the machine. Where no folder can be written, each process compiles for itself.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import types
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
njit: Any = numba.njit  # the types that Numba tells do not name all of its options
OPTIONS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "CPU_NAME", "CPU_FEATURES")  # Numba's


def sources_hash() -> str:
    """A name for all that the machine code depends on."""
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes() + b"\0")
    options = [str(getattr(config, name, None)) for name in OPTIONS]
    digest.update(repr((numba.__version__, llvmlite.__version__, np.__version__, options, MACHINE.key())).encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path | None:
    """Where compiled code is kept: in ``TINYGRAD_NOTES_CACHE``, else in the user's cache folder, if there is one."""
    given = os.environ.get("TINYGRAD_NOTES_CACHE")
    if given:
        return Path(given) / sources_hash()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return Path(base) / "tinygrad-notes" / "kernels" / sources_hash()


def can_keep(folder: Path | None) -> bool:
    """Whether files can be written there. Else Numba would look for other places, whose code may be old."""
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


FOLDER = cache_folder()
KEEPS = can_keep(FOLDER)
# LLVM would rather use half of each register; read when Numba first compiles
if "avx512f" in MACHINE.features and config.CPU_NAME is None:
    config.CPU_NAME = llvm.get_host_cpu_name()
    config.CPU_FEATURES = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"


def kernel(function: Callable[..., Any]) -> Any:
    """A function for one thread, compiled at its first call, which other kernels may call too."""
    return _compiled(function, no_cfunc_wrapper=True)


class ParallelKernel:
    """A function whose last arguments are ``thread`` and ``threads``: the share of the work of one of so many threads.

    It is called with all arguments but ``thread``, and runs once for each thread: on Numba's pool, or one after the
    other where one thread is asked for or no pool is usable. All shares are the same machine code, compiled once, so
    the number of threads changes no bit but through the cut of the work.

    Arguments are integers, scalars of a dtype, tuples of them, always as long, and small contiguous arrays of always
    the same dtypes. They are written into a block of 8-byte slots, which an *entry*, a few instructions long, reads and
    passes on. What Numba compiles of ``prange`` is in ``run`` alone, for all kernels; for each it would take longer
    than the kernel.
    """

    def __init__(self, function: Callable[..., Any]):
        # Called by an entry alone. What Numba would put around it for Python and for C, it would compile as well.
        self.share = _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)
        self.plans: dict[Any, tuple[Callable[..., None], int]] = {}
        self.telling: Callable[[tuple[Any, ...]], Any] | None = None  # of the first call's NumPy scalars, their types
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Any) -> None:
        telling = self.telling or _telling(arguments)
        kind = telling(arguments)
        plan = self.plans.get(kind)
        if plan is None:
            plan = self.plans[kind] = entries.plan(self.share, arguments)
            self.telling = telling  # only now: the arguments may have been wrong
        write, entry = plan
        try:
            block = _blocks.pop()  # not one of each Python thread: a signal's handler may call a kernel in between
        except IndexError:
            memory = aligned(entries.BLOCK_BYTES)
            memory.fill(0)
            block = memoryview(memory.data).cast("q"), address(memory)
        slots, place = block
        write(slots, 0, *arguments)
        shares = arguments[-1]
        if shares == 1 or not threads.usable():
            run_alone(entry, place, shares)
        else:
            with threads.pool():
                run(entry, place, shares)
        failed = slots[-1]
        slots[-1] = 0
        _blocks.append(block)
        if failed:
            raise RuntimeError(f"{self.__name__}: an exception was raised inside the kernel")


_blocks: list[tuple[memoryview, int]] = []  # room for the arguments of a call, and where it is; none that are in use


def _telling(arguments: tuple[Any, ...]) -> Callable[[tuple[Any, ...]], Any]:
    """A function of later arguments: the types of those that are scalars of a dtype here. Other kinds never change."""
    places = [i for i, argument in enumerate(arguments) if isinstance(argument, np.floating)]
    if len(places) == 1:
        [place] = places
        return lambda arguments: type(arguments[place])
    return lambda arguments: tuple([type(arguments[place]) for place in places])


def parallel_kernel(function: Callable[..., Any]) -> ParallelKernel:
    """A function for many threads: see :class:`ParallelKernel`."""
    return ParallelKernel(function)


def instance(text: Callable[..., Any], name: str, **meant: Any) -> ParallelKernel:
    """A parallel kernel made of the text of a function in which some of the module's names mean what is given here.

    Numba reads global names when it compiles, and keeps machine code under the name of the function: one text serves
    many kernels, each compiled when it is first called. (A closure would be as good, but Numba cannot keep those whose
    cells hold micro-kernels.)
    """
    function = types.FunctionType(text.__code__, text.__globals__ | meant, name)
    function.__qualname__, function.__module__, function.__doc__ = name, text.__module__, text.__doc__
    return ParallelKernel(function)


def _compiled(function: Callable[..., Any], **options: bool) -> Any:
    before = config.CACHE_DIR, config.DISABLE_JIT
    # Read when the decorator runs; other people's functions keep their own. Kernels are nothing without a compiler.
    config.CACHE_DIR, config.DISABLE_JIT = str(FOLDER), 0
    try:
        return njit(function, nogil=True, cache=KEEPS, error_model="numpy", **options)
    finally:
        config.CACHE_DIR, config.DISABLE_JIT = before


class _Notice(event.Listener):
    """Says once, on the terminal, why a first call takes its time."""

    def __init__(self) -> None:
        self.timer: threading.Timer | None = None
        self.depth = 0
        self.said = False

    def on_start(self, event: Any) -> None:
        self.depth += 1
        ours = event.data["dispatcher"].py_func.__module__.startswith(__package__)  # not a function of the user's
        if self.depth == 1 and ours and not self.said:
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
        kept = f"once; they are kept in {FOLDER}" if KEEPS else f"for this process alone: cannot write to {FOLDER}"
        print(f"tinygrad-notes: compiling kernels for this machine, {kept}", file=sys.stderr)


event.register("numba:compile", _Notice())


# ---------------------------------------------------------------------- the only loop over threads


def _run(entry, block, shares):
    for thread in prange(shares):
        entries.enter(entry, block, thread)


def _run_alone(entry, block, shares):
    for thread in range(shares):
        entries.enter(entry, block, thread)


run, run_alone = _compiled(_run, parallel=True), _compiled(_run_alone)
