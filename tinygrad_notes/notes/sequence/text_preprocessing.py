"""Text preprocessing: tokens, a vocabulary, numbers

What the note says. Tokenisation (分词) is the heart of it: a text is split into tokens, characters or words, and each
gets a number from a vocabulary (词表). Only the numbers go to the accelerator; strings stay on the host.

The formula. With a vocabulary v of the tokens that come often enough, and <unk> for all others,

    lookup(v(token)) = token    where v has it,    <unk>    elsewhere,

so decode(encode(text)) = text when v has all tokens of the text. The most frequent token has the lowest number. How
frequent: by Zipf's law the r-th commonest word of a text comes about 1/r times as often as the first. A few words are
most of a text, most words come once, and a test text has words that training has never seen. Characters have no such
trouble, but rows of numbers become six to seven times as long.

The paper. Zipf 1949, "Human behavior and the principle of least effort"; "Dive into Deep Learning" 8.2.

What the demo shows. Python's manual, as characters and as words: sizes of the vocabularies, what of the test text is
unknown, and how often a word comes by its rank.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.data import CharacterVocabulary, WordVocabulary
from tinygrad_notes.notes.language import corpus
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves


def demo(run: Run) -> Outcome:
    """Sizes, unknown tokens and round trips of the manual, and Zipf's law as a picture."""
    text = corpus()
    characters, words = CharacterVocabulary(text.train_text), WordVocabulary(text.train)
    frequencies = sorted(Counter(text.train_text.split()).values(), reverse=True)
    ranks = range(1, len(frequencies) + 1)
    picture = save_curves(
        run.folder / "zipf.png",
        f"{sum(frequencies)} words of the manual, {len(frequencies)} different",
        {"counted": (ranks, frequencies), "Zipf's law: first / rank": (ranks, [frequencies[0] / r for r in ranks])},
        "rank of the word",
        "how often it comes",
        "xy",
    )
    test_characters, test_words = characters.encode(text.test_text), words.encode(text.test_text)
    kept = characters.decode(characters.encode(text.train_text)) == text.train_text
    metrics = {
        "round_trip": float(kept and words.decode(words.encode(text.train_text)) == " ".join(text.train_text.split())),
        "characters_of_vocabulary": len(characters),
        "words_of_vocabulary": len(words),
        "unknown_characters": float((test_characters == 0).mean()),
        "unknown_words": float((test_words == 0).mean()),
        "words_that_come_once": frequencies.count(1) / len(frequencies),
        "characters_for_a_word": len(test_characters) / len(test_words),
    }
    return Outcome(metrics, [picture])


SENTENCE = "the time traveller for so it will be convenient to speak of him was expounding a recondite matter to us"


def _round_trip(kind: type[CharacterVocabulary] | type[WordVocabulary], unseen: str) -> float:
    """How many tokens of the sentence do not come back as they were; one that is not in it must become <unk>."""
    vocabulary = kind([SENTENCE] if kind is WordVocabulary else SENTENCE)  # type: ignore[arg-type]
    back = vocabulary.decode(vocabulary.encode(SENTENCE))
    strange = vocabulary.lookup(vocabulary.encode(unseen))
    return float(back != SENTENCE) + sum(token != "<unk>" for token in strange)


def _numbers() -> float:
    """Every number comes back from its token."""
    vocabulary = WordVocabulary([SENTENCE])
    return float((vocabulary.numbers(vocabulary.tokens) != np.arange(len(vocabulary))).sum())


def _order() -> float:
    """By how much a token with a higher number comes more often than its neighbour."""
    vocabulary = CharacterVocabulary(SENTENCE)
    counts = np.array([SENTENCE.count(token) for token in vocabulary.tokens[1:]])
    return float(np.maximum(np.diff(counts), 0).sum())


NOTE = Note(
    slug="text-preprocessing",
    family="sequence",
    title="Text preprocessing: tokens, a vocabulary, numbers",
    sources="note 004; Zhang et al., Dive into Deep Learning, 8.2",
    paper="Zipf 1949, Human behavior and the principle of least effort",
    text=__doc__,
    demo=demo,
    bars=[Bar("round_trip", at_least=1.0), Bar("unknown_words", at_least="unknown_characters")],
    facts=[
        Fact(
            "numbers of tokens are 64-bit integers", "int64", lambda: str(CharacterVocabulary("ab").encode("b").dtype)
        ),
        Fact("a Tensor takes numbers", (3,), lambda: tn.tensor(CharacterVocabulary("ab").encode("bab")).shape),
        Fact(
            "the most frequent tokens first",
            ["<unk>", "the", "a", "fox"],
            lambda: WordVocabulary(["the fox the a the a"]).tokens,
            "counted by hand",
        ),
        Fact("rare tokens are unknown", 0, lambda: WordVocabulary(["a a b"], min_freq=2)["b"], "counted by hand"),
    ],
    identities=[
        Identity("characters come back, strange ones become <unk>", lambda: _round_trip(CharacterVocabulary, "Ж!")),
        Identity("words come back, strange ones become <unk>", lambda: _round_trip(WordVocabulary, "daisy Fox")),
        Identity("lookup and numbers are inverse", _numbers),
        Identity("numbers are in the order of frequency", _order),
    ],
    no_gradient="text becomes numbers before the first operation that has a derivative",
)
