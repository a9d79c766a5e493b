"""Where arrays lie, which dtypes kernels take, and scratch memory, which the next call uses again."""

from __future__ import annotations

import ctypes
import sys
import threading

import numpy as np

ALIGNMENT = 64  # bytes of a cache line and of the widest register
# The dtypes that have kernels, in the machine's byte order, and a scalar of each.
LIKE = {np.dtype(np.float32): np.float32(0), np.dtype(np.float64): np.float64(0)}
NONE = -1, 0, None  # of a buffer: size, address, memory
_mine = threading.local()  # two Python threads may be inside kernels at once


def aligned(size: int) -> np.ndarray:
    """New memory of ``size`` bytes that starts at a multiple of 64."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(raw) % ALIGNMENT
    return raw[start : start + size]


def scratch(name: str, size: int) -> int:
    """The address of at least ``size`` bytes, this thread's own under ``name``, valid until the next call."""
    buffers = _mine.__dict__
    there, place, _ = buffers.get(name, NONE)
    if there < size:
        buffer = aligned(size)
        place = address(buffer)
        buffers[name] = size, place, buffer
    return place


_pointer = ctypes.c_ssize_t.from_address
_probe = np.empty(1, np.uint8)
_OFFSET = object.__basicsize__  # in NumPy's structure of an array the address of the elements comes first
_DIRECT = sys.implementation.name == "cpython" and _pointer(id(_probe) + _OFFSET).value == _probe.ctypes.data


def address(x: np.ndarray) -> int:
    """Where the elements of ``x`` start: ``x.ctypes.data``, which takes longer than a small kernel."""
    if not isinstance(x, np.ndarray):  # an array of a GPU beside NumPy's: any address read from it would be a wrong one
        raise TypeError(f"expected an array of NumPy, got {type(x).__module__}.{type(x).__qualname__}")
    return _pointer(id(x) + _OFFSET).value if _DIRECT else int(x.ctypes.data)
