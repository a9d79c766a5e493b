"""Convolution as a product of matrices, weight (O, depth) times windows (depth, pixels), that are never written out.

Row p of the windows belongs to one tap (c, i, j) of the kernel, a column to one pixel of the output. In an image with
room around it, a tap is a constant distance, so that a panel of windows, the few columns of a register tile, is packed
by copying runs of neighbouring pixels, for each tap from another place. The panel stays in the first cache while all
rows of the weight pass by, and is forgotten.

Where pixels are ``row_step`` and ``column_step`` apart, the columns of the copy are dealt out by their remainder, so
that neighbouring pixels of the output read neighbouring elements for any stride.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.runs import clear_bytes, copy_bytes
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, copy_row, multiply_tile, tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, one, put, zero

FIRST, LENGTH, SOURCE, TARGET = range(4)  # columns of a table of runs
ROW_PHASE, COLUMN_PHASE, PHASE_ROWS, PHASE_COLUMNS, DEPTH, TAPS, PACKED = range(7)  # columns of a table of phases


class Layout(NamedTuple):
    """Sizes, in elements, of one convolution; what it reads, copies and writes."""

    images: int
    groups: int
    channels: int  # of x, of one group
    outputs: int  # of one group
    height: int  # of x
    width: int
    first_row: int  # of x, that the first output row reads; negative in the padding
    first_column: int
    row_step: int  # of x, from one output row to the next
    column_step: int
    copied: int  # 0 where windows never leave x, which is then read in place
    reach: int  # rows of x that the taps of one output row span
    pitch: int  # of a row of the copy, one remainder of columns
    plane: int  # of one channel of the copy
    block_images: int  # of one job
    block_rows: int
    rows: int  # of the output, of the tallest phase
    out_height: int
    out_width: int
    row_spread: int  # 1, or the rows of the output from one of a phase to the next
    column_spread: int
    packed: int  # of a packed weight, one group
    weight_group: int  # from the weight of one group to the next
    weight_row: int
    depth_block: int
    scratch: int  # of one thread


@kernel
def pack_weight(weight, row_stride, taps, bias, outputs, depth, block, part, parts, target, like):
    """Panels of ROWS rows, in blocks of ``block`` taps; behind the taps the bias, as a tap that always reads 1.

    ``taps`` is where each tap lies in a row, in elements. ``bias`` 0: none. Of ``parts`` threads each takes its panels.
    """
    size = itemsize(like)
    total = depth + (1 if bias else 0)
    padded = (outputs + ROWS - 1) // ROWS * ROWS
    for start in range(0, total, block):
        stop = min(start + block, total)
        for first in range(part * ROWS, padded, parts * ROWS):
            panel = target + (start * padded + first * (stop - start)) * size
            for i in range(ROWS):
                line, row = panel + i * size, weight + (first + i) * row_stride * size
                if first + i >= outputs:
                    for p in range(stop - start):
                        put(line + p * ROWS * size, zero(like))
                    continue
                for p in range(start, min(stop, depth)):
                    put(line + (p - start) * ROWS * size, get(row + taps[p] * size, like))
                if stop > depth:
                    put(line + (depth - start) * ROWS * size, get(bias + (first + i) * size, like))


@kernel
def copy_rows(x, rows, first_row, layout, target, like):
    """``rows`` rows of one channel from ``first_row`` on, zeros around it, columns dealt out by their remainder."""
    size, width, step, pitch = itemsize(like), layout.width, layout.column_step, layout.pitch
    line = target
    for row in range(first_row, first_row + rows):
        if row < 0 or row >= layout.height:
            clear_bytes(line, step * pitch * size)
            line += step * pitch * size
            continue
        source = x + row * width * size
        for column in range(layout.first_column, layout.first_column + step):
            # elements u of this line are columns column + u step: first those left of x, then x, then the rest
            left = min(max((-column + step - 1) // step, 0), pitch)
            right = max(min((width - column + step - 1) // step, pitch), left)
            clear_bytes(line, left * size)
            if step == 1:
                copy_bytes(line + left * size, source + (column + left) * size, (right - left) * size)
            else:
                for u in range(left, right):
                    put(line + u * size, get(source + (column + u * step) * size, like))
            clear_bytes(line + right * size, (pitch - right) * size)
            line += pitch * size


@kernel
def find_runs(runs, first, count, image, row, rows, phase, layout, image_size, line):
    """Cut ``count`` columns of the windows from ``first`` on into runs that lie in one row of the output.

    Columns count the images of a job, their rows, their columns. ``line`` is from one row of the copy to the next.
    """
    width = phase[PHASE_COLUMNS]
    done, found = 0, 0
    where = first // width
    column = first - where * width
    n = where // rows
    y = where - n * rows
    while done < count:
        length = min(count - done, width - column)
        runs[found, FIRST], runs[found, LENGTH] = done, length
        runs[found, SOURCE] = n * image_size + y * layout.row_step * line + column
        runs[found, TARGET] = (
            (image + n) * layout.groups * layout.outputs * layout.out_height * layout.out_width
            + ((row + y) * layout.row_spread + phase[ROW_PHASE]) * layout.out_width
            + column * layout.column_spread
            + phase[COLUMN_PHASE]
        )
        done, found, column, y = done + length, found + 1, 0, y + 1
        if y == rows:
            n, y = n + 1, 0
    return found


@kernel
def pack_windows(source, end, runs, found, taps, start, stop, depth, target, like):
    """Rows ``start`` to ``stop`` of a panel of windows. A run is copied in whole vectors: what is too much, the next
    run overwrites. Vectors never reach ``end``."""
    size, width = itemsize(like), tile_columns(like)
    last = min(stop, depth)
    place = target
    if depth and source + (runs[found - 1, SOURCE] + taps[-1] + width) * size > end:
        for p in range(start, last):
            for r in range(found):
                from_ = source + (runs[r, SOURCE] + taps[p]) * size
                copy_bytes(place + runs[r, FIRST] * size, from_, runs[r, LENGTH] * size)
            place += width * size
    elif found == 1:
        from_ = source + runs[0, SOURCE] * size
        for p in range(start, last):
            copy_row(place, from_ + taps[p] * size, like)
            place += width * size
    elif found == 2:
        from_, other = source + runs[0, SOURCE] * size, source + runs[1, SOURCE] * size
        step = runs[1, FIRST] * size
        for p in range(start, last):
            copy_row(place, from_ + taps[p] * size, like)
            copy_row(place + step, other + taps[p] * size, like)
            place += width * size
    else:
        for p in range(start, last):
            for r in range(found):
                copy_row(place + runs[r, FIRST] * size, source + (runs[r, SOURCE] + taps[p]) * size, like)
            place += width * size
    if stop > depth:
        for i in range(width):
            put(place + i * size, one(like))


@kernel
def write_tile(tile, y, plane, tall, runs, found, spread, read, like):
    """Write ``tall`` rows of a tile to where their runs lie in the output; with ``read`` the other way round."""
    size, width = itemsize(like), tile_columns(like)
    for k in range(tall):
        for r in range(found):
            inside = tile + (k * width + runs[r, FIRST]) * size
            outside = y + (k * plane + runs[r, TARGET]) * size
            from_, from_step, to, to_step = inside, size, outside, spread * size
            if read:
                from_, from_step, to, to_step = outside, spread * size, inside, size
            if runs[r, LENGTH] == width and spread == 1:
                copy_row(to, from_, like)
            elif spread == 1:
                copy_bytes(to, from_, runs[r, LENGTH] * size)
            else:
                for u in range(runs[r, LENGTH]):
                    put(to + u * to_step, get(from_ + u * from_step, like))


@kernel
def multiply_windows(a, windows, depth, outputs, y, runs, found, plane, spread, adding, tile, like):
    """All rows of the weight times one panel of windows, written, or added, to the output ``y`` of a group."""
    size, width = itemsize(like), tile_columns(like)
    beta = one(like) if adding else zero(like)
    if spread == 1 and found > 1:  # runs may follow each other in the output
        joined = 1
        for r in range(1, found):
            if runs[r, TARGET] == runs[joined - 1, TARGET] + runs[joined - 1, LENGTH]:
                runs[joined - 1, LENGTH] += runs[r, LENGTH]
            else:
                runs[joined, FIRST], runs[joined, LENGTH] = runs[r, FIRST], runs[r, LENGTH]
                runs[joined, TARGET] = runs[r, TARGET]
                joined += 1
        found = joined
    straight = spread == 1 and runs[0, LENGTH] == width
    for i in range(0, outputs, ROWS):
        tall = min(ROWS, outputs - i)
        if straight and tall == ROWS:
            to = y + (i * plane + runs[0, TARGET]) * size
            multiply_tile(depth, a + i * depth * size, windows, width * size, to, plane * size, one(like), beta)
            continue
        if adding:
            write_tile(tile, y + i * plane * size, plane, tall, runs, found, spread, True, like)
        multiply_tile(depth, a + i * depth * size, windows, width * size, tile, width * size, one(like), beta)
        write_tile(tile, y + i * plane * size, plane, tall, runs, found, spread, False, like)


@kernel
def convolve(job, x, packed, y, has_bias, phases, taps, layout, work, runs, like):
    """One job: rows of some images, of one group."""
    size, width = itemsize(like), tile_columns(like)
    row_blocks = (layout.rows + layout.block_rows - 1) // layout.block_rows
    group = job % layout.groups
    block = job // layout.groups
    first = block % row_blocks * layout.block_rows
    image = block // row_blocks * layout.block_images
    images = min(layout.block_images, layout.images - image)
    tile, panel = work, work + ROWS * width * size
    copy = panel + (layout.depth_block + 1) * width * size
    channels, area = layout.channels, layout.height * layout.width
    mine = x + (image * layout.groups + group) * channels * area * size
    if layout.copied:
        line, image_size = layout.column_step * layout.pitch, channels * layout.plane
        tall = (min(layout.rows - first, layout.block_rows) - 1) * layout.row_step + layout.reach
        for n in range(images):
            for c in range(channels):
                copy_rows(
                    mine + (n * layout.groups * channels + c) * area * size, tall,
                    layout.first_row + first * layout.row_step, layout, copy + (n * channels + c) * layout.plane * size,
                    like,
                )  # fmt: skip
        source, end = copy, 1 << 62  # there is room behind the copy
    else:
        line, image_size = layout.width, layout.groups * channels * area
        source = mine + ((layout.first_row + first * layout.row_step) * line + layout.first_column) * size
        end = x + layout.images * layout.groups * channels * area * size
    out = y + group * layout.outputs * layout.out_height * layout.out_width * size
    padded = (layout.outputs + ROWS - 1) // ROWS * ROWS
    for f in range(len(phases)):
        phase = phases[f]
        rows, depth = min(layout.block_rows, phase[PHASE_ROWS] - first), phase[DEPTH]
        total = depth + has_bias
        here = taps[phase[TAPS] : phase[TAPS] + depth]
        a = packed + (group * layout.packed + phase[PACKED]) * size
        columns = images * rows * phase[PHASE_COLUMNS]
        start = 0
        while rows > 0 and (start < total or start == 0):
            stop = min(start + layout.depth_block, total)
            for j in range(0, columns, width):
                count = min(width, columns - j)
                found = find_runs(runs, j, count, image, first, rows, phase, layout, image_size, line)
                pack_windows(source, end, runs, found, here, start, stop, depth, panel, like)
                multiply_windows(
                    a + start * padded * size, panel, stop - start, layout.outputs, out, runs, found,
                    layout.out_height * layout.out_width, layout.column_spread, start > 0, tile, like,
                )  # fmt: skip
            start = stop + (total == 0)


@parallel_kernel
def pack_weights(weight, bias, phases, weight_taps, layout, packed, like, thread, threads):
    """The weights of all groups and phases, packed once for all threads, each of which packs a part."""
    size = itemsize(like)
    for i in range(layout.groups * len(phases)):
        group, f = i // len(phases), i % len(phases)
        start, depth = phases[f, TAPS], phases[f, DEPTH]
        pack_weight(
            weight + group * layout.weight_group * size, layout.weight_row, weight_taps[start : start + depth],
            bias + group * layout.outputs * size if bias else 0, layout.outputs, depth, layout.depth_block, thread,
            threads, packed + (group * layout.packed + phases[f, PACKED]) * size, like,
        )  # fmt: skip


@parallel_kernel
def convolve_all(x, has_bias, y, phases, taps, layout, packed, work, like, thread, threads):
    """All jobs, of which a thread takes a share in order."""
    size = itemsize(like)
    row_blocks = (layout.rows + layout.block_rows - 1) // layout.block_rows
    jobs = (layout.images + layout.block_images - 1) // layout.block_images * row_blocks * layout.groups
    runs = np.empty((64, 4), np.int64)
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        convolve(job, x, packed, y, has_bias, phases, taps, layout, work + thread * layout.scratch * size, runs, like)
