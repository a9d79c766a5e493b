"""The table of samples through ONNX: what an op computes, onnxruntime computes, and so does the file read back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.interop.helpers import Of, arrays_of, run
from tinygrad_notes.interop import OnnxError, export_onnx, import_onnx, supported_ops
from tinygrad_notes.interop.table import WRITERS
from tinygrad_notes.modes import watch
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study.samples import SAMPLES, Sample
from tinygrad_notes.tensor import wrap

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

USES = 3  # samples of one name that are tried, the rest differs in what ONNX does not see


def chosen() -> list[Sample]:
    seen: Counter[str] = Counter()
    found = []
    for one in SAMPLES:
        seen[one.name] += 1
        if seen[one.name] <= USES:
            found.append(one)
    return found


def as_module(sample: Sample):
    """The sample as a module of its floating operands in float32, or of all where none is floating."""
    positions = sample.differentiable or tuple(range(len(sample.operands)))

    def call(*tensors):
        operands = list(sample.operands)
        for i, tensor in zip(positions, tensors):
            operands[i] = tensor
        return sample.call(*operands)

    dtype = np.float32 if sample.differentiable else None
    return Of(call), tuple(np.asarray(sample.operands[i], dtype) for i in positions)


def differs(wanted, got, tolerance):
    for a, b in zip(wanted, got, strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"{a.shape} {a.dtype} became {b.shape} {b.dtype}"
        scale = np.max(np.abs(a), initial=1e-3, where=np.isfinite(a)) if a.dtype.kind == "f" else 0
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            return f"{a} became {b}"
    return None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By sample: its ops, and what went wrong ("" for nothing, None where it was refused)."""
    path = tmp_path_factory.mktemp("samples") / "op.onnx"
    onnxruntime.set_default_logger_severity(3)
    found = {}
    for sample in chosen():
        module, inputs = as_module(sample)
        ops: set[str] = set()
        try:
            with np.errstate(all="ignore"), watch(lambda op, *_, ops=ops: ops.add(op.name)):
                wanted = arrays_of(module(*map(wrap, inputs)))
                export_onnx(module, inputs, path)
        except OnnxError:
            found[sample.title] = ops, None
            continue
        with np.errstate(all="ignore"):
            problem = differs(wanted, arrays_of(import_onnx(path)(*inputs)), 2e-6)
        if problem is None and all(a.size for a in (*sample.operands, *wanted)):  # runtimes stumble over empty arrays
            problem = differs(wanted, run(path, *inputs), 2e-5)
        found[sample.title] = ops, problem or ""
    onnxruntime.set_default_logger_severity(2)
    return found


def test_samples(outcomes):
    wrong = {title: problem for title, (_, problem) in outcomes.items() if problem}
    assert not wrong, wrong


def test_every_op_of_the_table_is_run(outcomes):
    """All entries are reached, and an op with an entry is refused only for an option that its error names."""
    reached = set().union(*(ops for ops, problem in outcomes.values() if problem == ""))
    # those of layers, labels and lengths are in test_onnx.py
    assert set(WRITERS) - reached <= {"batch_norm_by_running_statistics", "copy_of_input", "_mean_cross_entropy"}
    print(f"\n{len(reached)} of {len(REGISTRY)} ops through ONNX, {len(supported_ops())} supported")
    assert len(reached) >= 100
