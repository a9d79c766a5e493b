"""Ops that draw random numbers. Each takes its seed as an argument, so a second look sees the same numbers."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError
from tinygrad_notes.explain import named
from tinygrad_notes.generator import draw_seed
from tinygrad_notes.ops.arguments import probability
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, to_array, wrap


@op
def dropout_(x: Array, p, seed):
    return kernels.dropout(as_floating(x), p, seed), lambda g: dropout_(g, p, seed)


@named
def dropout(x, p=0.5, training=True, seed=None):
    """x / (1 - p) with probability 1 - p, else 0, each element by itself (Srivastava et al. 2014).

    Its mean is x. Without ``training``, or with p = 0, it is x itself. The same elements are dropped in the gradient.
    ``seed`` chooses them (None: drawn from the package's generator, see manual_seed), on every device alike.
    """
    p = probability(p, "dropout: p")
    if not isinstance(seed, int | np.integer | None):
        raise DTypeError(f"dropout: seed is {seed!r}, expected an integer or None")
    if training and p > 0:
        return dropout_(x, p, draw_seed() if seed is None else int(seed))
    if type(x) is Tensor and x.dtype.kind == "f":
        return x
    return wrap(as_floating(to_array(x)))
