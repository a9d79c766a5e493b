"""The short demos of the family run to their end."""

import pytest

from tests.notes.short_demos import short_demo


@pytest.mark.parametrize(
    "slug", ["nadaraya-watson-parametric", "transformer-inference-kv", "attention-complexity", "linear-attention"]
)
def test_a_short_demo_runs_to_its_end(slug, tmp_path):
    short_demo(slug, tmp_path)
