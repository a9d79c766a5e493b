"""Every op, from the table of samples: value, derivatives of first and second order, jvp, dtypes, inputs left alone."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study.gradcheck import gradcheck
from tinygrad_notes.study.graph import floating_in, nodes_below
from tinygrad_notes.study.samples import SAMPLES, Sample
from tinygrad_notes.tensor import Tensor, wrap

DIFFERENTIABLE = [s for s in SAMPLES if s.order >= 1]
TWICE = [s for s in SAMPLES if s.order >= 2]


def of(samples: list[Sample]):
    return pytest.mark.parametrize("sample", samples, ids=lambda s: s.title.replace(" ", "-"))


def tensors(sample: Sample, dtype=np.float64, requires_grad: bool = False) -> list:
    """The sample's operands: floats as Tensors of ``dtype``, all others as they are."""
    made = []
    for i, array in enumerate(sample.operands):
        if i in sample.differentiable:
            leaf = wrap(array.astype(dtype, copy=False))
            made.append(leaf.requires_grad_() if requires_grad else leaf)
        else:
            made.append(array)
    return made


def arrays_of(values) -> list[np.ndarray]:
    if isinstance(values, list | tuple):
        return [a for v in values for a in arrays_of(v)]
    return [values.data if isinstance(values, Tensor) else np.asarray(values)]


@of([s for s in SAMPLES if s.reference is not None])
def test_value(sample):
    with np.errstate(all="ignore"):
        wanted = arrays_of(sample.reference(*sample.operands))
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        got = arrays_of(sample.call(*tensors(sample, dtype)))
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted):
            assert a.shape == b.shape
            scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b)) if b.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, 1e-3), err_msg=str(dtype))


@of(DIFFERENTIABLE)
def test_first_derivative(sample):
    gradcheck(sample.call, *sample.operands).raise_if_failed()


@of(TWICE)
def test_second_derivative(sample):
    gradcheck(sample.call, *sample.operands, order=2, directions=1).raise_if_failed()


@of(TWICE)
def test_jvp_agrees_with_vjp(sample):
    """w·(Jt) = (wᵀJ)·t for random w and t."""
    rng = np.random.default_rng(0)
    positions = sample.differentiable

    def function(*xs):
        operands = list(sample.operands)
        for i, x in zip(positions, xs):
            operands[i] = x
        return tuple(floating_in(sample.call(*operands)))

    primals = [sample.operands[i] for i in positions]
    tangents = [rng.standard_normal(p.shape) for p in primals]
    values, along = tn.jvp(function, primals, tangents)
    _, pullback = tn.vjp(function, *primals)
    ws = [rng.standard_normal(v.shape) for v in values]
    left = sum(float((w * a.data).sum()) for w, a in zip(ws, along))
    right = sum(float((g.data * t).sum()) for g, t in zip(pullback(tuple(ws)), tangents))
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


@of(DIFFERENTIABLE)
def test_dtype_of_value_and_gradients(sample):
    for dtype in (np.float32, np.float64):
        operands = tensors(sample, dtype, requires_grad=True)
        values = floating_in(sample.call(*operands))
        if sample.name != "astype":
            assert {v.dtype for v in values} == {np.dtype(dtype)}
        leaves = [operands[i] for i in sample.differentiable]
        for g, leaf in zip(tn.grad(values, leaves, [tn.ones_like(v) for v in values], allow_unused=True), leaves):
            assert g is None or (g.dtype == leaf.dtype and g.shape == leaf.shape)


def captured_arrays(function) -> list[np.ndarray]:
    found = []
    for cell in function.__closure__ or ():
        content = cell.cell_contents
        for value in content if isinstance(content, list | tuple) else (content,):
            if isinstance(value, np.ndarray):
                found.append(value)
            elif callable(value) and getattr(value, "__closure__", None):
                found += captured_arrays(value)
    return found


