"""Recurrent networks in matrices of their own, as "Dive into Deep Learning" writes them from scratch.

Each takes one-hot tokens, has W_x, W_h and b for each of its gates, and an affine output; a subclass says what one step
does. The layers of ``nn`` do the same in one call, with two biases where these have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RecurrentLanguageModel
from tinygrad_notes.notes.note import Fact, parameter_count
from tinygrad_notes.tensor import Tensor

CLASSES, HIDDEN = 28, 256  # letters, space and unknown of the book's text, and its hidden units


class FromScratch(nn.Module):
    """``gates`` in the order in which the layer of ``nn`` stacks them; a state is a tuple whose first part is h."""

    context = None
    gates: tuple[str, ...]
    states = 1

    def __init__(self, vocabulary: int, hidden: int):
        super().__init__()
        self.vocabulary, self.hidden = vocabulary, hidden
        for gate in self.gates:
            setattr(self, f"W_x{gate}", self._drawn(vocabulary, hidden))
            setattr(self, f"W_h{gate}", self._drawn(hidden, hidden))
            setattr(self, f"b_{gate}", nn.Parameter(tn.zeros(hidden)))
        self.W_hq = self._drawn(hidden, vocabulary)
        self.b_q = nn.Parameter(tn.zeros(vocabulary))

    @staticmethod
    def _drawn(*shape: int) -> Tensor:
        return nn.init.normal_(nn.Parameter(tn.zeros(shape)), 0.0, 0.01)

    def affine(self, gate: str, x: Any, h: Any) -> Tensor:
        """x W_x + h W_h + b of a gate: (N, hidden)."""
        W_x, W_h, b = (getattr(self, name) for name in (f"W_x{gate}", f"W_h{gate}", f"b_{gate}"))
        return x @ W_x + h @ W_h + b

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after the input x (N, vocabulary)."""
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def advance(self, tokens: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = tn.one_hot(tokens, self.vocabulary, dtype=self.W_hq.dtype)  # (N, T, vocabulary)
        if state is None:
            state = (tn.zeros((x.shape[0], self.hidden), dtype=x.dtype, device=x.device),) * self.states
        outputs = []
        for t in range(x.shape[1]):
            state = self.step(x[:, t], state)
            outputs.append(state[0] @ self.W_hq + self.b_q)
        return tn.stack(outputs, axis=1), state  # (N, T, vocabulary)

    def forward(self, tokens: Any) -> Tensor:
        return self.advance(tokens)[0]

    def take_weights(self, model: RecurrentLanguageModel) -> None:
        """The weights of a model with one layer of ``nn``, whose two biases are added."""
        layer = model.recurrent
        biases = layer.bias_ih_l0.data + layer.bias_hh_l0.data
        parts = (
            np.split(array, len(self.gates)) for array in (layer.weight_ih_l0.data, layer.weight_hh_l0.data, biases)
        )
        found = {"W_hq": model.output.weight.data.T, "b_q": model.output.bias.data}  # type: ignore[union-attr]
        for gate, W_x, W_h, b in zip(self.gates, *parts):
            found |= {f"W_x{gate}": W_x.T, f"W_h{gate}": W_h.T, f"b_{gate}": b}
        self.load_state_dict({name: value.copy() for name, value in found.items()})


def difference_from_layer(kind: type[FromScratch], cell: Callable[..., nn.Module]) -> float:
    """How far the logits of both are apart, in float64, with the same weights, for three sequences of 12 tokens."""
    tn.manual_seed(0)
    model = RecurrentLanguageModel(7, 5, cell).to(tn.float64)
    written = kind(7, 5).to(tn.float64)
    written.take_weights(model)
    tokens = np.random.default_rng(0).integers(0, 7, (3, 12))
    return float(np.abs(model(tokens).data - written(tokens).data).max())


def small_networks(
    kind: type[FromScratch], cell: Callable[..., nn.Module]
) -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    """Both at a size at which gradients are checked, with two sequences of 7 tokens."""
    tokens = np.random.default_rng(0).integers(0, 6, (2, 7))
    return [(kind(6, 5), (tokens,)), (RecurrentLanguageModel(6, 5, cell, 4), (tokens,))]


def sizes(
    kind: type[FromScratch], cell: Callable[..., nn.Module], from_scratch: int, of_layer: int, source: str
) -> list[Fact]:
    """The parameters of both at the book's size, and the shape of what they say of its batch."""

    def canonical() -> RecurrentLanguageModel:
        return RecurrentLanguageModel(CLASSES, HIDDEN, cell)

    output = (HIDDEN + 1) * CLASSES
    return [
        Fact("parameters from scratch", from_scratch, lambda: parameter_count(kind(CLASSES, HIDDEN)), source),
        Fact("parameters of the layer", of_layer, lambda: parameter_count(cell(CLASSES, HIDDEN)), source),
        Fact("parameters with the output", of_layer + output, lambda: parameter_count(canonical()), "W_hq and b_q"),
        Fact("shape of the logits", (32, 35, CLASSES), lambda: canonical()(*example()).shape, source),
    ]


def example() -> tuple[np.ndarray]:
    """A batch of the book: 32 sequences of 35 tokens."""
    return (np.zeros((32, 35), np.int64),)


def one_step(written: FromScratch, seed: int = 0) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An input (4, vocabulary) and a state, drawn at random, for identities about a step."""
    random = np.random.default_rng(seed)
    x = tn.tensor(np.eye(written.vocabulary)[random.integers(0, written.vocabulary, 4)])
    return x, tuple(tn.tensor(random.standard_normal((4, written.hidden))) for _ in range(written.states))
