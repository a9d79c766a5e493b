"""Modules that hold parameters: ParameterList, ParameterDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.nn.containers import check_name
from tinygrad_notes.nn.init import Parameter
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor


class _Parameters(Module):
    """Parameters by name, in order, beside whatever else the module holds."""

    _held: dict[str, Tensor]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        module = super().__new__(cls)
        module.__dict__["_held"] = {}
        return module

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from list(self._held.items())
        yield from super()._own_parameters()

    def _accepted(self, value: Any, name: Any) -> Tensor:
        """A leaf that requires a gradient itself, of anything else a parameter with a copy of its values."""
        if type(value) is Tensor and value.node is not None:
            if not value.is_leaf:
                raise GradientError(
                    f"{type(self).__name__}: entry {name} was made by {value.node.name}; only leaves are parameters"
                )
            return value
        try:
            return Parameter(value)
        except (ShapeError, DTypeError, GradientError) as error:
            raise type(error)(f"{type(self).__name__}: entry {name}: {error}") from None

    def __len__(self) -> int:
        return len(self._held)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {parameter.shape}" for name, parameter in self._held.items())


class ParameterList(_Parameters):
    """A list of parameters, part of the module that holds it. Arrays and plain Tensors are copied into new ones.

    >>> scales = nn.ParameterList([np.ones(3), tn.zeros((2, 2))])
    >>> {name: p.shape for name, p in scales.named_parameters()}
    {'0': (3,), '1': (2, 2)}
    """

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        if values is not None:
            self.extend(values)

    def _key(self, index: Any) -> str:
        position = count(index, f"{type(self).__name__}: the index", -(2**62))
        if not -len(self) <= position < len(self):
            raise IndexError(f"ParameterList: index {position} is out of range for {len(self)} parameters")
        return str(position % len(self))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self._held[self._key(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self._held[self._key(index)] = self._accepted(value, index)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(list(self._held.values()))

    def __contains__(self, parameter: object) -> bool:
        return any(parameter is held for held in self._held.values())

    def append(self, value: Any) -> Self:
        """Add a parameter at the end.

        >>> nn.ParameterList().append([1.0, 2.0])[0]
        Tensor([1., 2.], requires_grad=True)
        """
        self._held[str(len(self))] = self._accepted(value, len(self))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several parameters at the end.

        >>> len(nn.ParameterList().extend([[1.0], [2.0]]))
        2
        """
        if type(values) is Tensor or not isinstance(values, Iterable):
            raise DTypeError(f"ParameterList: values is {type(values).__name__}, expected a list of parameters")
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)


class ParameterDict(_Parameters):
    """Parameters by name, part of the module that holds it. Arrays and plain Tensors are copied into new ones.

    >>> weights = nn.ParameterDict({"scale": np.ones(3), "shift": np.zeros(3)})
    >>> weights["scale"].shape, list(weights.state_dict())
    ((3,), ['scale', 'shift'])
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None):
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._held:
            known = ", ".join(map(repr, self._held)) or "none"
            raise KeyError(f"ParameterDict: no parameter is named {name!r}, only {known}")
        return self._held[name]

    def __setitem__(self, name: str, value: Any) -> None:
        check_name(self, name, attribute=False)
        self._held[name] = self._accepted(value, repr(name))

    def __delitem__(self, name: str) -> None:
        self[name]
        del self._held[name]

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def keys(self) -> Iterable[str]:
        """The names.

        >>> list(nn.ParameterDict({"a": [1.0]}).keys())
        ['a']
        """
        return self._held.keys()

    def values(self) -> Iterable[Tensor]:
        """The parameters.

        >>> list(nn.ParameterDict({"a": [1.0]}).values())
        [Tensor([1.], requires_grad=True)]
        """
        return self._held.values()

    def items(self) -> Iterable[tuple[str, Tensor]]:
        """Pairs of name and parameter.

        >>> list(nn.ParameterDict({"a": [1.0]}).items())
        [('a', Tensor([1.], requires_grad=True))]
        """
        return self._held.items()

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add parameters, in their order, or replace those of the same names.

        >>> weights = nn.ParameterDict({"a": [1.0]})
        >>> weights.update({"b": [2.0]})
        >>> list(weights)
        ['a', 'b']
        """
        if not isinstance(parameters, Iterable):
            raise DTypeError(f"ParameterDict: parameters is {type(parameters).__name__}, expected a dict of parameters")
        for name, value in parameters.items() if isinstance(parameters, Mapping | ParameterDict) else parameters:
            self[name] = value

    def pop(self, name: str) -> Tensor:
        """Remove a parameter and return it.

        >>> nn.ParameterDict({"a": [1.0]}).pop("a")
        Tensor([1.], requires_grad=True)
        """
        parameter = self[name]
        del self._held[name]
        return parameter
