"""What runs over all parameters at once: a step of Adam, and clipping by the norm of all gradients."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks.cases.case import Pass, StepCase, size
from tinygrad_notes import optim


def resnet50_shapes() -> list[tuple[int, ...]]:
    """The parameters of ResNet-50 (He et al. 2015), 25.6 million in 161 arrays."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    channels = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            for out, inputs, kernel in ((width, channels, 1), (width, width, 3), (4 * width, width, 1)):
                shapes += [(out, inputs, kernel, kernel), (out,), (out,)]
            if block == 0:
                shapes += [(4 * width, channels, 1, 1), (4 * width,), (4 * width,)]
            channels = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def _parameters(torch: Any, library: str, device: str) -> list[Any]:
    """Parameters with gradients, the same numbers for every library."""
    rng = np.random.default_rng(5)
    parameters = []
    for shape in resnet50_shapes():
        x, g = (rng.standard_normal(shape, np.float32) * np.float32(0.02) for _ in range(2))
        if library == "tn":
            parameters.append(tn.Tensor(x, device=device, requires_grad=True))
            parameters[-1].grad = tn.Tensor(g, device=device)
        else:
            dtype = torch.float64 if library == "torch64" else torch.float32
            parameters.append(torch.tensor(x, dtype=dtype, device=device, requires_grad=True))
            parameters[-1].grad = torch.tensor(g, dtype=dtype, device=device)
    return parameters


def adam(torch: Any, library: str, device: str = "cpu") -> Any:
    """PyTorch's in its fused form, one pass over memory."""
    parameters = _parameters(torch, library, device)
    if library == "tn":
        optimiser: Any = optim.Adam(parameters)
    else:  # a CUDA graph wants the count of steps on the GPU
        optimiser = torch.optim.Adam(parameters, fused=True, capturable=device == "cuda")
    return optimiser.step, lambda: [p.detach().to("cpu").numpy() for p in parameters]


def clip(torch: Any, library: str, device: str = "cpu") -> Any:
    """To a norm that falls from call to call, so that each of them has to write all gradients."""
    parameters = _parameters(torch, library, device)
    clip_ = optim.clip_grad_norm_ if library == "tn" else torch.nn.utils.clip_grad_norm_
    norms = (0.5 * 0.999**n for n in count())
    return (lambda: clip_(parameters, next(norms))), lambda: [p.grad.to("cpu").numpy() for p in parameters]


def cases() -> list[StepCase]:
    n = size(*resnet50_shapes())
    return [
        StepCase("Adam, ResNet-50", "optimiser", adam, (Pass("step", (), 0.0, 7 * n, {"N": 0.95}),)),
        StepCase("clip by global norm, ResNet-50", "optimiser", clip, (Pass("step", (), 0.0, 3 * n),)),
    ]
