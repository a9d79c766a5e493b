"""Dropout with a generator that counts: element i of a mask depends only on the seed and on i, on every backend."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

GOLDEN_RATIO = 0x9E3779B97F4A7C15  # 2^64 / φ, odd: the step of SplitMix64
WORD = 2**64


def dropout_mask(x: Array, p: float, seed: int) -> Array:
    """Which elements of x are kept, a bool array of its shape: each with probability 1 - p.

    Element i in C order draws z = seed + (i + 1)·0x9E3779B97F4A7C15 mod 2^64 through SplitMix64's mixing function
    (Steele, Lea and Flood, 2014) and is kept where the top 24 bits of z, as a fraction of 2^24, are at least p.
    """
    z = np.arange(1, math.prod(x.shape) + 1, like=x, dtype=np.uint64)
    z *= np.uint64(GOLDEN_RATIO)
    z += np.uint64(seed % WORD)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(40)
    return (z >= np.uint64(math.ceil(p * 2**24))).reshape(x.shape)


def dropout(x: Array, p: float, seed: int) -> Array:
    """x / (1 - p) where ``dropout_mask`` keeps it and 0 elsewhere, whatever x is there. Its derivative is itself."""
    if p == 1:
        return np.zeros_like(x)
    return np.where(dropout_mask(x, p, seed), x / (1 - p), 0)
