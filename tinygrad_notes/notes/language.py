"""Language models of characters: the text, recurrent networks on it, their training, perplexity and generated text.

The text are the topics of Python's manual, each paragraph once (``data.topics``); nine tenths of the paragraphs are for
training. A twentieth of those, drawn by the seed, are held out for validation, which alone chose the hyper-parameters
and picks the epoch whose weights are kept. Training reads windows of the text from random places; what a network scores
is its perplexity on the test text, read once, as one long row. Beside it stand n-gram models of all training paragraphs
(Witten-Bell), counted when they are asked for.

A language model is called as ``model(tokens)``: (N, T) numbers of tokens, logits (N, T, V) of the token after each. One
whose ``context`` is None carries a state, so that text of any length can be read piece by piece:
``model.advance(tokens, state)`` gives logits and the next state. One with a number there sees so many tokens at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import CharacterVocabulary, Corpus, Dataset, TensorDataset, topics, windows
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Outcome, Run
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training import Trainer
from tinygrad_notes.training.pictures import TRAIN, VALIDATION, save_picture

WINDOW = 64
RECIPE = Recipe(epochs=5, batch=32, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.05, clip_norm=1.0)
NAMES = {1: "unigram", 2: "bigram", 3: "trigram", 4: "4-gram", 5: "5-gram", 6: "6-gram"}


# ---------------------------------------------------------------------- data


@dataclass(frozen=True)
class LanguageData:
    """Windows (tokens, the tokens one further on) for training and validation, and the test text as one row."""

    vocabulary: CharacterVocabulary
    train: Dataset
    validation: Dataset
    test: np.ndarray


class RandomWindows(Dataset):
    """``windows`` of ``length`` tokens that begin anywhere near multiples of ``length``, elsewhere at each call."""

    def __init__(self, tokens: np.ndarray, length: int):
        self.tokens, self.length = tokens, length

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length - 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        tokens, after = self.take(np.array([index]))
        return tokens[0], after[0]

    def take(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        moved = np.asarray(tn.rand(len(indices)).numpy() * self.length, np.int64)  # the state of tn is in checkpoints
        places = (indices * self.length + moved)[:, None] + np.arange(self.length + 1)
        stretch = self.tokens[places]
        return tn.asarray(stretch[:, :-1].copy()), tn.asarray(stretch[:, 1:].copy())


@cache
def corpus() -> Corpus:
    """The text that all language models here read: the same training and test paragraphs for every seed."""
    return topics(test=0.1, seed=0)


def character_data(seed: int = 0, length: int = WINDOW, validation: float = 0.05) -> LanguageData:
    """The text as characters; ``validation``: the part of the training paragraphs, drawn by ``seed``, held out."""
    text = corpus()
    vocabulary = CharacterVocabulary(text.train_text)
    order = np.random.default_rng(seed).permutation(len(text.train))
    cut = int(validation * len(order))
    held_out, train = ("\n".join(text.train[i] for i in part) for part in (order[:cut], order[cut:]))
    return LanguageData(
        vocabulary,
        RandomWindows(vocabulary.encode(train), length),
        TensorDataset(*windows(vocabulary.encode(held_out), length)),
        vocabulary.encode(text.test_text),
    )


@cache
def character_baselines(most: int = 4) -> Mapping[str, float]:
    """Perplexity of the test text under n-gram models of the training text, up to n = ``most``, by name."""
    found = corpus().baselines(orders=range(1, most + 1))
    return {NAMES[n]: perplexity for n, perplexity in found.items()}


# ---------------------------------------------------------------------- the network


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, affine output: (N, T) tokens, (N, T, vocabulary) logits of what comes next.

    ``cell``: nn.RNN, nn.GRU or nn.LSTM, with ``hidden`` units in ``layers`` layers. ``embedding``: the size of a
    token's vector; None: the token is one-hot, so that W_ih is its table.
    """

    context = None

    def __init__(
        self,
        vocabulary: int,
        hidden: int,
        cell: Callable[..., nn.Module] = nn.GRU,
        embedding: int | None = None,
        layers: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = None if embedding is None else nn.Embedding(vocabulary, embedding)
        self.recurrent: Any = cell(
            embedding or vocabulary, hidden, num_layers=layers, batch_first=True, dropout=dropout
        )
        self.output = nn.Linear(hidden, vocabulary)

    def advance(self, tokens: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Logits, and the state after the last of ``tokens``, from which the next call may go on."""
        x = self.embed(tokens)  # (N, T, embedding)
        h, state = self.recurrent(x, state)  # (N, T, hidden)
        return self.output(h), state  # (N, T, vocabulary)

    def embed(self, tokens: Any) -> Tensor:
        if self.embedding is not None:
            return self.embedding(tokens)
        return tn.one_hot(tokens, self.vocabulary, dtype=self.output.weight.dtype)

    def forward(self, tokens: Any) -> Tensor:
        return self.advance(tokens)[0]


def next_token_loss(logits: Any, target: Any) -> Tensor:
    """The mean cross-entropy, in nats for a token, of logits (N, T, V) for tokens (N, T)."""
    return tn.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))


# ---------------------------------------------------------------------- training and measuring


def train_language_model(
    run: Run, model: nn.Module, data: LanguageData, recipe: Recipe = RECIPE, name: str = "checkpoint"
) -> Trainer:
    """Train ``model`` to foretell the next token, and keep the weights of the best epoch by the validation part."""
    return train_classifier(run, model, data, recipe, name=name, loss=next_token_loss, metrics=[])


def perplexity(model: Any, tokens: np.ndarray, device: str | None = None, piece: int = 512) -> float:
    """exp of the mean cross-entropy of every token of one long row but the first.

    A model with a state reads the row piece by piece and carries its state along. One that sees ``context`` tokens is
    given windows that overlap by half, and a token counts in the first of them that it is in the second half of.
    """
    total = 0.0
    training = model.training
    model.eval()
    try:
        with tn.no_grad():
            for logits, target in (_in_pieces if model.context is None else _in_windows)(model, tokens, device, piece):
                total += float(tn.cross_entropy(logits, target, reduction="sum").item())
    finally:
        model.train(training)
    return math.exp(total / (len(tokens) - 1))


def _in_pieces(model: Any, tokens: np.ndarray, device: str | None, piece: int) -> Any:
    state = None
    for start in range(0, len(tokens) - 1, piece):
        row = tn.tensor(tokens[start : start + piece + 1], device=device)
        logits, state = model.advance(row[None, :-1], state)
        yield logits[0], row[1:]


def _in_windows(model: Any, tokens: np.ndarray, device: str | None, piece: int) -> Any:
    read, half = 0, max(model.context // 2, 1)  # so many have been foretold
    while read < len(tokens) - 1:
        end = min(read + (model.context if read == 0 else half), len(tokens) - 1)
        start = max(end - model.context, 0)
        logits = model(tn.tensor(tokens[None, start:end], device=device))
        yield logits[0, read - start :], tn.tensor(tokens[read + 1 : end + 1], device=device)
        read = end


def generate(model: Any, prompt: Any, number: int, temperature: float = 1.0, device: str | None = None) -> np.ndarray:
    """``number`` tokens after each row of ``prompt`` (N, T), drawn from softmax(logits / ``temperature``): (N, number).

    ``temperature`` 0 takes the likeliest. What was drawn is the next input: one token in, many out.
    """
    rows = np.asarray(prompt)
    length = rows.shape[1]
    training, new = model.training, rows
    state: Any = None
    model.eval()
    try:
        with tn.no_grad():
            for _ in range(number):
                if model.context is None:
                    logits, state = model.advance(tn.tensor(new, device=device), state)
                else:
                    logits = model(tn.tensor(rows[:, -model.context :], device=device))
                new = draw(logits[:, -1], temperature)[:, None]
                rows = np.concatenate([rows, new], axis=1)
    finally:
        model.train(training)
    return rows[:, length:]


def draw(logits: Any, temperature: float) -> np.ndarray:
    """One token for each row of logits (N, V)."""
    if not temperature:
        return logits.numpy().argmax(axis=-1)
    return tn.multinomial(tn.softmax(logits / temperature, axis=-1), 1).numpy()[:, 0]


def language_demo(
    run: Run, make: Callable[[int], nn.Module], title: str, recipe: Recipe = RECIPE, prompt: str = "The "
) -> Outcome:
    """Train ``make(size of the vocabulary)`` on characters; perplexity beside n-grams, a picture, and a sample."""
    data = character_data(run.seed)
    model = make(len(data.vocabulary))
    trainer = train_language_model(run, model, data, recipe)
    baselines = character_baselines()
    best = int(trainer.best["epoch"])  # type: ignore[index]
    metrics = {
        "test_perplexity": perplexity(model, data.test, run.device),
        "best_epoch": best,
        "validation_perplexity": math.exp(trainer.history[best - 1]["validation_loss"]),
        **baselines,
        "1.125_times_4-gram": 1.125 * baselines["4-gram"],
    }
    rows = np.repeat(data.vocabulary.encode(prompt)[None], 3, axis=0)
    samples = [prompt + data.vocabulary.decode(row) for row in generate(model, rows, 220, 0.7, run.device)]
    picture = save_language_picture(
        run.folder / "training.png",
        f"{title}: perplexity {metrics['test_perplexity']:.3f} on the test text, 4-gram {baselines['4-gram']:.3f}",
        {"": trainer.history},
        baselines,
        samples,
    )
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def compare_demo(
    run: Run, models: Mapping[str, Callable[[int], nn.Module]], title: str, recipe: Recipe = RECIPE
) -> Outcome:
    """Train several models alike, each from the same seed, and put their perplexities beside each other."""
    metrics, histories, rows = {}, {}, []
    for name, make in models.items():
        tn.manual_seed(run.seed)
        data = character_data(run.seed)
        model = make(len(data.vocabulary))
        trainer = train_language_model(run, model, data, recipe, name.replace(" ", "-"))
        histories[name] = trainer.history
        rows += trainer.history
        metrics[f"test_perplexity_{name.replace(' ', '_')}"] = perplexity(model, data.test, run.device)
    baselines = character_baselines()
    found = ", ".join(f"{name} {value:.3f}" for name, value in zip(models, metrics.values()))
    picture = save_language_picture(
        run.folder / "training.png", f"{title}: perplexity on the test text {found}", histories, baselines, []
    )
    return Outcome(metrics | dict(baselines), [picture], rows)


def save_language_picture(
    path: Path | str,
    title: str,
    histories: Mapping[str, Sequence[dict[str, float]]],
    baselines: Mapping[str, float],
    samples: Sequence[str],
) -> Path:
    """One PNG: perplexity by epoch of each of ``histories`` beside n-gram models, and below text that was generated."""

    def sketch(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, height_ratios=(3, 1)) if samples else (figure.subplots(), None)
        for i, (name, history) in enumerate(histories.items()):
            for key, part, style in (("loss", "training", "--"), ("validation_loss", "validation", "-")):
                colour = (TRAIN if part == "training" else VALIDATION) if len(histories) == 1 else f"C{i}"
                upper.plot(
                    [row["epoch"] for row in history],
                    [math.exp(row[key]) for row in history],
                    style, marker=".", color=colour, label=f"{name} {part}".strip(),
                )  # fmt: skip
        for name, value in baselines.items():
            if name != "unigram":
                upper.axhline(value, color="0.6", linewidth=0.8)
                upper.annotate(
                    f"{name}, test", (1, value), xycoords=("axes fraction", "data"),
                    ha="right", va="bottom", fontsize=8, color="0.35",
                )  # fmt: skip
        upper.set(xlabel="epoch", ylabel="perplexity", ylim=(None, max(baselines.get("bigram", 0) * 1.05, 8.0)))
        upper.xaxis.get_major_locator().set_params(integer=True)
        upper.grid(alpha=0.3)
        upper.legend(frameon=False, loc="center right")
        if lower is None:
            return
        lower.set_axis_off()
        text = "\n\n".join(wrapped(sample) for sample in samples)
        lower.text(0, 1, f"generated, after the first word:\n\n{text}", va="top", family="monospace", fontsize=7.5)

    return save_picture(path, title, sketch, (10, 8))


def wrapped(text: str, width: int = 130) -> str:
    """``text`` in lines of at most ``width`` characters, as it is otherwise; a dollar sign stays one in a picture."""
    lines = text.replace("$", r"\$").replace("\n", "¶")
    return "\n".join(lines[i : i + width] for i in range(0, len(lines), width))
