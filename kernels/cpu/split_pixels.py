"""The gradient of a convolution's weight by AMX: windows times g, the depth being pixels.

The copy of a part of the image is split once into planes, as in ``split_windows.py``. The left operand is then 32 rows
of the matrix of windows, each a channel at an offset in the kernel: runs of pixels, copied out of the planes, one after
the other, as the rows of g run on. They are copied because a tile wants rows at equal distances and steps of 32 pixels.
The right one is a panel of g, transposed as for vectors, and split. Sums of one block of pixels are added by vectors.

Whether AMX can take a block of pixels is asked of the copy and of all panels of g together; if not, vectors do it.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.amx import EDGE, PART, clear_range, multiply_parts, split_pair
from tinygrad_notes.kernels.cpu.isa.memory import add_run, clear_bytes, copy_bytes, get_int64
from tinygrad_notes.kernels.cpu.isa.tile import ROWS
from tinygrad_notes.kernels.cpu.isa.vector import itemsize
from tinygrad_notes.kernels.cpu.isa.window_sums import multiply_windows
from tinygrad_notes.kernels.cpu.splitting import RANGE, SQUARE, in_range, keep_range, split_line

# where things lie in the part of a thread's scratch that is for AMX; CONFIG and RANGE as in ``splitting.py``
COPY_RANGE, GRADIENT_RANGE, TILE = SQUARE, SQUARE + 16, SQUARE + 64
LEFT = TILE + EDGE * EDGE * 4  # then the right operand, then the planes


@kernel
def left_bytes(pixels, parts):
    """Room for EDGE rows of windows, and for a vector behind the last."""
    return parts * EDGE * pixels * 2 + 64


@kernel
def split_part(copy, channels, images, there, plane, parts, target, part_bytes, work):
    """The copy (channels, images, plane), of which ``there`` images are in this block, as planes, and its range."""
    if there < images:
        for c in range(channels):
            clear_bytes(copy + (c * images + there) * plane * 4, (images - there) * plane * 4)
    clear_range(work + RANGE)
    split_line(parts, copy, channels * images * plane, target, part_bytes, work + RANGE)
    keep_range(work + RANGE, work + COPY_RANGE)


@kernel
def split_gradient(gradient, depth, parts, target, work):
    """A panel of g, (depth, EDGE), in parts; whether AMX can take it with the copy."""
    padded = (depth + EDGE - 1) // EDGE * EDGE
    clear_bytes(gradient + depth * EDGE * 4, (padded - depth) * EDGE * 4)
    clear_range(work + RANGE)
    for p in range(0, padded, 2):
        to = target + p // EDGE * parts * PART + p % EDGE * 32
        split_pair(parts, gradient + p * EDGE * 4, EDGE * 4, to, work + RANGE)
    keep_range(work + RANGE, work + GRADIENT_RANGE)
    return in_range(work + COPY_RANGE, work + GRADIENT_RANGE)


@kernel
def pack_rows(begins, count, planes, part_bytes, images, rows, columns, image_stride, row_stride, parts, target, line):
    """``count`` rows of windows, in each part, ``line`` bytes apart; strides are of the planes.

    A run is copied in whole vectors: what is too much, the next one overwrites, and behind the last it is multiplied
    by 0.
    """
    for part in range(parts):
        for i in range(count):
            to = target + (part * EDGE + i) * line
            first = planes + part * part_bytes + get_int64(begins + 8 * i) // 2  # the table counts bytes of float32
            for n in range(images):
                for y in range(rows):
                    place = first + n * image_stride + y * row_stride
                    for z in range(0, columns, EDGE):
                        copy_bytes(to + z * 2, place + z * 2, EDGE * 2)
                    to += columns * 2


@kernel
def multiply_pixels(
    begins, count, base, images, rows, columns, image_stride, row_stride, gradients, panel_bytes, panels, sums,
    sums_bytes, fits, planes, part_bytes, split, parts, pixels, work, like,
):  # fmt: skip
    """sums (panels, count, EDGE) += windows (count, depth) times ``panels`` panels of g, by AMX if it ``fits``.

    Row i of the windows begins ``begins[i]`` bytes behind ``base``, in the copy; strides are of the copy. ``split``:
    the panels of g in parts. ``pixels``: the depth at most.
    """
    size, depth = itemsize(like), images * rows * columns
    if not fits:
        for panel in range(panels):
            for i in range(0, count, ROWS):
                multiply_windows(
                    begins + 8 * i, base, images, rows, columns, image_stride, row_stride, size,
                    gradients + panel * panel_bytes, sums + panel * sums_bytes + i * EDGE * size, like,
                )  # fmt: skip
        return
    left, tile, steps = work + LEFT, work + TILE, (depth + EDGE - 1) // EDGE
    for i in range(0, count, EDGE):
        tall = min(EDGE, count - i)
        pack_rows(
            begins + 8 * i, tall, planes, part_bytes, images, rows, columns, image_stride // 2, row_stride // 2, parts,
            left, pixels * 2,
        )  # fmt: skip
        for panel in range(panels):
            right = split + panel * pixels // EDGE * parts * PART
            multiply_parts(
                parts, left, pixels * 2, EDGE * pixels * 2, EDGE * 2, right, tile, EDGE * 4, steps,
            )  # fmt: skip
            add_run(sums + panel * sums_bytes + i * EDGE * size, tile, tall * EDGE, like)
