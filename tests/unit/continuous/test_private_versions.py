"""What versions of one model have told of the same rows together, in the evidence of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from spt_core.continuous.evidence import collected, html
from spt_core.continuous.ledger import Ledger
from spt_core.registry import ModelVersion, Registry
from tests.publications import version

pytestmark = pytest.mark.slow  # a database


def registered(registry: Registry, seed: int, privacy: dict[str, Any], data: str) -> ModelVersion:
    """A version of such privacy and data, like one that is nothing but its name."""
    plain = version(registry, 100 + seed)
    artifact = dataclasses.replace(
        plain.exported.artifact,
        uri=f"file:///artifacts/{seed}",
        data_fingerprint=data,
        privacy=privacy,
    )
    exported = dataclasses.replace(plain.exported, uri=f"{artifact.uri}/onnx", artifact=artifact)
    return registry.add(exported, plain.policy, {}, created_by="test", report_uri="")


def test_budgets_of_releases_add_up_and_a_model_without_one_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/spt.db"
    registry, facts = Registry(url), {"epsilon": 2.0, "delta": 1e-6, "release": "a"}
    first = registered(registry, 1, facts, "own")
    registered(registry, 2, facts, "own")  # another student of the same teacher tells no more
    registered(registry, 3, {**facts, "release": "b"}, "own")
    registered(registry, 4, {**facts, "release": "c"}, "other")
    without = registered(registry, 5, {}, "own")

    content = collected(Ledger(url), registry, first.ref)
    told = content["model"]["privacy"]["all_versions_of_the_same_data"]
    assert told["epsilon"] == 4.0
    assert told["delta"] == pytest.approx(2e-6)
    assert len(told["with_privacy"]) == 3
    assert told["without_privacy"] == [without.ref]
    assert "Differential privacy" in html(content)

    plain = collected(Ledger(url), registry, without.ref)
    assert plain["model"]["privacy"] == {}
    assert "Differential privacy" not in html(plain)
