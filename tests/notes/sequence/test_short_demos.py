"""Every demo of the family on a little of its data, for one epoch."""

from functools import partial

import pytest

from tests.notes.short_demos import short_demo
from tinygrad_notes import notes
from tinygrad_notes.data import Corpus, Name
from tinygrad_notes.notes import language
from tinygrad_notes.notes.sequence import rnn_many_to_many, rnn_many_to_one, rnn_one_to_many, rnn_tagging
from tinygrad_notes.notes.translation import hangul_data

SLUGS = [slug for slug in notes.slugs("sequence") if notes.get(slug).demo is not None]


@pytest.fixture
def little(monkeypatch):
    """A part of the paragraphs, a few pairs, and names that a rule makes up."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    text = language.corpus()
    monkeypatch.setattr(language, "topics", lambda **_: Corpus(text.train[:60], text.test[:16], "a part"))
    monkeypatch.setattr(
        rnn_many_to_many, "hangul_data", lambda seed, length, train: hangul_data(seed, length, train=64, held_out=20)
    )
    monkeypatch.setattr(rnn_tagging, "tag_data", partial(rnn_tagging.tag_data, train=64, held_out=20))
    monkeypatch.setattr(rnn_one_to_many, "LENGTH", 20)
    scripts = rnn_many_to_one.SCRIPTS
    names = [Name(i, f"{scripts[i % 10]} letter {chr(97 + i % 10)}{chr(97 + i // 10 % 26)}") for i in range(200)]
    monkeypatch.setattr(rnn_many_to_one, "character_names", lambda least: names)
    language.corpus.cache_clear()
    language.character_baselines.cache_clear()
    yield
    language.corpus.cache_clear()
    language.character_baselines.cache_clear()


@pytest.mark.parametrize("slug", SLUGS)
def test_a_short_demo_runs_to_its_end(slug, little, tmp_path):
    short_demo(slug, tmp_path)
