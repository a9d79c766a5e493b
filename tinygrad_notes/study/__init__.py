"""Tools to look into networks: gradient checking, summaries, shapes and receptive fields."""

from __future__ import annotations

from tinygrad_notes.study.gradcheck import Report, gradcheck, gradgradcheck
from tinygrad_notes.study.shapes import layer_shapes
from tinygrad_notes.study.summary import Summary, summary

__all__ = ["Report", "Summary", "gradcheck", "gradgradcheck", "layer_shapes", "summary"]
