"""The Transformer: its maps of attention, and its spelling."""

from dataclasses import replace

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.data import syllables
from tinygrad_notes.notes.attention import transformer
from tinygrad_notes.notes.note import Run
from tinygrad_notes.notes.translation import (
    EOS,
    exact_match,
    hangul_data,
    padded_pairs,
    train_translator,
)
from tinygrad_notes.training.progress import Progress

SOURCE, LENGTHS = np.array([[3, 4, 5, 2], [5, 3, 2, 0]]), np.array([4, 3])
TARGET = np.array([[1, 3, 4, 5, 2], [1, 5, 2, 0, 0]])


def test_one_matrix_serves_three_times_when_tied():
    tied, apart = (transformer.Transformer(6, 6, 8, 2, 1, 12, tied=tied) for tied in (True, False))
    assert sum(p.size for p in apart.parameters()) - sum(p.size for p in tied.parameters()) == 6 * 8 + 6 * 8 + 6


def test_every_head_of_every_block_of_the_decoder_has_a_map_without_weight_on_padding():
    tn.manual_seed(0)
    model = transformer.Transformer(6, 6, 8, 2, 2, 12, 0.0)
    maps = transformer.attention_maps(model, SOURCE[1:], LENGTHS[1:], TARGET[1:])
    assert list(maps) == ["block 1, head 1", "block 1, head 2", "block 2, head 1", "block 2, head 2"]
    for weights in maps.values():
        assert weights.shape == (5, 4)
        assert np.abs(weights.sum(-1) - 1).max() < 1e-6
        assert not weights[:, 3].any()


def test_it_learns_to_spell_three_syllables_by_heart(tmp_path):
    """Training, decoding and the count of what is right fit together."""
    data = hangul_data(0)
    three = [(syllable.jamo, syllable.letters) for syllable in syllables()[1:3000:1400]]
    few = padded_pairs(three, data.source, data.target)
    tn.manual_seed(0)
    model = transformer.Transformer(len(data.source), len(data.target), 16, 2, 1, 32, 0.0)
    before = exact_match(transformer.spell(model, few), few.target[:, 1:])
    part = type(data)(data.source, data.target, dict.fromkeys(("train", "validation", "test"), few))
    recipe = replace(transformer.RECIPE, epochs=40, learning_rate=1e-2)
    train_translator(Run(folder=tmp_path, progress=Progress(style="none")), model, part, recipe)
    rows = transformer.spell(model, few)
    assert before == 0
    assert exact_match(rows, few.target[:, 1:]) == 1
    assert data.letters(rows) == [letters for _, letters in three]
    assert (rows == EOS).any(axis=1).all()
