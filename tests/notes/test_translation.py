"""Pairs of Hangul and letters, decoding, exact match."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes import translation
from tinygrad_notes.notes.translation import BOS, EOS, PAD, exact_match, greedy, hangul_data


@pytest.fixture(scope="module")
def data():
    return hangul_data(seed=0, length=2, train=300, held_out=40)


def test_rows_are_the_texts_between_special_tokens(data):
    assert data.source.tokens[:3] == data.target.tokens[:3] == ["<pad>", "<bos>", "<eos>"]
    assert (len(data.source), len(data.target)) == (70, 24)
    for pairs in data.pairs.values():
        for i, (jamo, letters) in enumerate(pairs.texts):
            assert data.source.decode(pairs.source[i]) == jamo
            assert data.target.decode(pairs.target[i]) == letters
            assert pairs.source_lengths[i] == len(jamo) + 1
            assert pairs.target_lengths[i] == len(letters) + 2
            assert pairs.source[i, len(jamo)] == pairs.target[i, len(letters) + 1] == EOS
            assert pairs.target[i, 0] == BOS
            assert (pairs.source[i, len(jamo) + 1 :] == PAD).all()
            assert (pairs.target[i, len(letters) + 2 :] == PAD).all()


def test_parts_have_no_common_syllable(data):
    def found(part):
        import unicodedata

        return {c for jamo, _ in data.pairs[part].texts for c in unicodedata.normalize("NFC", jamo)}

    train, validation, test = map(found, ("train", "validation", "test"))
    assert min(map(len, (train, validation, test))) > 30
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_an_item_is_source_length_and_the_target_moved_by_one(data):
    source, length, before, after = data.train[5]
    pairs = data.pairs["train"]
    assert np.array_equal(source.data, pairs.source[5])
    assert length.item() == pairs.source_lengths[5]
    assert np.array_equal(before.data, pairs.target[5, :-1])
    assert np.array_equal(after.data, pairs.target[5, 1:])
    assert (len(data.train), len(data.validation), len(data.test)) == (300, 40, 40)
    assert len(pairs.first(7)) == len(pairs.first(7).dataset) == 7


def test_seeds_draw_other_syllables(data):
    other = hangul_data(seed=1, length=2, train=300, held_out=40)
    assert other.pairs["train"].texts != data.pairs["train"].texts
    assert hangul_data(seed=0, length=2, train=300, held_out=40) is data


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([[5, EOS, 9]], [[5, EOS]], 1.0),  # what comes behind does not count
        ([[5, EOS]], [[5, EOS, PAD, PAD]], 1.0),
        ([[5, 6, EOS]], [[5, EOS, PAD]], 0.0),
        ([[5, PAD, EOS]], [[5, EOS, PAD]], 0.0),
        ([[5, 6]], [[5, 6]], 0.0),  # never ended
        ([[EOS], [4]], [[EOS], [EOS]], 0.5),
    ],
)
def test_exact_match(predicted, target, expected):
    assert exact_match(np.array(predicted), np.array(target)) == expected


def test_rows_of_different_number_are_refused():
    with pytest.raises(ValueError, match="zip"):
        exact_match([[EOS]], [[EOS], [EOS]])


def test_sentences_that_ended_are_filled_while_others_go_on():
    lengths = np.array([1, 3, 9])

    def logits(prefixes):
        t = prefixes.shape[1]
        return np.eye(8)[np.where(lengths == t - 1, EOS, 4)]

    assert greedy(logits, 3, 5).tolist() == [[4, EOS, PAD, PAD, PAD], [4, 4, 4, EOS, PAD], [4, 4, 4, 4, 4]]


def test_a_model_that_knows_the_answers_translates_all(data):
    pairs = data.pairs["test"]

    class Knowing(nn.Module):
        """Looks the target up, and reads no more of the decoder's input than its length."""

        def forward(self, source, lengths, tokens):
            assert not self.training
            places = np.minimum(np.arange(1, tokens.shape[1] + 1), pairs.target.shape[1] - 1)
            return tn.one_hot(pairs.target[:, places], len(data.target))

    model = Knowing()
    said = translation.translate(model, pairs)
    assert exact_match(said, pairs.target[:, 1:]) == 1.0
    assert data.letters(said) == [letters for _, letters in pairs.texts]
    assert model.training


def test_padding_counts_neither_in_the_loss_nor_in_its_gradient():
    logits = tn.tensor(np.random.default_rng(0).standard_normal((2, 3, 5)), requires_grad=True)
    target = tn.tensor(np.array([[3, EOS, PAD], [4, 3, EOS]]))
    loss = translation.translation_loss(logits, target)
    loss.backward()
    rows, columns = np.nonzero(target.data != PAD)
    expected = tn.cross_entropy(tn.tensor(logits.data[rows, columns]), target.data[rows, columns]).item()
    assert loss.item() == pytest.approx(expected)
    assert not logits.grad.data[0, 2].any()
    assert translation.tokens_to_learn((None, target)) == 5
