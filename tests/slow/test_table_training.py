"""A table of numbers through the Python API: from a file to a report, scores and a refit."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri, unrefitted
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.compression.refitting import refitted_export
from spt_core.compression.selection import select
from spt_core.data.sources import open_corpus
from spt_core.data.splits import refit_splits
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.errors import InputError
from spt_core.export import export
from spt_core.families.tabular.boosters import open_forest
from spt_core.families.tabular.ensemble import BLEND, FORESTS
from spt_core.model import default_policy, open_answerer
from spt_core.scoring import fitted_policy, score_corpus
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.small_runs import NUM_ROWS, SmallRun, as_file, as_list

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(900),
]
PROCESS = find("manufacturing/process_optimization")
MEASURES = BenchmarkConfig(num_trials=1, num_resamples=10, num_calls=100)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> SmallRun:
    folder = tmp_path_factory.mktemp("process")
    rows = as_file(PROCESS.sample(NUM_ROWS, 3), folder)
    return SmallRun(PROCESS, folder, rows, as_list(PROCESS.sample(60, 4), folder))


def test_a_student_of_a_number_is_measured_beside_tuned_baselines(process: SmallRun) -> None:
    exported = export(process.student().artifact)
    report = BenchmarkSuite(MEASURES).run(
        exported,
        process.splits.evaluation_set(),
        policy=default_policy(exported),
        splits=process.splits,
    )
    assert {"LightGBM", "XGBoost", "ridge regression"} < set(report.quality)
    assert report.quality[exported.artifact.model_name]["rmse"]["value"] > 0


def test_what_is_refitted_has_more_rows_and_its_twin_s_calibration(process: SmallRun) -> None:
    student = process.student()
    twin, *_ = select(process.teacher, {"": student}, process.splits)
    teacher = SpecializedModelTrainer(process.training).refit(process.teacher, process.splits)
    config = DistillationConfig(training=process.training, num_copies=1)
    own = DistillationPipeline(config).refit(student, teacher, process.splits)
    model = refitted_export(twin, teacher.artifact, own.artifact)

    assert refit_splits(process.splits).num_rows["train"] > process.splits.num_rows["train"]
    assert unrefitted(model.artifact).uri == twin.artifact.uri
    assert unrefitted(teacher.artifact) == process.teacher.artifact
    assert teacher.artifact.read(BLEND) == process.teacher.artifact.read(BLEND)
    for kind, file in FORESTS.items():
        contents = [each.artifact.read(file) for each in (process.teacher, teacher)]
        before, after = (open_forest(kind, content) for content in contents)
        assert 0 < after.num_rounds <= before.num_rounds
        assert contents[0] != contents[1]
    assert own.artifact.metrics == student.artifact.metrics | {"num_epochs": 1}
    assert model.artifact.metrics == twin.artifact.metrics
    assert set(model.files) == set(twin.files)
    assert fitted_policy(model, process.splits) == fitted_policy(twin, process.splits)
    answer = open_answerer(model, fitted_policy(twin, process.splits)).answer(PROCESS.example)
    assert set(answer) == set(PROCESS.answer)
    with pytest.raises(InputError, match="was refitted on them; its twin is"):
        DistillationPipeline(config).distill(teacher, process.splits)


def test_a_teacher_of_a_file_stops_by_the_caller_s_validation_rows(process: SmallRun) -> None:
    assert process.splits.num_rows["validation"] == 60
    assert process.teacher.artifact.role == "teacher"
    assert set(process.teacher.optimize_process(PROCESS.example)) == set(PROCESS.answer)


def test_what_is_served_of_a_number_is_of_the_least_loss(process: SmallRun) -> None:
    model, front, _ = select(process.teacher, {"": process.student()}, process.splits)
    assert [point.name for point in front][:2] == ["student", "forests"]
    chosen = min(front, key=lambda point: point.loss)
    assert [point for point in front if point.chosen] == [chosen]
    answer = open_answerer(model, default_policy(model)).answer(PROCESS.example)
    low, high = answer["interval"]["low"], answer["interval"]["high"]
    assert low <= answer["predicted_outcome"] <= high


def test_scores_of_a_data_set_are_the_answers_to_its_rows(process: SmallRun) -> None:
    exported = export(process.student().artifact)
    policy = default_policy(exported)
    rows = PROCESS.sample(NUM_ROWS, 5).drop_columns([PROCESS.label])
    corpus = open_corpus(PROCESS, rows, storage=str(process.folder), require_label=False)
    output = process.folder / "scored"
    scored = score_corpus(corpus, exported, policy, ref="tiny", output=as_uri(output))
    assert (scored.num_rows, scored.num_quarantined) == (NUM_ROWS, 0)
    table = pq.read_table(output).sort_by("row")
    answerer = open_answerer(exported, policy)
    for number in (0, NUM_ROWS // 2, NUM_ROWS - 1):
        answer = answerer.answer(rows.slice(number, 1).to_pylist()[0])
        assert table["score"][number].as_py() == pytest.approx(
            answer["predicted_outcome"], rel=1e-4
        )
        interval = json.loads(table["interval"][number].as_py())
        assert interval == pytest.approx(answer["interval"], rel=1e-4)
