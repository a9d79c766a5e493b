"""Optimisers, learning-rate schedules and clipping of gradients."""

from __future__ import annotations

from tinygrad_notes.optim.adam import Adam, AdamW
from tinygrad_notes.optim.clip import clip_grad_norm_, clip_grad_value_
from tinygrad_notes.optim.optimizer import Optimizer
from tinygrad_notes.optim.schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    Schedule,
    SequentialLR,
    StepLR,
)
from tinygrad_notes.optim.sgd import SGD

__all__ = [
    "SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "Optimizer",
    "Schedule", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip
