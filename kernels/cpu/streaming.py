"""Large results, written past the caches.

A store to memory that is not in a cache first reads its line. For a result that is too large to be in the cache when
it is next read, that traffic is for nothing. Stores past the caches take whole lines; the ends of a row, which share
theirs with other rows, are stored as ever, so very short rows are not worth it.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.kernels.cpu.isa.rows import row

LARGE = 1 << 23  # bytes of a result
SHORT = 1 << 9  # bytes of a row


def _copied(v, x, scalars):
    return x, []


stream_copy = row(1, 1, 0, _copied, streams=True)


def streams(y: np.ndarray, length: int) -> bool:
    """Whether rows of ``length`` elements of ``y`` are to be written past the caches."""
    return y.nbytes >= LARGE and length * y.itemsize >= SHORT
