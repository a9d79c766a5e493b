"""The errors this package raises. Each message says the op, the argument, what came and what was expected.

An index out of range is Python's own ``IndexError``.
"""

from __future__ import annotations


class ShapeError(ValueError):
    """Operands or arguments whose shapes or sizes do not go together."""


class DTypeError(TypeError):
    """An operand or argument of a dtype or type that the op does not take."""


class DeviceError(RuntimeError):
    """Operands on different devices, or a device that this machine does not have."""


class OutOfMemoryError(DeviceError, MemoryError):
    """An array for which a device has no memory left: the op that asked for it, and how many bytes it asked for."""


class GradientError(RuntimeError):
    """A gradient that does not exist, is stale, was already used, or has the wrong shape or dtype."""


class DataError(ValueError):
    """A file that is damaged, cut off or of another format than was asked for, or text that a vocabulary lacks."""


# How an error goes on that names what modes.shape_only made.
WITHOUT_MEMORY = "was made under shape_only, so it has no memory to write to"
