"""Kernels for NumPy arrays, compiled by Numba for the machine they run on; ``README.md`` here explains them.

Inputs that a kernel is not made for (other dtypes, some rare layouts) go from there to the reference.
"""

from __future__ import annotations

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.attention import attention
from tinygrad_notes.kernels.cpu.attention_grad import attention_grad
from tinygrad_notes.kernels.cpu.average_pooling import (
    adaptive_avg_pool,
    adaptive_avg_pool_grad,
    avg_pool,
    avg_pool_grad,
)
from tinygrad_notes.kernels.cpu.batch_norm import batch_norm, batch_norm_grad
from tinygrad_notes.kernels.cpu.convolution import conv, conv_transpose
from tinygrad_notes.kernels.cpu.ctc import ctc_loss, ctc_loss_grad
from tinygrad_notes.kernels.cpu.dropout import dropout, dropout_mask
from tinygrad_notes.kernels.cpu.elementwise import (
    erf,
    exp,
    gelu,
    gelu_grad,
    sigmoid,
    silu,
    silu_grad,
    tanh,
)
from tinygrad_notes.kernels.cpu.group_norm import group_norm, group_norm_grad
from tinygrad_notes.kernels.cpu.indexing import embedding, embedding_grad, scatter_add
from tinygrad_notes.kernels.cpu.layer_norm import layer_norm, layer_norm_grad, rms_norm, rms_norm_grad
from tinygrad_notes.kernels.cpu.loss import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_probabilities,
    cross_entropy_probabilities_grad,
)
from tinygrad_notes.kernels.cpu.max_pooling import (
    adaptive_max_pool,
    max_pool,
    max_pool_gather,
    max_pool_grad,
)
from tinygrad_notes.kernels.cpu.optimizer import adam_step, global_norm, sgd_step
from tinygrad_notes.kernels.cpu.products import linear, matmul
from tinygrad_notes.kernels.cpu.recurrent import (
    gru_scan,
    gru_scan_grad,
    lstm_scan,
    lstm_scan_grad,
    rnn_scan,
    rnn_scan_grad,
)
from tinygrad_notes.kernels.cpu.softmax import log_softmax, log_softmax_grad, softmax, softmax_grad
from tinygrad_notes.kernels.cpu.weight_grad import conv_weight_grad
from tinygrad_notes.kernels.cpu.windows import col2im, conv_im2col, im2col

fused = reference.fused

__all__ = list(reference.__all__)
