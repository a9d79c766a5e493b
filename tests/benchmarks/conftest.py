"""The fake GPU of ``tests/capture``, for the parts of ``bench gpu``."""

from __future__ import annotations

from tests.capture.conftest import gpu as fake  # noqa: F401
