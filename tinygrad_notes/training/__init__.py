"""The one training loop and what belongs to it: metrics, checkpoints, progress, baselines, pictures."""

from __future__ import annotations

from tinygrad_notes.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_notes.training.loop import DivergenceError, Trainer, predict
from tinygrad_notes.training.metrics import Accuracy, Mean, Metric
from tinygrad_notes.training.timing import Stopwatch

__all__ = [
    "Accuracy", "CheckpointError", "DivergenceError", "Mean", "Metric", "Stopwatch", "Trainer", "load_checkpoint",
    "predict", "save_checkpoint",
]  # fmt: skip
