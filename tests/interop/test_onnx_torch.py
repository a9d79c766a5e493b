"""Files that PyTorch wrote, read back here."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tinygrad_notes.interop import import_onnx

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.parity
T = torch.nn

NETWORKS = {
    "convolution": (
        lambda: T.Sequential(
            T.Conv2d(1, 4, 3, padding=1), T.BatchNorm2d(4), T.ReLU(), T.MaxPool2d(2), T.ConvTranspose2d(4, 3, 3, 2),
            T.AvgPool2d(3, 2, 1), T.AdaptiveAvgPool2d(1), T.Flatten(), T.Linear(3, 5), T.LogSoftmax(-1),
        ), (2, 1, 14, 14), True,
    ),
    "Transformer encoder": (
        lambda: T.TransformerEncoder(T.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (2, 5, 8), False,
    ),
    "LSTM": (lambda: T.LSTM(5, 7, 2, bidirectional=True), (4, 3, 5), True),
    "GRU": (lambda: T.GRU(5, 7, 2, bidirectional=True), (4, 3, 5), True),
    "RNN": (lambda: T.RNN(5, 7), (4, 3, 5), True),
}  # fmt: skip


# PyTorch itself writes attention from opset 14 on.
CASES = [(name, opset) for name in NETWORKS for opset in (13, 17, 20) if (name, opset) != ("Transformer encoder", 13)]


@pytest.mark.parametrize(("name", "opset"), CASES)
def test_a_file_of_pytorch(name, opset, tmp_path):
    build, shape, dynamic = NETWORKS[name]
    torch.manual_seed(0)
    module, x, path = build().eval(), torch.randn(*shape), tmp_path / "torch.onnx"
    axes = {"x": [0]} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that exporter is the old one, which needs no further package
        torch.onnx.export(
            module, (x,), str(path), input_names=["x"], dynamic_axes=axes, dynamo=False, opset_version=opset
        )
    net = import_onnx(path)
    ours, theirs = (y if isinstance(y, tuple) else (y,) for y in (net(x.numpy()), module(x)))
    np.testing.assert_allclose(ours[0].detach().numpy(), theirs[0].detach().numpy(), rtol=1e-5, atol=1e-5)
    ours[0].square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
