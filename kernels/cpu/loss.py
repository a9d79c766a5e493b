"""Cross-entropy of logits in one visit to each row, without the matrices of log p and of the target distribution.

With class indices a loss is made of the row's maximum, Σ exp and one logit; the gradient is the exponentials once more,
scaled so that they sum to what the target does, less the target.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address
from tinygrad_notes.kernels.cpu.common_rows import row_maximum, row_scaled
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, get_int64, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, one, put, zero
from tinygrad_notes.kernels.cpu.moments import PIECE
from tinygrad_notes.kernels.cpu.softmax import exponentials, exponentials_sum
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 1 << 14  # logits that repay waking a thread


def _product(v, factor, x):
    """factor x, where 0 times inf is 0."""
    nothing = v.builder.fcmp_ordered("==", factor, v.constant(0.0))
    return v.builder.select(nothing, v.constant(0.0), v.builder.fmul(factor, x))


def _log_probability(v, x, scalars):
    """(x - m) - log Σ exp(x - m)."""
    return v.builder.fsub(v.builder.fsub(x, scalars[0]), scalars[1])


def _weighted(v, x, scalars):
    """s w log p, summed."""
    return [], [_product(v, v.builder.fmul(x[1], scalars[2]), _log_probability(v, x[0], scalars))]


def _smooth_error(v, x, scalars):
    """g (e a - w s), where e are exponentials, a what makes them probabilities and s the smoothing of each class."""
    error = v.builder.fsub(v.builder.fmul(x[0], scalars[1]), v.builder.fmul(x[1], scalars[2]))
    return [v.builder.fmul(scalars[0], error)], []


def _distribution(v, x, scalars):
    """t of x = (logits, target, w) and scalars = (..., 1 - s, s / C): w ((1 - s) target + s / C)."""
    return v.builder.fmul(v.multiply_add(x[1], scalars[-2], scalars[-1]), x[2])


def _divergence(v, x, scalars):
    """t log p, summed."""
    return [], [_product(v, _distribution(v, x, scalars), _log_probability(v, x[0], scalars))]


def _target_sum(v, x, scalars):
    return [], [_distribution(v, [None, *x], scalars)]


def _error(v, x, scalars):
    """g (e a - t), where x[0] are exponentials e and scalars[:2] are g and a."""
    error = v.builder.fsub(v.builder.fmul(x[0], scalars[1]), _distribution(v, x, scalars))
    return [v.builder.fmul(scalars[0], error)], []


def _target_slope(v, x, scalars):
    """f w log p, scalars = (m, log Σ, f)."""
    return [_product(v, v.builder.fmul(x[1], scalars[2]), _log_probability(v, x[0], scalars))], []


row_weighted = row(2, 0, 3, _weighted, ("sum",))
row_smooth_error = row(2, 1, 3, _smooth_error)
row_divergence = row(3, 0, 4, _divergence, ("sum",))
row_target_sum = row(2, 0, 2, _target_sum, ("sum",))
row_error = row(3, 1, 4, _error)
row_target_slope = row(2, 1, 3, _target_slope)


@parallel_kernel
def cross_entropy_rows(
    logits, target, weight, losses, normalizer, logsumexp, rows, n, ignore_index, smoothing, like, thread, threads
):
    """``weight`` may be 0, no address, without smoothing: then all are 1."""
    size = itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        x, label = logits + i * n * size, get_int64(target + 8 * i)
        largest = row_maximum((x, n), (), like)
        log_total = rounded(math.log(exponentials_sum(x, n, largest, like)), like)
        put(logsumexp + i * size, largest + log_total)
        loss, share = 0.0, zero(like)
        if label != ignore_index:
            if 0 <= label < n:
                share = get(weight + label * size, like) if weight else one(like)
                if share != 0 and smoothing != 1:
                    loss = float(get(x + label * size, like) - largest - log_total) * share * (smoothing - 1)
            if smoothing != 0:
                scalars = largest, log_total, rounded(smoothing / n, like)
                for start in range(0, n * size, PIECE * size):
                    loss -= row_weighted((x + start, weight + start, min(PIECE, n - start // size)), scalars, like)
        put(losses + i * size, rounded(loss, like))
        put(normalizer + i * size, share)


@parallel_kernel
def cross_entropy_grad_rows(
    g, logits, target, weight, weights, logsumexp, dlogits, rows, n, ignore_index, smoothing, like, thread, threads
):
    """``weights`` is the sum of ``weight``, which may be 0, no address, without smoothing: then all are 1."""
    size = itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        x, dx, label = logits + i * n * size, dlogits + i * n * size, get_int64(target + 8 * i)
        if label == ignore_index:
            clear_bytes(dx, n * size)
            continue
        there = 0 <= label < n
        share = 0.0
        if there:
            share = (1 - smoothing) * get(weight + label * size, like) if weight else 1 - smoothing
        slope, at_label = get(g + i * size, like), dx + label * size
        value = exponentials(x, dx, n, get(logsumexp + i * size, like), like)
        factor = (share + smoothing * weights / n) / value  # makes the exponentials sum to what the target does
        wanted = zero(like)
        if there:
            spread = smoothing / n * get(weight + label * size, like) if smoothing != 0 else 0.0
            wanted = rounded(slope * (get(at_label, like) * factor - share - spread), like)
        if smoothing != 0:
            scalars = (slope, rounded(factor, like), rounded(smoothing / n, like))
            row_smooth_error((dx, weight, dx, n), scalars, like)
        else:
            row_scaled((dx, dx, n), (rounded(factor * slope, like),), like)
        if there:
            put(at_label, wanted)


@parallel_kernel
def cross_entropy_probabilities_rows(
    logits, target, weight, losses, logsumexp, rows, n, smoothing, like, thread, threads
):
    size = itemsize(like)
    keep, spread = rounded(1 - smoothing, like), rounded(smoothing / max(n, 1), like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        line, loss = i * n * size, 0.0
        largest = row_maximum((logits + line, n), (), like)
        log_total = rounded(math.log(exponentials_sum(logits + line, n, largest, like)), like)
        for start in range(0, n * size, PIECE * size):
            places = logits + line + start, target + line + start, weight + start, min(PIECE, n - start // size)
            loss -= row_divergence(places, (largest, log_total, keep, spread), like)
        put(losses + i * size, rounded(loss, like))
        put(logsumexp + i * size, largest + log_total)


@parallel_kernel
def cross_entropy_probabilities_grad_rows(
    g, logits, target, weight, dlogits, dtarget, rows, n, smoothing, like, thread, threads
):
    size = itemsize(like)
    keep, spread = rounded(1 - smoothing, like), rounded(smoothing / max(n, 1), like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        line, slope, asked = i * n * size, get(g + i * size, like), 0.0
        largest = row_maximum((logits + line, n), (), like)
        value = exponentials(logits + line, dlogits + line, n, largest, like)
        for start in range(0, n * size, PIECE * size):
            places = target + line + start, weight + start, min(PIECE, n - start // size)
            asked += row_target_sum(places, (keep, spread), like)
        scalars = slope, rounded(asked / value, like), keep, spread
        row_error((dlogits + line, target + line, weight, dlogits + line, n), scalars, like)
        scalars = largest, rounded(math.log(value), like), rounded((smoothing - 1) * slope, like)
        row_target_slope((logits + line, weight, dtarget + line, n), scalars, like)


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array, Array]:
    """Losses, the rows' shares of the mean's divisor, and logsumexp, all (N,), of logits (N, C) and classes (N,)."""
    if not _fits(logits, weight):
        return reference.cross_entropy(logits, target, weight, ignore_index, label_smoothing)
    rows, n = logits.shape
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target, np.int64)
    if weight is not None or label_smoothing != 0:
        weight = _weight(weight, logits)
    dtype = logits.dtype
    losses, normalizer, logsumexp = np.empty(rows, dtype), np.empty(rows, dtype), np.empty(rows, dtype)
    cross_entropy_rows(
        address(logits), address(target), 0 if weight is None else address(weight), address(losses),
        address(normalizer), address(logsumexp), rows, n, ignore_index, float(label_smoothing), dtype.type(0),
        threads_for(logits.size, PER_THREAD),
    )  # fmt: skip
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
    """Gradient of :func:`cross_entropy`: g (p Σ_c t_c - t), (N, C)."""
    if not _fits(logits, weight, g, logsumexp):
        return reference.cross_entropy_grad(g, logits, target, weight, ignore_index, label_smoothing, logsumexp)
    rows, n = logits.shape
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target, np.int64)
    g, logsumexp = np.ascontiguousarray(g), np.ascontiguousarray(logsumexp)
    if weight is not None or label_smoothing != 0:
        weight = _weight(weight, logits)
    weights = 0.0 if label_smoothing == 0 or weight is None else float(weight.sum(dtype=np.float64))
    dlogits = np.empty(logits.shape, logits.dtype)
    cross_entropy_grad_rows(
        address(g), address(logits), address(target), 0 if weight is None else address(weight), weights,
        address(logsumexp), address(dlogits), rows, n, ignore_index, float(label_smoothing), logits.dtype.type(0),
        threads_for(logits.size, PER_THREAD),
    )  # fmt: skip
    return dlogits


def cross_entropy_probabilities(
    logits: Array, target_probabilities: Array, weight: Array | None, label_smoothing: float
) -> tuple[Array, Array]:
    """Losses and logsumexp, both (N,), of logits and target probabilities, both (N, C)."""
    if not _fits(logits, weight, target_probabilities):
        return reference.cross_entropy_probabilities(logits, target_probabilities, weight, label_smoothing)
    rows, n = logits.shape
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target_probabilities)
    weight, dtype = _weight(weight, logits), logits.dtype
    losses, logsumexp = np.empty(rows, dtype), np.empty(rows, dtype)
    cross_entropy_probabilities_rows(
        address(logits), address(target), address(weight), address(losses), address(logsumexp), rows, n,
        float(label_smoothing), dtype.type(0), threads_for(logits.size, PER_THREAD),
    )  # fmt: skip
    return losses, logsumexp


def cross_entropy_probabilities_grad(
    g: Array,
    logits: Array,
    target_probabilities: Array,
    weight: Array | None,
    label_smoothing: float,
    logsumexp: Array,
) -> tuple[Array, Array]:
    """Gradients of :func:`cross_entropy_probabilities`, both (N, C): g (p Σ_c t_c - t), and -g (1 - s) w log p."""
    if not _fits(logits, weight, g, target_probabilities):
        return reference.cross_entropy_probabilities_grad(
            g, logits, target_probabilities, weight, label_smoothing, logsumexp
        )
    rows, n = logits.shape
    g, logits, target = (np.ascontiguousarray(x) for x in (g, logits, target_probabilities))
    weight = _weight(weight, logits)
    dlogits, dtarget = np.empty(logits.shape, logits.dtype), np.empty(logits.shape, logits.dtype)
    cross_entropy_probabilities_grad_rows(
        address(g), address(logits), address(target), address(weight), address(dlogits), address(dtarget), rows, n,
        float(label_smoothing), logits.dtype.type(0), threads_for(logits.size, PER_THREAD),
    )  # fmt: skip
    return dlogits, dtarget


def _fits(logits: Array, *others: Array | None) -> bool:
    dtype = logits.dtype
    return dtype in LIKE and logits.size > 0 and all(x is None or x.dtype == dtype for x in others)


def _weight(weight: Array | None, logits: Array) -> Array:
    """The weights of the classes in one piece; ones where there are none."""
    return np.ones(logits.shape[1], logits.dtype) if weight is None else np.ascontiguousarray(weight)
