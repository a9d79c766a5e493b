"""The Transformer (Vaswani et al. 2017, arXiv:1706.03762): layers of encoder and decoder, their stacks, the whole.

Sequences are (T, N, E), with ``batch_first`` (N, T, E), or a single one (T, E). Masks are those of
:class:`MultiheadAttention`: True means *not* allowed, floats are added to the scores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.attention import MultiheadAttention
from tinygrad_notes.nn.containers import ModuleList
from tinygrad_notes.nn.dropout import Dropout
from tinygrad_notes.nn.linear import Linear
from tinygrad_notes.nn.module import Module
from tinygrad_notes.nn.normalization import BatchNorm1d, LayerNorm
from tinygrad_notes.ops import gelu, relu, reshape
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.shape import as_shape, operand
from tinygrad_notes.tensor import Tensor, as_dtype, float32, to_device, wrap

_ACTIVATIONS: dict[str, Callable[..., Any]] = {"relu": relu, "gelu": gelu}


class _BatchNormOverTime(BatchNorm1d):
    """Batch normalisation of each feature (the last axis) over batch and time, padding included."""

    def forward(self, x: Any) -> Tensor:
        x = operand(x)
        return reshape(super().forward(reshape(x, (-1, x.shape[-1]))), x.shape)


def _norm(kind: str, size: int, eps: float, bias: bool, device: str | None, dtype: Any) -> Module:
    if kind == "layer":
        return LayerNorm(size, eps, bias=bias, device=device, dtype=dtype)
    layer = _BatchNormOverTime(size, eps, device=device, dtype=dtype)
    if not bias:
        layer.bias = None
    return layer


class _Layer(Module):
    """What layers of encoder and decoder share: attention and feed-forward blocks, each with "add and norm".

    ``norm_first=False``, as in the paper: x = norm(x + block(x)). ``norm_first=True``: x = x + block(norm(x)) (Xiong et
    al. 2020, arXiv:2002.04745).
    """

    attentions: tuple[str, ...]  # one block each, before the feed-forward block

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        norm: str = "layer",
    ):
        super().__init__()
        name = type(self).__name__
        d_model, nhead = count(d_model, f"{name}: d_model"), count(nhead, f"{name}: nhead")
        if d_model % nhead:
            raise ShapeError(f"{name}: d_model is {d_model}, expected a multiple of nhead, {nhead}")
        width = count(dim_feedforward, f"{name}: dim_feedforward")
        one_of(norm, f"{name}: norm", ("layer", "batch"))
        if isinstance(activation, str):
            activation = _ACTIVATIONS[one_of(activation, f"{name}: activation", tuple(_ACTIVATIONS))]
        elif not callable(activation):
            raise DTypeError(f"{name}: activation is {activation!r}, expected 'relu', 'gelu' or a function")
        for attention in self.attentions:
            layer = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
            )
            setattr(self, attention, layer)
        self.linear1 = Linear(d_model, width, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(width, d_model, bias, device, dtype)
        self.norm_first, self.norm = norm_first, norm
        blocks = range(1, len(self.attentions) + 2)
        for i in blocks:
            setattr(self, f"norm{i}", _norm(norm, d_model, layer_norm_eps, bias, device, dtype))
        for i in blocks:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = activation

    def _through(self, x: Any, *blocks: Callable[[Any], Tensor]) -> Tensor:
        """x after all blocks, with the sum and the norm of each where ``norm_first`` puts them."""
        x = operand(x)
        for i, block in enumerate(blocks, 1):
            norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + dropout(block(norm(x))) if self.norm_first else norm(x + dropout(block(x)))
        return x

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def extra_repr(self) -> str:
        parts = (["norm_first=True"] if self.norm_first else []) + (["norm='batch'"] if self.norm == "batch" else [])
        return ", ".join(parts)


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward network, each inside "add and norm": shapes stay as they are.

    ``norm="batch"`` puts batch normalisation, over batch and time for each feature, where the paper has layer
    normalisation. ``is_causal``: position i sees positions 0 to i; unlike PyTorch's it needs no mask beside it, and
    with one both hold.

    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(tn.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    attentions = ("self_attn",)
    self_attn: MultiheadAttention

    def forward(
        self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._through(src, attend, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output ``memory``, and a feed-forward network.

    Each is inside "add and norm"; ``norm`` and the causal flags as in :class:`TransformerEncoderLayer`. The result has
    the shape of ``tgt``.

    >>> layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(tn.ones((3, 4, 8)), tn.ones((3, 5, 8)), tgt_is_causal=True).shape
    (3, 4, 8)
    """

    attentions = ("self_attn", "multihead_attn")
    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        memory = operand(memory)

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def look_up(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        return self._through(tgt, attend, look_up, self._feed_forward)


class _Stack(Module):
    """``num_layers`` copies of a layer, of equal values at first as in PyTorch, and a norm behind them or None."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None):
        super().__init__()
        name = type(self).__name__
        for value, label in ((layer, "layer"), (norm, "norm")):
            if not isinstance(value, Module) and (label == "layer" or value is not None):
                raise DTypeError(f"{name}: {label} is {value!r:.60}, expected a Module")
        self.num_layers = count(num_layers, f"{name}: num_layers")
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(self.num_layers))
        self.norm = norm

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """A stack of ``num_layers`` copies of ``encoder_layer``, and ``norm`` behind them.

    PyTorch's ``enable_nested_tensor`` and ``mask_check`` do not exist: padded positions are computed like all others.

    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))(tn.ones((5, 3, 8))).shape
    (5, 3, 8)
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return self._normed(src)


