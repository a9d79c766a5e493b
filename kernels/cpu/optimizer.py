"""Steps of optimisers and the norm for clipping: all arrays of a list in one parallel call.

A step reads and writes each number once, so memory bounds it, and a network has many small arrays. The elements of all
arrays together are therefore one range, of which each thread takes an equal share, wherever in an array that begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address
from tinygrad_notes.kernels.cpu.compile import instance, kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.elementwise import share
from tinygrad_notes.kernels.cpu.isa.memory import get_int64
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes, itemsize, one
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
SMALL, SMALL_MOMENTUM = 1 << 18, 1 << 15  # elements up to which NumPy's few passes are as fast as a plan and a table
PER_THREAD = 1 << 16  # elements that repay waking a thread
PIECE = 1 << 14  # elements whose squares are one partial sum


# ---------------------------------------------------------------------- bodies


def decayed(v: Lanes, g: Any, parameter: Any, sign: Any, decay: Any) -> Any:
    """±g + decay θ; without decay an infinite θ adds nothing."""
    b = v.builder
    g = b.fmul(g, sign)
    return b.select(b.fcmp_ordered("==", decay, v.constant(0.0)), g, v.multiply_add(decay, parameter, g))


def descent_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """θ - lr d, d = ±g + decay θ."""
    parameter, g = x
    sign, decay, lr = scalars
    return [v.builder.fsub(parameter, v.builder.fmul(lr, decayed(v, g, parameter, sign, decay)))], []


def momentum_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """buffer = momentum buffer + take d, and θ - lr buffer, or with ``nesterov`` (not 0) d + momentum buffer for it."""
    b = v.builder
    parameter, g, buffer = x
    sign, decay, lr, momentum, take, nesterov = scalars
    d = decayed(v, g, parameter, sign, decay)
    buffer = v.multiply_add(momentum, buffer, b.fmul(take, d))
    ahead = v.multiply_add(momentum, buffer, d)
    d = b.select(b.fcmp_ordered("!=", nesterov, v.constant(0.0)), ahead, buffer)
    return [b.fsub(parameter, b.fmul(lr, d)), buffer], []


def adam_body(v: Lanes, x: list[Any], scalars: list[Any]) -> Any:
    """m = β₁ m + (1 - β₁) d, v = β₂ v + (1 - β₂) d², and shrink θ - step_size m / (√v rescale + eps)."""
    b = v.builder
    parameter, g, first, second = x
    sign, decay, shrink, beta1, other1, beta2, other2, step_size, rescale, eps = scalars
    d = decayed(v, g, parameter, sign, decay)
    first = v.multiply_add(beta1, first, b.fmul(other1, d))
    second = v.multiply_add(beta2, second, b.fmul(other2, b.fmul(d, d)))
    size = v.multiply_add(v.call("llvm.sqrt", second), rescale, eps)
    step = b.fdiv(b.fmul(step_size, first), size)
    return [b.fsub(b.fmul(shrink, parameter), step), first, second], []


row_descent = row(2, 1, 3, descent_body)
row_momentum = row(3, 2, 6, momentum_body, unroll=2)
row_adam = row(4, 3, 10, adam_body, unroll=2)


@intrinsic
def square_sum(context, x, count, like):
    """Σ x², in float64, of ``count`` elements."""

    def generate(context, builder, signature, arguments):
        x, count, _ = arguments
        v, unroll = Lanes(builder, like), 4
        wide = ir.VectorType(ir.DoubleType(), v.count)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * v.count)) for _ in range(unroll)]
        kind = ir.FunctionType(wide, [wide] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{v.count}f64")

        def add(values, total):
            values = builder.fpext(values, wide) if v.itemsize == 4 else values
            builder.store(builder.call(multiply_add, [values, values, builder.load(total)]), total)

        step = v.count * unroll
        many = builder.sdiv(count, ir.Constant(INT64, step))
        with cgutils.for_range(builder, many, intp=INT64) as loop:
            start = builder.mul(loop.index, ir.Constant(INT64, step * v.itemsize))
            for i, total in enumerate(totals):
                add(v.load(x, builder.add(start, ir.Constant(INT64, i * v.bytes))), total)
        left = builder.srem(count, ir.Constant(INT64, step))
        start = builder.mul(builder.sub(count, left), ir.Constant(INT64, v.itemsize))
        for i, total in enumerate(totals):  # the rest, of which some vectors may have no lane
            rest = builder.sub(left, ir.Constant(INT64, i * v.count))
            with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(INT64, 0))):
                add(v.load_masked(x, builder.add(start, ir.Constant(INT64, i * v.bytes)), v.first(rest)), total)
        value = builder.load(totals[0])
        for total in totals[1:]:
            value = builder.fadd(value, builder.load(total))
        result = ir.Constant(ir.DoubleType(), 0.0)
        for lane in range(v.count):
            result = builder.fadd(result, builder.extract_element(value, ir.Constant(INT32, lane)))
        return result

    return types.float64(types.int64, types.int64, like), generate


# ---------------------------------------------------------------------- kernels

# A table has one line of 64-bit integers for each array: its addresses, the number of its elements, and a mark.


@kernel
def cell(table, line, column):
    return get_int64(table + (line * 6 + column) * 8)


@kernel
def descend(theta, g, buffer, unused, count, mark, numbers, like):
    """Plain descent without a buffer; at a first step, mark 1, ``take`` is 1. ``numbers`` are those of the body."""
    sign, decay, lr, momentum, take, nesterov = numbers
    if buffer == 0:
        row_descent((theta, g, theta, count), (sign, decay, lr), like)
    else:
        if mark == 1:
            take = one(like)
        row_momentum((theta, g, buffer, theta, buffer, count), (sign, decay, lr, momentum, take, nesterov), like)


@kernel
def adapt(theta, g, first, second, count, mark, numbers, like):
    """Adam; ``numbers`` are the scalars of the body."""
    row_adam((theta, g, first, second, theta, first, second, count), numbers, like)


step: Any = None  # in each kernel made of the text below: what is done to a piece of an array


def run(table, lines, total, numbers, like, thread, threads):
    """Lines (θ, g, first and second array of what is kept or 0, count, mark)."""
    size = itemsize(like)
    begin, end = share(thread, threads, total)
    before = 0
    for line in range(lines):
        count = cell(table, line, 4)
        low, high = max(begin - before, 0), min(end - before, count)
        before += count
        if low < high:
            skip, first, second = low * size, cell(table, line, 2), cell(table, line, 3)
            first, second = first + skip if first else 0, second + skip if second else 0
            theta, g = cell(table, line, 0) + skip, cell(table, line, 1) + skip
            step(theta, g, first, second, high - low, cell(table, line, 5), numbers, like)


run_sgd = instance(run, "run_sgd", step=descend)
run_adam = instance(run, "run_adam", step=adapt)


@parallel_kernel
def run_square_sums(table, lines, parts, sums, like, thread, threads):
    """Lines (x, unused, unused, unused, count, unused); ``sums``: room for one float64 for each piece of each array."""
    size = itemsize(like)
    first, last = thread * parts // threads, (thread + 1) * parts // threads
    before = 0
    for line in range(lines):
        count = cell(table, line, 4)
        pieces = (count + PIECE - 1) // PIECE
        for piece in range(max(first - before, 0), min(last - before, pieces)):
            start = piece * PIECE
            sums[before + piece] = square_sum(
                cell(table, line, 0) + start * size, min(PIECE, count - start), like
            )  # fmt: skip
        before += pieces


# ---------------------------------------------------------------------- functions of the contract


def sgd_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    momentum_buffers: Sequence[Array | None] | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    maximize: bool,
) -> list[Array] | None:
    """One step of gradient descent in place, with momentum where ``momentum`` is not 0; see the reference."""
    before: Sequence[Array | None] = momentum_buffers or [None] * len(parameters)
    buffers: list[Array] = []
    lines = None
    if sum([parameter.size for parameter in parameters]) > (SMALL_MOMENTUM if momentum or weight_decay else SMALL):
        buffers = [np.zeros_like(p) if b is None else b for p, b in zip(parameters, before)] if momentum else []
        lines = _lines(parameters, gradients, buffers)
    if lines is None:
        return reference.sgd_step(
            parameters, gradients, momentum_buffers, lr, momentum, dampening, nesterov, weight_decay, maximize
        )
    for line, buffer in zip(lines.rows, before):
        line[5] = buffer is None
    number = lines.dtype.type
    numbers = -1 if maximize else 1, weight_decay, lr, momentum, 1 - dampening, nesterov
    run_sgd(*lines.table(), tuple(map(number, numbers)), number(0), lines.threads())
    return buffers if momentum else None


def adam_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    first_moments: Sequence[Array],
    second_moments: Sequence[Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Step number ``step`` (from 1) of Adam or, ``decoupled``, AdamW, in place; see the reference."""
    lines = _lines(parameters, gradients, first_moments, second_moments)
    correction = math.sqrt(1 - beta2**step)
    if lines is None or not correction:
        return reference.adam_step(
            parameters, gradients, first_moments, second_moments, step, lr, beta1, beta2, eps, weight_decay,
            decoupled, maximize,
        )  # fmt: skip
    number = lines.dtype.type
    numbers = (
        -1 if maximize else 1, 0 if decoupled else weight_decay, 1 - lr * weight_decay if decoupled else 1,
        beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**step), 1 / correction, eps,
    )  # fmt: skip
    run_adam(*lines.table(), tuple(map(number, numbers)), number(0), lines.threads())
    return None


