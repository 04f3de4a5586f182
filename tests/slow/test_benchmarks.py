"""The families and heads that the conformance tests do not benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from spt_core.task import FAMILIES, Family, Head
from tests.conformance.test_benchmarks import PAIRS, require_benchmarks

pytestmark = pytest.mark.slow  # torch
OTHERS = [
    (family, head)
    for family, facts in FAMILIES.items()
    for head in facts.heads
    if (family, head) not in PAIRS
]


@pytest.mark.parametrize(("family", "head"), OTHERS)
def test_a_model_of_another_head_is_benchmarked_whole(
    family: Family, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_benchmarks(family, head, tmp_path, monkeypatch)