class TransformerDecoder(_Stack):
    """A stack of ``num_layers`` copies of ``decoder_layer``, which all see the same ``memory``, and ``norm``.

    >>> layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16)
    >>> nn.TransformerDecoder(layer, 2)(tn.ones((4, 3, 8)), tn.ones((5, 3, 8))).shape
    (4, 3, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return self._normed(tgt)


class Transformer(Module):
    """Encoder and decoder, each with a norm behind its layers: ``model(src, tgt)`` has the shape of ``tgt``.

    Embeddings, positions and the last projection are the user's. All matrices start as Xavier's uniform. ``norm`` as in
    :class:`TransformerEncoderLayer`.

    >>> model = nn.Transformer(8, 2, 1, 1, dim_feedforward=16, batch_first=True)
    >>> model(tn.ones((3, 5, 8)), tn.ones((3, 4, 8)), tgt_is_causal=True).shape
    (3, 4, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        norm: str = "layer",
    ):
        super().__init__()
        self.d_model, self.nhead = count(d_model, "Transformer: d_model"), count(nhead, "Transformer: nhead")
        self.batch_first = batch_first
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
                    device, dtype)  # fmt: skip
        self.encoder, self.decoder = custom_encoder, custom_decoder
        if custom_encoder is None:
            last = _norm(norm, d_model, layer_norm_eps, bias, device, dtype)
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*settings, norm=norm), num_encoder_layers, last)
        if custom_decoder is None:
            last = _norm(norm, d_model, layer_norm_eps, bias, device, dtype)
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*settings, norm=norm), num_decoder_layers, last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all matrices anew: Xavier's uniform. Vectors (biases and norms) stay as they are."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        shapes, batch = (tuple(as_shape(src)), tuple(as_shape(tgt))), 0 if self.batch_first else 1
        fits = len(shapes[0]) == len(shapes[1]) in (2, 3) and all(shape[-1] == self.d_model for shape in shapes)
        if not fits or (len(shapes[0]) == 3 and shapes[0][batch] != shapes[1][batch]):
            layout = "(N, {}, {})" if self.batch_first else "({}, N, {})"
            expected = " and ".join(layout.format(length, self.d_model) for length in "ST")
            raise ShapeError(
                f"Transformer: src has shape {shapes[0]}, tgt {shapes[1]}, expected {expected}, or both without N"
            )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)  # type: ignore[misc]
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)  # type: ignore[misc]

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: str | None = None, dtype: Any = None) -> Tensor:
        """The causal mask (sz, sz) to add to scores: 0 where a position may look, -inf at what comes after it.

        >>> nn.Transformer.generate_square_subsequent_mask(2)
        Tensor([[  0., -inf],
                [  0.,   0.]])
        """
        size = count(sz, "generate_square_subsequent_mask: sz", 0)
        mask = np.full((size, size), -np.inf, float32 if dtype is None else as_dtype(dtype))
        return wrap(to_device(np.triu(mask, 1), device))
