"""A demo for one epoch: to its end, with all that it promises."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tinygrad_notes import notes
from tinygrad_notes.notes.note import Outcome, Run
from tinygrad_notes.training.progress import Progress


def short_demo(slug: str, folder: Path, epochs: int = 1) -> Outcome:
    """Run it in ``folder``: its metrics are finite, among them what its bars name, and its pictures are there."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    note = notes.get(slug)
    assert note.demo is not None
    outcome = note.demo(Run(folder=folder, epochs=epochs, progress=Progress(style="none")))
    assert outcome.metrics
    assert all(math.isfinite(value) for value in outcome.metrics.values()), outcome.metrics
    assert all(math.isfinite(bar.limit(outcome.metrics)) and bar.metric in outcome.metrics for bar in note.bars)
    assert outcome.pictures
    assert sorted(outcome.pictures) == sorted(folder.glob("*.png"))
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in outcome.pictures)
    assert all(row["epoch"] <= epochs for row in outcome.history)
    return outcome
