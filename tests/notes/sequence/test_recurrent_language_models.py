"""RNN, GRU and LSTM as language models: what their demos reach."""

import pytest

from tinygrad_notes import notes
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training.progress import Progress

TRAINED = [slug for slug in notes.slugs("sequence") if notes.get(slug).demo is not None]


@pytest.mark.demo
@pytest.mark.parametrize("slug", TRAINED)
def test_the_demo_meets_its_bars(slug, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    outcome = notes.get(slug).demo(Run(folder=tmp_path, progress=Progress(style="none")))
    for bar in notes.get(slug).bars:
        assert bar.met(outcome.metrics), (bar, outcome.metrics)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in outcome.pictures)
