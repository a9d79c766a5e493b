"""The one source of randomness: a seedable generator on the host, so every device gets the same numbers.

Ops that need randomness draw a seed here and take it as an argument; a replayed computation (``checkpoint``,
a composite) therefore sees the same random numbers again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_state = {"generator": np.random.default_rng(0)}


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew from ``seed`` and return it."""
    _state["generator"] = np.random.default_rng(seed)
    return _state["generator"]


def generator() -> np.random.Generator:
    """The package's ``numpy.random.Generator`` (PCG64)."""
    return _state["generator"]


def draw_seed() -> int:
    """A fresh 63-bit seed for one random op."""
    return int(_state["generator"].integers(0, 2**63 - 1))


def get_rng_state() -> dict[str, Any]:
    """The generator's state, to be given to :func:`set_rng_state`."""
    return dict(_state["generator"].bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the generator back into a state that :func:`get_rng_state` returned."""
    _state["generator"].bit_generator.state = state
