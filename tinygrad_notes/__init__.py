"""tinygrad-notes: a reverse-mode autograd engine to study backpropagation with.

>>> import tinygrad_notes as tn
>>> x = tn.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
Tensor([2., 4.])
"""

from __future__ import annotations

from tinygrad_notes import array_api, lazy
from tinygrad_notes.autograd import backward, grad
from tinygrad_notes.capture import capture
from tinygrad_notes.errors import DataError, DeviceError, DTypeError, GradientError, OutOfMemoryError, ShapeError
from tinygrad_notes.functional import checkpoint, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tinygrad_notes.generator import generator, get_rng_state, manual_seed, set_rng_state
from tinygrad_notes.kernels import get_num_threads, precision, set_num_threads, use_kernels
from tinygrad_notes.modes import detect_anomaly, enable_grad, is_grad_enabled, no_grad, shape_only, watch
from tinygrad_notes.ops import *  # noqa: F403
from tinygrad_notes.ops import __all__ as _ops
from tinygrad_notes.ops.creation import tensor  # said again for type checkers: the function, not the module
from tinygrad_notes.registry import REGISTRY, Array, Arrays, op
from tinygrad_notes.tensor import Tensor, bool_, float32, float64, int32, int64, uint8

__version__ = "0.1.0"
__all__ = [
    *_ops,
    "Array",
    "Arrays",
    "DTypeError",
    "DataError",
    "DeviceError",
    "GradientError",
    "OutOfMemoryError",
    "REGISTRY",
    "ShapeError",
    "Tensor",
    "backward",
    "bool_",
    "capture",
    "checkpoint",
    "detect_anomaly",
    "enable_grad",
    "float32",
    "float64",
    "generator",
    "get_num_threads",
    "get_rng_state",
    "grad",
    "hessian",
    "hvp",
    "int32",
    "int64",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "manual_seed",
    "no_grad",
    "op",
    "precision",
    "set_num_threads",
    "set_rng_state",
    "shape_only",
    "uint8",
    "use_kernels",
    "value_and_grad",
    "vjp",
    "watch",
]

__getattr__ = lazy.exports(__name__, ("cuda", "data", "interop", "nn", "optim", "study", "training", "notes", "cli"))
