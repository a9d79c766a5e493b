"""The table of wrong calls, by area, and of calls that look wrong and are defined. tests/bad_input.py runs it.

A row is the source of a call, the error it raises, and how the message begins: with the name of the op or class, then
what came and what was expected. A fourth entry is what runs before the call.
"""

from __future__ import annotations

from tests.wrong_calls import (
    containers,
    creation,
    datasets,
    derivatives,
    elementwise,
    images,
    layers,
    losses,
    networks,
    optimisers,
    programs,
    readers,
    reductions,
    shapes,
    windows,
)
from tests.wrong_calls.defined import DEFINED

__all__ = ["AREAS", "DEFINED"]

# By subject, in the order of the documentation.
TABLES = (
    creation,
    elementwise,
    reductions,
    shapes,
    windows,
    networks,
    losses,
    derivatives,
    layers,
    containers,
    optimisers,
    datasets,
    images,
    readers,
    programs,
)
AREAS: dict[str, list[tuple]] = {area: rows for table in TABLES for area, rows in table.AREAS.items()}
