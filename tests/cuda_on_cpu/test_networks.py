"""Whole networks on a device that behaves as CuPy's arrays do: float32 on the CUDA kernels against float64 on the CPU.

An op that computes on the host or takes what CuPy lacks raises; what waits for the GPU is counted, and so is what the
reference computes where a kernel should.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.capture import fake_cupy
from tests.cuda_on_cpu import device
from tests.kernels.test_cpu_networks import NETWORKS
from tinygrad_notes import notes, optim
from tinygrad_notes.nn import Module
from tinygrad_notes.study.graph import tensors_in
from tinygrad_notes.tensor import float32, float64, to_array

# Ops check labels, indices and lengths, and say which one is wrong: once for each, and not while a step is recorded.
CHECKS_OF_VALUES = {"get in arguments.py, extremes", "bool in loss_arguments.py, _check_labels"}

# Their steps are captured in every run; of the other notes with -m demo, which takes minutes.
CAPTURED = {"mlp", "batch-norm", "dropout", "resnet-basic", "rnn-tagging", "transformer-encoder", "sequence-embedding"}
# ResNet-18 takes minutes here, and the tagger's lengths lie on the host.
CLASSIFIERS = [name for name in NETWORKS if name not in ("ResNet-18", "tagger")]


@pytest.fixture
def gpu(monkeypatch):
    return device.install(monkeypatch)


def networks_of(slug):
    """The networks and functions whose gradients a note checks, with their inputs as NumPy's arrays."""
    tn.manual_seed(0)
    checks = notes.get(slug).checks
    return [] if checks is None else [(module, [to_array(x) for x in given]) for module, given in checks()]


class Training:
    """A network on a device: its loss, and steps of three optimisers."""

    def __init__(self, network, inputs, dtype, place):
        self.network, self.place, self.weights = network.to(dtype).to(place), place, {}
        self.given = [tn.asarray(x.astype(dtype) if x.dtype.kind == "f" else x).to(place) for x in inputs]
        self.leaves = dict(network.named_parameters())
        if not self.leaves:
            self.leaves = {f"input {i}": x.requires_grad_() for i, x in enumerate(self.given) if x.dtype.kind == "f"}
        leaves, settings = list(self.leaves.values()), {"lr": 0.01, "weight_decay": 0.01}
        self.optimizers = [optim.SGD(leaves, momentum=0.9, nesterov=True, **settings)]
        # with a large eps a step is smooth in the gradient: without it, rounding would decide its sign
        self.optimizers += [kind(leaves, eps=0.01, **settings) for kind in (optim.Adam, optim.AdamW)]

    def loss(self):
        """Outputs with weights drawn once, which are there before a step is recorded."""
        random, total = np.random.default_rng(0), 0.0
        for i, output in enumerate(tensors_in(self.network(*self.given))):
            if output.dtype.kind == "f":
                if i not in self.weights:
                    drawn = random.standard_normal(output.shape)
                    self.weights[i] = tn.asarray(drawn.astype(output.dtype)).to(self.place)
                total = total + (output * self.weights[i]).sum()
        return total

    def step(self):
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        norm = optim.clip_grad_norm_(self.leaves.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss, norm

    def results(self, step):
        """All that a step makes, in host memory; every Tensor of it is on the device."""
        tn.manual_seed(2)
        loss, norm = step()
        self.waits = list(fake_cupy.now().waits) if self.place == "cuda" else []
        found = {"loss": loss, "norm of the gradients": norm}
        for name, leaf in self.leaves.items():
            found |= {f"{name} after": leaf.detach()} | ({name: leaf.grad} if leaf.grad is not None else {})
        assert {t.device for t in found.values()} == {self.place}
        return {name: t.detach().to("cpu").numpy().copy() for name, t in found.items()}


def compare(got, wanted, label):
    assert got.keys() == wanted.keys()
    largest = max(float(np.abs(array).max()) for array in wanted.values() if array.size)
    for name, array in wanted.items():
        assert got[name].dtype == float32
        assert got[name].shape == array.shape
        if array.size:
            assert np.abs(got[name] - array).max() <= 2e-5 * max(largest, 1.0), f"{label}: {name}"


def modules_of(slug):
    return [i for i, (network, _) in enumerate(networks_of(slug)) if isinstance(network, Module)]


def on_the_reference(slug, i, steps):
    with tn.use_kernels("reference"):
        here = Training(*networks_of(slug)[i], float64, "cpu")
        return [here.results(here.step) for _ in range(steps)]


def on_the_device(slug, i):
    there = Training(*networks_of(slug)[i], float32, "cuda")
    there.loss()  # draws the weights
    fake_cupy.now().waits.clear()
    return there


@pytest.mark.parametrize("slug", notes.slugs())
def test_the_networks_of_every_note(slug, gpu):
    for i in modules_of(slug):
        there, label = on_the_device(slug, i), f"network {i} of {slug}"
        made = there.results(there.step)
        assert set(there.waits) <= CHECKS_OF_VALUES, f"{label} waits for the GPU: {there.waits}"
        assert gpu.composed == [], f"{label}: no kernel computes {gpu.composed}"
        compare(made, on_the_reference(slug, i, 1)[0], label)


@pytest.mark.parametrize(
    "slug", [slug if slug in CAPTURED else pytest.param(slug, marks=pytest.mark.demo) for slug in notes.slugs()]
)
def test_captured_steps_of_the_networks(slug, gpu):
    """Three steps: one to warm up, one recorded, one replayed."""
    for i in modules_of(slug):
        there = on_the_device(slug, i)
        step = tn.capture(there.step, warmup=1)
        for n, wanted in enumerate(on_the_reference(slug, i, 3)):
            compare(there.results(step), wanted, f"step {n} of network {i} of {slug}")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, gpu):
    """Larger tiles than the notes' networks have, and the losses."""
    build, draw, classes = NETWORKS[name]
    network, x = build(), draw()
    target = np.random.default_rng(1).integers(0, classes, x.size if x.dtype.kind == "i" else len(x))

    def gradients(dtype, place):
        twin = copy.deepcopy(network).to(dtype).to(place)
        given = tn.asarray(x.astype(dtype) if x.dtype.kind == "f" else x).to(place)
        loss = tn.cross_entropy(twin(given), tn.asarray(target).to(place))
        loss.backward()
        found = {"loss": loss} | {key: p.grad for key, p in twin.named_parameters()}
        return {key: t.detach().to("cpu").numpy() for key, t in found.items()}

    got = gradients(float32, "cuda")
    assert gpu.composed == []
    with tn.use_kernels("reference"):
        compare(got, gradients(float64, "cpu"), name)
