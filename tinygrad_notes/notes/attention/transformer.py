"""The Transformer

What the note says. An encoder and a decoder out of attention alone: no recurrence, no convolution, and nothing that
has to be computed one position after the other in training. A block of the encoder is multi-head self-attention and a
position-wise feed-forward network (基于位置的前馈网络), each followed by "add and norm". A block of the decoder has
masked self-attention first, then cross-attention, whose keys and values are the outputs of the encoder, then the
feed-forward network, each with "add and norm" as well. A softmax over the vocabulary ends it.

The formulas. A token is the row of a table, times √d, plus its position (Vaswani et al. 2017, 3.4 and 3.5):

    x = √d E[token] + P[position],      P[p, 2j] = sin(p / 10000^(2j/d)),      P[p, 2j + 1] = cos(p / 10000^(2j/d))

    encoder block:  x ← norm(x + attend(x, x, x)),      x ← norm(x + W₂ relu(W₁ x))
    decoder block:  y ← norm(y + attend(y, y, y; causal)),      y ← norm(y + attend(y, x, x)),      y ← norm(y + ffn(y))
    p(next token) = softmax(W_o y)

Base has d = 512, 6 + 6 blocks, 8 heads, hidden layers of 2048; big has d = 1024, 16 heads, 4096; the one that "Dive
into Deep Learning" trains has d = 32, 2 + 2 blocks. In the paper one matrix of 37,000 × d serves as both tables and
as W_o, which is then without bias.

Where paper and notes differ. "8 GPUs, 3.5 days" is the training of the big model; base took 12 hours. Note 000 calls
the normalisation batch normalisation; it is layer normalisation (the note ``add-norm``). The paper says 65 million
parameters for base and 213 for big; counted they are 63.08 and 214.2, with the 37,000 tokens that it names "about".
PyTorch's nn.Transformer has one more norm behind each stack than the paper, no embeddings and no output layer.

How it is trained here. Three Hangul syllables, decomposed into jamo, are spelt in Latin letters: real pairs of the
Unicode standard. 3000 sentences for training are made of 1800 syllables; validation has 200 others; the test part has
sentences of the 9172 syllables never seen, and counts a translation only if every letter is right. The network is the
same class with d = 64, 2 + 2 blocks, 4 heads. Adam's learning rate rises for a tenth of all steps and then falls as a
cosine: with the norm behind the sum, as in the paper, training from the start at the full rate is not safe (Xiong et
al. 2020, arXiv:2002.04745). Validation chose the epoch. The maps show what each letter looked at: its own jamo, one
after the other.
"""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data.hangul import tag_of
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.classification import Recipe
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, apart, parameter_count, without_memory
from tinygrad_notes.notes.translation import (
    HangulData,
    Pairs,
    exact_match,
    greedy,
    hangul_data,
    train_translator,
)
from tinygrad_notes.training.pictures import save_curves, save_maps

SENTENCES = 3000
RECIPE = Recipe(
    epochs=3, batch=16, learning_rate=3e-3, weight_decay=0.0, warm_up=0.1, clip_norm=1.0,
    optimizer=partial(optim.Adam, betas=(0.9, 0.98)),
)  # fmt: skip


