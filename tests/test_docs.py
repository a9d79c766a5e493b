"""Every public function and class says what it is and shows an example, and every example is right.

Examples are doctests. They know ``tn``, ``np``, ``nn``, ``optim`` and ``data`` without an import, start from seed 0 in
an empty folder, and leave nothing behind. ``python -m tests.test_docs`` counts them.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import data, kernels, nn, optim
from tinygrad_notes.ops.operators import FUNCTIONS, METHODS
from tinygrad_notes.registry import REGISTRY

# Modules without __all__, or not reached from the top, whose public names a user or the writer of an op calls.
FURTHER = (
    "nn.init", "study.samples", "study.samples.sample", "study.graph", "notes", "kernels", "explain", "generator",
    "modes", "lazy",
)  # fmt: skip
# Public, and not shown by an example: the reason.
EXEMPT = {
    "Array": "an annotation, which the example of op shows",
    "Arrays": "an annotation, as Array",
    "kernels.register_array_type": "changes what every op takes, for good; tests/foreign_array.py is one",
    "lazy.exports": "for the package's own __init__ only",
    "modes.Mode": "the engine's own record; no_grad, watch and detect_anomaly are what a user calls",
    "modes.in_mode": "what no_grad, enable_grad, watch and detect_anomaly return",
    "modes.caller": "looks at the stack of whoever calls it",
    "modes.forward_stack": "looks at the stack of whoever calls it",
    "modes.forward_lines": "writes out what forward_stack found",
    "modes.check_finite": "the example of detect_anomaly shows its message",
}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclasses.dataclass(frozen=True, repr=False)
class Documented:
    """A public object by the name under which it is called, and the docstrings that belong to it."""

    name: str
    value: Any
    docstrings: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return self.name

    @property
    def own(self) -> str:
        return self.docstrings[0][1]

    @property
    def examples(self) -> int:
        return sum(len(doctest.DocTestParser().get_examples(text)) for _, text in self.docstrings)


def modules() -> Iterator[tuple[str, Any]]:
    """The package, each of its parts that lists its public names, and those named in FURTHER."""
    yield "", tn
    for info in pkgutil.iter_modules(tn.__path__):
        module = importlib.import_module(f"tinygrad_notes.{info.name}")
        if hasattr(module, "__all__"):
            yield info.name, module
    for name in FURTHER:
        yield name, importlib.import_module(f"tinygrad_notes.{name}")


def public_names(module: Any) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    written = kernels.FUNCTIONS if module is kernels else ()  # kernels/README.md says what these are
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in written and getattr(value, "__module__", None) == module.__name__
    ]


def docstring(value: Any) -> str:
    """The docstring, empty where there is none or only the one that dataclass and NamedTuple write."""
    text = (value.__dict__.get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)) or ""
    written = inspect.isclass(value) and text.startswith(f"{value.__name__}(")
    return "" if written else inspect.cleandoc(text)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that ``cls`` itself defines."""
    for name, value in vars(cls).items():
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            yield name, value


def written_in(cls: type, member: Any) -> bool:
    """Not a function of elsewhere that the class only holds."""
    function = member.fget if isinstance(member, property) else member
    return function.__qualname__.startswith(f"{cls.__qualname__}.")


def documented() -> list[Documented]:
    """Every public function and class once, and Tensor's methods one by one; those of other classes with the class."""
    found: dict[int, Documented] = {}
    for path, module in modules():
        for name in public_names(module):
            value = getattr(module, name)
            full = f"{path}.{name}" if path else name
            if not (inspect.isfunction(value) or inspect.isclass(value)) or id(value) in found:
                continue
            texts = [(full, docstring(value))]
            if inspect.isclass(value) and value is not tn.Tensor:
                own = [(n, member) for n, member in members(value) if written_in(value, member)]
                texts += [(f"{full}.{n}", text) for n, member in own if (text := docstring(member))]
            found[id(value)] = Documented(full, value, tuple(texts))
    for name, value in members(tn.Tensor):
        found.setdefault(id(value), Documented(f"Tensor.{name}", value, ((f"Tensor.{name}", docstring(value)),)))
    return sorted(found.values(), key=lambda one: one.name)


