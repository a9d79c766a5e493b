"""Rows picked by indices, and the sums that go back to them, in the same order whoever adds.

Adding rows where they came from is a race when two threads meet at one row. Here the places where each row was read are
listed first (a counting sort, which keeps their order); then every row of the result belongs to one thread, which adds
up what was read from it, in order. Sums of float32 run in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, copy_bytes, get_int64, put_int64, rounded
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
SMALL = 4096  # elements below which NumPy is as fast
PER_THREAD = 16384  # elements that repay waking a thread
COLUMNS = 512  # of a row that are added up at a time, in the first cache
WHOLE = "bhilqBHI"  # dtypes of indices whose numbers an int64 holds
NARROW = 8  # columns below which elements are added where they belong, without sorting


# ---------------------------------------------------------------------- kernels


@kernel
def rows_inside(indices, count, rows):
    """Whether all indices name one of ``rows`` rows; negative ones count from the end."""
    wrong = 0
    for i in range(count):
        row = get_int64(indices + i * 8)
        wrong |= (row < -rows) | (row >= rows)
    return wrong == 0


@parallel_kernel
def copy_rows(table, row_stride, row_bytes, rows, indices, count, target, thread, threads):
    """Rows of a table, ``row_stride`` bytes apart, one after the other."""
    for i in range(thread * count // threads, (thread + 1) * count // threads):
        row = get_int64(indices + i * 8)
        row = row + rows if row < 0 else row
        copy_bytes(target + i * row_bytes, table + row * row_stride, row_bytes)


@kernel
def list_readers(indices, count, rows, starts, readers):
    """A stable counting sort: the readers of row r are readers[starts[r] : starts[r + 1]], in their order.

    ``starts`` has rows + 2 entries.
    """
    clear_bytes(starts, (rows + 2) * 8)
    for i in range(count):
        row = get_int64(indices + i * 8)
        at = starts + ((row + rows if row < 0 else row) + 2) * 8
        put_int64(at, get_int64(at) + 1)
    total = 0
    for row in range(2, rows + 2):
        total += get_int64(starts + row * 8)
        put_int64(starts + row * 8, total)
    for i in range(count):  # each entry moves on to where the next row starts
        row = get_int64(indices + i * 8)
        at = starts + ((row + rows if row < 0 else row) + 1) * 8
        put_int64(readers + get_int64(at) * 8, i)
        put_int64(at, get_int64(at) + 1)


@parallel_kernel
def add_rows(g, columns, rows, starts, readers, target, clear, parts, sums, like, job, jobs):
    """Each row of ``target`` is the sum of its readers' rows of g. Rows without readers are 0, written if ``clear``.

    A job is a part of the columns, of ``parts``, and a band of the rows, as even in readers as possible.
    """
    size = itemsize(like)
    count = get_int64(starts + rows * 8)
    bands = jobs // parts
    band, part = job // parts, job % parts
    left, right = part * columns // parts, (part + 1) * columns // parts
    mine = sums + job * COLUMNS * 8
    first, last = (
        share_of_rows(starts, rows, count, band, bands),
        share_of_rows(starts, rows, count, band + 1, bands),
    )
    for row in range(first, last):
        begin, end = get_int64(starts + row * 8), get_int64(starts + (row + 1) * 8)
        to = target + (row * columns + left) * size
        if end == begin:
            if clear:
                clear_bytes(to, (right - left) * size)
        elif end == begin + 1:
            from_ = g + (get_int64(readers + begin * 8) * columns + left) * size
            copy_bytes(to, from_, (right - left) * size)
        else:
            for chunk in range(left, right, COLUMNS):
                wide = min(COLUMNS, right - chunk)
                clear_bytes(mine, wide * 8)
                for i in range(begin, end):
                    from_ = g + (get_int64(readers + i * 8) * columns + chunk) * size
                    for j in range(wide):
                        put(mine + j * 8, get(mine + j * 8, 0.0) + get(from_ + j * size, like))
                for j in range(wide):
                    put(target + (row * columns + chunk + j) * size, rounded(get(mine + j * 8, 0.0), like))


@kernel
def share_of_rows(starts, rows, count, band, bands):
    """The first row of a band: bands have as many rows and readers together, as far as whole rows allow."""
    if band == bands:
        return rows
    wanted = band * (count + rows) // bands
    low, high = 0, rows
    while low < high:
        middle = (low + high) // 2
        if get_int64(starts + middle * 8) + middle < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def add_elements(values, columns, indices, count, rows, sums, like):
    """sums[indices[i]] += values[i], rows of a few columns, one after the other; sums are float64."""
    size = itemsize(like)
    for i in range(count):
        row = get_int64(indices + i * 8)
        to, from_ = sums + (row + rows if row < 0 else row) * columns * 8, values + i * columns * size
        for j in range(columns):
            put(to + j * 8, get(to + j * 8, 0.0) + get(from_ + j * size, like))


# ---------------------------------------------------------------------- functions of the contract


def embedding(weight: Array, indices: Array) -> Array:
    """The rows of weight (V, D) at ``indices``, any integers of any shape: (*indices.shape, D)."""
    rows, columns = weight.shape
    count, size = indices.size, weight.itemsize
    copied = weight.strides[1] == size and not weight.dtype.hasobject  # whether bytes of rows are all there is to it
    if count * columns < SMALL or not copied or indices.dtype.char not in WHOLE:
        return reference.embedding(weight, indices)
    places = np.ascontiguousarray(indices, np.int64)
    if not rows_inside(address(places), count, rows):
        return reference.embedding(weight, indices)  # which says what is wrong
    value = np.empty((*indices.shape, columns), weight.dtype)
    threads = threads_for(count * columns, PER_THREAD)
    copy_rows(
        address(weight), weight.strides[0], columns * size, rows, address(places), count, address(value), threads
    )  # fmt: skip
    return value


def embedding_grad(g: Array, indices: Array, num_embeddings: int) -> Array:
    """Gradient of embedding's weight (num_embeddings, D): each row of g (*indices.shape, D) added at its index."""
    if g.size < SMALL or g.dtype not in LIKE or indices.dtype.char not in WHOLE:
        return reference.embedding_grad(g, indices, num_embeddings)
    places = np.ascontiguousarray(indices, np.int64)
    if not rows_inside(address(places), places.size, num_embeddings):
        return reference.embedding_grad(g, indices, num_embeddings)
    return _add_rows(np.ascontiguousarray(g), places, num_embeddings, g.shape[-1])


