"""Optimisers, learning-rate schedules, averages of weights and clipping of gradients."""

from __future__ import annotations

from tinygrad_notes.optim.adam import Adam, AdamW
from tinygrad_notes.optim.adaptive import Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop
from tinygrad_notes.optim.averaging import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)
from tinygrad_notes.optim.clip import clip_grad_norm_, clip_grad_value_
from tinygrad_notes.optim.cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from tinygrad_notes.optim.layerwise import LAMB, LARS
from tinygrad_notes.optim.optimizer import Optimizer
from tinygrad_notes.optim.plateau import ReduceLROnPlateau
from tinygrad_notes.optim.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    NoamLR,
    PolynomialLR,
    Schedule,
    SequentialLR,
    StepLR,
)
from tinygrad_notes.optim.sgd import SGD

__all__ = [
    "LAMB", "LARS", "SGD", "SWALR", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "AveragedModel", "ConstantLR",
    "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LambdaLR", "LinearLR",
    "MultiStepLR", "NAdam", "NoamLR", "OneCycleLR", "Optimizer", "PolynomialLR", "RAdam", "RMSprop",
    "ReduceLROnPlateau", "Schedule", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
    "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip
