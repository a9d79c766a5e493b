"""Connectionist temporal classification: a block for each sequence, its states along the threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, contiguous

Array = np.ndarray
KINDS = dict.fromkeys(("ctc_loss", "ctc_loss_grad"), "kernel")

MOST_THREADS = 512
SHARED = 96 * 1024  # bytes that a block's states may take; longer targets are the reference's
FORWARD_BYTES, BACKWARD_BYTES = 2 * 8 + 4, 3 * 8 + 3 * 4  # shared memory of a state

KERNELS = Kernels("ctc.cu", [f"ctc_{step}<{name}>" for step in ("forward", "backward") for name in TYPES.values()])


def ctc_loss(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """-log of the summed probability of all alignments of each target; log_alpha, the forward variables."""
    frames, batch, classes = log_probs.shape
    longest = targets.shape[1]
    states = 2 * longest + 1
    if log_probs.dtype not in TYPES or log_probs.size == 0 or states * FORWARD_BYTES > SHARED:
        return reference.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank)
    losses = np.empty(batch, log_probs.dtype, like=log_probs)
    log_alpha = np.empty((frames, batch, states), log_probs.dtype, like=log_probs)
    arrays = contiguous(log_probs), *_integers(targets, input_lengths, target_lengths), losses, log_alpha
    sizes = np.int64(frames), np.int64(classes), np.int32(longest), np.int32(blank)
    _launch("forward", log_probs, states, FORWARD_BYTES, (*arrays, *sizes))
    return losses, log_alpha


def ctc_loss_grad(
    g: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    log_alpha: Array,
) -> Array:
    """-g times the probability of each label in each frame, given the target."""
    longest = targets.shape[1]
    states = 2 * longest + 1
    mixed = not log_probs.dtype == g.dtype == log_alpha.dtype
    if mixed or log_probs.dtype not in TYPES or log_probs.size == 0 or states * BACKWARD_BYTES > SHARED:
        return reference.ctc_loss_grad(g, log_probs, targets, input_lengths, target_lengths, blank, log_alpha)
    dlog_probs = np.zeros(log_probs.shape, log_probs.dtype, like=log_probs)
    of_targets = _integers(targets, input_lengths, target_lengths)
    arrays = contiguous(g), contiguous(log_probs), *of_targets, contiguous(log_alpha)
    sizes = *map(np.int64, log_probs.shape[::2]), np.int32(longest), np.int32(blank)
    _launch("backward", log_probs, states, BACKWARD_BYTES, (*arrays, dlog_probs, *sizes))
    return dlog_probs


def _integers(*arrays: Array) -> tuple[Array, ...]:
    return tuple(contiguous(array.astype(np.int64, copy=False)) for array in arrays)


def _launch(step: str, log_probs: Array, states: int, bytes_of_state: int, arguments: tuple[Any, ...]) -> None:
    threads = min(-(-states // 32) * 32, MOST_THREADS)
    kernel = f"ctc_{step}<{TYPES[log_probs.dtype]}>"
    KERNELS.launch(kernel, (log_probs.shape[1],), (threads,), arguments, states * bytes_of_state)
