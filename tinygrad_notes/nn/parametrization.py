"""Reparametrisations: a weight that is computed from what is trained. Weight norm, spectral norm, standardisation.

One mechanism. A parametrised module no longer holds its ``weight``; it holds ``parametrizations.weight``, a
:class:`Parametrized`, whose ``original`` (or ``original0``, ``original1``) are the parameters and whose numbered
submodules are applied to them in order. ``module.weight`` is then not found among the attributes, and
``Module.__getattr__`` computes it anew, on the tape, each time it is asked for: the layer's own ``forward`` needs no
change, gradients reach the originals, and what is trained, moved, frozen and saved are the originals. Names in the
state dict are those of ``torch.nn.utils.parametrizations``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.modes import no_grad
from tinygrad_notes.nn import init
from tinygrad_notes.nn.containers import ModuleDict
from tinygrad_notes.nn.convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import matmul, maximum, mean, multiply, permute_dims, reshape, sqrt, square, sum
from tinygrad_notes.ops.arguments import at_least, count
from tinygrad_notes.tensor import Tensor, has_memory, without_memory, wrap


class Parametrization(Module):
    """How a value follows from its originals, ``forward(*originals)``, and its originals from it, ``inverse(value)``.

    Both take and give Tensors of the value's shape, unless ``inverse`` says otherwise. ``inverse`` returns a tuple; it
    runs off the tape.

    >>> class Symmetric(nn.parametrization.Parametrization):
    ...     def forward(self, original):
    ...         return (original + original.swapaxes(0, 1)) / 2
    >>> layer = nn.parametrization.register(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight.data == layer.weight.data.T).all())
    True
    """

    def inverse(self, value: Tensor) -> tuple[Tensor, ...]:
        """Originals that give ``value``, or what is nearest to them."""
        return (value,)


class Parametrized(Module):
    """A value of a module: its originals, which are parameters, and the parametrisations that lead from them to it."""

    def __init__(self, value: Tensor, first: Parametrization):
        super().__init__()
        with no_grad():
            originals = first.inverse(value.detach())
        if len(originals) == 1:
            self.original = value  # the same Tensor, so that an optimiser keeps it
            if originals[0].data is not value.data:
                init.copy_(value, originals[0])
        else:
            for i, original in enumerate(originals):
                setattr(self, f"original{i}", _copy(original))
        self.count, self.shape = len(originals), value.shape
        for name, original in zip(self._names(), self.originals()):  # parameters, frozen where the value was
            self._parameters[name] = None
            original.requires_grad_(value.requires_grad)
        self.append(first)

    def append(self, one: Parametrization) -> None:
        """Apply one more, behind the others."""
        setattr(self, str(len(self.chain())), one)

    def chain(self) -> list[Parametrization]:
        """The parametrisations in the order in which they are applied."""
        return [module for _, module in self._submodules()]  # type: ignore[misc]

    def originals(self) -> list[Tensor]:
        """What is trained."""
        return [getattr(self, name) for name in self._names()]

    def _names(self) -> list[str]:
        return ["original"] if self.count == 1 else [f"original{i}" for i in range(self.count)]

    def forward(self) -> Tensor:
        if not all(has_memory(original.data) for original in self.originals()):  # made under shape_only
            return wrap(without_memory(self.shape, self.originals()[0].dtype)).requires_grad_()
        first, *others = self.chain()
        value = first(*self.originals())
        for one in others:
            value = one(value)
        return value

    def assign(self, value: Any) -> None:
        """Give the originals values that lead to ``value``, a Tensor of the same shape."""
        if type(value) is not Tensor:
            raise DTypeError(f"a parametrised weight is set to {type(value).__name__}, expected a Tensor")
        with no_grad():
            values: tuple[Tensor, ...] = (value.detach(),)
            for one in reversed(self.chain()):
                values = one.inverse(*values)
        for original, new in zip(self.originals(), values):
            init.copy_(original, new)


def _copy(value: Tensor) -> Tensor:
    """A parameter with these values."""
    return wrap(value.data.copy() if has_memory(value.data) else value.data).requires_grad_()


def register(module: Module, name: str, parametrization: Parametrization) -> Module:
    """Compute ``module.name``, a parameter, by ``parametrization`` from now on; further ones are applied behind it.

    Returns the module. An optimiser must be given the parameters again where there are new ones, as for weight norm.

    >>> layer = nn.parametrization.register(nn.Linear(3, 3), "bias", nn.parametrization.WeightNorm(None))
    >>> layer.bias.shape, list(layer.state_dict())[1:]
    ((3,), ['parametrizations.bias.original0', 'parametrizations.bias.original1'])
    """
    what = f"{type(module).__name__}.{name}"
    if not isinstance(parametrization, Parametrization):
        raise DTypeError(f"parametrization of {what} is {parametrization!r:.60}, expected a Parametrization")
    held = module._computed.get(name)
    if held is not None:
        with no_grad():
            value = held()
            if len(parametrization.inverse(value)) != 1:
                raise ShapeError(f"{what} is parametrised already, and {parametrization!r} can only come first")
        held.append(parametrization.train(module.training))
        return module
    value = module.__dict__.get(name)
    if type(value) is not Tensor or name not in dict(module._own_parameters()):
        raise DTypeError(f"{what} is {type(value).__name__}, expected a parameter of the module itself")
    held = Parametrized(value, parametrization).train(module.training)
    holder = getattr(module, "parametrizations", None)
    if holder is None:
        holder = ModuleDict()
        setattr(module, "parametrizations", holder)  # noqa: B010
    elif type(holder) is not ModuleDict:
        raise DTypeError(f"{type(module).__name__} has an attribute 'parametrizations' of its own")
    delattr(module, name)
    holder[name] = held
    module.__dict__["_computed"] = {**module._computed, name: held}
    return module


def remove_parametrization(module: Module, name: str = "weight", leave_parametrized: bool = True) -> Module:
    """Make ``module.name`` a plain parameter again, of the value it has now, and return the module.

    With ``leave_parametrized=False`` it is the original, where there is only one.

    >>> layer = nn.parametrization.weight_norm(nn.Linear(3, 2))
    >>> list(nn.parametrization.remove_parametrization(layer).state_dict())
    ['bias', 'weight']
    """
    held = module._computed.get(name)
    if held is None:
        raise ShapeError(f"remove_parametrization: {type(module).__name__}.{name} has no parametrisation")
    originals = held.originals()
    if not leave_parametrized and len(originals) > 1:
        raise ShapeError(
            f"remove_parametrization: {type(module).__name__}.{name} has {len(originals)} originals, so none is "
            "the parameter; expected leave_parametrized=True"
        )
    parameter = originals[0]
    if leave_parametrized:
        with no_grad():
            value = held()
        if len(originals) > 1:
            parameter = _copy(value).requires_grad_(parameter.requires_grad)
        elif has_memory(parameter.data):
            init.copy_(parameter, value)
    computed = {other: one for other, one in module._computed.items() if other != name}
    module.__dict__["_computed"] = computed
    del getattr(module, "parametrizations")[name]  # noqa: B009
    if not computed:
        delattr(module, "parametrizations")
    setattr(module, name, parameter)
    module._parameters[name] = None
    return module


# ---------------------------------------------------------------------- weight norm


def _axis(axis: Any, value: Tensor, name: str) -> int:
    axis = count(axis, f"{name}: axis", -value.ndim)
    if axis >= value.ndim:
        raise ShapeError(f"{name}: axis is {axis}, but the weight has shape {value.shape}")
    return axis % value.ndim


class WeightNorm(Parametrization):
    """w = g v / ‖v‖, the norm over all axes but ``axis`` (None: over all)."""

    def __init__(self, axis: int | None = 0):
        super().__init__()
        self.axis = axis

    def _length(self, v: Tensor) -> Tensor:
        if self.axis is None:
            return sqrt(sum(square(v)))
        return sqrt(sum(square(v), tuple(i for i in range(v.ndim) if i != self.axis), keepdims=True))

    def forward(self, g: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        return v * (g / self._length(v))

    def inverse(self, value: Tensor) -> tuple[Tensor, ...]:
        if not has_memory(value.data):  # made under shape_only
            sizes = () if self.axis is None else tuple(n if i == self.axis else 1 for i, n in enumerate(value.shape))
            return wrap(without_memory(sizes, value.dtype)), value
        return self._length(value), value

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


def weight_norm(module: Module, name: str = "weight", axis: int | None = 0) -> Module:
    """Weight normalisation: w = g v / ‖v‖, length and direction trained apart (Salimans and Kingma 2016,
    arXiv:1602.07868).

    The norm is over all axes but ``axis`` (None: one length for the whole weight). In the state dict
    ``parametrizations.weight.original0`` is g, of size 1 on the other axes, ``original1`` v; at first w is what it was.
    Returns the module. An axis below 0 counts from the end; PyTorch takes -1 for None.

    >>> layer = nn.parametrization.weight_norm(nn.Linear(3, 2))
    >>> {name: p.shape for name, p in layer.named_parameters()}
    {'bias': (2,), 'parametrizations.weight.original0': (2, 1), 'parametrizations.weight.original1': (2, 3)}
    """
    if axis is not None:
        axis = _axis(axis, _weight(module, name, "weight_norm"), "weight_norm")
    return register(module, name, WeightNorm(axis))


def _weight(module: Any, name: str, function: str) -> Tensor:
    if not isinstance(module, Module):
        raise DTypeError(f"{function}: module is {type(module).__name__}, expected a Module")
    if name in module._computed:
        return module._computed[name].originals()[-1]
    if name not in dict(module._own_parameters()):
        raise DTypeError(f"{function}: {type(module).__name__} has no parameter {name!r} of its own")
    return module.__dict__[name]


# ---------------------------------------------------------------------- spectral norm


class SpectralNorm(Parametrization):
    """w / σ, σ ≈ the largest singular value of w as a matrix, by power iteration; see :func:`spectral_norm`."""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, axis: int, eps: float):
        super().__init__()
        self.axis, self.n_power_iterations, self.eps = axis, n_power_iterations, eps
        if weight.ndim > 1:
            with no_grad():
                matrix = self._matrix(weight)
            for name, size in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                vector = init.normal_(init.empty_parameter((size,), weight.device, weight.dtype)).detach()
                self.register_buffer(name, vector)
            if has_memory(weight.data) and has_memory(self._u.data):
                self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix with ``axis`` for rows."""
        if self.axis:
            weight = permute_dims(weight, (self.axis, *(i for i in range(weight.ndim) if i != self.axis)))
        return reshape(weight, (weight.shape[0], -1 if weight.size else 0))

    def _iterate(self, matrix: Tensor, times: int) -> None:
        w = matrix.data
        for _ in range(times):
            self._write(self._u, w @ self._v.data)
            self._write(self._v, w.T @ self._u.data)

    def _write(self, buffer: Tensor, vector: Any) -> None:
        length = np.sqrt(np.sum(vector * vector))
        init.copy_(buffer, vector / np.maximum(length, self.eps))

    def forward(self, weight: Tensor) -> Tensor:  # type: ignore[override]
        if weight.ndim == 1:
            return weight / maximum(sqrt(sum(square(weight))), self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies: the tape keeps u and v, and the next pass writes into the buffers.
        u, v = self._u.data.copy(), self._v.data.copy()
        return weight / sum(multiply(u, matmul(matrix, v)))

    def extra_repr(self) -> str:
        return f"n_power_iterations={self.n_power_iterations}, axis={self.axis}, eps={self.eps:g}"


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, axis: int | None = None
) -> Module:
    """Spectral normalisation: w / σ(w), so that the layer stretches no vector (Miyato et al. 2018, arXiv:1802.05957).

    σ = uᵀ W v, W the weight as a matrix with ``axis`` for rows (None: 0, of transposed convolutions 1). The buffers u
    and v, ``_u`` and ``_v``, follow the first singular vectors by ``n_power_iterations`` of power iteration, whenever
    the weight is asked for in training, and stand still in evaluation. They count as constants for the gradient. A
    vector is divided by its length. Returns the module.

    >>> layer = nn.parametrization.spectral_norm(nn.Linear(3, 2))
    >>> list(layer.state_dict())[2:]
    ['parametrizations.weight.0._u', 'parametrizations.weight.0._v']
    """
    weight = _weight(module, name, "spectral_norm")
    times = count(n_power_iterations, "spectral_norm: n_power_iterations")
    eps = at_least(eps, "spectral_norm: eps", 0)
    if axis is None:
        axis = 1 if isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d) else 0
    axis = _axis(axis, weight, "spectral_norm")
    with no_grad():
        value = module._computed[name]() if name in module._computed else weight
    return register(module, name, SpectralNorm(value, times, axis, eps))


