"""Micro-kernels along a row that several ops are made of."""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.rows import row


def _fill(v, x, scalars):
    return [scalars[0]], []


def _add(v, x, scalars):
    return [v.builder.fadd(x[0], x[1])], []


def _scaled(v, x, scalars):
    return [v.builder.fmul(x[0], scalars[0])], []


def _maximum(v, x, scalars):
    return [], [x[0]]


def _product(v, x, scalars):
    return [], [v.builder.fmul(x[0], x[1])]


def _exponential(v, x, scalars):
    """exp(x - m), and its sum."""
    e = functions.exp(v, v.builder.fsub(x[0], scalars[0]))
    return [e], [e]


row_fill = row(0, 1, 1, _fill)
row_add = row(2, 1, 0, _add)
row_scaled = row(1, 1, 1, _scaled)
row_maximum = row(1, 0, 0, _maximum, ("max",))
row_product = row(2, 0, 0, _product, ("sum",))
row_exponential = row(1, 1, 1, _exponential, ("sum",))
