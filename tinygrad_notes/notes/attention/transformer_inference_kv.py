"""Decoding with a cache of keys and values

What the note says. In use, a decoder writes one token after the other. To foretell token t + 1, the first t tokens
serve as keys and values, and only token t as the query.

That is because of the causal mask: what a block computed for earlier positions does not change when a token is added.
So their keys and values are kept from step to step (the book calls it ``state[2]``), and each step computes one new
row:

    K ← [K; x_t W_K],    V ← [V; x_t W_V],    y_t = softmax(x_t W_Q Kᵀ / √d) V

Keys and values of the encoder's outputs do not change at all and are computed once for each block. With whole
prefixes, step t computes t rows of every product, T steps T (T + 1) / 2 of them; with the cache, T. What is left to
grow with t is the attention of one query over t keys. The price is memory: 2 · layers · d numbers for each position
of each sentence.

The two must agree: what is decoded with the cache equals what the decoder says of the whole prefix, to rounding.

How it is measured here. The network is that of the note ``transformer``, larger than what is trained there and
untrained, because speed does not depend on the weights. Both ways write the same number of tokens for a batch of
sentences; the picture shows the seconds of each step. Times are reported and are no bar; the multiply-adds of the
affine layers are counted, which is exact.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention.attention_complexity import multiply_adds
from tinygrad_notes.notes.attention.transformer import Transformer, padding_mask
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, apart
from tinygrad_notes.notes.translation import BOS, EOS, PAD
from tinygrad_notes.training.pictures import save_curves


@dataclass
class BlockCache:
    """Keys and values (N, heads, positions, width) of one block: of what it wrote, and of the source."""

    own: tuple[tn.Tensor, tn.Tensor] | None
    source: tuple[tn.Tensor, tn.Tensor]

    def append(self, key: tn.Tensor, value: tn.Tensor) -> tuple[tn.Tensor, tn.Tensor]:
        """Keep those of one position more, and return all."""
        if self.own is None:
            self.own = key, value
        else:
            self.own = tn.concat([self.own[0], key], axis=2), tn.concat([self.own[1], value], axis=2)
        return self.own


class CachedDecoder:
    """Writes with ``model`` (norms behind the sums), one token of each sentence at a step.

    ``step(tokens)`` takes the newest tokens (N,) and returns the logits (N, V) of what follows.
    """

    def __init__(self, model: Transformer, source, lengths):
        self.model, self.position = model, 0
        source = tn.asarray(source)
        padding = padding_mask(lengths, source.shape[1])
        memory = model.encode(source, padding)
        self.seen = ~padding[:, None, None, :]
        self.blocks: list[Any] = list(model.decoder.layers)
        self.caches = [
            BlockCache(None, tuple(self._project(block.multihead_attn, memory, part) for part in (1, 2)))  # type: ignore[arg-type]
            for block in self.blocks
        ]

    def step(self, tokens) -> tn.Tensor:
        model = self.model
        x = model.embed(model.target_embedding, tn.asarray(tokens)[:, None], self.position)  # (N, 1, d)
        for block, cache in zip(self.blocks, self.caches):
            query, key, value = (self._project(block.self_attn, x, part) for part in range(3))
            x = block.norm1(x + self._attend(block.self_attn, query, *cache.append(key, value)))
            query = self._project(block.multihead_attn, x, 0)
            x = block.norm2(x + self._attend(block.multihead_attn, query, *cache.source, self.seen))
            x = block.norm3(x + block.linear2(block.activation(block.linear1(x))))
        self.position += 1
        return model.logits(x)[:, 0]

    @staticmethod
    def _project(attention: nn.MultiheadAttention, x: tn.Tensor, part: int) -> tn.Tensor:
        """Queries (part 0), keys (1) or values (2) of x (N, n, d), as (N, heads, n, d / heads)."""
        d = x.shape[-1]
        rows = slice(part * d, (part + 1) * d)
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        y = tn.linear(x, weight[rows], None if bias is None else bias[rows])  # type: ignore[index]
        return tn.swapaxes(tn.reshape(y, (*x.shape[:2], attention.num_heads, -1)), 1, 2)

    @staticmethod
    def _attend(attention: nn.MultiheadAttention, query, key, value, mask=None) -> tn.Tensor:
        found = tn.swapaxes(tn.scaled_dot_product_attention(query, key, value, mask), 1, 2)
        return attention.out_proj(tn.reshape(found, (*found.shape[:2], -1)))


def greedy_with_cache(model: Transformer, source, lengths, most: int, stop: bool = True) -> np.ndarray:
    """The likeliest token at each step, (N, at most ``most``), with <eos> and then <pad>.

    ``stop=False`` goes on to ``most`` tokens, to measure.
    """
    model.eval()
    with tn.no_grad():
        decoder = CachedDecoder(model, source, lengths)
        token = np.full(len(source), BOS)
        ended, rows = np.zeros(len(source), bool), []
        for _ in range(most):
            token = decoder.step(token).numpy().argmax(-1)
            if stop:
                token[ended] = PAD
                ended |= token == EOS
            rows.append(token)
            if ended.all():
                break
    return np.stack(rows, axis=1)


def all_steps(model: Transformer, source, lengths, target) -> tn.Tensor:
    """The logits (N, T, V) for ``target`` (N, T), computed step by step."""
    decoder = CachedDecoder(model, source, lengths)
    return tn.stack([decoder.step(tn.asarray(target)[:, t]) for t in range(target.shape[1])], axis=1)


def _model(dtype: str = "float64", tied: bool = False) -> Transformer:
    tn.manual_seed(0)
    return Transformer(9, 9, 12, 3, 2, 16, 0.0, tied).to(dtype).eval()


RANDOM = np.random.default_rng(0)
SOURCE, LENGTHS = RANDOM.integers(3, 9, (3, 6)), np.array([6, 4, 5])
TARGET = np.concatenate([np.full((3, 1), BOS), RANDOM.integers(3, 9, (3, 7))], axis=1)


def _gap(dtype: str, tied: bool = False) -> float:
    model = _model(dtype, tied)
    return apart(model(SOURCE, LENGTHS, TARGET), all_steps(model, SOURCE, LENGTHS, TARGET))


def greedy_by_prefixes(model: Transformer, source, lengths, most: int) -> np.ndarray:
    """What :func:`greedy_with_cache` writes, with the whole prefix computed anew at every step."""
    rows = np.full((len(source), 1), BOS)
    with tn.no_grad():
        padding = padding_mask(lengths, source.shape[1])
        memory = model.encode(source, padding)
        for _ in range(most):
            logits = model.logits(model.decode(rows, memory, padding)[:, -1])
            rows = np.concatenate([rows, logits.numpy().argmax(-1)[:, None]], axis=1)
    return rows[:, 1:]


def _same_tokens() -> float:
    model = _model()
    first = greedy_with_cache(model, SOURCE, LENGTHS, 8, stop=False)
    return float((first != greedy_by_prefixes(model, SOURCE, LENGTHS, 8)).mean())


def decoder_work(prefixes: bool, most: int = 8) -> int:
    """Of the affine layers that read what is written: T rows with the cache, T (T + 1) / 2 without."""
    model, d, width, layers = _model(), 12, 16, 2
    total = multiply_adds(
        lambda: (
            greedy_by_prefixes(model, SOURCE, LENGTHS, most)
            if prefixes
            else greedy_with_cache(model, SOURCE, LENGTHS, most, stop=False)
        ),
        only="linear",
    )
    n, s = SOURCE.shape
    encoder = layers * n * s * (4 * d * d + 2 * d * width)
    memory = layers * n * s * 2 * d * d * (most if prefixes else 1)  # keys and values of the source
    output = n * most * d * 9
    return (total - encoder - memory - output) // (layers * n * (6 * d * d + 2 * d * width))


def _through_the_cache(table) -> tn.Tensor:
    """The logits of all steps, as a function of the table of the target's tokens."""
    model = _model()
    model.target_embedding.weight = table
    return all_steps(model, SOURCE, LENGTHS, TARGET[:, :2])


