"""Steps of optimisers, in place, over lists of arrays, and the norm that clipping needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def sgd_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    momentum_buffers: Sequence[Array | None] | None,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    maximize: bool,
) -> list[Array] | None:
    """One step of gradient descent, θ in place: θ ← θ - lr d, with d = g + weight_decay θ (g negated to maximize).

    With momentum μ: v ← μ v + (1 - dampening) d, at the first step v = d; then v takes the place of d, or with
    ``nesterov`` d + μ v does. Returns the buffers v: those given, in place, and new ones where None was given; None
    when momentum is 0. Gradients are never written.
    """
    if not momentum and not weight_decay:
        step = -lr if maximize else lr
        for parameter, gradient in zip(parameters, gradients):
            parameter -= step * gradient
        return None
    buffers: list[Array] = []
    before = momentum_buffers or [None] * len(parameters)
    for parameter, gradient, buffer in zip(parameters, gradients, before):
        direction = -gradient if maximize else gradient
        if weight_decay:
            direction = direction + weight_decay * parameter
        if momentum:
            if buffer is None:
                buffer = np.empty_like(parameter)
                buffer[...] = direction
            else:
                buffer *= momentum
                buffer += (1 - dampening) * direction
            buffers.append(buffer)
            direction = direction + momentum * buffer if nesterov else buffer
        parameter -= lr * direction
    return buffers if momentum else None


def adam_step(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    first_moments: Sequence[Array],
    second_moments: Sequence[Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Step number ``step`` (from 1) of Adam (Kingma and Ba, 2015); parameters and moments in place.

    m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  θ ← θ - lr m̂ / (√v̂ + eps), m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).
    Weight decay adds weight_decay θ to g, or ``decoupled`` (AdamW: Loshchilov and Hutter, 2019) subtracts
    lr weight_decay θ from θ first.
    """
    step_size = lr / (1 - beta1**step)
    correction = math.sqrt(1 - beta2**step)
    for parameter, gradient, first, second in zip(parameters, gradients, first_moments, second_moments):
        direction = -gradient if maximize else gradient
        if weight_decay and decoupled:
            parameter *= 1 - lr * weight_decay
        elif weight_decay:
            direction = direction + weight_decay * parameter
        first *= beta1
        first += (1 - beta1) * direction
        second *= beta2
        second += (1 - beta2) * (direction * direction)
        parameter -= step_size * first / (np.sqrt(second) / correction + eps)


def global_norm(arrays: Sequence[Array]) -> Array:
    """Euclidean norm of all elements of all arrays (at least one), in the dtype of the first.

    Squares are summed in float64, so that float32 neither overflows nor loses digits. ``einsum`` converts a few
    elements at a time, where ``dot`` would need a copy of all and BLAS's threads.
    """
    flat = [array.reshape(-1) for array in arrays]
    squares = sum(np.einsum("i,i->", part, part, dtype=np.float64) for part in flat)
    return np.sqrt(squares).astype(arrays[0].dtype)
