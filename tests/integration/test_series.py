"""Readings from a long table to a registered model's answer and to batch scores, as jobs do it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from spt_core.data.series import NO_WINDOW
from spt_core.model import SpecializedModel
from spt_core.registry import Registry
from spt_core.task import find
from tests.integration.conftest import Job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
TASK = find("manufacturing/predictive_maintenance")


def test_readings_become_a_model_that_answers_and_scores(job: Job, tmp_path: Path) -> None:
    words = [TASK.path, "--recipe", "smoke", "--storage", str(tmp_path / "storage")]
    result = job("benchmark", *words)
    assert result.code == 0, result.err
    assert "constant line_voltage" in result.err
    assert NO_WINDOW in result.err
    registry = Registry(f"sqlite:///{tmp_path}/storage/spt.db")
    version = registry.get(f"{TASK.path}/default@1")
    model = SpecializedModel(version.exported, policy=version.policy)
    assert list(model.predict_failure(dict(TASK.example))) == list(TASK.answer)
    machine = TASK.sample(200, 5).slice(0, 60)
    pq.write_table(machine.drop_columns(["remaining_useful_life"]), tmp_path / "new.parquet")
    words = [TASK.path, "--model", "1", "--storage", str(tmp_path / "storage")]
    words += ["--data", str(tmp_path / "new.parquet"), "--output", str(tmp_path / "scored")]
    scored = job("predict", *words).result
    assert (scored["num_rows"], scored["num_quarantined"]) == (31, 29)
    parts = sorted((tmp_path / "scored").glob("[!_.]*.parquet"))
    rows = pd.concat([pd.read_parquet(part) for part in parts]).set_index("row").sort_index()
    assert list(rows.index) == list(range(29, 60))
