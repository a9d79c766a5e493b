"""What all tests share: required tools, hypothesis profiles, and no test leaves state behind."""

from __future__ import annotations

import gc
import importlib.util
import os

import hypothesis
import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import RECORD, mode
from tinygrad_notes.registry import REGISTRY

hypothesis.settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.register_profile("sample", deadline=None, max_examples=5, derandomize=True)
hypothesis.settings.register_profile("intense", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


COMPILERS = {"g++", "nvrtc"}  # no packages of Python: the tests that use them say that they are missing


def required() -> list[str]:
    """The packages and compilers that ``TINYGRAD_NOTES_REQUIRE`` names: a missing one is a failure, no silent skip."""
    return [name for name in os.environ.get("TINYGRAD_NOTES_REQUIRE", "").split(",") if name]


def pytest_sessionstart(session: pytest.Session) -> None:
    missing = [name for name in required() if name not in COMPILERS and importlib.util.find_spec(name) is None]
    if missing:
        raise pytest.UsageError(f"required for these checks, but not installed: {', '.join(missing)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Demonstrations train for a minute each: they run when they are asked for, ``-m demo``."""
    if "demo" not in config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("demo")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("demo")]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tens of thousands of collected tests stay to the end: without them each pass of the collector is short."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_state_left_behind():
    """Every test starts from the same seed, and leaves modes, registry, devices and NumPy's settings as they were."""
    tn.manual_seed(0)
    ops, devices, errors = dict(REGISTRY), dict(DEVICES), np.geterr()
    yield
    left = []
    if mode.get() is not RECORD:
        left.append(f"grad mode {mode.get()}")
        mode.set(RECORD)
    if ops != REGISTRY:
        left.append(f"ops {sorted(set(REGISTRY) ^ set(ops))}")
        REGISTRY.clear()
        REGISTRY.update(ops)
    if devices != DEVICES:
        left.append(f"array types {set(DEVICES) ^ set(devices)}")
        DEVICES.clear()
        DEVICES.update(devices)
    if errors != np.geterr():
        left.append("NumPy's error settings")
        np.seterr(**errors)
    assert not left, f"the test left state behind: {', '.join(left)}"
