"""Every differentiable op, by kind. Importing this package binds operators and methods to Tensor."""

from __future__ import annotations

from tinygrad_notes.ops.attention import scaled_dot_product_attention
from tinygrad_notes.ops.convolution import col2im, conv2d, conv_transpose2d, im2col
from tinygrad_notes.ops.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from tinygrad_notes.ops.elementwise import (
    abs,
    add,
    astype,
    bitwise_and,
    bitwise_invert,
    bitwise_or,
    bitwise_xor,
    clip,
    clone,
    cos,
    divide,
    equal,
    erf,
    exp,
    expm1,
    floor_divide,
    gelu,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    leaky_relu,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    positive,
    pow,
    relu,
    remainder,
    sigmoid,
    sign,
    silu,
    sin,
    softplus,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from tinygrad_notes.ops.indexing import embedding, getitem, one_hot, scatter_add, take_along_axis
from tinygrad_notes.ops.linalg import einsum, linear, matmul
from tinygrad_notes.ops.loss import binary_cross_entropy_with_logits, cross_entropy, kl_div, l1_loss, mse_loss, nll_loss
from tinygrad_notes.ops.normalization import batch_norm, layer_norm
from tinygrad_notes.ops.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from tinygrad_notes.ops.random import dropout
from tinygrad_notes.ops.recurrent import gru, gru_scan, lstm, lstm_scan, rnn, rnn_scan
from tinygrad_notes.ops.reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, norm, std, sum, var
from tinygrad_notes.ops.shape import (
    broadcast_to,
    concat,
    expand_dims,
    flatten,
    flip,
    matrix_transpose,
    moveaxis,
    pad,
    permute_dims,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    unstack,
)
from tinygrad_notes.ops.softmax import log_softmax, softmax

from tinygrad_notes.ops import in_place, operators  # isort: skip

__all__ = [name for name, value in globals().items() if callable(value) and not name.startswith("_")]

operators.FUNCTIONS.update({name: globals()[name] for name in __all__})
