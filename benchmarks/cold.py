"""From the start of a fresh process to the end of LeNet's first training step: with no compiled kernels, and with them.

The time of the import stands apart. The targets are 15 s with an empty cache folder and 1.5 s with a filled one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import machine

TARGETS = {"cold": 15.0, "warm": 1.5}
BATCH = 128


def first_step(kernels: str) -> dict[str, Any]:
    """In the fresh process: when the package was imported, and when the step was done, on the clock of the system."""
    import numpy as np

    import tinygrad_notes as tn
    from benchmarks.networks import lenet
    from tinygrad_notes import nn, optim

    imported = time.time()
    with tn.use_kernels(kernels):
        tn.manual_seed(0)
        rng = np.random.default_rng(0)
        x = tn.tensor(rng.standard_normal((BATCH, 1, 28, 28), np.float32))
        target = tn.tensor(rng.integers(0, 10, BATCH))
        net = lenet(nn)
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        loss = tn.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
    return {"imported": imported, "stepped": time.time(), "loss": loss.item()}


def start(kernels: str, folder: str) -> dict[str, float]:
    """Seconds of one fresh process: its import, the step, both."""
    environment = os.environ | {"TINYGRAD_NOTES_CACHE": folder}
    command = [sys.executable, "-m", "benchmarks.cold", "--alone", "--kernels", kernels]
    begin = time.time()
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = json.loads(output)
    return {
        "import": found["imported"] - begin,
        "step": found["stepped"] - found["imported"],
        "total": found["stepped"] - begin,
        "loss": found["loss"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench cold", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON ('-' is standard output)")
    parser.add_argument("--kernels", default="cpu", help="the kernels to start with (default cpu)")
    parser.add_argument("--colds", type=int, default=1, help="how often with an empty folder (default 1)")
    parser.add_argument("--warms", type=int, default=7, help="how often with a filled one (default 7)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(first_step(options.kernels)))
        return 0
    starts: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(options.colds):
        with tempfile.TemporaryDirectory() as folder:
            starts["cold"].append(start(options.kernels, folder))
            if len(starts["cold"]) == options.colds:
                starts["warm"] = [start(options.kernels, folder) for _ in range(options.warms)]
    losses = {one["loss"] for several in starts.values() for one in several}
    medians = {
        name: {part: statistics.median(one[part] for one in several) for part in ("import", "step", "total")}
        for name, several in starts.items()
    }
    met = {name: medians[name]["total"] <= target for name, target in TARGETS.items()}
    if options.json != "-":
        print(f"a fresh process until LeNet's first step of {BATCH} images is done, seconds, medians")
        print(f"{'cache':<6} {'starts':>6} {'import':>8} {'step':>8} {'total':>8}  target")
        for name, one in medians.items():
            verdict = f"{TARGETS[name]:g} {'met' if met[name] else 'MISSED'}"
            parts = " ".join(f"{one[part]:>8.2f}" for part in ("import", "step", "total"))
            print(f"{name:<6} {len(starts[name]):>6} {parts}  {verdict}")
        if len(losses) > 1:
            print(f"the first loss is not the same in every process: {sorted(losses)}")
    if options.json:
        isa = os.environ.get("TINYGRAD_NOTES_ISA", "native")
        result = {"machine": machine(), "kernels": options.kernels, "isa": isa, "starts": starts, "medians": medians,
                  "targets": TARGETS, "met": met}  # fmt: skip
        text = json.dumps(result, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 0 if all(met.values()) and len(losses) == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
