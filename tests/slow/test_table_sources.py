"""Tables through the Python API, all of it: every source of rows, students that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.errors import InputError, SptError
from spt_core.export import export
from spt_core.model import default_policy
from spt_core.task import find
from tests.small_runs import NUM_ROWS, SmallRun, as_dataset, as_frame, as_list, as_loader

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
RISK = find("financial_services/risk_assessment")
QUALITY = find("manufacturing/quality_control")
NUM_SPOTS = 600  # a coil has about 20, and every part needs a coil


@pytest.mark.parametrize(
    ("source", "validation"),
    [(as_frame, None), (as_list, as_frame), (as_dataset, None), (as_loader, as_loader)],
)
def test_the_trainer_takes_any_source_of_rows(
    tmp_path: Path,
    source: Callable[[pa.Table, Path], Any],
    validation: Callable[[pa.Table, Path], Any] | None,
) -> None:
    given = None if validation is None else validation(RISK.sample(60, 2), tmp_path)
    run = SmallRun(RISK, tmp_path / "models", source(RISK.sample(NUM_ROWS, 1), tmp_path), given)
    if given is not None:
        assert run.splits.num_rows["validation"] == 60
    assert set(run.teacher.assess_risk(RISK.example)) == set(RISK.answer)


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> SmallRun:
    return SmallRun(QUALITY, tmp_path_factory.mktemp("quality"), QUALITY.sample(NUM_SPOTS, 3))


def test_a_student_of_classes_is_measured_beside_tuned_baselines(quality: SmallRun) -> None:
    exported = export(quality.student().artifact)
    assert exported.artifact.classes == quality.splits.classes
    report = BenchmarkSuite(BenchmarkConfig(num_trials=1, num_resamples=10, num_calls=100)).run(
        exported,
        quality.splits.evaluation_set(),
        policy=default_policy(exported),
        splits=quality.splits,
    )
    assert {"LightGBM", "XGBoost", "logistic regression"} < set(report.quality)
    assert 0 <= report.quality[exported.artifact.model_name]["macro_f1"]["value"] <= 1
    assert np.asarray(report.confusion["counts"]).sum() == report.num_rows


def test_a_student_that_loses_too_much_is_not_kept(quality: SmallRun) -> None:
    with pytest.raises(SptError, match=r"must keep 5000.0% of the teacher's .*, however: it keeps"):
        quality.student(target_accuracy=50.0)


def test_a_student_that_takes_too_much_is_refused_before_it_is_trained(quality: SmallRun) -> None:
    with pytest.raises(InputError, match=r"the student may take .* \(compression_ratio 0.001\)"):
        quality.student(compression_ratio=0.001)
