"""The GPU, or the reason why there is none here; what is new on it holds NaN."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import required
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import BACKENDS, DEVICES
from tinygrad_notes.tensor import cuda_array_module

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """TINYGRAD_NOTES_SHARD=1/4 leaves the second of every four of these tests; bench gpu has four processes."""
    share = os.environ.get("TINYGRAD_NOTES_SHARD")
    if share:
        own, of = map(int, share.split("/"))
        here = [item for item in items if item.path.parent == FOLDER]
        skipped = {id(item) for i, item in enumerate(here) if i % of != own}
        items[:] = [item for item in items if id(item) not in skipped]


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    tables = dict(DEVICES), {choice: dict(table) for choice, table in BACKENDS.items()}
    try:
        module = cuda_array_module()
    except DeviceError as error:
        if "cupy" in required():
            raise
        pytest.skip(str(error))
    yield module
    for before, after in ((tables[0], DEVICES), *((tables[1][choice], BACKENDS[choice]) for choice in BACKENDS)):
        after.clear()
        after.update(before)


@pytest.fixture
def poisoned(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An element that no kernel writes is seen: new memory is NaN, as integers -1."""

    def filled(make: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            array = make(*arguments, **options)
            if array.size and array.flags.c_contiguous and array.dtype.kind in "fiu":
                array.reshape(-1).view(np.uint8).fill(255)
            return array

        return call

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(cupy, name, filled(getattr(cupy, name)))
