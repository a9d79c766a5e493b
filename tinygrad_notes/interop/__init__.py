"""Networks to and from other programs: ONNX files."""

from __future__ import annotations

from tinygrad_notes.interop.export import export_onnx
from tinygrad_notes.interop.importing import OnnxModule, import_onnx
from tinygrad_notes.interop.table import OnnxError, supported_operators, supported_ops

__all__ = ["OnnxError", "OnnxModule", "export_onnx", "import_onnx", "supported_operators", "supported_ops"]
