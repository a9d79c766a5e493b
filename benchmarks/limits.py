"""What this machine can do at most: multiply-adds that never leave the registers, and bytes to and from memory.

The kernels' own compiler and vectors are used, so that the limit is that of the instruction set they run with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.buffers import address, aligned
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes

# Independent sums: two units with a latency of 4 or 5 need 10 of them, and two more registers hold the factors. A
# vector that is wider than the machine's registers takes two of them.
CHAINS = 10 if MACHINE.vector_bytes < 64 or "avx512f" in MACHINE.features else 6
ROW = 64 * CHAINS  # bytes of results of a thread, and no cache line shared
READS = 8  # vectors in flight while reading
SIZES = [2**power for power in range(19, 29)]  # bytes of memory that a measurement of bandwidth touches


@intrinsic
def multiply_add_registers(context, steps, target, factor):
    """CHAINS sums, each of ``steps`` multiply-adds of whole vectors; the results go to ``target``."""

    def generate(context, builder, signature, arguments):
        steps, target, factor = arguments
        v = Lanes(builder, signature.args[2])
        a = v.splat(factor)
        sums = [cgutils.alloca_once_value(builder, v.load(target, 64 * i)) for i in range(CHAINS)]
        with cgutils.for_range(builder, steps, intp=INT64):
            for place in sums:
                builder.store(v.multiply_add(a, builder.load(place), a), place)
        for i, place in enumerate(sums):
            v.store(builder.load(place), target, 64 * i)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, factor), generate


@intrinsic
def read_vectors(context, source, steps, target, like):
    """Read ``steps`` times READS vectors from ``source`` on and write their sum to ``target``."""

    def generate(context, builder, signature, arguments):
        source, steps, target, _ = arguments
        v = Lanes(builder, signature.args[3])
        sums = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(READS)]
        with cgutils.for_range(builder, steps, intp=INT64) as loop:
            row = builder.add(source, builder.mul(loop.index, ir.Constant(INT64, READS * v.bytes)))
            for i, place in enumerate(sums):
                builder.store(builder.fadd(builder.load(place), v.load(row, i * v.bytes)), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(total, builder.load(place))
        v.store(total, target, 0)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, like), generate


@parallel_kernel
def multiply_adds(steps, target, factor, thread, threads):
    multiply_add_registers(steps, target + thread * ROW, factor)


@parallel_kernel
def read(source, share, width, target, like, thread, threads):
    read_vectors(source + thread * share, share // width, target + thread * 64, like)


@parallel_kernel
def copy(y, x, thread, threads):
    for i in range(thread * x.size // threads, (thread + 1) * x.size // threads):
        y[i] = x[i]


@parallel_kernel
def triad(y, x, z, factor, thread, threads):
    for i in range(thread * x.size // threads, (thread + 1) * x.size // threads):
        y[i] = x[i] + factor * z[i]


@parallel_kernel
def update(y, x, factor, thread, threads):
    for i in range(thread * x.size // threads, (thread + 1) * x.size // threads):
        y[i] += factor * x[i]


def best(function: Callable[[], Any], seconds: float) -> float:
    """The shortest of some calls, in seconds."""
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def multiply_add_rate(threads: int, seconds: float = 0.5) -> float | None:
    """float32 operations a second, two for each multiply-add. None where products run on other units than vectors."""
    if MACHINE.isa == "amx":
        return None
    buffer, steps = aligned(threads * ROW), 200_000
    buffer.view(np.float32)[...] = np.linspace(0.1, 0.9, buffer.size // 4)
    took = best(lambda: multiply_adds(steps, address(buffer), np.float32(0.5), threads), seconds)
    return 2.0 * CHAINS * MACHINE.lanes(4) * steps * threads / took


def bandwidth(size: int, threads: int, seconds: float = 0.05) -> float:
    """Bytes a second on ``size`` bytes of memory: the best of reading, copying, y = x + s z and y += s x.

    A write to memory that was not read first costs a read too, which is not counted; the last writes only what it read.
    """
    pool, sums = aligned(size), aligned(64 * threads)
    pool[...] = 0
    one, width = np.float32(1), READS * MACHINE.vector_bytes
    share = size // threads // width * width
    half, third = pool[: size // 8 * 8].view(np.float32), pool[: size // 12 * 12].view(np.float32)
    two, three = np.split(half, 2), np.split(third, 3)
    rates = [
        share * threads / best(lambda: read(address(pool), share, width, address(sums), one, threads), seconds),
        half.nbytes / best(lambda: copy(*two, threads), seconds),
        1.5 * half.nbytes / best(lambda: update(*two, np.float32(1e-3), threads), seconds),
        third.nbytes / best(lambda: triad(*three, one, threads), seconds),
    ]
    return max(rates)


def measure(threads: int, quick: bool = False) -> dict[str, Any]:
    """The limits, in operations and bytes a second; bandwidths by the size of the memory in bytes."""
    sizes, seconds = (SIZES[::3], 0.01) if quick else (SIZES, 0.1)
    rates = {size: bandwidth(size, threads, seconds) for size in sizes}
    return {"multiply_add": multiply_add_rate(threads, 5 * seconds), "bandwidth": rates}


def higher(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The better of two measurements, each by itself: other programs may have disturbed one."""
    rates = [limits["multiply_add"] for limits in (one, other)]
    sizes = one["bandwidth"]
    return {
        "multiply_add": None if None in rates else max(rates),
        "bandwidth": {size: max(sizes[size], other["bandwidth"][size]) for size in sizes},
    }


def bandwidth_for(limits: dict[str, Any], touched: float) -> float:
    """The best bandwidth on no less memory than half of what an op touches: caches help the limit as much as the op."""
    rates = {int(size): rate for size, rate in limits["bandwidth"].items()}
    least = max((size for size in rates if size <= touched), default=min(rates))
    return max(rate for size, rate in rates.items() if size >= least)


def least_time(limits: dict[str, Any], flops: float, touched: float) -> float | None:
    """The seconds below which nobody can be: the longer of computing ``flops`` and moving ``touched`` bytes."""
    rate = limits["multiply_add"]
    if flops and rate is None:
        return None
    return max(flops / rate if flops else 0.0, touched / bandwidth_for(limits, touched)) or None
