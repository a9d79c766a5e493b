"""The one place where a heavy or optional module is loaded when it is first used.

``numba = lazy.module("numba")`` gives an object whose first attribute access imports the module, so that
``import tinygrad_notes`` stays quick. A package that is missing says which extra brings it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

EXTRAS = {"cupy": "cuda", "sklearn": "notes", "PIL": "notes", "rich": "notes", "matplotlib": "notes", "onnx": "onnx"}


class _Lazy(ModuleType):
    """A module that is imported at the first attribute access."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load(self.__name__), name)

    def __repr__(self) -> str:
        return f"<lazy module {self.__name__!r}>"


def module(name: str) -> Any:
    """A stand-in for the module ``name`` that imports it when something of it is first used.

    >>> from tinygrad_notes import lazy
    >>> lazy.module("json").dumps([1, 2])
    '[1, 2]'
    """
    return _Lazy(name)


def load(name: str) -> ModuleType:
    """Import ``name`` now. A missing optional package raises ImportError with the command that installs it.

    >>> from tinygrad_notes import lazy
    >>> lazy.load("json").__name__
    'json'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package or package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        raise ImportError(
            f"{package} is not installed; pip install 'tinygrad-notes[{extra}]' brings it", name=name
        ) from None


def exports(package: str, submodules: tuple[str, ...]) -> Any:
    """A module ``__getattr__`` that imports the named submodules of ``package`` when they are first used."""

    def __getattr__(name: str) -> ModuleType:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
