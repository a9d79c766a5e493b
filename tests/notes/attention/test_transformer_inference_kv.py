"""Decoding with a cache: where it ends, and that it is what decoding by prefixes writes."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.notes.attention import transformer_inference_kv as kv
from tinygrad_notes.notes.attention.transformer import Transformer, spell
from tinygrad_notes.notes.translation import EOS, PAD, Pairs


@pytest.fixture(scope="module")
def some():
    tn.manual_seed(3)
    model = Transformer(9, 9, 12, 3, 2, 16, 0.0).to("float64")
    random = np.random.default_rng(0)
    lengths = random.integers(2, 7, 12)
    source = np.where(np.arange(6) < lengths[:, None], random.integers(3, 9, (12, 6)), PAD)
    model.output.bias.data[EOS] += 0.8  # so that some sentences end soon, and others never
    return model, source, lengths


def test_it_writes_what_decoding_by_prefixes_writes(some):
    model, source, lengths = some
    target = np.zeros((12, 15), int)
    by_prefixes = spell(model, Pairs([("", "")] * 12, source, lengths, target, lengths))
    rows = kv.greedy_with_cache(model, source, lengths, 15)
    assert np.array_equal(rows, by_prefixes)
    ended = (rows == EOS).any(axis=1)
    assert ended.any()
    assert not ended.all()


def test_behind_the_end_stands_padding(some):
    model, source, lengths = some
    for row in kv.greedy_with_cache(model, source, lengths, 15):
        places = np.flatnonzero(row == EOS)
        if len(places):
            assert (row[places[0] + 1 :] == PAD).all()


def test_the_cache_holds_one_position_for_each_step(some):
    model, source, lengths = some
    decoder = kv.CachedDecoder(model, source, lengths)
    for step in range(1, 4):
        decoder.step(np.full(12, 4))
        assert [cache.own[0].shape for cache in decoder.caches] == [(12, 3, step, 4)] * 2
        assert [cache.source[1].shape for cache in decoder.caches] == [(12, 3, 6, 4)] * 2
