"""The GPU as the user asks for it: whether there is one, and who holds its memory."""

from __future__ import annotations

from tinygrad_notes import lazy
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.tensor import cuda_array_module

__all__ = ["empty_cache", "is_available", "memory_summary", "synchronize"]

GRAPHS = "tinygrad_notes.kernels.cuda.graph"


def is_available() -> bool:
    """Whether ``t.to("cuda")`` works here: CuPy is installed and finds a GPU.

    >>> tn.cuda.is_available() in (True, False)
    True
    """
    try:
        cuda_array_module()
    except DeviceError:
        return False
    return True


def synchronize() -> None:
    """Wait until the GPU has done all that it was given.

    >>> if tn.cuda.is_available():
    ...     tn.cuda.synchronize()
    """
    cuda_array_module().cuda.Device().synchronize()


def empty_cache() -> None:
    """Give the memory that CuPy keeps for later arrays back to the driver; that of captured steps stays.

    >>> if tn.cuda.is_available():
    ...     tn.cuda.empty_cache()
    """
    cupy = cuda_array_module()
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


def memory_summary() -> str:
    """Who holds the memory of the current GPU: a table of MiB. DeviceError where there is none.

    *arrays* are alive; *kept* is what CuPy asked the driver for and holds for later arrays; *captured steps* have pools
    of their own (see :func:`tinygrad_notes.capture`); *other* is the driver's, of libraries, and of other processes.

    >>> text = tn.cuda.memory_summary() if tn.cuda.is_available() else ""
    """
    cupy = cuda_array_module()
    pool = cupy.get_default_memory_pool()
    arrays, kept = pool.used_bytes(), pool.total_bytes() - pool.used_bytes()
    captured = sum(own.pool.total_bytes() for own in list(lazy.load(GRAPHS).RECORDINGS))
    free, total = cupy.cuda.runtime.memGetInfo()
    rows = {
        "arrays": arrays,
        "kept": kept,
        "captured steps": captured,
        "other": max(0, total - free - arrays - kept - captured),
        "free": free,
        "all": total,
    }
    device = cupy.cuda.Device().id
    name = cupy.cuda.runtime.getDeviceProperties(device)["name"]
    name = name.decode() if isinstance(name, bytes) else name
    return "\n".join(
        [f"{name}, device {device}", *(f"{who:<15}{size / 2**20:>12,.1f} MiB" for who, size in rows.items())]
    )
