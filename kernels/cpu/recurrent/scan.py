"""What the recurrent scans share beside the product with a packed weight: valid steps, and what a step starts from.

A thread takes a share of the sequences through all steps. Sequences do not need each other, so no thread waits for
another inside the loop over time. The recurrent weight is packed once; a share's state, packed in every step, is small.

In the kernels all arrays are contiguous, with shapes as in ``kernels/README.md``. Those named ``h``, ``c``, ``g_h`` and
``g_c`` are running states (N, H), changed in place only in the steps in which a sequence is valid, ``t < lengths[i]``;
whatever else such a step would write is 0.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.memory import copy_bytes, get_int64


@kernel
def valid(lengths, sequence, t):
    """Whether step t belongs to the sequence."""
    return t < get_int64(lengths + sequence * 8)


@kernel
def previous_place(states, initial, lengths, sequence, t, reverse, step_bytes, row_bytes):
    """The address of the state that step t of a sequence started from: a step before, or the initial one."""
    if reverse:
        if t == get_int64(lengths + sequence * 8) - 1:
            return initial + sequence * row_bytes
        return states + (t + 1) * step_bytes + sequence * row_bytes
    if t == 0:
        return initial + sequence * row_bytes
    return states + (t - 1) * step_bytes + sequence * row_bytes


@kernel
def take_valid(source, target, lengths, t, start, end, row_bytes):
    """Rows of ``source``, a share's own, become the states of the sequences that are valid at step t."""
    for i in range(start, end):
        if valid(lengths, i, t):
            copy_bytes(target + i * row_bytes, source + (i - start) * row_bytes, row_bytes)
