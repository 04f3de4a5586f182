"""The world round a ledger, small and honest: feed, job system, registry, reviewer, watcher.

The feed never repeats an item that was acknowledged by its validator, so whatever the ledger loses
stays lost and is seen. The job system is a file of lines: an id that was submitted exists for ever.
Everything here may be killed at any instruction and started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spt_core.artifacts import ExportedModel, ModelArtifact
from spt_core.continuous.ledger import (
    DEPLOY,
    ROLL_BACK,
    Fence,
    Item,
    JobStatus,
    Ledger,
    Retrain,
    Source,
    SourceResult,
    Trigger,
    drive,
)
from spt_core.errors import ConflictError
from spt_core.policy import Costs, DecisionPolicy
from spt_core.registry import CHAMPION, Registry
from spt_core.signature import Field, Signature

BUCKET = "rules"
MODEL = "finance/rules/default"
THRESHOLD = 2
REVIEWER = "rita"
CLAIM_TTL_S = 20.0
STATUS: dict[str, JobStatus] = {
    "submit": "PENDING",
    "start": "RUNNING",
    "work": "RUNNING",
    "FAILED": "FAILED",
    "SUCCEEDED": "SUCCEEDED",
}
OPEN = ("PENDING", "RUNNING")
Feed = Callable[[str, str], tuple[list[tuple[str, str]], str]]


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where one world lies: the ledger's database and the job system's file."""

    url: str
    jobs: Path