@cache
def positions(length: int, size: int) -> np.ndarray:
    """The sinusoids P (length, size) in float32: sines in even columns, cosines in odd ones."""
    angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, size, 2) / size)
    table = np.empty((length, size), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle[:, : size // 2])
    return table


@cache
def positions_on(device: str, length: int, size: int, dtype: Any) -> tn.Tensor:
    """The same on a device, and kept there: a recorded step copies nothing from the host."""
    return tn.asarray(positions(length, size), device=device).astype(dtype)


class Transformer(nn.Module):
    """Encoder and decoder with their embeddings, positions and output layer.

    ``source`` (N, S) and ``target`` (N, T) are tokens, ``lengths`` (N,) how many of a source are no padding; the result
    are logits (N, T, target_size) for the token after each of ``target``. ``tied``: one matrix for both tables and the
    output layer, as in the paper. ``norm_first`` puts the norms before the blocks and one more behind each stack.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        d_model: int = 512,
        heads: int = 8,
        layers: int = 6,
        width: int = 2048,
        dropout: float = 0.1,
        tied: bool = False,
        norm_first: bool = False,
    ):
        super().__init__()
        self.d_model, self.heads, self.tied = d_model, heads, tied
        settings: dict[str, Any] = {
            "d_model": d_model, "nhead": heads, "dim_feedforward": width, "dropout": dropout, "batch_first": True,
            "norm_first": norm_first,
        }  # fmt: skip
        last = [nn.LayerNorm(d_model) if norm_first else None for _ in range(2)]
        self.source_embedding = nn.Embedding(source_size, d_model)
        self.target_embedding = self.source_embedding if tied else nn.Embedding(target_size, d_model)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**settings), layers, last[0])
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**settings), layers, last[1])
        self.output = None if tied else nn.Linear(d_model, target_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices by Xavier's uniform, tables normal with deviation 1/√d, which the factor √d makes 1."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        for table in (self.source_embedding, self.target_embedding):
            nn.init.normal_(table.weight, 0.0, self.d_model**-0.5)

    def embed(self, table: nn.Embedding, tokens, first: int = 0) -> tn.Tensor:
        """√d E[token] + P[position], the first token at position ``first``: (N, T) to (N, T, d_model)."""
        end, weight = first + tokens.shape[1], table.weight
        place = positions_on(weight.device, end, self.d_model, weight.dtype)[first:]
        return self.dropout(table(tokens) * math.sqrt(self.d_model) + place)

    def encode(self, source, padding=None) -> tn.Tensor:
        """The encoder's outputs (N, S, d_model); ``padding`` (N, S) is True where there is none to look at."""
        return self.encoder(self.embed(self.source_embedding, source), src_key_padding_mask=padding)

    def decode(self, target, memory, padding=None) -> tn.Tensor:
        """The decoder's outputs (N, T, d_model), each from its own and earlier positions of ``target``."""
        x = self.embed(self.target_embedding, target)
        return self.decoder(x, memory, memory_key_padding_mask=padding, tgt_is_causal=True)

    def logits(self, x) -> tn.Tensor:
        """(…, d_model) to (…, target_size)."""
        return tn.linear(x, self.target_embedding.weight) if self.output is None else self.output(x)

    def forward(self, source, lengths, target) -> tn.Tensor:
        source, target = tn.asarray(source), tn.asarray(target)
        padding = padding_mask(lengths, source.shape[1])
        return self.logits(self.decode(target, self.encode(source, padding), padding))


def padding_mask(lengths, longest: int) -> tn.Tensor:
    """True at the places (N, longest) behind the end of each row."""
    lengths = tn.asarray(lengths)
    return tn.arange(longest, device=lengths.device) >= lengths[:, None]


def base() -> Transformer:
    """The base model of the paper, one matrix for all three uses of the vocabulary of 37,000."""
    return Transformer(37_000, 37_000, tied=True)


def big() -> Transformer:
    """The big model of the paper."""
    return Transformer(37_000, 37_000, d_model=1024, heads=16, width=4096, dropout=0.3, tied=True)


def small(source_size: int, target_size: int) -> Transformer:
    """What the demo trains: the same class, with smaller constants."""
    return Transformer(source_size, target_size, d_model=64, heads=4, layers=2, width=128, dropout=0.0)


def spell(model: Transformer, pairs: Pairs, device: str | None = None) -> np.ndarray:
    """Greedy translations of the sources, (N, T): the encoder runs once, the decoder on the prefix at each step."""
    source, lengths = (tn.tensor(x, device=device) for x in (pairs.source, pairs.source_lengths))
    training = model.training
    model.eval()
    try:
        with tn.no_grad():
            padding = padding_mask(lengths, source.shape[1])
            memory = model.encode(source, padding)

            def next_logits(prefix: np.ndarray) -> tn.Tensor:
                return model.logits(model.decode(tn.tensor(prefix, device=device), memory, padding)[:, -1])

            return greedy(next_logits, len(pairs), pairs.target.shape[1])
    finally:
        model.train(training)


def attention_maps(model: Transformer, source, lengths, target) -> dict[str, np.ndarray]:
    """What each head of each block of the decoder looked at in the source, (T, S), for one sentence."""
    calls: list[tuple] = []
    blocks = [layer.multihead_attn for layer in model.decoder.layers]
    removers = [block.register_forward_pre_hook(lambda module, inputs: calls.append(inputs)) for block in blocks]
    try:
        with tn.no_grad():
            model(source, lengths, target)
    finally:
        for remove in removers:
            remove()
    maps: dict[str, np.ndarray] = {}
    with tn.no_grad():
        for number, (block, (query, key, value, padding, *_)) in enumerate(zip(blocks, calls), 1):
            weights = block(query, key, value, padding, average_attn_weights=False)[1].numpy()[0]
            maps |= {f"block {number}, head {head}": weights[head - 1] for head in range(1, len(weights) + 1)}
    return maps


def save_attention(path: Path, model: Transformer, data: HangulData, number: int = 0) -> Path:
    """The maps of one test sentence, letters downwards, jamo across."""
    pairs = data.pairs["test"]
    jamo, letters = pairs.texts[number]
    s, t = len(jamo) + 1, len(letters) + 1
    maps = attention_maps(
        model, pairs.source[number : number + 1, :s], pairs.source_lengths[number : number + 1],
        pairs.target[number : number + 1, :t],
    )  # fmt: skip
    parts = ["CVT"[tag_of(part)] for part in jamo]
    return save_maps(
        path,
        f"What each letter of “{letters}” looked at (C, V, T: consonant, vowel, trailing consonant of a syllable)",
        maps, ticks=([*parts, "end"], [*letters, "end"]), columns=4,
    )  # fmt: skip


def demo(run: Run) -> Outcome:
    """Train the small Transformer to spell Hangul, and translate syllables it has never seen."""
    tn.manual_seed(run.seed)
    data = hangul_data(run.seed, train=SENTENCES)
    model = small(len(data.source), len(data.target))
    trainer = train_translator(run, model, data, RECIPE)
    test = data.pairs["test"]
    metrics = {
        "exact_match_test": exact_match(spell(model, test, run.device), test.target[:, 1:]),
        "best_epoch": int(trainer.best["epoch"]),  # type: ignore[index]
        "validation_loss": float(trainer.best["value"]),  # type: ignore[index]
    }
    history = trainer.history
    epochs = [row["epoch"] for row in history]
    pictures = [
        save_curves(
            run.folder / "training.png",
            f"A small Transformer spells Hangul: {metrics['exact_match_test']:.3f} of the unseen sentences are right",
            {
                name: (epochs, [row[key] for row in history])
                for name, key in (("training", "loss"), ("validation", "validation_loss"))
            },
            "epoch", "cross-entropy of a letter", "y",
        ),
        save_attention(run.folder / "attention.png", model, data),
    ]  # fmt: skip
    return Outcome(metrics, pictures, history, trainer.times)


def _model(tied: bool = False) -> Transformer:
    tn.manual_seed(0)
    return Transformer(6, 6, 8, 2, 1, 12, 0.0, tied).to("float64")


SOURCE, LENGTHS = np.array([[3, 4, 5, 2], [5, 3, 2, 0]]), np.array([4, 3])
TARGET = np.array([[1, 3, 4, 5, 2], [1, 5, 2, 0, 0]])


def _longer_padding() -> float:
    """The same sentences in a batch with longer padding of the source."""
    model = _model()
    padded = np.concatenate([SOURCE, np.zeros((2, 3), int)], axis=1)
    return apart(model(SOURCE, LENGTHS, TARGET), model(padded, LENGTHS, TARGET))


def _later_letters() -> float:
    """How much the logits at the first positions change with the letters behind them."""
    model, other = _model(), TARGET.copy()
    other[:, 2:] = 4
    return apart(model(SOURCE, LENGTHS, TARGET)[:, :2], model(SOURCE, LENGTHS, other)[:, :2])


def _of_the_engine() -> float:
    """The stacks, beside ``nn.Transformer`` of the same weights: without the norms behind them."""
    model = _model()
    whole: Any = nn.Transformer(8, 2, 1, 1, 12, 0.0, batch_first=True).to("float64")
    state = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    state |= {f"decoder.{name}": value for name, value in model.decoder.state_dict().items()}
    whole.load_state_dict(whole.state_dict() | state)
    whole.encoder.norm = whole.decoder.norm = None
    x, y = normal(2, 4, 8), normal(2, 5, 8, seed=1)
    padding = padding_mask(LENGTHS, 4)
    theirs = whole(x, y, src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_is_causal=True)
    memory = model.encoder(x, src_key_padding_mask=padding)
    return apart(model.decoder(y, memory, memory_key_padding_mask=padding, tgt_is_causal=True), theirs)


def _shift_is_a_rotation() -> float:
    """P[p + 3] from P[p]: each pair (sin, cos) turned by 3 times its frequency, in float64 to float32's digits."""
    table, frequency = positions(40, 16).astype(np.float64), 3 / 10_000 ** (np.arange(0, 16, 2) / 16)
    sine, cosine = table[:37, 0::2], table[:37, 1::2]
    turned = (
        sine * np.cos(frequency) + cosine * np.sin(frequency),
        cosine * np.cos(frequency) - sine * np.sin(frequency),
    )
    return max(apart(table[3:, 0::2], turned[0]), apart(table[3:, 1::2], turned[1]))


NOTE = Note(
    slug="transformer",
    family="attention",
    title="The Transformer",
    sources="notes 000, 001 and 004; Zhang et al., Dive into Deep Learning, 10.7",
    paper="Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762",
    text=__doc__,
    build=base,
    example=lambda: (np.ones((1, 9), int), np.array([9]), np.ones((1, 7), int)),
    demo=demo,
    bars=[Bar("exact_match_test", at_least=0.9)],
    facts=[
        Fact(
            "parameters of nn.Transformer as it comes",
            44_140_544,
            lambda: parameter_count(without_memory(nn.Transformer)),
            "18,914,304 + 25,224,192, and two norms of 1024",
        ),
        Fact(
            "parameters of the base model",
            63_082_496,
            lambda: parameter_count(without_memory(base)),
            "18,914,304 + 25,224,192 + 37,000 · 512; the paper says 65 million",
        ),
        Fact(
            "parameters of the big model",
            214_245_376,
            lambda: parameter_count(without_memory(big)),
            "6 · (12,596,224 + 16,796,672) + 37,000 · 1024; the paper says 213 million",
        ),
        Fact(
            "shape of the logits",
            (2, 5, 6),
            lambda: _model()(SOURCE, LENGTHS, TARGET).shape,
            "sentences, letters, vocabulary",
        ),
    ],
    identities=[
        Identity("longer padding changes nothing", _longer_padding, 1e-12),
        Identity("a prediction does not see later letters", _later_letters),
        Identity("the stacks are nn.Transformer without its last norms", _of_the_engine, 1e-12),
        Identity("positions further on are a rotation of the positions", _shift_is_a_rotation, 1e-6),
    ],
    checks=lambda: [(_model(tied=True), (SOURCE, LENGTHS, TARGET))],
)
