"""Scratch memory: aligned to 64 bytes, a cache line and the widest register, and used again by the next call."""

from __future__ import annotations

import threading

import numpy as np

ALIGNMENT = 64
_mine = threading.local()  # two Python threads may be inside kernels at once


def aligned(size: int) -> np.ndarray:
    """New memory of ``size`` bytes that starts at a multiple of 64."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def scratch(name: str, size: int) -> int:
    """The address of at least ``size`` bytes, this thread's own under ``name``, valid until the next call."""
    buffers = _mine.__dict__
    buffer = buffers.get(name)
    if buffer is None or buffer.size < size:
        buffers[name] = buffer = aligned(size)
    return int(buffer.ctypes.data)
