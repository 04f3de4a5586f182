"""The roll-out writer against a service in memory: what is applied, awaited, and taken back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.deploy import previous_champion
from spt_core import rollout
from spt_core.artifacts import ExportedModel, ModelArtifact, as_uri, write_manifest
from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.policy import Costs, DecisionPolicy
from spt_core.registry import ModelVersion, Registry
from spt_core.rollout import Replica, RolloutError, promote, reapply, resume
from spt_core.signature import Field, Signature
from spt_core.task import find

FRAUD = "financial_services/fraud_detection"
RISK = "financial_services/risk_assessment"
POLICY = DecisionPolicy(
    costs=Costs(missed_positive=100.0, false_alarm=10.0, review=2.0),
    review_threshold=0.1,
    decline_threshold=0.8,
)


class MemoryService:
    """A service whose replicas take every version except those in `bad`, one poll later."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.served: dict[str, list[Replica]] = {}
        self.applied: list[Mapping[str, Any]] = []

    def apply(self, configuration: Mapping[str, Any]) -> None:
        self.applied.append(configuration)

    def replicas(self, application: str, num_replicas: int) -> list[Replica] | None:
        before = self.served.get(application)
        self._follow()
        return before if before is not None and len(before) == num_replicas else None

    def num_replicas(self, application: str) -> int | None:
        return len(self.served[application]) if application in self.served else None

    def refs(self) -> dict[str, str]:
        self._follow()
        return {name: replicas[0].ref for name, replicas in self.served.items()}

    def _follow(self) -> None:
        wanted = {a["name"]: a["deployments"][0] for a in self.applied[-1]["applications"][:-1]}
        self.served = {name: self._taken(name, wanted[name]) for name in wanted}

    def _taken(self, name: str, deployment: Mapping[str, Any]) -> list[Replica]:
        config = deployment["user_config"]
        ref, policy = config["ref"], config["policy"]["version"]
        kept = self.served.get(name, [Replica(ref="", policy="", asked="", error="")])[0]
        if ref in self.bad:
            replica = dataclasses.replace(kept, asked=ref, error=f"{ref} is broken")
        else:
            replica = Replica(ref=ref, policy=policy, asked=ref, error="")
        return [replica] * deployment["num_replicas"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path}/spt.db")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> MemoryService:
    monkeypatch.setattr(rollout, "READ_BACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(rollout, "_POLL_S", 0.0)
    return MemoryService()


def add(registry: Registry, folder: Path, seed: int, task: str = FRAUD) -> ModelVersion:
    uri = as_uri(folder / f"{task}-{seed}")
    artifact = ModelArtifact(
        uri=uri,
        task=task,
        model_name="default",
        family="tabular",
        role="student",
        signature=Signature(fields=(Field(name="amount", kind="number"),)),
        files={"weights": "00"},
        config={},
        metrics={},
        seed=seed,
        data_fingerprint="d",
        code_fingerprint="c",
        splits="",
    )
    write_manifest(uri, artifact.to_json())
    exported = ExportedModel(
        uri=f"{uri}/onnx", artifact=artifact, files={}, parity={}, probes={}, size_bytes=1
    )
    return registry.add(exported, POLICY, {}, created_by="test")


def champion(registry: Registry, name: str = FRAUD) -> int | None:
    return registry.aliases(name).get("champion")


def test_a_promotion_is_live_when_every_replica_serves_it(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1)
    deployment = promote(registry, version, actor="me", service=service)
    assert (deployment.state, champion(registry)) == ("live", 1)
    assert service.refs() == {"financial_services-fraud_detection": version.ref}


def test_clients_are_told_of_fields_that_the_task_reads_beside_the_model(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1, "healthcare/telemedicine_triage")
    promote(registry, version, actor="me", service=service)
    api = next(a for a in service.applied[-1]["applications"] if a["name"] == "api")
    (model,) = api["deployments"][0]["user_config"]["models"]
    told = model["input"]["properties"]
    assert set(told) == {"amount", "patient"}
    vitals = told["patient"]["properties"]["vitals"]
    assert vitals["properties"]["respiratory_rate"]["maximum"] == 120
    assert vitals["required"] == []


def test_a_refused_version_leaves_everything_as_it_was(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    first, second = add(registry, tmp_path, 1), add(registry, tmp_path, 2)
    promote(registry, first, actor="me", service=service)
    service.bad = {second.ref}
    with pytest.raises(RolloutError, match=f"every replica must take {second.ref}, .*is broken"):
        promote(registry, second, actor="me", service=service)
    assert service.refs() == {"financial_services-fraud_detection": first.ref}
    assert champion(registry) == 1
    assert registry.deployments()[0].state == "failed"
    assert "is broken" in registry.deployments()[0].error
    assert "is broken" in registry.history(FRAUD)[-1].reason


def test_after_a_refusal_a_good_version_goes_through(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    first, second, third = (add(registry, tmp_path, seed) for seed in (1, 2, 3))
    promote(registry, first, actor="me", service=service)
    service.bad = {second.ref}
    with pytest.raises(RolloutError):
        promote(registry, second, actor="me", service=service)
    assert promote(registry, third, actor="me", service=service).state == "live"


def test_a_refused_first_version_leaves_nothing_to_serve(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1)
    service.bad = {version.ref}
    with pytest.raises(RolloutError):
        promote(registry, version, actor="me", service=service)
    assert service.refs() == {}


def test_a_promotion_waits_for_its_own_task_only(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    fraud, risk = add(registry, tmp_path, 1), add(registry, tmp_path, 1, RISK)
    promote(registry, fraud, actor="me", service=service)
    service.bad, service.served = {fraud.ref}, {}
    assert promote(registry, risk, actor="me", service=service).state == "live"


def test_a_promotion_keeps_the_replicas_of_all_tasks(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    fraud, risk = add(registry, tmp_path, 1), add(registry, tmp_path, 1, RISK)
    promote(registry, fraud, actor="me", num_replicas=2, service=service)
    promote(registry, risk, actor="me", service=service)
    promote(registry, add(registry, tmp_path, 2), actor="me", service=service)
    numbers = [a["deployments"][0].get("num_replicas") for a in service.applied[-1]["applications"]]
    assert numbers == [2, 1, None]


def test_no_replicas_are_refused(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="at least one replica"):
        promote(registry, add(registry, tmp_path, 1), actor="me", num_replicas=0, service=service)


def test_resume_brings_back_all_that_was_live(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    versions = add(registry, tmp_path, 1), add(registry, tmp_path, 1, RISK)
    for version in versions:
        promote(registry, version, actor="me", service=service)
    restarted = MemoryService()
    assert [d.state for d in resume(registry, service=restarted)] == ["live", "live"]
    assert set(restarted.refs().values()) == {version.ref for version in versions}


def test_resume_finishes_a_promotion_that_was_cut_off(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1)
    registry.set_alias(FRAUD, "champion", 1, expected=None, actor="me")
    registry.deploy(FRAUD, 1, expected_epoch=0, actor="me")
    assert resume(registry, service=service)[0].state == "live"
    assert service.refs() == {"financial_services-fraud_detection": version.ref}


def test_resume_goes_back_from_a_promotion_that_was_cut_off_and_is_bad(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    first, second = add(registry, tmp_path, 1), add(registry, tmp_path, 2)
    promote(registry, first, actor="me", service=service)
    registry.set_alias(FRAUD, "champion", 2, expected=1, actor="me")
    registry.deploy(FRAUD, 2, expected_epoch=1, actor="me")
    service.bad = {second.ref}
    (resumed,) = resume(registry, service=service)
    assert (resumed.state, champion(registry)) == ("failed", 1)
    assert service.refs() == {"financial_services-fraud_detection": first.ref}


def test_resume_reports_a_live_version_that_is_bad_and_serves_the_others(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    fraud, risk = add(registry, tmp_path, 1), add(registry, tmp_path, 1, RISK)
    for version in (fraud, risk):
        promote(registry, version, actor="me", service=service)
    restarted = MemoryService()
    restarted.bad = {fraud.ref}
    broken, good = resume(registry, service=restarted)
    assert (broken.state, good.state, good.error) == ("live", "live", "")
    assert "is broken" in broken.error
    assert registry.serving()[0].version == 1


def test_two_roll_outs_at_once_are_refused(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1)
    with registry.lease(rollout.LEASE, "another"), pytest.raises(ConflictError):
        promote(registry, version, actor="me", service=service)


def test_replicas_that_never_run_are_a_refusal(
    registry: Registry, service: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "replicas", lambda *_: None)
    with pytest.raises(RolloutError, match="not all running"):
        promote(registry, add(registry, tmp_path, 1), actor="me", service=service)


def test_a_rollback_skips_what_was_gone_back_from(registry: Registry, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        add(registry, tmp_path, seed)
    before = None
    for number in (1, 2, 3, 2):
        registry.set_alias(FRAUD, "champion", number, expected=before, actor="me")
        before = number
    assert previous_champion(registry, FRAUD) == 1
    registry.set_alias(FRAUD, "champion", 1, expected=2, actor="me")
    with pytest.raises(NotFoundError, match="none before @1"):
        previous_champion(registry, FRAUD)


def test_a_configuration_of_somebody_else_is_followed_by_the_registrys(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    fraud, risk = add(registry, tmp_path, 1), add(registry, tmp_path, 1, RISK)
    for version in (fraud, risk):
        promote(registry, version, actor="me", service=service)
    service.applied.append({"applications": [{"name": "api"}]})
    service.served = {}
    assert reapply(registry, num_replicas=2, service=service) == [fraud.ref, risk.ref]
    assert service.refs() == {
        "financial_services-fraud_detection": fraud.ref,
        "financial_services-risk_assessment": risk.ref,
    }
    numbers = [a["deployments"][0].get("num_replicas") for a in service.applied[-1]["applications"]]
    assert numbers == [2, 2, None]


def test_applications_that_are_there_keep_their_replicas(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    promote(registry, add(registry, tmp_path, 1), actor="me", num_replicas=3, service=service)
    service.refs()
    reapply(registry, num_replicas=2, service=service)
    assert service.applied[-1]["applications"][0]["deployments"][0]["num_replicas"] == 3


def test_nothing_is_reapplied_beside_a_promotion(
    registry: Registry, service: MemoryService
) -> None:
    with (
        registry.lease(rollout.LEASE, "somebody@elsewhere"),
        pytest.raises(ConflictError, match="one holder"),
    ):
        reapply(registry, num_replicas=1, service=service)
    assert service.applied == []


def test_a_range_of_replicas_follows_load_and_the_tasks_latency_target(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, 1)
    target = rollout.Target(version, rollout.replicas_within(1, 4))
    (deployment,) = rollout.render([target])["applications"][0]["deployments"]
    assert "num_replicas" not in deployment
    scaling = deployment["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 4)
    latency_ms = find(FRAUD).latency_target_ms
    assert scaling["policy"]["policy_kwargs"] == {"latency_target_ms": latency_ms}
    assert rollout.replicas_within(3, 3) == 3
    with pytest.raises(InputError, match="at least one replica"):
        promote(registry, version, actor="me", num_replicas=rollout.Scaled(0, 2), service=service)


def test_what_the_settings_say_is_for_services_that_are_not_there(
    registry: Registry, service: MemoryService, tmp_path: Path
) -> None:
    promote(registry, add(registry, tmp_path, 1), actor="me", otherwise={FRAUD: 3}, service=service)
    risk = add(registry, tmp_path, 1, RISK)
    promote(registry, risk, actor="me", otherwise={FRAUD: 9, RISK: 2}, service=service)
    assert {name: len(replicas) for name, replicas in service.served.items()} == {
        "financial_services-fraud_detection": 3,
        "financial_services-risk_assessment": 2,
    }