def derivatives_below(values):
    """Every derivative on the tape of ``values``, with its node."""
    for node in nodes_below(values):
        derivatives = node.derivatives if isinstance(node.derivatives, tuple) else (node.derivatives,)
        yield from ((node, derivative) for derivative in derivatives if derivative is not None)


@of(SAMPLES)
def test_inputs_unchanged_and_memory_not_shared(sample):
    """No operand is written, no gradient shares memory with an operand, a seed or another gradient.

    Nor does a derivative capture an operand's memory, which a later write would make stale: what it keeps is declared.
    """
    operands = tensors(sample, requires_grad=True)
    before = [a.copy() for a in sample.operands]
    values = [v for v in floating_in(sample.call(*operands)) if v.requires_grad]
    leaves = [operands[i] for i in sample.differentiable]
    for node, derivative in derivatives_below(values):
        for captured in captured_arrays(derivative):
            assert not any(np.shares_memory(captured, leaf.data) for leaf in leaves if leaf.size), node.name
    if sample.order and values:
        seeds = [np.ones(v.shape) for v in values]
        for v, seed in zip(values, seeds):
            v.backward(seed, retain_graph=True)
        assert all((seed == 1).all() for seed in seeds)
        grads = [leaf.grad.data for leaf in leaves if leaf.grad is not None]
        others = [*sample.operands, *seeds]
        for i, g in enumerate(grads):
            assert not any(np.shares_memory(g, other) for other in [*others, *grads[:i]])
    for a, b in zip(sample.operands, before):
        np.testing.assert_array_equal(a, b)


def has_composite(sample: Sample) -> bool:
    values = floating_in(sample.call(*tensors(sample, requires_grad=True)))
    return any(node.op is not None and node.op.composite is not None for node in nodes_below(values))


FUSED = [s for s in TWICE if has_composite(s)]


@of(FUSED)
def test_fused_equals_composite(sample):
    """First derivatives by fused kernels and by the composite that create_graph differentiates: float64, to 1e-12."""
    operands = tensors(sample, requires_grad=True)
    values = [v for v in floating_in(sample.call(*operands)) if v.requires_grad]
    leaves = [operands[i] for i in sample.differentiable]
    rng = np.random.default_rng(1)
    seeds = [rng.standard_normal(v.shape) for v in values]
    fused = tn.grad(values, leaves, seeds, retain_graph=True, allow_unused=True)
    composite = tn.grad(values, leaves, seeds, create_graph=True, allow_unused=True)
    for a, b in zip(fused, composite):
        x, y = (np.zeros(1) if t is None else t.data for t in (a, b))
        assert np.max(np.abs(x - y), initial=0.0) <= 1e-12 * max(np.max(np.abs(y), initial=0.0), 1e-3)


def test_every_composite_is_compared():
    compared = {node.name for s in FUSED for node in nodes_below(floating_in(s.call(*tensors(s, requires_grad=True))))}
    assert {name for name, op in REGISTRY.items() if op.composite is not None} <= compared


def test_every_op_has_samples():
    """Ops by name; private ones (with an underscore) and gradients' own ops stand on the tape of some sample."""
    named = {s.name for s in SAMPLES}
    reached = set()
    for s in DIFFERENTIABLE:
        operands = tensors(s, requires_grad=True)
        values = [v for v in floating_in(s.call(*operands)) if v.requires_grad]
        reached |= {n.name for n in nodes_below(values)}
        if s.order >= 2 and values:
            leaves = [operands[i] for i in s.differentiable]
            ones = [wrap(np.ones(v.shape)).requires_grad_() for v in values]
            gs = tn.grad(values, leaves, ones, create_graph=True, allow_unused=True)
            reached |= {n.name for n in nodes_below([g for g in gs if g is not None])}
    missing = sorted(set(REGISTRY) - named - reached)
    assert not missing, f"ops without samples: {missing}"


def test_number_of_ops(record_testsuite_property):
    record_testsuite_property("ops", len(REGISTRY))
    print(f"\n{len(REGISTRY)} ops, {len(SAMPLES)} samples")
    assert len(REGISTRY) >= 80
