"""Clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.tensor import Tensor, wrap
from tinygrad_notes.writes import mark_written


def _gradients(parameters: Iterable[Tensor] | Tensor, name: str) -> list[Tensor]:
    """The gradients there are. One left by create_graph is replaced by a copy: its history must not be written."""
    if not isinstance(parameters, Iterable):
        raise DTypeError(f"{name}: parameters is {type(parameters).__name__}, expected Tensors")
    gradients = []
    for i, parameter in enumerate([parameters] if type(parameters) is Tensor else parameters):
        if type(parameter) is not Tensor:
            raise DTypeError(f"{name}: parameter {i} is {type(parameter).__name__}, expected a Tensor")
        if parameter.grad is not None:
            if parameter.grad.node is not None:
                parameter.grad = wrap(parameter.grad.data.copy())
            gradients.append(parameter.grad)
    devices = sorted({gradient.device for gradient in gradients})
    if len(devices) > 1:
        raise DeviceError(f"{name}: gradients are on {' and '.join(devices)}; clip those of each device by themselves")
    return gradients


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), in place, and return their norm before that.

    The norm is that of all their elements together: Euclidean, or of order ``norm_type``. One that is NaN or inf raises
    GradientError with ``error_if_nonfinite``, before anything is changed; else it makes the gradients NaN or 0, as
    PyTorch does (Pascanu et al. 2013, arXiv:1211.5063).

    >>> w = tn.tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = tn.tensor([30.0, 40.0])
    >>> optim.clip_grad_norm_([w], max_norm=5.0)
    Tensor(50.)
    >>> w.grad.numpy().round(4)
    array([3., 4.], dtype=float32)
    """
    max_norm, norm_type = number(max_norm, "clip_grad_norm_: max_norm"), number(norm_type, "clip_grad_norm_: norm_type")
    if not max_norm >= 0:
        raise ShapeError(f"clip_grad_norm_: max_norm is {max_norm}, expected at least 0")
    if not norm_type > 0:
        raise ShapeError(f"clip_grad_norm_: norm_type is {norm_type}, expected a number above 0 or inf")
    gradients = _gradients(parameters, "clip_grad_norm_")
    if not gradients:
        return wrap(np.zeros((), np.float32))
    arrays = [gradient.data for gradient in gradients]
    norm = _norm(arrays, norm_type)
    if DEVICES[type(arrays[0])] != "cpu" and not error_if_nonfinite:  # nothing waits for the device to say the norm
        scale = np.minimum(max_norm / (norm + 1e-6), 1)
        for array in arrays:
            array *= scale.astype(array.dtype)
            mark_written(array)
        return wrap(norm)
    size = float(norm)
    if error_if_nonfinite and not math.isfinite(size):
        raise GradientError(
            f"clip_grad_norm_: the norm of the gradients is {size}; with error_if_nonfinite nothing was changed"
        )
    scale = max_norm / (size + 1e-6)
    if not scale >= 1:  # NaN too
        for array in arrays:
            array *= scale
            mark_written(array)
    return wrap(np.asarray(norm) if isinstance(norm, np.generic) else norm)


def _norm(arrays: list[Any], order: float) -> Any:
    if order == 2:
        return kernels.global_norm(arrays)
    if order == math.inf:
        sizes = [np.max(np.abs(array)) for array in arrays if array.size] or [np.zeros_like(arrays[0], shape=())]
        return np.max(np.stack(sizes)).astype(arrays[0].dtype)
    total = sum(np.sum(np.abs(array.astype(np.float64)) ** order) for array in arrays)
    return (total ** (1 / order)).astype(arrays[0].dtype)


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Hold every element of the gradients between -``clip_value`` and ``clip_value``, in place.

    >>> w = tn.tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = tn.tensor([30.0, -0.5])
    >>> optim.clip_grad_value_([w], 1.0)
    >>> w.grad
    Tensor([ 1. , -0.5])
    """
    clip_value = number(clip_value, "clip_grad_value_: clip_value")
    if not clip_value >= 0:
        raise ShapeError(f"clip_grad_value_: clip_value is {clip_value}, expected at least 0")
    for gradient in _gradients(parameters, "clip_grad_value_"):
        np.clip(gradient.data, -clip_value, clip_value, out=gradient.data)
        mark_written(gradient.data)
