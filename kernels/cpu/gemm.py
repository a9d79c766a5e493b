"""Products of matrices: which way of multiplying the machine has, and shares of many threads.

``panels.py`` multiplies by vectors, in any dtype and on any machine; ``splitting.py`` float32 by AMX, where that is.
Both have the same arguments, so what is built on ``multiply_onto`` need not know which one runs.
"""

from __future__ import annotations

from tinygrad_notes.kernels import PRECISION
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.tile import ROWS
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one, variable, zero
from tinygrad_notes.kernels.cpu.panels import VECTOR_BYTES, multiply_vectors

PARTS = {"highest": 3, "high": 2, "medium": 2}  # of bfloat16, for each float32


def parts_now(itemsize: int) -> int:
    """In how many parts AMX splits a number of so many bytes; 0 where it goes by vectors."""
    return PARTS[PRECISION.get()] if MACHINE.isa == "amx" and itemsize == 4 else 0


if MACHINE.isa == "amx":
    from tinygrad_notes.kernels.cpu.splitting import SPLIT_BYTES, multiply_split

    WORK_BYTES = VECTOR_BYTES + SPLIT_BYTES  # scratch of one thread
    SHARE_ROWS = 32  # shares of rows are multiples of this, so that one thread and many cut the same tiles

    @kernel
    def multiply_onto(
        a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, parts, work
    ):  # fmt: skip
        """C (m, n) = alpha A (m, k) B (k, n) + beta old, by one thread with WORK_BYTES of scratch at ``work``.

        Where float32 goes by AMX each number is split in ``parts``, 3 or the less exact 2.
        """
        if itemsize(alpha) == 4 and k:
            multiply_split(
                a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, parts, work
            )  # fmt: skip
        else:
            multiply_vectors(
                a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, parts, work
            )  # fmt: skip

else:
    WORK_BYTES, SHARE_ROWS, multiply_onto = VECTOR_BYTES, ROWS, multiply_vectors


@parallel_kernel
def multiply_batch(
    a, a_outer, a_inner, a_row, a_column, b, b_outer, b_inner, b_row, b_column, c, bias, outer, inner, m, n, k, tall,
    wide, like, parts, work, thread, threads,
):  # fmt: skip
    """C (outer, inner, m, n), contiguous, = A (outer, inner, m, k) B (outer, inner, k, n) + bias (n,), 0 for none.

    The job of a thread is a rectangle of at most ``tall`` rows and ``wide`` columns; each takes its share in order.
    """
    size = itemsize(like)
    down, across = (m + tall - 1) // tall, (n + wide - 1) // wide
    jobs = outer * inner * down * across
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        item, part = job // (down * across), job % (down * across)
        i, j = part // across * tall, part % across * wide
        x = a + item // inner * a_outer + item % inner * a_inner + i * a_row
        y = b + item // inner * b_outer + item % inner * b_inner + j * b_column
        z = c + ((item * m + i) * n + j) * size
        multiply_onto(
            x, a_row, a_column, y, b_row, b_column, z, n * size, bias + j * size, variable(0), min(tall, m - i),
            min(wide, n - j), k, one(like), one(like) if bias else zero(like), parts,
            work + thread * WORK_BYTES,
        )  # fmt: skip
