"""jobs.retrain without its training: the claim, refusals, and how a run is configured."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import retrain
from jobs.command import parser, read_run
from jobs.recipes import RECIPES
from jobs.retrain import as_trained, claimed, deidentified, main
from spt_core.artifacts import as_uri, write_manifest
from spt_core.continuous.ledger import Ledger, Retrain, fence_of
from spt_core.continuous.retraining import Labeled, RetrainConfig
from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.families.text.config import TextConfig
from spt_core.registry import Registry
from spt_core.task import find
from spt_core.training import TrainingConfig
from spt_core.training.trainer import training_config_from_json
from tests.publications import MODEL, SECURITY, begun, item, version


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ledger(storage: Path) -> Ledger:
    return Ledger(f"sqlite:///{storage}/spt.db")


@pytest.fixture
def waiting(ledger: Ledger) -> Retrain:
    with ledger.lead("leader:1:1") as lease:
        return begun(ledger, fence_of(lease), item("1", "a"))


def test_an_unknown_submission_is_refused_in_one_sentence(storage: Path) -> None:
    with pytest.raises(ConflictError, match="no retraining's present attempt"):
        main(["--submission-id", "retrain-x-1-a1-0", "--storage", str(storage)])


def test_without_a_champion_there_is_nothing_to_retrain(
    storage: Path, waiting: Retrain, ledger: Ledger
) -> None:
    with pytest.raises(NotFoundError, match="the registry has no model"):
        main(["--submission-id", waiting.submission_id or "", "--storage", str(storage)])
    claim = ledger.run_claim(waiting.submission_id or "")
    assert claim is not None
    assert claim.expires <= time.time()  # given up: the next attempt need not wait


def test_a_configuration_that_makes_no_sense_ends_the_job(
    storage: Path, waiting: Retrain, ledger: Ledger
) -> None:
    ledger.configured(waiting.bucket, {"retraining": {"replay_share": 0.1}}, actor="carl")
    with pytest.raises(InputError, match="replay_share"):
        main(["--submission-id", waiting.submission_id or "", "--storage", str(storage)])


def test_a_second_job_beside_the_first_is_refused(waiting: Retrain, ledger: Ledger) -> None:
    submission = waiting.submission_id or ""
    ledger.claim_run(submission, host="another machine")
    with pytest.raises(ConflictError, match="another machine"), claimed(ledger, submission):
        pass


def test_a_job_that_lost_its_claim_is_interrupted(
    waiting: Retrain, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(retrain, "CLAIM_TTL_S", 0.25)
    monkeypatch.setattr(retrain.os, "kill", lambda pid, number: sent.append(number))
    with claimed(ledger, waiting.submission_id or ""):
        with ledger._database.write() as connection:
            connection.exec_driver_sql("UPDATE spt_run_claim SET host = 'another', epoch = 9")
        deadline = time.monotonic() + 5
        while not sent and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sent == [retrain.signal.SIGTERM]


def trained_as(storage: Path, **changes: Any) -> dict[str, Any]:
    network = TextConfig(base="a base", max_tokens=48)
    made = TrainingConfig(task=SECURITY, family="text", network=network, **changes)
    return json.loads(json.dumps(dataclasses.asdict(made)))


def champion_of(storage: Path) -> Any:
    made = version(Registry(f"sqlite:///{storage}/spt.db"), 1)
    artifact = made.exported.artifact
    teacher = dataclasses.replace(
        artifact, uri=as_uri(storage / "teacher"), config=trained_as(storage, num_epochs=7)
    )
    write_manifest(teacher.uri, teacher.to_json())
    student = dataclasses.replace(
        artifact, parents=(teacher.uri,), config=trained_as(storage, num_epochs=3)
    )
    return dataclasses.replace(made, exported=dataclasses.replace(made.exported, artifact=student))


def test_a_candidate_is_trained_as_its_champion_was(storage: Path) -> None:
    made = as_trained(RECIPES["default"](find(SECURITY)), champion_of(storage), RetrainConfig())
    assert (made.training.num_epochs, made.distillation.training.num_epochs) == (7, 3)
    assert made.training.network.base == "a base"
    assert made.benchmark.num_trials == 0


def test_a_recipe_changes_sizes_and_keeps_the_base(storage: Path) -> None:
    config = RetrainConfig(recipe="smoke")
    made = as_trained(RECIPES["smoke"](find(SECURITY)), champion_of(storage), config)
    assert made.training.num_epochs == 1
    assert (made.training.network.base, made.training.network.max_tokens) == ("a base", 32)


def test_publications_lose_identifiers_where_the_champion_s_texts_did(storage: Path) -> None:
    champion = champion_of(storage)
    own = champion.exported.artifact
    private = dataclasses.replace(own, deidentified={"task": "healthcare/hipaa_compliance"})
    of_private = dataclasses.replace(
        champion, exported=dataclasses.replace(champion.exported, artifact=private)
    )
    text = "Write to jane.roe@example.org about the breach."
    examples = [Labeled(item("1", "a"), text, "breach", "human", "")]
    after: list[tuple[list[Labeled], str]] = []
    for model in (champion, of_private):
        config = as_trained(RECIPES["smoke"](find(SECURITY)), model, RetrainConfig())
        line = parser("retrain", "").parse_args([SECURITY, "--storage", str(storage)])
        run = read_run(line, recipe=lambda _, config=config: config)
        after.append(deidentified(run, examples))
    (as_published, without), (removed, said) = after
    assert (as_published[0].text, without) == (text, "as they were")
    assert removed[0] == examples[0]._replace(text="Write to [EMAIL] about the breach.")
    assert "1 email" in said
    assert "patterns alone" in said


def test_a_training_configuration_survives_an_artifact(storage: Path) -> None:
    made = training_config_from_json(trained_as(storage, trackers=("mlflow",)))
    assert made.network == TextConfig(base="a base", max_tokens=48)
    assert made.trackers == ("mlflow",)
    assert MODEL.startswith(made.task or "")
