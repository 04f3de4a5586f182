"""What complete examples share, as far as it needs no training."""

from __future__ import annotations

from pathlib import Path

import pytest

from industries.financial_services.example import DELIVERY, MONITORING
from industries.healthcare.example import MONITORING as HEALTH_MONITORING
from spt_core.errors import InputError, NotFoundError
from spt_core.examples import MODEL_NAME, ExampleConfig, ExampleRun, brief
from spt_core.task import IndustryType, Task, all_tasks

pytestmark = pytest.mark.slow  # torch
BANK = IndustryType.FINANCIAL_SERVICES


@pytest.mark.parametrize("task", all_tasks().values(), ids=lambda task: task.path)
def test_every_task_has_a_brief_training(task: Task) -> None:
    config = brief(task)
    assert (config.training.task, config.training.model_name) == (task.path, MODEL_NAME)
    assert config.distillation.training.family == task.family
    assert config.num_rows >= 200


def test_what_is_watched_is_told_with_what_is_relevant(tmp_path: Path) -> None:
    told: list[str] = []
    run = ExampleRun(BANK, ExampleConfig(storage=str(tmp_path)), told.append)
    pipeline = run.watching(MONITORING, DELIVERY, ["Capital rule (synthetic)", "Holiday"])
    assert pipeline.delivery is not None
    assert told[-2:] == [
        "  'Capital rule (synthetic)': relevant (capital)",
        "  'Holiday': not relevant (nothing)",
    ]


def test_an_industry_whose_models_learn_from_no_publication_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    run = ExampleRun(IndustryType.HEALTHCARE, ExampleConfig(storage=str(tmp_path)), told.append)
    assert run.watching(HEALTH_MONITORING).monitoring == ()
    assert told[-1] == "no model of healthcare learns from publications: people read them"


def test_steps_are_told_and_timed(tmp_path: Path) -> None:
    told: list[str] = []
    run = ExampleRun(BANK, ExampleConfig(storage=str(tmp_path)), told.append)
    with run.step("Waiting"):
        run.tell("for nothing")
    outcome = run.outcome()
    assert told == ["== Waiting", "for nothing"]
    assert [step["step"] for step in outcome["steps"]] == ["Waiting"]
    assert outcome["versions"] == []


def test_data_sets_must_be_of_the_catalog_and_of_the_industry(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="the nearest is 'credit-german'"):
        ExampleConfig(datasets=("credit-germany",))
    config = ExampleConfig(storage=str(tmp_path), datasets=("credit-german",))
    with pytest.raises(InputError, match="not of healthcare"):
        ExampleRun(IndustryType.HEALTHCARE, config)
