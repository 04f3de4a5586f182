import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from spt_core.errors import ConflictError, InputError, NotFoundError
from spt_core.registry import deployment_from_json

NAME = "finance/fraud/default"


@pytest.fixture
def registry(registry, make_export, policy):
    for seed in range(3):
        registry.add(make_export(seed), policy, {}, created_by="ann")
    return registry


def test_a_deployment_goes_live_and_retires_the_one_before(registry):
    first = registry.mark(registry.deploy(NAME, 1, expected_epoch=0, actor="ann"), "live")
    second = registry.deploy(NAME, 2, expected_epoch=1, actor="ann")
    assert (second.state, second.epoch, second.previous_version) == ("pending", 2, 1)

    live = registry.mark(second, "live")
    assert registry.deployments() == [live]
    with pytest.raises(ConflictError, match="it is 'retired'"):
        registry.mark(first, "failed")
    assert deployment_from_json(json.loads(json.dumps(live.to_json()))) == live


def test_a_failed_deployment_names_the_version_to_fall_back_to(registry):
    registry.mark(registry.deploy(NAME, 1, expected_epoch=0, actor="ann"), "live")
    second = registry.deploy(NAME, 2, expected_epoch=1, actor="ann")
    registry.mark(second, "failed", "probe 3 differs")
    third = registry.deploy(NAME, 3, expected_epoch=2, actor="ann")

    assert third.previous_version == 1
    assert registry.mark(third, "failed", "again").error == "again"


def test_after_a_canary_the_stable_version_is_still_the_fallback(registry):
    registry.mark(registry.deploy(NAME, 1, expected_epoch=0, actor="ann"), "live")
    canary = registry.deploy(NAME, 2, expected_epoch=1, actor="ann", traffic_share=0.1)
    registry.mark(canary, "live")

    assert registry.deploy(NAME, 2, expected_epoch=2, actor="ann").previous_version == 1


def test_a_first_deployment_takes_all_traffic(registry):
    with pytest.raises(InputError, match="a first deployment must take all traffic"):
        registry.deploy(NAME, 1, expected_epoch=0, actor="ann", traffic_share=0.5)


def test_of_those_who_race_to_deploy_one_wins(registry):
    def deploy(version):
        try:
            return [registry.deploy(NAME, version, expected_epoch=0, actor="ann")]
        except ConflictError:
            return []

    with ThreadPoolExecutor(3) as pool:
        made = [d for part in pool.map(deploy, (1, 2, 3)) for d in part]

    assert registry.deployments() == made


def test_a_stale_deployment_does_not_go_live(registry):
    stale = registry.deploy(NAME, 1, expected_epoch=0, actor="ann")
    registry.deploy(NAME, 2, expected_epoch=1, actor="bob")

    with pytest.raises(ConflictError, match="it is 'retired'"):
        registry.mark(stale, "live")


def test_marking_again_changes_nothing(registry):
    live = registry.mark(registry.deploy(NAME, 1, expected_epoch=0, actor="ann"), "live")

    assert registry.mark(live, "live") == live


def test_what_does_not_exist_is_neither_deployed_nor_marked(registry):
    with pytest.raises(NotFoundError):
        registry.deploy(NAME, 9, expected_epoch=0, actor="ann")
    made = registry.deploy(NAME, 1, expected_epoch=0, actor="ann")
    with pytest.raises(NotFoundError, match="none with epoch 5"):
        registry.mark(dataclasses.replace(made, epoch=5), "live")
    with pytest.raises(InputError, match="a state must be one of"):
        registry.mark(made, "lively")
