"""The corpus: no paragraph in both parts, a fallback, and n-grams that are those of the definition."""

import math
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_notes.data import WordVocabulary, ngram_perplexities, topics, windows
from tinygrad_notes.data.text import MODULES, paragraphs
from tinygrad_notes.errors import DataError, DTypeError, ShapeError


@pytest.fixture(scope="module", params=["pydoc_data", "docstrings"])
def corpus(request):
    if request.param == "pydoc_data":
        pytest.importorskip("pydoc_data.topics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_notes.data.text.MODULES", MODULES[:10])  # enough, and quickly read
        return topics(source=request.param)


def test_no_paragraph_is_in_both_parts_or_twice(corpus):
    everything = [*corpus.train, *corpus.test]
    assert len(set(everything)) == len(everything)
    assert len(corpus.test) == pytest.approx(0.1 * len(everything), abs=1)
    assert all(part == " ".join(part.split()) and part for part in everything)
    assert corpus.train_text.split("\n") == list(corpus.train)
    assert len(corpus.train_text) + len(corpus.test_text) > 100_000


def test_the_part_for_testing_is_drawn_by_the_seed():
    assert topics().test == topics().test
    assert set(topics(seed=1).test) != set(topics().test)
    assert len(topics(test=0.5).test) == pytest.approx(len(topics(test=0.5).train), abs=1)


@pytest.mark.skipif(sys.version_info[:3] != (3, 11, 7), reason="the text is that of this version")
def test_the_sizes_in_this_version_of_python():
    pytest.importorskip("pydoc_data.topics")
    corpus = topics()
    assert (len(corpus.train), len(corpus.test)) == (1863, 208)
    assert (len(corpus.train_text), len(corpus.test_text)) == (312_218, 35_416)
    assert len(set(corpus.train_text + corpus.test_text)) == 103


def test_a_python_without_the_topics_takes_docstrings(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr("tinygrad_notes.data.text.MODULES", ("heapq", "no_such_module"))
    corpus = topics()
    assert corpus.source == "docstrings"
    with pytest.raises(DataError, match="without pydoc_data"):
        topics(source="pydoc_data")
    monkeypatch.setattr("tinygrad_notes.data.text.MODULES", ())
    with pytest.raises(DataError, match="without the source"):
        topics()


def test_paragraphs_come_once_with_single_spaces():
    assert paragraphs(["a  b\n c\n\n d\n \t\n\na b c", "d\n\n\n\ne"]) == ["a b c", "d", "e"]


def test_baselines_fall_with_the_order_and_are_computed(corpus):
    by_character = corpus.baselines()
    assert list(by_character) == [1, 2, 3]
    assert by_character[1] > 2 * by_character[2] > 3 * by_character[3] > 3
    counts = Counter(corpus.train_text)
    entropy = -sum(n * math.log(n / counts.total()) for n in counts.values()) / counts.total()
    assert by_character[1] == pytest.approx(math.exp(entropy), rel=0.2)
    words = WordVocabulary([corpus.train_text], min_freq=2)
    assert list(corpus.baselines(words.encode, orders=[2])) == [2]
    assert corpus.baselines(words.encode)[1] > corpus.baselines(words.encode)[2]
    with pytest.raises(ShapeError, match="size is None"):
        corpus.baselines(lambda text: words.encode(text))


def slow(train, test, size, order):
    """The definition, token by token."""
    counts = [defaultdict(Counter) for _ in range(order)]
    for n in range(order):
        for i in range(n, len(train)):
            counts[n][tuple(train[i - n : i])][train[i]] += 1
    total = 0.0
    for i, word in enumerate(test):
        p = 1 / size
        for n in range(min(order, i + 1)):
            followers = counts[n][tuple(test[i - n : i])]
            c, t = followers.total(), len(followers)
            if c:
                p = (followers[word] + t * p) / (c + t)
        total += math.log(p)
    return math.exp(-total / len(test))


TOKENS = st.lists(st.integers(0, 4), min_size=1, max_size=30)


@given(TOKENS, TOKENS, st.integers(1, 5))
def test_perplexities_are_those_of_the_definition(train, test, order):
    computed = ngram_perplexities(train, test, 5, range(1, order + 1))
    assert computed == pytest.approx({n: slow(train, test, 5, n) for n in range(1, order + 1)})


def test_every_context_gives_probabilities_that_add_up_to_one():
    train = np.random.default_rng(0).integers(0, 4, 60)
    for context in ([0, 1], [3, 3], [2, 0]):
        # The last token's probability is the quotient of the likelihoods with and without it.
        whole = [math.prod([ngram_perplexities(train, [*context, w], 5, [3])[3] ** -3]) for w in range(5)]
        before = ngram_perplexities(train, context, 5, [3])[3] ** -2
        assert sum(whole) == pytest.approx(before)


def test_windows_foretell_the_next_token():
    x, y = windows(np.arange(11), 4)
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert np.array_equal(y, x + 1)
    assert windows(np.arange(11), 4, stride=3)[0][:, 0].tolist() == [0, 3, 6]
    assert len(windows(np.arange(5), 4)[0]) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: topics(test=0), ShapeError, "test is 0"),
        (lambda: topics(source="web"), ShapeError, "source is 'web'"),
        (lambda: topics(seed=0.5), DTypeError, r"seed is 0\.5"),
        (lambda: ngram_perplexities([], [1], 2), ShapeError, "train is empty"),
        (lambda: ngram_perplexities([1], [2], 2), ShapeError, "test has numbers from 2 to 2, size is 2"),
        (lambda: ngram_perplexities([1], [1], 2, [0]), ShapeError, "an order is 0"),
        (lambda: windows([1, 2, 3], 3), ShapeError, "3 tokens are too few"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
