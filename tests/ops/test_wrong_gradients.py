"""The checker is itself checked: every gradient of every op, scaled by 1.001 in turn, must be caught."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.registry import REGISTRY, Op
from tinygrad_notes.study.gradcheck import gradcheck
from tinygrad_notes.study.graph import floating_in, nodes_below
from tinygrad_notes.study.samples import SAMPLES
from tinygrad_notes.tensor import Tensor, wrap

SCALE = 1.001
CANDIDATES = 8  # samples of an op that are tried until one notices


def ops_of(sample) -> tuple[set[str], set[str]]:
    """The ops on the tape of the sample's value, and those of its gradients."""
    operands = [
        wrap(a.copy()).requires_grad_() if i in sample.differentiable else a for i, a in enumerate(sample.operands)
    ]
    values = [v for v in floating_in(sample.call(*operands)) if v.requires_grad]
    first, second = {node.name for node in nodes_below(values)}, set()
    if sample.order > 1 and values:
        leaves = [operands[i] for i in sample.differentiable]
        ones = [wrap(np.ones(v.shape)).requires_grad_() for v in values]
        found = tn.grad(values, leaves, ones, create_graph=True, allow_unused=True)
        second = {node.name for node in nodes_below(found)}
    return first, second


@pytest.fixture(scope="module")
def where():
    """Op name: samples (the smaller first) in whose value it stands, and in whose gradients."""
    table: dict[str, tuple[list, list]] = {name: ([], []) for name in REGISTRY}
    for one in sorted(
        (s for s in SAMPLES if s.order and all(a.size for a in s.operands)),
        key=lambda s: sum(a.size for a in s.operands),
    ):
        first, second = ops_of(one)
        for name in first & set(table):
            table[name][0].append(one)
        for name in second & set(table):
            table[name][1].append(one)
    return table


@contextmanager
def scaled(op: Op, i: int, effects: list[bool]):
    """The op with its ``i``-th gradient scaled."""
    original = op.function

    def grown(d):
        if d is not None:
            values = d.data if type(d) is Tensor else d
            effects.append(bool(np.any(values != 0)))
            return d * SCALE
        return None

    def wrong(*arguments, **options):
        result = original(*arguments, **options)
        value, *derivatives = result
        if op.joint:

            def joint(g, *kept, derivative=derivatives[0]):
                gradients = list(derivative(g, *kept))
                if i < len(gradients):
                    gradients[i] = grown(gradients[i])
                return tuple(gradients)

            return value, joint
        derivatives[i] = lambda g, *kept, derivative=derivatives[i]: grown(derivative(g, *kept))
        return (value, *derivatives)

    scope = op.call.__globals__
    op.function = wrong
    if "function" in scope and scope["function"] is original:
        scope["function"] = wrong
    try:
        yield
    finally:
        op.function = original
        if "function" in scope and scope["function"] is wrong:
            scope["function"] = original


DIFFERENTIABLE = sorted(name for name, op in REGISTRY.items() if op.differentiable)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_gradient_scaled_by_a_thousandth_is_caught(name, where):
    op = REGISTRY[name]
    first, second = where[name]
    assert first or second, f"{name} stands in no sample"
    count = len(op.operands) if op.sequence is None else 2
    for i in range(count):
        caught, effects = False, []
        for order, samples in ((1, first), (2, second)):
            for one in samples[:CANDIDATES]:
                with scaled(op, i, effects):
                    caught = not gradcheck(one.call, *one.operands, order=order, directions=2).passed
                if caught:
                    break
            if caught or any(effects):
                break
        # An operand that no sample gives a gradient to (a condition, a bias left out) has nothing to scale.
        assert caught or not any(effects), f"gradient {i} of {name}{op.operands} scaled by {SCALE} went unnoticed"


def test_every_operand_is_scaled_somewhere(where):
    """No operand escapes the test above, but those that never have a gradient."""
    without = {"where": {0}}
    for name in DIFFERENTIABLE:
        op = REGISTRY[name]
        first, second = where[name]
        for i in range(len(op.operands)):
            effects: list[bool] = []
            for order, samples in ((1, first), (2, second)):
                for one in samples[:CANDIDATES]:
                    if not any(effects):
                        with scaled(op, i, effects):
                            gradcheck(one.call, *one.operands, order=order, directions=1)
            assert any(effects) or i in without.get(name, ()), (
                f"no sample gives operand {op.operands[i]} of {name} a gradient"
            )


def test_a_wrong_second_derivative_is_caught():
    """A derivative that is right as a number but wrong as a function: its operand is captured as a constant."""

    @tn.op
    def cube_with_a_constant(a: tn.Array):
        copied = a.copy()
        return a**3, lambda g: 3 * g * copied**2

    try:
        assert gradcheck(cube_with_a_constant, np.array([0.5, 2.0])).passed
        assert not gradcheck(cube_with_a_constant, np.array([0.5, 2.0]), order=2).passed
    finally:
        del REGISTRY["cube_with_a_constant"]
