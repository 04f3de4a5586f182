"""The specification's snippets that train, as they stand, and complete examples at smoke size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs import example
from spt_core import examples
from spt_core.data.corpus import SAMPLE, DatasetInfo
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.examples import ExampleConfig
from spt_core.families.image.config import ImageConfig
from spt_core.families.series.config import SeriesConfig
from spt_core.families.text.config import TextConfig
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType, find
from tests.small_runs import NETWORK, SmallRun
from tests.specification import run
from tests.unit.vocabulary.tiny import tiny_base

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(1200),
]
RISK = find("financial_services/risk_assessment")
Enums = {"IndustryType": IndustryType, "OptimizationType": OptimizationType}


def splits_of(path: str, num_rows: int, folder: Path) -> Splits:
    task = find(path)
    info = DatasetInfo(name=SAMPLE, synthetic=True)
    corpus = open_corpus(task, task.sample(num_rows, 1), storage=str(folder), info=info)
    return split(task, corpus, str(folder))


@pytest.fixture(scope="module")
def risk(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> SmallRun:
    folder = tmp_path_factory.mktemp("risk")
    return SmallRun(RISK, folder, splits_of(RISK.path, 600, folder))


def test_snippet_1_trains_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = splits_of(RISK.path, 400, tmp_path)
    space = run("train", train_dataloader=rows, eval_dataloader=None, **Enums)
    assert set(space["model"].assess_risk(RISK.example)) == set(RISK.answer)
    assert (tmp_path / "models" / "financial").is_dir()


def test_snippet_5_names_each_target_s_model_or_why_there_is_none(
    risk: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = run(
        "distill", teacher_model=risk.teacher, train_data=risk.splits, eval_data=None, **Enums
    )
    assert set(space["results"]) == {"mobile_app", "edge_device"}
    for result in space["results"].values():
        assert (result.exported is None) == bool(result.refusal)


def smallest(storage: str) -> Mapping[Any, examples._Size]:
    """Everything once, nothing well."""
    text = TextConfig(
        base=tiny_base(storage).uri, max_tokens=32, window_overlap=4, student_layers=1
    )
    series = SeriesConfig(
        teacher_members=1,
        teacher_filters=16,  # no smaller than the student of a window of 250 steps
        teacher_blocks=2,
        booster_trees=10,
        student_kernels=(3,),
        student_filters=1,
        student_width=4,
        components=3,
    )
    image = ImageConfig(base=None, size_px=32, student_stages=3)
    return {
        "tabular": examples._Size(1500, 1, 512, 4e-3, 5e-3, 1, NETWORK),
        "text": examples._Size(200, 1, 16, 2e-4, 8e-4, 1, text),
        "image": examples._Size(300, 1, 16, 1e-3, 2e-3, 1, image),
        "series": examples._Size(6000, 1, 128, 2e-3, 6e-3, 1, series),
    }


@pytest.mark.parametrize(
    ("snippet", "num_steps", "num_versions"),
    [("financial_example", 9, 5), ("healthcare_example", 8, 6)],
)
def test_a_complete_example_runs_as_the_specification_calls_it(
    snippet: str,
    num_steps: int,
    num_versions: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPT_STORAGE", raising=False)
    monkeypatch.setattr(examples, "_SIZES", smallest(str(tmp_path)))
    space = run(snippet)
    outcome = space["example"]._run.outcome()
    assert len(outcome["steps"]) == num_steps
    assert len(outcome["versions"]) == num_versions
    (result,) = outcome["benchmarks"].values()
    assert result["overall_summary"]["industries_tested"] == 1
    told = capsys.readouterr().err
    assert told.count("==") == num_steps
    assert "SYNTHETIC" in told


def test_the_job_knows_every_industry(tmp_path: Path) -> None:
    for industry in IndustryType:
        made = example._example(industry, ExampleConfig(storage=str(tmp_path)), print)
        assert type(made).__name__.endswith("TrainingExample")
