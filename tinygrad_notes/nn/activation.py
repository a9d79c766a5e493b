"""Activations as layers, for Sequential.

A layer of one op is that op and the arguments beside its operand, declared as class attributes in their order. From
them come the constructor with PyTorch's names and defaults (there is no ``inplace``, for values are kept for the
backward pass), its checks, forward and the text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn.init import constant_, empty_parameter
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count, number, one_of
from tinygrad_notes.tensor import Tensor

_AXES = 64  # NumPy has no more


@dataclass_transform()
class Activation(Module):
    """A layer of one op of one operand: ``class ELU(Activation, function=ops.elu)``.

    A class attribute with a type and a default is an argument of the constructor and of the op: a float is a number, an
    int an axis, and a str one of the ``choices`` of that name. What the op itself refuses is refused when the layer is
    made.

    >>> class Leaky(nn.activation.Activation, function=tn.leaky_relu):
    ...     negative_slope: float = 0.5
    >>> Leaky()([-2.0]), Leaky(0.25)
    (Tensor([-1.]), Leaky(negative_slope=0.25))
    """

    _function: ClassVar[Callable[..., Tensor]]
    _defaults: ClassVar[dict[str, Any]] = {}
    _choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(
        cls, function: Callable[..., Tensor] | None = None, choices: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init_subclass__()
        if function is not None:
            cls._function = staticmethod(function)
        cls._choices = {**cls._choices, **(choices or {})}
        declared = {name: vars(cls)[name] for name in inspect.get_annotations(cls) if name in vars(cls)}
        cls._defaults = {**cls._defaults, **declared}
        cls.__signature__ = inspect.Signature(
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
                for name, default in cls._defaults.items()
            ]
        )

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__()
        name = type(self).__name__
        try:
            bound = self.__signature__.bind(*arguments, **options)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; its arguments are {self.__signature__}") from None
        bound.apply_defaults()
        for setting, value in bound.arguments.items():
            setattr(self, setting, self._checked(setting, value, f"{name}: {setting}"))
        if any(isinstance(default, float) for default in self._defaults.values()):
            try:
                self.forward(np.zeros(1, np.float32))
            except (ShapeError, DTypeError) as error:  # in the words of the op, which is called otherwise
                raise type(error)(f"{name}: {str(error).partition(': ')[2] or error}") from None

    def _checked(self, setting: str, value: Any, name: str) -> Any:
        default = self._defaults[setting]
        if isinstance(default, float):
            return number(value, name)
        return count(value, name, -_AXES) if isinstance(default, int) else one_of(value, name, self._choices[setting])

    def forward(self, x: Any) -> Tensor:
        return self._function(x, *(getattr(self, setting) for setting in self._defaults))

    def extra_repr(self) -> str:
        return ", ".join(f"{setting}={getattr(self, setting)!r}" for setting in self._defaults)


class ReLU(Activation, function=ops.relu):
    """max(x, 0).

    >>> nn.ReLU()([-1.0, 2.0])
    Tensor([0., 2.])
    """


class LeakyReLU(Activation, function=ops.leaky_relu):
    """x where x > 0, else ``negative_slope`` x (Maas et al. 2013).

    >>> nn.LeakyReLU(0.25)([-4.0, 2.0])
    Tensor([-1.,  2.])
    """

    negative_slope: float = 0.01


class ReLU6(Activation, function=ops.relu6):
    """min(max(x, 0), 6) (Howard et al. 2017, arXiv:1704.04861).

    >>> nn.ReLU6()([-1.0, 2.0, 9.0])
    Tensor([0., 2., 6.])
    """


class PReLU(Module):
    """x where x > 0, else ``weight`` x, with a slope that is learned (He et al. 2015, arXiv:1502.01852).

    ``weight`` (num_parameters,) starts at ``init``: one slope for all, or one for each channel of axis 1.

    >>> nn.PReLU()([-4.0, 2.0])
    Tensor([-1.,  2.], op=_prelu)
    """

    weight: Tensor

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None):
        super().__init__()
        self.num_parameters, self.init = count(num_parameters, "PReLU: num_parameters"), number(init, "PReLU: init")
        self.weight = empty_parameter((self.num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every slope ``init``."""
        constant_(self.weight, self.init)

    def forward(self, x: Any) -> Tensor:
        return ops.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Activation, function=ops.elu):
    """x where x > 0, else ``alpha`` (eˣ - 1) (Clevert et al. 2015, arXiv:1511.07289).

    >>> nn.ELU(2.0)([0.0, 3.0])
    Tensor([0., 3.])
    """

    alpha: float = 1.0