def global_norm(arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all elements of all arrays, squares summed in float64, in the dtype of the first."""
    dtype = arrays[0].dtype
    if dtype not in LIKE or any(array.dtype != dtype for array in arrays):
        return reference.global_norm(arrays)
    flat = [a if a.ndim and a.flags.forc else np.ascontiguousarray(a) for a in arrays]  # NumPy's scalars are copied
    table = np.array([(address(a), 0, 0, 0, a.size, 0) for a in flat], np.int64)
    sizes = table[:, 4]
    parts = int((-(-sizes // PIECE)).sum())
    sums = np.empty(parts)
    threads = threads_for(float(sizes.sum()), PER_THREAD)
    run_square_sums(address(table), len(flat), parts, sums, LIKE[dtype], threads)
    return np.sqrt(sums.sum()).astype(dtype)


class _Lines:
    """The lines of a table, and the arrays that they point to, which must stay alive."""

    def __init__(self, dtype: Any):
        self.dtype, self.total = dtype, 0
        self.rows: list[list[int]] = []
        self.alive: list[Array] = []

    def table(self) -> tuple[int, int, int]:
        array = np.array(self.rows, np.int64)
        self.alive.append(array)
        return address(array), len(self.rows), self.total

    def threads(self) -> int:
        return threads_for(self.total, PER_THREAD)


def _lines(parameters: Sequence[Array], gradients: Sequence[Array], *others: Sequence[Array]) -> _Lines | None:
    """A line (θ, g, others..., count, 0) for each parameter; None where the kernel cannot write to the arrays.

    All must have one dtype; parameters and others must lie without gaps in the same order, C or Fortran's. Gradients
    that lie otherwise are copied. A parameter that comes twice takes its steps one after the other, in the reference.
    """
    lines = _Lines(parameters[0].dtype if parameters else None)
    dtype = lines.dtype
    if dtype not in LIKE:
        return None
    filler = [0] * (2 - sum(map(bool, others)))
    for parameter, gradient, *written in zip(parameters, gradients, *filter(len, others)):
        shape = parameter.shape
        order: Literal["C", "F"] = "C" if parameter.flags.c_contiguous else "F"
        gapless = "c_contiguous" if order == "C" else "f_contiguous"
        if gradient.dtype != dtype or gradient.shape != shape:
            return None
        for array in (parameter, *written):
            flags = array.flags
            if array.dtype != dtype or array.shape != shape or not (getattr(flags, gapless) and flags.writeable):
                return None
        if not (gradient.ndim and getattr(gradient.flags, gapless)):
            gradient = np.array(gradient, order=order)  # NumPy's scalars, without axes, too
            lines.alive.append(gradient)
        count = parameter.size
        lines.rows.append([address(parameter), address(gradient), *map(address, written), *filler, count, 0])
        lines.total += count
    if len({row[0] for row in lines.rows}) < len(lines.rows) and lines.total:
        return None
    return lines
