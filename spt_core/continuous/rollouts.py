"""The ledger's DEPLOY and ROLL_BACK effects, and the watch over what was deployed.

outbox -> champion by compare-and-set -> Serve follows and is read back -> DEPLOYED -> golden
records and live windows -> one rollback at most, then the bucket is frozen

`drive_rollouts` is called by the leader in each of his passes. It keeps nothing between them: the
replicas' counts, the ledger and the registry are asked anew, so another leader goes on from there.
A roll-out waits for its replicas for minutes: the other buckets are looked at before and meanwhile,
and the wait is broken off for one that must be taken back. The next try finds it where it was left.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from spt_core.continuous.ledger import DEPLOY, ROLL_BACK, Fence, Ledger, OutboxEntry, Retrain
from spt_core.continuous.live_rules import Finding, LiveRules, ProbeAnswer, decide, live_rules
from spt_core.errors import CorruptArtifactError, FencedError, SptError
from spt_core.registry import CHAMPION, Deployment, ModelVersion, Registry
from spt_core.rollout import RolloutError
from spt_core.traffic import Window, merged, window_from_json, window_to_json

BASELINE, LOOK = "rollout.baseline", "rollout.look"
MIN_BASELINE = 50  # requests of the champion, below which an older note of him says more


class Live(Protocol):
    """What serves, as the roll-out needs it. One caller at a time; RolloutError when it cannot.

    UnavailableError when it does not run or cannot be asked: nobody's fault, to be tried again.
    """

    def check(self, version: ModelVersion) -> None:
        """Return if what is to serve the version can be asked."""
        ...

    def promote(
        self,
        version: ModelVersion,
        *,
        champion_before: str,
        reason: str,
        meanwhile: Callable[[], None],
    ) -> Deployment:
        """Make the version the champion and have every replica serve it, or leave all as it was.

        `meanwhile` is called every few seconds of the wait; what it raises breaks off the wait, and
        the same call goes on from there later.
        """
        ...

    def windows(self, version: ModelVersion) -> Mapping[str, Sequence[Window]]:
        """What the replicas of the version's model did lately, by reference."""
        ...

    def probe(
        self, version: ModelVersion, golden: Sequence[Mapping[str, Any]]
    ) -> list[ProbeAnswer]:
        """What every replica that serves the version says of golden records."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rolled:
    """What one pass came to, by retraining: deployed, taken back with why, to be looked at."""

    deployed: tuple[str, ...] = ()
    rolled_back: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    to_look_at: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    errors: tuple[str, ...] = ()


def drive_rollouts(
    ledger: Ledger,
    fence: Fence,
    registry: Registry,
    live: Live,
    *,
    now_s: float,
    rules: LiveRules | None = None,
) -> Rolled:
    """One pass: make the effects that are due, watch what is deployed, take back what is bad."""
    work = _Pass(ledger, fence, registry, live, rules or LiveRules(), now_s)
    work.watch()
    work.take_back()
    if work.roll_out():  # what has just been deployed is looked at too
        work.watch()
        work.take_back()
    return Rolled(
        deployed=tuple(work.deployed),
        rolled_back=work.rolled_back,
        to_look_at=work.to_look_at,
        errors=tuple(work.errors),
    )


class _BrokenOffError(SptError):
    """A roll-out goes on later: another bucket must be taken back first."""


def require_loadable(version: ModelVersion) -> None:
    """Return if the version's files are there and are those that were registered."""
    for name in version.exported.files:
        try:
            version.exported.read(name)
        except (SptError, OSError) as error:
            raise CorruptArtifactError(
                f"the version to go back to must be loadable, however: {version.ref}: {error}"
            ) from error


def _put_off(retrain_id: str) -> str:
    return f"its replicas have not all taken it yet, and {retrain_id} is taken back first"


