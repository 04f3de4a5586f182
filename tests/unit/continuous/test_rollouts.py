"""Roll-outs and rollbacks against a service in memory; the registry and the ledger are real."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spt_core.continuous import rollouts
from spt_core.continuous.ledger import Fence, Ledger, Retrain, SourceResult, Trigger
from spt_core.continuous.live_rules import ProbeAnswer
from spt_core.continuous.rollouts import Rolled, drive_rollouts
from spt_core.continuous.steps import StepError, after_training
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.errors import ConflictError, CorruptArtifactError, FencedError, UnavailableError
from spt_core.policy import LabelPolicy
from spt_core.registry import Deployment, ModelVersion, Registry
from spt_core.rollout import RolloutError
from spt_core.traffic import WINDOW_S, Window, latency_bin
from tests.publications import BUCKET, MODEL, begun, item, trained, version

pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


OTHER_BUCKET, OTHER = f"{BUCKET}.other", MODEL.replace("default", "other")


class MemoryLive:
    """A service that moves the alias and the deployment as the real one does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.refused: set[str] = set()
        self.wrong: set[str] = set()
        self.counted: dict[str, list[Window]] = {}
        self.promoted: list[str] = []
        self.away = ""
        self.asked: list[str] = []
        self.waits: dict[str, Callable[[], None]] = {}  # what happens during the wait for a version

    def check(self, version: ModelVersion) -> None:
        if self.away:
            raise UnavailableError(self.away)

    def promote(
        self,
        version: ModelVersion,
        *,
        champion_before: str,
        reason: str,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Deployment:
        self.check(version)
        if version.ref in self.refused:
            raise RolloutError(f"every replica must take {version.ref}, however: it is broken")
        name = version.name
        number = self.registry.aliases(name)["champion"]
        if number != version.version:
            expected = int(champion_before.rpartition("@")[2])
            self.registry.set_alias(
                name, "champion", version.version, expected=expected, actor="w", reason=reason
            )
        made = next((d for d in self.registry.deployments() if d.name == name), None)
        if made is None or (made.state, made.version) != ("pending", version.version):
            epoch = 0 if made is None else made.epoch
            made = self.registry.deploy(name, version.version, expected_epoch=epoch, actor="w")
        if version.ref in self.waits:
            self.waits.pop(version.ref)()
            meanwhile()
        self.promoted.append(version.ref)
        return self.registry.mark(made, "live")

    def windows(self, version: ModelVersion) -> dict[str, list[Window]]:
        return self.counted

    def probe(self, version: ModelVersion, golden: Any) -> list[ProbeAnswer]:
        self.asked.append(version.ref)
        given = ("T9999",) if version.ref in self.wrong else ("T1027",)
        return [ProbeAnswer(tuple(one["labels"]), given, 0.99) for one in golden]


def window(requests: int, errors: int = 0, *, start: int = 0, ms: float = 5.0) -> Window:
    latency = {latency_bin(ms / 1000): requests}
    return Window(start * WINDOW_S, requests, errors, latency, {8: requests})


class World:
    """The leader's passes over a retraining that the gate has promoted."""

    def __init__(
        self, ledger: Ledger, fence: Fence, registry: Registry, clock: Any, folder: Path
    ) -> None:
        self.ledger, self.fence, self.registry, self.clock = ledger, fence, registry, clock
        self.folder, self.live = folder, MemoryLive(registry)

    def promote(self, key: str = "1", number: int = 2, champion: int = 1) -> Retrain:
        made = begun(self.ledger, self.fence, item(key, f"text {key}"))
        candidate = self.registry.get(f"{MODEL}@{number}")
        before = f"{MODEL}@{champion}"
        made = trained(self.ledger, self.fence, made, self.folder, candidate, champion=before)
        drive_verdicts(self.ledger, self.fence, self.registry, now_s=self.clock.now_s)
        return self.ledger.retrain(made.retrain_id)

    def promote_other(self, key: str = "o1") -> Retrain:
        """A candidate of another model, in a bucket of its own."""
        number = 1 + self.registry.aliases(OTHER)["champion"]
        (source,) = self.ledger.sources()
        result = SourceResult(source=source, items=(item(key, key, bucket=OTHER_BUCKET),))

        def decide(pending: Any) -> Trigger:
            refs = tuple(one.ref for one in pending)
            return Trigger(bucket=OTHER_BUCKET, items=refs, reason="a test")

        (made,) = self.ledger.ingest(self.fence, [result], decide).retrains
        candidate, before = self.registry.get(f"{OTHER}@{number}"), f"{OTHER}@{number - 1}"
        trained(self.ledger, self.fence, made, self.folder, candidate, champion=before)
        drive_verdicts(self.ledger, self.fence, self.registry, now_s=self.clock.now_s)
        return self.ledger.retrain(made.retrain_id)

    def go(self) -> Rolled:
        return drive_rollouts(
            self.ledger, self.fence, self.registry, self.live, now_s=self.clock.now_s
        )

    def state(self, made: Retrain) -> str:
        return self.ledger.retrain(made.retrain_id).state

    @property
    def champion(self) -> int:
        return self.registry.aliases(MODEL)["champion"]


@pytest.fixture
def world(ledger: Ledger, fence: Fence, registry: Registry, clock: Any, tmp_path: Path) -> World:
    made = World(ledger, fence, registry, clock, tmp_path)
    made.live.promote(registry.get(f"{MODEL}@1"), champion_before="", reason="first")
    return made


@pytest.fixture
def two(world: World) -> World:
    """A world with a second model, whose first version serves."""
    for seed in (1, 2, 3):
        one = version(world.registry, seed).exported
        other = dataclasses.replace(one.artifact, model_name="other")
        made = dataclasses.replace(one, artifact=other, uri=f"{one.uri}/other")
        world.registry.add(made, LabelPolicy(thresholds={}, most_probable=True), {}, created_by="t")
    world.registry.set_alias(OTHER, "champion", 1, expected=None, actor="olga")
    world.live.promote(world.registry.get(f"{OTHER}@1"), champion_before="", reason="first")
    return world


def test_what_the_gate_promoted_is_deployed_once(world: World) -> None:
    made = world.promote()
    assert world.go().deployed == (made.retrain_id,)
    assert (world.state(made), world.champion) == ("DEPLOYED", 2)
    assert world.ledger.retrain(made.retrain_id).deployment_id == f"{MODEL}#2"
    assert world.go() == Rolled()
    assert world.live.promoted == [f"{MODEL}@1", f"{MODEL}@2"]


@pytest.mark.parametrize(
    ("windows", "fact"),
    [
        ([window(300, 60)], "requests failed"),
        ([window(100, start=n, ms=40) for n in range(3)], "p99"),
        ([], "surely and wrongly"),
    ],
)
def test_a_bad_version_is_taken_back_in_the_pass_that_sees_it(
    world: World, windows: list[Window], fact: str
) -> None:
    world.live.counted = {f"{MODEL}@1": [window(500)]}
    made = world.promote()
    world.go()
    if not windows:
        world.live.wrong = {f"{MODEL}@2"}
    world.live.counted[f"{MODEL}@2"] = windows
    rolled = world.go()
    assert fact in rolled.rolled_back[made.retrain_id]
    assert (world.state(made), world.champion) == ("ROLLED_BACK", 1)
    assert world.live.promoted[-1] == f"{MODEL}@1"
    assert fact in world.ledger.frozen()[BUCKET]
    assert world.ledger.outbox() == []


def test_there_is_one_rollback_and_then_a_person(world: World) -> None:
    made = world.promote()
    world.live.wrong = {f"{MODEL}@2", f"{MODEL}@1"}
    world.go()
    world.go()
    assert world.state(made) == "ROLLED_BACK"
    assert world.go() == Rolled()
    assert world.champion == 1
    world.ledger.add_principal("ada", ["admin"], actor="olga")
    assert "frozen" in world.ledger.obstacle(BUCKET)
    (ada,) = world.ledger.principals()
    assert world.ledger.thaw(BUCKET, "it was the feed", admin=ada)
    assert world.ledger.obstacle(BUCKET) == ""


def test_a_version_that_replicas_refuse_is_rolled_back(world: World) -> None:
    made = world.promote()
    world.live.refused = {f"{MODEL}@2"}
    rolled = world.go()
    assert "it is broken" in rolled.rolled_back[made.retrain_id]
    assert (world.state(made), world.champion) == ("ROLLED_BACK", 1)
    assert world.ledger.outbox() == []


def test_a_champion_that_somebody_moved_meanwhile_is_left_alone(world: World) -> None:
    made = world.promote()
    world.registry.set_alias(MODEL, "champion", 3, expected=1, actor="olga")
    rolled = world.go()
    assert "the champion is" in rolled.rolled_back[made.retrain_id]
    assert (world.state(made), world.champion) == ("ROLLED_BACK", 3)
    assert world.ledger.outbox() == []


def test_a_rollback_that_fails_is_tried_again(world: World) -> None:
    made = world.promote()
    world.go()
    world.live.wrong, world.live.refused = {f"{MODEL}@2"}, {f"{MODEL}@1"}
    assert "it is broken" in world.go().errors[0]
    assert (world.state(made), world.champion) == ("ROLLED_BACK", 2)
    world.live.refused = set()
    world.clock.now_s += 400
    assert world.go().errors == ()
    assert world.champion == 1


def test_a_leader_who_died_after_the_roll_out_is_followed_by_one_who_does_not_repeat_it(
    world: World,
) -> None:
    made = world.promote()
    world.live.promote(
        world.registry.get(f"{MODEL}@2"), champion_before=f"{MODEL}@1", reason="died after this"
    )
    assert world.go().deployed == (made.retrain_id,)
    assert world.live.promoted.count(f"{MODEL}@2") == 1


def test_a_roll_out_may_wait_for_its_day(world: World) -> None:
    body = {"gate": {"validation_required": True}}
    world.ledger.configured(BUCKET, body, actor="carl")
    world.ledger.add_principal("rita", ["reviewer"], actor="olga")
    made = world.promote()
    (rita,) = world.ledger.principals()
    later = world.clock.now_s + 1000
    world.ledger.decide(
        made.retrain_id, made.candidate_sha, "approve", reviewer=rita, reason="x", not_before=later
    )
    assert world.go() == Rolled()
    world.clock.now_s = later
    assert world.go().deployed == (made.retrain_id,)


def test_the_way_back_must_be_open_before_a_roll_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(version: ModelVersion) -> None:
        raise CorruptArtifactError(f"{version.ref} is gone")

    monkeypatch.setattr(rollouts, "require_loadable", broken)
    made = world.promote()
    assert f"{MODEL}@1 is gone" in world.go().errors[0]
    assert (world.state(made), world.champion) == ("PROMOTED", 1)


def test_what_does_not_run_is_told_and_tried_again_and_nothing_is_promoted(two: World) -> None:
    made = two.promote()
    two.go()
    waiting = two.promote_other()
    two.live.away = "Serve must run and answer, however: it does not"
    for _ in range(2):
        rolled = two.go()
        assert rolled.errors == (f"deploy {waiting.retrain_id}: {two.live.away}",)
        assert (two.state(waiting), two.registry.aliases(OTHER)["champion"]) == ("PROMOTED", 1)
        assert [entry.error for entry in two.ledger.outbox()] == [two.live.away]
        assert [d.epoch for d in two.registry.deployments()] == [2, 1]
        two.clock.now_s += 400
    two.live.away = ""
    assert two.live.asked.count(f"{MODEL}@2") >= 3  # it was looked at all the same
    assert two.go().deployed == (waiting.retrain_id,)
    assert two.state(made) == "DEPLOYED"


def test_a_rollback_waits_for_what_does_not_run(world: World) -> None:
    made = world.promote()
    world.go()
    world.live.wrong, world.live.away = {f"{MODEL}@2"}, "Serve must run, however: it does not"
    assert world.go().errors == (f"rollback {made.retrain_id} {MODEL}#2: {world.live.away}",)
    assert (world.state(made), world.champion) == ("ROLLED_BACK", 2)
    world.live.away = ""
    world.clock.now_s += 400
    assert world.go().errors == ()
    assert world.champion == 1


def test_a_bad_version_is_taken_back_before_another_s_roll_out_begins(two: World) -> None:
    bad = two.promote()
    two.go()
    waiting = two.promote_other()
    two.live.wrong = {f"{MODEL}@2"}
    rolled = two.go()
    assert two.live.promoted[-2:] == [f"{MODEL}@1", f"{OTHER}@2"]
    assert (list(rolled.rolled_back), rolled.deployed) == ([bad.retrain_id], (waiting.retrain_id,))


def test_a_roll_out_that_waits_is_broken_off_for_a_version_that_must_be_taken_back(
    two: World,
) -> None:
    bad = two.promote()
    two.go()
    waiting = two.promote_other()
    two.live.waits[f"{OTHER}@2"] = lambda: two.live.wrong.add(f"{MODEL}@2")
    rolled = two.go()
    assert (list(rolled.rolled_back), rolled.deployed) == ([bad.retrain_id], ())
    assert (two.state(bad), two.champion) == ("ROLLED_BACK", 1)
    (entry,) = two.ledger.outbox()
    assert (entry.key, f"{bad.retrain_id} is taken back first" in entry.error) == (
        waiting.retrain_id,
        True,
    )
    two.clock.now_s += 400
    assert two.go().deployed == (waiting.retrain_id,)
    deployed = [d for d in two.registry.deployments() if d.name == OTHER]
    assert [(d.epoch, d.state) for d in deployed] == [(2, "live")]


def test_a_rollback_that_waits_lets_another_s_rollback_by(two: World) -> None:
    first, second = two.promote(), two.promote_other()
    two.go()
    two.live.wrong = {f"{MODEL}@2"}
    two.live.waits[f"{MODEL}@1"] = lambda: two.live.wrong.add(f"{OTHER}@2")
    rolled = two.go()
    assert list(rolled.rolled_back) == [first.retrain_id, second.retrain_id]
    assert two.registry.aliases(OTHER)["champion"] == 1
    two.clock.now_s += 400
    two.go()
    assert two.live.promoted[-1] == f"{MODEL}@1"
    assert two.ledger.outbox() == []


def test_drift_is_noted_once_and_takes_nothing_back(world: World) -> None:
    world.live.counted = {f"{MODEL}@1": [window(500)]}
    made = world.promote()
    world.go()
    world.live.counted[f"{MODEL}@2"] = [window(500)._replace(sizes={14: 500})]
    for _ in range(2):
        assert "drifted" in world.go().to_look_at[made.retrain_id]
    assert world.state(made) == "DEPLOYED"
    assert sum(entry.event == "rollout.look" for entry in world.ledger.audit()) == 1


def test_the_champion_s_figures_outlive_his_replicas(world: World) -> None:
    world.live.counted = {f"{MODEL}@1": [window(5000, 400)]}
    made = world.promote()
    world.go()
    world.live.counted = {f"{MODEL}@2": [window(300, 30)]}  # 10 % after 8 %: not twice as many
    assert world.go() == Rolled()
    assert world.state(made) == "DEPLOYED"


def test_only_the_leader_rolls_out(world: World) -> None:
    world.promote()
    world.fence = dataclasses.replace(world.fence, epoch=7)
    with pytest.raises(FencedError):
        world.go()
    assert world.champion == 1


def test_the_registry_refuses_a_champion_that_is_not_the_expected_one(
    registry: Registry,
) -> None:
    from spt_core.rollout import promote

    with pytest.raises(ConflictError, match="must be the champion"):
        promote(registry, registry.get(f"{MODEL}@2"), actor="w", champion_before=f"{MODEL}@3",
                service=object())  # fmt: skip


def test_a_watcher_s_steps_judge_and_roll_out_and_tell_what_went_wrong(world: World) -> None:
    judge, roll_out = after_training(world.registry, world.live, clock=world.clock)
    made = begun(world.ledger, world.fence, item("1", "text"))
    made = trained(world.ledger, world.fence, made, world.folder, world.registry.get(f"{MODEL}@2"))
    judge(world.ledger, world.fence)
    roll_out(world.ledger, world.fence)
    assert world.state(made) == "DEPLOYED"
    world.live.wrong, world.live.refused = {f"{MODEL}@2"}, {f"{MODEL}@1"}
    with pytest.raises(StepError, match="it is broken"):
        roll_out(world.ledger, world.fence)
    assert len(after_training(world.registry, None)) == 1
