"""Generating text: one to many

What the note says. From one input, a first letter or a picture, a sequence is made: what the network says is its next
input, and so on (文本生成).

The formula. x[t+1] ~ softmax(o[t] / τ), with o[t] the logits and τ the temperature. τ = 1 draws as the model believes;
below 1 what is likely becomes likelier, and as τ goes to 0 it is the likeliest token alone, which soon goes round in a
circle; above 1 the draws come nearer to uniform. The entropy of the draw grows with τ.

Where one must take care. In training every input was true, in generation they are the model's own (exposure bias). A
state is carried along, so each token costs one step; reading the whole text again for each would give the same.

The paper. Sutskever, Martens & Hinton 2011, "Generating text with recurrent neural networks"; Graves 2013,
arXiv:1308.0850.

How it is trained here. The GRU of the note ``gru`` reads the characters of Python's manual, for four epochs. From "The
" it writes 20 texts of 400 characters at τ = 0.7. It knows no words, only letters: what part of the words (two letters
or more) that it spells is in the training text? It has to be 0.7 at least. The baselines: words of a 3-gram of
characters, counted on the same text and drawn at the same temperature, and the words of the real test text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import (
    RECIPE,
    LanguageData,
    RecurrentLanguageModel,
    character_data,
    corpus,
    generate,
    perplexity,
    save_language_picture,
    train_language_model,
)
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run

WORD = re.compile(r"[A-Za-z]{2,}")
TEXTS, LENGTH, TEMPERATURE = 20, 400, 0.7
PROMPT = "The "


def known_words(text: str) -> float:
    """The part of the words of ``text`` that are in the training text."""
    known = set(WORD.findall(corpus().train_text))
    words = WORD.findall(text)
    return sum(word in known for word in words) / max(len(words), 1)


def write(model: nn.Module, data: LanguageData, temperature: float, number: int, device: str | None) -> list[str]:
    """``number`` texts that begin with the prompt. The last word, which may be cut off, is left out."""
    prompt = np.repeat(data.vocabulary.encode(PROMPT)[None], number, axis=0)
    said = generate(model, prompt, LENGTH, temperature, device)
    return [PROMPT + data.vocabulary.decode(row).rpartition(" ")[0] for row in said]


def written_by_trigram(number: int, temperature: float, seed: int) -> str:
    """A text of a 3-gram of characters; a context that was never seen starts again."""
    text, random, written = corpus().train_text, np.random.default_rng(seed), PROMPT
    followers: dict[str, dict[str, int]] = {}
    for i in range(len(text) - 2):
        found = followers.setdefault(text[i : i + 2], {})
        found[text[i + 2]] = found.get(text[i + 2], 0) + 1
    for _ in range(number):
        found = followers.get(written[-2:], {" ": 1})
        weights = np.array(list(found.values())) ** (1 / temperature)
        written += list(found)[random.choice(len(found), p=weights / weights.sum())]
    return written


def demo(run: Run) -> Outcome:
    """Train, write texts at several temperatures, and look their words up."""
    tn.manual_seed(run.seed)
    data = character_data(run.seed)
    model = RecurrentLanguageModel(len(data.vocabulary), 128, nn.GRU, 64)
    trainer = train_language_model(run, model, data, replace(RECIPE, epochs=4))
    texts = {t: write(model, data, t, TEXTS, run.device) for t in (TEMPERATURE, 0.3, 1.0, 1.5)}
    metrics = {
        "known_words": known_words("\n".join(texts[TEMPERATURE])),
        "known_words_at_0.3": known_words("\n".join(texts[0.3])),
        "known_words_at_1.0": known_words("\n".join(texts[1.0])),
        "known_words_at_1.5": known_words("\n".join(texts[1.5])),
        "known_words_of_a_trigram": known_words(written_by_trigram(TEXTS * LENGTH, TEMPERATURE, run.seed)),
        "known_words_of_the_test_text": known_words(corpus().test_text),
        "test_perplexity": perplexity(model, data.test, run.device),
    }
    picture = save_language_picture(
        run.folder / "training.png",
        f"{metrics['known_words']:.0%} of the words at temperature {TEMPERATURE} are in the training text",
        {"": trainer.history},
        {},
        [f"{t}: {found[0][:230]}" for t, found in sorted(texts.items())],
    )
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def _small() -> tuple[RecurrentLanguageModel, np.ndarray]:
    tn.manual_seed(0)
    model = RecurrentLanguageModel(9, 6, nn.GRU, 4).to(tn.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model, np.random.default_rng(0).integers(0, 9, (3, 4))


def _state_is_enough() -> float:
    """How many tokens differ from those that come of reading the whole text again for each."""
    model, rows = _small()
    carried = generate(model, rows, 12, temperature=0)
    for _ in range(12):
        rows = np.concatenate([rows, model(rows).data[:, -1].argmax(axis=-1)[:, None]], axis=1)
    return float((carried != rows[:, 4:]).sum())


def _cold() -> float:
    """How many tokens at a temperature near 0 are not the likeliest."""
    model, rows = _small()
    tn.manual_seed(0)
    return float((generate(model, rows, 12, 1e-4) != generate(model, rows, 12, 0)).sum())


def entropy(logits: Any, temperature: float) -> float:
    p = tn.softmax(tn.tensor(logits) / temperature, axis=-1).numpy()
    return -float((p * np.log(p)).sum())


def _entropy_grows() -> float:
    """By how much the entropy ever falls as the temperature rises."""
    logits = np.random.default_rng(0).standard_normal(20)
    values = [entropy(logits, t) for t in np.linspace(0.1, 10, 60)]
    return float(np.maximum(-np.diff(values), 0).max())


def _hot() -> float:
    """How far the entropy at a very high temperature is from log V."""
    return abs(entropy(np.random.default_rng(0).standard_normal(20), 1e6) - np.log(20))


def _same_seed() -> float:
    model, rows = _small()
    found = []
    for _ in range(2):
        tn.manual_seed(5)
        found.append(generate(model, rows, 12))
    return float((found[0] != found[1]).sum())


NOTE = Note(
    slug="rnn-one-to-many",
    family="sequence",
    title="Generating text: one to many",
    sources="note 004; Zhang et al., Dive into Deep Learning, 8.5",
    paper="Sutskever, Martens & Hinton 2011, Generating text with recurrent neural networks",
    text=__doc__,
    build=lambda: RecurrentLanguageModel(104, 128, nn.GRU, 64),
    example=lambda: (np.zeros((20, 1), np.int64),),
    demo=demo,
    bars=[Bar("known_words", at_least=0.7), Bar("known_words", at_least="known_words_of_a_trigram")],
    facts=[
        Fact("tokens from one token", (3, 12), lambda: generate(_small()[0], np.ones((3, 1), np.int64), 12).shape),
    ],
    identities=[
        Identity("the state carried along is as good as reading the text again", _state_is_enough),
        Identity("near temperature 0 the likeliest token comes", _cold),
        Identity("the entropy of a draw grows with the temperature", _entropy_grows),
        Identity("at a very high temperature all tokens are alike", _hot, 1e-9),
        Identity("one seed gives one text", _same_seed),
    ],
    checks=lambda: [(_small()[0], (_small()[1],))],
)
