"""A layer beside PyTorch's, for the tests of this folder. Importing this needs no PyTorch."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

import tinygrad_notes as tn
from tinygrad_notes import lazy

torch = lazy.module("torch")
rng = np.random.default_rng(0)


def loaded(module, theirs, path):
    """``module`` with the state that ``theirs`` saved through a safetensors file; names and their order are equal."""
    from safetensors.torch import save_file as save

    state = {name: tensor.contiguous().clone() for name, tensor in theirs.state_dict().items()}
    save(state, path / "state.safetensors")
    assert list(module.state_dict()) == list(state)
    assert [t.shape for t in module.state_dict().values()] == [tuple(t.shape) for t in state.values()]
    for tensor in state.values():
        if tensor.is_floating_point():
            module.to(str(tensor.dtype).removeprefix("torch."))
    assert module.load_state_dict(load_file(path / "state.safetensors")) == ([], [])
    return module


def flat(values):
    return [v for value in values for v in flat(value)] if isinstance(values, list | tuple) else [values]


def same(parity, ours, theirs, inputs, path, dtype, train=True, tolerance=None):
    """Outputs, gradients of inputs and parameters, and buffers afterwards, for the same state and the same inputs."""
    theirs = theirs.to(getattr(torch, dtype)).train(train)
    ours = loaded(ours, theirs, path).train(train)
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    mine, other = [tn.tensor(x) for x in arrays], [torch.from_numpy(x.copy()) for x in arrays]
    for a, b in zip(mine, other):
        if a.dtype.kind == "f":
            a.requires_grad_()
            b.requires_grad_()
    ys, torch_ys = flat(ours(*mine)), flat(theirs(*other))
    parity.compare(ys, torch_ys, tolerance)
    weights = [rng.standard_normal(y.shape).astype(dtype) for y in ys]
    if ys[0].requires_grad:
        sum((y * w).sum() for y, w in zip(ys, weights)).backward()
        sum((y * torch.from_numpy(w)).sum() for y, w in zip(torch_ys, weights)).backward()
        pairs = list(zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True))
        parity.compare([a.grad for a, _ in pairs], [b.grad for _, b in pairs], tolerance)
    parity.compare(list(ours.buffers()), list(theirs.buffers()), tolerance)
