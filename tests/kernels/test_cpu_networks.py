"""Whole networks: gradients in float32 on the CPU's kernels against gradients in float64 on the reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_notes as tn
from benchmarks import networks
from tinygrad_notes import nn

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.standard_normal(shape)


def words(*shape, below):
    return RNG.integers(0, below, shape)


def autoencoder():
    """Strided, depthwise, dilated and transposed convolutions, group norm, SiLU, pooling with overlap."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.GroupNorm(3, 12), nn.SiLU(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 24, 1), nn.GELU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(24, 24, 3, padding=2, dilation=2, groups=4), nn.Tanh(),
        nn.ConvTranspose2d(24, 12, 4, stride=2, padding=1), nn.BatchNorm2d(12), nn.Sigmoid(),
        nn.ConvTranspose2d(12, 3, 4, stride=2, padding=1), nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(75, 10),
    )  # fmt: skip


def smooth_resnet():
    """With GELU for ReLU: at a kink float32 and float64 may take different sides, which says nothing of the kernels."""
    network = networks.resnet18(nn, tn.gelu)
    network[2] = nn.GELU()
    return network


class Tagger(nn.Module):
    """A GRU in both directions over sequences of different lengths, and a simple RNN over its outputs."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 24)
        self.gru = nn.GRU(24, 20, bidirectional=True)
        self.rnn = nn.RNN(40, 16)
        self.norm = nn.RMSNorm(16)
        self.output = nn.Linear(16, 10)

    def forward(self, x):
        lengths = np.array([7, 12, 1, 12, 5])
        states = self.gru(self.embedding(x), lengths=lengths)[0]
        return self.output(self.norm(self.rnn(states)[0])).reshape((-1, 10))


class Decoder(nn.Module):
    """Causal attention with grouped heads and an odd length."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 32)
        self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 16), nn.Linear(32, 16)
        self.norm, self.output = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        e = self.norm(self.embedding(x))
        q, k, v = (tn.swapaxes(f(e).reshape((*x.shape, -1, 8)), 1, 2) for f in (self.q, self.k, self.v))
        y = tn.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.output(tn.swapaxes(y, 1, 2).reshape((*x.shape, 32))).reshape((-1, 10))


NETWORKS = {
    "LeNet": (lambda: networks.lenet(nn), lambda: images(6, 1, 28, 28), 10),
    "ResNet-18": (smooth_resnet, lambda: images(4, 3, 64, 64), 1000),
    "LSTM language model": (lambda: networks.language_model(nn, 100, 48), lambda: words(9, 4, below=100), 100),
    "Transformer encoder": (lambda: networks.encoder(nn, {}, 60, 64), lambda: words(3, 17, below=60), 60),
    "autoencoder": (autoencoder, lambda: images(3, 3, 22, 26), 10),
    "tagger": (Tagger, lambda: words(12, 5, below=50), 10),
    "decoder": (Decoder, lambda: words(3, 37, below=40), 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_float32_against_float64_on_the_reference(name):
    build, draw, classes = NETWORKS[name]
    network, x = build(), draw()
    rows = x.size if x.dtype.kind == "i" else len(x)
    target = tn.asarray(RNG.integers(0, classes, rows))

    def gradients(dtype, kernels):
        twin = copy.deepcopy(network).to(dtype)
        with tn.use_kernels(kernels):
            loss = tn.cross_entropy(twin(tn.asarray(x.astype(dtype) if x.dtype.kind == "f" else x)), target)
            loss.backward()
        return loss.item(), {key: np.asarray(p.grad) for key, p in twin.named_parameters()}

    loss, wanted = gradients(np.float64, "reference")
    got_loss, got = gradients(np.float32, "cpu")
    assert got_loss == pytest.approx(loss, rel=1e-5)
    assert got.keys() == wanted.keys()
    largest = max(np.abs(g).max() for g in wanted.values())
    for key, gradient in wanted.items():
        scale = max(
            np.abs(gradient).max(), 1e-3 * largest
        )  # a bias before a norm has a gradient of 0, but for rounding
        assert np.abs(got[key] - gradient).max() <= 1e-4 * scale, key
