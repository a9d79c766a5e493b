"""A network beside the same one in PyTorch: the same weights must give the same outputs and gradients."""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn


def assert_same(ours, theirs, shape, at_most=1e-10):
    """Both in float64 and evaluation mode; ``theirs`` takes the weights of ``ours``, by name."""
    import torch

    ours.to(tn.float64).eval()
    theirs.to(torch.float64).eval()
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal(shape)
    target = np.arange(shape[0]) % 3
    y, y_theirs = ours(tn.asarray(x)), theirs(torch.tensor(x))
    assert y.shape == tuple(y_theirs.shape)
    assert np.abs(y.data - y_theirs.detach().numpy()).max() < at_most
    tn.cross_entropy(y, target).backward()
    torch.nn.functional.cross_entropy(y_theirs, torch.tensor(target)).backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = gradients[name].grad.numpy()
        assert np.abs(expected).max() > 0, name  # a gradient of zeros would compare nothing
        assert np.abs(parameter.grad.data - expected).max() < at_most * max(np.abs(expected).max(), 1), name