class Jobs:
    """The job system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        with self._locked() as lines:
            if any(line["id"] == submission_id and line["what"] == "submit" for line in lines):
                raise RuntimeError(
                    f"HTTP 500: Job with submission_id {submission_id} already exists"
                )
            self._write("submit", submission_id, attempt=payload["attempt"])

    def cause(self, submission_id: str) -> str:
        return ""

    def status(self, submission_id: str) -> JobStatus | None:
        found: JobStatus | None = None
        for line in self.lines():
            if line["id"] == submission_id and line["what"] in STATUS:
                found = STATUS[line["what"]]
        return found

    def record(self, what: str, submission_id: str, **more: Any) -> None:
        with self._locked():
            self._write(what, submission_id, **more)

    def lines(self) -> list[dict[str, Any]]:
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def unfinished(self) -> list[tuple[str, bool]]:
        """Jobs that have not ended, each with whether it was started."""
        ids = dict.fromkeys(line["id"] for line in self.lines())
        found = [(one, self.status(one)) for one in ids]
        return [(one, status == "RUNNING") for one, status in found if status in OPEN]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[list[dict[str, Any]]]:
        with open(self.path, "ab") as file:  # noqa: PTH123  its lock ends with the process
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.lines()

    def _write(self, what: str, submission_id: str, **more: Any) -> None:
        line = json.dumps({"what": what, "id": submission_id, "pid": os.getpid(), **more})
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode() + b"\n")
        os.close(handle)


def decide(pending: Sequence[Item]) -> Trigger | None:
    """Retrain when two items wait."""
    if len(pending) < THRESHOLD:
        return None
    refs = tuple(item.ref for item in pending)
    return Trigger(bucket=BUCKET, items=refs, reason=f"{len(refs)} items of {THRESHOLD}")


def prepare(paths: Paths, source_ids: Sequence[str], clock: Callable[[], float]) -> None:
    """Sources, a reviewer and a first champion."""
    ledger = Ledger(paths.url, clock=clock)
    ledger.upsert_sources(
        [Source(source_id=s, kind="rss", url=f"http://{s}") for s in source_ids], actor="olga"
    )
    ledger.add_principal(REVIEWER, ["reviewer"], actor="olga")
    registry = Registry(paths.url, clock=clock)
    registry.add(exported("first"), POLICY, {}, created_by="olga")
    registry.set_alias(MODEL, CHAMPION, 1, expected=None, actor="olga")


class Watcher:
    """What a leader does in one pass, written as the product's pipeline will be: nothing is kept in
    memory from one pass to the next.
    """

    def __init__(
        self, paths: Paths, feed: Feed, clock: Callable[[], float], *, bad: int = 0
    ) -> None:
        self.ledger = Ledger(paths.url, clock=clock)
        self.registry = Registry(paths.url, clock=clock)
        self.jobs = Jobs(paths.jobs)
        self.feed = feed
        self.bad = bad  # the retraining whose model is found bad once it is deployed
        self.clock = clock

    def once(self, fence: Fence) -> int:
        """One pass; returns how many items were new."""
        num_new = sum(self.poll(fence, source) for source in self.ledger.due())
        self.ledger.evaluate(fence, decide)
        drive(self.ledger, fence, self.jobs)
        for retrain in self.ledger.retrains(state="TRAINED"):
            self.evaluate(fence, retrain)
        for retrain in self.ledger.retrains(state="EVALUATED"):
            verdict = {"regression": 0.0, "risk": "high"}
            deadline = self.clock() + 1e6
            self.ledger.judge(
                fence, retrain.retrain_id, "NEEDS_REVIEW", verdict=verdict, deadline=deadline
            )
        self.ledger.expire_reviews(fence)
        self.effects(fence)
        for retrain in self.ledger.retrains(state="DEPLOYED"):
            if retrain.seq == self.bad:
                self.ledger.rolled_back(
                    fence, retrain.retrain_id, retrain.deployment_id, "the golden probe failed"
                )
        self.effects(fence)
        return num_new

    def poll(self, fence: Fence, source: Source) -> int:
        entries, etag = self.feed(source.source_id, source.etag)
        items = tuple(self.item(source.source_id, key, text) for key, text in entries)
        after = dataclasses.replace(source, etag=etag, state="OK", next_reason="test", errors=0)
        done = self.ledger.ingest(fence, [SourceResult(source=after, items=items)], decide)
        return done.num_new + done.num_revised

    def item(self, source_id: str, key: str, text: str) -> Item:
        return Item(
            source_id=source_id,
            item_key=key,
            content_sha=sha(text),
            text=text,
            bucket=BUCKET,
            score=0.9,
            title=key,
        )

    def evaluate(self, fence: Fence, retrain: Retrain) -> None:
        version = self.registry.add(
            exported(retrain.candidate_sha), POLICY, {}, created_by="watcher"
        )
        champion = self.registry.get(f"{MODEL}@{CHAMPION}")
        self.ledger.evaluated(
            fence,
            retrain.retrain_id,
            candidate_version=version.ref,
            champion_before=champion.ref,
            evaluation_set_sha="e1",
            evaluation={"f1": 0.9},
        )

    def effects(self, fence: Fence) -> None:
        for entry in self.ledger.claim_effects(fence, [DEPLOY, ROLL_BACK]):
            back = entry.kind == ROLL_BACK
            ends = entry.payload["candidate_version"], entry.payload["champion_before"]
            target, expected = reversed(ends) if back else ends
            self.ledger.check(fence)
            number, before = int(target.split("@")[1]), int(expected.split("@")[1])
            if self.registry.aliases(MODEL)[CHAMPION] != number:
                self.registry.set_alias(MODEL, CHAMPION, number, expected=before, actor="watcher")
            if back:
                self.ledger.effect_done(fence, entry)
            else:
                self.ledger.deployed(fence, entry.payload["retrain_id"], f"d{number}")


def run_job(
    ledger: Ledger,
    jobs: Jobs,
    submission_id: str,
    *,
    ttl_s: float = CLAIM_TTL_S,
    is_double: bool = False,
) -> None:
    """What `python -m jobs.retrain` does, as far as the ledger goes.

    A double is one that a broken head node started beside the first, unknown to the job system.
    """
    if not is_double:
        jobs.record("start", submission_id)
    try:
        claim = ledger.claim_run(submission_id, ttl_s=ttl_s)
    except ConflictError as error:
        jobs.record("refused", submission_id, why=str(error), is_double=is_double)
        if not is_double:
            jobs.record("FAILED", submission_id)
        return
    jobs.record("work", submission_id)
    ledger.beat(claim)
    ledger.finish_run(claim, f"file:///results/{submission_id}", sha(submission_id))
    jobs.record("SUCCEEDED", submission_id)


def approve_all(ledger: Ledger) -> None:
    """What a reviewer does."""
    reviewer = next(p for p in ledger.principals() if p.name == REVIEWER)
    for retrain in ledger.retrains(state="NEEDS_REVIEW"):
        with contextlib.suppress(ConflictError):
            ledger.decide(
                retrain.retrain_id,
                retrain.candidate_sha,
                "approve",
                reviewer=reviewer,
                reason="I have looked at it",
            )


def problems(paths: Paths, expected: Sequence[tuple[str, str, list[str]]]) -> list[str]:
    """What is wrong with a world that has come to rest; `expected`: source, key, its contents."""
    ledger = Ledger(paths.url)
    found = [*_item_problems(ledger, expected), *_run_problems(ledger, Jobs(paths.jobs))]
    try:
        ledger.verify_audit()
    except Exception as error:  # noqa: BLE001
        found.append(str(error))
    moves = Counter(
        f"retrain.{t.to_state}" for r in ledger.retrains() for t in ledger.transitions(r.retrain_id)
    )
    logged = Counter(
        entry.event
        for entry in ledger.audit()
        if entry.event.startswith("retrain.") and entry.event[8:].isupper()
    )
    begun = {"retrain.DETECTED": len(ledger.retrains())}
    if logged != moves + Counter(begun):
        found.append(f"the audit log and the transitions differ: {logged} {moves}")
    open_effects = [entry.key for entry in ledger.outbox()]
    if open_effects:
        found.append(f"effects were not made: {open_effects}")
    return found + _alias_problems(ledger, Registry(paths.url))


def _item_problems(ledger: Ledger, expected: Sequence[tuple[str, str, list[str]]]) -> list[str]:
    wanted = Counter(
        (source_id, key, sha(text)) for source_id, key, texts in expected for text in texts
    )
    items = ledger.items()
    held = Counter((item.source_id, item.item_key, item.content_sha) for item in items)
    found = [f"items were lost: {list(wanted - held)[:5]}"] if wanted - held else []
    found += [f"items are doubled: {list(held - wanted)[:5]}"] if held - wanted else []
    used = Counter(
        (row[0], row[1], row[2])
        for entry in ledger.audit()
        if entry.event == "retrain.DETECTED"
        for row in entry.body["items"]
    )
    twice = [ref for ref, count in used.items() if count > 1]
    if twice:
        found.append(f"items were used twice: {twice[:5]}")
    assigned = {tuple(item.ref) for item in items if item.trigger_id}
    if assigned != set(used):
        found.append(f"items are not with their retraining: {sorted(assigned ^ set(used))[:5]}")
    return found


def _run_problems(ledger: Ledger, jobs: Jobs) -> list[str]:
    found: list[str] = []
    lines = jobs.lines()
    retrains = ledger.retrains(bucket=BUCKET)
    if [r.seq for r in retrains] != list(range(1, len(retrains) + 1)):
        found.append(f"retrainings are not numbered through: {[r.seq for r in retrains]}")
    queued = {
        t.key for r in retrains for t in ledger.transitions(r.retrain_id) if t.to_state == "QUEUED"
    }
    submitted = Counter(line["id"] for line in lines if line["what"] == "submit")
    if set(submitted) - queued:
        found.append(f"jobs nobody asked for: {sorted(set(submitted) - queued)[:5]}")
    attempts = Counter(one.rpartition("-")[0] for one in submitted)
    if any(count > 1 for count in attempts.values()):
        found.append(f"one attempt has several jobs: {attempts.most_common(2)}")
    worked = Counter(line["id"] for line in lines if line["what"] == "work")
    doubled = [one for one, count in worked.items() if count > 1]
    if doubled:
        found.append(f"jobs ran twice: {doubled[:5]}")
    for retrain in retrains:
        moves = Counter(t.to_state for t in ledger.transitions(retrain.retrain_id))
        once = ("TRAINED", "PROMOTED", "DEPLOYED", "ROLLED_BACK")
        if any(moves[state] > 1 for state in once):
            found.append(f"{retrain.retrain_id} moved twice: {moves}")
    return found


def _alias_problems(ledger: Ledger, registry: Registry) -> list[str]:
    moves = [(change.from_version, change.to_version) for change in registry.history(MODEL)]
    wanted: list[tuple[int | None, int]] = [(None, 1)]
    for entry in ledger.audit():
        if entry.event in ("retrain.DEPLOYED", "retrain.ROLLED_BACK"):
            retrain = ledger.retrain(entry.body["retrain_id"])
            before = int(retrain.champion_before.split("@")[1])
            after = int(retrain.candidate_version.split("@")[1])
            back = entry.event == "retrain.ROLLED_BACK"
            wanted.append((after, before) if back else (before, after))
    return [] if moves == wanted else [f"the champion moved {moves}, not {wanted}"]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def exported(name: str) -> ExportedModel:
    """A model that is nothing but its name."""
    artifact = ModelArtifact(
        uri=f"file:///artifacts/{name}",
        task="finance/rules",
        model_name="default",
        family="tabular",
        role="student",
        signature=Signature(fields=(Field(name="amount", kind="number", minimum=0.0),)),
        files={},
        config={},
        metrics={},
        seed=0,
        data_fingerprint="d",
        code_fingerprint="c",
        splits="file:///splits",
    )
    return ExportedModel(
        uri=f"{artifact.uri}/export",
        artifact=artifact,
        files={},
        parity={},
        probes={},
        size_bytes=1,
    )


POLICY = DecisionPolicy(
    costs=Costs(missed_positive=100.0, false_alarm=10.0, review=2.0),
    review_threshold=0.1,
    decline_threshold=0.8,
)
