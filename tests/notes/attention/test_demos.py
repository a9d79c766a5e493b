"""The demos of the family: short ones to their end, and all of them against their bars."""

import pytest

from tinygrad_notes import notes
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training.progress import Progress

SHORT = ("nadaraya-watson-parametric", "transformer-inference-kv", "attention-complexity", "linear-attention")
WITH_DEMO = [slug for slug in notes.slugs("attention") if notes.get(slug).demo is not None]


@pytest.mark.parametrize("slug", SHORT)
def test_a_short_demo_leaves_its_metrics_and_its_pictures(slug, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    outcome = notes.get(slug).demo(Run(folder=tmp_path, epochs=1, progress=Progress(style="none")))
    assert outcome.metrics
    assert sorted(outcome.pictures) == sorted(tmp_path.glob("*.png"))
    assert outcome.pictures