def scatter_add(values: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of ``shape`` with ``values`` added at ``index``, what stands between the brackets in ``x[index]``."""
    if values.size < SMALL or values.dtype not in LIKE:
        return reference.scatter_add(values, index, shape)
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if not arrays:
        return reference.scatter_add(values, index, shape)
    if len(parts) == 1 and arrays[0].dtype.kind == "b":  # names no element twice
        total = np.zeros(shape, values.dtype)
        total[index] = values
        return total
    lead = len(parts)
    if lead > len(shape) or any(part.dtype.kind not in "iu" for part in arrays) or len(arrays) != lead:
        lead = len(shape)  # any other index: element by element
    rows = math.prod(shape[:lead])
    places = _places(parts if lead == len(arrays) == len(parts) else None, index, tuple(shape[:lead]))
    values = np.ascontiguousarray(np.broadcast_to(values, places.shape + tuple(shape[lead:])))
    return _add_rows(values, places, rows, math.prod(shape[lead:])).reshape(shape)


def _places(arrays: tuple[Array, ...] | None, index: Any, shape: tuple[int, ...]) -> Array:
    """The numbers, in C order, of the elements of ``shape`` that ``index`` names."""
    if arrays is not None and all(part.dtype.kind in "iu" for part in arrays):
        wide = [part.astype(np.int64) for part in arrays]
        try:
            counted = tuple(np.where(part < 0, part + n, part) for part, n in zip(wide, shape))
            return np.asarray(np.ravel_multi_index(counted, shape), np.int64, order="C")
        except ValueError:  # an index out of range, of which the next line says more
            pass
    # NumPy applies the index to the numbers of all elements, and with that finds errors.
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[index], order="C")


def _add_rows(g: Array, places: Array, rows: int, columns: int) -> Array:
    """(rows, columns): each row of ``g`` (*places.shape, columns) added at its place."""
    count, like = places.size, g.dtype.type(0)
    if columns < NARROW:
        sums = np.zeros((rows, columns))
        add_elements(address(g), columns, address(places), count, rows, address(sums), like)
        return sums.astype(g.dtype, copy=False)
    clear = 4 * count > rows  # else most rows are never touched, and fresh memory is 0 without being written
    total = (np.empty if clear else np.zeros)((rows, columns), g.dtype)
    starts = scratch("rows", (rows + 2 + count) * 8)
    readers = starts + (rows + 2) * 8
    list_readers(address(places), count, rows, starts, readers)
    threads = threads_for(g.size, PER_THREAD)
    parts = min(threads, max(columns // 64, 1)) if 8 * rows < count else 1  # many readers of few rows
    add_rows(
        address(g), columns, rows, starts, readers, address(total), clear, parts,
        scratch("sums", 2 * threads * COLUMNS * 8), like, -(-threads // parts) * parts,
    )  # fmt: skip
    return total
