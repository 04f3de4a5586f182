"""Differential privacy through the job: a private version, what it says, and what may follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spt_core.artifacts import lineage, read_bytes
from spt_core.continuous.evidence import collected, html
from spt_core.continuous.ledger import Ledger
from spt_core.registry import CHAMPION, Registry

TASK = "healthcare/heart_disease"
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_private_version_says_so_everywhere_and_is_followed_by_private_ones(
    tmp_path: Path, job: Any
) -> None:
    words = (TASK, "--recipe", "smoke", "--storage", str(tmp_path))
    ended = job("benchmark", *words, "--set", "privacy.epsilon=5")
    assert ended.code == 0, ended.err
    assert "privacy: epsilon 5 of 5" in ended.err
    url = f"sqlite:///{tmp_path}/spt.db"
    registry = Registry(url)
    version = registry.get(f"{TASK}/default@1")
    facts = version.exported.artifact.privacy
    assert 4.9 < facts["epsilon"] <= 5
    assert "artificial rows" in facts["student"]
    assert [each.role for each in lineage(version.exported.artifact)] == ["student", "teacher"]
    assert list(version.report["quality"]) == ["default"]
    assert "without differential privacy" in version.report["left_out"]["baselines"]
    page = read_bytes(version.report_uri).decode()
    assert "not protected" in page

    content = collected(Ledger(url), registry, version.ref)
    of_all = content["model"]["privacy"]["all_versions_of_the_same_data"]
    assert (of_all["epsilon"], of_all["with_privacy"]) == (facts["epsilon"], [version.ref])
    assert "Differential privacy" in html(content)

    registry.set_alias(version.name, CHAMPION, 1, expected=None, actor="test")
    ended = job("pipeline", *words, "--once")
    assert ended.code == 2
    assert "which has differential privacy, must have it too" in ended.err
