"""Kernels for NumPy arrays, compiled by Numba for the machine they run on; ``README.md`` here explains them.

A function of the contract that has no kernel here yet is the reference's.
"""

from __future__ import annotations

from tinygrad_notes.kernels import reference

globals().update({name: getattr(reference, name) for name in reference.__all__})

from tinygrad_notes.kernels.cpu.products import linear, matmul  # noqa: E402

from tinygrad_notes.kernels.cpu.recurrent import (  # noqa: E402
    gru_scan,
    gru_scan_grad,
    lstm_scan,
    lstm_scan_grad,
    rnn_scan,
    rnn_scan_grad,
)

__all__ = list(reference.__all__)
