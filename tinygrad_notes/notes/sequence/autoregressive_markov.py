"""Autoregressive models under the Markov assumption

What the note says (its way A). In a sequence the label and the sample are the same thing: what comes next is to be told
from what came. An autoregressive model (自回归模型) looks back at the k last values alone, as if nothing older mattered
(the Markov assumption), so its input has a fixed size and any regression will do.

The formula.

    x[t] ~ p(x[t] | x[t-k], ..., x[t-1])

With a linear model and squared error that is AR(k), x[t] = a₁ x[t-1] + ... + a_k x[t-k] + noise, whose coefficients are
least squares. With words or letters it is an n-gram, n = k + 1, or a network on the vectors of the k last tokens:

    logits of x[t] = W₂ tanh(W₁ [E x[t-k]; ...; E x[t-1]] + b₁) + b₂

Unlike an n-gram it knows contexts that it has never seen, because alike letters have alike vectors.

Where one must take care. Foretelling one step ahead is easy; foretelling k steps means to read one's own predictions,
whose errors add up. A model is to be judged by the task it is for.

The paper. Yule 1927 for AR(k); Bengio, Ducharme, Vincent & Jauvin 2003, "A neural probabilistic language model"; "Dive
into Deep Learning" 8.1.

How it is trained here. The network reads the 8 last characters of Python's manual. It has to beat the trigram on the
test text, and its error has to grow with the number of steps that it foretells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import windows
from tinygrad_notes.notes.language import (
    RECIPE,
    character_baselines,
    character_data,
    generate,
    perplexity,
    train_language_model,
)
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_curves

STEPS = 8


class WindowModel(nn.Module):
    """(N, T) tokens: (N, T, vocabulary) logits, each from the ``order`` last tokens; before the first stand zeros.

    What it carries along a text are the vectors of the last ``order`` - 1 tokens: its whole state.
    """

    context = None

    def __init__(self, vocabulary: int, order: int, embedding: int, hidden: int):
        super().__init__()
        self.order = order
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.hidden = nn.Linear(order * embedding, hidden)
        self.output = nn.Linear(hidden, vocabulary)

    def advance(self, tokens: Any, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.embedding(tokens)  # (N, T, embedding)
        n, length, size = x.shape
        if state is None:
            state = tn.zeros((n, self.order - 1, size), dtype=x.dtype, device=x.device)
        x = tn.concat([state, x], axis=1)  # (N, order - 1 + T, embedding)
        beside = tn.concat([x[:, i : i + length] for i in range(self.order)], axis=-1)  # (N, T, order · embedding)
        return self.output(tn.tanh(self.hidden(beside))), x[:, length:]

    def forward(self, tokens: Any) -> Tensor:
        return self.advance(tokens)[0]


def errors_by_step(model: nn.Module, text: np.ndarray, device: str | None = None) -> list[float]:
    """How often the likeliest character is wrong, 1 to 8 steps ahead, its own predictions being its further input."""
    before, _ = windows(text[: -STEPS - 1], 24)
    places = np.arange(len(before))[:, None] * 24 + 24 + np.arange(STEPS)
    said = generate(model, before, STEPS, temperature=0, device=device)
    return [float(wrong) for wrong in (said != text[places]).mean(axis=0)]


def demo(run: Run) -> Outcome:
    """Train on windows of 8 characters; perplexity, and the error by how far ahead it looks."""
    tn.manual_seed(run.seed)
    data = character_data(run.seed)
    model = WindowModel(len(data.vocabulary), 8, 32, 256)
    trainer = train_language_model(run, model, data, replace(RECIPE, epochs=4, learning_rate=5e-3))
    errors = errors_by_step(model, data.test, run.device)
    baselines = character_baselines()
    metrics = {
        "test_perplexity": perplexity(model, data.test, run.device),
        **baselines,
        **{f"error_{k}_ahead": errors[k - 1] for k in (1, 2, 4, 8)},
    }
    picture = save_curves(
        run.folder / "steps.png",
        f"8 characters read: perplexity {metrics['test_perplexity']:.3f}, trigram {baselines['trigram']:.3f}",
        {"greedy, from its own predictions": (range(1, STEPS + 1), errors)},
        "characters ahead",
        "how often wrong",
    )
    return Outcome(metrics, [picture], trainer.history, trainer.times)


COEFFICIENTS = np.array([0.5, -0.3, 0.7, -0.2])


def autoregression(coefficients: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """x[t] = a₁ x[t-1] + ... + a_k x[t-k], from the k values of ``start`` on."""
    x = list(start)
    for _ in range(steps):
        x.append(float(coefficients @ np.array(x[: -len(coefficients) - 1 : -1])))
    return np.array(x)


def fitted(x: np.ndarray, order: int) -> np.ndarray:
    """The coefficients by least squares, (XᵀX) a = Xᵀ y."""
    beside = np.lib.stride_tricks.sliding_window_view(x[:-1], order)[:, ::-1]
    X, y = tn.tensor(beside.copy()), tn.tensor(x[order:])
    return tn.solve(X.T @ X, X.T @ y).numpy()


def _recovered() -> float:
    start = np.random.default_rng(0).standard_normal(4)
    return float(np.abs(fitted(autoregression(COEFFICIENTS, start, 60), 4) - COEFFICIENTS).max())


def _sine() -> float:
    """A sine has order 2: x[t] = 2 cos ω x[t-1] - x[t-2]."""
    return float(np.abs(fitted(np.sin(0.3 * np.arange(200)), 2) - [2 * np.cos(0.3), -1.0]).max())


def _no_memory() -> float:
    """What the logits have to do with a token that stands ``order`` places back or more."""
    model = _small()
    tokens = np.random.default_rng(0).integers(0, 9, (2, 12))
    other = tokens.copy()
    other[:, :5] = 0
    return float(np.abs(model(tokens).data[:, 7:] - model(other).data[:, 7:]).max())


def _state_carried() -> float:
    model, tokens = _small(), np.random.default_rng(0).integers(0, 9, (2, 12))
    first, state = model.advance(tokens[:, :5])
    second, _ = model.advance(tokens[:, 5:], state)
    return float(np.abs(model(tokens).data - np.concatenate([first.data, second.data], axis=1)).max())


def _errors_add_up() -> float:
    """AR(1) with coefficient a: the error k steps ahead has the variance σ² (1 - a^2k) / (1 - a²); relative error."""
    a, random = 0.9, np.random.default_rng(0)
    noise = random.standard_normal((5, 200_000))
    error = np.zeros(noise.shape[1])
    for step in noise:
        error = a * error + step
    return abs(float(error.var()) / ((1 - a**10) / (1 - a**2)) - 1)


def _small() -> WindowModel:
    tn.manual_seed(0)
    return WindowModel(9, 3, 4, 5).to(tn.float64)


NOTE = Note(
    slug="autoregressive-markov",
    family="sequence",
    title="Autoregressive models under the Markov assumption",
    sources="note 004; Zhang et al., Dive into Deep Learning, 8.1",
    paper="Bengio, Ducharme, Vincent & Jauvin 2003, A neural probabilistic language model",
    text=__doc__,
    build=lambda: WindowModel(104, 8, 32, 256),
    example=lambda: (np.zeros((32, 64), np.int64),),
    demo=demo,
    bars=[
        Bar("test_perplexity", at_most="trigram"),
        Bar("error_1_ahead", at_most="error_2_ahead"),
        Bar("error_2_ahead", at_most="error_4_ahead"),
        Bar("error_4_ahead", at_most="error_8_ahead"),
    ],
    facts=[
        Fact(
            "parameters of the trained network",
            104 * 32 + 257 * 256 + 257 * 104,
            lambda: parameter_count(WindowModel(104, 8, 32, 256)),
            "table, hidden layer, output",
        )
    ],
    identities=[
        Identity("least squares finds the coefficients of a sequence of order 4", _recovered, 1e-9),
        Identity("a sine has order 2 and the coefficients 2 cos ω and -1", _sine, 1e-10),
        Identity("what stands further back than the order has no influence", _no_memory),
        Identity("the last tokens are the whole state", _state_carried, 1e-15),
        Identity("errors of AR(1) add up to σ²(1 - a^2k) / (1 - a²)", _errors_add_up, 0.02),
    ],
    checks=lambda: [(_small(), (np.random.default_rng(0).integers(0, 9, (2, 6)),))],
)