# ---------------------------------------------------------------------- weight standardisation


class WeightStandardization(Parametrization):
    """(w - mean) / standard deviation over all axes but ``axis``; see :func:`weight_standardization`."""

    def __init__(self, axis: int, eps: float):
        super().__init__()
        self.axis, self.eps = axis, eps

    def forward(self, weight: Tensor) -> Tensor:  # type: ignore[override]
        axes = tuple(i for i in range(weight.ndim) if i != self.axis)
        centred = weight - mean(weight, axes, keepdims=True)
        return centred / sqrt(mean(square(centred), axes, keepdims=True) + self.eps)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, eps={self.eps:g}"


def weight_standardization(module: Module, name: str = "weight", axis: int = 0, eps: float = 1e-5) -> Module:
    """Weight standardisation: each output's weights with mean 0 and variance 1 (Qiao et al. 2019, arXiv:1903.10520).

    (w - μ) / √(σ² + ``eps``), μ and σ² over all axes but ``axis``. With group normalisation behind it, it does without
    statistics of the batch. Returns the module.

    >>> layer = nn.parametrization.weight_standardization(nn.Conv2d(3, 8, 3))
    >>> bool(abs(layer.weight.mean((1, 2, 3)).data).max() < 1e-6)
    True
    """
    weight = _weight(module, name, "weight_standardization")
    if weight.ndim < 2:
        raise ShapeError(f"weight_standardization: {name} has shape {weight.shape}, expected at least two axes")
    axis = _axis(axis, weight, "weight_standardization")
    return register(module, name, WeightStandardization(axis, at_least(eps, "weight_standardization: eps", 0)))
