"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn.module import Module


class _Container(Module):
    """Modules by name, in order. They are attributes too: ``net.conv1``."""

    _layers: dict[str, Module]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        module = super().__new__(cls)
        module.__dict__["_layers"] = {}
        return module

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module):
            self.__dict__.pop(name, None)
            self._forget(name)
            self._layers[name] = value
        elif name in self._layers:
            raise DTypeError(f"{type(self).__name__}: {name} is {type(value).__name__}, expected a Module")
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # called only where the usual way found nothing
        layers = self.__dict__.get("_layers", {})
        if name in layers:
            return layers[name]
        return super().__getattr__(name)  # type: ignore[misc]

    def __delattr__(self, name: str) -> None:
        if name in self._layers:
            del self._layers[name]
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._layers]

    def _submodules(self) -> Iterator[tuple[str, Module]]:
        yield from list(self._layers.items())
        yield from super()._submodules()

    def _accepted(self, value: Any, name: Any) -> Module:
        if not isinstance(value, Module):
            given = getattr(value, "__name__", type(value).__name__)
            hint = " (the class itself; call it)" if isinstance(value, type) and issubclass(value, Module) else ""
            raise DTypeError(f"{type(self).__name__}: layer {name} is {given}{hint}, expected a Module")
        return value

    def __len__(self) -> int:
        return len(self._layers)


class _Ordered(_Container):
    """A container whose modules have positions."""

    def _key(self, index: Any) -> str:
        try:
            position = index.__index__()
        except AttributeError:
            raise DTypeError(
                f"{type(self).__name__}: the index is {type(index).__name__}, expected an integer or a slice"
            ) from None
        if not -len(self) <= position < len(self):
            raise IndexError(f"{type(self).__name__}: index {position} is out of range for {len(self)} layers")
        return list(self._layers)[position]

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._layers.values()))

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self._layers.values())[::-1])

    def __contains__(self, module: object) -> bool:
        return any(module is layer for layer in self._layers.values())

    def __setitem__(self, index: int, module: Module) -> None:
        self._layers[self._key(index)] = self._accepted(module, index)

    def __delitem__(self, index: int | slice) -> None:
        """Remove a layer or several; those named by numbers are numbered anew."""
        names = list(self._layers)[index] if isinstance(index, slice) else [self._key(index)]
        self._renumber([(name, layer) for name, layer in self._layers.items() if name not in names])

    def append(self, module: Module) -> Self:
        """Add a module at the end, named by its position.

        >>> nn.Sequential(nn.ReLU()).append(nn.Tanh())[1]
        Tanh()
        """
        number = len(self)
        while str(number) in self._layers:  # a slice keeps its layers' names
            number += 1
        self._layers[str(number)] = self._accepted(module, number)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end.

        >>> len(nn.ModuleList().extend([nn.ReLU(), nn.Tanh()]))
        2
        """
        if not isinstance(modules, Iterable):
            raise DTypeError(f"{type(self).__name__}: modules is {type(modules).__name__}, expected a list of Modules")
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before position ``index``; those named by numbers are numbered anew.

        >>> list(nn.Sequential(nn.ReLU()).insert(0, nn.Tanh()))
        [Tanh(), ReLU()]
        """
        items = list(self._layers.items())
        items.insert(index, ("0", self._accepted(module, index)))
        self._renumber(items)
        return self

    def _renumber(self, items: list[tuple[str, Module]]) -> None:
        named = [(str(i) if name.isdigit() else name, layer) for i, (name, layer) in enumerate(items)]
        self._layers.clear()
        self._layers.update(named)

    def pop(self, index: int = -1) -> Module:
        """Remove a layer and return it.

        >>> nn.Sequential(nn.ReLU(), nn.Tanh()).pop()
        Tanh()
        """
        layer = self._layers[self._key(index)]
        del self[index]
        return layer


class Sequential(_Ordered):
    """Modules applied one after the other: ``Sequential(a, b)``, or named: ``Sequential({"first": a, "second": b})``.

    Indexing gives a layer, slicing a Sequential of the same layers under the same names.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> net(tn.ones((4, 2))).shape, len(net[:2])
    ((4, 1), 2)
    """

    def __init__(self, *layers: Any):
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                check_name(self, name)
                self._layers[name] = self._accepted(layer, name)
        else:
            for i, layer in enumerate(layers):
                self._layers[str(i)] = self._accepted(layer, i)

    def forward(self, x: Any) -> Any:
        for layer in self._layers.values():
            x = layer(x)
        return x

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._layers.items())[index]))
        return self._layers[self._key(index)]


class ModuleList(_Ordered):
    """A list of modules that are part of the one that holds it. It cannot be called itself.

    >>> layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), layers[-1] is layers[2], next(iter(layers.state_dict()))
    (3, True, '0.weight')
    """

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ModuleList(list(self._layers.values())[index])
        return self._layers[self._key(index)]

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)


class ModuleDict(_Container):
    """Modules by name, part of the one that holds it. It cannot be called itself. Any name without a dot will do.

    >>> heads = nn.ModuleDict({"box": nn.Linear(3, 4), "label": nn.Linear(3, 10)})
    >>> heads["box"](tn.ones((2, 3))).shape, list(heads)
    ((2, 4), ['box', 'label'])
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._layers[name]
        except KeyError:
            raise KeyError(
                f"ModuleDict: no module is named {name!r}, only {', '.join(map(repr, self._layers)) or 'none'}"
            ) from None

    def __setitem__(self, name: str, module: Module) -> None:
        check_name(self, name, attribute=False)
        self._layers[name] = self._accepted(module, repr(name))

    def __delitem__(self, name: str) -> None:
        self[name]
        del self._layers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._layers

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._layers))

    def keys(self) -> Iterable[str]:
        """The names.

        >>> list(nn.ModuleDict({"a": nn.ReLU()}).keys())
        ['a']
        """
        return self._layers.keys()

    def values(self) -> Iterable[Any]:
        """The modules.

        >>> list(nn.ModuleDict({"a": nn.ReLU()}).values())
        [ReLU()]
        """
        return self._layers.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and module.

        >>> list(nn.ModuleDict({"a": nn.ReLU()}).items())
        [('a', ReLU())]
        """
        return self._layers.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, in their order, or replace those of the same names.

        >>> heads = nn.ModuleDict({"a": nn.ReLU()})
        >>> heads.update({"b": nn.Tanh()})
        >>> list(heads)
        ['a', 'b']
        """
        if not isinstance(modules, Iterable):
            raise DTypeError(f"ModuleDict: modules is {type(modules).__name__}, expected a dict of Modules")
        for name, module in modules.items() if isinstance(modules, Mapping | ModuleDict) else modules:
            self[name] = module

    def pop(self, name: str) -> Module:
        """Remove a module and return it.

        >>> nn.ModuleDict({"a": nn.ReLU()}).pop("a")
        ReLU()
        """
        module = self[name]
        del self._layers[name]
        return module


def check_name(container: Module, name: Any, attribute: bool = True) -> None:
    """Refuse what is no name of an entry; with ``attribute`` also the name of a method."""
    if type(name) is not str:
        raise DTypeError(f"{type(container).__name__}: a layer's name is {type(name).__name__}, expected str")
    if not name or "." in name:
        raise ShapeError(f"{type(container).__name__}: a layer is named {name!r}, expected a name without a dot")
    if attribute and hasattr(type(container), name):
        raise ShapeError(f"{type(container).__name__}: a layer is named {name!r}, which is a method of it")