def further_examples(known: list[Documented]) -> list[Documented]:
    """What else has examples: modules, and functions that are not public. None of them goes unread."""
    texts = {text for one in known for _, text in one.docstrings}
    package = Path(tn.__file__).parent
    found = []
    for path in sorted({path.resolve() for folder in (package, package / "kernels") for path in folder.rglob("*.py")}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>>" in text and text not in texts:
                    name = f"{path.parent.name}/{path.name}:{getattr(node, 'name', 'module')}"
                    found.append(Documented(name, node, ((name, text),)))
    return found


OBJECTS = documented()
FURTHER_EXAMPLES = further_examples(OBJECTS)


def needs_example(one: Documented) -> bool:
    error = inspect.isclass(one.value) and issubclass(one.value, BaseException)  # an error is shown where it is raised
    return not error and one.name not in EXEMPT


def lacking() -> list[str]:
    """The public objects without a docstring, or without an example in it."""
    return [
        f"{one.name}: {'no example' if one.own else 'no docstring'}"
        for one in OBJECTS
        if not one.own or (needs_example(one) and not one.examples)
    ]


@pytest.fixture
def clean_surroundings(tmp_path, monkeypatch):
    """An empty folder, NumPy's usual way to print, and afterwards the random numbers and the ops of before."""
    monkeypatch.chdir(tmp_path)
    state, ops = tn.get_rng_state(), dict(REGISTRY)
    with np.printoptions():
        yield
    tn.set_rng_state(state)
    REGISTRY.clear()
    REGISTRY.update(ops)


@pytest.mark.parametrize("one", [*OBJECTS, *FURTHER_EXAMPLES], ids=lambda one: one.name)
def test_examples(one, clean_surroundings):
    if "onnx(" in one.own:
        pytest.importorskip("onnx")
    for name, text in one.docstrings:
        failures = failures_of(name, text)
        assert not failures, failures


def failures_of(name: str, text: str) -> str:
    """What the examples of a docstring print otherwise than it says."""
    known = {"tn": tn, "np": np, "nn": nn, "optim": optim, "data": data, "__name__": "example"}
    test = doctest.DocTestParser().get_doctest(text, known, name, None, 0)
    said: list[str] = []
    tn.manual_seed(0)
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    return "".join(said)


def test_every_public_object_has_a_docstring_and_an_example():
    missing = lacking()
    assert not missing, f"{len(missing)} of {len(OBJECTS)} public objects:\n" + "\n".join(missing)


def test_exemptions_are_needed():
    """An exemption whose object is gone, or has an example by now, goes too."""
    examples = {one.name: one.examples for one in OBJECTS}
    assert not [name for name in EXEMPT if examples.get(name, 1)]


def test_a_wrong_example_is_found():
    assert not failures_of("right", ">>> tn.relu([-1.0, 2.0])\nTensor([0., 2.])")
    assert "Tensor([0., 2.])" in failures_of("wrong", ">>> tn.relu([-1.0, 2.0])\nTensor([0., 3.])")
    assert "ShapeError" in failures_of("raises", ">>> tn.zeros(3) + tn.zeros(2)\nTensor([0., 0., 0.])")


def _in_words(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""


def test_wrappers_show_the_docstring():
    """help(tn.relu) and help(tn.Tensor.relu) are what stands in the source."""
    assert "max(a, 0)" in _in_words(tn.relu)
    assert ">>> tn.relu(" in _in_words(tn.relu)
    assert list(inspect.signature(tn.leaky_relu).parameters) == ["a", "negative_slope"]
    assert ">>> tn.clip(" in _in_words(tn.clip)
    assert tn.Tensor.relu is tn.relu
    plain = {"reshape", "permute_dims", "transpose", "copy", "to"}  # methods that take their arguments otherwise
    assert not [name for name in METHODS if name not in plain and METHODS[name] is not FUNCTIONS.get(name)]


if __name__ == "__main__":
    absent = lacking()
    print("\n".join(absent))
    count = sum(one.examples for one in [*OBJECTS, *FURTHER_EXAMPLES])
    print(f"{len(OBJECTS)} public objects, {count} examples, {len(absent)} objects without a docstring or an example")
