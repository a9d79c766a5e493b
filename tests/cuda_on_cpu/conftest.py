"""The stand-in runs the kernels of NumPy arrays, in a thread order that a test may ask for; what is new holds NaN."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.conftest import required
from tests.cuda_on_cpu import stand_in
from tests.kernels import operands
from tinygrad_notes.kernels.cuda import launch


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    if stand_in.COMPILER is None:
        reason = "g++ on Linux runs the CUDA kernels here, and it is not installed"
        assert "g++" not in required(), reason
        pytest.skip(reason)
    monkeypatch.setitem(launch.RUNNERS, np.ndarray, stand_in.run)
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(np, name, _filled(getattr(np, name)))
    stand_in.launches.clear()
    yield
    stand_in.settings["order"] = "up"


@pytest.fixture(autouse=True)
def same_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test draws does not depend on the tests before it."""
    for module in (request.module, operands):
        if hasattr(module, "RNG"):
            monkeypatch.setattr(module, "RNG", np.random.default_rng(0))


@pytest.fixture(params=stand_in.ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    """Runs the test three times: threads in order, the last first, and shuffled."""
    stand_in.settings["order"] = request.param
    return str(request.param)


def _filled(make: Any) -> Any:
    """``np.empty`` whose memory is NaN (as integers, -1), so that an element no kernel writes is seen."""

    @functools.wraps(make)  # ``like=`` asks for a function by the name of this one
    def filled(*arguments: Any, **options: Any) -> Any:
        array = make(*arguments, **options)
        if type(array) is np.ndarray and array.dtype.kind in "fiu":
            array.reshape(-1).view(np.uint8).fill(255)
        return array

    return filled