def demo(run: Run) -> Outcome:
    """Write the same tokens both ways, and show the time of each step."""
    tn.manual_seed(run.seed)
    most = 96 if run.epochs is None else 8
    model = Transformer(70, 70, 128, 4, 2, 512, 0.0).eval()
    random = np.random.default_rng(run.seed)
    source, lengths = random.integers(3, 70, (16, 24)), np.full(16, 24)
    seconds: dict[str, list[float]] = {"whole prefix": [], "with a cache": []}
    rows = {name: np.full((16, 1), BOS) for name in seconds}
    with tn.no_grad():
        padding = padding_mask(lengths, 24)
        memory, decoder = model.encode(source, padding), CachedDecoder(model, source, lengths)
        ways = {
            "whole prefix": lambda row: model.logits(model.decode(row, memory, padding)[:, -1]),
            "with a cache": lambda row: decoder.step(row[:, -1]),
        }
        for name, way in ways.items():
            for _ in range(most):
                began = time.perf_counter()
                logits = way(rows[name])
                seconds[name].append(time.perf_counter() - began)
                rows[name] = np.concatenate([rows[name], logits.numpy().argmax(-1)[:, None]], axis=1)
    first, second = rows.values()
    metrics = {
        "tokens_that_agree": float((first == second).mean()),
        **{f"tokens_per_second_{name.replace(' ', '_')}": 16 * most / sum(taken) for name, taken in seconds.items()},
    }
    steps = list(range(1, most + 1))
    picture = save_curves(
        run.folder / "steps.png",
        "Writing with and without a cache of keys and values, 16 sentences at once",
        {name: (steps, [1000 * s for s in taken]) for name, taken in seconds.items()},
        "token that is written", "milliseconds", "y",
    )  # fmt: skip
    return Outcome(metrics, [picture])


NOTE = Note(
    slug="transformer-inference-kv",
    family="attention",
    title="Decoding with a cache of keys and values",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.7.5",
    paper="Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762; Shazeer 2019, Fast Transformer decoding, "
    "arXiv:1911.02150",
    text=__doc__,
    demo=demo,
    no_bar="both ways compute the same, which the identities say; how many seconds it saves depends on the machine",
    facts=[
        Fact("rows of affine layers for 8 tokens, with a cache", 8, lambda: decoder_work(False), "T"),
        Fact("rows of affine layers for 8 tokens, by prefixes", 36, lambda: decoder_work(True), "T (T + 1) / 2"),
    ],
    identities=[
        Identity("step by step is the whole at once (float64)", lambda: _gap("float64"), 1e-12),
        Identity("so it is with one matrix for tables and output", lambda: _gap("float64", tied=True), 1e-12),
        Identity("step by step is the whole at once (float32)", lambda: _gap("float32"), 1e-5),
        Identity("both ways write the same tokens", _same_tokens),
    ],
    checks=lambda: [(_through_the_cache, (_model().target_embedding.weight.data,))],
)
