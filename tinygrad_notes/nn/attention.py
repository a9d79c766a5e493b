"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.linear import Linear
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import dropout, linear, max, scaled_dot_product_attention, softmax, where
from tinygrad_notes.ops.arguments import count, probability
from tinygrad_notes.tensor import Tensor, to_array, wrap


class MultiheadAttention(Module):
    """Concatenated softmax(Q Kᵀ / √d) V of ``num_heads`` heads, projected (Vaswani et al. 2017, arXiv:1706.03762).

    query (L, N, E), key (S, N, kdim), value (S, N, vdim), or with ``batch_first`` (N, L, E) and so on, or without N.
    Returns the output, laid out as the query, and the weights (N, L, S), averaged over heads (None without
    ``need_weights``, which is quicker). Masks follow PyTorch's layer, not its function: True means *not* allowed.
    A query that may see no key gets zeros before the last projection (in PyTorch NaN). ``is_causal`` needs no mask
    beside it, and PyTorch's ``add_bias_kv`` and ``add_zero_attn`` do not exist.
    ``in_proj_weight`` (3E, E) stacks the projections of query, key and value; with ``kdim`` or ``vdim`` they are apart.

    >>> x = tn.ones((2, 5, 8))
    >>> output, weights = nn.MultiheadAttention(8, 2, batch_first=True)(x, x, x)
    >>> output.shape, weights.shape
    ((2, 5, 8), (2, 5, 5))
    """

    in_proj_weight: Tensor | None
    in_proj_bias: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.embed_dim, self.num_heads = (
            count(embed_dim, "MultiheadAttention: embed_dim"),
            count(num_heads, "MultiheadAttention: num_heads"),
        )
        if self.embed_dim % self.num_heads:
            raise ShapeError(
                f"MultiheadAttention: embed_dim is {embed_dim}, expected a multiple of num_heads, {num_heads}"
            )
        self.dropout, self.batch_first = probability(dropout, "MultiheadAttention: dropout"), batch_first
        self.kdim = self.embed_dim if kdim is None else count(kdim, "MultiheadAttention: kdim")
        self.vdim = self.embed_dim if vdim is None else count(vdim, "MultiheadAttention: vdim")
        size = self.embed_dim
        self.joint = self.kdim == self.vdim == size
        if self.joint:
            self.in_proj_weight = init.empty_parameter((3 * size, size), device, dtype)
        else:
            self.q_proj_weight = init.empty_parameter((size, size), device, dtype)
            self.k_proj_weight = init.empty_parameter((size, self.kdim), device, dtype)
            self.v_proj_weight = init.empty_parameter((size, self.vdim), device, dtype)
            self.in_proj_weight = None
        self.in_proj_bias = init.empty_parameter((3 * size,), device, dtype) if bias else None
        self.out_proj = Linear(size, size, bias, device, dtype)
        self._reset_projections()

    def reset_parameters(self) -> None:
        """Draw the projections anew: Xavier's uniform, biases 0."""
        self.out_proj.reset_parameters()
        self._reset_projections()

    def _reset_projections(self) -> None:
        for name, parameter in self.named_parameters(recurse=False):
            if name.endswith("weight"):
                init.xavier_uniform_(parameter)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        same = query is key is value
        query, key, value = (_tensor(x, name, "fiub") for x, name in ((query, "query"), (key, "key"), (value, "value")))
        single = query.ndim == 2
        self._check_shapes(query, key, value)
        if single:
            query, key, value = query[None], key[None], value[None]
        elif not self.batch_first:
            query, key, value = query.swapaxes(0, 1), key.swapaxes(0, 1), value.swapaxes(0, 1)
        q, k, v = self._projected(query, key, value, same)  # (N, heads, L or S, E / heads)
        masked = attn_mask is not None or key_padding_mask is not None
        mask = self._mask(attn_mask, key_padding_mask, is_causal and (need_weights or masked), q, k)
        weights = None
        if need_weights:
            y, weights = self._with_weights(q, k, v, mask)
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            p = self.dropout if self.training else 0.0
            y = scaled_dot_product_attention(q, k, v, mask, p, is_causal and mask is None)
        y = self.out_proj(y.swapaxes(1, 2).reshape(*query.shape[:2], self.embed_dim))  # (N, L, E)
        if single:
            return y[0], None if weights is None else weights[0]
        return (y if self.batch_first else y.swapaxes(0, 1)), weights

    def _check_shapes(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        shapes, batch = (query.shape, key.shape, value.shape), 0 if self.batch_first else 1
        fits = {len(shape) for shape in shapes} in ({2}, {3}) and key.shape[:-1] == value.shape[:-1]
        fits = fits and (query.ndim == 2 or query.shape[batch] == key.shape[batch])
        if not fits or [shape[-1] for shape in shapes] != [self.embed_dim, self.kdim, self.vdim]:
            layout = "(N, {}, {})" if self.batch_first else "({}, N, {})"
            sizes = zip("LSS", (self.embed_dim, self.kdim, self.vdim))
            raise ShapeError(
                f"MultiheadAttention: query has shape {shapes[0]}, key {shapes[1]}, value {shapes[2]}, expected "
                f"{', '.join(layout.format(*size) for size in sizes)}, or all without N"
            )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> list[Tensor]:
        size, bias = self.embed_dim, self.in_proj_bias
        if same and self.in_proj_weight is not None:
            whole = linear(query, self.in_proj_weight, bias)
            parts = [whole[..., i * size : (i + 1) * size] for i in range(3)]
        else:
            joint = self.in_proj_weight
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight] if joint is None else joint.split(3)
            biases = [None] * 3 if bias is None else bias.split(3)
            parts = [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]
        return [x.reshape(*x.shape[:2], self.num_heads, size // self.num_heads).swapaxes(1, 2) for x in parts]

    def _mask(self, attn_mask: Any, key_padding_mask: Any, causal: bool, q: Tensor, k: Tensor) -> Any:
        """What is added to the scores, or where attention is allowed; broadcasts to (N, heads, L, S)."""
        batch, length, source = q.shape[0], q.shape[2], k.shape[2]
        masks = []
        if attn_mask is not None:
            mask = _tensor(attn_mask, "attn_mask")
            if mask.ndim == 3 and mask.shape[0] == batch * self.num_heads:
                mask = mask.reshape(batch, self.num_heads, *mask.shape[1:])
            leading = mask.shape[:-2]
            if mask.shape[-2:] != (length, source) or leading not in ((), (batch, self.num_heads)):
                raise ShapeError(
                    f"MultiheadAttention: attn_mask has shape {mask.shape}, expected {(length, source)} or "
                    f"{(batch * self.num_heads, length, source)}"
                )
            masks.append(mask)
        if key_padding_mask is not None:
            mask = _tensor(key_padding_mask, "key_padding_mask")
            mask = mask[None] if mask.ndim == 1 else mask
            if mask.shape != (batch, source):
                raise ShapeError(
                    f"MultiheadAttention: key_padding_mask has shape {mask.shape}, expected {(batch, source)}"
                )
            masks.append(mask[:, None, None, :])
        if causal:
            masks.append(wrap(np.arange(source, like=q.data) > np.arange(length, like=q.data)[:, None]))
        if not masks:
            return None
        if all(mask.dtype.kind == "b" for mask in masks):
            refused = masks[0]
            for mask in masks[1:]:
                refused = refused | mask
            return ~refused
        added: Any = 0.0
        for mask in masks:
            added = added + (where(mask, -np.inf, 0.0) if mask.dtype.kind == "b" else mask)
        return added

    def _with_weights(self, q: Tensor, k: Tensor, v: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(2, 3)
        if mask is not None:
            scores = where(mask, scores, -np.inf) if mask.dtype.kind == "b" else scores + mask
            nothing = max(scores.detach(), -1, True) == -np.inf  # a query that may attend to no key gets 0
            weights = where(nothing, 0.0, softmax(where(nothing, 0.0, scores), -1))
        else:
            weights = softmax(scores, -1)
        weights = dropout(weights, self.dropout, self.training)
        return weights @ v, weights

    def extra_repr(self) -> str:
        text = f"{self.embed_dim}, {self.num_heads}"
        for name, default in (
            ("dropout", 0.0),
            ("kdim", self.embed_dim),
            ("vdim", self.embed_dim),
            ("batch_first", False),
        ):
            value = getattr(self, name)
            text += "" if value == default else f", {name}={value!r}"
        return text


def _tensor(value: Any, name: str, kinds: str = "bf") -> Tensor:
    """An argument as a Tensor: an input, or a mask, which is of one of two kinds."""
    try:
        result = value if type(value) is Tensor else wrap(to_array(value))
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"MultiheadAttention: {name}: {error}") from None
    if result.dtype.kind not in kinds:
        raise DTypeError(
            f"MultiheadAttention: {name} is {result.dtype}, expected booleans (True: not allowed) or floats"
        )
    return result
