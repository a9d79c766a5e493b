"""Peak memory of one training step of a small ResNet, beside PyTorch: one library in a process, resident memory.

What counts is how far the process grows above its state after the network, the batch and one tiny step (which loads
libraries and makes their pools): activations that the tape keeps, gradients, and what kernels need on the way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import small_resnet
from benchmarks.timing import machine, require_torch, with_threads

BATCH, SIZE = 32, 32


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Peak:
    """The highest resident memory while the block runs, sampled every millisecond."""

    def __enter__(self) -> Peak:
        self.value, self.running = resident(), True
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self) -> None:
        while self.running:
            self.value = max(self.value, resident())
            time.sleep(0.001)

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.thread.join()


def stepper(who: str) -> Any:
    """A function that takes one SGD step on a batch of the given size."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, 3, SIZE, SIZE)).astype(np.float32)
    labels = rng.integers(0, 10, BATCH)
    if who == "torch":
        torch = require_torch()
        net = small_resnet(torch.nn, torch.relu)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        x, target, loss_of = torch.from_numpy(images), torch.from_numpy(labels), torch.nn.functional.cross_entropy
    else:
        import tinygrad_notes as tn
        from tinygrad_notes import nn, optim

        net = small_resnet(nn, tn.relu)
        optimizer = optim.SGD(net.parameters(), lr=0.01)
        x, target, loss_of = tn.asarray(images), tn.asarray(labels), tn.cross_entropy

    def step(size: int) -> float:
        optimizer.zero_grad()
        loss = loss_of(net(x[:size]), target[:size])
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def measure(who: str) -> dict[str, Any]:
    step = stepper(who)
    step(2)
    before = resident()
    with Peak() as peak:
        losses = [step(BATCH) for _ in range(3)]
    return {"library": who, "growth_bytes": peak.value - before, "losses": losses}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench memory", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON ('-' is standard output)")
    parser.add_argument("--alone", choices=("ours", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        with_threads(2, "benchmarks.memory", ["--alone", options.alone])
        print(json.dumps(measure(options.alone)))
        return 0
    require_torch()
    results = []
    for who in ("ours", "torch"):
        command = [sys.executable, "-m", "benchmarks.memory", "--alone", who]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
        ]
        results.append(sorted(runs, key=lambda r: r["growth_bytes"])[1])
    ours, theirs = (r["growth_bytes"] for r in results)
    if options.json != "-":
        print(f"small ResNet, batch {BATCH} of 3 x {SIZE} x {SIZE}, one training step, growth of resident memory")
        print(f"ours {ours / 2**20:.0f} MiB   torch {theirs / 2**20:.0f} MiB   ratio {ours / theirs:.2f}")
    if options.json:
        text = json.dumps({"machine": machine(), "results": results, "ratio": ours / theirs}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
