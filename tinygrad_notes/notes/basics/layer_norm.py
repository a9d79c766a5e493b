"""Layer normalisation

What the notes say. Note 004 calls the Transformer's Add & Norm "residual + normalisation" (残差+归一化); note 000
spells it out as a shortcut followed by batch normalisation.

The formula. The numbers of one token, x in R^d, are brought to mean 0 and variance 1, and then to a scale and a shift
that are learned:

    μ = mean(x),   σ² = mean((x - μ)²),   y = γ (x - μ) / √(σ² + ε) + β

Root-mean-square normalisation (Zhang & Sennrich 2019; LLaMA) leaves the mean alone: y = γ x / √(mean(x²) + ε).

Where the note is wrong. The paper of the Transformer, and "Dive into Deep Learning" (10.7.3), have layer normalisation
in that place. The difference is what else an output depends on. Here it is the token alone: in a batch with others, in
another order, or by itself, the same bits come out. Batch normalisation takes mean and variance over the batch, so each
example depends on its neighbours, sentences of different lengths share statistics with their padding, and training and
use differ. Both are shown below. Being blind to the scale and shift of its input is what both have in common.

What is done here. Nothing is trained; the picture shows how far the outputs of both move when the rest of a batch is
exchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.training.pictures import save_maps

WIDTH = 768  # of the tokens of BERT and of ViT-B


def _batch(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((8, 6)) * 3 + 1


def moved_by_others(layer: nn.Module) -> np.ndarray:
    """How far each output (4, 6) of four examples moves when the four others of the batch are exchanged."""
    layer = layer.to(tn.float64)
    first, second = _batch(), _batch()
    second[4:] = 10 * _batch(1)[4:]
    return np.abs(layer(first).numpy()[:4] - layer(second).numpy()[:4])


def demo(run: Run) -> Outcome:
    """How far the outputs move when only the rest of the batch is another."""
    with tn.no_grad():
        maps = {
            "layer normalisation": moved_by_others(nn.LayerNorm(6)),
            "batch normalisation": moved_by_others(nn.BatchNorm1d(6)),
        }
    picture = save_maps(
        run.folder / "neighbours.png", "How far outputs move when only the rest of the batch is another", maps,
        "feature", "example", columns=2,
    )  # fmt: skip
    metrics = {f"moved_by_neighbours_{name.replace(' ', '_')}": float(moved.max()) for name, moved in maps.items()}
    return Outcome(metrics, [picture])


def _statistics() -> float:
    """Mean 0, and variance σ²/(σ² + ε), of each token."""
    x, eps = _batch(), 1e-5
    y = tn.layer_norm(x, (6,), eps=eps).numpy()
    variance = x.var(axis=1)
    return float(max(np.abs(y.mean(axis=1)).max(), np.abs(y.var(axis=1) - variance / (variance + eps)).max()))


def _order(layer: nn.Module) -> float:
    """Whether a permuted batch, and each example by itself, give other bits: the number that differ."""
    x = _batch().astype(np.float32)
    order = np.random.default_rng(1).permutation(len(x))
    with tn.no_grad():
        whole = layer(x).numpy()
        permuted = layer(x[order]).numpy()
        alone = np.concatenate([layer(row[None]).numpy() for row in x])
    return float((permuted != whole[order]).sum() + (alone != whole).sum())


def _scale_and_shift() -> float:
    x = _batch()
    moved = tn.layer_norm(5 * x - 7, (6,), eps=0.0).numpy()
    return float(np.abs(moved - tn.layer_norm(x, (6,), eps=0.0).numpy()).max())


def _centred() -> float:
    """On numbers of mean 0 both normalisations are one."""
    x = _batch()
    x -= x.mean(axis=1, keepdims=True)
    return float(np.abs(tn.rms_norm(x, (6,), eps=1e-5).numpy() - tn.layer_norm(x, (6,), eps=1e-5).numpy()).max())


def _derivative() -> float:
    """dx = (γ dy - mean(γ dy) - x̂ mean(γ dy · x̂)) / σ, over each token."""
    rng = np.random.default_rng(0)
    x, (g, weight) = _batch(), (rng.standard_normal((8, 6)), rng.standard_normal(6))
    _, back = tn.vjp(lambda x: tn.layer_norm(x, (6,), tn.asarray(weight), eps=0.0), tn.asarray(x))
    (ours,) = back(tn.asarray(g))
    sigma = x.std(axis=1, keepdims=True)
    standard, scaled = (x - x.mean(axis=1, keepdims=True)) / sigma, weight * g
    mean = scaled.mean(axis=1, keepdims=True)
    formula = (scaled - mean - standard * (scaled * standard).mean(axis=1, keepdims=True)) / sigma
    return float(np.abs(ours.numpy() - formula).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    x = np.random.default_rng(0).standard_normal((3, 4, 6))
    return [(nn.LayerNorm(6), (x,)), (nn.LayerNorm((4, 6)), (x,)), (nn.RMSNorm(6), (x,))]


NOTE = Note(
    slug="layer-norm",
    family="basics",
    title="Layer normalisation",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 10.7.3",
    paper="Ba, Kiros & Hinton 2016, Layer normalization, arXiv:1607.06450",
    text=__doc__,
    build=lambda: nn.LayerNorm(WIDTH),
    example=lambda: (1, 16, WIDTH),
    demo=demo,
    no_bar="identities; the demo only shows what a batch normalisation makes of the same",
    facts=[
        Fact("parameters at 768 features", 1_536, lambda: parameter_count(nn.LayerNorm(WIDTH)), "2 · 768"),
        Fact("parameters of the root mean square's", 768, lambda: parameter_count(nn.RMSNorm(WIDTH)), "no shift"),
        Fact("ε as a default", 1e-5, lambda: nn.LayerNorm(2).eps, "PyTorch"),
    ],
    identities=[
        Identity("a token's mean is 0, its variance σ²/(σ² + ε)", _statistics, 1e-14),
        Identity("outputs do not depend on the batch, to the last bit", lambda: _order(nn.LayerNorm(6))),
        Identity("nor do they of the root mean square's", lambda: _order(nn.RMSNorm(6))),
        Identity(
            "those of batch normalisation do",
            lambda: float(moved_by_others(nn.BatchNorm1d(6).requires_grad_(False)).min() == 0),
        ),
        Identity("the scale and the shift of a token do not matter", _scale_and_shift, 1e-13),
        Identity("with mean 0 it is the root mean square's", _centred, 1e-14),
        Identity("the derivative by the formula", _derivative, 1e-13),
    ],
    checks=_checks,
)  # fmt: skip
