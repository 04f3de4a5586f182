"""ServeLive against a Serve in memory that may not run, end halfway, or be slow; no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from spt_core import rollout
from spt_core.continuous import serving
from spt_core.continuous.serving import ServeLive
from spt_core.errors import SptError, UnavailableError
from spt_core.registry import Registry
from spt_core.rollout import Replica, RolloutError
from tests.publications import MODEL


class BrokenOffError(SptError):
    """What somebody who looks meanwhile raises."""


class MemoryServe:
    """Replicas take every version at once, unless `slow` or `bad` names it."""

    def __init__(self) -> None:
        self.slow: set[str] = set()
        self.bad: set[str] = set()
        self.ends_at = ""
        self.wanted: dict[str, Any] = {}

    def apply(self, configuration: Mapping[str, Any]) -> None:
        self._call("apply")
        (application, _) = configuration["applications"]
        self.wanted = application["deployments"][0]["user_config"]

    def replicas(self, application: str, num_replicas: int) -> list[Replica] | None:
        self._call("replicas")
        ref, policy = self.wanted["ref"], self.wanted["policy"]["version"]
        if ref in self.slow:
            return None
        if ref in self.bad:
            return [Replica(ref="", policy="", asked=ref, error="it is broken")]
        return [Replica(ref=ref, policy=policy, asked=ref, error="")]

    def num_replicas(self, application: str) -> int | None:
        self._call("num_replicas")
        return 1

    def ask(self, application: str, method: str, *arguments: Any) -> list[Any]:
        self._call("ask")
        return []

    def _call(self, method: str) -> None:
        if self.ends_at == method:
            raise RuntimeError("the actor died")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> MemoryServe:
    made = MemoryServe()
    monkeypatch.setattr(serving, "RayServe", lambda: made)
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(rollout, "READ_BACK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(rollout, "_POLL_S", 0.01)
    return made


@pytest.fixture
def live(serve: MemoryServe, registry: Registry) -> ServeLive:
    made = ServeLive(registry, actor="w")
    made.promote(
        registry.get(f"{MODEL}@1"), champion_before="", reason="first", meanwhile=lambda: None
    )
    return made


def promote(live: ServeLive, registry: Registry, meanwhile: Any = lambda: None) -> Any:
    return live.promote(
        registry.get(f"{MODEL}@2"),
        champion_before=f"{MODEL}@1",
        reason="second",
        meanwhile=meanwhile,
    )


def standing(registry: Registry) -> tuple[int, int, str]:
    """The champion, and epoch and state of the latest deployment."""
    (latest,) = registry.deployments()
    return registry.aliases(MODEL)["champion"], latest.epoch, latest.state


@pytest.mark.parametrize(
    "call",
    [
        lambda live, version: live.check(version),
        lambda live, version: live.windows(version),
        lambda live, version: live.probe(version, [{"record": {}, "labels": []}]),
        lambda live, version: live.promote(
            version, champion_before=f"{MODEL}@1", reason="second", meanwhile=lambda: None
        ),
    ],
    ids=["check", "windows", "probe", "promote"],
)
def test_a_serve_that_does_not_run_is_unavailable_in_one_sentence(
    live: ServeLive, registry: Registry, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    def no_client() -> Any:
        raise AssertionError("Serve must be started before a roll-out")

    monkeypatch.setattr(rollout, "_client", no_client)
    monkeypatch.setattr(rollout.RayServe, "ask", lambda *_: no_client())
    monkeypatch.setattr(live, "_service", rollout.RayServe())
    version = registry.get(f"{MODEL}@2")
    with pytest.raises(UnavailableError, match="^Serve must run and answer, however: .*started"):
        call(live, version)
    assert standing(registry) == (1, 1, "live")


@pytest.mark.parametrize("method", ["apply", "replicas"])
def test_a_roll_out_during_which_serve_ended_goes_on_as_the_same_deployment(
    live: ServeLive, registry: Registry, serve: MemoryServe, method: str
) -> None:
    serve.ends_at = method
    for _ in range(2):
        with pytest.raises(UnavailableError, match="RuntimeError: the actor died"):
            promote(live, registry)
        assert standing(registry) == (2, 2, "pending")
    serve.ends_at = ""
    assert promote(live, registry).state == "live"
    assert standing(registry) == (2, 2, "live")


def test_a_wait_that_was_broken_off_goes_on_as_the_same_deployment(
    live: ServeLive, registry: Registry, serve: MemoryServe
) -> None:
    def break_off() -> None:
        raise BrokenOffError("another must be taken back")

    serve.slow = {f"{MODEL}@2"}
    for _ in range(2):
        with pytest.raises(BrokenOffError):
            promote(live, registry, break_off)
        assert standing(registry) == (2, 2, "pending")
    serve.slow = set()
    assert promote(live, registry).state == "live"
    assert standing(registry) == (2, 2, "live")


def test_one_that_was_begun_and_is_refused_leaves_the_champion_as_it_was(
    live: ServeLive, registry: Registry, serve: MemoryServe
) -> None:
    serve.ends_at = "replicas"
    with pytest.raises(UnavailableError):
        promote(live, registry)
    serve.ends_at, serve.bad = "", {f"{MODEL}@2"}
    with pytest.raises(RolloutError, match="it is broken"):
        promote(live, registry)
    assert standing(registry) == (1, 2, "failed")


def test_a_refusal_counts_although_the_wait_for_the_way_back_was_broken_off(
    live: ServeLive, registry: Registry, serve: MemoryServe
) -> None:
    def break_off() -> None:
        if serve.wanted["ref"] == f"{MODEL}@1":
            raise BrokenOffError("another must be taken back")

    serve.bad = {f"{MODEL}@2"}
    with pytest.raises(RolloutError, match="it is broken"):
        promote(live, registry, break_off)
    assert standing(registry) == (1, 2, "failed")


def test_others_are_looked_at_while_replicas_are_waited_for(
    live: ServeLive, registry: Registry, serve: MemoryServe
) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            serve.slow = set()

    serve.slow = {f"{MODEL}@2"}
    assert promote(live, registry, look).state == "live"
    assert len(looks) >= 3


def test_a_serve_that_was_shut_down_is_told_once_and_looked_for_again(monkeypatch):
    from ray.serve import context  # takes seconds

    answers = [(None, True), (None, False)]
    monkeypatch.setattr(context, "_check_cached_client_alive", lambda: answers.pop(0))
    monkeypatch.setattr(context, "_get_global_client", lambda: "found by its name")
    with pytest.raises(UnavailableError, match="its controller is gone"):
        rollout._client()
    assert rollout._client() == "found by its name"