class SELU(Activation, function=ops.selu):
    """1.0507 elu(x, 1.6733): activations drift to mean 0 and variance 1 (Klambauer et al. 2017, arXiv:1706.02515).

    >>> nn.SELU()([1.0]).data.round(4)
    array([1.0507], dtype=float32)
    """


class CELU(Activation, function=ops.celu):
    """x where x > 0, else ``alpha`` (e^(x/alpha) - 1), smooth at 0 (Barron 2017, arXiv:1704.07483).

    >>> nn.CELU(2.0)([0.0, 3.0])
    Tensor([0., 3.])
    """

    alpha: float = 1.0


class GELU(Activation, function=ops.gelu, choices={"approximate": ("none", "tanh")}):
    """x Φ(x) (Hendrycks and Gimpel 2016, arXiv:1606.08415), or its approximation with ``approximate="tanh"``.

    >>> nn.GELU()([0.0, 1.0]).data.round(3)
    array([0.   , 0.841], dtype=float32)
    """

    approximate: str = "none"


class SiLU(Activation, function=ops.silu):
    """x σ(x) (Elfwing et al. 2017, arXiv:1702.03118).

    >>> nn.SiLU()([0.0, 1.0]).data.round(3)
    array([0.   , 0.731], dtype=float32)
    """


class Mish(Activation, function=ops.mish):
    """x tanh(log(1 + eˣ)) (Misra 2019, arXiv:1908.08681).

    >>> nn.Mish()([0.0, 1.0]).data.round(3)
    array([0.   , 0.865], dtype=float32)
    """


class Softplus(Activation, function=ops.softplus):
    """log(1 + e^(βx)) / β, x itself where βx > ``threshold``.

    >>> nn.Softplus()([0.0, 30.0]).data.round(4)
    array([ 0.6931, 30.    ], dtype=float32)
    """

    beta: float = 1.0
    threshold: float = 20.0


class Softsign(Activation, function=ops.softsign):
    """x / (1 + |x|).

    >>> nn.Softsign()([-1.0, 3.0])
    Tensor([-0.5 ,  0.75])
    """


class Sigmoid(Activation, function=ops.sigmoid):
    """1 / (1 + e⁻ˣ).

    >>> nn.Sigmoid()([0.0])
    Tensor([0.5])
    """


class LogSigmoid(Activation, function=ops.logsigmoid):
    """log(1 / (1 + e⁻ˣ)), without overflow.

    >>> nn.LogSigmoid()([-1000.0, 1000.0])
    Tensor([-1000.,     0.])
    """


class Tanh(Activation, function=ops.tanh):
    """The hyperbolic tangent.

    >>> nn.Tanh()([0.0, 100.0])
    Tensor([0., 1.])
    """


class Hardtanh(Activation, function=ops.hardtanh):
    """x held between ``min_val`` and ``max_val``.

    >>> nn.Hardtanh()([-3.0, 0.5, 3.0])
    Tensor([-1. ,  0.5,  1. ])
    """

    min_val: float = -1.0
    max_val: float = 1.0


class Hardsigmoid(Activation, function=ops.hardsigmoid):
    """min(max(x/6 + 1/2, 0), 1).

    >>> nn.Hardsigmoid()([-3.0, 0.0, 3.0])
    Tensor([0. , 0.5, 1. ])
    """


class Hardswish(Activation, function=ops.hardswish):
    """x relu6(x + 3) / 6 (Howard et al. 2019, arXiv:1905.02244).

    >>> nn.Hardswish()([-4.0, 0.0, 4.0])
    Tensor([-0.,  0.,  4.])
    """


class Softmax(Activation, function=ops.softmax):
    """eˣ / Σ eˣ along ``axis``, by default the last (in PyTorch it depends on the number of axes).

    >>> nn.Softmax()([1.0, 1.0])
    Tensor([0.5, 0.5])
    """

    axis: int = -1


class LogSoftmax(Softmax, function=ops.log_softmax):
    """x - log Σ eˣ along ``axis``.

    >>> nn.LogSoftmax()([1.0, 1.0]).data.round(4)
    array([-0.6931, -0.6931], dtype=float32)
    """


class Softmin(Softmax, function=ops.softmin):
    """e⁻ˣ / Σ e⁻ˣ along ``axis``, by default the last (in PyTorch it depends on the number of axes).

    >>> nn.Softmin()([1.0, 1.0])
    Tensor([0.5, 0.5])
    """


class GLU(Activation, function=ops.glu):
    """u σ(v), u and v the two halves of x along ``axis`` (Dauphin et al. 2017, arXiv:1612.08083).

    >>> nn.GLU()([6.0, 0.0])
    Tensor([3.])
    """

    axis: int = -1
