"""What the measured ratios have to reach on an H200, and how near a time is to what the GPU can do at best."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Record = dict[str, Any]

# Time of ours / time of PyTorch, at most; kernels as graphs on both sides. "TF32" and "bfloat16" are PyTorch's with
# them switched on, "float32" is without. Each measured line names its target.
PRODUCT, CONVOLUTION = "float32 product", "float32 convolution"
CONVOLUTION_TF32, WEIGHT_GRAD_TF32 = "TF32 convolution", "TF32 weight gradient"
ATTENTION_FORWARD, ATTENTION_BACKWARD = "bfloat16 attention", "bfloat16 attention, backward"
ATTENTION, RECURRENT = "float32 attention", "LSTM and GRU, hidden 256"
MOVING = "norms, softmax, cross-entropy, Adam"
OVER_EAGER, OVER_GRAPH = "captured step / ours eager", "captured step / torch's graph"
TARGETS = {
    PRODUCT: 0.7,
    CONVOLUTION: 0.7,
    CONVOLUTION_TF32: 1.5,
    WEIGHT_GRAD_TF32: 1.8,
    ATTENTION_FORWARD: 1.8,
    ATTENTION_BACKWARD: 2.3,
    ATTENTION: 1.1,
    RECURRENT: 0.9,
    MOVING: 1.1,
    OVER_EAGER: 0.5,
    OVER_GRAPH: 1.2,
}

# The ceilings, as the part of that name calls them.
COPY = "copy, read and written"
FLOAT32, TF32, BFLOAT16 = (f"product 8192³, {name}" for name in ("float32", "TF32", "bfloat16"))
MMA_TF32, MMA_BFLOAT16, THREE_TF32 = "mma.sync, TF32", "mma.sync, bfloat16", "mma.sync, 3xTF32"
# What bounds operations of a precision: the best of these.
RATES = {"highest": (FLOAT32, THREE_TF32), "high": (TF32, MMA_TF32), "medium": (BFLOAT16, MMA_BFLOAT16)}


class Limit(NamedTuple):
    """The ceiling that a line is nearest to, the rate it reaches, and that of the ceiling, in ``unit``."""

    ceiling: str
    reached: float
    rate: float
    unit: str


class Verdict(NamedTuple):
    """A ratio and its target, both None where there is none."""

    name: str
    ratio: dict[str, float]
    target: float | None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.ratio["ratio"] <= self.target


def ceilings(parts: Iterable[Record]) -> dict[str, float]:
    """The values of the part ``ceilings``, by name."""
    return {
        r["name"]: r["value"] for part in parts if part["part"] == "ceilings" for r in part["records"] if "value" in r
    }


def verdicts(record: Record) -> list[Verdict]:
    """All ratios of a record."""
    targets = record.get("targets", {})
    return [Verdict(name, one, TARGETS.get(targets.get(name, ""))) for name, one in record.get("ratios", {}).items()]


def limit(record: Record, rates: dict[str, float]) -> Limit | None:
    """What bounds the time of ours: operations or bytes, whichever takes longer at the ceiling's rate."""
    seconds, found = record.get("times", {}).get("ours", 0) / 1e6, []
    if seconds and record.get("flops"):
        known = [(rates[name], name) for name in RATES[record["precision"]] if name in rates]
        if known:
            rate, name = max(known)
            found.append(Limit(name, record["flops"] / seconds / 1e12, rate, "TFLOP/s"))
    if seconds and record.get("bytes") and COPY in rates:
        found.append(Limit(COPY, record["bytes"] / seconds / 1e9, rates[COPY], "GB/s"))
    return max(found, key=lambda one: one.reached / one.rate, default=None)


def judged(parts: Iterable[Record]) -> dict[str, list[tuple[str, Verdict]]]:
    """The lines that answer each target, by its name: none where it was not measured."""
    found: dict[str, list[tuple[str, Verdict]]] = {name: [] for name in TARGETS}
    for r in (r for part in parts for r in part["records"]):
        for verdict in verdicts(r):
            if verdict.target is not None:
                found[r["targets"][verdict.name]].append((r["name"], verdict))
    return found
