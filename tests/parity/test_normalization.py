"""Normalisation against PyTorch: values, gradients, running statistics, layers with their state."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.parity.layer_pairs import same
from tinygrad_notes import nn

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


@DTYPES
@pytest.mark.parametrize(("shape", "groups"), [((4, 6), 2), ((2, 6, 5), 3), ((3, 4, 2, 3), 4), ((2, 4, 2, 3, 2), 1)])
@pytest.mark.parametrize("affine", ["both", "weight", "neither"])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_group_norm(parity, dtype, shape, groups, affine, eps):
    rng = np.random.default_rng(sum(shape))
    x, w, b = rng.standard_normal(shape) + 3, rng.uniform(0.5, 2, shape[1]), rng.standard_normal(shape[1])
    arrays = x, w if affine != "neither" else None, b if affine == "both" else None
    parity.check(
        lambda x, w, b: tn.group_norm(x, groups, w, b, eps),
        lambda x, w, b: F.group_norm(x, groups, w, b, eps),
        *arrays,
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("shape", [(4, 3, 7), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("buffers", ["none", "moved", "used"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "eps": 0.1}], ids=["default", "options"])
def test_instance_norm(parity, dtype, shape, buffers, options):
    rng = np.random.default_rng(len(shape))
    x, w, b = rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, 3), rng.standard_normal(3)
    mean, var = rng.standard_normal(3).astype(dtype), rng.uniform(0.5, 2, 3).astype(dtype)
    ours, theirs = (mean.copy(), var.copy()), (torch.tensor(mean), torch.tensor(var))
    use = buffers != "used"
    parity.check(
        lambda x, w, b: tn.instance_norm(x, *((None, None) if buffers == "none" else ours), w, b, use, **options),
        lambda x, w, b: F.instance_norm(x, *((None, None) if buffers == "none" else theirs), w, b, use, **options),
        *(x, w, b),
        dtype=dtype,
    )
    parity.compare(ours, theirs)


@DTYPES
@pytest.mark.parametrize(("shape", "axes"), [((5, 4), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((3, 80), 1)])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("eps", [None, 0.1])
def test_rms_norm(parity, dtype, shape, axes, weighted, eps):
    rng = np.random.default_rng(sum(shape))
    normalized = shape[-axes:]
    x, w = rng.standard_normal(shape) + 3, rng.uniform(0.5, 2, normalized) if weighted else None
    parity.check(
        lambda x, w: tn.rms_norm(x, normalized, w, eps),
        lambda x, w: F.rms_norm(x, normalized, w, eps),
        *(x, w),
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 5, 3, 2), (2, 2, 2, 2, 3)])
@pytest.mark.parametrize("options", [(5,), (4, 0.5, 0.5, 2.0), (1, 1.0), (9, 2.0, 0.75, 1.0)])
def test_local_response_norm(parity, dtype, shape, options):
    x = np.random.default_rng(sum(shape)).standard_normal(shape) * 3
    parity.check(
        lambda x: tn.local_response_norm(x, *options),
        lambda x: F.local_response_norm(x, *options),
        x,
        dtype=dtype,
    )


LAYERS = [
    ("BatchNorm3d", (4,), {"momentum": 0.3}, (3, 4, 2, 5, 2)),
    ("BatchNorm2d", (4,), {"bias": False}, (3, 4, 5, 2)),
    ("GroupNorm", (2, 4), {}, (3, 4, 5)),
    ("GroupNorm", (4, 4, 0.1), {"affine": False}, (3, 4, 5, 2)),
    ("GroupNorm", (1, 4), {"bias": False}, (3, 4)),
    ("InstanceNorm1d", (4,), {}, (3, 4, 5)),
    ("InstanceNorm1d", (4,), {"affine": True}, (4, 5)),
    ("InstanceNorm2d", (4, 1e-3, 0.3), {"affine": True, "track_running_stats": True}, (3, 4, 5, 2)),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "momentum": None}, (4, 5, 2)),
    ("InstanceNorm3d", (4,), {"affine": True, "bias": False}, (3, 4, 5, 2, 3)),
    ("RMSNorm", (6,), {}, (3, 4, 6)),
    ("RMSNorm", ((4, 6), 0.1), {"elementwise_affine": False}, (3, 4, 6)),
    ("LocalResponseNorm", (3, 0.5), {"k": 2.0}, (3, 4, 6)),
]


@DTYPES
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS, ids=[f"{i}" for i in range(len(LAYERS))])
def test_layers(parity, tmp_path, dtype, train, name, arguments, options, shape):
    theirs = getattr(torch.nn, name)(*arguments, **options)
    for tensor in (*theirs.parameters(), *theirs.buffers()):
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 2.0)
    ours = getattr(nn, name)(*arguments, **options)
    same(parity, ours, theirs, [np.random.default_rng(1).standard_normal(shape)], tmp_path, dtype, train)
    theirs.load_state_dict({key: torch.from_numpy(t.numpy().copy()) for key, t in ours.state_dict().items()})
