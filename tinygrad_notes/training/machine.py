"""What results depend on: versions, devices, libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform

import numpy as np

from tinygrad_notes.errors import DeviceError
from tinygrad_notes.tensor import cuda_array_module

PACKAGES = (
    "tinygrad-notes", "numpy", "numba", "safetensors", "scikit-learn", "scipy", "matplotlib", "rich", "pillow",
    "cupy-cuda13x", "torch",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """The versions of Python and of each package; None for one that is not installed. Nothing is imported for it.

    >>> from tinygrad_notes.training import machine
    >>> machine.versions()["numpy"] == np.__version__
    True
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def devices() -> dict[str, str]:
    """What ``"cpu"`` and ``"cuda"`` are here; beginning with "no" for one that cannot be used."""
    return {"cpu": f"{os.cpu_count()} cores, {platform.machine()}", "cuda": _cuda()}


def _cuda() -> str:
    if importlib.util.find_spec("cupy") is None:
        return "no (CuPy is not installed; pip install 'tinygrad-notes[cuda]' brings it)"
    try:
        cupy = cuda_array_module()
    except DeviceError as error:
        return f"no ({error})"
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"


def blas() -> str:
    """The library NumPy multiplies matrices with."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-arg, index]
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def thread_limits() -> dict[str, str]:
    """The environment variables that limit threads, those that are set."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: os.environ[name] for name in names if name in os.environ}
