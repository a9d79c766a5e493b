"""A fake GPU: ``t.to("cuda")`` moves a Tensor there."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.capture import fake_cupy
from tinygrad_notes import kernels
from tinygrad_notes.kernels import reference


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    state = fake_cupy.State()
    fake_cupy.STATE.append(state)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.cupy(state))
    monkeypatch.setitem(kernels.DEVICES, fake_cupy.FakeArray, "cuda")
    for table in kernels.BACKENDS.values():
        monkeypatch.setitem(table, fake_cupy.FakeArray, reference)
    yield state
    assert state.stream.name == "default"
    fake_cupy.STATE.pop()
