"""Kernels for CuPy's arrays, in CUDA C++: each .cu stands beside the module that launches it; ``README.md`` explains.

What has no kernel here is composed of CuPy's operations, by the reference; so are dtypes that a kernel is not made for.
"""

from __future__ import annotations

import sys
from typing import Any

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.attention import attention, attention_grad
from tinygrad_notes.kernels.cuda.convolution import conv, conv_transpose, conv_weight_grad
from tinygrad_notes.kernels.cuda.ctc import ctc_loss, ctc_loss_grad
from tinygrad_notes.kernels.cuda.dropout import dropout, dropout_mask
from tinygrad_notes.kernels.cuda.elementwise import erf, exp, gelu, gelu_grad, sigmoid, silu, silu_grad, tanh
from tinygrad_notes.kernels.cuda.fusion import fused
from tinygrad_notes.kernels.cuda.indexing import embedding, embedding_grad, scatter_add
from tinygrad_notes.kernels.cuda.loss import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_probabilities,
    cross_entropy_probabilities_grad,
)
from tinygrad_notes.kernels.cuda.normalization import (
    batch_norm,
    batch_norm_grad,
    group_norm,
    group_norm_grad,
    layer_norm,
    layer_norm_grad,
    rms_norm,
    rms_norm_grad,
)
from tinygrad_notes.kernels.cuda.optimizer import adam_step, global_norm, sgd_step
from tinygrad_notes.kernels.cuda.pooling import (
    adaptive_avg_pool,
    adaptive_avg_pool_grad,
    adaptive_max_pool,
    avg_pool,
    avg_pool_grad,
    max_pool,
    max_pool_gather,
    max_pool_grad,
)
from tinygrad_notes.kernels.cuda.products import linear, matmul
from tinygrad_notes.kernels.cuda.recurrent import (
    gru_scan,
    gru_scan_grad,
    lstm_scan,
    lstm_scan_grad,
    rnn_scan,
    rnn_scan_grad,
)
from tinygrad_notes.kernels.cuda.softmax import log_softmax, log_softmax_grad, softmax, softmax_grad
from tinygrad_notes.kernels.cuda.windows import col2im, conv_im2col, im2col

__all__ = list(reference.__all__)


def __getattr__(name: str) -> Any:
    """A function of the contract that no family here brings."""
    if name in __all__:
        return getattr(reference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def kinds() -> dict[str, str]:
    """Of every function, what computes it: ``"kernel"``, ``"cuBLAS"``, one of the two by size, ``"CuPy"``, or
    ``"composed"``: the reference."""
    own = {name: globals().get(name) for name in __all__}
    return {
        name: "composed" if function is None else sys.modules[function.__module__].KINDS[name]
        for name, function in own.items()
    }
