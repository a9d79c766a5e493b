"""The definition of every hot op: plain array code on NumPy's functions, the same for NumPy and CuPy arrays."""

from tinygrad_notes.kernels.reference.attention import attention, attention_grad
from tinygrad_notes.kernels.reference.convolution import (
    col2im,
    conv,
    conv_im2col,
    conv_transpose,
    conv_weight_grad,
    im2col,
)
from tinygrad_notes.kernels.reference.ctc import ctc_loss, ctc_loss_grad
from tinygrad_notes.kernels.reference.dropout import dropout, dropout_mask
from tinygrad_notes.kernels.reference.elementwise import erf, exp, gelu, gelu_grad, sigmoid, silu, silu_grad, tanh
from tinygrad_notes.kernels.reference.fusion import fused
from tinygrad_notes.kernels.reference.indexing import embedding, embedding_grad, scatter_add
from tinygrad_notes.kernels.reference.linear import linear, matmul
from tinygrad_notes.kernels.reference.loss import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_probabilities,
    cross_entropy_probabilities_grad,
)
from tinygrad_notes.kernels.reference.normalization import (
    batch_norm,
    batch_norm_grad,
    group_norm,
    group_norm_grad,
    layer_norm,
    layer_norm_grad,
    rms_norm,
    rms_norm_grad,
)
from tinygrad_notes.kernels.reference.optimizer import adam_step, global_norm, sgd_step
from tinygrad_notes.kernels.reference.pooling import (
    adaptive_avg_pool,
    adaptive_avg_pool_grad,
    adaptive_max_pool,
    avg_pool,
    avg_pool_grad,
    max_pool,
    max_pool_gather,
    max_pool_grad,
)
from tinygrad_notes.kernels.reference.recurrent import (
    gru_scan,
    gru_scan_grad,
    lstm_scan,
    lstm_scan_grad,
    rnn_scan,
    rnn_scan_grad,
)
from tinygrad_notes.kernels.reference.softmax import log_softmax, log_softmax_grad, softmax, softmax_grad

__all__ = [
    # elementwise
    "exp",
    "tanh",
    "sigmoid",
    "erf",
    "gelu",
    "gelu_grad",
    "silu",
    "silu_grad",
    # fusion
    "fused",
    # linear
    "matmul",
    "linear",
    # convolution
    "im2col",
    "col2im",
    "conv",
    "conv_im2col",
    "conv_weight_grad",
    "conv_transpose",
    # pooling
    "max_pool",
    "max_pool_grad",
    "max_pool_gather",
    "adaptive_max_pool",
    "avg_pool",
    "avg_pool_grad",
    "adaptive_avg_pool",
    "adaptive_avg_pool_grad",
    # softmax
    "softmax",
    "softmax_grad",
    "log_softmax",
    "log_softmax_grad",
    # indexing
    "embedding",
    "embedding_grad",
    "scatter_add",
    # dropout
    "dropout",
    "dropout_mask",
    # optimizer
    "sgd_step",
    "adam_step",
    "global_norm",
    # normalization
    "batch_norm",
    "batch_norm_grad",
    "layer_norm",
    "layer_norm_grad",
    "group_norm",
    "group_norm_grad",
    "rms_norm",
    "rms_norm_grad",
    # attention
    "attention",
    "attention_grad",
    # recurrent
    "rnn_scan",
    "rnn_scan_grad",
    "lstm_scan",
    "lstm_scan_grad",
    "gru_scan",
    "gru_scan_grad",
    # loss
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_probabilities",
    "cross_entropy_probabilities_grad",
    "ctc_loss",
    "ctc_loss_grad",
]
