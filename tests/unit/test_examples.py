"""What complete examples share, as far as it needs no training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from industries.financial_services.example import CREDIT_SCORING, DELIVERY, MARKET_RISK, MONITORING
from industries.healthcare.example import MONITORING as HEALTH_MONITORING
from jobs import example
from spt_core.errors import InputError, NotFoundError
from spt_core.examples import MODEL_NAME, ExampleConfig, ExampleRun, brief
from spt_core.task import IndustryType, Task, all_tasks

pytestmark = pytest.mark.slow  # torch
BANK = IndustryType.FINANCIAL_SERVICES


class Story:
    """Stands in an example's place of work: what is done, in which step, with the model of what."""

    def __init__(self) -> None:
        self.done, self.title = list[tuple[str, str, str]](), ""

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.title = title
        yield
        self.title = ""

    def trained(self, path: str) -> Any:
        self.done.append((self.title, "trained", path))
        return SimpleNamespace(path=path, splits=SimpleNamespace(synthetic=True))

    def transferred(self, source: Any, path: str) -> Any:
        self.done.append((self.title, f"transferred from {source.path}", path))
        return SimpleNamespace(path=path, splits=SimpleNamespace(synthetic=True))

    def __getattr__(self, verb: str) -> Any:
        def does(model: Any = None, *_: Any) -> None:
            self.done.append((self.title, verb, getattr(model, "path", "")))

        return does


def told_by(industry: IndustryType, tmp_path: Path) -> Story:
    made, story = example._example(industry, ExampleConfig(storage=str(tmp_path)), print), Story()
    made._run = story
    made.run_complete_training_pipeline()
    return story


@pytest.mark.parametrize("industry", IndustryType)
def test_an_example_times_all_it_does_and_uses_each_model_once_trained(
    industry: IndustryType, tmp_path: Path
) -> None:
    done = [step for step in told_by(industry, tmp_path).done if step[1] != "outcome"]
    assert all(title for title, _, _ in done)
    begun = [path for _, verb, path in done if verb.startswith("tra")]
    assert len(begun) == len(set(begun))
    used = {path for _, verb, path in done if not verb.startswith("tra")}
    used |= {verb.removeprefix("transferred from ") for _, verb, _ in done}
    assert set(begun) <= used
    verbs = {verb.split()[0] for _, verb, _ in done}
    assert verbs >= {"trained", "transferred", "told", "watching", "benchmarked", "optimized"}


def test_the_bank_s_example_evaluates_market_risk_and_the_insurer_s_transfers_both_its_tasks(
    tmp_path: Path,
) -> None:
    bank = {(verb, path) for _, verb, path in told_by(BANK, tmp_path).done}
    assert {("trained", MARKET_RISK), ("told", MARKET_RISK)} <= bank
    assert ("transferred from financial_services/risk_assessment", CREDIT_SCORING) in bank
    insurer = {(verb, path) for _, verb, path in told_by(IndustryType.INSURANCE, tmp_path).done}
    for task in all_tasks().values():
        if task.industry == IndustryType.INSURANCE:
            assert (f"transferred from {task.transfer_from}", task.path) in insurer


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
    assert told == ["== Waiting", "for nothing", "  0 s"]
    assert [step["step"] for step in outcome["steps"]] == ["Waiting"]
    assert outcome["versions"] == []


def test_data_sets_must_be_of_the_catalog_and_of_the_industry(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="the nearest is 'credit-german'"):
        ExampleConfig(datasets=("credit-germany",))
    config = ExampleConfig(storage=str(tmp_path), datasets=("credit-german",))
    with pytest.raises(InputError, match="not of healthcare"):
        ExampleRun(IndustryType.HEALTHCARE, config)
