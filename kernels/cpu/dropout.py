"""Dropout: the contract's generator, SplitMix64, on vectors of 64-bit lanes.

The generator counts, so element i needs no element before it: lanes, rows and threads each draw their own numbers. Two
multiplications of 64-bit integers are most of the work. AVX2 has none; LLVM writes each with three multiplications of
32-bit halves and four cheap instructions, and the whole is still bound by arithmetic, an element in about a nanosecond.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.elementwise import share
from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
GOLDEN_RATIO = 0x9E3779B97F4A7C15
PER_THREAD = 1 << 15  # elements that repay waking a thread
BYTE, BIT = ir.IntType(8), ir.IntType(1)


def kept(v: Lanes, first: Any, seed: Any, threshold: Any) -> Any:
    """The mask of the elements from number ``first`` on, one a lane, that are kept: the rule of the contract.

    The last step of the generator, z ^ z≫31, does not reach the 24 bits that decide, so it is left out.
    """
    b, integers = v.builder, ir.VectorType(INT64, v.count)

    def constant(values: list[int]) -> Any:
        return ir.Constant(integers, [value % 2**64 for value in values])

    def spread(scalar: Any) -> Any:
        one = b.insert_element(ir.Constant(integers, ir.Undefined), scalar, ir.Constant(INT32, 0))
        nothing = ir.Constant(ir.VectorType(INT32, v.count), [0] * v.count)
        return b.shuffle_vector(one, ir.Constant(integers, ir.Undefined), nothing)

    def mix(z: Any, shift: int, factor: int) -> Any:
        return b.mul(b.xor(z, b.lshr(z, constant([shift] * v.count))), constant([factor] * v.count))

    start = b.add(seed, b.mul(first, ir.Constant(INT64, GOLDEN_RATIO)))
    z = b.add(spread(start), constant([(lane + 1) * GOLDEN_RATIO for lane in range(v.count)]))
    z = mix(mix(z, 30, 0xBF58476D1CE4E5B9), 27, 0x94D049BB133111EB)
    return b.icmp_signed(">=", b.lshr(z, constant([40] * v.count)), spread(threshold))


def _steps(v: Lanes, first: Any, count: Any, step: Any) -> None:
    """``step(element, mask)`` for each vector from ``first`` on; the mask is None but in the last, partial one."""
    b = v.builder
    whole = b.sdiv(count, ir.Constant(INT64, v.count))
    with cgutils.for_range(b, whole, intp=INT64) as loop:
        step(b.add(first, b.mul(loop.index, ir.Constant(INT64, v.count))), None)
    tail = b.srem(count, ir.Constant(INT64, v.count))
    with b.if_then(b.icmp_signed(">", tail, ir.Constant(INT64, 0))):
        step(b.add(first, b.sub(count, tail)), v.first(tail))


@intrinsic
def drop_row(context, x, y, first, count, seed, threshold, divisor):
    """y = x / divisor where kept, else 0, for ``count`` elements from number ``first`` on of the arrays x and y."""
    like = divisor

    def generate(context, builder, signature, arguments):
        x, y, first, count, seed, threshold, divisor = arguments
        v = Lanes(builder, like)
        divisors = v.splat(divisor)

        def step(element, mask):
            offset = builder.mul(element, ir.Constant(INT64, v.itemsize))
            value = v.load(x, offset) if mask is None else v.load_masked(x, offset, mask)
            value = builder.select(kept(v, element, seed, threshold), builder.fdiv(value, divisors), v.constant(0.0))
            if mask is None:
                v.store(value, y, offset)
            else:
                v.store_masked(value, y, offset, mask)

        _steps(v, first, count, step)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 6, like), generate


@intrinsic
def mask_row(context, y, first, count, seed, threshold):
    """y = 1 where kept, else 0, bytes, for ``count`` elements from number ``first`` on of the array y."""

    def generate(context, builder, signature, arguments):
        y, first, count, seed, threshold = arguments
        v = Lanes(builder, types.float32)
        bytes_type = ir.VectorType(BYTE, v.count)

        def step(element, mask):
            value = builder.zext(kept(v, element, seed, threshold), bytes_type)
            place = v.address(y, element, bytes_type)
            if mask is None:
                builder.store(value, place).align = 1
                return
            kind = ir.FunctionType(ir.VoidType(), [bytes_type, place.type, INT32, ir.VectorType(BIT, v.count)])
            name = f"llvm.masked.store.v{v.count}i8.p0"
            store = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(store, [value, place, ir.Constant(INT32, 1), mask])

        _steps(v, first, count, step)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5), generate


@parallel_kernel
def drop(x, y, count, seed, threshold, divisor, thread, threads):
    first, last = share(thread, threads, count)
    drop_row(x, y, first, last - first, seed, threshold, divisor)


@parallel_kernel
def draw_mask(y, count, seed, threshold, thread, threads):
    first, last = share(thread, threads, count)
    mask_row(y, first, last - first, seed, threshold)


def dropout_mask(x: Array, p: float, seed: int) -> Array:
    """Which elements of x are kept, a bool array of its shape: each with probability 1 - p."""
    y = np.empty(x.shape, np.bool_)
    draw_mask(address(y), y.size, signed(seed), math.ceil(p * 2**24), threads_for(y.size, PER_THREAD))
    return y


def dropout(x: Array, p: float, seed: int) -> Array:
    """x / (1 - p) where ``dropout_mask`` keeps it and 0 elsewhere, whatever x is there."""
    if p == 1 or x.dtype not in LIKE:
        return reference.dropout(x, p, seed)
    y = np.empty(x.shape, x.dtype)
    if not x.ndim or not x.flags.c_contiguous:  # the elements are counted in C order; a NumPy scalar has no address
        x = np.ascontiguousarray(x)
    threads = threads_for(y.size, PER_THREAD)
    drop(address(x), address(y), y.size, signed(seed), math.ceil(p * 2**24), y.dtype.type(1 - p), threads)
    return y


def signed(seed: int) -> int:
    """The integer of 64 bits, with a sign, that is ``seed`` mod 2^64."""
    return (int(seed) + 2**63) % 2**64 - 2**63
