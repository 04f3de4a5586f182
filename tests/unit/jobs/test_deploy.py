"""What the flags of jobs.deploy mean, before anything is started."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.settings import load_settings
from jobs import deploy
from jobs.service import address
from spt_core import scoring
from spt_core.errors import InputError, NotFoundError
from spt_core.heads.binary import decided, fit_policy
from spt_core.policy import LabelPolicy
from spt_core.registry import ModelVersion, Registry
from tests.tiny_models import COMPLIANCE
from tests.unit.test_rollout import FRAUD, POLICY, add

NAME = f"{FRAUD}/default"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path}/spt.db")


def chosen(registry: Registry, *flags: str) -> ModelVersion:
    args = deploy._parser().parse_args([FRAUD, *flags])
    return deploy.chosen_version(registry, NAME, args)


def edited(version: ModelVersion, folder: Path, **changes: Any) -> str:
    """What `jobs.registry show --json` prints, with an edited policy."""
    content = {**version.to_json(), "ref": version.ref}
    content["policy"] = {**content["policy"], **changes}
    path = folder / "policy.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_the_latest_version_is_the_default(registry: Registry, tmp_path: Path) -> None:
    versions = [add(registry, tmp_path, seed) for seed in (1, 2)]
    assert chosen(registry) == versions[-1]


def test_a_version_is_named_by_number_or_alias(registry: Registry, tmp_path: Path) -> None:
    first = add(registry, tmp_path, 1)
    add(registry, tmp_path, 2)
    registry.set_alias(FRAUD, "champion", 1, expected=None, actor="me")
    assert chosen(registry, "--version", "1") == chosen(registry, "--version", "champion") == first


def test_an_edited_policy_is_a_new_version_of_the_same_model(
    registry: Registry, tmp_path: Path
) -> None:
    first = add(registry, tmp_path, 1)
    add(registry, tmp_path, 2)
    registry.set_alias(FRAUD, "champion", 1, expected=None, actor="me")
    made = chosen(registry, "--policy", edited(first, tmp_path, review_threshold=0.05))
    assert (made.version, made.exported) == (3, first.exported), "the champion's, not the latest"
    assert made.policy.review_threshold == 0.05
    assert made.policy.version != first.policy.version


@pytest.mark.parametrize(
    ("text", "fact"),
    [("{", "JSON file"), ("[]", "JSON object"), ('{"costs": 1}', "a decision policy")],
)
def test_a_bad_policy_file_is_refused(
    registry: Registry, tmp_path: Path, text: str, fact: str
) -> None:
    add(registry, tmp_path, 1)
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(InputError, match=fact):
        chosen(registry, "--version", "1", "--policy", str(path))


def test_edited_costs_make_new_thresholds_edited_thresholds_stay(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "load_splits", lambda uri: uri)
    scores = np.linspace(0, 1, 1000)
    said = decided(np.zeros((1000, 1)), scores[:, None], POLICY)
    monkeypatch.setattr(scoring, "policy_outcomes", lambda *_: said)
    first = add(registry, tmp_path, 1)
    costs = {**first.to_json()["policy"]["costs"], "missed_positive": 5000.0}
    flags = ("--version", "1", "--policy")
    made = chosen(registry, *flags, edited(first, tmp_path, costs=costs))
    capacity = {"daily_review_capacity": first.policy.daily_review_capacity}
    wanted = fit_policy(
        made.policy.costs,
        scores,
        daily_volume=first.policy.daily_volume,
        **capacity,
    )
    assert made.policy.review_threshold == wanted.review_threshold
    assert made.policy.review_threshold != first.policy.review_threshold
    both = edited(first, tmp_path, costs=costs, review_threshold=0.01)
    assert chosen(registry, *flags, both).policy.review_threshold == 0.01


def test_what_was_never_registered_is_told_from_a_misspelled_task(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no model"):
        deploy.main([FRAUD, "--storage", str(tmp_path)])
    with pytest.raises(NotFoundError, match="the nearest is"):
        deploy.main(["financial_services/fraud_detektion", "--storage", str(tmp_path)])


def test_a_taken_port_ends_the_job_before_ray_starts(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(registry, tmp_path, 1)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SPT_HTTP_PORT", str(taken.getsockname()[1]))
        with pytest.raises(InputError, match="ports must be free, however: in use"):
            deploy.main([FRAUD, "--storage", str(tmp_path)])


def test_an_embedded_service_does_not_listen_on_the_network(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(registry, tmp_path, 1)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SPT_HTTP_HOST", "0.0.0.0")
    with pytest.raises(InputError, match="this machine only"):
        deploy.main([FRAUD, "--storage", str(tmp_path)])


def test_thresholds_of_labels_are_deployed_as_they_are_written(
    registry: Registry, tmp_path: Path
) -> None:
    first = add(registry, tmp_path, 1)
    old = LabelPolicy(thresholds={"a": 0.5}, most_probable=False)
    new = LabelPolicy(thresholds={"a": 0.7}, most_probable=False)
    artifact = dataclasses.replace(first.exported.artifact, task=COMPLIANCE)
    labelled = dataclasses.replace(
        first, policy=old, exported=dataclasses.replace(first.exported, artifact=artifact)
    )
    assert deploy.refitted(labelled, new) is new
    with pytest.raises(
        InputError, match="of the kind labels, however: this one is of the kind decision"
    ):
        deploy.refitted(labelled, first.policy)
    with pytest.raises(
        InputError, match="of the kind decision, however: this one is of the kind labels"
    ):
        deploy.refitted(first, new)


def test_a_variant_is_deployed_by_its_name_and_keeps_it_with_another_policy(
    registry: Registry, tmp_path: Path
) -> None:
    first, other = add(registry, tmp_path, 1), add(registry, tmp_path, 2)
    assert first.version != other.version
    edge = registry.add_variant(other, "edge", first.exported, POLICY, {}, created_by="me")
    assert chosen(registry, "--variant", "edge") == edge
    with pytest.raises(NotFoundError, match="no variant 'edge'"):
        chosen(registry, "--version", "1", "--variant", "edge")
    registry.set_alias(FRAUD, "champion", 2, expected=None, actor="me")
    file = edited(edge, tmp_path, decline_threshold=0.97)
    again = chosen(registry, "--variant", "edge", "--policy", file)
    assert again.ref == edge.ref
    assert again.policy.version != edge.policy.version


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")],
)
def test_a_service_on_every_address_is_asked_on_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, asked: str
) -> None:
    monkeypatch.setenv("SPT_HTTP_HOST", host)
    monkeypatch.delenv("SPT_HTTP_PORT", raising=False)
    assert address(load_settings(storage=str(tmp_path))) == f"http://{asked}:8000"
