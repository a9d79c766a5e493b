"""Short names of the errors, for the tables."""

from __future__ import annotations

import tinygrad_notes as tn
from tinygrad_notes.notes import UnknownNoteError
from tinygrad_notes.training.checkpoint import CheckpointError as C
from tinygrad_notes.training.loop import DivergenceError

__all__ = ["C", "CommandError", "D", "DivergenceError", "E", "G", "I", "S", "UnknownNoteError", "V"]

S, D, V, G, I, E = tn.ShapeError, tn.DTypeError, tn.DeviceError, tn.GradientError, IndexError, tn.DataError


class CommandError(Exception):
    """What a command that failed printed, with its exit code."""
