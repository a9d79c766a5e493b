"""Whole training steps beside PyTorch: forward, loss, backward, optimiser, from the same weights, losses found equal.

PyTorch's optimisers are its fused ones, and nothing is dropped, so that both libraries do the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks import backends, networks, report
from benchmarks.cases.case import Pass, StepCase
from benchmarks.measure import Measured, Settings, measure
from benchmarks.timing import machine, require_torch
from tinygrad_notes import nn, optim

TARGET = 0.8
Network = Callable[[Any, str], Any]  # of torch and the library's name


def steps(optimiser: Any, loss: Callable[[], Any]) -> tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]:
    """A whole training step of either library, which returns its loss, and what is compared: that of the first one."""
    losses: list[Any] = []

    def step() -> Any:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        if not losses:
            losses.append(value.detach())
        return value.detach()

    # of the first step: later, where rounding takes another side of a ReLU, float32 itself goes other ways
    return step, lambda: [np.asarray(losses[0].numpy())[None]]


def training_case(
    name: str, network: Network, x: tuple[int, ...], classes: int, optimiser: str, lr: float, words: int | None = None
) -> StepCase:
    """``words``: x are integers below it, and every one of them has a target."""

    def build(
        torch: Any, library: str, device: str = "cpu"
    ) -> tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]:
        rng = np.random.default_rng(3)
        data = rng.standard_normal(x, np.float32) if words is None else rng.integers(0, words, x)
        labels = rng.integers(0, classes, x[0] if words is None else int(np.prod(x)))
        tn.manual_seed(0)
        net: Any = network(torch, "tn")
        if library == "tn":
            net.to(device)
            inputs, target, loss_of = tn.tensor(data).to(device), tn.tensor(labels).to(device), tn.cross_entropy
            chosen: Any = getattr(optim, optimiser)(net.parameters(), lr)
        else:
            weights = {key: torch.tensor(value.numpy()) for key, value in net.state_dict().items()}
            net = network(torch, library)
            net.load_state_dict(weights)
            net.to(device)
            inputs, target = torch.tensor(data, device=device), torch.tensor(labels, device=device)
            loss_of = torch.nn.functional.cross_entropy
            if library == "torch64":
                net, inputs = net.double(), inputs.double() if words is None else inputs
            more = {"capturable": True} if device == "cuda" and optimiser != "SGD" else {}  # of a CUDA graph
            chosen = getattr(torch.optim, optimiser)(net.parameters(), lr, fused=True, **more)
        return steps(chosen, lambda: loss_of(net(inputs), target))

    return StepCase(name, "training", build, (Pass("step", targets={"N": TARGET}),))


def of_layers(function: Callable[[Any], Any]) -> Network:
    return lambda torch, library: function(nn if library == "tn" else torch.nn)


def cases() -> list[StepCase]:
    def resnet(torch: Any, library: str) -> Any:
        return networks.resnet18(*((nn, tn.relu) if library == "tn" else (torch.nn, torch.relu)))

    def encoder(torch: Any, library: str) -> Any:
        return networks.encoder(nn, {}) if library == "tn" else networks.encoder(
            torch.nn, {"enable_nested_tensor": False}
        )  # fmt: skip

    lenet, language = of_layers(networks.lenet), of_layers(networks.language_model)
    return [
        training_case("LeNet 128×1×28², SGD", lenet, (128, 1, 28, 28), 10, "SGD", 0.1),
        training_case("ResNet-18 16×3×64², SGD", resnet, (16, 3, 64, 64), 1000, "SGD", 0.01),
        training_case("LSTM language model 64×32, Adam", language, (64, 32), 2000, "Adam", 1e-3, words=2000),
        training_case("Transformer encoder 32×128×256, AdamW", encoder, (32, 128), 1000, "AdamW", 1e-4, words=1000),
    ]


def beside_torch(
    name: str,
    explained: str | None,
    cases: Sequence[StepCase],
    table: Callable[[report.Record], str] = report.table,
    measuring: Callable[[Any, Pass, Any, Settings], list[Measured]] = measure,
) -> int:
    """What ``bench NAME`` does: ``cases`` in a process for each backend, their tables, what is wrong, and the JSON.

    ``measuring`` is called with a case, its pass, torch and the settings.
    """
    parser = argparse.ArgumentParser(prog=f"tinygrad-notes bench {name}", description=explained)
    backends.add_options(parser)
    options = parser.parse_args()
    if options.alone:
        settings = Settings(3 if options.quick else options.rounds, 5.0 if options.quick else 60.0)
        with backends.within(options.kernels) as torch:
            backends.measure_all(cases, options.only, lambda case, one: measuring(case, one, torch, settings))
        return 0
    require_torch()
    passed_on = ["--only", options.only, "--rounds", str(options.rounds), *(["--quick"] if options.quick else [])]
    runs = [
        report.judged(backends.run(f"benchmarks.{name}", backend, passed_on)) for backend in backends.chosen(options)
    ]
    screen = sys.stderr if options.json == "-" else sys.stdout
    for run in runs:
        print(table(run), end="\n\n", file=screen)
    faults = [f"{run['backend']}: {fault}" for run in runs for fault in report.faults(run)]
    print("\n".join(faults) or "nothing is wrong, and every target that binds is met", file=screen)
    if options.json:
        text = json.dumps({"machine": machine(), "runs": runs}, indent=1)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(beside_torch("training", __doc__, cases()))
