"""Cross-entropy: a warp or a block for each row of logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous

Array = np.ndarray
FUNCTIONS = (
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_probabilities",
    "cross_entropy_probabilities_grad",
)
KINDS = dict.fromkeys(FUNCTIONS, "kernel")

FEW = 1024  # classes of a row that a warp does
MANY = 8192  # classes of a row that a larger block does: fewer rows at once, whose elements stay in the cache
WARP_THREADS, BLOCK_THREADS, LARGE_BLOCK_THREADS = 128, 256, 1024

KERNELS = Kernels(
    "loss.cu",
    [f"{name}<{of}, {by_warp}>" for name in FUNCTIONS for of in TYPES.values() for by_warp in ("false", "true")],
)


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array, Array]:
    """-(1 - s) w[y] log p[y] - s / C Σ w log p of each row, its share of the mean's divisor, and its logsumexp."""
    if not _fits(logits, weight):
        return reference.cross_entropy(logits, target, weight, ignore_index, label_smoothing)
    results = [np.empty(logits.shape[0], logits.dtype, like=logits) for _ in range(3)]
    logits, weights = contiguous(logits), _in_order(logits, weight)
    arguments = logits, _integers(target), weights, *results, *_sizes(logits), np.int64(ignore_index)
    _launch("cross_entropy", logits, (*arguments, *_smoothing(logits, label_smoothing), np.int32(weight is not None)))
    losses, normalizer, logsumexp = results
    return losses, normalizer, logsumexp


def cross_entropy_grad(
    g: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    logsumexp: Array,
) -> Array:
    """g (p Σ t - t), t the smoothed and weighted target; 0 in rows that are ignored."""
    if not _fits(logits, g, weight, logsumexp):
        return reference.cross_entropy_grad(g, logits, target, weight, ignore_index, label_smoothing, logsumexp)
    dlogits = np.empty(logits.shape, logits.dtype, like=logits)
    g, logits, logsumexp = (contiguous(array) for array in (g, logits, logsumexp))
    arrays = g, logits, _integers(target), _in_order(logits, weight), logsumexp, dlogits
    arguments = *arrays, *_sizes(logits), np.int64(ignore_index), *_smoothing(logits, label_smoothing)
    _launch("cross_entropy_grad", logits, (*arguments, np.int32(weight is not None)))
    return dlogits


def cross_entropy_probabilities(
    logits: Array, target_probabilities: Array, weight: Array | None, label_smoothing: float
) -> tuple[Array, Array]:
    """-Σ w ((1 - s) t + s / C) log p of each row, and its logsumexp."""
    if not _fits(logits, target_probabilities, weight):
        return reference.cross_entropy_probabilities(logits, target_probabilities, weight, label_smoothing)
    losses, logsumexp = (np.empty(logits.shape[0], logits.dtype, like=logits) for _ in range(2))
    logits, target = contiguous(logits), contiguous(target_probabilities)
    arguments = logits, target, _in_order(logits, weight), losses, logsumexp, *_sizes(logits)
    flags = *_smoothing(logits, label_smoothing), np.int32(weight is not None)
    _launch("cross_entropy_probabilities", logits, (*arguments, *flags))
    return losses, logsumexp


def cross_entropy_probabilities_grad(
    g: Array,
    logits: Array,
    target_probabilities: Array,
    weight: Array | None,
    label_smoothing: float,
    logsumexp: Array,
) -> tuple[Array, Array]:
    """g (p Σ t - t) with t the smoothed and weighted target, and -g (1 - s) w log p."""
    if not _fits(logits, g, target_probabilities, weight, logsumexp):
        return reference.cross_entropy_probabilities_grad(
            g, logits, target_probabilities, weight, label_smoothing, logsumexp
        )
    dlogits, dtarget = (np.empty(logits.shape, logits.dtype, like=logits) for _ in range(2))
    g, logits, target = (contiguous(array) for array in (g, logits, target_probabilities))
    arguments = g, logits, target, _in_order(logits, weight), dlogits, dtarget, *_sizes(logits)
    flags = *_smoothing(logits, label_smoothing), np.int32(weight is not None)
    _launch("cross_entropy_probabilities_grad", logits, (*arguments, *flags))
    return dlogits, dtarget


def _fits(logits: Array, *others: Array | None) -> bool:
    same = all(other is None or other.dtype == logits.dtype for other in others)
    return logits.dtype in TYPES and logits.size > 0 and same


def _integers(target: Array) -> Array:
    return contiguous(target.astype(np.int64, copy=False))


def _in_order(logits: Array, weight: Array | None) -> Array:
    """The weights in C order; anything where there are none, because a kernel takes arrays."""
    return logits if weight is None else contiguous(weight)


def _sizes(logits: Array) -> tuple[Any, Any]:
    return np.int64(logits.shape[0]), np.int64(logits.shape[1])


def _smoothing(logits: Array, label_smoothing: float) -> tuple[Any, Any]:
    """What a target keeps of itself, and what every class is given."""
    of = logits.dtype.type
    return of(1 - label_smoothing), of(label_smoothing / logits.shape[1])


def _launch(function: str, logits: Array, arguments: tuple[Any, ...]) -> None:
    rows, classes = logits.shape
    name = TYPES[logits.dtype]
    if classes <= FEW:
        KERNELS.launch(f"{function}<{name}, true>", blocks(rows, WARP_THREADS // 32), (WARP_THREADS,), arguments)
    else:
        threads = BLOCK_THREADS if classes <= MANY else LARGE_BLOCK_THREADS
        KERNELS.launch(f"{function}<{name}, false>", (rows,), (threads,), arguments)
