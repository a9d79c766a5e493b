"""Encoder and decoder: many to many, not aligned

What the note says. Translating and answering questions: input and output have lengths of their own, and the first
output may need the last input. So one network reads the whole source and keeps what it has read in its state; another
begins with that state, and writes the target token by token, each of which it reads as its next input.

The formula. With x the source, y the target between <bos> and <eos>:

    c = the last states of a GRU over x[1], ..., x[S], from both ends
    s[0] = tanh(W c + b),        s[t] = GRU([y[t-1]; c], s[t-1]),        logits of y[t] = V [s[t]; c] + v
    loss = mean over the target tokens that are no <pad> of - log p(y[t] | y[<t], x)

In training y[t-1] is the true token (teacher forcing); in use it is the one that was said. c is given to the decoder at
every step, as in Cho et al. and in "Dive into Deep Learning" 9.7, so that the state need not keep it.

The paper. Cho et al. 2014, arXiv:1406.1078; Sutskever, Vinyals & Le 2014, arXiv:1409.3215. The whole source has to go
through one vector of a fixed size, which attention mends: see the families seq2seq and attention.

How it is trained here. Two Hangul syllables, decomposed into jamo, are to be written in Latin letters by the names of
the Unicode standard, 각낣 as gagnalm. The test part consists of syllables that were in no training sentence. A
translation counts when it is right to the last letter; the baseline copies the most similar source of the training
part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.notes.translation import (
    BOS,
    EOS,
    PAD,
    HangulData,
    Pairs,
    exact_match,
    greedy,
    hangul_data,
    tokens_to_learn,
    train_translator,
    translate,
    translation_loss,
)
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_picture

PAIRS, SYLLABLES, EMBEDDING, HIDDEN = 8000, 2, 48, 96
RECIPE = Recipe(epochs=3, batch=32, learning_rate=5e-3, weight_decay=1e-2, warm_up=0.05, clip_norm=1.0)


class EncoderDecoder(nn.Module):
    """``model(source, lengths, decoder_input)``: (N, S), (N,), (N, T) give logits (N, T, target)."""

    def __init__(self, source: int, target: int, embedding: int, hidden: int):
        super().__init__()
        self.source_embedding = nn.Embedding(source, embedding, padding_idx=PAD)
        self.encoder = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.start = nn.Linear(2 * hidden, hidden)
        self.target_embedding = nn.Embedding(target, embedding, padding_idx=PAD)
        self.decoder = nn.GRU(embedding + 2 * hidden, hidden, batch_first=True)
        self.output = nn.Linear(3 * hidden, target)

    def encode(self, source: Any, lengths: Any) -> Tensor:
        """What was read: (N, 2 · hidden)."""
        _, last = self.encoder(self.source_embedding(source), lengths=lengths)  # (2, N, hidden)
        return tn.concat([last[0], last[1]], axis=-1)

    def decode(self, tokens: Any, c: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, T, target) after each of ``tokens`` (N, T), and the state after the last."""
        if state is None:
            state = tn.tanh(self.start(c))[None]
        y = self.target_embedding(tokens)  # (N, T, embedding)
        beside = tn.broadcast_to(c[:, None], (*y.shape[:2], c.shape[-1]))
        s, state = self.decoder(tn.concat([y, beside], axis=-1), state)
        return self.output(tn.concat([s, beside], axis=-1)), state

    def forward(self, source: Any, lengths: Any, decoder_input: Any) -> Tensor:
        return self.decode(decoder_input, self.encode(source, lengths))[0]


def spell(model: EncoderDecoder, pairs: Pairs, device: str | None = None) -> np.ndarray:
    """Greedy translations, (N, T): the source is read once, and the decoder's state goes from token to token."""
    source, lengths = (tn.tensor(x, device=device) for x in (pairs.source, pairs.source_lengths))
    model.eval()
    with tn.no_grad():
        c = model.encode(source, lengths)
        state: Tensor | None = None

        def next_logits(prefix: np.ndarray) -> Tensor:
            nonlocal state
            logits, state = model.decode(tn.tensor(prefix[:, -1:], device=device), c, state)
            return logits[:, -1]

        return greedy(next_logits, len(pairs), pairs.target.shape[1])


def nearest_copies(data: HangulData) -> np.ndarray:
    """For each test source the target of the training source that has most jamo at the same places."""
    train, test = data.pairs["train"], data.pairs["test"]
    width = min(train.source.shape[1], test.source.shape[1])
    same = np.stack([(train.source[:, :width] == row[:width]).sum(axis=1) for row in test.source])
    return train.target[same.argmax(axis=1), 1:]


def demo(run: Run) -> Outcome:
    """Train on pairs, translate the test part greedily, and count what is wholly right."""
    tn.manual_seed(run.seed)
    data = hangul_data(run.seed, SYLLABLES, train=PAIRS)
    model = EncoderDecoder(len(data.source), len(data.target), EMBEDDING, HIDDEN)
    trainer = train_translator(run, model, data, RECIPE)
    pairs = data.pairs["test"]
    said, wanted = spell(model, pairs, run.device), pairs.target[:, 1:]
    metrics = {
        "exact_match": exact_match(said, wanted),
        "exact_match_in_training": exact_match(*_first(model, data, run.device)),
        "nearest_source": exact_match(nearest_copies(data), wanted),
        "best_epoch": trainer.best["epoch"],  # type: ignore[index]
    }
    picture = _save(run, trainer.history, metrics, list(zip(data.letters(said), data.letters(wanted))))
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def _first(model: EncoderDecoder, data: HangulData, device: str | None) -> tuple[np.ndarray, np.ndarray]:
    pairs = data.pairs["train"].first(500)
    return spell(model, pairs, device), pairs.target[:, 1:]


