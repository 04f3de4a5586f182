"""jobs.benchmark --versions: what is registered, side by side, without a training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.benchmark import main
from spt_core.artifacts import ExportedModel
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.held_out import held_out
from tests.tiny_models import FRAUD

WORDS = [FRAUD, "--versions", "--recipe", "smoke", "--json"]
QUICK = ["--set", "benchmark.num_resamples=10", "--set", "benchmark.num_calls=100"]
QUICK += ["--set", "benchmark.reasoning_rows=20", "--set", "benchmark.altered_rows=50"]


def test_versions_of_the_same_rows_stand_side_by_side_and_others_are_left_out(
    export: ExportedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    registry, policy = Registry(f"sqlite:///{tmp_path}/spt.db"), default_policy(export)
    assert hasattr(policy, "review_threshold")
    for number, rows in enumerate(("first", "first", "other")):
        table = find(FRAUD).sample(120, 3)
        model = held_out(export, table, tmp_path / rows, fingerprints={"test": rows})
        own: Any = dataclasses.replace(policy, daily_volume=number + 1)  # type: ignore[call-arg]
        assert isinstance(model.source, ExportedModel)
        registry.add(model.source, own, {}, created_by="olga")
    assert main([*WORDS, *QUICK, "--storage", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["model_name"] for one in result["versions"]] == [f"{FRAUD}/default@3"]
    assert set(result["left_out"].values()) == {"evaluation fingerprint"}
    assert "Not beside these" in Path(result["page"].removeprefix("file://")).read_text()
