"""Training on the GPU: as on the CPU, captured as eager, and out of memory as an error of ours. Needs a GPU."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim


def lenet() -> Any:
    tn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 49, 10),
    )


def train(device: str, captured: bool, dtype: Any, steps: int = 6) -> tuple[list[float], list[np.ndarray]]:
    net = lenet().to(device, dtype)
    optimizer = optim.AdamW(net.parameters(), lr=0.01)
    rng = np.random.default_rng(0)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tn.cross_entropy(net(x), y)
        loss.backward()
        optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss

    call, losses = tn.capture(step) if captured else step, []
    for _ in range(steps):
        x, y = rng.standard_normal((8, 1, 14, 14)), rng.integers(0, 10, 8)
        losses.append(call(tn.tensor(x, dtype).to(device), tn.tensor(y).to(device)).item())
    return losses, [p.detach().to("cpu").numpy() for p in net.parameters()]


def test_captured_is_eager(cupy):
    eager, captured = train("cuda", False, tn.float32), train("cuda", True, tn.float32)
    assert captured[0] == eager[0]
    for a, b in zip(captured[1], eager[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gpu_is_the_cpu(cupy):
    for one, other in zip(train("cuda", True, tn.float64), train("cpu", False, tn.float64)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_value_inside_ends_the_capture(cupy):
    x = tn.ones(3).to("cuda")
    step = tn.capture(lambda x: tn.tensor((x * 2).sum().item()).to("cuda"))
    step(x), step(x)
    with pytest.raises(tn.DeviceError, match="failed while it was recorded"):
        step(x)
    assert (x + 1).sum().item() == 6


def test_out_of_memory(cupy):
    gc.collect()
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    with pytest.raises(tn.OutOfMemoryError, match=r"multiply: Out of memory allocating [\d,]+ bytes") as caught:
        tn.zeros((2**24, 1)).to("cuda") * tn.zeros(2**24).to("cuda")
    assert "memory_summary" in str(caught.value)
    del caught
    gc.collect()
    assert pool.used_bytes() == before
    assert "captured steps" in tn.cuda.memory_summary()
