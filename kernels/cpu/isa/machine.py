"""What this machine can do: the instruction set that the kernels are compiled for.

``TINYGRAD_NOTES_ISA`` forces one, for a whole process: machine code is made once, so it cannot change later.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass

import llvmlite.binding as llvm

from tinygrad_notes.errors import DeviceError

NAMES = ("generic", "avx512", "amx")


@dataclass(frozen=True)
class Machine:
    """``isa``: what the kernels use. ``vector_bytes``: the width of a register. ``registers``: how many there are."""

    isa: str
    vector_bytes: int
    registers: int
    features: frozenset[str]

    def lanes(self, itemsize: int) -> int:
        return self.vector_bytes // itemsize

    def key(self) -> tuple[object, ...]:
        """What compiled code depends on."""
        return self.isa, self.vector_bytes, self.registers, platform.machine(), sorted(self.features)


def _features() -> frozenset[str]:
    try:
        return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)
    except RuntimeError:  # LLVM knows none for this kind of machine
        return frozenset()


def _may_use_tiles() -> bool:
    """Ask Linux, once per process, for the state of AMX's tiles: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    # refused where the kernel is older than AMX or the tiles are switched off
    return ctypes.CDLL(None).syscall(ctypes.c_long(158), ctypes.c_long(0x1023), ctypes.c_long(18)) == 0


def _find() -> Machine:
    features = _features()
    has_avx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features
    amx = {"amx-tile", "amx-bf16"}
    if not (amx <= features and has_avx512 and _may_use_tiles()):
        features -= amx
    forced = os.environ.get("TINYGRAD_NOTES_ISA")
    if forced is not None and forced not in NAMES:
        raise DeviceError(f"TINYGRAD_NOTES_ISA is {forced!r}, expected one of {', '.join(NAMES)}")
    isa = forced or ("amx" if amx <= features else "avx512" if has_avx512 else "generic")
    if isa in ("avx512", "amx"):  # right everywhere; without wide registers several stand for one
        return Machine(isa, 64, 32, features)
    if "avx" in features:
        return Machine(isa, 32, 16, features)
    return Machine(isa, 16, 32 if platform.machine() in ("aarch64", "arm64") else 16, features)


MACHINE = _find()
