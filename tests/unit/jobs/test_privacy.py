"""`--set privacy.epsilon=3`: what a job makes of it before anything starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.command import parser, read_run
from jobs.stages.fitting import _show_privacy, privacy_sentence, refuse_incompatible
from jobs.stages.judging import _privacy_facts
from spt_core.errors import InputError
from spt_core.fitting.privacy import PrivacyConfig

TASK = "healthcare/heart_disease"
FACTS: dict[str, Any] = {
    "epsilon": 2.998,
    "epsilon_asked": 3.0,
    "delta": 1e-5,
    "unit": "row",
    "neighbours": "add or remove one training row",
    "protected": "each row of the training part",
    "accountant": "Renyi DP",
    "network": {"steps": 1200, "noise_multiplier": 1.25, "sampling_rate": 0.05},
    "encodings": {"zcdp_rho": 0.01},
    "all_trainings": {"trainings": 1, "epsilon": 3.0, "delta": 1e-5},
    "randomness": "the operating system",
    "not_protected": ["test rows", "validation rows"],
}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run_of(task: str, *words: str) -> Any:
    return read_run(parser("train", "").parse_args([task, *words]))


def test_a_budget_is_the_teacher_s_who_stops_by_no_held_out_row():
    run = run_of(TASK, "--set", "privacy.epsilon=3", "--set", "privacy.ranges=age:0:120")
    training = run.config.training
    assert training.privacy == PrivacyConfig(epsilon=3.0, ranges=("age:0:120",))
    assert training.early_stopping_patience is None
    assert run.config.distillation.training.privacy is None
    assert run_of(TASK).config.training.privacy is None


@pytest.mark.parametrize(
    ("task", "assignment", "sentence"),
    [
        (TASK, "privacy.delta=1e-6", "privacy.epsilon must be set where privacy.delta is"),
        (TASK, "training.privacy.epsilon=3", "'privacy' has no fields of its own"),
        ("technology/security_analysis", "privacy.epsilon=3", "family must be tabular"),
    ],
)
def test_what_cannot_be_private_is_refused_before_anything_starts(task, assignment, sentence):
    with pytest.raises(InputError, match=sentence):
        run_of(task, "--set", assignment)


def test_a_private_champion_is_followed_by_private_models_alone(monkeypatch):
    champion = SimpleNamespace(
        ref="a@1", exported=SimpleNamespace(artifact=SimpleNamespace(privacy=FACTS))
    )
    registry = SimpleNamespace(
        names=lambda: [f"{TASK}/default"],
        aliases=lambda _: {"champion": 1},
        get=lambda _: champion,
    )
    monkeypatch.setattr("jobs.command.Run.registry", lambda _: registry)
    monkeypatch.setattr("jobs.stages.fitting.require_compatible", lambda *_: None)
    splits: Any = SimpleNamespace(signature=None)
    refuse_incompatible(run_of(TASK, "--set", "privacy.epsilon=3"), splits)
    with pytest.raises(InputError, match="what follows a@1, which has differential privacy"):
        refuse_incompatible(run_of(TASK), splits)


def test_a_person_reads_what_was_spent_and_who_is_not_protected():
    sentence = privacy_sentence(FACTS)
    assert sentence.startswith("epsilon 3 of 3, delta 1e-05, per row (add or remove one training")
    assert "1,200 steps, noise 1.25, sampling rate 0.05; Renyi DP" in sentence
    page = _privacy_facts(SimpleNamespace(privacy=FACTS))
    assert page["not protected"] == "test rows; validation rows"
    assert _privacy_facts(SimpleNamespace(privacy={})) == {}
    assert "caution" not in page


def test_a_person_reads_that_a_budget_protects_nobody():
    facts, told, warned = FACTS | {"caution": "it promises little"}, [], []
    screen = SimpleNamespace(say=told.append, warn=lambda _, text: warned.append(text))
    run: Any = SimpleNamespace(screen=screen)
    _show_privacy(run, facts)
    assert told == [f"  privacy: {privacy_sentence(FACTS)}"]
    assert warned == [": it promises little"]
    assert _privacy_facts(SimpleNamespace(privacy=facts))["caution"] == "it promises little"
