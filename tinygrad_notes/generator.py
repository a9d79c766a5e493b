"""The one source of randomness: a seedable generator on the host, so every device gets the same numbers.

Ops that need randomness draw a seed here and take it as an argument; a replayed computation (``checkpoint``,
a composite) therefore sees the same random numbers again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError

_state = {"generator": np.random.default_rng(0)}


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew from ``seed`` and return it.

    >>> first = tn.manual_seed(7).random()
    >>> tn.manual_seed(7).random() == first
    True
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise DTypeError(f"manual_seed: seed is {seed!r}, expected an integer of at least 0")
    _state["generator"] = np.random.default_rng(seed)
    return _state["generator"]


def generator() -> np.random.Generator:
    """The package's ``numpy.random.Generator`` (PCG64).

    >>> type(tn.generator()).__name__, tn.generator().integers(0, 10, 5).shape
    ('Generator', (5,))
    """
    return _state["generator"]


def draw_seed() -> int:
    """A fresh 63-bit seed for one random op.

    >>> from tinygrad_notes.generator import draw_seed
    >>> 0 <= draw_seed() < 2**63
    True
    """
    return int(_state["generator"].integers(0, 2**63 - 1))


def get_rng_state() -> dict[str, Any]:
    """The generator's state, to be given to :func:`set_rng_state`.

    >>> state = tn.get_rng_state()
    >>> first = tn.generator().random()
    >>> tn.set_rng_state(state)
    >>> tn.generator().random() == first
    True
    """
    return dict(_state["generator"].bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the generator back into a state that :func:`get_rng_state` returned.

    >>> state = tn.get_rng_state()
    >>> tn.set_rng_state(state)
    >>> tn.set_rng_state("yesterday's")
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.DTypeError: set_rng_state: state is "yesterday's", expected what get_rng_state g...
    """
    try:
        _state["generator"].bit_generator.state = state
    except (TypeError, ValueError, KeyError) as error:
        raise DTypeError(f"set_rng_state: state is {state!r:.60}, expected what get_rng_state gave ({error})") from None