class _Pass:
    """The state of one pass."""

    def __init__(
        self,
        ledger: Ledger,
        fence: Fence,
        registry: Registry,
        live: Live,
        rules: LiveRules,
        now_s: float,
    ) -> None:
        self._ledger, self._fence, self._registry, self._live = ledger, fence, registry, live
        self._rules, self._ahead_s = rules, now_s - time.monotonic()
        self.deployed: list[str] = []
        self.rolled_back: dict[str, str] = {}
        self.to_look_at: dict[str, str] = {}
        self.errors: list[str] = []

    def roll_out(self) -> bool:
        """Whether the ledger asked for deployments; each is made at least once."""
        entries = self._ledger.claim_effects(self._fence, [DEPLOY])
        for entry in entries:
            self._make(entry, self._deploy)
            self.take_back()  # a rollback waits for no other deployment
        return bool(entries)

    def take_back(self) -> None:
        """Rollbacks that the ledger asks for, each at least once."""
        for entry in self._ledger.claim_effects(self._fence, [ROLL_BACK]):
            self._make(entry, self._roll_back)

    def watch(self, *, besides: str = "") -> None:
        """Golden records and live windows of each bucket's deployed candidate."""
        latest = {one.bucket: one for one in self._ledger.retrains(state="DEPLOYED")}
        frozen = self._ledger.frozen()
        for retrain in latest.values():
            if retrain.bucket in frozen or retrain.bucket == besides:
                continue
            if self._champion(retrain) != retrain.candidate_version:
                continue
            try:
                self._look(retrain)
            except FencedError:
                raise
            except SptError as error:
                self._tell(f"watch {retrain.retrain_id}: {error}")

    def _make(self, entry: OutboxEntry, effect: Callable[[OutboxEntry], None]) -> None:
        """Make the effect, or keep why not: it comes up again after its backoff."""
        try:
            effect(entry)
        except FencedError:
            raise
        except _BrokenOffError as error:
            self._ledger.effect_failed(self._fence, entry, str(error))
            self.take_back()
        except SptError as error:
            self._ledger.effect_failed(self._fence, entry, str(error))
            self._tell(f"{entry.kind} {entry.key}: {error}")

    def _deploy(self, entry: OutboxEntry) -> None:
        retrain = self._ledger.retrain(str(entry.payload["retrain_id"]))
        if retrain.state != "PROMOTED":  # overtaken
            self._ledger.effect_done(self._fence, entry)
            return
        candidate = self._registry.get(retrain.candidate_version)
        champion, before = self._champion(retrain), retrain.champion_before
        if champion not in (before, candidate.ref):
            reason = f"the champion is {champion or 'none'}, not {before or 'none'}, at roll-out"
            self._take_back(retrain, entry.key, reason)
            return
        self._live.check(candidate)
        if before:
            require_loadable(self._registry.get(before))
            if champion == before:
                self._note_baseline(retrain, before)
        self._ledger.check(self._fence)
        try:
            deployment = self._serving(candidate) or self._live.promote(
                candidate,
                champion_before=before,
                reason=f"retraining {retrain.retrain_id}",
                meanwhile=lambda: self._while_deploying(retrain),
            )
        except RolloutError as error:
            self._take_back(retrain, entry.key, f"its roll-out failed: {error}")
            return
        deployment_id = f"{deployment.name}#{deployment.epoch}"
        self._ledger.deployed(self._fence, retrain.retrain_id, deployment_id)
        self.deployed.append(retrain.retrain_id)

    def _roll_back(self, entry: OutboxEntry) -> None:
        """Return to the champion before, unless somebody else has moved it since."""
        retrain = self._ledger.retrain(str(entry.payload["retrain_id"]))
        before, champion = retrain.champion_before, self._champion(retrain)
        if before and champion in (before, retrain.candidate_version):
            target = self._registry.get(before)
            if self._serving(target) is None:
                self._ledger.check(self._fence)
                self._live.promote(
                    target,
                    champion_before=retrain.candidate_version,
                    reason=f"rollback of {retrain.retrain_id}",
                    meanwhile=lambda: self._while_taking_back(retrain),
                )
        else:
            fact = f"{champion} is" if before else "there was none before"
            body = {"retrain_id": retrain.retrain_id, "fact": f"the champion stays: {fact}"}
            self._ledger.note("rollout.not_needed", body, actor=self._fence.name)
        self._ledger.effect_done(self._fence, entry)

    def _while_deploying(self, retrain: Retrain) -> None:
        """Watch the other buckets; a deployment does not keep a rollback waiting."""
        self.watch(besides=retrain.bucket)
        now_s = self._ledger.now_s()
        for entry in self._ledger.outbox():
            if entry.kind == ROLL_BACK and entry.not_before <= now_s:
                raise _BrokenOffError(_put_off(str(entry.payload["retrain_id"])))

    def _while_taking_back(self, retrain: Retrain) -> None:
        """Watch the other buckets; of two that are taken back, what was found first waits."""
        num_before = len(self.rolled_back)
        self.watch(besides=retrain.bucket)
        for retrain_id in list(self.rolled_back)[num_before:]:
            raise _BrokenOffError(_put_off(retrain_id))

    def _look(self, retrain: Retrain) -> None:
        candidate = self._registry.get(retrain.candidate_version)
        golden = [one for one in retrain.evaluation.get("golden", ()) if one["candidate_right"]]
        answers = self._live.probe(candidate, golden)
        windows = self._live.windows(candidate)
        configuration = self._ledger.configuration(retrain.bucket)
        findings = decide(
            windows.get(candidate.ref, ()),
            [self._baseline(retrain, windows)],
            answers,
            live_rules(configuration.get("live_rules", {}), self._rules),
            now_s=time.monotonic() + self._ahead_s,
        )
        for finding in findings:
            if finding.is_bad:
                self._take_back(retrain, retrain.deployment_id, finding.reason)
                return
            self._ask_to_look(retrain, finding)

    def _tell(self, error: str) -> None:
        if error not in self.errors:  # a bucket is looked at again and again during a roll-out
            self.errors.append(error)

    def _take_back(self, retrain: Retrain, deployment_id: str, reason: str) -> None:
        self._ledger.rolled_back(self._fence, retrain.retrain_id, deployment_id, reason)
        self.rolled_back[retrain.retrain_id] = reason

    def _ask_to_look(self, retrain: Retrain, finding: Finding) -> None:
        """Note it once per retraining: nothing is taken back for it."""
        note = self._ledger.noted(LOOK, "retrain_id", retrain.retrain_id)
        if note.get("rule") != finding.rule:
            body = {"retrain_id": retrain.retrain_id, "rule": finding.rule}
            self._ledger.note(LOOK, {**body, "reason": finding.reason}, actor=self._fence.name)
        self.to_look_at[retrain.retrain_id] = finding.reason

    def _note_baseline(self, retrain: Retrain, before: str) -> None:
        """Keep what the champion did: replicas forget it when they are replaced."""
        if self._ledger.noted(BASELINE, "retrain_id", retrain.retrain_id):
            return
        try:
            windows = self._live.windows(self._registry.get(before)).get(before, ())
        except RolloutError:  # nothing serves yet
            windows = ()
        body = {"retrain_id": retrain.retrain_id, "window": window_to_json(merged(windows))}
        self._ledger.note(BASELINE, body, actor=self._fence.name)

    def _baseline(self, retrain: Retrain, windows: Mapping[str, Sequence[Window]]) -> Window:
        seen = merged(windows.get(retrain.champion_before, ()))
        noted = self._ledger.noted(BASELINE, "retrain_id", retrain.retrain_id)
        if seen.num_requests >= MIN_BASELINE or not noted:
            return seen
        return max(seen, window_from_json(noted["window"]), key=lambda one: one.num_requests)

    def _champion(self, retrain: Retrain) -> str:
        name = retrain.candidate_version.rpartition("@")[0]
        number = self._registry.aliases(name).get(CHAMPION)
        return "" if number is None else f"{name}@{number}"

    def _serving(self, version: ModelVersion) -> Deployment | None:
        """The deployment of the version if it is live already: a former leader got so far."""
        for deployment in self._registry.serving():
            is_it = (deployment.name, deployment.version) == (version.name, version.version)
            if is_it and deployment.state == "live":
                return deployment
        return None
