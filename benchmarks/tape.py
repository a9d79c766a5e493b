"""What the tape costs: tiny ops, a chain of 150 ops and a small network's training step, beside PyTorch eager.

One BLAS thread each, both libraries in one process, interleaved. With two threads each library runs in a process of
its own, in turns, because two pools of threads would spin against each other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks.timing import Case, case_of, interleaved, require_torch, save, table, with_threads
from tinygrad_notes import nn, optim

RNG = np.random.default_rng(0)


def pair(torch: Any, *shape: int, scale: float = 1.0, grad: bool = True) -> tuple[Any, Any]:
    """The same numbers as our Tensor and as PyTorch's."""
    x = (RNG.standard_normal(shape) * scale).astype(np.float32)
    return tn.tensor(x, requires_grad=grad), torch.from_numpy(x.copy()).requires_grad_(grad)


def chains(torch: Any) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """y = tanh(y @ b) + a, fifty times, 4 x 4: 150 ops."""
    (a, ta), (b, tb) = pair(torch, 4, 4, scale=0.3), pair(torch, 4, 4, scale=0.3)

    def forward():
        y = a
        for _ in range(50):
            y = tn.tanh(y @ b) + a
        return y

    def forward_torch():
        y = ta
        for _ in range(50):
            y = torch.tanh(y @ tb) + ta
        return y

    def both():
        a.grad = b.grad = None
        forward().sum().backward()

    def both_torch():
        ta.grad = tb.grad = None
        forward_torch().sum().backward()

    both(), both_torch()
    np.testing.assert_allclose(a.grad.data, ta.grad.numpy(), atol=1e-4)
    np.testing.assert_allclose(b.grad.data, tb.grad.numpy(), atol=1e-4)
    return {"forward": (forward, forward_torch), "both": (both, both_torch)}


def mlp_steps(torch: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """One SGD step of 784-128-10 with ReLU and cross-entropy, batch 32, through Module, loss and optimiser."""
    x, tx = pair(torch, 32, 784, grad=False)
    labels = RNG.integers(0, 10, 32)
    target, target_torch = tn.tensor(labels), torch.from_numpy(labels)
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    net_torch = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    net_torch.load_state_dict({name: torch.from_numpy(t.numpy().copy()) for name, t in net.state_dict().items()})
    optimizer, optimizer_torch = optim.SGD(net.parameters(), lr=0.01), torch.optim.SGD(net_torch.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        loss = tn.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return loss

    def step_torch():
        optimizer_torch.zero_grad()
        loss = torch.nn.functional.cross_entropy(net_torch(tx), target_torch)
        loss.backward()
        optimizer_torch.step()
        return loss

    for _ in range(5):
        ours, theirs = step(), step_torch()
    assert abs(ours.item() - theirs.item()) < 1e-4, (ours, theirs)
    return step, step_torch


def one_thread(rounds: int) -> list[Case]:
    torch = require_torch()
    torch.set_num_threads(1)
    (a, ta), (b, tb), (c, tc) = pair(torch, 4), pair(torch, 4), pair(torch, 4, grad=False)
    chain = chains(torch)
    step, step_torch = mlp_steps(torch)
    return [
        interleaved("add of 4 floats, with gradient", lambda: a + b, lambda: ta + tb, 3000, 0.8, rounds),
        interleaved("add of 4 floats, without", lambda: c + c, lambda: tc + tc, 3000, None, rounds),
        interleaved("multiply 4 floats by 2.0, with gradient", lambda: a * 2.0, lambda: ta * 2.0, 3000, None, rounds),
        interleaved("150 ops tanh(y @ b) + a, forward", *chain["forward"], 20, None, rounds),
        interleaved("150 ops tanh(y @ b) + a, forward and backward", *chain["both"], 15, 0.8, rounds),
        interleaved("MLP 784-128-10, batch 32, SGD step", step, step_torch, 30, 0.9, rounds),
    ]


def two_threads(rounds: int) -> Case:
    """The MLP step with two BLAS threads, one library in a process, the processes in turns."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(max(rounds // 5, 3)):
        for who, measured in times.items():
            command = [sys.executable, "-m", "benchmarks.tape", "--alone", who]
            measured.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return case_of("MLP step, two threads, a process each", times["ours"], times["theirs"], None, 2)


def alone(who: str) -> None:
    with_threads(2, "benchmarks.tape", ["--alone", who])
    torch = require_torch()
    torch.set_num_threads(2)
    step = mlp_steps(torch)[who == "theirs"]
    for _ in range(20):
        step()
    times = []
    for _ in range(9):
        start = time.perf_counter_ns()
        for _ in range(50):
            step()
        times.append((time.perf_counter_ns() - start) / 50 / 1e3)
    print(sorted(times)[len(times) // 2])


def main() -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench tape", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON ('-' is standard output)")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--alone", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone)
        return 0
    with_threads(1, "benchmarks.tape", sys.argv[1:])
    cases = one_thread(options.rounds)
    cases.append(two_threads(options.rounds))
    if options.json != "-":
        print(table(cases, "The tape beside PyTorch eager (ratio = ours / torch, lower is better)"))
    save(options.json, cases)
    return 0 if all(c.met for c in cases) else 1


if __name__ == "__main__":
    raise SystemExit(main())
