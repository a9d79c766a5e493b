"""Fixtures of the engine's tests."""

from __future__ import annotations

import gc

import pytest

from tinygrad_notes.registry import REGISTRY


@pytest.fixture
def own_ops():
    """The test defines ops of its own; the registry is as before afterwards."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture
def no_collector():
    """Everything that dies in the test dies by reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()
