"""Random programs of reads, views and writes, against NumPy and a model of what must be refused.

NumPy runs the same program on bare arrays: its values are the values, and finite differences of it the gradients. The
model says which steps use a false history, and whether backward meets a stale buffer: these must raise, all others not.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.engine.helpers import numerical
from tinygrad_notes import GradientError

ALL, FLIPPED, REST = slice(None), slice(None, None, -1), slice(1, None)
VIEWS: dict[int, list[Any]] = {
    2: [(ALL, FLIPPED), (0,), (REST,), (ALL, 1), (Ellipsis, slice(0, 2)), (None, 1)],
    1: [(slice(None, None, 2),), (REST,), (FLIPPED,), (None,)],
}
PARTS: dict[int, list[Any]] = {
    2: [*VIEWS[2], (1, 2), ([1, 0],), (slice(None), [2, 0])],
    1: [*VIEWS[1], (0,), ([0, -1],)],
}
WRITES = ["set", "add", "mul"]


@dataclass
class Buffer:
    """Memory: when it was last written, and whether a write gave it a gradient."""

    written: int = 0
    joined: Name | None = None


@dataclass
class Name:
    """A Tensor as the model knows it: its memory, its place in time, and the buffers that its history keeps."""

    buffer: Buffer
    shape: tuple[int, ...]
    gradient: bool
    stamp: int = 0
    kept: list[tuple[Buffer, int]] = field(default_factory=list)
    origins: list[tuple[Name, int]] = field(default_factory=list)  # what it is a view of, as it was then

    @property
    def usable(self) -> bool:
        return self.buffer.written <= self.stamp if self.gradient else self.buffer.joined is None

    def comes_home(self, view: Name) -> bool:
        """Whether ``view``, of the memory it is assigned to, knows all writes that this name does not know."""
        if not view.usable or not view.gradient:
            return False
        if not self.gradient:
            return self.buffer.joined is view
        return any(name is self and stamp == self.stamp for name, stamp in view.origins)


def shape_at(shape: tuple[int, ...], index: Any) -> tuple[int, ...] | None:
    try:
        return np.empty(shape)[index].shape
    except IndexError:
        return None


def is_view(index: Any) -> bool:
    return not isinstance(index, tuple) or not any(isinstance(part, list) for part in index)


def same_memory(array: np.ndarray, index: Any, other: np.ndarray) -> bool:
    if not is_view(index):
        return False
    part = np.asarray(array[index])
    return (part.shape, part.strides, part.ctypes.data) == (other.shape, other.strides, other.ctypes.data)


class Program:
    """The same steps on Tensors, in the model, and written down for NumPy."""

    def __init__(self, choose: random.Random, leaves: list[np.ndarray]):
        self.choose, self.clock = choose, 0
        self.leaves = [tn.tensor(a, requires_grad=True) for a in leaves]
        self.tensors = [tn.tensor(np.ones((2, 3))), *(x * 1.0 for x in self.leaves)]
        self.names = [Name(Buffer(), (2, 3), t.requires_grad) for t in self.tensors]
        self.script: list[tuple[Any, ...]] = []
        self.loss: Any = 0.0
        self.kept: list[tuple[Buffer, int]] = []

    def step(self) -> None:
        self.clock += 2
        {"view": self.view, "copy": self.copy, "write": self.write, "read": self.read}[
            self.choose.choices(["view", "copy", "write", "read"], [3, 1, 5, 3])[0]
        ]()

    def record(self, *step: Any) -> None:
        self.script.append(step)
        note(f"{len(self.script)}: {step}")

    def attempt(self, good: bool, action: Any) -> Any:
        if good:
            return action()
        note("now something that must be refused")
        with pytest.raises(GradientError, match=r"changed in place|given a gradient in place"):
            action()
        return None

    def view(self) -> None:
        i = self.choose.randrange(len(self.names))
        name, index = self.names[i], self.choose.choice(VIEWS[min(len(self.names[i].shape), 2)])
        if len(name.shape) > 2:
            return
        if shape_at(name.shape, index) is None:
            return
        view = self.attempt(name.usable, lambda: self.tensors[i][index])
        if view is not None:
            self.tensors.append(view)
            origins = [(name, name.stamp), *name.origins]
            self.names.append(Name(name.buffer, view.shape, name.gradient, self.clock, list(name.kept), origins))
            self.record("view", i, index)

    def copy(self) -> None:
        i = self.choose.randrange(len(self.names))
        name = self.names[i]
        copy = self.attempt(name.usable, lambda: self.tensors[i] * 1.5)
        if copy is not None:
            self.tensors.append(copy)
            self.names.append(Name(Buffer(), copy.shape, name.gradient, self.clock, list(name.kept)))
            self.record("copy", i)

    def write(self) -> None:
        i = self.choose.randrange(len(self.names))
        name, how = self.names[i], self.choose.choice(WRITES)
        part = self.choose.choice([None, *PARTS[min(len(name.shape), 2)]]) if len(name.shape) <= 2 else None
        shape = shape_at(name.shape, part or ...)
        if shape is None:
            return
        others = [k for k, other in enumerate(self.names) if other.shape == shape]
        value = self.choose.choice([*others, None])
        operand: Any = 0.5 if value is None else self.tensors[value]
        other = None if value is None else self.names[value]

        def action() -> bool:
            target = self.tensors[i]
            if part is None:
                if how == "set":
                    target[...] = operand
                elif how == "add":
                    target += operand
                else:
                    target *= operand
            elif how == "set":
                target[part] = operand
            elif how == "add":
                target[part] += operand
            else:
                target[part] *= operand
            return True

        good = name.usable and (other is None or other.usable)
        if other is not None and how == "set" and same_memory(self.tensors[i].data, part or ..., operand.data):
            good = good or name.comes_home(other)
        if not self.attempt(good, action):
            return
        gradient = name.gradient or (other is not None and other.gradient)
        if other is not None:
            name.kept = [*name.kept, *other.kept]
            # a product keeps its factor, if the other one has a gradient; of memory that it overwrites it keeps a copy,
            # but x[[1, 0]] *= x first writes into what x[[1, 0]] read
            if how == "mul" and name.gradient and (other.buffer is not name.buffer or not is_view(part)):
                name.kept.append((other.buffer, self.clock - 1))
        name.buffer.written = self.clock
        if gradient and not name.gradient:
            name.buffer.joined = name
            name.origins = []
        name.gradient, name.stamp = gradient, self.clock + 1
        self.record("write", i, how, part, value)

    def read(self) -> None:
        i, nonlinear = self.choose.randrange(len(self.names)), self.choose.random() < 0.3
        name, tensor = self.names[i], self.tensors[i]
        term = self.attempt(name.usable, lambda: (tensor * tensor if nonlinear else tensor * 3.0).sum())
        if term is not None:
            self.loss = self.loss + term
            self.kept += name.kept
            if nonlinear and name.gradient:
                self.kept.append((name.buffer, self.clock))
            self.record("read", i, nonlinear)

    def by_numpy(self, *leaves: np.ndarray) -> float:
        arrays: list[Any] = [np.ones((2, 3)), *(a * 1.0 for a in leaves)]
        loss = 0.0
        for what, i, *rest in self.script:
            x = arrays[i]
            if what == "view":
                arrays.append(x[rest[0]])
            elif what == "copy":
                arrays.append(x * 1.5)
            elif what == "read":
                loss += float((x * x if rest[0] else x * 3.0).sum())
            else:
                how, part, value = rest
                part = ... if part is None else part
                v = 0.5 if value is None else arrays[value].copy()
                x[part] = v if how == "set" else x[part] + v if how == "add" else x[part] * v
        return loss


@settings(max_examples=8 * settings.default.max_examples)
@given(st.randoms(use_true_random=False))
def test_random_programs(choose):
    leaves = [np.random.default_rng(k).uniform(0.5, 1.5, (2, 3)) for k in range(2)]
    program = Program(choose, leaves)
    for _ in range(choose.randrange(4, 16)):
        program.step()
    assert float(program.loss.item() if program.loss else 0.0) == pytest.approx(program.by_numpy(*leaves), rel=1e-12)
    if not isinstance(program.loss, tn.Tensor) or not program.loss.requires_grad:
        return
    if any(buffer.written > tick for buffer, tick in program.kept):
        with pytest.raises(GradientError, match="kept an array for its gradient that was changed in place"):
            program.loss.backward()
        assert all(x.grad is None for x in program.leaves)
        return
    program.loss.backward()
    wanted = numerical(program.by_numpy, leaves)
    for x, w in zip(program.leaves, wanted):
        got = np.zeros((2, 3)) if x.grad is None else x.grad.data
        np.testing.assert_allclose(got, w, rtol=1e-6, atol=1e-6)
