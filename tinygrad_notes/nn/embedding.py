"""A table of vectors, looked up by number."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor, wrap


class Embedding(Module):
    """Rows of ``weight`` (num_embeddings, embedding_dim) at integer indices (...): result (..., embedding_dim).

    ``weight`` starts normal with standard deviation 1. The row ``padding_idx`` starts at 0 and gets no gradient.
    PyTorch's ``max_norm``, ``norm_type``, ``scale_grad_by_freq`` and ``sparse`` do not exist.

    >>> nn.Embedding(10, 3, padding_idx=0)([[4, 0]]).data[0, 1]
    array([0., 0., 0.], dtype=float32)
    """

    weight: Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.num_embeddings = count(num_embeddings, "Embedding: num_embeddings", 0)
        self.embedding_dim = count(embedding_dim, "Embedding: embedding_dim", 0)
        if padding_idx is not None:
            count(padding_idx, "Embedding: padding_idx", -self.num_embeddings)
            if padding_idx >= self.num_embeddings:
                raise ShapeError(
                    f"Embedding: padding_idx is {padding_idx}, expected less than num_embeddings, {self.num_embeddings}"
                )
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        self.weight = init.empty_parameter((self.num_embeddings, self.embedding_dim), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rows anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(wrap(self.weight.data[self.padding_idx : self.padding_idx + 1]))

    def forward(self, indices: Any) -> Tensor:
        return ops.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
