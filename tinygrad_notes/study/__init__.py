"""Tools to look into networks: gradient checking and model summaries."""

from __future__ import annotations

from tinygrad_notes.study.gradcheck import Report, gradcheck, gradgradcheck
from tinygrad_notes.study.summary import Summary, summary

__all__ = ["Report", "Summary", "gradcheck", "gradgradcheck", "summary"]
