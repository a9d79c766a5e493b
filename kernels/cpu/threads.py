"""One pool of threads, Numba's, on TBB where it is installed.

TBB's pool may be entered from several Python threads and after a fork. Numba's other layers may not: without TBB a lock
lets one caller in at a time, and a forked child computes alone.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numba

from tinygrad_notes.errors import DTypeError

config: Any = numba.config
_state: dict[str, Any] = {"count": None, "forked": False}


def _load_tbb() -> bool:
    """Load the library of the installed ``tbb`` distribution, before Numba looks for one on the system's path."""
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        return False
    for file in files:
        if file.name in ("libtbb.so.12", "libtbb.12.dylib", "tbb12.dll"):
            try:
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                return False
            return True
    return False


def _can_use_tbb() -> bool:
    """Whether the library is there, Numba was built for it, and no other pool is running already."""
    if not _load_tbb():
        return False
    try:
        importlib.import_module("numba.np.ufunc.tbbpool")
        return bool(numba.threading_layer() == "tbb")
    except ImportError:
        return False
    except ValueError:  # no pool is running
        return True


HAS_TBB = _can_use_tbb()
if HAS_TBB and config.THREADING_LAYER == "default":  # unless the user chose another
    config.THREADING_LAYER_PRIORITY = ["tbb", "omp", "workqueue"]
SAFE = HAS_TBB and config.THREADING_LAYER in ("default", "tbb", "threadsafe", "forksafe", "safe")
_lock: Any = nullcontext() if SAFE else threading.Lock()


def _after_fork() -> None:
    global _lock
    _state["forked"] = True
    _lock = nullcontext() if SAFE else threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def pool() -> AbstractContextManager[Any]:
    """The right to start work on the pool."""
    return _lock


def usable() -> bool:
    """Whether this process may start work on the pool: not a forked child of one that had it, unless it is safe."""
    return SAFE or not _state["forked"]


def set_num_threads(count: int) -> None:
    """How many threads a kernel may use, from now on, in the whole process."""
    most = config.NUMBA_NUM_THREADS
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
        raise DTypeError(f"set_num_threads: count is {count!r}, expected an integer from 1 to {most}")
    _state["count"] = count


def get_num_threads() -> int:
    """How many threads a kernel may use."""
    return _state["count"] or config.NUMBA_NUM_THREADS


def threads_for(work: float, least: float) -> int:
    """As many threads as ``work`` keeps busy, when less than ``least`` for each is not worth waking one."""
    if not usable():
        return 1
    return max(1, min(get_num_threads(), int(work / least)))
