"""Products of a matrix and a vector, which read the matrix once: as fast as memory gives it.

When rows of the matrix lie in one piece, an element of the result is a dot product; when columns do, the result is a
sum of columns, which are added eight at a time to a stretch of it that stays in the first cache. The depth is cut into
parts by its length alone, whose sums are kept apart and added in order: the same bits for every number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.buffers import address
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes, get, itemsize, lanes, put, zero
from tinygrad_notes.kernels.cpu.threads import threads_for

SUMS = 4  # vectors of sums of a dot product: enough that an addition need not wait for the one before
COLUMNS = 8  # added at once
STRETCH = 2048  # elements of the result that stay in the cache
GROUP = 256  # columns whose sum is kept apart: rounding grows with the length of a sum
PART = 8192  # least depth of a part of a long dot product
PER_THREAD = 125_000  # multiplications that repay waking a thread


@intrinsic
def add_products(context, a, b, count, like):
    """Σ a_i b_i over ``count`` elements, a multiple of SUMS vectors."""

    def generate(context, builder, signature, arguments):
        a, b, count, _ = arguments
        v = Lanes(builder, like)
        sums = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(SUMS)]
        steps = builder.udiv(count, ir.Constant(INT64, SUMS * v.count))
        with cgutils.for_range(builder, steps, intp=INT64) as loop:
            start = builder.mul(loop.index, ir.Constant(INT64, SUMS * v.bytes))
            x, y = builder.add(a, start), builder.add(b, start)
            for i, place in enumerate(sums):
                terms = v.load(x, i * v.bytes), v.load(y, i * v.bytes)
                builder.store(v.multiply_add(*terms, builder.load(place)), place)
        vectors = [builder.load(place) for place in sums]
        while len(vectors) > 1:
            vectors = [builder.fadd(x, y) for x, y in zip(vectors[::2], vectors[1::2])]
        numbers = [builder.extract_element(vectors[0], ir.Constant(INT64, i)) for i in range(v.count)]
        while len(numbers) > 1:
            numbers = [builder.fadd(x, y) for x, y in zip(numbers[::2], numbers[1::2])]
        return numbers[0]

    return like(types.int64, types.int64, types.int64, like), generate


@intrinsic
def add_columns(context, a, stride, x, y, vectors, like):
    """y += Σ x_i a_i over COLUMNS columns ``a_i``, ``stride`` bytes apart, of ``vectors`` vectors each."""

    def generate(context, builder, signature, arguments):
        a, stride, x, y, vectors, _ = arguments
        v = Lanes(builder, like)
        factors = [v.splat(v.load_one(x, i * v.itemsize)) for i in range(COLUMNS)]
        starts = [builder.add(a, builder.mul(stride, ir.Constant(INT64, i))) for i in range(COLUMNS)]
        with cgutils.for_range(builder, vectors, intp=INT64) as loop:
            along = builder.mul(loop.index, ir.Constant(INT64, v.bytes))
            total = v.load(y, along)
            for factor, start in zip(factors, starts):
                total = v.multiply_add(factor, v.load(start, along), total)
            v.store(total, y, along)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5, like), generate


@kernel
def dot(a, b, count, like):
    """Σ a_i b_i, both in one piece."""
    size, step = itemsize(like), SUMS * lanes(like)
    total = zero(like)
    for start in range(0, count, PART):
        length = min(PART, count - start)
        whole = length // step * step
        part = add_products(a + start * size, b + start * size, whole, like)
        for i in range(start + whole, start + length):
            part += get(a + i * size, like) * get(b + i * size, like)
        total += part
    return total


@parallel_kernel
def rows_times_vector(a, a_row, x, y, m, k, part, like, thread, threads):
    """y (parts, m): y[q, i] = Σ_j a[i, j] x[j] over part q of j; the elements of a row and x lie side by side."""
    size = itemsize(like)
    parts = (k + part - 1) // part
    for job in range(thread * parts * m // threads, (thread + 1) * parts * m // threads):
        q, i = job // m, job % m
        start = q * part
        put(y + job * size, dot(a + i * a_row + start * size, x + start * size, min(part, k - start), like))


@kernel
def add_group(a, a_column, x, sums, length, count, like):
    """sums (length,) = Σ x_j a_j over ``count`` columns."""
    size = itemsize(like)
    whole = length // lanes(like) * lanes(like)
    for i in range(length):
        put(sums + i * size, zero(like))
    done = count // COLUMNS * COLUMNS
    for j in range(0, done, COLUMNS):
        add_columns(a + j * a_column, a_column, x + j * size, sums, whole // lanes(like), like)
        for i in range(whole, length):
            total = get(sums + i * size, like)
            for column in range(j, j + COLUMNS):
                total += get(x + column * size, like) * get(a + column * a_column + i * size, like)
            put(sums + i * size, total)
    for j in range(done, count):
        factor = get(x + j * size, like)
        for i in range(length):
            put(sums + i * size, get(sums + i * size, like) + factor * get(a + j * a_column + i * size, like))


@parallel_kernel
def columns_times_vector(a, a_column, x, y, m, k, part, sums, like, thread, threads):
    """y (parts, m): y[q, i] = Σ_j a[i, j] x[j] over part q of j; the elements of a column and x lie side by side.

    ``sums``: STRETCH elements for each thread.
    """
    size = itemsize(like)
    parts, stretches = (k + part - 1) // part, (m + STRETCH - 1) // STRETCH
    mine = sums + thread * STRETCH * size
    for job in range(thread * parts * stretches // threads, (thread + 1) * parts * stretches // threads):
        q, i = job // stretches, job % stretches * STRETCH
        length, end, to = min(STRETCH, m - i), min(k, (q + 1) * part), y + (q * m + i) * size
        for s in range(length):
            put(to + s * size, zero(like))
        for j in range(q * part, end, GROUP):
            add_group(a + j * a_column + i * size, a_column, x + j * size, mine, length, min(GROUP, end - j), like)
            for s in range(length):
                put(to + s * size, get(to + s * size, like) + get(mine + s * size, like))


def matrix_times_vector(a: Any, x: Any) -> Any:
    """a (m, k) times x (k,), both of one dtype and not empty, as (m,)."""
    m, k = a.shape
    size, like = a.itemsize, a.dtype.type(0)
    if x.strides[0] != size:
        x = np.ascontiguousarray(x)
    threads = threads_for(m * k, PER_THREAD)
    if a.strides[0] != size or a.strides[1] == size:
        if a.strides[1] != size:
            a = np.ascontiguousarray(a)
        part = k if m >= 16 or k < 2 * PART else max(PART, -(-k // 16))
        y = np.empty((-(-k // part), m), a.dtype)
        rows_times_vector(address(a), a.strides[0], address(x), address(y), m, k, part, like, threads)
    else:
        part = k if m >= 16 * STRETCH else max(GROUP, -(-k // 16))
        y = np.empty((-(-k // part), m), a.dtype)
        sums = np.empty(threads * STRETCH, a.dtype)
        columns_times_vector(
            address(a), a.strides[1], address(x), address(y), m, k, part, address(sums), like, threads
        )  # fmt: skip
    return y[0] if len(y) == 1 else y.sum(0)