def _save(run: Run, history: Any, metrics: dict[str, float], said: list[tuple[str, str]]) -> Any:
    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        for key, name in (("loss", "training"), ("validation_loss", "validation")):
            left.plot([row["epoch"] for row in history], [row[key] for row in history], marker=".", label=name)
        left.set(xlabel="epoch", ylabel="cross-entropy, nats for a letter (log scale)", yscale="log")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.grid(alpha=0.3)
        left.legend(frameon=False)
        right.set_axis_off()
        wrong = [pair for pair in said if pair[0] != pair[1]]
        lines = [f"{a:<20} {b}" for a, b in (*wrong[:12], ("", ""), *said[:10])]
        heading = f"{'said':<20} true\n\n{len(wrong)} of {len(said)} are wrong, some of them first\n\n"
        right.text(0, 1, heading + "\n".join(lines), va="top", family="monospace", fontsize=9)

    title = f"Hangul to letters, syllables never seen: {metrics['exact_match']:.3f} right to the last letter"
    return save_picture(run.folder / "training.png", title, draw, (11, 5.5))


def _small() -> tuple[EncoderDecoder, np.ndarray, np.ndarray, np.ndarray]:
    tn.manual_seed(0)
    random = np.random.default_rng(0)
    model = EncoderDecoder(8, 7, 3, 4).to(tn.float64)
    source, target = random.integers(3, 8, (3, 6)), random.integers(3, 7, (3, 5))
    return model, source, np.array([6, 4, 2]), target


def _padding() -> float:
    """What loss and gradients have to do with what stands in the places of <pad> in the source."""
    model, source, lengths, target = _small()
    found = []
    for filler in (0, 5):
        model.zero_grad()
        rows = np.where(np.arange(6) < lengths[:, None], source, filler)
        loss = translation_loss(model(rows, lengths, target), tn.tensor(target))
        loss.backward()
        found.append([loss.data, *(p.grad.data.copy() for p in model.parameters())])  # type: ignore[union-attr]
    return max(float(np.abs(a - b).max()) for a, b in zip(*found))


def _step_by_step() -> float:
    """Logits of the target at once (teacher forcing) beside those of one token after the other, the state kept."""
    model, source, lengths, target = _small()
    c, state, steps = model.encode(source, lengths), None, []
    for t in range(target.shape[1]):
        logits, state = model.decode(target[:, t : t + 1], c, state)
        steps.append(logits.data)
    return float(np.abs(model(source, lengths, target).data - np.concatenate(steps, axis=1)).max())


def _state_kept() -> float:
    """How many tokens of a translation differ when the decoder reads the whole prefix anew at each step."""
    model, source, lengths, target = _small()
    pairs = Pairs([("", "")] * 3, source, lengths, target, np.full(3, 5))
    return float((spell(model, pairs)[:, :5] != translate(model, pairs)[:, :5]).sum())


def _no_future() -> float:
    """What the logits before a target token have to do with it."""
    model, source, lengths, target = _small()
    other = target.copy()
    other[:, 3:] = 3
    first, second = (model(source, lengths, rows).data[:, :3] for rows in (target, other))
    return float(np.abs(first - second).max())


def _greedy() -> float:
    """A table that always says 4, 5, <eos>: how many rows of a greedy translation are another thing."""
    table = np.zeros((7, 7))
    table[[BOS, 4, 5, EOS], [4, 5, EOS, 6]] = 1.0
    said = greedy(lambda prefix: table[prefix[:, -1]], 3, 9)
    return float(said.shape != (3, 3)) + float((said != [4, 5, EOS]).sum())


def _checks() -> list[tuple[Any, tuple[np.ndarray, ...]]]:
    model, source, lengths, target = _small()
    return [(model, (source, lengths, target))]


NOTE = Note(
    slug="rnn-many-to-many",
    family="sequence",
    title="Encoder and decoder: many to many, not aligned",
    sources="note 004; Zhang et al., Dive into Deep Learning, 9.7",
    paper="Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078",
    text=__doc__,
    build=lambda: EncoderDecoder(70, 24, EMBEDDING, HIDDEN),
    example=lambda: (np.zeros((64, 10), np.int64), np.full(64, 10), np.zeros((64, 21), np.int64)),
    demo=demo,
    bars=[Bar("exact_match", at_least=0.8), Bar("exact_match", at_least="nearest_source")],
    facts=[
        Fact(
            "parameters of the trained network",
            (70 + 24) * 48 + 2 * 288 * (48 + 96 + 2) + 193 * 96 + 288 * (48 + 192 + 96 + 2) + 289 * 24,
            lambda: parameter_count(EncoderDecoder(70, 24, EMBEDDING, HIDDEN)),
            "tables, encoder, start, decoder, output",
        ),
        Fact(
            "tokens that count in a loss",
            5.0,
            lambda: tokens_to_learn((tn.tensor([[4, 5, EOS, PAD], [4, EOS, PAD, PAD]]),)),
            "counted by hand",
        ),
    ],
    identities=[
        Identity("padding of the source changes neither loss nor gradients", _padding, 1e-15),
        Identity("teacher forcing at once is the decoder step by step", _step_by_step, 1e-14),
        Identity("a translation with the state kept is the one from whole prefixes", _state_kept),
        Identity("a target token has no influence on the logits before it", _no_future),
        Identity("greedy translation ends with <eos>", _greedy),
    ],
    checks=_checks,
)
