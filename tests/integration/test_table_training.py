"""Tables through the Python API: any source of rows, each kind of answer, from rows to scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.data.splits import load_splits
from spt_core.data.splitting import split
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.errors import InputError, SptError
from spt_core.export import export
from spt_core.families.tabular.config import TabularConfig
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.scoring import score_corpus
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer, TrainingConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
RISK = find("financial_services/risk_assessment")
NUM_ROWS = 200
NETWORK = TabularConfig(
    num_bins=4, student_hidden=(8,), teacher_members=2, teacher_width=8, booster_trials=1
)


def config_of(task: Task, folder: Path) -> TrainingConfig:
    return TrainingConfig(
        task=task.path,
        industry=task.industry,
        network=NETWORK,
        num_epochs=1,
        batch_size=64,
        learning_rate=4e-3,
        output_dir=str(folder),
    )


def a_csv(table: pa.Table, folder: Path) -> str:
    file = folder / "rows.csv"
    table.to_pandas().to_csv(file, index=False)
    return str(file)


def a_frame(table: pa.Table, folder: Path) -> Any:
    return table.to_pandas()


def a_list(table: pa.Table, folder: Path) -> Any:
    return table.to_pylist()


def a_dataset(table: pa.Table, folder: Path) -> Any:
    import ray.data  # takes seconds

    return ray.data.from_arrow(table)


@pytest.mark.parametrize(
    ("source", "validation"),
    [
        (a_csv, a_list),
        pytest.param(a_frame, None, marks=pytest.mark.slow),
        pytest.param(a_list, a_frame, marks=pytest.mark.slow),
        pytest.param(a_dataset, None, marks=pytest.mark.slow),
    ],
)
def test_the_trainer_takes_any_source_of_rows(
    tmp_path: Path,
    source: Callable[[pa.Table, Path], Any],
    validation: Callable[[pa.Table, Path], Any] | None,
) -> None:
    rows = source(RISK.sample(NUM_ROWS, 1), tmp_path)
    given = None if validation is None else validation(RISK.sample(60, 2), tmp_path)
    model = SpecializedModelTrainer(config_of(RISK, tmp_path / "models")).train(rows, given)
    splits = load_splits(model.artifact.splits)
    if given is not None:
        assert splits.num_rows["validation"] == 60  # none of its own, all of the caller's
    assert model.artifact.role == "teacher"
    assert set(model.assess_risk(RISK.example)) == set(RISK.answer)


class Made:
    """A teacher of a factory's task, the student that it taught, and what they were made from."""

    def __init__(self, task: Task, folder: Path, num_rows: int = NUM_ROWS) -> None:
        self.task, self.folder = task, folder
        self.rows = task.sample(num_rows, 3)
        corpus = open_corpus(task, self.rows, storage=str(folder))
        self.splits = split(task, corpus, as_uri(folder))
        self.training = config_of(task, folder)
        self.teacher = SpecializedModelTrainer(self.training).train(self.splits)
        self.student = self.distilled()

    def distilled(self, **asked: Any) -> SpecializedModel:
        config = DistillationConfig(training=self.training, num_copies=1, **asked)
        return DistillationPipeline(config).distill(self.teacher, self.splits)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Made:
    task = find("manufacturing/process_optimization")
    return Made(task, tmp_path_factory.mktemp("process"))


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Made:
    task = find("manufacturing/quality_control")
    return Made(task, tmp_path_factory.mktemp("quality"), 600)  # each part needs a coil


def test_a_student_of_a_number_is_measured_and_scores_a_data_set(process: Made) -> None:
    exported = export(process.student.artifact)
    policy = default_policy(exported)
    report = BenchmarkSuite(BenchmarkConfig(num_trials=1, num_resamples=10, num_calls=100)).run(
        exported, process.splits.evaluation_set(), policy=policy, splits=process.splits
    )
    assert {"lightgbm", "xgboost", "default"} <= set(report.quality)
    assert report.quality["default"]["rmse"].value > 0
    output = as_uri(process.folder / "scored")
    rows = process.rows.drop_columns([process.task.label])
    corpus = open_corpus(process.task, rows, storage=str(process.folder), require_label=False)
    scored = score_corpus(corpus, exported, policy, ref="tiny", output=output)
    assert (scored.num_rows, scored.num_quarantined) == (NUM_ROWS, 0)
    table = pq.read_table(process.folder / "scored").sort_by("row")
    answerer = open_answerer(exported, policy)
    for number in (0, NUM_ROWS // 2, NUM_ROWS - 1):
        row = {name: value for name, value in rows.slice(number, 1).to_pylist()[0].items()}
        answer = answerer.answer(row)
        assert table["score"][number].as_py() == pytest.approx(answer["predicted_outcome"])
        assert json.loads(table["interval"][number].as_py()) == pytest.approx(answer["interval"])


def test_a_student_of_classes_is_measured_beside_tuned_baselines(quality: Made) -> None:
    exported = export(quality.student.artifact)
    assert exported.artifact.classes == quality.splits.classes
    report = BenchmarkSuite(BenchmarkConfig(num_trials=1, num_resamples=10, num_calls=100)).run(
        exported,
        quality.splits.evaluation_set(),
        policy=default_policy(exported),
        splits=quality.splits,
    )
    assert {"lightgbm", "xgboost", "logistic_regression", "default"} <= set(report.quality)
    assert 0 <= report.quality["default"]["macro_f1"].value <= 1
    assert np.asarray(report.confusion).sum() == report.num_rows


def test_a_student_that_loses_too_much_is_not_kept(quality: Made) -> None:
    with pytest.raises(SptError, match=r"must keep 5000.0% of the teacher's .*, however: it keeps"):
        quality.distilled(target_accuracy=50.0)


def test_a_student_that_takes_too_much_is_refused_before_it_is_trained(quality: Made) -> None:
    with pytest.raises(InputError, match="the student may take .* compression_ratio 0.001"):
        quality.distilled(compression_ratio=0.001)


def test_a_column_that_can_be_set_is_told_to_the_model(process: Made) -> None:
    settable = [
        field.name for field in process.student.artifact.signature.fields if field.controllable
    ]
    assert settable == [field.name for field in process.task.fields if field.controllable]
    corpus = open_corpus(
        process.task,
        process.rows,
        storage=str(process.folder),
        roles=Roles(controllable=(settable[0],), goal="higher"),
    )
    assert dataclasses.astuple(corpus)  # a value like any other
    assert (corpus.controllable, corpus.goal) == ((settable[0],), "higher")
