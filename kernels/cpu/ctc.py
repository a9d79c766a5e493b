"""Connectionist temporal classification: one job per sequence, its states in two rows of float64.

States are blank, l1, blank, l2, ..., blank. All sums of probabilities run on logarithms, so that an alignment that is
unlikely now, and turns out to be the only one, is not lost.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, get_int64, put_int64, rounded
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 512  # states times frames that repay waking a thread
NEVER = -math.inf


@kernel
def log_sum(a, b, c):
    """log(exp a + exp b + exp c), without the exponential of the largest, which is 1."""
    if b > a:
        a, b = b, a
    if c > a:
        a, c = c, a
    if a == NEVER:
        return a + b + c  # -inf, or NaN
    rest = 0.0  # what is never costs no exponential
    if b != NEVER:
        rest += math.exp(b - a)
    if c != NEVER:
        rest += math.exp(c - a)
    return a if rest == 0.0 else a + math.log1p(rest)


@kernel
def write_labels(labels, targets, length, blank):
    """The label of each of 2 length + 1 states, and after each, 1 where the blank before it may be skipped."""
    for state in range(2 * length + 1):
        label = get_int64(targets + state // 2 * 8) if state % 2 else blank
        skips = state > 1 and label != blank and label != get_int64(labels + (state - 2) * 16)
        put_int64(labels + state * 16, label)
        put_int64(labels + state * 16 + 8, 1 if skips else 0)


@parallel_kernel
def forward(log_probs, targets, frames, lengths, losses, log_alpha, sizes, blank, work, like, thread, threads):
    """The losses and forward variables of all sequences. ``sizes``: T, N, C, S, and the scratch bytes of a thread."""
    size = itemsize(like)
    steps, batch, classes, longest, work_bytes = sizes
    width = 2 * longest + 1
    alpha = work + thread * work_bytes + 16  # with two states before the first that are never reached
    stepped, labels = alpha + (width + 2) * 8, alpha + 2 * (width + 2) * 8
    for n in range(thread * batch // threads, (thread + 1) * batch // threads):
        length, ends = get_int64(lengths + n * 8), 2 * get_int64(lengths + n * 8)
        write_labels(labels, targets + n * longest * 8, length, blank)
        for state in range(-2, ends + 1):
            put(alpha + state * 8, 0.0 if state == 0 else NEVER)
            put(stepped + state * 8, NEVER)
        for t in range(steps):
            to = log_alpha + (t * batch + n) * width * size
            if t >= get_int64(frames + n * 8):
                clear_bytes(to, width * size)
                continue
            from_, largest = log_probs + (t * batch + n) * classes * size, NEVER
            for state in range(ends + 1):
                at = alpha + state * 8
                skipped = get(at - 16, 0.0) if get_int64(labels + state * 16 + 8) else NEVER
                sum_ = log_sum(get(at, 0.0), get(at - 8, 0.0), skipped)
                sum_ += get(from_ + get_int64(labels + state * 16) * size, like)
                put(stepped + state * 8, sum_)
                largest = sum_ if sum_ > largest or sum_ != sum_ else largest
            alpha, stepped = stepped, alpha
            shift = largest if abs(largest) < math.inf else 0.0
            for state in range(width):
                value = get(alpha + state * 8, 0.0) - shift if state <= ends else NEVER
                put(to + state * size, rounded(value, like))
        label = get(alpha + (ends - 1) * 8, 0.0)  # without labels it is the state before the first
        put(losses + n * size, rounded(-log_sum(get(alpha + ends * 8, 0.0), label, NEVER), like))


@parallel_kernel
def backward(g, log_probs, targets, frames, lengths, log_alpha, gradient, sizes, blank, work, like, thread, threads):
    """The gradient of log_probs: minus g times the probability of each label in each frame, given the target."""
    size = itemsize(like)
    steps, batch, classes, longest, work_bytes = sizes
    width = 2 * longest + 1
    beta = work + thread * work_bytes  # with two states after the last that never lead to an end
    ahead, labels = beta + (width + 2) * 8, beta + 2 * (width + 2) * 8
    shares = labels + width * 16
    for n in range(thread * batch // threads, (thread + 1) * batch // threads):
        ends, last = 2 * get_int64(lengths + n * 8), get_int64(frames + n * 8)
        write_labels(labels, targets + n * longest * 8, get_int64(lengths + n * 8), blank)
        for state in range(ends + 3):
            put(beta + state * 8, 0.0 if ends - 1 <= state <= ends else NEVER)
            put(ahead + state * 8, NEVER)
        for t in range(steps - 1, -1, -1):
            to = gradient + (t * batch + n) * classes * size
            if t >= last:
                clear_bytes(to, classes * size)
                continue
            from_, reached = (
                log_probs + (t * batch + n) * classes * size,
                log_alpha + (t * batch + n) * width * size,
            )
            largest = NEVER
            for state in range(ends + 1):
                through = get(reached + state * size, like) + get(beta + state * 8, 0.0)
                put(ahead + state * 8, through)
                largest = through if through > largest or through != through else largest
            shift, total = 0.0 if largest == NEVER else largest, 0.0
            for state in range(ends + 1):
                through = get(ahead + state * 8, 0.0)
                if through != NEVER:
                    through = math.exp(through - shift)
                    total += through
                else:
                    through = 0.0
                put(ahead + state * 8, through)
            for label in range(classes):
                put(shares + label * 8, 0.0 * total)  # NaN in a frame is NaN for all labels
            for state in range(ends + 1):
                at = shares + get_int64(labels + state * 16) * 8
                put(at, get(at, 0.0) + get(ahead + state * 8, 0.0))
            scale = 0.0 if total == 0.0 else -get(g + n * size, like) / total
            for label in range(classes):
                put(to + label * size, rounded(scale * get(shares + label * 8, 0.0), like))
            for state in range(ends + 1):
                there = get(from_ + get_int64(labels + state * 16) * size, like)
                put(ahead + state * 8, get(beta + state * 8, 0.0) + there)
            for state in range(ends + 1):
                at = ahead + state * 8
                skips = state + 2 <= ends and get_int64(labels + (state + 2) * 16 + 8)
                skipped = get(at + 16, 0.0) if skips else NEVER
                put(beta + state * 8, log_sum(get(at, 0.0), get(at + 8, 0.0), skipped))


# ---------------------------------------------------------------------- functions of the contract


def ctc_loss(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """-log of the summed probability of all alignments: losses (N,), and log_alpha (T, N, 2S + 1) for backward."""
    if log_probs.dtype not in LIKE:
        return reference.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank)
    log_probs = np.ascontiguousarray(log_probs)
    static = [np.ascontiguousarray(x, np.int64) for x in (targets, input_lengths, target_lengths)]
    losses = np.empty(log_probs.shape[1], log_probs.dtype)
    log_alpha = np.empty((*log_probs.shape[:2], 2 * targets.shape[1] + 1), log_probs.dtype)
    if losses.size:
        threads, sizes, work = _plan(log_probs, targets)
        forward(
            address(log_probs), *map(address, static), address(losses), address(log_alpha), sizes, int(blank), work,
            log_probs.dtype.type(0), threads,
        )  # fmt: skip
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
    """Gradient of ctc_loss for g (N,), the gradient of the losses: dlog_probs (T, N, C)."""
    if log_probs.dtype not in LIKE:
        return reference.ctc_loss_grad(g, log_probs, targets, input_lengths, target_lengths, blank, log_alpha)
    dtype = log_probs.dtype
    log_probs, g, log_alpha = (np.ascontiguousarray(x, dtype) for x in (log_probs, g, log_alpha))
    static = [np.ascontiguousarray(x, np.int64) for x in (targets, input_lengths, target_lengths)]
    gradient = np.empty(log_probs.shape, dtype)
    if gradient.size:
        threads, sizes, work = _plan(log_probs, targets)
        backward(
            address(g), address(log_probs), *map(address, static), address(log_alpha), address(gradient), sizes,
            int(blank), work, dtype.type(0), threads,
        )  # fmt: skip
    return gradient


def _plan(log_probs: Array, targets: Array) -> tuple[int, tuple[int, ...], int]:
    """Threads, sizes and scratch memory of a call."""
    steps, batch, classes = log_probs.shape
    longest = targets.shape[1]
    width = 2 * longest + 1
    work_bytes = -(-(2 * (width + 2) * 8 + 2 * 16 + width * 16 + classes * 8) // 64) * 64
    threads = min(threads_for(steps * batch * width, PER_THREAD), batch)
    return threads, (steps, batch, classes, longest, work_bytes), scratch("ctc", threads * work_bytes)
