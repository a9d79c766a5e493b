"""Batch and layer normalisation against PyTorch: values, gradients, running statistics."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("affine", ["both", "weight", "neither"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "eps": 0.1}], ids=["default", "options"])
def test_batch_norm(parity, dtype, training, shape, affine, options):
    rng = np.random.default_rng(len(shape))
    x, w, b = rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, shape[1]), rng.standard_normal(shape[1])
    mean, var = rng.standard_normal(3).astype(dtype), rng.uniform(0.5, 2, 3).astype(dtype)
    ours, theirs = (mean.copy(), var.copy()), (torch.tensor(mean), torch.tensor(var))
    arrays = x, w if affine != "neither" else None, b if affine == "both" else None
    parity.check(
        lambda x, w, b: tn.batch_norm(x, *ours, w, b, training, **options),
        lambda x, w, b: F.batch_norm(x, *theirs, w, b, training, **options),
        *arrays,
        dtype=dtype,
    )
    parity.compare(ours, theirs)


@DTYPES
@pytest.mark.parametrize(("shape", "axes"), [((5, 4), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((3, 80), 1)])
@pytest.mark.parametrize("affine", ["both", "weight", "neither"])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm(parity, dtype, shape, axes, affine, eps):
    rng = np.random.default_rng(sum(shape))
    normalized = shape[-axes:]
    x, w, b = rng.standard_normal(shape) + 3, rng.uniform(0.5, 2, normalized), rng.standard_normal(normalized)
    arrays = x, w if affine != "neither" else None, b if affine == "both" else None
    parity.check(
        lambda x, w, b: tn.layer_norm(x, normalized, w, b, eps),
        lambda x, w, b: F.layer_norm(x, normalized, w, b, eps),
        *arrays,
        dtype=dtype,
    )
