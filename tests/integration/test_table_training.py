"""A table of numbers through the Python API: from a file to a student's report and its scores."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.compression.selection import select
from spt_core.data.sources import open_corpus
from spt_core.export import export
from spt_core.model import default_policy, open_answerer
from spt_core.scoring import score_corpus
from spt_core.task import find
from tests.small_runs import NUM_ROWS, SmallRun, as_file, as_list

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
PROCESS = find("manufacturing/process_optimization")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> SmallRun:
    folder = tmp_path_factory.mktemp("process")
    rows = as_file(PROCESS.sample(NUM_ROWS, 3), folder)
    return SmallRun(PROCESS, folder, rows, as_list(PROCESS.sample(60, 4), folder))


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
