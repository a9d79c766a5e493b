"""What language models share: windows, perplexity of a text, generation, training."""

import math
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import CharacterVocabulary, Corpus, TensorDataset, windows
from tinygrad_notes.notes import language
from tinygrad_notes.notes.language import LanguageData, RandomWindows, RecurrentLanguageModel, generate, perplexity
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training.progress import Progress


class Windowed(nn.Module):
    """A model without a state: logits of the next token from the last two, by a table."""

    context = 6

    def __init__(self, size):
        super().__init__()
        self.seen = []
        self.table = tn.tensor(np.random.default_rng(0).standard_normal((size, size, size)))

    def forward(self, tokens):
        rows = tokens.numpy() if type(tokens) is tn.Tensor else tokens
        self.seen.append(rows.shape)
        before = np.concatenate([np.zeros_like(rows[:, :1]), rows[:, :-1]], axis=1)
        return self.table[before, rows]


def table_perplexity(model, row):
    before = np.concatenate([[0], row[:-2]])
    return math.exp(tn.cross_entropy(model.table[before, row[:-1]], row[1:]).item())


@pytest.mark.parametrize("length", [2, 5, 6, 7, 8, 9, 10, 23, 40])
def test_a_model_of_windows_foretells_every_token_once(length):
    model, row = Windowed(5), np.random.default_rng(1).integers(0, 5, length)
    assert perplexity(model, row) == pytest.approx(table_perplexity(model, row), rel=1e-6)
    assert max(shape[1] for shape in model.seen) <= 6


def test_a_model_of_windows_is_given_no_more_than_it_can_see():
    model = Windowed(5)
    said = generate(model, np.array([[1, 2, 3], [4, 4, 0]]), 9, temperature=0)
    assert said.shape == (2, 9)
    assert [shape[1] for shape in model.seen] == [3, 4, 5, 6, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_state_of_every_cell_is_carried_along(cell):
    model = RecurrentLanguageModel(5, 4, cell, layers=2).to(tn.float64)
    row = np.random.default_rng(0).integers(0, 5, 30)
    whole = math.exp(tn.cross_entropy(model(row[None, :-1])[0], row[1:]).item())
    assert perplexity(model, row, piece=4) == pytest.approx(whole, rel=1e-12)
    assert model.training


def test_windows_begin_anywhere_and_targets_are_one_further():
    tn.manual_seed(0)
    dataset = RandomWindows(np.arange(1000), 10)
    assert len(dataset) == 98
    starts = set()
    for _ in range(20):
        tokens, after = dataset.take(np.arange(98))
        assert tokens.shape == after.shape == (98, 10)
        assert np.array_equal(after.data, tokens.data + 1)
        assert np.array_equal(np.diff(tokens.data, axis=1), np.ones((98, 9)))
        assert after.data.max() < 1000
        starts |= set((tokens.data[:, 0] % 10).tolist())
    assert starts == set(range(10))
    tokens, after = dataset[3]
    assert tokens.shape == (10,)
    assert 30 <= tokens.data[0] < 40


def test_parts_of_the_text_share_no_paragraph():
    data, other = language.character_data(seed=0), language.character_data(seed=1)
    text = language.corpus()
    assert np.array_equal(data.test, other.test)
    assert data.vocabulary.decode(data.test) == "".join(c for c in text.test_text if c in data.vocabulary)
    held_out = data.vocabulary.decode(data.validation.tensors[0].numpy().reshape(-1))
    whole = [line for line in held_out.split("\n")[1:-1] if len(line) > 80]
    train = data.vocabulary.decode(data.train.tokens)
    assert whole
    assert not set(whole) & set(train.split("\n"))
    assert all(line in text.train for line in whole)
    assert not np.array_equal(data.train.tokens, other.train.tokens)
    assert 0.9 < len(train) / len(text.train_text) < 0.98


def test_tokens_are_drawn_by_their_probabilities():
    tn.manual_seed(0)
    logits = tn.tensor(np.tile(np.log([0.5, 0.3, 0.2]), (20_000, 1)))
    for temperature, p in ((1.0, [0.5, 0.3, 0.2]), (0.5, np.array([25, 9, 4]) / 38)):
        drawn = np.bincount(language.draw(logits, temperature), minlength=3) / 20_000
        assert np.abs(drawn - p).max() < 0.015
    assert (language.draw(logits, 0) == 0).all()


def test_a_small_text_is_learned_and_the_best_epoch_kept(tmp_path):
    tn.manual_seed(0)
    vocabulary = CharacterVocabulary("abcd")
    row = vocabulary.encode("abcd" * 300)
    data = LanguageData(vocabulary, RandomWindows(row, 8), TensorDataset(*windows(row, 8)), row[:100])
    model = RecurrentLanguageModel(len(vocabulary), 8, nn.GRU, 4)
    before = perplexity(model, data.test)
    run = Run(folder=tmp_path, progress=Progress(style="none"))
    trainer = language.train_language_model(run, model, data, language.Recipe(epochs=6, batch=16, learning_rate=0.03))
    assert before > 3
    assert perplexity(model, data.test) < 1.2
    assert "accuracy" not in trainer.history[0]
    assert vocabulary.decode(generate(model, vocabulary.encode("ab")[None], 6, temperature=0)[0]) == "cdabcd"


@pytest.fixture
def short_text(monkeypatch):
    """The first paragraphs of the text instead of all."""
    pytest.importorskip("matplotlib")
    text = language.corpus()
    monkeypatch.setattr(language, "corpus", lambda: Corpus(text.train[:60], text.test[:8], "a part"))
    language.character_baselines.cache_clear()
    yield
    language.character_baselines.cache_clear()


def small(size):
    return RecurrentLanguageModel(size, 8, nn.RNN, 4)


def test_a_short_demo_leaves_its_metrics_and_its_picture_and_can_be_resumed(short_text, tmp_path):
    run = Run(folder=tmp_path, epochs=1, progress=Progress(style="none"))
    outcome = language.language_demo(run, small, "RNN")
    metrics = outcome.metrics
    assert outcome.pictures[0].read_bytes().startswith(b"\x89PNG")
    assert len(outcome.history) == 1
    assert metrics["4-gram"] < metrics["trigram"] < metrics["bigram"] < metrics["unigram"] < 103
    assert metrics["1.125_times_4-gram"] == 1.125 * metrics["4-gram"]
    assert 1 < metrics["test_perplexity"] < 103
    assert metrics["validation_perplexity"] == math.exp(outcome.history[0]["validation_loss"])
    again = language.language_demo(replace(run, resume=True), small, "RNN")
    assert again.metrics == metrics


def test_models_that_are_compared_start_from_the_same_seed(short_text, tmp_path):
    run = Run(folder=tmp_path, epochs=1, progress=Progress(style="none"))
    outcome = language.compare_demo(run, {"one": small, "the same": small}, "twice the same")
    assert outcome.metrics["test_perplexity_one"] == outcome.metrics["test_perplexity_the_same"]
    assert [row["loss"] for row in outcome.history[:1]] == [row["loss"] for row in outcome.history[1:]]
    assert outcome.pictures[0].exists()


def test_text_in_a_picture_is_cut_into_lines_as_it_is():
    assert language.wrapped("a$b\ncd", width=4) == "a\\$b\n¶cd"
