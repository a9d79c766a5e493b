"""Losses with a margin, and the layers of all newer losses, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.parity.layer_pairs import same
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def signs(*shape):
    return RNG.integers(0, 2, shape) * 2 - 1


# (name, options, inputs)
CASES = [
    ("soft_margin_loss", {}, [normal(5), signs(5)]),
    ("soft_margin_loss", {}, [normal(3, 4) * 20, signs(3, 4)]),
    ("hinge_embedding_loss", {}, [normal(3, 4), signs(3, 4)]),
    ("hinge_embedding_loss", {"margin": 0.3}, [normal(5), signs(5)]),
    ("hinge_embedding_loss", {}, [np.array([1.0, 1.0, 2.0]), np.array([-1, 1, -1])]),
    ("margin_ranking_loss", {}, [normal(5), normal(5), signs(5)]),
    ("margin_ranking_loss", {"margin": 0.5}, [normal(3, 4), normal(3, 4), signs(3, 4)]),
    ("margin_ranking_loss", {}, [np.ones(2), np.ones(2), np.array([1, -1])]),
    ("cosine_embedding_loss", {}, [normal(5, 3), normal(5, 3), signs(5)]),
    ("cosine_embedding_loss", {"margin": 0.2}, [normal(5, 3), normal(5, 3), signs(5)]),
    ("cosine_embedding_loss", {"margin": -0.5}, [normal(4), normal(4), np.array(-1)]),
    ("triplet_margin_loss", {}, [normal(5, 3), normal(5, 3), normal(5, 3)]),
    ("triplet_margin_loss", {"swap": True, "margin": 2.0}, [normal(5, 3), normal(5, 3), normal(5, 3)]),
    ("triplet_margin_loss", {"p": 1.0, "eps": 0.01}, [normal(5, 3), normal(5, 3), normal(5, 3)]),
    ("triplet_margin_loss", {"p": 3.0, "swap": True}, [normal(3), normal(3), normal(3)]),
    ("multi_margin_loss", {}, [normal(5, 4), RNG.integers(0, 4, 5)]),
    ("multi_margin_loss", {"p": 2, "margin": 0.5}, [normal(5, 4), RNG.integers(0, 4, 5)]),
    ("multi_margin_loss", {"weight": [0.5, 1.0, 2.0, 3.0]}, [normal(5, 4), RNG.integers(0, 4, 5)]),
    ("multi_margin_loss", {}, [normal(4), np.array(2)]),
    ("multi_margin_loss", {}, [np.array([[1.0, 0.0, -1.0]]), np.array([0])]),
    ("multilabel_soft_margin_loss", {}, [normal(5, 4), RNG.integers(0, 2, (5, 4))]),
    ("multilabel_soft_margin_loss", {"weight": [0.5, 1.0, 2.0, 3.0]}, [normal(5, 4), RNG.integers(0, 2, (5, 4))]),
]


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize(("name", "options", "inputs"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_function(parity, dtype, reduction, name, options, inputs):
    def of(function, make):
        made = {k: make(np.asarray(v, dtype)) if isinstance(v, list) else v for k, v in options.items()}
        return lambda *arrays: function(*arrays, reduction=reduction, **made)

    parity.check(of(getattr(tn, name), tn.tensor), of(getattr(F, name), torch.tensor), *inputs, dtype=dtype)


@DTYPES
@REDUCTIONS
def test_hinge_loss(parity, dtype, reduction):
    """PyTorch has no such function: its formula there."""

    def theirs(s, y):
        losses = torch.relu(1 - y * s)
        return losses if reduction == "none" else getattr(losses, reduction)()

    parity.check(
        lambda s, y: tn.hinge_loss(s, y, reduction), theirs, np.array([-1.0, 0.3, 1.0, 2.0]), signs(4), dtype=dtype
    )


LAYERS = [
    ("SmoothL1Loss", {"beta": 0.5}, [normal(3, 4), normal(3, 4)]),
    ("HuberLoss", {"reduction": "sum", "delta": 0.5}, [normal(3, 4), normal(3, 4)]),
    ("PoissonNLLLoss", {"full": True}, [normal(3, 4), RNG.integers(1, 5, (3, 4)) * 1.0]),
    ("PoissonNLLLoss", {"log_input": False, "eps": 0.1}, [RNG.uniform(1, 2, (3, 4)), RNG.uniform(0, 5, (3, 4))]),
    ("GaussianNLLLoss", {"full": True}, [normal(3, 4), normal(3, 4), RNG.uniform(1, 2, (3, 1))]),
    ("BCELoss", {"reduction": "none"}, [RNG.uniform(0.1, 0.9, (3, 4)), RNG.uniform(0, 1, (3, 4))]),
    ("BCELoss", {"weight": [0.5, 1.0, 2.0, 3.0]}, [RNG.uniform(0.1, 0.9, (3, 4)), RNG.uniform(0, 1, (3, 4))]),
    ("SoftMarginLoss", {}, [normal(3, 4), signs(3, 4)]),
    ("HingeEmbeddingLoss", {"margin": 0.5}, [normal(3, 4), signs(3, 4)]),
    ("MarginRankingLoss", {"margin": 0.5}, [normal(5), normal(5), signs(5)]),
    ("CosineEmbeddingLoss", {"margin": 0.1, "reduction": "sum"}, [normal(5, 3), normal(5, 3), signs(5)]),
    ("TripletMarginLoss", {"margin": 0.5, "p": 1.0, "swap": True}, [normal(5, 3), normal(5, 3), normal(5, 3)]),
    ("MultiMarginLoss", {"p": 2, "weight": [0.5, 1.0, 2.0, 3.0]}, [normal(5, 4), RNG.integers(0, 4, 5)]),
    ("MultiLabelSoftMarginLoss", {"weight": [0.5, 1.0, 2.0, 3.0]}, [normal(5, 4), RNG.integers(0, 2, (5, 4))]),
]


@pytest.mark.parametrize(("name", "options", "inputs"), LAYERS, ids=[f"{i}-{case[0]}" for i, case in enumerate(LAYERS)])
def test_layer(parity, tmp_path, name, options, inputs):
    def of(module, make):
        made = {k: make(np.asarray(v)) if isinstance(v, list) else v for k, v in options.items()}
        return getattr(module, name)(**made)

    same(parity, of(nn, tn.tensor), of(torch.nn, torch.tensor), inputs, tmp_path, "float64")
